//! Platform sessions: reading and linking them, and joining and leaving their parent session.

mod join;
mod link;
mod read;

use http::Method;

use crate::api::MISSING;
use crate::api::examples;
use crate::api::policies::*;
use crate::http::operation::Operation;
use crate::http::surface::Tag;

/// The path of Get Platform Session Info.
pub const PLATFORM_SESSION: &str = "/v1/platform/{platform}/platform-session/{platform_session_id_base64}";

const PLATFORM_ME: &str = "/v1/platform/{platform}/platform-session/{platform_session_id_base64}/player/me";

const PLATFORM_PLAYER: &str =
    "/v1/platform/{platform}/platform-session/{platform_session_id_base64}/player/{player_uuid}";

const LINK: &str =
    "/v1/platform/{platform}/platform-session/{platform_session_id_base64}/session/{session_id}";

/// The group of these operations in the API document.
pub const TAG: Tag = Tag::new(
    "Platform sessions",
    "The sessions of consoles and stores (XboxLive, PSN, Steam and others), linked to sessions of this server. A \
     player who is in a platform session finds, joins and leaves its parent session through it.",
);

/// The operations of this group.
#[rustfmt::skip]
pub fn rows() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::GET, "get_platform_session_info", PLATFORM_SESSION, read::info, READ_PLATFORM, "Read a platform session").may_fail(MISSING)
            .about("The main operation. It finds a linked console or store session by the platform's own id. Poll it with the ETag of the last answer: the answer is 304 while nothing has changed. The caller must be active in the parent session.")
            .example(examples::PLATFORM_SESSION),
        Operation::new(M::POST, "add_platform_session_to_rally_here_session", LINK, link::link, UPDATE_PLATFORM, "Link a platform session to a session").may_fail(MISSING).takes_if_match()
            .about("The server stores the platform's own id byte for byte. The type of the platform session comes from the session's template. The caller must be active in the session.")
            .example(examples::PLATFORM_SESSION),
        Operation::new(M::DELETE, "delete_platform_session_from_rally_here_session", LINK, link::unlink, UPDATE_PLATFORM, "Unlink a platform session from a session").may_fail(MISSING).takes_if_match()
            .about("The players stay in the session. The caller must be active in the session."),
        Operation::new(M::POST, "join_session_by_platform_session_id_self", PLATFORM_ME, join::join_self, UPDATE_ME, "Join the parent session through a platform session").may_fail(MISSING).takes_if_match()
            .about("For a player who is in the platform session and does not know the id of the parent session. The answer is the session as the caller sees it after joining.")
            .example(examples::JOIN_THROUGH),
        Operation::new(M::DELETE, "leave_session_by_platform_session_self", PLATFORM_ME, join::leave_self, UPDATE_ME, "Leave the parent session through a platform session").may_fail(MISSING).takes_if_match()
            .about("Has the same effect as leaving the session by its id."),
        Operation::new(M::POST, "join_session_by_platform_session_by_uuid", PLATFORM_PLAYER, join::join_by_uuid, UPDATE_PLAYER, "Make a player join the parent session through a platform session").may_fail(MISSING).takes_if_match()
            .about("The caller acts as that player. For other players, the token needs a permission for all players.")
            .example(examples::JOIN_THROUGH),
        Operation::new(M::DELETE, "leave_session_by_platform_session_by_uuid", PLATFORM_PLAYER, join::leave_by_uuid, UPDATE_PLAYER, "Make a player leave the parent session through a platform session").may_fail(MISSING).takes_if_match()
            .about("The caller acts as that player. For other players, the token needs a permission for all players."),
    ]
}
