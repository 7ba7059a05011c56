//! Sessions over a store, with the cache that makes reads cheap.
//!
//! - [`read`]: a session by its id or by a platform session.
//! - [`change`]: create, update, commit; [`plan`] says what a commit writes, [`quota`] how many sessions a player may have.
//! - [`deadlines`], [`expire`]: when sessions end by themselves, and how.
//! - [`lookup`], [`memberships`]: players' lists, short codes, listings.

pub mod cache;
pub mod cached;
mod change;
pub mod deadlines;
mod expire;
mod listing_numbers;
mod lookup;
mod memberships;
mod plan;
mod quota;
mod read;

use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::OwnedMutexGuard;

use self::cache::Cache;
use self::cached::Reading;
use self::deadlines::Deadlines;
use self::listing_numbers::ListingNumbers;
use self::memberships::Memberships;
use super::locks::LockStripes;
use crate::domain::{Session, SessionId};
use crate::env::{Clock, Entropy};
use crate::store::Store;
use crate::telemetry::Metrics;

pub use self::change::Update;
pub use self::expire::Expired;
pub use self::lookup::StoredListing;

/// Locks for all sessions.
const SESSION_LOCKS: usize = 1024;
/// Locks for all players: many, so that players whose requests come together seldom share one.
const PLAYER_LOCKS: usize = 4096;
/// How often a change is tried on fresh data before it fails with [`Failure::Contended`](super::Failure::Contended).
pub(super) const ATTEMPTS_MAX: usize = 8;
/// The part of the cache's memory that players' lists take: one in so many.
const MEMBERSHIPS_SHARE: u64 = 8;
/// Most sessions that a player's list shows. It is more than the largest limits on sessions and invites together, so
/// that every entry is counted.
pub const MEMBERSHIPS_MAX: usize = 2048;

/// What the operator decided about the size and number of sessions, and about the age of reads.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a session lives after it was last asked for, in milliseconds.
    pub idle_ms: i64,
    /// Bytes of memory for cached sessions and players' lists.
    pub cache_bytes: u64,
    /// Bytes of a session, as stored.
    pub session_bytes_max: usize,
    /// Sessions in which a player may be active.
    pub sessions_per_player_max: usize,
    /// Invites and reservations that a player may have open.
    pub invites_per_player_max: usize,
    /// How long a read may miss what another node has committed, in milliseconds; 0: it misses nothing.
    pub staleness_ms_max: i64,
}

/// The lock of a session, and the number of its changes. The number keeps a slow reader from caching a value that it read
/// before a change.
#[derive(Default)]
struct SessionLock {
    writing: Arc<tokio::sync::Mutex<()>>,
    changes: Mutex<u64>,
}

/// Called with a session after each change, in the order of changes, while the session's lock is held: with an ended one
/// as it was at its end, and with one that a rule left as it was.
type Observer = Box<dyn Fn(&Session) + Send + Sync>;

/// All sessions.
pub struct Sessions {
    store: Store,
    limits: Limits,
    deadlines: Deadlines,
    listing_numbers: ListingNumbers,
    memberships: Memberships,
    cache: Cache,
    session_locks: LockStripes<SessionLock>,
    player_locks: LockStripes<tokio::sync::Mutex<()>>,
    observer: Observer,
    /// When background work last found the store away, in milliseconds since the epoch.
    store_away_ms: AtomicI64,
    started: Instant,
    clock: Clock,
    entropy: Entropy,
    metrics: Arc<Metrics>,
}

impl Sessions {
    /// The sessions of a store. `observer` is called after each change.
    pub fn new(
        store: Store,
        limits: Limits,
        (clock, entropy): (Clock, Entropy),
        metrics: Arc<Metrics>,
        observer: impl Fn(&Session) + Send + Sync + 'static,
    ) -> Self {
        let memberships_bytes = limits.cache_bytes / MEMBERSHIPS_SHARE;
        Self {
            store,
            limits,
            deadlines: Deadlines::new(limits.idle_ms),
            listing_numbers: ListingNumbers::default(),
            memberships: Memberships::new(memberships_bytes),
            cache: Cache::new(limits.cache_bytes - memberships_bytes),
            session_locks: LockStripes::new(SESSION_LOCKS),
            player_locks: LockStripes::new(PLAYER_LOCKS),
            observer: Box::new(observer),
            store_away_ms: AtomicI64::new(i64::MIN),
            started: clock.instant(),
            clock,
            entropy,
            metrics,
        }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Waits for a session's lock. A caller who goes away while waiting has changed nothing.
    async fn lock(&self, id: &SessionId) -> OwnedMutexGuard<()> {
        Arc::clone(&self.session_locks.of(id).writing).lock_owned().await
    }

    /// What the clocks say now.
    fn reading(&self) -> Reading {
        let up_ms = self.clock.instant().saturating_duration_since(self.started).as_millis();
        Reading { now_ms: self.clock.now_ms(), up_ms: i64::try_from(up_ms).unwrap_or(i64::MAX) }
    }
}
