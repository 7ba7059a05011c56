//! `[audit]`: the events of sessions. `config.default.toml` describes each setting.

use serde::{Deserialize, Serialize};

use crate::domain::limits;

/// `[audit]`: whether the events of sessions are stored, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents them")]
pub struct AuditSection {
    pub enabled: bool,
    #[serde(deserialize_with = "limits::between::<_, _, 1, 3_650>")]
    pub keep_days: u32,
    #[serde(deserialize_with = "limits::between::<_, _, 100, 1_000_000>")]
    pub events_per_session_max: usize,
    #[serde(deserialize_with = "limits::between::<_, _, 0, 1_000_000>")]
    pub customer_events_per_session_max: u32,
    #[serde(deserialize_with = "limits::between::<_, _, 1_048_576, 1_099_511_627_776>")]
    pub bytes_max: u64,
}

impl Default for AuditSection {
    fn default() -> Self {
        Self {
            enabled: true,
            keep_days: 7,
            events_per_session_max: 10_000,
            customer_events_per_session_max: 1_000,
            bytes_max: 1 << 30,
        }
    }
}
