//! Players of a session: reading, joining, leaving, kicking, inviting, promoting, moving and updating them.

mod deprecated;
mod join;
mod read;
mod roster;
mod session_to_session;

use http::Method;

use crate::api::MISSING;
use crate::api::examples;
use crate::api::policies::*;
use crate::http::operation::Operation;
use crate::http::surface::Tag;

/// The group of these operations in the API document.
pub const TAG: Tag = Tag::new(
    "Players",
    "The players of a session, each with a status: leader, member, invited or reserved. The leader and the members \
     are *active* players.",
);

/// The operations of this group.
#[rustfmt::skip]
pub fn rows() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::POST, "join_session_by_id_self", "/v1/session/{session_id}/player/me", join::join_self, UPDATE_ME, "Join a session").may_fail(MISSING).takes_if_match()
            .about("The caller needs an invite, or one of the join paths in the session's `joinability`. The answer is the caller's entry.")
            .example(examples::JOIN),
        Operation::new(M::DELETE, "leave_session_by_id_self", "/v1/session/{session_id}/player/me", join::leave_self, LEAVE, "Leave a session, or decline an invite").may_fail(MISSING).takes_if_match()
            .about("If the leader leaves, the active player who joined first becomes the leader. If the last active player leaves, the session ends, unless its template says `keep_alive_on_empty`."),
        Operation::new(M::GET, "get_players_in_session", "/v1/session/{session_id}/player", read::page, READ_SESSION, "Read a page of a session's players").may_fail(MISSING)
            .about("For sessions with too many players to show at once. The first page has cursor 0. An answer with cursor 0 is the last page."),
        Operation::new(M::POST, "swap_players_in_session", "/v1/session/{session_id}/player:swap", roster::swap, UPDATE_SESSION, "Swap two players of different teams").may_fail(MISSING).takes_if_match()
            .about("Both players change teams in one step, so the teams need no free slot. Neither of them may be the leader. The caller must be the leader of the session."),
        Operation::new(M::GET, "get_player_in_session", "/v1/session/{session_id}/player/{player_uuid}", read::get, READ_SESSION, "Read a player of a session").may_fail(MISSING)
            .about("The player's entry, if the session's template shows that player to the caller."),
        Operation::new(M::POST, "update_session_player_by_uuid_v2", "/v1/session/{session_id}/player/{player_uuid}", deprecated::update_any, PROMOTE, "Deprecated: promote, invite, join, move or update a player").may_fail(MISSING).takes_if_match().deprecated()
            .about("The `status` in the body decides what the operation does. Use the operation of that name instead."),
        Operation::new(M::DELETE, "kick_player_from_session_by_uuid_v2", "/v1/session/{session_id}/player/{player_uuid}", join::kick, UPDATE_PLAYER, "Kick a player from a session, or withdraw an invite").may_fail(MISSING).takes_if_match()
            .about("Players may remove themselves. To kick others, the caller must be the leader or have the right to kick."),
        Operation::new(M::POST, "update_session_player_by_uuid", "/v1/session/{session_id}/player/uuid/{player_uuid}", deprecated::update_any_by_uuid, UPDATE_PLAYER_ANY_WAY, "Deprecated: promote, invite, join, move or update a player").may_fail(MISSING).takes_if_match().deprecated()
            .about("The `status` in the body decides what the operation does. Use the operation of that name instead."),
        Operation::new(M::DELETE, "kick_player_from_session_by_uuid", "/v1/session/{session_id}/player/uuid/{player_uuid}", join::kick, UPDATE_PLAYER, "Deprecated: kick a player from a session, or withdraw an invite").may_fail(MISSING).takes_if_match().deprecated()
            .about("The same operation, at an older path."),
        Operation::new(M::POST, "update_session_player_by_id", "/v1/session/{session_id}/player/id/{player_id}", deprecated::update_any_by_id, PROMOTE, "Deprecated: promote, invite, join, move or update a player").may_fail(MISSING).takes_if_match().deprecated()
            .about("The `status` in the body decides what the operation does. Use the operation of that name instead."),
        Operation::new(M::DELETE, "kick_player_from_session_by_id", "/v1/session/{session_id}/player/id/{player_id}", join::kick_by_id, UPDATE_PLAYER, "Deprecated: kick a player from a session, or withdraw an invite").may_fail(MISSING).takes_if_match().deprecated()
            .about("The same operation, by the player's older, numeric id."),
        Operation::new(M::POST, "update_player_by_uuid_v2", "/v2/session/{session_id}/player/{player_uuid}", roster::update, UPDATE_PLAYER, "Replace a player's custom data").may_fail(MISSING).takes_if_match()
            .about("Replaces the player's `custom_data` as a whole. Players may change their own data. To change that of others, the caller must be the leader."),
        Operation::new(M::POST, "invite_player_by_uuid_v2", "/v2/session/{session_id}/player/{player_uuid}:invite", roster::invite, UPDATE_SESSION, "Invite a player to a session").may_fail(MISSING).takes_if_match()
            .about("The invite holds a slot on a team. The player finds it in their list of sessions. The caller must be the leader or have the right to invite.")
            .example(examples::INVITE),
        Operation::new(M::POST, "promote_player_by_uuid_v2", "/v2/session/{session_id}/player/{player_uuid}:promote", roster::promote, PROMOTE, "Make a player the leader").may_fail(MISSING).takes_if_match()
            .about("The previous leader becomes a member. The caller must be the leader of the session."),
        Operation::new(M::POST, "move_player_by_uuid_v2", "/v2/session/{session_id}/player/{player_uuid}:move", roster::move_to, UPDATE_PLAYER, "Move a player to another team").may_fail(MISSING).takes_if_match()
            .about("Players may move themselves if the template allows it. To move others, the caller must be the leader or have the right to move."),
        Operation::new(M::POST, "invite_session_to_session", "/v1/session/{session_id}/invited-session/{invited_session_id}:invite", session_to_session::invite_session, UPDATE_PLAYER, "Invite the players of one session to another").may_fail(MISSING).takes_if_match()
            .about("Invites all active players of the invited session at once. `overflow_action` says what happens if too few slots are free. The caller must be active in the invited session."),
        Operation::new(M::DELETE, "kick_session_from_session", "/v1/session/{session_id}/kicked-session/{kicked_session_id}", session_to_session::kick_session, KICK_SESSION, "Kick the players from a session who are active in another").may_fail(MISSING).takes_if_match()
            .about("Reverses the invite of a whole session. The caller must be the leader of the session."),
    ]
}
