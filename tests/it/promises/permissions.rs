//! Permissions of every operation: called without a token, with an invalid token, and with each single permission.
//! The result is a snapshot file. If an operation accepts more callers than before, a line of that file changes.

use std::fmt::Write as _;

use expect_test::expect_file;
use http::Method;
use rallypoint::auth::{Permission, TokenError};
use rallypoint::http::Error;
use rallypoint::http::error_format::ErrorFormat;
use rallypoint::http::operation::Operation;
use rallypoint::runtime::server::all_surfaces;
use serde_json::{Value, json};
use uuid::Uuid;

use super::contract::shown_prefix;
use crate::harness::{Client, Reply, Server, XBOX_ID};

/// An operation with what it has from its surface.
struct Row {
    prefix: &'static str,
    errors: ErrorFormat,
    operation: Operation,
}

/// Every operation of every surface.
fn rows() -> Vec<Row> {
    let surfaces =
        all_surfaces().into_iter().map(|surface| (surface.prefix, surface.errors, surface.operations));
    let rows = surfaces.flat_map(|(prefix, errors, operations)| {
        operations.into_iter().map(move |operation| Row { prefix, errors, operation })
    });
    rows.collect()
}

/// Every operation that needs a token.
fn rows_with_tokens() -> Vec<Row> {
    rows().into_iter().filter(|row| !row.operation.policy.is_public()).collect()
}

impl Row {
    /// The error code of a failure, as the surface spells it.
    fn code(&self, error: &Error) -> String {
        let body: Value = serde_json::from_slice(&(self.errors.answer)(error).body).unwrap();
        body["error_code"].as_str().unwrap().to_owned()
    }

    /// The error codes for tokens that grant too little.
    fn codes_of_denials(&self) -> [String; 2] {
        let denied = Error::PermissionDenied(self.operation.policy.enough());
        [self.code(&denied), self.code(&Error::PlayerRequired)]
    }

    /// Calls the operation for this player.
    async fn call(&self, caller: &Client, player: Uuid) -> Reply {
        let (method, path) = (self.operation.method.clone(), path(&self.operation, player));
        // The input is checked before the player whom the operation acts on.
        let body = match self.operation.id {
            "player_create_notification_self" | "player_create_notification" => {
                r#"{"notifications":[{"message":""}]}"#
            }
            // A body that does not fit is refused first.
            _ => "{}",
        };
        caller.on(self.prefix).send(method, &path, &[], Some(body.into())).await
    }
}

/// The path of the operation, with this player and with a session that does not exist.
fn path(operation: &Operation, player: Uuid) -> String {
    let path =
        operation.path.replace("{platform}", "XboxLive").replace("{platform_session_id_base64}", XBOX_ID);
    let path = path.replace("{session_id}", "none").replace("{session_type}", "party");
    let path = path.replace("{player_uuid}", &player.to_string()).replace("{player_id}", "7");
    let path = path.replace("{invited_session_id}", "none").replace("{kicked_session_id}", "none");
    let path = path.replace("{permission}", "kick").replace("{team_id}", "0");
    let path = path.replace("{allocation_id}", "none").replace("{match_id}", "none");
    let path = path.replace("{key_id}", "none").replace("{notification_id}", "none");
    let uuid = Uuid::nil().to_string();
    let path = path.replace("{instance_request_template_id}", &uuid);
    let path = path.replace("{instance_launch_template_id}", &uuid);
    let path = path.replace("{template_group_id}", &uuid).replace("{deserter_id}", "none");
    let path = path.replace("{match_making_profile_id}", "none").replace("{vivox_action}", "kick");
    let is_of_room = path.contains("/player/") && path.contains("/voip/");
    let path = if is_of_room { path + "?voip_session_type=session" } else { path };
    assert!(!path.contains('{'), "name a value for the parameter in {path}");
    path
}

/// The error code if the operation refuses the caller because of token or permissions; `None` if it gets further.
async fn refusal(row: &Row, caller: &Client, player: Uuid) -> Option<String> {
    let reply = row.call(caller, player).await;
    let code = reply.body["error_code"].as_str().unwrap_or_default().to_owned();
    let is_denial = row.codes_of_denials().contains(&code);
    if reply.body["auth_success"] != json!(false) && !is_denial {
        return None;
    }
    assert_eq!(reply.status.as_u16(), 403, "{}", reply.body);
    assert_eq!(reply.body["auth_success"], json!(is_denial), "{}", reply.body);
    Some(code)
}

#[tokio::test]
async fn every_operation_refuses_callers_without_a_valid_token() {
    let server = Server::with_every_surface();
    let forged = server.player().token.unwrap() + "x";
    for row in &rows_with_tokens() {
        let id = row.operation.id;
        let refused = refusal(row, &server.anonymous(), Uuid::nil()).await;
        assert_eq!(refused, Some(row.code(&Error::TokenMissing)), "{id}");
        for (token, why) in [
            (forged.as_str(), TokenError::Signature),
            ("x", TokenError::Malformed),
            ("a.b.c", TokenError::Malformed),
        ] {
            let refused = refusal(row, &server.bearer(token), Uuid::nil()).await;
            assert_eq!(refused, Some(row.code(&Error::TokenInvalid(why))), "{id}");
        }
        let refused = refusal(row, &server.player_with(None, &[]), Uuid::nil()).await;
        let denied = row.operation.policy.needs_permission().then(|| row.codes_of_denials()[0].clone());
        assert_eq!(refused, denied, "{id}");
    }
}

#[tokio::test]
async fn a_public_operation_asks_nobody_for_a_token() {
    let server = Server::with_every_surface();
    for row in rows().iter().filter(|row| row.operation.policy.is_public()) {
        for caller in [server.anonymous(), server.bearer("x"), server.player_with(None, &[])] {
            let code = row.call(&caller, Uuid::nil()).await.body["error_code"].clone();
            let denials =
                [row.code(&Error::TokenMissing), row.code(&Error::TokenInvalid(TokenError::Malformed))];
            let is_denied = denials.into_iter().chain(row.codes_of_denials()).any(|denial| code == denial);
            assert!(!is_denied, "{}: {code}", row.operation.id);
        }
    }
}

/// The permissions that a refusal names as enough; `None` if the operation does not refuse for lack of permission.
async fn enough(row: &Row, caller: &Client, player: Uuid) -> Option<String> {
    let reply = row.call(caller, player).await;
    let denied = reply.body["error_code"] == json!(row.codes_of_denials()[0]);
    let said = denied.then(|| reply.body["desc"].as_str().unwrap().to_owned())?;
    Some(said.split_once(": any of ").unwrap_or_else(|| panic!("{said}")).1.to_owned())
}

#[tokio::test]
async fn a_refusal_names_the_permissions_that_would_be_enough() {
    let server = Server::with_every_surface();
    let names = |permissions: &[Permission]| -> Vec<_> {
        permissions.iter().map(|permission| permission.name()).collect()
    };
    let (nobody, mut own_only) = (server.player_with(None, &[]), 0);
    for row in rows_with_tokens().iter().filter(|row| row.operation.policy.needs_permission()) {
        let operation = &row.operation;
        let (any, own) = (names(operation.policy.any_of()), names(operation.policy.own_of()));
        let named = enough(row, &nobody, nobody.player).await;
        assert_eq!(named, Some([&any[..], &own].concat().join(", ")), "{}", operation.id);
        // If the caller acts on another player, the refusal does not name permissions for the caller's own player.
        let own_permissions_only = server.player_with(None, &own);
        if let Some(named) = enough(row, &own_permissions_only, Uuid::nil()).await.filter(|_| !own.is_empty())
        {
            assert_eq!(named, any.join(", "), "{}", operation.id);
            own_only += 1;
        }
    }
    assert!(own_only >= 3, "only {own_only} operations distinguish the caller from other players");
}

#[tokio::test]
async fn the_permission_matrix_matches_the_snapshot() {
    let server = Server::with_every_surface();
    let mut matrix = String::from(
        "# Which single permission lets whom call what. `self` acts on the caller's own player, `other` on another\n\
         # player, `service` is a token without a player, `public` needs no token,\n\
         # `any token` no permission. Rewritten by UPDATE_EXPECT=1 cargo test; read every change.\n",
    );
    let callers: Vec<_> = Permission::ALL
        .iter()
        .map(|permission| {
            let names = [permission.name()];
            (permission, server.player_with(None, &names), server.service(&names))
        })
        .collect();
    for row in &rows() {
        let Row { prefix, operation, .. } = row;
        let shown = shown_prefix(prefix);
        writeln!(matrix, "\n{} {shown}{} ({})", operation.method, operation.path, operation.id).unwrap();
        if operation.policy.is_public() {
            writeln!(matrix, "  public").unwrap();
            continue;
        }
        if !operation.policy.needs_permission() {
            let nothing = server.service(&[]);
            let who = if refusal(row, &nothing, Uuid::nil()).await.is_none() { "" } else { " of a player" };
            writeln!(matrix, "  any token{who}").unwrap();
            continue;
        }
        let (mut oneself, mut other, mut service) = (Vec::new(), Vec::new(), Vec::new());
        for (permission, player, serving) in &callers {
            if refusal(row, player, player.player).await.is_none() {
                oneself.push(permission.name());
            }
            if refusal(row, player, Uuid::nil()).await.is_none() {
                other.push(permission.name());
            }
            if refusal(row, serving, Uuid::nil()).await.is_none() {
                service.push(permission.name());
            }
        }
        let lines = [("self", oneself), ("other", other), ("service", service)];
        for (who, permissions) in lines {
            writeln!(matrix, "  {who:8}{}", permissions.join(", ")).unwrap();
        }
    }
    expect_file!["../permissions.txt"].assert_eq(&matrix);
}

#[tokio::test]
async fn a_token_is_read_from_the_header_or_the_cookie() {
    let server = Server::with(|config| config.auth.cookie = "session_token".into());
    let token = server.player().token.unwrap();
    let anonymous = server.anonymous();
    let get = async |name: &str, value: String| {
        anonymous.send(Method::GET, "/v1/player/me/session", &[(name, &value)], None).await.status.as_u16()
    };
    assert_eq!(get("authorization", format!("Bearer {token}")).await, 200);
    assert_eq!(get("authorization", format!("bearer {token}")).await, 200);
    assert_eq!(get("cookie", format!("a=b; session_token={token}")).await, 200);
    assert_eq!(get("cookie", format!("access_token={token}")).await, 403);
    assert_eq!(get("authorization", format!("Basic {token}")).await, 403);
    let cookie = format!("session_token={token}");
    for (scheme, status) in [("Basic xyz", 200), ("Bearer xyz", 403), ("Bearer", 403)] {
        let headers = [("authorization", scheme), ("cookie", cookie.as_str())];
        let reply = anonymous.send(Method::GET, "/v1/player/me/session", &headers, None).await;
        assert_eq!(reply.status.as_u16(), status, "{scheme}");
    }
}

#[tokio::test]
async fn a_token_is_valid_until_it_expires() {
    let server = Server::new();
    let alice = server.player();
    alice.get("/v1/player/me/session").await.expect(200);
    server.clock.advance(std::time::Duration::from_secs(3604));
    alice.get("/v1/player/me/session").await.expect(200);
    server.clock.advance(std::time::Duration::from_secs(1));
    let ended = alice.get("/v1/player/me/session").await.expect(403);
    assert_eq!(
        (&ended.body["auth_success"], &ended.body["error_code"]),
        (&json!(false), &json!("token_invalid"))
    );
}
