//! The allocator service of Agones: REST with mutual TLS, over game servers with labels and states.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answers, Asked, Listening, Reply, listen, mutual_tls};

/// What the service does once in place of its usual work.
pub enum Fault {
    /// Answers this, and takes nothing.
    Answer(Reply),
    /// Takes a server, and closes the connection without an answer.
    TakeAndDrop,
    /// Takes a server, and answers this.
    TakeAndAnswer(Reply),
    /// Closes the connection, and takes nothing.
    Drop,
}

/// A game server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GameServer {
    pub name: String,
    pub namespace: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub allocated: bool,
    /// Names and numbers of its ports.
    pub ports: Vec<(String, u16)>,
}

/// What the service knows.
#[derive(Default)]
pub struct State {
    /// The bodies of all requests.
    pub asked: Vec<String>,
    /// The game servers, in the order in which they are taken.
    pub servers: Vec<GameServer>,
    /// What comes in place of the usual work.
    pub faults: VecDeque<Fault>,
    /// Whether the service does not see the labels that it has set yet: its cache is behind.
    pub lags: bool,
}

/// A running service.
pub struct Agones {
    /// Its address, without a path.
    pub url: String,
    /// What it knows.
    pub state: Arc<Mutex<State>>,
    listening: Listening,
}

struct Service(Arc<Mutex<State>>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Allocation {
    namespace: String,
    game_server_selectors: Vec<Selector>,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Selector {
    match_labels: BTreeMap<String, String>,
    #[serde(default)]
    game_server_state: Wanted,
}

#[derive(Default, PartialEq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Wanted {
    #[default]
    Ready,
    Allocated,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Agones {
    /// Starts a service with a fleet of this size, and the certificate `server.pem`.
    pub async fn start(servers: usize) -> Self {
        Self::start_with(servers, "server").await
    }

    /// Starts a service that presents the certificate of this name.
    pub async fn start_with(servers: usize, certificate: &str) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let service = Arc::new(Service(state.clone()));
        let listening = listen(service, 0, Some(mutual_tls(certificate))).await;
        let url = format!("https://localhost:{}", listening.address.port());
        let agones = Self { url, state, listening };
        for _ in 0..servers {
            agones.add(&[("default", 7000)]);
        }
        agones
    }

    /// Adds a ready game server of the fleet.
    pub fn add(&self, ports: &[(&str, u16)]) {
        let mut state = self.state.lock().unwrap();
        let name = format!("fleet-{}", state.servers.len() + 1);
        let fleet = ("agones.dev/fleet".to_owned(), "fleet".to_owned());
        state.servers.push(GameServer {
            name,
            namespace: "games".into(),
            labels: BTreeMap::from([fleet]),
            annotations: BTreeMap::new(),
            allocated: false,
            ports: ports.iter().map(|(name, port)| ((*name).to_owned(), *port)).collect(),
        });
    }

    /// Adds a fault.
    pub fn will(&self, fault: Fault) {
        self.state.lock().unwrap().faults.push_back(fault);
    }

    /// How many connections were opened so far, those that TLS has refused included.
    pub fn connections(&self) -> usize {
        self.listening.connections()
    }

    /// How many game servers are allocated.
    pub fn allocated(&self) -> usize {
        self.state.lock().unwrap().servers.iter().filter(|server| server.allocated).count()
    }

    /// Ends the game server of an allocation, as its own process does by `/shutdown`.
    pub fn shut_down(&self, allocation_id: &str) {
        let mut state = self.state.lock().unwrap();
        state.servers.retain(|server| !server.labels.values().any(|value| value == allocation_id));
    }
}

/// A failure, as the gateway writes it.
pub fn failure(status: u16, code: u16) -> Reply {
    Reply::json(status, json!({ "code": code, "message": format!("code {code}"), "details": [] }))
}

impl Answers for Service {
    async fn answer(&self, asked: Asked) -> Reply {
        if (asked.method.as_str(), asked.path.as_str()) != ("POST", "/gameserverallocation") {
            return failure(404, 5);
        }
        let mut state = self.0.lock().unwrap();
        let body = String::from_utf8(asked.body.to_vec()).unwrap();
        let allocation: Allocation = serde_json::from_str(&body).unwrap();
        state.asked.push(body);
        match state.faults.pop_front() {
            None => state.allocate(&allocation),
            Some(Fault::Answer(reply)) => reply,
            Some(Fault::Drop) => Reply::Drop,
            Some(Fault::TakeAndDrop) => {
                state.allocate(&allocation);
                Reply::Drop
            }
            Some(Fault::TakeAndAnswer(reply)) => {
                state.allocate(&allocation);
                reply
            }
        }
    }
}

impl State {
    /// Takes the first game server that the first possible selector finds, and merges the metadata.
    fn allocate(&mut self, allocation: &Allocation) -> Reply {
        let found =
            allocation.game_server_selectors.iter().find_map(|selector| self.select(allocation, selector));
        let Some(server) = found.map(|at| &mut self.servers[at]) else { return failure(429, 8) };
        server.allocated = true;
        server.labels.extend(allocation.metadata.labels.clone());
        server.annotations.extend(allocation.metadata.annotations.clone());
        Reply::json(200, answer(server))
    }

    fn select(&self, allocation: &Allocation, selector: &Selector) -> Option<usize> {
        self.servers.iter().position(|server| {
            let is_wanted = match selector.game_server_state {
                Wanted::Ready => !server.allocated,
                Wanted::Allocated => server.allocated && !self.lags,
            };
            let has = |(name, value): (&String, &String)| server.labels.get(name) == Some(value);
            is_wanted && server.namespace == allocation.namespace && selector.match_labels.iter().all(has)
        })
    }
}

/// The answer of the real service, which writes every field.
fn answer(server: &GameServer) -> Value {
    let ports: Vec<_> =
        server.ports.iter().map(|(name, port)| json!({ "name": name, "port": port })).collect();
    json!({
        "gameServerName": server.name,
        "ports": ports,
        "address": "198.51.100.7",
        "addresses": [{ "type": "ExternalIP", "address": "198.51.100.7" }],
        "nodeName": "node-1",
        "source": "local",
        "metadata": { "labels": server.labels, "annotations": server.annotations },
        "counters": { "rooms": { "count": "1", "capacity": "10" } },
        "lists": {},
    })
}
