use std::time::Duration;

use super::*;
use crate::notifications::post;

const WITHOUT_CURSOR: &str = "exclude_before=&offset_reset_strategy=latest&deadline=25";

/// A long poll without a cursor, without news.
async fn ends_empty(server: &Server, caller: &Client) {
    let waiting = hold(caller, WITHOUT_CURSOR).await;
    server.advance(Duration::from_secs(25)).await;
    assert!(notifications(&waiting.answer().await).is_empty());
}

#[tokio::test]
async fn a_change_between_two_polls_without_a_cursor_is_told_at_once() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    ends_empty(&server, &bob).await;
    ends_empty(&server, &bob).await;
    server.advance(Duration::from_secs(2)).await;
    let session = alice.creates("party").await;
    alice.invites(&session, &bob).await.expect(200);
    server.advance(Duration::from_secs(2)).await;
    let on = |server: Server| Client { server, ..bob.clone() };
    let store = server.app.sessions.store();
    for caller in [bob.clone(), on(server.another_node(store.clone()))] {
        let answer = poll(&caller, WITHOUT_CURSOR).await;
        assert_eq!(told(&answer), [("session_added", &*session)]);
        let waiting = hold(&caller, &after(cursor(&answer))).await;
        server.waits_settle().await;
        assert!(!waiting.is_finished(), "once");
    }
}

#[tokio::test]
async fn a_kick_between_two_polls_without_a_cursor_is_told_at_once() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("party").await;
    alice.invites(&session, &bob).await.expect(200);
    poll(&bob, "deadline=0").await.expect(200);
    server.advance(Duration::from_secs(20)).await;
    alice.kicks(&session, &bob).await.expect(204);
    if server.nodes().count() == 1 {
        let answer = poll(&bob, WITHOUT_CURSOR).await;
        assert_eq!(told(&answer), [("session_removed", &*session)]);
    }
}

#[tokio::test]
async fn what_changed_long_ago_is_not_told() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("party").await;
    alice.invites(&session, &bob).await.expect(200);
    let answer = poll(&bob, WITHOUT_CURSOR).await;
    assert_eq!(told(&answer), [("session_added", &*session)], "the node has just begun to look");
    let next = after(cursor(&answer));
    for _ in 0..2 {
        let waiting = hold(&bob, &next).await;
        server.advance(Duration::from_secs(25)).await;
        waiting.answer().await;
    }
    if server.app.sessions.store().sole_writer() {
        hold(&bob, WITHOUT_CURSOR).await.abort().await;
    }
}

#[tokio::test]
async fn a_client_that_never_sends_a_cursor_is_answered_once_a_second() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("party").await;
    alice.invites(&session, &bob).await.expect(200);
    for _ in 0..3 {
        assert_eq!(told(&poll(&bob, WITHOUT_CURSOR).await), [("session_added", &*session)]);
        let waiting = hold(&bob, WITHOUT_CURSOR).await;
        server.advance(Duration::from_millis(999)).await;
        server.waits_settle().await;
        assert!(!waiting.is_finished());
        server.advance(Duration::from_millis(1)).await;
        assert_eq!(told(&waiting.answer().await), [("session_added", &*session)]);
        server.advance(Duration::from_millis(1_000)).await;
    }
}

#[tokio::test]
async fn a_service_that_listens_for_a_player_does_not_slow_the_player() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("party").await;
    alice.invites(&session, &bob).await.expect(200);
    let [service, other] = ["lobby", "matchmaker"].map(|subject| {
        let service = server.service_named(subject, &["notification:player:read"]);
        Client { player: bob.player, ..service }
    });
    for caller in [&service, &bob, &other] {
        assert_eq!(told(&poll(caller, WITHOUT_CURSOR).await), [("session_added", &*session)]);
    }
    let waiting = hold(&service, WITHOUT_CURSOR).await;
    server.waits_settle().await;
    assert!(!waiting.is_finished(), "each is answered once a second");
    waiting.abort().await;
}

#[tokio::test]
async fn a_clock_that_is_set_forward_loses_no_message() {
    let server = Server::new();
    let bob = server.player();
    poll(&bob, "deadline=0").await.expect(200);
    post(&bob.on(NOTIFICATION), &["now"]).await;
    server.clock.step(1_200_000);
    let answer = poll(&bob, WITHOUT_CURSOR).await;
    assert_eq!(notifications(&answer)[0]["message"], "now");
}
