//! Presence: when the players and hosts of sessions were last seen, and what happens after a timeout.
//!
//! Five things time out. An inactive player, who sends no more heartbeats, is removed. An invite without an answer
//! expires. An instance without health reports becomes unhealthy, later unknown. A ticket ends that has waited in a
//! queue for too long, or whose profiles are gone (`profiles`). A backfill ends whose host does not confirm it. [`table`] holds what this node knows, `sync` shares it
//! with other nodes, `expire` acts on timeouts.

mod expire;
mod profiles;
pub mod sync;
pub mod table;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use self::profiles::Profiles;
use self::table::PresenceTable;
use super::Failure;
use super::sessions::Sessions;
use super::sessions::cached::CachedSession;
use crate::domain::instance::Health;
use crate::domain::instance::health::HealthRules;
use crate::domain::matchmaking::Matchmaking;
use crate::domain::matchmaking::backfill::CONFIRMED_FOR_S_MIN;
use crate::domain::{PlayerUuid, Session, SessionId};
use crate::env::Clock;
use crate::store::Key;
use crate::telemetry::Metrics;

/// The presence of players and hosts in all sessions.
pub struct Presence {
    table: Arc<PresenceTable>,
    sessions: Arc<Sessions>,
    health_rules: HealthRules,
    profiles: Arc<Profiles>,
    /// Where the next search for sessions that no node watches starts; `None`: at the beginning.
    watch_cursor: Mutex<Option<Key>>,
    /// For how long a confirmation of a backfill counts, in milliseconds.
    confirmed_within_ms: AtomicI64,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Presence {
    /// The presence service for these sessions. `sessions` must already report its commits to `table`.
    pub fn new(
        table: Arc<PresenceTable>,
        sessions: Arc<Sessions>,
        health_rules: HealthRules,
        matchmaking: Arc<Matchmaking>,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        table.set_backfill_timeout(expire_after(&matchmaking));
        let confirmed_within_ms = AtomicI64::new(confirmed_within_ms(&matchmaking));
        let profiles = Arc::new(Profiles::new(matchmaking));
        Self {
            table,
            sessions,
            health_rules,
            profiles,
            confirmed_within_ms,
            watch_cursor: Mutex::default(),
            clock,
            metrics,
        }
    }

    /// Replaces the matchmaking profiles. The next check ends the tickets that no profile takes any more, and the backfills
    /// that have not been confirmed within the new time.
    pub fn replace_profiles(&self, matchmaking: Arc<Matchmaking>) {
        self.table.set_backfill_timeout(expire_after(&matchmaking));
        self.confirmed_within_ms.store(confirmed_within_ms(&matchmaking), Ordering::Relaxed);
        self.profiles.replace(matchmaking);
        self.table.follow_config(self.clock.now_ms());
    }

    /// Notes a heartbeat: the player has read the session at this time, in milliseconds since the epoch. Does nothing
    /// if players of the session have no timeout.
    pub fn heartbeat(&self, player: Option<PlayerUuid>, cached: &CachedSession, now_ms: i64) {
        if let Some(player) = player.filter(|_| cached.has_player_timeout()) {
            self.table.heartbeat(&cached.session, player, now_ms);
        }
    }

    /// Notes a health report of an instance. Returns the health that follows from all reports.
    ///
    /// # Errors
    /// With several nodes: errors of the store, also if this node's clock is wrong; [`Failure::Contended`] if other
    /// nodes keep changing the presence record.
    pub async fn health_report(
        &self,
        cached: &CachedSession,
        instance_id: &str,
        health: Health,
    ) -> Result<Health, Failure> {
        self.sessions.require_right_clock().await?;
        let (id, now_ms) = (&cached.session.id, self.note_clock_steps());
        self.table.observe(&cached.session, now_ms);
        // Other nodes may have received earlier reports.
        self.pull(id).await?;
        let assessed = self.table.health_report(&cached.session, instance_id, health, now_ms);
        let stored_health = cached.session.instance.as_ref().and_then(|instance| instance.health);
        if stored_health != Some(health) {
            // Stored before the session shows it; see `expire_inactive_in`.
            self.push_now(id).await?;
        }
        Ok(assessed)
    }

    /// Notes that the host of a session has confirmed its backfill.
    pub fn backfill_confirmed(&self, session: &Session) {
        self.table.confirm_backfill(session, self.clock.now_ms());
    }

    /// Whether the host of a session has confirmed its backfill lately, at any node, so that players may be sent.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn is_backfill_confirmed(&self, cached: &CachedSession) -> Result<bool, Failure> {
        let Some(backfill) = &cached.session.backfill else { return Ok(false) };
        let is_known = || self.knows_confirmation(&cached.session.id, &backfill.id);
        if !is_known() && !self.sessions.store().sole_writer() {
            // A commit may have come after `cached`. Only commits change what is watched already.
            if !self.table.watches(&cached.session.id) {
                self.table.observe(&cached.session, self.clock.now_ms());
            }
            self.pull(&cached.session.id).await?;
        }
        Ok(is_known())
    }

    /// Like [`is_backfill_confirmed`](Self::is_backfill_confirmed), as far as this node knows without a read.
    pub fn knows_confirmation(&self, id: &SessionId, backfill_id: &str) -> bool {
        let within_ms = self.confirmed_within_ms.load(Ordering::Relaxed);
        self.table.is_backfill_confirmed(id, backfill_id, within_ms, self.clock.now_ms())
    }

    /// Forgets a session that has ended.
    pub fn forget(&self, id: &SessionId) {
        self.table.forget(id);
    }

    /// How many sessions this node watches.
    pub fn watched_count(&self) -> usize {
        self.table.watched_count()
    }

    /// Starts all timeouts again after a step of the clock. Called before stored times are compared with now. Returns
    /// the time to compare them with, in milliseconds since the epoch: the clock may be set before it is read again.
    fn note_clock_steps(&self) -> i64 {
        let (now_ms, step_ms) = self.sessions.now_and_last_clock_step_ms();
        if let Some(step_ms) = step_ms {
            self.table.note_clock_step(step_ms, now_ms);
        }
        now_ms
    }

    /// Starts a grace period for all players and hosts: while the store was away, none of them could be seen.
    pub fn grant_grace(&self) {
        self.table.grant_grace(self.clock.now_ms());
    }
}

/// The time without a confirmation after which a backfill ends.
fn expire_after(matchmaking: &Matchmaking) -> Duration {
    Duration::from_secs(matchmaking.backfill.expire_after_s.into())
}

/// For how long a confirmation counts, in milliseconds: two intervals, and at least as long as a host takes that could not
/// read the configuration.
fn confirmed_within_ms(matchmaking: &Matchmaking) -> i64 {
    i64::from(matchmaking.backfill.ack_every_s.saturating_mul(2).max(CONFIRMED_FOR_S_MIN)) * 1000
}
