//! The requests, byte for byte, with tokens as a token service signs them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rallypoint::domain::PlayerUuid;
use rallypoint::domain::session::join::Joiner;
use rallypoint::env::Clock;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::sessions::{GAME, PARTY, PLATFORM, Which};

/// Length of a player's token in bytes: typical of real token services.
const TOKEN_BYTES: std::ops::Range<usize> = 580..620;
/// Listings on a page of the browser.
pub const BROWSER_PAGE_SIZE: usize = 20;

/// Permissions of a player's token.
const PERMISSIONS: [&str; 8] = [
    "session:create",
    "session:read:browser",
    "session:read:self",
    "session:read:platform",
    "session:read-player:self",
    "session:update:self",
    "session:update-player:self",
    "session:update:platform",
];

/// Permissions of a token for long polls, of about as many bytes.
const LISTENER_PERMISSIONS: [&str; 8] = [
    "notification:player:self:read",
    "session:create",
    "session:read:browser",
    "session:read:self",
    "session:read:platform",
    "session:read-player:self",
    "session:update:self",
    "session:update:platform",
];

/// The signing key, which is public: RFC 7515, appendix A.3.
const KEY: &str = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI";
const KEY_X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const KEY_Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
const KEY_ID: &str = "bench";
/// The PKCS #8 header before the bytes of the key.
const PKCS8_PREFIX: &[u8] =
    b"\x30\x41\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\
    \xce\x3d\x03\x01\x07\x04\x27\x30\x25\x02\x01\x01\x04\x20";

/// What the text of a request has in place of its key. Each time that the request is sent, the key is another one.
pub const KEY_PLACEHOLDER: &str = "{a-key-of-32-hexadecimal-digits}";
/// What the text of a request has in place of the ETag of the last answer about the same session.
pub const ETAG_PLACEHOLDER: &str = "{etag}";

/// A request as it goes over the wire, and the expected status.
#[derive(Clone, Serialize, Deserialize)]
pub struct Request {
    pub text: String,
    pub status: u16,
    /// Whether the text has a placeholder.
    #[serde(default)]
    pub is_template: bool,
}

/// The JWK Set to verify the tokens with.
pub fn jwks() -> String {
    let key = json!({
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": KEY_ID, "x": KEY_X, "y": KEY_Y,
    });
    json!({ "keys": [key] }).to_string()
}

fn sign(claims: &Value) -> String {
    let key = EncodingKey::from_ec_der(&[PKCS8_PREFIX, &URL_SAFE_NO_PAD.decode(KEY).unwrap()].concat());
    let header = Header { kid: Some(KEY_ID.into()), ..Header::new(Algorithm::ES256) };
    jsonwebtoken::encode(&header, claims, &key).unwrap()
}

/// The token of a player.
pub fn token(player: PlayerUuid) -> String {
    token_with(player, &PERMISSIONS)
}

/// The token of a player who reads sessions and sends long polls.
pub fn listener_token(player: PlayerUuid) -> String {
    token_with(player, &LISTENER_PERMISSIONS)
}

fn token_with(player: PlayerUuid, permissions: &[&str]) -> String {
    let now_s = Clock::System.now().as_second();
    let token = sign(&json!({
        "iss": "https://tokens.example.com", "aud": "sessions", "iat": now_s, "exp": now_s + 3600,
        "sub": player, "platform": PLATFORM, "permissions": permissions.join(" "),
    }));
    assert!(TOKEN_BYTES.contains(&token.len()), "a token has {} bytes", token.len());
    token
}

/// The token of a caller who may read every session and is in none.
pub fn reader_token() -> String {
    let now_s = Clock::System.now().as_second();
    sign(&json!({ "exp": now_s + 3600, "permissions": "session:read:any session:read:platform" }))
}

/// A request as Unreal's HTTP client writes it.
fn request(method: &str, path: &str, token: &str, more: &str, body: &str) -> String {
    format!(
        "{method} /session/{path} HTTP/1.1\r\nHost: sessions.example.com\r\nAccept: application/json\r\n\
         Accept-Encoding: deflate, gzip\r\nUser-Agent: Game/1.0.0 (http-legacy) Windows/10.0.22631.1.768.64bit\r\n\
         Authorization: Bearer {token}\r\n{more}\r\n{body}"
    )
}

fn get(path: &str, token: &str) -> Request {
    Request::new(request("GET", path, token, "", ""), 200)
}

fn post(path: &str, token: &str, body: &Value) -> Request {
    let body = body.to_string();
    let more = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    Request::new(request("POST", path, token, &more, &body), 200)
}

fn delete(path: &str, token: &str) -> Request {
    Request::new(request("DELETE", path, token, "", ""), 204)
}

impl Request {
    pub fn new(text: String, status: u16) -> Self {
        Self { text, status, is_template: false }
    }

    /// The same request with further header lines, each with its end.
    fn with(&self, lines: &str, status: u16) -> Self {
        Self::new(self.text.replacen("\r\n\r\n", &format!("\r\n{lines}\r\n"), 1), status)
    }

    /// The same request with `If-None-Match: etag`, which is answered 304.
    pub fn unless(&self, etag: &str) -> Self {
        self.with(&format!("If-None-Match: {etag}\r\n"), 304)
    }

    /// The same request, held for up to `wait_s` seconds until the ETag differs.
    pub fn waiting(&self, etag: &str, wait_s: u64) -> Self {
        self.with(&format!("If-None-Match: {etag}\r\nPrefer: wait={wait_s}\r\n"), self.status)
    }

    /// The long poll that the published client sends, with the token of this request.
    pub fn as_long_poll(&self) -> Self {
        let (_, head) = self.text.split_once(" HTTP/1.1").unwrap();
        let query = "exclude_before=&offset_reset_strategy=latest&deadline=25";
        let path = format!("/notification/v1/player/me/stream/notification/lp?{query}");
        Self::new(format!("GET {path} HTTP/1.1{head}"), 200)
    }

    /// The same request with `Idempotency-Key: key`.
    pub fn with_key(&self, key: &str) -> Self {
        self.with(&format!("Idempotency-Key: \"{key}\"\r\n"), self.status)
    }

    /// The same request with a new key each time.
    pub fn with_new_keys(&self) -> Self {
        Self { is_template: true, ..self.with_key(KEY_PLACEHOLDER) }
    }

    /// The same request with `If-Match` and a tag that does not match.
    pub fn if_stale(&self) -> Self {
        self.with("If-Match: \"stale\"\r\n", 412)
    }

    /// The same request with `If-Match` and the ETag of the answer before.
    pub fn if_unchanged(&self) -> Self {
        let request = self.with(&format!("If-Match: {ETAG_PLACEHOLDER}\r\n"), self.status);
        Self { is_template: true, ..request }
    }

    /// The same request with an empty query, so that the fast path declines it.
    pub fn by_normal_path(&self) -> Self {
        Self::new(self.text.replacen(" HTTP/1.1", "? HTTP/1.1", 1), self.status)
    }
}

/// Get Platform Session Info.
pub fn platform_session(which: Which, token: &str) -> Request {
    get(&format!("v1/platform/{PLATFORM}/platform-session/{}", which.platform_session_id().as_str()), token)
}

/// Get Session.
pub fn session(which: Which, token: &str) -> Request {
    get(&format!("v1/session/{}", which.id()), token)
}

/// The page of a session's players after the cursor.
pub fn players(which: Which, token: &str, cursor: u64) -> Request {
    get(&format!("v1/session/{}/player?cursor={cursor}", which.id()), token)
}

/// The list of a player's sessions.
pub fn own_sessions(token: &str) -> Request {
    get("v1/player/me/session", token)
}

/// A page of the browser that begins with this session.
pub fn browser(which: Which, token: &str) -> Request {
    let cursor = which.sequence() - 1;
    get(&format!("v1/browser?session_type={GAME}&cursor={cursor}&page_size={BROWSER_PAGE_SIZE}"), token)
}

/// A player joins a session and leaves it.
pub fn join_and_leave(which: Which, joiner: Joiner) -> [Request; 2] {
    let path = format!("v1/session/{}/player/me", which.id());
    let token = token(joiner.player);
    let client = joiner.client.unwrap();
    let body = json!({
        "status": "member", "team_id": joiner.team_id, "client_version": client.version,
        "client_settings": { "platform": client.platform, "input": client.input },
        "custom_data": joiner.custom_data,
    });
    [post(&path, &token, &body), delete(&path, &token)]
}

/// A player creates a party.
pub fn create(token: &str) -> Request {
    let body = json!({
        "session_type": PARTY, "client_version": "1.0.0",
        "client_settings": { "platform": PLATFORM, "input": "gamepad" },
    });
    post("v1/session", token, &body)
}

/// The player links platform session number `number` to the session.
pub fn link(id: &str, number: u64, token: &str) -> Request {
    let platform_session = URL_SAFE_NO_PAD.encode(format!("{number:048}"));
    let path = format!("v1/platform/{PLATFORM}/platform-session/{platform_session}/session/{id}");
    post(&path, token, &json!({}))
}

/// The leader joins a queue with the party.
pub fn join_queue(which: Which, queue: &str, token: &str) -> Request {
    post(&format!("v1/session/{}/queue", which.id()), token, &json!({ "queue_id": queue }))
}

/// The leader joins a queue with the party, and leaves it.
pub fn join_and_leave_queue(which: Which, queue: &str) -> [Request; 2] {
    let token = token(which.player(1));
    [join_queue(which, queue, &token), delete(&format!("v1/session/{}/queue", which.id()), &token)]
}

/// The player leaves the session, which ends it.
pub fn leave(id: &str, token: &str) -> Request {
    delete(&format!("v1/session/{id}/player/me"), token)
}

/// The metrics of a server, from its admin listener.
pub fn metrics() -> Request {
    Request::new("GET /metrics HTTP/1.1\r\nHost: admin.example.com\r\n\r\n".into(), 200)
}

/// The leader replaces the session's custom data.
pub fn change(which: Which, number: u64, token: &str) -> Request {
    let body = json!({ "custom_data": { "number": number.to_string() } }).to_string();
    let more = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    Request::new(request("PATCH", &format!("v1/session/{}", which.id()), token, &more, &body), 200)
}

/// The leader invites a player and revokes the invite.
pub fn invite_and_revoke(which: Which) -> [Request; 2] {
    let (token, invited) = (token(which.player(1)), which.invited());
    let path = format!("session/{}/player/{}", which.id(), invited.player);
    let body = json!({ "team_id": invited.team_id, "custom_data": invited.custom_data });
    [post(&format!("v2/{path}:invite"), &token, &body), delete(&format!("v1/{path}"), &token)]
}

/// The leader moves the second player to the other team and back.
pub fn move_there_and_back(which: Which) -> [Request; 2] {
    let (token, moved) = (token(which.player(1)), which.joiner(2));
    let path = format!("v2/session/{}/player/{}:move", which.id(), moved.player);
    let here = moved.team_id.unwrap();
    [1 - here, here].map(|team_id| post(&path, &token, &json!({ "team_id": team_id })))
}
