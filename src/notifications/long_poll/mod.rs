//! Long polls: what a player was not told yet, as soon as there is something.

mod listen;
mod params;

pub use self::listen::change_notification;

use http::{Method, StatusCode};

use crate::auth::Policy;
use crate::http::operation::Operation;
use crate::http::surface::Tag;

/// The group of these operations in the API document.
pub const TAG: Tag = Tag::new("Long polls", "What a player was not told yet, as soon as there is something.");

/// Statuses of failures of these operations.
const TOO_MANY: &[StatusCode] = &[StatusCode::CONFLICT];
const ABOUT: &str = "\
Answers as soon as there is something to tell, and otherwise at the deadline with an empty list. It tells messages, oldest \
first, and which of the player's sessions were added, changed or removed: one notification for a session, with the ETag \
that the player reads there. The next long poll continues after the last notification, or after `cursor`. A client that \
has both may use either.";

/// The operations of this group. `read` is their policy.
#[rustfmt::skip]
pub fn rows(read: Policy) -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::GET, "player_long_poll_for_notifications_self", "/v1/player/me/stream/notification/lp", listen::own, read.as_player(), "Wait for notifications of the caller's player").may_fail(TOO_MANY)
            .about(ABOUT),
        Operation::new(M::GET, "player_long_poll_for_notifications", "/v1/player/{player_uuid}/stream/notification/lp", listen::by_uuid, read, "Wait for notifications of a player").may_fail(TOO_MANY)
            .about(ABOUT),
    ]
}
