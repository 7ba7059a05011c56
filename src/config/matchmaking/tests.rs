use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::config::tests::parse;
use crate::config::{Config, DEFAULT_FILE};
use crate::domain::matchmaking::profile::{
    DoubleRange, Field, Pool, RegionStep, SizeWiden, Step, StringEquals,
};
use crate::domain::matchmaking::ruleset::{Rule, Ruleset};
use crate::domain::matchmaking::{MatchTemplate, Profile, Queue, Rank, TemplateGroup};
use crate::domain::region::Region;

/// The default file with the examples of these sections, which are comments in it.
fn with_examples() -> String {
    let sections =
        ["[regions.", "[instance_templates.", "[ranks.", "[queues.", "[match_making_", "[deserters."];
    let mut is_example = false;
    let mut text = String::from("[templates.game]\nnum_teams = 2\n");
    for line in DEFAULT_FILE.lines() {
        let Some(shown) = line.strip_prefix("# ") else {
            is_example = false;
            continue;
        };
        let header = shown.trim_start_matches('[');
        is_example |=
            shown.starts_with('[') && sections.iter().any(|section| header.starts_with(&section[1..]));
        if is_example {
            text += shown;
            text += "\n";
        }
    }
    text
}

/// The names of all settings of a type, from the error about an unknown one.
fn settings_of<T: DeserializeOwned>() -> BTreeSet<String> {
    let unknown = Table::from_iter([("no such setting".to_owned(), Value::Boolean(true))]);
    let error = unknown.try_into::<T>().err().expect("unknown settings are refused").to_string();
    let names = error.split('`').skip(3).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>();
    assert!(!names.is_empty(), "{error}");
    names
}

fn settings_in(value: &Value) -> BTreeSet<String> {
    value.as_table().unwrap().keys().cloned().collect()
}

#[test]
fn the_examples_in_the_default_file_have_every_setting() {
    let text = with_examples();
    parse(&text, &[]).unwrap();
    let example: Table = text.parse().unwrap();
    let first = |section: &str| example[section].as_table().unwrap().values().next().unwrap().clone();
    let (group, profile) = (first("match_making_template_groups"), first("match_making_profiles"));
    assert_eq!(settings_in(&first("regions")), settings_of::<Region>());
    assert_eq!(settings_in(&first("ranks")), settings_of::<Rank>());
    assert_eq!(settings_in(&first("queues")), settings_of::<Queue>());
    assert_eq!(settings_in(&group), settings_of::<TemplateGroup>());
    let template = &group["templates"][0];
    assert_eq!(settings_in(template), settings_of::<MatchTemplate>());
    assert_eq!(settings_in(&template["ruleset"]), settings_of::<Ruleset>());
    let rules = template["ruleset"]["rules"].as_array().unwrap();
    assert_eq!(rules.iter().flat_map(settings_in).collect::<BTreeSet<_>>(), settings_of::<Rule>());
    assert_eq!(settings_in(&profile), settings_of::<Profile>());
    let pool = &profile["pools"][0];
    assert_eq!(settings_in(pool), settings_of::<Pool>());
    assert_eq!(settings_in(&pool["double_ranges"][0]), settings_of::<DoubleRange>());
    assert_eq!(settings_in(&pool["string_equals"][0]), settings_of::<StringEquals>());
    assert_eq!(settings_in(&profile["size_widen"]), settings_of::<SizeWiden>());
    assert_eq!(settings_in(&profile["fields"][0]), settings_of::<Field>());
    assert_eq!(settings_in(&profile["region_widen"][0]), settings_of::<RegionStep>());
    assert_eq!(settings_in(&profile["latency_ms"][0]), settings_of::<Step>());
    assert_eq!(first("deserters"), Value::Table(Table::new()));
}

#[test]
fn there_is_no_matchmaking_by_default() {
    let config = Config::default();
    assert!(config.queues.is_empty() && config.match_making_profiles.is_empty() && config.ranks.is_empty());
    assert!(config.match_making_template_groups.is_empty() && config.deserters.is_empty());
}

const GROUP: &str = "00000000-0000-4000-8000-0000000000a1";
const RANK: &str = "00000000-0000-4000-8000-0000000000f1";

/// A small configuration that is right. `profile` is more of its profile, `ruleset` that of its first template.
fn config(profile: &str, ruleset: &str) -> String {
    format!(
        "[queues.q]
match_making_template_group_id = \"{GROUP}\"
[[match_making_template_groups.{GROUP}.templates]]
profiles = [\"p\"]
{ruleset}
[[match_making_template_groups.{GROUP}.templates]]
profiles = [\"p\"]
[ranks.{RANK}]
[regions.eu]
[regions.uk]
[templates.match]
[match_making_profiles.p]
session_type = \"match\"
{profile}
"
    )
}

/// The line of the first template's ruleset, and that of the last setting of the profile.
const RULESET_LINE: usize = 5;
const PROFILE_LINE: usize = 14;

#[track_caller]
fn refused(text: &str, line: usize, expected: &str) {
    let message = parse(text, &[]).expect_err(text);
    assert!(message.contains(&format!("line {line}")) && message.contains(expected), "{message}\n{text}");
}

#[test]
fn ids_must_name_what_exists() {
    parse(&config("", ""), &[]).unwrap();
    let unknown = "00000000-0000-4000-8000-00000000beef";
    refused(&config("", "").replacen(GROUP, unknown, 1), 2, "there is no [match_making_template_groups.");
    refused(
        &config("", "").replace("[\"p\"]", "[\"p\", \"r\"]"),
        4,
        "names \"r\": there is no [match_making_profiles.",
    );
    refused(&config("", "").replacen("[\"p\"]", "[\"p\", \"p\"]", 1), 4, "names \"p\" twice");
    refused(&config("", "").replacen("[\"p\"]", "[]", 1), 4, "names at least one profile");
    refused(&config("", "").replace("\"match\"", "\"duel\""), 13, "there is no [templates.\"duel\"]");
    for (setting, section) in [
        ("rank_id", "ranks"),
        ("deserter_id", "deserters"),
        ("instance_request_template_id", "instance_templates"),
    ] {
        let text = config(&format!("{setting} = \"{unknown}\""), "");
        refused(
            &text,
            PROFILE_LINE,
            &format!("[match_making_profiles.p] {setting} is unknown: there is no [{section}."),
        );
    }
    let near = |near: &str| config("", "").replace("[regions.uk]", &format!("[regions.uk]\nnear = {near}"));
    parse(&near("[\"eu\"]"), &[]).unwrap();
    refused(&near("[\"us\"]"), 11, "names \"us\": it takes ids of other regions");
    refused(&near("[\"uk\"]"), 11, "names \"uk\": it takes ids of other regions");
    refused(&near("[\"eu\", \"eu\"]"), 11, "twice");
}

#[test]
fn names_are_plain() {
    let long = "x".repeat(129);
    refused(&config("", "").replace("[queues.q]", &format!("[queues.{long}]")), 1, "1 to 128 characters");
    refused(&config("", "").replace("[queues.q]", "[queues.\"a\\u0000\"]"), 1, "no control characters");
    let text = config("", "")
        .replace("[match_making_profiles.p]", "[match_making_profiles.p]\n[match_making_profiles.\"\\n\"]");
    refused(&text, 13, "no control characters");
}

#[test]
fn rules_must_be_complete() {
    let ruleset = |rule: &str| {
        let header = format!("[match_making_template_groups.{GROUP}.templates.ruleset]");
        config("", &format!("{header}\nrules = [{{ {rule} }}]"))
    };
    let size = "rule_type = \"JoiningSessionSize\", comparison_operation";
    let region = "rule_type = \"RegionList\", comparison_operation";
    let item = "rule_type = \"Inventory\", comparison_operation";
    for right in [
        format!("{size} = \"le\", comparison_value = 2"),
        format!("{size} = \"in_set\", comparison_value_set = [\"2\"]"),
        format!("{region} = \"not_in_set\", comparison_value_set = [\"eu\"]"),
        format!("{item} = \"ge\", comparison_value = 1, item_id = 7"),
    ] {
        parse(&ruleset(&right), &[]).unwrap();
    }
    for (wrong, expected) in [
        (format!("{size} = \"le\""), "comparison_value is missing"),
        (format!("{size} = \"in_set\", comparison_value = 2"), "comparison_value_set is missing"),
        (
            format!("{region} = \"eq\", comparison_value = 2"),
            "of a RegionList is \"in_set\" or \"not_in_set\"",
        ),
        (
            format!("{item} = \"in_set\", comparison_value_set = [\"2\"], item_id = 7"),
            "compares with a number",
        ),
        (format!("{item} = \"ge\", comparison_value = 1"), "item_id is missing"),
        (format!("{size} = \"about\""), "unknown variant `about`"),
    ] {
        refused(&ruleset(&wrong), RULESET_LINE + 1, expected);
    }
}

#[test]
fn limits_of_profiles_must_fit_together() {
    for (setting, expected) in [
        ("min_players_per_side = 2", "min_players_per_side is above max_players_per_side"),
        ("min_players_per_party = 2\nmax_players_per_party = 1", "is above max_players_per_party"),
        ("min_players_per_party = 2", "a party is on one side as a whole"),
        ("num_sides = 51", "51 is not from 1 to 50"),
        ("max_players_per_side = 101", "101 is not from 1 to 100"),
        ("num_sides = 3\nmax_players_per_side = 67", "is 201: a match has at most 200 players"),
        ("size_widen = { full_for_s = 61, min_after_s = 60 }", "full_for_s is above min_after_s"),
        ("created_before_s = 30", "needs join_mode = \"created_before\""),
        ("fields = [{ name = \"rank\" }]", "needs rank_id"),
        ("side_skill_delta = [{ after_s = 0, value = 2 }]", "needs rank_id"),
        ("fields = [{ name = \"\" }]", "takes 1 to 128 characters"),
        ("fields = [{ name = \"a\" }, { name = \"a\" }]", "\"a\" is there twice"),
        ("fields = [{ name = \"a\", weight = 0.0 }]", "weight must be a number above 0"),
        ("fields = [{ name = \"a\", default = nan }]", "default is not a number"),
        ("equal = [\"\"]", "takes 1 to 128 characters"),
        ("pools = []", "takes 1 to 16 pools"),
        (
            "pools = [{ double_ranges = [{ arg = \"a\", min = 2, max = 1 }] }]",
            "must be a number, at most max",
        ),
        (
            "pools = [{ double_ranges = [{ arg = \"a\", min = nan, max = 1 }] }]",
            "must be a number, at most max",
        ),
        ("pools = [{ created_before_s = 9, created_after_s = 8 }]", "the pool would take no ticket"),
        ("legacy_config = { a = 2026-11-30 }", "put a date in quotes"),
        ("legacy_config = { a = \"\" }", "custom_data.a takes 1 to 4096 characters"),
        ("sides = []", "unknown field `sides`"),
    ] {
        let text = config(setting, "");
        let message = parse(&text, &[]).expect_err(setting);
        let line = (PROFILE_LINE..PROFILE_LINE + 2).any(|line| message.contains(&format!("line {line}")));
        assert!(line && message.contains(expected), "{setting}: {message}");
    }
    let fields: Vec<_> = (0..9).map(|index| format!("{{ name = \"{index}\" }}")).collect();
    refused(
        &config(&format!("fields = [{}]", fields.join(", ")), ""),
        PROFILE_LINE,
        "takes at most 8 fields",
    );
    let pools = "pools = [".to_owned() + &"{},".repeat(17) + "]";
    refused(&config(&pools, ""), PROFILE_LINE, "takes 1 to 16 pools");
}

#[test]
fn limits_only_widen_with_age() {
    for (steps, expected) in [
        ("[{ after_s = 0, value = 2 }, { after_s = 30, value = 2 }, { after_s = 60 }]", None),
        ("[{ after_s = 1, value = 2 }]", Some("begins with after_s = 0")),
        ("[{ after_s = 0, value = 2 }, { after_s = 0, value = 3 }]", Some("must ascend")),
        ("[{ after_s = 0, value = 2 }, { after_s = 9, value = 1 }]", Some("must ascend")),
        ("[{ after_s = 0 }, { after_s = 9, value = 1 }]", Some("must ascend")),
        ("[{ after_s = 0, value = -1 }]", Some("0 or more")),
        ("[{ after_s = 0, value = inf }]", Some("0 or more")),
    ] {
        for text in [
            config(&format!("latency_ms = {steps}"), ""),
            config(&format!("fields = [{{ name = \"a\", widen = {steps} }}]"), ""),
            config(&format!("side_skill_delta = {steps}\nrank_id = \"{RANK}\""), ""),
        ] {
            match expected {
                None => drop(parse(&text, &[]).unwrap()),
                Some(expected) => refused(&text, PROFILE_LINE, expected),
            }
        }
    }
    for (steps, expected) in [
        ("[{ after_s = 0, to = \"own\" }, { after_s = 9, to = \"any\" }]", None),
        ("[{ after_s = 0, to = \"any\" }, { after_s = 9, to = \"near\" }]", Some("must ascend")),
        ("[{ after_s = 5, to = \"own\" }]", Some("begins with after_s = 0")),
    ] {
        let text = config(&format!("region_widen = {steps}"), "");
        match expected {
            None => drop(parse(&text, &[]).unwrap()),
            Some(expected) => refused(&text, PROFILE_LINE, expected),
        }
    }
    let without_regions = config("region_widen = [{ after_s = 0, to = \"any\" }]", "");
    let without_regions = without_regions.replace("[regions.eu]\n[regions.uk]\n", "");
    refused(&without_regions, PROFILE_LINE - 2, "needs regions");
}

#[test]
fn the_matcher_has_room_for_regions_and_maps() {
    let regions = |count| (0..count).map(|id| format!("[regions.r{id}]\n")).collect::<String>();
    parse(&(regions(62) + &config("", "")), &[]).unwrap();
    let message = parse(&(regions(63) + &config("", "")), &[]).unwrap_err();
    assert!(message.contains("at most 64 regions"), "{message}");
    parse(&regions(65), &[]).unwrap();
    let id = "6f1b5f0e-35a4-4b9f-8b63-5a1a6f1c2d3e";
    let maps = |count: usize| {
        let maps = "{ map_id = \"1\", map_name = \"m\", map_weight = 1.0 },".repeat(count);
        let template =
            format!("[instance_templates.{id}]\nmap_selection_list_id = \"all\"\nmaps = [{maps}]\n");
        config(&format!("instance_request_template_id = \"{id}\""), "") + &template
    };
    parse(&maps(128), &[]).unwrap();
    refused(&maps(129), PROFILE_LINE, "has 129 maps: with matchmaking, it has at most 128");
}

#[test]
fn there_are_at_most_64_kinds_of_desertion() {
    let kinds = |count: u128| {
        (0..count).map(|id| format!("[deserters.{}]\n", uuid::Uuid::from_u128(id))).collect::<String>()
    };
    parse(&kinds(64), &[]).unwrap();
    let message = parse(&kinds(65), &[]).unwrap_err();
    assert!(message.contains("at most 64 kinds of desertion"), "{message}");
}

#[test]
fn ranks_and_backfill_have_bounds() {
    for (setting, expected) in [
        ("min = 51", "min is above max"),
        ("default = 51", "default is not from min to max"),
        ("sigma_default = 0", "sigma_default must be above 0"),
        ("max = inf", "max is not a number"),
        ("from = \"players\"", "is none of \"service\", \"anyone\" and \"claim:NAME\""),
        ("from = \"claim:\"", "is no \"claim:NAME\", with a name of 1 to 128 characters"),
        ("sigma_from = \"mmr\"", "is no \"claim:NAME\""),
        ("sigma_from = \"claim:sigma\"", "sigma_from needs from = \"claim:NAME\""),
    ] {
        refused(&format!("[ranks.{RANK}]\n{setting}"), 2, expected);
    }
    parse("[backfill]\nack_every_s = 40\nexpire_after_s = 120", &[]).unwrap();
    refused("[backfill]\nack_every_s = 21", 1, "must be at least three times ack_every_s, 63");
    refused("[backfill]\nexpire_after_s = 44", 2, "44 is not from 45 to");
    refused("[matchmaking]\nqueues_per_ticket_max = 0", 2, "0 is not from 1 to");
}

#[test]
fn sections_by_id_cannot_be_set_by_a_variable() {
    for name in [
        "QUEUES__Q",
        "RANKS__R",
        "DESERTERS__D",
        "MATCH_MAKING_PROFILES__P",
        "MATCH_MAKING_TEMPLATE_GROUPS__G",
    ] {
        let message = parse("", &[(&format!("RALLYPOINT_{name}"), "1")]).unwrap_err();
        assert!(message.ends_with("can be set in the configuration file only"), "{message}");
    }
    let config = parse("", &[("RALLYPOINT_MATCHMAKING__TICKET_TIMEOUT_S", "60")]).unwrap();
    assert_eq!(config.matchmaking.ticket_timeout_s, 60);
}

#[track_caller]
fn warns(text: &str, expected: &[&str]) {
    let warnings = parse(text, &[]).unwrap().warnings();
    assert_eq!(warnings.len(), expected.len(), "{text}: {warnings:?}");
    for (warning, expected) in warnings.iter().zip(expected) {
        assert!(warning.contains(expected), "{text}: {warning}");
    }
}

#[test]
fn settings_that_an_operator_seldom_wants_get_a_warning() {
    let header = format!("[match_making_template_groups.{GROUP}.templates.ruleset]");
    let rule = "rule_type = \"JoiningSessionSize\", comparison_operation = \"eq\", comparison_value = 1";
    let right = config("", &format!("{header}\nrules = [{{ {rule} }}]"));
    warns(&right, &[]);
    warns(&config("", ""), &["the template number 1 has no rules and takes every party"]);
    let open = right
        .replace("[templates.match]", "[templates.match]\ndefault_public = true\nattempt_auto_join = true");
    warns(
        &open,
        &["[match_making_profiles.\"p\"] session_type = \"match\": create-or-join finds such sessions"],
    );
    let reserved = config("invite = \"when_joinable\"", &format!("{header}\nrules = [{{ {rule} }}]"));
    warns(&reserved, &["[match_making_profiles.\"p\"] invite = \"when_joinable\", and no instance template"]);
    let rule = "rule_type = \"Inventory\", comparison_operation = \"eq\", comparison_value = 0, item_id = 7";
    let inventory = config("", &format!("{header}\nrules = [{{ {rule} }}]"));
    warns(&inventory, &["there is no inventory service, so every count and level is 0"]);
    let (before, after) = inventory.split_once("[[match_making_template_groups").unwrap();
    let only_one = after.replacen(
        &format!("[[match_making_template_groups.{GROUP}.templates]]\nprofiles = [\"p\"]\n[ranks"),
        "[ranks",
        1,
    );
    let without_default = format!("{before}[[match_making_template_groups{only_one}");
    warns(&without_default, &["every template has rules", "inventory"]);
    let twice = right.replace(
        "[queues.q]",
        &format!("[queues.Q]\nmatch_making_template_group_id = \"{GROUP}\"\n[queues.q]"),
    );
    warns(&twice, &["[queues]: \"Q\" and \"q\" differ only"]);
}
