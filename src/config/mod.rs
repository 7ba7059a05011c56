//! The configuration: defaults, a file, environment variables and flags. Later sources take precedence.

mod allocators;
mod check;
mod cors_origin;
mod audit;
mod idempotency;
mod leave_delay;
mod log_filter;
mod login;
mod matchmaking;
mod notifications;
mod proxy;
mod sections;
mod sources;
mod stubs;
mod voice;
mod wait;
mod warnings;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use allocators::{
    AgonesSection, AllocatorKind, AllocatorSection, CommonSection, OnStop, PortRange, ProcessSection,
    WebhookSection,
};
pub use audit::AuditSection;
pub use check::Problem;
pub use idempotency::IdempotencySection;
pub use leave_delay::LeaveDelay;
pub use login::{HashText, LoginClient, LoginMode, LoginPlayers, LoginSection, LoginUser, UserKind};
pub use matchmaking::MatchmakingSection;
pub use notifications::NotificationsSection;
pub use sections::{
    AdminListen, AuthSection, FriendsCheck, Hints, HttpSection, InstancesSection, JobsSection, LogFormat,
    PlayerStartupParams, PostgresSection, ReadConsistency, Secret, SessionsSection, StoreKind, StoreSection,
    TelemetrySection, parse_address,
};
pub use sources::{ENV_PREFIX, Override, Sources, variables};
pub use stubs::{ConfigSection, StubsSection};
pub use voice::{ChannelType, EpicSection, VivoxSection, VoiceSection};
pub use wait::WaitSection;

use crate::domain::instance::health::HealthRules;
use crate::domain::instance::template::InstanceTemplate;
use crate::domain::matchmaking::{
    BackfillRules, DeserterKind, Matchmaking, Profile, Queue, Rank, TemplateGroup,
};
use crate::domain::region::Region;
use crate::domain::template::Template;

/// The file that documents every setting. Its values are the defaults.
pub const DEFAULT_FILE: &str = include_str!("../../config.default.toml");
/// Sections that can be set in the file only, with those of [`matchmaking`]: the name of a variable cannot spell their
/// keys (uuids, names in mixed case), and a variable could not keep part of an entry. An allocator may start programs,
/// which a variable must not.
const FILE_ONLY: [&str; 4] = ["templates", "regions", "instance_templates", allocators::SECTION];

fn is_file_only(section: &str) -> bool {
    FILE_ONLY.contains(&section) || matchmaking::SECTIONS_BY_ID.contains(&section)
}

/// The effective configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// HTTP listeners and limits.
    pub http: HttpSection,
    /// Keys that verify tokens, and claims.
    pub auth: AuthSection,
    /// The login for development.
    #[serde(skip_serializing_if = "LoginSection::is_left_out")]
    pub login: LoginSection,
    /// The store that holds sessions.
    pub store: StoreSection,
    /// The PostgreSQL database, if the store is one.
    pub postgres: PostgresSection,
    /// Timeouts, checks and quotas of sessions.
    pub sessions: SessionsSection,
    /// Requests for instances.
    pub instances: InstancesSection,
    /// Waits for changes.
    pub wait: WaitSection,
    /// Notifications for players.
    pub notifications: NotificationsSection,
    /// Writes that clients can repeat.
    pub idempotency: IdempotencySection,
    /// The matcher of this server, and limits of tickets.
    pub matchmaking: MatchmakingSection,
    /// How often hosts confirm that they want players.
    pub backfill: BackfillRules,
    /// Whether events are stored, for how long, and limits.
    pub audit: AuditSection,
    /// The voice services that players get tokens for.
    pub voice: VoiceSection,
    /// Background jobs.
    pub jobs: JobsSection,
    /// Logging.
    pub telemetry: TelemetrySection,
    /// When health reports of instances are expected, and what missing ones mean.
    pub health: HealthRules,
    /// Key-value pairs for clients and servers.
    pub config: ConfigSection,
    /// Which other services the server answers for.
    pub stubs: StubsSection,
    /// Regions by id.
    pub regions: BTreeMap<String, Region>,
    /// Templates of instance requests by id.
    pub instance_templates: BTreeMap<Uuid, InstanceTemplate>,
    /// Session templates by type.
    pub templates: BTreeMap<String, Template>,
    /// Ranks by id.
    pub ranks: BTreeMap<Uuid, Rank>,
    /// Matchmaking queues by id.
    pub queues: BTreeMap<String, Queue>,
    /// Groups of matchmaking templates by id.
    pub match_making_template_groups: BTreeMap<Uuid, TemplateGroup>,
    /// Matchmaking profiles by id.
    pub match_making_profiles: BTreeMap<String, Profile>,
    /// Kinds of desertion by id.
    pub deserters: BTreeMap<Uuid, DeserterKind>,
    /// What starts dedicated servers, by name.
    #[serde(deserialize_with = "allocators::skip")]
    pub allocators: BTreeMap<String, AllocatorSection>,
    /// The sources of this configuration.
    #[serde(skip)]
    pub sources: Sources,
    /// The text of the file that was read; empty if there is none.
    #[serde(skip)]
    pub text: String,
}

/// Why a configuration was rejected: file, line, setting and allowed values, as far as they are known.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {error}; give the path of a configuration file that can be read")]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// Why it cannot be read.
        error: std::io::Error,
    },
    /// A source has an invalid setting or is not valid TOML.
    #[error("{origin}: {message}")]
    Wrong {
        /// The file, variable or flag.
        origin: String,
        /// Line and setting, if known, and what is wrong.
        message: String,
    },
}

impl Default for Config {
    fn default() -> Self {
        let defaults: toml::Table = DEFAULT_FILE.parse().expect("the default file is TOML");
        let templates = defaults["templates"].clone().try_into().expect("the default templates are valid");
        Self {
            http: HttpSection::default(),
            auth: AuthSection::default(),
            login: LoginSection::default(),
            store: StoreSection::default(),
            postgres: PostgresSection::default(),
            sessions: SessionsSection::default(),
            instances: InstancesSection::default(),
            wait: WaitSection::default(),
            notifications: NotificationsSection::default(),
            idempotency: IdempotencySection::default(),
            matchmaking: MatchmakingSection::default(),
            backfill: BackfillRules::default(),
            audit: AuditSection::default(),
            voice: VoiceSection::default(),
            jobs: JobsSection::default(),
            telemetry: TelemetrySection::default(),
            health: HealthRules::default(),
            config: ConfigSection::default(),
            stubs: StubsSection::default(),
            regions: BTreeMap::new(),
            instance_templates: BTreeMap::new(),
            templates,
            ranks: BTreeMap::new(),
            queues: BTreeMap::new(),
            match_making_template_groups: BTreeMap::new(),
            match_making_profiles: BTreeMap::new(),
            deserters: BTreeMap::new(),
            allocators: BTreeMap::new(),
            sources: Sources::default(),
            text: String::new(),
        }
    }
}

impl Config {
    /// Reads the sources and applies them to the defaults. `check` is for settings that only the code of another module
    /// can check, such as the address of a database.
    ///
    /// # Errors
    /// If the file cannot be read, or a source has an invalid setting.
    pub fn load(
        sources: &Sources,
        check: impl FnOnce(&Self) -> Result<(), Problem>,
    ) -> Result<Self, ConfigError> {
        let (text, origin) = (sources.read()?, sources.origin());
        let config = Self::parse(&text, &origin, &sources.overrides)?;
        check(&config).map_err(|problem| problem.located(&text, &origin, &sources.overrides))?;
        Ok(Self { sources: sources.clone(), text, ..config })
    }

    /// The error that tells where a setting of this configuration stands, for a problem that is found after loading.
    pub fn located(&self, problem: Problem) -> ConfigError {
        problem.located(&self.text, &self.sources.origin(), &self.sources.overrides)
    }

    /// Applies the text of a file to the defaults, then the overrides. `origin` is the name of the file in errors. Then
    /// checks the settings.
    ///
    /// # Errors
    /// If the text or an override has an invalid setting.
    pub fn parse(text: &str, origin: &str, overrides: &[Override]) -> Result<Self, ConfigError> {
        let wrong = |origin: &str, message: String| ConfigError::Wrong { origin: origin.into(), message };
        let invalid = |origin: &str, error: toml::de::Error| wrong(origin, readable(&error, text));
        // The file alone comes first: only errors of this step have a line.
        let mut config: Self = toml::from_str(text).map_err(|error| invalid(origin, error))?;
        if config.postgres.password.is_some() {
            let message = "[postgres] password is not allowed in the file, which others may read: set password_file or \
                           RALLYPOINT_POSTGRES__PASSWORD";
            return Err(wrong(origin, message.into()));
        }
        let allocators = allocators::read(text).map_err(|error| invalid(origin, error))?;
        let mut table: toml::Table = text.parse().map_err(|error| invalid(origin, error))?;
        for Override { origin, section, setting, value } in overrides {
            if is_file_only(section) {
                return Err(wrong(origin, format!("[{section}] can be set in the configuration file only")));
            }
            let section = table.entry(section).or_insert_with(|| toml::Table::new().into());
            let Some(section) = section.as_table_mut() else { continue };
            section.insert(setting.clone(), value.clone());
            // After each override, so that an error names the override that caused it.
            config = table.clone().try_into().map_err(|error| invalid(origin, error))?;
        }
        config.allocators = allocators;
        let of_login = overrides.iter().rfind(|over| over.section == "login").map(|over| &*over.setting);
        let login_setting = of_login.or_else(|| table.contains_key("login").then_some(""));
        login::check_own_keys(&config, login_setting)
            .and_then(|()| check::check(&config))
            .map_err(|problem| problem.located(text, origin, overrides))?;
        Ok(config)
    }

    /// Checks that a server with the development key or a login for development is not exposed to other machines by
    /// accident: there, anyone could be any player. `is_on_purpose`: the operator has given the flag that allows it.
    ///
    /// # Errors
    /// If other machines could reach the API without keys under `[auth]`, and the operator has not allowed it.
    pub fn check_exposure(&self, is_on_purpose: bool) -> Result<(), ConfigError> {
        login::check_exposure(self, is_on_purpose)
            .map_err(|problem| problem.located(&self.text, &self.sources.origin(), &self.sources.overrides))
    }

    /// The sections about matchmaking that a reload replaces.
    pub fn matchmaking_tables(&self) -> Matchmaking {
        Matchmaking {
            ranks: self.ranks.clone(),
            queues: self.queues.clone(),
            template_groups: self.match_making_template_groups.clone(),
            profiles: self.match_making_profiles.clone(),
            deserters: self.deserters.clone(),
            backfill: self.backfill,
        }
    }

    /// Values that are allowed, but with which published clients or proxies have trouble: a sentence for each, with the
    /// setting.
    pub fn warnings(&self) -> Vec<String> {
        warnings::warnings(self)
    }
}

impl Sources {
    fn read(&self) -> Result<String, ConfigError> {
        let Some(path) = &self.file else { return Ok(String::new()) };
        let read = std::fs::read(path);
        let bytes = read.map_err(|error| ConfigError::Unreadable { path: path.clone(), error })?;
        String::from_utf8(bytes).map_err(|error| {
            let message = not_utf8(error.as_bytes(), error.utf8_error().valid_up_to());
            ConfigError::Wrong { origin: self.origin(), message }
        })
    }

    /// The name of the file in errors.
    fn origin(&self) -> String {
        self.file.as_ref().map_or_else(|| "configuration".into(), |path| path.display().to_string())
    }
}

/// Describes the byte at which a file stops being UTF-8, with its line and column. Columns count characters.
fn not_utf8(bytes: &[u8], at: usize) -> String {
    let before = String::from_utf8_lossy(&bytes[..at]);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
    let byte = bytes.get(at).copied().unwrap_or_default();
    format!("line {line}, column {column}: the byte 0x{byte:02X} is not UTF-8; save the file as UTF-8")
}

/// An error of the TOML parser, without the names of Rust types.
fn readable(error: &toml::de::Error, text: &str) -> String {
    const WHOLE: &str = "expected a whole number, 0 or more";
    let message =
        error.to_string().trim_end().replace("expected u64", WHOLE).replace("expected usize", WHOLE);
    if lacks_quotes(error, text) {
        return format!("{message}\nif this is text, put it in quotes, as in \"127.0.0.1:7700\"");
    }
    message
}

/// Whether the error is in a line whose value has no quotes and is not valid TOML.
fn lacks_quotes(error: &toml::de::Error, text: &str) -> bool {
    let value = || {
        let start = text.get(..error.span()?.start)?.rfind('\n').map_or(0, |end| end + 1);
        Some(text[start..].lines().next()?.split_once('=')?.1.trim())
    };
    let is_toml = |text: &str| text.parse::<toml::Table>().is_ok();
    let is_bare = |value: &str| !value.is_empty() && !value.starts_with(['"', '\'']);
    !is_toml(text) && value().is_some_and(|value| is_bare(value) && !is_toml(&format!("value = {value}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn parse(text: &str, env: &[(&str, &str)]) -> Result<Config, String> {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::parse(text, "my.toml", &variables(env)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_default_file_holds_exactly_the_defaults() {
        assert_eq!(parse(DEFAULT_FILE, &[]).unwrap(), Config::default());
        assert_eq!(parse("", &[]).unwrap(), Config::default());
    }

    #[test]
    fn the_default_file_names_every_setting() {
        let defaults = toml::Table::try_from(Config::default()).unwrap();
        for (section, settings) in &defaults {
            for setting in settings.as_table().unwrap().keys().filter(|_| section != "templates") {
                assert!(
                    DEFAULT_FILE.lines().any(|line| line.trim_start_matches("# ").starts_with(setting)),
                    "{setting}"
                );
            }
        }
    }

    #[test]
    fn the_environment_takes_precedence_over_the_file() {
        let config = parse(
            "[http]\nlisten = \"127.0.0.1:1\"\n[sessions]\nidle_s = 5",
            &[
                ("RALLYPOINT_HTTP__LISTEN", "127.0.0.1:2"),
                ("RALLYPOINT_HTTP__TRUSTED_PROXIES", "[\"10.0.0.1\"]"),
                ("PATH", "/"),
            ],
        )
        .unwrap();
        assert_eq!((config.http.listen.port(), config.sessions.idle_s), (2, 5));
        assert_eq!(config.http.trusted_proxies, ["10.0.0.1/32".parse().unwrap()]);
        let bounded = [("RALLYPOINT_POSTGRES__READ_CONSISTENCY", "{ bounded_ms = 250 }")];
        let postgres = parse("", &bounded).unwrap().postgres;
        assert_eq!(postgres.read_consistency, ReadConsistency::BoundedMs(250));
    }

    #[test]
    fn a_file_of_authorities_needs_a_url_with_tls() {
        for url in ["", "jwks_file = \"a\"", "jwks_url = \"http://localhost\""] {
            let message = parse(&format!("[auth]\njwks_ca_file = \"a\"\n{url}"), &[]).unwrap_err();
            assert!(
                message.contains("line 2") && message.contains("needs a jwks_url with https://"),
                "{message}"
            );
        }
    }

    #[test]
    fn errors_give_file_line_and_setting() {
        let message = parse("[http]\nlisen = \"127.0.0.1:1\"", &[]).unwrap_err();
        assert!(
            message.contains("my.toml") && message.contains("line 2") && message.contains("`listen`"),
            "{message}"
        );
        let message = parse("[templates.a]\nnum_teams = 51", &[]).unwrap_err();
        assert!(message.contains("line 2") && message.contains("51 is not from 1 to 50"), "{message}");
        let message = parse("[templates.a.platform_templates]\nXbox = {}", &[]).unwrap_err();
        assert!(message.contains("XboxLive"), "{message}");
        let message = parse("[templates.a.custom_data]\nx = \"\"", &[]).unwrap_err();
        assert!(message.contains("line 1") && message.contains("custom_data.x takes 1 to 4096"), "{message}");
        for setting in ["[http]\nconnections_max", "[http]\nrequest_timeout_s", "[jobs]\nevery_ms"] {
            let message = parse(&format!("{setting} = 0"), &[]).unwrap_err();
            assert!(message.contains("line 2") && message.contains("0 is not from 1 to"), "{message}");
        }
        let message = parse("[health]\ncadence_s = 0", &[]).unwrap_err();
        assert!(message.contains("line 2") && message.contains("0 is not from 1 to 3600"), "{message}");
        let message = parse("[postgres]\nread_consistency = { bounded_ms = 0 }", &[]).unwrap_err();
        assert!(message.contains("line 2") && message.contains("0 is not from 1 to 60000"), "{message}");
        let message = parse("[postgres]\nread_consistency = \"eventual\"", &[]).unwrap_err();
        assert!(
            message.contains("line 2") && message.contains("`linearizable` or `bounded_ms`"),
            "{message}"
        );
        let maps = "map_selection_list_id = \"a\"\nmaps = []";
        let template = format!("[instance_templates.{}]\n{maps}", uuid::Uuid::nil());
        let message = parse(&template, &[]).unwrap_err();
        assert!(message.contains("line 3") && message.contains("map_weight above 0"), "{message}");
        let message = parse("", &[("RALLYPOINT_SESSIONS__IDLE_S", "soon")]).unwrap_err();
        assert!(message.contains("RALLYPOINT_SESSIONS__IDLE_S"), "{message}");
        assert!(message.contains("expected a whole number"), "{message}");
        for (section, setting, value, allowed) in [
            ("http", "listen", "localhost", "is not an ADDRESS:PORT, as in 127.0.0.1:7700"),
            (
                "http",
                "listen",
                "127.0.0.1:99999",
                "is not an ADDRESS:PORT, as in 127.0.0.1:7700; a port is from 0 to 65535",
            ),
            (
                "http",
                "listen",
                "localhost:1",
                "is not an ADDRESS:PORT, as in 127.0.0.1:7700; use an IP address, not a host name",
            ),
            ("http", "admin_listen", "none", "is not an ADDRESS:PORT, as in 127.0.0.1:7700; or use \"off\""),
            ("telemetry", "log", "rallypoint=loud", "is no log filter, as in"),
            ("telemetry", "log", "verbose", "is no log filter, as in"),
        ] {
            let message = parse(&format!("[{section}]\n{setting} = \"{value}\""), &[]).unwrap_err();
            assert!(message.contains("my.toml") && message.contains("line 2"), "{message}");
            assert!(message.contains(&format!("{value:?} {allowed}")), "{message}");
        }
        let message = parse("[http]\ntrusted_proxies = [\"10.0.0.1\", \"10.0.0.1/8\"]", &[]).unwrap_err();
        let expected = "\"10.0.0.1/8\" is an address in a network: use 10.0.0.0/8 or 10.0.0.1";
        assert!(message.contains("line 2") && message.contains(expected), "{message}");
        let message = parse("[http]\ndrain_timeout_s = 2\n[wait]\ndrain_spread_ms = 2_000", &[]).unwrap_err();
        let expected = "[wait] drain_spread_ms must be less than [http] drain_timeout_s, 2 s";
        assert!(message.contains("line 4") && message.contains(expected), "{message}");
        assert!(parse("[http]\ndrain_timeout_s = 2\n[wait]\ndrain_spread_ms = 1_999", &[]).is_ok());
        let message = parse("[store]\ndata_dir = \"\"", &[]).unwrap_err();
        assert_eq!(
            message,
            "my.toml: line 2: [store] data_dir is empty; use \".\" for the working directory"
        );
        assert!(parse("[auth]\nissuer = \"a\"", &[]).unwrap_err().contains("need jwks_file or jwks_url"));
        assert!(parse("[auth]\njwks_file = \"a\"\njwks_url = \"b\"", &[]).unwrap_err().contains("not both"));
    }

    #[test]
    fn text_without_quotes_gets_a_hint() {
        const QUOTES: &str = "put it in quotes, as in \"127.0.0.1:7700\"";
        for line in [
            "listen = 127.0.0.1:7700",
            "listen = localhost:7700 # this machine",
            "listen = [::1]:7700",
            "trusted_proxies = [10.0.0.1]",
            "admin_listen = off",
        ] {
            let message = parse(&format!("[http]\n{line}\nconnections_max = 7"), &[]).unwrap_err();
            assert!(message.contains("line 2") && message.ends_with(QUOTES), "{message}");
        }
        for line in
            ["listen = 7700", "listen = \"127.0.0.1", "trusted_proxies = [\n\"a\"]", "listen = ", "listen"]
        {
            let message = parse(&format!("[http]\n{line}"), &[]).unwrap_err();
            assert!(!message.contains(QUOTES), "{message}");
        }
    }

    #[test]
    fn the_file_must_not_hold_the_database_password() {
        let url = "[postgres]\nurl = \"postgres://me@db/games\"";
        for written in ["\"hidden\"", "4711"] {
            let message = parse(&format!("{url}\npassword = {written}"), &[]).unwrap_err();
            assert!(message.contains("set password_file"), "{message}");
            assert!(!message.contains("hidden") && !message.contains("4711"), "{message}");
        }
    }
}
