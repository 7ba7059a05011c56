//! The calls of the published client: its order of requests, its headers and bodies, and its use of the answers.

use std::collections::HashMap;
use std::time::Duration;

use http::Method;
use rallypoint::domain::Platform;
use serde_json::{Value, json};

use crate::harness::{
    Client, Reply, Server, XBOX_ID, link_path, platform_path, player_permissions, status_and_team,
};

const OTHER_ID: &str = "UEFSVFk6YW5vdGhlcg==";
const POLL: Duration = Duration::from_secs(60);
const LIST: &str = "/v1/player/me/session";

/// A published client: it caches each document with its ETag, and sends that ETag with the next read.
struct Game {
    client: Client,
    cached: HashMap<String, (String, Value)>,
}

impl Game {
    fn new(client: Client) -> Self {
        Self { client, cached: HashMap::new() }
    }

    fn path(session: &str) -> String {
        format!("/v1/session/{session}?refresh_ttl=true")
    }

    /// Reads a path, with the cached ETag if there is one. Returns the status and the cached document.
    async fn reads(&mut self, path: &str) -> (u16, Value) {
        let etag = self.cached.get(path).map(|(etag, _)| etag.clone());
        let headers: Vec<_> = etag.iter().map(|etag| ("if-none-match", etag.as_str())).collect();
        let reply = self.client.send(Method::GET, path, &headers, None).await;
        match reply.status.as_u16() {
            200 => self.caches(path, &reply),
            304 => assert!(reply.bytes.is_empty() && Some(reply.etag()) == etag),
            404 => drop(self.cached.remove(path)),
            status => panic!("{status} {}", reply.body),
        }
        (reply.status.as_u16(), self.cached.get(path).map(|(_, body)| body.clone()).unwrap_or(reply.body))
    }

    fn caches(&mut self, path: &str, reply: &Reply) {
        self.cached.insert(path.to_owned(), (reply.etag(), reply.body.clone()));
    }

    async fn session(&mut self, session: &str) -> Value {
        self.reads(&Self::path(session)).await.1
    }

    /// Handles the answer to a change: reads the session again, with the cached ETag.
    async fn changed(&mut self, session: &str, answer: &Reply) -> Value {
        let path = Self::path(session);
        let (status, body) = self.reads(&path).await;
        assert_eq!(
            self.cached[&path].0,
            answer.etag(),
            "the ETag of the answer is the ETag of the next read"
        );
        assert!([200, 304].contains(&status));
        body
    }

    /// Posts to the deprecated path that the client uses for all changes of a player.
    async fn updates(&self, session: &str, player: &Self, body: Value) -> Reply {
        self.client.updates(session, &player.client, body).await.expect(200)
    }

    /// The player who creates and links the platform session of the console.
    fn scout(session: &Value) -> &Value {
        &session["platform_scouts"]["XboxLive"]["player_uuid"]
    }
}

/// The body of a join, with every field that the client sends.
fn whole_request(status: &str) -> Value {
    json!({
        "status": status, "client_version": "1.0.0", "team_id": 0, "custom_data": {},
        "client_settings": {"platform": "XboxLive", "input": "gamepad"},
    })
}

/// Alice creates a party like the client: she reads the templates, creates the session, then reads it.
async fn party(server: &Server) -> (Game, String) {
    let mut alice = Game::new(server.lasting_player());
    let (_, templates) = alice.reads("/v1/template").await;
    let template = &templates["templates"]["party"]["platform_templates"]["XboxLive"];
    assert_eq!(
        (&template["platform"], &template["platform_session_type"]),
        (&json!("XboxLive"), &json!("party"))
    );
    assert_eq!(alice.reads("/v1/template").await.0, 304);
    let request = json!({
        "client_version": "1.0.0", "client_settings": {"platform": "XboxLive", "input": "gamepad"},
        "session_type": "party", "player": whole_request("leader"),
    });
    let created = alice.client.post("/v1/session", &request).await.expect(200);
    let session = created.body["session_id"].as_str().unwrap().to_owned();
    let seen = alice.session(&session).await;
    assert_eq!(Game::scout(&seen), &json!(alice.client.player));
    assert_eq!(seen["platform_session"], json!([]));
    (alice, session)
}

/// The scout links the platform session. The answer is the platform session, so the client reads the session again.
async fn links(scout: &mut Game, session: &str, id: &str) {
    let linked = scout.client.send(Method::POST, &link_path("XboxLive", id, session), &[], None).await;
    assert_eq!(linked.expect(200).body["platform_session_id_base64"], json!(id), "byte for byte");
    let (status, seen) = scout.reads(&Game::path(session)).await;
    assert_eq!((status, &seen["platform_session"][0]["platform_session_id_base64"]), (200, &json!(id)));
}

/// Bob is invited, finds the invite in his list, reads template and session, and accepts.
async fn invited(server: &Server, alice: &mut Game, session: &str) -> Game {
    server.clock.advance(POLL);
    let mut bob = Game::new(server.lasting_player());
    bob.reads(LIST).await;
    let body = json!({"status": "invited", "team_id": 0});
    let invited = alice.updates(session, &bob, body).await;
    assert_eq!(invited.status_and_team(), status_and_team("invited", 0));
    alice.changed(session, &invited).await;
    let (status, list) = bob.reads(LIST).await;
    assert_eq!(status, 200);
    let (session_type, of_type) = list["sessions"].as_object().unwrap().iter().next().unwrap();
    let invite = &of_type["pending_invites"][session];
    assert_eq!(invite["inviting_player_uuid"], json!(alice.client.player));
    assert_eq!(invite["session_id"], json!(session));
    bob.client.get(&format!("/v1/template/{session_type}")).await.expect(200);
    let outline = bob.session(session).await;
    assert!(outline.get("platform_session").is_none());
    let me = format!("/v1/session/{session}/player/me");
    let accepted = bob.client.post(&me, &whole_request("member")).await.expect(200);
    assert_eq!(accepted.status_and_team(), status_and_team("member", 0));
    bob.changed(session, &accepted).await;
    assert_eq!(bob.reads(LIST).await.1["sessions"]["party"]["session_ids"], json!([session]));
    bob
}

#[tokio::test]
async fn a_player_joins_a_party_by_invite() {
    let server = Server::new();
    let (mut alice, session) = party(&server).await;
    links(&mut alice, &session, XBOX_ID).await;
    let mut bob = invited(&server, &mut alice, &session).await;
    // Bob is not the scout. His client joins the platform session that the session names.
    let seen = bob.session(&session).await;
    assert_eq!(Game::scout(&seen), &json!(alice.client.player));
    assert_eq!(seen["platform_session"][0]["platform_session_id_base64"], json!(XBOX_ID));
    assert_eq!(alice.reads(&Game::path(&session)).await.0, 200);
    // Both clients poll for far longer than an unused session lives.
    for _ in 0..180 {
        server.advance(POLL).await;
        for game in [&mut alice, &mut bob] {
            assert_eq!(game.reads(&Game::path(&session)).await.0, 304);
        }
    }
    let promoted = alice.updates(&session, &bob, json!({"status": "leader"})).await;
    alice.changed(&session, &promoted).await;
    let seen = bob.session(&session).await;
    assert_eq!(seen["teams"][0]["players"][1]["status"], json!("leader"));
    assert_eq!(Game::scout(&seen), &json!(alice.client.player), "the scout is the longest active player");

    alice.client.delete(&format!("/v1/session/{session}/player/me")).await.expect(204);
    let seen = bob.session(&session).await;
    assert_eq!(Game::scout(&seen), &json!(bob.client.player));
    assert_eq!(alice.reads(LIST).await.1["sessions"], json!({}));
}

#[tokio::test]
async fn the_next_player_leads_after_the_leader_leaves() {
    let server = Server::new();
    let (mut alice, session) = party(&server).await;
    let mut bob = invited(&server, &mut alice, &session).await;
    let mut carol = invited(&server, &mut alice, &session).await;
    alice.client.delete(&format!("/v1/session/{session}/player/me?reason=quit")).await.expect(204);
    for game in [&mut bob, &mut carol] {
        let seen = game.session(&session).await;
        let players = seen["teams"][0]["players"].as_array().unwrap();
        let statuses: Vec<_> = players.iter().map(|player| player["status"].as_str().unwrap()).collect();
        assert_eq!(statuses, ["leader", "member"]);
    }
    // Bob leads and so may kick, here by the deprecated path.
    let path = format!("/v1/session/{session}/player/uuid/{}?reason=afk", carol.client.player);
    let kicked = bob.client.delete(&path).await.expect(204);
    bob.changed(&session, &kicked).await;
    assert!(carol.session(&session).await.get("platform_session").is_none());
}

#[tokio::test]
async fn a_body_with_only_a_team_changes_the_team() {
    let server = Server::new();
    let mut alice = Game::new(server.lasting_player());
    let session = alice.client.creates("game").await;
    alice.session(&session).await;
    let moved = alice.updates(&session, &alice, json!({"team_id": 1})).await;
    assert_eq!(moved.status_and_team(), status_and_team("leader", 1));
    let seen = alice.changed(&session, &moved).await;
    assert_eq!(seen["teams"][1]["team_id"], json!(1), "each team has its index");
    assert_eq!(seen["teams"][1]["players"][0]["player_uuid"], json!(alice.client.player));
}

#[tokio::test]
async fn a_console_invite_is_accepted_through_the_platform_session() {
    let server = Server::new();
    let (mut alice, session) = party(&server).await;
    links(&mut alice, &session, XBOX_ID).await;
    let mut carol = Game::new(server.lasting_player());
    let join_path = format!("{}/player/me", platform_path("XboxLive", XBOX_ID));
    let joined = carol.client.post(&join_path, &whole_request("member")).await.expect(200);
    assert_eq!(joined.body["session_id"], json!(session));
    // The client caches the answer to the join: the next poll finds no change.
    carol.caches(&Game::path(&session), &joined);
    assert_eq!(carol.reads(&Game::path(&session)).await.0, 304);
    assert_eq!(carol.reads(LIST).await.1["sessions"]["party"]["session_ids"], json!([session]));
    let seen = alice.session(&session).await;
    assert_eq!(seen["teams"][0]["players"].as_array().unwrap().len(), 2);
    let info = carol.client.get(&platform_path("XboxLive", XBOX_ID)).await.expect(200);
    assert_eq!(seen["platform_session"], json!([info.body]), "both views of the platform session are equal");
}

#[tokio::test]
async fn a_scout_that_cannot_join_links_another_platform_session() {
    let server = Server::new();
    let (mut alice, session) = party(&server).await;
    links(&mut alice, &session, XBOX_ID).await;
    let mut bob = invited(&server, &mut alice, &session).await;
    alice.client.leaves(&session).await.expect(204);
    // Now bob is the scout, and the console no longer knows the linked platform session.
    let seen = bob.session(&session).await;
    assert_eq!(Game::scout(&seen), &json!(bob.client.player));
    let refused = bob.client.post(&link_path("XboxLive", OTHER_ID, &session), &Value::Null).await;
    refused.refused(403, "platform_already_linked");
    bob.client.delete(&link_path("XboxLive", XBOX_ID, &session)).await.expect(204);
    assert_eq!(bob.session(&session).await["platform_session"], json!([]));
    links(&mut bob, &session, OTHER_ID).await;
    // The old platform session may be linked to another session at once.
    let (mut carol, hers) = party(&server).await;
    links(&mut carol, &hers, XBOX_ID).await;
}

#[tokio::test]
async fn a_platform_without_a_template_has_no_platform_session() {
    let server = Server::new();
    let host = Game::new(server.player_on(Platform::GooglePlay));
    let session = host.client.creates("party").await;
    let template = host.client.get("/v1/template/party").await.expect(200).body;
    assert!(template["platform_templates"].get("GooglePlay").is_none());
    let seen = host.client.session(&session).await.expect(200).body;
    let scout = json!({"GooglePlay": {"player_uuid": host.client.player, "platform": "GooglePlay"}});
    assert_eq!((&seen["platform_scouts"], &seen["platform_session"]), (&scout, &json!([])));
}

#[tokio::test]
async fn a_client_that_polls_an_ended_session_cleans_up() {
    let server = Server::new();
    let (mut alice, session) = party(&server).await;
    let mut bob = invited(&server, &mut alice, &session).await;
    server.service(&["session:delete:any"]).delete(&format!("/v1/session/{session}")).await.expect(204);
    for game in [&mut alice, &mut bob] {
        let (status, body) = game.reads(&Game::path(&session)).await;
        let desc = body["desc"].clone();
        let expected = json!({"auth_success": true, "error_code": "session_not_found", "desc": desc});
        assert_eq!((status, body), (404, expected));
        let me = format!("/v1/session/{session}/player/me");
        game.client.delete(&me).await.refused(404, "session_not_found");
        assert_eq!(game.reads(LIST).await.1["sessions"], json!({}));
    }
    // The client continues with a new session.
    let again = alice.client.creates("party").await;
    assert_ne!(again, session);
}

#[tokio::test]
async fn two_sessions_invite_each_other() {
    let server = Server::new();
    let (mut alice, party) = party(&server).await;
    let bob = invited(&server, &mut alice, &party).await;
    let mut host = Game::new(server.lasting_player());
    let game = host.client.creates("game").await;
    host.session(&game).await;
    // Invite the own session to another session, which is open.
    let path = format!("/v1/session/{game}/invited-session/{party}:invite");
    let invited = alice.client.post(&path, &json!({"team_id": 0})).await.expect(200);
    assert_eq!(invited.body["players"].as_array().unwrap().len(), 2);
    alice.changed(&game, &invited).await;
    for member in [&alice, &bob] {
        let me = format!("/v1/session/{game}/player/me");
        member.client.post(&me, &whole_request("member")).await.expect(200);
    }
    // Invite the other session to the own session. The caller is active in both.
    let seen = alice.session(&game).await;
    assert_eq!(seen["teams"][0]["players"].as_array().unwrap().len(), 3);
    let path = format!("/v1/session/{party}/invited-session/{game}:invite");
    let invited = alice.client.post(&path, &json!({})).await.expect(200);
    assert_eq!(invited.body["players"][0]["player_uuid"], json!(host.client.player));
    alice.changed(&party, &invited).await;
}

#[tokio::test]
async fn a_player_hosts_an_instance() {
    let server = Server::new();
    // The token needs the permission to report health, which is not a default permission of players.
    let mut permissions = player_permissions();
    permissions.push("session:instance:health");
    let mut host = Game::new(server.player_with(Some(Platform::XboxLive), &permissions));
    let session = host.client.creates("game").await;
    let mut guest = Game::new(server.player());
    guest.client.joins(&session).await.expect(200);
    let path = format!("/v1/session/{session}/instance");
    let startup = json!({"map": "Dunes", "mode": "arena", "misc_params": "", "custom_data": {}});
    let request = json!({"host_type": "player", "instance_startup_params": startup, "custom_data": {}});
    let requested = host.client.post(&path, &request).await.expect(200).body;
    let update = json!({
        "join_status": "joinable", "match_id": "m1", "custom_data": {"a": "b"},
        "join_params": {"public_conn_str": "192.0.2.1:7777", "private_conn_str": "10.0.0.1:7777"},
    });
    host.client.patch(&path, &update).await.expect(200);
    let seen = guest.session(&session).await;
    assert_eq!(seen["instance"]["join_params"]["public_conn_str"], json!("192.0.2.1:7777"));
    let every_s =
        host.client.get("/v1/instance/health/config").await.expect(200).body["cadence_seconds"].clone();
    let health = json!({"instance_health": "healthy", "instance_id": requested["instance_id"]});
    for _ in 0..6 {
        host.client.post(&format!("{path}/health"), &health).await.expect(200);
        server.advance(Duration::from_secs(every_s.as_u64().unwrap())).await;
    }
    assert_eq!(guest.session(&session).await["instance"]["instance_health"], json!("healthy"));
    assert_eq!(guest.reads(&Game::path(&session)).await.0, 304);
    host.session(&session).await;
    let ended = host.client.delete(&path).await.expect(204);
    host.changed(&session, &ended).await;
    host.client.post(&format!("{path}/health"), &health).await.refused(404, "instance_not_found");
    let code = format!("/v1/session/{session}:generate-short-code");
    let made = host.client.post(&code, &Value::Null).await.expect(200).body["short_code"].clone();
    host.client.post(&code, &Value::Null).await.refused(409, "short_code_exists");
    let by_code = format!("/v1/session/{}/player/me", made.as_str().unwrap());
    server.player().post(&by_code, &whole_request("member")).await.expect(200);
}
