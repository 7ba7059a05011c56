//! Allocators, by their interface alone: each kind against a service that stands in for the real one.

mod agones;
mod launches;
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
        region: Some("eu".into()),
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

/// What every kind of allocator does. `end` waits for the end of an allocation's server, and causes it where the allocator
/// cannot stop servers.
pub async fn check_conformance(allocator: &dyn Allocator, end: impl AsyncFn(&str)) {
    let (one, two) = ("33333333-3333-4333-8333-333333333333", "44444444-4444-4444-8444-444444444444");
    let placed = |placement| match placement {
        Placement::Placed(placed) => placed,
        other => panic!("{other:?}"),
    };
    assert_eq!(allocator.find(one).await, Found::Absent);
    let first = placed(allocator.place(&launch(one)).await);
    assert_eq!(placed(allocator.place(&launch(one)).await), first);
    assert_eq!(allocator.find(one).await, Found::Placed(first.clone()));
    let other = placed(allocator.place(&launch(two)).await);
    assert_ne!(first.handle, other.handle);
    let handle = Some(first.handle.as_str());
    allocator.release(one, handle, ReleaseMode::Soft).await;
    end(one).await;
    for mode in [ReleaseMode::Soft, ReleaseMode::Hard] {
        assert_eq!(allocator.release(one, handle, mode).await, Released::Gone);
    }
    assert_eq!(allocator.find(one).await, Found::Absent);
    assert_eq!(allocator.find(two).await, Found::Placed(other));
    for unknown in ["unknown", "55555555-5555-4555-8555-555555555555"] {
        assert_eq!(allocator.release(unknown, Some("unknown"), ReleaseMode::Hard).await, Released::Gone);
        assert_eq!(allocator.release(unknown, None, ReleaseMode::Soft).await, Released::Gone);
    }
}
