//! The rules of sessions: plain functions over plain data. No I/O, no clock, no async in here, so that a rule
//! can be read aloud, tested in microseconds and run again after a lost race.

pub mod ids;
pub mod limits;
pub mod client;
pub mod password;
pub mod template;
pub mod refused;
pub mod session;
pub mod instance;
pub mod region;

pub use ids::{Platform, PlatformSessionId, PlayerUuid, SessionId, ShortCode};
pub use refused::Refused;
pub use session::Session;

use std::collections::BTreeMap;

/// In whose right something is done to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Someone whose permissions reach every session: the session's own rights do not matter.
    Anyone,
    /// A player, who has the rights that the session gives them.
    Player(PlayerUuid),
    /// A caller who is no player and has no such permissions.
    Nobody,
}

/// Text to text, defined by the product (contract: every `custom_data`). Ordered, so that equal maps are
/// rendered as equal bytes.
pub type CustomData = BTreeMap<String, String>;
