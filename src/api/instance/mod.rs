//! Instances: requesting, changing and ending them, and reporting their health.

mod health;
mod lifecycle;

use http::Method;

use crate::api::MISSING;
use crate::api::examples;
use crate::api::policies::*;
use crate::http::operation::Operation;
use crate::http::surface::Tag;

/// The group of these operations in the API document.
pub const TAG: Tag =
    Tag::new("Instances", "The game server of a session: its host, how to connect to it, and its health.");

/// The operations of this group.
#[rustfmt::skip]
pub fn rows() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::POST, "create_instance_request", "/v1/session/{session_id}/instance", lifecycle::request, UPDATE_SESSION, "Request an instance, or register as its host").may_fail(MISSING).takes_if_match()
            .about("A session has at most one instance; a closed one is replaced. If the request names a template, the server draws one of its maps. The caller must be the leader of the session.")
            .example(examples::INSTANCE),
        Operation::new(M::PATCH, "update_instance_info", "/v1/session/{session_id}/instance", lifecycle::update, UPDATE_SESSION, "Change an instance, as its host").may_fail(MISSING).takes_if_match()
            .about("Only the fields in the body change. With this operation, a host says how to connect, and when players may join. `closed` is final."),
        Operation::new(M::DELETE, "end_instance", "/v1/session/{session_id}/instance", lifecycle::end, UPDATE_SESSION, "End an instance, as its host").may_fail(MISSING).takes_if_match()
            .about("The session continues and may request another instance."),
        Operation::new(M::POST, "instance_health_check", "/v1/session/{session_id}/instance/health", health::report_health, INSTANCE_HEALTH, "Report an instance's health").may_fail(MISSING).safe_to_repeat()
            .about("A host repeats the report as often as the health settings say. 404 `instance_not_found` tells a host that its instance has ended."),
    ]
}
