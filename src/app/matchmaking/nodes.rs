//! Which node matches which profile, if several nodes share the store. There is no leader and no lock: each node says at
//! intervals that it is alive, and for each profile all nodes prefer the same one of those that are. Nodes that disagree
//! for a moment cost conflicts, and nothing else: the commit of a match decides.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::app::{App, Failure};
use crate::records::keys;
use crate::records::launch::NodeRecord;
use crate::store::Batch;

/// How often a node says that it is alive, in milliseconds.
const SAY_EVERY_MS: i64 = 1_000;
/// How long the record of a lost node stays, in milliseconds.
const LOST_MS: i64 = 60_000;
/// Most records of nodes that are read.
const NODES_MAX: usize = 10_000;

/// The nodes with a matcher, as this one knows them.
pub struct Nodes {
    /// Names this process. A restart is another node: it has nothing of what the earlier one had in memory.
    own: Uuid,
    timeout_ms: i64,
    /// The nodes that are alive, this one included.
    alive: Vec<Uuid>,
    said_up_ms: Option<i64>,
}

impl Nodes {
    /// This node alone.
    pub fn new(own: Uuid, timeout_ms: i64) -> Self {
        Self { own, timeout_ms, alive: vec![own], said_up_ms: None }
    }

    /// Whether this node should match a profile.
    pub fn prefer_this(&self, profile_id: &str) -> bool {
        let weight = |node: &Uuid| {
            let mut hash = Sha256::new();
            hash.update(node.as_bytes());
            hash.update(profile_id.as_bytes());
            (<[u8; 32]>::from(hash.finalize()), *node)
        };
        self.alive.iter().max_by_key(|node| weight(node)) == Some(&self.own)
    }

    /// Says that this node is alive, and reads which others are. Does nothing if the store has no other nodes, or if it was
    /// done lately.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn meet(&mut self, app: &App, now_ms: i64) -> Result<(), Failure> {
        let store = app.sessions.store();
        let up_ms = app.clock.up_ms();
        if store.sole_writer() || self.said_up_ms.is_some_and(|said| up_ms - said < SAY_EVERY_MS) {
            return Ok(());
        }
        let record = NodeRecord {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            clock_ms: now_ms,
            alive_until_ms: now_ms + self.timeout_ms,
            allocators: Vec::new(),
            directory: String::new(),
            matches: true,
        };
        store.commit(Batch::default().put(keys::node(self.own), record.encode())).await?;
        self.said_up_ms = Some(up_ms);
        let (start, end) = keys::all_nodes();
        let mut alive = vec![self.own];
        for (key, entry) in store.scan(&start, &end, NODES_MAX).await? {
            // A record that cannot be read is that of a node of another kind, or damaged; its node matches nothing.
            let (Some(node), Ok(record)) = (keys::parse_node(&key), NodeRecord::decode(&entry.value)) else {
                continue;
            };
            if !record.matches || node == self.own {
                continue;
            }
            if record.alive_until_ms >= now_ms {
                alive.push(node);
            } else if record.alive_until_ms + LOST_MS < now_ms {
                let forgotten = Batch::default().expect_version(key.clone(), entry.version).delete(key);
                // Another node may have been first.
                let _ = store.commit(forgotten).await;
            }
        }
        alive.sort_unstable();
        if alive != self.alive {
            tracing::debug!(nodes = alive.len(), "the nodes that make matches have changed");
        }
        self.alive = alive;
        Ok(())
    }

    /// Says that this node stops, so that others match its profiles at once.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn leave(&mut self, app: &App) -> Result<(), Failure> {
        if self.said_up_ms.take().is_some() {
            app.sessions.store().commit(Batch::default().delete(keys::node(self.own))).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_agree_on_who_matches_a_profile_and_share_the_work() {
        let ids: Vec<Uuid> = (1..=3).map(Uuid::from_u128).collect();
        let node = |own: usize, alive: &[usize]| Nodes {
            alive: alive.iter().map(|at| ids[*at]).collect(),
            ..Nodes::new(ids[own], 3_000)
        };
        let profiles: Vec<String> = (0..300).map(|number| format!("p{number}")).collect();
        let preferred = |alive: &[usize]| -> Vec<usize> {
            let who = |profile: &String| {
                let of: Vec<_> = alive.iter().filter(|own| node(**own, alive).prefer_this(profile)).collect();
                assert_eq!(of.len(), 1, "{profile}");
                *of[0]
            };
            profiles.iter().map(who).collect()
        };
        let all = preferred(&[0, 1, 2]);
        for own in 0..3 {
            assert!(all.iter().filter(|who| **who == own).count() > 60);
        }
        // The loss of a node moves its profiles only.
        for (before, after) in all.iter().zip(preferred(&[0, 2])) {
            assert!(*before == 1 || *before == after);
        }
    }
}
