//! A client that writes without pause, and keeps account of what its acknowledged writes have made true.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response};
use rallypoint::domain::Platform;
use rallypoint::env::Entropy;
use serde_json::Value;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::model::{Aspect, Fact, Facts, PLATFORMS, Write, list_path, platform_path, session_path, set};
use crate::support::connection::Connection;

/// Parties that a client has at most.
const PARTIES_MAX: usize = 3;
/// Platform session ids on each platform that clients link their parties to, first come, first served.
const POOL: usize = 16;

/// Sessions that all clients join and leave: each a session's id. They stay when they are empty.
pub type Lobbies = Arc<Vec<String>>;

/// The id that a lobby has on every platform.
pub fn lobby_id(lobby: usize) -> String {
    format!("lobby-{lobby}")
}

/// Every platform session that clients link to their parties.
pub fn pool() -> impl Iterator<Item = (Platform, String)> {
    PLATFORMS.into_iter().flat_map(|platform| (0..POOL).map(move |n| (platform, format!("pool-{n}"))))
}

/// A client.
pub struct Client {
    pub number: usize,
    pub player: Uuid,
    pub platform: Platform,
    pub token: String,
    chance: Entropy,
    lobbies: Lobbies,
    /// Writes so far; numbers them.
    writes: usize,
    /// What its acknowledged writes have made true.
    pub facts: Facts,
    /// The acknowledged write that a fact was last changed by.
    pub changed_by: BTreeMap<Fact, Arc<str>>,
    /// The write that may or may not have happened.
    pub in_flight: Option<Write>,
    /// Parties that have ended since the last start.
    pub ended: BTreeSet<String>,
    /// ETags of documents that nobody else changes, by path; each with its session, a list with none.
    pub etags: BTreeMap<String, (Option<String>, String)>,
}

enum Step {
    Write(Write),
    /// Reads a document of this session, or the client's list.
    Read {
        path: String,
        session: Option<String>,
    },
}

impl Client {
    /// A client without a token.
    pub fn new(number: usize, chance: Entropy, lobbies: Lobbies) -> Self {
        Self {
            number,
            player: chance.uuid(),
            platform: PLATFORMS[number % PLATFORMS.len()],
            token: String::new(),
            chance,
            lobbies,
            writes: 0,
            facts: Facts::new(),
            changed_by: BTreeMap::new(),
            in_flight: None,
            ended: BTreeSet::new(),
            etags: BTreeMap::new(),
        }
    }

    /// Writes until the server is gone, telling of every acknowledged write.
    pub async fn run(mut self, address: SocketAddr, acknowledged: Arc<Semaphore>) -> Self {
        let Ok(mut connection) = Connection::open(address, Some(&self.token)).await else { return self };
        loop {
            let answered = match self.step() {
                Step::Write(write) => self.write(&mut connection, write, &acknowledged).await,
                Step::Read { path, session } => self.read(&mut connection, path, session).await,
            };
            if answered.is_err() {
                return self;
            }
        }
    }

    /// Sends a write; in flight until it is answered.
    async fn write(
        &mut self,
        connection: &mut Connection,
        write: Write,
        acknowledged: &Semaphore,
    ) -> hyper::Result<()> {
        self.etags.retain(|_, (session, _)| match session {
            Some(_) => *session != write.session,
            None => !write.changes_list(),
        });
        self.writes += 1;
        let write = self.in_flight.insert(write).clone();
        let answer = connection.call(&write.method, &write.path, write.body.as_ref()).await?;
        self.in_flight = None;
        if self.settle(&write, &answer) {
            acknowledged.add_permits(1);
        }
        Ok(())
    }

    /// Takes an answer into account; answers whether it acknowledges the write.
    fn settle(&mut self, write: &Write, answer: &Response<Bytes>) -> bool {
        let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        let (name, status) =
            (format!("client {}, write {}: {write}", self.number, self.writes), answer.status());
        if !status.is_success() {
            let refusal = body["error_code"].as_str();
            assert!(refusal.is_some() && refusal == write.refusal, "{name} was answered {status} {body}");
            return false;
        }
        let session = write.session.as_deref().or(body["session_id"].as_str());
        let session = session.expect("who creates a session is told its id").to_owned();
        let name = Arc::from(name);
        for (fact, value) in write.changes(&session, &self.facts) {
            self.changed_by.insert(fact.clone(), Arc::clone(&name));
            set(&mut self.facts, fact, value);
        }
        if !self.facts.contains_key(&(session.clone(), Aspect::Place)) && !self.lobbies.contains(&session) {
            self.ended.insert(session.clone());
        }
        if let Some(path) = &write.answers {
            self.etags.insert(path.clone(), (Some(session), etag(answer)));
        }
        true
    }

    async fn read(
        &mut self,
        connection: &mut Connection,
        path: String,
        session: Option<String>,
    ) -> hyper::Result<()> {
        let answer = connection.call(&Method::GET, &path, None).await?;
        let status = answer.status();
        assert!(status.is_success(), "client {}: GET {path} was answered {status}", self.number);
        self.etags.insert(path, (session, etag(&answer)));
        Ok(())
    }

    fn below(&self, bound: usize) -> usize {
        usize::from_le_bytes(self.chance.bytes()) % bound
    }

    fn step(&self) -> Step {
        // Unlike every other, so that a lost write cannot look like another one.
        let version = format!("1.{}.{}", self.number, self.writes);
        match self.below(10) {
            0..4 => Step::Write(self.step_in_lobby(&version)),
            4 => Step::Read { path: list_path(self.player), session: None },
            _ => self.step_in_party(&version),
        }
    }

    fn step_in_lobby(&self, version: &str) -> Write {
        let lobby = self.below(self.lobbies.len());
        let (session, id) = (&self.lobbies[lobby], lobby_id(lobby));
        let through = PLATFORMS.get(self.below(PLATFORMS.len() + 1)).map(|platform| (*platform, id.as_str()));
        let is_in = self.facts.contains_key(&(session.clone(), Aspect::Place));
        if is_in && self.below(2) == 0 {
            Write::leave(session, through)
        } else {
            Write::join_lobby(session, through, self.platform, version)
        }
    }

    fn step_in_party(&self, version: &str) -> Step {
        let places = self.facts.keys().filter(|(_, aspect)| *aspect == Aspect::Place);
        let parties = places.map(|(session, _)| session).filter(|session| !self.lobbies.contains(session));
        let Some(party) = parties.collect::<Vec<_>>().get(self.below(PARTIES_MAX)).copied() else {
            return Step::Write(Write::create("party", self.platform, version));
        };
        let platform = PLATFORMS[self.below(PLATFORMS.len())];
        let linked = self.facts.get(&(party.clone(), Aspect::Link(platform)));
        let read = |path| Step::Read { path, session: Some(party.clone()) };
        Step::Write(match (self.below(14), linked) {
            (0..3, _) => Write::patch(party, version),
            (3..7, Some(id)) => Write::unlink(party, platform, id),
            (3..7, None) => Write::link(party, platform, &format!("pool-{}", self.below(POOL))),
            (7, _) => Write::join_party(party, self.platform, version),
            (8, _) => Write::leave(party, None),
            (9, _) => Write::delete(party),
            (10..12, Some(id)) => return read(platform_path(platform, id)),
            _ => return read(session_path(party)),
        })
    }
}

fn etag(answer: &Response<Bytes>) -> String {
    answer.headers()["etag"].to_str().expect("ETags are plain text").to_owned()
}
