//! Reads the configuration, and converts it into the settings of other modules. `config` holds plain values and knows
//! none of these modules; they do not know `config`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::config::SslMode;

use crate::app::login::{Client, PasswordHash, SecretHash, User, UserKind};
use crate::app::waits::WaitLimits;
use crate::app::{AppSettings, Catalog, Limits, LoginSettings};
use crate::auth::{
    DEFAULT_PLAYER_PERMISSIONS, JwksSource, LoginKey, Permission, TokenSettings, check_jwks_url, mask_url,
};
use crate::config::UserKind as ConfiguredKind;
use crate::config::{
    AllocatorKind, AuthSection, Config, ConfigError, FriendsCheck, Hints, HttpSection, LoginSection,
    PlayerStartupParams, PostgresSection, Problem, ReadConsistency, Secret, Sources,
};
use crate::http::listener::ConnectionLimits;
use crate::http::{PipelineSettings, RequestLimits};
use crate::runtime::allocators;
use crate::runtime::server_credentials::CLIENT_ID;
use crate::runtime::service_settings::{
    audit_settings, idempotency_settings, matcher_settings, matchmaking_settings, notification_settings,
};
use crate::runtime::voice;
use crate::store::{MessageMode, PostgresSettings, PostgresTls, parse_postgres_url};

/// What services may do that log in, unless the configuration says otherwise.
const SERVICE_PERMISSIONS: [&str; 3] = ["session:*", "session-audit:update:all", "notification:player:*"];

/// Reads and checks the configuration.
///
/// # Errors
/// If the file cannot be read, or a source has an invalid setting. The message names file and line, variable or flag.
pub fn load_config(sources: &Sources) -> Result<Config, ConfigError> {
    Config::load(sources, check)
}

/// Checks the settings that only other modules can parse.
pub(super) fn check(config: &Config) -> Result<(), Problem> {
    if let Some(Err(message)) = config.auth.jwks_url.as_deref().map(check_jwks_url) {
        return Err(Problem::new(&["auth", "jwks_url"], message));
    }
    if let Some(Err(message)) = config.postgres.url.as_deref().map(parse_postgres_url) {
        return Err(Problem::new(&["postgres", "url"], message));
    }
    for (name, user) in &config.login.users {
        if let Err(message) = PasswordHash::parse(&user.password_hash.0) {
            let path = ["login", "users", name, "password_hash"];
            return Err(Problem::new(&path, format!("password_hash {message}")));
        }
    }
    for (id, client) in &config.login.clients {
        if SecretHash::parse(&client.secret_hash.0).is_none() {
            let message =
                "secret_hash is not sha256: and 64 hexadecimal digits; `rallypoint new-client` makes one";
            return Err(Problem::new(&["login", "clients", id, "secret_hash"], message));
        }
    }
    if config.has_login() && config.login.clients.is_empty() && config.login.users.contains_key(CLIENT_ID) {
        let message = format!(
            "{CLIENT_ID:?} is the client that the server makes for game servers; give the user another name, or \
             configure clients under [login.clients]"
        );
        return Err(Problem::new(&["login", "users", CLIENT_ID, ""], message));
    }
    voice::check(config)?;
    allocators::check(config)
}

/// Logs the values with which published clients or proxies have trouble.
pub fn log_warnings(config: &Config) {
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
}

/// The configuration as a TOML file, with secrets masked.
pub fn masked_toml(config: &Config) -> String {
    let mut masked = config.clone();
    masked.auth.jwks_url = masked.auth.jwks_url.as_deref().map(mask_url);
    for allocator in masked.allocators.values_mut() {
        match &mut allocator.kind {
            AllocatorKind::Process(process) => {
                process.env.values_mut().for_each(|value| *value = "***".into())
            }
            AllocatorKind::Webhook(webhook) => webhook.url = mask_url(&webhook.url),
            AllocatorKind::Agones(_) => {}
        }
    }
    // A server with keys of its own accepts no settings of a login.
    masked.login.is_left_out = config.auth.has_own_keys();
    toml::to_string_pretty(&masked).unwrap_or_else(|error| format!("# {error}\n"))
}

/// Limits of connections: their number, and timeouts.
pub fn connection_limits(http: &HttpSection) -> ConnectionLimits {
    ConnectionLimits {
        connections_max: http.connections_max,
        head_timeout: Duration::from_secs(http.head_timeout_s),
        write_timeout: Duration::from_secs(http.write_timeout_s),
        drain_timeout: Duration::from_secs(http.drain_timeout_s),
    }
}

/// Limits of waits.
fn wait_limits(config: &Config) -> WaitLimits {
    let wait = &config.wait;
    WaitLimits {
        max_ms: i64::from(wait.max_s) * 1000,
        waits_max: wait.waits_max(config.http.connections_max),
        per_player_max: wait.per_player_max,
        services_max: wait.per_service_max,
        long_polls_per_player_max: config.notifications.listeners_per_player_max,
        drain_spread_ms: wait.drain_spread_ms,
        sweep_ms: i64::from(wait.sweep_ms),
        sweep_keys_per_s: wait.sweep_keys_per_s,
        wake_delay_ms: 0,
    }
}

/// Limits of one request: sizes in bytes, and timeouts.
fn request_limits(http: &HttpSection) -> RequestLimits {
    RequestLimits {
        path_bytes_max: http.path_bytes_max,
        header_bytes_max: http.header_bytes_max,
        body_bytes_max: http.body_bytes_max,
        body_timeout: Duration::from_secs(http.body_timeout_s),
        request_timeout: Duration::from_secs(http.request_timeout_s),
    }
}

/// Settings of the request pipeline. `is_exposed`: the operator has allowed other machines to log in.
pub fn pipeline_settings(config: &Config, is_exposed: bool) -> PipelineSettings {
    PipelineSettings {
        limits: request_limits(&config.http),
        memory_in_flight_bytes: config.http.memory_in_flight_bytes,
        cookie: config.auth.cookie.clone(),
        trusted_proxies: config.http.trusted_proxies.clone(),
        cors_origins: config.http.cors_origins.clone(),
        is_exposed,
    }
}

/// Settings of the token verifier.
pub fn token_settings(config: &Config) -> TokenSettings {
    let (auth, epic) = (config.auth.clone(), config.voice.epic.as_ref());
    let claims = config.ranks.values().flat_map(|rank| rank.claims());
    TokenSettings {
        issuer: auth.issuer,
        audience: auth.audience,
        leeway: Duration::from_secs(auth.leeway_s),
        player_claim: auth.player_claim,
        permissions_claim: auth.permissions_claim,
        player_id_claim: auth.player_id_claim,
        platform_claim: auth.platform_claim,
        product_user_id_claim: epic.and_then(|epic| epic.puid_claim.clone()),
        number_claims: claims.map(str::to_owned).collect(),
        cache_tokens: auth.cached_tokens,
    }
}

/// The operator's JWK Set, or `None` if the server uses its development key.
pub fn jwks_source(auth: &AuthSection) -> Option<JwksSource> {
    let file = auth.jwks_file.clone().map(JwksSource::File);
    let ca_file = auth.jwks_ca_file.clone();
    file.or_else(|| auth.jwks_url.clone().map(|url| JwksSource::Url { url, ca_file }))
}

/// Settings of the application.
pub fn app_settings(config: &Config) -> AppSettings {
    let sessions = &config.sessions;
    let invite_expiry = match sessions.invite_expiry_s {
        0 => None,
        seconds => Some(Duration::from_secs(seconds)),
    };
    let limits = Limits {
        idle_ms: i64::try_from(sessions.idle_s.saturating_mul(1_000)).unwrap_or(i64::MAX),
        cache_bytes: config.store.cache_bytes,
        session_bytes_max: sessions.session_bytes_max,
        sessions_per_player_max: sessions.sessions_per_player_max,
        invites_per_player_max: sessions.invites_per_player_max,
        invites_per_inviter_max: sessions.invites_per_inviter_max,
        staleness_ms_max: staleness_ms_max(config.postgres.read_consistency),
    };
    AppSettings {
        version_check: sessions.version_check,
        trust_friends: sessions.friends_check == FriendsCheck::Trust,
        kicked_need_invite: sessions.kicked_need_invite,
        players_shown_max: sessions.players_shown_max,
        players_send_startup_params: config.instances.player_startup_params == PlayerStartupParams::Allow,
        health: config.health,
        invite_expiry,
        limits,
        waits: wait_limits(config),
        notifications: notification_settings(&config.notifications),
        idempotency: idempotency_settings(config.idempotency),
        matchmaking: matchmaking_settings(config.matchmaking),
        matcher: matcher_settings(config.matchmaking),
        audit: audit_settings(config.audit),
        login: None,
    }
}

/// Settings of the login for development, with the key that signs tokens. `generated` is the client that the server has
/// made, if the configuration has none.
///
/// # Errors
/// If a hash in the configuration is not one. The message says where.
pub fn login_settings(
    login: &LoginSection,
    key: Arc<LoginKey>,
    generated: Option<(&str, SecretHash)>,
) -> Result<LoginSettings, String> {
    let of_players = login.players.permissions.clone();
    let player_permissions = of_players.unwrap_or_else(|| names(DEFAULT_PLAYER_PERMISSIONS));
    let of_services = || SERVICE_PERMISSIONS.map(str::to_owned).to_vec();
    let mut users = BTreeMap::new();
    for (name, user) in &login.users {
        let (kind, permissions) = match user.kind {
            ConfiguredKind::Player => (UserKind::Player, player_permissions.clone()),
            ConfiguredKind::Service => (UserKind::Service, of_services()),
        };
        let password = PasswordHash::parse(&user.password_hash.0)
            .map_err(|error| format!("[login.users.{name}] password_hash {error}"))?;
        let permissions = user.permissions.clone().unwrap_or(permissions);
        users.insert(
            name.clone(),
            User { password, kind, display_name: user.display_name.clone(), permissions },
        );
    }
    let mut clients = BTreeMap::new();
    for (id, client) in &login.clients {
        let secret = SecretHash::parse(&client.secret_hash.0).ok_or_else(|| {
            format!("[login.clients.{id}] secret_hash is none; run `rallypoint new-client`")
        })?;
        let permissions = client.permissions.clone().unwrap_or_else(of_services);
        clients.insert(id.clone(), Client { secret, permissions });
    }
    if let Some((id, secret)) = generated {
        clients.insert(id.to_owned(), Client { secret, permissions: of_services() });
    }
    Ok(LoginSettings {
        key,
        anon: login.anon,
        access_ttl: Duration::from_secs(login.access_ttl_s),
        refresh_ttl: Duration::from_secs(login.refresh_ttl_s),
        players_remembered_max: login.players_remembered_max,
        unverified_platforms: login.unverified_platforms.clone(),
        player_permissions,
        users,
        clients,
    })
}

fn names(permissions: &[Permission]) -> Vec<String> {
    permissions.iter().map(|permission| permission.name().to_owned()).collect()
}

/// How old a session that a read returns may be, in milliseconds; 0 for linearizable reads.
fn staleness_ms_max(consistency: ReadConsistency) -> i64 {
    match consistency {
        ReadConsistency::Linearizable => 0,
        ReadConsistency::BoundedMs(ms) => i64::try_from(ms).unwrap_or(i64::MAX),
    }
}

/// What a reload replaces: session templates, regions, instance templates, key-value pairs and matchmaking.
pub fn catalog(config: &Config) -> Catalog {
    let (regions, instance_templates) = (config.regions.clone(), config.instance_templates.clone());
    Catalog::new(config.templates.clone(), regions, instance_templates)
        .with_key_values(config.config.kvs.clone())
        .with_matchmaking(config.matchmaking_tables())
}

/// Settings of the store in PostgreSQL. Reads the files of the password and the certificates.
///
/// # Errors
/// If `url` is missing or invalid, or a file cannot be read or used. The message says what to do.
pub fn postgres_settings(postgres: &PostgresSection) -> Result<PostgresSettings, String> {
    let url =
        postgres.url.as_deref().ok_or("[postgres] url is missing: set it to the address of the database")?;
    let mut address = parse_postgres_url(url)?;
    if let Some(Secret(password)) = &postgres.password {
        address.password(password);
    } else if let Some(path) = &postgres.password_file {
        let password = std::fs::read_to_string(path)
            .map_err(|error| format!("[postgres] password_file {}: {error}", path.display()))?;
        address.password(password.trim_end_matches(['\r', '\n']));
    }
    let certificate = postgres.certificate_file.as_deref().zip(postgres.key_file.as_deref());
    // An operator who configures certificates wants TLS. With "prefer", the default, an attacker on the network could
    // claim that the database has no TLS, and the connection would not be encrypted.
    if (postgres.ca_file.is_some() || certificate.is_some()) && !url.contains("sslmode=") {
        address.ssl_mode(SslMode::Require);
    }
    Ok(PostgresSettings {
        address,
        tls: PostgresTls::new(postgres.ca_file.as_deref(), certificate)?,
        write_connections: postgres.write_connections,
        read_connections: postgres.read_connections,
        connect_timeout: Duration::from_millis(postgres.connect_timeout_ms),
        statement_timeout: Duration::from_millis(postgres.statement_timeout_ms),
        retry_deadline: Duration::from_millis(postgres.patience_ms),
        clock_skew_max_ms: i64::try_from(postgres.clock_skew_max_ms).unwrap_or(i64::MAX),
        messages: match postgres.hints {
            Hints::Auto => MessageMode::Auto,
            Hints::On => MessageMode::On,
            Hints::Off => MessageMode::Off,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::variables;

    /// Loads a file with this text, and these environment variables. The error has "FILE" instead of the path of the
    /// file.
    fn load(text: impl AsRef<[u8]>, env: &[(&str, &str)]) -> Result<Config, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, text).unwrap();
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let sources = Sources { file: Some(file.path().into()), overrides: variables(env) };
        let path = file.path().display().to_string();
        load_config(&sources).map_err(|error| error.to_string().replace(&path, "FILE"))
    }

    #[test]
    fn errors_of_allocators_have_the_line_of_the_setting() {
        let webhook = "[allocators.studio]\nkind = \"webhook\"\nsecret_file = \"s\"\n";
        let agones = "[allocators.fleet]\nkind = \"agones\"\ncertificate_file = \"c\"\nkey_file = \"k\"\n\
                      ca_file = \"a\"\n";
        let of_agones = |url: &str, fleet: &str| format!("{agones}url = \"{url}\"\nfleet = \"{fleet}\"\n");
        load(format!("{webhook}url = \"http://localhost:1/\""), &[]).unwrap();
        load(of_agones("https://agones.example", "game"), &[]).unwrap();
        for (text, expected) in [
            (
                format!("{webhook}url = \"http://studio.example/\""),
                "FILE: line 4: [allocators.studio] url must start with https://; http:// is allowed for this machine \
                 only",
            ),
            (of_agones("http://agones.example", "game"), "FILE: line 6: [allocators.fleet] url must start"),
            (
                of_agones("https://agones.example/path", "game"),
                "line 6: [allocators.fleet] url must have no path",
            ),
            (
                of_agones("https://agones.example", "My fleet"),
                "line 7: [allocators.fleet] fleet \"My fleet\" is not",
            ),
        ] {
            let message = load(text, &[]).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_jwks_url_is_https_or_on_this_machine() {
        for (url, expected) in [
            ("http://keys.example/jwks", "must start with https://"),
            ("ftp://127.0.0.1/jwks", "must start with https://"),
            ("https://", "is not a URL"),
            ("keys", "is not a URL"),
        ] {
            let message = load(format!("\n[auth]\njwks_url = {url:?}"), &[]).unwrap_err();
            assert!(message.starts_with("FILE: line 3: [auth] jwks_url"), "{message}");
            assert!(message.contains(expected), "{message}");
            let message = load("", &[("RALLYPOINT_AUTH__JWKS_URL", url)]).unwrap_err();
            assert!(message.starts_with("RALLYPOINT_AUTH__JWKS_URL: [auth] jwks_url"), "{message}");
        }
        for url in
            ["https://keys.example/jwks", "http://localhost:1/jwks", "http://[::1]:1/", "http://127.0.0.1"]
        {
            load(format!("[auth]\njwks_url = {url:?}"), &[]).unwrap();
        }
    }

    #[test]
    fn a_byte_that_is_not_utf8_has_a_line_and_a_column() {
        for (bytes, expected) in [
            (&b"\xE9"[..], "line 1, column 1: the byte 0xE9"),
            (b"[http]\n# caf\xE9\n", "line 2, column 6: the byte 0xE9"),
            (b"# \xC3\xA9\n# \xC3\xA9 \xFF", "line 2, column 5: the byte 0xFF"),
            (b"[http]\r\n\r\n#\xC3", "line 3, column 2: the byte 0xC3"),
        ] {
            let message = load(bytes, &[]).unwrap_err();
            assert_eq!(message, format!("FILE: {expected} is not UTF-8; save the file as UTF-8"));
        }
    }

    #[test]
    fn the_database_url_takes_no_password() {
        let message = load("[postgres]\nurl = \"postgres://me:secret@db\"", &[]).unwrap_err();
        assert!(message.starts_with("FILE: line 2: [postgres] url takes no password"), "{message}");
        assert!(!message.contains("secret"), "{message}");
    }

    #[test]
    fn the_database_password_is_never_shown() {
        let url = "[store]\nbackend = \"postgres\"\n[auth]\njwks_file = \"keys\"\n[postgres]\nurl = \"postgres://me@db/games\"";
        for password in ["hidden", "1_000", "true", "[\"hidden\"]"] {
            let config = load(url, &[("RALLYPOINT_POSTGRES__PASSWORD", password)]).unwrap();
            let address = postgres_settings(&config.postgres).unwrap().address;
            assert_eq!(address.get_password(), Some(password.as_bytes()));
            let shown = format!("{config:?} {address:?} {}", masked_toml(&config));
            assert!(!shown.contains("hidden") && !shown.contains("1_000"), "{shown}");
        }
    }

    #[test]
    fn the_database_password_can_be_in_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, " a b \n").unwrap();
        let postgres = PostgresSection {
            url: Some("postgres://me@db/games".into()),
            password_file: Some(file.path().into()),
            ..PostgresSection::default()
        };
        let settings = postgres_settings(&postgres).unwrap();
        assert_eq!(settings.address.get_password(), Some(&b" a b "[..]));
        drop(file);
        assert!(postgres_settings(&postgres).unwrap_err().starts_with("[postgres] password_file "));
    }

    #[test]
    fn no_user_has_the_name_of_the_client_for_game_servers() {
        let user = "\n[login.users.game-server]\npassword_hash = \"$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$\
                    QQCd8VPOryZiCF3MtwQnPTK7odKCaPcXJGplgNEuj1A\"\n";
        let message = load(user, &[]).unwrap_err();
        assert!(
            message.starts_with("FILE: line 2: [login.users.game-server] \"game-server\" is"),
            "{message}"
        );
        // With a client in the configuration the server makes none.
        let client = format!("[login.clients.a]\nsecret_hash = \"sha256:{}\"", "0".repeat(64));
        load(format!("{user}{client}"), &[]).unwrap();
        load(user, &[("RALLYPOINT_LOGIN__MODE", "off")]).unwrap();
    }

    #[test]
    fn secrets_are_masked() {
        let url = "jwks_url = \"https://me:secret@keys.example/jwks?token=secret\"";
        let shown = masked_toml(&load(format!("[auth]\n{url}"), &[]).unwrap());
        assert!(!shown.contains("secret") && shown.contains("https://***@keys.example/jwks?***"), "{shown}");
    }

    #[test]
    fn secrets_of_allocators_are_masked() {
        let webhook = "[allocators.a]\nkind = \"webhook\"\nsecret_file = \"f\"\n\
                       url = \"https://me:hidden@studio.example/start?key=hidden\"\n";
        let process = "[allocators.b]\nkind = \"process\"\ncommand = [\"/bin/sh\"]\nports = \"7777-7876\"\n\
                       env = { LICENSE = \"hidden\", EMPTY = \"\" }\n";
        let shown = masked_toml(&load(format!("{webhook}{process}"), &[]).unwrap());
        assert!(
            !shown.contains("hidden") && shown.contains("https://***@studio.example/start?***"),
            "{shown}"
        );
        assert!(shown.contains("LICENSE = \"***\"") && shown.contains("EMPTY = \"***\""), "{shown}");
        assert_eq!(masked_toml(&load(&shown, &[]).unwrap()), shown);
    }
}
