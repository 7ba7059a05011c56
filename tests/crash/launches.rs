//! Players who ask for dedicated servers, give them back and end their sessions, until the server is killed. The process
//! allocator starts the servers. After the restart every instance that an answer has promised gets one server, and no other
//! server lives.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use rallypoint::domain::Platform;
use rallypoint::env::Entropy;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::model::{joining, list_path, session_path};
use crate::support::connection::Connection;
use crate::support::process::{processes_of, soon};
use crate::tally::Tally;

/// Number of players who ask for servers at the same time.
pub const LAUNCHERS: usize = 2;
/// Maximum number of sessions of such a player.
const SESSIONS_MAX: usize = 2;
/// One of this many steps of a player asks for something; the others read. A server takes much longer to start.
const STEPS_PER_ASK: u64 = 2;
/// Most servers at the same time. Servers that end count, too, so some launches wait.
const SERVERS_MAX: usize = LAUNCHERS * SESSIONS_MAX;
/// How long the servers may take until they agree with the sessions.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(60);

/// The ports of the servers, which other runs on this machine hardly use.
fn ports() -> RangeInclusive<u16> {
    let first = 10_000 + u16::try_from(std::process::id() % 150).unwrap() * 64;
    first..=first + 63
}

/// The additional configuration of a server that launches servers: the stand-in of the binary.
pub fn configuration() -> String {
    let command = [
        env!("CARGO_BIN_EXE_rallypoint"),
        "demo-server",
        "--base-url={base_url}",
        "--client-id={client_id}",
        "--client-secret-file={client_secret_file}",
        "--allocation-file={allocation_file}",
        "--port={port}",
    ];
    format!(
        "[templates.arena]\ncan_be_created_by_players_directly = true\n\
         [allocators.local]\nkind = \"process\"\nports = \"{}-{}\"\nservers_max = {SERVERS_MAX}\n\
         servers_per_player_max = 0\nclosing_timeout_s = 0\ncommand = {}\n",
        ports().start(),
        ports().end(),
        json!(command)
    )
}

/// A player who asks for servers.
pub struct Launcher {
    player: Uuid,
    token: String,
    entropy: Entropy,
    /// Its sessions, and whether each has an instance.
    sessions: BTreeMap<String, bool>,
    /// The sessions that have ended since the last start.
    ended: BTreeSet<String>,
    /// What may have been done or not.
    in_flight: Option<Ask>,
    /// How many requests for servers were answered since the last start.
    requests: usize,
}

/// What a player asks for.
#[derive(Clone, Debug, PartialEq)]
enum Ask {
    Create,
    Request(String),
    EndInstance(String),
    EndSession(String),
}

impl Ask {
    fn session(&self) -> Option<&str> {
        match self {
            Self::Create => None,
            Self::Request(session) | Self::EndInstance(session) | Self::EndSession(session) => Some(session),
        }
    }

    async fn send(&self, connection: &mut Connection) -> hyper::Result<(StatusCode, Value)> {
        let path = self.session().map_or_else(|| "/v1/session".to_owned(), session_path);
        let (method, path, body) = match self {
            Self::Create => {
                let mut body = joining(Platform::Steam, "1.0.0");
                body["session_type"] = "arena".into();
                (Method::POST, path, Some(body))
            }
            Self::Request(_) => {
                let startup = json!({ "map": "Dunes", "misc_params": "" });
                let body = json!({ "host_type": "dedicated", "instance_startup_params": startup });
                (Method::POST, path + "/instance", Some(body))
            }
            Self::EndInstance(_) => (Method::DELETE, path + "/instance", None),
            Self::EndSession(_) => (Method::DELETE, path, None),
        };
        call(connection, method, &path, body).await
    }
}

/// Makes a call. Returns its status and body; null if it has none.
pub async fn call(
    connection: &mut Connection,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> hyper::Result<(StatusCode, Value)> {
    let answer = connection.call(&method, path, body.as_ref()).await?;
    Ok((answer.status(), serde_json::from_slice(answer.body()).unwrap_or_default()))
}

impl Launcher {
    pub fn new(player: Uuid, token: String, entropy: Entropy) -> Self {
        let (sessions, ended) = (BTreeMap::new(), BTreeSet::new());
        Self { player, token, entropy, sessions, ended, in_flight: None, requests: 0 }
    }

    /// Asks until the server is gone or the tally is complete.
    pub async fn run(mut self, address: SocketAddr, tally: Arc<Tally>) -> Self {
        let Ok(mut connection) = Connection::open(address, Some(&self.token)).await else { return self };
        while !tally.is_enough() && self.step(&mut connection).await.is_ok() {}
        self
    }

    fn below(&self, bound: u64) -> u64 {
        u64::from_le_bytes(self.entropy.bytes()) % bound
    }

    async fn step(&mut self, connection: &mut Connection) -> hyper::Result<()> {
        let Some(ask) = self.choose() else {
            return call(connection, Method::GET, &list_path(self.player), None).await.map(drop);
        };
        self.in_flight = Some(ask.clone());
        let (status, body) = ask.send(connection).await?;
        assert!(status.is_success(), "{ask:?} was answered {status} {body}");
        self.in_flight = None;
        self.note(ask, &body);
        Ok(())
    }

    /// What to ask for; nothing in most steps.
    fn choose(&self) -> Option<Ask> {
        let index = usize::try_from(self.below(SESSIONS_MAX as u64)).unwrap();
        let Some((session, has_instance)) = self.sessions.iter().nth(index) else {
            return Some(Ask::Create);
        };
        if self.below(STEPS_PER_ASK) > 0 {
            return None;
        }
        Some(match (has_instance, self.below(4)) {
            (_, 0) => Ask::EndSession(session.clone()),
            (true, _) => Ask::EndInstance(session.clone()),
            (false, _) => Ask::Request(session.clone()),
        })
    }

    fn note(&mut self, ask: Ask, answer: &Value) {
        let (session, has_instance) = match ask {
            Ask::Create => (answer["session_id"].as_str().unwrap().to_owned(), false),
            Ask::Request(session) => {
                self.requests += 1;
                (session, true)
            }
            Ask::EndInstance(session) => (session, false),
            Ask::EndSession(session) => {
                self.sessions.remove(&session);
                self.ended.insert(session);
                return;
            }
        };
        self.sessions.insert(session, has_instance);
    }

    /// Compares the sessions after a restart with the answers before. Adds what differs to `wrong`. From here on, the
    /// player expects what was found.
    async fn check(&mut self, connection: &mut Connection, wrong: &mut Vec<String>) {
        let in_flight = self.in_flight.take();
        let is_in_doubt =
            |session: &str| in_flight.as_ref().is_some_and(|ask| ask.session() == Some(session));
        for session in std::mem::take(&mut self.ended) {
            if self.read(connection, &session).await.is_some() {
                wrong.push(format!("session {session} has ended, and is there again"));
            }
        }
        let (_, list) = call(connection, Method::GET, &list_path(self.player), None).await.unwrap();
        let listed = list["sessions"]["arena"]["session_ids"].as_array().cloned().unwrap_or_default();
        let listed = listed.iter().filter_map(|id| Some(id.as_str()?.to_owned()));
        let mut expected = std::mem::take(&mut self.sessions);
        for session in listed.chain(expected.keys().cloned().collect::<Vec<_>>()) {
            if self.sessions.contains_key(&session) {
                continue;
            }
            let found = self.read(connection, &session).await.map(|body| !body["instance"].is_null());
            let was = expected.remove(&session);
            let is_new = was.is_none() && found == Some(false) && in_flight == Some(Ask::Create);
            if found != was && !is_new && !is_in_doubt(&session) {
                wrong.push(format!(
                    "session {session} of {} has an instance: {was:?} is right, {found:?} was found",
                    self.player
                ));
            }
            self.sessions.extend(found.map(|has_instance| (session, has_instance)));
        }
    }

    /// Reads a session; `None` if there is none.
    async fn read(&self, connection: &mut Connection, session: &str) -> Option<Value> {
        let (status, body) = call(connection, Method::GET, &session_path(session), None).await.unwrap();
        status.is_success().then_some(body)
    }
}

/// The directory of the allocator.
fn servers_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("servers/local")
}

/// The allocations whose servers run. More than one process of an allocation shows as more than one entry.
fn running(data_dir: &Path) -> Vec<String> {
    let dir = servers_dir(data_dir).canonicalize().unwrap();
    let allocation = |(_, arguments): (i32, String)| {
        let file = arguments.split('\0').find_map(|argument| argument.strip_prefix("--allocation-file="))?;
        Some(Path::new(file).parent()?.file_name()?.to_str()?.to_owned())
    };
    let mut running: Vec<_> =
        processes_of("demo-server", dir.to_str().unwrap()).into_iter().filter_map(allocation).collect();
    running.sort();
    running
}

/// Checks the sessions of the players after a restart, and waits until each instance has its server, and no other server
/// runs. Returns a summary.
pub async fn verify(
    launchers: &mut [Launcher],
    admin: &mut Connection,
    data_dir: &Path,
    wrong: &mut Vec<String>,
) -> String {
    let mut requests = 0;
    for launcher in &mut *launchers {
        requests += std::mem::take(&mut launcher.requests);
        launcher.check(admin, wrong).await;
    }
    let started = Instant::now();
    loop {
        let (mut allocations, mut unsettled) = (Vec::new(), Vec::new());
        for launcher in &*launchers {
            for session in launcher.sessions.iter().filter(|(_, has_instance)| **has_instance) {
                let seen = launcher.read(admin, session.0).await.unwrap_or_default();
                let instance = &seen["instance"];
                match instance["join_status"].as_str() {
                    Some("joinable") => {
                        allocations.extend(instance["allocation_id"].as_str().map(str::to_owned))
                    }
                    _ => unsettled.push(format!("instance {instance}")),
                }
            }
        }
        allocations.sort();
        let running = if launchers.is_empty() { Vec::new() } else { running(data_dir) };
        if running != allocations {
            unsettled
                .push(format!("the servers of {running:?} run, and those of {allocations:?} are wanted"));
        }
        if unsettled.is_empty() {
            return format!("{} servers after {requests} requests", allocations.len());
        }
        // An instance that is closed stays closed.
        let is_lost = unsettled.iter().any(|instance| instance.contains("\"closed\""));
        if is_lost || started.elapsed() > SETTLE_TIME_MAX {
            wrong.append(&mut unsettled);
            return "servers are wrong".into();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Ends all sessions of the players, and waits for the end of their servers.
pub async fn end_all(launchers: &mut [Launcher], admin: &mut Connection, data_dir: &Path) {
    for launcher in launchers {
        for session in std::mem::take(&mut launcher.sessions).into_keys() {
            let (status, body) = Ask::EndSession(session).send(admin).await.unwrap();
            assert!(status.is_success(), "{status} {body}");
        }
    }
    let dir = servers_dir(data_dir).canonicalize().unwrap();
    let ending = async {
        while ["demo-server", "server-shim"]
            .iter()
            .any(|name| !processes_of(name, dir.to_str().unwrap()).is_empty())
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("the servers end", ending).await;
}

/// What ended servers have left behind: ports that cannot be bound, secrets, locks. Called after a stop.
pub fn leftovers(data_dir: &Path) -> Vec<String> {
    let mut left = Vec::new();
    for port in ports() {
        left.extend(
            UdpSocket::bind(("127.0.0.1", port)).err().map(|error| format!("UDP port {port}: {error}")),
        );
    }
    for dir in std::fs::read_dir(servers_dir(data_dir)).unwrap().flatten() {
        let dir = dir.path();
        for file in ["client-secret", "credentials"] {
            left.extend(dir.join(file).exists().then(|| format!("{} is left", dir.join(file).display())));
        }
        if let Ok(alive) = std::fs::File::open(dir.join("alive"))
            && alive.try_lock().is_err()
        {
            left.push(format!("{} is locked", dir.display()));
        }
        if dir.join("pid").exists() && !dir.join("exit").exists() {
            left.push(format!("{} does not say how its server has ended", dir.display()));
        }
    }
    left
}
