//! What callers cannot find out: a player whom the template hides from them is like one who is not in the session, also
//! in answers to changes; and outsiders learn neither who is in a session nor which players the server knows.

use std::collections::BTreeSet;
use std::time::Duration;

use http::Method;
use rallypoint::config::Config;
use rallypoint::domain::template::Visibility;
use serde_json::{Value, json};

use crate::harness::{
    Client, Reply, Server, action_path, contents, player_path, right_path, without_deadlines,
};

const ALICES_ID: i64 = 1001;
const CAROLS_ID: i64 = 1003;
/// The id of a player who is in another session.
const ERINS_ID: i64 = 1005;
/// An id that no token has named.
const NOBODYS_ID: i64 = 1009;

/// A game in which members see their own team. Alice leads; she and bob are on the first team, carol on the second.
/// Dave is not in the session, and erin is in another one.
struct Game {
    server: Server,
    alice: Client,
    bob: Client,
    carol: Client,
    dave: Client,
    session: String,
}

impl Game {
    async fn new() -> Self {
        Self::with(|config| {
            config.templates.get_mut("game").unwrap().player_visibility = Visibility::Team;
        })
        .await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let server = Server::with(change);
        let (alice, carol) = (server.player_numbered(ALICES_ID), server.player_numbered(CAROLS_ID));
        let (bob, dave) = (server.player(), server.player());
        let session = alice.creates("game").await;
        for (player, team_id) in [(&bob, 0), (&carol, 1)] {
            player.joins_team(&session, team_id).await.expect(200);
        }
        carol.updates(&session, &carol, json!({"custom_data": {"key": "secret"}})).await.expect(200);
        server.player_numbered(ERINS_ID).creates("party").await;
        Self { server, alice, bob, carol, dave, session }
    }

    fn by_id(&self, player_id: i64) -> String {
        format!("/v1/session/{}/player/id/{player_id}", self.session)
    }

    /// Every change of a player that can be asked for without a body that names others.
    fn changes_of(&self, player: &Client) -> Vec<(Method, String, Value)> {
        let (session, player) = (&self.session, player.player);
        let deprecated = [
            json!({}),
            json!({"status": "member"}),
            json!({"status": "member", "custom_data": {}, "overflow_action": "fail"}),
            json!({"team_id": 0}),
            json!({"team_id": 1}),
            json!({"team_id": 9}),
            json!({"custom_data": {"a": "b"}}),
            json!({"status": "leader"}),
        ];
        let mut changes = Vec::new();
        for body in deprecated {
            let path = format!("/v1/session/{session}/player/uuid/{player}");
            changes.push((Method::POST, path, body.clone()));
            changes.push((Method::POST, player_path(session, player), body));
        }
        let update = format!("/v2/session/{session}/player/{player}");
        changes.push((Method::POST, update, json!({"custom_data": {"a": "b"}})));
        for team_id in [json!(null), json!(0), json!(1), json!(9)] {
            changes.push((Method::POST, action_path(session, player, "move"), json!({"team_id": team_id})));
        }
        changes.push((Method::POST, action_path(session, player, "promote"), Value::Null));
        changes.push((Method::PATCH, right_path(session, player, "kick"), Value::Null));
        changes.push((Method::DELETE, right_path(session, player, "kick"), Value::Null));
        changes.push((Method::GET, format!("{}/permission", player_path(session, player)), Value::Null));
        changes
    }

    /// Sends all changes of two players. The answers must be equal, and refuse.
    async fn expect_alike(&self, caller: &Client, one: &Client, other: &Client) {
        let before = contents(&self.server).await;
        let of_both = self.changes_of(one).into_iter().zip(self.changes_of(other));
        for (of_one, of_other) in of_both {
            let context = format!("{} {} {}", of_one.0, of_one.1, of_one.2);
            let (one, other) = (send(caller, of_one).await, send(caller, of_other).await);
            assert_eq!((one.status, &one.body), (other.status, &other.body), "{context}");
            assert!(one.status.is_client_error(), "{context}: {}", one.body);
        }
        assert_eq!(without_deadlines(&contents(&self.server).await), without_deadlines(&before));
    }
}

async fn send(caller: &Client, (method, path, body): (Method, String, Value)) -> Reply {
    let body = (!body.is_null()).then(|| body.to_string().into());
    caller.send(method, &path, &[], body).await
}

#[tokio::test]
async fn a_change_that_changes_nothing_shows_no_hidden_player() {
    let game = Game::new().await;
    for body in [json!({}), json!({"status": "member"})] {
        // The answer must not depend on whether the player is there, so it is that for somebody who is not.
        let hidden = game.bob.updates(&game.session, &game.carol, body.clone()).await;
        let absent = game.bob.updates(&game.session, &game.dave, body).await;
        assert!(!hidden.body.to_string().contains("secret"), "{}", hidden.body);
        assert_eq!((hidden.status, hidden.body), (absent.status, absent.body));
    }
    let shown = game.bob.updates(&game.session, &game.alice, json!({})).await.expect(200);
    assert_eq!(shown.body["team_id"], json!(0), "players of one's own team are shown");
}

#[tokio::test]
async fn a_hidden_player_is_like_one_who_is_not_in_the_session() {
    let game = Game::new().await;
    game.expect_alike(&game.bob, &game.carol, &game.dave).await;
    // A right over players does not extend to hidden ones.
    game.alice.gives_right(&game.session, &game.bob, "move").await.expect(200);
    game.expect_alike(&game.bob, &game.carol, &game.dave).await;
    // Neither does the leader's, where the template hides players from the leader.
    let game = Game::with(|config| {
        config.templates.get_mut("game").unwrap().admin_player_visibility = Visibility::Team;
    })
    .await;
    game.expect_alike(&game.alice, &game.carol, &game.dave).await;
    let swap = game.alice.swaps(&game.session, &game.bob, &game.carol).await;
    let absent = game.alice.swaps(&game.session, &game.bob, &game.dave).await;
    assert_eq!((swap.status, swap.body), (absent.status, absent.body));
    // Hidden players can still be removed: the answer says nothing about them.
    game.alice.kicks(&game.session, &game.carol).await.expect(204);
}

#[tokio::test]
async fn outsiders_learn_nothing_about_who_is_in_a_session() {
    let game = Game::new().await;
    let frank = game.server.player();
    game.alice.invites(&game.session, &frank).await.expect(200);
    for (caller, absent) in [(&game.server.player(), &game.dave), (&frank, &game.dave)] {
        for inside in [&game.alice, &game.bob, &game.carol] {
            game.expect_alike(caller, inside, absent).await;
            for (method, path) in [
                (Method::DELETE, player_path(&game.session, inside.player)),
                (Method::DELETE, format!("/v1/session/{}/player/uuid/{}", game.session, inside.player)),
                (Method::POST, action_path(&game.session, inside.player, "invite")),
            ] {
                let body = (method == Method::POST).then(|| "{}".into());
                let refused = caller.send(method, &path, &[], body).await;
                refused.refused(403, "not_active_in_session");
            }
        }
    }
}

#[tokio::test]
async fn numeric_ids_tell_nobody_which_players_the_server_knows() {
    let game = Game::new().await;
    let bodies =
        [json!({}), json!({"status": "member"}), json!({"status": "invited"}), json!({"status": "leader"})];
    for (caller, ids) in [
        (&game.server.player(), [CAROLS_ID, ERINS_ID, NOBODYS_ID]),
        (&game.bob, [CAROLS_ID, ERINS_ID, NOBODYS_ID]),
    ] {
        for body in &bodies {
            let mut answers = Vec::new();
            for id in ids {
                let reply = caller.post(&game.by_id(id), body).await;
                assert!(reply.status.is_client_error(), "{id} {body}: {}", reply.body);
                answers.push((reply.status, reply.body));
            }
            assert!(answers.iter().all(|answer| *answer == answers[0]), "{body}: {answers:?}");
        }
        for id in ids {
            let refused = caller.delete(&game.by_id(id)).await;
            assert_eq!(refused.status, 403, "{id}: {}", refused.body);
        }
    }
    // The leader names a player by an id that is not in the session, known or not.
    for id in [ERINS_ID, NOBODYS_ID] {
        game.alice.delete(&game.by_id(id)).await.refused(404, "player_not_found");
        for body in [json!({}), json!({"status": "leader"}), json!({"team_id": 1})] {
            game.alice.post(&game.by_id(id), &body).await.refused(404, "player_not_found");
        }
        game.alice.post(&game.by_id(id), &json!({"status": "member"})).await.refused(403, "join_for_others");
    }
    let before = contents(&game.server).await;
    game.alice
        .post(&game.by_id(NOBODYS_ID), &json!({"status": "invited"}))
        .await
        .refused(404, "player_not_found");
    assert_eq!(contents(&game.server).await, before, "nobody was invited");
    game.alice.post(&game.by_id(CAROLS_ID), &json!({"team_id": 0})).await.expect(200);
}

#[tokio::test]
async fn an_invited_session_names_only_players_whom_the_caller_sees() {
    let game = Game::with(|config| {
        config.templates.get_mut("game").unwrap().player_visibility = Visibility::Team;
        config.templates.get_mut("party").unwrap().player_visibility = Visibility::None;
        config.templates.get_mut("party").unwrap().admin_player_visibility = Visibility::All;
    })
    .await;
    let hall = game.dave.creates("party").await;
    game.dave.opens(&hall).await;
    let invite = format!("/v1/session/{hall}/invited-session/{}:invite", game.session);
    let named = |reply: Reply| -> BTreeSet<String> {
        let players = reply.body["players"].as_array().unwrap().clone();
        players.into_iter().map(|player| player["player_uuid"].as_str().unwrap().to_owned()).collect()
    };
    // Bob sees his own team only, and dave's session shows outsiders nobody.
    let invited = game.bob.post(&invite, &json!({})).await.expect(200);
    let own_team = BTreeSet::from([game.alice.player, game.bob.player].map(|player| player.to_string()));
    assert_eq!(named(invited), own_team);
    let whole = game.dave.session(&hall).await.expect(200).body.to_string();
    assert!(whole.contains(&game.carol.player.to_string()), "carol is invited all the same");
    let invited = game.alice.post(&invite, &json!({})).await.expect(200);
    assert_eq!(named(invited).len(), 3, "the leader sees everyone");
}

#[tokio::test]
async fn an_invited_session_names_the_players_whom_the_caller_sees_in_it_first() {
    let game = Game::new().await;
    let frank = game.server.player();
    game.server.clock.advance(Duration::from_secs(1));
    frank.joins_team(&game.session, 0).await.expect(200);
    // Carol joined before frank. Bob sees her only once she is invited to his party.
    let party = game.bob.creates("party").await;
    let invite = format!("/v1/session/{party}/invited-session/{}:invite", game.session);
    let invited = game.bob.post(&invite, &json!({})).await.expect(200);
    let named = invited.body["players"].as_array().unwrap().iter();
    let named: Vec<_> = named.map(|player| player["player_uuid"].clone()).collect();
    assert_eq!(named, [&game.alice, &frank, &game.carol].map(|player| json!(player.player)));
}

#[tokio::test]
async fn standing_is_judged_before_what_a_request_names() {
    let game = Game::new().await;
    let (outsider, path) = (game.server.player(), format!("/v1/session/{}", game.session));
    let unknown = uuid::Uuid::from_u128(1);
    for (caller, code) in [(&outsider, "not_active_in_session"), (&game.bob, "not_session_leader")] {
        let template = json!({"instance_request_template_id": unknown});
        caller.post(&format!("{path}/instance"), &template).await.refused(403, code);
        let region = json!({"region_id": "nowhere"});
        caller.patch(&path, &region).await.refused(403, code);
        caller.patch(&format!("{path}/team/9"), &json!({})).await.refused(403, code);
        for other in ["none", &game.session] {
            caller.delete(&format!("{path}/kicked-session/{other}")).await.refused(403, code);
        }
    }
    for named in ["none", &game.session] {
        let invite = format!("/v1/session/{named}/invited-session/{}:invite", game.session);
        outsider.post(&invite, &json!({})).await.refused(403, "not_active_in_session");
    }
}
