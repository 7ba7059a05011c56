//! From a request for an instance to a running match, with the real binary and real server processes.

use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::net::UdpSocket;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Method;
use rallypoint::crash_point;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::allocator::until;
use super::examples::{allocated_server, has_python};
use super::serve::{call, creates, token};
use crate::support::connection::Connection;
use crate::support::process::{
    KillAtEnd, Server, game_ports_setting, lasting_address, processes_in, rallypoint, run, serve_at,
    shims_of, soon,
};

/// The name of the file that says where a process is killed.
const CRASH_FILE: &str = "crash";

/// A directory with a configuration, and the address that its server always gets: servers that are adopted after a restart
/// know the address of their API.
pub(super) struct Machine {
    address: String,
    _servers: KillAtEnd,
    dir: TempDir,
}

impl Machine {
    /// `settings` are further settings of the allocator, `arguments` of the stand-in.
    pub(super) fn new(settings: &str, arguments: &[&str]) -> Self {
        let program = env!("CARGO_BIN_EXE_rallypoint");
        let given = [
            "--base-url={base_url}",
            "--client-id={client_id}",
            "--client-secret-file={client_secret_file}",
            "--allocation-file={allocation_file}",
            "--port={port}",
        ];
        Self::with(settings, &[&[program, "demo-server"][..], &given, arguments].concat())
    }

    /// `settings` are further settings of the allocator, `command` starts a server.
    pub(super) fn with(settings: &str, command: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let text = format!(
            "[allocators.local]\nkind = \"process\"\nports = \"{}\"\ncommand = {}\n\
             env = {{ {} = {:?} }}\n{settings}\n",
            game_ports_setting(),
            json!(command),
            crash_point::VARIABLE,
            dir.path().join(CRASH_FILE)
        );
        std::fs::write(dir.path().join("rallypoint.toml"), text).unwrap();
        let data_dir = dir.path().join("data");
        DirBuilder::new().mode(0o700).create(&data_dir).unwrap();
        Self { address: lasting_address(), _servers: KillAtEnd(data_dir), dir }
    }

    pub(super) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The file that says where the server, or a shim, is killed.
    pub(super) fn crash_file(&self) -> PathBuf {
        self.dir.path().join(CRASH_FILE)
    }

    pub(super) async fn serve(&self) -> Server {
        let config = self.dir.path().join("rallypoint.toml");
        let args = ["--config", config.to_str().unwrap(), "--admin-listen", "127.0.0.1:0"];
        let mut command = serve_at(&self.address, &self.data_dir(), &args);
        command.env(crash_point::VARIABLE, self.crash_file());
        Server::spawn(command).await
    }

    pub(super) async fn connect(&self, server: &Server) -> Connection {
        let token = token(&self.data_dir(), &[]).await;
        Connection::open(server.address, Some(&token)).await.unwrap()
    }

    /// What `rallypoint server list` says.
    pub(super) async fn servers(&self) -> Vec<Value> {
        let data_dir = self.data_dir();
        let command = rallypoint(&["server", "list", "--json", "--data-dir", data_dir.to_str().unwrap()]);
        serde_json::from_str(&run(command).await.expect(0).stdout).unwrap()
    }

    /// The same, once the end of each server is known.
    pub(super) async fn ended(&self) -> Vec<Value> {
        loop {
            let servers = self.servers().await;
            if !servers.is_empty() && servers.iter().all(|server| server["state"] == "ended") {
                return servers;
            }
        }
    }

    /// The servers that run.
    pub(super) fn processes(&self) -> Vec<Pid> {
        processes_in(&self.data_dir())
    }

    /// The servers that run, and their shims.
    pub(super) fn all_processes(&self) -> Vec<Pid> {
        [self.processes(), shims_of(&self.data_dir())].concat()
    }
}

/// The body of a request for a dedicated server.
pub(super) fn request() -> Value {
    let startup = json!({ "map": "Dunes; $(id)", "misc_params": "?Listen" });
    json!({ "host_type": "dedicated", "instance_startup_params": startup })
}

/// Asks for a dedicated server. Returns the path of the session.
pub(super) async fn asked(connection: &mut Connection) -> String {
    let session = format!("/v1/session/{}", creates(connection).await);
    let path = format!("{session}/instance");
    let answer = call(connection, Method::POST, &path, Some(request())).await.expect(200);
    assert_eq!(answer.body["join_status"], "requested");
    session
}

/// Reads the session until its instance has this status. Returns the instance.
pub(super) async fn reaches(connection: &mut Connection, session: &str, status: &str) -> Value {
    let reading = async {
        loop {
            let answer = call(connection, Method::GET, session, None).await.expect(200);
            let instance = &answer.body["instance"];
            if instance["join_status"] == status {
                return instance.clone();
            }
            assert_ne!(instance["join_status"], "closed", "it can not be {status} any more: {instance}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(&format!("the instance is {status}"), reading).await
}

/// Connects to a server by UDP, with its security token and with another one.
pub(super) fn says_hello(instance: &Value) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let address = text(&instance["join_params"]["public_conn_str"]);
    let hello = format!("hello {}", text(&instance["join_params"]["custom_data"]["rh.SessionSecurityToken"]));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(address.strip_prefix("unreal://").unwrap()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // No answer to the first: what is received is the answer to the second.
    for datagram in ["hello nobody", &hello] {
        socket.send(datagram.as_bytes()).unwrap();
    }
    let mut answer = [0; 256];
    let length = socket.recv(&mut answer).unwrap();
    assert_eq!(std::str::from_utf8(&answer[..length]).unwrap(), hello);
}

#[tokio::test]
async fn from_a_request_to_the_end_of_a_match() {
    let machine = Machine::new("", &["--match-seconds=0"]);
    let server = machine.serve().await;
    let mut player = machine.connect(&server).await;
    let session = asked(&mut player).await;
    let instance = reaches(&mut player, &session, "joinable").await;
    let running = &machine.servers().await[0];
    assert_eq!((&running["state"], running["ports"].as_array().unwrap().len()), (&json!("running"), 1));
    says_hello(&instance);
    let closed = reaches(&mut player, &session, "closed").await;
    assert_eq!(closed["custom_data"], json!({}), "the match has ended without a failure: {closed}");
    until("the process ends", || machine.processes().is_empty()).await;
    let dir = Path::new(running["dir"].as_str().unwrap()).to_owned();
    until("its end is written down", || dir.join("exit").exists()).await;
    until("its secret is deleted", || !dir.join("client-secret").exists()).await;
    assert_eq!(machine.servers().await[0]["exit"], "exit status 0");
    assert!(dir.join("server.log").exists());
    let port = u16::try_from(running["ports"][0].as_u64().unwrap()).unwrap();
    UdpSocket::bind(("127.0.0.1", port)).unwrap();
    server.stop().await.expect(0);
}

#[tokio::test]
async fn the_end_of_a_session_ends_its_server() {
    let machine = Machine::new("closing_timeout_s = 0", &[]);
    let server = machine.serve().await;
    let mut player = machine.connect(&server).await;
    for path in ["/instance", "", "/player/me"] {
        let session = asked(&mut player).await;
        reaches(&mut player, &session, "joinable").await;
        assert_eq!(machine.processes().len(), 1);
        call(&mut player, Method::DELETE, &format!("{session}{path}"), None).await.expect(204);
        until("the process ends", || machine.processes().is_empty()).await;
    }
    server.stop().await.expect(0);
}

#[tokio::test]
async fn a_server_that_fails_at_its_login_is_tried_three_times_and_then_given_up() {
    if !has_python().await {
        return;
    }
    let machine = Machine::with("", &allocated_server(&["--exit-at=login"]));
    let mut server = machine.serve().await;
    let mut player = machine.connect(&server).await;
    let session = asked(&mut player).await;
    let instance = reaches(&mut player, &session, "closed").await;
    assert_eq!(instance["custom_data"]["rallypoint.launch"], "exited", "{instance}");
    let servers = machine.servers().await;
    let mut tried: BTreeSet<_> =
        servers.iter().map(|server| server["allocation_id"].as_str().unwrap()).collect();
    assert_eq!((servers.len(), tried.len()), (3, 3), "{servers:?}");
    assert!(servers.iter().all(|server| server["exit"] == "exit status 5"), "{servers:?}");
    while !tried.is_empty() {
        let line = server.logged("a server has failed; the end of its log").await;
        assert!(line.contains("WARN"), "{line}");
        // The fields of the line are behind the text, which has several lines.
        let end = server.logged("boot failed: --exit-at=login").await;
        let left = tried.len();
        tried.retain(|allocation| !end.contains(allocation));
        assert_eq!(tried.len() + 1, left, "{end}");
    }
    server.stop().await.expect(0);
}

/// By the kernel or by a crash of its own, and by the operator.
#[tokio::test]
async fn a_server_that_dies_in_a_match_closes_its_instance_and_is_not_replaced() {
    let machine = Machine::new("", &[]);
    let mut server = machine.serve().await;
    let mut player = machine.connect(&server).await;
    for (servers, is_command) in [(1, false), (2, true)] {
        let session = asked(&mut player).await;
        let instance = reaches(&mut player, &session, "joinable").await;
        if is_command {
            let (data_dir, allocation) = (machine.data_dir(), instance["allocation_id"].as_str().unwrap());
            run(rallypoint(&["server", "kill", allocation, "--data-dir", data_dir.to_str().unwrap()]))
                .await
                .expect(0);
        } else {
            let [process] = machine.processes()[..] else { panic!("the instance has one server") };
            kill_process(process, Signal::KILL).unwrap();
        }
        let closed = reaches(&mut player, &session, "closed").await;
        assert_eq!(closed["custom_data"]["rallypoint.launch"], "exited", "{closed}");
        assert_eq!(closed["instance_id"], instance["instance_id"]);
        server.logged("the launch is over").await;
        let ended = machine.ended().await;
        assert_eq!(ended.len(), servers, "each session has had one server: {ended:?}");
        assert!(ended.iter().all(|server| server["exit"] == "signal 9"), "{ended:?}");
        until("no process is left", || machine.all_processes().is_empty()).await;
    }
    server.stop().await.expect(0);
}

/// A launch whose server runs, and one that waits for its place, at the moment of a stop.
#[tokio::test]
async fn a_stop_ends_the_match_of_a_server_that_ends_with_it() {
    let machine = Machine::new("servers_max = 1\non_stop = \"end\"", &["--match-seconds=0"]);
    let server = machine.serve().await;
    let mut player = machine.connect(&server).await;
    let session = asked(&mut player).await;
    reaches(&mut player, &session, "joinable").await;
    let waiting = asked(&mut player).await;
    server.stop().await.expect(0);
    assert_eq!(machine.all_processes(), [], "none outlives the stop");

    let server = machine.serve().await;
    let mut player = machine.connect(&server).await;
    let closed = reaches(&mut player, &session, "closed").await;
    assert_eq!(closed["custom_data"]["rallypoint.launch"], "stopped", "{closed}");
    let instance = reaches(&mut player, &waiting, "joinable").await;
    says_hello(&instance);
    reaches(&mut player, &waiting, "closed").await;
    let exits: Vec<_> = machine.ended().await.iter().map(|server| server["exit"].clone()).collect();
    assert!(exits.contains(&json!("signal 9")), "{exits:?}");
    server.stop().await.expect(0);
}

#[tokio::test]
async fn a_match_goes_on_over_a_stop_that_leaves_its_server() {
    let machine = Machine::new("on_stop = \"leave\"", &["--match-seconds=0"]);
    let server = machine.serve().await;
    let mut player = machine.connect(&server).await;
    let session = asked(&mut player).await;
    let instance = reaches(&mut player, &session, "joinable").await;
    let processes = machine.processes();
    server.stop().await.expect(0);
    assert_eq!(machine.processes(), processes, "the server goes on");

    let server = machine.serve().await;
    let mut player = machine.connect(&server).await;
    let again = reaches(&mut player, &session, "joinable").await;
    assert_eq!(again, instance);
    assert_eq!(machine.servers().await[0]["state"], "running");
    says_hello(&again);
    let closed = reaches(&mut player, &session, "closed").await;
    assert_eq!(closed["custom_data"], json!({}), "{closed}");
    until("no process is left", || machine.all_processes().is_empty()).await;
    assert_eq!(machine.ended().await[0]["exit"], "exit status 0");
    server.stop().await.expect(0);
}
