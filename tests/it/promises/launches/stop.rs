//! The stop of a node whose servers end with it.

use std::sync::Arc;

use rallypoint::allocators::Scope;
use rallypoint::domain::launch::LaunchRules;
use rallypoint::jobs;
use rallypoint::store::{Memory, Store};
use tokio::task::yield_now;

use super::requests;
use crate::harness::Server;
use crate::harness::allocator::{Call, Scripted, serving};

#[tokio::test]
async fn a_stop_during_a_start_leaves_the_launch_to_the_next_start() {
    let allocator = Arc::new(Scripted::new(Scope::Node));
    let rules = LaunchRules::default();
    let server = Server::launching(Store::Memory(Memory::default()), serving(1, &allocator, &rules), |_| {});
    let alice = server.player();
    let session = alice.creates("game").await;
    allocator.opens(false);
    requests(&alice, &session).await;
    jobs::tick(&server.app).await.unwrap();
    let started = loop {
        match &allocator.calls()[..] {
            [] => yield_now().await,
            calls => break calls.to_vec(),
        }
    };
    assert!(matches!(&started[..], [Call::Place(_)]), "{started:?}");
    server.app.launches.close_all().await;
    tokio::select! {
        biased;
        () = server.app.launches.end_all() => {}
        () = async { assert_eq!(allocator.calls(), [], "a release would refuse the next try of the allocation") } => {}
    }
    assert_eq!(allocator.calls(), []);
    assert_eq!(alice.session(&session).await.expect(200).body["instance"]["join_status"], "requested");
}
