//! Rules of matchmaking templates: what a party must satisfy for a template to apply.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::PlayerUuid;

/// Rules that a party must satisfy (contract: `MatchMakingRuleset`), in the form of the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ruleset {
    /// How many of the rules must hold.
    pub determiner: Determiner,
    /// For which players they must hold.
    pub players_to_validate: PlayersToValidate,
    /// The rules. Without any, every party satisfies the ruleset.
    pub rules: Vec<Rule>,
}

/// A rule (contract: `Rule`), in the form of the configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What is compared.
    pub rule_type: RuleType,
    /// How it is compared.
    pub comparison_operation: Operation,
    /// The number with which it is compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison_value: Option<i64>,
    /// The texts among which it is looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison_value_set: Option<BTreeSet<String>>,
    /// The item, for rules of the inventory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item_id: Option<i64>,
}

/// What a rule compares (contract: `RuleType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RuleType {
    /// The number of items that a player has.
    Inventory,
    /// The level of an item that a player has.
    InventoryLevel,
    /// The number of active players of the party.
    JoiningSessionSize,
    /// The region of the party.
    RegionList,
}

impl RuleType {
    /// Whether the rule asks for something that players have.
    pub fn is_of_inventory(self) -> bool {
        matches!(self, Self::Inventory | Self::InventoryLevel)
    }
}

/// How a rule compares (contract: `Operation`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// The values are equal.
    Eq,
    /// The values are not equal.
    Ne,
    /// The observed value is less.
    Lt,
    /// The observed value is less or equal.
    Le,
    /// The observed value is greater.
    Gt,
    /// The observed value is greater or equal.
    Ge,
    /// The observed value is in the set.
    InSet,
    /// The observed value is not in the set.
    NotInSet,
}

impl Operation {
    /// Whether the rule compares with a set of texts, and not with a number.
    pub fn takes_set(self) -> bool {
        matches!(self, Self::InSet | Self::NotInSet)
    }
}

/// How many rules of a ruleset must hold (contract: `Determiner`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Determiner {
    /// All.
    #[default]
    #[serde(rename = "allOf")]
    All,
    /// At least one.
    #[serde(rename = "anyOf")]
    Any,
    /// Exactly one.
    #[serde(rename = "oneOf")]
    One,
    /// None.
    #[serde(rename = "noneOf")]
    None,
}

/// For which players of a party a ruleset must hold (contract: `PlayersToValidate`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlayersToValidate {
    /// For the leader.
    #[default]
    Leader,
    /// For every active player.
    AllMembers,
    /// For at least one active player.
    AnyMember,
}

/// What rules ask about a party.
#[derive(Clone, Copy, Debug)]
pub struct Party<'a> {
    /// The active players: the leader first, or the one who joined first if nobody leads. At least one.
    pub players: &'a [PlayerUuid],
    /// The preferred region of the party.
    pub region_id: Option<&'a str>,
}

/// How many of an item a player has, or the level of the item.
pub type Owned<'a> = &'a dyn Fn(PlayerUuid, RuleType, i64) -> i64;

/// The inventory of a server without an inventory service: nobody has anything.
pub const NOTHING_OWNED: Owned<'static> = &|_, _, _| 0;

impl Ruleset {
    /// Whether a party satisfies the rules.
    pub fn holds(&self, party: &Party<'_>, owned: Owned<'_>) -> bool {
        if self.rules.is_empty() {
            return true;
        }
        let holds_for = |player: &PlayerUuid| self.holds_for(*player, party, owned);
        match self.players_to_validate {
            PlayersToValidate::Leader => party.players.first().is_some_and(holds_for),
            PlayersToValidate::AllMembers => party.players.iter().all(holds_for),
            PlayersToValidate::AnyMember => party.players.iter().any(holds_for),
        }
    }

    fn holds_for(&self, player: PlayerUuid, party: &Party<'_>, owned: Owned<'_>) -> bool {
        let holding = self.rules.iter().filter(|rule| rule.holds(player, party, owned)).count();
        match self.determiner {
            Determiner::All => holding == self.rules.len(),
            Determiner::Any => holding > 0,
            Determiner::One => holding == 1,
            Determiner::None => holding == 0,
        }
    }
}

impl Rule {
    fn holds(&self, player: PlayerUuid, party: &Party<'_>, owned: Owned<'_>) -> bool {
        let number = match self.rule_type {
            RuleType::RegionList => return self.region_holds(party.region_id),
            RuleType::JoiningSessionSize => i64::try_from(party.players.len()).unwrap_or(i64::MAX),
            RuleType::Inventory | RuleType::InventoryLevel => {
                self.item_id.map_or(0, |item| owned(player, self.rule_type, item))
            }
        };
        let with = |compare: fn(&i64, &i64) -> bool| {
            self.comparison_value.is_some_and(|value| compare(&number, &value))
        };
        match self.comparison_operation {
            Operation::Eq => with(i64::eq),
            Operation::Ne => with(i64::ne),
            Operation::Lt => with(i64::lt),
            Operation::Le => with(i64::le),
            Operation::Gt => with(i64::gt),
            Operation::Ge => with(i64::ge),
            Operation::InSet => self.is_in_set(&number.to_string()),
            Operation::NotInSet => !self.is_in_set(&number.to_string()),
        }
    }

    /// A party without a region is in no set of regions.
    fn region_holds(&self, region_id: Option<&str>) -> bool {
        let is_in_set = region_id.is_some_and(|region_id| self.is_in_set(region_id));
        match self.comparison_operation {
            Operation::InSet => is_in_set,
            Operation::NotInSet => !is_in_set,
            // The configuration has no such rule.
            _ => false,
        }
    }

    fn is_in_set(&self, text: &str) -> bool {
        self.comparison_value_set.as_ref().is_some_and(|set| set.contains(text))
    }
}

#[cfg(test)]
#[path = "ruleset_tests.rs"]
mod tests;
