//! Timeouts: inactive players are removed, unanswered invites expire, and instances whose hosts stop reporting become
//! unhealthy. Tests advance the clock.

use std::time::Duration;

use rallypoint::config::Config;
use rallypoint::jobs;
use rallypoint::records::keys::KEY_UPGRADE;
use rallypoint::store::{Embedded, Memory, Store};
use serde_json::{Value, json};

use crate::harness::{Client, Server, leftovers, player_path, status_and_team};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Players are removed after a minute of inactivity.
fn culling(config: &mut Config) {
    config.templates.get_mut("game").unwrap().player_culling_timeout = Some(60);
}

/// Invites expire after five minutes.
fn expiring(config: &mut Config) {
    config.sessions.invite_expiry_s = 300;
}

/// A game led by alice, with bob and carol as members.
async fn game(server: &Server) -> ([Client; 3], String) {
    let players = [server.lasting_player(), server.lasting_player(), server.lasting_player()];
    let session = players[0].creates("game").await;
    for player in &players[1..] {
        player.joins(&session).await.expect(200);
    }
    (players, session)
}

/// Sends a heartbeat: reads a session without moving its deadline.
async fn poll(player: &Client, session: &str) {
    player.get(&format!("/v1/session/{session}?refresh_ttl=false")).await.expect(200);
}

#[tokio::test]
async fn an_inactive_player_is_removed_as_if_they_had_left() {
    let server = Server::with(culling);
    let ([alice, bob, carol], session) = game(&server).await;
    server.advance(59 * SECOND).await;
    for player in [&bob, &carol] {
        poll(player, &session).await;
    }
    server.advance(SECOND).await;
    // Alice, the leader, has been inactive for a minute. The longest active player leads now.
    let leader = if bob.player < carol.player { &bob } else { &carol };
    assert_eq!(bob.sees(&session, &alice).await, Value::Null);
    assert_eq!(bob.sees_status_and_team(&session, leader).await, status_and_team("leader", 0));
    assert_eq!(alice.own_list("game").await, Value::Null);
    alice.leaves(&session).await.refused(404, "player_not_found");
    server.advance(45 * SECOND).await;
    poll(&carol, &session).await;
    server.advance(15 * SECOND).await;
    assert_eq!(carol.sees(&session, &bob).await, Value::Null);
    server.advance(MINUTE).await;
    carol.session(&session).await.refused(404, "session_not_found");
    assert!(leftovers(&server).await.is_empty(), "the session ended with its last player");
}

#[tokio::test]
async fn every_read_of_a_session_is_a_heartbeat() {
    let server = Server::with(culling);
    let ([alice, bob, carol], session) = game(&server).await;
    alice.links(&session).await.expect(200);
    let path = format!("/v1/session/{session}");
    for round in 0..15 {
        server.advance(50 * SECOND).await;
        poll(&alice, &session).await;
        let etag = alice.session(&session).await.etag();
        match round % 5 {
            0 => bob.get_if_none_match(&path, &etag).await.expect(304),
            1 => bob.get(&format!("{path}/player?refresh_ttl=false")).await.expect(200),
            2 => bob.get(&player_path(&session, alice.player)).await.expect(200),
            3 => bob.xbox().await.expect(200),
            _ => bob.get(&format!("{}/permission", player_path(&session, alice.player))).await.expect(200),
        };
        if round == 0 {
            poll(&carol, &session).await;
        }
    }
    assert_eq!(alice.sees_status_and_team(&session, &bob).await, status_and_team("member", 0));
    assert_eq!(alice.sees(&session, &carol).await, Value::Null, "carol sent one heartbeat and no more");
}

#[tokio::test]
async fn joining_is_a_heartbeat_and_invited_players_need_none() {
    let server = Server::with(culling);
    let ([alice, bob, _], session) = game(&server).await;
    let (invited, late) = (server.lasting_player(), server.lasting_player());
    alice.invites(&session, &invited).await.expect(200);
    server.advance(45 * SECOND).await;
    poll(&alice, &session).await;
    late.joins(&session).await.expect(200);
    server.advance(45 * SECOND).await;
    poll(&alice, &session).await;
    assert_eq!(alice.sees(&session, &bob).await, Value::Null);
    assert_eq!(alice.sees_status_and_team(&session, &late).await, status_and_team("member", 0));
    assert_eq!(alice.sees_status_and_team(&session, &invited).await, status_and_team("invited", 0));
    // A player who joins again starts with a new timeout.
    bob.joins(&session).await.expect(200);
    server.advance(45 * SECOND).await;
    poll(&alice, &session).await;
    assert_eq!(alice.sees_status_and_team(&session, &bob).await, status_and_team("member", 0));
    assert_eq!(alice.sees(&session, &late).await, Value::Null);
}

#[tokio::test]
async fn without_a_culling_timeout_nobody_is_removed() {
    for timeout in [None, Some(0)] {
        let server = Server::with(|config| {
            config.templates.get_mut("game").unwrap().player_culling_timeout = timeout;
        });
        let ([alice, bob, carol], session) = game(&server).await;
        for _ in 0..30 {
            server.advance(20 * MINUTE).await;
            alice.session(&session).await.expect(200);
        }
        for inactive in [&bob, &carol] {
            assert_eq!(
                alice.sees_status_and_team(&session, inactive).await,
                status_and_team("member", 0),
                "{timeout:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_failed_removal_is_retried_in_the_next_round() {
    let memory = Memory::default();
    let server = Server::over(Store::Memory(memory.clone()), culling);
    let mut games = Vec::new();
    for _ in 0..3 {
        let leader = server.lasting_player();
        let mut body = crate::harness::creation("game");
        body["region_id"] = json!(games.len().to_string());
        let created = leader.post("/v1/session", &body).await.expect(200);
        games.push((leader, created.body["session_id"].as_str().unwrap().to_owned()));
    }
    server.clock.advance(MINUTE);
    memory.fail_next_commits(1);
    jobs::tick(&server.app).await.unwrap_err();
    jobs::tick(&server.app).await.unwrap();
    for (leader, session) in &games {
        leader.session(session).await.refused(404, "session_not_found");
    }
}

#[tokio::test]
async fn unanswered_invites_expire() {
    let server = Server::with(expiring);
    let ([alice, bob, _], session) = game(&server).await;
    let (invited, reserved, accepting) =
        (server.lasting_player(), server.lasting_player(), server.lasting_player());
    for player in [&invited, &accepting] {
        alice.invites(&session, player).await.expect(200);
    }
    alice.updates(&session, &reserved, json!({"status": "reserved"})).await.expect(200);
    server.advance(299 * SECOND).await;
    assert_eq!(alice.sees_status_and_team(&session, &invited).await, status_and_team("invited", 0));
    accepting.joins(&session).await.expect(200);
    // A repeated invite starts with a new timeout.
    alice.invites(&session, &invited).await.expect(200);
    let before = alice.session(&session).await.etag();
    server.advance(SECOND).await;
    assert_eq!(alice.sees(&session, &reserved).await, Value::Null);
    assert_eq!(reserved.own_list("game").await, Value::Null);
    assert_ne!(alice.session(&session).await.etag(), before);
    assert_eq!(alice.sees_status_and_team(&session, &invited).await, status_and_team("invited", 0));
    server.advance(299 * SECOND).await;
    assert_eq!(alice.sees(&session, &invited).await, Value::Null);
    assert_eq!(invited.own_list("game").await, Value::Null);
    invited.leaves(&session).await.refused(404, "player_not_found");
    for active in [&accepting, &bob] {
        assert_eq!(alice.sees_status_and_team(&session, active).await, status_and_team("member", 0));
    }
}

#[tokio::test]
async fn by_default_invites_last_as_long_as_their_session() {
    let server = Server::new();
    let ([alice, ..], session) = game(&server).await;
    let invited = server.lasting_player();
    alice.invites(&session, &invited).await.expect(200);
    for _ in 0..48 {
        server.advance(30 * MINUTE).await;
        alice.session(&session).await.expect(200);
    }
    assert_eq!(invited.own_list("game").await["pending_invites"][&session]["session_id"], json!(session));
    invited.joins(&session).await.expect(200);
}

/// A game led by alice with the instance `i`, and the service that reports its health.
async fn hosted(server: &Server) -> (Client, Client, String) {
    let ([alice, ..], session) = game(server).await;
    alice.post(&format!("/v1/session/{session}/instance"), &json!({"instance_id": "i"})).await.expect(200);
    (alice, lasting_host(server), session)
}

fn lasting_host(server: &Server) -> Client {
    let mut grant = crate::harness::grant(None, None, &["session:instance:health"]);
    grant.ttl = Duration::from_secs(1_000_000);
    server.bearer(server.token(&grant))
}

async fn report(host: &Client, session: &str) -> Value {
    report_health(host, session, "healthy").await
}

async fn report_health(host: &Client, session: &str, health: &str) -> Value {
    let body = json!({"instance_health": health, "instance_id": "i"});
    let reported = host.post(&format!("/v1/session/{session}/instance/health"), &body).await.expect(200);
    reported.body["updated_instance_health"].clone()
}

async fn health(reader: &Client, session: &str) -> Value {
    reader.session(session).await.expect(200).body["instance"]["instance_health"].clone()
}

#[tokio::test]
async fn an_instance_that_stops_reporting_becomes_unhealthy_and_then_unknown() {
    let server = Server::new();
    let (alice, host, session) = hosted(&server).await;
    for _ in 0..6 {
        assert_eq!(report(&host, &session).await, json!("healthy"));
        server.advance(10 * SECOND).await;
    }
    let path = format!("/v1/session/{session}");
    let etag = alice.session(&session).await.etag();
    // By default an instance is unhealthy if half of the last three reports are missing, and unknown if all three are.
    server.advance(5 * SECOND).await;
    alice.get_if_none_match(&path, &etag).await.expect(304);
    server.advance(10 * SECOND).await;
    assert_eq!(health(&alice, &session).await, json!("unhealthy"));
    let etag = alice.session(&session).await.etag();
    server.advance(4 * SECOND).await;
    alice.get_if_none_match(&path, &etag).await.expect(304);
    server.advance(10 * SECOND).await;
    assert_eq!(health(&alice, &session).await, json!("unknown"));
    let etag = alice.session(&session).await.etag();
    for _ in 0..30 {
        server.advance(10 * SECOND).await;
    }
    alice.get_if_none_match(&path, &etag).await.expect(304);
}

#[tokio::test]
async fn missed_reports_make_an_instance_unhealthy() {
    let server = Server::new();
    let (alice, host, session) = hosted(&server).await;
    assert_eq!(report(&host, &session).await, json!("healthy"));
    server.advance(50 * SECOND).await;
    assert_eq!(
        report(&host, &session).await,
        json!("unhealthy"),
        "the reply has the health after the report"
    );
    assert_eq!(health(&alice, &session).await, json!("unhealthy"));
    let mut answer = json!("unhealthy");
    for _ in 0..6 {
        server.advance(10 * SECOND).await;
        answer = report(&host, &session).await;
    }
    assert_eq!((answer, health(&alice, &session).await), (json!("healthy"), json!("healthy")));
}

#[tokio::test]
async fn the_health_rules_are_configurable() {
    let server = Server::with(|config| {
        config.health.cadence_s = 60;
        config.health.unhealthy_missed_percent = 100.0;
        config.health.missed_before_unknown = 2;
    });
    let (alice, host, session) = hosted(&server).await;
    report(&host, &session).await;
    server.advance(60 * SECOND).await;
    assert_eq!(health(&alice, &session).await, json!("healthy"));
    server.advance(60 * SECOND).await;
    assert_eq!(health(&alice, &session).await, json!("unknown"));
}

#[tokio::test]
async fn an_ended_instance_may_stop_reporting() {
    let server = Server::new();
    let (alice, host, session) = hosted(&server).await;
    report(&host, &session).await;
    let instance = format!("/v1/session/{session}/instance");
    alice.delete(&instance).await.expect(204);
    alice.post(&instance, &json!({"instance_id": "j"})).await.expect(200);
    let etag = alice.session(&session).await.etag();
    for _ in 0..20 {
        server.advance(10 * SECOND).await;
    }
    alice.get_if_none_match(&format!("/v1/session/{session}"), &etag).await.expect(304);
    assert_eq!(health(&alice, &session).await, Value::Null);
}

#[tokio::test]
async fn session_changes_do_not_hide_missed_reports() {
    let server = Server::with(|config| config.health.missed_before_unknown = 6);
    let (alice, host, session) = hosted(&server).await;
    report(&host, &session).await;
    for (rounds, expected) in [(10, "unhealthy"), (4, "unknown")] {
        for round in 0..rounds {
            server.advance(5 * SECOND).await;
            let body = json!({"custom_data": {"round": round.to_string()}});
            alice.patch(&format!("/v1/session/{session}"), &body).await.expect(200);
        }
        assert_eq!(health(&alice, &session).await, json!(expected));
    }
}

#[tokio::test]
async fn an_instance_that_reports_unknown_must_report_as_often_as_others() {
    let server = Server::with(|config| config.health.missed_before_unknown = 6);
    let (alice, host, session) = hosted(&server).await;
    assert_eq!(report_health(&host, &session, "unknown").await, json!("unknown"));
    server.advance(50 * SECOND).await;
    assert_eq!(health(&alice, &session).await, json!("unhealthy"));
    server.advance(10 * SECOND).await;
    assert_eq!(health(&alice, &session).await, json!("unknown"));
}

#[tokio::test]
async fn a_new_instance_with_the_same_id_starts_without_missed_reports() {
    let server = Server::with(culling);
    let (alice, host, session) = hosted(&server).await;
    report(&host, &session).await;
    let instance = format!("/v1/session/{session}/instance");
    alice.delete(&instance).await.expect(204);
    server.advance(50 * SECOND).await;
    alice.post(&instance, &json!({"instance_id": "i"})).await.expect(200);
    assert_eq!(report(&host, &session).await, json!("healthy"));
}

#[tokio::test]
async fn after_a_restart_every_timeout_starts_anew() {
    let dir = tempfile::tempdir().unwrap();
    let open = |config: fn(&mut Config)| {
        Server::over(Store::Embedded(Embedded::open(dir.path(), KEY_UPGRADE).unwrap()), config)
    };
    let rules = |config: &mut Config| {
        culling(config);
        expiring(config);
        config.health.missed_before_unknown = 6;
    };
    let (tokens, session, now);
    {
        let server = open(rules);
        let (alice, host, hosted) = hosted(&server).await;
        report(&host, &hosted).await;
        let invited = server.lasting_player();
        alice.invites(&hosted, &invited).await.expect(200);
        // Half of every timeout has passed.
        server.advance(30 * SECOND).await;
        (tokens, session, now) = ([alice, invited], hosted, server.clock.now_ms());
        server.app.sessions.store().close().await.unwrap();
    }
    let server = open(rules);
    server.clock.advance(Duration::from_millis((now - server.clock.now_ms()).unsigned_abs()));
    server.app.presence.watch_stored().await.unwrap();
    let [alice, invited] =
        tokens.map(|client| Client { player: client.player, ..server.bearer(client.token.unwrap()) });
    let reader = {
        let mut grant = crate::harness::grant(None, None, &["session:read:any"]);
        grant.ttl = Duration::from_secs(1_000_000);
        server.bearer(server.token(&grant))
    };
    for _ in 0..3 {
        server.advance(10 * SECOND).await;
    }
    // A minute without heartbeats, of which this process has seen only half.
    assert_eq!(reader.sees_status_and_team(&session, &alice).await, status_and_team("leader", 0));
    assert_eq!(health(&reader, &session).await, json!("healthy"));
    server.advance(15 * SECOND).await;
    poll(&alice, &session).await;
    server.advance(15 * SECOND).await;
    let players = reader.session(&session).await.body["teams"][0]["players"].clone();
    let left: Vec<_> = players.as_array().unwrap().iter().map(|entry| entry["player_uuid"].clone()).collect();
    assert_eq!(left, [json!(alice.player), json!(invited.player)], "players without a heartbeat are removed");
    // The expiry of an invite counts from its creation time, which is stored.
    for _ in 0..7 {
        poll(&alice, &session).await;
        server.advance(30 * SECOND).await;
    }
    assert_eq!(reader.sees(&session, &invited).await, Value::Null);
    assert_eq!(reader.sees_status_and_team(&session, &alice).await, status_and_team("leader", 0));
    assert_eq!(health(&reader, &session).await, json!("unknown"));
}

#[tokio::test]
async fn ended_sessions_are_no_longer_watched() {
    let server = Server::with(|config| {
        culling(config);
        config.templates.get_mut("game").unwrap().attempt_auto_join = false;
        config.sessions.idle_s = 8;
    });
    let watched = || server.app.presence.watched_count();
    let alice = server.lasting_player();
    let left = alice.creates("game").await;
    let ended = alice.creates("game").await;
    alice.creates("game").await;
    alice.creates("party").await;
    assert_eq!(watched(), 3, "the party has no timeouts and is not watched");
    alice.leaves(&left).await.expect(204);
    alice.delete(&format!("/v1/session/{ended}")).await.expect(204);
    assert_eq!(watched(), 1);
    // The last game ends because it is idle.
    server.advance(10 * SECOND).await;
    assert!(leftovers(&server).await.is_empty());
    assert_eq!(watched(), 0);
}
