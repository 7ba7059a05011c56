//! Launches and nodes: formats, and the writes that keep a launch, its place in the queue and its player's count
//! together.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::keys;
use crate::document::Document;
use crate::domain::instance::{Instance, JoinStatus};
use crate::domain::launch::{LaunchLink, LaunchRecord};
use crate::domain::{PlayerUuid, Session};
use crate::store::{Batch, Key, StoreError, Version};

/// Encodes a launch: JSON.
pub fn encode(record: &LaunchRecord) -> Bytes {
    Document::render(record)
}

/// Decodes a stored launch.
///
/// # Errors
/// [`StoreError::Corrupt`] if the bytes are not this launch.
pub fn decode(id: Uuid, value: &[u8]) -> Result<LaunchRecord, StoreError> {
    let record: LaunchRecord = serde_json::from_slice(value)
        .map_err(|error| StoreError::Corrupt(format!("the launch {id}: {error}")))?;
    if record.id != id {
        return Err(StoreError::Corrupt(format!("the launch {id} has the id of another one, {}", record.id)));
    }
    Ok(record)
}

/// A stored launch and its version.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredLaunch {
    /// The launch.
    pub record: LaunchRecord,
    /// The version that a change replaces.
    pub version: Version,
}

/// The writes that store a new launch.
pub fn create(record: &LaunchRecord) -> Batch {
    let batch =
        Batch::default().expect_absent(keys::launch(record.id)).put(keys::launch(record.id), encode(record));
    let batch = batch.put(keys::launch_due(record.due_ms, record.id), Bytes::new());
    match of_player(record) {
        Some(of_player) => batch.put(of_player, Bytes::new()),
        None => batch,
    }
}

/// The entry by which the launch counts for the player who asked for it.
fn of_player(record: &LaunchRecord) -> Option<Key> {
    Some(keys::launch_of_player(record.player?, &record.allocator, record.id))
}

/// The writes that change a launch, or delete it. The commit expects that nobody else has changed it.
pub fn replace(before: &StoredLaunch, after: Option<&LaunchRecord>) -> Batch {
    let StoredLaunch { record: old, version } = before;
    let (key, due) = (keys::launch(old.id), keys::launch_due(old.due_ms, old.id));
    let batch = Batch::default().expect_version(key.clone(), *version);
    let batch = match of_player(old).filter(|_| after.is_none_or(|new| new.player.is_none())) {
        Some(of_player) => batch.delete(of_player),
        None => batch,
    };
    let Some(new) = after else { return batch.delete(key).delete(due) };
    let batch = batch.put(key, encode(new));
    if new.due_ms == old.due_ms {
        return batch;
    }
    batch.delete(due).put(keys::launch_due(new.due_ms, new.id), Bytes::new())
}

/// The writes that ask for a look at a launch from this time on, whatever its record says. The entry stays until a node
/// has looked.
pub fn ask_for_look(id: Uuid, now_ms: i64) -> Batch {
    Batch::default().put(keys::launch_due(now_ms, id), Bytes::new())
}

/// The writes that delete a launch that cannot be read. `player` has asked for it. Its place in the queue is not known:
/// it stays until it is due.
pub fn discard(link: &LaunchLink, version: Version, player: Option<PlayerUuid>) -> Batch {
    let key = keys::launch(link.id);
    let batch = Batch::default().expect_version(key.clone(), version).delete(key);
    match player {
        Some(player) => batch.delete(keys::launch_of_player(player, &link.allocator, link.id)),
        None => batch,
    }
}

/// Whether a commit stores, changes or deletes a launch.
pub fn is_written_by(batch: &Batch) -> bool {
    let put = batch.put.iter().map(|(key, _)| key);
    put.chain(&batch.delete).any(|key| keys::parse_launch(key).is_some())
}

/// The link to the launch of a session's instance, and the instance; `None` if the instance has no launch, or has
/// ended.
pub fn live_launch(session: &Session) -> Option<(&LaunchLink, &Instance)> {
    let instance = session.instance.as_ref().filter(|_| !session.ended)?;
    let link = instance.launch.as_ref().filter(|_| instance.join_status != JoinStatus::Closed)?;
    Some((link, instance))
}

/// A node, as the other nodes know it. Times are in milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// The version of its build.
    pub version: String,
    /// Its clock when it wrote this.
    pub clock_ms: i64,
    /// Until when it counts as alive.
    pub alive_until_ms: i64,
    /// The allocators that it serves.
    #[serde(default)]
    pub allocators: Vec<String>,
    /// Tells the data directory that holds its id from copies of it.
    #[serde(default)]
    pub directory: String,
    /// Whether it is a process that makes matches. Its id is another one after each start.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub matches: bool,
    /// The profiles whose matches it makes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
}

impl NodeRecord {
    /// The stored form: JSON.
    pub fn encode(&self) -> Bytes {
        Document::render(self)
    }

    /// Decodes a stored node.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the bytes are not a node.
    pub fn decode(value: &[u8]) -> Result<Self, StoreError> {
        serde_json::from_slice(value).map_err(|error| StoreError::Corrupt(format!("a node: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::SessionId;
    use crate::domain::launch::{LaunchFailure, Stage};

    fn record(player: Option<PlayerUuid>) -> LaunchRecord {
        LaunchRecord {
            id: Uuid::from_u128(1),
            session_id: SessionId::parse("s").unwrap(),
            instance_id: "i".into(),
            allocator: "local".into(),
            region: None,
            player,
            requested_ms: 1_000,
            attempt: 1,
            stage: Stage::Wanted {
                since_ms: 1_000,
                not_before_ms: 1_000,
                reason: Some(LaunchFailure::Exited),
            },
            due_ms: 1_000,
        }
    }

    #[test]
    fn records_round_trip() {
        let record = record(None);
        let bytes = encode(&record);
        let other = Uuid::from_u128(2);
        assert!(matches!(decode(other, &bytes), Err(StoreError::Corrupt(_))), "the launch of another key");
        assert_eq!(decode(record.id, &bytes), Ok(record));
        let node = NodeRecord {
            version: "1.2.3".into(),
            clock_ms: 1,
            alive_until_ms: 2,
            allocators: vec!["a".into()],
            directory: "boot/1/2".into(),
            matches: true,
            profiles: vec!["p".into()],
        };
        assert_eq!(NodeRecord::decode(&node.encode()), Ok(node));
        for bytes in [&b"{}"[..], b"\"launch\"", b""] {
            assert!(matches!(decode(other, bytes), Err(StoreError::Corrupt(_))));
            assert!(matches!(NodeRecord::decode(bytes), Err(StoreError::Corrupt(_))));
        }
    }

    #[test]
    fn a_launch_leaves_nothing_behind() {
        for player in [None, Some(PlayerUuid(Uuid::from_u128(2)))] {
            let old = record(player);
            let moved = LaunchRecord { due_ms: 5_000, ..old.clone() };
            let stored = |record: &LaunchRecord| StoredLaunch { record: record.clone(), version: Version(7) };
            let mut keys: std::collections::BTreeSet<_> =
                create(&old).put.into_iter().map(|(key, _)| key).collect();
            assert_eq!(keys.len(), 2 + usize::from(player.is_some()));
            let released = LaunchRecord { player: None, ..moved.clone() };
            for batch in [
                replace(&stored(&old), Some(&moved)),
                replace(&stored(&moved), Some(&released)),
                replace(&stored(&released), None),
            ] {
                keys.extend(batch.put.into_iter().map(|(key, _)| key));
                for key in batch.delete {
                    assert!(keys.remove(&key));
                }
            }
            assert!(keys.is_empty(), "{keys:?}");
        }
    }
}
