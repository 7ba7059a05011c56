//! Changing one team.

use serde_json::{Value, json};

use crate::harness::{Client, Reply, Server, contents, status_and_team};

async fn change(caller: &Client, session: &str, team_id: &str, body: Value) -> Reply {
    caller.patch(&format!("/v1/session/{session}/team/{team_id}"), &body).await
}

#[tokio::test]
async fn a_change_affects_only_the_given_fields() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("game").await;
    bob.joins_team(&session, 1).await.expect(200);
    let sized = change(&alice, &session, "1", json!({"max_size": 3})).await.expect(200);
    let teams = alice.session(&session).await.expect(200).body["teams"].clone();
    assert_eq!(sized.body, teams[1]);
    assert_eq!((&teams[0]["max_size"], &teams[1]["max_size"]), (&json!(8), &json!(3)));
    assert!(teams[1].get("custom_data").is_none(), "absent, not null");
    alice.reads_etag_of(&session, &sized).await;

    let colored = change(&alice, &session, "1", json!({"custom_data": {"color": "red"}})).await.expect(200);
    assert_eq!(
        (&colored.body["max_size"], &colored.body["custom_data"]),
        (&json!(3), &json!({"color": "red"}))
    );
    let replaced = change(&alice, &session, "1", json!({"custom_data": {"name": "owls"}})).await.expect(200);
    assert_eq!(replaced.body["custom_data"], json!({"name": "owls"}), "all data is replaced");
    let before = contents(&server).await;
    let nothing = change(&alice, &session, "1", json!({})).await.expect(200);
    assert_eq!((nothing.bytes.clone(), nothing.etag()), (replaced.bytes.clone(), replaced.etag()));
    assert_eq!(contents(&server).await, before);
    alice.reads_etag_of(&session, &replaced).await;
}

#[tokio::test]
async fn a_team_does_not_shrink_below_its_players() {
    let server = Server::new();
    let (alice, bob, carol) = (server.player(), server.player(), server.player());
    let session = alice.creates("game").await;
    bob.joins(&session).await.expect(200);
    alice.invites(&session, &carol).await.expect(200);
    let before = contents(&server).await;
    let both = json!({"max_size": 2, "custom_data": {"a": "b"}});
    change(&alice, &session, "0", both).await.refused(403, "team_too_full");
    assert_eq!(
        contents(&server).await,
        before,
        "a refused change changes nothing; an invited player holds a slot too"
    );
    change(&alice, &session, "0", json!({"max_size": 3})).await.expect(200);
    carol.leaves(&session).await.expect(204);
    change(&alice, &session, "0", json!({"max_size": 2})).await.expect(200);
    let moved_on = server.player().joins(&session).await.expect(200);
    assert_eq!(moved_on.status_and_team(), status_and_team("member", 1), "the first team is full");
    // An overfilled team may keep its size, but not shrink.
    let overfill = json!({"team_id": 0, "overflow_action": "overfill"});
    alice.invites_with(&session, &carol, overfill).await.expect(200);
    assert_eq!(carol.joins(&session).await.expect(200).status_and_team(), status_and_team("member", 0));
    change(&alice, &session, "0", json!({"max_size": 1})).await.refused(403, "team_too_full");
    change(&alice, &session, "0", json!({"max_size": 2, "custom_data": {"a": "b"}})).await.expect(200);
}

#[tokio::test]
async fn only_the_leader_or_update_any_may_change_a_team() {
    let server = Server::new();
    let (alice, bob, stranger) = (server.player(), server.player(), server.player());
    let session = alice.creates("game").await;
    bob.joins(&session).await.expect(200);
    alice.gives_right(&session, &bob, "move").await.expect(200);
    let body = json!({"max_size": 4});
    change(&bob, &session, "0", body.clone()).await.refused(403, "not_session_leader");
    change(&stranger, &session, "0", body.clone()).await.refused(403, "not_active_in_session");
    change(&stranger, &session, "9", body.clone()).await.refused(403, "not_active_in_session");
    change(&alice, &session, "2", body.clone()).await.refused(404, "team_not_found");
    change(&alice, "none", "0", body.clone()).await.refused(404, "session_not_found");
    let service = server.service(&["session:update:any"]);
    let changed = change(&service, &session, "0", body.clone()).await.expect(200);
    // The service has the public view.
    assert_eq!(changed.body["players"][0], json!({"player_uuid": alice.player, "status": "leader"}));
    server.service(&["session:read:self"]).reads_etag_of(&session, &changed).await;
    let own = server.service(&["session:update:self"]);
    change(&own, &session, "0", body).await.refused(403, "player_required");
}

#[tokio::test]
async fn team_changes_are_validated() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("game").await;
    for (team_id, size, location, kind) in [
        ("-1", json!(4), json!(["path", "team_id"]), "value_error.number.not_ge"),
        ("first", json!(4), json!(["path", "team_id"]), "type_error.integer"),
        ("0", json!(0), json!(["body", "max_size"]), "value_error.number.not_ge"),
        ("0", json!(101), json!(["body", "max_size"]), "value_error.number.not_le"),
        ("0", json!("many"), json!(["body", "max_size"]), "type_error.integer"),
    ] {
        change(&alice, &session, team_id, json!({"max_size": size})).await.invalid(&[(location, kind)]);
    }
    change(&alice, &session, "0", json!({"max_size": 100, "custom_data": null})).await.expect(200);
    for far_off in ["9223372036854775807", "18446744073709551616"] {
        change(&alice, &session, far_off, json!({})).await.refused(404, "team_not_found");
    }
}
