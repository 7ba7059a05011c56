//! What the operator has configured, as clients read it.

mod connection_info;
mod health_settings;
mod instance_templates;
mod regions;
mod templates;

use http::Method;

use crate::api::MISSING;
use crate::api::policies::*;
use crate::http::operation::Operation;
use crate::http::surface::Tag;

/// The group of these operations in the API document.
pub const TAG: Tag = Tag::new(
    "Configuration",
    "What the operator has set up, as clients see it; and where a client comes from.",
);

/// The operations of this group.
#[rustfmt::skip]
pub fn rows() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::GET, "get_all_session_templates", "/v1/template", templates::templates, READ_CONFIG, "All session templates")
            .about("Every type of session that there is, by its name. It changes only with the server's configuration."),
        Operation::new(M::GET, "get_session_template_by_type", "/v1/template/{session_type}", templates::template, READ_CONFIG, "One session template").may_fail(MISSING)
            .about("What sessions of this type start out as, and what they may become."),
        Operation::new(M::GET, "get_instance_request_template", "/v1/instance-request-template/{instance_request_template_id}", instance_templates::get, READ_CONFIG, "A template of instance requests").may_fail(MISSING)
            .about("The maps that such a request draws one of, and who hosts."),
        Operation::new(M::GET, "get_all_map_game_info", "/v1/instance-launch-templates/{instance_launch_template_id}", instance_templates::get_launch_template, READ_CONFIG, "Deprecated: a template of instance requests in its older form").may_fail(MISSING).deprecated()
            .about("The same template as of instance requests, spelled as older clients read it."),
        Operation::new(M::GET, "instance_health_config", "/v1/instance/health/config", health_settings::health_config, READ_CONFIG, "When instances are expected to report")
            .about("How often hosts report, and what silence makes of an instance."),
        Operation::new(M::GET, "get_all_regions", "/v1/regions", regions::page, READ_CONFIG, "A page of regions")
            .about("The regions that sessions may prefer, in the order to show them in. Without any configured, any text is a region."),
        Operation::new(M::GET, "get_connection_info_self", "/v1/connection-info", connection_info::get, READ_CONFIG, "Where the caller comes from")
            .about("The address that the caller has from here, as seen past proxies that are trusted."),
    ]
}
