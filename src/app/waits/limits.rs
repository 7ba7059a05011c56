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
    /// Most long polls of a player.
    pub long_polls_per_player_max: usize,
    /// Most waits and long polls of all callers without a player.
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

/// How a request asks to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WaitForm {
    /// A GET that waits for a change of its answer.
    Get,
    /// A long poll.
    LongPoll,
}

/// Why a wait is not held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotHeld {
    /// The node stops.
    Draining,
    /// The player has too many waits of this kind.
    TooManyOfPlayer,
    /// This node has too many waits, or too many of services.
    TooMany,
}

/// The number of waits of each player, by kind, and of all callers without a player together.
#[derive(Default)]
pub struct WaitsByCaller(Mutex<HashMap<Option<(PlayerUuid, WaitForm)>, usize>>);

impl WaitsByCaller {
    /// Counts one more wait of a caller.
    ///
    /// # Errors
    /// If that would be too many.
    pub fn enter(&self, caller: Option<(PlayerUuid, WaitForm)>, limits: &WaitLimits) -> Result<(), NotHeld> {
        let (most, beyond) = match caller {
            Some((_, WaitForm::Get)) => (limits.per_player_max, NotHeld::TooManyOfPlayer),
            Some((_, WaitForm::LongPoll)) => (limits.long_polls_per_player_max, NotHeld::TooManyOfPlayer),
            None => (limits.services_max, NotHeld::TooMany),
        };
        let mut counts = lock(&self.0);
        let count = counts.entry(caller).or_default();
        if *count >= most {
            // Not new: a limit is at least 1.
            return Err(beyond);
        }
        *count += 1;
        Ok(())
    }

    /// Counts one wait less of a caller.
    pub fn leave(&self, caller: Option<(PlayerUuid, WaitForm)>) {
        let mut counts = lock(&self.0);
        if let Some(count) = counts.get_mut(&caller) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&caller);
            }
        }
    }
}
