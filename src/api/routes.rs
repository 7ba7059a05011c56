//! THE SURFACE: one row per operation, in the contract's words. Router, permission check, API document and the
//! permission matrix are all read off this page.

use http::{Method, StatusCode};

use super::operation::Operation;
use super::{catalog, platform, player, session};
use crate::auth::Permission::{
    Create, DeleteActive, DeleteAny, ReadAny, ReadConfig, ReadPlatform, ReadPlayerAny, ReadPlayerSelf,
    ReadSelf, SessionAll, UpdateAny, UpdatePlatform, UpdatePlayerAny, UpdatePlayerSelf, UpdateSelf,
};
use crate::auth::Policy;

/// Every operation's path starts with this.
pub const PREFIX: &str = "/session";

const READ_CONFIG: Policy = Policy::any(&[SessionAll, ReadConfig]);
const CREATE: Policy = Policy::any(&[SessionAll, Create]).as_player();
const READ_SESSION: Policy = Policy::any(&[SessionAll, ReadAny, ReadSelf]);
const UPDATE_SESSION: Policy = Policy::any(&[SessionAll, UpdateAny]).or_own(&[UpdateSelf]);
const DELETE_SESSION: Policy = Policy::any(&[SessionAll, DeleteAny]).or_own(&[DeleteActive]);
const READ_PLATFORM: Policy = Policy::any(&[SessionAll, ReadPlatform]);
const UPDATE_PLATFORM: Policy = Policy::any(&[SessionAll, UpdatePlatform]);
const UPDATE_PLAYER: Policy = Policy::any(&[SessionAll, UpdatePlayerAny]).or_own(&[UpdatePlayerSelf]);
const UPDATE_ME: Policy = UPDATE_PLAYER.as_player();
const LEAVE: Policy = Policy::any(&[SessionAll]).or_own(&[UpdateSelf]).as_player();
const READ_PLAYER: Policy = Policy::any(&[SessionAll, ReadPlayerAny]).or_own(&[ReadPlayerSelf]);
const READ_ME: Policy = Policy::any(&[]).or_own(&[ReadPlayerSelf]).as_player();

const PLATFORM_SESSION: &str = "/v1/platform/{platform}/platform-session/{platform_session_id_base64}";
const PLATFORM_ME: &str = "/v1/platform/{platform}/platform-session/{platform_session_id_base64}/player/me";
const PLATFORM_PLAYER: &str =
    "/v1/platform/{platform}/platform-session/{platform_session_id_base64}/player/{player_uuid}";
const LINK: &str =
    "/v1/platform/{platform}/platform-session/{platform_session_id_base64}/session/{session_id}";

const MISSING: &[StatusCode] = &[StatusCode::NOT_FOUND];
const MISSING_OR_NOT_CREATABLE: &[StatusCode] = &[StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND];

/// Every operation.
#[rustfmt::skip]
pub fn operations() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::GET, "get_all_session_templates", "/v1/template", catalog::templates, READ_CONFIG, "All session templates"),
        Operation::new(M::GET, "get_session_template_by_type", "/v1/template/{session_type}", catalog::template, READ_CONFIG, "One session template").may_fail(MISSING),

        Operation::new(M::POST, "create_or_join_session", "/v1/session", session::create_or_join, CREATE, "Join an open session of a type, or create one").may_fail(MISSING_OR_NOT_CREATABLE),
        Operation::new(M::GET, "get_session_by_id", "/v1/session/{session_id}", session::get, READ_SESSION, "A session: all of it for active players, an outline for others").may_fail(MISSING),
        Operation::new(M::PATCH, "update_session_by_id", "/v1/session/{session_id}", session::update, UPDATE_SESSION, "Change a session").may_fail(MISSING),
        Operation::new(M::DELETE, "delete_session", "/v1/session/{session_id}", session::delete, DELETE_SESSION, "End a session").may_fail(MISSING),
        Operation::new(M::POST, "join_session_by_id_self", "/v1/session/{session_id}/player/me", player::join_self, UPDATE_ME, "Join a session").may_fail(MISSING),
        Operation::new(M::DELETE, "leave_session_by_id_self", "/v1/session/{session_id}/player/me", player::leave_self, LEAVE, "Leave a session, or decline an invite").may_fail(MISSING),

        Operation::new(M::GET, "get_platform_session_info", PLATFORM_SESSION, platform::info, READ_PLATFORM, "A platform session").may_fail(MISSING),
        Operation::new(M::POST, "add_platform_session_to_rally_here_session", LINK, platform::link, UPDATE_PLATFORM, "Link a platform session to a session").may_fail(MISSING),
        Operation::new(M::DELETE, "delete_platform_session_from_rally_here_session", LINK, platform::unlink, UPDATE_PLATFORM, "Unlink a platform session from a session").may_fail(MISSING),
        Operation::new(M::POST, "join_session_by_platform_session_id_self", PLATFORM_ME, platform::join_self, UPDATE_ME, "Join the parent session through a platform session").may_fail(MISSING),
        Operation::new(M::DELETE, "leave_session_by_platform_session_self", PLATFORM_ME, platform::leave_self, UPDATE_ME, "Leave the parent session through a platform session").may_fail(MISSING),
        Operation::new(M::POST, "join_session_by_platform_session_by_uuid", PLATFORM_PLAYER, platform::join_by_uuid, UPDATE_PLAYER, "A player joins the parent session through a platform session").may_fail(MISSING),
        Operation::new(M::DELETE, "leave_session_by_platform_session_by_uuid", PLATFORM_PLAYER, platform::leave_by_uuid, UPDATE_PLAYER, "A player leaves the parent session through a platform session").may_fail(MISSING),

        Operation::new(M::GET, "get_player_sessions_self", "/v1/player/me/session", player::sessions_self, READ_ME, "The caller's sessions, invites and reservations"),
        Operation::new(M::GET, "get_player_sessions_by_uuid_v2", "/v1/player/{player_uuid}/session", player::sessions_by_uuid, READ_PLAYER, "A player's sessions, invites and reservations"),
    ]
}
