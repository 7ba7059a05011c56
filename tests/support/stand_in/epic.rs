//! A service that stands in for Epic's: access tokens, accounts, keys, and rooms for voice.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{Answers, Asked, Listening, Reply, listen};

/// What the service does with requests for rooms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rooms {
    /// Gives tokens.
    #[default]
    Open,
    /// Answers with this status.
    Refusing(u16),
    /// Answers with something else than was asked for.
    Broken,
    /// Closes the connection.
    Dropping,
    /// Answers with more bytes than the limit, in an answer that is right otherwise.
    Large,
    /// Sends the caller to another path, which would give a token.
    Redirecting,
    /// Gives a token for another player.
    Foreign,
}

/// The state of the service.
#[derive(Default)]
pub struct State {
    /// The requests, as they came.
    pub asked: Vec<Asked>,
    /// How many access tokens it has given.
    pub tokens: u32,
    /// The access tokens up to this number are not valid any more.
    pub revoked: u32,
    /// Whether it gives no access tokens.
    pub refuses_clients: bool,
    /// How it answers.
    pub rooms: Rooms,
    /// The accounts that it knows: the id of the studio, and that of Epic.
    pub accounts: Vec<(String, String)>,
    /// The keys of ID tokens, as a JWK Set.
    pub keys: Value,
    /// Requests to paths that start with this text get no answer.
    pub silent: Option<&'static str>,
    /// With a gate, the keys are sent once it is notified.
    pub keys_gate: Option<Arc<Notify>>,
    /// The requests for rooms that are under way, and the most that were at the same time.
    open_rooms: (usize, usize),
}

/// A running service.
pub struct EpicService {
    pub address: SocketAddr,
    pub state: Arc<Mutex<State>>,
    _listening: Listening,
}

struct Service(Arc<Mutex<State>>);

impl EpicService {
    /// Starts a service.
    pub async fn start() -> Self {
        let state = Arc::<Mutex<State>>::default();
        let listening = listen(Arc::new(Service(Arc::clone(&state))), 0, None).await;
        Self { address: listening.address, state, _listening: listening }
    }

    /// The requests to a path that starts with this text.
    pub fn asked(&self, path: &str) -> Vec<Asked> {
        let state = self.state.lock().unwrap();
        state.asked.iter().filter(|asked| asked.path.starts_with(path)).cloned().collect()
    }

    /// The most requests for rooms that were under way at the same time.
    pub fn open_rooms_max(&self) -> usize {
        self.state.lock().unwrap().open_rooms.1
    }
}

/// A request for a room that is under way. A caller that closes the connection ends it.
struct OpenRoom<'a>(&'a Mutex<State>);

impl<'a> OpenRoom<'a> {
    fn begin(state: &'a Mutex<State>) -> Self {
        let mut seen = state.lock().unwrap();
        let (open, most) = seen.open_rooms;
        seen.open_rooms = (open + 1, most.max(open + 1));
        drop(seen);
        Self(state)
    }
}

impl Drop for OpenRoom<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap().open_rooms.0 -= 1;
    }
}

impl Answers for Service {
    async fn answer(&self, asked: Asked) -> Reply {
        let (answer, is_silent, gate) = {
            let mut state = self.0.lock().unwrap();
            state.asked.push(asked.clone());
            let is_silent = state.silent.is_some_and(|path| asked.path.starts_with(path));
            (state.answer(&asked), is_silent, state.keys_gate.clone())
        };
        let is_room = asked.path.starts_with("/rtc/");
        let _open = is_room.then(|| OpenRoom::begin(&self.0));
        if is_silent {
            std::future::pending::<()>().await;
        }
        if let Some(gate) = gate.filter(|_| asked.path == "/jwks") {
            gate.notified().await;
        }
        answer
    }
}

impl State {
    fn answer(&mut self, asked: &Asked) -> Reply {
        if asked.path == "/jwks" {
            return Reply::json(200, &self.keys);
        }
        if asked.path == "/auth/v1/oauth/token" {
            if self.refuses_clients {
                return Reply::json(401, json!({ "errorCode": "errors.com.epicgames.invalid_client" }));
            }
            self.tokens += 1;
            let token = format!("access-{}", self.tokens);
            return Reply::json(
                200,
                json!({ "access_token": token, "token_type": "bearer", "expires_in": 3_600 }),
            );
        }
        let number = asked.header("authorization").strip_prefix("Bearer access-");
        let is_good = number
            .and_then(|number| number.parse::<u32>().ok())
            .is_some_and(|number| number > self.revoked && number <= self.tokens);
        if !is_good {
            return Reply::json(401, json!({ "errorCode": "errors.com.epicgames.common.authentication" }));
        }
        if asked.path == "/user/v1/accounts" {
            let is_asked = |account: &str| {
                asked.target.contains(&format!("accountId={account}&identityProviderId=openid"))
            };
            let known = self.accounts.iter().filter(|(account, _)| is_asked(account));
            let ids: serde_json::Map<_, _> =
                known.map(|(account, puid)| (account.clone(), json!(puid))).collect();
            return Reply::json(200, json!({ "ids": ids }));
        }
        self.room(asked)
    }

    fn room(&self, asked: &Asked) -> Reply {
        match self.rooms {
            Rooms::Refusing(status) => return Reply::json(status, json!({ "errorCode": "no" })),
            Rooms::Broken => return Reply::json(200, json!({ "roomId": 7 })),
            Rooms::Dropping => return Reply::Drop,
            Rooms::Redirecting if !asked.path.ends_with("-moved") => {
                return Reply::json(307, "{}").with("location", &format!("{}-moved", asked.path));
            }
            Rooms::Open | Rooms::Large | Rooms::Redirecting | Rooms::Foreign => {}
        }
        let Some(room) = asked.path.strip_prefix("/rtc/v1/deployment/room/") else {
            return Reply::json(404, "{}");
        };
        let body: Value = serde_json::from_slice(&asked.body).unwrap();
        let is_foreign = self.rooms == Rooms::Foreign;
        let participants = body["participants"].as_array().unwrap().iter().map(|participant| {
            let puid = if is_foreign { &json!("0002cc") } else { &participant["puid"] };
            json!({ "puid": puid, "token": "room-token", "hardMuted": participant["hardMuted"] })
        });
        let participants: Vec<_> = participants.collect();
        Reply::json(
            200,
            json!({
                "roomId": format!("epic:{room}"), "clientBaseUrl": "wss://voice.example", "participants": participants,
                "deploymentId": "deployment",
                "padding": if self.rooms == Rooms::Large { "x".repeat(65_536) } else { String::new() },
            }),
        )
    }
}
