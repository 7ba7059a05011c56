//! The configuration that clients can read: templates, regions and health settings; and the caller's address.

mod connection_info;
mod health_settings;
mod instance_templates;
mod match_making;
mod queues;
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
    "The part of the server's configuration that clients can read, and the client's own address.",
);

/// The operations of this group.
#[rustfmt::skip]
pub fn rows() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::GET, "get_all_session_templates", "/v1/template", templates::templates, READ_CONFIG, "Read all session templates")
            .about("Every type of session, by name. Templates change only with the server's configuration."),
        Operation::new(M::GET, "get_session_template_by_type", "/v1/template/{session_type}", templates::template, READ_CONFIG, "Read one session template").may_fail(MISSING)
            .about("The initial state and the rules of sessions of this type."),
        Operation::new(M::GET, "get_instance_request_template", "/v1/instance-request-template/{instance_request_template_id}", instance_templates::get, READ_CONFIG, "Read an instance request template").may_fail(MISSING)
            .about("The maps of which the server draws one for a request with this template, and the kind of host."),
        Operation::new(M::GET, "get_all_map_game_info", "/v1/instance-launch-templates/{instance_launch_template_id}", instance_templates::get_launch_template, READ_CONFIG, "Deprecated: read an instance request template in its older form").may_fail(MISSING).deprecated()
            .about("The same instance request template, with the field names that older clients read."),
        Operation::new(M::GET, "instance_health_config", "/v1/instance/health/config", health_settings::health_config, READ_CONFIG, "Read how often hosts must report health")
            .about("The time between health reports, and how missing reports change the health of an instance."),
        Operation::new(M::GET, "get_all_regions", "/v1/regions", regions::page, READ_CONFIG, "Read a page of regions")
            .about("The regions that sessions can prefer, in display order. If no regions are configured, any text is a region."),
        Operation::new(M::GET, "get_all_queue_info_v2", "/v2/queues", queues::page, READ_CONFIG, "Read a page of matchmaking queues")
            .about("The queues that can be joined, by id. The cursor is the number of queues on the pages before. A page with fewer queues than `page_size` is the last."),
        Operation::new(M::GET, "get_all_queue_info", "/v1/queues", queues::legacy_page, READ_CONFIG, "Deprecated: read a page of matchmaking queues in their older form").deprecated()
            .about("The same queues, with the sizes of the first profile that a party without special rules enters."),
        Operation::new(M::GET, "get_match_making_templates_v2", "/v2/match-making-templates/{template_group_id}", match_making::template_group, READ_CONFIG, "Read a group of matchmaking templates").may_fail(MISSING)
            .about("The templates of a queue in order. The first one whose rules a party satisfies names the profiles that its ticket enters."),
        Operation::new(M::GET, "get_match_making_templates", "/v1/match-making-templates/{template_group_id}", match_making::legacy_template_group, READ_CONFIG, "Deprecated: read a group of matchmaking templates in its older form").may_fail(MISSING).deprecated()
            .about("The same templates, with the field names that older clients read."),
        Operation::new(M::GET, "get_match_making_profile_v2", "/v2/match-making-profile/{match_making_profile_id}", match_making::profile, READ_CONFIG, "Read a matchmaking profile").may_fail(MISSING)
            .about("Which parties play together, and what their session is made from."),
        Operation::new(M::GET, "get_match_making_profile", "/v1/match-making-profile/{match_making_profile_id}", match_making::legacy_profile, READ_CONFIG, "Deprecated: read a matchmaking profile in its older form").may_fail(MISSING).deprecated()
            .about("The same profile, with the field names that older clients read."),
        Operation::new(M::GET, "get_connection_info_self", "/v1/connection-info", connection_info::get, READ_CONFIG, "Read the caller's address")
            .about("The network address from which the request came. If it came through trusted proxies, the address of the client before them."),
    ]
}
