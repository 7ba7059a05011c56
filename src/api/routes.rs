//! THE SURFACE: one row per operation, in the contract's words. Router, permission check, API document and the
//! permission matrix are all read off this page.

use http::{Method, StatusCode};

use super::config::{connection_info, instance_templates, regions, templates};
use super::player::{rights, roster};
use super::policies::*;
use super::session::{short_code, team};
use super::{browser, examples, instance, platform, player, player_sessions, session, tags};
use crate::http::operation::Operation;

/// Every operation's path starts with this.
pub const PREFIX: &str = "/session";

/// The path of Get Session.
pub const SESSION: &str = "/v1/session/{session_id}";
/// The path of Get Platform Session Info.
pub const PLATFORM_SESSION: &str = "/v1/platform/{platform}/platform-session/{platform_session_id_base64}";
const PLATFORM_ME: &str = "/v1/platform/{platform}/platform-session/{platform_session_id_base64}/player/me";
const PLATFORM_PLAYER: &str =
    "/v1/platform/{platform}/platform-session/{platform_session_id_base64}/player/{player_uuid}";
const RIGHT: &str = "/v1/session/{session_id}/player/{player_uuid}/permission/{permission}";
const LINK: &str =
    "/v1/platform/{platform}/platform-session/{platform_session_id_base64}/session/{session_id}";

const MISSING: &[StatusCode] = &[StatusCode::NOT_FOUND];
const MISSING_OR_CONFLICT: &[StatusCode] = &[StatusCode::NOT_FOUND, StatusCode::CONFLICT];
const MISSING_OR_NOT_CREATABLE: &[StatusCode] = &[StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND];

/// Every operation, in groups as a reader of the API document finds them.
#[rustfmt::skip]
pub fn operations() -> Vec<Operation> {
    use Method as M;
    let groups = vec![
        (tags::SESSIONS, vec![
            Operation::new(M::POST, "create_or_join_session", "/v1/session", session::create_or_join, CREATE, "Join an open session of a type, or create one").may_fail(MISSING_OR_NOT_CREATABLE)
                .about("Where the template says so, the oldest open session of the type that takes the caller is joined; else one is made, with the caller as its leader. Repeating it may make another session.")
                .example(examples::CREATE_OR_JOIN),
            Operation::new(M::GET, "get_session_by_id", SESSION, session::get, READ_SESSION, "A session: all of it for active players, an outline for others").may_fail(MISSING)
                .about("Keeps the session alive, unless `refresh_ttl` is false. Poll it with the ETag of the last answer: 304 says that nothing has changed.")
                .example(examples::SESSION),
            Operation::new(M::PATCH, "update_session_by_id", SESSION, session::update, UPDATE_SESSION, "Change a session").may_fail(MISSING)
                .about("Only what the body names changes, all of it or nothing. The caller leads the session.")
                .example(examples::UPDATE_SESSION),
            Operation::new(M::DELETE, "delete_session", SESSION, session::delete, DELETE_SESSION, "End a session").may_fail(MISSING)
                .about("It is over at once for everyone. The caller leads the session."),
            Operation::new(M::PATCH, "update_team_by_id", "/v1/session/{session_id}/team/{team_id}", team::update, UPDATE_SESSION, "Change a team").may_fail(MISSING)
                .about("Its size, or the product's data about it. The caller leads the session."),
            Operation::new(M::POST, "generate_session_short_code", "/v1/session/{session_id}:generate-short-code", short_code::generate, SHORT_CODE, "Make a short code for a session").may_fail(MISSING_OR_CONFLICT)
                .about("The code is short enough to be read aloud, and stands for the session's id in every path. A session has one at most. The caller is active in the session.")
                .example(examples::SHORT_CODE),
            Operation::new(M::GET, "get_session_by_allocation_id", "/v1/session/allocation/{allocation_id}", instance::session_by_allocation, READ_ALLOCATION, "The session of an allocation, as everyone may see it").may_fail(MISSING)
                .about("For servers that know their allocation and not yet their session."),
        ]),
        (tags::PLATFORM_SESSIONS, vec![
            Operation::new(M::GET, "get_platform_session_info", PLATFORM_SESSION, platform::info, READ_PLATFORM, "A platform session").may_fail(MISSING)
                .about("The main operation: finds the session's side of a console or store session by the platform's own id. Poll it with the ETag of the last answer: 304 says that nothing has changed. The caller is active in the session that it is linked to.")
                .example(examples::PLATFORM_SESSION),
            Operation::new(M::POST, "add_platform_session_to_rally_here_session", LINK, platform::link, UPDATE_PLATFORM, "Link a platform session to a session").may_fail(MISSING)
                .about("The platform's own id is kept byte for byte. Its type comes from the session's template. The caller is active in the session.")
                .example(examples::PLATFORM_SESSION),
            Operation::new(M::DELETE, "delete_platform_session_from_rally_here_session", LINK, platform::unlink, UPDATE_PLATFORM, "Unlink a platform session from a session").may_fail(MISSING)
                .about("Its players stay in the session. The caller is active in the session."),
            Operation::new(M::POST, "join_session_by_platform_session_id_self", PLATFORM_ME, platform::join_self, UPDATE_ME, "Join the parent session through a platform session").may_fail(MISSING)
                .about("For who was let into the console's session and does not know ours. The answer is the session as the caller sees it from now on.")
                .example(examples::JOIN_THROUGH),
            Operation::new(M::DELETE, "leave_session_by_platform_session_self", PLATFORM_ME, platform::leave_self, UPDATE_ME, "Leave the parent session through a platform session").may_fail(MISSING)
                .about("As leaving the session by its id does."),
            Operation::new(M::POST, "join_session_by_platform_session_by_uuid", PLATFORM_PLAYER, platform::join_by_uuid, UPDATE_PLAYER, "A player joins the parent session through a platform session").may_fail(MISSING)
                .about("As that player: oneself, or anyone with the permission for all.")
                .example(examples::JOIN_THROUGH),
            Operation::new(M::DELETE, "leave_session_by_platform_session_by_uuid", PLATFORM_PLAYER, platform::leave_by_uuid, UPDATE_PLAYER, "A player leaves the parent session through a platform session").may_fail(MISSING)
                .about("As that player: oneself, or anyone with the permission for all."),
        ]),
        (tags::PLAYERS, vec![
            Operation::new(M::POST, "join_session_by_id_self", "/v1/session/{session_id}/player/me", player::join_self, UPDATE_ME, "Join a session").may_fail(MISSING)
                .about("By an invite, or by one of the session's ways in. The answer is the caller's entry.")
                .example(examples::JOIN),
            Operation::new(M::DELETE, "leave_session_by_id_self", "/v1/session/{session_id}/player/me", player::leave_self, LEAVE, "Leave a session, or decline an invite").may_fail(MISSING)
                .about("Whoever leads hands over to the longest-standing; a session that is left by its last active player ends, unless its template keeps it."),
            Operation::new(M::GET, "get_players_in_session", "/v1/session/{session_id}/player", player::page, READ_SESSION, "A page of a session's players").may_fail(MISSING)
                .about("For sessions that are too large to be shown whole. Start at cursor 0; an answer with cursor 0 is the last."),
            Operation::new(M::POST, "swap_players_in_session", "/v1/session/{session_id}/player:swap", roster::swap, UPDATE_SESSION, "Swap two players of different teams").may_fail(MISSING)
                .about("Both change teams in one step, so that full teams can trade. Neither leads. The caller leads the session."),
            Operation::new(M::GET, "get_player_in_session", "/v1/session/{session_id}/player/{player_uuid}", player::get, READ_SESSION, "A player of a session").may_fail(MISSING)
                .about("One entry, as far as the caller is shown that player."),
            Operation::new(M::POST, "update_session_player_by_uuid_v2", "/v1/session/{session_id}/player/{player_uuid}", roster::update_any, PROMOTE, "Deprecated: promote, invite, join, move or update a player").may_fail(MISSING).deprecated()
                .about("What it does follows from `status` in the body. Use the operation of that name instead."),
            Operation::new(M::DELETE, "kick_player_from_session_by_uuid_v2", "/v1/session/{session_id}/player/{player_uuid}", player::kick, UPDATE_PLAYER, "Take a player out of a session, or take an invite back").may_fail(MISSING)
                .about("Oneself, or others where the caller leads or was lent the right to kick."),
            Operation::new(M::POST, "update_session_player_by_uuid", "/v1/session/{session_id}/player/uuid/{player_uuid}", roster::update_any_by_uuid, UPDATE_PLAYER_ANY_WAY, "Deprecated: promote, invite, join, move or update a player").may_fail(MISSING).deprecated()
                .about("What it does follows from `status` in the body. Use the operation of that name instead."),
            Operation::new(M::DELETE, "kick_player_from_session_by_uuid", "/v1/session/{session_id}/player/uuid/{player_uuid}", player::kick, UPDATE_PLAYER, "Deprecated: take a player out of a session, or take an invite back").may_fail(MISSING).deprecated()
                .about("The same, at an older path."),
            Operation::new(M::POST, "update_session_player_by_id", "/v1/session/{session_id}/player/id/{player_id}", roster::update_any_by_id, PROMOTE, "Deprecated: promote, invite, join, move or update a player").may_fail(MISSING).deprecated()
                .about("What it does follows from `status` in the body. Use the operation of that name instead."),
            Operation::new(M::DELETE, "kick_player_from_session_by_id", "/v1/session/{session_id}/player/id/{player_id}", player::kick_by_id, UPDATE_PLAYER, "Deprecated: take a player out of a session, or take an invite back").may_fail(MISSING).deprecated()
                .about("The same, by the player's older, numeric id."),
            Operation::new(M::POST, "update_player_by_uuid_v2", "/v2/session/{session_id}/player/{player_uuid}", roster::update, UPDATE_PLAYER, "Replace a player's data").may_fail(MISSING)
                .about("The player's `custom_data`, whole. Oneself, or others where the caller leads."),
            Operation::new(M::POST, "invite_player_by_uuid_v2", "/v2/session/{session_id}/player/{player_uuid}:invite", roster::invite, UPDATE_SESSION, "Invite a player to a session").may_fail(MISSING)
                .about("A place on a team is kept for the player, who finds the invite in their list of sessions. The caller leads, or was lent the right to invite.")
                .example(examples::INVITE),
            Operation::new(M::POST, "promote_player_by_uuid_v2", "/v2/session/{session_id}/player/{player_uuid}:promote", roster::promote, PROMOTE, "Make a player the leader").may_fail(MISSING)
                .about("Who led becomes a member. The caller leads the session."),
            Operation::new(M::POST, "move_player_by_uuid_v2", "/v2/session/{session_id}/player/{player_uuid}:move", roster::move_to, UPDATE_PLAYER, "Put a player on another team").may_fail(MISSING)
                .about("Oneself where the template allows it; others where the caller leads or was lent the right to move."),
            Operation::new(M::POST, "invite_session_to_session", "/v1/session/{session_id}/invited-session/{invited_session_id}:invite", roster::invite_session, UPDATE_PLAYER, "Invite the players of a session to another").may_fail(MISSING)
                .about("All active players of the invited session at once, by the rules for what does not fit. The caller is active in the invited session."),
            Operation::new(M::DELETE, "kick_session_from_session", "/v1/session/{session_id}/kicked-session/{kicked_session_id}", roster::kick_session, KICK_SESSION, "Take those out of a session who are active in another").may_fail(MISSING)
                .about("Takes back what inviting a whole session did. The caller leads the session."),
        ]),
        (tags::RIGHTS, vec![
            Operation::new(M::GET, "get_player_permission_by_uuid", "/v1/session/{session_id}/player/{player_uuid}/permission", rights::get, READ_RIGHTS, "The rights of a player in a session").may_fail(MISSING)
                .about("The leader has all of them; others have what they were lent. The caller is active in the session."),
            Operation::new(M::PATCH, "give_player_permission_by_uuid", RIGHT, rights::give, GIVE_RIGHT, "Lend a right of the leader to a player").may_fail(MISSING)
                .about("To invite, to kick or to move others. The caller leads the session."),
            Operation::new(M::DELETE, "remove_player_permission_by_uuid", RIGHT, rights::remove, REMOVE_RIGHT, "Take a lent right back").may_fail(MISSING)
                .about("From others where the caller leads, or from oneself."),
        ]),
        (tags::PLAYER_SESSIONS, vec![
            Operation::new(M::GET, "get_player_sessions_self", "/v1/player/me/session", player_sessions::own, READ_ME, "The caller's sessions, invites and reservations")
                .about("By type of session. Poll it for invites, with the ETag of the last answer.")
                .example(examples::PLAYER_SESSIONS),
            Operation::new(M::GET, "get_player_sessions_by_uuid_v2", "/v1/player/{player_uuid}/session", player_sessions::by_uuid, READ_PLAYER, "A player's sessions, invites and reservations")
                .about("By type of session: oneself, or anyone with the permission for all."),
            Operation::new(M::GET, "get_player_sessions_by_uuid", "/v1/player/uuid/{player_uuid}/session", player_sessions::by_uuid, READ_PLAYER, "Deprecated: a player's sessions, invites and reservations").deprecated()
                .about("The same, at an older path."),
            Operation::new(M::GET, "get_player_sessions", "/v1/player/id/{player_id}/session", player_sessions::by_id, READ_PLAYER, "Deprecated: a player's sessions, invites and reservations").may_fail(MISSING).deprecated()
                .about("The same, by the player's older, numeric id."),
        ]),
        (tags::BROWSER, vec![
            Operation::new(M::GET, "get_browser_sessions_by_type", "/v1/browser", browser::page, READ_BROWSER, "A page of listed sessions of a type")
                .about("Open to be found by anyone. Start at cursor 0; an answer with cursor 0 is the last."),
            Operation::new(M::POST, "post_browser_info", "/v1/session/{session_id}/browser", browser::list, UPDATE_BROWSER, "List a session in the browser").may_fail(MISSING)
                .about("Anyone may find it then, with the data given here. The caller leads the session, and its template allows it."),
            Operation::new(M::PATCH, "update_browser_info", "/v1/session/{session_id}/browser", browser::update, UPDATE_BROWSER, "Change what a session's listing shows").may_fail(MISSING)
                .about("The data is replaced whole. The caller leads the session."),
            Operation::new(M::DELETE, "delete_browser_info", "/v1/session/{session_id}/browser", browser::unlist, UPDATE_BROWSER, "Take a session out of the browser").may_fail(MISSING)
                .about("The session goes on. The caller leads it."),
        ]),
        (tags::INSTANCES, vec![
            Operation::new(M::POST, "create_instance_request", "/v1/session/{session_id}/instance", instance::request, UPDATE_SESSION, "Ask for an instance, or register as its host").may_fail(MISSING)
                .about("A session has one instance at most. A template that is named draws the map. The caller leads the session.")
                .example(examples::INSTANCE),
            Operation::new(M::PATCH, "update_instance_info", "/v1/session/{session_id}/instance", instance::update, UPDATE_SESSION, "Change an instance, as its host").may_fail(MISSING)
                .about("Only what the body names changes. Here a host says how to connect, and when players may come."),
            Operation::new(M::DELETE, "end_instance", "/v1/session/{session_id}/instance", instance::end, UPDATE_SESSION, "End an instance, as its host").may_fail(MISSING)
                .about("The session goes on, and may ask for another one."),
            Operation::new(M::POST, "instance_health_check", "/v1/session/{session_id}/instance/health", instance::report_health, INSTANCE_HEALTH, "Report an instance's health").may_fail(MISSING)
                .about("Hosts repeat it as often as the settings say. 404 `instance_not_found` tells a host that its instance is over."),
        ]),
        (tags::CONFIGURATION, vec![
            Operation::new(M::GET, "get_all_session_templates", "/v1/template", templates::templates, READ_CONFIG, "All session templates")
                .about("Every type of session that there is, by its name. It changes only with the server's configuration."),
            Operation::new(M::GET, "get_session_template_by_type", "/v1/template/{session_type}", templates::template, READ_CONFIG, "One session template").may_fail(MISSING)
                .about("What sessions of this type start out as, and what they may become."),
            Operation::new(M::GET, "get_instance_request_template", "/v1/instance-request-template/{instance_request_template_id}", instance_templates::get, READ_CONFIG, "A template of instance requests").may_fail(MISSING)
                .about("The maps that such a request draws one of, and who hosts."),
            Operation::new(M::GET, "get_all_map_game_info", "/v1/instance-launch-templates/{instance_launch_template_id}", instance_templates::get_launch_template, READ_CONFIG, "Deprecated: a template of instance requests in its older form").may_fail(MISSING).deprecated()
                .about("The same template as of instance requests, spelled as older clients read it."),
            Operation::new(M::GET, "instance_health_config", "/v1/instance/health/config", instance::health_config, READ_CONFIG, "When instances are expected to report")
                .about("How often hosts report, and what silence makes of an instance."),
            Operation::new(M::GET, "get_all_regions", "/v1/regions", regions::page, READ_CONFIG, "A page of regions")
                .about("The regions that sessions may prefer, in the order to show them in. Without any configured, any text is a region."),
            Operation::new(M::GET, "get_connection_info_self", "/v1/connection-info", connection_info::get, READ_CONFIG, "Where the caller comes from")
                .about("The address that the caller has from here, as seen past proxies that are trusted."),
        ]),
    ];
    groups.into_iter().flat_map(|(tag, rows)| rows.into_iter().map(move |row| row.tagged(tag))).collect()
}
