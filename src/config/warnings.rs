//! Values that are allowed, but with which published clients or proxies have trouble. `check-config` prints them, and a
//! server logs them at its start and at each reload.

use std::collections::BTreeMap;

use super::{Config, PlayerStartupParams, matchmaking};
use crate::domain::CustomData;

/// The shortest timeout that needs no warning, in seconds: three polls of a client, which polls every 60 s, give or
/// take a tenth.
const TIMEOUT_S_MIN: u64 = 180;
/// Characters that end a part of a path or are changed there. Clients put the names of session types into paths.
const NOT_IN_PATHS: [char; 3] = ['/', '?', '#'];

/// All warnings about a configuration, each with the setting that it concerns.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    let idle_s = config.sessions.idle_s;
    if idle_s < TIMEOUT_S_MIN {
        warnings.push(format!(
            "[sessions] idle_s = {idle_s}: clients poll about every 60 s, so sessions may end that are in use; set at \
             least {TIMEOUT_S_MIN}"
        ));
    }
    let takes_any_params = config.instances.player_startup_params == PlayerStartupParams::Allow;
    if takes_any_params && !config.allocators.is_empty() && !config.http.listen.ip().is_loopback() {
        warnings.push(
            "[instances] player_startup_params = \"allow\": players send startup parameters of their own to your \
             servers; set \"template\" unless your servers check them"
                .into(),
        );
    }
    warn_of_equal_names("[templates]", config.templates.keys(), &mut warnings);
    warn_of_equal_names("[regions]", config.regions.keys(), &mut warnings);
    for (id, template) in &config.instance_templates {
        let section = format!("[instance_templates.{id}]");
        warn_of_equal_keys(&section, &template.custom_data, &mut warnings);
        for (index, map) in template.maps.iter().enumerate() {
            warn_of_equal_keys(&format!("{section} maps[{index}]"), &map.custom_data, &mut warnings);
        }
    }
    for name in config.templates.keys() {
        warn_of_template(config, name, &mut warnings);
    }
    warn_of_equal_names("[queues]", config.queues.keys(), &mut warnings);
    warn_of_equal_names("[match_making_profiles]", config.match_making_profiles.keys(), &mut warnings);
    matchmaking::warn(config, &mut warnings);
    warnings
}

fn warn_of_template(config: &Config, name: &str, warnings: &mut Vec<String>) {
    let (section, template) = (format!("[templates.{name:?}]"), &config.templates[name]);
    if let Some(timeout_s @ 1..) = template.player_culling_timeout
        && timeout_s < TIMEOUT_S_MIN as usize
    {
        warnings.push(format!(
            "{section} player_culling_timeout = {timeout_s}: clients poll about every 60 s, so players may be removed \
             who are still there; set at least {TIMEOUT_S_MIN}, or 0 for never"
        ));
    }
    if let Some(bad) = name.chars().find(|c| NOT_IN_PATHS.contains(c) || c.is_whitespace()) {
        warnings.push(format!(
            "{section} the name contains {bad:?}: clients and proxies may change it in paths; use letters, digits, '-' \
             and '_'"
        ));
    }
    for platform in template.platform_templates.keys().filter(|platform| platform.legacy_id().is_none()) {
        warnings.push(format!(
            "{section} {platform} has no platform_id: older clients may refuse the whole list of templates"
        ));
    }
    let startup = template.auto_startup_params.as_ref();
    let data = [
        ("custom_data", Some(&template.custom_data)),
        ("auto_browser_params", Some(&template.auto_browser_params)),
        ("auto_startup_params", startup.map(|startup| &startup.custom_data)),
    ];
    for (field, data) in data {
        warn_of_equal_keys(&format!("{section} {field}"), data.unwrap_or(&CustomData::new()), warnings);
    }
    for (platform, entry) in &template.platform_templates {
        warn_of_equal_keys(&format!("{section} {platform}"), &entry.custom_data, warnings);
    }
}

fn warn_of_equal_keys(place: &str, data: &CustomData, warnings: &mut Vec<String>) {
    warn_of_equal_names(place, data.keys(), warnings);
}

/// Warns of names that differ only in upper and lower case.
fn warn_of_equal_names<'a>(place: &str, names: impl Iterator<Item = &'a String>, warnings: &mut Vec<String>) {
    let mut by_lower_case = BTreeMap::new();
    for name in names {
        if let Some(other) = by_lower_case.insert(name.to_lowercase(), name) {
            warnings.push(format!(
                "{place}: {other:?} and {name:?} differ only in upper and lower case, which published clients ignore; \
                 rename one of them"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::config::tests::parse;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let warnings = parse(text, &[]).unwrap().warnings();
        assert_eq!(warnings.len(), expected.len(), "{text}: {warnings:?}");
        for (warning, expected) in warnings.iter().zip(expected) {
            assert!(warning.starts_with(expected), "{text}: {warning}");
        }
    }

    #[test]
    fn the_default_configuration_has_no_warnings() {
        assert_eq!(Config::default().warnings(), [""; 0]);
        assert!(
            Config::default().templates.values().all(|template| template.player_culling_timeout == Some(180))
        );
    }

    #[test]
    fn timeouts_of_less_than_three_polls_get_a_warning() {
        check("[sessions]\nidle_s = 179", &["[sessions] idle_s = 179:"]);
        check("[sessions]\nidle_s = 180", &[]);
        check(
            "[templates.a]\nplayer_culling_timeout = 1",
            &["[templates.\"a\"] player_culling_timeout = 1:"],
        );
        check(
            "[templates.a]\nplayer_culling_timeout = 179",
            &["[templates.\"a\"] player_culling_timeout = 179:"],
        );
        for text in ["player_culling_timeout = 180", "player_culling_timeout = 0", ""] {
            check(&format!("[templates.a]\n{text}"), &[]);
        }
    }

    #[test]
    fn type_names_that_do_not_survive_in_paths_get_a_warning() {
        for name in ["a/b", "a?", "#a", "a b", " "] {
            check(&format!("[templates.{name:?}]"), &[&format!("[templates.{name:?}] the name contains ")]);
        }
        check("[templates.a-b_1]", &[]);
    }

    #[test]
    fn names_that_differ_only_in_case_get_a_warning() {
        let pair = "{ map = \"1\", Map = \"2\" }";
        let id = "6f1b5f0e-35a4-4b9f-8b63-5a1a6f1c2d3e";
        let maps =
            format!("[{{ map_id = \"1\", map_name = \"m\", map_weight = 1.0, custom_data = {pair} }}]");
        let instance = format!(
            "[instance_templates.{id}]\ndefault_host_type = \"dedicated\"\nmap_selection_list_id = \"all\"\nmaps = {maps}\n"
        );
        check("[templates.game]\n[templates.Game]", &["[templates]: \"Game\" and \"game\" differ only"]);
        check("[regions.eu]\n[regions.EU]", &["[regions]: \"EU\" and \"eu\" differ only"]);
        check(&instance, &[&format!("[instance_templates.{id}] maps[0]: ")]);
        check(&format!("{instance}custom_data = {pair}"), &["[instance_", "[instance_"]);
        for (field, value) in [
            ("custom_data", pair.to_owned()),
            ("auto_browser_params", pair.to_owned()),
            ("auto_startup_params", format!("{{ map = \"m\", custom_data = {pair} }}")),
        ] {
            let text = format!("[templates.a]\n{field} = {value}");
            check(&text, &[&format!("[templates.\"a\"] {field}: \"Map\" and \"map\" differ only")]);
        }
        let steam = format!("Steam = {{ platform_session_type = \"a\", custom_data = {pair} }}");
        let text = format!("[templates.a.platform_templates]\n{steam}");
        check(&text, &["[templates.\"a\"] Steam: \"Map\" and \"map\" differ only"]);
        check("[templates.a]\ncustom_data = { a = \"1\", b = \"1\" }", &[]);
    }

    #[test]
    fn a_platform_without_a_number_gets_a_warning() {
        let text = "[templates.a.platform_templates]\nGooglePlay = { platform_session_type = \"a\" }";
        check(text, &["[templates.\"a\"] GooglePlay has no platform_id"]);
    }
}
