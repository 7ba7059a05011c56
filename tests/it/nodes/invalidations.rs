//! Changes by other nodes and the waits of this one: messages between nodes, and the sweep that finds what they miss.
//! The sweep follows the test's clock; messages do not.

use std::time::Duration;

use rallypoint::config::ReadConsistency;
use rallypoint::store::{Memory, MessageEvent, Store};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::api::wait::{session_path, wait};
use crate::harness::{Client, Metrics, Reply, Server, exchange, pairs_of_nodes, until};
use crate::support::postgres::Database;

const LIST: &str = "/v1/player/me/session";
const PAGE: &str = "/v1/browser?session_type=game&cursor=0";
/// A wait that misses a change would hang for ever.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// The answer to a held request.
pub async fn answer(waiting: JoinHandle<Reply>) -> Reply {
    tokio::time::timeout(HANGS_AFTER, waiting).await.expect("a change was missed").unwrap()
}

/// The same caller at another node.
pub fn at(node: &Server, caller: &Client) -> Client {
    Client { server: node.clone(), ..caller.clone() }
}

async fn opens(caller: &Client, session: &str, is_open: bool) {
    let body = json!({"joinability": {"open": is_open}});
    caller.patch(&session_path(session), &body).await.expect(200);
}

async fn is_counted(node: &Server, sample: &str, value: u64) -> bool {
    Metrics::of(node).await.get(sample) == value
}

#[tokio::test]
async fn a_change_at_one_node_answers_the_waits_at_another() {
    for [node, other] in pairs_of_nodes(|_| {}).await {
        exchange([&node, &other]).await;
        let [alice, bob] = [node.player(), node.player()];
        let game = alice.creates("game").await;
        let browser = format!("{}/browser", session_path(&game));
        alice.post(&browser, &json!({})).await.expect(200);
        let on_session = wait(&alice, &session_path(&game), &alice.session(&game).await.etag()).await;
        let on_list = wait(&bob, LIST, &bob.get(LIST).await.etag()).await;
        let on_page = wait(&bob, PAGE, &bob.get(PAGE).await.etag()).await;
        let alice_there = at(&other, &alice);
        alice_there.invites(&game, &at(&other, &bob)).await.expect(200);
        let session = answer(on_session).await.expect(200);
        assert_eq!(session.etag(), alice_there.session(&game).await.etag());
        assert!(
            answer(on_list).await.expect(200).body["sessions"]["game"]["pending_invites"][&game].is_object()
        );
        alice_there.patch(&browser, &json!({"custom_data": {"map": "dust"}})).await.expect(200);
        answer(on_page).await.expect(200);
        let gone = wait(&alice, &session_path(&game), &alice.session(&game).await.etag()).await;
        alice_there.delete(&session_path(&game)).await.expect(204);
        answer(gone).await.refused(404, "session_not_found");
        assert_eq!(Metrics::of(&node).await.get("sweep_found_total"), 0);
        assert!(Metrics::of(&node).await.get("invalidations_total{event=\"received\"}") > 0);
    }
}

#[tokio::test]
async fn the_sweep_finds_what_messages_have_lost() {
    for share in [0.0, 0.4, 1.0] {
        let memory = Memory::shared();
        let first = Server::over(Store::Memory(memory.clone()), |_| {});
        let nodes = [
            &first,
            &first.another_node(Store::Memory(memory.clone())),
            &first.another_node(Store::Memory(memory.clone())),
        ];
        exchange(nodes).await;
        memory.lose_messages(share);
        let mut waiting = Vec::new();
        let mut sessions = Vec::new();
        for number in 0..12 {
            let alice = first.player();
            // Not games: their players would all join the first one.
            let party = alice.creates("party").await;
            for node in nodes {
                let there = at(node, &alice);
                let known = there.session(&party).await.etag();
                waiting.push(wait(&there, &session_path(&party), &known).await);
            }
            sessions.push((at(nodes[number % 3], &alice), party));
        }
        // A round of the sweep in which nothing is new.
        sweep_for(&nodes, 5_100).await;
        let found = async || {
            let mut found = 0;
            for node in nodes {
                found += Metrics::of(node).await.get("sweep_found_total");
            }
            found
        };
        assert!(waiting.iter().all(|waiting| !waiting.is_finished()) && found().await == 0);
        for (alice, party) in &sessions {
            opens(alice, party, true).await;
        }
        if share > 0.0 {
            settle(&nodes).await;
            sweep_for(&nodes, 5_100).await;
        }
        for waiting in waiting {
            answer(waiting).await.expect(200);
        }
        let found = found().await;
        match share {
            0.0 => assert_eq!(found, 0),
            1.0 => assert_eq!(found, 24, "each of 12 changes is found at the two other nodes"),
            _ => {}
        }
    }
}

async fn settle(nodes: &[&Server]) {
    for node in nodes {
        node.waits_settle().await;
    }
}

/// Lets time pass in the steps of the sweep.
async fn sweep_for(nodes: &[&Server], ms: u64) {
    for _ in 0..ms / 50 {
        nodes[0].clock.advance(Duration::from_millis(50));
        for node in nodes {
            node.app.waits.wake_due();
            node.app.invalidations.sweep().await.unwrap();
        }
        settle(nodes).await;
    }
}

#[tokio::test]
async fn lists_are_swept_every_third_time() {
    let memory = Memory::shared();
    let node = Server::over(Store::Memory(memory.clone()), |config| config.wait.max_s = 120);
    let other = node.another_node(Store::Memory(memory.clone()));
    exchange([&node, &other]).await;
    memory.lose_messages(1.0);
    let [alice, bob] = [node.player(), node.player()];
    let game = alice.creates("game").await;
    let waiting = wait(&bob, LIST, &bob.get(LIST).await.etag()).await;
    at(&other, &alice).invites(&game, &at(&other, &bob)).await.expect(200);
    sweep_for(&[&node], 15_100).await;
    answer(waiting).await.expect(200);
}

#[tokio::test]
async fn without_messages_the_sweep_looks_twice_a_second() {
    for [node, other] in pairs_of_nodes(|_| {}).await {
        let alice = node.player();
        let game = alice.creates("game").await;
        let waiting = wait(&alice, &session_path(&game), &alice.session(&game).await.etag()).await;
        sweep_for(&[&node], 1_000).await;
        let bob = node.player();
        let on_list = wait(&bob, LIST, &bob.get(LIST).await.etag()).await;
        opens(&at(&other, &alice), &game, false).await;
        at(&other, &alice).invites(&game, &at(&other, &bob)).await.expect(200);
        sweep_for(&[&node], 600).await;
        answer(waiting).await.expect(200);
        sweep_for(&[&node], 2_000).await;
        answer(on_list).await.expect(200);
    }
}

#[tokio::test]
async fn after_an_interruption_everything_is_looked_at_once() {
    let memory = Memory::shared();
    let node = Server::over(Store::Memory(memory.clone()), |_| {});
    let other = node.another_node(Store::Memory(memory.clone()));
    exchange([&node, &other]).await;
    let [alice, bob] = [node.player(), node.player()];
    let game = alice.creates("game").await;
    let waiting = wait(&alice, &session_path(&game), &alice.session(&game).await.etag()).await;
    let on_list = wait(&bob, LIST, &bob.get(LIST).await.etag()).await;
    memory.set_messages_up(false);
    until(async || !node.app.invalidations.is_connected()).await;
    assert_eq!(Metrics::of(&node).await.get("invalidations_up"), 0);
    at(&other, &alice).invites(&game, &at(&other, &bob)).await.expect(200);
    memory.set_messages_up(true);
    until(async || node.app.invalidations.is_connected()).await;
    assert!(!waiting.is_finished() && !on_list.is_finished());
    node.app.invalidations.sweep().await.unwrap();
    answer(waiting).await.expect(200);
    answer(on_list).await.expect(200);
}

#[tokio::test]
async fn a_killed_connection_loses_no_change() {
    let database = Database::new().await;
    let node = Server::over(Store::Postgres(database.open().await), |_| {});
    let other = node.another_node(Store::Postgres(database.open().await));
    exchange([&node, &other]).await;
    let alice = node.player();
    let game = alice.creates("game").await;
    let client = database.client().await;
    for is_open in [false, true, false] {
        let waiting = wait(&alice, &session_path(&game), &alice.session(&game).await.etag()).await;
        let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE application_name = current_setting('application_name') AND query LIKE '%pg_notify%' AND pid <> pg_backend_pid()";
        assert!(!client.query(kill, &[]).await.unwrap().is_empty(), "nobody listens");
        opens(&at(&other, &alice), &game, is_open).await;
        until(async || {
            node.app.invalidations.sweep().await.unwrap();
            waiting.is_finished()
        })
        .await;
        answer(waiting).await.expect(200);
        until(async || node.app.invalidations.is_connected() && other.app.invalidations.is_connected()).await;
    }
}

#[tokio::test]
async fn malformed_and_forged_messages_cost_a_look_at_most() {
    let memory = Memory::shared();
    let node = Server::over(Store::Memory(memory.clone()), |_| {});
    exchange([&node]).await;
    let alice = node.player();
    let game = alice.creates("game").await;
    let waiting = wait(&alice, &session_path(&game), &alice.session(&game).await.etag()).await;
    let mut forger = Store::Memory(memory).messages().unwrap();
    assert_eq!(forger.incoming.recv().await, Some(MessageEvent::Connected));
    for text in ["hello", "", "AAAA", "////", &"A".repeat(7_900)] {
        forger.outgoing.send(text.to_owned()).await.unwrap();
    }
    until(async || is_counted(&node, "invalidations_total{event=\"malformed\"}", 5).await).await;
    // The format 1, a node, and a topic: this session.
    let mut bytes = vec![1];
    bytes.extend([9; 8]);
    bytes.extend(b"ts");
    bytes.extend(game.parse::<uuid::Uuid>().unwrap().as_bytes());
    forger.outgoing.send(base64_of(&bytes)).await.unwrap();
    until(async || is_counted(&node, "wakes_unchanged_total", 1).await).await;
    assert!(!waiting.is_finished());
    waiting.abort();
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD_NO_PAD.encode(bytes)
}

#[tokio::test]
async fn with_bounded_reads_waits_are_woken_once_every_node_shows_the_change() {
    let change = |config: &mut rallypoint::config::Config| {
        config.postgres.read_consistency = ReadConsistency::BoundedMs(1_000);
    };
    for [node, other] in pairs_of_nodes(change).await {
        exchange([&node, &other]).await;
        let alice = node.player();
        let game = alice.creates("game").await;
        for (changer, is_open) in [(&other, false), (&node, true)] {
            let known = alice.session(&game).await.etag();
            let waiting = wait(&alice, &session_path(&game), &known).await;
            let received = Metrics::of(&node).await.get("invalidations_total{event=\"received\"}");
            opens(&at(changer, &alice), &game, is_open).await;
            if std::ptr::eq(changer, &other) {
                let sample = "invalidations_total{event=\"received\"}";
                until(async || Metrics::of(&node).await.get(sample) > received).await;
            }
            node.clock.advance(Duration::from_millis(999));
            node.app.waits.wake_due();
            node.waits_settle().await;
            assert!(!waiting.is_finished());
            node.clock.advance(Duration::from_millis(1));
            node.app.waits.wake_due();
            let told = answer(waiting).await.expect(200);
            assert_ne!(told.etag(), known);
            assert_eq!(told.body["joinability"]["open"], Value::Bool(is_open));
        }
    }
}
