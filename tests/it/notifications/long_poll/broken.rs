//! Stored things that cannot be read: a long poll tells all others.

use bytes::Bytes;
use rallypoint::domain::inbox::MessageNumber;
use rallypoint::domain::{PlayerUuid, SessionId};
use rallypoint::records::keys;
use rallypoint::store::{Batch, Key};

use super::*;
use crate::harness::Log;
use crate::notifications::post;

/// Replaces a stored value by bytes that nothing can read, and returns the value.
async fn damage(server: &Server, key: &Key) -> Bytes {
    let store = server.app.sessions.store();
    let value = store.get(key).await.unwrap().expect("it is stored").value;
    store.commit(Batch::default().put(key.clone(), "damaged")).await.unwrap();
    value
}

#[tokio::test]
async fn a_session_that_cannot_be_read_keeps_nothing_else_from_being_told() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let mut sessions = Vec::new();
    for _ in 0..3 {
        let session = alice.creates("party").await;
        alice.invites(&session, &bob).await.expect(200);
        sessions.push(session);
    }
    let (_, next) = begin(&bob).await;
    let key = keys::session(&SessionId::parse(&sessions[1]).unwrap());
    let value = damage(&server, &key).await;
    // A node that does not have the session in memory.
    let node = server.another_node(server.app.sessions.store().clone());
    let (alice, bob) = (Client { server: node.clone(), ..alice }, Client { server: node.clone(), ..bob });
    let (log, _guard) = Log::start();
    let mut others = [("session_added", &*sessions[0]), ("session_added", &*sessions[2])];
    others.sort_by_key(|(_, session)| *session);
    assert_eq!(told(&begin(&bob).await.0), others);
    assert!(notifications(&poll(&bob, &at_once(&next)).await).is_empty(), "it is not told as removed");
    let waiting = hold(&bob, &next).await;
    alice.opens(&sessions[0]).await;
    let answer = waiting.answer().await;
    assert_eq!(told(&answer), [("session_changed", &*sessions[0])]);
    assert_eq!(log.count("cannot be read"), 1, "one line a minute");
    let next = after(cursor(&answer));
    node.app.sessions.store().commit(Batch::default().put(key, value)).await.unwrap();
    assert!(notifications(&poll(&bob, &at_once(&next)).await).is_empty());
    alice.opens(&sessions[1]).await;
    assert_eq!(told(&poll(&bob, &next).await), [("session_changed", &*sessions[1])]);
}

#[tokio::test]
async fn a_message_that_cannot_be_read_keeps_nothing_else_from_being_told() {
    let server = Server::new();
    let bob = server.player();
    let (_, next) = begin(&bob).await;
    let mut ids = Vec::new();
    for text in ["a", "b", "c"] {
        ids.push(post(&bob.on(NOTIFICATION), &[text]).await);
    }
    let number = MessageNumber::of_id(&ids[1]).unwrap();
    damage(&server, &keys::message(PlayerUuid(bob.player), number)).await;
    let texts = |reply: &Reply| -> Vec<String> {
        notifications(reply).iter().map(|one| one["message"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(texts(&poll(&bob, &next).await), ["a", "c"]);
    let first = poll(&bob, &format!("{next}&max_page_size=1")).await;
    assert_eq!(texts(&first), ["a"]);
    let second = poll(&bob, &(after(cursor(&first)) + "&max_page_size=1")).await;
    assert_eq!(texts(&second), ["c"]);
    let page = bob.on(NOTIFICATION).get("/v1/player/me/notification").await.expect(200);
    assert_eq!(texts(&page), ["c", "a"]);
}
