//! Allocators, by their interface alone: each kind against a service that stands in for the real one.

mod agones;
mod webhook;

use rallypoint::allocators::{Allocator, Found, Launch, Placement, ReleaseMode, Released};
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

/// What every kind of allocator does. `end` lets the server of an allocation end, where the allocator cannot stop it.
pub async fn check_conformance(allocator: &dyn Allocator, end: impl Fn(&str)) {
    let placed = |placement| match placement {
        Placement::Placed(placed) => placed,
        other => panic!("{other:?}"),
    };
    assert_eq!(allocator.find("a1").await, Found::Absent);
    let first = placed(allocator.place(&launch("a1")).await);
    assert_eq!(placed(allocator.place(&launch("a1")).await), first);
    assert_eq!(allocator.find("a1").await, Found::Placed(first.clone()));
    let other = placed(allocator.place(&launch("a2")).await);
    assert_ne!(first.handle, other.handle);
    let handle = Some(first.handle.as_str());
    allocator.release("a1", handle, ReleaseMode::Soft).await;
    end("a1");
    for mode in [ReleaseMode::Soft, ReleaseMode::Hard] {
        assert_eq!(allocator.release("a1", handle, mode).await, Released::Gone);
    }
    assert_eq!(allocator.find("a1").await, Found::Absent);
    assert_eq!(allocator.find("a2").await, Found::Placed(other));
    assert_eq!(allocator.release("unknown", Some("unknown"), ReleaseMode::Hard).await, Released::Gone);
    assert_eq!(allocator.release("unknown", None, ReleaseMode::Soft).await, Released::Gone);
}
