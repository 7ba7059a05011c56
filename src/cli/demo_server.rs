//! `rallypoint demo-server`: a stand-in for a dedicated server. It makes the calls that a dedicated server with the
//! published plugin makes, from its start to the end of the match, and has no game.

use std::cell::Cell;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use clap::Args;
use serde_json::{Value, json};
use ureq::tls::TlsConfig;

use super::http_client::{HttpAnswer, HttpClient};
use super::print;
use crate::env::{Clock, Entropy};

/// Text after `rallypoint demo-server --help`.
pub const HELP: &str = "\
A process allocator can start it, to try a configuration before there is a real server. It logs in, finds its session by \
the allocation, becomes joinable, answers `hello TOKEN` on its UDP port if TOKEN is the session's security token, and \
closes the instance when the match ends. While the Rallypoint server is away for a moment, it tries again. The exit status is 5 if it cannot start, as that of the published plugin.

  [allocators.local]
  kind = \"process\"
  command = [\"/usr/local/bin/rallypoint\", \"demo-server\", \"--base-url={base_url}\", \"--client-id={client_id}\",
    \"--client-secret-file={client_secret_file}\", \"--allocation-file={allocation_file}\", \"--port={port}\"]
  ports = \"7777-7876\"

Next: request an instance of a session with host_type \"dedicated\", and read join_params of the session's instance.";

/// The exit status of a server that could not start.
const NOT_STARTED: u8 = 5;
/// How often the server asks for its session, once a second. The published plugin gives up then, too.
const LOOKUPS_MAX: usize = 9;
/// Time between two reads of the session.
const POLL: Duration = Duration::from_secs(60);
/// How long the server waits for the first player.
const PLAYER_WAIT: Duration = Duration::from_secs(600);
/// How long a request is repeated while the Rallypoint server is away, and the pause between two tries.
const AWAY_MAX: Duration = Duration::from_secs(30);
const AWAY_PAUSE: Duration = Duration::from_millis(200);
/// Version that the server reports.
const VERSION: &str = "demo";
/// The name of the security token in the connect parameters.
const TOKEN_FIELD: &str = "rh.SessionSecurityToken";
/// Longest datagram that is answered, in bytes.
const DATAGRAM_BYTES_MAX: usize = 1_024;

#[derive(Args)]
pub struct DemoServerArgs {
    /// URL of the Rallypoint server, with its port and without a path.
    #[arg(long, value_name = "URL")]
    base_url: String,
    /// Id of the client that the server logs in with.
    #[arg(long, value_name = "ID")]
    client_id: String,
    /// File with the secret of that client.
    #[arg(long, value_name = "FILE")]
    client_secret_file: PathBuf,
    /// File that says for which session the server was allocated.
    #[arg(long, value_name = "FILE")]
    allocation_file: PathBuf,
    /// UDP port to listen on.
    #[arg(long)]
    port: u16,
    /// Length of the match, in seconds after the first player has connected.
    #[arg(long, value_name = "N", default_value_t = 60)]
    match_seconds: u64,
}

/// Runs the command.
pub fn run(args: &DemoServerArgs) -> ExitCode {
    let ready = DemoServer::start(args);
    let (result, failure) = match ready {
        Ok(mut server) => (server.play(Duration::from_secs(args.match_seconds)), 1),
        Err(message) => (Err(message), NOT_STARTED),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(failure)
        }
    }
}

/// A server that is ready for players.
struct DemoServer {
    http: HttpClient,
    authorization: String,
    socket: UdpSocket,
    allocation_id: String,
    /// The path of the session.
    session: String,
    instance_id: String,
    /// What players need to be let in.
    security_token: String,
    /// Time between two health reports.
    health_every: Duration,
    etag: String,
    /// Whether a player has connected.
    has_player: Cell<bool>,
}

impl DemoServer {
    /// Logs in, finds the session, and becomes joinable.
    fn start(args: &DemoServerArgs) -> Result<Self, String> {
        let allocation = read_json(&args.allocation_file)?;
        let text = |name: &str| allocation[name].as_str().unwrap_or_default().to_owned();
        let (allocation_id, host) = (text("AllocationUUID"), text("ConnectionIP"));
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, args.port))
            .map_err(|error| format!("UDP port {}: {error}", args.port))?;
        say(&format!("allocated for session {}, on UDP port {}", text("SessionId"), args.port))?;
        let mut server = Self {
            http: HttpClient::new(&args.base_url, TlsConfig::default()),
            authorization: String::new(),
            socket,
            allocation_id,
            session: String::new(),
            instance_id: String::new(),
            security_token: Entropy::System.uuid().to_string(),
            health_every: Duration::from_secs(10),
            etag: String::new(),
            has_player: Cell::new(false),
        };
        server.authorization = server.log_in(&args.client_id, &args.client_secret_file)?;
        say("logged in")?;
        let session = server.find_session()?;
        server.check_template(session["type"].as_str().unwrap_or_default())?;
        let map = &server.read_session()?["instance"]["instance_startup_params"]["map"];
        say(&format!("loading the map {map}"))?;
        server.update(&json!({ "join_status": "pending", "version": VERSION }))?;
        let health = server.call("GET", "/session/v1/instance/health/config", None)?;
        if let Some(cadence) = health.body["cadence_seconds"].as_u64().filter(|cadence| *cadence > 0) {
            server.health_every = Duration::from_secs(cadence);
        }
        server.report_health()?;
        let custom_data = json!({ TOKEN_FIELD: server.security_token });
        let address = format!("unreal://{host}:{}", args.port);
        server.update(&json!({
            "join_status": "joinable",
            "version": VERSION,
            "match_id": Entropy::System.uuid(),
            "join_params": { "public_conn_str": address, "private_conn_str": "", "custom_data": custom_data },
        }))?;
        say(&format!("joinable at {address}"))?;
        Ok(server)
    }

    /// Lets players in until the match ends, or the session does not need this server any more.
    fn play(&mut self, length: Duration) -> Result<(), String> {
        let clock = Clock::System;
        let (mut end, mut is_playing) = (clock.instant() + PLAYER_WAIT, false);
        let (mut next_health, mut next_poll) = (clock.instant() + self.health_every, clock.instant() + POLL);
        loop {
            let now = clock.instant();
            if now >= end {
                self.update(&json!({ "join_status": "closed" }))?;
                return say("the match has ended");
            }
            if now >= next_health {
                next_health = now + self.health_every;
                // The instance is not this server's any more: read the session at once.
                if !self.report_health()? {
                    next_poll = now;
                }
            }
            if now >= next_poll {
                next_poll = now + POLL;
                if !self.is_needed()? {
                    return say("the session does not need this server any more");
                }
            }
            self.answer_until(end.min(next_health).min(next_poll))?;
            if self.has_player.get() && !is_playing {
                (end, is_playing) = (clock.instant() + length, true);
            }
        }
    }

    /// Answers datagrams until a moment, or until a player has connected. Returns whether one has.
    fn answer_until(&self, until: Instant) -> Result<bool, String> {
        let io = |error: std::io::Error| error.to_string();
        let hello = format!("hello {}", self.security_token);
        let mut datagram = [0; DATAGRAM_BYTES_MAX];
        loop {
            let left = until.saturating_duration_since(Clock::System.instant());
            if left.is_zero() {
                return Ok(false);
            }
            self.socket.set_read_timeout(Some(left)).map_err(io)?;
            // An error here is a timeout, or the answer of a player who is gone.
            let Ok((length, player)) = self.socket.recv_from(&mut datagram) else { continue };
            if datagram[..length] == *hello.as_bytes() {
                say(&format!("a player has connected from {player}"))?;
                // The player may be gone.
                let _ = self.socket.send_to(hello.as_bytes(), player);
                self.has_player.set(true);
                return Ok(true);
            }
        }
    }

    fn log_in(&self, client_id: &str, secret_file: &Path) -> Result<String, String> {
        let secret = std::fs::read_to_string(secret_file)
            .map_err(|error| format!("{}: {error}", secret_file.display()))?;
        // The published plugin uses this alphabet.
        let basic = format!("Basic {}", URL_SAFE.encode(format!("{client_id}:{}", secret.trim_end())));
        let body = json!({
            "grant_type": "client_credentials", "include_refresh": false,
            "accept_eula": true, "accept_tos": true, "accept_privacy_policy": true,
        });
        let answer = self.send("POST", "/users/v1/login", &basic, None, Some(&body))?;
        match (answer.status.as_u16(), answer.body["access_token"].as_str()) {
            (200, Some(token)) => Ok(format!("Bearer {token}")),
            _ => Err(format!("login: {} {}", answer.status, answer.body["error_code"])),
        }
    }

    /// Finds the session by the allocation. Notes its id and that of its instance.
    fn find_session(&mut self) -> Result<Value, String> {
        let path = format!("/session/v1/session/allocation/{}", self.allocation_id);
        for attempt in 1..=LOOKUPS_MAX {
            let answer = self.send("GET", &path, &self.authorization, None, None)?;
            let instance = &answer.body["instance"];
            if answer.status.as_u16() == 200 && instance["allocation_id"] == self.allocation_id.as_str() {
                let id = answer.body["session_id"].as_str().unwrap_or_default();
                self.session = format!("/session/v1/session/{id}");
                self.instance_id = instance["instance_id"].as_str().unwrap_or_default().to_owned();
                return Ok(answer.body);
            }
            if !matches!(answer.status.as_u16(), 200 | 404) {
                return Err(format!("the session of the allocation: {} {}", answer.status, answer.text));
            }
            if attempt < LOOKUPS_MAX {
                self.pause(Duration::from_secs(1))?;
            }
        }
        Err("no session has this allocation".into())
    }

    fn check_template(&self, session_type: &str) -> Result<(), String> {
        let template = self.call("GET", &format!("/session/v1/template/{session_type}"), None)?;
        match template.body["session_type"] == session_type {
            true => Ok(()),
            false => Err(format!("there is no template {session_type:?}")),
        }
    }

    fn read_session(&mut self) -> Result<Value, String> {
        let answer = self.call("GET", &format!("{}?refresh_ttl=true", self.session), None)?;
        self.etag = etag(&answer);
        Ok(answer.body)
    }

    /// Whether the instance of the session is still this server's.
    fn is_needed(&mut self) -> Result<bool, String> {
        let path = format!("{}?refresh_ttl=true", self.session);
        let answer = self.send("GET", &path, &self.authorization, Some(&self.etag), None)?;
        if answer.status.as_u16() == 304 {
            return Ok(true);
        }
        self.etag = etag(&answer);
        let instance = &answer.body["instance"];
        let is_own = instance["allocation_id"] == self.allocation_id.as_str();
        Ok(answer.status.as_u16() == 200 && is_own && instance["join_status"] != "closed")
    }

    /// Changes the instance, and reads the session again.
    fn update(&mut self, change: &Value) -> Result<(), String> {
        let mut body = change.clone();
        body["allocation_id"] = json!(self.allocation_id);
        self.call("PATCH", &format!("{}/instance", self.session), Some(&body))?;
        if change["join_status"] == "closed" {
            return Ok(());
        }
        self.read_session().map(drop)
    }

    /// Reports that the server is healthy. Returns whether the instance is still this server's.
    fn report_health(&self) -> Result<bool, String> {
        let path = format!("{}/instance/health", self.session);
        let body = json!({ "instance_id": self.instance_id, "instance_health": "healthy" });
        let answer = self.send("POST", &path, &self.authorization, None, Some(&body))?;
        match answer.status.as_u16() {
            404 => Ok(false),
            _ if answer.status.is_success() => Ok(true),
            _ => Err(format!("health: {} {}", answer.status, answer.text)),
        }
    }

    /// Sends a request. Tries again while the Rallypoint server is away.
    fn send(
        &self,
        method: &str,
        path: &str,
        authorization: &str,
        if_none_match: Option<&str>,
        body: Option<&Value>,
    ) -> Result<HttpAnswer, String> {
        let end = Clock::System.instant() + AWAY_MAX;
        loop {
            let sent = self.http.send_to_root(method, path, authorization, if_none_match, body);
            let is_away = sent.as_ref().map_or(true, |answer| answer.status.as_u16() == 503);
            if !is_away || Clock::System.instant() >= end {
                return sent;
            }
            self.pause(AWAY_PAUSE)?;
        }
    }

    /// Waits, and answers players meanwhile.
    fn pause(&self, pause: Duration) -> Result<(), String> {
        let end = Clock::System.instant() + pause;
        while self.answer_until(end)? {}
        Ok(())
    }

    /// Sends a request that must succeed.
    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<HttpAnswer, String> {
        let answer = self.send(method, path, &self.authorization, None, body)?;
        match answer.status.is_success() {
            true => Ok(answer),
            false => Err(format!("{method} {path}: {} {}", answer.status, answer.text)),
        }
    }
}

fn etag(answer: &HttpAnswer) -> String {
    answer.headers.get("etag").and_then(|etag| etag.to_str().ok()).unwrap_or_default().to_owned()
}

fn read_json(path: &Path) -> Result<Value, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Prints a line to the log of the server.
fn say(line: &str) -> Result<(), String> {
    print(&format!("{line}\n"))
}
