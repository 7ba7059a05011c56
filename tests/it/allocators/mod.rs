//! Allocators, by their interface alone: each kind against a service that stands in for the real one.

mod agones;
mod webhook;

use rallypoint::allocators::Launch;
use rallypoint::domain::SessionId;
use rallypoint::domain::instance::StartupParams;

/// A launch for this allocation.
pub fn launch(allocation_id: &str) -> Launch {
    let custom_data = [("season".to_owned(), "3".to_owned())].into();
    Launch {
        allocation_id: allocation_id.into(),
        session_id: SessionId::parse("11111111-1111-4111-8111-111111111111").unwrap(),
        instance_id: "22222222-2222-4222-8222-222222222222".into(),
        session_type: "match".into(),
        region_id: Some("eu".into()),
        startup_params: Some(StartupParams {
            map: "Dunes".into(),
            mode: None,
            misc_params: "?Listen".into(),
            custom_data: [].into(),
        }),
        custom_data,
        version: None,
        requested_at: "2026-11-30T12:00:00Z".parse().unwrap(),
        attempt: 1,
    }
}
