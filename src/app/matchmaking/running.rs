//! The running matches that want players of one profile, as this node knows them.
//!
//! They are index entries of their sessions, which a start reads, and a node that shares the store reads on. What the
//! matcher needs to know beyond that is read from the session when a pass first needs it, and kept. The commit of a
//! filling compares it with the session, so what is out of date costs a conflict.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Bound;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use uuid::Uuid;

use super::values::backfill_of;
use crate::app::isolate::isolate;
use crate::app::{App, Catalog, Failure};
use crate::domain::matchmaking::matcher::Backfill;
use crate::domain::{Session, SessionId};
use crate::records::backfill::WantedPlayers;
use crate::records::keys;
use crate::store::{Key, Store, next_key};

/// Most entries that one step reads.
const READ_AT_ONCE: usize = 2_000;
/// Most matches that one pass tries to fill. Further ones have their turn in the next pass.
const FILLED_AT_ONCE: usize = 1_000;
/// Sessions read at once.
const SESSIONS_AT_ONCE: usize = 64;
/// With several nodes: how long what was read of a session counts, in milliseconds. A change at another node need not
/// show in the index entry.
const SEEN_FOR_MS: i64 = 10_000;
/// How long after a look at a match whose host had not confirmed it the next look follows, in milliseconds. A confirmation
/// at this node is news.
const UNCONFIRMED_FOR_MS: i64 = 500;
/// How long a match is set aside that cannot be read or filled, in milliseconds. Each further failure doubles it.
const ASIDE_MS_MIN: i64 = 1_000;
/// The longest time for which such a match is set aside, in milliseconds. After as long without a failure, the next time is
/// the shortest again.
const ASIDE_MS_MAX: i64 = 30_000;

/// When the backfill of a match was made, and the session of the match: passes take the oldest ones first.
type ByAge = (i64, SessionId);

/// A running match that a pass may fill.
#[derive(Clone, Debug)]
pub struct Fillable {
    /// The session of the match.
    pub session_id: SessionId,
    /// What the matcher is given, but for the tickets that it must not send.
    pub seen: Arc<Backfill>,
}

/// The running matches that want players of one profile.
pub struct Running {
    profile_id: String,
    matches: BTreeMap<SessionId, Match>,
    /// Where the present sweep through the index goes on; `None`: at the beginning.
    sweep_from: Option<Key>,
    /// The number of the present sweep. The first one reads all entries before the first pass.
    sweep: u64,
    /// Of those that can be tried: the ones that passes have to try yet.
    untried: BTreeSet<ByAge>,
    /// The other ones. It does not help to try them again before there are other tickets.
    tried: BTreeSet<ByAge>,
    /// The last match of the latest pass: the next pass goes on after it.
    last: Option<ByAge>,
    /// Matches that are not tried, or were not a short time ago.
    aside: BTreeMap<SessionId, Aside>,
    /// When all of them were last to be tried, by the time since the start of the process.
    tried_all_up_ms: i64,
    /// Those that the next pass tries, or that the last one has tried. A pass knows them by their positions.
    ready: Vec<Fillable>,
    /// Whether the pass that tries them is still to come.
    is_prepared: bool,
}

struct Match {
    created_ms: i64,
    wanted: WantedPlayers<'static>,
    /// The sweep that last found it.
    sweep: u64,
    seen: Option<Seen>,
    /// Tickets that it must not get.
    excluded: BTreeSet<Uuid>,
    /// A hash of the players who are in it or were kicked from it, as they were last seen.
    roster: u64,
}

/// Why and how long a match is set aside, by the time since the start of the process.
struct Aside {
    until_up_ms: i64,
    pause_ms: i64,
    /// Whether its host has not confirmed it. Otherwise it could not be read or filled.
    is_silent: bool,
    /// Whether it can be tried again.
    is_over: bool,
}

struct Seen {
    backfill: Arc<Backfill>,
    at_up_ms: i64,
}

impl Running {
    /// None, before they are [read](Self::read_all).
    pub fn new(profile_id: String) -> Self {
        Self {
            profile_id,
            matches: BTreeMap::new(),
            sweep_from: None,
            sweep: 0,
            untried: BTreeSet::new(),
            tried: BTreeSet::new(),
            last: None,
            aside: BTreeMap::new(),
            tried_all_up_ms: i64::MIN,
            ready: Vec::new(),
            is_prepared: false,
        }
    }

    /// Notes what a commit on this node says of a match that wants players.
    pub fn note(&mut self, id: SessionId, created_ms: i64, wanted: WantedPlayers<'static>) {
        if self.aside.get(&id).is_some_and(|aside| aside.is_silent) {
            self.aside.remove(&id);
        }
        let key = (created_ms, id);
        match self.matches.get_mut(&key.1).filter(|known| known.created_ms == created_ms) {
            Some(known) => (known.wanted, known.sweep, known.seen) = (wanted, self.sweep, None),
            None => {
                self.forget(&key.1);
                let (sweep, excluded) = (self.sweep, BTreeSet::new());
                let fresh = Match { created_ms, wanted, sweep, seen: None, excluded, roster: 0 };
                self.matches.insert(key.1.clone(), fresh);
            }
        }
        self.untried.remove(&key);
        self.tried.remove(&key);
        self.try_one(&key.1);
    }

    /// Forgets a match that wants nobody.
    pub fn forget(&mut self, id: &SessionId) {
        if let Some(known) = self.matches.remove(id) {
            let key = (known.created_ms, id.clone());
            self.untried.remove(&key);
            self.tried.remove(&key);
        }
    }

    /// Notes that the host of a match has confirmed that it wants players.
    pub fn confirmed(&mut self, id: &SessionId) {
        if self.aside.get(id).is_some_and(|aside| aside.is_silent) {
            self.aside.remove(id);
            if let Some(known) = self.matches.get_mut(id) {
                known.seen = None;
            }
            self.try_one(id);
        }
    }

    /// Reads a match again before the next pass: it is not as it was seen.
    pub fn forget_seen(&mut self, id: &SessionId) {
        if let Some(known) = self.matches.get_mut(id) {
            known.seen = None;
            self.try_one(id);
        }
    }

    /// Does not try a match for a while, because it could not be read or filled. It must not keep tickets from others.
    pub fn set_aside(&mut self, id: &SessionId, up_ms: i64) {
        let Some(known) = self.matches.get_mut(id) else { return };
        known.seen = None;
        let before = self.aside.get(id).filter(|aside| !aside.is_silent);
        let pause_ms = before.map_or(ASIDE_MS_MIN, |aside| (aside.pause_ms * 2).min(ASIDE_MS_MAX));
        self.put_aside(
            id,
            Aside { until_up_ms: up_ms + pause_ms, pause_ms, is_silent: false, is_over: false },
        );
    }

    fn put_aside(&mut self, id: &SessionId, aside: Aside) {
        self.aside.insert(id.clone(), aside);
        if let Some(known) = self.matches.get(id) {
            let key = (known.created_ms, id.clone());
            self.untried.remove(&key);
            self.tried.remove(&key);
        }
    }

    /// Tries those again that have been set aside long enough. Where other nodes may have changed matches: those, too,
    /// whose hosts may have confirmed them there, and, at intervals, all: not every change shows in the index entry.
    pub fn try_those_set_aside(&mut self, up_ms: i64, may_be_changed: bool) {
        let matches = &self.matches;
        self.aside.retain(|id, aside| {
            matches.contains_key(id) && (aside.is_silent || up_ms - aside.until_up_ms < ASIDE_MS_MAX)
        });
        let is_next = |aside: &Aside| {
            !aside.is_over && aside.until_up_ms <= up_ms && (may_be_changed || !aside.is_silent)
        };
        let next = self.aside.iter_mut().filter(|(_, aside)| is_next(aside));
        let next = next.map(|(id, aside)| {
            aside.is_over = true;
            id.clone()
        });
        for id in next.collect::<Vec<_>>() {
            self.try_one(&id);
        }
        if may_be_changed && up_ms.saturating_sub(self.tried_all_up_ms) >= SEEN_FOR_MS {
            self.tried_all_up_ms = up_ms;
            self.try_all();
        }
    }

    /// When the first of those can be tried again that could not be read or filled, by the time since the start of the
    /// process.
    pub fn next_up_ms(&self) -> Option<i64> {
        let waiting = self.aside.values().filter(|aside| !aside.is_over && !aside.is_silent);
        waiting.map(|aside| aside.until_up_ms).min()
    }

    /// Keeps tickets out of a match.
    pub fn exclude(&mut self, id: &SessionId, tickets: &[Uuid]) {
        if let Some(known) = self.matches.get_mut(id) {
            known.excluded.extend(tickets);
        }
    }

    /// Lets the next passes try all matches: there are other tickets, or tickets that accept more.
    pub fn try_all(&mut self) {
        if self.untried.is_empty() {
            std::mem::swap(&mut self.untried, &mut self.tried);
        } else {
            self.untried.append(&mut self.tried);
        }
    }

    /// Lets the next passes try a match, if players can be sent to it as far as is known.
    fn try_one(&mut self, id: &SessionId) {
        let Some(known) = self.matches.get(id).filter(|known| known.wanted.can_be_filled) else { return };
        if self.aside.get(id).is_none_or(|aside| aside.is_over) {
            let key = (known.created_ms, id.clone());
            self.tried.remove(&key);
            self.untried.insert(key);
        }
    }

    /// Whether there are matches that passes have to try yet.
    pub fn has_untried(&self) -> bool {
        !self.untried.is_empty() || self.is_prepared
    }

    /// What the next pass is given: the matches that are [ready](Self::prepare). Each has its position as its id. Tickets
    /// that do not `wait` any more need not be kept out.
    pub fn ready(&mut self, waits: impl Fn(&Uuid) -> bool) -> Vec<Backfill> {
        self.is_prepared = false;
        let with_id = |(at, fillable): (usize, &Fillable)| {
            let known = self.matches.get_mut(&fillable.session_id);
            let excluded = known.map(|known| {
                known.excluded.retain(|ticket| waits(ticket));
                known.excluded.clone()
            });
            let excluded = excluded.unwrap_or_default();
            Backfill { id: Uuid::from_u128(at as u128), excluded, ..(*fillable.seen).clone() }
        };
        self.ready.iter().enumerate().map(with_id).collect()
    }

    /// The match with this id, among those that the last pass was given.
    pub fn of_pass(&self, id: Uuid) -> Option<&Fillable> {
        self.ready.get(usize::try_from(id.as_u128()).ok()?)
    }

    /// All matches that players can be sent to, as far as passes have seen them.
    pub fn open(&self) -> Vec<Backfill> {
        let open = self
            .matches
            .iter()
            .filter(|(id, known)| known.wanted.can_be_filled && !self.aside.contains_key(*id));
        let open = open.filter_map(|(_, known)| {
            let backfill = &known.seen.as_ref()?.backfill;
            Some(Backfill { excluded: known.excluded.clone(), ..(**backfill).clone() })
        });
        open.collect()
    }

    /// Finds the matches that the next pass tries: those whose turn it is, and to which players can be sent. A session that
    /// cannot be read is not filled, and stops no other one.
    ///
    /// # Errors
    /// If the store is away.
    pub async fn prepare(&mut self, app: &App, catalog: &Catalog) -> Result<(), Failure> {
        let up_ms = app.clock.up_ms();
        let turn = self.turn();
        let must_be_read = |id: &&SessionId| {
            let known = self.matches.get(*id);
            known.is_some_and(|known| self.aside.contains_key(*id) || known.must_be_read(app, id, up_ms))
        };
        let unknown: Vec<SessionId> = turn.iter().filter(must_be_read).cloned().collect();
        let profile_id = &self.profile_id;
        let read = stream::iter(unknown).map(async |id| {
            let looked = isolate(&app.metrics, &id, look(app, catalog, profile_id, &id)).await;
            (id, looked)
        });
        let read: Vec<_> = read.buffered(SESSIONS_AT_ONCE).collect().await;
        let mut failed = Ok(());
        for (id, looked) in read {
            match looked {
                Ok(looked) => self.note_look(&id, looked, up_ms),
                Err(failure) if failure.is_of_one_session() => {
                    tracing::error!(session_id = %id, %failure, "a match cannot be read, and gets no players");
                    self.set_aside(&id, up_ms);
                }
                Err(failure) => failed = Failure::worse(failed, Err(failure)),
            }
        }
        if failed.is_err() {
            turn.iter().for_each(|id| self.try_one(id));
            return failed;
        }
        let ready = |id: SessionId| {
            let known =
                self.matches.get(&id).filter(|_| self.aside.get(&id).is_none_or(|aside| aside.is_over))?;
            Some(Fillable { seen: Arc::clone(&known.seen.as_ref()?.backfill), session_id: id })
        };
        self.ready = turn.into_iter().filter_map(ready).collect();
        self.is_prepared = !self.ready.is_empty();
        Ok(())
    }

    fn note_look(&mut self, id: &SessionId, looked: Option<Looked>, up_ms: i64) {
        let Some(known) = self.matches.get_mut(id) else { return };
        let Some(Looked { backfill, is_confirmed, roster }) = looked else {
            return self.set_aside(id, up_ms);
        };
        if known.roster != roster {
            known.excluded.clear();
        }
        known.roster = roster;
        let is_silent = !is_confirmed || backfill.is_none();
        known.seen = backfill.map(|backfill| Seen { backfill: Arc::new(backfill), at_up_ms: up_ms });
        if is_silent {
            let pause_ms = UNCONFIRMED_FOR_MS;
            self.put_aside(id, Aside { until_up_ms: up_ms + pause_ms, pause_ms, is_silent, is_over: false });
        } else if self.aside.get(id).is_some_and(|aside| aside.is_silent) {
            self.aside.remove(id);
        }
    }

    /// The matches whose turn it is, the oldest first after those of the latest pass.
    fn turn(&mut self) -> Vec<SessionId> {
        let last = self.last.take();
        let after = last.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let later = self.untried.range((after, Bound::Unbounded));
        let earlier = self.untried.iter().take_while(|key| last.as_ref().is_some_and(|last| *key <= last));
        let turn: Vec<ByAge> = later.chain(earlier).take(FILLED_AT_ONCE).cloned().collect();
        for key in &turn {
            self.untried.remove(key);
            self.tried.insert(key.clone());
        }
        // Once all have been tried, the oldest one is the first again.
        self.last = turn.last().filter(|_| !self.untried.is_empty()).cloned();
        turn.into_iter().map(|(_, id)| id).collect()
    }

    /// Reads all matches that want players of the profile.
    ///
    /// # Errors
    /// Errors of the store. The next call goes on.
    pub async fn read_all(&mut self, store: &Store) -> Result<(), Failure> {
        while self.sweep == 0 {
            self.read_on(store).await?;
        }
        Ok(())
    }

    /// Reads a step of the matches that want players of the profile. At the end of the range those are forgotten that are
    /// not in the store any more.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn read_on(&mut self, store: &Store) -> Result<(), Failure> {
        let (first, end) = keys::backfills_of(&self.profile_id);
        let from = self.sweep_from.clone().unwrap_or(first);
        let found = store.scan(&from, &end, READ_AT_ONCE).await?;
        for (key, entry) in &found {
            let Some((created_ms, id)) = keys::parse_backfill(&self.profile_id, key) else { continue };
            match WantedPlayers::decode(&entry.value) {
                Ok(wanted) => self.found(id, created_ms, wanted),
                Err(damage) => {
                    tracing::error!(session_id = %id, %damage, "a match that wants players cannot be read, and gets none");
                }
            }
        }
        let last = found.last().map(|(key, _)| key).filter(|_| found.len() == READ_AT_ONCE);
        self.sweep_from = last.map(|last| next_key(last));
        if self.sweep_from.is_none() {
            let sweep = self.sweep;
            let gone = self.matches.iter().filter(|(_, known)| known.sweep < sweep).map(|(id, _)| id.clone());
            for id in gone.collect::<Vec<_>>() {
                self.forget(&id);
            }
            self.sweep += 1;
        }
        Ok(())
    }

    fn found(&mut self, id: SessionId, created_ms: i64, wanted: WantedPlayers<'static>) {
        let is_same = |known: &&mut Match| known.wanted == wanted && known.created_ms == created_ms;
        match self.matches.get_mut(&id).filter(is_same) {
            Some(known) => known.sweep = self.sweep,
            None => self.note(id, created_ms, wanted),
        }
    }
}

impl Match {
    /// Whether the session has to be read before a pass can fill it.
    fn must_be_read(&self, app: &App, id: &SessionId, up_ms: i64) -> bool {
        let is_alone = app.sessions.store().sole_writer();
        let is_fresh = |seen: &Seen| is_alone || up_ms - seen.at_up_ms < SEEN_FOR_MS;
        let is_confirmed = || app.presence.knows_confirmation(id, &self.wanted.backfill_id);
        !self.seen.as_ref().is_some_and(is_fresh) || !is_confirmed()
    }
}

/// What was read of the session of a match.
struct Looked {
    /// What the matcher is given. `None`: players cannot be sent to it.
    backfill: Option<Backfill>,
    /// Whether its host has confirmed the backfill lately.
    is_confirmed: bool,
    /// See [`Match`].
    roster: u64,
}

/// `None`: there is no such match of the profile.
async fn look(
    app: &App,
    catalog: &Catalog,
    profile_id: &str,
    id: &SessionId,
) -> Result<Option<Looked>, Failure> {
    let Some(cached) = app.sessions.find_latest(id).await? else { return Ok(None) };
    let session = &cached.session;
    if session.backfill.as_ref().is_none_or(|backfill| backfill.profile_id != profile_id) {
        return Ok(None);
    }
    let is_confirmed = app.presence.is_backfill_confirmed(&cached).await?;
    let backfill = backfill_of(session, catalog, app.settings.version_check);
    Ok(Some(Looked { backfill, is_confirmed, roster: roster_of(session) }))
}

fn roster_of(session: &Session) -> u64 {
    let mut hasher = DefaultHasher::new();
    session.players.keys().for_each(|player| player.hash(&mut hasher));
    session.kicked.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
#[path = "running_tests.rs"]
mod tests;
