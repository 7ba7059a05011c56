//! What operations are made of: load, rule, commit, over a store, a clock, chance and the configuration.

pub mod catalog;
pub mod listing_numbers;
mod locks;
pub mod presence;
pub mod rate_limit;
pub mod sessions;
mod shield;

use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;

pub use catalog::Catalog;
pub use listing_numbers::ListingNumbers;
pub use presence::Presence;
pub use rate_limit::{ClientKey, RateLimiter};
pub use sessions::cache::PlatformKey;
pub use sessions::cached::{CachedSession, Depth, Shown, View};
pub use sessions::deadlines::Deadlines;
pub use sessions::{Limits, Sessions};

use crate::auth::Verifier;
use crate::domain::client::VersionCheck;
use crate::domain::instance::health::HealthRules;
use crate::domain::session::join::JoinRules;
use crate::domain::{Refused, Session, SessionId};
use crate::env::{Clock, Entropy};
use crate::store::{CommitError, Key, Store, StoreError};
use crate::telemetry::Metrics;

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A rule said no.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Too many writers raced for the same session.
    #[error("too many changes at once")]
    Contended,
}

impl Failure {
    /// Whether the store is away, so that everything else would fail as well, and take as long.
    pub fn is_store_away(&self) -> bool {
        matches!(self, Self::Store(StoreError::Unavailable(_) | StoreError::Unsure(_)))
    }
}

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict { .. } => Self::Contended,
            CommitError::Store(error) => Self::Store(error),
        }
    }
}

/// What the operator decided about sessions.
#[derive(Clone, Debug)]
pub struct AppSettings {
    /// How long a session lives without being asked for.
    pub idle: Duration,
    /// How far clients' versions must agree to play together.
    pub version_check: VersionCheck,
    /// Whether a joiner's claim of friendship is believed.
    pub trust_friends: bool,
    /// Most players that a session is shown with; one with more is shown without any, and read in pages.
    pub players_shown_max: usize,
    /// When instances are expected to report.
    pub health: HealthRules,
    /// How long an invite waits for its player; `None`: as long as the session lives.
    pub invite_expiry: Option<Duration>,
    /// What sessions may take, and how many places each player.
    pub limits: Limits,
}

/// The application: everything an operation needs, and nothing of HTTP.
pub struct App {
    /// Sessions.
    pub sessions: Arc<Sessions>,
    /// When sessions end by themselves.
    pub deadlines: Arc<Deadlines>,
    catalog: RwLock<Arc<Catalog>>,
    /// RateLimiter at short codes.
    pub short_code_limiter: RateLimiter,
    /// Whose silence has consequences.
    pub presence: Arc<Presence>,
    /// When background work last found the store away, ms since the epoch.
    pub(crate) store_away_ms: AtomicI64,
    /// The last session that this node looked at to see whether it watches over it.
    watch_cursor: Mutex<Option<Key>>,
    /// Numbers for new listings of the browser.
    pub listing_numbers: ListingNumbers,
    /// What the operator decided.
    pub settings: AppSettings,
    /// Verifies tokens.
    pub verifier: Verifier,
    /// Counts what happens.
    pub metrics: Arc<Metrics>,
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub entropy: Entropy,
}

impl App {
    /// An application over a store.
    pub fn new(
        store: Store,
        verifier: Verifier,
        catalog: Catalog,
        settings: AppSettings,
        clock: Clock,
        entropy: Entropy,
        metrics: Arc<Metrics>,
    ) -> Self {
        let is_shared = !store.sole_writer();
        let presence = Arc::new(Presence::new(settings.health, settings.invite_expiry, is_shared));
        let deadlines = Arc::new(Deadlines::new(settings.idle));
        let watcher = {
            let (presence, clock) = (Arc::clone(&presence), clock.clone());
            move |session: &Session| presence.look_at(session, clock.now_ms())
        };
        Self {
            sessions: Arc::new(Sessions::new(
                store,
                settings.limits,
                Arc::clone(&deadlines),
                clock.clone(),
                watcher,
            )),
            deadlines,
            catalog: RwLock::new(Arc::new(catalog)),
            presence,
            store_away_ms: AtomicI64::new(i64::MIN),
            watch_cursor: Mutex::default(),
            short_code_limiter: RateLimiter::default(),
            listing_numbers: ListingNumbers::default(),
            settings,
            verifier,
            metrics,
            clock,
            entropy,
        }
    }

    /// A session that must be there, and whose time is not over: one that is overdue reads as gone, whether or not the
    /// background work has come to end it.
    pub async fn session(&self, id: &SessionId) -> Result<Arc<CachedSession>, Failure> {
        let cached = self.sessions.get(id).await?;
        self.sessions.require_time_left(&cached).await.map(|()| cached)
    }

    /// The session that a platform session belongs to, unless its time is over.
    pub async fn session_of(&self, key: &PlatformKey) -> Result<Option<Arc<CachedSession>>, StoreError> {
        self.unless_overdue(self.sessions.find_by_platform_session(key).await?).await
    }

    /// The same, to be changed: as no node has changed it since.
    pub async fn latest_session_of(
        &self,
        key: &PlatformKey,
    ) -> Result<Option<Arc<CachedSession>>, StoreError> {
        self.unless_overdue(self.sessions.find_latest_by_platform_session(key).await?).await
    }

    async fn unless_overdue(
        &self,
        found: Option<Arc<CachedSession>>,
    ) -> Result<Option<Arc<CachedSession>>, StoreError> {
        let Some(cached) = found else { return Ok(None) };
        Ok(self.sessions.overdue_since_ms(&cached).await?.is_none().then_some(cached))
    }

    /// Ends a session that was due at this time, if nobody has asked for it since.
    pub async fn expire(&self, id: &SessionId, due_ms: i64) -> Result<bool, Failure> {
        if self.deadlines.is_moving(id) {
            return Ok(false);
        }
        let ended = self.sessions.expire(id, due_ms, self.clock.now_ms()).await?;
        if ended {
            self.metrics.expired(1);
            tracing::info!(session_id = %id, "session ended for being idle");
        }
        Ok(ended)
    }

    /// Ends the session that a platform session belongs to, if its time is over.
    pub async fn expire_holder(&self, key: &PlatformKey) -> Result<bool, Failure> {
        let Some(holder) = self.sessions.find_by_platform_session(key).await? else { return Ok(false) };
        match self.sessions.overdue_since_ms(&holder).await? {
            Some(due_ms) => self.expire(&holder.session.id, due_ms).await,
            None => Ok(false),
        }
    }

    /// Stores a new session, with its whole idle time ahead of it.
    pub async fn create_session(&self, session: Session) -> Result<Arc<CachedSession>, Failure> {
        let deadline_ms = self.deadlines.from_now(self.clock.now_ms());
        self.sessions.create(session, deadline_ms).await
    }

    /// Keeps a session alive that is asked for.
    ///
    /// # Errors
    /// Where the store must be told so before the answer, and cannot be.
    pub async fn keep(&self, cached: &CachedSession) -> Result<(), Failure> {
        self.deadlines.keep(&self.sessions, cached, self.clock.now_ms()).await
    }

    /// What the operator configured, as it stands now.
    pub fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces what the operator configured.
    pub fn replace_catalog(&self, catalog: Catalog) {
        *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalog);
    }

    /// What joining depends on beside the session and the joiner.
    pub fn join_rules(&self, now: Timestamp) -> JoinRules {
        let AppSettings { version_check, trust_friends, .. } = self.settings;
        JoinRules { now, version_check, trust_friends }
    }
}
