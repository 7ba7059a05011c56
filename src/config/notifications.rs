//! `[notifications]`: notifications for players. `config.default.toml` describes each setting.

use serde::{Deserialize, Serialize};

use crate::domain::limits;

/// `[notifications]`: the notification service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents them")]
pub struct NotificationsSection {
    pub enabled: bool,
    #[serde(deserialize_with = "limits::between::<_, _, 1, 1_000>")]
    pub listeners_per_player_max: usize,
    #[serde(deserialize_with = "limits::between::<_, _, 0, 600>")]
    pub lookback_s: u32,
    #[serde(deserialize_with = "limits::between::<_, _, 0, 10_000>")]
    pub own_delay_ms: u32,
    #[serde(deserialize_with = "limits::between::<_, _, 1, 1_000>")]
    pub messages_per_player_max: usize,
    #[serde(deserialize_with = "limits::between::<_, _, 60, 31_622_400>")]
    pub message_keep_s: u32,
    pub self_read_for_all: bool,
    pub counts_as_heard: bool,
}

impl Default for NotificationsSection {
    fn default() -> Self {
        Self {
            enabled: true,
            listeners_per_player_max: 8,
            lookback_s: 30,
            own_delay_ms: 300,
            messages_per_player_max: 100,
            message_keep_s: 604_800,
            self_read_for_all: false,
            counts_as_heard: true,
        }
    }
}
