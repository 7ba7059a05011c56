//! How often the host of a running match confirms that it wants players.

use serde::{Deserialize, Serialize};

use crate::domain::limits;

/// Least `expire_after_s`: a host that could not read the configuration confirms every 20 s.
pub const EXPIRE_AFTER_S_MIN: u32 = 45;
/// Least time for which a confirmation counts, in seconds, for the same reason: players are sent to a host for so long.
pub const CONFIRMED_FOR_S_MIN: u32 = 45;

/// `[backfill]`: how often hosts confirm that they want players, and how long without it a backfill lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackfillRules {
    /// Time between two confirmations, in seconds: 1 to 3600. Hosts read it from the API.
    #[serde(deserialize_with = "limits::between::<_, _, 1, 3_600>")]
    pub ack_every_s: u32,
    /// Time without a confirmation after which a backfill ends, in seconds: at least three times `ack_every_s`, and at
    /// least [`EXPIRE_AFTER_S_MIN`].
    #[serde(deserialize_with = "limits::between::<_, _, 45, 86_400>")]
    pub expire_after_s: u32,
}

impl Default for BackfillRules {
    fn default() -> Self {
        Self { ack_every_s: 20, expire_after_s: 60 }
    }
}
