//! Launches: how an instance gets a dedicated server, as plain data.
//!
//! ```text
//! wanted ──claim──► claimed ──placed──► placed ──sign of life──► up
//!   ▲  ▲               │                  │                       │
//!   │  └─── later ─────┤                  │                       │  closed, ended, replaced,
//!   └── next attempt ──┴──────────────────┘                       ▼  or failed: releasing, then gone
//! ```
//!
//! A server that gives its sign of life while it is still called for makes the launch `up` too: it runs, whatever the
//! allocator says.
//!
//! An *attempt* is one try to get a server. It has an allocation id of its own, drawn in the commit of the claim,
//! before the allocator is called. The instance holds the id of the current attempt, and only a server that names this
//! id may change the instance. So whatever an allocator has started for an earlier attempt has no effect on the
//! session.

mod next;
mod rules;
mod stage;

pub use next::{Node, Step};
pub use rules::LaunchRules;
pub use stage::{Claim, LaunchRecord, LaunchServer, Release, Stage};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The link from an instance to its launch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchLink {
    /// The id of the launch.
    pub id: Uuid,
    /// The name of the allocator that starts the server.
    pub allocator: String,
    /// The region in whose line the launch waits: that of the session, if it is one of the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

/// The entry of an instance's custom data that says why its launch has failed.
pub const FAILURE_ENTRY: &str = "rallypoint.launch";

/// Why a launch, or one attempt of it, has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LaunchFailure {
    /// There was no free server for the whole queue time-out.
    NoCapacity,
    /// The allocator did not answer.
    Unavailable,
    /// The server gave no sign of life in time.
    StartTimeout,
    /// The server never became joinable.
    NeverJoinable,
    /// The server ended by itself.
    Exited,
    /// The server's health was unknown for too long.
    Lost,
    /// The allocator refused the launch.
    Refused,
    /// The configuration of the allocator is wrong.
    Misconfigured,
    /// The server lived for as long as the rules allow.
    MaxLifetime,
    /// The node was stopped, and its servers with it.
    Stopped,
}

impl LaunchFailure {
    /// Every failure, in the order of the enum.
    pub const ALL: [Self; 10] = [
        Self::NoCapacity,
        Self::Unavailable,
        Self::StartTimeout,
        Self::NeverJoinable,
        Self::Exited,
        Self::Lost,
        Self::Refused,
        Self::Misconfigured,
        Self::MaxLifetime,
        Self::Stopped,
    ];

    /// The name in custom data, in the log and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoCapacity => "no_capacity",
            Self::Unavailable => "unavailable",
            Self::StartTimeout => "start_timeout",
            Self::NeverJoinable => "never_joinable",
            Self::Exited => "exited",
            Self::Lost => "lost",
            Self::Refused => "refused",
            Self::Misconfigured => "misconfigured",
            Self::MaxLifetime => "max_lifetime",
            Self::Stopped => "stopped",
        }
    }
}

/// A pause of about this length: between four fifths and six fifths of it. `random` is a random number from 0 to 1. So
/// launches that failed together do not come again together.
pub fn spread_ms(ms: i64, random: f64) -> i64 {
    (ms as f64 * random.clamp(0.0, 1.0).mul_add(0.4, 0.8)) as i64
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
