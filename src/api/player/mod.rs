//! Players of a session: read, join, leave, kick, invite, promote, move.

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
    "Who is in a session, and in which standing: leader, member, invited or reserved. *Active* players are \
     leaders and members.",
);

/// The operations of this group.
#[rustfmt::skip]
pub fn rows() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::POST, "join_session_by_id_self", "/v1/session/{session_id}/player/me", join::join_self, UPDATE_ME, "Join a session").may_fail(MISSING)
            .about("By an invite, or by one of the session's ways in. The answer is the caller's entry.")
            .example(examples::JOIN),
        Operation::new(M::DELETE, "leave_session_by_id_self", "/v1/session/{session_id}/player/me", join::leave_self, LEAVE, "Leave a session, or decline an invite").may_fail(MISSING)
            .about("Whoever leads hands over to the longest-standing; a session that is left by its last active player ends, unless its template keeps it."),
        Operation::new(M::GET, "get_players_in_session", "/v1/session/{session_id}/player", read::page, READ_SESSION, "A page of a session's players").may_fail(MISSING)
            .about("For sessions that are too large to be shown whole. Start at cursor 0; an answer with cursor 0 is the last."),
        Operation::new(M::POST, "swap_players_in_session", "/v1/session/{session_id}/player:swap", roster::swap, UPDATE_SESSION, "Swap two players of different teams").may_fail(MISSING)
            .about("Both change teams in one step, so that full teams can trade. Neither leads. The caller leads the session."),
        Operation::new(M::GET, "get_player_in_session", "/v1/session/{session_id}/player/{player_uuid}", read::get, READ_SESSION, "A player of a session").may_fail(MISSING)
            .about("One entry, as far as the caller is shown that player."),
        Operation::new(M::POST, "update_session_player_by_uuid_v2", "/v1/session/{session_id}/player/{player_uuid}", deprecated::update_any, PROMOTE, "Deprecated: promote, invite, join, move or update a player").may_fail(MISSING).deprecated()
            .about("What it does follows from `status` in the body. Use the operation of that name instead."),
        Operation::new(M::DELETE, "kick_player_from_session_by_uuid_v2", "/v1/session/{session_id}/player/{player_uuid}", join::kick, UPDATE_PLAYER, "Take a player out of a session, or take an invite back").may_fail(MISSING)
            .about("Oneself, or others where the caller leads or was lent the right to kick."),
        Operation::new(M::POST, "update_session_player_by_uuid", "/v1/session/{session_id}/player/uuid/{player_uuid}", deprecated::update_any_by_uuid, UPDATE_PLAYER_ANY_WAY, "Deprecated: promote, invite, join, move or update a player").may_fail(MISSING).deprecated()
            .about("What it does follows from `status` in the body. Use the operation of that name instead."),
        Operation::new(M::DELETE, "kick_player_from_session_by_uuid", "/v1/session/{session_id}/player/uuid/{player_uuid}", join::kick, UPDATE_PLAYER, "Deprecated: take a player out of a session, or take an invite back").may_fail(MISSING).deprecated()
            .about("The same, at an older path."),
        Operation::new(M::POST, "update_session_player_by_id", "/v1/session/{session_id}/player/id/{player_id}", deprecated::update_any_by_id, PROMOTE, "Deprecated: promote, invite, join, move or update a player").may_fail(MISSING).deprecated()
            .about("What it does follows from `status` in the body. Use the operation of that name instead."),
        Operation::new(M::DELETE, "kick_player_from_session_by_id", "/v1/session/{session_id}/player/id/{player_id}", join::kick_by_id, UPDATE_PLAYER, "Deprecated: take a player out of a session, or take an invite back").may_fail(MISSING).deprecated()
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
        Operation::new(M::POST, "invite_session_to_session", "/v1/session/{session_id}/invited-session/{invited_session_id}:invite", session_to_session::invite_session, UPDATE_PLAYER, "Invite the players of a session to another").may_fail(MISSING)
            .about("All active players of the invited session at once, by the rules for what does not fit. The caller is active in the invited session."),
        Operation::new(M::DELETE, "kick_session_from_session", "/v1/session/{session_id}/kicked-session/{kicked_session_id}", session_to_session::kick_session, KICK_SESSION, "Take those out of a session who are active in another").may_fail(MISSING)
            .about("Takes back what inviting a whole session did. The caller leads the session."),
    ]
}
