use std::time::Duration;

use serde_json::json;

use super::*;

/// What the published client sends.
const AS_PUBLISHED: &str = "exclude_before=&offset_reset_strategy=latest&deadline=25";

#[tokio::test]
async fn without_news_a_long_poll_ends_with_an_empty_list_in_time() {
    let server = Server::new();
    let bob = server.player();
    let waiting = hold(&bob, AS_PUBLISHED).await;
    server.advance(Duration::from_millis(22_999)).await;
    server.waits_settle().await;
    assert!(!waiting.is_finished(), "not before second 23");
    // It ends before second 25.
    server.advance(Duration::from_millis(1_901)).await;
    let answer = waiting.answer().await;
    assert_eq!(answer.body, json!({"notifications": [], "cursor": cursor(&answer)}));
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(server.held(), 0);
}

#[tokio::test]
async fn an_invite_is_told_at_once() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("party").await;
    let waiting = hold(&bob, AS_PUBLISHED).await;
    server.advance(Duration::from_secs(1)).await;
    alice.invites(&session, &bob).await.expect(200);
    let answer = waiting.answer().await;
    assert_eq!(told(&answer), [("session_added", &*session)]);
    let notification = &notifications(&answer)[0];
    assert_eq!(notification["etag"], json!(bob.session(&session).await.etag()));
    assert_eq!(notification["notification_id"], json!(cursor(&answer)));
    let created = notification["created"].as_str().unwrap();
    assert!(created.ends_with('Z') && created.len() == "2026-11-23T12:00:01.000Z".len(), "{created}");
    assert!(notification.get("custom_data").is_none());
}

#[tokio::test]
async fn the_deadline_is_that_of_the_client_and_at_most_that_of_the_server() {
    let server = Server::new();
    let bob = server.player();
    assert!(notifications(&poll(&bob, "deadline=0").await).is_empty());
    for (query, ends_s) in [("deadline=10", 10), ("", 30), ("deadline=900", 55)] {
        let waiting = hold(&bob, query).await;
        server.advance(Duration::from_millis(ends_s * 1000 - 2_000.min(ends_s * 63) - 1)).await;
        server.waits_settle().await;
        assert!(!waiting.is_finished(), "{query}");
        server.advance(Duration::from_millis(2_000.min(ends_s * 63))).await;
        assert!(notifications(&waiting.answer().await).is_empty());
    }
    let query = ["query", "deadline"];
    for (deadline, violation) in [("901", "value_error.number.not_le"), ("-1", "value_error.number.not_ge")] {
        let refused = poll(&bob, &format!("deadline={deadline}")).await;
        refused.invalid(&[(json!(query), violation)]);
    }
    poll(&bob, "max_page_size=0&offset_reset_strategy=newest").await.expect(422);
}

#[tokio::test]
async fn a_long_poll_ends_with_its_token_and_tells_nothing_after_it() {
    let server = Server::new();
    let (alice, bob) = (server.lasting_player(), server.player());
    // Tokens are valid for an hour, and 5 seconds of leeway.
    server.clock.advance(Duration::from_secs(3_590));
    let session = alice.creates("party").await;
    let waiting = hold(&bob, "deadline=30").await;
    server.advance(Duration::from_secs(14)).await;
    server.waits_settle().await;
    assert!(!waiting.is_finished());
    server.clock.advance(Duration::from_secs(1));
    alice.invites(&session, &bob).await.expect(200);
    server.app.waits.wake_due();
    assert!(notifications(&waiting.answer().await).is_empty(), "an invite after the end of the token");
    let next = poll(&bob, "deadline=0").await.expect(403);
    assert_eq!(next.body["error_code"], "token_invalid");
    assert_eq!(next.body["auth_success"], json!(false));
}

#[tokio::test]
async fn the_form_of_the_caller_is_the_same_operation() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("party").await;
    alice.invites(&session, &bob).await.expect(200);
    let me = "/v1/player/me/stream/notification/lp?offset_reset_strategy=earliest";
    let own = bob.on(NOTIFICATION).get(me).await;
    assert_eq!(told(&own), [("session_added", &*session)]);
    let service = server.service(&["notification:player:read"]);
    let of_bob = Client { player: bob.player, ..service.clone() };
    // Long polls without a cursor are answered once a second.
    server.advance(Duration::from_secs(1)).await;
    let by_service = poll(&of_bob, "offset_reset_strategy=earliest").await;
    assert_eq!(told(&by_service), told(&own));
    let etag = |reply: &Reply| notifications(reply)[0]["etag"].clone();
    assert_eq!(etag(&by_service), etag(&own), "the ETag that bob reads");
    service.on(NOTIFICATION).get(me).await.refused(403, "player_required");
    let of_alice = Client { player: alice.player, ..bob.clone() };
    poll(&of_alice, "").await.refused(403, "permission_denied");
}
