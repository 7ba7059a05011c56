//! Permissions of every operation: called without a token, with an invalid token, and with each single permission.
//! The result is a snapshot file. If an operation accepts more callers than before, a line of that file changes.

use std::fmt::Write as _;

use expect_test::expect_file;
use http::Method;
use rallypoint::auth::Permission;
use rallypoint::http::operation::Operation;
use serde_json::json;
use uuid::Uuid;

use crate::harness::{Client, Server, XBOX_ID};

/// The path of the operation, with this player and with a session that does not exist.
fn path(operation: &Operation, player: Uuid) -> String {
    let path =
        operation.path.replace("{platform}", "XboxLive").replace("{platform_session_id_base64}", XBOX_ID);
    let path = path.replace("{session_id}", "none").replace("{session_type}", "party");
    let path = path.replace("{player_uuid}", &player.to_string()).replace("{player_id}", "7");
    let path = path.replace("{invited_session_id}", "none").replace("{kicked_session_id}", "none");
    let path = path.replace("{permission}", "kick").replace("{team_id}", "0");
    let path = path.replace("{allocation_id}", "none");
    let uuid = Uuid::nil().to_string();
    let path = path.replace("{instance_request_template_id}", &uuid);
    let path = path.replace("{instance_launch_template_id}", &uuid);
    assert!(!path.contains('{'), "name a value for the parameter in {path}");
    path
}

/// The error code if the operation refuses the caller because of token or permissions; `None` if it gets further.
async fn refusal(operation: &Operation, caller: &Client, player: Uuid) -> Option<String> {
    let body = Some("{}".into());
    let reply = caller.send(operation.method.clone(), &path(operation, player), &[], body).await;
    let code = reply.body["error_code"].as_str().unwrap_or_default().to_owned();
    let who = ["token_missing", "token_invalid", "permission_denied", "player_required"];
    if !who.contains(&code.as_str()) {
        return None;
    }
    assert_eq!(reply.status.as_u16(), 403, "{}", reply.body);
    assert_eq!(reply.body["auth_success"], json!(!code.starts_with("token_")), "{}", reply.body);
    Some(code)
}

#[tokio::test]
async fn every_operation_refuses_callers_without_a_valid_token() {
    let server = Server::new();
    let forged = server.player().token.unwrap() + "x";
    for operation in server.pipeline.operations() {
        let refused = refusal(operation, &server.anonymous(), Uuid::nil()).await;
        assert_eq!(refused.as_deref(), Some("token_missing"), "{}", operation.id);
        for token in [forged.as_str(), "x", "a.b.c"] {
            let refused = refusal(operation, &server.bearer(token), Uuid::nil()).await;
            assert_eq!(refused.as_deref(), Some("token_invalid"), "{}", operation.id);
        }
        let refused = refusal(operation, &server.player_with(None, &[]), Uuid::nil()).await;
        assert_eq!(refused.as_deref(), Some("permission_denied"), "{}", operation.id);
    }
}

/// The permissions that a refusal names as enough; `None` if the operation does not refuse for lack of permission.
async fn enough(operation: &Operation, caller: &Client, player: Uuid) -> Option<String> {
    let body = Some("{}".into());
    let reply = caller.send(operation.method.clone(), &path(operation, player), &[], body).await;
    let denied = reply.body["error_code"] == json!("permission_denied");
    let said = denied.then(|| reply.body["desc"].as_str().unwrap().to_owned())?;
    Some(said.split_once(": any of ").unwrap_or_else(|| panic!("{said}")).1.to_owned())
}

#[tokio::test]
async fn a_refusal_names_the_permissions_that_would_be_enough() {
    let server = Server::new();
    let names = |permissions: &[Permission]| -> Vec<_> {
        permissions.iter().map(|permission| permission.name()).collect()
    };
    let (nobody, mut own_only) = (server.player_with(None, &[]), 0);
    for operation in server.pipeline.operations() {
        let (any, own) = (names(operation.policy.any_of()), names(operation.policy.own_of()));
        let named = enough(operation, &nobody, nobody.player).await;
        assert_eq!(named, Some([&any[..], &own].concat().join(", ")), "{}", operation.id);
        // If the caller acts on another player, the refusal does not name permissions for the caller's own player.
        let own_permissions_only = server.player_with(None, &own);
        if let Some(named) =
            enough(operation, &own_permissions_only, Uuid::nil()).await.filter(|_| !own.is_empty())
        {
            assert_eq!(named, any.join(", "), "{}", operation.id);
            own_only += 1;
        }
    }
    assert!(own_only >= 3, "only {own_only} operations distinguish the caller from other players");
}

#[tokio::test]
async fn the_permission_matrix_matches_the_snapshot() {
    let server = Server::new();
    let mut matrix = String::from(
        "# Which single permission lets whom call what. `self` acts on the caller's own player, `other` on another\n\
         # player, `service` is a token without a player. Rewritten by UPDATE_EXPECT=1 cargo test; read every change.\n",
    );
    let callers: Vec<_> = Permission::ALL
        .iter()
        .map(|permission| {
            let names = [permission.name()];
            (permission, server.player_with(None, &names), server.service(&names))
        })
        .collect();
    for operation in server.pipeline.operations() {
        let (mut oneself, mut other, mut service) = (Vec::new(), Vec::new(), Vec::new());
        for (permission, player, serving) in &callers {
            if refusal(operation, player, player.player).await.is_none() {
                oneself.push(permission.name());
            }
            if refusal(operation, player, Uuid::nil()).await.is_none() {
                other.push(permission.name());
            }
            if refusal(operation, serving, Uuid::nil()).await.is_none() {
                service.push(permission.name());
            }
        }
        let lines = [("self", oneself), ("other", other), ("service", service)];
        writeln!(matrix, "\n{} {} ({})", operation.method, operation.path, operation.id).unwrap();
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
