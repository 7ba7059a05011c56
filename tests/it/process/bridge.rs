//! `rallypoint bridge agones` between a game server and the sidecar of its pod.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use http::Method;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};

use super::examples::has_python;
use super::launches::{asked, reaches};
use super::serve::{call, token};
use crate::support::connection::Connection;
use crate::support::process::{Server, rallypoint, run, serve, soon};
use crate::support::stand_in::agones::{Agones, GameServer};
use crate::support::stand_in::sidecar::{State, Watched, game_server};
use crate::support::stand_in::{copy_certificate, tls_file};

/// A game server that runs until the file `stop` is there, and notes what happens. The file `term` says that it got
/// SIGTERM; `told`, what its allocation file said first.
const SERVER: &str = r#"
trap 'echo > "$DIR/term"' TERM
echo > "$DIR/started"
until grep -q '"SessionId":"[^"]' "$DIR/allocation.json"; do sleep 0.02; done
cp "$DIR/allocation.json" "$DIR/told.new" && mv "$DIR/told.new" "$DIR/told"
until [ -e "$DIR/stop" ]; do sleep 0.02; done
exit 3
"#;
/// A game server that SIGTERM ends, and its child too.
const SLEEPER: &str = r#"sh -c 'trap "" USR1; while true; do sleep 1; done' & wait"#;

/// The files of one game server.
struct Pod {
    dir: TempDir,
}

impl Pod {
    fn new() -> Self {
        let pod = Self { dir: tempfile::tempdir().unwrap() };
        pod.secret(0o600);
        pod
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn secret(&self, mode: u32) {
        std::fs::write(self.path("secret"), "secret\n").unwrap();
        std::fs::set_permissions(self.path("secret"), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Waits for a file, and reads it.
    async fn file(&self, name: &str) -> String {
        let path = self.path(name);
        soon(name, async {
            while !path.exists() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
        std::fs::read_to_string(path).unwrap()
    }

    /// A bridge between these ports, and a server by this command.
    fn bridge(&self, sidecar: u16, api: u16, server: &[&str]) -> Command {
        self.bridge_as("bridge", sidecar, api, server)
    }

    /// The same, with the id of the client that logs in.
    fn bridge_as(&self, client_id: &str, sidecar: u16, api: u16, server: &[&str]) -> Command {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let (secret, file) = (text(&self.path("secret")), text(&self.path("allocation.json")));
        let base_url = format!("http://127.0.0.1:{api}");
        let options = [
            "bridge",
            "agones",
            "--base-url",
            &base_url,
            "--client-id",
            client_id,
            "--client-secret-file",
            &secret,
            "--allocation-file",
            &file,
            "--health-s",
            "1",
            "--gone-after-s",
            "1",
            "--",
        ];
        let mut command = rallypoint(&[&options[..], server].concat());
        command.env("DIR", self.dir.path()).env("AGONES_SDK_HTTP_PORT", sidecar.to_string());
        command
    }
}

/// A running bridge.
struct Bridge {
    child: Child,
    log: tokio::io::Lines<BufReader<ChildStderr>>,
}

impl Bridge {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, log }
    }

    async fn logged(&mut self, text: &str) {
        soon(text, async {
            while let Some(line) = self.log.next_line().await.unwrap() {
                if line.contains(text) {
                    return;
                }
            }
            panic!("the log ended without {text:?}");
        })
        .await;
    }

    fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.child.id().unwrap().try_into().unwrap()).unwrap();
        kill_process(id, signal).unwrap();
    }

    async fn status(mut self) -> Option<i32> {
        soon("the bridge ends", self.child.wait()).await.unwrap().code()
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn count(asked: &[String], what: &str) -> usize {
    asked.iter().filter(|asked| *asked == what).count()
}

#[tokio::test]
async fn a_server_runs_from_a_late_sidecar_to_the_end_of_its_match() {
    let (pod, port) = (Pod::new(), free_port());
    let api = Watched::start(0, State::default()).await;
    let mut bridge = Bridge::start(pod.bridge(port, api.port, &["sh", "-c", SERVER]));
    bridge.logged("the sidecar does not answer").await;
    assert!(!pod.path("started").exists());
    let none = r#"{"AllocationUUID":"","SessionId":""}"#;
    assert_eq!(pod.file("allocation.json").await, none);

    let sidecar = Watched::start(port, State::of(game_server("Scheduled", None))).await;
    pod.file("started").await;
    let is_healthy =
        |asked: &[String]| count(asked, "POST /health") >= 2 && count(asked, "GET /watch/gameserver") == 1;
    let asked = sidecar.until("the server is healthy", is_healthy).await;
    let first = |what: &str| asked.iter().position(|asked| asked == what).unwrap();
    assert!(first("GET /gameserver") < first("POST /ready"), "{asked:?}");
    assert!(first("POST /ready") < first("POST /health"), "{asked:?}");
    assert_eq!(count(&asked, "POST /ready"), 1);

    // Only an allocated game server with the label has a session.
    sidecar.change(game_server("Ready", Some(("a0", "s0"))));
    sidecar.change(game_server("Allocated", None));
    sidecar.change(game_server("Allocated", Some(("a1", "s1"))));
    let told =
        r#"{"AllocationUUID":"a1","SessionId":"s1","ConnectionIP":"198.51.100.7","ConnectionPort":"7654"}"#;
    assert_eq!(pod.file("told").await, told);
    bridge.logged("the server was told its session").await;
    let asks = |asked: &[String]| count(asked, "GET /session/v1/session/allocation/a1") >= 3;
    api.until("the bridge asks for the allocation", asks).await;

    // A server in a session does not end by SIGTERM, and its bridge goes on with it.
    bridge.signal(Signal::TERM);
    pod.file("term").await;
    let seen = count(&sidecar.asked(), "POST /health");
    let asked =
        sidecar.until("the server is still healthy", |asked| count(asked, "POST /health") > seen).await;
    assert_eq!(count(&asked, "POST /shutdown"), 0);
    std::fs::write(pod.path("stop"), "").unwrap();
    assert_eq!(bridge.status().await, Some(3));
    assert_eq!(sidecar.asked().last().unwrap(), "POST /shutdown");
}

#[tokio::test]
async fn a_server_without_its_allocation_is_ended() {
    let pod = Pod::new();
    // Without a watch, the game server is read regularly.
    let state = State::of(game_server("Allocated", Some(("a1", "s1")))).without_watch();
    let sidecar = Watched::start(0, state).await;
    // Neither a token that has ended nor the 404 of a proxy says that the allocation is gone, and one 404 is not enough.
    let answers = [
        (401, "token_invalid"),
        (404, ""),
        (404, "session_not_found"),
        (200, ""),
        (404, "session_not_found"),
    ];
    let api = Watched::start(0, State::answering(&answers)).await;
    let mut bridge = Bridge::start(pod.bridge(sidecar.port, api.port, &["sh", "-c", SLEEPER]));
    bridge.logged("no session has this allocation any more").await;
    assert_eq!(bridge.status().await, Some(128 + 15));
    assert_eq!(sidecar.asked().last().unwrap(), "POST /shutdown");
    let asked = api.asked();
    assert_eq!(count(&asked, "POST /users/v1/login"), 2, "{asked:?}");
    assert!(count(&asked, "GET /session/v1/session/allocation/a1") > answers.len(), "{asked:?}");
}

/// The allocator cannot give a game server back that it cannot use: without a port that players use, for example.
#[tokio::test]
async fn a_server_that_cannot_be_told_its_session_is_ended_too() {
    let pod = Pod::new();
    let mut without_port = game_server("Allocated", Some(("a1", "s1")));
    without_port["status"]["ports"] = serde_json::json!([]);
    let sidecar = Watched::start(0, State::of(without_port)).await;
    let api = Watched::start(0, State::answering(&[(404, "session_not_found")])).await;
    let mut bridge = Bridge::start(pod.bridge(sidecar.port, api.port, &["sh", "-c", SLEEPER]));
    bridge.logged("there is no port").await;
    bridge.logged("no session has this allocation any more").await;
    assert_eq!(bridge.status().await, Some(128 + 15));
    assert_eq!(sidecar.asked().last().unwrap(), "POST /shutdown");
}

#[tokio::test]
async fn a_server_that_ends_early_shuts_its_pod_down() {
    let pod = Pod::new();
    let sidecar = Watched::start(0, State::of(game_server("Scheduled", None))).await;
    let finished = run(pod.bridge(sidecar.port, 1, &["sh", "-c", "exit 5"])).await;
    assert_eq!(finished.code, Some(5), "{finished:?}");
    // Reads that were under way may still come.
    let told: Vec<_> = sidecar.asked().into_iter().filter(|asked| asked.starts_with("POST")).collect();
    assert_eq!(told.last().unwrap(), "POST /shutdown", "{told:?}");
}

#[tokio::test]
async fn a_server_that_cannot_start_is_never_ready() {
    let pod = Pod::new();
    let sidecar = Watched::start(0, State::of(game_server("Scheduled", None))).await;
    let finished = run(pod.bridge(sidecar.port, 1, &["/no/such/server"])).await.expect(1);
    assert!(finished.stderr.contains("error: cannot start /no/such/server: "), "{finished:?}");
    assert_eq!(sidecar.asked(), ["GET /gameserver"]);
    pod.secret(0o644);
    let finished = run(pod.bridge(sidecar.port, 1, &["sh", "-c", "exit 5"])).await.expect(1);
    assert!(finished.stderr.contains("secret: every user of this machine can read it"), "{finished:?}");

    let pod = Pod::new();
    let mut bridge = Bridge::start(pod.bridge(free_port(), 1, &["sh", "-c", SERVER]));
    bridge.logged("the sidecar does not answer").await;
    bridge.signal(Signal::TERM);
    assert_eq!(bridge.status().await, Some(128 + 15));
    assert!(!pod.path("started").exists());
}

/// A Rallypoint that allocates from a fleet, and a player in a session of it.
struct Studio {
    api: Server,
    fleet: Agones,
    dir: TempDir,
    player: Connection,
    session: String,
}

/// A pod whose bridge and game server log in at Rallypoint with the client that it made at its first start.
struct RealPod {
    pod: Pod,
    sidecar: Watched,
    bridge: Bridge,
}

impl Studio {
    async fn start() -> Self {
        let (fleet, dir) = (Agones::start(1).await, tempfile::tempdir().unwrap());
        let (certificate, key) = copy_certificate("client", dir.path());
        let settings = format!(
            "[allocators.fleet]\nkind = \"agones\"\nurl = {:?}\nnamespace = \"games\"\nfleet = \"fleet\"\n\
             certificate_file = {certificate:?}\nkey_file = {key:?}\nca_file = {:?}\n",
            fleet.url,
            tls_file("ca.pem")
        );
        let config = dir.path().join("rallypoint.toml");
        std::fs::write(&config, settings).unwrap();
        let api = Server::spawn(serve(dir.path(), &["--config", config.to_str().unwrap()])).await;
        let token = token(dir.path(), &[]).await;
        let player = Connection::open(api.address, Some(&token)).await.unwrap();
        Self { api, fleet, dir, player, session: String::new() }
    }

    /// A pod with this game server, which waits for a session.
    async fn pod(&self, server: &[&str]) -> RealPod {
        let pod = Pod::new();
        std::fs::copy(self.dir.path().join("client-secret"), pod.path("secret")).unwrap();
        let sidecar = Watched::start(0, State::of(game_server("Scheduled", None))).await;
        let port = self.api.address.port();
        let (url, secret) = (format!("http://127.0.0.1:{port}"), pod.path("secret").display().to_string());
        let file = pod.path("allocation.json").display().to_string();
        let fill = |text: &&str| {
            text.replace("{base_url}", &url).replace("{client_secret_file}", &secret).replace("{file}", &file)
        };
        let server: Vec<String> = server.iter().map(fill).collect();
        let server: Vec<&str> = server.iter().map(String::as_str).collect();
        let bridge = Bridge::start(pod.bridge_as("game-server", sidecar.port, port, &server));
        sidecar.until("the pod is ready", |asked| count(asked, "POST /ready") == 1).await;
        RealPod { pod, sidecar, bridge }
    }

    /// The player asks for a dedicated server. Agones tells it to the pod, as the allocator has told it to Agones.
    async fn allocates(&mut self, pod: &RealPod) {
        self.session = asked(&mut self.player).await;
        reaches(&mut self.player, &self.session, "allocated").await;
        let servers = self.fleet.state.lock().unwrap().servers.clone();
        let [GameServer { labels, annotations, allocated: true, .. }] = &servers[..] else {
            panic!("{servers:?}")
        };
        let (allocation, session) =
            (&labels["rallypoint.dev/allocation"], &annotations["rallypoint.dev/session"]);
        pod.sidecar.change(game_server("Allocated", Some((allocation, session))));
    }

    async fn ends_session(&mut self) {
        call(&mut self.player, Method::DELETE, &self.session, None).await.expect(204);
    }
}

#[tokio::test]
async fn a_game_server_in_a_pod_hosts_the_match_of_a_real_session() {
    if !has_python().await {
        return;
    }
    let mut studio = Studio::start().await;
    let port = format!("-Port={}", free_port());
    let server = [
        "python3",
        concat!(env!("CARGO_MANIFEST_DIR"), "/examples/dedicated_server.py"),
        "-rhbootstrapmode=Allocated",
        "-ghaprovider=Multiplay",
        "-rhmultiplayfile={file}",
        "-rh.url={base_url}",
        "-rh.clientid=game-server",
        "-rh.clientsecret=@{client_secret_file}",
        &port,
        "--time-scale=0.05",
        "--match-seconds=1000000",
    ];
    let mut pod = studio.pod(&server).await;
    studio.allocates(&pod).await;
    pod.bridge.logged("the server was told its session").await;
    let instance = reaches(&mut studio.player, &studio.session, "joinable").await;
    assert_eq!(instance["join_params"]["public_conn_str"], "unreal://198.51.100.7:7654", "{instance}");
    studio.ends_session().await;
    assert_eq!(pod.bridge.status().await, Some(0), "the server leaves by itself");
    assert_eq!(pod.sidecar.asked().last().unwrap(), "POST /shutdown");
}

#[tokio::test]
async fn a_game_server_that_outlives_its_real_session_is_ended_by_the_bridge() {
    let mut studio = Studio::start().await;
    let mut pod = studio.pod(&["sh", "-c", SLEEPER]).await;
    studio.allocates(&pod).await;
    pod.bridge.logged("the server was told its session").await;
    assert!(pod.pod.file("allocation.json").await.contains(studio.session.rsplit('/').next().unwrap()));
    studio.ends_session().await;
    pod.bridge.logged("no session has this allocation any more").await;
    assert_eq!(pod.bridge.status().await, Some(128 + 15));
    assert_eq!(pod.sidecar.asked().last().unwrap(), "POST /shutdown");
}
