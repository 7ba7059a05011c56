//! `[idempotency]`: writes that clients can repeat without doing them twice. `config.default.toml` describes each
//! setting.

use serde::{Deserialize, Serialize};

use crate::domain::limits;

/// `[idempotency]`: how long answers are kept for repeated requests, and limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents them")]
pub struct IdempotencySection {
    #[serde(deserialize_with = "limits::between::<_, _, 60, 172_800>")]
    pub keep_s: u32,
    #[serde(deserialize_with = "limits::between::<_, _, 0, 65_536>")]
    pub body_bytes_max: usize,
    #[serde(deserialize_with = "limits::between::<_, _, 1, 1_000_000>")]
    pub keys_per_caller_max: u32,
}

impl Default for IdempotencySection {
    fn default() -> Self {
        Self { keep_s: 3_600, body_bytes_max: 8_192, keys_per_caller_max: 1_000 }
    }
}
