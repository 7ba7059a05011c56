//! Sessions: create or join, read, change, end.

mod create_or_join;
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
    "Groups of players, such as parties and matches. A template, the session's type, says what a session starts \
     out as. In every path a short code may stand for `session_id`.",
);

/// The operations of this group.
#[rustfmt::skip]
pub fn rows() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::POST, "create_or_join_session", "/v1/session", create_or_join::create_or_join, CREATE, "Join an open session of a type, or create one").may_fail(MISSING_OR_NOT_CREATABLE)
            .about("Where the template says so, the oldest open session of the type that takes the caller is joined; else one is made, with the caller as its leader. Repeating it may make another session.")
            .example(examples::CREATE_OR_JOIN),
        Operation::new(M::GET, "get_session_by_id", SESSION, read::get, READ_SESSION, "A session: all of it for active players, an outline for others").may_fail(MISSING)
            .about("Keeps the session alive, unless `refresh_ttl` is false. Poll it with the ETag of the last answer: 304 says that nothing has changed.")
            .example(examples::SESSION),
        Operation::new(M::PATCH, "update_session_by_id", SESSION, update::update, UPDATE_SESSION, "Change a session").may_fail(MISSING)
            .about("Only what the body names changes, all of it or nothing. The caller leads the session.")
            .example(examples::UPDATE_SESSION),
        Operation::new(M::DELETE, "delete_session", SESSION, update::delete, DELETE_SESSION, "End a session").may_fail(MISSING)
            .about("It is over at once for everyone. The caller leads the session."),
        Operation::new(M::PATCH, "update_team_by_id", "/v1/session/{session_id}/team/{team_id}", team::update, UPDATE_SESSION, "Change a team").may_fail(MISSING)
            .about("Its size, or the product's data about it. The caller leads the session."),
        Operation::new(M::POST, "generate_session_short_code", "/v1/session/{session_id}:generate-short-code", short_code::generate, SHORT_CODE, "Make a short code for a session").may_fail(MISSING_OR_CONFLICT)
            .about("The code is short enough to be read aloud, and stands for the session's id in every path. A session has one at most. The caller is active in the session.")
            .example(examples::SHORT_CODE),
        Operation::new(M::GET, "get_session_by_allocation_id", "/v1/session/allocation/{allocation_id}", read::by_allocation, READ_ALLOCATION, "The session of an allocation, as everyone may see it").may_fail(MISSING)
            .about("For servers that know their allocation and not yet their session."),
    ]
}
