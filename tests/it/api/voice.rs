//! Tokens for voice services.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use http::Method;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rallypoint::auth::KeySet;
use rallypoint::config::{ChannelType, EpicSection, VivoxSection};
use rallypoint::domain::Platform;
use rallypoint::domain::template::Visibility;
use rallypoint::store::{Memory, Store};
use rallypoint::voice::epic::CALLS_MAX;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::select;

use crate::harness::{Client, Reply, Server, fits, player_permissions};
use crate::promises::published::published_contracts;
use crate::support::stand_in::epic::{EpicService, Rooms};

mod calls;
mod connect;

const VIVOX: &str = "/v1/session/{session_id}/player/{player_uuid}/voip/vivox:{vivox_action}";
const VIVOX_ME: &str = "/v1/session/{session_id}/player/me/voip/vivox:{vivox_action}";
const EPIC: &str = "/v1/session/{session_id}/player/me/voip/epic:join";
const PUID: &str = "0002aa6b5c2744d3913fe5d1a3ab2f29";

/// A file that only its owner can read.
fn secret_file(dir: &TempDir, text: &str) -> PathBuf {
    let path = dir.path().join("secret");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path
}

fn vivox(key_file: &Path) -> VivoxSection {
    VivoxSection {
        issuer: "game-dev".into(),
        domain: "voice.example".into(),
        server: "https://voice.example/appconfig".into(),
        key_file: key_file.into(),
        ttl_s: 90,
        channel_type: ChannelType::Plain,
    }
}

fn with_vivox() -> Server {
    let dir = tempfile::tempdir().unwrap();
    let key = secret_file(&dir, "secret!\n");
    Server::over(Store::Memory(Memory::default()), |config| config.voice.vivox = Some(vivox(&key)))
}

/// A server that asks this service. The configuration is changed further.
fn with_epic(service: &EpicService, change: impl FnOnce(&mut EpicSection)) -> Server {
    let dir = tempfile::tempdir().unwrap();
    let mut epic = EpicSection {
        deployment_id: "deployment".into(),
        client_id: "client".into(),
        client_secret_file: secret_file(&dir, "hidden"),
        base_url: format!("http://{}/", service.address),
        connect_jwks_url: None,
        puid_claim: None,
        openid_lookup: true,
    };
    change(&mut epic);
    Server::over(Store::Memory(Memory::default()), |config| config.voice.epic = Some(epic))
}

/// A game of these players on two teams: alice leads, bob is on the other team.
async fn game(server: &Server) -> (Client, Client, String) {
    let (alice, bob) = (server.player(), server.player());
    let game = alice.creates("game").await;
    alice.opens(&game).await;
    bob.joins_team(&game, 1).await.expect(200);
    (alice, bob, game)
}

fn own(game: &str, action: &str, kind: &str) -> String {
    format!("/v1/session/{game}/player/me/voip/vivox:{action}?voip_session_type={kind}")
}

fn of(game: &str, player: &Client, action: &str, kind: &str) -> String {
    format!("/v1/session/{game}/player/{}/voip/vivox:{action}?voip_session_type={kind}", player.player)
}

fn room(game: &str, rest: &str) -> String {
    format!("/v1/session/{game}/player/me/voip/epic:join?voip_session_type=session{rest}")
}

/// Players whom the service knows, each active in a game of their own.
async fn crowd(server: &Server, service: &EpicService, count: usize) -> Vec<(Client, String)> {
    let mut crowd = Vec::new();
    for number in 0..count {
        let player = server.lasting_player();
        let game = player.creates("game").await;
        let account = (player.player.to_string(), format!("0002{number}"));
        service.state.lock().unwrap().accounts.push(account);
        crowd.push((player, game));
    }
    crowd
}

/// Asserts that the published contract allows the answer, and that no cache may keep it.
fn check(path: &str, reply: &Reply) {
    assert_eq!(reply.headers["cache-control"], "no-store");
    assert!(!reply.headers.contains_key("etag"));
    let Some(contracts) = published_contracts() else { return };
    let contract = contracts.iter().find(|contract| contract["servers"][0]["url"] == "/session").unwrap();
    let response = &contract["paths"][path]["get"]["responses"][reply.status.as_str()];
    fits(contract, &response["content"]["application/json"]["schema"], &reply.body, path);
}

/// The claims of a token of Vivox. Its signature is tested where it is made.
fn claims(reply: &Reply) -> Value {
    let token = reply.body["token"].as_str().unwrap();
    let [header, claims, _] = token.split('.').collect::<Vec<_>>()[..] else { panic!("{token}") };
    assert_eq!(header, "e30");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

fn user(player: &Client) -> Value {
    json!(format!("sip:.game-dev.{}.@voice.example", player.player))
}

fn channel(name: &str) -> Value {
    json!(format!("sip:confctl-g-game-dev.{name}@voice.example"))
}

#[tokio::test]
async fn each_token_of_vivox_says_who_does_what_to_whom() {
    let server = with_vivox();
    let (alice, bob, game) = game(&server).await;
    let login = alice.get("/v1/voip/vivox:login").await.expect(200);
    check("/v1/voip/vivox:login", &login);
    let (issuer, address) = (json!("game-dev"), json!("https://voice.example/appconfig"));
    assert_eq!((&login.body["issuer"], &login.body["server"]), (&issuer, &address));
    assert_eq!(login.body.get("channel_name"), None);
    let exp = server.clock.now().as_second() + 90;
    let said = claims(&login);
    let number = said["vxi"].as_u64().unwrap();
    assert!(number < 1 << 31);
    let expected = json!({ "iss": "game-dev", "exp": exp, "vxa": "login", "vxi": number, "f": user(&alice) });
    assert_eq!(said, expected);

    let service = server.service(&["session:*"]);
    let team = |number: u32| format!("{game}-{number}");
    let admin = json!("sip:game-dev-Admin@voice.example");
    for (caller, path, action, name, from, target) in [
        (&alice, own(&game, "join", "session"), "join", game.clone(), user(&alice), None),
        (&bob, own(&game, "join", "team"), "join", team(1), user(&bob), None),
        (&bob, own(&game, "join_muted", "team"), "join_muted", team(1), user(&bob), None),
        (&bob, of(&game, &bob, "join", "session"), "join", game.clone(), user(&bob), None),
        (&bob, own(&game, "mute", "session"), "mute", game.clone(), user(&bob), Some(user(&bob))),
        (&service, of(&game, &bob, "kick", "team"), "kick", team(1), admin.clone(), Some(user(&bob))),
        (&service, of(&game, &alice, "mute", "session"), "mute", game.clone(), admin, Some(user(&alice))),
        (&service, of(&game, &bob, "trxn", "session"), "trxn", game.clone(), user(&bob), None),
    ] {
        let reply = caller.get(&path).await.expect(200);
        check(if path.contains("/me/") { VIVOX_ME } else { VIVOX }, &reply);
        assert_eq!(reply.body["channel_name"], json!(name), "{path}");
        let said = claims(&reply);
        let mut expected = json!({
            "iss": "game-dev", "exp": exp, "vxa": action, "vxi": said["vxi"], "f": from, "t": channel(&name),
        });
        if let Some(target) = target {
            expected["sub"] = target;
        }
        assert_eq!(said, expected, "{path}");
        assert_ne!(said["vxi"], json!(number), "every token has a number of its own");
    }
}

/// What comes of a request: 200, or the code of its refusal.
async fn outcome(caller: &Client, path: &str) -> String {
    let reply = caller.get(path).await;
    match reply.status.as_u16() {
        200 => "ok".to_owned(),
        403 => reply.body["error_code"].as_str().unwrap().to_owned(),
        other => panic!("{other} {}", reply.body),
    }
}

#[tokio::test]
async fn the_permission_decides_what_a_player_does_to_whom() {
    let server = with_vivox();
    let (alice, bob, game) = game(&server).await;
    let (ok, denied) = ("ok", "permission_denied");
    let leader = "not_session_leader";
    // For each permission and action: what the leader gets for herself (me), for herself (uuid) and for another player,
    // and what a member gets for the leader.
    for (permission, action, expected) in [
        ("session:vivox:join", "join", [ok, ok, denied, denied]),
        ("session:vivox:join", "join_muted", [denied; 4]),
        ("session:vivox:join_muted", "join_muted", [ok, ok, denied, denied]),
        ("session:vivox:join_muted", "join", [denied; 4]),
        ("session:vivox:kick:all", "kick", [ok; 4]),
        ("session:vivox:kick:all", "mute", [denied; 4]),
        ("session:vivox:kick:self", "kick", [ok, ok, denied, denied]),
        ("session:vivox:kick:as-leader", "kick", [ok, ok, ok, leader]),
        // The contract names this permission for muting oneself as the leader.
        ("session:vivox:kick:as-leader", "mute", [ok, denied, denied, denied]),
        ("session:vivox:mute:all", "mute", [ok; 4]),
        ("session:vivox:mute:self", "mute", [ok, ok, denied, denied]),
        ("session:vivox:mute:as-leader", "mute", [ok, ok, ok, leader]),
        ("session:vivox:mute:as-leader", "kick", [denied; 4]),
        ("session:vivox:transcribe:any", "trxn", [ok; 4]),
        ("session:vivox:transcribe:as-member", "trxn", [ok, ok, denied, denied]),
        ("session:vivox:login", "join", [denied; 4]),
        // Who may do everything joins as themselves only.
        ("session:*", "join", [ok, ok, denied, denied]),
        ("session:*", "kick", [ok; 4]),
        ("session:*", "mute", [ok; 4]),
        ("session:*", "trxn", [ok; 4]),
    ] {
        let [leads, member] =
            [&alice, &bob].map(|player| player.with_token(Platform::XboxLive, &[permission]));
        let found = [
            outcome(&leads, &own(&game, action, "session")).await,
            outcome(&leads, &of(&game, &alice, action, "session")).await,
            outcome(&leads, &of(&game, &bob, action, "session")).await,
            outcome(&member, &of(&game, &alice, action, "session")).await,
        ];
        assert_eq!(found, expected, "{permission} {action}");
    }
    let service = server.service(&["session:*"]);
    service.get("/v1/voip/vivox:login").await.refused(403, "player_required");
    service.get(&own(&game, "kick", "session")).await.refused(403, "player_required");
    service.get(&of(&game, &alice, "join", "session")).await.refused(403, "player_required");
}

#[tokio::test]
async fn only_active_players_of_the_session_get_tokens() {
    let server = with_vivox();
    let (alice, bob, game) = game(&server).await;
    let (carol, dave) = (server.player(), server.player());
    alice.invites(&game, &carol).await.expect(200);
    for outsider in [&carol, &dave] {
        outsider.get(&own(&game, "join", "session")).await.refused(403, "not_active_in_session");
        outsider.get(&own(&game, "mute", "session")).await.refused(403, "not_active_in_session");
    }
    let kicks = alice.with_token(Platform::XboxLive, &["session:vivox:kick:as-leader"]);
    // Whoever is in the session, in any standing, can be kicked from its channel.
    kicks.get(&of(&game, &carol, "kick", "session")).await.expect(200);
    kicks.get(&of(&game, &dave, "kick", "session")).await.refused(404, "player_not_found");
    let service = server.service(&["session:*"]);
    service.get(&of(&game, &dave, "mute", "session")).await.refused(404, "player_not_found");
    for caller in [&alice, &service] {
        caller.get(&of("none", &alice, "mute", "session")).await.refused(404, "session_not_found");
    }
    let path = |action: &str, kind: &str| {
        format!("/v1/session/{game}/player/me/voip/vivox:{action}?voip_session_type={kind}")
    };
    bob.get(&path("login", "session")).await.invalid(&[(json!(["path", "vivox_action"]), "type_error.enum")]);
    bob.get(&path("join", "all"))
        .await
        .invalid(&[(json!(["query", "voip_session_type"]), "type_error.enum")]);
    let missing = bob.get(&format!("/v1/session/{game}/player/me/voip/vivox:join")).await;
    missing.invalid(&[(json!(["query", "voip_session_type"]), "value_error.missing")]);
}

#[tokio::test]
async fn a_token_tells_a_leader_nothing_of_hidden_players() {
    let dir = tempfile::tempdir().unwrap();
    let key = secret_file(&dir, "secret!");
    let server = Server::over(Store::Memory(Memory::default()), |config| {
        config.voice.vivox = Some(vivox(&key));
        let game = config.templates.get_mut("game").unwrap();
        game.admin_player_visibility = Visibility::None;
    });
    let (alice, bob, game) = game(&server).await;
    let kicks = alice.with_token(Platform::XboxLive, &["session:vivox:kick:as-leader"]);
    kicks.get(&of(&game, &bob, "kick", "session")).await.refused(404, "player_not_found");
    kicks.get(&of(&game, &alice, "kick", "session")).await.expect(200);
}

#[tokio::test]
async fn without_a_service_there_are_no_tokens() {
    let server = Server::new();
    let (alice, _, game) = game(&server).await;
    alice.get("/v1/voip/vivox:login").await.refused(403, "voip_not_configured");
    for action in ["join", "join_muted", "mute"] {
        alice.get(&own(&game, action, "session")).await.refused(403, "voip_not_configured");
    }
    alice.get(&room(&game, "")).await.refused(403, "voip_not_configured");
    // The session and the standing of the caller come first.
    let outsider = server.player();
    for path in [room(&game, ""), own(&game, "join", "session")] {
        outsider.get(&path).await.refused(403, "not_active_in_session");
    }
    alice.get(&room("none", "")).await.refused(404, "session_not_found");
    alice.get(&own("none", "join", "session")).await.refused(404, "session_not_found");
    let unable = server.player_with(None, &["session:read:self"]);
    unable.get(&room(&game, "")).await.refused(403, "permission_denied");
    unable.get("/v1/voip/vivox:login").await.refused(403, "permission_denied");
}

#[tokio::test]
async fn epic_gives_a_player_the_credentials_of_a_room() {
    let service = EpicService::start().await;
    let server = with_epic(&service, |_| {});
    let (alice, bob, game) = game(&server).await;
    for (player, puid) in [(&alice, PUID), (&bob, "0002bb")] {
        service.state.lock().unwrap().accounts.push((player.player.to_string(), puid.into()));
    }
    let joined = alice.get(&room(&game, "")).await.expect(200);
    check(EPIC, &joined);
    assert_eq!(
        joined.body,
        json!({
            "room_id": format!("epic:{game}"), "participant_token": "room-token",
            "client_base_url": "wss://voice.example", "product_user_id": PUID,
        })
    );
    let path = format!("/v1/session/{game}/player/me/voip/epic:join?voip_session_type=team&join_muted=true");
    let hints: &[(&str, &str)] = &[("x-rh-client-addr", "203.0.114.9")];
    let joined = bob.send(Method::GET, &path, hints, None).await.expect(200);
    assert_eq!(joined.body["room_id"], json!(format!("epic:{game}-1")));
    let rooms = service.asked("/rtc/");
    let bodies: Vec<Value> = rooms.iter().map(|asked| serde_json::from_slice(&asked.body).unwrap()).collect();
    assert_eq!(
        bodies,
        [
            json!({ "participants": [{ "puid": PUID, "hardMuted": false }] }),
            json!({ "participants": [{ "puid": "0002bb", "hardMuted": true, "clientIp": "203.0.114.9" }] }),
        ]
    );
    // One access token serves both.
    let asked = service.asked("/auth/");
    let [token] = &asked[..] else { panic!("{} access tokens", asked.len()) };
    assert_eq!(token.header("authorization"), "Basic Y2xpZW50OmhpZGRlbg==");
    assert_eq!(&token.body[..], b"grant_type=client_credentials&deployment_id=deployment");
    let long = [("x-rh-client-addr", "2a00:0000:0000:0000:0000:0000:0000:00001")];
    let refused = bob.send(Method::GET, &path, &long, None).await;
    refused.invalid(&[(json!(["header", "x-rh-client-addr"]), "value_error.any_str.max_length")]);
}

#[tokio::test]
async fn an_access_token_is_renewed_in_time_and_once_it_is_refused() {
    let service = EpicService::start().await;
    let server = with_epic(&service, |_| {});
    let alice = server.lasting_player();
    let game = alice.creates("game").await;
    service.state.lock().unwrap().accounts.push((alice.player.to_string(), PUID.into()));
    let tokens = || service.state.lock().unwrap().tokens;
    let joins = async || alice.get(&room(&game, "")).await;
    // Many at once need one.
    let crowd = crowd(&server, &service, 40).await;
    let all = crowd.iter().map(|(player, game)| async move { player.get(&room(game, "")).await });
    for reply in join_all(all).await {
        reply.expect(200);
    }
    assert_eq!(tokens(), 1);
    service.state.lock().unwrap().revoked = 1;
    joins().await.expect(200);
    assert_eq!(tokens(), 2);
    server.clock.advance(std::time::Duration::from_secs(2_999));
    joins().await.expect(200);
    assert_eq!(tokens(), 2);
    server.clock.advance(std::time::Duration::from_secs(1));
    joins().await.expect(200);
    assert_eq!(tokens(), 3);
    // A service that refuses every token is asked for one more, and no further ones.
    service.state.lock().unwrap().revoked = u32::MAX;
    joins().await.refused(503, "voice_unavailable");
    assert_eq!(tokens(), 4);
}

#[tokio::test]
async fn a_service_that_fails_is_503_and_harms_nothing_else() {
    let service = EpicService::start().await;
    let server = with_epic(&service, |_| {});
    let (alice, _, game) = game(&server).await;
    service.state.lock().unwrap().accounts.push((alice.player.to_string(), PUID.into()));
    for rooms in [
        Rooms::Refusing(403),
        Rooms::Refusing(500),
        Rooms::Broken,
        Rooms::Dropping,
        Rooms::Large,
        Rooms::Redirecting,
        Rooms::Foreign,
    ] {
        service.state.lock().unwrap().rooms = rooms;
        let refused = alice.get(&room(&game, "")).await.refused(503, "voice_unavailable");
        assert_eq!(refused.headers["retry-after"], "2", "{rooms:?}");
        assert!(!refused.body.to_string().contains("access-"), "{}", refused.body);
    }
    assert!(service.asked("/rtc/").iter().all(|asked| !asked.path.ends_with("-moved")));
    // More players than calls at once wait for a service that never answers. Nobody else does.
    let crowd = crowd(&server, &service, 20).await;
    {
        let mut state = service.state.lock().unwrap();
        (state.rooms, state.silent) = (Rooms::Open, Some("/rtc/"));
    }
    let joins = crowd.iter().map(|(player, game)| async move { player.get(&room(game, "")).await });
    let mut waiting = pin!(join_all(joins));
    let reading = async {
        for _ in 0..20 {
            alice.session(&game).await.expect(200);
        }
        while service.open_rooms_max() < CALLS_MAX {
            tokio::task::yield_now().await;
        }
    };
    select! {
        biased;
        _ = &mut waiting => panic!("the reads have waited for the service"),
        () = reading => {}
    }
    let refused = waiting.await;
    assert_eq!(service.open_rooms_max(), CALLS_MAX);
    for reply in refused {
        reply.refused(503, "voice_unavailable");
    }
    service.state.lock().unwrap().silent = None;
    alice.get(&room(&game, "")).await.expect(200);
    // A service that is gone.
    let gone = with_epic(&EpicService::start().await, |_| {});
    let (carol, _, game) = self::game(&gone).await;
    carol.get(&room(&game, "")).await.refused(503, "voice_unavailable");
}

#[tokio::test]
async fn a_client_that_epic_does_not_know_gets_503() {
    let service = EpicService::start().await;
    service.state.lock().unwrap().refuses_clients = true;
    let server = with_epic(&service, |_| {});
    let (alice, _, game) = game(&server).await;
    let refused = async || alice.get(&room(&game, "")).await.refused(503, "voice_unavailable");
    refused().await;
    // It is not asked again for each player.
    refused().await;
    assert_eq!(service.asked("/auth/").len(), 1);
    server.clock.advance(std::time::Duration::from_secs(5));
    refused().await;
    assert_eq!(service.asked("/auth/").len(), 2);
}

#[tokio::test]
async fn who_a_player_is_at_epic_must_be_proved() {
    let service = EpicService::start().await;
    let server = with_epic(&service, |epic| epic.openid_lookup = false);
    let (alice, _, game) = game(&server).await;
    alice.get(&room(&game, "")).await.refused(403, "epic_identity_unknown");
    alice.get(&room(&game, "&connect_id_token=x")).await.refused(403, "epic_identity_unknown");
    assert!(service.asked("/").is_empty(), "nothing is asked of Epic for a stranger");
    let server = with_epic(&service, |_| {});
    let (alice, bob, game) = self::game(&server).await;
    alice.get(&room(&game, "")).await.refused(403, "epic_identity_unknown");
    service.state.lock().unwrap().accounts.push((bob.player.to_string(), PUID.into()));
    alice.get(&room(&game, "")).await.refused(403, "epic_identity_unknown");
    bob.get(&room(&game, "")).await.expect(200);
    let outsider = server.player();
    outsider.get(&room(&game, "")).await.refused(403, "not_active_in_session");
    outsider.get(&room("none", "")).await.refused(404, "session_not_found");
}

#[tokio::test]
async fn a_claim_of_the_players_own_token_says_who_the_player_is() {
    let service = EpicService::start().await;
    let server = with_epic(&service, |epic| {
        (epic.puid_claim, epic.openid_lookup) = (Some("epic_puid".into()), false);
    });
    let secret = [7; 32];
    for node in server.nodes() {
        node.ring.replace(KeySet::shared_secret("studio", &secret));
    }
    let signed = |puid: Value| {
        let header = Header { kid: Some("studio".into()), ..Header::new(Algorithm::HS256) };
        let player = uuid::Uuid::from_u128(7);
        let claims = json!({
            "sub": player, "permissions": player_permissions(), "exp": server.clock.now().as_second() + 60,
            "epic_puid": puid,
        });
        let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&secret)).unwrap();
        Client { player, ..server.bearer(token) }
    };
    let alice = signed(json!(PUID));
    let game = alice.creates("game").await;
    assert_eq!(alice.get(&room(&game, "")).await.expect(200).body["product_user_id"], json!(PUID));
    for other in [json!(null), json!(7), json!("a/b"), json!("a".repeat(65))] {
        signed(other).get(&room(&game, "")).await.refused(403, "epic_identity_unknown");
    }
}
