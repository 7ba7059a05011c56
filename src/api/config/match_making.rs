//! Matchmaking profiles and templates from the configuration, in their current and their older form.

use std::collections::BTreeSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::api::wire::match_making::{LegacyProfileView, ProfileView};
use crate::app::App;
use crate::app::waits::{Topic, WaitOn};
use crate::auth::Caller;
use crate::document::Document;
use crate::domain::matchmaking::ruleset::{
    Determiner, Operation, PlayersToValidate, Rule, RuleType, Ruleset,
};
use crate::domain::matchmaking::{MatchTemplate, Matchmaking, MmrGrouping, Profile, TemplateGroup};
use crate::http::error::Error;
use crate::http::input::param_types::ProfileId;
use crate::http::input::params::params;
use crate::http::operation::Input;
use crate::http::reply::{Reply, Watched};

params! {
    /// Path of a group of matchmaking templates.
    TemplateGroupPath in "path" {
        /// Id of the group.
        template_group_id: Uuid,
    }
}

params! {
    /// Path of a matchmaking profile.
    ProfilePath in "path" {
        /// Id of the profile.
        match_making_profile_id: ProfileId,
    }
}

/// A group of matchmaking templates. The first one that a party satisfies applies.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MatchMakingTemplateGroupV2")]
pub struct TemplateGroupView {
    /// Id of the group.
    match_making_template_group_id: Uuid,
    /// Templates in order.
    template_options: Vec<TemplateView>,
    /// Deprecated: items that some rule asks for.
    required_item_ids: BTreeSet<i64>,
    /// Deprecated: whether rules ask for the items of more players than the leader.
    requires_all_players_items: bool,
    /// Deprecated: whether rules ask for the size or the region of the session.
    includes_session_rule: bool,
}

/// A matchmaking template: what a party must satisfy, and the profiles that its ticket then enters.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MatchMakingTemplateV2")]
pub struct TemplateView {
    /// Id of the template.
    #[serde(skip_serializing_if = "Option::is_none")]
    match_making_template_id: Option<Uuid>,
    /// How the skill of a party follows from the skills of its players.
    mmr_grouping_method: MmrGrouping,
    /// What a party must satisfy.
    ruleset: RulesetView,
    /// Profiles that the ticket of the party enters.
    profiles: Vec<ProfileView>,
}

/// Deprecated: a group of matchmaking templates in its older form.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MatchMakingTemplateGroup")]
pub struct LegacyTemplateGroupView {
    /// Id of the group.
    template_group_id: Uuid,
    /// Templates in order.
    template_options: Vec<LegacyTemplateView>,
    /// Items that some rule asks for.
    required_item_ids: BTreeSet<i64>,
}

/// Deprecated: a matchmaking template in its older form.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MatchMakingTemplate")]
pub struct LegacyTemplateView {
    /// Id of the template.
    #[serde(skip_serializing_if = "Option::is_none")]
    match_making_template_id: Option<Uuid>,
    /// How the skill of a party follows from the skills of its players.
    mmr_grouping_method: MmrGrouping,
    /// What a party must satisfy.
    ruleset: RulesetView,
    /// Profiles that the ticket of the party enters.
    profiles: Vec<LegacyProfileView>,
}

/// Rules that a party must satisfy. Every party satisfies a ruleset without rules.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MatchMakingRuleset")]
pub struct RulesetView {
    /// Rules.
    rules: Vec<RuleView>,
    /// How many of the rules must hold.
    determiner: Determiner,
    /// Players for whom the rules must hold.
    players_to_validate: PlayersToValidate,
}

/// A rule: something of the party or of a player, compared with a number or a list.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Rule")]
pub struct RuleView {
    /// What is compared.
    rule_type: RuleType,
    /// How it is compared.
    comparison_operation: Operation,
    /// Number with which it is compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison_value: Option<i64>,
    /// Texts among which it is looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison_value_set: Option<BTreeSet<String>>,
    /// Item, for rules of the inventory.
    #[serde(skip_serializing_if = "Option::is_none")]
    item_id: Option<i64>,
}

impl RulesetView {
    fn of(ruleset: &Ruleset) -> Self {
        let rule = |rule: &Rule| RuleView {
            rule_type: rule.rule_type,
            comparison_operation: rule.comparison_operation,
            comparison_value: rule.comparison_value,
            comparison_value_set: rule.comparison_value_set.clone(),
            item_id: rule.item_id,
        };
        Self {
            rules: ruleset.rules.iter().map(rule).collect(),
            determiner: ruleset.determiner,
            players_to_validate: ruleset.players_to_validate,
        }
    }
}

/// The profiles of a template, in its order.
fn profiles_of<T>(
    matchmaking: &Matchmaking,
    template: &MatchTemplate,
    view: impl Fn(&str, &Profile) -> T,
) -> Vec<T> {
    let known = template.profiles.iter().filter_map(|id| Some((id, matchmaking.profiles.get(id)?)));
    known.map(|(id, profile)| view(id, profile)).collect()
}

impl TemplateGroupView {
    fn of(matchmaking: &Matchmaking, id: Uuid, group: &TemplateGroup) -> Self {
        let template = |template: &MatchTemplate| TemplateView {
            match_making_template_id: template.match_making_template_id,
            mmr_grouping_method: template.mmr_grouping_method,
            ruleset: RulesetView::of(&template.ruleset),
            profiles: profiles_of(matchmaking, template, ProfileView::of),
        };
        Self {
            match_making_template_group_id: id,
            template_options: group.templates.iter().map(template).collect(),
            required_item_ids: group.required_item_ids(),
            requires_all_players_items: group.validates_members(),
            includes_session_rule: group.has_session_rule(),
        }
    }
}

impl LegacyTemplateGroupView {
    fn of(matchmaking: &Matchmaking, id: Uuid, group: &TemplateGroup) -> Self {
        let template = |template: &MatchTemplate| LegacyTemplateView {
            match_making_template_id: template.match_making_template_id,
            mmr_grouping_method: template.mmr_grouping_method,
            ruleset: RulesetView::of(&template.ruleset),
            profiles: profiles_of(matchmaking, template, LegacyProfileView::of),
        };
        Self {
            template_group_id: id,
            template_options: group.templates.iter().map(template).collect(),
            required_item_ids: group.required_item_ids(),
        }
    }
}

fn watched<T: Serialize + JsonSchema>(view: &T) -> Reply<Watched<T>> {
    Reply::watched(&Document::of(view), WaitOn::topic(Topic::Catalog))
}

/// Reads a group of matchmaking templates.
pub async fn template_group(
    app: Arc<App>,
    _: Caller,
    Input { path, .. }: Input<TemplateGroupPath>,
) -> Result<Reply<Watched<TemplateGroupView>>, Error> {
    let matchmaking = Arc::clone(&app.catalog().matchmaking);
    let id = path.template_group_id;
    Ok(watched(&TemplateGroupView::of(&matchmaking, id, matchmaking.template_group(id)?)))
}

/// Deprecated: reads a group of matchmaking templates in its older form.
pub async fn legacy_template_group(
    app: Arc<App>,
    _: Caller,
    Input { path, .. }: Input<TemplateGroupPath>,
) -> Result<Reply<Watched<LegacyTemplateGroupView>>, Error> {
    let matchmaking = Arc::clone(&app.catalog().matchmaking);
    let id = path.template_group_id;
    Ok(watched(&LegacyTemplateGroupView::of(&matchmaking, id, matchmaking.template_group(id)?)))
}

/// Reads a matchmaking profile.
pub async fn profile(
    app: Arc<App>,
    _: Caller,
    Input { path, .. }: Input<ProfilePath>,
) -> Result<Reply<Watched<ProfileView>>, Error> {
    let id = &path.match_making_profile_id.0;
    Ok(watched(&ProfileView::of(id, app.catalog().matchmaking.profile(id)?)))
}

/// Deprecated: reads a matchmaking profile in its older form.
pub async fn legacy_profile(
    app: Arc<App>,
    _: Caller,
    Input { path, .. }: Input<ProfilePath>,
) -> Result<Reply<Watched<LegacyProfileView>>, Error> {
    let id = &path.match_making_profile_id.0;
    Ok(watched(&LegacyProfileView::of(id, app.catalog().matchmaking.profile(id)?)))
}
