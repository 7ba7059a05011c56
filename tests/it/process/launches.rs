//! From a request for an instance to a running match, with the real binary and real server processes.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::allocator::until;
use super::serve::{call, creates, token};
use crate::support::connection::Connection;
use crate::support::process::{Server, rallypoint, run, soon};

/// A directory with a configuration, and the port that its server always gets: servers that are adopted after a restart
/// know the address of their API.
struct Machine {
    dir: TempDir,
    port: u16,
}

impl Machine {
    /// `settings` are further settings of the allocator, `arguments` of the stand-in.
    fn new(settings: &str, arguments: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
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
            "[allocators.local]\nkind = \"process\"\nports = \"30000-30999\"\ncommand = {}\n{settings}\n",
            json!(command)
        );
        std::fs::write(dir.path().join("rallypoint.toml"), text).unwrap();
        Self { dir, port }
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    async fn serve(&self) -> Server {
        let (config, listen) = (self.dir.path().join("rallypoint.toml"), format!("127.0.0.1:{}", self.port));
        let data_dir = self.data_dir();
        let (config, data_dir) = (config.to_str().unwrap(), data_dir.to_str().unwrap());
        let listeners = ["serve", "--listen", &listen, "--admin-listen", "127.0.0.1:0"];
        let args = [&listeners[..], &["--config", config, "--data-dir", data_dir]].concat();
        Server::spawn(rallypoint(&args)).await
    }

    async fn connect(&self, server: &Server) -> Connection {
        let token = token(&self.data_dir(), &[]).await;
        Connection::open(server.address, Some(&token)).await.unwrap()
    }

    /// What `rallypoint server list` says.
    async fn servers(&self) -> Vec<Value> {
        let data_dir = self.data_dir();
        let command = rallypoint(&["server", "list", "--json", "--data-dir", data_dir.to_str().unwrap()]);
        serde_json::from_str(&run(command).await.expect(0).stdout).unwrap()
    }

    /// The stand-ins that run, by the number of the process.
    fn processes(&self) -> Vec<u32> {
        let dir = self.data_dir().canonicalize().unwrap();
        let is_own = |pid: &u32| {
            let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            command.contains("demo-server\0") && command.contains(dir.to_str().unwrap())
        };
        let pids = std::fs::read_dir("/proc").unwrap().flatten();
        pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_own).collect()
    }
}

/// Asks for a dedicated server. Returns the path of the session.
pub(super) async fn asked(connection: &mut Connection) -> String {
    let session = format!("/v1/session/{}", creates(connection).await);
    let startup = json!({ "map": "Dunes; $(id)", "misc_params": "?Listen" });
    let request = json!({ "host_type": "dedicated", "instance_startup_params": startup });
    let answer =
        call(connection, Method::POST, &format!("{session}/instance"), Some(request)).await.expect(200);
    assert_eq!(answer.body["join_status"], "requested");
    session
}

/// Reads the session until its instance has this status. Returns the instance.
pub(super) async fn reaches(connection: &mut Connection, session: &str, status: &str) -> Value {
    let reading = async {
        loop {
            let answer = call(connection, Method::GET, session, None).await.expect(200);
            if answer.body["instance"]["join_status"] == status {
                return answer.body["instance"].clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(&format!("the instance is {status}"), reading).await
}

/// Connects to a server by UDP, with its security token and with another one.
fn says_hello(instance: &Value) {
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

/// The moments of a launch at which the server is killed: what is there then, which the test waits for.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Asked,
    Directory,
    Process,
    Status(&'static str),
}

#[tokio::test]
async fn a_launch_survives_a_kill_of_the_server_at_each_step() {
    let moments = [
        Moment::Asked,
        Moment::Directory,
        Moment::Process,
        Moment::Status("allocated"),
        Moment::Status("pending"),
        Moment::Status("joinable"),
    ];
    let machine = Machine::new("", &["--match-seconds=0"]);
    let servers = machine.data_dir().join("servers/local");
    for moment in moments {
        let server = machine.serve().await;
        let mut player = machine.connect(&server).await;
        let directories = std::fs::read_dir(&servers).unwrap().count();
        let session = asked(&mut player).await;
        match moment {
            Moment::Asked => {}
            Moment::Directory => {
                let is_there = || std::fs::read_dir(&servers).unwrap().count() > directories;
                until("there is a directory", is_there).await;
            }
            Moment::Process => until("the process runs", || !machine.processes().is_empty()).await,
            // Later ones count as well: the test may look too late.
            Moment::Status(status) => {
                let order = ["requested", "allocated", "pending", "joinable"];
                let rank = |status: &str| order.iter().position(|other| *other == status);
                while rank(reached(&mut player, &session).await.as_str()) < rank(status) {}
            }
        }
        server.kill().await;
        let server = machine.serve().await;
        let mut player = machine.connect(&server).await;
        let instance = reaches(&mut player, &session, "joinable").await;
        assert_eq!(machine.processes().len(), 1, "{moment:?}");
        says_hello(&instance);
        reaches(&mut player, &session, "closed").await;
        until("no process is left", || machine.processes().is_empty()).await;
        server.stop().await.expect(0);
    }
}

async fn reached(connection: &mut Connection, session: &str) -> String {
    let answer = call(connection, Method::GET, session, None).await.expect(200);
    answer.body["instance"]["join_status"].as_str().unwrap().to_owned()
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
