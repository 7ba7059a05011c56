//! What ends the ticket of a party in a queue, and what does not.

use std::time::Duration;

use rallypoint::config::Config;
use rallypoint::domain::{Platform, PlayerUuid};
use rallypoint::records::keys;
use rallypoint::runtime::settings::catalog;
use rallypoint::store::{Memory, Store};
use serde_json::{Value, json};

use super::queue::{ended, joins, party_of_two, queue, server, ticket, with_queues};
use crate::harness::{Server, contents, joining, player_path, player_permissions};

#[tokio::test]
async fn a_change_of_the_party_ends_its_ticket() {
    for change in ["join", "leave", "kick", "region", "client", "leader leaves", "cull"] {
        let server = Server::with(|config| {
            with_queues(config);
            let party = config.templates.get_mut("party").unwrap();
            party.player_culling_timeout = (change == "cull").then_some(60);
        });
        let (alice, bob, session) = party_of_two(&server).await;
        let carol = server.player();
        alice.invites(&session, &carol).await.expect(200);
        joins(&alice, &session, &["casual"]).await.expect(200);
        match change {
            "join" => drop(carol.joins(&session).await.expect(200)),
            "leave" => drop(bob.leaves(&session).await.expect(204)),
            "kick" => drop(alice.kicks(&session, &bob).await.expect(204)),
            "region" => {
                let body = json!({ "region_id": "us" });
                alice.patch(&format!("/v1/session/{session}"), &body).await.expect(200);
            }
            "client" => {
                let mut body = joining();
                body["client_settings"]["input"] = json!("touch");
                bob.post(&format!("/v1/session/{session}/player/me"), &body).await.expect(200);
            }
            "leader leaves" => drop(alice.leaves(&session).await.expect(204)),
            _ => {
                server.advance(Duration::from_secs(50)).await;
                alice.session(&session).await.expect(200);
                server.advance(Duration::from_secs(50)).await;
            }
        }
        let reader = server.service(&["session:*"]);
        assert_eq!(ticket(&reader, &session).await, Value::Null, "{change}");
        // Their players may queue elsewhere at once.
        for player in [&alice, &bob] {
            player.leaves(&session).await;
            let own = player.creates("party").await;
            joins(player, &own, &["casual"]).await.expect(200);
        }
    }
}

#[tokio::test]
async fn what_does_not_change_the_party_leaves_its_ticket() {
    let server = server();
    let (alice, bob, session) = party_of_two(&server).await;
    let carol = server.player();
    joins(&alice, &session, &["casual"]).await.expect(200);
    let before = ticket(&alice, &session).await;
    alice.invites(&session, &carol).await.expect(200);
    carol.leaves(&session).await.expect(204);
    alice.patch(&format!("/v1/session/{session}"), &json!({ "custom_data": { "a": "b" } })).await.expect(200);
    bob.post(&player_path(&session, bob.player), &json!({ "custom_data": { "a": "b" } })).await.expect(200);
    alice.promotes(&session, &bob).await.expect(200);
    assert_eq!(ticket(&alice, &session).await, before);
    // The new leader leads the party in the queue, too.
    alice.delete(&queue(&session)).await.refused(403, "not_session_leader");
    bob.delete(&queue(&session)).await.expect(204);
}

#[tokio::test]
async fn a_ticket_ends_after_its_timeout() {
    let server = Server::with(|config| {
        with_queues(config);
        config.matchmaking.ticket_timeout_s = 60;
    });
    let alice = server.lasting_player();
    let session = alice.creates("party").await;
    joins(&alice, &session, &["casual"]).await.expect(200);
    server.advance(Duration::from_millis(59_900)).await;
    assert_ne!(ticket(&alice, &session).await, Value::Null);
    server.advance(Duration::from_millis(100)).await;
    assert_eq!(ticket(&alice, &session).await, Value::Null);
    assert_eq!(ended(&server, "timeout").await, 1);
    joins(&alice, &session, &["casual"]).await.expect(200);
}

#[tokio::test]
async fn a_ticket_without_a_timeout_stays() {
    let server = Server::with(|config| {
        with_queues(config);
        config.matchmaking.ticket_timeout_s = 0;
        config.sessions.idle_s = 1_000_000;
    });
    let alice = server.lasting_player();
    let session = alice.creates("party").await;
    joins(&alice, &session, &["casual"]).await.expect(200);
    server.advance(Duration::from_secs(900_000)).await;
    assert_ne!(ticket(&alice, &session).await, Value::Null);
}

#[tokio::test]
async fn a_ticket_ends_when_no_profile_takes_it_any_more() {
    let server = Server::over(Store::Memory(Memory::default()), with_queues);
    let alice = server.player();
    let session = alice.creates("party").await;
    joins(&alice, &session, &["casual"]).await.expect(200);
    let reload = async |change: &dyn Fn(&mut Config)| {
        let mut config = Config::default();
        with_queues(&mut config);
        change(&mut config);
        server.app.replace_catalog(catalog(&config));
        server.advance(Duration::ZERO).await;
    };
    reload(&|config| drop(config.match_making_profiles.remove("4v4"))).await;
    assert_ne!(ticket(&alice, &session).await, Value::Null, "the other profile is left");
    reload(&|config| config.queues.clear()).await;
    assert_ne!(ticket(&alice, &session).await, Value::Null, "who is in a closed queue goes on");
    reload(&|config| {
        config.match_making_profiles.remove("4v4");
        config.match_making_profiles.get_mut("1v1").unwrap().active = false;
    })
    .await;
    assert_eq!(ticket(&alice, &session).await, Value::Null);
    assert_eq!(ended(&server, "timeout").await, 1);
}

#[tokio::test]
async fn only_a_service_may_say_why_a_party_leaves() {
    let server = Server::over(Store::Memory(Memory::default()), with_queues);
    let alice = server.player();
    let session = alice.creates("party").await;
    let service = server.service(&["session:*"]);
    for (caller, reason) in [(&alice, "left_queue"), (&service, "assigned")] {
        joins(&alice, &session, &["casual"]).await.expect(200);
        caller.delete(&format!("{}?reason=assigned", queue(&session))).await.expect(204);
        assert_eq!(ended(&server, reason).await, 1);
    }
}

#[tokio::test]
async fn a_session_that_ends_leaves_no_ticket_behind() {
    let server = Server::over(Store::Memory(Memory::default()), with_queues);
    let alice = server.lasting_player();
    for end in ["deleted", "idle"] {
        let session = alice.creates("party").await;
        joins(&alice, &session, &["casual"]).await.expect(200);
        match end {
            "deleted" => drop(alice.delete(&format!("/v1/session/{session}")).await.expect(204)),
            _ => server.advance(Duration::from_secs(5_000)).await,
        }
        alice.session(&session).await.refused(404, "session_not_found");
        let stored = contents(&server).await;
        let profiles = ["4v4", "1v1"];
        let is_queued =
            |key: &[u8]| profiles.iter().any(|profile| keys::parse_queued(profile, key).is_some());
        assert!(!stored.keys().any(|key| is_queued(key)), "{end}");
        let player = keys::queued_player(PlayerUuid(alice.player));
        assert!(!stored.contains_key(&player), "{end}");
    }
}

#[tokio::test]
async fn a_player_who_plays_on_another_platform_now_changes_the_party() {
    let server = server();
    let alice = server.player();
    let session = alice.creates("party").await;
    let first = joins(&alice, &session, &["casual"]).await.expect(200);
    let on_steam = alice.with_token(Platform::Steam, &player_permissions());
    // The repeated request is answered as before, and changes nothing.
    assert_eq!(joins(&on_steam, &session, &["casual"]).await.expect(200).bytes, first.bytes);
    assert_ne!(ticket(&alice, &session).await, Value::Null);
    on_steam.patch(&format!("/v1/session/{session}"), &json!({ "custom_data": {} })).await.expect(200);
    assert_eq!(ticket(&alice, &session).await, Value::Null);
}
