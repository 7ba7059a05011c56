//! What nodes tell each other of whom they heard: players ask, and hosts report, at any node, and the node that would
//! take them out for their silence must know. Only where several nodes serve one store.
//!
//! A session's last_seen is a value of its own beside it, since hearing changes no session. Whoever writes it adds to what
//! is there, so that nothing that was heard is lost, whoever writes last.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use futures_util::future::{join_all, try_join_all};
use serde::{Deserialize, Serialize};

use crate::app::sessions::ATTEMPTS_MAX;
use crate::app::sessions::cached::CachedSession;
use crate::app::{App, Failure};
use crate::document::Document;
use crate::domain::instance::Health;
use crate::domain::instance::health::{HealthRules, Reports};
use crate::domain::{PlayerUuid, SessionId};
use crate::records::keys;
use crate::store::{Batch, CommitError, Entry, Key, StoreError, next_key};

/// Sessions that nodes are told of at once.
const SYNCED_AT_ONCE: usize = 64;
/// Sessions read at once: what clients ask for must not wait long behind them.
const READ_AT_ONCE: usize = 128;
/// Sessions looked at in each round for any that nobody watches since another node is gone.
pub const SCANNED_AT_ONCE: usize = 2_048;

/// What was heard of a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LastSeen {
    /// When each player asked for it last, ms since the epoch.
    pub asked_ms: BTreeMap<PlayerUuid, i64>,
    /// What its instance reported.
    pub reports: Option<(String, Reports)>,
}

impl LastSeen {
    /// Adds what was heard elsewhere. Of two instances the one that was heard last counts.
    pub fn merge(&mut self, other: Self, rules: &HealthRules) {
        for (player, ms) in other.asked_ms {
            let asked_ms = self.asked_ms.entry(player).or_insert(ms);
            *asked_ms = ms.max(*asked_ms);
        }
        self.reports = match (self.reports.take(), other.reports) {
            (Some((id, one)), Some((other_id, other))) if id == other_id => {
                Some((id, one.merge(other, rules)))
            }
            (one, other) => [one, other].into_iter().flatten().max_by_key(|(_, reports)| reports.last_ms()),
        };
    }

    fn decode(entry: &Entry) -> Result<Self, StoreError> {
        let corrupt = |error| StoreError::Corrupt(format!("what was heard of a session: {error}"));
        serde_json::from_slice(&entry.value).map_err(corrupt)
    }
}

impl App {
    /// Takes in what other nodes heard of a session.
    pub async fn hear(&self, id: &SessionId) -> Result<(), StoreError> {
        if self.sessions.store().sole_writer() {
            return Ok(());
        }
        if let Some(entry) = self.sessions.store().get(&keys::last_seen(id)).await? {
            self.presence.take_in(id, LastSeen::decode(&entry)?);
        }
        Ok(())
    }

    /// Takes an instance's report in; answers how well it is held to be now.
    pub async fn health_report(
        &self,
        cached: &CachedSession,
        instance_id: &str,
        health: Health,
    ) -> Result<Health, Failure> {
        let now_ms = self.clock.now_ms();
        self.presence.look_at(&cached.session, now_ms);
        // The reports before this one may have come to other nodes.
        self.hear(&cached.session.id).await?;
        let judged = self.presence.health_report(&cached.session, instance_id, health, now_ms);
        let known = cached.session.instance.as_ref().and_then(|instance| instance.health);
        if known != Some(health) {
            self.sync_now(&cached.session.id).await?;
        }
        Ok(judged)
    }

    /// Tells other nodes at once what must not be lost with this one: else they would go by what was said before.
    async fn sync_now(&self, id: &SessionId) -> Result<(), Failure> {
        if self.sessions.store().sole_writer() {
            return Ok(());
        }
        for _ in 0..ATTEMPTS_MAX {
            let Some(last_seen) = self.presence.last_seen_of(id) else { return Ok(()) };
            if self.tell(id, &last_seen).await? {
                return Ok(());
            }
        }
        Err(Failure::Contended)
    }

    /// Tells other nodes what was heard here, and watches over sessions that they may have left. What fails is tried
    /// again next time.
    pub async fn sync_presence(&self) -> Result<(), Failure> {
        if self.sessions.store().sole_writer() {
            return Ok(());
        }
        let mut result = Ok(());
        for news in self.presence.take_unsynced(self.clock.now_ms()).chunks(SYNCED_AT_ONCE) {
            if result.as_ref().is_err_and(Failure::is_store_away) {
                news.iter().for_each(|(id, _)| self.presence.sync_again(id));
                continue;
            }
            let told = news.iter().map(|(id, last_seen)| self.tell(id, last_seen));
            for ((id, _), told) in news.iter().zip(join_all(told).await) {
                if told.as_ref().is_ok_and(|told| *told) {
                    continue;
                }
                self.presence.sync_again(id);
                result = result.and(told.map(drop));
            }
        }
        result.and(self.watch_orphans().await)
    }

    /// Adds to what is stored of a session; `false` where another node was faster.
    async fn tell(&self, id: &SessionId, last_seen: &LastSeen) -> Result<bool, Failure> {
        let Some(cached) = self.sessions.find_latest(id).await? else {
            self.presence.forget(id);
            return Ok(true);
        };
        let key = keys::last_seen(id);
        // Of a session that has ended nothing may be left behind.
        let batch = Batch::default().expect_version(keys::session(id), cached.version);
        let (batch, mut known) = match self.sessions.store().get(&key).await? {
            Some(entry) => (batch.expect_version(key.clone(), entry.version), LastSeen::decode(&entry)?),
            None => (batch.expect_absent(key.clone()), LastSeen::default()),
        };
        known.merge(last_seen.clone(), &self.settings.health);
        known.asked_ms.retain(|player, _| cached.is_active(*player));
        match self.sessions.store().commit(batch.put(key, Document::render(&known))).await {
            Ok(_) => Ok(true),
            Err(CommitError::Conflict { .. }) => Ok(false),
            Err(CommitError::Store(error)) => Err(error.into()),
        }
    }

    /// Watches over a few more of the sessions that silence can change: in time over all of them, also those that were
    /// watched by a node that is gone.
    async fn watch_orphans(&self) -> Result<(), Failure> {
        let (start, end) = keys::all_watched();
        let from = self.watch_cursor().take().unwrap_or(start);
        let found = self.sessions.store().scan(&from, &end, SCANNED_AT_ONCE).await?;
        let found_ids = found.iter().filter_map(|(key, _)| keys::parse_watched(key));
        self.watch(found_ids.filter(|id| !self.presence.watches(id)).collect()).await?;
        let is_last = found.len() < SCANNED_AT_ONCE;
        *self.watch_cursor() = found.last().filter(|_| !is_last).map(|(last, _)| next_key(last));
        Ok(())
    }

    /// Watches over these sessions from now on, those of them that are there.
    pub async fn watch(&self, ids: Vec<SessionId>) -> Result<(), StoreError> {
        for ids in ids.chunks(READ_AT_ONCE) {
            let watching = ids.iter().map(async |id| {
                if let Some(cached) = self.sessions.find(id).await? {
                    self.presence.look_at(&cached.session, self.clock.now_ms());
                }
                Ok::<_, StoreError>(())
            });
            try_join_all(watching).await?;
        }
        Ok(())
    }

    fn watch_cursor(&self) -> MutexGuard<'_, Option<Key>> {
        self.watch_cursor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
