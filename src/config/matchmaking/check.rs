//! Checks of queues, template groups, ranks and desertion: what they name must exist, and rules must be complete.

use super::profiles;
use crate::config::check::{PLAIN_NAME, is_plain_name};
use crate::config::{Config, Problem};
use crate::domain::matchmaking::deserter::DESERTERS_MAX;
use crate::domain::matchmaking::ruleset::{Rule, RuleType};
use crate::domain::matchmaking::{MatchTemplate, Rank, RankSource};

/// Largest number of regions that matchmaking takes: the matcher keeps those that a ticket accepts in 64 bits.
const REGIONS_MAX: usize = 64;

/// A place in the configuration: sections and settings, outermost first. Items of lists have their index.
#[derive(Clone)]
pub(super) struct Place(Vec<String>);

impl Place {
    /// An entry of a section.
    pub fn of(section: &str, id: &impl ToString) -> Self {
        Self(vec![section.into(), id.to_string()])
    }

    /// A setting, or an item of a list, at this place.
    pub fn at(&self, key: &impl ToString) -> Self {
        let mut place = self.clone();
        place.0.push(key.to_string());
        place
    }

    /// A problem of a setting at this place. The message begins with the setting.
    pub fn problem(&self, setting: &str, message: &str) -> Problem {
        let place = self.at(&setting);
        let path: Vec<_> = place.0.iter().map(String::as_str).collect();
        Problem::new(&path, format!("{setting} {message}"))
    }
}

/// Finds the first problem.
pub fn check(config: &Config) -> Result<(), Problem> {
    let names = config.queues.keys().map(|name| ("queues", name));
    for (section, name) in
        names.chain(config.match_making_profiles.keys().map(|name| ("match_making_profiles", name)))
    {
        if !is_plain_name(name) {
            return Err(Problem::new(&[section, name], format!("{name:?}: {PLAIN_NAME}")));
        }
    }
    for (id, queue) in &config.queues {
        let group = queue.match_making_template_group_id;
        if !config.match_making_template_groups.contains_key(&group) {
            let message = format!("there is no [match_making_template_groups.{group}]");
            let place = Place::of("queues", id);
            return Err(place.problem("match_making_template_group_id", &format!("is unknown: {message}")));
        }
    }
    for (id, group) in &config.match_making_template_groups {
        let templates = Place::of("match_making_template_groups", id).at(&"templates");
        for (index, template) in group.templates.iter().enumerate() {
            check_template(config, &templates.at(&index), template)?;
        }
    }
    for (id, rank) in &config.ranks {
        check_rank(&Place::of("ranks", id), rank)?;
    }
    if !config.match_making_profiles.is_empty() && config.regions.len() > REGIONS_MAX {
        let message = format!("with matchmaking, there are at most {REGIONS_MAX} regions");
        return Err(Problem::new(&["regions", ""], message));
    }
    if config.deserters.len() > DESERTERS_MAX {
        let message = format!("there are at most {DESERTERS_MAX} kinds of desertion");
        return Err(Problem::new(&["deserters", ""], message));
    }
    check_near(config)?;
    profiles::check(config)?;
    check_backfill(config)
}

fn check_template(config: &Config, place: &Place, template: &MatchTemplate) -> Result<(), Problem> {
    if template.profiles.is_empty() {
        return Err(place.problem("profiles", "names at least one profile"));
    }
    for (index, profile) in template.profiles.iter().enumerate() {
        if !config.match_making_profiles.contains_key(profile) {
            let message = format!("names {profile:?}: there is no [match_making_profiles.{profile:?}]");
            return Err(place.problem("profiles", &message));
        }
        if template.profiles[..index].contains(profile) {
            return Err(place.problem("profiles", &format!("names {profile:?} twice")));
        }
    }
    let rules = place.at(&"ruleset").at(&"rules");
    let mut each = template.ruleset.rules.iter().enumerate();
    each.try_for_each(|(index, rule)| check_rule(&rules.at(&index), rule))
}

fn check_rule(place: &Place, rule: &Rule) -> Result<(), Problem> {
    let takes_set = rule.comparison_operation.takes_set();
    match rule.rule_type {
        RuleType::RegionList if !takes_set => {
            return Err(
                place.problem("comparison_operation", "of a RegionList is \"in_set\" or \"not_in_set\"")
            );
        }
        RuleType::Inventory | RuleType::InventoryLevel if takes_set => {
            let message = "of an inventory rule compares with a number: \"eq\", \"ne\", \"lt\", \"le\", \"gt\" or \"ge\"";
            return Err(place.problem("comparison_operation", message));
        }
        RuleType::Inventory | RuleType::InventoryLevel if rule.item_id.is_none() => {
            return Err(place.problem("item_id", "is missing: an inventory rule names an item"));
        }
        _ => {}
    }
    match takes_set {
        true if rule.comparison_value_set.is_none() => Err(place.problem(
            "comparison_value_set",
            "is missing: \"in_set\" and \"not_in_set\" compare with a list of texts",
        )),
        false if rule.comparison_value.is_none() => {
            Err(place.problem("comparison_value", "is missing: this operation compares with a number"))
        }
        _ => Ok(()),
    }
}

fn check_rank(place: &Place, rank: &Rank) -> Result<(), Problem> {
    for (setting, value) in [
        ("default", rank.default),
        ("sigma_default", rank.sigma_default),
        ("min", rank.min),
        ("max", rank.max),
    ] {
        if !value.is_finite() {
            return Err(place.problem(setting, "is not a number"));
        }
    }
    if rank.sigma_from.is_some() && !matches!(rank.from, RankSource::Claim(_)) {
        let message = "needs from = \"claim:NAME\": only then the skills of single players are known";
        return Err(place.problem("sigma_from", message));
    }
    if rank.min > rank.max {
        return Err(place.problem("min", "is above max"));
    }
    if !(rank.min..=rank.max).contains(&rank.default) {
        return Err(place.problem("default", "is not from min to max"));
    }
    if rank.sigma_default <= 0.0 {
        return Err(place.problem("sigma_default", "must be above 0"));
    }
    Ok(())
}

/// Regions near a region are others that exist.
fn check_near(config: &Config) -> Result<(), Problem> {
    for (id, region) in &config.regions {
        let place = Place::of("regions", id);
        for (index, near) in region.near.iter().enumerate() {
            if near == id || !config.regions.contains_key(near) {
                let message = format!("names {near:?}: it takes ids of other regions");
                return Err(place.problem("near", &message));
            }
            if region.near[..index].contains(near) {
                return Err(place.problem("near", &format!("names {near:?} twice")));
            }
        }
    }
    Ok(())
}

/// A host that misses a confirmation or two must not lose its backfill.
fn check_backfill(config: &Config) -> Result<(), Problem> {
    let backfill = &config.backfill;
    let least = backfill.ack_every_s.saturating_mul(3);
    if backfill.expire_after_s < least {
        let message = format!("expire_after_s must be at least three times ack_every_s, {least}");
        return Err(Problem::new(&["backfill", "expire_after_s"], message));
    }
    Ok(())
}
