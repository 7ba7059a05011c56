//! Deserters: what game servers say about players who left matches. A status counts until all statuses of its kind are
//! cleared. A clear is one write, whatever the number of players: it raises the number of clears of the kind, and a
//! status says how many clears came before it. The commit of a status expects that number as it was read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use uuid::Uuid;

use super::Failure;
use super::passes::{Passes, Step};
use super::sessions::{ATTEMPTS_MAX, HookWrites, Sessions};
use crate::domain::PlayerUuid;
use crate::domain::matchmaking::deserter::{Bans, DeserterClears, DeserterReport, DeserterStatus};
use crate::env::Clock;
use crate::records::{deserter as record, keys};
use crate::store::{Batch, CommitError, Entry, Key, StoreError, prefix_end};

/// Most reads of the store at the same time, for one request.
const READS_AT_ONCE: usize = 64;
/// Most statuses of a player that are deleted together: more kinds than configurations have had.
const DELETED_AT_ONCE: usize = 4_096;
/// Statuses that a round of the job reads.
const READ_AT_ONCE: usize = 256;
/// The time from the start of a pass over all statuses until the next one starts, in milliseconds.
const PASS_EVERY_MS: i64 = 86_400_000;
/// How long a status stays after it has ended, in milliseconds.
const KEPT_MS: i64 = 30 * 86_400_000;

/// The deserters of all kinds.
pub struct Deserters {
    /// Has the store, and checks the clock.
    sessions: Arc<Sessions>,
    clock: Clock,
    passes: Passes,
}

/// The clears of a kind as they were read, and a batch that expects them so.
struct ReadClears {
    count: u64,
    expected: Batch,
}

impl Deserters {
    /// The deserters in the store of the sessions.
    pub fn new(sessions: Arc<Sessions>, clock: Clock) -> Self {
        Self { sessions, clock, passes: Passes::every_ms(PASS_EVERY_MS) }
    }

    /// The status of a player for a kind of desertion; `None` if there is none, or if it was cleared.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn status(&self, player: PlayerUuid, kind: Uuid) -> Result<Option<DeserterStatus>, StoreError> {
        let Some(entry) = self.sessions.store().get(&keys::deserter(player, kind)).await? else {
            return Ok(None);
        };
        let status = record::decode(&entry.value)?;
        // Read after the status: a clear that came between the two reads has cleared this status.
        let clears = self.clears(kind).await?.map_or(0, |clears| clears.count);
        Ok(Some(status).filter(|status| status.clears == clears))
    }

    /// The statuses of a player for these kinds, by kind, without those that were cleared.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn statuses(
        &self,
        player: PlayerUuid,
        kinds: impl Iterator<Item = Uuid>,
    ) -> Result<BTreeMap<Uuid, DeserterStatus>, StoreError> {
        let statuses = self.statuses_of(kinds.map(|kind| (player, kind)).collect()).await?;
        Ok(statuses.into_iter().map(|((_, kind), status)| (kind, status)).collect())
    }

    /// Until when these players may not queue, for these kinds.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn bans(&self, players: &[PlayerUuid], kinds: &BTreeSet<Uuid>) -> Result<Bans, StoreError> {
        let pairs = players.iter().flat_map(|player| kinds.iter().map(|kind| (*player, *kind)));
        let statuses = self.statuses_of(pairs.collect()).await?;
        let expirations = statuses.into_iter().map(|(whose, status)| (whose, status.report.expiration));
        Ok(Bans::new(players.iter().copied(), expirations))
    }

    async fn statuses_of(
        &self,
        pairs: Vec<(PlayerUuid, Uuid)>,
    ) -> Result<Vec<((PlayerUuid, Uuid), DeserterStatus)>, StoreError> {
        let read = |(player, kind)| async move {
            let status = self.status(player, kind).await?;
            Ok::<_, StoreError>(status.map(|status| ((player, kind), status)))
        };
        let found: Vec<_> =
            stream::iter(pairs).map(read).buffer_unordered(READS_AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// When these kinds were last cleared, by kind.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn last_cleared(
        &self,
        kinds: impl Iterator<Item = Uuid>,
    ) -> Result<BTreeMap<Uuid, Timestamp>, StoreError> {
        let mut cleared = BTreeMap::new();
        for kind in kinds {
            if let Some(clears) = self.clears(kind).await? {
                cleared.insert(kind, clears.last);
            }
        }
        Ok(cleared)
    }

    /// Stores what a game server says of a player. It replaces what was said before. `also` are further writes of the
    /// commit.
    ///
    /// # Errors
    /// [`Failure::Repeated`] if the answer to the request is stored already; [`Failure::Contended`] if clears of the
    /// kind came first in 8 attempts; errors of the store, also if this node's clock is wrong.
    pub async fn put(
        &self,
        player: PlayerUuid,
        kind: Uuid,
        report: DeserterReport,
        also: impl Fn(&DeserterStatus) -> HookWrites,
    ) -> Result<DeserterStatus, Failure> {
        for _ in 0..ATTEMPTS_MAX {
            let last_updated = self.sessions.right_time().await?;
            let ReadClears { count: clears, expected } = self.read_clears(kind).await?;
            let status = DeserterStatus { report: report.clone(), last_updated, clears };
            let batch = expected.put(keys::deserter(player, kind), record::encode(&status));
            if self.commit(batch.and(also(&status))).await? {
                return Ok(status);
            }
        }
        Err(Failure::Contended)
    }

    /// Deletes the status of a player for a kind of desertion, if there is one.
    ///
    /// # Errors
    /// As for [`put`](Self::put).
    pub async fn delete(&self, player: PlayerUuid, kind: Uuid, also: HookWrites) -> Result<(), Failure> {
        let batch = Batch::default().delete(keys::deserter(player, kind)).and(also);
        self.commit(batch).await?.then_some(()).ok_or(Failure::Contended)
    }

    /// Deletes all statuses of a player, also those of kinds that the configuration does not have any more.
    ///
    /// # Errors
    /// As for [`put`](Self::put).
    pub async fn delete_all(&self, player: PlayerUuid, also: HookWrites) -> Result<(), Failure> {
        let prefix = keys::deserters_of(player);
        let found = self.sessions.store().scan(&prefix, &prefix_end(&prefix), DELETED_AT_ONCE).await?;
        let batch = found.into_iter().fold(Batch::default(), |batch, (key, _)| batch.delete(key)).and(also);
        if batch.is_empty() {
            return Ok(());
        }
        self.commit(batch).await?.then_some(()).ok_or(Failure::Contended)
    }

    /// Clears all statuses of these kinds, in one commit.
    ///
    /// # Errors
    /// As for [`put`](Self::put).
    pub async fn clear(&self, kinds: &[Uuid], also: HookWrites) -> Result<(), Failure> {
        for _ in 0..ATTEMPTS_MAX {
            let last = self.sessions.right_time().await?;
            let mut batch = also.clone();
            for kind in kinds {
                let ReadClears { count, expected } = self.read_clears(*kind).await?;
                let cleared = record::encode_clears(DeserterClears { count: count.saturating_add(1), last });
                batch = batch.and(expected.put(keys::deserters_cleared(*kind), cleared));
            }
            if batch.is_empty() || self.commit(batch).await? {
                return Ok(());
            }
        }
        Err(Failure::Contended)
    }

    /// Deletes the statuses that ended long ago. Each call looks at the next statuses of a pass, and does nothing until
    /// a pass is due. Returns whether it deleted any and more are left to look at.
    ///
    /// # Errors
    /// [`StoreError::ClockSkew`] if this node's clock is wrong; other errors of the store.
    pub async fn forget_old(&self) -> Result<bool, Failure> {
        let statuses = || vec![keys::all_deserters()];
        let Some(next) = self.passes.next(self.clock.up_ms(), statuses) else { return Ok(false) };
        let now_ms = self.sessions.check_clock().await?;
        let Step { found, has_more } = self.passes.read(self.sessions.store(), next, READ_AT_ONCE).await?;
        // After a step of the clock it is not known what is old.
        let Some(kept_from_ms) = self.sessions.time_ago(now_ms, KEPT_MS) else { return Ok(false) };
        let (mut batch, mut outcome) = (Batch::default(), Ok(()));
        for (key, entry) in found {
            match record::decode(&entry.value) {
                Ok(status) if status.ends().as_millisecond() <= kept_from_ms => {
                    batch = batch.and(without(key, &entry));
                }
                Ok(_) => {}
                Err(error) => outcome = Failure::worse(outcome, Err(error.into())),
            }
        }
        // If a report of a game server was faster, the next pass finds the others again.
        let has_deleted = !batch.is_empty() && self.commit(batch).await?;
        outcome.map(|()| has_deleted && has_more)
    }

    async fn clears(&self, kind: Uuid) -> Result<Option<DeserterClears>, StoreError> {
        let entry = self.sessions.store().get(&keys::deserters_cleared(kind)).await?;
        entry.map(|entry| record::decode_clears(&entry.value)).transpose()
    }

    async fn read_clears(&self, kind: Uuid) -> Result<ReadClears, StoreError> {
        let key = keys::deserters_cleared(kind);
        Ok(match self.sessions.store().get(&key).await? {
            Some(entry) => ReadClears {
                count: record::decode_clears(&entry.value)?.count,
                expected: Batch::default().expect_version(key, entry.version),
            },
            None => ReadClears { count: 0, expected: Batch::default().expect_absent(key) },
        })
    }

    /// Returns whether the expectations of the batch held.
    async fn commit(&self, batch: Batch) -> Result<bool, Failure> {
        match self.sessions.store().commit(batch).await {
            Ok(_) => Ok(true),
            Err(CommitError::Conflict { key }) if keys::is_answer(&key) => Err(Failure::Repeated),
            Err(CommitError::Conflict { .. }) => Ok(false),
            Err(CommitError::Store(error)) => Err(error.into()),
        }
    }
}

/// Deletes an entry, if it is as it was read.
fn without(key: Key, entry: &Entry) -> Batch {
    Batch::default().expect_version(key.clone(), entry.version).delete(key)
}
