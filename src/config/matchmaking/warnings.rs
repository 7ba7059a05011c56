//! Settings of matchmaking that are allowed and that an operator seldom wants.

use crate::config::Config;
use crate::domain::matchmaking::profile::InviteTime;

/// Adds the warnings about matchmaking.
pub fn warn(config: &Config, warnings: &mut Vec<String>) {
    for (id, group) in &config.match_making_template_groups {
        let section = format!("[match_making_template_groups.{id}]");
        if group.templates.iter().all(|template| !template.ruleset.rules.is_empty()) {
            warnings.push(format!(
                "{section} every template has rules: a party that satisfies none of them cannot queue; add a last template \
                 without rules"
            ));
        }
        let takes_all = group.templates.iter().position(|template| template.ruleset.rules.is_empty());
        if let Some(last) = takes_all.filter(|at| at + 1 < group.templates.len()) {
            warnings.push(format!(
                "{section} the template number {} has no rules and takes every party, so those after it never count; move it \
                 to the end",
                last + 1
            ));
        }
        let mut rules = group.templates.iter().flat_map(|template| &template.ruleset.rules);
        if rules.any(|rule| rule.rule_type.is_of_inventory()) {
            warnings.push(format!(
                "{section} has a rule of the inventory: there is no inventory service, so every count and level is 0"
            ));
        }
    }
    for (id, profile) in &config.match_making_profiles {
        if profile.invite == InviteTime::WhenJoinable && profile.instance_request_template_id.is_none() {
            warnings.push(format!(
                "[match_making_profiles.{id:?}] invite = \"when_joinable\", and no instance template: nobody is invited before \
                 a matched player, who is not told of the match, has made an instance; set instance_request_template_id"
            ));
        }
        let Some(template) = config.templates.get(&profile.session_type) else { continue };
        if template.default_public && template.joins_first() {
            warnings.push(format!(
                "[match_making_profiles.{id:?}] session_type = {:?}: create-or-join finds such sessions, and they are open \
                 to everyone, so strangers may take the slots of matched players; use a session template with \
                 default_public = false",
                profile.session_type
            ));
        }
    }
}
