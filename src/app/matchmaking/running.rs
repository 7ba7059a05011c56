//! The running matches that want players of one profile, as this node knows them.
//!
//! They are index entries of their sessions, which a start reads, and a node that shares the store reads on. What the
//! matcher needs to know beyond that is read from the session when a pass first needs it, and kept. The commit of a
//! filling compares it with the session, so what is out of date costs a conflict.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use uuid::Uuid;

use super::values::backfill_of;
use crate::app::{App, CachedSession, Catalog, Failure};
use crate::domain::SessionId;
use crate::domain::matchmaking::matcher::Backfill;
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
    /// The match with which the next pass begins; `None`: the first one.
    next: Option<SessionId>,
    /// How many matches passes have to try yet, before it helps to try one again.
    untried: usize,
    /// Those that the next pass tries, or that the last one has tried. A pass knows them by their positions.
    ready: Vec<Fillable>,
    /// Whether the pass that tries them is still to come.
    is_prepared: bool,
}

struct Match {
    wanted: WantedPlayers<'static>,
    /// The sweep that last found it.
    sweep: u64,
    seen: Option<Seen>,
    /// Tickets that it must not get.
    excluded: BTreeSet<Uuid>,
    /// Until when it is not looked at, because its host has not confirmed it; by the time since the start of the process.
    unconfirmed_until_up_ms: i64,
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
            next: None,
            untried: 0,
            ready: Vec::new(),
            is_prepared: false,
        }
    }

    /// Notes what a commit on this node says of a match. `None`: it wants nobody.
    pub fn note(&mut self, id: SessionId, wanted: Option<WantedPlayers<'static>>) {
        self.matches.remove(&id);
        if let Some(wanted) = wanted {
            self.insert(id, wanted);
        }
    }

    /// Notes that the host of a match has confirmed that it wants players.
    pub fn confirmed(&mut self, id: &SessionId) {
        if let Some(known) = self.matches.get_mut(id).filter(|known| known.unconfirmed_until_up_ms > 0) {
            known.unconfirmed_until_up_ms = 0;
            self.try_all();
        }
    }

    /// Reads a match again before the next pass: it is not as it was seen.
    pub fn forget_seen(&mut self, id: &SessionId) {
        if let Some(known) = self.matches.get_mut(id) {
            known.seen = None;
            self.try_all();
        }
    }

    /// Keeps tickets out of a match.
    pub fn exclude(&mut self, id: &SessionId, tickets: &[Uuid]) {
        if let Some(known) = self.matches.get_mut(id) {
            known.excluded.extend(tickets);
        }
    }

    /// Lets the next passes try all matches: there are other tickets, or tickets that accept more.
    pub fn try_all(&mut self) {
        self.untried = self.matches.len();
    }

    /// Whether there are matches that passes have to try yet.
    pub fn has_untried(&self) -> bool {
        self.untried > 0 || self.is_prepared
    }

    /// Tries again, in the next passes, those whose hosts may have confirmed them at another node.
    pub fn look_for_confirmations(&mut self) {
        if self.matches.values().any(|known| known.unconfirmed_until_up_ms > 0) {
            self.try_all();
        }
    }

    /// What the next pass is given: the matches that are [ready](Self::prepare). Each has its position as its id.
    pub fn ready(&mut self) -> Vec<Backfill> {
        self.is_prepared = false;
        let with_id = |(at, fillable): (usize, &Fillable)| {
            let known = self.matches.get(&fillable.session_id);
            let excluded = known.map(|known| known.excluded.clone()).unwrap_or_default();
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
        let open = self.matches.values().filter(|known| known.unconfirmed_until_up_ms == 0);
        let open = open.filter_map(|known| {
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
        let mut unknown = Vec::new();
        for id in &turn {
            let Some(known) = self.matches.get_mut(id) else { continue };
            if !known.wanted.can_be_filled {
                known.seen = None;
            } else if known.must_be_read(app, id, up_ms) && known.unconfirmed_until_up_ms <= up_ms {
                unknown.push(id.clone());
            }
        }
        let read = stream::iter(unknown).map(async |id| {
            let looked = look(app, &id).await;
            (id, looked)
        });
        for (id, looked) in read.buffered(SESSIONS_AT_ONCE).collect::<Vec<_>>().await {
            match looked {
                Ok(looked) => self.note_look(app, catalog, &id, looked),
                Err(failure) if failure.is_of_one_session() => {
                    tracing::error!(session_id = %id, %failure, "a match cannot be read, and gets no players");
                    self.matches.remove(&id);
                }
                Err(failure) => return Err(failure),
            }
        }
        let ready = |id: SessionId| {
            let known = self.matches.get(&id).filter(|known| known.unconfirmed_until_up_ms == 0)?;
            Some(Fillable { seen: Arc::clone(&known.seen.as_ref()?.backfill), session_id: id })
        };
        self.ready = turn.into_iter().filter_map(ready).collect();
        self.is_prepared = !self.ready.is_empty();
        Ok(())
    }

    fn note_look(&mut self, app: &App, catalog: &Catalog, id: &SessionId, looked: Looked) {
        let Some(known) = self.matches.get_mut(id) else { return };
        known.seen = None;
        known.excluded.clear();
        let Some((cached, is_confirmed)) = looked else {
            self.matches.remove(id);
            return;
        };
        let backfill = cached.session.backfill.as_ref();
        if backfill.is_none_or(|backfill| backfill.profile_id != self.profile_id) {
            self.matches.remove(id);
            return;
        }
        let up_ms = app.clock.up_ms();
        let found = backfill_of(&cached.session, catalog, app.settings.version_check);
        let takes_players = is_confirmed && found.is_some();
        known.unconfirmed_until_up_ms = if takes_players { 0 } else { up_ms + UNCONFIRMED_FOR_MS };
        known.seen = found.map(|backfill| Seen { backfill: Arc::new(backfill), at_up_ms: up_ms });
    }

    /// The matches whose turn it is.
    fn turn(&mut self) -> Vec<SessionId> {
        let from = self.next.take().map_or(Bound::Unbounded, Bound::Included);
        let later = self.matches.range((from.clone(), Bound::Unbounded)).map(|(id, _)| id);
        let earlier = self.matches.keys().take_while(|id| match &from {
            Bound::Included(from) => *id < from,
            _ => false,
        });
        let count = self.untried.min(FILLED_AT_ONCE).min(self.matches.len());
        let mut turn: Vec<SessionId> = later.chain(earlier).take(count + 1).cloned().collect();
        self.next = (turn.len() > count).then(|| turn.pop()).flatten();
        self.untried = self.untried.min(self.matches.len()) - count;
        turn
    }

    fn insert(&mut self, id: SessionId, wanted: WantedPlayers<'static>) {
        let fresh = Match {
            wanted,
            sweep: self.sweep,
            seen: None,
            excluded: BTreeSet::new(),
            unconfirmed_until_up_ms: 0,
        };
        self.matches.insert(id, fresh);
        self.try_all();
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
            let Some((_, id)) = keys::parse_backfill(&self.profile_id, key) else { continue };
            match WantedPlayers::decode(&entry.value) {
                Ok(wanted) => self.found(id, wanted),
                Err(damage) => {
                    tracing::error!(session_id = %id, %damage, "a match that wants players cannot be read, and gets none");
                }
            }
        }
        let last = found.last().map(|(key, _)| key).filter(|_| found.len() == READ_AT_ONCE);
        self.sweep_from = last.map(|last| next_key(last));
        if self.sweep_from.is_none() {
            let sweep = self.sweep;
            self.matches.retain(|_, known| known.sweep >= sweep);
            self.sweep += 1;
        }
        Ok(())
    }

    fn found(&mut self, id: SessionId, wanted: WantedPlayers<'static>) {
        match self.matches.get_mut(&id).filter(|known| known.wanted == wanted) {
            Some(known) => known.sweep = self.sweep,
            None => self.insert(id, wanted),
        }
    }
}

impl Match {
    /// Whether the session has to be read before a pass can fill it.
    fn must_be_read(&self, app: &App, id: &SessionId, up_ms: i64) -> bool {
        let is_alone = app.sessions.store().sole_writer();
        let is_fresh = |seen: &Seen| is_alone || up_ms - seen.at_up_ms < SEEN_FOR_MS;
        let is_confirmed = || app.presence.knows_confirmation(id, &self.wanted.backfill_id);
        self.unconfirmed_until_up_ms > 0 || !self.seen.as_ref().is_some_and(is_fresh) || !is_confirmed()
    }
}

/// A session, and whether its host has confirmed the backfill lately. `None`: it does not exist.
type Looked = Option<(Arc<CachedSession>, bool)>;

async fn look(app: &App, id: &SessionId) -> Result<Looked, Failure> {
    let Some(cached) = app.sessions.find_latest(id).await? else { return Ok(None) };
    let is_confirmed = app.presence.is_backfill_confirmed(&cached).await?;
    Ok(Some((cached, is_confirmed)))
}
