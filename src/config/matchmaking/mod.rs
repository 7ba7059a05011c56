//! `[matchmaking]`, and the checks of the sections about queues, template groups, profiles, ranks and desertion.
//! `config.default.toml` describes each setting.

mod check;
mod profiles;
#[cfg(test)]
mod tests;
mod warnings;

use serde::{Deserialize, Serialize};

pub(super) use self::check::check;
pub(super) use self::warnings::warn;
use crate::domain::limits;

/// The sections whose tables are named by ids. They can be set in the file only.
pub(super) const SECTIONS_BY_ID: [&str; 5] =
    ["ranks", "queues", "match_making_template_groups", "match_making_profiles", "deserters"];

/// `[matchmaking]`: the matcher of this server, and limits of tickets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents them")]
pub struct MatchmakingSection {
    pub enabled: bool,
    #[serde(deserialize_with = "limits::between::<_, _, 10, 60_000>")]
    pub pass_every_ms: u32,
    #[serde(deserialize_with = "limits::between::<_, _, 10, 60_000>")]
    pub poll_ms: u32,
    #[serde(deserialize_with = "limits::between::<_, _, 1, 3_600>")]
    pub node_timeout_s: u32,
    #[serde(deserialize_with = "limits::between::<_, _, 0, 31_622_400>")]
    pub ticket_timeout_s: u32,
    #[serde(deserialize_with = "limits::between::<_, _, 0, 31_622_400>")]
    pub passed_queue_time_max_s: u32,
    #[serde(deserialize_with = "limits::between::<_, _, 1, 64>")]
    pub queues_per_ticket_max: usize,
    #[serde(deserialize_with = "limits::between::<_, _, 1, 256>")]
    pub profiles_per_ticket_max: usize,
    #[serde(deserialize_with = "limits::between::<_, _, 1, 64>")]
    pub threads: usize,
}

impl Default for MatchmakingSection {
    fn default() -> Self {
        Self {
            enabled: true,
            pass_every_ms: 250,
            poll_ms: 1_000,
            node_timeout_s: 3,
            ticket_timeout_s: 900,
            passed_queue_time_max_s: 300,
            queues_per_ticket_max: 8,
            profiles_per_ticket_max: 32,
            threads: 1,
        }
    }
}
