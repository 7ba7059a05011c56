//! The rules of sessions: plain functions over plain data. Nothing here does I/O, reads a clock or is
//! asynchronous, so a rule can run again after a write conflict, and its tests take microseconds.

pub mod ids;
pub mod identity;
pub mod limits;
pub mod client;
pub mod password;
pub mod template;
pub mod refused;
pub mod session;
pub mod instance;
pub mod launch;
pub mod audit;
pub mod inbox;
pub mod matchmaking;
pub mod region;
#[cfg(test)]
pub(crate) mod fixtures;

pub use identity::Identity;
pub use ids::{Platform, PlatformSessionId, PlayerUuid, SessionId, ShortCode};
pub use refused::Refused;
pub use session::Session;

use std::collections::BTreeMap;

/// On whose authority a rule runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A caller whose permissions cover every session. The rights inside the session do not apply.
    Anyone,
    /// A player, with the rights that the session gives this player.
    Player(PlayerUuid),
    /// A caller without a player and without permissions for every session.
    Nobody,
}

/// Key-value data that the product defines (contract: every `custom_data`). The map is ordered, so that equal
/// maps are rendered as equal bytes.
pub type CustomData = BTreeMap<String, String>;
