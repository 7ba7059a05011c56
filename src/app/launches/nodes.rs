//! Which nodes are alive. Servers may run on the node that was given them; then the other nodes must know whether it will
//! come back to them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use uuid::Uuid;

use super::Launches;
use crate::app::Failure;
use crate::records::keys;
use crate::records::launch::NodeRecord;
use crate::store::Batch;

/// How often a node says that it is alive.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// How long a node counts as alive after that, in milliseconds.
const ALIVE_MS: i64 = 30_000;
/// The difference that the clocks of two nodes may have, in milliseconds.
const SKEW_MS: i64 = 10_000;

impl Launches {
    /// Says that this node is alive, if other nodes may care.
    pub(super) async fn say_alive(&self) -> Result<(), Failure> {
        let is_alone = self.served.is_empty() || self.sessions.store().sole_writer();
        if is_alone || !self.is_time(&self.said_alive_up_ms, SAY_EVERY) {
            return Ok(());
        }
        let clock_ms = self.clock.now_ms();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let record = NodeRecord { version, clock_ms, alive_until_ms: clock_ms + ALIVE_MS };
        let said = self.commit(Batch::default().put(keys::node(self.node), record.encode())).await;
        if said.is_err() {
            self.said_alive_up_ms.store(i64::MIN, Ordering::Relaxed);
        }
        said.map(drop)
    }

    /// Says that this node stops.
    pub(super) async fn say_goodbye(&self) -> Result<(), Failure> {
        if self.served.is_empty() || self.sessions.store().sole_writer() {
            return Ok(());
        }
        self.commit(Batch::default().delete(keys::node(self.node))).await.map(drop)
    }

    /// Whether a node has stopped, or has not said for long that it is alive.
    pub(super) async fn is_gone(&self, node: Uuid) -> Result<bool, Failure> {
        let Some(entry) = self.sessions.store().get(&keys::node(node)).await? else { return Ok(true) };
        let record = match NodeRecord::decode(&entry.value) {
            Ok(record) => record,
            Err(damage) => {
                // A node that is alive replaces its record within seconds. If it is not, nobody else would ever do it.
                tracing::error!(%node, %damage, "the record of a node cannot be read; the node counts as gone");
                return Ok(true);
            }
        };
        Ok(record.alive_until_ms.saturating_add(SKEW_MS) < self.clock.now_ms())
    }
}
