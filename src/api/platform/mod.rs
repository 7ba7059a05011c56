//! Platform sessions: read, linked, joined and left through.

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
    "The sessions that consoles and stores keep of their own (XboxLive, PSN, Steam and others), linked to \
     sessions here: a player who was let into the one finds, joins and leaves the other through it.",
);

/// The operations of this group.
#[rustfmt::skip]
pub fn rows() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::GET, "get_platform_session_info", PLATFORM_SESSION, read::info, READ_PLATFORM, "A platform session").may_fail(MISSING)
            .about("The main operation: finds the session's side of a console or store session by the platform's own id. Poll it with the ETag of the last answer: 304 says that nothing has changed. The caller is active in the session that it is linked to.")
            .example(examples::PLATFORM_SESSION),
        Operation::new(M::POST, "add_platform_session_to_rally_here_session", LINK, link::link, UPDATE_PLATFORM, "Link a platform session to a session").may_fail(MISSING)
            .about("The platform's own id is kept byte for byte. Its type comes from the session's template. The caller is active in the session.")
            .example(examples::PLATFORM_SESSION),
        Operation::new(M::DELETE, "delete_platform_session_from_rally_here_session", LINK, link::unlink, UPDATE_PLATFORM, "Unlink a platform session from a session").may_fail(MISSING)
            .about("Its players stay in the session. The caller is active in the session."),
        Operation::new(M::POST, "join_session_by_platform_session_id_self", PLATFORM_ME, join::join_self, UPDATE_ME, "Join the parent session through a platform session").may_fail(MISSING)
            .about("For who was let into the console's session and does not know ours. The answer is the session as the caller sees it from now on.")
            .example(examples::JOIN_THROUGH),
        Operation::new(M::DELETE, "leave_session_by_platform_session_self", PLATFORM_ME, join::leave_self, UPDATE_ME, "Leave the parent session through a platform session").may_fail(MISSING)
            .about("As leaving the session by its id does."),
        Operation::new(M::POST, "join_session_by_platform_session_by_uuid", PLATFORM_PLAYER, join::join_by_uuid, UPDATE_PLAYER, "A player joins the parent session through a platform session").may_fail(MISSING)
            .about("As that player: oneself, or anyone with the permission for all.")
            .example(examples::JOIN_THROUGH),
        Operation::new(M::DELETE, "leave_session_by_platform_session_by_uuid", PLATFORM_PLAYER, join::leave_by_uuid, UPDATE_PLAYER, "A player leaves the parent session through a platform session").may_fail(MISSING)
            .about("As that player: oneself, or anyone with the permission for all."),
    ]
}
