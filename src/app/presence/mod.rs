//! Whose silence has consequences: players who no longer ask for a session, hosts who no longer report, invites
//! that nobody answers.
//!
//! What was heard is kept in memory, since it changes with every poll; after a restart everyone starts with a full
//! allowance. Where several nodes serve one store they tell each other now and then (see `last_seen`), and wait a
//! little longer before they act, so that what is on its way still counts. Sessions wait in a queue by the time at
//! which the next of their players, invites or hosts could be overdue, so that a look costs nothing until then.

pub mod sync;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::sync::LastSeen;
use crate::domain::instance::Health;
use crate::domain::instance::health::{HealthRules, Reports};
use crate::domain::session::Player;
use crate::domain::{PlayerUuid, Session, SessionId};

/// The part of the time that silence takes in which other nodes are told what was heard.
const LAG_PARTS: i64 = 8;

/// How often a session is looked at, at least, where other nodes may have ended it.
const CHECK_EVERY_MS: i64 = 3_600_000;

/// See the module.
pub struct Presence {
    health_rules: HealthRules,
    invite_expiry_ms: Option<i64>,
    /// Whether other nodes may hear what this one does not.
    is_shared: bool,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    heard: HashMap<SessionId, Watched>,
    /// Sessions by when they are to be looked at.
    queue: BTreeSet<(i64, SessionId)>,
    /// Sessions of which something was heard that other nodes were not told.
    unsynced: HashSet<SessionId>,
}

/// What was heard of a session.
struct Watched {
    /// From when on it is watched by this process: what was not heard before does not count.
    since_ms: i64,
    /// Its place in the queue.
    due_ms: i64,
    /// From its players and its instance.
    last_seen: LastSeen,
    /// When the health of its instance was judged last.
    assessed_ms: i64,
    /// How long other nodes may have to wait to be told; 0 where there are none.
    lag_ms: i64,
    /// When other nodes were told last.
    synced_ms: i64,
}

/// What silence has come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Overdue {
    /// Players who have not asked for too long.
    pub inactive: Vec<PlayerUuid>,
    /// Players who have not answered an invite for too long.
    pub expired_invites: Vec<PlayerUuid>,
    /// The instance whose health is not what the session says, and what it is now.
    pub health: Option<(String, Health)>,
}

impl Overdue {
    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Presence {
    /// Under these rules; without an expiry invites wait as long as their session lives. Where the store `is_shared`
    /// other nodes hear some of what there is to hear.
    pub fn new(health_rules: HealthRules, invite_expiry: Option<Duration>, is_shared: bool) -> Self {
        let invite_expiry_ms =
            invite_expiry.map(|expiry| i64::try_from(expiry.as_millis()).unwrap_or(i64::MAX));
        Self { health_rules, invite_expiry_ms, is_shared, waiting: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at a session as a change has left it: queues it by when something in it could be overdue, or forgets it.
    /// Changes are to be looked at in their order, or the last look would not be at the last of them.
    pub fn look_at(&self, session: &Session, now_ms: i64) {
        if session.can_time_out(self.invite_expiry_ms.is_some()) {
            self.requeue(session, now_ms);
        } else {
            self.forget(&session.id);
        }
    }

    /// Forgets a session that silence cannot change, or that is gone. Of most nothing was kept.
    pub fn forget(&self, id: &SessionId) {
        let mut waiting = self.lock();
        if let Some(heard) = waiting.heard.remove(id) {
            waiting.queue.remove(&(heard.due_ms, id.clone()));
        }
    }

    /// Puts a session back that was taken out of the queue and could not be looked at.
    pub fn put_back(&self, id: &SessionId) {
        let mut waiting = self.lock();
        if let Some(due_ms) = waiting.heard.get(id).map(|heard| heard.due_ms) {
            waiting.queue.insert((due_ms, id.clone()));
        }
    }

    /// Whether something is kept of a session.
    pub fn watches(&self, id: &SessionId) -> bool {
        self.lock().heard.contains_key(id)
    }

    /// How many sessions something is kept of.
    pub fn watched(&self) -> usize {
        self.lock().heard.len()
    }

    fn requeue(&self, session: &Session, now_ms: i64) {
        let mut guard = self.lock();
        let Waiting { heard, queue, .. } = &mut *guard;
        let heard = heard.entry(session.id.clone()).or_insert_with(|| Watched {
            since_ms: now_ms,
            due_ms: i64::MAX,
            last_seen: LastSeen::default(),
            assessed_ms: now_ms,
            lag_ms: 0,
            synced_ms: i64::MIN,
        });
        heard.lag_ms = self.lag_ms(session);
        queue.remove(&(heard.due_ms, session.id.clone()));
        heard.last_seen.asked_ms.retain(|player, _| session.is_active(*player));
        heard.due_ms = self.next_due_ms(session, heard, now_ms);
        queue.insert((heard.due_ms, session.id.clone()));
    }

    /// Notes that a player asked for a session.
    pub fn heartbeat(&self, session: &Session, player: PlayerUuid, now_ms: i64) {
        if session.culling_timeout_s.is_none() || !session.is_active(player) {
            return;
        }
        if !self.watches(&session.id) {
            // Another node does, and may not any more by the time that it is to be told.
            self.requeue(session, now_ms);
        }
        let mut waiting = self.lock();
        if let Some(heard) = waiting.heard.get_mut(&session.id) {
            heard.last_seen.asked_ms.insert(player, now_ms);
            self.note_unsynced(&mut waiting, &session.id);
        }
    }

    /// Begins anew with everyone: nobody could be heard until now.
    pub fn grant_grace(&self, now_ms: i64) {
        for heard in self.lock().heard.values_mut() {
            heard.since_ms = now_ms;
        }
    }

    fn note_unsynced(&self, waiting: &mut Waiting, id: &SessionId) {
        if self.is_shared && !waiting.unsynced.contains(id) {
            waiting.unsynced.insert(id.clone());
        }
    }

    /// What other nodes are to be told now, by session.
    pub fn take_unsynced(&self, now_ms: i64) -> Vec<(SessionId, LastSeen)> {
        let mut guard = self.lock();
        let Waiting { heard, unsynced, .. } = &mut *guard;
        let mut news = Vec::new();
        unsynced.retain(|id| {
            let Some(heard) = heard.get_mut(id) else { return false };
            if heard.synced_ms.saturating_add(heard.lag_ms) > now_ms {
                return true;
            }
            heard.synced_ms = now_ms;
            news.push((id.clone(), heard.last_seen.clone()));
            false
        });
        news
    }

    /// What was heard of a session, if it is watched here.
    pub fn last_seen_of(&self, id: &SessionId) -> Option<LastSeen> {
        self.lock().heard.get(id).map(|heard| heard.last_seen.clone())
    }

    /// Tells other nodes of a session again, where that has failed.
    pub fn sync_again(&self, id: &SessionId) {
        let mut waiting = self.lock();
        if let Some(heard) = waiting.heard.get_mut(id) {
            heard.synced_ms = i64::MIN;
        }
        self.note_unsynced(&mut waiting, id);
    }

    /// Takes in what other nodes heard of a session that is watched here.
    pub fn take_in(&self, id: &SessionId, last_seen: LastSeen) {
        if let Some(heard) = self.lock().heard.get_mut(id) {
            heard.last_seen.merge(last_seen, &self.health_rules);
        }
    }

    /// Takes an instance's report in; answers how well it is held to be now.
    pub fn health_report(&self, session: &Session, instance_id: &str, health: Health, now_ms: i64) -> Health {
        self.requeue(session, now_ms);
        let mut waiting = self.lock();
        let Some(heard) = waiting.heard.get_mut(&session.id) else { return health };
        heard.assessed_ms = now_ms;
        // Without a health this one has not reported yet: an earlier one of the same name has.
        let has_reported = session.instance.as_ref().is_some_and(|instance| instance.health.is_some());
        let (_, reports) = match &mut heard.last_seen.reports {
            Some(known) if known.0 == instance_id && has_reported => known,
            other => other.insert((instance_id.to_owned(), Reports::expected_since(now_ms, health))),
        };
        reports.take_in(health, now_ms, &self.health_rules);
        let judged = reports.judge(now_ms, heard.since_ms, &self.health_rules);
        self.note_unsynced(&mut waiting, &session.id);
        judged
    }

    /// Takes those sessions out of the queue that are to be looked at now.
    pub fn take_due(&self, now_ms: i64) -> Vec<SessionId> {
        let mut waiting = self.lock();
        let mut due = Vec::new();
        while let Some(first) = waiting.queue.first().filter(|(due_ms, _)| *due_ms <= now_ms).cloned() {
            waiting.queue.remove(&first);
            due.push(first.1);
        }
        due
    }

    /// What is overdue in a session.
    pub fn overdue(&self, session: &Session, now_ms: i64) -> Overdue {
        let mut waiting = self.lock();
        let Some(heard) = waiting.heard.get_mut(&session.id) else { return Overdue::default() };
        let mut overdue = Overdue::default();
        for (player, entry) in &session.players {
            match self.player_due_ms(session, heard, *player, entry) {
                Some(due_ms) if due_ms > now_ms => {}
                None => {}
                Some(_) if entry.status.is_active() => overdue.inactive.push(*player),
                Some(_) => overdue.expired_invites.push(*player),
            }
        }
        if let Some(instance) = &session.instance
            && let Some(known) = instance.health
        {
            heard.assessed_ms = now_ms;
            let reports = heard.last_seen.reports.get_or_insert_with(|| {
                (instance.instance_id.clone(), Reports::expected_since(now_ms, known))
            });
            let seen_until_ms = now_ms.saturating_sub(2 * heard.lag_ms);
            let health = reports.1.judge(seen_until_ms, heard.since_ms, &self.health_rules);
            if reports.0 == instance.instance_id && health != known {
                overdue.health = Some((instance.instance_id.clone(), health));
            }
        }
        overdue
    }

    /// When a player's silence is too long: an active one's since they last asked, another's since the invite.
    fn player_due_ms(
        &self,
        session: &Session,
        heard: &Watched,
        player: PlayerUuid,
        entry: &Player,
    ) -> Option<i64> {
        if !entry.status.is_active() {
            return Some(entry.invited?.as_millisecond().saturating_add(self.invite_expiry_ms?));
        }
        let joined_ms = entry.joined.map_or(i64::MIN, |joined| joined.as_millisecond());
        let asked_ms = heard.last_seen.asked_ms.get(&player).copied().unwrap_or(i64::MIN).max(heard.since_ms);
        // What was heard elsewhere takes its time to get here: to be told, and to be read.
        Some(
            asked_ms
                .max(joined_ms)
                .saturating_add(culling_timeout_ms(session)?)
                .saturating_add(2 * heard.lag_ms),
        )
    }

    /// How long what is heard of a session may wait until other nodes are told.
    fn lag_ms(&self, session: &Session) -> i64 {
        let reports = session.instance.as_ref().and_then(|instance| instance.health);
        let cadence_ms = reports.map(|_| self.health_rules.cadence_ms());
        let shortest_ms = culling_timeout_ms(session).into_iter().chain(cadence_ms).min();
        if self.is_shared { shortest_ms.unwrap_or(0) / LAG_PARTS } else { 0 }
    }

    fn next_due_ms(&self, session: &Session, heard: &Watched, now_ms: i64) -> i64 {
        let players = session.players.iter();
        let players =
            players.filter_map(|(player, entry)| self.player_due_ms(session, heard, *player, entry));
        let health = session.instance.as_ref().and_then(|instance| instance.health);
        let reports = heard.last_seen.reports.as_ref().map(|(_, reports)| reports);
        // Also one that says of itself that nothing is known is expected to go on saying so.
        let can_change = |health| {
            health != Health::Unknown
                || reports
                    .is_some_and(|reports| !reports.are_over(now_ms, heard.since_ms, &self.health_rules))
        };
        let reports_ms = health.filter(|health| can_change(*health));
        let reports_ms = reports_ms.map(|_| heard.assessed_ms.saturating_add(self.health_rules.cadence_ms()));
        // Where other nodes may end it, it is looked at now and then, so as to be forgotten.
        let look_ms = self.is_shared.then(|| now_ms.saturating_add(CHECK_EVERY_MS));
        players.chain(reports_ms).chain(look_ms).min().unwrap_or(i64::MAX)
    }
}

fn culling_timeout_ms(session: &Session) -> Option<i64> {
    i64::try_from(session.culling_timeout_s?).ok()?.checked_mul(1000)
}
