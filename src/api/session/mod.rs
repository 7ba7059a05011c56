//! Sessions: creating or joining, reading, changing and ending them; teams and short codes.

mod create_or_join;
mod match_made;
mod read;
mod short_code;
mod team;
mod update;

use http::Method;

use crate::api::examples;
use crate::api::policies::*;
use crate::api::{MISSING, MISSING_OR_CONFLICT, MISSING_OR_NOT_CREATABLE};
use crate::http::operation::Operation;
use crate::http::surface::Tag;

/// The path of Get Session.
pub const SESSION: &str = "/v1/session/{session_id}";

/// The group of these operations in the API document.
pub const TAG: Tag = Tag::new(
    "Sessions",
    "Groups of players, such as parties and matches. The type of a session names its template, which sets the \
     initial state of the session. In every path, a short code can replace `session_id`.",
);

/// The operations of this group.
#[rustfmt::skip]
pub fn rows() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::POST, "create_or_join_session", "/v1/session", create_or_join::create_or_join, CREATE, "Join an open session of a type, or create one").may_fail(MISSING_OR_NOT_CREATABLE)
            .about("If the template allows it, the caller joins the oldest open session of the type that accepts them. Otherwise the server creates a session with the caller as its leader. Without an `Idempotency-Key`, repeating the request can create another session. A token without a player always creates a session, without players; the first player who joins leads it.")
            .example(examples::CREATE_OR_JOIN),
        Operation::new(M::POST, "create_matchmade_session", "/v1/match-made-session", match_made::create, CREATE_MATCHMADE, "Make a match, as a matcher of one's own").may_fail(MISSING).safe_to_repeat()
            .about("The tickets of the parties end and the session of the match begins, in one commit: all of it happens, or nothing. Each pair of `session_tickets` must be a session and the ticket that it still has. The same `match_id` again answers with the first session, and does nothing."),
        Operation::new(M::GET, "get_session_by_id", SESSION, read::get, READ_SESSION, "Read a session: whole for active players, an outline for others").may_fail(MISSING)
            .about("Reading keeps the session alive, unless `refresh_ttl` is false. Poll it with the ETag of the last answer: the answer is 304 while nothing has changed.")
            .example(examples::SESSION),
        Operation::new(M::PATCH, "update_session_by_id", SESSION, update::update, UPDATE_SESSION, "Change a session").may_fail(MISSING).takes_if_match()
            .about("Only the fields in the body change, either all of them or none. The caller must be the leader of the session.")
            .example(examples::UPDATE_SESSION),
        Operation::new(M::DELETE, "delete_session", SESSION, update::delete, DELETE_SESSION, "End a session").may_fail(MISSING).takes_if_match()
            .about("The session ends immediately for all players. The caller must be the leader of the session."),
        Operation::new(M::PATCH, "update_team_by_id", "/v1/session/{session_id}/team/{team_id}", team::update, UPDATE_SESSION, "Change a team").may_fail(MISSING).takes_if_match()
            .about("Changes the number of slots or the custom data of the team. The caller must be the leader of the session."),
        Operation::new(M::POST, "generate_session_short_code", "/v1/session/{session_id}:generate-short-code", short_code::generate, SHORT_CODE, "Create a short code for a session").may_fail(MISSING_OR_CONFLICT).takes_if_match()
            .about("The code has few characters, so that people can tell it to each other. It can replace the session's id in every path. A session has at most one code. The caller must be active in the session.")
            .example(examples::SHORT_CODE),
        Operation::new(M::GET, "get_session_by_allocation_id", "/v1/session/allocation/{allocation_id}", read::by_allocation, READ_ALLOCATION, "Read the session that has an allocation").may_fail(MISSING)
            .about("For servers that know their allocation but not yet their session. The answer is the caller's view of the session, and reading it keeps the session alive."),
    ]
}
