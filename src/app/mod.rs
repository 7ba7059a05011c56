//! The application: services over a store. [`App`] holds them and has no logic of its own.
//!
//! - [`sessions`]: reads, changes and ends sessions.
//! - [`presence`]: knows when players and hosts were last seen, syncs that between nodes, and acts on timeouts.
//! - [`catalog`]: templates and regions from the configuration. [`retired_templates`]: templates that the configuration
//!   does not have and sessions use. [`rate_limit`]: limits guesses at short codes and passwords.
//! - [`online_status`]: what players say to their friends about themselves.
//! - [`auto_join`]: create-or-join, also if many players ask at the same moment.
//! - [`login`]: tokens for players and servers without a token service.
//! - [`launches`]: gives requested instances their dedicated servers.
//! - [`matchmaking`]: makes matches of parties in queues.
//! - [`notifications`]: what players are told.
//! - [`audit`]: what has happened in sessions.
//! - [`deserters`]: what game servers say about players who left matches.
//! - [`idempotency`]: writes that clients can repeat without doing them twice.
//! - [`waits`]: requests that are held until what they read has changed. [`invalidations`]: changes by other nodes.
//! - [`join`], [`instances`], [`touch`]: functions for operations that need more than one service.
//! - `shield`, `isolate`, `locks`, `passes`: a cancellation shield, the isolation of failing items, lock striping, and
//!   passes over all keys of a kind.

pub mod audit;
pub mod auto_join;
pub mod catalog;
pub mod deserters;
mod failure;
pub mod idempotency;
pub mod instances;
pub mod invalidations;
mod isolate;
pub mod join;
pub mod launches;
mod locks;
pub mod login;
pub mod matchmaking;
pub mod notifications;
pub mod online_status;
mod passes;
pub mod presence;
pub mod rate_limit;
pub mod retired_templates;
pub mod sessions;
mod shield;
pub mod touch;
pub mod waits;

use std::sync::Arc;
use std::time::Duration;

pub use audit::{Audit, AuditSettings};
pub use auto_join::AutoJoin;
pub use catalog::Catalog;
pub use deserters::Deserters;
pub use failure::Failure;
pub use login::{LaunchClients, Login, LoginSettings};
pub use notifications::{Inboxes, NotificationSettings, UnreadableLog};
pub use presence::Presence;
pub use rate_limit::{ClientKey, PasswordLimiter, RateLimiter};
pub use sessions::cache::PlatformKey;
pub use sessions::cached::{CachedSession, Detail, View, VisiblePlayers};
pub use sessions::{ChangeHook, Hook, HookWrites, LaunchHooks, Limits, Mismatch, Sessions, Update, Verdict};
pub use sessions::{Many, ManyChanged, UpdateMany};

use self::catalog::CurrentCatalog;
use self::idempotency::{Idempotency, IdempotencySettings};
use self::invalidations::Invalidations;
use self::launches::{LaunchSettings, Launches, WakeUps};
use self::matchmaking::news::TicketNews;
pub use self::matchmaking::{MatcherSettings, Matchmaker};
use self::online_status::OnlineStatuses;
use self::presence::table::{PresenceTable, Timeouts};
use self::retired_templates::RetiredTemplates;
use self::waits::{Lookback, Topic, WaitLimits, Waits};
use crate::auth::Verifier;
use crate::domain::Session;
use crate::domain::client::VersionCheck;
use crate::domain::instance::health::HealthRules;
use crate::env::{Clock, Entropy};
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::voice::Voice;

/// Limits of tickets in matchmaking queues.
#[derive(Clone, Copy, Debug)]
pub struct MatchmakingSettings {
    /// After how long a ticket ends; `None`: never.
    pub ticket_timeout: Option<Duration>,
    /// Most time that a player may claim to have waited before, in seconds.
    pub passed_queue_time_max_s: u64,
    /// Most queues of a ticket.
    pub queues_per_ticket_max: usize,
    /// Most profiles of a ticket. Further ones are left out.
    pub profiles_per_ticket_max: usize,
}

/// Settings of the application, from the configuration.
#[derive(Clone, Debug)]
pub struct AppSettings {
    /// How far the versions of clients must agree for a join.
    pub version_check: VersionCheck,
    /// Whether a joiner's claim to be a friend of a member is trusted.
    pub trust_friends: bool,
    /// Whether players who were kicked from a session need an invite to return.
    pub kicked_need_invite: bool,
    /// Most players that a session document shows. With more players, the document shows none, and clients read them in
    /// pages.
    pub players_shown_max: usize,
    /// Whether players may send startup parameters of their own when they request a dedicated server.
    pub players_send_startup_params: bool,
    /// How often instances must report their health, and how missing reports count.
    pub health: HealthRules,
    /// When an invite expires after it was sent; `None`: never before the session ends.
    pub invite_expiry: Option<Duration>,
    /// Limits of sessions.
    pub limits: Limits,
    /// Limits of waits.
    pub waits: WaitLimits,
    /// Notifications.
    pub notifications: NotificationSettings,
    /// How long answers are kept for repeated requests, and limits.
    pub idempotency: IdempotencySettings,
    /// Limits of tickets in matchmaking queues.
    pub matchmaking: MatchmakingSettings,
    /// The matcher.
    pub matcher: MatcherSettings,
    /// Whether events are stored, for how long, and limits.
    pub audit: AuditSettings,
    /// The login for development; `None` if the server has none.
    pub login: Option<LoginSettings>,
}

impl AppSettings {
    fn timeouts(&self) -> Timeouts {
        Timeouts { invite_expiry: self.invite_expiry, ticket_timeout: self.matchmaking.ticket_timeout }
    }

    /// Limits of waits. With several nodes that may show stale sessions, waits are woken later: a client that is told
    /// of a change by one node must see it at every other.
    fn waits_of(&self, is_shared: bool) -> WaitLimits {
        let wake_delay_ms = if is_shared { self.limits.staleness_ms_max } else { 0 };
        WaitLimits { wake_delay_ms, ..self.waits }
    }
}

/// The services and settings that operations and jobs use. It knows nothing of HTTP.
pub struct App {
    /// The session service.
    pub sessions: Arc<Sessions>,
    /// The presence service.
    pub presence: Presence,
    /// What players say to their friends about themselves.
    pub online_statuses: OnlineStatuses,
    /// The create-or-join requests under way.
    pub auto_join: AutoJoin,
    /// The rate limiter for wrong short codes.
    pub short_code_limiter: RateLimiter,
    /// The rate limiter for wrong passwords of sessions.
    pub password_limiter: Arc<PasswordLimiter>,
    /// The verifier of tokens.
    pub verifier: Verifier,
    /// The clients of launched servers.
    pub launch_clients: Arc<LaunchClients>,
    /// The login for development; `None` if the server has none.
    pub login: Option<Arc<Login>>,
    /// Replaced as a whole when the configuration is read again.
    catalog: CurrentCatalog,
    retired_templates: RetiredTemplates,
    /// Settings from the configuration. They stay as they are until a restart.
    pub settings: AppSettings,
    /// The service that launches servers.
    pub launches: Arc<Launches>,
    /// The matcher.
    pub matchmaker: Matchmaker,
    /// The requests that wait for a change.
    pub waits: Arc<Waits>,
    /// What long polls need to know of the changes of the last seconds.
    pub lookback: Arc<Lookback>,
    /// The messages that were posted for players.
    pub inboxes: Arc<Inboxes>,
    /// Logs what notifications could not read.
    pub unreadable: Arc<UnreadableLog>,
    /// Finds changes by other nodes that share the store.
    pub invalidations: Invalidations,
    /// The writes that clients can repeat.
    pub idempotency: Idempotency,
    /// What has happened in sessions.
    pub audit: Arc<Audit>,
    /// What game servers say about players who left matches.
    pub deserters: Deserters,
    /// The voice services that players get tokens for.
    pub voice: Voice,
    /// The metrics of the server.
    pub metrics: Arc<Metrics>,
    /// The source of the time.
    pub clock: Clock,
    /// The source of randomness.
    pub entropy: Entropy,
}

/// Tells the presence table of each commit of a session.
fn observer_of(table: &Arc<PresenceTable>, clock: &Clock) -> impl Fn(&Session) + Send + Sync + use<> {
    let (table, clock) = (Arc::clone(table), clock.clone());
    move |session: &Session| table.observe(session, clock.now_ms())
}

/// What changes of sessions need to know of launches, and what wakes the launches service after them.
fn hooks_of(launches: &LaunchSettings) -> (LaunchHooks, Arc<WakeUps>) {
    let wake_ups = Arc::<WakeUps>::default();
    let rules = launches.allocators.iter().map(|(name, served)| (name.clone(), served.rules.clone()));
    (LaunchHooks { rules: rules.collect(), wake_ups: Arc::clone(&wake_ups) }, wake_ups)
}

impl App {
    /// An application over a store.
    pub fn new(
        store: Store,
        verifier: Verifier,
        catalog: Catalog,
        settings: AppSettings,
        launches: LaunchSettings,
        (clock, entropy): (Clock, Entropy),
        metrics: Arc<Metrics>,
    ) -> Self {
        let is_shared = !store.sole_writer();
        let table = Arc::new(PresenceTable::new(settings.health, settings.timeouts(), is_shared));
        let observer = observer_of(&table, &clock);
        let (hooks, wake_ups) = hooks_of(&launches);
        let time_and_randomness = (clock.clone(), entropy.clone());
        let launch_clients = Arc::<LaunchClients>::default();
        let login = settings.login.clone().map(|login| {
            let (clients, time_and_randomness) = (Arc::clone(&launch_clients), time_and_randomness.clone());
            Arc::new(Login::new(login, store.clone(), clients, time_and_randomness, Arc::clone(&metrics)))
        });
        let waits = settings.waits_of(is_shared);
        let waits = Arc::new(Waits::new(waits, time_and_randomness.clone(), Arc::clone(&metrics)));
        let sessions =
            Sessions::new(store, settings.limits, time_and_randomness, Arc::clone(&metrics), hooks, observer);
        let (keep_ms, held_ms) = (settings.notifications.lookback_ms, settings.waits.max_ms);
        let lookback = Arc::new(Lookback::new(keep_ms, held_ms, clock.clone()));
        let ticket_news = Arc::new(TicketNews::new(settings.matcher.is_enabled));
        let sessions = sessions.waking(Arc::clone(&waits), Arc::clone(&lookback));
        let sessions = sessions.telling(Arc::clone(&ticket_news)).auditing(settings.audit.is_on);
        let sessions = Arc::new(sessions);
        let (of_sessions, of_waits) = (Arc::clone(&sessions), Arc::clone(&waits));
        let unreadable = Arc::new(UnreadableLog::new(clock.clone()));
        let of_inboxes = (settings.notifications, clock.clone(), Arc::clone(&unreadable));
        let inboxes = Inboxes::new(of_sessions, of_waits, of_inboxes);
        let environment = || ((clock.clone(), entropy.clone()), Arc::clone(&metrics));
        let idempotency = Idempotency::new(settings.idempotency, Arc::clone(&sessions), environment());
        let audit =
            Audit::new(settings.audit, Arc::clone(&sessions), environment().0, Arc::clone(&unreadable));
        let (of_sessions, of_metrics) = (Arc::clone(&sessions), Arc::clone(&metrics));
        let (health, of_catalog) = (settings.health, Arc::clone(&catalog.matchmaking));
        let presence = Presence::new(table, of_sessions, health, of_catalog, clock.clone(), of_metrics);
        let launches = Launches::new(Arc::clone(&sessions), launches, wake_ups, environment());
        Self {
            presence,
            retired_templates: RetiredTemplates::new(Arc::clone(&sessions), clock.clone()),
            invalidations: Invalidations::new(&sessions, (&waits, &lookback), (&clock, &entropy), &metrics),
            deserters: Deserters::new(Arc::clone(&sessions), clock.clone()),
            voice: Voice::default(),
            sessions,
            online_statuses: OnlineStatuses::new(clock.clone()),
            auto_join: AutoJoin::default(),
            short_code_limiter: RateLimiter::default(),
            password_limiter: Arc::default(),
            verifier,
            launch_clients,
            login,
            catalog: CurrentCatalog::new(catalog),
            matchmaker: Matchmaker::new(settings.matcher, ticket_news, &entropy),
            settings,
            launches: Arc::new(launches),
            waits,
            lookback,
            inboxes: Arc::new(inboxes),
            unreadable,
            idempotency,
            audit: Arc::new(audit),
            metrics,
            clock,
            entropy,
        }
    }

    /// The same application, with voice services.
    #[must_use]
    pub fn with_voice(self, voice: Voice) -> Self {
        Self { voice, ..self }
    }

    /// The current catalog. A caller that needs two values from the same configuration calls this once.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog.get()
    }

    /// Replaces the catalog by that of a new configuration. Templates that it does not have any more are served until
    /// their last session has ended.
    pub fn replace_catalog(&self, catalog: Catalog) {
        self.presence.replace_profiles(Arc::clone(&catalog.matchmaking));
        self.catalog.reload(catalog);
        self.waits.wake([Topic::Catalog]);
    }

    /// Lets the next reads of these sessions ask the store, even if reads may be stale: what a wait tells a client must
    /// not be older than what the client has.
    pub fn ask_store_for(&self, topics: &[Topic]) {
        for topic in topics {
            if let Topic::Session(id) = topic {
                self.sessions.doubt(id);
            }
        }
    }

    /// Runs one round of the search for templates that the configuration does not have and sessions use. See
    /// [`RetiredTemplates::round`].
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn keep_used_templates(&self) -> Result<(), Failure> {
        let before = self.catalog();
        let found = self.retired_templates.round(&self.catalog).await;
        if !Arc::ptr_eq(&before, &self.catalog()) {
            self.waits.wake([Topic::Catalog]);
        }
        found
    }
}
