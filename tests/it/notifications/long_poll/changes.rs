use std::collections::BTreeMap;
use std::time::Duration;

use rallypoint::app::Catalog;
use rallypoint::config::Config;
use rallypoint::domain::template::Visibility;
use serde_json::json;

use super::*;
use crate::api::wait::wait;
use crate::harness::Metrics;
use crate::notifications::{OWN, texts};

/// Alice leads a session that is open to all, and bob is in it.
async fn with_bob(server: &Server, session_type: &str) -> (Client, Client, String) {
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates(session_type).await;
    alice.opens(&session).await;
    bob.joins(&session).await.expect(200);
    later(server).await;
    (alice, bob, session)
}

/// Lets the time pass for which players are not told of their own changes.
async fn later(server: &Server) {
    server.advance(Duration::from_millis(300)).await;
}

/// Asserts that a long poll is told of one change of a session, with the ETag that the player reads.
async fn tells(caller: &Client, waiting: Poll, message: &str, session: &str) -> String {
    let answer = waiting.answer().await;
    assert_eq!(told(&answer), [(message, session)]);
    let read = caller.session(session).await;
    let etag = (message != "session_removed").then(|| json!(read.etag()));
    assert_eq!(notifications(&answer)[0].get("etag").cloned(), etag);
    after(cursor(&answer))
}

#[tokio::test]
async fn each_change_is_told_to_all_who_are_in_the_session() {
    let server = Server::new();
    let (alice, bob, session) = with_bob(&server, "party").await;
    let carol = server.player();
    let (_, mut of_bob) = begin(&bob).await;
    let (_, mut of_carol) = begin(&carol).await;
    let waiting = [hold(&bob, &of_bob).await, hold(&carol, &of_carol).await];
    alice.invites(&session, &carol).await.expect(200);
    let [by_bob, by_carol] = waiting;
    of_bob = tells(&bob, by_bob, "session_changed", &session).await;
    of_carol = tells(&carol, by_carol, "session_added", &session).await;
    let path = format!("/v1/session/{session}");
    let waiting = [hold(&bob, &of_bob).await, hold(&carol, &of_carol).await];
    alice.patch(&path, &json!({"joinability": {"open": false}})).await.expect(200);
    let [by_bob, by_carol] = waiting;
    of_bob = tells(&bob, by_bob, "session_changed", &session).await;
    of_carol = tells(&carol, by_carol, "session_changed", &session).await;
    let waiting = [hold(&bob, &of_bob).await, hold(&carol, &of_carol).await];
    alice.kicks(&session, &carol).await.expect(204);
    let [by_bob, by_carol] = waiting;
    of_bob = tells(&bob, by_bob, "session_changed", &session).await;
    tells(&carol, by_carol, "session_removed", &session).await;
    let waiting = hold(&bob, &of_bob).await;
    alice.kicks(&session, &bob).await.expect(204);
    tells(&bob, waiting, "session_removed", &session).await;
}

#[tokio::test]
async fn the_end_of_a_session_is_told_however_it_ends() {
    for how in ["deleted", "left by the last player", "unused"] {
        let server = Server::with(|config| config.sessions.idle_s = 60);
        let (alice, bob) = (server.player(), server.player());
        let session = alice.creates("party").await;
        alice.invites(&session, &bob).await.expect(200);
        let (all, _) = begin(&bob).await;
        server.advance(Duration::from_secs(20)).await;
        let waiting = hold(&bob, &format!("exclude_before={}&deadline=55", cursor(&all))).await;
        match how {
            "deleted" => drop(alice.delete(&format!("/v1/session/{session}")).await.expect(204)),
            "left by the last player" => drop(alice.leaves(&session).await.expect(204)),
            _ => {
                server.advance(Duration::from_secs(39)).await;
                server.waits_settle().await;
                assert!(!waiting.is_finished());
                // An eighth of the idle time later at the latest.
                for _ in 0..9 {
                    server.advance(Duration::from_secs(1)).await;
                }
            }
        }
        let answer = waiting.answer().await;
        assert_eq!(told(&answer), [("session_removed", &*session)], "{how}");
        bob.session(&session).await.refused(404, "session_not_found");
    }
}

#[tokio::test]
async fn what_changes_back_is_not_told_and_several_changes_are_told_once() {
    let server = Server::new();
    let (alice, bob, session) = with_bob(&server, "party").await;
    let (all, next) = begin(&bob).await;
    assert_eq!(told(&all), [("session_added", &*session)]);
    let path = format!("/v1/session/{session}");
    for is_open in [false, true] {
        alice.patch(&path, &json!({"joinability": {"open": is_open}})).await.expect(200);
    }
    let waiting = hold(&bob, &next).await;
    server.waits_settle().await;
    assert!(!waiting.is_finished());
    waiting.abort().await;
    for _ in 0..2 {
        server.player().joins(&session).await.expect(200);
    }
    let answer = poll(&bob, &next).await;
    assert_eq!(told(&answer), [("session_changed", &*session)]);
    assert_eq!(notifications(&answer)[0]["etag"], json!(bob.session(&session).await.etag()));
}

#[tokio::test]
async fn players_are_told_of_their_own_changes_a_moment_later() {
    let server = Server::new();
    let (alice, bob, session) = with_bob(&server, "party").await;
    let (_, of_alice) = begin(&alice).await;
    let (_, of_bob) = begin(&bob).await;
    let path = format!("/v1/session/{session}");
    let (by_alice, by_bob) = (hold(&alice, &of_alice).await, hold(&bob, &of_bob).await);
    alice.patch(&path, &json!({"joinability": {"open": false}})).await.expect(200);
    tells(&bob, by_bob, "session_changed", &session).await;
    server.advance(Duration::from_millis(299)).await;
    server.waits_settle().await;
    assert!(!by_alice.is_finished());
    assert!(notifications(&poll(&alice, &at_once(&of_alice)).await).is_empty());
    server.advance(Duration::from_millis(1)).await;
    let of_alice = tells(&alice, by_alice, "session_changed", &session).await;
    let waiting = hold(&alice, &of_alice).await;
    alice.leaves(&session).await.expect(204);
    server.waits_settle().await;
    assert!(!waiting.is_finished());
    later(&server).await;
    tells(&alice, waiting, "session_removed", &session).await;
}

/// A client reads a session as soon as it has joined it, so it knows of sessions that no long poll has told it of.
#[tokio::test]
async fn a_kick_right_after_a_join_is_told_once() {
    for is_held in [true, false] {
        let server = Server::new();
        if !is_held && server.nodes().count() > 1 {
            continue;
        }
        let (alice, bob) = (server.player(), server.player());
        let session = alice.creates("party").await;
        alice.opens(&session).await;
        let (_, mut of_bob) = begin(&bob).await;
        let held = if is_held { Some(hold(&bob, &of_bob).await) } else { None };
        bob.joins(&session).await.expect(200);
        server.waits_settle().await;
        alice.kicks(&session, &bob).await.expect(204);
        let waiting = match held {
            Some(held) => held,
            None => send(&bob, &of_bob),
        };
        of_bob = tells(&bob, waiting, "session_removed", &session).await;
        let waiting = hold(&bob, &of_bob).await;
        later(&server).await;
        server.waits_settle().await;
        assert!(!waiting.is_finished());
        alice.invites(&session, &bob).await.expect(200);
        tells(&bob, waiting, "session_added", &session).await;
    }
}

#[tokio::test]
async fn players_are_told_only_of_what_they_see() {
    let server = Server::with(|config| {
        let game = config.templates.get_mut("game").unwrap();
        (game.player_visibility, game.admin_player_visibility) = (Visibility::Team, Visibility::All);
    });
    let (alice, bob, carol, dave) = (server.player(), server.player(), server.player(), server.player());
    let session = alice.creates("game").await;
    let password = async |password: &str| {
        alice.patch(&format!("/v1/session/{session}"), &json!({ "password": password })).await.expect(200);
    };
    password("first").await;
    for (player, team_id) in [(&bob, 0), (&carol, 1), (&dave, 1)] {
        alice.invites(&session, player).await.expect(200);
        player.joins_team(&session, team_id).await.expect(200);
    }
    later(&server).await;
    let (_, of_bob) = begin(&bob).await;
    let (_, of_carol) = begin(&carol).await;
    let (by_bob, by_carol) = (hold(&bob, &of_bob).await, hold(&carol, &of_carol).await);
    dave.updates(&session, &dave, json!({"custom_data": {"a": "b"}})).await.expect(200);
    tells(&carol, by_carol, "session_changed", &session).await;
    server.waits_settle().await;
    assert!(!by_bob.is_finished(), "bob sees no players of the other team");
    password("second").await;
    server.waits_settle().await;
    assert!(!by_bob.is_finished(), "nobody reads the password");
    alice.moves(&session, &bob, 1).await.expect(200);
    tells(&bob, by_bob, "session_changed", &session).await;
}

#[tokio::test]
async fn players_who_see_only_themselves_are_told_of_themselves() {
    for sees in [Visibility::Oneself, Visibility::None] {
        let server = Server::with(|config| {
            config.templates.get_mut("game").unwrap().player_visibility = sees;
        });
        let (alice, bob, session) = with_bob(&server, "game").await;
        let (_, of_bob) = begin(&bob).await;
        let waiting = hold(&bob, &of_bob).await;
        server.player().joins(&session).await.expect(200);
        server.waits_settle().await;
        assert!(!waiting.is_finished(), "{sees:?}: another player joined");
        alice.moves(&session, &bob, 1).await.expect(200);
        let of_bob = tells(&bob, waiting, "session_changed", &session).await;
        let waiting = hold(&bob, &of_bob).await;
        alice.kicks(&session, &bob).await.expect(204);
        tells(&bob, waiting, "session_removed", &session).await;
    }
}

#[tokio::test]
async fn hidden_reservations_are_not_told() {
    for is_told in [false, true] {
        let server = Server::with(|config| {
            config.templates.get_mut("game").unwrap().notify_on_reservation = is_told;
        });
        let (alice, bob) = (server.player(), server.player());
        let session = alice.creates("game").await;
        let waiting = hold(&bob, "deadline=25").await;
        let reservation = json!({"status": "reserved"});
        alice.updates(&session, &bob, reservation).await.expect(200);
        if is_told {
            tells(&bob, waiting, "session_added", &session).await;
        } else {
            server.waits_settle().await;
            assert!(!waiting.is_finished());
        }
    }
}

#[tokio::test]
async fn a_reload_that_shows_reservations_is_told() {
    let server =
        Server::with(|config| config.templates.get_mut("game").unwrap().notify_on_reservation = false);
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("game").await;
    alice.updates(&session, &bob, json!({"status": "reserved"})).await.expect(200);
    let (_, next) = begin(&bob).await;
    let list = "/v1/player/me/session";
    let on_list = wait(&bob, list, &bob.get(list).await.etag()).await;
    let waiting = hold(&bob, &next).await;
    for node in server.nodes() {
        let templates = Config::default().templates;
        node.app.replace_catalog(Catalog::new(templates, BTreeMap::new(), BTreeMap::new()));
    }
    assert_eq!(told(&waiting.answer().await), [("session_added", &*session)]);
    let list = on_list.await.unwrap().expect(200);
    assert_eq!(list.body["sessions"]["game"]["reserved_sessions"], json!([session]));
}

#[tokio::test]
async fn delivered_notifications_are_counted() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let delivered = async || Metrics::total(&server, "notifications_delivered_total").await;
    let (_, next) = begin(&bob).await;
    let waiting = hold(&bob, &next).await;
    assert_eq!(delivered().await, 0);
    let session = alice.creates("party").await;
    alice.invites(&session, &bob).await.expect(200);
    waiting.answer().await;
    assert_eq!(delivered().await, 1);
    bob.on(NOTIFICATION).post(OWN, &texts(&["one", "two"])).await.expect(200);
    poll(&bob, &at_once(&next)).await.expect(200);
    assert_eq!(delivered().await, 1 + 3, "two messages, and the invite again after the older cursor");
}
