//! The login for development.

/// Each way to log in: answers and refusals.
mod grants;
/// The public key, and the check of a token.
mod keys;
/// Rate limits, and what is compared.
mod limits;
/// Look-ups of players who have logged in.
mod players;
/// Refresh tokens, and logging out.
mod refresh;
/// Requests that may come from elsewhere.
mod this_machine;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use rallypoint::config::{Config, HashText, LoginClient, LoginUser, UserKind};
use serde_json::{Value, json};

use crate::harness::{Client, Reply, Server};

/// The prefix of these operations.
pub const USERS: &str = "/users";
/// The hash of `secret`, with the least memory, so that tests are quick.
const QUICK_HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$QQCd8VPOryZiCF3MtwQnPTK7odKCaPcXJGplgNEuj1A";

/// A caller of the login, without a token.
fn anonymous(server: &Server) -> Client {
    server.anonymous().on(USERS)
}

/// The header for a client's id and secret.
fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// Logs in with a body, and perhaps an `Authorization` header.
async fn login(server: &Server, body: &Value, authorization: Option<&str>) -> Reply {
    let header = authorization.map(|value| ("authorization", value));
    let body = Some(body.to_string().into());
    anonymous(server).send(Method::POST, "/v1/login", header.as_slice(), body).await
}

/// Logs a player in by name alone, with a refresh token.
async fn anon(server: &Server, name: &str) -> Reply {
    let body = json!({
        "grant_type": "anon", "portal_access_token": name, "portal_display_name": name, "include_refresh": true,
    });
    login(server, &body, None).await.expect(200)
}

/// Uses a refresh token.
async fn refresh(server: &Server, token: &str) -> Reply {
    login(server, &json!({ "grant_type": "refresh", "portal_access_token": token }), None).await
}

fn text<'a>(reply: &'a Reply, field: &str) -> &'a str {
    reply.body[field].as_str().unwrap_or_else(|| panic!("{field} is no text in {}", reply.body))
}

/// Asserts a refused login with this code, in the contract's form.
#[track_caller]
fn refused(reply: &Reply, code: &str) {
    assert_eq!((reply.status.as_u16(), text(reply, "error_code")), (403, code), "{}", reply.body);
    let expected = json!({
        "auth_success": false, "error_code": code, "desc": reply.body["desc"], "needs_eula": false,
        "needs_tos": false, "needs_privacy_policy": false, "restrictions": [],
    });
    assert_eq!(reply.body, expected);
    assert_eq!(reply.headers["x-rallypoint-login"], "development");
}

/// Adds a user whose password is `secret`.
fn add_user(config: &mut Config, name: &str, kind: UserKind) {
    let user =
        LoginUser { password_hash: HashText(QUICK_HASH.into()), kind, display_name: None, permissions: None };
    config.login.users.insert(name.into(), user);
}

/// Adds a client with a secret.
fn add_client(config: &mut Config, id: &str, secret: &str) {
    let hash = rallypoint::app::login::SecretHash::of(secret).to_string();
    let client = LoginClient { secret_hash: HashText(hash), permissions: None };
    config.login.clients.insert(id.into(), client);
}
