//! The application: services over a store. [`App`] holds them and does nothing else.
//!
//! - [`sessions`]: reading, changing and ending sessions.
//! - [`presence`]: who was last seen, and how nodes share that.
//! - [`catalog`]: what the operator configured for clients to read. [`rate_limit`]: wrong short codes by caller.
//! - [`join`], [`instances`], [`touch`]: what operations do with more than one service.
//! - [`shield`], [`isolate`], [`locks`]: futures that survive their caller, items that fail alone, locks by key.

pub mod catalog;
mod failure;
pub mod instances;
mod isolate;
pub mod join;
mod locks;
pub mod presence;
pub mod rate_limit;
pub mod sessions;
mod shield;
pub mod touch;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

pub use catalog::Catalog;
pub use failure::Failure;
pub use presence::Presence;
pub use rate_limit::{ClientKey, RateLimiter};
pub use sessions::cache::PlatformKey;
pub use sessions::cached::{CachedSession, Depth, Shown, View};
pub use sessions::{Limits, Sessions, Update};

use self::presence::table::PresenceTable;
use crate::auth::Verifier;
use crate::domain::Session;
use crate::domain::client::VersionCheck;
use crate::domain::instance::health::HealthRules;
use crate::env::{Clock, Entropy};
use crate::store::Store;
use crate::telemetry::Metrics;

/// What the operator decided about sessions.
#[derive(Clone, Debug)]
pub struct AppSettings {
    /// How far clients' versions must agree to play together.
    pub version_check: VersionCheck,
    /// Whether a joiner's claim of friendship is believed.
    pub trust_friends: bool,
    /// Most players that a session is shown with. A session with more is shown without any, and read in pages.
    pub players_shown_max: usize,
    /// When instances are expected to report.
    pub health: HealthRules,
    /// How long an invite waits for its player; `None`: as long as the session lives.
    pub invite_expiry: Option<Duration>,
    /// Sizes, numbers and times.
    pub limits: Limits,
}

/// Everything that an operation needs, and nothing of HTTP.
pub struct App {
    /// Sessions.
    pub sessions: Arc<Sessions>,
    /// Who was last seen in which session.
    pub presence: Presence,
    /// Wrong short codes by caller.
    pub short_code_limiter: RateLimiter,
    /// Verifies tokens.
    pub verifier: Verifier,
    catalog: RwLock<Arc<Catalog>>,
    /// What the operator decided.
    pub settings: AppSettings,
    /// Counts what happens.
    pub metrics: Arc<Metrics>,
    /// Time.
    pub clock: Clock,
    /// Randomness.
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
        let table = Arc::new(PresenceTable::new(settings.health, settings.invite_expiry, is_shared));
        let observer = {
            let (table, clock) = (Arc::clone(&table), clock.clone());
            move |session: &Session| table.observe(session, clock.now_ms())
        };
        let time_and_randomness = (clock.clone(), entropy.clone());
        let sessions =
            Sessions::new(store, settings.limits, time_and_randomness, Arc::clone(&metrics), observer);
        let sessions = Arc::new(sessions);
        Self {
            presence: Presence::new(
                table,
                Arc::clone(&sessions),
                settings.health,
                clock.clone(),
                Arc::clone(&metrics),
            ),
            sessions,
            short_code_limiter: RateLimiter::default(),
            verifier,
            catalog: RwLock::new(Arc::new(catalog)),
            settings,
            metrics,
            clock,
            entropy,
        }
    }

    /// What the operator configured, as it stands now.
    pub fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces what the operator configured.
    pub fn replace_catalog(&self, catalog: Catalog) {
        *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalog);
    }
}
