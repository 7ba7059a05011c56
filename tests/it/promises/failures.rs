//! A failing store and two nodes on one store: changes are complete or absent, and reads are current.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use rallypoint::records::keys::KEY_UPGRADE;
use rallypoint::store::{Embedded, Memory, Store};
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::harness::{Reply, Server, XBOX_ID, contents, joining, pairs_of_nodes, platform_path};

#[tokio::test]
async fn a_failed_write_is_503_and_changes_nothing() {
    let memory = Memory::default();
    let server = Server::over(Store::Memory(memory.clone()), |_| {});
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("game").await;
    alice.links(&session).await.expect(200);
    let before = contents(&server).await;
    let etag = alice.session(&session).await.etag();

    memory.fail_next_commits(u64::MAX);
    let join_path = format!("{}/player/me", platform_path("XboxLive", XBOX_ID));
    let path = format!("/v1/session/{session}");
    let refused = [
        bob.joins(&session).await,
        bob.post(&join_path, &joining()).await,
        bob.post("/v1/session", &crate::harness::creation("party")).await,
        alice.patch(&path, &json!({"region_id": "eu"})).await,
        alice.leaves(&session).await,
        alice.delete(&path).await,
        alice.invites(&session, &bob).await,
        alice.updates(&session, &bob, json!({"status": "reserved"})).await,
        alice.moves(&session, &alice, 1).await,
        alice.gives_right(&session, &alice, "kick").await,
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
    assert_eq!(alice.session(&session).await.expect(200).etag(), etag, "reads still work");
    memory.fail_next_commits(0);
    assert_eq!(before, contents(&server).await);
    bob.joins(&session).await.expect(200);
}

#[tokio::test]
async fn two_nodes_on_one_store_see_each_others_changes() {
    for [one, other] in pairs_of_nodes(|_| {}).await {
        see_each_others_changes(&one, &other).await;
    }
}

async fn see_each_others_changes(one: &Server, other: &Server) {
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

#[tokio::test]
async fn a_commit_completes_after_its_caller_disconnects() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::over(Store::Embedded(Embedded::open(dir.path(), KEY_UPGRADE).unwrap()), |_| {});
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("game").await;
    // Polled once and dropped: the commit is in progress, and no caller waits for it.
    assert!(bob.joins(&session).now_or_never().is_none(), "the commit is in progress");
    let joined = async {
        let is_in = |reply: &Reply| reply.body["teams"][0]["players"].as_array().unwrap().len() == 2;
        while !is_in(&alice.session(&session).await) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), joined).await.expect("the join completes");
    bob.leaves(&session).await.expect(204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_invites_fill_the_last_slots_and_no_more() {
    for [one, other] in pairs_of_nodes(|_| {}).await {
        race_for_the_last_places(&one, &other).await;
    }
}

async fn race_for_the_last_places(one: &Server, other: &Server) {
    let alice = one.player();
    let session: Arc<str> = alice.creates("party").await.into();
    let (mut invites, start) = (Vec::new(), Arc::new(Barrier::new(20)));
    for index in 0..20 {
        let node = if index % 2 == 0 { one } else { other };
        let (inviting, invited) = (node.bearer(alice.token.clone().unwrap()), node.player());
        let session = Arc::clone(&session);
        let start = Arc::clone(&start);
        invites.push(tokio::spawn(async move {
            start.wait().await;
            // Each lost race is a race that another invite has won, so this ends.
            loop {
                let reply = inviting.invites(&session, &invited).await;
                if reply.status != 503 {
                    return reply;
                }
                reply.refused(503, "contended");
            }
        }));
    }
    let mut invited = BTreeSet::new();
    for invite in invites {
        let reply = invite.await.unwrap();
        if reply.status == 200 {
            invited.insert(reply.body["player_uuid"].to_string());
        } else {
            reply.refused(403, "session_full");
        }
    }
    let seen = alice.session(&session).await.expect(200);
    let entries = seen.body["teams"][0]["players"].as_array().unwrap().iter();
    let entries = entries.filter(|entry| entry["status"] == "invited");
    assert_eq!(invited.len(), 3, "one slot is alice's");
    assert_eq!(entries.map(|entry| entry["player_uuid"].to_string()).collect::<BTreeSet<_>>(), invited);
}
