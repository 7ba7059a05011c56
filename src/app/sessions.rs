//! Sessions: load, rule, commit, with the cache that makes reads cheap.
//!
//! A change holds its session's turn from load to commit, so that writers on this node queue instead of racing
//! in the store; a reader takes no turn and waits for nobody. A change that has begun runs to its end: a caller
//! who goes away in the middle cannot leave the cache behind the store.

use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, PoisonError};

use super::Failure;
use super::cache::{Cache, PlatformKey};
use super::index;
use super::live::Live;
use super::lookup::named_session;
use super::memberships::{Change, Memberships};
use super::stripes::Stripes;
use super::to_the_end::ToTheEnd;
use crate::domain::{Platform, Refused, Session, SessionId};
use crate::store::keys::Unique;
use crate::store::{Batch, CommitError, Entry, Read, Store, StoreError, Version, keys};

/// Turns of sessions.
const TURNS: usize = 1024;
/// Turns of players: so many that few of those who come together share one.
const PLAYER_TURNS: usize = 4096;
/// How often a change begins again on fresh data before it gives up.
pub(super) const ATTEMPTS_MAX: usize = 8;
/// The part of the memory for cached sessions that players' lists take.
const MEMBERSHIPS_SHARE: u64 = 8;
/// Most sessions a player's list shows: more than the largest limits on sessions and invites come to together, or what
/// stands behind would not be counted.
pub const MEMBERSHIPS_MAX: usize = 2048;

/// What sessions may take, as the operator decided.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of memory for cached sessions and players' lists.
    pub cache_bytes: u64,
    /// Bytes of a session, as stored.
    pub session_bytes_max: usize,
    /// Sessions that a player takes part in.
    pub sessions_per_player_max: usize,
    /// Unanswered invites and reservations of a player.
    pub invites_per_player_max: usize,
}

/// A turn and what guards the cache against a slow reader: an entry read before a change must not be cached
/// after it.
#[derive(Default)]
pub(super) struct Turn {
    pub(super) writing: tokio::sync::Mutex<()>,
    changes: Mutex<u64>,
}

/// Told of a session as each change leaves it, in the order of changes: an ended one as it was at its end, also one
/// that a rule left as it was.
type Watcher = Box<dyn Fn(&Session) + Send + Sync>;

/// All sessions.
pub struct Sessions {
    store: Store,
    pub(super) limits: Limits,
    watcher: Watcher,
    cache: Cache,
    pub(super) memberships: Memberships,
    turns: Stripes<Turn>,
    pub(super) player_turns: Stripes<tokio::sync::Mutex<()>>,
}

impl Sessions {
    /// The sessions of a store, what they may take, and who is told of changes.
    pub fn new(store: Store, limits: Limits, watcher: impl Fn(&Session) + Send + Sync + 'static) -> Self {
        let cache_bytes = limits.cache_bytes;
        Self {
            store,
            limits,
            watcher: Box::new(watcher),
            cache: Cache::new(cache_bytes - cache_bytes / MEMBERSHIPS_SHARE),
            memberships: Memberships::new(cache_bytes / MEMBERSHIPS_SHARE),
            turns: Stripes::new(TURNS),
            player_turns: Stripes::new(PLAYER_TURNS),
        }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn turn(&self, id: &SessionId) -> &Turn {
        self.turns.of(id)
    }

    /// A session, as current as the store promises.
    pub async fn find(&self, id: &SessionId) -> Result<Option<Arc<Live>>, StoreError> {
        let Some(cached) = self.cache.get(id) else { return self.load(id).await };
        if self.store.sole_writer() {
            return Ok(Some(cached));
        }
        let seen = self.changes_seen(id);
        match self.store.get_if_changed(&keys::session(id), cached.version).await? {
            Read::Unchanged => Ok(Some(cached)),
            Read::Changed(entry) => self.take_in(id, entry, Arc::clone(&cached.deadline_ms), seen).map(Some),
            Read::Absent => {
                self.cache.remove(id);
                Ok(None)
            }
        }
    }

    /// A session that must be there.
    pub async fn get(&self, id: &SessionId) -> Result<Arc<Live>, Failure> {
        self.find(id).await?.ok_or(Refused::SessionNotFound.into())
    }

    /// The session that a platform session belongs to.
    pub async fn find_by_platform_session(&self, key: &PlatformKey) -> Result<Option<Arc<Live>>, StoreError> {
        if let Some(live) = self.at_hand(key.0, key.1.as_str()) {
            return Ok(Some(live));
        }
        let seen = self.cache.id_by_platform_session(key);
        if let Some(live) = self.find_linked(seen, key).await? {
            return Ok(Some(live));
        }
        let Some(entry) = self.store.get(&keys::platform_session(key.0, &key.1)).await? else {
            return Ok(None);
        };
        self.find_linked(Some(named_session(&entry.value)?), key).await
    }

    /// The session that a platform session belongs to, where it is in memory and known to be current.
    pub fn at_hand(&self, platform: Platform, platform_session: &str) -> Option<Arc<Live>> {
        let current = self.store.sole_writer();
        current.then(|| self.cache.get_by_platform_session(platform, platform_session)).flatten()
    }

    /// A session that a platform session is thought to belong to, if it does.
    async fn find_linked(
        &self,
        id: Option<SessionId>,
        key: &PlatformKey,
    ) -> Result<Option<Arc<Live>>, StoreError> {
        let Some(id) = id else { return Ok(None) };
        let live = self.find(&id).await?.filter(|live| live.session.require_linked(key.0, &key.1).is_ok());
        if let Some(live) = &live {
            self.cache.note_linked(key, live);
        }
        Ok(live)
    }

    /// Whether there is a session; cheaper than to read it.
    pub async fn exists(&self, id: &SessionId) -> Result<bool, StoreError> {
        let is_at_hand = self.store.sole_writer() && self.cache.get(id).is_some();
        Ok(is_at_hand || self.stored_deadline(id).await?.is_some())
    }

    async fn load(&self, id: &SessionId) -> Result<Option<Arc<Live>>, StoreError> {
        let seen = self.changes_seen(id);
        let Some(entry) = self.store.get(&keys::session(id)).await? else { return Ok(None) };
        let deadline_ms = self.stored_deadline(id).await?.map_or(0, |(_, ms)| ms);
        self.take_in(id, entry, Arc::new(AtomicI64::new(deadline_ms)), seen).map(Some)
    }

    /// A session's deadline as it is stored, with its version.
    pub async fn stored_deadline(&self, id: &SessionId) -> Result<Option<(Version, i64)>, StoreError> {
        let Some(entry) = self.store.get(&keys::deadline_of(id)).await? else { return Ok(None) };
        let ms = entry.value.as_ref().try_into().map(i64::from_be_bytes);
        let ms = ms.map_err(|_| StoreError::Corrupt(format!("the deadline of session {id}")))?;
        Ok(Some((entry.version, ms)))
    }

    fn changes_seen(&self, id: &SessionId) -> u64 {
        *self.turn(id).changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Caches what was read, unless something changed meanwhile.
    fn take_in(
        &self,
        id: &SessionId,
        entry: Entry,
        deadline_ms: Arc<AtomicI64>,
        seen: u64,
    ) -> Result<Arc<Live>, StoreError> {
        let stored_bytes = entry.value.len();
        let live = Arc::new(Live::new(index::decode(&entry.value)?, entry.version, deadline_ms));
        let changes = self.turn(id).changes.lock().unwrap_or_else(PoisonError::into_inner);
        if *changes == seen {
            self.cache.put(&live, stored_bytes);
        }
        Ok(live)
    }

    /// Makes a change visible on this node; `None` forgets the session.
    fn publish(&self, id: &SessionId, changed: Option<(&Arc<Live>, usize)>) {
        let mut changes = self.turn(id).changes.lock().unwrap_or_else(PoisonError::into_inner);
        *changes += 1;
        match changed {
            Some((live, stored_bytes)) => self.cache.put(live, stored_bytes),
            None => self.cache.remove(id),
        }
    }

    /// Stores a new session, unless it gives somebody more places than a player may have.
    pub async fn create(self: &Arc<Self>, session: Session, deadline_ms: i64) -> Result<Arc<Live>, Failure> {
        let sessions = Arc::clone(self);
        ToTheEnd::of(async move {
            // Others can find it, and change it, as soon as it is stored.
            let _turn = sessions.turn(&session.id).writing.lock().await;
            let _players = sessions.turns_of_given(None, &session).await?;
            let batch = index::plan(None, &session, sessions.limits.session_bytes_max)?;
            let batch = put_deadline(batch, &session.id, deadline_ms);
            sessions
                .commit(session, batch, Arc::new(AtomicI64::new(deadline_ms)))
                .await
                .map_err(Failure::from)
        })
        .await
    }

    /// Changes a session by a rule: all of the change or nothing. The rule runs again on fresh data where another node
    /// was faster, so it must not have effects of its own. Where the rule agrees and the session goes on, `kept` is told
    /// of it before the session's turn is over, so that nobody ends it as idle in between.
    ///
    /// Answers what the rule answered, and the session as it is now; an ended one as it was at its end.
    pub async fn update<T, R, K>(
        self: &Arc<Self>,
        id: &SessionId,
        rule: R,
        kept: K,
    ) -> Result<(T, Arc<Live>), Failure>
    where
        T: Send + 'static,
        R: FnMut(&mut Session) -> Result<T, Refused> + Send + 'static,
        K: Fn(&Live) + Send + 'static,
    {
        self.update_within(self.limits.session_bytes_max, id, rule, kept).await
    }

    /// The same with a limit of its own on the bytes that the session takes as stored.
    pub(super) async fn update_within<T, R, K>(
        self: &Arc<Self>,
        bytes_max: usize,
        id: &SessionId,
        rule: R,
        kept: K,
    ) -> Result<(T, Arc<Live>), Failure>
    where
        T: Send + 'static,
        R: FnMut(&mut Session) -> Result<T, Refused> + Send + 'static,
        K: Fn(&Live) + Send + 'static,
    {
        let (sessions, id) = (Arc::clone(self), id.clone());
        ToTheEnd::of(async move {
            let _turn = sessions.turn(&id).writing.lock().await;
            sessions.update_in_turn(bytes_max, &id, rule, kept).await
        })
        .await
    }

    /// Changes a session by a rule that looks at another one, as that is once the first one's turn has come. The other's
    /// turn is not taken: whoever may change the one might hold it up at will.
    pub async fn update_beside<T, R, K>(
        self: &Arc<Self>,
        id: &SessionId,
        other: &SessionId,
        mut rule: R,
        kept: K,
    ) -> Result<(T, Arc<Live>), Failure>
    where
        T: Send + 'static,
        R: FnMut(&mut Session, &Session) -> Result<T, Refused> + Send + 'static,
        K: Fn(&Live) + Send + 'static,
    {
        let (sessions, id, other) = (Arc::clone(self), id.clone(), other.clone());
        ToTheEnd::of(async move {
            let _turn = sessions.turn(&id).writing.lock().await;
            let beside = sessions.get(&other).await?;
            let rule = |session: &mut Session| rule(session, &beside.session);
            sessions.update_in_turn(sessions.limits.session_bytes_max, &id, rule, kept).await
        })
        .await
    }

    /// Ends a session if nobody has asked for it in time; takes a stale place in the queue away.
    pub async fn expire(self: &Arc<Self>, id: &SessionId, due_ms: i64, now_ms: i64) -> Result<bool, Failure> {
        let (sessions, id) = (Arc::clone(self), id.clone());
        ToTheEnd::of(async move {
            let _turn = sessions.turn(&id).writing.lock().await;
            let stored = sessions.stored_deadline(&id).await?.map(|(_, ms)| ms);
            let live = sessions.find(&id).await?;
            if stored != Some(due_ms) || live.is_none() {
                sessions.store.commit(Batch::default().delete(keys::due(due_ms, &id))).await?;
                return Ok(false);
            }
            if live.is_some_and(|live| live.deadline_ms() > now_ms) {
                return Ok(false);
            }
            let end = |session: &mut Session| {
                session.end();
                Ok(())
            };
            match sessions.update_in_turn(usize::MAX, &id, end, |_| {}).await {
                // Another node was faster.
                Err(Failure::Refused(Refused::SessionNotFound)) => Ok(false),
                ended => ended.map(|_| true),
            }
        })
        .await
    }

    /// Moves a session's stored deadline; a session that ended meanwhile stays ended.
    pub async fn move_deadline(self: &Arc<Self>, id: &SessionId, deadline_ms: i64) -> Result<(), Failure> {
        let (sessions, id) = (Arc::clone(self), id.clone());
        ToTheEnd::of(async move {
            let _turn = sessions.turn(&id).writing.lock().await;
            let Some((version, old_ms)) = sessions.stored_deadline(&id).await? else { return Ok(()) };
            if deadline_ms <= old_ms {
                return Ok(());
            }
            let batch = Batch::default().expect_version(keys::deadline_of(&id), version);
            let batch = put_deadline(batch.delete(keys::due(old_ms, &id)), &id, deadline_ms);
            match sessions.store.commit(batch).await {
                // Another node moved it or ended the session: it is not ours to move any more.
                Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
                Err(CommitError::Store(error)) => Err(error.into()),
            }
        })
        .await
    }

    async fn update_in_turn<T, R, K>(
        &self,
        bytes_max: usize,
        id: &SessionId,
        mut rule: R,
        kept: K,
    ) -> Result<(T, Arc<Live>), Failure>
    where
        R: FnMut(&mut Session) -> Result<T, Refused>,
        K: Fn(&Live),
    {
        for _ in 0..ATTEMPTS_MAX {
            let before = self.get(id).await?;
            let mut after = before.session.clone();
            let answer = rule(&mut after)?;
            if after == before.session {
                (self.watcher)(&before.session);
                kept(&before);
                return Ok((answer, before));
            }
            let _players = self.turns_of_given(Some(&before.session), &after).await?;
            let mut batch = index::plan(Some((&before.session, before.version)), &after, bytes_max)?;
            if after.ended {
                batch = self.without_deadline(batch, id).await?;
            }
            match self.commit(after, batch, Arc::clone(&before.deadline_ms)).await {
                Ok(live) => {
                    if !live.session.ended {
                        kept(&live);
                    }
                    return Ok((answer, live));
                }
                Err(CommitError::Conflict { key }) => {
                    if let Some(unique) = keys::unique(&key) {
                        return Err(taken(unique).into());
                    }
                }
                Err(CommitError::Store(error)) => return Err(error.into()),
            }
        }
        Err(Failure::Contended)
    }

    /// The commit that also takes an ended session's deadline away, and what nodes heard of it.
    async fn without_deadline(&self, batch: Batch, id: &SessionId) -> Result<Batch, StoreError> {
        let Some((version, ms)) = self.stored_deadline(id).await? else { return Ok(batch) };
        let (deadline, due) = (keys::deadline_of(id), keys::due(ms, id));
        let batch = batch.expect_version(deadline.clone(), version).delete(deadline).delete(due);
        let heard = keys::heard(id);
        let is_heard = !self.store.sole_writer() && self.store.get(&heard).await?.is_some();
        Ok(if is_heard { batch.delete(heard) } else { batch })
    }

    /// Commits a session's new state, then shows it. After a failure nothing is known for sure, so the session
    /// is forgotten and read again.
    async fn commit(
        &self,
        session: Session,
        batch: Batch,
        deadline_ms: Arc<AtomicI64>,
    ) -> Result<Arc<Live>, CommitError> {
        let id = session.id.clone();
        let stored_bytes = batch.put.first().map_or(0, |(_, value)| value.len());
        let places = Change::of(&batch);
        match self.store.commit(batch).await {
            Ok(version) => {
                self.memberships.committed(places);
                let ended = session.ended;
                (self.watcher)(&session);
                let live = Arc::new(Live::new(session, version, deadline_ms));
                self.publish(&id, (!ended).then_some((&live, stored_bytes)));
                Ok(live)
            }
            Err(error) => {
                self.memberships.forget(&places);
                self.publish(&id, None);
                Err(error)
            }
        }
    }
}

/// The refusal where another session has what one alone can have.
fn taken(unique: Unique) -> Refused {
    match unique {
        Unique::PlatformSession => Refused::PlatformSessionInUse,
        Unique::ShortCode => Refused::ShortCodeTaken,
        Unique::Allocation => Refused::AllocationInUse,
    }
}

fn put_deadline(batch: Batch, id: &SessionId, deadline_ms: i64) -> Batch {
    let deadline = deadline_ms.to_be_bytes().to_vec();
    batch.put(keys::deadline_of(id), deadline).put(keys::due(deadline_ms, id), bytes::Bytes::new())
}
