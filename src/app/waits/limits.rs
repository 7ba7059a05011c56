//! How many waits a node holds.

use std::collections::HashMap;
use std::sync::Mutex;

use super::lock;
use crate::domain::PlayerUuid;

/// Limits of waits; see `[wait]` in `config.default.toml`.
#[derive(Clone, Copy, Debug)]
pub struct WaitLimits {
    /// Longest wait, in milliseconds.
    pub max_ms: i64,
    /// Most waits of this node.
    pub waits_max: usize,
    /// Most waits of a player.
    pub per_player_max: usize,
    /// Most waits of all callers without a player.
    pub services_max: usize,
    /// Time over which the waits end when the node stops, in milliseconds.
    pub drain_spread_ms: u32,
    /// How often the sweep looks for changes by other nodes, in milliseconds.
    pub sweep_ms: i64,
    /// Most topics that the sweep looks at in a second.
    pub sweep_keys_per_s: u32,
    /// How long after a change waits are woken, in milliseconds: until every node shows it.
    pub wake_delay_ms: i64,
}

/// The number of waits of each caller. Callers without a player count together.
#[derive(Default)]
pub struct WaitsByCaller(Mutex<HashMap<Option<PlayerUuid>, usize>>);

impl WaitsByCaller {
    /// Counts one more wait of a caller; `false` if that would be too many.
    pub fn enter(&self, caller: Option<PlayerUuid>, limits: &WaitLimits) -> bool {
        let most = if caller.is_some() { limits.per_player_max } else { limits.services_max };
        let mut counts = lock(&self.0);
        let count = counts.entry(caller).or_default();
        if *count >= most {
            // Not new: a limit is at least 1.
            return false;
        }
        *count += 1;
        true
    }

    /// Counts one wait less of a caller.
    pub fn leave(&self, caller: Option<PlayerUuid>) {
        let mut counts = lock(&self.0);
        if let Some(count) = counts.get_mut(&caller) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&caller);
            }
        }
    }
}
