//! The sections of the configuration. `config.default.toml` describes each setting; a test compares the two.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use super::cors_origin::check_cors_origin;
use super::leave_delay::LeaveDelay;
use super::log_filter::check_log_filter;
use super::proxy::parse_proxy;
use crate::domain::client::VersionCheck;
use crate::domain::limits;

/// Parses an address to listen on. The error shows the format.
pub fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let cause = match text.rsplit_once(':') {
            Some((_, port)) if is_number(port) && port.parse::<u16>().is_err() => {
                "; a port is from 0 to 65535"
            }
            Some((host, port))
                if is_number(port) && host.starts_with(|first: char| first.is_alphabetic()) =>
            {
                "; use an IP address, not a host name"
            }
            _ => "",
        };
        format!("{text:?} is not an ADDRESS:PORT, as in 127.0.0.1:7700{cause}")
    })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The address of the admin listener, or "off".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum AdminListen {
    /// There is no admin listener.
    Off,
    /// It listens on this address.
    At(SocketAddr),
}

impl FromStr for AdminListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            address => match parse_address(address) {
                Ok(address) => Ok(Self::At(address)),
                Err(error) => Err(format!("{error}; or use \"off\"")),
            },
        }
    }
}

impl TryFrom<String> for AdminListen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for AdminListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

impl From<AdminListen> for String {
    fn from(listen: AdminListen) -> Self {
        listen.to_string()
    }
}

/// `[http]`: listeners and limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents them")]
pub struct HttpSection {
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    pub admin_listen: AdminListen,
    #[serde(deserialize_with = "limits::between::<_, _, 1, 1_000_000>")]
    pub connections_max: usize,
    #[serde(deserialize_with = "limits::between::<_, _, 256, 65_534>")]
    pub path_bytes_max: usize,
    #[serde(deserialize_with = "limits::between::<_, _, 1024, 131_072>")]
    pub header_bytes_max: usize,
    #[serde(deserialize_with = "limits::between::<_, _, 1024, 67_108_864>")]
    pub body_bytes_max: usize,
    #[serde(deserialize_with = "limits::between::<_, _, 1_048_576, 1_099_511_627_776>")]
    pub memory_in_flight_bytes: u64,
    #[serde(deserialize_with = "limits::between::<_, _, 1, 3_600>")]
    pub head_timeout_s: u64,
    #[serde(deserialize_with = "limits::between::<_, _, 1, 3_600>")]
    pub body_timeout_s: u64,
    #[serde(deserialize_with = "limits::between::<_, _, 1, 3_600>")]
    pub request_timeout_s: u64,
    #[serde(deserialize_with = "limits::between::<_, _, 1, 3_600>")]
    pub write_timeout_s: u64,
    #[serde(deserialize_with = "limits::between::<_, _, 0, 3_600>")]
    pub drain_timeout_s: u64,
    pub leave_delay_s: LeaveDelay,
    pub fast_path: bool,
    #[serde(deserialize_with = "proxies")]
    pub trusted_proxies: Vec<IpNet>,
    #[serde(deserialize_with = "origins")]
    pub cors_origins: Vec<String>,
}

impl Default for HttpSection {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7700)),
            admin_listen: AdminListen::At(SocketAddr::from(([127, 0, 0, 1], 7701))),
            connections_max: 10_000,
            path_bytes_max: 57_344,
            header_bytes_max: 32_768,
            body_bytes_max: 1_048_576,
            memory_in_flight_bytes: 268_435_456,
            head_timeout_s: 75,
            body_timeout_s: 15,
            request_timeout_s: 30,
            write_timeout_s: 30,
            drain_timeout_s: 4,
            leave_delay_s: LeaveDelay::Auto,
            fast_path: true,
            trusted_proxies: Vec::new(),
            cors_origins: Vec::new(),
        }
    }
}

impl HttpSection {
    /// The address of the admin listener, or `None` if it is off. If the API takes a free port (port 0) and this
    /// setting has its default, the admin listener takes a free port too.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        let AdminListen::At(mut address) = self.admin_listen else { return None };
        if self.admin_listen == Self::default().admin_listen && self.listen.port() == 0 {
            address.set_port(0);
        }
        Some(address)
    }
}

fn address<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    parse_address(&String::deserialize(from)?).map_err(D::Error::custom)
}

fn proxies<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    texts.iter().map(|text| parse_proxy(text)).collect::<Result<_, _>>().map_err(D::Error::custom)
}

fn origins<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let origins = Vec::<String>::deserialize(from)?;
    origins.iter().try_for_each(|origin| check_cors_origin(origin)).map_err(D::Error::custom)?;
    Ok(origins)
}

/// `[auth]`: keys that verify tokens, and the claims in tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents them")]
pub struct AuthSection {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_ca_file: Option<PathBuf>,
    #[serde(deserialize_with = "limits::between::<_, _, 1, 86_400>")]
    pub jwks_refresh_s: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    #[serde(deserialize_with = "limits::between::<_, _, 0, 300>")]
    pub leeway_s: u64,
    pub cookie: String,
    pub player_claim: String,
    pub permissions_claim: String,
    pub player_id_claim: String,
    pub platform_claim: String,
    #[serde(deserialize_with = "limits::between::<_, _, 1, 10_000_000>")]
    pub cached_tokens: usize,
}

impl AuthSection {
    /// Whether the operator has set keys. Otherwise tokens are verified with the development key.
    pub fn has_own_keys(&self) -> bool {
        self.jwks_file.is_some() || self.jwks_url.is_some()
    }
}

impl Default for AuthSection {
    fn default() -> Self {
        Self {
            jwks_file: None,
            jwks_url: None,
            jwks_ca_file: None,
            jwks_refresh_s: 300,
            issuer: None,
            audience: None,
            leeway_s: 5,
            cookie: "access_token".into(),
            player_claim: "sub".into(),
            permissions_claim: "permissions".into(),
            player_id_claim: "player_id".into(),
            platform_claim: "platform".into(),
            cached_tokens: 100_000,
        }
    }
}

/// The kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// The embedded store, in the data directory on disk.
    Embedded,
    /// In memory; everything is lost when the server stops.
    Memory,
    /// A PostgreSQL database, which several servers may share.
    Postgres,
}

/// `[store]`: the store that holds sessions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents them")]
pub struct StoreSection {
    pub backend: StoreKind,
    pub data_dir: PathBuf,
    #[serde(deserialize_with = "limits::between::<_, _, 0, 1_099_511_627_776>")]
    pub cache_bytes: u64,
}

impl Default for StoreSection {
    fn default() -> Self {
        Self { backend: StoreKind::Embedded, data_dir: "./rallypoint-data".into(), cache_bytes: 268_435_456 }
    }
}

/// `[postgres]`: the database that several servers may share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents them")]
pub struct PostgresSection {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(skip_serializing)]
    pub password: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    #[serde(deserialize_with = "limits::between::<_, _, 1, 100>")]
    pub write_connections: usize,
    #[serde(deserialize_with = "limits::between::<_, _, 1, 100>")]
    pub read_connections: usize,
    #[serde(deserialize_with = "limits::between::<_, _, 1, 60_000>")]
    pub connect_timeout_ms: u64,
    #[serde(deserialize_with = "limits::between::<_, _, 1, 60_000>")]
    pub statement_timeout_ms: u64,
    #[serde(deserialize_with = "limits::between::<_, _, 0, 60_000>")]
    pub patience_ms: u64,
    #[serde(deserialize_with = "limits::between::<_, _, 1, 3_600_000>")]
    pub clock_skew_max_ms: u64,
    pub read_consistency: ReadConsistency,
    pub hints: Hints,
}

/// Whether servers that share the database tell each other what has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hints {
    /// If the database can.
    #[default]
    Auto,
    /// Always; otherwise the start fails.
    On,
    /// Never.
    Off,
}

/// Which changes that other nodes have answered a read of a session may miss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadConsistency {
    /// None: a read sees every change that any node has answered.
    #[default]
    Linearizable,
    /// Changes of other nodes that are younger than this, in milliseconds: 1 to 60,000.
    BoundedMs(#[serde(deserialize_with = "limits::between::<_, _, 1, 60_000>")] u64),
}

impl Default for PostgresSection {
    fn default() -> Self {
        Self {
            url: None,
            password: None,
            password_file: None,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            write_connections: 2,
            read_connections: 1,
            connect_timeout_ms: 2_000,
            statement_timeout_ms: 5_000,
            patience_ms: 8_000,
            clock_skew_max_ms: 2_000,
            read_consistency: ReadConsistency::Linearizable,
            hints: Hints::Auto,
        }
    }
}

/// A secret text. `Debug` masks it, and it is not serialized.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    /// Accepts a value of any type, because an error message would show the value.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(from)?;
        Ok(Self(value.as_str().unwrap_or_default().to_owned()))
    }
}

/// Whether the server believes a client's claim that a player is a friend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FriendsCheck {
    /// Claims are ignored.
    Deny,
    /// Claims are believed.
    Trust,
}

/// `[sessions]`: timeouts, checks and quotas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents them")]
pub struct SessionsSection {
    #[serde(deserialize_with = "limits::between::<_, _, 1, 31_622_400>")]
    pub idle_s: u64,
    pub version_check: VersionCheck,
    pub friends_check: FriendsCheck,
    pub kicked_need_invite: bool,
    #[serde(deserialize_with = "limits::between::<_, _, 0, 5_000>")]
    pub players_shown_max: usize,
    #[serde(deserialize_with = "limits::between::<_, _, 1, 1_000>")]
    pub sessions_per_player_max: usize,
    #[serde(deserialize_with = "limits::between::<_, _, 0, 1_000>")]
    pub invites_per_player_max: usize,
    #[serde(deserialize_with = "limits::between::<_, _, 1, 1_000>")]
    pub invites_per_inviter_max: usize,
    #[serde(deserialize_with = "limits::between::<_, _, 0, 31_622_400>")]
    pub invite_expiry_s: u64,
    #[serde(deserialize_with = "limits::between::<_, _, 65_536, 67_108_864>")]
    pub session_bytes_max: usize,
}

impl Default for SessionsSection {
    fn default() -> Self {
        Self {
            idle_s: 3600,
            version_check: VersionCheck::Off,
            friends_check: FriendsCheck::Deny,
            kicked_need_invite: true,
            players_shown_max: 100,
            sessions_per_player_max: 32,
            invites_per_player_max: 100,
            invites_per_inviter_max: 5,
            invite_expiry_s: 0,
            session_bytes_max: 16_777_216,
        }
    }
}

/// What players may say about the start of dedicated servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlayerStartupParams {
    /// Players send startup parameters of their own.
    #[default]
    Allow,
    /// Players name one of the instance templates.
    Template,
}

/// `[instances]`: requests for instances.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents them")]
pub struct InstancesSection {
    pub player_startup_params: PlayerStartupParams,
}

/// `[jobs]`: background jobs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents them")]
pub struct JobsSection {
    #[serde(deserialize_with = "limits::between::<_, _, 1, 3_600_000>")]
    pub every_ms: u64,
}

impl Default for JobsSection {
    fn default() -> Self {
        Self { every_ms: 1000 }
    }
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text, for a terminal.
    #[default]
    Text,
    /// One JSON object a line, for log collectors.
    Json,
}

/// `[telemetry]`: logging.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents them")]
pub struct TelemetrySection {
    #[serde(deserialize_with = "log_filter")]
    pub log: String,
    pub log_format: LogFormat,
}

impl Default for TelemetrySection {
    fn default() -> Self {
        Self { log: "info,fjall=warn,lsm_tree=warn".into(), log_format: LogFormat::Text }
    }
}

fn log_filter<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    check_log_filter(&text).map(|()| text).map_err(D::Error::custom)
}
