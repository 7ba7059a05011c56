//! Audit events: what has happened in sessions, and what players and hosts report about it.

mod create;
mod event;
mod read;

use http::Method;

use crate::api::MISSING;
use crate::api::policies::*;
use crate::http::operation::Operation;
use crate::http::surface::Tag;

/// The group of these operations in the API document.
pub const TAG: Tag =
    Tag::new("Audit", "What has happened in sessions, and what players and hosts report about it.");

/// Largest body of a reported event, in bytes.
const EVENT_BYTES_MAX: usize = 65_536;

/// The operations of this group.
#[rustfmt::skip]
pub fn rows() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::GET, "get_session_audit", "/v1/audit", read::get, READ_AUDIT, "Read the events of a session or of a player")
            .about("The events of a session, of a player, or of a player in a session, oldest first. Events are kept for some days, also after their session has ended. A session without events has an empty list."),
        Operation::new(M::POST, "create_session_audit", "/v1/audit", create::create, CREATE_AUDIT, "Report an event").may_fail(MISSING)
            .about("Published clients and hosts report who joins and leaves an instance. The server puts `customer.` before the name, and sets the time and the reporting player itself.")
            .body_at_most(EVENT_BYTES_MAX),
    ]
}
