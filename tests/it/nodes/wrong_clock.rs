//! Nodes whose clock differs from the database's: they change nothing, and end nothing.

use std::time::Duration;

use http::Method;
use rallypoint::app::Failure;
use rallypoint::domain::SessionId;
use rallypoint::env::Clock;
use rallypoint::jobs;
use rallypoint::records::keys;
use rallypoint::runtime::admin;
use rallypoint::store::{Postgres, PostgresSettings, Store, StoreError};
use serde_json::{Value, json};

use crate::api::matches::with_matches;
use crate::harness::{Client, Server, XBOX_ID, contents, creation, joining, platform_path};
use crate::support::postgres::Database;

const SECOND: Duration = Duration::from_secs(1);
const HOUR_MS: i64 = 3_600_000;

/// Sets the manual clock of a test server to the time of this machine.
fn set_clock(server: &Server) {
    server.clock.step(Clock::System.now_ms() - server.clock.now_ms());
}

#[tokio::test]
async fn a_server_with_a_wrong_clock_is_not_ready_and_reports_it() {
    let database = Database::new().await;
    let settings = PostgresSettings { clock_skew_max_ms: 600_000, ..database.settings() };
    let store = Postgres::open(settings).await.unwrap();
    let server = Server::over(Store::Postgres(store.clone()), |_| {});
    let ready = async || {
        let request = http::Request::get("/ready").body(()).unwrap();
        let (parts, body) = admin::handle(&server.readiness(), request).await.into_parts();
        let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
        (parts.status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
    };
    set_clock(&server);
    assert_eq!(ready().await, (200, "ready\n".into()));
    server.clock.advance(Duration::from_secs(700));
    let (status, body) = ready().await;
    assert_eq!(status, 503);
    assert!(
        body.contains("clock differs from the database's by ") && body.contains("synchronise both clocks"),
        "{body}"
    );
    let now_ms = Clock::System.now_ms();
    let behind = store.check_clock(|| now_ms - 700_000).await;
    assert!(matches!(behind, Err(StoreError::ClockSkew { difference_ms: ..-600_000, .. })), "{behind:?}");
}

#[tokio::test]
async fn a_server_with_a_wrong_clock_ends_no_sessions() {
    let database = Database::new().await;
    let settings = PostgresSettings { clock_skew_max_ms: 600_000, ..database.settings() };
    let node = async || {
        let store = Postgres::open(settings.clone()).await.unwrap();
        let node = Server::over(Store::Postgres(store), |_| {});
        set_clock(&node);
        node
    };
    let right = node().await;
    let wrong = node().await;
    let alice = right.player();
    let session = alice.creates("game").await;
    wrong.clock.advance(Duration::from_secs(9_000));
    let outcome = jobs::tick(&wrong.app).await;
    let Err(Failure::Store(StoreError::ClockSkew { .. })) = outcome else { panic!("{outcome:?}") };
    alice.session(&session).await.expect(200);
    // 500 s is an allowed difference, so that the tick runs. The session is not idle for long enough to end.
    right.clock.advance(Duration::from_secs(500));
    jobs::tick(&right.app).await.unwrap();
    alice.session(&session).await.expect(200);
}

#[tokio::test]
async fn a_server_with_a_wrong_clock_expires_no_invites() {
    let database = Database::new().await;
    let settings = PostgresSettings { clock_skew_max_ms: 600_000, ..database.settings() };
    let node = async || {
        let store = Postgres::open(settings.clone()).await.unwrap();
        let node = Server::over(Store::Postgres(store), |config| config.sessions.invite_expiry_s = 60);
        set_clock(&node);
        node
    };
    let right = node().await;
    let wrong = node().await;
    let [alice, bob] = [right.player(), right.player()];
    let session = alice.creates("game").await;
    alice.invites(&session, &bob).await.expect(200);
    wrong.clock.advance(Duration::from_secs(700));
    let outcome = jobs::tick(&wrong.app).await;
    let Err(Failure::Store(StoreError::ClockSkew { .. })) = outcome else { panic!("{outcome:?}") };
    assert_eq!(alice.sees_status_and_team(&session, &bob).await.0, "invited");
}

#[tokio::test]
async fn a_server_whose_clock_was_corrected_ends_sessions_again() {
    let database = Database::new().await;
    let settings = PostgresSettings { clock_skew_max_ms: 600_000, ..database.settings() };
    let store = Store::Postgres(Postgres::open(settings).await.unwrap());
    let server = Server::over(store, |config| config.sessions.idle_s = 60);
    set_clock(&server);
    server.player().creates("game").await;
    server.clock.advance(Duration::from_secs(700));
    jobs::tick(&server.app).await.unwrap_err();
    set_clock(&server);
    assert_eq!(jobs::tick(&server.app).await.unwrap(), 0, "the idle time starts again");
    server.clock.advance(Duration::from_secs(300));
    assert_eq!(jobs::tick(&server.app).await.unwrap(), 1);
}

/// Two nodes on one database, each with a clock of its own that agrees with the database's.
async fn two_nodes() -> [Server; 2] {
    let database = Database::new().await;
    let settings = PostgresSettings { clock_skew_max_ms: 600_000, ..database.settings() };
    let node = async || {
        let node = Server::over(Store::Postgres(Postgres::open(settings.clone()).await.unwrap()), |config| {
            let game = config.templates.get_mut("game").unwrap();
            (game.player_culling_timeout, game.attempt_auto_join) = (Some(60), false);
            config.notifications.message_keep_s = 3_600;
        });
        set_clock(&node);
        node.app.sessions.check_clock().await.unwrap();
        node
    };
    [node().await, node().await]
}

/// The same caller at another node, which has the same key.
fn at(node: &Server, client: &Client) -> Client {
    Client { server: node.clone(), ..client.clone() }
}

#[tokio::test]
async fn a_node_with_a_wrong_clock_changes_nothing() {
    for step_ms in [2 * HOUR_MS, -2 * HOUR_MS] {
        let [right, wrong] = two_nodes().await;
        let [alice, bob] = [right.lasting_player(), right.lasting_player()];
        let [game, other] = [alice.creates("game").await, bob.creates("game").await];
        alice.links(&game).await.expect(200);
        wrong.clock.step(step_ms);
        let before = contents(&right).await;
        // The first change after the step: no job has looked at the clock yet.
        let there = [&alice, &bob].map(|client| at(&wrong, client));
        let path = format!("/v1/session/{game}");
        for refused in [
            there[1].post("/v1/session", &crate::harness::creation("game")).await,
            there[1].links(&other).await,
            there[1].joins(&game).await,
            there[1].post(&format!("{}/player/me", platform_path("XboxLive", XBOX_ID)), &joining()).await,
            there[0].patch(&path, &json!({"region_id": "eu"})).await,
            // A change that changes nothing would move the deadline.
            there[0].patch(&path, &json!({})).await,
            there[0].delete(&path).await,
            // A read by a member counts as a use of the session.
            there[0].session(&game).await,
        ] {
            refused.refused(503, "store_unavailable");
        }
        assert_eq!(contents(&right).await, before);
        there[1].session(&game).await.expect(200);
        alice.session(&game).await.expect(200);

        wrong.clock.step(-step_ms);
        there[1].joins(&game).await.expect(200);
        there[0].session(&game).await.expect(200);
    }
}

#[tokio::test]
async fn a_poll_right_after_a_step_is_no_use_of_the_session() {
    for step_ms in [2 * HOUR_MS, -2 * HOUR_MS] {
        let [right, wrong] = two_nodes().await;
        let alice = right.lasting_player();
        let game = alice.creates("game").await;
        alice.links(&game).await.expect(200);
        let there = at(&wrong, &alice);
        let platform = platform_path("XboxLive", XBOX_ID);
        // Each poll is the first thing that this node does after its step.
        there.session(&game).await.expect(200);
        wrong.clock.step(step_ms);
        there.session(&game).await.refused(503, "store_unavailable");
        wrong.clock.step(-step_ms);
        there.get(&platform).await.expect(200);
        wrong.clock.step(step_ms);
        there.get(&platform).await.refused(503, "store_unavailable");
        wrong.clock.step(-step_ms);
        there.session(&game).await.expect(200);
    }
}

#[tokio::test]
async fn a_clock_that_was_behind_lowers_no_deadline() {
    let [node, _] = two_nodes().await;
    let alice = node.lasting_player();
    let game = SessionId::parse(&alice.creates("game").await).unwrap();
    let deadline_ms = async || node.app.sessions.get(&game).await.unwrap().deadline_ms();
    let created_ms = deadline_ms().await;
    // Less than the idle time is left, so that a poll moves the deadline in memory.
    node.clock.advance(500 * SECOND);
    alice.session(game.as_str()).await.expect(200);
    assert_eq!(deadline_ms().await, created_ms + 500_000);
    node.clock.step(-2 * HOUR_MS);
    node.app.sessions.flush_deadlines().await;
    node.clock.step(2 * HOUR_MS);
    assert_eq!(deadline_ms().await, created_ms + 500_000);
}

#[tokio::test]
async fn after_the_clock_was_wrong_nobody_is_removed_who_was_refused_meanwhile() {
    let [node, _] = two_nodes().await;
    let [alice, bob] = [node.lasting_player(), node.lasting_player()];
    let game = alice.creates("game").await;
    bob.joins(&game).await.expect(200);
    node.clock.step(2 * HOUR_MS);
    for _ in 0..4 {
        jobs::tick(&node.app).await.unwrap_err();
        node.clock.advance(30 * SECOND);
        alice.session(&game).await.refused(503, "store_unavailable");
    }
    set_clock(&node);
    jobs::tick(&node.app).await.unwrap();
    assert_eq!(alice.sees_status_and_team(&game, &bob).await.0, json!("member"));
}

/// Its numbers would come from the future, and the messages of everybody are old by its clock.
#[tokio::test]
async fn a_node_with_a_wrong_clock_posts_no_messages_and_deletes_none() {
    for step_ms in [2 * HOUR_MS, -2 * HOUR_MS] {
        let [right, wrong] = two_nodes().await;
        let alice = right.lasting_player().on("/notification");
        let own = "/v1/player/me/notification";
        let texts = json!({"notifications": [{"message": "hello"}]});
        alice.post(own, &texts).await.expect(200);
        let before = contents(&right).await;
        // Each is the first thing that the node does after its step: no job has looked at the clock yet.
        wrong.clock.step(step_ms);
        at(&wrong, &alice).post(own, &texts).await.refused(503, "store_unavailable");
        wrong.clock.step(-step_ms);
        wrong.app.sessions.check_clock().await.unwrap();
        wrong.clock.step(step_ms);
        let outcome = wrong.app.inboxes.expire().await;
        let Err(Failure::Store(StoreError::ClockSkew { .. })) = outcome else { panic!("{outcome:?}") };
        assert_eq!(contents(&right).await, before);

        wrong.clock.step(-step_ms);
        wrong.app.inboxes.expire().await.unwrap();
        assert_eq!(contents(&right).await, before);
        at(&wrong, &alice).post(own, &texts).await.expect(200);
    }
}

/// Answers that it stores would be over early by other clocks, and those of everybody are over by its own.
#[tokio::test]
async fn a_node_with_a_wrong_clock_repeats_answers_and_stores_and_deletes_none() {
    for step_ms in [2 * HOUR_MS, -2 * HOUR_MS] {
        let [right, wrong] = two_nodes().await;
        let alice = right.lasting_player();
        let creates = async |node: &Server, key: &str| {
            let body = Some(creation("party").to_string().into());
            at(node, &alice).send(Method::POST, "/v1/session", &[("idempotency-key", key)], body).await
        };
        let first = creates(&right, "one").await.expect(200).body;
        let before = contents(&right).await;
        // The first request after the step: no job has looked at the clock yet.
        wrong.clock.step(step_ms);
        assert_eq!(creates(&wrong, "one").await.expect(200).body, first);
        creates(&wrong, "other").await.refused(503, "store_unavailable");
        let swept = wrong.app.idempotency.sweep().await;
        assert!(matches!(swept, Err(StoreError::ClockSkew { .. })), "{swept:?}");
        assert_eq!(creates(&wrong, "one").await.expect(200).body, first);
        assert_eq!(contents(&right).await, before);

        wrong.clock.step(-step_ms);
        wrong.app.idempotency.sweep().await.unwrap();
        assert_eq!(creates(&wrong, "one").await.expect(200).body, first);
        let other = creates(&wrong, "other").await.expect(200).body;
        assert_eq!(creates(&right, "other").await.expect(200).body, other);
    }
}

#[tokio::test]
async fn a_server_with_a_wrong_clock_ends_no_logins() {
    let database = Database::new().await;
    let settings = PostgresSettings { clock_skew_max_ms: 600_000, ..database.settings() };
    let node = async || {
        let store = Postgres::open(settings.clone()).await.unwrap();
        let node = Server::over(Store::Postgres(store), |config| config.login.refresh_ttl_s = 3_600);
        set_clock(&node);
        node
    };
    let (right, wrong) = (node().await, node().await);
    let log_in =
        async |body: Value| right.anonymous().on("/users").post("/v1/login", &body).await.expect(200);
    let first = json!({"grant_type": "anon", "portal_access_token": "player-1", "include_refresh": true});
    let token = log_in(first).await.body["refresh_token"].clone();
    wrong.clock.advance(Duration::from_secs(9_000));
    jobs::tick(&wrong.app).await.unwrap_err();
    log_in(json!({"grant_type": "refresh", "portal_access_token": token})).await;
}

#[tokio::test]
async fn a_server_with_a_wrong_clock_leaves_matches_to_others() {
    let database = Database::new().await;
    let settings = PostgresSettings { clock_skew_max_ms: 600_000, ..database.settings() };
    let store = Store::Postgres(Postgres::open(settings).await.unwrap());
    let server = Server::over(store.clone(), with_matches);
    set_clock(&server);
    let says = async || {
        server.clock.advance(SECOND);
        server.app.matchmaker.meet(&server.app).await.unwrap();
        let (start, end) = keys::all_nodes();
        let records = store.scan(&start, &end, 10).await.unwrap();
        records.into_iter().map(|(_, entry)| entry.version).collect::<Vec<_>>()
    };
    let (first, second) = (says().await, says().await);
    assert!(first.len() == 1 && first != second);
    server.clock.advance(700 * SECOND);
    jobs::tick(&server.app).await.unwrap_err();
    let third = says().await;
    assert_eq!(says().await, third, "others see that it says nothing any more");
}
