//! `rallypoint session` against a running server, with tables and with JSON.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::Method;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Reply, creation};
use crate::support::connection::Connection;
use crate::support::process::{Finished, Server, rallypoint, run, serve};

const PLAYER: &str = "11111111-1111-4111-8111-111111111111";

/// A server, and a player with a connection to it.
struct Setup {
    dir: TempDir,
    server: Server,
    player: Connection,
}

impl Setup {
    async fn new() -> Self {
        Self::with(TempDir::new().unwrap(), &[]).await
    }

    /// Starts the server with these flags, on this data directory.
    async fn with(dir: TempDir, flags: &[&str]) -> Self {
        let server = Server::spawn(serve(dir.path(), flags)).await;
        let token = token(dir.path(), &[]).await;
        let player = Connection::open(server.address, Some(&token)).await.unwrap();
        Self { dir, server, player }
    }

    async fn call(&mut self, method: Method, path: &str, body: &Value) -> Reply {
        Reply::from(self.player.call(&method, path, Some(body)).await.unwrap()).expect(200)
    }

    async fn creates(&mut self, session_type: &str) -> String {
        let created = self.call(Method::POST, "/v1/session", &creation(session_type)).await;
        created.body["session_id"].as_str().unwrap().to_owned()
    }

    /// Runs `rallypoint session` with the development key.
    async fn session(&self, args: &[&str]) -> Finished {
        let (url, data_dir) = (format!("http://{}", self.server.address), self.dir.path().to_str().unwrap());
        run(rallypoint(&[&["session", "--server", &url, "--data-dir", data_dir], args].concat())).await
    }

    /// Runs the command with `--json`, and parses its output.
    async fn session_json(&self, args: &[&str]) -> Value {
        let printed = self.session(&[args, &["--json"]].concat()).await.expect(0);
        serde_json::from_str(&printed.stdout).unwrap_or_else(|error| panic!("{error}: {printed:#?}"))
    }
}

pub async fn token(data_dir: &Path, args: &[&str]) -> String {
    let args = [&["token", "--player", PLAYER, "--data-dir", data_dir.to_str().unwrap()], args].concat();
    run(rallypoint(&args)).await.expect(0).stdout.trim_end().to_owned()
}

/// Checks that a command failed, and printed one line of error that starts with `why`, and nothing else.
#[track_caller]
fn failed(finished: Finished, why: &str) {
    let Finished { stdout, stderr, .. } = finished.expect(1);
    assert_eq!(stdout, "");
    assert!(stderr.starts_with(&format!("error: {why}")) && stderr.lines().count() == 1, "{stderr}");
}

#[tokio::test]
async fn list_shows_the_sessions_of_a_player() {
    let mut setup = Setup::new().await;
    let empty = setup.session(&["list", "--player", PLAYER]).await.expect(0);
    assert_eq!(empty.stdout, "SESSION  TYPE  STATUS\n");
    let party = setup.creates("party").await;
    let game = setup.creates("game").await;
    let listed = setup.session(&["list", "--player", PLAYER]).await.expect(0);
    let header = format!("{:36}  TYPE   STATUS", "SESSION");
    assert_eq!(listed.stdout, format!("{header}\n{game}  game   active\n{party}  party  active\n"));
    let listed = setup.session_json(&["list", "--player", PLAYER]).await;
    assert_eq!(listed["sessions"]["party"]["session_ids"], json!([party]));
    assert_eq!(listed["sessions"]["game"]["session_ids"], json!([game]));
    setup.server.stop().await.expect(0);
}

#[tokio::test]
async fn list_shows_the_browser_page_after_page() {
    let dir = TempDir::new().unwrap();
    let config = dir.path().join("rallypoint.toml");
    let text = "[sessions]\nsessions_per_player_max = 53\n\
        [templates.match]\ncan_be_created_by_players_directly = true\nauto_add_to_browser = true\n\
        [templates.duel]\ncan_be_created_by_players_directly = true\nauto_add_to_browser = true\n\
        [templates.hidden]\ncan_be_created_by_players_directly = true\n";
    std::fs::write(&config, text).unwrap();
    let mut setup = Setup::with(dir, &["--config", config.to_str().unwrap()]).await;
    let mut expected = Vec::new();
    // One more than a page has.
    for _ in 0..51 {
        expected.push(setup.creates("match").await);
    }
    let listed = setup.session_json(&["list", "--type", "match"]).await;
    let ids: Vec<_> = listed.as_array().unwrap().iter().map(|one| one["session_id"].clone()).collect();
    assert_eq!(json!(ids), json!(expected));
    let table = setup.session(&["list", "--type", "match"]).await.expect(0).stdout;
    assert_eq!(table.lines().count(), 52, "{table}");
    assert!(table.contains(&format!("\n{}  match  1/4\n", expected[50])), "{table}");
    let nope = "the server has no type \"nope\"; it has duel, hidden, match";
    failed(setup.session(&["list", "--type", "nope"]).await, nope);

    // Sessions of every type, but only those in the browser.
    let empty = setup.session(&["list", "--type", "duel"]).await.expect(0);
    assert_eq!(empty.stdout, "SESSION  TYPE  PLAYERS  HEALTH\n");
    assert!(empty.stderr.starts_with("note: no session is in the browser"), "{empty:?}");
    assert!(empty.stderr.contains("--player UUID") && empty.stderr.contains("session show"), "{empty:?}");
    let duel = setup.creates("duel").await;
    let hidden = setup.creates("hidden").await;
    let table = setup.session(&["list"]).await.expect(0).stdout;
    assert_eq!(table.lines().count(), 53, "{table}");
    let header = format!("{:36}  TYPE   PLAYERS  HEALTH", "SESSION");
    assert!(
        table.starts_with(&format!("{header}\n{duel}  duel   1/4\n{}  match  1/4\n", expected[0])),
        "{table}"
    );
    let listed = setup.session_json(&["list"]).await;
    let of_types: Vec<_> = listed.as_array().unwrap().iter().map(|one| &one["type"]).collect();
    assert_eq!((of_types[0], &listed[0]["session_id"]), (&json!("duel"), &json!(duel)));
    assert!(
        of_types.len() == 52 && of_types[1..].iter().all(|of_type| **of_type == json!("match")),
        "{listed}"
    );
    let help = setup.session(&["list", "--help"]).await.expect(0).stdout;
    assert!(help.contains("the sessions in the browser, and only those"), "{help}");
    assert!(setup.session(&["show", &hidden]).await.expect(0).stdout.contains(&hidden));
    setup.server.stop().await.expect(0);
}

#[tokio::test]
async fn show_and_end_take_an_id_or_a_short_code() {
    let mut setup = Setup::new().await;
    let session = setup.creates("party").await;
    let made =
        setup.call(Method::POST, &format!("/v1/session/{session}:generate-short-code"), &json!({})).await;
    let code = made.body["short_code"].as_str().unwrap().to_owned();
    let path = format!("/v1/session/{session}");
    let instance = format!("{path}/instance");
    setup.call(Method::POST, &instance, &json!({"host_type": "player"})).await;
    let joinable = json!({
        "join_status": "joinable",
        "join_params": {"public_conn_str": "games.example:7777", "private_conn_str": "10.0.0.1:7777"},
    });
    setup.call(Method::PATCH, &instance, &joinable).await;
    let shown = setup.session(&["show", &session]).await.expect(0).stdout;
    let lines: Vec<_> = shown.lines().collect();
    for line in [
        format!("session         {session}"),
        "type            party".into(),
        format!("short code      {code}"),
        "joinability     platform".into(),
        "instance        player, joinable".into(),
        format!("host            {PLAYER}"),
        "connect to      games.example:7777".into(),
        format!("team 0: leader  {PLAYER}"),
    ] {
        assert!(lines.contains(&line.as_str()), "{line:?} is not in:\n{shown}");
    }
    assert_eq!(setup.session(&["show", &code.to_lowercase()]).await.expect(0).stdout, shown);
    let read = setup.call(Method::GET, &format!("/v1/session/{session}"), &Value::Null).await;
    assert_eq!(setup.session_json(&["show", &session]).await, read.body);

    let ended = setup.session(&["end", &code]).await.expect(0);
    assert_eq!(ended.stdout, format!("{code} has ended\n"));
    let gone = "404 Not Found: the session does not exist (session_not_found)";
    for args in [["show", &session], ["end", &session], ["show", &code]] {
        failed(setup.session(&args).await, gone);
        failed(setup.session(&[&args[..], &["--json"]].concat()).await, gone);
    }
    let other = setup.creates("party").await;
    assert_eq!(setup.session_json(&["end", &other]).await, json!({"ended": other}));
    failed(setup.session(&["show", &other]).await, gone);
    setup.server.stop().await.expect(0);
}

#[tokio::test]
async fn server_and_key_can_come_from_flags_environment_or_configuration() {
    let mut setup = Setup::new().await;
    let party = setup.creates("party").await;
    let url = format!("http://{}/session/", setup.server.address);
    let mut command = rallypoint(&["session", "list", "--player", PLAYER, "--server", &url]);
    command.env("RALLYPOINT_STORE__DATA_DIR", setup.dir.path());
    assert!(run(command).await.expect(0).stdout.contains(&party));
    // Both from the configuration file.
    let file = setup.dir.path().join("mine.toml");
    let text =
        |listen: &str| format!("[http]\nlisten = {listen:?}\n[store]\ndata_dir = {:?}\n", setup.dir.path());
    std::fs::write(&file, text(&setup.server.address.to_string())).unwrap();
    let by_file = || rallypoint(&["session", "show", &party, "--config", file.to_str().unwrap()]);
    let mut command = by_file();
    // An empty variable counts as not set.
    command.env("RALLYPOINT_TOKEN", "");
    assert!(run(command).await.expect(0).stdout.contains(&party));
    std::fs::write(&file, text("127.0.0.1:0")).unwrap();
    failed(run(by_file()).await, "[http] listen takes a free port: name the server with --server, as in");
    let alice = run(rallypoint(&["session", "list", "--player", "alice"])).await.expect(2);
    assert!(alice.stderr.contains("\"alice\" is no UUID, as in 11111111-1111-4111-"), "{}", alice.stderr);
    for wrong in ["127.0.0.1:7700", "localhost", "ftp://localhost", "http://localhost?a=b"] {
        let refused = run(rallypoint(&["session", "show", &party, "--server", wrong])).await.expect(2);
        assert!(refused.stderr.contains("as in http://127.0.0.1:7700"), "{}", refused.stderr);
    }
    setup.server.stop().await.expect(0);
}

/// A file of the test certificates.
fn tls_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/tls").join(name)
}

/// Starts a TLS proxy in front of a server, with a certificate of a private authority. Returns its URL.
fn tls_proxy(server: SocketAddr) -> String {
    let chain = CertificateDer::pem_file_iter(tls_file("server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(tls_file("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
    let url = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map(Result::unwrap) {
            let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            // A client that does not trust the certificate ends the connection.
            let _ = forward_one(StreamOwned::new(tls, stream), server);
        }
    });
    url
}

/// Forwards a request without a body, and the answer.
fn forward_one(mut client: StreamOwned<ServerConnection, TcpStream>, server: SocketAddr) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.extend(byte);
    }
    head.truncate(head.len() - 2);
    let mut server = TcpStream::connect(server)?;
    server.write_all(&[&head, &b"connection: close\r\n\r\n"[..]].concat())?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    client.write_all(&answer)?;
    client.conn.send_close_notify();
    client.flush()
}

#[tokio::test]
async fn a_server_behind_a_private_authority_is_reached_if_the_authority_is_named() {
    let setup = Setup::new().await;
    let url = tls_proxy(setup.server.address);
    let (data_dir, ca_file) = (setup.dir.path().to_str().unwrap(), tls_file("ca.pem"));
    let list = ["session", "list", "--server", &url, "--data-dir", data_dir];
    run(rallypoint(&[&list[..], &["--ca-file", ca_file.to_str().unwrap()]].concat())).await.expect(0);
    let with_variable = |file: &Path| {
        let mut command = rallypoint(&list);
        command.env("SSL_CERT_FILE", file).env_remove("SSL_CERT_DIR");
        command
    };
    run(with_variable(&ca_file)).await.expect(0);

    let untrusted = run(rallypoint(&list)).await;
    assert!(!untrusted.stderr.contains("is the server running?"), "{}", untrusted.stderr);
    assert!(untrusted.stderr.contains("name the file of its certificate authority with --ca-file"));
    failed(
        untrusted,
        &format!("{url}/session: the server's certificate is from an authority that is not trusted"),
    );
    let absent = tls_file("absent.pem");
    failed(run(with_variable(&absent)).await, "SSL_CERT_FILE names no certificate that can be read: ");
    let args = [&list[..], &["--ca-file", absent.to_str().unwrap()]].concat();
    failed(run(rallypoint(&args)).await, &format!("--ca-file {}: ", absent.display()));
    let plain = setup.session(&["list", "--ca-file", ca_file.to_str().unwrap()]).await;
    failed(plain, "--ca-file needs a server at https://, and this one is http://");
    setup.server.stop().await.expect(0);
}

#[tokio::test]
async fn errors_say_why_the_command_failed() {
    let mut setup = Setup::new().await;
    let session = setup.creates("party").await;
    let url = format!("http://{}", setup.server.address);
    let args = ["session", "show", &session, "--server", &url];
    let with_token = |token: &str| {
        let mut command = rallypoint(&args);
        command.env("RALLYPOINT_TOKEN", token);
        command
    };
    let refused = "403 Forbidden: the token was refused: it is not a signed JWT (token_invalid)";
    failed(run(with_token("forged")).await, refused);
    let reads_config = token(setup.dir.path(), &["--permission", "session:read:config"]).await;
    failed(run(with_token(&reads_config)).await, "403 Forbidden: the token does not grant the permission");
    let reads = token(setup.dir.path(), &["--permission", "session:read:self"]).await;
    run(with_token(&reads)).await.expect(0);

    let admin = format!("http://{}", setup.server.admin_address().await);
    let mut at_admin = rallypoint(&["session", "show", &session, "--server", &admin]);
    at_admin.env("RALLYPOINT_TOKEN", &reads);
    let message =
        format!("404 Not Found: {admin}/session does not answer like the API; is it the admin listener");
    failed(run(at_admin).await, &message);
    let wrong = "422 Unprocessable Entity: path.session_id: ensure this value has at least 1 characters";
    failed(setup.session(&["show", ""]).await, wrong);

    let elsewhere = TempDir::new().unwrap();
    let data_dir = elsewhere.path().to_str().unwrap();
    let keyless = run(rallypoint(&[&args[..], &["--data-dir", data_dir]].concat())).await;
    assert!(keyless.stderr.contains("give a token in RALLYPOINT_TOKEN"), "{}", keyless.stderr);
    failed(keyless, &format!("{data_dir}/development-key: "));
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0, "no key is made");

    let Setup { server, dir, .. } = setup;
    server.stop().await.expect(0);
    let data_dir = dir.path().to_str().unwrap();
    let alone = run(rallypoint(&[&args[..], &["--data-dir", data_dir]].concat())).await;
    assert!(alone.stderr.trim_end().ends_with("is the server running?"), "{}", alone.stderr);
    failed(alone, &url);
}
