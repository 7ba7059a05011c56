//! The session service: sessions in a store, with a cache in memory that makes reads cheap.
//!
//! - `read`: finds a session by its id or by a linked platform session. [`cache`] holds sessions in memory,
//!   [`cached`] is one version of a session there.
//! - `change`: creates, updates and commits. `change_many` changes several sessions in one commit. `plan` computes what
//!   a commit writes; `quota` limits the sessions and invites of a player. `hook` is what a request asks of a change
//!   beyond its rule.
//! - [`deadlines`]: when a session ends because nobody uses it. `expire` ends such sessions. `clock_steps` excuses
//!   sessions when the wall clock was set.
//! - `audit_writes`: the audit events that a change writes.
//! - `launch_writes`: what a change of a session writes for the launch of its instance.
//! - `lookup`: players' lists, short codes, allocations, listings. `memberships` caches players' lists,
//!   `list_times` knows when they changed, `listing_numbers` hands out the numbers of listings. `gates` order creations
//!   by several nodes.

mod audit_writes;
pub mod cache;
pub mod cached;
mod change;
mod change_many;
mod clock_steps;
pub mod deadlines;
mod expire;
#[cfg(test)]
pub(super) mod fixtures;
mod gates;
mod hook;
mod launch_writes;
mod list_times;
mod listing_numbers;
mod lookup;
mod memberships;
mod plan;
mod queued_players;
mod quota;
mod read;

use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};

use tokio::sync::OwnedMutexGuard;

use self::audit_writes::EventNumbers;
use self::cache::Cache;
use self::clock_steps::ClockSteps;
use self::deadlines::Deadlines;
use self::list_times::ListTimes;
use self::listing_numbers::ListingNumbers;
use self::memberships::Memberships;
use super::locks::LockStripes;
use super::matchmaking::news::TicketNews;
use super::passes::Passes;
use super::waits::{Lookback, Topic, Waits};
use crate::domain::{PlayerUuid, Session, SessionId};
use crate::env::{Clock, Entropy};
use crate::store::Store;
use crate::telemetry::Metrics;

pub use self::change::Update;
pub use self::change_many::{Many, ManyChanged, UpdateMany};
pub use self::expire::Expired;
pub use self::gates::Gates;
pub use self::hook::{ChangeHook, Hook, HookWrites, Mismatch, Verdict};
pub use self::launch_writes::LaunchHooks;
pub use self::lookup::{OpenPage, StoredListing};

/// Number of session locks. Two sessions may share one; then their changes wait for each other.
const SESSION_LOCKS: usize = 1024;
/// Number of player locks: many, so that players who join at the same time seldom share one.
const PLAYER_LOCKS: usize = 4096;
/// How many times a change is tried, each time on fresh data, before it fails with
/// [`Failure::Contended`](super::Failure::Contended).
pub(super) const ATTEMPTS_MAX: usize = 8;
/// The share of the cache's memory for players' lists: 1 / 8.
const MEMBERSHIPS_SHARE: u64 = 8;
/// Most entries of a player's list that are read. It is more than the largest quotas of sessions and invites together,
/// so every entry counts towards the quotas.
pub const MEMBERSHIPS_MAX: usize = 2048;

/// Limits from the configuration: lifetime, size and number of sessions, and the age of reads.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a session lives after its last use, in milliseconds.
    pub idle_ms: i64,
    /// Memory for cached sessions and players' lists, in bytes.
    pub cache_bytes: u64,
    /// Largest stored session, in bytes.
    pub session_bytes_max: usize,
    /// Quota: most sessions in which a player is active.
    pub sessions_per_player_max: usize,
    /// Quota: most open invites and reservations of a player.
    pub invites_per_player_max: usize,
    /// Quota: most open invites and reservations of a player that one and the same player has given.
    pub invites_per_inviter_max: usize,
    /// How long a read may miss a commit of another node, in milliseconds. 0: a read misses no commit.
    pub staleness_ms_max: i64,
}

/// The lock of a session, and the number of its changes on this node.
#[derive(Default)]
struct SessionLock {
    /// Held by a change from its read to its commit.
    writing: Arc<tokio::sync::Mutex<()>>,
    /// A reader compares the number before and after its read. If a change came in between, the reader does not cache
    /// the older value.
    changes: Mutex<u64>,
}

/// A function that is called after each commit of a session, in the order of commits, while the session lock is held.
/// It gets the session after the change. An ended session is passed as it was at its end. A session that the rule did
/// not change is passed as well.
type Observer = Box<dyn Fn(&Session) + Send + Sync>;

/// The session service: one for all sessions of a store.
pub struct Sessions {
    store: Store,
    limits: Limits,
    deadlines: Deadlines,
    listing_numbers: ListingNumbers,
    memberships: Memberships,
    list_times: ListTimes,
    /// How far [`forget_empty_lists`](Self::forget_empty_lists) is.
    list_passes: Passes,
    cache: Cache,
    session_locks: LockStripes<SessionLock>,
    player_locks: LockStripes<tokio::sync::Mutex<()>>,
    launches: LaunchHooks,
    /// Those who wait for changes on this node.
    waits: Option<Arc<Waits>>,
    /// What long polls need to know of changes on this node.
    lookback: Option<Arc<Lookback>>,
    /// Whether changes write audit events.
    writes_events: bool,
    event_numbers: EventNumbers,
    /// What the matcher hears of tickets.
    ticket_news: Option<Arc<TicketNews>>,
    observer: Observer,
    /// When background work last failed because the store was away, by [`Clock::up_ms`].
    store_away_up_ms: AtomicI64,
    clock_steps: ClockSteps,
    clock: Clock,
    entropy: Entropy,
    metrics: Arc<Metrics>,
}

impl Sessions {
    /// The sessions in `store`. `observer` is called after each commit of a session, in the order of commits, while the
    /// session lock is held.
    pub fn new(
        store: Store,
        limits: Limits,
        (clock, entropy): (Clock, Entropy),
        metrics: Arc<Metrics>,
        launches: LaunchHooks,
        observer: impl Fn(&Session) + Send + Sync + 'static,
    ) -> Self {
        let memberships_bytes = limits.cache_bytes / MEMBERSHIPS_SHARE;
        Self {
            store,
            limits,
            deadlines: Deadlines::new(limits.idle_ms),
            listing_numbers: ListingNumbers::default(),
            memberships: Memberships::new(memberships_bytes),
            list_times: ListTimes::default(),
            list_passes: Passes::every_ms(list_times::PASS_EVERY_MS),
            cache: Cache::new(limits.cache_bytes - memberships_bytes),
            session_locks: LockStripes::new(SESSION_LOCKS),
            player_locks: LockStripes::new(PLAYER_LOCKS),
            launches,
            waits: None,
            lookback: None,
            writes_events: false,
            event_numbers: EventNumbers::new(&entropy),
            ticket_news: None,
            observer: Box::new(observer),
            store_away_up_ms: AtomicI64::new(i64::MIN),
            clock_steps: ClockSteps::new(&clock),
            clock,
            entropy,
            metrics,
        }
    }

    /// The same, and every commit wakes the waits on what it changes, and is noted for long polls.
    #[must_use]
    pub fn waking(self, waits: Arc<Waits>, lookback: Arc<Lookback>) -> Self {
        Self { waits: Some(waits), lookback: Some(lookback), ..self }
    }

    /// The same, and the matcher hears of every ticket that a commit adds or ends.
    #[must_use]
    pub fn telling(self, ticket_news: Arc<TicketNews>) -> Self {
        Self { ticket_news: Some(ticket_news), ..self }
    }

    fn changed(&self, topics: &[Topic]) {
        self.changed_by(None, topics, &[]);
    }

    /// Wakes those who wait on these topics, which a player has changed, at every node. `departures` are the sessions that
    /// are no longer on players' lists.
    fn changed_by(
        &self,
        actor: Option<PlayerUuid>,
        topics: &[Topic],
        departures: &[(PlayerUuid, SessionId)],
    ) {
        if let Some(waits) = &self.waits {
            waits.changed_by(actor, topics, departures);
        }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Waits for a session lock. A caller that disconnects while it waits has changed nothing.
    async fn lock(&self, id: &SessionId) -> OwnedMutexGuard<()> {
        Arc::clone(&self.session_locks.of(id).writing).lock_owned().await
    }

    /// Waits for the locks of several sessions. Every change takes all its session locks in one order, and only then player
    /// locks, so none waits in a circle.
    async fn lock_all(&self, ids: impl IntoIterator<Item = &SessionId>) -> Vec<OwnedMutexGuard<()>> {
        let stripes = self.session_locks.of_all(ids);
        let mut locks = Vec::with_capacity(stripes.len());
        for stripe in stripes {
            locks.push(Arc::clone(&stripe.writing).lock_owned().await);
        }
        locks
    }
}
