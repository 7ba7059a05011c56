//! How long it takes from a request for an instance to a process, and to a joinable server; beside the bare start of the
//! same program in the same run. Then many servers are started and ended, and nothing may be left.
//!
//! `LAUNCHES` is the number of servers, 20 without it.

use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Servers that run at the same time in the second part.
const AT_ONCE: usize = 8;
/// The ports of servers.
const PORTS: u16 = 20_000;
const PORTS_END: u16 = 24_999;
const PROGRAM: &str = env!("CARGO_BIN_EXE_rallypoint");
const PLAYER: &str = "11111111-1111-4111-8111-111111111111";

/// A Rallypoint server with a process allocator.
struct Rallypoint {
    dir: tempfile::TempDir,
    base: String,
    token: String,
    child: Child,
}

/// How long the steps of a launch took, from the request on.
struct Steps {
    process: Duration,
    joinable: Duration,
}

impl Rallypoint {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let given = [
            "--base-url={base_url}",
            "--client-id={client_id}",
            "--client-secret-file={client_secret_file}",
            "--allocation-file={allocation_file}",
            "--port={port}",
            "--match-seconds=0",
        ];
        let command: Vec<_> = [&[PROGRAM, "demo-server"][..], &given].concat();
        let text = format!(
            "[allocators.local]\nkind = \"process\"\nports = \"{PORTS}-{PORTS_END}\"\n\
             servers_max = 64\nservers_per_player_max = 0\ncommand = {}\n",
            json!(command)
        );
        std::fs::write(dir.path().join("rallypoint.toml"), text).unwrap();
        let mut child = Command::new(PROGRAM)
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(dir.path().join("rallypoint.toml"))
            .arg("--data-dir")
            .arg(dir.path().join("data"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let first = BufReader::new(child.stdout.take().unwrap()).lines().next().unwrap().unwrap();
        let address = first.strip_prefix("listening on ").unwrap();
        let token = Command::new(PROGRAM)
            .args(["token", "--player", PLAYER, "--data-dir"])
            .arg(dir.path().join("data"))
            .output()
            .unwrap();
        let token = String::from_utf8(token.stdout).unwrap().trim().to_owned();
        Self { base: format!("{address}/session"), dir, token, child }
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("authorization", format!("Bearer {}", self.token));
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let body = body.map_or_else(String::new, Value::to_string);
        let mut answer = agent.run(request.body(body).unwrap()).unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        assert!(answer.status().is_success(), "{method} {path}: {} {text}", answer.status());
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// Launches a server, plays a match on it, and ends the session.
    fn launch(&self) -> Steps {
        let client = json!({ "platform": "Steam", "input": "gamepad" });
        let creation = json!({ "session_type": "party", "client_version": "1", "client_settings": client });
        let created = self.call("POST", "/v1/session", Some(&creation));
        let session = format!("/v1/session/{}", created["session_id"].as_str().unwrap());
        let startup = json!({ "map": "Dunes", "misc_params": "" });
        let request = json!({ "host_type": "dedicated", "instance_startup_params": startup });
        let begin = Instant::now();
        self.call("POST", &format!("{session}/instance"), Some(&request));
        let mut process = None;
        let instance = loop {
            let instance = self.call("GET", &session, None)["instance"].clone();
            let id = instance["allocation_id"].as_str().map(str::to_owned);
            let pid = id.map(|id| self.servers().join(id).join("pid"));
            if process.is_none() && pid.is_some_and(|pid| pid.exists()) {
                process = Some(begin.elapsed());
            }
            match instance["join_status"].as_str() {
                Some("joinable") => break instance,
                Some("closed") => panic!("the launch has failed: {instance}"),
                _ => std::thread::park_timeout(Duration::from_millis(1)),
            }
        };
        let joinable = begin.elapsed();
        say_hello(&instance["join_params"]);
        while self.call("GET", &session, None)["instance"]["join_status"] != "closed" {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        self.call("DELETE", &session, None);
        Steps { process: process.unwrap_or(joinable), joinable }
    }

    fn servers(&self) -> PathBuf {
        self.dir.path().join("data/servers/local")
    }

    /// The processes of servers and shims.
    fn processes(&self) -> usize {
        let dir = self.dir.path().to_str().unwrap();
        let command = |pid: &Path| std::fs::read_to_string(pid.join("cmdline")).unwrap_or_default();
        let all = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| command(&entry.path()));
        all.filter(|command| command.contains(dir) && !command.contains("\0serve\0")).count()
    }

    /// The servers that `rallypoint server list` does not call ended.
    fn live_servers(&self) -> Vec<Value> {
        let list = Command::new(PROGRAM)
            .args(["server", "list", "--json", "--data-dir"])
            .arg(self.dir.path().join("data"))
            .output()
            .unwrap();
        let mut servers: Vec<Value> = serde_json::from_slice(&list.stdout).unwrap();
        servers.retain(|server| server["state"] != "ended");
        servers
    }
}

impl Drop for Rallypoint {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Connects to a server, so that its match begins and ends.
fn say_hello(join_params: &Value) {
    let address = join_params["public_conn_str"].as_str().unwrap().trim_start_matches("unreal://").to_owned();
    let token = join_params["custom_data"]["rh.SessionSecurityToken"].as_str().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    socket.send_to(format!("hello {token}").as_bytes(), address).unwrap();
    socket.recv(&mut [0; 256]).unwrap();
}

/// Prints the median and the 99th percentile.
fn print_row(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part).round() as usize].as_secs_f64() * 1e3;
    println!("{what:44} {:>9.2} {:>9.2}", at(0.5), at(0.99));
}

fn main() {
    let launches = std::env::var("LAUNCHES").map_or(20, |text| text.parse().expect("LAUNCHES is a number"));
    let rallypoint = Rallypoint::start();
    rallypoint.launch();
    let (mut bare, mut steps) = (Vec::new(), Vec::new());
    for _ in 0..launches.min(200) {
        let begin = Instant::now();
        let mut child = Command::new(PROGRAM).arg("--version").stdout(Stdio::null()).spawn().unwrap();
        bare.push((begin.elapsed(), {
            child.wait().unwrap();
            begin.elapsed()
        }));
        steps.push(rallypoint.launch());
    }
    println!("{:44} {:>9} {:>9}", "milliseconds", "p50", "p99");
    print_row("bare start of the program", bare.iter().map(|(spawned, _)| *spawned).collect());
    print_row("bare start of the program, and its end", bare.iter().map(|(_, ended)| *ended).collect());
    print_row("POST …/instance to the process", steps.iter().map(|steps| steps.process).collect());
    print_row("POST …/instance to joinable", steps.iter().map(|steps| steps.joinable).collect());

    let (begin, next) = (Instant::now(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while next.fetch_add(1, Ordering::Relaxed) < launches {
                    rallypoint.launch();
                }
            });
        }
    });
    let seconds = begin.elapsed().as_secs_f64();
    println!("{launches} servers, {AT_ONCE} at a time: {:.1} a second", launches as f64 / seconds);
    check_that_nothing_is_left(&rallypoint);
}

/// No process, no port, no live server, and no more directories than those that are kept.
fn check_that_nothing_is_left(rallypoint: &Rallypoint) {
    let end = Instant::now() + Duration::from_secs(60);
    // The allocator notices the end of a server a moment after the process is gone.
    while rallypoint.processes() + rallypoint.live_servers().len() > 0 && Instant::now() < end {
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let live = rallypoint.live_servers();
    let ports = (PORTS..=PORTS_END).filter(|port| UdpSocket::bind(("0.0.0.0", *port)).is_err()).count();
    let directories =
        std::fs::read_dir(rallypoint.servers()).unwrap().filter(|dir| dir.as_ref().unwrap().path().is_dir());
    let directories = directories.count();
    let processes = rallypoint.processes();
    println!(
        "left: {processes} processes, {} servers, {ports} ports in use, {directories} directories (20 are kept)",
        live.len()
    );
    assert!(live.is_empty(), "{live:#?}");
    assert_eq!((processes, ports), (0, 0));
    assert!(directories <= 20, "{directories}");
}
