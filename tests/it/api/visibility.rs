//! Visibility: templates limit which players a caller sees, large sessions show no players, and outsiders see no
//! connection data.

use std::collections::BTreeMap;
use std::time::Duration;

use rallypoint::app::Catalog;
use rallypoint::domain::template::Visibility;
use serde_json::{Value, json};

use crate::harness::{Client, Reply, Server, XBOX_ID, link_path, player_path};

/// A game with these visibility rules. Alice leads; she and bob are on the first team, carol and dave on the second.
async fn game(members_see: Visibility, leader_sees: Visibility) -> (Server, [Client; 4], String) {
    let server = Server::with(|config| {
        let game = config.templates.get_mut("game").unwrap();
        (game.player_visibility, game.admin_player_visibility) = (members_see, leader_sees);
    });
    let players = [server.player(), server.player(), server.player(), server.player()];
    let session = players[0].creates("game").await;
    for (player, team_id) in [(1, 0), (2, 1), (3, 1)] {
        // In this order: of players who join at the same moment, a random one is the scout.
        server.clock.advance(Duration::from_millis(1));
        players[player].joins_team(&session, team_id).await.expect(200);
    }
    (server, players, session)
}

/// The players that a caller sees, by index. The session, its pages and the single players must agree.
async fn seen(caller: &Client, players: &[Client; 4], session: &str) -> Vec<usize> {
    let whole = caller.session(session).await.expect(200);
    assert_eq!(whole.body["teams"].as_array().unwrap().len(), 2, "all teams are shown");
    let pages = caller.get(&format!("/v1/session/{session}/player")).await.expect(200);
    let mut seen = Vec::new();
    let is_active = players.iter().any(|player| player.player == caller.player);
    for (index, player) in players.iter().enumerate() {
        let one = caller.get(&player_path(session, player.player)).await;
        let rights = caller.get(&format!("{}/permission", player_path(session, player.player))).await;
        let id = player.player.to_string();
        let shown = whole.body["teams"].to_string().contains(&id);
        assert_eq!(pages.body["teams"].to_string().contains(&id), shown);
        if is_active {
            assert_eq!(rights.status, one.status, "the rights of hidden players cannot be read");
        }
        if shown {
            one.expect(200);
            seen.push(index);
        } else {
            one.refused(404, "player_not_found");
        }
    }
    seen
}

#[tokio::test]
async fn the_template_decides_which_players_members_see() {
    use Visibility::{All, None, Oneself, Team};
    for (members_see, expected_of_bob, expected_of_carol) in [
        (All, vec![0, 1, 2, 3], vec![0, 1, 2, 3]),
        (Team, vec![0, 1], vec![2, 3]),
        (Oneself, vec![1], vec![2]),
        // One's own entry is in every view.
        (None, vec![1], vec![2]),
    ] {
        let (_, players, session) = game(members_see, All).await;
        assert_eq!(seen(&players[0], &players, &session).await, [0, 1, 2, 3], "{members_see:?}: the leader");
        assert_eq!(seen(&players[1], &players, &session).await, expected_of_bob, "{members_see:?}");
        assert_eq!(seen(&players[2], &players, &session).await, expected_of_carol, "{members_see:?}");
    }
}

#[tokio::test]
async fn a_session_keeps_the_visibility_it_was_created_with() {
    let (server, players, session) = game(Visibility::Oneself, Visibility::None).await;
    server.app.replace_catalog(Catalog::new(BTreeMap::new(), BTreeMap::new(), BTreeMap::new()));
    assert_eq!(seen(&players[0], &players, &session).await, [0]);
    assert_eq!(seen(&players[1], &players, &session).await, [1]);
    assert_eq!(seen(&server.player(), &players, &session).await, Vec::<usize>::new());
}

#[tokio::test]
async fn the_template_decides_which_players_the_leader_sees() {
    use Visibility::{All, None, Oneself, Team};
    for (leader_sees, expected) in
        [(All, vec![0, 1, 2, 3]), (Team, vec![0, 1]), (Oneself, vec![0]), (None, vec![0])]
    {
        let (server, players, session) = game(All, leader_sees).await;
        assert_eq!(seen(&players[0], &players, &session).await, expected, "{leader_sees:?}");
        assert_eq!(seen(&players[1], &players, &session).await, [0, 1, 2, 3]);
        let reader = server.service(&["session:read:any"]);
        assert_eq!(
            seen(&reader, &players, &session).await,
            [0, 1, 2, 3],
            "a caller with session:read:any sees all players"
        );
    }
}

#[tokio::test]
async fn outsiders_see_all_players_or_none() {
    use Visibility::{All, None, Oneself, Team};
    for (members_see, expected) in
        [(All, vec![0, 1, 2, 3]), (Team, vec![]), (Oneself, vec![]), (None, vec![])]
    {
        let (server, players, session) = game(members_see, All).await;
        let outsiders = [
            server.player(),
            server.service(&["session:read:self"]),
            server.service(&["session:read:allocation"]),
        ];
        for outsider in &outsiders[..2] {
            assert_eq!(seen(outsider, &players, &session).await, expected, "{members_see:?}");
        }
        // A caller who reads by allocation sees no more.
        let instance = format!("/v1/session/{session}/instance");
        players[0].post(&instance, &json!({})).await.expect(200);
        players[0].patch(&instance, &json!({"allocation_id": "a1"})).await.expect(200);
        let found = outsiders[2].get("/v1/session/allocation/a1").await.expect(200);
        assert_eq!(found.bytes, outsiders[0].session(&session).await.expect(200).bytes, "{members_see:?}");
    }
}

#[tokio::test]
async fn an_etag_covers_what_the_caller_sees() {
    let (_, [alice, bob, carol, dave], session) = game(Visibility::Oneself, Visibility::All).await;
    let path = format!("/v1/session/{session}");
    let etags = [
        alice.session(&session).await.etag(),
        bob.session(&session).await.etag(),
        carol.session(&session).await.etag(),
    ];
    assert!(etags[0] != etags[1] && etags[1] != etags[2]);
    for (caller, etag) in [(&alice, &etags[0]), (&bob, &etags[1]), (&carol, &etags[2])] {
        caller.get_if_none_match(&path, etag).await.expect(304);
    }
    dave.leaves(&session).await.expect(204);
    alice.get_if_none_match(&path, &etags[0]).await.expect(200);
    bob.get_if_none_match(&path, &etags[1]).await.expect(304);
    // The ETag of the answer to a change is that of the caller's view after it.
    let moved = bob.moves(&session, &bob, 1).await.expect(200);
    bob.reads_etag_of(&session, &moved).await;
    let promoted = alice.promotes(&session, &bob).await.expect(200);
    alice.reads_etag_of(&session, &promoted).await;
    assert_eq!(alice.sees(&session, &bob).await, Value::Null, "alice no longer leads");
    assert_ne!(bob.sees(&session, &carol).await, Value::Null);
}

#[tokio::test]
async fn large_sessions_hide_players_and_are_read_in_pages() {
    let server = Server::with(|config| config.sessions.players_shown_max = 3);
    let (alice, bob, carol) = (server.player(), server.player(), server.player());
    let session = alice.creates("game").await;
    bob.joins_team(&session, 1).await.expect(200);
    carol.joins(&session).await.expect(200);
    let shown = alice.session(&session).await.expect(200).body;
    assert_eq!(shown["teams_suppressed"], json!(false));
    assert_eq!(shown["teams"][0]["players"].as_array().unwrap().len(), 2);
    // An invited player counts too.
    let dave = server.player();
    alice.invites(&session, &dave).await.expect(200);
    let reader = server.service(&["session:read:any"]);
    for (caller, team) in
        [(&alice, Some(0)), (&bob, Some(1)), (&dave, Some(0)), (&server.player(), None), (&reader, None)]
    {
        let seen = caller.session(&session).await.expect(200).body;
        let mut teams = json!([{"players": [], "max_size": 8, "team_id": 0}, {"players": [], "max_size": 8, "team_id": 1}]);
        if let Some(team) = team {
            // One's own entry is in every view, and whole.
            let own = caller.get(&player_path(&session, caller.player)).await.expect(200).body;
            assert!(own["custom_data"].is_object(), "{own}");
            teams[team]["players"] = json!([own]);
        }
        assert_eq!((&seen["teams_suppressed"], &seen["teams"]), (&json!(true), &teams));
        let mut found = 0;
        let mut cursor = json!(0);
        loop {
            let path = format!("/v1/session/{session}/player?page_size=3&cursor={cursor}");
            let page = caller.get(&path).await.expect(200).body;
            let teams = page["teams"].as_array().unwrap().iter();
            found += teams.map(|team| team["players"].as_array().unwrap().len()).sum::<usize>();
            cursor = page["cursor"].clone();
            if cursor == json!(0) {
                break;
            }
        }
        assert_eq!(found, 4);
    }
    let team =
        alice.patch(&format!("/v1/session/{session}/team/0"), &json!({"max_size": 9})).await.expect(200);
    assert_eq!(team.body, alice.session(&session).await.expect(200).body["teams"][0]);
    alice.reads_etag_of(&session, &team).await;
    dave.leaves(&session).await.expect(204);
    let shown = alice.session(&session).await.expect(200).body;
    assert_eq!(shown["teams_suppressed"], json!(false));
    assert_eq!(shown["teams"][1]["players"][0]["player_uuid"], json!(bob.player));
}

/// A game with all kinds of connection data, each with a unique value.
async fn connected(server: &Server) -> (Client, String) {
    let alice = server.player();
    let session = alice.creates("game").await;
    let instance = format!("/v1/session/{session}/instance");
    let startup = json!({"map": "secret-map", "misc_params": "secret-params"});
    alice.post(&instance, &json!({"instance_startup_params": startup})).await.expect(200);
    let join_params = json!({
        "public_conn_str": "secret-public", "private_conn_str": "secret-private", "custom_data": {"key": "secret-key"},
    });
    alice
        .patch(&instance, &json!({"join_params": join_params, "allocation_id": "secret-allocation"}))
        .await
        .expect(200);
    alice.post(&link_path("XboxLive", XBOX_ID, &session), &Value::Null).await.expect(200);
    let code = format!("/v1/session/{session}:generate-short-code");
    alice.post(&code, &Value::Null).await.expect(200);
    (alice, session)
}

fn shown_connection_data(seen: &Reply) -> Vec<&'static str> {
    let text = seen.body.to_string();
    let values = ["secret-public", "secret-private", "secret-key"];
    let values = values.into_iter().chain([XBOX_ID, "platform_session", "platform_scouts", "short_code"]);
    values.filter(|value| text.contains(value)).collect()
}

#[tokio::test]
async fn outsiders_see_no_connection_data() {
    let server = Server::new();
    let (alice, session) = connected(&server).await;
    let (invited, stranger, left) = (server.player(), server.player(), server.player());
    alice.invites(&session, &invited).await.expect(200);
    left.joins(&session).await.expect(200);
    assert_eq!(
        shown_connection_data(&left.session(&session).await.expect(200)).len(),
        7,
        "members see all connection data"
    );
    left.leaves(&session).await.expect(204);
    let service = server.service(&["session:read:self"]);
    for outsider in [&invited, &stranger, &left, &service] {
        let seen = outsider.session(&session).await.expect(200);
        assert_eq!(shown_connection_data(&seen), [""; 0], "{}", seen.body);
        let instance = &seen.body["instance"];
        assert_eq!(
            (&instance["host_type"], &instance["join_status"]),
            (&json!("dedicated"), &json!("requested"))
        );
        // What the instance was started with helps nobody to connect.
        assert_eq!(instance["allocation_id"], json!("secret-allocation"));
        assert_eq!(instance["instance_startup_params"]["map"], json!("secret-map"));
        // Of other players, only uuid, status and team are shown.
        let mut expected = json!([
            {"player_uuid": alice.player, "status": "leader"},
            {"player_uuid": invited.player, "status": "invited"},
        ]);
        if outsider.player == invited.player {
            expected[1]["custom_data"] = json!({});
            expected[1]["invited"] = json!("2026-11-23T12:00:00Z");
            expected[1]["inviting_player_uuid"] = json!(alice.player);
            expected[1]["session_permissions"] = json!([]);
        }
        assert_eq!(seen.body["teams"][0]["players"], expected);
    }
    let allocator = server.service(&["session:read:allocation"]);
    let found = allocator.get("/v1/session/allocation/secret-allocation").await.expect(200);
    assert_eq!(shown_connection_data(&found), [""; 0], "{}", found.body);
    let reader = server.service(&["session:read:any"]);
    assert_eq!(shown_connection_data(&reader.session(&session).await.expect(200)).len(), 7);
    invited.joins(&session).await.expect(200);
    assert_eq!(shown_connection_data(&invited.session(&session).await.expect(200)).len(), 7);
}
