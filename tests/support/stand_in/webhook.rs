//! A studio's service for webhook allocators: it starts servers, and remembers what it was asked by the idempotency key.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{Answers, Asked, Listening, Reply, listen};

/// What the service does once in place of its usual work.
pub enum Fault {
    /// Answers this, and does nothing.
    Answer(Reply),
    /// Does its work, and closes the connection without an answer.
    LoseAnswer,
    /// Does its work, and answers this.
    AnswerInstead(Reply),
    /// Begins to start the server, and answers 202 with this body. The next `find` still answers 202.
    TakesLonger(Value),
}

/// A server of the studio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GameServer {
    pub handle: String,
    /// How many calls of `find` still find it starting.
    starting: usize,
}

/// What the service knows.
#[derive(Default)]
pub struct State {
    /// All requests, with their bodies.
    pub asked: Vec<(Asked, Value)>,
    /// The servers that run, by allocation.
    pub servers: BTreeMap<String, GameServer>,
    /// How many servers were ever started.
    pub started: usize,
    /// What comes in place of the usual work.
    pub faults: VecDeque<Fault>,
}

/// A running service.
pub struct Webhook {
    /// Its URL.
    pub url: String,
    /// What it knows.
    pub state: Arc<Mutex<State>>,
    /// Each request takes a permit: a test that takes them away lets requests wait.
    pub gate: Arc<Semaphore>,
    _listening: Listening,
}

struct Service {
    state: Arc<Mutex<State>>,
    gate: Arc<Semaphore>,
    secrets: Vec<String>,
}

/// Permits for all requests of a test.
const OPEN: usize = 10_000;

impl Webhook {
    /// Starts a service that accepts signatures by any of these secrets.
    pub async fn start(secrets: &[&str]) -> Self {
        let (state, gate) = (Arc::new(Mutex::new(State::default())), Arc::new(Semaphore::new(OPEN)));
        let secrets = secrets.iter().map(|secret| (*secret).to_owned()).collect();
        let service = Arc::new(Service { state: state.clone(), gate: gate.clone(), secrets });
        let listening = listen(service, 0, None).await;
        Self { url: format!("http://{}/rallypoint", listening.address), state, gate, _listening: listening }
    }

    /// Adds a fault.
    pub fn will(&self, fault: Fault) {
        self.state.lock().unwrap().faults.push_back(fault);
    }
}

impl Answers for Service {
    async fn answer(&self, asked: Asked) -> Reply {
        let _permit = self.gate.acquire().await.unwrap();
        if !self.is_signed(&asked) {
            return Reply::json(
                401,
                json!({ "error_code": "bad_signature", "desc": "the signature is wrong" }),
            );
        }
        let body: Value = serde_json::from_slice(&asked.body).unwrap();
        let mut state = self.state.lock().unwrap();
        state.asked.push((asked, body.clone()));
        match state.faults.pop_front() {
            None => state.work(&body),
            Some(Fault::Answer(reply)) => reply,
            Some(Fault::LoseAnswer) => {
                state.work(&body);
                Reply::Drop
            }
            Some(Fault::AnswerInstead(reply)) => {
                state.work(&body);
                reply
            }
            Some(Fault::TakesLonger(answer)) => {
                state.start_server(&body, 1);
                Reply::json(202, answer)
            }
        }
    }
}

impl Service {
    /// Whether a call is signed as Standard Webhooks say.
    fn is_signed(&self, asked: &Asked) -> bool {
        let (id, timestamp) = (asked.header("webhook-id"), asked.header("webhook-timestamp"));
        let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", &asked.body].concat();
        self.secrets.iter().any(|secret| {
            let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
            let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
            asked.header("webhook-signature").split(' ').any(|signature| {
                let signature = STANDARD.decode(signature.strip_prefix("v1,").unwrap()).unwrap();
                hmac::verify(&key, &signed, &signature).is_ok()
            })
        })
    }
}

impl State {
    fn work(&mut self, body: &Value) -> Reply {
        let allocation = body["allocation_id"].as_str().unwrap();
        match body["event"].as_str().unwrap() {
            "place" => {
                self.start_server(body, 0);
                found(&self.servers[allocation])
            }
            "find" => match self.servers.get_mut(allocation) {
                Some(server) if server.starting > 0 => {
                    server.starting -= 1;
                    Reply::json(202, json!({ "retry_after_s": 1 }))
                }
                Some(server) => found(server),
                None => Reply::json(404, json!({})),
            },
            "release" => match self.servers.remove(allocation) {
                Some(_) => Reply::json(200, json!({})),
                None => Reply::json(410, json!({})),
            },
            event => Reply::json(400, json!({ "desc": format!("unknown event {event}") })),
        }
    }

    /// Starts a server, unless the allocation has one.
    fn start_server(&mut self, body: &Value, starting: usize) {
        let allocation = body["allocation_id"].as_str().unwrap().to_owned();
        if !self.servers.contains_key(&allocation) {
            self.started += 1;
            let handle = format!("server-{}", self.started);
            self.servers.insert(allocation, GameServer { handle, starting });
        }
    }
}

fn found(server: &GameServer) -> Reply {
    Reply::json(200, json!({ "handle": server.handle, "host": "games.example.com", "port": 7777 }))
}
