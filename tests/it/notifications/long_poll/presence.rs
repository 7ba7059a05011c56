use std::time::Duration;

use rallypoint::config::Config;
use serde_json::{Value, json};

use super::*;
use crate::harness::pairs_of_nodes;

/// More seconds than the time until a player is removed, which is an eighth longer on a shared store.
const TOO_LONG_S: usize = 24;

/// Players are removed after 20 seconds of inactivity.
fn short(config: &mut Config) {
    config.templates.get_mut("game").unwrap().player_culling_timeout = Some(20);
}

/// Lets this many seconds pass, with the jobs of each.
async fn pass(server: &Server, seconds: usize) {
    for _ in 0..seconds {
        server.advance(Duration::from_secs(1)).await;
        server.waits_settle().await;
    }
}

/// Lets a client do nothing but listen, for this many long polls.
async fn listens(server: &Server, caller: &Client, next: &str, long_polls: usize) {
    for _ in 0..long_polls {
        let waiting = hold(caller, next).await;
        pass(server, 25).await;
        waiting.answer().await;
    }
}

#[tokio::test]
async fn a_player_who_only_listens_stays() {
    let server = Server::with(short);
    let alice = server.lasting_player();
    let game = alice.creates("game").await;
    pass(&server, 1).await;
    let (_, next) = begin(&alice).await;
    listens(&server, &alice, &next, 12).await;
    assert_eq!(alice.sees_status_and_team(&game, &alice).await, (json!("leader"), json!(0)));
    // A node tells others of its listeners at intervals, so they may know of the last one for a moment longer.
    pass(&server, TOO_LONG_S + 6).await;
    alice.session(&game).await.refused(404, "session_not_found");
}

#[tokio::test]
async fn a_player_whose_connection_breaks_is_removed() {
    let server = Server::with(short);
    let (alice, bob) = (server.lasting_player(), server.lasting_player());
    let game = alice.creates("game").await;
    alice.opens(&game).await;
    bob.joins(&game).await.expect(200);
    pass(&server, 1).await;
    let (_, next) = begin(&bob).await;
    let waiting = hold(&bob, &next).await;
    let alice_reads_for = async |seconds: usize| {
        for _ in 0..seconds {
            pass(&server, 1).await;
            alice.session(&game).await.expect(200);
        }
    };
    alice_reads_for(22).await;
    assert_eq!(alice.sees_status_and_team(&game, &bob).await, (json!("member"), json!(0)));
    waiting.abort().await;
    alice_reads_for(TOO_LONG_S + 6).await;
    assert_eq!(alice.sees(&game, &bob).await, Value::Null);
}

#[tokio::test]
async fn a_player_who_only_listens_stays_on_every_node() {
    // The test's clock goes on while a look asks the database, so the players have more time than elsewhere.
    let longer = |config: &mut Config| {
        config.templates.get_mut("game").unwrap().player_culling_timeout = Some(60);
    };
    for [node, other] in pairs_of_nodes(longer).await {
        let (alice, bob) = (node.lasting_player(), node.lasting_player());
        let game = alice.creates("game").await;
        alice.opens(&game).await;
        bob.joins(&game).await.expect(200);
        let both = async |seconds: usize| {
            for _ in 0..seconds {
                for server in [&node, &other] {
                    server.app.waits.wake_due();
                    server.waits_settle().await;
                    rallypoint::jobs::tick(&server.app).await.unwrap();
                }
                node.clock.advance(Duration::from_secs(1));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        both(1).await;
        let (_, next) = begin(&alice).await;
        for _ in 0..6 {
            // The first answer tells of bob's removal.
            let waiting = send(&alice, &next);
            both(25).await;
            // It may have begun a little later, or still ask the database.
            for _ in 0..20 {
                if !waiting.is_finished() {
                    both(1).await;
                }
            }
            assert!(waiting.is_finished());
        }
        let at_other = Client { server: other.clone(), ..alice.clone() };
        assert_eq!(at_other.sees_status_and_team(&game, &alice).await, (json!("leader"), json!(0)));
        assert_eq!(at_other.sees(&game, &bob).await, Value::Null, "bob does not listen");
    }
}

#[tokio::test]
async fn only_the_player_who_listens_is_present() {
    let server = Server::with(short);
    let (alice, bob) = (server.lasting_player(), server.lasting_player());
    let game = alice.creates("game").await;
    alice.opens(&game).await;
    bob.joins(&game).await.expect(200);
    pass(&server, 1).await;
    let service = server.service(&["notification:player:read"]);
    let of_bob = Client { player: bob.player, ..service };
    let (_, next) = begin(&of_bob).await;
    // Held until its deadline.
    hold(&of_bob, &next).await;
    let (_, next) = begin(&alice).await;
    listens(&server, &alice, &next, 1).await;
    assert_eq!(alice.sees(&game, &bob).await, Value::Null, "a service listens for bob, and bob does not");
}

#[tokio::test]
async fn whether_listening_counts_is_a_setting() {
    let server = Server::with(|config| {
        short(config);
        config.notifications.counts_as_heard = false;
    });
    let alice = server.lasting_player();
    let game = alice.creates("game").await;
    pass(&server, 1).await;
    let (_, next) = begin(&alice).await;
    let waiting = hold(&alice, &next).await;
    pass(&server, TOO_LONG_S).await;
    assert_eq!(told(&waiting.answer().await), [("session_removed", &*game)]);
    alice.session(&game).await.refused(404, "session_not_found");
}

#[tokio::test]
async fn listening_keeps_no_session_alive() {
    for is_invited in [false, true] {
        let server = Server::with(|config| config.sessions.idle_s = 60);
        let (alice, bob) = (server.lasting_player(), server.lasting_player());
        let party = alice.creates("party").await;
        alice.invites(&party, &bob).await.expect(200);
        let listener = if is_invited { &bob } else { &alice };
        let (_, next) = begin(listener).await;
        listens(&server, listener, &next, 2).await;
        let waiting = hold(listener, &next).await;
        // A minute after its last use, and an eighth of that.
        pass(&server, 22).await;
        assert_eq!(told(&waiting.answer().await), [("session_removed", &*party)]);
    }
}

#[tokio::test]
async fn a_wait_that_does_not_refresh_shows_presence_and_lets_the_session_end() {
    let server = Server::with(|config| {
        short(config);
        config.sessions.idle_s = 60;
    });
    let alice = server.lasting_player();
    let game = alice.creates("game").await;
    let path = format!("/v1/session/{game}?refresh_ttl=false");
    let mut waited_s = 0;
    let last = loop {
        let reply = alice.get(&path).await;
        if reply.status == 404 {
            break reply;
        }
        assert_eq!(reply.body["teams"][0]["players"].as_array().unwrap().len(), 1, "after {waited_s} s");
        let (caller, path, etag) = (alice.clone(), path.clone(), reply.etag());
        let waiting = tokio::spawn(async move {
            let headers = [("if-none-match", &*etag), ("prefer", "wait=25")];
            caller.send(http::Method::GET, &path, &headers, None).await
        });
        while server.held() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for _ in 0..25 {
            pass(&server, 1).await;
            waited_s += 1;
            if waiting.is_finished() {
                break;
            }
        }
        let reply = waiting.await.unwrap();
        if reply.status == 404 {
            break reply;
        }
    };
    last.refused(404, "session_not_found");
    assert!((60..=76).contains(&waited_s), "it ended unused, not by the player's removal: {waited_s}");
}
