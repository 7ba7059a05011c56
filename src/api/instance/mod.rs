//! Instances: asked for, changed, ended, and their health.

mod health;
mod lifecycle;

use http::Method;

use crate::api::MISSING;
use crate::api::examples;
use crate::api::policies::*;
use crate::http::operation::Operation;
use crate::http::surface::Tag;

/// The group of these operations in the API document.
pub const TAG: Tag = Tag::new(
    "Instances",
    "Where a session is played: who hosts it, how to connect to it, and whether it is well.",
);

/// The operations of this group.
#[rustfmt::skip]
pub fn rows() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::POST, "create_instance_request", "/v1/session/{session_id}/instance", lifecycle::request, UPDATE_SESSION, "Ask for an instance, or register as its host").may_fail(MISSING)
            .about("A session has one instance at most. A template that is named draws the map. The caller leads the session.")
            .example(examples::INSTANCE),
        Operation::new(M::PATCH, "update_instance_info", "/v1/session/{session_id}/instance", lifecycle::update, UPDATE_SESSION, "Change an instance, as its host").may_fail(MISSING)
            .about("Only what the body names changes. Here a host says how to connect, and when players may come."),
        Operation::new(M::DELETE, "end_instance", "/v1/session/{session_id}/instance", lifecycle::end, UPDATE_SESSION, "End an instance, as its host").may_fail(MISSING)
            .about("The session goes on, and may ask for another one."),
        Operation::new(M::POST, "instance_health_check", "/v1/session/{session_id}/instance/health", health::report_health, INSTANCE_HEALTH, "Report an instance's health").may_fail(MISSING)
            .about("Hosts repeat it as often as the settings say. 404 `instance_not_found` tells a host that its instance is over."),
    ]
}
