//! Login for development: gives tokens to players and servers without a token service. It exists only while the server
//! has no keys of its own, so one process has the whole store.
//!
//! - [`grant_type`], [`refusal`]: the ways to log in, and why a login is refused.
//! - [`accounts`]: finds out who logs in.
//! - [`passwords`], [`client_secret`], [`limiter`]: comparisons of passwords and secrets, and their limits.
//! - [`refresh_tokens`], [`directory`]: what is stored.
//! - [`launch_clients`]: the clients of launched servers, one for each launch.

pub mod accounts;
pub mod client_secret;
pub mod directory;
pub mod grant_type;
pub mod launch_clients;
pub mod limiter;
pub mod passwords;
pub mod refresh_tokens;
pub mod refusal;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

pub use client_secret::{ClientSecret, SecretHash};
pub use grant_type::{GrantKind, GrantType};
pub use launch_clients::{LAUNCH_PERMISSIONS, LaunchClients};
pub use passwords::PasswordHash;
pub use refusal::{LoginFailure, LoginRefusal, NameField};

use self::accounts::{Account, Refresh};
use self::directory::{Directory, Found};
use self::limiter::LoginLimiter;
use self::passwords::PasswordChecks;
use self::refresh_tokens::{RefreshTokens, Swept, hash_of};
use super::locks::LockStripes;
use super::shield::shield;
use crate::auth::{AccessGrant, Grant, LoginKey, PublicKey};
use crate::domain::{Identity, Platform, PlayerUuid};
use crate::env::{Clock, Entropy};
use crate::records::KnownPlayer;
use crate::store::{Batch, CommitError, Store, StoreError};
use crate::telemetry::Metrics;

/// The client id of logins that name no client.
const DEFAULT_CLIENT_ID: &str = "development";
/// Locks of players. Logins of one player come one after the other.
const PLAYER_LOCKS: usize = 256;
/// Attempts to store a login, while the directory forgets the player or a token is ended at the same moment.
const ATTEMPTS_MAX: usize = 8;

/// What a user's login results in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserKind {
    /// A token of a player.
    Player,
    /// A token without a player.
    Service,
}

/// A user with a password.
#[derive(Clone, Debug)]
pub struct User {
    /// The hash of the password.
    pub password: PasswordHash,
    /// What the login results in.
    pub kind: UserKind,
    /// The display name. It takes precedence over that of the request.
    pub display_name: Option<String>,
    /// Permissions of the tokens.
    pub permissions: Vec<String>,
}

/// A client with a secret.
#[derive(Clone, Debug)]
pub struct Client {
    /// The hash of the secret.
    pub secret: SecretHash,
    /// Permissions of the tokens.
    pub permissions: Vec<String>,
}

/// Settings of the login, from the configuration.
#[derive(Clone, Debug)]
pub struct LoginSettings {
    /// The key that signs access tokens.
    pub key: Arc<LoginKey>,
    /// Whether players may log in with a name alone.
    pub anon: bool,
    /// How long an access token is valid.
    pub access_ttl: Duration,
    /// How long a refresh token is valid after its last use.
    pub refresh_ttl: Duration,
    /// Most players in the directory.
    pub players_remembered_max: usize,
    /// Platforms whose players may log in with their display name alone.
    pub unverified_platforms: Vec<Platform>,
    /// Permissions of players.
    pub player_permissions: Vec<String>,
    /// Users by name.
    pub users: BTreeMap<String, User>,
    /// Clients by id.
    pub clients: BTreeMap<String, Client>,
}

/// A client's id and secret, as a request states them.
#[derive(Clone, Copy)]
pub struct PresentedClient<'a> {
    /// The id.
    pub id: &'a str,
    /// The secret.
    pub secret: &'a str,
}

/// A request to log in. It has secrets, so it has no `Debug`.
pub struct LoginRequest<'a> {
    /// The way to log in.
    pub grant: GrantType,
    /// `portal_access_token`: what the grant checks.
    pub token: &'a str,
    /// `portal_display_name`.
    pub display_name: &'a str,
    /// Whether the client wants a refresh token.
    pub include_refresh: bool,
    /// The client, if the request names one.
    pub client: Option<PresentedClient<'a>>,
    /// The address from which the request came, if it is known.
    pub address: Option<IpAddr>,
}

/// The player of a login.
pub struct PlayerLogin {
    /// The account.
    pub identity: Identity,
    /// The display name.
    pub display_name: String,
    /// The refresh token, if the client wants one.
    pub refresh_token: Option<String>,
}

/// A login that succeeded. It has tokens, so it has no `Debug`.
pub struct LoggedIn {
    /// The access token.
    pub access_token: String,
    /// How long the access token is valid.
    pub expires_in: Duration,
    /// The permissions of the access token.
    pub permissions: Vec<String>,
    /// The id of the client.
    pub client_id: String,
    /// The player; `None` for a service.
    pub player: Option<PlayerLogin>,
}

/// The login service.
pub struct Login {
    settings: LoginSettings,
    store: Store,
    launch_clients: Arc<LaunchClients>,
    limiter: LoginLimiter,
    passwords: PasswordChecks,
    directory: Directory,
    refresh_tokens: RefreshTokens,
    by_player: LockStripes<Mutex<()>>,
    clock: Clock,
    entropy: Entropy,
    metrics: Arc<Metrics>,
}

impl Login {
    /// The login service over a store that no other process changes.
    pub fn new(
        settings: LoginSettings,
        store: Store,
        launch_clients: Arc<LaunchClients>,
        (clock, entropy): (Clock, Entropy),
        metrics: Arc<Metrics>,
    ) -> Self {
        let refresh_ttl_ms = i64::try_from(settings.refresh_ttl.as_millis()).unwrap_or(i64::MAX);
        Self {
            directory: Directory::new(store.clone(), settings.players_remembered_max),
            refresh_tokens: RefreshTokens::new(store.clone(), refresh_ttl_ms),
            settings,
            store,
            launch_clients,
            limiter: LoginLimiter::default(),
            passwords: PasswordChecks::default(),
            by_player: LockStripes::new(PLAYER_LOCKS),
            clock,
            entropy,
            metrics,
        }
    }

    /// The public part of the key that signs access tokens.
    pub fn public_key(&self) -> &PublicKey {
        self.settings.key.public()
    }

    /// How many passwords of users were compared.
    pub fn passwords_compared(&self) -> u64 {
        self.passwords.compared()
    }

    /// Logs a player or a service in. The log line and the metrics name the outcome, never a secret.
    ///
    /// # Errors
    /// Why the login failed.
    pub async fn login(self: &Arc<Self>, request: LoginRequest<'_>) -> Result<LoggedIn, LoginFailure> {
        let (grant, address) = (request.grant.name(), request.address);
        let result = self.try_login(request).await;
        let outcome = result.as_ref().map_or_else(LoginFailure::outcome, |_| "ok");
        self.metrics.logged_in(grant, outcome);
        let address = address.map(tracing::field::display);
        match &result {
            Ok(LoggedIn { player: Some(player), .. }) => {
                tracing::info!(grant, identity = ?player.identity.to_string(), address, outcome, "login");
            }
            Ok(LoggedIn { client_id, .. }) => {
                tracing::info!(grant, client = ?client_id, address, outcome, "login");
            }
            // There may be any number of them, and the metrics count them.
            Err(LoginFailure::Limited) => tracing::debug!(grant, address, outcome, "login"),
            Err(_) => tracing::info!(grant, address, outcome, "login"),
        }
        result
    }

    async fn try_login(self: &Arc<Self>, request: LoginRequest<'_>) -> Result<LoggedIn, LoginFailure> {
        if !self.limiter.admits(request.address, self.clock.up_ms()) {
            return Err(LoginFailure::Limited);
        }
        let account = self.account_of(&request).await?;
        let (permissions, client_id, player) = match account {
            Account::Service { client_id, permissions } => (permissions, client_id, None),
            Account::Player { identity, display_name, permissions, client_id, refresh } => {
                let login = Arc::clone(self);
                // To its end, also if the client has gone: the count of players must agree with the store.
                let stored = shield(async move { login.store_player(identity, display_name, refresh).await });
                let client_id = client_id.unwrap_or_else(|| DEFAULT_CLIENT_ID.to_owned());
                (permissions, client_id, Some(stored.await?))
            }
        };
        let grant = Grant {
            player: player.as_ref().map(|player| player.identity.player()),
            platform: player.as_ref().map(|player| player.identity.platform),
            permissions: permissions.clone(),
            player_id: None,
            ttl: self.settings.access_ttl,
        };
        let name = player.as_ref().map(|player| player.display_name.clone());
        let access = AccessGrant { grant, client_id: client_id.clone(), name, token_id: self.entropy.uuid() };
        let access_token = self.settings.key.sign(&access, self.clock.now());
        Ok(LoggedIn { access_token, expires_in: self.settings.access_ttl, permissions, client_id, player })
    }

    /// Stores the login of a player: the entry of the directory, and the refresh token, in one commit.
    async fn store_player(
        &self,
        identity: Identity,
        display_name: Option<String>,
        refresh: Refresh,
    ) -> Result<PlayerLogin, LoginFailure> {
        let _turn = self.by_player.of(identity.player()).lock().await;
        let mut last_conflict = LoginFailure::Limited;
        for _ in 0..ATTEMPTS_MAX {
            let now_ms = self.clock.now_ms();
            let found = self.directory.find(identity.player()).await?;
            let name = match (&display_name, &found) {
                (Some(name), _) => name.clone(),
                (None, Some(Found { player, .. })) => player.display_name.clone(),
                (None, None) => accounts::display_name_of(&identity),
            };
            let remembered = self.directory.remember(found.as_ref(), &identity, &name, now_ms).await?;
            let (refresh_token, batch, tokens) = self.refresh_writes(&identity, &refresh, now_ms).await?;
            let batch = remembered.batch.and(batch);
            if !batch.is_empty() {
                match self.store.commit(batch).await {
                    Ok(_) => {}
                    Err(error @ CommitError::Conflict { .. }) => {
                        last_conflict = error.into();
                        continue;
                    }
                    Err(CommitError::Store(error)) => return Err(error.into()),
                }
            }
            self.metrics.refresh_tokens.inc_by(tokens);
            if remembered.is_new
                && let Err(error) = self.directory.added(&self.refresh_tokens, &self.metrics).await
            {
                tracing::warn!(%error, "players could not be forgotten; the next login tries again");
            }
            return Ok(PlayerLogin { identity, display_name: name, refresh_token });
        }
        Err(last_conflict)
    }

    /// The refresh token of a login, its writes, and how many more tokens there are after them.
    async fn refresh_writes(
        &self,
        identity: &Identity,
        refresh: &Refresh,
        now_ms: i64,
    ) -> Result<(Option<String>, Batch, i64), LoginFailure> {
        match refresh {
            Refresh::None => Ok((None, Batch::default(), 0)),
            Refresh::New { client_id } => {
                let tokens = &self.refresh_tokens;
                let new = tokens.create(identity, client_id.clone(), now_ms, &self.entropy).await?;
                let more = 1 - i64::try_from(new.ended).unwrap_or(i64::MAX);
                Ok((Some(new.text), new.batch, more))
            }
            Refresh::Use { token } => {
                let hash = hash_of(token);
                // Read again: it may have been ended since it was found.
                let found = self.refresh_tokens.find(&hash, now_ms).await?;
                let (stored, version) = found.ok_or(LoginRefusal::RefreshTokenNotFound)?;
                let batch = RefreshTokens::use_of(&hash, stored, version, now_ms);
                Ok((Some(token.clone()), batch, 0))
            }
        }
    }

    /// Ends a refresh token. An unknown one is no error: the answer must not tell which exist.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn logout(&self, refresh_token: &str) -> Result<(), StoreError> {
        let existed = self.refresh_tokens.end(&hash_of(refresh_token)).await?;
        self.metrics.refresh_tokens.dec_by(i64::from(existed));
        Ok(())
    }

    /// A player who has logged in here; `None` for others.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn player(&self, player: PlayerUuid) -> Result<Option<KnownPlayer>, StoreError> {
        Ok(self.directory.find(player).await?.map(|found| found.player))
    }

    /// The first players who have logged in here with exactly this display name.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn players_named(&self, name: &str, limit: usize) -> Result<Vec<PlayerUuid>, StoreError> {
        self.directory.find_named(name, limit).await
    }

    /// Runs one round of the sweep that deletes ended refresh tokens, if one is under way or due. `checked_time`
    /// returns the time of a right clock, and when it was last set, in milliseconds since the epoch: a clock that is ahead
    /// would delete the tokens of all nodes. Returns whether there is more to do at once.
    ///
    /// # Errors
    /// Errors of `checked_time` and of the store.
    pub async fn sweep(
        &self,
        checked_time: impl Future<Output = Result<(i64, Option<i64>), StoreError>>,
    ) -> Result<bool, StoreError> {
        let Some(next) = self.refresh_tokens.next_sweep(self.clock.up_ms()) else { return Ok(false) };
        let (now_ms, last_step_ms) = checked_time.await?;
        let Swept { more, valid } = self.refresh_tokens.sweep(next, now_ms, last_step_ms).await?;
        if let Some(valid) = valid {
            self.metrics.refresh_tokens.set(i64::try_from(valid).unwrap_or(i64::MAX));
        }
        Ok(more)
    }
}
