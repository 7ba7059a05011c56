//! When players and hosts of a session were seen last, as nodes that share a store tell each other.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::domain::PlayerUuid;
use crate::domain::instance::health::{HealthRules, Reports};
use crate::store::StoreError;

/// When players and the host of a session were seen last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LastSeen {
    /// The last heartbeat of each player, in milliseconds since the epoch.
    #[serde(rename = "asked_ms")]
    pub heartbeat_ms: BTreeMap<PlayerUuid, i64>,
    /// The id of the instance that reported, and its reports.
    pub reports: Option<(String, Reports)>,
}

impl LastSeen {
    /// Adds what another node has seen: the later heartbeat of each player, and all reports. If two instances have
    /// reported, the one with the last report counts.
    pub fn merge(&mut self, other: Self, rules: &HealthRules) {
        for (player, ms) in other.heartbeat_ms {
            let heartbeat_ms = self.heartbeat_ms.entry(player).or_insert(ms);
            *heartbeat_ms = ms.max(*heartbeat_ms);
        }
        self.reports = match (self.reports.take(), other.reports) {
            (Some((id, one)), Some((other_id, other))) if id == other_id => {
                Some((id, one.merge(other, rules)))
            }
            (one, other) => [one, other].into_iter().flatten().max_by_key(|(_, reports)| reports.last_ms()),
        };
    }

    /// The bytes to store.
    pub fn encode(&self) -> Bytes {
        Document::render(self)
    }

    /// Reads a stored value.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn decode(value: &[u8]) -> Result<Self, StoreError> {
        serde_json::from_slice(value)
            .map_err(|error| StoreError::Corrupt(format!("the presence of a session: {error}")))
    }
}
