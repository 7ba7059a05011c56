//! The login for development over the real binary: its files, restarts, the log, and the commands around it.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

use crate::harness::Reply;
use crate::support::connection::Connection;
use crate::support::process::{Finished, Server, rallypoint, run, serve, soon};

/// Sends a request without a token.
async fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> Reply {
    let mut connection = Connection::open(address, None).await.unwrap();
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    connection.send(request.body(Full::new(body.to_string().into())).unwrap()).await.unwrap().into()
}

async fn login(address: SocketAddr, body: &Value, headers: &[(&str, &str)]) -> Reply {
    send(address, "POST", "/users/v1/login", headers, body).await
}

fn anon(name: &str) -> Value {
    json!({ "grant_type": "anon", "portal_access_token": name, "include_refresh": true })
}

/// The header of the client that the server has made.
fn server_credentials(data_dir: &Path) -> String {
    let both = std::fs::read_to_string(data_dir.join("server-credentials")).unwrap();
    let (id, secret) = both.trim_end().split_once('\n').unwrap();
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

#[tokio::test]
async fn players_tokens_and_credentials_stay_over_a_restart() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path()).await;
    let first = login(server.address, &anon("player-1"), &[]).await.expect(200);
    let keys = send(server.address, "GET", "/users/v1/publickeys", &[], &Value::Null).await.expect(200);
    let credentials = server_credentials(dir.path());
    for name in ["login-key.pem", "server-credentials", "client-id", "client-secret", "development-key"] {
        let mode = dir.path().join(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    server.stop().await.expect(0);

    let server = Server::start(dir.path()).await;
    assert_eq!(server_credentials(dir.path()), credentials);
    let again = json!({ "grant_type": "refresh", "portal_access_token": first.body["refresh_token"] });
    let again = login(server.address, &again, &[]).await.expect(200);
    for field in ["refresh_token", "active_player_uuid", "person_id", "display_name"] {
        assert_eq!(again.body[field], first.body[field], "{field}");
    }
    assert_eq!(first.body["active_player_uuid"], "fdecedc9-6b5b-5759-817c-3793b86e797a");
    let keys_again = send(server.address, "GET", "/users/v1/publickeys", &[], &Value::Null).await;
    assert_eq!(keys_again.body, keys.body);
    let service = json!({ "grant_type": "client_credentials" });
    login(server.address, &service, &[("authorization", &credentials)]).await.expect(200);
    let token = first.body["access_token"].as_str().unwrap();
    let mut player = Connection::open(server.address, Some(token)).await.unwrap();
    let list = Request::get("/session/v1/player/me/session").body(Full::default()).unwrap();
    assert_eq!(player.send(list).await.unwrap().status(), 200);
    server.stop().await.expect(0);
}

/// Whoever reads the log or an answer must not be able to log in.
#[tokio::test]
async fn no_secret_is_logged_or_repeated() {
    let dir = TempDir::new().unwrap();
    let mut command = serve(dir.path(), &[]);
    command.env("RALLYPOINT_TELEMETRY__LOG", "trace").env("RALLYPOINT_LOGIN__USERS", USERS);
    let server = Server::spawn(command).await;
    let first = login(server.address, &anon("player-1"), &[]).await.expect(200);
    let credentials = server_credentials(dir.path());
    let access = format!("Bearer {}", first.body["access_token"].as_str().unwrap());
    let wrong = format!("Basic {}", STANDARD.encode("game-server:hidden-secret"));
    let refresh = first.body["refresh_token"].clone();
    let basic = |token: &str| json!({ "grant_type": "basic", "portal_access_token": token });
    let mut answers = Vec::new();
    for (path, authorization, body) in [
        ("login", None, basic("ann:hidden-password")),
        ("login", None, basic("ann:secret")),
        ("login", None, basic("hidden-without-colon")),
        ("login", None, basic(&"hidden".repeat(2_000))),
        ("login", None, json!({ "grant_type": "hidden-grant", "portal_access_token": "hidden-token" })),
        ("login", None, json!({ "grant_type": "steam", "portal_access_token": "hidden-ticket" })),
        ("login", None, json!({ "grant_type": "refresh", "portal_access_token": "hidden-refresh" })),
        ("login", None, json!({ "grant_type": "refresh", "portal_access_token": refresh })),
        ("login", None, json!({ "grant_type": "anon", "portal_access_token": "hidden\nname" })),
        ("login", Some(&wrong), json!({ "grant_type": "client_credentials" })),
        ("login", Some(&credentials), json!({ "grant_type": "client_credentials" })),
        ("verify", Some(&access), json!({})),
        ("logout", None, json!({ "refresh_token": "hidden-unknown" })),
        ("logout", None, json!({ "refresh_token": refresh })),
        ("logout", None, json!({ "refresh_token": { "hidden": "hidden-object" } })),
    ] {
        let header = authorization.map(|value| ("authorization", value.as_str()));
        let reply =
            send(server.address, "POST", &format!("/users/v1/{path}"), header.as_slice(), &body).await;
        answers.push((reply.status.as_u16(), reply.body.to_string()));
    }
    let statuses: Vec<_> = answers.iter().map(|(status, _)| *status).collect();
    assert_eq!(
        statuses,
        [403, 200, 403, 422, 422, 403, 403, 200, 422, 403, 200, 200, 200, 200, 422],
        "{answers:?}"
    );
    for (_, answer) in &answers {
        assert!(!answer.contains("hidden"), "{answer}");
    }
    let Finished { stderr: log, .. } = server.stop().await.expect(0);
    assert!(log.contains("identity=\"Anon:player-1\"") && log.contains("grant=\"basic\""), "{log}");
    let secret = std::fs::read_to_string(dir.path().join("client-secret")).unwrap();
    let secrets = [
        "hidden",
        &secret,
        &credentials[6..],
        &access[7..],
        refresh.as_str().unwrap(),
        "QQCd8VPOryZiCF3MtwQnPTK7odKCaPcXJGplgNEuj1A",
    ];
    for hidden in secrets {
        assert!(!log.contains(hidden), "{hidden} is in the log");
    }
}

/// A user with the password `secret`.
const USERS: &str = "{ ann = { password_hash = \"$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$QQCd8VPOryZiCF3MtwQnPTK7odKCaPcXJGplgNEuj1A\" } }";

#[tokio::test]
async fn an_exposed_login_is_logged_and_counted() {
    let dir = TempDir::new().unwrap();
    let flags = ["--insecure-expose-development-key"];
    let proxies = ("RALLYPOINT_HTTP__TRUSTED_PROXIES", "[\"10.0.0.1\"]");
    let mut refused = serve(dir.path(), &[]);
    refused.env(proxies.0, proxies.1);
    let refused = run(refused).await.expect(1);
    assert!(
        refused.stderr.contains("refusing to serve a proxy with the login for development"),
        "{}",
        refused.stderr
    );
    let mut allowed = serve(dir.path(), &flags);
    allowed.env(proxies.0, proxies.1);
    let mut server = Server::spawn(allowed).await;
    let line = server.logged("the login for development is exposed").await;
    assert!(
        line.contains("anon=true") && line.contains("anybody can be anybody") && line.contains("WARN"),
        "{line}"
    );
    let admin = server.admin_address().await;
    let metrics = send(admin, "GET", "/metrics", &[], &Value::Null).await;
    let metrics = String::from_utf8(metrics.bytes.to_vec()).unwrap();
    assert!(metrics.contains("\nrallypoint_development_login{exposed=\"true\"} 1\n"), "{metrics}");
    server.stop().await.expect(0);
}

#[tokio::test]
async fn a_file_that_other_users_can_read_stops_the_start() {
    let dir = TempDir::new().unwrap();
    Server::start(dir.path()).await.stop().await.expect(0);
    for name in ["login-key.pem", "server-credentials", "client-secret"] {
        let path = dir.path().join(name);
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let refused = run(serve(dir.path(), &[])).await.expect(1);
        assert!(
            refused.stderr.contains(&format!("{}: other users may access", path.display())),
            "{}",
            refused.stderr
        );
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
}

#[tokio::test]
async fn a_login_section_beside_own_keys_stops_the_start() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("rallypoint.toml");
    std::fs::write(&file, "[auth]\njwks_file = \"keys.json\"\n\n[login]\n").unwrap();
    let file = file.to_str().unwrap();
    for command in [serve(dir.path(), &["--config", file]), rallypoint(&["check-config", file])] {
        let refused = run(command).await.expect(1);
        assert!(
            refused.stderr.contains(&format!("{file}: line 4: [login] a server with jwks_file")),
            "{}",
            refused.stderr
        );
    }
    std::fs::write(file, "[auth]\njwks_file = \"keys.json\"\n").unwrap();
    let printed = run(rallypoint(&["config", "--config", file])).await.expect(0).stdout;
    assert!(!printed.contains("[login"), "{printed}");
    let effective = dir.path().join("effective.toml");
    std::fs::write(&effective, printed).unwrap();
    run(rallypoint(&["check-config", effective.to_str().unwrap()])).await.expect(0);
}

#[tokio::test]
async fn the_commands_make_what_the_configuration_needs() {
    let mut hashing = rallypoint(&["hash-password"]);
    let mut child = hashing.stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all("pass w\u{f6}rd\r\nmore\n".as_bytes()).await.unwrap();
    drop(input);
    let hashed = soon("the password is hashed", child.wait_with_output()).await.unwrap();
    assert!(hashed.status.success());
    let hash = String::from_utf8(hashed.stdout).unwrap();
    let made = run(rallypoint(&["new-client"])).await.expect(0).stdout;
    let (secret, setting) = made.trim_end().split_once('\n').unwrap();

    let dir = TempDir::new().unwrap();
    let file = dir.path().join("rallypoint.toml");
    let users = format!("[login.users.ann]\npassword_hash = \"{}\"\n", hash.trim_end());
    std::fs::write(&file, format!("{users}[login.clients.studio]\n{setting}\n")).unwrap();
    let server = Server::spawn(serve(dir.path(), &["--config", file.to_str().unwrap()])).await;
    assert!(!dir.path().join("server-credentials").exists());
    let ann = json!({ "grant_type": "basic", "portal_access_token": "ann:pass w\u{f6}rd" });
    let ann = login(server.address, &ann, &[]).await.expect(200);
    assert_eq!(ann.body["platform"], "Basic");
    let studio = format!("Basic {}", STANDARD.encode(format!("studio:{secret}")));
    let body = json!({ "grant_type": "client_credentials" });
    let studio = login(server.address, &body, &[("authorization", &studio)]).await.expect(200);
    assert_eq!(studio.body["client_id"], "studio");

    // A token that the command signs with the login key is like one of a login.
    let data_dir = dir.path().to_str().unwrap();
    let args = ["token", "--login-key", "--permission", "session:*", "--data-dir", data_dir];
    let token = run(rallypoint(&args)).await.expect(0);
    assert_eq!(token.stderr, "");
    let mut verifying = Connection::open(server.address, Some(token.stdout.trim_end())).await.unwrap();
    let verify = Request::post("/users/v1/verify").body(Full::default()).unwrap();
    assert_eq!(verifying.send(verify).await.unwrap().status(), 200);
    server.stop().await.expect(0);

    let empty = run(rallypoint(&["hash-password"])).await.expect(1);
    assert!(empty.stderr.contains("standard input has no password"), "{}", empty.stderr);
}
