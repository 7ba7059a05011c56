//! Commits: one statement, in one round trip, that checks every expectation and makes every change, or none.
//!
//! **Why it is right.** A commit holds the lock of every key it concerns, at one moment, before it ends, and judges by
//! what the locked rows hold then. So commits that share a key happen one after the other, as if each were alone.
//! The statement (`APPLY` in [`sql`](super::sql)) sees the snapshot of its beginning; what may have come after that
//! is met so:
//!
//! - *Rows that are there* are locked in the order of their keys, by `FOR UPDATE`, which waits for whoever changes
//!   one and then gives its newest version, and none where it was deleted. Expectations are judged by these, and
//!   nothing is changed before all are locked.
//! - *A version that is expected and not there* never comes back, since no version is given twice. The conflict
//!   stands, whatever has come since.
//! - *A key expected to be absent, and put,* is locked by inserting it: the index makes that wait for whoever inserts
//!   the same key, and finds a key that the snapshot does not show. That key is not overwritten, the statement counts
//!   one insertion too few, and fails by a division by zero, which undoes all of it. The next try sees the key.
//! - *A key put without an expectation* is locked by inserting or by overwriting it.
//! - *A key that is absent and is not put* cannot be locked so. Where a commit expects one, or deletes one, it goes
//!   the long way: in a transaction whose statements are sent together and need one round trip as well, `LOCK` first
//!   gives each absent key a placeholder (version 0), `APPLY` then sees a newer snapshot, with everything locked, and
//!   `UNLOCK` takes the placeholders away. Nobody else ever sees one; whoever inserts that key waits for the end.
//!
//! This holds at READ COMMITTED, and at the higher levels of isolation, where databases refuse some of it as a
//! serialization failure. Refusals of that kind, and deadlocks, are tried again. Deadlocks need an absent key that
//! was inserted while others were on their way: all lock first what is there, in order, then what is not, in order.
//!
//! **Where the answer is lost**, the commit may have happened, may not have, or may yet happen, since what was sent can
//! lie before the server. It is simply sent again, with the same version. If it has happened, its version is there,
//! and that is the answer. If not, it happens now. It cannot happen twice where it changes a key that it expects:
//! either of the two makes the other's expectation fail, for good (but for one that a key is absent, which holds again
//! once that is deleted: what was given up must not be delivered that late, for which connections have a limit). If the expectations fail and its version is
//! nowhere, either someone else was first, or someone has changed everything since: that alone stays open, and is
//! told as [`StoreError::Unsure`]. A commit that changes nothing that it expects is not sent again; only its version is
//! looked for.
//!
//! Commits that share no key may share the statement, and its version (see [`group`](super::group)): then all are made or
//! none, and each can still be sent alone afterwards, since what is said above holds for each of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::counts::Purpose;
use super::lane::{Connector, Lane, Lanes, Session};
use super::retry::{Fault, Retry};
use super::silence::Silence;
use super::{Inner, new_version};
use crate::store::{Batch, Change, CommitError, Key, StoreError, Version};

/// What one commit expects and changes.
pub(super) struct Changes {
    pub(super) expected: Vec<(Key, Option<Version>)>,
    changed: BTreeMap<Key, Option<Bytes>>,
}

impl Changes {
    pub(super) fn of(mut batch: Batch) -> Self {
        Self { expected: std::mem::take(&mut batch.expect), changed: batch.into_changes() }
    }

    fn is_empty(&self) -> bool {
        self.expected.is_empty() && self.changed.is_empty()
    }

    fn is_put(&self, key: &[u8]) -> bool {
        self.changed.get(key).is_some_and(Option::is_some)
    }

    /// Every key that it concerns, some twice.
    pub(super) fn touched(&self) -> impl Iterator<Item = &[u8]> {
        self.changed.keys().chain(self.expected.iter().map(|(key, _)| key)).map(Vec::as_slice)
    }

    /// The values that it expects and removes, where it puts nothing beside.
    fn removed(&self) -> Vec<Key> {
        let puts = self.changed.values().any(Option::is_some);
        let is_removed = |key: &Key| self.changed.contains_key(key) && !puts;
        let expected = self.expected.iter().filter(|(_, version)| version.is_some());
        expected.map(|(key, _)| key).filter(|key| is_removed(key)).cloned().collect()
    }

    /// How much there is to write, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.changed.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Bytes::len)).sum()
    }

    /// Whether an absent key must be locked without being put.
    pub(super) fn locks_absent_keys(&self) -> bool {
        self.expected.iter().any(|(key, version)| version.is_none() && !self.is_put(key))
    }

    /// Whether making it once makes it fail from then on, so that it may be sent again.
    pub(super) fn is_repeatable(&self) -> bool {
        let undone = |(key, version): &(Key, Option<Version>)| match version {
            Some(_) => self.changed.contains_key(key),
            None => self.is_put(key),
        };
        self.changed.is_empty() || self.expected.iter().any(undone)
    }
}

/// What commits are made of, as the statement takes it.
pub(super) struct Work<'a> {
    expected_keys: Vec<&'a [u8]>,
    expected_versions: Vec<Option<i64>>,
    touched: Vec<&'a [u8]>,
    put_keys: Vec<&'a [u8]>,
    put_values: Vec<&'a [u8]>,
    new_keys: Vec<&'a [u8]>,
    deleted: Vec<&'a [u8]>,
    version: i64,
}

impl<'a> Work<'a> {
    /// Of commits that share no key, all under one version.
    pub(super) fn of(all: &[&'a Changes], version: Version) -> Self {
        let expected = || all.iter().flat_map(|changes| &changes.expected);
        let changed = || all.iter().flat_map(|changes| &changes.changed);
        let absent = expected().filter(|(_, version)| version.is_none()).map(|(key, _)| key.as_slice());
        let put = changed().filter_map(|(key, value)| Some((key.as_slice(), value.as_deref()?)));
        let (put_keys, put_values): (Vec<_>, Vec<_>) = put.unzip();
        let deleted = changed().filter(|(_, value)| value.is_none()).map(|(key, _)| key.as_slice());
        let mut touched: Vec<_> = all.iter().flat_map(|changes| changes.touched()).collect();
        touched.sort_unstable();
        touched.dedup();
        Self {
            expected_keys: expected().map(|(key, _)| key.as_slice()).collect(),
            expected_versions: expected().map(|(_, version)| version.map(stored)).collect(),
            touched,
            put_keys,
            put_values,
            new_keys: absent.collect(),
            deleted: deleted.collect(),
            version: stored(version),
        }
    }

    fn params(&self) -> [&(dyn ToSql + Sync); 8] {
        [
            &self.expected_keys,
            &self.expected_versions,
            &self.touched,
            &self.put_keys,
            &self.put_values,
            &self.new_keys,
            &self.deleted,
            &self.version,
        ]
    }
}

/// How a version is stored: drawn from 63 bits, it is never negative.
pub(super) fn stored(version: Version) -> i64 {
    version.0.cast_signed()
}

/// What the statement said.
pub(super) enum Verdict {
    /// It has been made, now or before.
    Made,
    /// The expectation at this place, from 0, does not hold.
    Conflict(usize),
    /// A key to delete is absent, and so is not locked; nothing was changed.
    Unlocked,
}

impl Verdict {
    fn of(rows: &[Row]) -> Result<Self, Fault> {
        let [row] = rows else {
            let cause = format!("a commit was answered with {} rows", rows.len());
            return Err(Fault::Failed(StoreError::Failed(cause)));
        };
        let (applied, failed, sure): (bool, Option<i64>, bool) = (row.get(0), row.get(1), row.get(2));
        Ok(match failed {
            _ if applied => Self::Made,
            Some(place) => Self::Conflict(usize::try_from(place - 1).unwrap_or_default()),
            None if !sure => Self::Unlocked,
            None => Self::Made,
        })
    }
}

impl Inner {
    /// See [`Backend::commit`](crate::store::Backend::commit).
    pub(super) async fn commit(&self, batch: Batch) -> Result<Version, CommitError> {
        batch.check_keys()?;
        let changes = Changes::of(batch);
        if changes.is_empty() {
            return Ok(new_version());
        }
        let is_watched = self.changes.receiver_count() > 0;
        let keys: Vec<_> = changes.changed.keys().filter(|_| is_watched).cloned().collect();
        let removed = changes.removed();
        let made = if changes.is_repeatable() && !changes.locks_absent_keys() {
            self.commit_together(changes).await
        } else {
            self.commit_alone(&changes).await
        };
        let version = match made {
            Err(CommitError::Store(StoreError::Unsure(cause))) if !removed.is_empty() => {
                self.look_whether_gone(&removed, cause).await?
            }
            made => made?,
        };
        if !keys.is_empty() {
            // Nobody may be listening any more.
            let _ = self.changes.send(Arc::new(Change { version, keys }));
        }
        Ok(version)
    }

    async fn commit_alone(&self, changes: &Changes) -> Result<Version, CommitError> {
        let version = new_version();
        match self.writer.make(changes, version, false, Instant::now()).await {
            Err(CommitError::Store(StoreError::Unsure(cause))) if !changes.is_repeatable() => {
                self.look_for(changes, version, cause).await
            }
            made => made.map(|()| version),
        }
    }

    /// Finds out whether a commit was made that leaves nothing behind: what it removes is gone then. It is as well where
    /// others have removed it, which comes to the same.
    async fn look_whether_gone(&self, removed: &[Key], cause: String) -> Result<Version, CommitError> {
        for key in removed {
            if self.get(key).await.map_err(|_| StoreError::Unsure(cause.clone()))?.is_some() {
                return Err(StoreError::Unsure(cause).into());
            }
        }
        Ok(new_version())
    }

    /// Finds out whether a commit that may not be sent again was made. Where its version is not found, it may still
    /// have been, or be yet.
    async fn look_for(
        &self,
        changes: &Changes,
        version: Version,
        cause: String,
    ) -> Result<Version, CommitError> {
        for key in changes.changed.keys().filter(|key| changes.is_put(key)) {
            let found = self.get(key).await.map_err(|_| StoreError::Unsure(cause.clone()))?;
            if found.is_some_and(|entry| entry.version == version) {
                return Ok(version);
            }
        }
        Err(StoreError::Unsure(cause).into())
    }
}

/// Makes commits.
pub(super) struct Writer {
    pub(super) connector: Arc<Connector>,
    lanes: Lanes,
    /// For commits that need a transaction, one at a time.
    transactions: Lane,
    alone: Mutex<()>,
    pub(super) silence: Silence,
}

impl Writer {
    pub(super) fn new(connector: &Arc<Connector>) -> Self {
        Self {
            connector: Arc::clone(connector),
            lanes: Lanes::new(connector, connector.settings().write_connections),
            transactions: Lane::new(connector),
            alone: Mutex::default(),
            silence: Silence::default(),
        }
    }

    /// Lets go of the connections; there are new ones for what comes then, unless no more are made.
    pub(super) async fn close(&self) {
        self.lanes.close().await;
        self.transactions.close().await;
    }

    /// Tries until there is an answer, or no time left for one. An answer may have been `lost` before: then a failure may
    /// be of a commit that was made.
    pub(super) async fn make(
        self: &Arc<Self>,
        changes: &Changes,
        version: Version,
        mut lost: bool,
        since: Instant,
    ) -> Result<(), CommitError> {
        let mut retry = Retry::until(since + self.connector.settings().patience);
        let mut long_way = changes.locks_absent_keys();
        let work = Work::of(&[changes], version);
        loop {
            let made =
                if long_way { self.make_the_long_way(&work).await } else { self.try_to_make(&work).await };
            let cause = match made {
                Ok(Verdict::Made) => return Ok(()),
                Ok(Verdict::Unlocked) => {
                    long_way = true;
                    continue;
                }
                Ok(Verdict::Conflict(place)) if !lost => {
                    let key = changes.expected.get(place).map(|(key, _)| key.clone()).unwrap_or_default();
                    return Err(CommitError::Conflict { key });
                }
                Ok(Verdict::Conflict(_)) => {
                    return Err(StoreError::Unsure("others have changed the same since".into()).into());
                }
                Err(Fault::Failed(error)) if !lost => return Err(error.into()),
                Err(Fault::Failed(error)) => return Err(StoreError::Unsure(error.to_string()).into()),
                Err(Fault::Lost(cause) | Fault::Unanswered(cause)) if !changes.is_repeatable() => {
                    return Err(StoreError::Unsure(cause).into());
                }
                Err(Fault::Lost(cause) | Fault::Unanswered(cause)) => {
                    lost = true;
                    cause
                }
                Err(Fault::Unreachable(cause) | Fault::Rejected(cause)) => cause,
            };
            if !retry.pause().await {
                let error = if lost { StoreError::Unsure } else { StoreError::Unavailable };
                return Err(error(cause).into());
            }
        }
    }

    pub(super) async fn try_to_make(self: &Arc<Self>, work: &Work<'_>) -> Result<Verdict, Fault> {
        self.check_open()?;
        let lane = self.lanes.take();
        let session = lane.session().await?;
        let params = work.params();
        let asked = session.client().query(&session.statements.apply, &params);
        let rows = session.run(Purpose::Commit, asked).await;
        self.note_silence(&rows);
        Verdict::of(&rows?)
    }

    /// In a transaction, alone on its connection: others' statements must not come between.
    async fn make_the_long_way(self: &Arc<Self>, work: &Work<'_>) -> Result<Verdict, Fault> {
        let _alone = self.alone.lock().await;
        self.check_open()?;
        let limit = self.connector.settings().answer_timeout();
        let made = self.make_in_transaction(&self.transactions, work, limit).await;
        self.note_silence(&made);
        made
    }

    pub(super) async fn make_in_transaction(
        &self,
        lane: &Lane,
        work: &Work<'_>,
        answer_timeout: Duration,
    ) -> Result<Verdict, Fault> {
        let session = lane.session().await?;
        let transacted = transact(&session, work);
        Verdict::of(&session.run_within(answer_timeout, Purpose::Transaction, transacted).await?)
    }

    fn check_open(&self) -> Result<(), Fault> {
        if self.connector.is_closed() { Err(Fault::Failed(StoreError::Closed)) } else { self.silence.check() }
    }

    fn note_silence<T>(self: &Arc<Self>, answered: &Result<T, Fault>) {
        if let Err(Fault::Unanswered(_)) = answered {
            self.silence.begin(self);
        }
    }
}

/// Sends everything at once, then waits for the answers. After one that fails, the server refuses the others and ends
/// the transaction as it began.
async fn transact(session: &Session, work: &Work<'_>) -> Result<Vec<Row>, tokio_postgres::Error> {
    let (client, statements) = (session.client(), &session.statements);
    let params = work.params();
    let touched: [&(dyn ToSql + Sync); 1] = [&work.touched];
    let (begun, locked, applied, unlocked, committed) = tokio::join!(
        biased;
        client.batch_execute("BEGIN"),
        client.execute(&statements.lock, &touched),
        client.query(&statements.apply, &params),
        client.execute(&statements.unlock, &touched),
        client.batch_execute("COMMIT"),
    );
    begun?;
    locked?;
    let rows = applied?;
    unlocked?;
    committed?;
    Ok(rows)
}
