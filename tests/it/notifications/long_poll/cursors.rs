use std::collections::BTreeMap;
use std::time::Duration;

use rallypoint::app::notifications::cursor::{CURSOR_CHARS_MAX, Cursor};
use rallypoint::domain::PlayerUuid;
use rallypoint::store::Batch;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::harness::contents;
use crate::notifications::post;

/// Bob, who is invited to this many parties, and their ids.
async fn invited(server: &Server, parties: usize) -> (Client, Client, Vec<String>) {
    let (alice, bob) = (server.player(), server.player());
    let mut sessions = Vec::new();
    for _ in 0..parties {
        let session = alice.creates("party").await;
        alice.invites(&session, &bob).await.expect(200);
        sessions.push(session);
    }
    sessions.sort();
    (alice, bob, sessions)
}

fn many_parties() -> Server {
    Server::with(|config| {
        config.sessions.invites_per_inviter_max = config.sessions.invites_per_player_max;
    })
}

fn id(notification: &Value) -> &str {
    notification["notification_id"].as_str().unwrap()
}

#[tokio::test]
async fn a_page_is_cut_and_the_next_one_goes_on_from_any_entry() {
    let server = many_parties();
    let (_, bob, sessions) = invited(&server, 25).await;
    let (all, _) = begin(&bob).await;
    let all = notifications(&all);
    assert_eq!(all.len(), 25);
    server.advance(Duration::from_secs(1)).await;
    let mut query = "offset_reset_strategy=earliest&deadline=0".to_owned();
    let mut seen = Vec::new();
    for size in [10, 10, 5, 0] {
        let page = poll(&bob, &query).await;
        assert_eq!(notifications(&page).len(), size);
        seen.extend(told(&page).iter().map(|(_, session)| (*session).to_owned()));
        query = at_once(&after(cursor(&page)));
    }
    assert_eq!(seen, sessions);
    for (index, notification) in all.iter().enumerate() {
        let rest = poll(&bob, &(at_once(&after(id(notification))) + "&max_page_size=100")).await;
        let etags = |notifications: &[Value]| -> Vec<_> {
            notifications.iter().map(|one| (one["rh_url"].clone(), one["etag"].clone())).collect()
        };
        assert_eq!(etags(notifications(&rest)), etags(&all[index + 1..]), "after {index}");
    }
}

#[tokio::test]
async fn messages_come_first_and_in_order() {
    let server = Server::new();
    let (_, bob, sessions) = invited(&server, 1).await;
    let (_, next) = begin(&bob).await;
    let waiting = hold(&bob, &next).await;
    let last = post(&bob.on(NOTIFICATION), &["a", "b"]).await;
    let answer = waiting.answer().await;
    let texts = |reply: &Reply| -> Vec<_> {
        notifications(reply).iter().map(|one| one["message"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(texts(&answer), ["a", "b"]);
    assert!(notifications(&poll(&bob, &at_once(&after(cursor(&answer)))).await).is_empty());
    server.advance(Duration::from_secs(1)).await;
    let (all, _) = begin(&bob).await;
    assert_eq!(texts(&all), ["a", "b", "session_added"]);
    let between = poll(&bob, &at_once(&after(id(&notifications(&all)[0])))).await;
    assert_eq!(texts(&between), ["b", "session_added"]);
    // The short id of a message says nothing of sessions.
    server.advance(Duration::from_secs(31)).await;
    poll(&bob, "deadline=0").await.expect(200);
    post(&bob.on(NOTIFICATION), &["c"]).await;
    server.advance(Duration::from_secs(1)).await;
    let after_short = poll(&bob, &at_once(&after(&last))).await;
    assert_eq!(texts(&after_short)[0], "c");
    drop(sessions);
}

#[tokio::test]
async fn a_cursor_goes_on_after_a_restart_and_after_a_restore() {
    let server = Server::new();
    let (alice, bob, sessions) = invited(&server, 3).await;
    let (_, next) = begin(&bob).await;
    let path = format!("/v1/session/{}", sessions[1]);
    let before = contents(&server).await;
    let etag_before = bob.session(&sessions[1]).await.etag();
    alice.patch(&path, &json!({"joinability": {"open": true}})).await.expect(200);
    alice.kicks(&sessions[0], &bob).await.expect(204);
    let restarted = |caller: &Client| {
        let store = server.app.sessions.store().clone();
        Client { server: server.another_node(store), ..caller.clone() }
    };
    let answer = poll(&restarted(&bob), &at_once(&next)).await;
    assert_eq!(told(&answer), [("session_changed", &*sessions[1]), ("session_removed", &*sessions[0])]);
    let next = after(cursor(&answer));
    assert!(notifications(&poll(&restarted(&bob), &at_once(&next)).await).is_empty());
    // The store is as it was before these changes.
    let mut batch = Batch::default();
    for key in contents(&server).await.into_keys().filter(|key| !before.contains_key(key)) {
        batch = batch.delete(key);
    }
    for (key, value) in before {
        batch = batch.put(key, value);
    }
    server.app.sessions.store().commit(batch).await.unwrap();
    let answer = poll(&restarted(&bob), &at_once(&next)).await;
    let mut expected = [("session_changed", &*sessions[1]), ("session_added", &*sessions[0])];
    expected.sort_by_key(|(_, session)| *session);
    assert_eq!(told(&answer), expected);
    let changed = notifications(&answer).iter().find(|one| one["message"] == "session_changed").unwrap();
    assert_eq!(changed["etag"], json!(etag_before));
}

#[tokio::test]
async fn what_is_no_cursor_of_the_player_is_as_none() {
    let server = Server::new();
    let (alice, bob, sessions) = invited(&server, 1).await;
    let (of_bob, _) = begin(&bob).await;
    let (of_alice, _) = begin(&alice).await;
    let of_bob = cursor(&of_bob);
    let future = format!("B{}", &of_bob[1..]);
    let texts =
        ["", "x", "%00", "0", &"A".repeat(CURSOR_CHARS_MAX + 1), &future, cursor(&of_alice), &of_bob[1..]];
    for text in texts {
        server.advance(Duration::from_secs(1)).await;
        let query = format!("exclude_before={text}&deadline=0&offset_reset_strategy=earliest");
        let all = poll(&bob, &query).await;
        if text == "0" {
            // It is the short id of a message.
            continue;
        }
        assert_eq!(told(&all), [("session_added", &*sessions[0])], "{text}");
    }
    for _ in 0..31 {
        server.advance(Duration::from_secs(1)).await;
        poll(&bob, &at_once(&after(of_bob))).await.expect(200);
    }
    if server.nodes().count() == 1 && server.app.sessions.store().sole_writer() {
        for text in texts {
            let latest = poll(&bob, &format!("exclude_before={text}&deadline=0")).await;
            assert!(notifications(&latest).is_empty(), "{text}");
        }
    }
}

#[tokio::test]
async fn a_forged_cursor_tells_nothing_of_sessions_of_others() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let exists: Uuid = alice.creates("party").await.parse().unwrap();
    for other in [exists, Uuid::from_u128(7)] {
        let sessions = BTreeMap::from([(other, [1; 8])]);
        let forged = Cursor { sessions, ..Cursor::nothing() }.encode(PlayerUuid(bob.player));
        let answer = poll(&bob, &after(&forged)).await;
        assert_eq!(told(&answer), [("session_removed", &*other.to_string())]);
        assert!(notifications(&answer)[0].get("etag").is_none());
    }
}

#[tokio::test]
async fn many_sessions_are_told_page_by_page() {
    let server = Server::with(|config| {
        let sessions = &mut config.sessions;
        (sessions.invites_per_player_max, sessions.invites_per_inviter_max) = (200, 200);
        sessions.sessions_per_player_max = 200;
    });
    let (alice, bob, sessions) = invited(&server, 170).await;
    let mut query = "offset_reset_strategy=earliest&max_page_size=50".to_owned();
    let mut seen = Vec::new();
    for size in [50, 50, 50, 20] {
        let page = poll(&bob, &query).await;
        assert_eq!(notifications(&page).len(), size);
        seen.extend(told(&page).iter().map(|(_, session)| (*session).to_owned()));
        query = after(cursor(&page)) + "&max_page_size=50";
    }
    assert_eq!(seen, sessions);
    let waiting = hold(&bob, &query).await;
    alice.opens(&sessions[163]).await;
    // The cursor does not know which of the further sessions it is.
    let changed: Vec<_> = sessions[160..].iter().map(|session| ("session_changed", &**session)).collect();
    assert_eq!(told(&waiting.answer().await), changed);
}

#[tokio::test]
async fn the_id_of_a_change_is_read_back_while_the_session_is_on_the_list() {
    let server = Server::new();
    let (alice, bob, sessions) = invited(&server, 1).await;
    let (all, _) = begin(&bob).await;
    let told = &notifications(&all)[0];
    let path = format!("/v1/player/me/notification/{}", id(told));
    let read = async || bob.on(NOTIFICATION).get(&path).await;
    let same = read().await.expect(200).body;
    for field in ["notification_id", "rh_url", "etag", "created"] {
        assert_eq!(same[field], told[field], "{field}");
    }
    alice.on(NOTIFICATION).get(&path).await.refused(404, "resource_not_found");
    alice.opens(&sessions[0]).await;
    let changed = read().await.expect(200).body;
    assert_eq!((&changed["rh_url"], changed.get("etag")), (&told["rh_url"], None), "of another version");
    alice.kicks(&sessions[0], &bob).await.expect(204);
    read().await.refused(404, "resource_not_found");
}
