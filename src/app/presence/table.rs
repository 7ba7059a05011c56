//! Who was last seen in which session, in memory.
//!
//! Heartbeats are kept in memory because they change with every poll; after a restart everyone starts with a full
//! timeout. If several nodes serve one store they share what they have seen now and then (see [`sync`](super::sync)), and wait a
//! little longer before they act, so that news on the way still counts. Sessions wait in a queue, ordered by the time at
//! which their next player, invite or host could time out, so a check costs nothing until then.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::instance::Health;
use crate::domain::instance::health::{HealthRules, Reports};
use crate::domain::session::Player;
use crate::domain::{PlayerUuid, Session, SessionId};
use crate::records::LastSeen;

/// The part of the time that silence takes in which other nodes are told what was watched.
const LAG_PARTS: i64 = 8;

/// How often a session is checked at least if other nodes may have ended it, in milliseconds.
const CHECK_EVERY_MS: i64 = 3_600_000;

/// The sessions that something can time out in.
pub struct PresenceTable {
    health_rules: HealthRules,
    invite_expiry_ms: Option<i64>,
    /// Whether other nodes serve the same store, and see heartbeats that this one does not.
    is_shared: bool,
    watching: Mutex<Watching>,
}

#[derive(Default)]
struct Watching {
    watched: HashMap<SessionId, Watched>,
    /// Sessions by the time at which they are checked next, in milliseconds since the epoch.
    queue: BTreeSet<(i64, SessionId)>,
    /// Sessions with news that other nodes do not have yet.
    unsynced: HashSet<SessionId>,
}

/// What this node knows about the presence in a session. All times are in milliseconds since the epoch.
struct Watched {
    /// Since when this process watches the session, or the start of the last grace period: nothing times out for being unseen before.
    since_ms: i64,
    /// Its time in the queue.
    due_ms: i64,
    /// The last heartbeats of its players and reports of its instance.
    last_seen: LastSeen,
    /// When the health of its instance was assessed last.
    assessed_ms: i64,
    /// How long news may wait before other nodes get them, in milliseconds; 0 if there are no other nodes.
    lag_ms: i64,
    /// When this node shared its news last.
    synced_ms: i64,
}

/// What has timed out in a session.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Overdue {
    /// Active players whose heartbeat is overdue.
    pub inactive: Vec<PlayerUuid>,
    /// Players whose invite has expired.
    pub expired_invites: Vec<PlayerUuid>,
    /// The instance whose health is no longer what the session says, and its health now.
    pub health: Option<(String, Health)>,
}

impl Overdue {
    /// Whether nothing has timed out.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl PresenceTable {
    /// A table under these rules. Without `invite_expiry` invites last as long as their session. `is_shared`: other nodes serve
    /// the same store.
    pub fn new(health_rules: HealthRules, invite_expiry: Option<Duration>, is_shared: bool) -> Self {
        let invite_expiry_ms =
            invite_expiry.map(|expiry| i64::try_from(expiry.as_millis()).unwrap_or(i64::MAX));
        Self { health_rules, invite_expiry_ms, is_shared, watching: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Watching> {
        self.watching.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a session as a change has left it: queues it by the time at which something in it could time out, or forgets
    /// it. Must be called in the order of changes.
    pub fn observe(&self, session: &Session, now_ms: i64) {
        if session.can_time_out(self.invite_expiry_ms.is_some()) {
            self.requeue(session, now_ms);
        } else {
            self.forget(&session.id);
        }
    }

    /// Forgets a session that has ended, or in which nothing can time out.
    pub fn forget(&self, id: &SessionId) {
        let mut watching = self.lock();
        if let Some(watched) = watching.watched.remove(id) {
            watching.queue.remove(&(watched.due_ms, id.clone()));
        }
    }

    /// Puts a session back that was taken out of the queue and could not be checked.
    pub fn put_back(&self, id: &SessionId) {
        let mut watching = self.lock();
        if let Some(due_ms) = watching.watched.get(id).map(|watched| watched.due_ms) {
            watching.queue.insert((due_ms, id.clone()));
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

    fn requeue(&self, session: &Session, now_ms: i64) {
        let mut guard = self.lock();
        let Watching { watched, queue, .. } = &mut *guard;
        let watched = watched.entry(session.id.clone()).or_insert_with(|| Watched {
            since_ms: now_ms,
            due_ms: i64::MAX,
            last_seen: LastSeen::default(),
            assessed_ms: now_ms,
            lag_ms: 0,
            synced_ms: i64::MIN,
        });
        watched.lag_ms = self.lag_ms(session);
        queue.remove(&(watched.due_ms, session.id.clone()));
        watched.last_seen.heartbeat_ms.retain(|player, _| session.is_active(*player));
        watched.due_ms = self.next_due_ms(session, watched, now_ms);
        queue.insert((watched.due_ms, session.id.clone()));
    }

    /// Notes a heartbeat: the player has asked for the session.
    pub fn heartbeat(&self, session: &Session, player: PlayerUuid, now_ms: i64) {
        if session.culling_timeout_s.is_none() || !session.is_active(player) {
            return;
        }
        if !self.watches(&session.id) {
            // Another node watches it, and that node may be gone by the time of the next sync.
            self.requeue(session, now_ms);
        }
        let mut watching = self.lock();
        if let Some(watched) = watching.watched.get_mut(&session.id) {
            watched.last_seen.heartbeat_ms.insert(player, now_ms);
            self.note_unsynced(&mut watching, &session.id);
        }
    }

    /// Starts a grace period for everyone: until now nobody could be seen.
    pub fn grant_grace(&self, now_ms: i64) {
        for watched in self.lock().watched.values_mut() {
            watched.since_ms = now_ms;
        }
    }

    fn note_unsynced(&self, watching: &mut Watching, id: &SessionId) {
        if self.is_shared && !watching.unsynced.contains(id) {
            watching.unsynced.insert(id.clone());
        }
    }

    /// The news that other nodes should get now, by session.
    pub fn take_unsynced(&self, now_ms: i64) -> Vec<(SessionId, LastSeen)> {
        let mut guard = self.lock();
        let Watching { watched, unsynced, .. } = &mut *guard;
        let mut news = Vec::new();
        unsynced.retain(|id| {
            let Some(watched) = watched.get_mut(id) else { return false };
            if watched.synced_ms.saturating_add(watched.lag_ms) > now_ms {
                return true;
            }
            watched.synced_ms = now_ms;
            news.push((id.clone(), watched.last_seen.clone()));
            false
        });
        news
    }

    /// What this node has seen in a session, if it watches it.
    pub fn last_seen_of(&self, id: &SessionId) -> Option<LastSeen> {
        self.lock().watched.get(id).map(|watched| watched.last_seen.clone())
    }

    /// Shares the news of a session again, after that has failed.
    pub fn sync_again(&self, id: &SessionId) {
        let mut watching = self.lock();
        if let Some(watched) = watching.watched.get_mut(id) {
            watched.synced_ms = i64::MIN;
        }
        self.note_unsynced(&mut watching, id);
    }

    /// Adds what other nodes have seen in a session that this node watches.
    pub fn merge(&self, id: &SessionId, last_seen: LastSeen) {
        if let Some(watched) = self.lock().watched.get_mut(id) {
            watched.last_seen.merge(last_seen, &self.health_rules);
        }
    }

    /// Takes in a health report of an instance. Answers the health that follows from all reports.
    pub fn health_report(&self, session: &Session, instance_id: &str, health: Health, now_ms: i64) -> Health {
        self.requeue(session, now_ms);
        let mut watching = self.lock();
        let Some(watched) = watching.watched.get_mut(&session.id) else { return health };
        watched.assessed_ms = now_ms;
        // An instance without a health has not reported yet: the known reports are of an earlier one with the same id.
        let has_reported = session.instance.as_ref().is_some_and(|instance| instance.health.is_some());
        let (_, reports) = match &mut watched.last_seen.reports {
            Some(known) if known.0 == instance_id && has_reported => known,
            other => other.insert((instance_id.to_owned(), Reports::expected_since(now_ms, health))),
        };
        reports.add(health, now_ms, &self.health_rules);
        let judged = reports.judge(now_ms, watched.since_ms, &self.health_rules);
        self.note_unsynced(&mut watching, &session.id);
        judged
    }

    /// Takes the sessions out of the queue that are due for a check.
    pub fn take_due(&self, now_ms: i64) -> Vec<SessionId> {
        let mut watching = self.lock();
        let mut due = Vec::new();
        while let Some(first) = watching.queue.first().filter(|(due_ms, _)| *due_ms <= now_ms).cloned() {
            watching.queue.remove(&first);
            due.push(first.1);
        }
        due
    }

    /// What has timed out in a session.
    pub fn overdue(&self, session: &Session, now_ms: i64) -> Overdue {
        let mut watching = self.lock();
        let Some(watched) = watching.watched.get_mut(&session.id) else { return Overdue::default() };
        let mut overdue = Overdue::default();
        for (player, entry) in &session.players {
            match self.player_due_ms(session, watched, *player, entry) {
                Some(due_ms) if due_ms > now_ms => {}
                None => {}
                Some(_) if entry.status.is_active() => overdue.inactive.push(*player),
                Some(_) => overdue.expired_invites.push(*player),
            }
        }
        if let Some(instance) = &session.instance
            && let Some(known) = instance.health
        {
            watched.assessed_ms = now_ms;
            let reports = watched.last_seen.reports.get_or_insert_with(|| {
                (instance.instance_id.clone(), Reports::expected_since(now_ms, known))
            });
            let seen_until_ms = now_ms.saturating_sub(2 * watched.lag_ms);
            let health = reports.1.judge(seen_until_ms, watched.since_ms, &self.health_rules);
            if reports.0 == instance.instance_id && health != known {
                overdue.health = Some((instance.instance_id.clone(), health));
            }
        }
        overdue
    }

    /// When a player times out: an active one after the last heartbeat, another one after the invite.
    fn player_due_ms(
        &self,
        session: &Session,
        watched: &Watched,
        player: PlayerUuid,
        entry: &Player,
    ) -> Option<i64> {
        if !entry.status.is_active() {
            return Some(entry.invited?.as_millisecond().saturating_add(self.invite_expiry_ms?));
        }
        let joined_ms = entry.joined.map_or(i64::MIN, |joined| joined.as_millisecond());
        let heartbeat_ms =
            watched.last_seen.heartbeat_ms.get(&player).copied().unwrap_or(i64::MIN).max(watched.since_ms);
        // What other nodes have seen takes its time to get here: to be shared, and to be read.
        Some(
            heartbeat_ms
                .max(joined_ms)
                .saturating_add(culling_timeout_ms(session)?)
                .saturating_add(2 * watched.lag_ms),
        )
    }

    /// How long news of a session may wait until other nodes get them, in milliseconds.
    fn lag_ms(&self, session: &Session) -> i64 {
        let reports = session.instance.as_ref().and_then(|instance| instance.health);
        let cadence_ms = reports.map(|_| self.health_rules.cadence_ms());
        let shortest_ms = culling_timeout_ms(session).into_iter().chain(cadence_ms).min();
        if self.is_shared { shortest_ms.unwrap_or(0) / LAG_PARTS } else { 0 }
    }

    fn next_due_ms(&self, session: &Session, watched: &Watched, now_ms: i64) -> i64 {
        let players = session.players.iter();
        let players =
            players.filter_map(|(player, entry)| self.player_due_ms(session, watched, *player, entry));
        let health = session.instance.as_ref().and_then(|instance| instance.health);
        let reports = watched.last_seen.reports.as_ref().map(|(_, reports)| reports);
        // An instance that reports `unknown` is expected to go on reporting.
        let can_change = |health| {
            health != Health::Unknown
                || reports.is_some_and(|reports| {
                    !reports.have_timed_out(now_ms, watched.since_ms, &self.health_rules)
                })
        };
        let reports_ms = health.filter(|health| can_change(*health));
        let reports_ms =
            reports_ms.map(|_| watched.assessed_ms.saturating_add(self.health_rules.cadence_ms()));
        // Other nodes may end the session, so this node checks now and then whether to forget it.
        let look_ms = self.is_shared.then(|| now_ms.saturating_add(CHECK_EVERY_MS));
        players.chain(reports_ms).chain(look_ms).min().unwrap_or(i64::MAX)
    }
}

fn culling_timeout_ms(session: &Session) -> Option<i64> {
    i64::try_from(session.culling_timeout_s?).ok()?.checked_mul(1000)
}
