//! `rallypoint serve`: output, signals and files of the real binary.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use rallypoint::domain::SessionId;
use rallypoint::env::Clock;
use rallypoint::records::keys::{self, KEY_UPGRADE};
use rallypoint::store::{Embedded, Store};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Reply, creation, set_meta};
use crate::support::connection::Connection;
use crate::support::process::{Finished, Server, rallypoint, run, serve, soon};

const PLAYER: &str = "11111111-1111-4111-8111-111111111111";

/// A token that `rallypoint token` signs with the key of this data directory.
pub(super) async fn token(data_dir: &Path, args: &[&str]) -> String {
    let data_dir = data_dir.to_str().unwrap();
    let command = rallypoint(&[&["token", "--player", PLAYER, "--data-dir", data_dir], args].concat());
    let Finished { stdout, stderr, .. } = run(command).await.expect(0);
    assert_eq!(stderr, "");
    let token = stdout.strip_suffix('\n').unwrap();
    assert_eq!((token.split('.').count(), token.split_whitespace().count()), (3, 1), "{stdout}");
    token.to_owned()
}

pub(super) async fn get(address: SocketAddr, path: &str) -> Reply {
    let mut connection = Connection::open(address, None).await.unwrap();
    connection.send(Request::get(path).body(Full::default()).unwrap()).await.unwrap().into()
}

pub(super) async fn call(
    connection: &mut Connection,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Reply {
    connection.call(&method, path, body.as_ref()).await.unwrap().into()
}

pub(super) async fn creates(connection: &mut Connection) -> String {
    let created = call(connection, Method::POST, "/v1/session", Some(creation("party"))).await.expect(200);
    created.body["session_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_new_directory_gets_a_private_key_that_signs_tokens() {
    let dir = TempDir::new().unwrap();
    let data_dir = dir.path().join("new");
    let server = Server::start(&data_dir).await;
    get(server.address, "/openapi.json").await.expect(200);
    for (path, expected) in [(data_dir.join("development-key"), 0o600), (data_dir.clone(), 0o700)] {
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, expected, "{}: {mode:o}", path.display());
    }

    let token = token(&data_dir, &[]).await;
    let mut player = Connection::open(server.address, Some(&token)).await.unwrap();
    let session = creates(&mut player).await;
    let list = call(&mut player, Method::GET, "/v1/player/me/session", None).await.expect(200);
    assert_eq!(list.body["sessions"]["party"]["session_ids"], json!([session]));
    let finished = server.stop().await.expect(0);
    assert_eq!(finished.stdout, "", "the address is the only output");
}

#[tokio::test]
async fn a_directory_in_use_is_refused_and_its_server_keeps_running() {
    let dir = TempDir::new().unwrap();
    let first = Server::start(dir.path()).await;
    // A lock file that is deleted and made again is another file.
    for is_replaced in [false, true] {
        if is_replaced {
            let lock = dir.path().join("store/lock");
            std::fs::remove_file(&lock).unwrap();
            std::fs::write(&lock, "").unwrap();
        }
        let second = run(serve(dir.path(), &[])).await.expect(1);
        assert_eq!(second.stdout, "");
        let message = second.stderr.lines().last().unwrap();
        assert!(message.starts_with("error: another server uses the data directory "), "{message}");
        assert!(message.contains(dir.path().to_str().unwrap()), "{message}");
        assert!(message.ends_with("stop that server, or give this one a directory of its own"), "{message}");
    }
    get(first.address, "/openapi.json").await.expect(200);
    first.stop().await.expect(0);
}

#[tokio::test]
async fn a_directory_of_another_format_is_refused() {
    let dir = TempDir::new().unwrap();
    drop(Embedded::open(dir.path(), KEY_UPGRADE).unwrap());
    set_meta(&dir, "format", &7_u32.to_be_bytes());
    let refused = run(serve(dir.path(), &[])).await.expect(1);
    assert!(refused.stderr.contains("has format 7, and this server knows format 2"), "{}", refused.stderr);
}

#[tokio::test]
async fn an_error_names_a_data_directory_that_is_a_file() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let keys = own_keys(dir.path());
    let mut with_keys = serve(&file, &[]);
    with_keys.env("RALLYPOINT_AUTH__JWKS_FILE", &keys);
    let token = rallypoint(&["token", "--player", PLAYER, "--data-dir", file.to_str().unwrap()]);
    for command in [serve(&file, &[]), with_keys, token] {
        let refused = run(command).await.expect(1);
        let message =
            format!("cannot use the data directory {}: it is a file, not a directory", file.display());
        assert!(refused.stderr.contains(&message), "{}", refused.stderr);
        assert!(refused.stderr.contains("name one that this user may write to"), "{}", refused.stderr);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_error_names_a_data_directory_that_is_not_writable() {
    // No user can create files there, not even root.
    let refused = run(serve(Path::new("/proc"), &[])).await.expect(1);
    assert!(refused.stderr.contains("cannot use the data directory /proc: "), "{}", refused.stderr);
}

/// Writes a JWK Set, as an operator does.
fn own_keys(dir: &Path) -> std::path::PathBuf {
    let file = dir.join("jwks.json");
    // The public key of RFC 8037, appendix A.
    let key = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    std::fs::write(&file, json!({ "keys": [key] }).to_string()).unwrap();
    file
}

#[tokio::test]
async fn no_data_directory_is_created_if_the_keys_cannot_be_loaded() {
    let dir = TempDir::new().unwrap();
    let data_dir = dir.path().join("data");
    let keys = own_keys(dir.path());
    let with_keys = || {
        let mut command = serve(&data_dir, &[]);
        command.env("RALLYPOINT_AUTH__JWKS_FILE", &keys);
        command
    };
    std::fs::write(&keys, r#"{"keys": [{"kty": "OKP", "crv": "X25519", "x": "", "kid": "p"}]}"#).unwrap();
    let refused = run(with_keys()).await.expect(1);
    assert!(refused.stderr.contains("no key in it can verify tokens"), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("a key of the JWK Set is skipped index=0 kid=\"p\" reason="),
        "{}",
        refused.stderr
    );
    assert!(!data_dir.exists());
    own_keys(dir.path());
    Server::spawn(with_keys()).await.stop().await.expect(0);
    assert!(data_dir.join("store").exists());
}

#[tokio::test]
async fn an_error_names_an_address_in_use_and_the_flag_that_changes_it() {
    let dir = TempDir::new().unwrap();
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    for (flag, [listen, admin_listen]) in
        [("--listen", [taken.as_str(), "off"]), ("--admin-listen", ["127.0.0.1:0", taken.as_str()])]
    {
        let data_dir = dir.path().to_str().unwrap();
        let args = ["serve", "--data-dir", data_dir, "--listen", listen, "--admin-listen", admin_listen];
        let refused = run(rallypoint(&args)).await.expect(1);
        assert!(refused.stderr.contains(&format!("error: cannot listen on {taken}: ")), "{}", refused.stderr);
        assert!(
            refused.stderr.contains(&format!("choose another address with {flag}")),
            "{}",
            refused.stderr
        );
    }
}

#[tokio::test]
async fn the_development_key_is_exposed_with_the_flag_only() {
    let dir = TempDir::new().unwrap();
    let exposed = ["serve", "--listen", "0.0.0.0:0", "--data-dir", dir.path().to_str().unwrap()];
    let refused = run(rallypoint(&exposed)).await.expect(1);
    assert_eq!(refused.stdout, "");
    for part in ["0.0.0.0:0", "jwks_file", "127.0.0.1", "--insecure-expose-development-key"] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "no file was created");

    let asked_for = [&exposed[..], &["--insecure-expose-development-key", "--admin-listen", "off"]].concat();
    let mut server = Server::spawn(rallypoint(&asked_for)).await;
    assert!(server.address.ip().is_unspecified());
    server
        .logged(&format!("other machines can reach {}: a player with a development token", server.address))
        .await;
    server.stop().await.expect(0);
    let alone = Server::start(dir.path()).await.stop().await.expect(0);
    assert!(!alone.stderr.contains("other machines can reach"), "{}", alone.stderr);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_low_limit_of_open_files_is_a_warning() {
    let dir = TempDir::new().unwrap();
    for (connections_max, warns) in [("400", true), ("200", false)] {
        // A shell lowers the limit, then replaces itself with the server.
        let mut limited = tokio::process::Command::new("sh");
        limited.args(["-c", "ulimit -S -n 500 && exec \"$0\" \"$@\""]);
        let serve = serve(dir.path(), &[]);
        limited.arg(serve.as_std().get_program()).args(serve.as_std().get_args());
        limited.env("RALLYPOINT_HTTP__CONNECTIONS_MAX", connections_max);
        limited.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).kill_on_drop(true);
        let logged = Server::spawn(limited).await.stop().await.expect(0).stderr;
        let line = logged.lines().find(|line| line.contains("the limit of open files is too low for"));
        assert_eq!(line.is_some(), warns, "{logged}");
        if let Some(line) = line {
            assert!(line.contains("open_files_max=500 connections_max=400"), "{line}");
        }
    }
}

/// A request that changes a session. The server has begun to process it, and waits for the second half of its body.
struct HalfSent {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl HalfSent {
    async fn send(address: SocketAddr, token: &str, session: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let body = json!({ "custom_data": { "map": "harbour" } }).to_string();
        let head = format!(
            "PATCH /session/v1/session/{session} HTTP/1.1\r\nhost: rallypoint\r\n\
             authorization: Bearer {token}\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // The server asks for the body when it processes the request.
        const ASKED: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
        let mut asked = [0; ASKED.len()];
        soon("the body is asked for", stream.read_exact(&mut asked)).await.unwrap();
        assert_eq!(asked, ASKED);
        let (begin, rest) = body.as_bytes().split_at(body.len() / 2);
        stream.write_all(begin).await.unwrap();
        Self { stream, rest: rest.into() }
    }

    /// Sends the second half. Returns the session in the answer, after which the server closes the connection.
    async fn finish(mut self) -> Value {
        self.stream.write_all(&self.rest).await.unwrap();
        let mut answer = String::new();
        soon("the answer ends with the connection", self.stream.read_to_string(&mut answer)).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        let session: Value = serde_json::from_str(body).unwrap();
        assert_eq!(session["custom_data"], json!({ "map": "harbour" }));
        session
    }
}

async fn refused(address: SocketAddr) {
    soon("connections are refused", async { while TcpStream::connect(address).await.is_ok() {} }).await;
}

/// Stops a server while it receives a request. It answers this request, and accepts no new connections.
async fn check_that_requests_under_way_finish(signal: Signal) {
    let dir = TempDir::new().unwrap();
    let mut server = Server::start(dir.path()).await;
    let address = server.address;
    let admin = server.admin_address().await;
    let token = token(dir.path(), &[]).await;
    let mut player = Connection::open(address, Some(&token)).await.unwrap();
    let session = creates(&mut player).await;
    let half_sent = HalfSent::send(address, &token, &session).await;
    assert_eq!(get(admin, "/ready").await.expect(200).bytes, "ready\n");

    server.signal(signal);
    refused(address).await;
    player.closed().await;
    // The admin listener answers to the end, for load balancers and supervisors.
    assert_eq!(get(admin, "/ready").await.expect(503).bytes, "stopping\n");
    assert_eq!(get(admin, "/live").await.expect(200).bytes, "alive\n");
    let answered = half_sent.finish().await;
    let finished = server.finished().await.expect(0);
    assert!(finished.stderr.contains("stopping: requests in flight finish first"), "{}", finished.stderr);

    let server = Server::start(dir.path()).await;
    let mut player = Connection::open(server.address, Some(&token)).await.unwrap();
    let path = format!("/v1/session/{session}");
    assert_eq!(call(&mut player, Method::GET, &path, None).await.expect(200).body, answered);
    server.stop().await.expect(0);
}

#[tokio::test]
async fn sigterm_lets_requests_under_way_finish() {
    check_that_requests_under_way_finish(Signal::TERM).await;
}

#[tokio::test]
async fn sigint_lets_requests_under_way_finish() {
    check_that_requests_under_way_finish(Signal::INT).await;
}

#[tokio::test]
async fn a_server_drains_before_it_stops() {
    let dir = TempDir::new().unwrap();
    let mut command = serve(dir.path(), &[]);
    command.env("RALLYPOINT_HTTP__LEAVE_DELAY_S", "3600");
    let mut server = Server::spawn(command).await;
    let address = server.address;
    let admin = server.admin_address().await;
    assert_eq!(get(admin, "/ready").await.expect(200).bytes, "ready\n");
    server.signal(Signal::TERM);
    server.logged("draining: /ready answers 503").await;
    assert_eq!(get(admin, "/ready").await.expect(503).bytes, "stopping\n");
    get(address, "/openapi.json").await.expect(200);
    // A second signal ends the delay.
    server.stop().await.expect(0);
}

#[tokio::test]
async fn a_server_that_is_asked_whether_it_is_ready_drains_by_default() {
    for (path, drains) in [("/ready", true), ("/live", false)] {
        let dir = TempDir::new().unwrap();
        let mut server = Server::start(dir.path()).await;
        get(server.admin_address().await, path).await.expect(200);
        server.signal(Signal::TERM);
        let finished = if drains {
            server.logged("the server stops in 5 s or at the next signal").await;
            // A second signal ends the delay.
            server.stop().await
        } else {
            server.finished().await
        };
        assert_eq!(finished.expect(0).stderr.contains("draining"), drains, "{path}");
    }
}

#[tokio::test]
async fn every_read_extends_a_session_up_to_the_stop() {
    let dir = TempDir::new().unwrap();
    // Only the stop writes the moved deadlines.
    let mut command = serve(dir.path(), &[]);
    command.env("RALLYPOINT_SESSIONS__IDLE_S", "8").env("RALLYPOINT_JOBS__EVERY_MS", "3600000");
    let server = Server::spawn(command).await;
    let token = token(dir.path(), &[]).await;
    let mut player = Connection::open(server.address, Some(&token)).await.unwrap();
    let session = creates(&mut player).await;
    // Requests move the deadline once an eighth of the idle time has passed.
    let (path, created_ms) = (format!("/v1/session/{session}?refresh_ttl=false"), Clock::System.now_ms());
    while Clock::System.now_ms() <= created_ms + 1000 {
        call(&mut player, Method::GET, &path, None).await.expect(200);
    }
    let half_sent = HalfSent::send(server.address, &token, &session).await;
    server.signal(Signal::TERM);
    refused(server.address).await;
    let stopping_ms = Clock::System.now_ms();
    half_sent.finish().await;
    server.finished().await.expect(0);

    let store = Store::Embedded(Embedded::open(dir.path(), KEY_UPGRADE).unwrap());
    let deadline =
        store.get(&keys::deadline_of(&SessionId::parse(&session).unwrap())).await.unwrap().unwrap();
    let deadline_ms = i64::from_be_bytes(deadline.value.as_ref().try_into().unwrap());
    assert!(deadline_ms >= stopping_ms + 8000, "{deadline_ms} is less than 8 s after {stopping_ms}");
}

#[tokio::test]
async fn the_admin_listener_takes_a_free_port_if_the_api_does() {
    let dir = TempDir::new().unwrap();
    let mut server = Server::start(dir.path()).await;
    let admin = server.admin_address().await;
    assert!(admin.ip().is_loopback() && admin.port() != 7701 && admin != server.address, "{admin}");
    assert_eq!(get(admin, "/live").await.expect(200).bytes, "alive\n");
    assert_eq!(get(admin, "/ready").await.expect(200).bytes, "ready\n");
    get(admin, "/").await.expect(404);
    get(server.address, "/metrics").await.expect(404);
    server.stop().await.expect(0);

    let server = Server::spawn(serve(dir.path(), &["--admin-listen", "off"])).await;
    let finished = server.stop().await.expect(0);
    assert!(!finished.stderr.contains("admin listener"), "{}", finished.stderr);
}

/// Parses metrics in the OpenMetrics text format into samples and values. Panics at an invalid line.
fn samples(text: &str) -> BTreeMap<&str, f64> {
    let (text, after) = text.split_once("# EOF\n").expect("metrics end with EOF");
    assert_eq!(after, "");
    let mut samples = BTreeMap::new();
    let mut families = Vec::new();
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# ") {
            let [keyword, family, _] = *described.splitn(3, ' ').collect::<Vec<_>>() else {
                panic!("{line}")
            };
            assert!(["HELP", "TYPE", "UNIT"].contains(&keyword), "{line}");
            families.push(family);
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let name = sample.split('{').next().unwrap();
        assert!(name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_'), "{line}");
        assert!(families.last().is_some_and(|family| name.starts_with(family)), "{line}");
        assert!(sample == name || sample.ends_with('}'), "{line}");
        let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert_eq!(samples.insert(sample, value), None, "{line}");
    }
    samples
}

#[tokio::test]
async fn requests_are_counted_by_operation_and_status() {
    let dir = TempDir::new().unwrap();
    let mut server = Server::start(dir.path()).await;
    let admin = server.admin_address().await;
    let token = token(dir.path(), &["--permission", "session:*"]).await;
    let mut player = Connection::open(server.address, Some(&token)).await.unwrap();
    for _ in 0..2 {
        creates(&mut player).await;
    }
    call(&mut player, Method::GET, "/v1/session/none", None).await.expect(404);
    get(server.address, "/session/v1/session/none").await.expect(403);
    get(server.address, "/session/nothing").await.expect(404);

    let metrics = get(admin, "/metrics").await.expect(200);
    assert_eq!(metrics.headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let samples = samples(std::str::from_utf8(&metrics.bytes).unwrap());
    let requests = |operation: &str, status: u16| {
        let labels = format!("{{operation=\"{operation}\",status=\"{status}\"}}");
        samples.get(format!("rallypoint_requests_total{labels}").as_str()).copied()
    };
    assert_eq!(requests("create_or_join_session", 200), Some(2.0));
    assert_eq!(requests("get_session_by_id", 404), Some(1.0));
    assert_eq!(requests("get_session_by_id", 403), Some(1.0));
    assert_eq!(requests("get_session_by_id", 200), None);
    assert_eq!(requests("none", 404), Some(1.0));
    assert_eq!(
        samples["rallypoint_store_commits_total"], 3.0,
        "two sessions, and at the start the templates"
    );
    server.stop().await.expect(0);
}

#[tokio::test]
async fn logs_can_be_json_and_never_contain_a_token() {
    let dir = TempDir::new().unwrap();
    let mut command = serve(dir.path(), &[]);
    command.env("RALLYPOINT_TELEMETRY__LOG_FORMAT", "json").env("RALLYPOINT_TELEMETRY__LOG", "trace");
    let server = Server::spawn(command).await;
    let good = token(dir.path(), &[]).await;
    let forged = format!("{}x", token(dir.path(), &["--ttl", "1d"]).await);
    let mut player = Connection::open(server.address, Some(&good)).await.unwrap();
    let session = creates(&mut player).await;
    call(&mut player, Method::POST, "/v1/session", Some(json!({}))).await.expect(422);
    let leave = format!("/v1/session/{session}/player/me?reason=bye");
    call(&mut player, Method::DELETE, &leave, None).await.expect(204);
    let mut stranger = Connection::open(server.address, Some(&forged)).await.unwrap();
    call(&mut stranger, Method::GET, "/v1/player/me/session", None).await.expect(403);
    let cookie = Request::get("/session/v1/player/me/session")
        .header("cookie", format!("access_token={good}"))
        .body(Full::<Bytes>::default())
        .unwrap();
    Reply::from(Connection::open(server.address, None).await.unwrap().send(cookie).await.unwrap())
        .expect(200);

    let finished = server.stop().await.expect(0);
    let mut messages = Vec::new();
    for line in finished.stderr.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for field in ["timestamp", "level", "target"] {
            assert!(entry[field].is_string(), "{line}");
        }
        messages.push(entry["message"].as_str().unwrap_or_default().to_owned());
    }
    assert!(messages.contains(&"player left session".to_owned()), "{messages:?}");
    assert!(messages.contains(&"stopped".to_owned()), "{messages:?}");
    for token in [&good, &forged] {
        for part in token.split('.').skip(1) {
            assert!(!finished.stderr.contains(part), "a part of a token is in the log: {part}");
        }
    }
}
