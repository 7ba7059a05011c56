//! The sidecar of Agones in the pod of a game server, and the session API as far as a bridge asks it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::super::process::soon;
use super::{Answers, Asked, Listening, Reply, listen};

/// What a service has seen, as `POST /ready`, and what it tells.
#[derive(Default)]
pub struct State {
    /// The requests, oldest first.
    asked: Vec<String>,
    /// Who watches the game server.
    watchers: Vec<UnboundedSender<String>>,
    /// The game server as JSON.
    game_server: Value,
    /// Whether the watch works.
    has_watch: bool,
    /// What the session API answers to questions about an allocation; the last one for ever.
    answers: VecDeque<(u16, &'static str)>,
}

/// A service that a test waits for.
pub struct Watched {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
    /// The port of the service.
    pub port: u16,
    _listening: Listening,
}

struct Service {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

impl Watched {
    /// Starts the service on this port; 0 takes a free one.
    pub async fn start(port: u16, state: State) -> Self {
        let (state, changed) = (Arc::new(Mutex::new(state)), Arc::new(Notify::new()));
        let service = Service { state: state.clone(), changed: changed.clone() };
        let listening = listen(Arc::new(service), port, None).await;
        Self { state, changed, port: listening.address.port(), _listening: listening }
    }

    /// Waits until the service has seen requests of which this is true.
    pub async fn until(&self, what: &str, condition: impl Fn(&[String]) -> bool) -> Vec<String> {
        soon(what, async {
            loop {
                let changed = self.changed.notified();
                let asked = self.asked();
                if condition(&asked) {
                    return asked;
                }
                changed.await;
            }
        })
        .await
    }

    /// The requests so far.
    pub fn asked(&self) -> Vec<String> {
        self.state.lock().unwrap().asked.clone()
    }

    /// Changes the game server, and tells the watchers.
    pub fn change(&self, game_server: Value) {
        let mut state = self.state.lock().unwrap();
        let line = format!("{}\n", json!({ "result": game_server }));
        state.watchers.retain(|watcher| watcher.send(line.clone()).is_ok());
        state.game_server = game_server;
    }
}

impl State {
    /// A sidecar with this game server.
    pub fn of(game_server: Value) -> Self {
        Self { game_server, has_watch: true, ..Self::default() }
    }

    /// The sidecar, whose watch does not work.
    pub fn without_watch(self) -> Self {
        Self { has_watch: false, ..self }
    }

    /// A session API that answers questions about an allocation like this.
    pub fn answering(answers: &[(u16, &'static str)]) -> Self {
        Self { answers: answers.iter().copied().collect(), ..Self::default() }
    }
}

/// A game server in this state, with the allocation and the session that it has.
pub fn game_server(state: &str, allocation: Option<(&str, &str)>) -> Value {
    let labels = allocation.map_or(json!({}), |(id, _)| json!({ "rallypoint.dev/allocation": id }));
    let annotations =
        allocation.map_or(json!({}), |(_, session)| json!({ "rallypoint.dev/session": session }));
    let ports = json!([{ "name": "default", "port": 7654 }]);
    json!({
        "object_meta": {
            "name": "fleet-1", "namespace": "games", "uid": "1", "resource_version": "1", "generation": "1",
            "creation_timestamp": "1531795395", "labels": labels, "annotations": annotations,
        },
        "status": { "state": state, "address": "198.51.100.7", "addresses": [], "ports": ports, "players": null },
    })
}

impl Answers for Service {
    async fn answer(&self, asked: Asked) -> Reply {
        let mut state = self.state.lock().unwrap();
        let name = format!("{} {}", asked.method, asked.path);
        let reply = state.reply(&name, &asked);
        state.asked.push(name);
        self.changed.notify_waiters();
        reply
    }
}

impl State {
    fn reply(&mut self, name: &str, asked: &Asked) -> Reply {
        match name {
            "POST /ready" | "POST /health" | "POST /shutdown" => {
                assert_eq!(asked.body, "{}");
                Reply::json(200, "{}")
            }
            "GET /gameserver" => Reply::json(200, &self.game_server),
            "GET /watch/gameserver" if self.has_watch => {
                let (sender, receiver) = unbounded_channel();
                self.watchers.push(sender);
                Reply::Stream(receiver)
            }
            "POST /users/v1/login" if asked.header("authorization") == "Basic YnJpZGdlOnNlY3JldA==" => {
                Reply::json(200, json!({ "access_token": "token", "token_type": "Bearer" }))
            }
            "GET /session/v1/session/allocation/a1" if asked.header("authorization") == "Bearer token" => {
                let is_last = self.answers.len() == 1;
                let answer = if is_last { self.answers.front().copied() } else { self.answers.pop_front() };
                let (status, code) = answer.unwrap_or((200, ""));
                Reply::json(status, json!({ "auth_success": true, "error_code": code, "desc": "" }))
            }
            _ => Reply::Drop,
        }
    }
}
