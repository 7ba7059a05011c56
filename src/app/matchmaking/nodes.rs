//! Which node matches which profile, if several nodes share the store. There is no leader and no lock: each node says at
//! intervals that it is alive and which profiles it has, and for each profile all nodes prefer the same one of those that
//! are alive and have it. Nodes that disagree for a moment cost conflicts, and nothing else: the commit of a match decides.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::app::{App, Failure};
use crate::records::keys;
use crate::records::launch::NodeRecord;
use crate::store::{Batch, Entry, Key, Version};

/// How often a node says that it is alive, in milliseconds.
pub const SAY_EVERY_MS: i64 = 1_000;
/// How long the record of a lost node stays, in milliseconds.
const LOST_MS: i64 = 60_000;
/// The difference that the clocks of two nodes may have, in milliseconds.
const SKEW_MS: i64 = 10_000;
/// Most records of nodes that are read.
const NODES_MAX: usize = 10_000;

/// The nodes with a matcher, as this one knows them.
pub struct Nodes {
    /// Names this process. A restart is another node: it has nothing of what the earlier one had in memory.
    own: Uuid,
    timeout_ms: i64,
    /// The profiles whose matches this node makes.
    profiles: BTreeSet<String>,
    others: BTreeMap<Uuid, Other>,
    said_up_ms: Option<i64>,
    has_left: bool,
}

/// Another node.
#[derive(Debug)]
struct Other {
    /// The version of its record. The node is alive for as long as it changes.
    version: Version,
    /// When this node first saw that version: clocks of nodes differ, so they are not compared.
    seen_up_ms: i64,
    is_alive: bool,
    profiles: BTreeSet<String>,
}

impl Nodes {
    /// This node alone.
    pub fn new(own: Uuid, timeout_ms: i64) -> Self {
        Self {
            own,
            timeout_ms,
            profiles: BTreeSet::new(),
            others: BTreeMap::new(),
            said_up_ms: None,
            has_left: false,
        }
    }

    /// Whether this node should match a profile that it has.
    pub fn prefer_this(&self, profile_id: &str) -> bool {
        let weight = |node: &Uuid| {
            let mut hash = Sha256::new();
            hash.update(node.as_bytes());
            hash.update(profile_id.as_bytes());
            (<[u8; 32]>::from(hash.finalize()), *node)
        };
        let others =
            self.others.iter().filter(|(_, other)| other.is_alive && other.profiles.contains(profile_id));
        let own = weight(&self.own);
        others.map(|(node, _)| weight(node)).all(|other| other < own)
    }

    /// Says that this node is alive and makes the matches of these profiles, and reads which others are. Does nothing if
    /// the store has no other nodes, or if it was done lately.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn meet(&mut self, app: &App, profiles: BTreeSet<String>) -> Result<(), Failure> {
        let store = app.sessions.store();
        if store.sole_writer() || self.has_left {
            return Ok(());
        }
        let (up_ms, is_same) = (app.clock.up_ms(), self.profiles == profiles);
        if is_same && self.said_up_ms.is_some_and(|said| up_ms - said < SAY_EVERY_MS) {
            return Ok(());
        }
        self.profiles = profiles;
        if self.profiles.is_empty() {
            return self.withdraw(app).await;
        }
        let now_ms = app.clock.now_ms();
        let record = NodeRecord {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            clock_ms: now_ms,
            alive_until_ms: now_ms.saturating_add(self.timeout_ms),
            allocators: Vec::new(),
            directory: String::new(),
            matches: true,
            profiles: self.profiles.iter().cloned().collect(),
        };
        store.commit(Batch::default().put(keys::node(self.own), record.encode())).await?;
        self.said_up_ms = Some(up_ms);
        let (start, end) = keys::all_nodes();
        let found = store.scan(&start, &end, NODES_MAX).await?;
        for forgotten in self.note(found, now_ms, up_ms) {
            // Another node may have been first.
            let _ = store.commit(forgotten).await;
        }
        Ok(())
    }

    /// Notes the records of all nodes. Returns commits that delete those of nodes that are lost for long.
    fn note(&mut self, found: Vec<(Key, Entry)>, now_ms: i64, up_ms: i64) -> Vec<Batch> {
        let (mut others, mut forgotten) = (BTreeMap::new(), Vec::new());
        for (key, entry) in found {
            // A record that cannot be read is that of a node of another kind, or damaged; its node matches nothing.
            let (Some(node), Ok(record)) = (keys::parse_node(&key), NodeRecord::decode(&entry.value)) else {
                continue;
            };
            if !record.matches || node == self.own {
                continue;
            }
            let (seen_up_ms, is_alive) = match self.others.get(&node) {
                Some(known) if known.version == entry.version => {
                    let silent_ms = up_ms.saturating_sub(known.seen_up_ms);
                    if silent_ms > LOST_MS {
                        forgotten
                            .push(Batch::default().expect_version(key.clone(), entry.version).delete(key));
                    }
                    (known.seen_up_ms, known.is_alive && silent_ms <= self.timeout_ms)
                }
                Some(_) => (up_ms, true),
                // Only its times can say that it has ended long ago.
                None => (up_ms, record.alive_until_ms.saturating_add(SKEW_MS) >= now_ms),
            };
            let profiles = record.profiles.into_iter().collect();
            others.insert(node, Other { version: entry.version, seen_up_ms, is_alive, profiles });
        }
        let alive = |others: &BTreeMap<Uuid, Other>| {
            others.iter().filter(|(_, other)| other.is_alive).map(|(node, _)| *node).collect::<Vec<_>>()
        };
        let alive_now = alive(&others);
        if alive_now != alive(&self.others) {
            tracing::debug!(nodes = alive_now.len() + 1, "the nodes that make matches have changed");
        }
        self.others = others;
        forgotten
    }

    /// Says that this node stops, so that others match its profiles at once.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn leave(&mut self, app: &App) -> Result<(), Failure> {
        self.has_left = true;
        self.withdraw(app).await
    }

    /// Deletes the record of this node, if it has one.
    async fn withdraw(&mut self, app: &App) -> Result<(), Failure> {
        if self.said_up_ms.take().is_some() {
            app.sessions.store().commit(Batch::default().delete(keys::node(self.own))).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "nodes_tests.rs"]
mod tests;
