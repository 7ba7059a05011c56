//! What is asked: requests byte for byte, with tokens as a token service signs them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rallypoint::api::platform_view::platform_document;
use rallypoint::app::Live;
use rallypoint::document::Document;
use rallypoint::domain::PlayerUuid;
use rallypoint::env::Clock;
use rallypoint::store::Version;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::sessions::{PLATFORM, Sessions, newcomer, platform_session_id, player};

/// Connections of the load, and callers of the bare store.
pub const CALLERS: u64 = 64;
/// Sessions that each of them asks for in turn: a thousand in all, each with a player and token of its own.
pub const SESSIONS_EACH: u64 = 16;
/// Length that a token shall have, bytes: as those of token services in the field.
const TOKEN_BYTES: std::ops::Range<usize> = 580..620;

/// Permissions of a player's token.
const PERMISSIONS: [&str; 8] = [
    "session:create",
    "session:read:config",
    "session:read:self",
    "session:read:platform",
    "session:read-player:self",
    "session:update:self",
    "session:update-player:self",
    "session:update:platform",
];

/// A signing key that is no secret: RFC 7515, appendix A.3.
const KEY: &str = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI";
const KEY_X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const KEY_Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
const KEY_ID: &str = "bench";
/// What stands before the key's own bytes in PKCS #8.
const PKCS8_PREFIX: &[u8] =
    b"\x30\x41\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\
    \xce\x3d\x03\x01\x07\x04\x27\x30\x25\x02\x01\x01\x04\x20";

/// A request as it goes over the wire, and the status it is answered with.
#[derive(Clone, Serialize, Deserialize)]
pub struct Request {
    pub text: String,
    pub status: u16,
}

/// The JWK Set to verify the tokens with.
pub fn jwks() -> String {
    let key = json!({
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": KEY_ID, "x": KEY_X, "y": KEY_Y,
    });
    json!({ "keys": [key] }).to_string()
}

/// The number of the session that a caller asks for at a turn: spread evenly over all that are stored.
pub fn asked_for(caller: u64, turn: u64, stored: u64) -> u64 {
    (caller * SESSIONS_EACH + turn) * (stored / (CALLERS * SESSIONS_EACH))
}

/// The document of a session's platform session.
pub fn document(sessions: &Sessions, number: u64) -> Document {
    let live = Live::new(sessions.session(number), Version(0), Default::default());
    platform_document(&live, PLATFORM).unwrap().clone()
}

fn token(player: PlayerUuid) -> String {
    let key = EncodingKey::from_ec_der(&[PKCS8_PREFIX, &URL_SAFE_NO_PAD.decode(KEY).unwrap()].concat());
    let header = Header { kid: Some(KEY_ID.into()), ..Header::new(Algorithm::ES256) };
    let now_s = Clock::System.now().as_second();
    let claims = json!({
        "iss": "https://tokens.example.com", "aud": "sessions", "iat": now_s, "exp": now_s + 3600,
        "sub": player, "platform": PLATFORM, "permissions": PERMISSIONS.join(" "),
    });
    let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
    assert!(TOKEN_BYTES.contains(&token.len()), "a token has {} bytes", token.len());
    token
}

/// A request as Unreal's HTTP client spells it.
fn request(method: &str, path: &str, token: &str, more: &str, body: &str) -> String {
    format!(
        "{method} /session/v1/{path} HTTP/1.1\r\nHost: sessions.example.com\r\nAccept: application/json\r\n\
         Accept-Encoding: deflate, gzip\r\nUser-Agent: Game/1.0.0 (http-legacy) Windows/10.0.22631.1.768.64bit\r\n\
         Authorization: Bearer {token}\r\n{more}\r\n{body}"
    )
}

/// Get Platform Session Info by a member; with the ETag of the document where `known`.
pub fn get(sessions: &Sessions, number: u64, known: bool) -> Request {
    let path = format!("platform/{PLATFORM}/platform-session/{}", platform_session_id(number).as_str());
    let condition = || format!("If-None-Match: {}\r\n", document(sessions, number).etag.to_str().unwrap());
    let more = if known { condition() } else { String::new() };
    let text = request("GET", &path, &token(player(number)), &more, "");
    Request { text, status: if known { 304 } else { 200 } }
}

/// The newcomer joins a session, and leaves it.
pub fn join_and_leave(sessions: &Sessions, number: u64) -> [Request; 2] {
    let path = format!("session/{}/player/me", sessions.session(number).id);
    let newcomer = newcomer(number);
    let token = token(newcomer.player);
    let client = newcomer.client.unwrap();
    let body = json!({
        "status": "member", "team_id": newcomer.team_id, "client_version": client.version,
        "client_settings": { "platform": client.platform, "input": client.input },
        "custom_data": newcomer.custom_data,
    });
    let body = body.to_string();
    let more = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    [
        Request { text: request("POST", &path, &token, &more, &body), status: 200 },
        Request { text: request("DELETE", &path, &token, "", ""), status: 204 },
    ]
}
