//! The messages in the inboxes of players.

mod create;
mod read;

use http::Method;

use crate::auth::Policy;
use crate::http::operation::Operation;
use crate::http::surface::Tag;
use crate::notifications::MISSING;
use crate::notifications::policies::WRITE;

/// The group of these operations in the API document.
pub const TAG: Tag = Tag::new("Messages", "Messages that somebody posts for a player.");

/// The operations of this group. `read_policy` is the policy of those that read.
#[rustfmt::skip]
pub fn rows(read_policy: Policy) -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::POST, "player_create_notification_self", "/v1/player/me/notification", create::own, WRITE.as_player(), "Post messages for the caller's player")
            .about("Adds 1 to 100 messages to the inbox, all of them or none. If the inbox is full, its oldest messages go."),
        Operation::new(M::POST, "player_create_notification", "/v1/player/{player_uuid}/notification", create::by_uuid, WRITE, "Post messages for a player")
            .about("Adds 1 to 100 messages to the player's inbox, all of them or none. If the inbox is full, its oldest messages go."),
        Operation::new(M::GET, "player_get_notifications_page_self", "/v1/player/me/notification", read::own_page, read_policy.as_player(), "Read a page of the messages for the caller's player")
            .about("The page has the newest messages first. `cursor` is the `start_at` of the next page, and empty on the last one. Notifications about sessions are on no page."),
        Operation::new(M::GET, "player_get_notifications_page", "/v1/player/{player_uuid}/notification", read::page_by_uuid, read_policy, "Read a page of the messages for a player")
            .about("The page has the newest messages first. `cursor` is the `start_at` of the next page, and empty on the last one. Notifications about sessions are on no page."),
        Operation::new(M::GET, "player_get_notification_by_id_self", "/v1/player/me/notification/{notification_id}", read::own, read_policy.as_player(), "Read a notification of the caller's player").may_fail(MISSING)
            .about("A message that has gone from the inbox is 404."),
        Operation::new(M::GET, "player_get_notification_by_id", "/v1/player/{player_uuid}/notification/{notification_id}", read::by_uuid, read_policy, "Read a notification of a player").may_fail(MISSING)
            .about("A message that has gone from the inbox is 404."),
    ]
}
