//! Inactivity with several nodes on one store: heartbeats of players and health reports of hosts count at every node.

use std::sync::Arc;
use std::time::Duration;

use rallypoint::domain::SessionId;
use rallypoint::jobs;
use rallypoint::records::keys;
use rallypoint::store::{Batch, Memory, Store};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::harness::{Client, Server, grant, leftovers};

const SECOND: Duration = Duration::from_secs(1);

/// Two nodes on one store. Players are removed after a minute of inactivity.
fn nodes() -> [Server; 2] {
    let store = Store::Memory(Memory::shared());
    let one = Server::over(store.clone(), |config| {
        let game = config.templates.get_mut("game").unwrap();
        (game.player_culling_timeout, game.attempt_auto_join) = (Some(60), false);
    });
    let other = one.another_node(store);
    [one, other]
}

/// The same caller at another node.
fn at(node: &Server, client: &Client) -> Client {
    Client { server: node.clone(), ..client.clone() }
}

/// Advances the clock second by second and runs the background jobs of each node after each second.
async fn advance(nodes: &[&Server], seconds: u64) {
    for _ in 0..seconds {
        nodes[0].clock.advance(SECOND);
        for node in nodes {
            node.advance(Duration::ZERO).await;
        }
    }
}

async fn poll(client: &Client, session: &str) {
    client.get(&format!("/v1/session/{session}?refresh_ttl=false")).await.expect(200);
}

#[tokio::test]
async fn a_heartbeat_at_another_node_keeps_a_player_and_an_inactive_player_is_removed() {
    let [one, other] = nodes();
    let [alice, bob, carol] = [one.lasting_player(), one.lasting_player(), one.lasting_player()];
    let session = alice.creates("game").await;
    for player in [&bob, &carol] {
        player.joins(&session).await.expect(200);
    }
    for _ in 0..12 {
        advance(&[&one, &other], 10).await;
        poll(&alice, &session).await;
        poll(&at(&other, &bob), &session).await;
    }
    assert_eq!(alice.sees_status_and_team(&session, &bob).await.0, json!("member"));
    assert_eq!(alice.sees(&session, &carol).await, Value::Null, "carol has been inactive for two minutes");
    at(&other, &carol).leaves(&session).await.refused(404, "player_not_found");
}

/// A session that nobody can read is watched by no node, and must not keep players in other sessions.
#[tokio::test]
async fn a_session_that_cannot_be_read_stops_no_timeout_in_others() {
    let [one, other] = nodes();
    let [alice, bob, carol] = [one.lasting_player(), one.lasting_player(), one.lasting_player()];
    let session = alice.creates("game").await;
    bob.joins(&session).await.expect(200);
    let unreadable = carol.creates("game").await;
    let key = keys::session(&SessionId::parse(&unreadable).unwrap());
    let store = other.app.sessions.store();
    store.commit(Batch::default().put(key, "not a session")).await.unwrap();
    for _ in 0..12 {
        other.clock.advance(10 * SECOND);
        jobs::tick(&other.app).await.ok();
        poll(&at(&other, &alice), &session).await;
    }
    assert_eq!(at(&other, &alice).sees(&session, &bob).await, Value::Null, "bob has been inactive");
}

#[tokio::test]
async fn a_node_takes_over_the_sessions_of_a_stopped_node() {
    let [one, other] = nodes();
    let [alice, bob] = [one.lasting_player(), one.lasting_player()];
    let session = alice.creates("game").await;
    bob.joins(&session).await.expect(200);
    for _ in 0..12 {
        advance(&[&other], 10).await;
        poll(&at(&other, &alice), &session).await;
    }
    let there = at(&other, &alice);
    assert_eq!(there.sees(&session, &bob).await, Value::Null);
    advance(&[&other], 120).await;
    there.session(&session).await.refused(404, "session_not_found");
    assert!(leftovers(&other).await.is_empty(), "neither the session nor its presence record is left");
}

#[tokio::test]
async fn health_reports_count_at_every_node() {
    let [one, other] = nodes();
    let alice = one.lasting_player();
    let session = alice.creates("game").await;
    alice.post(&format!("/v1/session/{session}/instance"), &json!({"instance_id": "i"})).await.expect(200);
    let mut host = grant(None, None, &["session:instance:health", "session:read:any"]);
    host.ttl = Duration::from_secs(1_000_000);
    let host = one.bearer(one.token(&host));
    let report_health = async |node: &Server, health: &str| {
        let body = json!({"instance_health": health, "instance_id": "i"});
        let path = format!("/v1/session/{session}/instance/health");
        at(node, &host).post(&path, &body).await.expect(200).body["updated_instance_health"].clone()
    };
    let report_healthy = async |node: &Server| report_health(node, "healthy").await;
    let health = async |node: &Server| {
        let session = at(node, &host).session(&session).await.expect(200);
        session.body["instance"]["instance_health"].clone()
    };
    for node in [&one, &other].into_iter().cycle().take(12) {
        assert_eq!(report_healthy(node).await, json!("healthy"));
        advance(&[&one, &other], 10).await;
        poll(&alice, &session).await;
        assert_eq!(health(&one).await, json!("healthy"));
    }
    // A report that comes too early to count still sets the health, also if the node that received it stops.
    assert_eq!(report_health(&one, "healthy").await, json!("healthy"));
    advance(&[&one, &other], 2).await;
    assert_eq!(report_health(&other, "degraded").await, json!("degraded"));
    for _ in 0..3 {
        advance(&[&one], 5).await;
        poll(&alice, &session).await;
        assert_eq!(health(&one).await, json!("degraded"));
    }
    // Neither node receives further reports.
    for _ in 0..8 {
        advance(&[&one, &other], 10).await;
        poll(&alice, &session).await;
    }
    assert_eq!((health(&one).await, health(&other).await), (json!("unknown"), json!("unknown")));
}

#[tokio::test]
async fn a_heartbeat_counts_at_a_node_that_does_not_watch_the_session_yet() {
    let [one, other] = nodes();
    // More sessions than a node examines in one round. The last one is not examined in the first round.
    let mut sessions = Vec::new();
    for _ in 0..300 {
        let player = one.lasting_player();
        sessions.push((player.creates("game").await, player));
    }
    let (session, alice) = sessions.into_iter().max_by_key(|(session, _)| session.clone()).unwrap();
    poll(&at(&other, &alice), &session).await;
    assert_eq!(other.app.presence.watched_count(), 1);
    for _ in 0..12 {
        advance(&[&other], 1).await;
        poll(&at(&other, &alice), &session).await;
        advance(&[&one], 9).await;
    }
    assert_eq!(at(&other, &alice).sees_status_and_team(&session, &alice).await.0, json!("leader"));
}

#[tokio::test]
async fn after_all_nodes_were_down_every_timeout_starts_anew() {
    let [one, other] = nodes();
    let alice = one.lasting_player();
    let session = alice.creates("game").await;
    poll(&alice, &session).await;
    advance(&[&one, &other], 20).await;
    let store = one.app.sessions.store().clone();
    drop((one, other.clone()));
    other.clock.advance(50 * SECOND);
    let restarted = other.another_node(store);
    restarted.app.presence.watch_stored().await.unwrap();
    advance(&[&restarted], 59).await;
    poll(&at(&restarted, &alice), &session).await;
}

#[tokio::test]
async fn presence_is_synced_while_many_sessions_expire() {
    // More sessions than a node ends in one round.
    const IDLE: usize = 1_100;
    let [one, _] = nodes();
    for _ in 0..IDLE {
        one.player().creates("party").await;
    }
    one.clock.advance(3_000 * SECOND);
    let alice = one.lasting_player();
    let session = alice.creates("game").await;
    one.clock.advance(1_500 * SECOND);
    poll(&alice, &session).await;

    let presence_key = keys::last_seen(&SessionId::parse(&session).unwrap());
    let mut changes = one.app.sessions.store().watch();
    let first_of_all_sessions = keys::all_sessions().0;
    let watching = tokio::spawn(async move {
        let (mut ended, mut ended_when_synced) = (0, None);
        while ended < IDLE {
            let change = changes.recv().await.unwrap();
            ended += usize::from(change.keys.iter().any(|key| key.starts_with(&first_of_all_sessions)));
            if change.keys.contains(&presence_key) {
                ended_when_synced.get_or_insert(ended);
            }
        }
        ended_when_synced
    });
    let stop = CancellationToken::new();
    let every = Duration::from_millis(1);
    let running = tokio::spawn(jobs::run(Arc::clone(&one.app), every, stop.clone()));
    let ended_when_synced = watching.await.unwrap();
    stop.cancel();
    running.await.unwrap();
    assert!(
        ended_when_synced.is_some_and(|ended| ended < IDLE),
        "synced after {ended_when_synced:?} sessions had ended"
    );
    alice.session(&session).await.expect(200);
}
