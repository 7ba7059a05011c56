//! Notifications for players.
//!
//! - [`inbox`]: the messages that somebody has posted for a player. They are stored.
//! - Notifications of sessions are never stored. They are computed: what the player's [`cursor`] says they were told,
//!   against the [`state`] of now. [`news`] compares the two.

pub mod cursor;
pub mod inbox;
pub mod news;
pub mod state;
mod unreadable;

pub use self::inbox::Inboxes;
pub use self::unreadable::UnreadableLog;

/// Settings of notifications; see `[notifications]` in `config.default.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotificationSettings {
    /// How far back a long poll without a cursor looks for changes, in milliseconds.
    pub lookback_ms: i64,
    /// How much later a player is told of a change of the player's own, in milliseconds.
    pub own_delay_ms: i64,
    /// Most messages in the inbox of a player: at least 1. Beyond it, the oldest go.
    pub messages_per_player_max: usize,
    /// How long a message stays in an inbox, in milliseconds.
    pub message_keep_ms: i64,
    /// Whether a long poll shows that its player is present.
    pub counts_as_heard: bool,
}
