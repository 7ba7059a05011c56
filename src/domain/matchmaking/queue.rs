//! Queues: what a party names when it wants a match.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::profile::MATCH_PLAYERS_MAX;
use crate::domain::{CustomData, limits};

/// A queue (contract: `QueueConfigV2`), in the form of the configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Whether parties can join the queue. Those that are in it stay if it becomes inactive.
    #[serde(default = "yes")]
    pub active: bool,
    /// Largest number of active players of a party that joins: 1 to [`MATCH_PLAYERS_MAX`].
    #[serde(default = "anyone", deserialize_with = "limits::between::<_, _, 1, MATCH_PLAYERS_MAX>")]
    pub max_queue_group_size: usize,
    /// The templates of which the first that a party satisfies names its profiles.
    pub match_making_template_group_id: Uuid,
    /// A number of the first version of the contract, for clients that read it.
    #[serde(default)]
    pub ranking_type: i64,
    /// The product's data of the first version of the contract.
    #[serde(default, deserialize_with = "limits::custom_data")]
    pub legacy_config: CustomData,
}

fn yes() -> bool {
    true
}

fn anyone() -> usize {
    MATCH_PLAYERS_MAX
}
