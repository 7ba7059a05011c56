//! A launch whose record cannot be read: only its own instance has to do without it.

use std::sync::Arc;

use rallypoint::allocators::Scope;
use rallypoint::app::Failure;
use rallypoint::domain::launch::LaunchRules;
use rallypoint::domain::{PlayerUuid, SessionId};
use rallypoint::jobs;
use rallypoint::records::{StoredSession, keys, launch};
use rallypoint::store::{Batch, Memory, Store, StoreError};
use uuid::Uuid;

use super::{Game, path, requests};
use crate::harness::allocator::{Call, Scripted, serving};
use crate::harness::{Client, Server, leftovers};

/// Damages the record of a session's launch.
async fn damages(server: &Server, session: &str, value: &'static str) -> Uuid {
    let store = server.app.sessions.store();
    let stored = store.get(&keys::session(&SessionId::parse(session).unwrap())).await.unwrap().unwrap();
    let session = StoredSession::decode(&stored.value).unwrap().session;
    let launch = session.instance.unwrap().launch.unwrap().id;
    store.commit(Batch::default().put(keys::launch(launch), value)).await.unwrap();
    launch
}

/// Runs the jobs for so long that everything has been done that can be done. Returns whether damage was reported.
async fn goes_on(server: &Server) -> bool {
    let mut is_reported = false;
    for _ in 0..20 {
        match jobs::tick(&server.app).await {
            Ok(_) => {}
            Err(Failure::Store(StoreError::Corrupt(damage))) => {
                is_reported = true;
                assert!(damage.contains("the launch"), "{damage}");
            }
            Err(other) => panic!("{other}"),
        }
        server.app.launches.calls_ended().await;
    }
    is_reported
}

async fn status(player: &Client, session: &str) -> String {
    let instance = player.session(session).await.expect(200).body["instance"].clone();
    instance["join_status"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_launch_that_cannot_be_read_stops_no_other() {
    for damage in ["", "{", "{\"id\": 1}"] {
        let game = Game::new().await;
        let server = &game.server;
        let kept = game.launches().await;
        damages(server, &game.session, damage).await;
        let bob = server.player();
        let session = bob.creates("party").await;
        requests(&bob, &session).await;
        goes_on(server).await;
        assert_eq!(status(&bob, &session).await, "allocated");
        server.clock.advance(std::time::Duration::from_secs(60));
        game.allocator.takes("orphan");
        goes_on(server).await;
        let servers = game.allocator.servers();
        assert_eq!((servers.len(), servers.contains(&kept)), (2, true), "the sweep stops the orphan alone");
        server.clock.advance(std::time::Duration::from_secs(60));
        assert!(goes_on(server).await, "the operator is told");
        assert_eq!(status(&bob, &session).await, "requested", "the others have their time-outs");
    }
}

#[tokio::test]
async fn after_a_restart_a_launch_that_cannot_be_read_stops_no_adoption() {
    let (allocator, store) = (Arc::new(Scripted::new(Scope::Node)), Memory::default());
    let rules = LaunchRules::default();
    let server = Server::launching(Store::Memory(store.clone()), serving(1, &allocator, &rules), |_| {});
    let mut players = Vec::new();
    for _ in 0..6 {
        let player = server.player();
        let session = player.creates("party").await;
        requests(&player, &session).await;
        players.push((player, session));
    }
    server.settles().await;
    for (_, session) in players.iter().step_by(2) {
        damages(&server, session, "{").await;
    }
    let mut lost = Vec::new();
    for (player, session) in players.iter().skip(1).step_by(2) {
        let session = player.session(session).await.expect(200).body;
        lost.push(session["instance"]["allocation_id"].as_str().unwrap().to_owned());
        allocator.forgets(lost.last().unwrap());
    }
    let restarted = server.another_launching_node(Store::Memory(store), serving(1, &allocator, &rules));
    goes_on(&restarted).await;
    assert_eq!(allocator.servers().len(), 3, "the servers of the damaged launches go on");
    restarted.clock.advance(std::time::Duration::from_secs(2));
    goes_on(&restarted).await;
    assert_eq!(allocator.servers().len(), 6, "the lost servers are replaced");
    assert!(allocator.servers().iter().all(|id| !lost.contains(id)));
}

#[tokio::test]
async fn a_launch_that_cannot_be_read_keeps_no_other_waiting_in_its_line() {
    let game = Game::new().await;
    let server = &game.server;
    game.allocator.holds_at_most(0);
    game.requests().await;
    server.settles().await;
    let bob = server.player();
    let session = bob.creates("party").await;
    requests(&bob, &session).await;
    server.passes(5).await;
    damages(server, &game.session, "{").await;
    game.allocator.holds_at_most(1);
    server.clock.advance(std::time::Duration::from_secs(11));
    assert!(goes_on(server).await);
    assert_eq!(status(&bob, &session).await, "allocated");
}

#[tokio::test]
async fn a_launch_that_waits_for_its_turn_is_not_read_in_each_round() {
    let game = Game::new().await;
    let server = &game.server;
    game.allocator.holds_at_most(0);
    game.requests().await;
    server.settles().await;
    let bob = server.player();
    let session = bob.creates("party").await;
    // Launches of the same moment have the order of their ids, which are random.
    server.clock.advance(std::time::Duration::from_millis(1));
    requests(&bob, &session).await;
    server.settles().await;
    damages(server, &session, "{").await;
    for _ in 0..5 {
        server.clock.advance(std::time::Duration::from_secs(11));
        assert!(!goes_on(server).await, "the other launch is first");
    }
    server.clock.advance(std::time::Duration::from_secs(5));
    assert!(goes_on(server).await, "its queue time-out is over");
}

#[tokio::test]
async fn a_server_that_waits_for_another_one_to_be_stopped_is_not_read_in_each_round() {
    let rules = LaunchRules { calls_max: 1, closing_timeout_s: 0, ..LaunchRules::default() };
    let game = Game::with(rules, |_| {}).await;
    let server = &game.server;
    let bob = server.player();
    let others = bob.creates("party").await;
    game.launches().await;
    requests(&bob, &others).await;
    server.settles().await;
    game.allocator.calls();
    game.allocator.opens(false);
    game.alice.delete(&path(&game.session)).await.expect(204);
    bob.delete(&path(&others)).await.expect(204);
    let called = loop {
        jobs::tick(&server.app).await.unwrap();
        if let Some(Call::Release(called, _)) = game.allocator.calls().pop() {
            break called;
        }
    };
    let (start, end) = keys::all_launches();
    for (key, entry) in server.app.sessions.store().scan(&start, &end, 2).await.unwrap() {
        let record = launch::decode(keys::parse_launch(&key).unwrap(), &entry.value).unwrap();
        if record.allocation_id() != Some(called.as_str()) {
            server.app.sessions.store().commit(Batch::default().put(key, "{")).await.unwrap();
        }
    }
    for _ in 0..3 {
        server.clock.advance(std::time::Duration::from_secs(1));
        jobs::tick(&server.app).await.unwrap();
    }
    game.allocator.opens(true);
    assert!(goes_on(server).await, "the end of the call begins the next one");
}

#[tokio::test]
async fn an_instance_whose_launch_cannot_be_read_can_end_and_leaves_nothing() {
    for ends in ["instance", "session", "idle"] {
        let game = Game::new().await;
        let server = &game.server;
        game.launches().await;
        let launch = damages(server, &game.session, "{").await;
        match ends {
            "instance" => drop(game.alice.delete(&path(&game.session)).await.expect(204)),
            "session" => drop(game.alice.leaves(&game.session).await.expect(204)),
            _ => server.clock.advance(std::time::Duration::from_secs(3_600 + 600)),
        }
        goes_on(server).await;
        server.clock.advance(std::time::Duration::from_secs(120));
        goes_on(server).await;
        assert!(!goes_on(server).await, "{ends}: the damage is gone");
        assert_eq!(game.allocator.servers(), [""; 0], "{ends}: nobody needs the server any more");
        let stored = leftovers(server).await;
        assert!(!stored.contains_key(&keys::launch(launch)), "{ends}");
        let player = keys::launch_of_player(PlayerUuid(game.alice.player), "test", launch);
        assert!(!stored.contains_key(&player), "{ends}: the player may ask again");
        assert!(stored.keys().all(|key| keys::parse_launch_due(key).is_none()), "{ends}");
    }
}

#[tokio::test]
async fn a_node_whose_record_cannot_be_read_holds_no_launch() {
    let (rules, store) = (LaunchRules::default(), Memory::shared());
    let allocators = [Scope::Node, Scope::Node].map(|scope| Arc::new(Scripted::new(scope)));
    let one = Server::launching(Store::Memory(store.clone()), serving(1, &allocators[0], &rules), |_| {});
    let other = one.another_launching_node(Store::Memory(store), serving(2, &allocators[1], &rules));
    let alice = one.player();
    let session = alice.creates("party").await;
    requests(&alice, &session).await;
    allocators[0].opens(false);
    jobs::tick(&one.app).await.unwrap();
    other.settles().await;
    assert_eq!(allocators[1].taken(), 0, "the first node is alive");
    let damage = Batch::default().put(keys::node(Uuid::from_u128(1)), "{");
    one.app.sessions.store().commit(damage).await.unwrap();
    other.passes(40).await;
    other.passes(2).await;
    assert_eq!(allocators[1].taken(), 1);
}
