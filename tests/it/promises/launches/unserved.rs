//! Launches whose allocator a node does not serve, or no node.

use std::time::Duration;

use rallypoint::app::launches::LaunchSettings;
use uuid::Uuid;

use super::*;
use crate::harness::log::Log;

/// A node without allocators.
fn idle(node: u128) -> LaunchSettings {
    LaunchSettings { node: Uuid::from_u128(node), ..LaunchSettings::default() }
}

/// What is stored of launches.
async fn stored(server: &Server) -> usize {
    let (start, end) = keys::all_launches();
    let (queue, queue_end) = keys::launches_due_until(i64::MAX - 1);
    let store = server.app.sessions.store();
    let launches = store.scan(&start, &end, usize::MAX).await.unwrap().len();
    launches + store.scan(&queue, &queue_end, usize::MAX).await.unwrap().len()
}

#[tokio::test]
async fn launches_of_an_allocator_that_has_left_the_configuration_come_to_an_end() {
    let (allocator, memory) = (Arc::new(Scripted::default()), Memory::default());
    let settings = serving(1, &allocator, &LaunchRules::default());
    let server = Server::launching(Store::Memory(memory.clone()), settings, |_| {});
    let (alice, bob) = (server.lasting_player(), server.lasting_player());
    let sessions = [alice.creates("party").await, bob.creates("party").await];
    requests(&alice, &sessions[0]).await;
    requests(&bob, &sessions[1]).await;
    server.settles().await;
    alice.delete(&path(&sessions[0])).await.expect(204);

    let server = server.another_launching_node(Store::Memory(memory), idle(1));
    let bob = Client { server: server.clone(), ..bob };
    let (log, _guard) = Log::start();
    server.passes(119 + 60).await;
    let instance = async || bob.session(&sessions[1]).await.expect(200).body["instance"].clone();
    assert_eq!(instance().await["join_status"], "allocated", "its allocator may come back");
    server.passes(1).await;
    assert_eq!(instance().await["join_status"], "closed");
    assert_eq!(instance().await["custom_data"]["rallypoint.launch"], "misconfigured");
    assert_eq!(log.count("no node serves the allocator of this server any more"), 0);
    server.passes(24 * 3_600).await;
    assert_eq!(log.count("no node serves the allocator of this server any more"), 2, "one for each server");
    assert_eq!(stored(&server).await, 0);
}

#[tokio::test]
async fn a_node_that_does_not_serve_an_allocator_leaves_its_launches_to_others() {
    let (allocator, store) = (Arc::new(Scripted::default()), Memory::shared());
    let rules = LaunchRules { queue_timeout_s: 3_000, ..LaunchRules::default() };
    let one = Server::launching(Store::Memory(store.clone()), serving(1, &allocator, &rules), |_| {});
    let other = one.another_launching_node(Store::Memory(store), idle(2));
    let alice = one.lasting_player();
    let session = alice.creates("party").await;
    allocator.holds_at_most(0);
    requests(&alice, &session).await;
    let instance = async || alice.session(&session).await.expect(200).body["instance"].clone();
    for _ in 0..60 {
        one.clock.advance(Duration::from_secs(10));
        other.settles().await;
        one.settles().await;
        assert_eq!(instance().await["join_status"], "requested", "the rules of the first node allow it");
    }
    allocator.holds_at_most(1);
    one.passes(11).await;
    assert_eq!(instance().await["join_status"], "allocated");
    // The one that serves the allocator is lost.
    other.passes(119 + 60).await;
    assert_eq!(instance().await["join_status"], "allocated");
    other.passes(1).await;
    assert_eq!(instance().await["custom_data"]["rallypoint.launch"], "misconfigured");
}

#[tokio::test]
async fn a_server_that_falls_silent_and_that_no_node_serves_is_lost() {
    let (allocator, memory) = (Arc::new(Scripted::default()), Memory::default());
    let settings = serving(1, &allocator, &LaunchRules::default());
    let server = Server::launching(Store::Memory(memory.clone()), settings, |_| {});
    let alice = server.lasting_player();
    let session = alice.creates("party").await;
    requests(&alice, &session).await;
    server.settles().await;
    let instance = alice.session(&session).await.expect(200).body["instance"].clone();
    let host = server.service(&["session:update:any", "session:instance:health"]);
    let update = json!({"allocation_id": instance["allocation_id"], "join_status": "joinable"});
    host.patch(&path(&session), &update).await.expect(200);
    server.settles().await;

    let server = server.another_launching_node(Store::Memory(memory), idle(1));
    let host = Client { server: server.clone(), ..host };
    let alice = Client { server: server.clone(), ..alice };
    let report = json!({"instance_id": instance["instance_id"], "instance_health": "healthy"});
    let shown = async || alice.session(&session).await.expect(200).body["instance"].clone();
    for _ in 0..10 {
        host.post(&format!("{}/health", path(&session)), &report).await.expect(200);
        server.passes(20).await;
        assert_eq!(shown().await["join_status"], "joinable", "it runs without an allocator");
    }
    server.passes(60).await;
    server.settles().await;
    assert_eq!(shown().await["custom_data"]["rallypoint.launch"], "lost");
}

#[tokio::test]
async fn a_node_that_does_not_serve_an_allocator_takes_no_look_from_those_that_do() {
    let (allocator, store) = (Arc::new(Scripted::default()), Memory::shared());
    let rules = LaunchRules::default();
    let one = Server::launching(Store::Memory(store.clone()), serving(1, &allocator, &rules), |_| {});
    let other = one.another_launching_node(Store::Memory(store), idle(2));
    let alice = one.lasting_player();
    let session = alice.creates("party").await;
    requests(&alice, &session).await;
    one.settles().await;
    let instance = alice.session(&session).await.expect(200).body["instance"].clone();
    let host = other.service(&["session:update:any", "session:instance:health"]);
    let update = json!({"allocation_id": instance["allocation_id"], "join_status": "joinable"});
    host.patch(&path(&session), &update).await.expect(200);
    one.passes(1).await;
    one.settles().await;
    let report = json!({"instance_id": instance["instance_id"], "instance_health": "unknown"});
    host.post(&format!("{}/health", path(&session)), &report).await.expect(200);
    for _ in 0..3 {
        other.passes(1).await;
    }
    one.settles().await;
    one.passes(60).await;
    let instance = alice.session(&session).await.expect(200).body["instance"].clone();
    assert_eq!(instance["custom_data"]["rallypoint.launch"], "lost");
}
