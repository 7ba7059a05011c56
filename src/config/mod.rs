//! The configuration: defaults, a file, the environment and flags, each winning over the one before.

mod check;
mod sections;
mod sources;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use sections::{
    AdminListen, Auth, Backend, FriendsCheck, Http, Jobs, Postgres, ReadConsistency, Secret, Sessions, Store,
    Telemetry, parse_address,
};

pub use sources::{ENV_PREFIX, Override, Sources, variables};

use self::check::Fault;
use crate::auth::mask_url;
use crate::domain::instance::health::HealthRules;
use crate::domain::instance::template::InstanceTemplate;
use crate::domain::region::Region;
use crate::domain::template::Template;

/// The file that documents every knob; its values are the defaults.
pub const DEFAULT_FILE: &str = include_str!("../../config.default.toml");
/// What is written in the file alone: a variable could neither spell its names nor say what it leaves as it was.
const FILE_ONLY: [&str; 3] = ["templates", "regions", "instance_templates"];

/// The effective configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Listeners and limits.
    pub http: Http,
    /// Tokens.
    pub auth: Auth,
    /// Where everything is kept.
    pub store: Store,
    /// The database, where everything is kept in one.
    pub postgres: Postgres,
    /// Sessions.
    pub sessions: Sessions,
    /// Background work.
    pub jobs: Jobs,
    /// Logs.
    pub telemetry: Telemetry,
    /// Reports of instances.
    pub health: HealthRules,
    /// Regions by id.
    pub regions: BTreeMap<String, Region>,
    /// Templates of instance requests by id.
    pub instance_templates: BTreeMap<Uuid, InstanceTemplate>,
    /// Session templates by type.
    pub templates: BTreeMap<String, Template>,
    /// Where it comes from.
    #[serde(skip)]
    pub sources: Sources,
}

/// Why a configuration was refused: file, line, field and what is allowed, as far as they are known.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {error}; name a configuration file that can be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: std::io::Error,
    },
    /// A source does not hold a configuration.
    #[error("{origin}: {message}")]
    Wrong {
        /// The file or variable.
        origin: String,
        /// Where in it and why.
        message: String,
    },
}

impl Default for Config {
    fn default() -> Self {
        let defaults: toml::Table = DEFAULT_FILE.parse().expect("the default file is TOML");
        let templates = defaults["templates"].clone().try_into().expect("the default templates are right");
        Self {
            http: Http::default(),
            auth: Auth::default(),
            store: Store::default(),
            postgres: Postgres::default(),
            sessions: Sessions::default(),
            jobs: Jobs::default(),
            telemetry: Telemetry::default(),
            health: HealthRules::default(),
            regions: BTreeMap::new(),
            instance_templates: BTreeMap::new(),
            templates,
            sources: Sources::default(),
        }
    }
}

impl Config {
    /// The defaults, overlaid by what the sources say.
    ///
    /// # Errors
    /// Where a source says what is not allowed.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let config = Self::parse(&sources.read()?, &sources.origin(), &sources.overrides)?;
        Ok(Self { sources: sources.clone(), ..config })
    }

    /// The defaults, overlaid by a file's text, overlaid by what wins over it.
    ///
    /// # Errors
    /// Where one of them says what is not allowed.
    pub fn parse(text: &str, origin: &str, overrides: &[Override]) -> Result<Self, ConfigError> {
        let wrong = |origin: &str, message: String| ConfigError::Wrong { origin: origin.into(), message };
        let misread = |origin: &str, error: toml::de::Error| wrong(origin, readable(&error, text));
        // Read alone first: only here do errors know their line.
        let mut config: Self = toml::from_str(text).map_err(|error| misread(origin, error))?;
        if config.postgres.password.is_some() {
            let told = "[postgres] password is not written here, where many read it: name a password_file, or set \
                        RALLYPOINT_POSTGRES__PASSWORD";
            return Err(wrong(origin, told.into()));
        }
        let mut table: toml::Table = text.parse().map_err(|error| misread(origin, error))?;
        for Override { origin, section, knob, value } in overrides {
            if FILE_ONLY.contains(&section.as_str()) {
                return Err(wrong(origin, format!("[{section}] is written in the configuration file only")));
            }
            let section = table.entry(section).or_insert_with(|| toml::Table::new().into());
            let Some(section) = section.as_table_mut() else { continue };
            section.insert(knob.clone(), value.clone());
            config = table.clone().try_into().map_err(|error| misread(origin, error))?;
        }
        check::check(&config).map_err(|fault| fault.placed(text, origin, overrides))?;
        Ok(config)
    }

    /// Refuses to show the development key's server to others: who reads that key can be anyone.
    ///
    /// # Errors
    /// Where the API would listen beyond loopback without keys of its own.
    pub fn check_exposure(&self) -> Result<(), ConfigError> {
        let placed = |fault: Fault| match self.sources.read() {
            Ok(text) => fault.placed(&text, &self.sources.origin(), &self.sources.overrides),
            Err(error) => error,
        };
        check::check_exposure(self).map_err(placed)
    }

    /// The configuration as a file that would make it, secrets masked.
    pub fn to_masked_toml(&self) -> String {
        let mut masked = self.clone();
        masked.auth.jwks_url = masked.auth.jwks_url.as_deref().map(mask_url);
        toml::to_string_pretty(&masked).unwrap_or_else(|error| format!("# {error}\n"))
    }
}

impl Sources {
    fn read(&self) -> Result<String, ConfigError> {
        let Some(path) = &self.file else { return Ok(String::new()) };
        std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable { path: path.clone(), error })
    }

    /// What the file is called in errors.
    fn origin(&self) -> String {
        self.file.as_ref().map_or_else(|| "configuration".into(), |path| path.display().to_string())
    }
}

/// What is wrong and where, without the words of the language this is written in.
fn readable(error: &toml::de::Error, text: &str) -> String {
    const WHOLE: &str = "expected a whole number, 0 or more";
    let said = error.to_string().trim_end().replace("expected u64", WHOLE).replace("expected usize", WHOLE);
    if lacks_quotes(error, text) {
        return format!("{said}\nif this is a text, put it in quotes, as in \"127.0.0.1:7700\"");
    }
    said
}

/// Whether an error is in a line whose value is no TOML and has no quotes.
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
    fn the_default_file_names_every_knob() {
        let defaults = toml::Table::try_from(Config::default()).unwrap();
        for (section, knobs) in &defaults {
            for knob in knobs.as_table().unwrap().keys().filter(|_| section != "templates") {
                assert!(
                    DEFAULT_FILE.lines().any(|line| line.trim_start_matches("# ").starts_with(knob)),
                    "{knob}"
                );
            }
        }
    }

    #[test]
    fn the_environment_wins_over_the_file() {
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
        assert_eq!(config.http.trusted_proxies, ["10.0.0.1".parse::<std::net::IpAddr>().unwrap()]);
        let bounded = [("RALLYPOINT_POSTGRES__READ_CONSISTENCY", "{ bounded_ms = 250 }")];
        let postgres = parse("", &bounded).unwrap().postgres;
        assert_eq!(postgres.read_consistency, ReadConsistency::BoundedMs(250));
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
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
        for knob in ["[http]\nconnections_max", "[http]\nrequest_timeout_s", "[jobs]\nevery_ms"] {
            let message = parse(&format!("{knob} = 0"), &[]).unwrap_err();
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
        for (section, knob, value, allowed) in [
            ("http", "listen", "localhost", "is no ADDRESS:PORT, as in 127.0.0.1:7700"),
            (
                "http",
                "listen",
                "127.0.0.1:99999",
                "is no ADDRESS:PORT, as in 127.0.0.1:7700; a port is from 0 to 65535",
            ),
            (
                "http",
                "listen",
                "localhost:1",
                "is no ADDRESS:PORT, as in 127.0.0.1:7700; it takes an IP address, not a name",
            ),
            ("http", "admin_listen", "none", "is no ADDRESS:PORT, as in 127.0.0.1:7700; or say \"off\""),
            ("telemetry", "log", "rallypoint=loud", "is no log filter, as in"),
            ("telemetry", "log", "verbose", "is no log filter, as in"),
        ] {
            let message = parse(&format!("[{section}]\n{knob} = \"{value}\""), &[]).unwrap_err();
            assert!(message.contains("my.toml") && message.contains("line 2"), "{message}");
            assert!(message.contains(&format!("{value:?} {allowed}")), "{message}");
        }
        let message = parse("[http]\ntrusted_proxies = [\"10.0.0.1\", \"10.0.0.0/8\"]", &[]).unwrap_err();
        let told =
            "\"10.0.0.0/8\" is no IP address, as in 10.0.0.1; networks are not taken: name each address";
        assert!(message.contains("line 2") && message.contains(told), "{message}");
        let message = parse("[store]\ndata_dir = \"\"", &[]).unwrap_err();
        assert_eq!(
            message,
            "my.toml: line 2: [store] data_dir names no directory; \".\" is the working directory"
        );
        assert!(parse("[auth]\nissuer = \"a\"", &[]).unwrap_err().contains("need jwks_file or jwks_url"));
        assert!(parse("[auth]\njwks_file = \"a\"\njwks_url = \"b\"", &[]).unwrap_err().contains("not both"));
    }

    #[test]
    fn a_text_without_quotes_is_told_of_them() {
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
    fn the_password_of_the_database_is_never_shown() {
        let url = "[store]\nbackend = \"postgres\"\n[auth]\njwks_file = \"keys\"\n[postgres]\nurl = \"postgres://me@db/games\"";
        for password in ["hidden", "1_000", "true", "[\"hidden\"]"] {
            let config = parse(url, &[("RALLYPOINT_POSTGRES__PASSWORD", password)]).unwrap();
            let address = config.postgres.settings().unwrap().address;
            assert_eq!(address.get_password(), Some(password.as_bytes()));
            let shown = format!("{config:?} {address:?} {}", config.to_masked_toml());
            let shown = shown.replace("\"RALLYPOINT_POSTGRES__PASSWORD\"", "");
            assert!(!shown.contains("hidden") && !shown.contains("1_000"), "{shown}");
        }
        for written in ["\"hidden\"", "4711"] {
            let message = parse(&format!("{url}\npassword = {written}"), &[]).unwrap_err();
            assert!(message.contains("name a password_file"), "{message}");
            assert!(!message.contains("hidden") && !message.contains("4711"), "{message}");
        }
    }

    #[test]
    fn the_password_of_the_database_may_be_in_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, " a b \n").unwrap();
        let postgres = Postgres {
            url: Some("postgres://me@db/games".into()),
            password_file: Some(file.path().into()),
            ..Postgres::default()
        };
        assert_eq!(postgres.settings().unwrap().address.get_password(), Some(&b" a b "[..]));
        drop(file);
        assert!(postgres.settings().unwrap_err().starts_with("[postgres] password_file "));
    }

    #[test]
    fn secrets_are_masked() {
        let url = "jwks_url = \"https://me:secret@keys.example/jwks?token=secret\"";
        let shown = parse(&format!("[auth]\n{url}"), &[]).unwrap().to_masked_toml();
        assert!(!shown.contains("secret") && shown.contains("https://***@keys.example/jwks?***"), "{shown}");
    }
}
