//! Checks of matchmaking profiles: what they name must exist, and their limits must fit together.

use serde_json::Value;

use super::check::Place;
use crate::config::{Config, Problem};
use crate::domain::limits;
use crate::domain::matchmaking::profile::{
    FIELDS_MAX, JoinMode, MATCH_PLAYERS_MAX, POOLS_MAX, Pool, Profile, RANK_FIELD, RegionStep, Step,
};

/// Largest number of maps in a list of a profile: the matcher keeps those that a ticket accepts in 128 bits.
const MAPS_MAX: usize = 128;
/// Largest number of items in each other list of a profile. It keeps a pass of the matcher short.
const ITEMS_MAX: usize = 32;
/// Longest name of a value of tickets, in characters (as in a request).
const NAME_CHARS_MAX: usize = 128;

/// Finds the first problem of a profile.
pub fn check(config: &Config) -> Result<(), Problem> {
    for (id, profile) in &config.match_making_profiles {
        let place = Place::of("match_making_profiles", id);
        check_names(config, &place, profile)?;
        check_sizes(&place, profile)?;
        check_skill(&place, profile)?;
        check_fields(&place, profile)?;
        check_regions(config, &place, profile)?;
        let pools = place.at(&"pools");
        if profile.pools.is_empty() || profile.pools.len() > POOLS_MAX {
            return Err(place.problem("pools", &format!("takes 1 to {POOLS_MAX} pools")));
        }
        let mut each = profile.pools.iter().enumerate();
        each.try_for_each(|(index, pool)| check_pool(&pools.at(&index), pool))?;
        check_legacy(&place, profile)?;
    }
    Ok(())
}

/// What the profile names must exist.
fn check_names(config: &Config, place: &Place, profile: &Profile) -> Result<(), Problem> {
    if !config.templates.contains_key(&profile.session_type) {
        let message = format!("is unknown: there is no [templates.{:?}]", profile.session_type);
        return Err(place.problem("session_type", &message));
    }
    if let Some(id) = profile.instance_request_template_id {
        let Some(template) = config.instance_templates.get(&id) else {
            let message = format!("is unknown: there is no [instance_templates.{id}]");
            return Err(place.problem("instance_request_template_id", &message));
        };
        if template.maps.len() > MAPS_MAX {
            let message =
                format!("has {} maps: with matchmaking, it has at most {MAPS_MAX}", template.maps.len());
            return Err(place.problem("instance_request_template_id", &message));
        }
    }
    if let Some(id) = profile.rank_id.filter(|id| !config.ranks.contains_key(id)) {
        return Err(place.problem("rank_id", &format!("is unknown: there is no [ranks.{id}]")));
    }
    if let Some(id) = profile.deserter_id.filter(|id| !config.deserters.contains_key(id)) {
        return Err(place.problem("deserter_id", &format!("is unknown: there is no [deserters.{id}]")));
    }
    if profile.created_before_s > 0 && profile.join_mode != JoinMode::CreatedBefore {
        return Err(place.problem("created_before_s", "needs join_mode = \"created_before\""));
    }
    Ok(())
}

fn check_sizes(place: &Place, profile: &Profile) -> Result<(), Problem> {
    if profile.min_players_per_side > profile.max_players_per_side {
        return Err(place.problem("min_players_per_side", "is above max_players_per_side"));
    }
    if profile.min_players_per_party > profile.max_players_per_party {
        return Err(place.problem("min_players_per_party", "is above max_players_per_party"));
    }
    if profile.min_players_per_party > profile.max_players_per_side {
        let message = "is above max_players_per_side: a party is on one side as a whole";
        return Err(place.problem("min_players_per_party", message));
    }
    let players = profile.num_sides * profile.max_players_per_side;
    if players > MATCH_PLAYERS_MAX {
        let message = format!(
            "times max_players_per_side is {players}: a match has at most {MATCH_PLAYERS_MAX} players"
        );
        return Err(place.problem("num_sides", &message));
    }
    if profile.size_widen.is_some_and(|widen| widen.full_for_s > widen.min_after_s) {
        return Err(place.problem("size_widen", "full_for_s is above min_after_s"));
    }
    Ok(())
}

/// Limits on skill need a rank.
fn check_skill(place: &Place, profile: &Profile) -> Result<(), Problem> {
    check_steps(place, "side_skill_delta", &profile.side_skill_delta)?;
    check_steps(place, "latency_ms", &profile.latency_ms)?;
    if profile.rank_id.is_some() {
        return Ok(());
    }
    if !profile.side_skill_delta.is_empty() {
        return Err(place.problem("side_skill_delta", "needs rank_id: without a rank, no ticket has a skill"));
    }
    if profile.fields.iter().any(|field| field.name == RANK_FIELD) {
        return Err(place.problem("fields", "names \"rank\", which needs rank_id"));
    }
    Ok(())
}

fn check_fields(place: &Place, profile: &Profile) -> Result<(), Problem> {
    if profile.fields.len() > FIELDS_MAX {
        return Err(place.problem("fields", &format!("takes at most {FIELDS_MAX} fields")));
    }
    for (index, field) in profile.fields.iter().enumerate() {
        let at = place.at(&"fields").at(&index);
        check_name(&at, "name", &field.name)?;
        if profile.fields[..index].iter().any(|other| other.name == field.name) {
            return Err(at.problem("name", &format!("{:?} is there twice", field.name)));
        }
        if !field.default.is_finite() {
            return Err(at.problem("default", "is not a number"));
        }
        if !field.weight.is_finite() || field.weight <= 0.0 {
            return Err(at.problem("weight", "must be a number above 0"));
        }
        check_steps(&at, "widen", &field.widen)?;
    }
    if profile.equal.len() > ITEMS_MAX {
        return Err(place.problem("equal", &format!("takes at most {ITEMS_MAX} names")));
    }
    profile.equal.iter().try_for_each(|name| check_name(place, "equal", name))
}

fn check_regions(config: &Config, place: &Place, profile: &Profile) -> Result<(), Problem> {
    let steps = &profile.region_widen;
    if steps.is_empty() {
        return Ok(());
    }
    if config.regions.is_empty() {
        return Err(place.problem("region_widen", "needs regions: there is no [regions.…]"));
    }
    if steps.len() > ITEMS_MAX {
        return Err(place.problem("region_widen", &format!("takes at most {ITEMS_MAX} steps")));
    }
    if steps[0].after_s != 0 {
        return Err(place.problem("region_widen", "begins with after_s = 0"));
    }
    let narrows = |pair: &[RegionStep]| pair[1].after_s <= pair[0].after_s || pair[1].to < pair[0].to;
    match steps.windows(2).any(narrows) {
        true => Err(place.problem("region_widen", ASCENDING)),
        false => Ok(()),
    }
}

/// The rule of all lists of steps.
const ASCENDING: &str =
    "must ascend in after_s, and each step must allow at least what the one before allows";

/// A limit that widens with age.
fn check_steps(place: &Place, setting: &str, steps: &[Step]) -> Result<(), Problem> {
    let Some(first) = steps.first() else { return Ok(()) };
    if steps.len() > ITEMS_MAX {
        return Err(place.problem(setting, &format!("takes at most {ITEMS_MAX} steps")));
    }
    if first.after_s != 0 {
        return Err(place.problem(setting, "begins with after_s = 0"));
    }
    let mut values = steps.iter().filter_map(|step| step.value);
    if values.any(|value| !value.is_finite() || value < 0.0) {
        return Err(place.problem(setting, "takes values of 0 or more; a step without a value has no limit"));
    }
    let limit = |step: &Step| step.value.unwrap_or(f64::INFINITY);
    let narrows = |pair: &[Step]| pair[1].after_s <= pair[0].after_s || limit(&pair[1]) < limit(&pair[0]);
    match steps.windows(2).any(narrows) {
        true => Err(place.problem(setting, ASCENDING)),
        false => Ok(()),
    }
}

fn check_pool(place: &Place, pool: &Pool) -> Result<(), Problem> {
    let lists = [
        ("double_ranges", pool.double_ranges.len()),
        ("string_equals", pool.string_equals.len()),
        ("tags_present", pool.tags_present.len()),
    ];
    if let Some((setting, _)) = lists.into_iter().find(|(_, len)| *len > ITEMS_MAX) {
        return Err(place.problem(setting, &format!("takes at most {ITEMS_MAX} items")));
    }
    for (index, range) in pool.double_ranges.iter().enumerate() {
        let at = place.at(&"double_ranges").at(&index);
        check_name(&at, "arg", &range.arg)?;
        if range.min.is_nan() || range.max.is_nan() || range.min > range.max {
            return Err(at.problem("min", "must be a number, at most max"));
        }
    }
    for (index, equal) in pool.string_equals.iter().enumerate() {
        check_name(&place.at(&"string_equals").at(&index), "arg", &equal.arg)?;
    }
    let bounds = pool.created_before_s.zip(pool.created_after_s);
    if bounds.is_some_and(|(youngest, oldest)| youngest > oldest) {
        let message = "is above created_after_s: the pool would take no ticket";
        return Err(place.problem("created_before_s", message));
    }
    Ok(())
}

/// The first version of the contract shows the data as texts, with the limits of custom data.
fn check_legacy(place: &Place, profile: &Profile) -> Result<(), Problem> {
    let mut values = profile.legacy_config.iter().flatten();
    if let Some((name, _)) = values.find(|(_, value)| !is_plain(value)) {
        let message =
            format!("{name:?} takes texts, numbers, true, false, lists and tables; put a date in quotes");
        return Err(place.problem("legacy_config", &message));
    }
    limits::check_custom_data(&profile.legacy_texts())
        .map_err(|message| place.problem("legacy_config", &format!("as texts: {message}")))
}

fn check_name(place: &Place, setting: &str, name: &str) -> Result<(), Problem> {
    match name.chars().count() {
        1..=NAME_CHARS_MAX => Ok(()),
        _ => Err(place.problem(setting, &format!("takes 1 to {NAME_CHARS_MAX} characters"))),
    }
}

/// Whether a value has the same meaning in JSON. Dates of TOML and numbers like `nan` do not.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(items) => items.iter().all(is_plain),
        Value::Object(members) => {
            members.iter().all(|(name, value)| !name.starts_with("$__toml") && is_plain(value))
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}
