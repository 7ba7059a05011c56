//! Checks across settings, which types alone cannot express, and the place of a problem in the file.

use toml::de::{DeTable, DeValue};

use super::allocators;
use super::login;
use super::matchmaking;
use super::{AdminListen, AuthSection, Config, ConfigError, HttpSection, Override, StoreKind};
use crate::domain::Platform;
use crate::domain::template::{PlatformTemplate, Template};

/// Most session templates.
const TEMPLATES_MAX: usize = 256;
/// The rule that [`is_plain_name`] checks.
pub(super) const PLAIN_NAME: &str = "a name has 1 to 128 characters and no control characters";

/// A setting with an invalid value, and what is allowed.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    /// Sections and setting, outermost first.
    path: Vec<String>,
    message: String,
}

impl Problem {
    /// A problem of the setting at `path`: sections and setting, outermost first. The message says what is allowed.
    pub fn new(path: &[&str], message: impl Into<String>) -> Self {
        Self { path: path.iter().map(|key| (*key).to_owned()).collect(), message: message.into() }
    }

    /// Turns the problem into an error with its origin: the variable or flag that set the setting, otherwise the file,
    /// with the line if the file has the setting or its section.
    pub(super) fn located(self, text: &str, origin: &str, overrides: &[Override]) -> ConfigError {
        let (_, sections) = self.path.split_last().expect("a path names a setting");
        let message = format!("[{}] {}", sections.join("."), self.message);
        let sets = |over: &&Override| self.path[..] == [&over.section[..], &over.setting];
        match (overrides.iter().rfind(sets), line_of(text, &self.path)) {
            (Some(over), _) => ConfigError::Wrong { origin: over.origin.clone(), message },
            (None, Some(line)) => {
                ConfigError::Wrong { origin: origin.into(), message: format!("line {line}: {message}") }
            }
            (None, None) => ConfigError::Wrong { origin: origin.into(), message },
        }
    }
}

/// The line of the innermost of these keys that is in the file. An item of a list has its index as key. Lines count
/// from 1.
fn line_of(text: &str, path: &[String]) -> Option<usize> {
    let root = DeTable::parse(text).ok()?;
    let (mut key, mut rest) = path.split_first()?;
    let (first, mut value) = root.get_ref().get_key_value(key.as_str())?;
    let mut start = first.span().start;
    while let Some(next) = rest.split_first() {
        (key, rest) = next;
        let found = match value.get_ref() {
            DeValue::Table(table) => {
                table.get_key_value(key.as_str()).map(|(key, value)| (key.span().start, value))
            }
            DeValue::Array(items) => key
                .parse::<usize>()
                .ok()
                .and_then(|index| Some((items.get(index)?.span().start, &items[index]))),
            _ => None,
        };
        let Some(found) = found else { break };
        (start, value) = found;
    }
    Some(text[..start].matches('\n').count() + 1)
}

/// A body or a session that is larger than the memory for all of them could never be sent.
fn check_memory(config: &Config) -> Result<(), Problem> {
    let memory = config.http.memory_in_flight_bytes;
    for (section, setting, bytes) in [
        ("http", "body_bytes_max", config.http.body_bytes_max),
        ("sessions", "session_bytes_max", config.sessions.session_bytes_max),
    ] {
        if bytes as u64 > memory {
            let message = format!("memory_in_flight_bytes must be at least [{section}] {setting}, {bytes}");
            return Err(Problem::new(&["http", "memory_in_flight_bytes"], message));
        }
    }
    Ok(())
}

/// A server that stops would cut off the waits that are to end after the drain.
fn check_waits(config: &Config) -> Result<(), Problem> {
    let (spread_ms, drain_s) = (config.wait.drain_spread_ms, config.http.drain_timeout_s);
    if spread_ms > 0 && u64::from(spread_ms) >= drain_s.saturating_mul(1000) {
        let message = format!(
            "drain_spread_ms must be less than [http] drain_timeout_s, {drain_s} s: a stop cuts off the waits that end later"
        );
        return Err(Problem::new(&["wait", "drain_spread_ms"], message));
    }
    Ok(())
}

/// Finds the first problem.
pub(super) fn check(config: &Config) -> Result<(), Problem> {
    check_listeners(config)?;
    check_memory(config)?;
    check_waits(config)?;
    check_auth(config)?;
    login::check(&config.login)?;
    if config.store.data_dir.as_os_str().is_empty() {
        let message = "data_dir is empty; use \".\" for the working directory";
        return Err(Problem::new(&["store", "data_dir"], message));
    }
    check_postgres(config)?;
    if config.templates.is_empty() || config.templates.len() > TEMPLATES_MAX {
        return Err(Problem::new(&["templates", ""], format!("takes 1 to {TEMPLATES_MAX} templates")));
    }
    for (section, name) in config
        .templates
        .keys()
        .map(|name| ("templates", name))
        .chain(config.regions.keys().map(|name| ("regions", name)))
    {
        if !is_plain_name(name) {
            return Err(Problem::new(&[section, name], format!("{name:?}: {PLAIN_NAME}")));
        }
    }
    config.templates.iter().try_for_each(|(name, template)| check_template(config, name, template))?;
    matchmaking::check(config)?;
    allocators::check(config)
}

/// The two listeners must not use the same address.
fn check_listeners(config: &Config) -> Result<(), Problem> {
    let (listen, AdminListen::At(admin)) = (config.http.listen, config.http.admin_listen) else {
        return Ok(());
    };
    let overlap = listen.ip() == admin.ip() || listen.ip().is_unspecified() || admin.ip().is_unspecified();
    if listen.port() == 0 || listen.port() != admin.port() || !overlap {
        return Ok(());
    }
    // The error points at the setting that differs from its default.
    let setting =
        if AdminListen::At(admin) == HttpSection::default().admin_listen { "listen" } else { "admin_listen" };
    let message = format!(
        "listen and admin_listen both use {listen}: give one of them another port, or set \
                           admin_listen = \"off\""
    );
    Err(Problem::new(&["http", setting], message))
}

fn check_auth(config: &Config) -> Result<(), Problem> {
    let auth = &config.auth;
    if auth.jwks_file.is_some() && auth.jwks_url.is_some() {
        return Err(Problem::new(&["auth", "jwks_url"], "set jwks_file or jwks_url, not both"));
    }
    let has_https_url =
        || auth.jwks_url.as_ref().is_some_and(|url| !url.to_ascii_lowercase().starts_with("http://"));
    if auth.jwks_ca_file.is_some() && !has_https_url() {
        return Err(Problem::new(&["auth", "jwks_ca_file"], "jwks_ca_file needs a jwks_url with https://"));
    }
    if !auth.has_own_keys() && (auth.issuer.is_some() || auth.audience.is_some()) {
        let setting = if auth.issuer.is_some() { "issuer" } else { "audience" };
        let message = "issuer and audience need jwks_file or jwks_url: tokens of the development key have neither \
                       claim";
        return Err(Problem::new(&["auth", setting], message));
    }
    let default = AuthSection::default();
    let claims = [
        ("player_claim", &auth.player_claim, &default.player_claim),
        ("permissions_claim", &auth.permissions_claim, &default.permissions_claim),
        ("player_id_claim", &auth.player_id_claim, &default.player_id_claim),
        ("platform_claim", &auth.platform_claim, &default.platform_claim),
    ];
    let changed = claims.into_iter().find(|(_, name, default)| name != default);
    if let Some((setting, _, default)) = changed.filter(|_| !auth.has_own_keys()) {
        let message = format!(
            "{setting} needs jwks_file or jwks_url: tokens of the development key always have the claim {default:?}"
        );
        return Err(Problem::new(&["auth", setting], message));
    }
    Ok(())
}

/// Servers that share a database share players, so all of them must accept the same tokens. The development key differs
/// on each server.
fn check_postgres(config: &Config) -> Result<(), Problem> {
    if config.postgres.certificate_file.is_some() != config.postgres.key_file.is_some() {
        let setting = if config.postgres.key_file.is_some() { "key_file" } else { "certificate_file" };
        return Err(Problem::new(
            &["postgres", setting],
            "set certificate_file and key_file together, or neither",
        ));
    }
    if config.store.backend != StoreKind::Postgres {
        return Ok(());
    }
    let missing = |message: &str| Err(Problem::new(&["store", "backend"], message));
    if config.postgres.url.is_none() {
        return missing("backend = \"postgres\" needs url under [postgres], the address of the database");
    }
    if !config.auth.has_own_keys() {
        return missing(
            "backend = \"postgres\" needs jwks_file or jwks_url under [auth], the same on each server: each \
             server has its own development key and would reject the tokens of the others",
        );
    }
    Ok(())
}

/// The contract repeats the name of a template and of a platform inside the entry. Here they may be repeated, but must
/// be equal to the names of the tables.
fn check_template(config: &Config, name: &str, template: &Template) -> Result<(), Problem> {
    if template.session_type.as_ref().is_some_and(|session_type| session_type != name) {
        let message = format!("session_type must be {name:?}, the name of the table; leave it out");
        return Err(Problem::new(&["templates", name, "session_type"], message));
    }
    if let Some(id) = template.auto_startup_instance_template_id
        && !config.instance_templates.contains_key(&id)
    {
        let message = format!("auto_startup_instance_template_id: there is no [instance_templates.{id}]");
        return Err(Problem::new(&["templates", name, "auto_startup_instance_template_id"], message));
    }
    let mut entries = template.platform_templates.iter();
    entries.try_for_each(|(platform, entry)| check_platform(name, *platform, entry))
}

fn check_platform(name: &str, platform: Platform, entry: &PlatformTemplate) -> Result<(), Problem> {
    let problem = |setting: &str, rule: &str| {
        let message = format!("{setting} {rule}; leave it out");
        Err(Problem::new(&["templates", name, "platform_templates", platform.name(), setting], message))
    };
    if entry.platform.is_some_and(|given| given != platform) {
        return problem("platform", &format!("must be {:?}, the name of the entry", platform.name()));
    }
    match (entry.platform_id, platform.legacy_id()) {
        (Some(given), Some(own)) if given != own => problem("platform_id", &format!("must be {own}")),
        (Some(_), None) => problem("platform_id", "does not exist for this platform"),
        _ => Ok(()),
    }
}

/// Names become parts of store keys, where control characters are separators.
pub(super) fn is_plain_name(name: &str) -> bool {
    (1..=128).contains(&name.chars().count()) && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use crate::config::tests::parse;

    #[test]
    fn two_listeners_must_not_use_one_address() {
        for (listen, admin_listen, fits) in [
            ("127.0.0.1:7", "127.0.0.1:7", false),
            ("0.0.0.0:7", "127.0.0.1:7", false),
            ("127.0.0.1:7", "[::]:7", false),
            ("127.0.0.1:7", "127.0.0.2:7", true),
            ("127.0.0.1:7", "127.0.0.1:8", true),
            ("127.0.0.1:0", "127.0.0.1:0", true),
            ("127.0.0.1:7", "off", true),
        ] {
            let text = format!("[http]\nlisten = {listen:?}\nadmin_listen = {admin_listen:?}");
            match parse(&text, &[]) {
                Ok(_) => assert!(fits, "{text}"),
                Err(message) => {
                    assert!(!fits && message.starts_with("my.toml: line 3: [http] listen and"), "{message}");
                }
            }
        }
        let message = parse("\n[http]\nlisten = \"127.0.0.1:7701\"", &[]).unwrap_err();
        assert!(message.starts_with("my.toml: line 3: "), "{message}");
        let message = parse("", &[("RALLYPOINT_HTTP__LISTEN", "127.0.0.1:7701")]).unwrap_err();
        assert!(message.starts_with("RALLYPOINT_HTTP__LISTEN: [http] listen and"), "{message}");
    }

    #[test]
    fn servers_that_share_a_database_need_keys_under_auth() {
        let postgres = "[store]\nbackend = \"postgres\"\n[postgres]\nurl = \"postgres://me@db/games\"";
        parse(&format!("{postgres}\n[auth]\njwks_file = \"keys\""), &[]).unwrap();
        for (text, line, expected) in [
            (postgres, 2, "needs jwks_file or jwks_url under [auth]"),
            ("[store]\nbackend = \"postgres\"", 2, "needs url under [postgres]"),
            ("[postgres]\nkey_file = \"key\"", 2, "set certificate_file and key_file together"),
        ] {
            let message = parse(text, &[]).unwrap_err();
            assert!(message.contains(&format!("line {line}: [")) && message.contains(expected), "{message}");
        }
    }

    #[test]
    fn file_only_sections_cannot_be_set_by_a_variable() {
        for name in [
            "RALLYPOINT_TEMPLATES__PARTY__NUM_TEAMS",
            "RALLYPOINT_REGIONS__EU",
            "RALLYPOINT_INSTANCE_TEMPLATES__A",
        ] {
            let message = parse("", &[(name, "1")]).unwrap_err();
            assert!(message.starts_with(&format!("{name}: [")), "{message}");
            assert!(message.ends_with("can be set in the configuration file only"), "{message}");
        }
    }

    #[test]
    fn names_of_claims_need_own_keys() {
        for claim in ["player_claim", "permissions_claim", "player_id_claim", "platform_claim"] {
            let text = format!("[auth]\n{claim} = \"other\"\n");
            let message = parse(&text, &[]).unwrap_err();
            let expected = format!("line 2: [auth] {claim} needs jwks_file or jwks_url");
            assert!(message.contains(&expected), "{message}");
            parse(&format!("{text}jwks_file = \"keys\""), &[]).unwrap();
        }
        parse("[auth]\nplayer_claim = \"sub\"", &[]).unwrap();
    }

    #[test]
    fn repeated_names_in_templates_must_match_their_tables() {
        let template = "[templates.a]\nsession_type = \"a\"\n[templates.a.platform_templates]\n";
        let xbox =
            |fields: &str| format!("{template}XboxLive = {{ platform_session_type = \"a\", {fields} }}");
        parse(&xbox("platform = \"XboxLive\", platform_id = 10"), &[]).unwrap();
        let legacy = "LegacyName = { platform_session_type = \"a\", platform_id = 10 }";
        for (text, line, expected) in [
            (template.replace("= \"a\"", "= \"b\""), 2, "[templates.a] session_type must be \"a\""),
            (xbox("platform = \"PSN\""), 4, "platform must be \"XboxLive\""),
            (xbox("platform_id = 9"), 4, "[templates.a.platform_templates.XboxLive] platform_id must be 10"),
            (xbox("platform_id = 256"), 4, "256 is not from 0 to 255"),
            (format!("{template}{legacy}"), 4, "platform_id does not exist for this platform"),
        ] {
            let message = parse(&text, &[]).unwrap_err();
            assert!(message.contains(&format!("line {line}")) && message.contains(expected), "{message}");
        }
    }

    #[test]
    fn template_fields_without_effect_are_checked_too() {
        let id = "6f1b5f0e-35a4-4b9f-8b63-5a1a6f1c2d3e";
        for (field, expected) in [
            ("can_join_matchmaking = 1", "expected a boolean"),
            ("min_session_count = -1", "expected a whole number, 0 or more"),
            ("min_session_count = 100001", "100001 is not from 0 to 100000"),
            ("player_notification_frequency = \"SOME\"", "expected one of `ALL`, `TEAM`, `SELF`, `NONE`"),
            ("admin_player_notification_frequency = 3", "wanted string"),
            ("auto_startup_params = { mode = \"arena\" }", "missing field `map`"),
            ("auto_startup_params = { map = \"Dunes\", misc = \"\" }", "unknown field `misc`"),
            (
                "auto_startup_params = { map = \"Dunes\", custom_data = { a = \"\" } }",
                "custom_data.a takes 1 to",
            ),
            ("auto_startup_instance_template_id = \"dunes\"", "invalid character"),
            (
                &format!("auto_startup_instance_template_id = {id:?}"),
                "there is no [instance_templates.6f1b5f0e",
            ),
        ] {
            let message = parse(&format!("[templates.a]\n\n{field}"), &[]).unwrap_err();
            let setting = field.split(' ').next().unwrap();
            for expected in ["my.toml: ", "line 3", setting, expected] {
                assert!(message.contains(expected), "{expected:?} is not in: {message}");
            }
        }
    }
}
