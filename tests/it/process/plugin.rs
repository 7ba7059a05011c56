//! The dedicated server and the game client in `examples/`, which make the calls of the published plugin, against the
//! real binary. Each is a process of its own. With `--step` it waits after each step until the test lets it go on.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use http::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UdpSocket;
use tokio::process::{Child, ChildStdin};
use tokio::sync::mpsc::UnboundedReceiver;

use super::examples::{foreign, has_python};
use crate::harness::Reply;
use crate::support::connection::Connection;
use crate::support::process::{Finished, Server, lines, rallypoint, run, soon};

/// A pace at which a request is repeated for longer than a node needs to start.
const SLOWER: &str = "--time-scale=0.3";
/// A pace at which ten minutes take three seconds.
const FASTEST: &str = "--time-scale=0.005";
/// What `boot failed` exits with.
const BOOT_FAILED: i32 = 5;

/// A running program of `examples/`.
pub(super) struct Program {
    child: Child,
    stdin: ChildStdin,
    stdout: UnboundedReceiver<String>,
    stderr: UnboundedReceiver<String>,
}

impl Program {
    /// Starts a program. All its pauses are short.
    pub(super) fn start(file: &str, args: &[&str]) -> Self {
        let mut command = foreign("python3", &[&[file, "--time-scale=0.05"], args].concat());
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take().expect("standard input is a pipe");
        let (stdout, stderr) = (lines(child.stdout.take()), lines(child.stderr.take()));
        Self { child, stdin, stdout, stderr }
    }

    /// Waits for the next step, which must be this one. Returns what the program says about it.
    #[track_caller]
    pub(super) fn says(&mut self, step: &str) -> impl Future<Output = String> {
        let caller = std::panic::Location::caller();
        let step = step.to_owned();
        async move {
            let (name, detail) = self.next_step().await;
            assert_eq!(name, step, "at {caller}: {detail}");
            detail
        }
    }

    /// The next step, and what the program says about it.
    pub(super) async fn next_step(&mut self) -> (String, String) {
        let Some(line) = soon("the program makes a step", self.stdout.recv()).await else {
            let mut log = String::new();
            while let Some(line) = self.stderr.recv().await {
                log += &(line + "\n");
            }
            panic!("the program has ended:\n{log}");
        };
        let (name, detail) = line.split_once(' ').unwrap_or((&line, ""));
        (name.to_owned(), detail.to_owned())
    }

    /// Lets a program with `--step` go on.
    async fn go_on(&mut self) {
        self.stdin.write_all(b"\n").await.unwrap();
    }

    /// Follows a server with `--step` that makes its own session, until players can join. `go_on` lets it go on after
    /// each step. Returns the session.
    async fn opens(&mut self, mut go_on: impl AsyncFnMut(&mut Self)) -> String {
        let mut session = String::new();
        for step in ["logged-in", "created-session", "requested-instance", "pending"] {
            let detail = self.says(step).await;
            if step == "created-session" {
                session = detail;
            }
            go_on(self).await;
        }
        self.says("joinable").await;
        session
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        kill_process(id.expect("the program runs"), signal).unwrap();
    }

    /// Waits for its end.
    pub(super) async fn ends(mut self) -> Finished {
        let status = soon("the program ends", self.child.wait()).await.unwrap();
        let (mut stdout, mut stderr) = (String::new(), String::new());
        for (lines, text) in [(&mut self.stdout, &mut stdout), (&mut self.stderr, &mut stderr)] {
            while let Some(line) = soon("its output ends", lines.recv()).await {
                *text += &(line + "\n");
            }
        }
        Finished { code: status.code(), stdout, stderr }
    }
}

/// A node that can be killed and started again on the same data directory and port.
struct Node {
    dir: TempDir,
    server: Option<Server>,
    address: SocketAddr,
}

impl Node {
    async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let server = Server::start(dir.path()).await;
        Self { address: server.address, server: Some(server), dir }
    }

    async fn kill(&mut self) {
        self.server.take().expect("the node runs").kill().await;
    }

    async fn start_again(&mut self) {
        let (address, data_dir) = (self.address.to_string(), self.dir.path().to_str().unwrap());
        let args = ["serve", "--listen", &address, "--admin-listen", "127.0.0.1:0", "--data-dir", data_dir];
        self.server = Some(Server::spawn(rallypoint(&args)).await);
    }

    /// The option that names the node.
    fn url(&self) -> String {
        format!("-rh.url=http://{}", self.address)
    }

    /// Sends a request as a service that may do everything.
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        let data_dir = self.dir.path().to_str().unwrap();
        let token = rallypoint(&["token", "--data-dir", data_dir, "--permission", "session:*"]);
        let token = run(token).await.expect(0).stdout;
        let mut connection = Connection::open(self.address, Some(token.trim_end())).await.unwrap();
        connection.call(&method, path, body.as_ref()).await.unwrap().into()
    }

    async fn session(&self, session: &str) -> Reply {
        self.call(Method::GET, &format!("/v1/session/{session}?refresh_ttl=false"), None).await
    }

    async fn stop(self) {
        self.server.expect("the node runs").stop().await.expect(0);
    }

    /// The options with which a game server logs in: the client that the node made at its first start.
    fn credentials(&self) -> [String; 2] {
        let file = |name: &str| self.dir.path().join(name).to_str().unwrap().to_owned();
        [
            format!("-rh.clientid=@{}", file("client-id")),
            format!("-rh.clientsecret=@{}", file("client-secret")),
        ]
    }

    /// Starts a server that makes its own session.
    fn reserved(&self, port: u16, args: &[&str]) -> Program {
        let (port, public_port) = (format!("-Port={port}"), format!("-rh.publicport={port}"));
        let (url, [id, secret]) = (self.url(), self.credentials());
        let mode = ["-rhbootstrapmode=Reserved", "-rh.ForceNoGHA", "-rh.sessiontype=game"];
        let named = [&url, &id, &secret, "-rh.publichost=127.0.0.1", &port, &public_port];
        Program::start("dedicated_server.py", &[&mode[..], &named, args].concat())
    }

    /// Starts a server that an allocator tells its session by a file.
    fn allocated(&self, port: u16, file: &Path, args: &[&str]) -> Program {
        let (port, file) = (format!("-Port={port}"), format!("-rhmultiplayfile={}", file.display()));
        let (url, [id, secret]) = (self.url(), self.credentials());
        let mode = ["-rhbootstrapmode=Allocated", "-ghaprovider=Multiplay"];
        let named = [&url[..], &id, &secret, &port, &file];
        Program::start("dedicated_server.py", &[&mode[..], &named, args].concat())
    }

    /// Starts the client of a player.
    fn player(&self, number: usize, args: &[&str]) -> Program {
        let (url, name) = (self.url(), format!("-AUTH_LOGIN=player-{number}"));
        let named = ["-OSS=Anon", &name, &url, "--poll-seconds=5"];
        Program::start("game_client.py", &[&named, args].concat())
    }
}

/// A UDP port that nothing uses.
async fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// Whether a game server lets in a player with the right security token, and no other one.
async fn checks_tokens(node: &Node, session: &str, port: u16) {
    let seen = node.session(session).await.expect(200).body;
    let token = seen["instance"]["join_params"]["custom_data"]["rh.SessionSecurityToken"].as_str().unwrap();
    let player = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    // It answers in the order of the greetings, so the first answer is the one to the last greeting.
    for greeting in ["hello", "hello x", &format!("hello {token}x"), &format!("hello {token}")] {
        player.send_to(greeting.as_bytes(), ("127.0.0.1", port)).await.unwrap();
    }
    let mut answer = [0; 256];
    let length = soon("the game server answers", player.recv(&mut answer)).await.unwrap();
    assert_eq!(&answer[..length], format!("hello {token}").as_bytes());
}

#[tokio::test]
async fn a_reserved_server_hosts_a_match_of_two_players() {
    if !has_python().await {
        return;
    }
    let (node, port) = (Node::start().await, free_port().await);
    let mut host = node.reserved(port, &["--step", "--match-seconds=0"]);
    let session = host.opens(async |host| host.go_on().await).await;
    let mut players = Vec::new();
    for number in 0..2 {
        let mut player = node.player(number, &["--session-type=game", "--step", "--stay-seconds=1"]);
        player.says("logged-in").await;
        player.go_on().await;
        assert_eq!(
            player.says("in-session").await,
            session,
            "create-or-join finds the session of the server"
        );
        player.go_on().await;
        assert_eq!(player.says("playing").await, format!("unreal://127.0.0.1:{port}"));
        players.push(player);
    }
    checks_tokens(&node, &session, port).await;
    let seen = node.session(&session).await.expect(200).body;
    let statuses: Vec<_> =
        seen["teams"][0]["players"].as_array().unwrap().iter().map(|p| &p["status"]).collect();
    assert_eq!(statuses, ["leader", "member"], "the first player who joined leads");
    assert!(seen["instance"]["instance_health"].is_string(), "it has reported its health");
    for mut player in players {
        player.go_on().await;
        player.says("left").await;
        player.go_on().await;
        player.ends().await.expect(0);
    }
    node.session(&session).await.expect(200);
    host.go_on().await;
    assert_eq!(host.says("closed").await, "", "it closes by itself");
    node.session(&session).await.refused(404, "session_not_found");
    host.go_on().await;
    host.ends().await.expect(0);
    node.stop().await;
}

#[tokio::test]
async fn a_match_goes_on_after_the_node_is_killed_at_any_step() {
    if !has_python().await {
        return;
    }
    let (mut node, port) = (Node::start().await, free_port().await);
    // The plugin does not repeat a login.
    node.kill().await;
    let alone = node.reserved(port, &[SLOWER]).ends().await.expect(BOOT_FAILED);
    assert_eq!(alone.stderr, "boot failed: login: no answer\n");
    node.start_again().await;
    let mut host = node.reserved(port, &["--step", "--match-seconds=0", SLOWER]);
    let through_a_kill = async |host: &mut Program| {
        // Its next request gets no answer at first.
        node.kill().await;
        host.go_on().await;
        node.start_again().await;
    };
    let session = host.opens(through_a_kill).await;
    let args = ["--session-type=game", "--step", "--stay-seconds=1", SLOWER];
    let mut player = node.player(0, &args);
    for step in ["logged-in", "in-session", "playing"] {
        let detail = player.says(step).await;
        if step == "in-session" {
            assert_eq!(detail, session);
        }
        node.kill().await;
        player.go_on().await;
        node.start_again().await;
    }
    player.says("left").await;
    player.go_on().await;
    player.ends().await.expect(0);
    node.kill().await;
    host.go_on().await;
    node.start_again().await;
    assert_eq!(host.says("closed").await, "");
    node.session(&session).await.refused(404, "session_not_found");
    host.go_on().await;
    host.ends().await.expect(0);
    node.stop().await;
}

#[tokio::test]
async fn a_server_whose_request_was_lost_with_its_answer_gives_up() {
    if !has_python().await {
        return;
    }
    let node = Node::start().await;
    let mut host = node.reserved(free_port().await, &["--step"]);
    host.says("logged-in").await;
    host.go_on().await;
    let session = host.says("created-session").await;
    // As if the node had carried out the request, and was killed before it answered.
    let path = format!("/v1/session/{session}/instance");
    node.call(Method::POST, &path, Some(json!({"host_type": "preallocated"}))).await.expect(200);
    host.go_on().await;
    let ended = host.ends().await.expect(BOOT_FAILED);
    assert_eq!(ended.stderr, "boot failed: cannot request an instance: 403 instance_exists\n");
    node.stop().await;
}

/// A party whose leader waits for a dedicated server, and the id of its session.
async fn waiting_party(node: &Node) -> (Program, String) {
    let mut player = node.player(0, &["--request-instance=/Game/Maps/Arena"]);
    player.says("logged-in").await;
    let session = player.says("in-session").await;
    player.says("requested-instance").await;
    (player, session)
}

/// Writes the file of an allocator: beside it first, since a half-written one ends the server.
fn write_allocation(file: &Path, allocation: &str, session: &str, port: u16) {
    let beside = file.with_extension("new");
    let content = json!({
        "AllocationUUID": allocation, "SessionId": session, "ConnectionIP": "127.0.0.1",
        "ConnectionPort": port.to_string(),
    });
    std::fs::write(&beside, content.to_string()).unwrap();
    std::fs::rename(&beside, file).unwrap();
}

#[tokio::test]
async fn an_allocated_server_finds_its_session_and_leaves_it_if_another_one_takes_over() {
    if !has_python().await {
        return;
    }
    let (node, port) = (Node::start().await, free_port().await);
    let (player, session) = waiting_party(&node).await;
    let file = node.dir.path().join("allocation.json");
    write_allocation(&file, "", "", port);
    let mut host = node.allocated(port, &file, &["--match-seconds=1000000"]);
    host.says("logged-in").await;
    let path = format!("/v1/session/{session}/instance");
    let allocated = json!({"allocation_id": "a1", "join_status": "allocated"});
    node.call(Method::PATCH, &path, Some(allocated)).await.expect(200);
    write_allocation(&file, "a1", &session, port);
    assert_eq!(host.says("allocated").await, "a1");
    assert_eq!(host.says("found-session").await, session);
    for step in ["pending", "joinable"] {
        host.says(step).await;
    }
    let mut player = player;
    player.says("playing").await;
    checks_tokens(&node, &session, port).await;
    // Its client would leave with the instance, and the party would end.
    drop(player);
    // SIGTERM does not end a server with a session. It goes when the session has no instance for it any more.
    host.signal(Signal::TERM);
    node.call(Method::DELETE, &path, None).await.expect(204);
    node.call(Method::POST, &path, Some(json!({}))).await.expect(200);
    assert_eq!(host.says("closed").await, "the session has no instance for this server");
    host.ends().await.expect(0);
    let seen = node.session(&session).await.expect(200).body;
    assert_eq!(seen["instance"]["join_status"], json!("requested"), "it leaves the new instance alone");
    node.stop().await;
}

#[tokio::test]
async fn a_server_that_cannot_start_a_match_exits_with_5() {
    if !has_python().await {
        return;
    }
    let (node, port) = (Node::start().await, free_port().await);
    let file = node.dir.path().join("allocation.json");
    write_allocation(&file, "unknown", "unknown", port);
    let unknown = node.allocated(port, &file, &[]);
    let faults = ["login", "allocation"].map(|step| format!("--exit-at={step}"));
    let (mut at_login, mut at_allocation) = (None, None);
    for (fault, ended) in faults.iter().zip([&mut at_login, &mut at_allocation]) {
        *ended = Some(node.allocated(port, &file, &[fault]).ends().await.expect(BOOT_FAILED));
    }
    assert_eq!(at_login.unwrap().stdout, "");
    assert_eq!(at_allocation.unwrap().stdout, "logged-in\n");
    let unknown = unknown.ends().await.expect(BOOT_FAILED);
    assert_eq!(unknown.stderr, "boot failed: no session by allocation after 9 requests\n");
    // A server that waits for its allocation has no session, so SIGTERM ends it.
    write_allocation(&file, "", "", port);
    let mut waiting = node.allocated(port, &file, &[]);
    waiting.says("logged-in").await;
    waiting.signal(Signal::TERM);
    waiting.ends().await.expect(0);
    node.stop().await;
}

/// The requests that a program with `--trace` has sent: method, path and status.
fn requests(ended: &Finished) -> Vec<(&str, &str, &str)> {
    let lines = ended.stderr.lines();
    let parts = lines.map(|line| {
        let mut parts = line.split(' ');
        let mut next = || parts.next().unwrap_or_else(|| panic!("{line:?} is no request"));
        (next(), next(), next())
    });
    parts.collect()
}

/// Ten minutes of a program, which has sent these requests: each answer is one that the plugin takes without a warning,
/// but for the services with these prefixes, which are not there. A published client repeats a request after a 429 or
/// 503.
fn are_quiet(requests: &[(&str, &str, &str)], missing: &[&str]) {
    for (method, path, status) in requests {
        let is_missing = *status == "404" && missing.iter().any(|prefix| path.starts_with(prefix));
        assert!(is_missing || ["200", "202", "204", "304"].contains(status), "{method} {path}: {status}");
    }
    assert!(requests.len() <= 10 * 30, "{} requests in ten minutes", requests.len());
    let statuses_of = |prefix: &str| -> Vec<_> {
        let of_path =
            requests.iter().filter(|(method, path, _)| *method == "GET" && path.starts_with(prefix));
        of_path.map(|(_, _, status)| *status).collect()
    };
    for (prefix, count_min) in [("/config/v2/kv", 4), ("/session/v1/session/", 8)] {
        let statuses = statuses_of(prefix);
        let unchanged = statuses.iter().filter(|status| **status == "304").count();
        assert!(unchanged >= count_min, "{prefix}: {statuses:?}");
    }
}

#[tokio::test]
async fn the_first_ten_minutes_of_a_client_are_quiet() {
    if !has_python().await {
        return;
    }
    let node = Node::start().await;
    let player = node.player(0, &["--lobby-seconds=600", "--poll-seconds=60", "--trace", FASTEST]);
    let ended = player.ends().await.expect(0);
    let requests = requests(&ended);
    are_quiet(&requests, &["/inventory/"]);
    let count = |path: &str| requests.iter().filter(|(_, requested, _)| requested.starts_with(path)).count();
    for (path, count_min) in [("/presence/", 15), ("/friends/", 8), ("/session/v1/player/me/session", 8)] {
        assert!(count(path) >= count_min, "{path}: {}", count(path));
    }
    assert_eq!(count("/config/v1/time/utc"), 1);
    node.stop().await;
}

#[tokio::test]
async fn the_first_ten_minutes_of_a_dedicated_server_are_quiet() {
    if !has_python().await {
        return;
    }
    let node = Node::start().await;
    let host = node.reserved(free_port().await, &["--match-seconds=600", "--trace", FASTEST]);
    let ended = host.ends().await.expect(0);
    let requests = requests(&ended);
    // The session has ended with its instance, so the last event finds none.
    let (last, requests) = requests.split_last().unwrap();
    assert_eq!(*last, ("POST", "/session/v1/audit", "404"));
    are_quiet(requests, &["/match/"]);
    let reports = requests.iter().filter(|(_, path, _)| path.ends_with("/instance/health")).count();
    assert!(reports >= 40, "{reports} health reports");
    node.stop().await;
}
