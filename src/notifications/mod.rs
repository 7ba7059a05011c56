//! The operations of the notification service: notifications for players. The services are in `app/notifications/`.

pub mod long_poll;
pub mod messages;
pub mod policies;
pub mod wire;

use http::StatusCode;

use crate::http::surface::{Group, Surface};

/// Prefix of every path of this API.
pub const PREFIX: &str = "/notification";

/// Statuses of failures of one operation.
const MISSING: &[StatusCode] = &[StatusCode::NOT_FOUND];

/// Introduction of the API document, in Markdown.
const INTRODUCTION: &str = "\
What players are told. The server speaks the RallyHere notification API.

**A long poll** tells a player of messages, and of changes of the player's sessions, as soon as there are any. An answer \
names what has changed, and the client reads it.

**Messages** are posted for a player, by game servers, tools, or the player. Each player has an inbox, which keeps \
the newest ones for a limited time.

**Failures** have a stable `error_code` for programs and a `desc` for people, as those of the session API. docs/API.md \
in the source lists the codes.";

/// The notification service. `self_read_for_all`: every token of a player may read the player's own notifications.
pub fn surface(self_read_for_all: bool) -> Surface {
    let read = policies::READ.or_own_for_all(self_read_for_all);
    let groups = vec![
        Group::new(long_poll::TAG, long_poll::rows(read)),
        Group::new(messages::TAG, messages::rows(read)),
    ];
    Surface::new(PREFIX, groups).with_idempotency_keys().with_introduction(INTRODUCTION)
}
