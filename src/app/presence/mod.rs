//! Presence: which players and hosts were seen when, and what follows once they are seen no more.
//!
//! Players who stop asking for a session are removed from it, invites that nobody answers expire, and the health of an
//! instance that stops reporting becomes worse. [`table`] holds what this node has seen, [`sync`] shares it with other nodes,
//! [`expire`] acts on what has timed out.

mod expire;
pub mod sync;
pub mod table;

use std::sync::{Arc, Mutex};

use self::table::PresenceTable;
use super::Failure;
use super::sessions::Sessions;
use super::sessions::cached::CachedSession;
use crate::domain::instance::Health;
use crate::domain::instance::health::HealthRules;
use crate::domain::{PlayerUuid, SessionId};
use crate::env::Clock;
use crate::store::Key;
use crate::telemetry::Metrics;

/// The presence of players and hosts in all sessions.
pub struct Presence {
    table: Arc<PresenceTable>,
    sessions: Arc<Sessions>,
    health_rules: HealthRules,
    /// How far this node has gone through the sessions that other nodes may watch; `None`: it starts over.
    watch_cursor: Mutex<Option<Key>>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Presence {
    /// The presence in these sessions, whose changes the table already observes.
    pub fn new(
        table: Arc<PresenceTable>,
        sessions: Arc<Sessions>,
        health_rules: HealthRules,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { table, sessions, health_rules, watch_cursor: Mutex::default(), clock, metrics }
    }

    /// Notes a heartbeat: the player has asked for the session. Costs nothing if its players have no timeout.
    pub fn heartbeat(&self, player: Option<PlayerUuid>, cached: &CachedSession) {
        if let Some(player) = player.filter(|_| cached.culls()) {
            self.table.heartbeat(&cached.session, player, self.clock.now_ms());
        }
    }

    /// Takes in a health report of an instance. Answers the health that follows from all reports.
    pub async fn health_report(
        &self,
        cached: &CachedSession,
        instance_id: &str,
        health: Health,
    ) -> Result<Health, Failure> {
        let (id, now_ms) = (&cached.session.id, self.clock.now_ms());
        self.table.observe(&cached.session, now_ms);
        // The reports before this one may have come to other nodes.
        self.pull(id).await?;
        let assessed = self.table.health_report(&cached.session, instance_id, health, now_ms);
        let known = cached.session.instance.as_ref().and_then(|instance| instance.health);
        if known != Some(health) {
            self.push_now(id).await?;
        }
        Ok(assessed)
    }

    /// Forgets a session that is gone.
    pub fn forget(&self, id: &SessionId) {
        self.table.forget(id);
    }

    /// How many sessions this node watches.
    pub fn watched_count(&self) -> usize {
        self.table.watched_count()
    }

    /// Starts a grace period for everyone: nobody could be seen, for example while the store was away.
    pub fn grant_grace(&self) {
        self.table.grant_grace(self.clock.now_ms());
    }
}
