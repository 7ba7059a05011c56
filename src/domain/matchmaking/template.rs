//! Matchmaking templates: which profiles the ticket of a party enters.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::ruleset::{Owned, Party, PlayersToValidate, RuleType, Ruleset};

/// Matchmaking templates in order (contract: `MatchMakingTemplateGroupV2`), in the form of the configuration file. The
/// first one that a party satisfies applies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateGroup {
    /// The templates.
    #[serde(default)]
    pub templates: Vec<MatchTemplate>,
}

/// A matchmaking template (contract: `MatchMakingTemplateV2`), in the form of the configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatchTemplate {
    /// Its id, for clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_making_template_id: Option<Uuid>,
    /// How the skill of a party follows from the skills of its players.
    #[serde(default)]
    pub mmr_grouping_method: MmrGrouping,
    /// Ids of the profiles that tickets enter.
    pub profiles: Vec<String>,
    /// What a party must satisfy. Without rules, every party does.
    #[serde(default)]
    pub ruleset: Ruleset,
}

/// How the skill of a party follows from the skills of its players (contract: `MMRGroupingMethod`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "MMRGroupingMethod")]
pub enum MmrGrouping {
    /// The lowest skill.
    Worst,
    /// The highest skill.
    Best,
    /// The mean of the skills, each weighted by its variance.
    AvgWeightedBySigma,
    /// The mean of the skills.
    #[default]
    Avg,
}

impl TemplateGroup {
    /// The first template that a party satisfies.
    pub fn first_satisfied(&self, party: &Party<'_>, owned: Owned<'_>) -> Option<&MatchTemplate> {
        self.templates.iter().find(|template| template.ruleset.holds(party, owned))
    }

    /// The template for parties that satisfy no rules: the first without rules. If there is none, the first.
    pub fn default_template(&self) -> Option<&MatchTemplate> {
        self.templates.iter().find(|template| template.ruleset.rules.is_empty()).or(self.templates.first())
    }

    /// The items that some rule asks for.
    pub fn required_item_ids(&self) -> BTreeSet<i64> {
        let rules = self.templates.iter().flat_map(|template| &template.ruleset.rules);
        rules.filter_map(|rule| rule.item_id.filter(|_| rule.rule_type.is_of_inventory())).collect()
    }

    /// Whether some ruleset validates more players than the leader.
    pub fn validates_members(&self) -> bool {
        let rulesets = self.templates.iter().map(|template| &template.ruleset);
        let mut with_rules = rulesets.filter(|ruleset| !ruleset.rules.is_empty());
        with_rules.any(|ruleset| ruleset.players_to_validate != PlayersToValidate::Leader)
    }

    /// Whether some rule asks for the size or the region of the party.
    pub fn has_session_rule(&self) -> bool {
        let mut rules = self.templates.iter().flat_map(|template| &template.ruleset.rules);
        rules.any(|rule| matches!(rule.rule_type, RuleType::JoiningSessionSize | RuleType::RegionList))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::PlayerUuid;
    use crate::domain::matchmaking::ruleset::NOTHING_OWNED;

    const GROUP: &str = r#"
        [[templates]]
        profiles = ["small"]
        [templates.ruleset]
        rules = [{ rule_type = "JoiningSessionSize", comparison_operation = "le", comparison_value = 2 },
                 { rule_type = "RegionList", comparison_operation = "in_set", comparison_value_set = ["eu", "uk"] }]
        [[templates]]
        profiles = ["pairs"]
        [templates.ruleset]
        rules = [{ rule_type = "JoiningSessionSize", comparison_operation = "eq", comparison_value = 2 }]
        [[templates]]
        profiles = ["rest"]
        [[templates]]
        profiles = ["never"]
    "#;

    #[test]
    fn the_first_template_that_a_party_satisfies_applies() {
        let group: TemplateGroup = toml::from_str(GROUP).unwrap();
        let players = [1, 2, 3].map(|id| PlayerUuid(Uuid::from_u128(id)));
        for (size, region_id, expected) in [
            (1, Some("eu"), "small"),
            (2, Some("eu"), "small"),
            (2, None, "pairs"),
            (1, None, "rest"),
            (3, Some("eu"), "rest"),
        ] {
            let party = Party { players: &players[..size], region_id };
            let template = group.first_satisfied(&party, NOTHING_OWNED).unwrap();
            assert_eq!(template.profiles, [expected], "{size} {region_id:?}");
        }
        assert_eq!(group.default_template().unwrap().profiles, ["rest"]);
        let without_default = TemplateGroup { templates: group.templates[..2].to_vec() };
        let party = Party { players: &players, region_id: None };
        assert_eq!(without_default.first_satisfied(&party, NOTHING_OWNED), None);
        assert_eq!(without_default.default_template().unwrap().profiles, ["small"]);
    }

    #[test]
    fn a_group_tells_what_its_rules_ask_for() {
        let group: TemplateGroup = toml::from_str(GROUP).unwrap();
        assert_eq!((group.required_item_ids(), group.validates_members()), (BTreeSet::new(), false));
        assert!(group.has_session_rule());
        let inventory = r#"
            [[templates]]
            profiles = ["a"]
            [templates.ruleset]
            players_to_validate = "any_member"
            rules = [{ rule_type = "Inventory", comparison_operation = "ge", comparison_value = 1, item_id = 9 },
                     { rule_type = "InventoryLevel", comparison_operation = "ge", comparison_value = 1, item_id = 7 }]
        "#;
        let group: TemplateGroup = toml::from_str(inventory).unwrap();
        assert_eq!(group.required_item_ids(), BTreeSet::from([7, 9]));
        assert!(group.validates_members() && !group.has_session_rule());
    }
}
