//! `[wait]`: requests that are held until what they read has changed. `config.default.toml` describes each setting.

use serde::{Deserialize, Serialize};

use crate::domain::limits;

/// `[wait]`: limits of waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents them")]
pub struct WaitSection {
    #[serde(deserialize_with = "limits::between::<_, _, 1, 900>")]
    pub max_s: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_max: Option<usize>,
    #[serde(deserialize_with = "limits::between::<_, _, 1, 10_000>")]
    pub per_player_max: usize,
    #[serde(deserialize_with = "limits::between::<_, _, 1, 1_000_000>")]
    pub per_service_max: usize,
    #[serde(deserialize_with = "limits::between::<_, _, 0, 60_000>")]
    pub drain_spread_ms: u32,
    #[serde(deserialize_with = "limits::between::<_, _, 500, 60_000>")]
    pub sweep_ms: u32,
    #[serde(deserialize_with = "limits::between::<_, _, 100, 1_000_000>")]
    pub sweep_keys_per_s: u32,
}

impl Default for WaitSection {
    fn default() -> Self {
        Self {
            max_s: 55,
            waits_max: None,
            per_player_max: 16,
            per_service_max: 10_000,
            drain_spread_ms: 3_000,
            sweep_ms: 5_000,
            sweep_keys_per_s: 20_000,
        }
    }
}

impl WaitSection {
    /// Most waits of a node: unless it is set, nine tenths of its connections, so that other requests always get in.
    pub fn waits_max(&self, connections_max: usize) -> usize {
        self.waits_max.unwrap_or(connections_max / 10 * 9)
    }
}
