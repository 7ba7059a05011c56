//! The rules of launches: time-outs and limits, which the operator sets for each allocator.

use serde::{Deserialize, Serialize};

use crate::domain::limits;

/// A year, in seconds.
const YEAR_S: usize = 31_622_400;

/// Time-outs and limits of the launches of one allocator, in the form of the configuration file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LaunchRules {
    /// How long a launch waits for a server while the allocator has none: 1 to 86,400 seconds.
    #[serde(deserialize_with = "limits::between::<_, _, 1, 86_400>")]
    pub queue_timeout_s: u64,
    /// How long one call of the allocator may take: 1 to 600 seconds.
    #[serde(deserialize_with = "limits::between::<_, _, 1, 600>")]
    pub place_timeout_s: u64,
    /// How long a server may take until it first updates its instance or reports its health: 1 to 86,400 seconds.
    #[serde(deserialize_with = "limits::between::<_, _, 1, 86_400>")]
    pub start_timeout_s: u64,
    /// How long a server may take from then on until players may join: 1 to 86,400 seconds.
    #[serde(deserialize_with = "limits::between::<_, _, 1, 86_400>")]
    pub joinable_timeout_s: u64,
    /// How long the health of an instance may be unknown before its server counts as lost: 0 (never) to 86,400 seconds.
    #[serde(deserialize_with = "limits::between::<_, _, 0, 86_400>")]
    pub lost_after_s: u64,
    /// How long a server may take to stop by itself, after its instance has ended: 0 to 3600 seconds.
    #[serde(deserialize_with = "limits::between::<_, _, 0, 3_600>")]
    pub closing_timeout_s: u64,
    /// The longest life of a server: 0 (no limit) to a year, in seconds.
    #[serde(deserialize_with = "limits::between::<_, _, 0, YEAR_S>")]
    pub max_lifetime_s: u64,
    /// How many servers a launch tries, one after the other: 1 to 100.
    #[serde(deserialize_with = "limits::between::<_, _, 1, 100>")]
    pub attempts_max: u32,
    /// Most servers that one player may have asked for at the same time: 0 (no limit) to 1000. After the end of its
    /// instance a server counts until it has stopped, but at most `closing_timeout_s` and about 10 s longer.
    #[serde(deserialize_with = "limits::between::<_, _, 0, 1_000>")]
    pub servers_per_player_max: usize,
    /// Most calls of the allocator at the same time that start or find servers, and as many that stop them: 1 to 256.
    #[serde(deserialize_with = "limits::between::<_, _, 1, 256>")]
    pub calls_max: usize,
    /// Whether players get the address of a server before it has updated its instance. For servers that do
    /// not know their address.
    pub prefill_join_params: bool,
    /// The form of that address: `{host}` and `{port}` stand for those of the server.
    #[serde(deserialize_with = "limits::text::<_, 1_024>")]
    pub conn_format: String,
}

impl LaunchRules {
    /// The names of all settings.
    pub const SETTINGS: [&str; 12] = [
        "queue_timeout_s",
        "place_timeout_s",
        "start_timeout_s",
        "joinable_timeout_s",
        "lost_after_s",
        "closing_timeout_s",
        "max_lifetime_s",
        "attempts_max",
        "servers_per_player_max",
        "calls_max",
        "prefill_join_params",
        "conn_format",
    ];
}

impl Default for LaunchRules {
    fn default() -> Self {
        Self {
            queue_timeout_s: 60,
            place_timeout_s: 15,
            start_timeout_s: 120,
            joinable_timeout_s: 600,
            lost_after_s: 60,
            closing_timeout_s: 30,
            max_lifetime_s: 0,
            attempts_max: 3,
            servers_per_player_max: 2,
            calls_max: 16,
            prefill_join_params: false,
            conn_format: "unreal://{host}:{port}".into(),
        }
    }
}
