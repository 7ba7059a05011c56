//! `[login]`: the login for development, which exists only while there are no keys under `[auth]`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Config;
use super::check::Problem;
use crate::domain::{Platform, limits};

/// Most users and most clients.
const ENTRIES_MAX: usize = 1_000;
/// Start of the ids of clients that the server makes for launched servers.
const LAUNCH_PREFIX: &str = "launch-";
/// Most permissions of one list.
const PERMISSIONS_MAX: usize = 256;
/// The platforms that players can log in with besides `Anon` and `Basic`.
const UNVERIFIED_PLATFORMS: [Platform; 7] = [
    Platform::XboxLive,
    Platform::PSN,
    Platform::NintendoSwitch,
    Platform::Google,
    Platform::Apple,
    Platform::Epic,
    Platform::Steam,
];

/// Whether the server has a login for development. There is no value that forces it on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoginMode {
    /// The server has it unless it has keys of its own.
    #[default]
    Auto,
    /// The server does not have it.
    Off,
}

/// What a user's login results in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserKind {
    /// A token of a player.
    #[default]
    Player,
    /// A token without a player.
    Service,
}

/// The text of a hash. `Debug` masks it: people choose short passwords.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HashText(pub String);

impl fmt::Debug for HashText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// `[login.players]`: what players get who log in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents them")]
pub struct LoginPlayers {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Vec<String>>,
}

/// `[login.users.<name>]`: a user with a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents them")]
pub struct LoginUser {
    pub password_hash: HashText,
    #[serde(default)]
    pub kind: UserKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Vec<String>>,
}

/// `[login.clients.<id>]`: a client with a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents them")]
pub struct LoginClient {
    pub secret_hash: HashText,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Vec<String>>,
}

/// `[login]`: the login for development.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents them")]
pub struct LoginSection {
    pub mode: LoginMode,
    pub anon: bool,
    #[serde(deserialize_with = "limits::between::<_, _, 60, 86_400>")]
    pub access_ttl_s: u64,
    #[serde(deserialize_with = "limits::between::<_, _, 60, 15_552_000>")]
    pub refresh_ttl_s: u64,
    #[serde(deserialize_with = "limits::between::<_, _, 1, 10_000_000>")]
    pub players_remembered_max: usize,
    pub unverified_platforms: Vec<Platform>,
    #[serde(skip_serializing_if = "is_default")]
    pub players: LoginPlayers,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<String, LoginUser>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub clients: BTreeMap<String, LoginClient>,
    /// Whether the section is left out when the configuration is printed.
    #[serde(skip)]
    pub is_left_out: bool,
}

impl LoginSection {
    pub(super) fn is_left_out(&self) -> bool {
        self.is_left_out
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Default for LoginSection {
    fn default() -> Self {
        Self {
            mode: LoginMode::Auto,
            anon: true,
            access_ttl_s: 3_600,
            refresh_ttl_s: 2_592_000,
            players_remembered_max: 100_000,
            unverified_platforms: Vec::new(),
            players: LoginPlayers::default(),
            users: BTreeMap::new(),
            clients: BTreeMap::new(),
            is_left_out: false,
        }
    }
}

impl Config {
    /// Whether the server has a login for development.
    pub fn has_login(&self) -> bool {
        self.login.mode == LoginMode::Auto && !self.auth.has_own_keys()
    }

    /// Whether other machines can reach the API: the address is not loopback, or a proxy passes requests on.
    pub fn is_exposed(&self) -> bool {
        !self.http.listen.ip().is_loopback() || !self.http.trusted_proxies.is_empty()
    }
}

/// Checks the names of users and clients, and what they may do.
pub(super) fn check(login: &LoginSection) -> Result<(), Problem> {
    if let Some(platform) =
        login.unverified_platforms.iter().find(|platform| !UNVERIFIED_PLATFORMS.contains(platform))
    {
        let names = UNVERIFIED_PLATFORMS.map(Platform::name).join(", ");
        let message = format!("unverified_platforms: {platform} is none of {names}");
        return Err(Problem::new(&["login", "unverified_platforms"], message));
    }
    for (section, names) in
        [("users", login.users.keys().collect::<Vec<_>>()), ("clients", login.clients.keys().collect())]
    {
        if names.len() > ENTRIES_MAX {
            return Err(Problem::new(&["login", section, ""], format!("takes up to {ENTRIES_MAX} entries")));
        }
        if let Some(name) = names.iter().find(|name| name.starts_with(LAUNCH_PREFIX)) {
            let message = format!("{name:?}: names with {LAUNCH_PREFIX} are those of launched servers");
            return Err(Problem::new(&["login", section, name, ""], message));
        }
        if let Some(name) = names.iter().find(|name| !is_name(name)) {
            let message =
                format!("{name:?}: a name has 1 to 128 characters, no colon and no control characters");
            return Err(Problem::new(&["login", section, name, ""], message));
        }
    }
    if let Some(name) = login.clients.keys().find(|name| login.users.contains_key(*name)) {
        let message =
            format!("{name:?} is a user too; give the client another id, since both can log in by name");
        return Err(Problem::new(&["login", "clients", name, ""], message));
    }
    let users = login.users.iter().map(|(name, user)| (vec!["login", "users", name], &user.permissions));
    let clients =
        login.clients.iter().map(|(name, client)| (vec!["login", "clients", name], &client.permissions));
    let players = (vec!["login", "players"], &login.players.permissions);
    for (mut path, permissions) in users.chain(clients).chain([players]) {
        if permissions.as_ref().is_some_and(|permissions| permissions.len() > PERMISSIONS_MAX) {
            path.push("permissions");
            return Err(Problem::new(&path, format!("permissions takes up to {PERMISSIONS_MAX} names")));
        }
    }
    Ok(())
}

/// Names stand before a colon in credentials.
fn is_name(name: &str) -> bool {
    (1..=128).contains(&name.chars().count()) && !name.chars().any(|c| c == ':' || c.is_control())
}

/// With keys of its own a server has no login, so settings of one are a mistake. `setting` is the first that is set.
pub(super) fn check_own_keys(config: &Config, setting: Option<&str>) -> Result<(), Problem> {
    let Some(setting) = setting.filter(|_| config.auth.has_own_keys()) else { return Ok(()) };
    let message =
        "a server with jwks_file or jwks_url under [auth] has no login for development; remove this section";
    Err(Problem::new(&["login", setting], message))
}

/// The development key, and a login that believes every name, are for this machine only.
pub(super) fn check_exposure(config: &Config, is_on_purpose: bool) -> Result<(), Problem> {
    let listen = config.http.listen;
    if config.auth.has_own_keys() || !config.is_exposed() {
        return Ok(());
    }
    if config.has_login() && !config.login.unverified_platforms.is_empty() {
        let message = "unverified_platforms is for a server that only this machine can reach: it listens on loopback, \
                       and has no trusted_proxies";
        return Err(Problem::new(&["login", "unverified_platforms"], message));
    }
    if is_on_purpose {
        return Ok(());
    }
    if !listen.ip().is_loopback() {
        let message = format!(
            "refusing to listen on {listen} with the development key: anyone who can read the key file can sign a token \
             for any player. Set jwks_file or jwks_url under [auth], or listen on 127.0.0.1. If you own every machine \
             that reaches this address, start with --insecure-expose-development-key"
        );
        return Err(Problem::new(&["http", "listen"], message));
    }
    if !config.has_login() {
        return Ok(());
    }
    let message = "refusing to serve a proxy with the login for development: whoever reaches the proxy can log in as any \
                   player. Set jwks_file or jwks_url under [auth], or mode = \"off\" under [login], or remove \
                   trusted_proxies. If you own every machine that reaches the proxy, start with \
                   --insecure-expose-development-key";
    Err(Problem::new(&["http", "trusted_proxies"], message))
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::config::tests::parse;

    #[track_caller]
    fn refused(text: &str, line: usize, expected: &str) {
        let message = parse(text, &[]).unwrap_err();
        assert!(message.contains(&format!("line {line}")) && message.contains(expected), "{message}");
    }

    #[test]
    fn with_own_keys_a_login_section_is_a_mistake() {
        for keys in ["jwks_file = \"keys\"", "jwks_url = \"https://a.example/keys\""] {
            let auth = format!("[auth]\n{keys}\n");
            assert!(!parse(&auth, &[]).unwrap().has_login());
            for section in [
                "[login]",
                "[login]\nmode = \"off\"",
                "[login.users]",
                "[login.clients.a]\nsecret_hash = \"\"",
            ] {
                refused(&format!("{auth}{section}"), 3, "has no login for development");
            }
            let message = parse(&auth, &[("RALLYPOINT_LOGIN__MODE", "off")]).unwrap_err();
            assert!(message.starts_with("RALLYPOINT_LOGIN__MODE: [login] a server with"), "{message}");
        }
        assert!(parse("[login]", &[]).unwrap().has_login());
        assert!(!parse("", &[("RALLYPOINT_LOGIN__MODE", "off")]).unwrap().has_login());
    }

    #[test]
    fn nothing_but_the_flag_exposes_the_login() {
        for (name, value) in [
            ("RALLYPOINT_LOGIN__MODE", "on"),
            ("RALLYPOINT_LOGIN__INSECURE_EXPOSE_DEVELOPMENT_KEY", "true"),
            ("RALLYPOINT_HTTP__INSECURE_EXPOSE_DEVELOPMENT_KEY", "true"),
        ] {
            let message = parse("", &[(name, value)]).unwrap_err();
            assert!(message.contains(name) && message.contains("unknown"), "{message}");
        }
        for section in ["http", "login", "auth"] {
            refused(&format!("[{section}]\ninsecure_expose_development_key = true"), 2, "unknown field");
        }
        let message = parse("insecure_expose_development_key = true", &[]).unwrap_err();
        assert!(message.contains("unknown field"), "{message}");
    }

    fn exposure(text: &str, is_on_purpose: bool) -> Result<(), String> {
        let config = Config { text: text.into(), ..parse(text, &[]).unwrap() };
        config.check_exposure(is_on_purpose).map_err(|error| error.to_string())
    }

    #[test]
    fn an_exposed_login_needs_the_flag() {
        let proxies = "[http]\ntrusted_proxies = [\"10.0.0.1\"]\n";
        for (text, expected) in [
            ("[http]\nlisten = \"0.0.0.0:7700\"\n", "line 2: [http] refusing to listen on 0.0.0.0:7700"),
            (proxies, "line 2: [http] refusing to serve a proxy"),
        ] {
            let message = exposure(text, false).unwrap_err();
            assert!(message.contains(expected), "{message}");
            assert_eq!(exposure(text, true), Ok(()));
            assert_eq!(exposure(&format!("{text}[auth]\njwks_file = \"keys\""), false), Ok(()));
            let unverified = format!("{text}[login]\nunverified_platforms = [\"Steam\"]");
            let message = exposure(&unverified, true).unwrap_err();
            assert!(message.contains("line 4: [login] unverified_platforms is for"), "{message}");
        }
        assert_eq!(exposure(&format!("{proxies}[login]\nmode = \"off\""), false), Ok(()));
        assert_eq!(exposure("[login]\nunverified_platforms = [\"Steam\"]", false), Ok(()));
        assert_eq!(exposure("[http]\nlisten = \"[::1]:7700\"", false), Ok(()));
    }

    #[test]
    fn wrong_settings_are_refused_with_their_line() {
        let user = "password_hash = \"a\"";
        for (text, line, expected) in [
            ("[login]\nmode = \"on\"".to_owned(), 2, "expected `auto` or `off`"),
            ("[login]\naccess_ttl_s = 59".to_owned(), 2, "59 is not from 60 to 86400"),
            ("[login]\naccess_ttl_s = 86401".to_owned(), 2, "86401 is not from 60 to 86400"),
            ("[login]\nrefresh_ttl_s = 0".to_owned(), 2, "0 is not from 60 to 15552000"),
            ("[login]\nplayers_remembered_max = 0".to_owned(), 2, "0 is not from 1 to 10000000"),
            ("[login]\nunverified_platforms = [\"steam\"]".to_owned(), 2, "unknown variant `steam`"),
            ("[login]\nunverified_platforms = [\"Anon\"]".to_owned(), 2, "Anon is none of XboxLive, PSN,"),
            (format!("[login.users.\"a:b\"]\n{user}"), 1, "no colon"),
            (format!("[login.users.\"\"]\n{user}"), 1, "1 to 128 characters"),
            (format!("[login.users.launch-1]\n{user}"), 1, "those of launched servers"),
            ("[login.users.a]\nkind = \"player\"".to_owned(), 1, "missing field `password_hash`"),
            (format!("[login.users.a]\n{user}\nkind = \"admin\""), 3, "expected `player` or `service`"),
            ("[login.clients.a]\npermissions = []".to_owned(), 1, "missing field `secret_hash`"),
            (format!("[login.users.a]\n{user}\n[login.clients.a]\nsecret_hash = \"\""), 3, "is a user too"),
        ] {
            refused(&text, line, expected);
        }
        let names = (0..257).map(|number| format!("\"{number}\"")).collect::<Vec<_>>().join(", ");
        refused(&format!("[login.players]\npermissions = [{names}]"), 2, "up to 256 names");
    }

    #[test]
    fn debug_output_shows_no_hash() {
        let text = "[login.users.a]\npassword_hash = \"hidden\"\n[login.clients.b]\nsecret_hash = \"hidden\"";
        let shown = format!("{:?}", parse(text, &[]).unwrap().login);
        assert!(shown.contains("***") && !shown.contains("hidden"), "{shown}");
    }
}
