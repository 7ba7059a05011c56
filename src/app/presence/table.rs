//! The presence table: in memory, when the players and hosts of sessions were last seen.
//!
//! Heartbeats are kept in memory only, because every poll is one. After a restart every player and host starts with a
//! full timeout. Nodes that share a store exchange heartbeats and reports (see [`sync`](super::sync)). Such a node
//! waits two sync lags longer before it acts on a timeout, so that heartbeats at other nodes arrive in time.
//!
//! Sessions wait in a queue, ordered by the time at which their next player, invite, host, ticket or backfill can time out. Until
//! then they cost no work.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::instance::Health;
use crate::domain::instance::health::{HealthRules, Reports};
use crate::domain::session::Player;
use crate::domain::{PlayerUuid, Session, SessionId};
use crate::records::LastSeen;

/// The sync lag as a share of the shortest timeout of a session: 1 / 8. A node syncs a session at most this often.
const LAG_PARTS: i64 = 8;

/// With several nodes: the longest time between two checks of a session, in milliseconds. Another node may have ended
/// it.
const CHECK_EVERY_MS: i64 = 3_600_000;

/// The sessions in which something can time out, and who was last seen in them.
pub struct PresenceTable {
    health_rules: HealthRules,
    invite_expiry_ms: Option<i64>,
    ticket_timeout_ms: Option<i64>,
    /// The time without a confirmation after which a backfill ends, in milliseconds. A reload changes it.
    backfill_timeout_ms: AtomicI64,
    /// Whether other nodes share the store. They receive heartbeats that this node does not.
    is_shared: bool,
    watching: Mutex<Watching>,
}

#[derive(Default)]
struct Watching {
    watched: HashMap<SessionId, Watched>,
    /// Sessions by the time at which they are checked next, in milliseconds since the epoch.
    queue: BTreeSet<(i64, SessionId)>,
    /// Sessions with heartbeats or reports that other nodes do not have yet.
    unsynced: HashSet<SessionId>,
    /// The wall clock right after its last step; `None`: there was no step.
    clock_step_ms: Option<i64>,
}

/// The last step of the wall clock, and the current time. Times are in milliseconds since the epoch.
#[derive(Clone, Copy)]
struct Now {
    now_ms: i64,
    clock_step_ms: Option<i64>,
}

impl Now {
    /// The time from which a timeout counts that began at a stored time. The time before a step of the clock does not
    /// count. A time in the future was stored before the clock was set back.
    fn counted_from(self, stored_ms: i64) -> i64 {
        match self.clock_step_ms {
            Some(step_ms) if stored_ms > self.now_ms => step_ms,
            Some(step_ms) => stored_ms.max(step_ms),
            None => stored_ms,
        }
    }
}

/// What this node knows of a session. Times are in milliseconds since the epoch.
struct Watched {
    /// When this process began to watch the session, or the start of the last grace period. Every timeout of a player
    /// or host starts at this time or later.
    since_ms: i64,
    /// The time of the session's entry in the queue.
    due_ms: i64,
    /// The last heartbeats of players and reports of the instance.
    last_seen: LastSeen,
    /// When the health of the instance was last assessed.
    assessed_ms: i64,
    /// The sync lag: how long heartbeats and reports may wait before this node stores them, in milliseconds. 0 without
    /// other nodes.
    lag_ms: i64,
    /// When this node last synced the session.
    synced_ms: i64,
    /// Whether the session is in a queue, or has a backfill: what a reload of the configuration can end.
    follows_config: bool,
}

impl Watched {
    /// When its host last confirmed this backfill of the session; `None`: it has not.
    fn confirmed_ms(&self, backfill_id: &str) -> Option<i64> {
        let (id, confirmed_ms) = self.last_seen.confirmed.as_ref()?;
        (id == backfill_id).then_some(*confirmed_ms)
    }
}

/// What times out by the time since it began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timeouts {
    /// When an invite expires; `None`: never.
    pub invite_expiry: Option<Duration>,
    /// When a ticket in a queue ends; `None`: never.
    pub ticket_timeout: Option<Duration>,
}

/// The timeouts in a session.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Overdue {
    /// Active players without a heartbeat within the timeout.
    pub inactive: Vec<PlayerUuid>,
    /// Players whose invite has expired.
    pub expired_invites: Vec<PlayerUuid>,
    /// The id of the instance and its health, if the session shows another health.
    pub health: Option<(String, Health)>,
    /// Whether the ticket of the session has waited for too long.
    pub ticket: bool,
    /// Whether the host has not confirmed the backfill of the session for too long.
    pub backfill: bool,
}

impl Overdue {
    /// Whether nothing has timed out.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl PresenceTable {
    /// An empty table. `is_shared`: whether other nodes share the store.
    pub fn new(health_rules: HealthRules, timeouts: Timeouts, is_shared: bool) -> Self {
        let ms = |timeout: Duration| i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
        let (invite_expiry_ms, ticket_timeout_ms) =
            (timeouts.invite_expiry.map(ms), timeouts.ticket_timeout.map(ms));
        Self {
            health_rules,
            invite_expiry_ms,
            ticket_timeout_ms,
            backfill_timeout_ms: AtomicI64::new(i64::MAX),
            is_shared,
            watching: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Watching> {
        self.watching.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a session after a commit: queues it for its next possible timeout, or forgets it if nothing in it can time
    /// out. Must be called in the order of commits.
    pub fn observe(&self, session: &Session, now_ms: i64) {
        if session.can_time_out(self.invite_expiry_ms.is_some()) {
            self.requeue(session, now_ms);
        } else {
            self.forget(&session.id);
        }
    }

    /// Forgets a session. Does nothing if the session is not in the table.
    pub fn forget(&self, id: &SessionId) {
        let mut watching = self.lock();
        if let Some(watched) = watching.watched.remove(id) {
            watching.queue.remove(&(watched.due_ms, id.clone()));
        }
    }

    /// Whether a session is in the table.
    pub fn watches(&self, id: &SessionId) -> bool {
        self.lock().watched.contains_key(id)
    }

    /// How many sessions are in the table.
    pub fn watched_count(&self) -> usize {
        self.lock().watched.len()
    }

    /// Queues a session for its next possible timeout, and adds it to the table if it is not there.
    fn requeue(&self, session: &Session, now_ms: i64) {
        let mut guard = self.lock();
        let Watching { watched, queue, clock_step_ms, .. } = &mut *guard;
        let now = Now { now_ms, clock_step_ms: *clock_step_ms };
        let watched = watched.entry(session.id.clone()).or_insert_with(|| Watched {
            since_ms: now_ms,
            due_ms: i64::MAX,
            last_seen: LastSeen::default(),
            assessed_ms: now_ms,
            lag_ms: 0,
            synced_ms: i64::MIN,
            follows_config: false,
        });
        watched.follows_config = session.matchmaking.is_some() || session.backfill.is_some();
        watched.lag_ms = self.lag_ms(session);
        watched.last_seen.heartbeat_ms.retain(|player, _| session.is_active(*player));
        // Computed before the queue changes, so that a panic here leaves the session in the queue.
        let due_ms = self.next_due_ms(session, watched, now);
        queue.remove(&(watched.due_ms, session.id.clone()));
        watched.due_ms = due_ms;
        queue.insert((due_ms, session.id.clone()));
    }

    /// Notes a heartbeat of a player. Does nothing if the session has no timeout for players, or the player is not
    /// active.
    pub fn heartbeat(&self, session: &Session, player: PlayerUuid, now_ms: i64) {
        if session.culling_timeout_s.is_none() || !session.is_active(player) {
            return;
        }
        if !self.watches(&session.id) {
            // Another node watches the session. This node watches it too from now on, in case the other node is lost.
            self.requeue(session, now_ms);
        }
        let mut watching = self.lock();
        if let Some(watched) = watching.watched.get_mut(&session.id) {
            watched.last_seen.heartbeat_ms.insert(player, now_ms);
            self.note_unsynced(&mut watching, &session.id);
        }
    }

    /// Sets the time without a confirmation after which backfills end.
    pub fn set_backfill_timeout(&self, timeout: Duration) {
        let timeout_ms = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
        self.backfill_timeout_ms.store(timeout_ms, Ordering::Relaxed);
    }

    /// Notes that the host of a session has confirmed its backfill.
    pub fn confirm_backfill(&self, session: &Session, now_ms: i64) {
        let Some(backfill) = &session.backfill else { return };
        if !self.watches(&session.id) {
            // Another node watches the session. This node watches it too from now on, in case the other node is lost.
            self.requeue(session, now_ms);
        }
        let mut watching = self.lock();
        if let Some(watched) = watching.watched.get_mut(&session.id) {
            watched.last_seen.confirmed = Some((backfill.id.clone(), now_ms));
            self.note_unsynced(&mut watching, &session.id);
        }
    }

    /// Whether the host of a session has confirmed this backfill within this time, in milliseconds, as far as this node
    /// knows.
    pub fn is_backfill_confirmed(
        &self,
        id: &SessionId,
        backfill_id: &str,
        within_ms: i64,
        now_ms: i64,
    ) -> bool {
        let watching = self.lock();
        let Some(watched) = watching.watched.get(id) else { return false };
        // A confirmation at another node takes time until this node knows it.
        let within_ms = within_ms.saturating_add(2 * watched.lag_ms);
        watched.confirmed_ms(backfill_id).is_some_and(|ms| now_ms < ms.saturating_add(within_ms))
    }

    /// Starts a grace period: every timeout of a player or host starts again now.
    pub fn grant_grace(&self, now_ms: i64) {
        for watched in self.lock().watched.values_mut() {
            watched.since_ms = now_ms;
        }
    }

    /// Starts every timeout again after a step of the wall clock. `step_ms` is the wall clock right after the step.
    /// Does nothing if the step is known. All sessions are checked soon, because the queue is in the order of the
    /// clock before the step.
    pub fn note_clock_step(&self, step_ms: i64, now_ms: i64) {
        let mut guard = self.lock();
        let Watching { watched, queue, clock_step_ms, .. } = &mut *guard;
        if *clock_step_ms == Some(step_ms) {
            return;
        }
        *clock_step_ms = Some(step_ms);
        let now = Now { now_ms, clock_step_ms: *clock_step_ms };
        queue.clear();
        for (id, watched) in watched {
            for since_ms in [&mut watched.since_ms, &mut watched.assessed_ms] {
                *since_ms = now.counted_from(*since_ms);
            }
            watched.synced_ms = i64::MIN;
            watched.last_seen.forget_future(now_ms);
            watched.due_ms = now_ms;
            queue.insert((now_ms, id.clone()));
        }
    }

    /// Lets the sessions in queues, and those with a backfill, be checked soon.
    pub fn follow_config(&self, now_ms: i64) {
        let mut guard = self.lock();
        let Watching { watched, queue, .. } = &mut *guard;
        for (id, watched) in watched.iter_mut().filter(|(_, watched)| watched.follows_config) {
            queue.remove(&(watched.due_ms, id.clone()));
            watched.due_ms = watched.due_ms.min(now_ms);
            queue.insert((watched.due_ms, id.clone()));
        }
    }

    /// Notes that other nodes do not have the last heartbeats or reports in a session. Checks before it inserts,
    /// because the insertion needs a copy of the id, and usually the id is there.
    fn note_unsynced(&self, watching: &mut Watching, id: &SessionId) {
        if self.is_shared && !watching.unsynced.contains(id) {
            watching.unsynced.insert(id.clone());
        }
    }

    /// Takes the sessions that are to be synced now: with new heartbeats or reports, and last synced a sync lag ago or
    /// earlier. The others stay noted.
    pub fn take_unsynced(&self, now_ms: i64) -> Vec<(SessionId, LastSeen)> {
        let mut guard = self.lock();
        let Watching { watched, unsynced, .. } = &mut *guard;
        let mut taken = Vec::new();
        unsynced.retain(|id| {
            let Some(watched) = watched.get_mut(id) else { return false };
            if watched.synced_ms.saturating_add(watched.lag_ms) > now_ms {
                return true;
            }
            watched.synced_ms = now_ms;
            taken.push((id.clone(), watched.last_seen.clone()));
            false
        });
        taken
    }

    /// What this node knows of a session; `None` if the session is not in the table.
    pub fn last_seen_of(&self, id: &SessionId) -> Option<LastSeen> {
        self.lock().watched.get(id).map(|watched| watched.last_seen.clone())
    }

    /// Notes that the sync of a session has failed. The next sync tries it again, without waiting for the sync lag.
    pub fn sync_again(&self, id: &SessionId) {
        let mut watching = self.lock();
        if let Some(watched) = watching.watched.get_mut(id) {
            watched.synced_ms = i64::MIN;
        }
        self.note_unsynced(&mut watching, id);
    }

    /// Merges what other nodes know of a session. Does nothing if the session is not in the table.
    pub fn merge(&self, id: &SessionId, last_seen: LastSeen) {
        if let Some(watched) = self.lock().watched.get_mut(id) {
            watched.last_seen.merge(last_seen, &self.health_rules);
        }
    }

    /// Notes a health report of an instance. Returns the health that follows from all reports.
    pub fn health_report(&self, session: &Session, instance_id: &str, health: Health, now_ms: i64) -> Health {
        self.requeue(session, now_ms);
        let mut watching = self.lock();
        let Some(watched) = watching.watched.get_mut(&session.id) else { return health };
        watched.assessed_ms = now_ms;
        // If the session shows no health, this instance has not reported yet. Known reports with the same id belong to
        // an earlier instance.
        let has_reported = session.instance.as_ref().is_some_and(|instance| instance.health.is_some());
        let (_, reports) = match &mut watched.last_seen.reports {
            Some(known) if known.0 == instance_id && has_reported => known,
            other => other.insert((instance_id.to_owned(), Reports::expected_since(now_ms, health))),
        };
        reports.add(health, now_ms, &self.health_rules);
        let assessed = reports.assess(now_ms, watched.since_ms, &self.health_rules);
        self.note_unsynced(&mut watching, &session.id);
        assessed
    }

    /// The sessions that are due for a check. They stay in the queue until the check observes or forgets them, so none
    /// is lost if the check fails, panics or is broken off.
    pub fn due(&self, now_ms: i64) -> Vec<SessionId> {
        let watching = self.lock();
        let due = watching.queue.iter().take_while(|(due_ms, _)| *due_ms <= now_ms);
        due.map(|(_, id)| id.clone()).collect()
    }

    /// The timeouts in a session. Nothing, if the session is not in the table.
    pub fn overdue(&self, session: &Session, now_ms: i64) -> Overdue {
        let mut watching = self.lock();
        let now = Now { now_ms, clock_step_ms: watching.clock_step_ms };
        let Some(watched) = watching.watched.get_mut(&session.id) else { return Overdue::default() };
        let mut overdue = Overdue::default();
        for (player, entry) in &session.players {
            let due_ms = self.player_due_ms(session, watched, *player, entry, now);
            if due_ms.is_none_or(|due_ms| due_ms > now_ms) {
                continue;
            }
            if entry.status.is_active() {
                overdue.inactive.push(*player);
            } else {
                overdue.expired_invites.push(*player);
            }
        }
        if let Some(instance) = &session.instance
            && let Some(known) = instance.health
        {
            watched.assessed_ms = now_ms;
            let reports = watched.last_seen.reports.get_or_insert_with(|| {
                (instance.instance_id.clone(), Reports::expected_since(now_ms, known))
            });
            // Later reports may still be on their way from other nodes.
            let synced_until_ms = now_ms.saturating_sub(2 * watched.lag_ms);
            let health = reports.1.assess(synced_until_ms, watched.since_ms, &self.health_rules);
            if reports.0 == instance.instance_id && health != known {
                overdue.health = Some((instance.instance_id.clone(), health));
            }
        }
        overdue.ticket = self.ticket_due_ms(session, now).is_some_and(|due_ms| due_ms <= now_ms);
        let backfill_due_ms = self.backfill_due_ms(session, watched, now);
        overdue.backfill = backfill_due_ms.is_some_and(|due_ms| due_ms <= now_ms);
        overdue
    }

    /// When a player times out, in milliseconds since the epoch: for an active player the timeout after the last
    /// heartbeat, for any other player the invite expiry after the invite, or the shorter one of a match. `None`: the
    /// player does not time out.
    fn player_due_ms(
        &self,
        session: &Session,
        watched: &Watched,
        player: PlayerUuid,
        entry: &Player,
        now: Now,
    ) -> Option<i64> {
        if !entry.status.is_active() {
            if session.waits_for_instance(entry) {
                return None;
            }
            let invited_ms = now.counted_from(entry.invited?.as_millisecond());
            let of_match = entry.match_timeout_s.filter(|after_s| *after_s > 0);
            let of_match_ms = of_match.map(|after_s| i64::from(after_s) * 1_000);
            let expiry_ms = self.invite_expiry_ms.into_iter().chain(of_match_ms).min()?;
            return Some(invited_ms.saturating_add(expiry_ms));
        }
        let joined_ms = entry.joined.map_or(i64::MIN, |joined| now.counted_from(joined.as_millisecond()));
        let heartbeat_ms =
            watched.last_seen.heartbeat_ms.get(&player).copied().unwrap_or(i64::MIN).max(watched.since_ms);
        let timed_out_ms = heartbeat_ms.max(joined_ms).saturating_add(culling_timeout_ms(session)?);
        // A heartbeat at another node takes up to one sync lag until that node stores it, and up to another one until
        // this node reads it.
        Some(timed_out_ms.saturating_add(2 * watched.lag_ms))
    }

    /// When the ticket of a session ends, in milliseconds since the epoch; `None`: never, or there is none.
    fn ticket_due_ms(&self, session: &Session, now: Now) -> Option<i64> {
        let enqueued_ms = session.matchmaking.as_ref()?.enqueued.as_millisecond();
        Some(now.counted_from(enqueued_ms).saturating_add(self.ticket_timeout_ms?))
    }

    /// When the backfill of a session ends, in milliseconds since the epoch; `None`: never, there is none, or nobody can
    /// join the instance.
    fn backfill_due_ms(&self, session: &Session, watched: &Watched, now: Now) -> Option<i64> {
        let backfill = session.backfill.as_ref().filter(|_| session.expects_confirmation())?;
        let expected_ms = now.counted_from(backfill.expected_since.as_millisecond()).max(watched.since_ms);
        let heard_ms = watched.confirmed_ms(&backfill.id).unwrap_or(i64::MIN).max(expected_ms);
        let timeout_ms = self.backfill_timeout_ms.load(Ordering::Relaxed);
        Some(heard_ms.saturating_add(timeout_ms).saturating_add(2 * watched.lag_ms))
    }

    /// The sync lag of a session, in milliseconds: an eighth of its shortest timeout. 0 without other nodes.
    fn lag_ms(&self, session: &Session) -> i64 {
        let reports = session.instance.as_ref().and_then(|instance| instance.health);
        let cadence_ms = reports.map(|_| self.health_rules.cadence_ms());
        let backfill_ms = session.backfill.as_ref().map(|_| self.backfill_timeout_ms.load(Ordering::Relaxed));
        let shortest_ms = culling_timeout_ms(session).into_iter().chain(cadence_ms).chain(backfill_ms).min();
        if self.is_shared { shortest_ms.unwrap_or(0) / LAG_PARTS } else { 0 }
    }

    /// When something in a session can time out next, in milliseconds since the epoch; `i64::MAX`: never.
    fn next_due_ms(&self, session: &Session, watched: &Watched, now: Now) -> i64 {
        let now_ms = now.now_ms;
        let players = session.players.iter();
        let players =
            players.filter_map(|(player, entry)| self.player_due_ms(session, watched, *player, entry, now));
        let health = session.instance.as_ref().and_then(|instance| instance.health);
        let reports = watched.last_seen.reports.as_ref().map(|(_, reports)| reports);
        // The health `unknown` is final after the reports have timed out. An instance can also report `unknown` itself;
        // then it is expected to report again.
        let can_change = |health| {
            health != Health::Unknown
                || reports.is_some_and(|reports| {
                    !reports.have_timed_out(now_ms, watched.since_ms, &self.health_rules)
                })
        };
        let reports_ms = health.filter(|health| can_change(*health));
        let reports_ms =
            reports_ms.map(|_| watched.assessed_ms.saturating_add(self.health_rules.cadence_ms()));
        // Another node may end the session without notice to this one. The check then forgets it.
        let check_ms = self.is_shared.then(|| now_ms.saturating_add(CHECK_EVERY_MS));
        let ticket_ms = self.ticket_due_ms(session, now);
        let backfill_ms = self.backfill_due_ms(session, watched, now);
        let of_matchmaking = ticket_ms.into_iter().chain(backfill_ms);
        players.chain(reports_ms).chain(of_matchmaking).chain(check_ms).min().unwrap_or(i64::MAX)
    }
}

/// The timeout of players without heartbeats, in milliseconds; `None`: players do not time out.
fn culling_timeout_ms(session: &Session) -> Option<i64> {
    i64::try_from(session.culling_timeout_s?).ok()?.checked_mul(1000)
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
