//! From a request for an instance to a running match, with the real binary and real server processes.

use std::fs::DirBuilder;
use std::net::UdpSocket;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Method;
use rallypoint::crash_point;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::allocator::until;
use super::serve::{call, creates, token};
use crate::support::connection::Connection;
use crate::support::process::{
    KillAtEnd, Server, game_ports, lasting_address, processes_of, rallypoint, run, serve_at, soon,
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
        let dir = TempDir::new().unwrap();
        let program = env!("CARGO_BIN_EXE_rallypoint");
        let given = [
            "--base-url={base_url}",
            "--client-id={client_id}",
            "--client-secret-file={client_secret_file}",
            "--allocation-file={allocation_file}",
            "--port={port}",
        ];
        let command: Vec<_> = [&[program, "demo-server"][..], &given, arguments].concat();
        let text = format!(
            "[allocators.local]\nkind = \"process\"\nports = \"{}\"\ncommand = {}\n\
             env = {{ {} = {:?} }}\n{settings}\n",
            game_ports(),
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

    /// The stand-ins that run, by the number of the process.
    pub(super) fn processes(&self) -> Vec<i32> {
        self.processes_of("demo-server")
    }

    /// The stand-ins that run, and their shims.
    pub(super) fn all_processes(&self) -> Vec<i32> {
        [self.processes(), self.processes_of("server-shim")].concat()
    }

    fn processes_of(&self, subcommand: &str) -> Vec<i32> {
        let dir = self.data_dir().canonicalize().unwrap();
        processes_of(subcommand, dir.to_str().unwrap()).into_iter().map(|(pid, _)| pid).collect()
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
async fn a_server_that_cannot_start_is_tried_again_and_then_given_up() {
    // The second port of the stand-in's command is no argument that it knows.
    let machine = Machine::new("attempts_max = 2", &["--unknown"]);
    let mut server = machine.serve().await;
    let mut player = machine.connect(&server).await;
    let session = asked(&mut player).await;
    let instance = reaches(&mut player, &session, "closed").await;
    assert_eq!(instance["custom_data"]["rallypoint.launch"], "exited", "{instance}");
    let servers = machine.servers().await;
    assert_eq!(servers.len(), 2, "{servers:?}");
    assert_ne!(servers[0]["allocation_id"], servers[1]["allocation_id"]);
    assert!(servers.iter().all(|server| server["exit"] == "exit status 2"), "{servers:?}");
    let line = server.logged("a server has failed").await;
    assert!(line.contains("WARN"), "{line}");
    server.logged("unexpected argument '--unknown'").await;
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
    assert_eq!(machine.all_processes(), [0; 0], "none outlives the stop");

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
