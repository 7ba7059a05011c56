//! Which nodes are alive, and which allocators they serve. Servers may run on the node that was given them; then the
//! other nodes must know whether it will come back to them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use uuid::Uuid;

use super::Launches;
use crate::app::Failure;
use crate::records::keys;
use crate::records::launch::NodeRecord;
use crate::store::{Batch, Key, StoreError, Version};

/// How often a node says that it is alive.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// How long a node counts as alive after that, in milliseconds.
const ALIVE_MS: i64 = 30_000;
/// How long the record of a lost node stays after that, in milliseconds. It means no more than no record.
const LOST_MS: i64 = 3_600_000;
/// How often such records are deleted.
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// Most records of nodes that are read.
const NODES_MAX: usize = 10_000;
/// The difference that the clocks of two nodes may have, in milliseconds.
const SKEW_MS: i64 = 10_000;

impl Launches {
    /// Says that this node is alive, if other nodes may care, and thereby holds its id. `None` if that is done.
    /// Otherwise a node with this id and another data directory counts as alive: the version of its record, which
    /// changes when that node says again that it is alive.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn hold_id(&self) -> Result<Option<Version>, Failure> {
        while !self.is_alone() {
            let stored = self.stored_node().await?;
            let other = stored.as_ref().filter(|(_, record)| {
                let is_other = |record: &NodeRecord| record.directory != self.directory;
                record.as_ref().is_some_and(|record| is_other(record) && !self.is_silent_for(record, 0))
            });
            if let Some((version, _)) = other {
                return Ok(Some(*version));
            }
            let (key, clock_ms) = (keys::node(self.node), self.clock.now_ms());
            let record = NodeRecord {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                clock_ms,
                alive_until_ms: clock_ms + ALIVE_MS,
                allocators: self.served.keys().cloned().collect(),
                directory: self.directory.clone(),
                matches: false,
                profiles: Vec::new(),
            };
            let writes = match stored {
                Some((version, _)) => Batch::default().expect_version(key.clone(), version),
                None => Batch::default().expect_absent(key.clone()),
            };
            if self.commit(writes.put(key, record.encode())).await? {
                break;
            }
        }
        Ok(None)
    }

    /// Holds the id of this node, from time to time. Returns whether this node has it for itself.
    pub(super) async fn say_alive(&self) -> Result<bool, Failure> {
        if !self.is_alone() && self.is_time(&self.said_alive_up_ms, SAY_EVERY) {
            let held = self.hold_id().await;
            if held.is_err() {
                self.said_alive_up_ms.store(i64::MIN, Ordering::Relaxed);
            }
            let has_id = held?.is_none();
            self.has_id.store(has_id, Ordering::Relaxed);
            if !has_id {
                tracing::error!(
                    node = %self.node,
                    "another server has the id of this node, so this one launches nothing: stop the one whose \
                     data directory is a copy, and delete node-id and servers there"
                );
            }
        }
        Ok(self.has_id.load(Ordering::Relaxed))
    }

    /// Says that this node stops.
    pub(super) async fn say_goodbye(&self) -> Result<(), Failure> {
        if self.is_alone() {
            return Ok(());
        }
        match self.stored_node().await? {
            Some((version, Some(record))) if record.directory == self.directory => {
                let key = keys::node(self.node);
                let writes = Batch::default().expect_version(key.clone(), version).delete(key);
                self.commit(writes).await.map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Whether no other node can care for this one.
    fn is_alone(&self) -> bool {
        self.served.is_empty() || self.sessions.store().sole_writer()
    }

    /// The stored record of this node, if it can be read, and its version.
    async fn stored_node(&self) -> Result<Option<(Version, Option<NodeRecord>)>, Failure> {
        let key = keys::node(self.node);
        let entry = self.sessions.store().get(&key).await?;
        Ok(entry.map(|entry| (entry.version, decoded(&key, &entry.value))))
    }

    /// Whether a node has stopped, or has not said for long that it is alive.
    pub(super) async fn is_gone(&self, node: Uuid) -> Result<bool, Failure> {
        let entry = self.sessions.store().get(&keys::node(node)).await?;
        let record = entry.and_then(|entry| decoded(&keys::node(node), &entry.value));
        Ok(record.is_none_or(|record| self.is_silent_for(&record, 0)))
    }

    /// Whether a node that is alive serves an allocator.
    pub(super) async fn is_served(&self, allocator: &str) -> Result<bool, Failure> {
        if self.serves(allocator) {
            return Ok(true);
        }
        if self.sessions.store().sole_writer() {
            return Ok(false);
        }
        let mut records = self.nodes().await?.into_iter().filter_map(|(_, _, record)| record);
        Ok(records.any(|record| {
            !self.is_silent_for(&record, 0) && record.allocators.iter().any(|name| name == allocator)
        }))
    }

    /// Deletes the records of nodes that are lost for long, or that cannot be read, once a minute.
    pub(super) async fn forget_nodes(&self) -> Result<(), Failure> {
        if !self.is_time(&self.forgot_nodes_up_ms, FORGET_EVERY) {
            return Ok(());
        }
        for (key, version, record) in self.nodes().await? {
            if record.is_none_or(|record| self.is_silent_for(&record, LOST_MS)) {
                self.commit(Batch::default().expect_version(key.clone(), version).delete(key)).await?;
            }
        }
        Ok(())
    }

    async fn nodes(&self) -> Result<Vec<(Key, Version, Option<NodeRecord>)>, Failure> {
        let (start, end) = keys::all_nodes();
        let found = self.sessions.store().scan(&start, &end, NODES_MAX).await?;
        let nodes = found.into_iter().map(|(key, entry)| {
            let record = decoded(&key, &entry.value);
            (key, entry.version, record)
        });
        Ok(nodes.collect())
    }

    /// Whether a node should have said so long ago that it is alive, in milliseconds.
    fn is_silent_for(&self, record: &NodeRecord, ms: i64) -> bool {
        record.alive_until_ms.saturating_add(SKEW_MS).saturating_add(ms) < self.clock.now_ms()
    }
}

fn decoded(key: &Key, value: &[u8]) -> Option<NodeRecord> {
    let decoded = NodeRecord::decode(value);
    // A node that is alive replaces its record within seconds. If it is not, nobody else would ever do it.
    let log = |damage: &StoreError| {
        let node = keys::parse_node(key);
        tracing::error!(?node, %damage, "the record of a node cannot be read; the node counts as gone");
    };
    decoded.inspect_err(log).ok()
}
