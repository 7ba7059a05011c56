//! Gates: they order creations by several nodes. Two nodes may create a session at the same moment because neither
//! found an open one. If the creator of one could have joined the other session, only one of the two may succeed.
//!
//! A gate is a stored key without a value. A session type has one for sessions without a region, and fifteen that the
//! regions share by their hash. A creation reads the gates together with the open sessions. Its commit writes the gate
//! of its own region, and expects the version that it has read of this gate. A creator without a region could join
//! sessions of every region, so that commit expects every gate. A gate that does not exist yet cannot be expected by
//! others; the commit that makes it also writes the gate for no region, which every such creator expects.
//!
//! Gates do not tell versions, crossplay preferences and passwords apart. Creations that differ only in these, on
//! different nodes at the same moment, may search again in vain, and then succeed one after the other.
//!
//! A sole writer needs no gates: it knows all creations (`app/auto_join/creations.rs`).

use sha2::{Digest as _, Sha256};

use crate::domain::Session;
use crate::records::keys;
use crate::store::{Batch, Version};

/// The gate of sessions without a region.
const NO_REGION: u8 = 0;
/// The number of gates that the regions share.
const REGION_GATES: u8 = 15;
/// The most gates of a session type.
pub(super) const GATES_MAX: usize = 1 + REGION_GATES as usize;

/// The gates of a session type, as they were read.
#[derive(Clone, Debug, Default)]
pub struct Gates(Vec<(u8, Version)>);

/// The number of the gate of a region: the same on every node.
fn gate_of(region_id: Option<&str>) -> u8 {
    region_id.map_or(NO_REGION, |region_id| 1 + Sha256::digest(region_id)[0] % REGION_GATES)
}

impl Gates {
    /// Notes a gate with its version.
    pub(super) fn note(&mut self, number: u8, version: Version) {
        self.0.push((number, version));
    }

    fn version(&self, number: u8) -> Option<Version> {
        self.0.iter().find(|(other, _)| *other == number).map(|(_, version)| *version)
    }

    /// The number of the gate that the creation of a session passes.
    pub fn number_for(session: &Session) -> u8 {
        gate_of(session.region_id.as_deref())
    }

    /// What the creation of a session expects and writes, beside the session itself.
    pub fn pass(&self, session: &Session) -> Batch {
        self.pass_for(&session.session_type, session.region_id.as_deref())
    }

    fn pass_for(&self, session_type: &str, region_id: Option<&str>) -> Batch {
        let number = gate_of(region_id);
        let key = keys::gate(session_type, number);
        let known = self.version(number);
        let batch = match known {
            Some(version) => Batch::default().expect_version(key.clone(), version),
            None => Batch::default().expect_absent(key.clone()),
        };
        let mut batch = batch.put(key, Vec::new());
        if number == NO_REGION {
            for (other, version) in self.0.iter().filter(|(other, _)| *other != NO_REGION) {
                batch = batch.expect_version(keys::gate(session_type, *other), *version);
            }
        } else if known.is_none() {
            batch = batch.put(keys::gate(session_type, NO_REGION), Vec::new());
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Backend as _, Memory, prefix_end};

    /// The gates of a store, as a search reads them.
    async fn read(store: &Memory) -> Gates {
        let prefix = keys::open_of("game");
        let found = store.scan(&prefix, &prefix_end(&prefix), usize::MAX).await.unwrap();
        let gate = |(key, entry): (Vec<u8>, crate::store::Entry)| {
            (keys::parse_gate("game", &key).unwrap(), entry.version)
        };
        Gates(found.into_iter().map(gate).collect())
    }

    /// Whether the second of two creations succeeds that have read the gates before either of them was committed.
    /// `before` are regions of earlier creations.
    async fn both_succeed(before: &[Option<&str>], first: Option<&str>, second: Option<&str>) -> bool {
        let store = Memory::shared();
        for region in before {
            store.commit(read(&store).await.pass_for("game", *region)).await.unwrap();
        }
        let gates = read(&store).await;
        store.commit(gates.pass_for("game", first)).await.unwrap();
        store.commit(gates.pass_for("game", second)).await.is_ok()
    }

    #[tokio::test]
    async fn one_of_two_creations_fails_if_its_creator_could_have_joined_the_other_session() {
        let (none, eu, us) = (None, Some("eu"), Some("us"));
        assert_ne!(gate_of(eu), gate_of(us), "the test needs regions with gates of their own");
        for before in [&[][..], &[none], &[eu], &[us], &[none, eu], &[eu, us], &[none, eu, us]] {
            for (first, second, expected) in
                [(none, none, false), (eu, eu, false), (eu, us, true), (eu, none, false)]
            {
                assert_eq!(
                    both_succeed(before, first, second).await,
                    expected,
                    "{before:?} {first:?} {second:?}"
                );
            }
        }
    }
}
