//! Sessions that nobody reads or changes end at their deadline; others stay. Tests advance the clock.

use std::time::Duration;

use futures_util::future::join_all;
use rallypoint::app::Failure;
use rallypoint::domain::SessionId;
use rallypoint::jobs;
use rallypoint::records::keys::{self, KEY_UPGRADE};
use rallypoint::store::{Batch, Embedded, Store, StoreError};
use serde_json::json;

use crate::harness::{Client, Server, contents, leftovers, pairs_of_nodes, player_path};

const MINUTE: Duration = Duration::from_secs(60);
const MILLISECOND: Duration = Duration::from_millis(1);
/// Lifetime of a session that nobody uses after its creation: the idle time and an eighth of it.
const LIFE: Duration = Duration::from_secs(3600 + 3600 / 8);

/// A caller whose token outlives the test's clock.
fn lasting_admin(server: &Server) -> crate::harness::Client {
    let player = uuid::Uuid::from_u128(1);
    let mut grant =
        crate::harness::grant(Some(player), Some(rallypoint::domain::Platform::XboxLive), &["session:*"]);
    grant.ttl = 100_000 * MINUTE;
    crate::harness::Client { player, ..server.bearer(server.token(&grant)) }
}

#[tokio::test]
async fn an_idle_session_ends_and_leaves_nothing_behind() {
    let server = Server::new();
    let alice = lasting_admin(&server);
    let session = alice.creates("game").await;
    alice.links(&session).await.expect(200);
    server.advance(60 * MINUTE - Duration::from_millis(1)).await;
    alice.get(&format!("/v1/session/{session}?refresh_ttl=false")).await.expect(200);
    server.advance(8 * MINUTE).await;
    alice.session(&session).await.refused(404, "session_not_found");
    alice.xbox().await.refused(404, "platform_session_not_found");
    assert!(leftovers(&server).await.is_empty());
}

#[tokio::test]
async fn polling_keeps_a_session_alive_with_the_same_etag_and_few_writes() {
    let server = Server::new();
    let alice = lasting_admin(&server);
    let session = alice.creates("party").await;
    let path = format!("/v1/session/{session}");
    let etag = alice.session(&session).await.expect(200).etag();
    let mut watcher = server.app.sessions.store().watch();
    let mut polls = 0;
    for _ in 0..180 {
        server.advance(MINUTE).await;
        alice.get_if_none_match(&path, &etag).await.expect(304);
        polls += 1;
    }
    let mut writes = 0;
    while watcher.try_recv().is_ok() {
        writes += 1;
    }
    assert!(writes > 0 && writes * 7 <= polls, "{writes} writes for {polls} polls");
    for _ in 0..68 {
        server.advance(MINUTE).await;
        alice.get(&format!("{path}?refresh_ttl=false")).await;
    }
    alice.session(&session).await.refused(404, "session_not_found");
}

#[tokio::test]
async fn outsiders_do_not_keep_a_session_alive() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("party").await;
    let mut grant = crate::harness::grant(Some(uuid::Uuid::from_u128(2)), None, &["session:read:self"]);
    grant.ttl = 1000 * MINUTE;
    let stranger = server.bearer(server.token(&grant));
    for _ in 0..68 {
        stranger.session(&session).await;
        server.advance(MINUTE).await;
    }
    stranger.session(&session).await.refused(404, "session_not_found");
}

#[tokio::test]
async fn deadlines_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (session, polled);
    {
        let server = Server::over(Store::Embedded(Embedded::open(dir.path(), KEY_UPGRADE).unwrap()), |_| {});
        let alice = lasting_admin(&server);
        session = alice.creates("party").await;
        let bob = server.player();
        polled = bob.creates("party").await;
        server.advance(50 * MINUTE).await;
        bob.session(&polled).await.expect(200);
        server.advance(MINUTE).await;
        server.app.sessions.store().close().await.unwrap();
    }
    let server = Server::over(Store::Embedded(Embedded::open(dir.path(), KEY_UPGRADE).unwrap()), |_| {});
    let admin = lasting_admin(&server);
    server.advance(68 * MINUTE).await;
    admin.get(&format!("/v1/session/{session}?refresh_ttl=false")).await.refused(404, "session_not_found");
    // Read at minute 50: alive until minute 110 at least.
    admin.get(&format!("/v1/session/{polled}?refresh_ttl=false")).await.expect(200);
    server.advance(50 * MINUTE).await;
    admin.session(&polled).await.refused(404, "session_not_found");
}

/// More sessions than one round of the expiry job ends, and many of them with a stored value that nobody can read.
#[tokio::test]
async fn sessions_that_cannot_be_read_keep_no_other_session_alive() {
    let server = Server::new();
    let store = server.app.sessions.store().clone();
    let created = (0..1_200).map(|_| async { server.player().creates("party").await });
    for (number, session) in join_all(created).await.into_iter().enumerate() {
        if number % 10 == 0 {
            let key = keys::session(&SessionId::parse(&session).unwrap());
            store.commit(Batch::default().put(key, "not a session")).await.unwrap();
        }
    }
    // A server without these sessions in its cache.
    let server = server.another_node(store);
    server.clock.advance(LIFE);
    let outcome = jobs::tick(&server.app).await;
    assert!(matches!(outcome, Err(Failure::Store(StoreError::Corrupt(_)))), "{outcome:?}");
    let (from, to) = keys::all_sessions();
    let left = server.app.sessions.store().scan(&from, &to, usize::MAX).await.unwrap();
    assert_eq!(left.len(), 120, "only sessions that cannot be read are left");
}

#[tokio::test]
async fn many_sessions_due_at_once_all_end() {
    let server = Server::new();
    join_all((0..600).map(|_| async { server.player().creates("party").await })).await;
    server.advance(90 * MINUTE).await;
    assert!(leftovers(&server).await.is_empty());
}

#[tokio::test]
async fn changes_keep_a_session_alive() {
    let server = Server::new();
    let alice = lasting_admin(&server);
    let session = alice.creates("party").await;
    let path = format!("/v1/session/{session}");
    for round in 0..6 {
        server.advance(30 * MINUTE).await;
        alice.patch(&path, &json!({"custom_data": {"round": round.to_string()}})).await.expect(200);
    }
    server.advance(30 * MINUTE).await;
    alice.patch(&format!("{path}?refresh_ttl=false"), &json!({"region_id": "eu"})).await.expect(200);
    server.advance(38 * MINUTE).await;
    alice.session(&session).await.refused(404, "session_not_found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_change_keeps_a_session_that_falls_due_meanwhile() {
    let server = Server::new();
    let alice = lasting_admin(&server);
    // A database takes its time, so that a few rounds meet in many ways.
    let rounds = if server.app.sessions.store().sole_writer() { 200 } else { 50 };
    for round in 0..rounds {
        let session = alice.creates("party").await;
        server.clock.advance(LIFE - MILLISECOND);
        let (changing, id) = (alice.clone(), session.clone());
        let change = tokio::spawn(async move {
            let body = json!({"custom_data": {"round": round.to_string()}});
            changing.patch(&format!("/v1/session/{id}"), &body).await.status.as_u16()
        });
        let ticking = server.clone();
        let tick = tokio::spawn(async move { ticking.advance(MILLISECOND).await });
        let status = change.await.unwrap();
        tick.await.unwrap();
        // Either the job was first and the session has ended, or the change was first and the session stays.
        let seen = alice.get(&format!("/v1/session/{session}?refresh_ttl=false")).await.status.as_u16();
        assert!([(200, 200), (404, 404)].contains(&(status, seen)), "{status} and then {seen}");
        if seen == 200 {
            alice.delete(&format!("/v1/session/{session}")).await.expect(204);
        }
    }
}

#[tokio::test]
async fn an_overdue_session_reads_as_gone_before_the_job_ends_it() {
    let server = Server::new();
    let alice = lasting_admin(&server);
    let session = alice.creates("game").await;
    alice.links(&session).await.expect(200);
    let path = format!("/v1/session/{session}");
    alice.post(&format!("{path}/instance"), &json!({})).await.expect(200);
    alice.patch(&format!("{path}/instance"), &json!({"allocation_id": "a"})).await.expect(200);
    // Before the clock advances, because this read keeps the session alive.
    alice.get("/v1/session/allocation/a").await.expect(200);
    let made = alice.post(&format!("{path}:generate-short-code"), &json!({})).await.expect(200);
    let by_code = format!("/v1/session/{}", made.body["short_code"].as_str().unwrap());
    server.clock.advance(LIFE - MILLISECOND);
    for read in [&path, &by_code] {
        alice.get(&format!("{read}?refresh_ttl=false")).await.expect(200);
    }
    server.clock.advance(MILLISECOND);
    let before = leftovers(&server).await;
    let player = player_path(&session, alice.player);
    let reads = [&path, &format!("{path}/player"), &player, &format!("{player}/permission"), &by_code];
    for read in reads.map(String::as_str).into_iter().chain(["/v1/session/allocation/a"]) {
        alice.get(read).await.refused(404, "session_not_found");
    }
    alice.xbox().await.refused(404, "platform_session_not_found");
    // A change does not bring an overdue session back.
    for change in [&path, &by_code] {
        alice.patch(change, &json!({"region_id": "eu"})).await.refused(404, "session_not_found");
    }
    alice.leaves(&session).await.refused(404, "session_not_found");
    server.player().joins(&session).await.refused(404, "session_not_found");
    let own = alice.creates("game").await;
    assert_ne!(own, session, "create-or-join skips it");
    alice.delete(&format!("/v1/session/{own}")).await.expect(204);
    assert_eq!(leftovers(&server).await, before);
    server.advance(Duration::ZERO).await;
    assert!(leftovers(&server).await.is_empty());
}

#[tokio::test]
async fn an_overdue_session_does_not_block_its_platform_session() {
    let server = Server::new();
    let (alice, bob) = (lasting_admin(&server), server.lasting_player());
    let old = alice.creates("party").await;
    alice.links(&old).await.expect(200);
    server.clock.advance(LIFE - MILLISECOND);
    let new = bob.creates("party").await;
    bob.links(&new).await.refused(403, "platform_session_in_use");
    server.clock.advance(MILLISECOND);
    bob.links(&new).await.expect(200);
    assert_eq!(bob.xbox().await.expect(200).body["players"][0]["player_uuid"], json!(bob.player));
    let metrics = server.app.metrics.render();
    assert!(metrics.contains("rallypoint_sessions_expired_total 1\n"), "{metrics}");
    let left = contents(&server).await;
    server.advance(Duration::ZERO).await;
    assert_eq!(contents(&server).await, left, "the overdue session is removed completely");
    alice.links(&old).await.refused(404, "session_not_found");
}

#[tokio::test]
async fn a_session_read_on_another_node_stays_alive() {
    for [here, elsewhere] in pairs_of_nodes(|_| {}).await {
        goes_on_here(&here, &elsewhere).await;
    }
}

async fn goes_on_here(here: &Server, elsewhere: &Server) {
    let alice = lasting_admin(here);
    let session = alice.creates("party").await;
    let there = Client { server: elsewhere.clone(), ..alice.clone() };
    here.clock.advance(30 * MINUTE);
    there.session(&session).await.expect(200);
    elsewhere.advance(Duration::ZERO).await;
    here.clock.advance(LIFE - 30 * MINUTE);
    alice.get(&format!("/v1/session/{session}?refresh_ttl=false")).await.expect(200);
    here.clock.advance(30 * MINUTE);
    alice.session(&session).await.refused(404, "session_not_found");
}

#[tokio::test]
async fn two_nodes_that_expire_the_same_sessions_end_each_once() {
    for [one, other] in pairs_of_nodes(|_| {}).await {
        for _ in 0..50 {
            one.player().creates("party").await;
        }
        one.clock.advance(LIFE);
        let (here, there) = tokio::join!(jobs::tick(&one.app), jobs::tick(&other.app));
        assert_eq!(here.unwrap() + there.unwrap(), 50);
        assert!(leftovers(&one).await.is_empty());
    }
}

#[tokio::test]
async fn a_session_used_at_the_last_moment_survives_expiry_by_another_node() {
    for [here, elsewhere] in pairs_of_nodes(|_| {}).await {
        for (method, region_id) in [("GET", "eu"), ("PATCH", "eu"), ("PATCH", "us")] {
            let alice = lasting_admin(&here);
            let session = alice.creates("party").await;
            let path = format!("/v1/session/{session}");
            alice.patch(&path, &json!({"region_id": "us"})).await.expect(200);
            here.clock.advance(LIFE - MILLISECOND);
            match method {
                "GET" => alice.session(&session).await,
                // With "eu" the session changes; with "us" it is the same as before.
                _ => alice.patch(&path, &json!({ "region_id": region_id })).await,
            }
            .expect(200);
            here.clock.advance(MILLISECOND);
            elsewhere.advance(Duration::ZERO).await;
            let there = Client { server: elsewhere.clone(), ..alice.clone() };
            there.get(&format!("{path}?refresh_ttl=false")).await.expect(200);
            elsewhere.clock.advance(LIFE - 2 * MILLISECOND);
            there.get(&format!("{path}?refresh_ttl=false")).await.expect(200);
            elsewhere.advance(MILLISECOND).await;
            assert!(leftovers(&elsewhere).await.is_empty(), "{method} {region_id}");
        }
    }
}
