//! The list of a player's sessions: its time and its ETag move with each change of the list, also if the list then
//! shows the same as before.

use std::collections::BTreeSet;
use std::time::Duration;

use rallypoint::domain::PlayerUuid;
use rallypoint::jobs;
use rallypoint::records::keys;
use rallypoint::store::Batch;
use serde_json::{Value, json};

use crate::harness::{Client, Reply, Server, contents, link_path, platform_path};

const LIST: &str = "/v1/player/me/session";

async fn list(caller: &Client) -> Reply {
    caller.get(LIST).await.expect(200)
}

/// The time of a list.
fn time(list: &Reply) -> &str {
    list.body["last_updated_timestamp"].as_str().expect("the list has a time")
}

#[tokio::test]
async fn a_second_invite_changes_the_list() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("party").await;
    alice.invites(&session, &bob).await.expect(200);
    let mut invited = list(&bob).await;
    let mut seen = BTreeSet::from([time(&invited).to_owned()]);
    for how in ["declined", "withdrawn", "replaced", "joined and left", "kicked"] {
        match how {
            "declined" => drop(bob.leaves(&session).await.expect(204)),
            "withdrawn" => drop(alice.kicks(&session, &bob).await.expect(204)),
            // Only an invite at another time is another invite.
            "replaced" => {}
            how => {
                bob.joins(&session).await.expect(200);
                if how == "kicked" {
                    alice.kicks(&session, &bob).await.expect(204);
                } else {
                    bob.leaves(&session).await.expect(204);
                }
            }
        }
        // Several nodes tell changes of one millisecond apart by chance only.
        server.clock.advance(Duration::from_millis(1));
        alice.invites(&session, &bob).await.expect(200);
        let again = bob.get_if_none_match(LIST, &invited.etag()).await.expect(200);
        assert_eq!(again.body["sessions"], invited.body["sessions"], "{how}");
        assert!(seen.insert(time(&again).to_owned()), "{how}");
        bob.get_if_none_match(LIST, &again.etag()).await.expect(304);
        invited = again;
    }
}

#[tokio::test]
async fn an_invite_that_expired_and_came_again_changes_the_list() {
    let server = Server::with(|config| config.sessions.invite_expiry_s = 60);
    let (alice, bob) = (server.lasting_player(), server.lasting_player());
    let session = alice.creates("party").await;
    alice.invites(&session, &bob).await.expect(200);
    let invited = list(&bob).await;
    server.advance(Duration::from_secs(61)).await;
    alice.invites(&session, &bob).await.expect(200);
    let again = bob.get_if_none_match(LIST, &invited.etag()).await.expect(200);
    assert_eq!(again.body["sessions"], invited.body["sessions"]);
}

/// The time moves with the changes of the player's own memberships, and with nothing else.
#[tokio::test]
async fn the_time_moves_with_each_change_of_the_players_memberships_only() {
    let server = Server::new();
    let (alice, bob, carol) = (server.player(), server.player(), server.player());
    let empty = list(&bob).await;
    assert_eq!(empty.body, json!({"sessions": {}}), "a player who was never in a session");
    let party = alice.creates("party").await;
    let mut tags = BTreeSet::from([empty.etag()]);
    let mut changes = 0;
    let mut moved = async |change: Reply, moves: bool| {
        assert!(change.status.is_success(), "{}", change.body);
        server.clock.advance(Duration::from_millis(1));
        let list = list(&bob).await;
        changes += usize::from(moves);
        assert_eq!(tags.insert(list.etag()), moves, "change {changes}");
    };
    moved(alice.opens(&party).await, false).await;
    moved(bob.joins(&party).await, true).await;
    moved(bob.joins(&party).await, false).await;
    moved(carol.joins(&party).await, false).await;
    moved(bob.updates(&party, &bob, json!({"custom_data": {"a": "b"}})).await, false).await;
    moved(alice.links(&party).await, false).await;
    moved(alice.promotes(&party, &bob).await, true).await;
    moved(bob.promotes(&party, &alice).await, true).await;
    let game = carol.creates("game").await;
    moved(carol.opens(&game).await, false).await;
    moved(bob.joins(&game).await, true).await;
    moved(carol.kicks(&game, &bob).await, true).await;
    moved(bob.leaves(&party).await, true).await;
    moved(carol.invites(&game, &bob).await, true).await;
    moved(carol.delete(&format!("/v1/session/{game}")).await, true).await;
    let gone = list(&bob).await;
    assert_eq!(gone.body["sessions"], json!({}));
    assert_ne!(gone.etag(), empty.etag());
}

#[tokio::test]
async fn the_time_of_a_list_is_forgotten_long_after_the_last_session() {
    let server = Server::new();
    let (alice, bob) = (server.lasting_player(), server.lasting_player());
    let party = alice.creates("party").await;
    alice.invites(&party, &bob).await.expect(200);
    bob.leaves(&party).await.expect(204);
    let declined = list(&bob).await;
    let member = list(&alice).await;
    let is_stored = async |player: &Client| {
        contents(&server).await.contains_key(&keys::list_changed(PlayerUuid(player.player)))
    };
    for minutes in [50, 9] {
        server.advance(Duration::from_secs(minutes * 60)).await;
        alice.session(&party).await.expect(200);
        bob.get_if_none_match(LIST, &declined.etag()).await.expect(304);
    }
    assert!(is_stored(&bob).await);
    server.advance(Duration::from_secs(120)).await;
    assert!(!is_stored(&bob).await, "the list has been empty for an hour");
    assert_eq!(list(&bob).await.body, json!({"sessions": {}}));
    assert!(is_stored(&alice).await, "the list is not empty");
    alice.get_if_none_match(LIST, &member.etag()).await.expect(304);
    alice.invites(&party, &bob).await.expect(200);
    assert!(is_stored(&bob).await);
    assert_ne!(list(&bob).await.etag(), declined.etag());
}

#[tokio::test]
async fn all_times_of_empty_lists_are_forgotten_in_one_round_of_jobs() {
    let server = Server::new();
    let store = server.app.sessions.store();
    let mut batch = Batch::default();
    for player in 0..2_000_u128 {
        let key = keys::list_changed(PlayerUuid(uuid::Uuid::from_u128(player)));
        batch = batch.put(key, 0_i64.to_be_bytes().to_vec());
    }
    store.commit(batch).await.unwrap();
    for node in server.nodes() {
        jobs::tick(&node.app).await.unwrap();
    }
    assert!(contents(&server).await.is_empty());
}

#[tokio::test]
async fn lists_are_looked_at_once_in_ten_minutes() {
    let server = Server::new();
    let key = keys::list_changed(PlayerUuid(uuid::Uuid::from_u128(1)));
    for _ in 0..2 {
        // A pass begins, and finds nothing.
        server.advance(Duration::from_secs(600)).await;
        let old = Batch::default().put(key.clone(), 0_i64.to_be_bytes().to_vec());
        server.app.sessions.store().commit(old).await.unwrap();
        for seconds in [60; 9].into_iter().chain([1; 59]) {
            server.advance(Duration::from_secs(seconds)).await;
            assert!(contents(&server).await.contains_key(&key));
        }
        server.advance(Duration::from_secs(1)).await;
        assert!(!contents(&server).await.contains_key(&key));
    }
}

#[tokio::test]
async fn a_list_of_an_older_server_has_no_time_until_it_changes() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let party = alice.creates("party").await;
    alice.opens(&party).await;
    let key = keys::list_changed(PlayerUuid(bob.player));
    bob.joins(&party).await.expect(200);
    server.app.sessions.store().commit(Batch::default().delete(key)).await.unwrap();
    // Each node reads the store anew.
    let (store, config) = (server.app.sessions.store().clone(), server.clone());
    let restarted = Client { server: config.another_node(store), ..bob.clone() };
    let old = list(&restarted).await;
    assert_eq!(old.body["last_updated_timestamp"], Value::Null);
    restarted.leaves(&party).await.expect(204);
    restarted.joins(&party).await.expect(200);
    let new = restarted.get_if_none_match(LIST, &old.etag()).await.expect(200);
    assert_eq!(new.body["sessions"], old.body["sessions"]);
}

/// Other documents have no such time. A document that shows a change and its undoing shows the same as before, and
/// that is all there is to know: what a player loses and gets again, such as an invite, has a time in the player's own
/// entry.
#[tokio::test]
async fn an_invite_that_came_again_changes_the_session_that_the_invited_player_reads() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("party").await;
    alice.invites(&session, &bob).await.expect(200);
    let invited = bob.session(&session).await.expect(200);
    bob.leaves(&session).await.expect(204);
    server.clock.advance(Duration::from_millis(1));
    alice.invites(&session, &bob).await.expect(200);
    bob.get_if_none_match(&format!("/v1/session/{session}"), &invited.etag()).await.expect(200);
}

#[tokio::test]
async fn a_platform_session_that_was_linked_again_shows_the_same_under_the_same_etag() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("party").await;
    alice.links(&session).await.expect(200);
    let linked = alice.xbox().await.expect(200);
    alice.delete(&link_path("XboxLive", crate::harness::XBOX_ID, &session)).await.expect(204);
    alice.xbox().await.refused(404, "platform_session_not_found");
    alice.links(&session).await.expect(200);
    let path = platform_path("XboxLive", crate::harness::XBOX_ID);
    alice.get_if_none_match(&path, &linked.etag()).await.expect(304);
}
