//! A store that fails, and two nodes on one store: nothing half-done, nothing stale.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use rallypoint::store::{Embedded, Memory, Store};
use serde_json::{Value, json};

use crate::harness::{Reply, Server, XBOX_ID, contents, joining, platform_path};

#[tokio::test]
async fn a_failed_write_is_503_and_changes_nothing() {
    let memory = Memory::default();
    let server = Server::over(Store::Memory(memory.clone()), |_| {});
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("game").await;
    alice.links(&session).await.expect(200);
    let (before, etag) = (contents(&server).await, alice.session(&session).await.etag());

    memory.fail_next_commits(u64::MAX);
    let door = format!("{}/player/me", platform_path("XboxLive", XBOX_ID));
    let path = format!("/v1/session/{session}");
    let refused = [
        bob.joins(&session).await,
        bob.post(&door, &joining()).await,
        bob.post("/v1/session", &crate::harness::creation("party")).await,
        alice.patch(&path, &json!({"region_id": "eu"})).await,
        alice.leaves(&session).await,
        alice.delete(&path).await,
        alice.invites(&session, &bob).await,
        alice.updates(&session, &bob, json!({"status": "reserved"})).await,
        alice.moves(&session, &alice, 1).await,
        alice.lends(&session, &alice, "kick").await,
        alice.kicks(&session, &alice).await,
        alice.patch(&format!("{path}/team/0"), &json!({"max_size": 7})).await,
        alice.post(&format!("{path}:generate-short-code"), &Value::Null).await,
        alice.post(&format!("{path}/browser"), &json!({})).await,
        alice.post(&format!("{path}/instance"), &json!({})).await,
    ];
    for reply in refused {
        assert_eq!(reply.headers["retry-after"], "1");
        reply.refused(503, "store_unavailable");
    }
    assert_eq!(alice.session(&session).await.expect(200).etag(), etag, "reads go on");
    memory.fail_next_commits(0);
    assert_eq!(before, contents(&server).await);
    bob.joins(&session).await.expect(200);
}

#[tokio::test]
async fn two_nodes_on_one_store_see_each_others_changes() {
    let store = Store::Memory(Memory::shared());
    let one = Server::over(store.clone(), |_| {});
    let other = one.another_node(store);
    let alice = one.player();
    let there = other.bearer(alice.token.clone().unwrap());
    let session = alice.creates("game").await;
    alice.links(&session).await.expect(200);
    let etag = there.xbox().await.expect(200).etag();
    assert_eq!(alice.xbox().await.etag(), etag);
    for _ in 0..3 {
        other.player().joins(&session).await.expect(200);
        assert_eq!(alice.session(&session).await.bytes, there.session(&session).await.bytes);
        assert_eq!(alice.xbox().await.bytes, there.xbox().await.bytes);
        one.player().joins(&session).await.expect(200);
        assert_eq!(alice.session(&session).await.bytes, there.session(&session).await.bytes);
    }
    there.delete(&format!("/v1/session/{session}")).await.expect(204);
    alice.session(&session).await.refused(404, "session_not_found");
    alice.xbox().await.refused(404, "platform_session_not_found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn players_who_join_at_once_all_get_in() {
    for stores in [vec![Store::Memory(Memory::default())], vec![Store::Memory(Memory::shared()); 2]] {
        let mut nodes = vec![Server::over(stores[0].clone(), |config| {
            config.templates.get_mut("game").unwrap().players_per_team = 100;
        })];
        if let Some(store) = stores.get(1) {
            nodes.push(nodes[0].another_node(store.clone()));
        }
        let alice = nodes[0].player();
        let session: Arc<str> = alice.creates("game").await.into();
        let joins = (0..60).map(|index| {
            let (node, session) = (nodes[index % nodes.len()].clone(), Arc::clone(&session));
            tokio::spawn(async move { node.player().joins(&session).await.status.as_u16() })
        });
        let mut joined = 0;
        for join in joins.collect::<Vec<_>>() {
            match join.await.unwrap() {
                200 => joined += 1,
                // Nodes race in the store; a bounded number of defeats is told apart from a refusal.
                status => assert_eq!((status, nodes.len()), (503, 2)),
            }
        }
        let seen = alice.session(&session).await.expect(200);
        assert_eq!(seen.body["teams"][0]["players"].as_array().unwrap().len(), joined + 1);
        assert!(nodes.len() == 2 || joined == 60);
    }
}

#[tokio::test]
async fn a_caller_who_goes_away_takes_nothing_back() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::over(Store::Embedded(Embedded::open(dir.path()).unwrap()), |_| {});
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("game").await;
    // Begun and dropped: the commit is under way, and nobody waits for it.
    let _ = bob.joins(&session).now_or_never();
    let joined = async {
        let is_in = |reply: &Reply| reply.body["teams"][0]["players"].as_array().unwrap().len() == 2;
        while !is_in(&alice.session(&session).await) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), joined).await.expect("the join goes on to its end");
    bob.leaves(&session).await.expect(204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn invites_that_race_for_the_last_places_fill_them_and_no_more() {
    let store = Store::Memory(Memory::shared());
    let one = Server::over(store.clone(), |_| {});
    let other = one.another_node(store);
    let alice = one.player();
    let session: Arc<str> = alice.creates("party").await.into();
    let mut invites = Vec::new();
    for index in 0..20 {
        let node = if index % 2 == 0 { &one } else { &other };
        let (inviting, invited) = (node.bearer(alice.token.clone().unwrap()), node.player());
        let session = Arc::clone(&session);
        invites.push(tokio::spawn(async move { inviting.invites(&session, &invited).await }));
    }
    let mut invited = 0;
    for invite in invites {
        let reply = invite.await.unwrap();
        match reply.status.as_u16() {
            200 => invited += 1,
            503 => drop(reply.refused(503, "contended")),
            _ => drop(reply.refused(403, "session_full")),
        }
    }
    let seen = alice.session(&session).await.expect(200);
    let players = seen.body["teams"][0]["players"].as_array().unwrap().len();
    assert!(invited <= 3 && players == invited + 1, "{invited} invited, {players} there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_link_one_platform_session_one_wins() {
    let server = Server::new();
    let mut links = Vec::new();
    for _ in 0..20 {
        let player = server.player();
        let session = player.creates("party").await;
        links.push(tokio::spawn(async move { player.links(&session).await.status.as_u16() }));
    }
    let mut statuses = Vec::new();
    for link in links {
        statuses.push(link.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!((statuses[0], statuses[1]), (200, 403), "{statuses:?}");
}
