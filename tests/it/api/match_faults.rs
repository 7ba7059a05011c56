//! Matches of the server when something fails in the middle of making them.

use std::time::Duration;

use rallypoint::app::Failure;
use rallypoint::config::{Config, Sources};
use rallypoint::domain::SessionId;
use rallypoint::jobs;
use rallypoint::records::keys;
use rallypoint::runtime::reload::reload;
use rallypoint::store::{Batch, Memory, Store};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::matches::{FILE, forget_nodes, is_clean, match_of_player, queued, tick, with_matches};
use super::queue::{ended, joins, queue, ticket};
use crate::harness::{Client, Metrics, Server, pairs_of_nodes};

/// One round of the matcher. Returns whether another one can find more at once.
async fn round(server: &Server) -> Result<bool, Failure> {
    server.app.matchmaker.round(&server.app, &CancellationToken::new()).await
}

/// A party of one, with so much data that a match of two is larger than 3,000 bytes.
async fn queued_large(server: &Server) -> (Client, String) {
    let player = server.player();
    let session = player.creates("party").await;
    let body = json!({ "queue_id": "duel", "additional_join_params": { "tags": ["x".repeat(1_000)] } });
    player.post(&queue(&session), &body).await.expect(200);
    (player, session)
}

#[tokio::test]
async fn a_party_that_cannot_be_read_stops_no_other() {
    let store = Store::Memory(Memory::default());
    let server = Server::over(store.clone(), with_matches);
    let damaged = queued(&server, &["duel"]).await;
    let key = keys::session(&SessionId::parse(&damaged.1).unwrap());
    store.commit(Batch::default().put(key, "damaged")).await.unwrap();
    // A node that has not read the session before.
    let started = server.another_node(store);
    let on_it = |client: Client| Client { server: started.clone(), ..client };
    let others = [queued(&started, &["duel"]).await, queued(&started, &["duel"]).await];
    for _ in 0..4 {
        round(&started).await.unwrap();
        started.clock.advance(Duration::from_secs(1));
    }
    let [one, other] = others.map(|(player, ..)| on_it(player));
    let session = match_of_player(&one).await.expect("a match");
    assert_eq!(match_of_player(&other).await, Some(session));
}

#[tokio::test]
async fn a_match_that_could_not_be_stored_is_made_later() {
    let memory = Memory::default();
    let server = Server::over(Store::Memory(memory.clone()), with_matches);
    let parties = [queued(&server, &["duel"]).await, queued(&server, &["duel"]).await];
    memory.fail_next_commits(u64::MAX);
    jobs::tick(&server.app).await.unwrap_err();
    for (player, party, id) in &parties {
        assert_eq!(ticket(player, party).await["ticket_id"], json!(id));
    }
    memory.fail_next_commits(0);
    tick(&server).await;
    assert!(match_of_player(&parties[0].0).await.is_some());
    is_clean(&server).await;
}

#[tokio::test]
async fn a_match_whose_answer_was_lost_is_not_made_again() {
    let memory = Memory::default();
    let server = Server::over(Store::Memory(memory.clone()), with_matches);
    let parties = [queued(&server, &["duel"]).await, queued(&server, &["duel"]).await];
    memory.lose_answers(true);
    jobs::tick(&server.app).await.unwrap_err();
    memory.lose_answers(false);
    let session = match_of_player(&parties[0].0).await.expect("a match");
    // A third one finds nobody: the tickets of the match are gone, and the matcher has found out.
    let third = queued(&server, &["duel"]).await;
    tick(&server).await;
    assert_eq!(match_of_player(&parties[1].0).await, Some(session));
    assert_eq!(match_of_player(&third.0).await, None);
    assert_eq!(Metrics::of(&server).await.get("matcher_conflicts_total"), 0);
    is_clean(&server).await;
}

#[tokio::test]
async fn a_match_that_is_too_large_ends_its_tickets() {
    let server = Server::with(|config| {
        with_matches(config);
        config.sessions.session_bytes_max = 3_000;
    });
    let parties = [queued_large(&server).await, queued_large(&server).await];
    server.advance(Duration::from_secs(1)).await;
    for (player, session) in &parties {
        assert_eq!(ticket(player, session).await, Value::Null);
        assert_eq!(match_of_player(player).await, None);
    }
    assert_eq!(ended(&server, "timeout").await, 2);
    is_clean(&server).await;
}

#[tokio::test]
async fn tickets_that_could_not_be_ended_are_ended_later() {
    let memory = Memory::default();
    let server = Server::over(Store::Memory(memory.clone()), |config| {
        with_matches(config);
        config.sessions.session_bytes_max = 3_000;
    });
    let parties = [queued_large(&server).await, queued_large(&server).await];
    memory.fail_next_commits(u64::MAX);
    round(&server).await.unwrap_err();
    memory.fail_next_commits(0);
    for (player, session) in &parties {
        assert_ne!(ticket(player, session).await, Value::Null, "nothing has happened");
    }
    round(&server).await.unwrap();
    for (player, session) in &parties {
        assert_eq!(ticket(player, session).await, Value::Null);
    }
    assert_eq!(ended(&server, "timeout").await, 2);
    is_clean(&server).await;
}

#[tokio::test]
async fn a_step_of_the_clock_loses_no_ticket_that_is_held() {
    for step_ms in [-3_600_000, 3_600_000] {
        let memory = Memory::default();
        let server = Server::over(Store::Memory(memory.clone()), with_matches);
        // Tokens of others end with the clock.
        let players = [server.lasting_player(), server.lasting_player()];
        for player in &players {
            let session = player.creates("party").await;
            joins(player, &session, &["duel"]).await.expect(200);
        }
        memory.fail_next_commits(u64::MAX);
        round(&server).await.unwrap_err();
        memory.fail_next_commits(0);
        server.clock.step(step_ms);
        round(&server).await.unwrap();
        let session = match_of_player(&players[0]).await.expect("a match");
        assert_eq!(match_of_player(&players[1]).await, Some(session), "{step_ms}");
        is_clean(&server).await;
    }
}

#[tokio::test]
async fn a_session_that_expires_in_the_moment_of_its_match_lets_the_others_be_matched() {
    let change = |config: &mut Config| {
        with_matches(config);
        config.sessions.idle_s = 60;
        // The matcher does not look again at what it knows.
        (config.matchmaking.ticket_timeout_s, config.matchmaking.poll_ms) = (0, 3_600_000);
    };
    for [matching, other] in pairs_of_nodes(change).await {
        let one = queued(&matching, &["duel"]).await;
        tick(&matching).await;
        matching.clock.advance(Duration::from_secs(120));
        // The other node ends the session: its jobs are first.
        tick(&other).await;
        forget_nodes(&[&matching]).await;
        let [two, three] = [queued(&matching, &["duel"]).await, queued(&matching, &["duel"]).await];
        // The oldest one would be in the match.
        tick(&matching).await;
        assert_eq!(Metrics::of(&matching).await.get("matcher_conflicts_total"), 1);
        let session = match_of_player(&two.0).await.expect("a match without the expired one");
        assert_eq!(match_of_player(&three.0).await, Some(session));
        one.0.session(&one.1).await.refused(404, "session_not_found");
        is_clean(&matching).await;
    }
}

#[tokio::test]
async fn a_round_that_is_told_to_stop_makes_no_match() {
    let server = Server::over(Store::Memory(Memory::default()), with_matches);
    let parties = [queued(&server, &["duel"]).await, queued(&server, &["duel"]).await];
    let stop = CancellationToken::new();
    stop.cancel();
    assert!(!server.app.matchmaker.round(&server.app, &stop).await.unwrap());
    assert_eq!(match_of_player(&parties[0].0).await, None);
    let has_more = round(&server).await.unwrap();
    assert!(match_of_player(&parties[0].0).await.is_some());
    assert!(!has_more, "the next pass comes at its time");
}

/// Types of sessions as the tests of matches need them.
const TEMPLATES: &str = r#"
    [templates.party]
    can_be_created_by_players_directly = true
    can_join_matchmaking = true
    [templates.game]
"#;

#[tokio::test]
async fn an_invalid_file_changes_nothing_for_tickets_that_wait() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("rallypoint.toml");
    let sources = Sources { file: Some(file.clone()), overrides: Vec::new() };
    let valid = FILE.to_owned() + TEMPLATES;
    let server = Server::over(Store::Memory(Memory::default()), with_matches);
    let reloads = |text: &str| {
        std::fs::write(&file, text).unwrap();
        reload(&server.app, &sources)
    };
    reloads(&valid).unwrap();
    let one = queued(&server, &["duel", "teams"]).await;
    // Without the queues and the profile of the ticket, which alone would end it, and with a mistake.
    for invalid in ["[queues.duel]\n", "[match_making_profiles.other]\nnum_sides = 0\n", "[queues"] {
        reloads(&(TEMPLATES.to_owned() + invalid)).unwrap_err();
        server.advance(Duration::from_secs(1)).await;
        assert_eq!(ticket(&one.0, &one.1).await["ticket_id"], json!(one.2), "{invalid}");
    }
    let other = queued(&server, &["duel"]).await;
    server.advance(Duration::from_secs(1)).await;
    let session = match_of_player(&one.0).await.expect("a match");
    assert_eq!(match_of_player(&other.0).await, Some(session));
}
