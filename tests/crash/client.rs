//! A client that writes without pause and records the facts that its acknowledged writes have made true.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use rallypoint::api::PREFIX;
use rallypoint::domain::Platform;
use rallypoint::env::{Clock, Entropy};
use serde_json::Value;
use uuid::Uuid;

use crate::model::{Aspect, Fact, Facts, PLATFORMS, Write, list_path, platform_path, session_path, set};
use crate::party::{PLAYERS, Party, is_waiting};
use crate::support::connection::Connection;
use crate::tally::Tally;

/// Maximum number of parties of a client.
const PARTIES_MAX: usize = 3;
/// Number of platform session ids on each platform. All clients compete for them.
const POOL: usize = 16;

/// Largest body that a server keeps for a repeat, in bytes.
const KEPT_BYTES_MAX: usize = 8_192;

/// The ids of the sessions that all clients join and leave. These sessions stay when they are empty.
pub type Lobbies = Arc<Vec<String>>;

/// The time until an invite expires, in seconds.
pub const INVITE_EXPIRY_S: i64 = 2;
/// Types of sessions that nobody uses after their creation, and their shortest lifetimes in seconds.
pub const SHORT_LIVED: [(&str, i64); 2] = [("watch", 1), ("brief", 30)];
/// The number of the player who creates these sessions and is in no others.
pub const IDLE_PLAYER: usize = PLAYERS;

/// The platform session id of a lobby, the same on every platform.
pub fn lobby_id(lobby: usize) -> String {
    format!("lobby-{lobby}")
}

/// Every platform session that clients may link to their parties.
pub fn pool() -> impl Iterator<Item = (Platform, String)> {
    PLATFORMS.into_iter().flat_map(|platform| (0..POOL).map(move |n| (platform, format!("pool-{n}"))))
}

/// A client with its players and the facts that it expects.
pub struct Client {
    pub number: usize,
    /// The client's players: itself, the other players of its parties, and the [`IDLE_PLAYER`].
    pub players: Vec<Uuid>,
    pub platform: Platform,
    /// A token for each player.
    pub tokens: Vec<String>,
    entropy: Entropy,
    lobbies: Lobbies,
    /// Number of writes so far.
    writes: usize,
    /// The facts that its acknowledged writes have made true.
    pub facts: Facts,
    /// The acknowledged write that last changed each fact.
    pub changed_by: BTreeMap<Fact, Arc<str>>,
    /// The write that may or may not have taken effect.
    pub in_flight: Option<Write>,
    /// The key of that write.
    key_in_flight: String,
    /// The last write that was answered with success: the write, its key and its answer.
    answered: Option<(Write, String, Response<Bytes>)>,
    /// Whether the database may be unavailable for a while.
    pub database_fails: bool,
    /// When the last write was sent.
    pub sent_ms: i64,
    /// The time until which an invite certainly exists.
    pub waiting: BTreeMap<Fact, i64>,
    /// Short-lived sessions, and the time until which each certainly exists.
    pub short_lived: BTreeMap<String, i64>,
    /// Players whose numeric ids the server knows.
    pub introduced: BTreeSet<usize>,
    /// Parties that have ended since the last start.
    pub ended: BTreeSet<String>,
    /// ETags of documents that nobody else changes, by path. Each has its session; a player's list has none.
    pub etags: BTreeMap<String, (Option<String>, String)>,
}

enum Step {
    Write(Box<Write>),
    /// Reads a document of this session, or the client's list if there is no session.
    Read {
        path: String,
        session: Option<String>,
    },
}

impl Step {
    fn write(write: Write) -> Self {
        Self::Write(Box::new(write))
    }
}

impl Client {
    /// A client without a token.
    pub fn new(number: usize, entropy: Entropy, lobbies: Lobbies) -> Self {
        Self {
            number,
            players: (0..=IDLE_PLAYER).map(|_| entropy.uuid()).collect(),
            platform: PLATFORMS[number % PLATFORMS.len()],
            tokens: Vec::new(),
            entropy,
            lobbies,
            writes: 0,
            facts: Facts::new(),
            changed_by: BTreeMap::new(),
            in_flight: None,
            key_in_flight: String::new(),
            answered: None,
            database_fails: false,
            sent_ms: 0,
            waiting: BTreeMap::new(),
            short_lived: BTreeMap::new(),
            introduced: BTreeSet::new(),
            ended: BTreeSet::new(),
            etags: BTreeMap::new(),
        }
    }

    /// The numeric id of one of its players.
    pub fn player_id(&self, player: usize) -> i64 {
        i64::try_from(self.number * (IDLE_PLAYER + 1) + player).expect("a small number") + 1
    }

    /// Writes to a node until the node is gone or the tally is complete. Counts every acknowledged write.
    pub async fn run(mut self, address: SocketAddr, node: usize, tally: Arc<Tally>) -> Self {
        let mut connections = Vec::new();
        for token in &self.tokens {
            let Ok(connection) = Connection::open(address, Some(token)).await else { return self };
            connections.push(connection);
        }
        while !tally.is_enough() {
            let answered = match self.step() {
                Step::Write(write) => self.write(&mut connections[write.by], *write).await,
                Step::Read { path, session } => {
                    self.read(&mut connections[0], path, session).await.map(|()| false)
                }
            };
            match answered {
                Ok(true) => tally.add(node),
                Ok(false) => {}
                Err(_) => break,
            }
        }
        self
    }

    /// Sends a write. It stays in flight until its result is known. Returns whether it was acknowledged.
    async fn write(&mut self, connection: &mut Connection, write: Write) -> hyper::Result<bool> {
        self.etags.retain(|_, (session, _)| match session {
            Some(_) => *session != write.session,
            None => !write.changes_list(),
        });
        self.writes += 1;
        self.sent_ms = Clock::System.now_ms();
        let was_in_doubt = self.is_in_doubt();
        let key = format!("{}-{}", self.number, self.writes);
        if !was_in_doubt {
            self.in_flight = Some(write.clone());
            self.key_in_flight.clone_from(&key);
        }
        let answer = self.send(connection, &write, &key).await?;
        if self.database_fails && is_away(&answer) {
            return Ok(false);
        }
        if !was_in_doubt {
            self.in_flight = None;
        }
        let is_acknowledged = self.record_answer(&write, &answer);
        // Health reports take no key.
        if is_acknowledged && !write.path.ends_with("/health") {
            self.answered = Some((write, key, answer));
        }
        Ok(is_acknowledged)
    }

    /// Whether it sends keys with its writes, and repeats those whose answers it has lost. While the database fails, it
    /// cannot know when to.
    fn has_keys(&self) -> bool {
        self.number % 2 == 1 && !self.database_fails
    }

    async fn send(
        &self,
        connection: &mut Connection,
        write: &Write,
        key: &str,
    ) -> hyper::Result<Response<Bytes>> {
        let mut request = Request::builder().method(&write.method).uri(format!("{PREFIX}{}", write.path));
        if self.has_keys() {
            request = request.header("idempotency-key", key);
        }
        let body = write.body.as_ref().map_or_else(Bytes::new, |body| body.to_string().into());
        connection.send(request.body(Full::new(body)).unwrap()).await
    }

    /// Repeats the write whose answer was lost, if there is one. It is answered as if it was sent once: a rule that refuses
    /// it because it was made already is a fault. Repeats the last answered one, too. Returns how many answers were lost.
    pub async fn repeat(&mut self, address: SocketAddr) -> usize {
        if !self.has_keys() {
            return 0;
        }
        if let Some((write, key, answer)) = &self.answered {
            let mut connection = Connection::open(address, Some(&self.tokens[write.by])).await.unwrap();
            let repeat = self.send(&mut connection, write, key).await.unwrap();
            assert_eq!(repeat.status(), answer.status(), "client {}: {write} was repeated", self.number);
            let is_kept = answer.body().len() <= KEPT_BYTES_MAX;
            let how = if is_kept { "true" } else { "refreshed" };
            assert_eq!(repeat.headers()["idempotency-replayed"], how, "{write}");
            let parts =
                |answer: &Response<Bytes>| (answer.body().clone(), answer.headers().get("etag").cloned());
            assert!(!is_kept || parts(&repeat) == parts(answer), "{write}: {repeat:?} repeats {answer:?}");
        }
        let Some(write) = self.in_flight.clone() else { return 0 };
        let mut connection = Connection::open(address, Some(&self.tokens[write.by])).await.unwrap();
        let answer = self.send(&mut connection, &write, &self.key_in_flight).await.unwrap();
        self.in_flight = None;
        self.record_answer(&write, &answer);
        1
    }

    /// Whether the result of a write is unknown because the database was unavailable.
    pub fn is_in_doubt(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Records the result of a write; returns whether it was acknowledged.
    fn record_answer(&mut self, write: &Write, answer: &Response<Bytes>) -> bool {
        let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        let (name, status) =
            (format!("client {}, write {}: {write}", self.number, self.writes), answer.status());
        // Several nodes compete for the lobbies. A request that loses every race has changed nothing.
        if status == StatusCode::SERVICE_UNAVAILABLE && body["error_code"] == "contended" {
            return false;
        }
        if !status.is_success() {
            let refusal = body["error_code"].as_str();
            let is_expected = refusal.is_some() && refusal == write.refusal;
            // A kicked player whose new invite has expired is refused for the kick.
            let is_kicked = write.waits.is_some() && refusal == Some("player_kicked");
            assert!(is_expected || is_kicked, "{name} was answered {status} {body}");
            if let (Some(player), Some(session)) = (write.waits, &write.session) {
                let expired =
                    self.expire_invite((session.clone(), Aspect::Entry(player)), Clock::System.now_ms());
                assert!(expired, "{name} was answered {body}, but the invite has not expired yet");
            }
            return false;
        }
        self.introduced.extend(write.introduces().then_some(write.by));
        let session = write.session.as_deref().or(body["session_id"].as_str());
        let session = session.expect("the answer to a creation has the id").to_owned();
        if let Some(lives_s) = write.lives_s() {
            self.short_lived.insert(session, self.sent_ms + 1000 * lives_s);
            return true;
        }
        let name = Arc::from(name);
        for (fact, value) in write.changes(&session, &self.facts, write.choice(&body)) {
            self.changed_by.insert(fact.clone(), Arc::clone(&name));
            self.note_waiting(&fact, value.as_deref());
            set(&mut self.facts, fact, value);
        }
        if !self.facts.contains_key(&(session.clone(), Aspect::Joined)) && !self.lobbies.contains(&session) {
            self.ended.insert(session.clone());
        }
        if let Some(path) = &write.answers {
            self.keep_etag(path.clone(), Some(session), answer);
        }
        true
    }

    /// Records the time until which an invite certainly exists.
    fn note_waiting(&mut self, fact: &Fact, value: Option<&str>) {
        match (fact.1, value) {
            (Aspect::Entry(_), Some(entry)) if is_waiting(entry) => {
                self.waiting.insert(fact.clone(), self.sent_ms + 1000 * INVITE_EXPIRY_S);
            }
            (Aspect::Entry(_), _) => drop(self.waiting.remove(fact)),
            _ => {}
        }
    }

    /// Removes an invite that no longer exists; returns false if it cannot have expired yet.
    pub fn expire_invite(&mut self, entry: Fact, now_ms: i64) -> bool {
        if self.waiting.get(&entry).is_none_or(|until_ms| *until_ms > now_ms) {
            return false;
        }
        if let (session, Aspect::Entry(player)) = &entry {
            self.facts.remove(&(session.clone(), Aspect::CustomData(*player)));
        }
        self.facts.remove(&entry);
        self.waiting.remove(&entry);
        true
    }

    /// Records the ETag of a document that neither others nor timeouts change.
    fn keep_etag(&mut self, path: String, session: Option<String>, answer: &Response<Bytes>) {
        // In a lobby others can make the client's player the leader, which moves the time of the list.
        let is_in = |lobby: &String| self.facts.contains_key(&(lobby.clone(), Aspect::Joined));
        let can_others_change_it = session.is_none() && self.lobbies.iter().any(is_in);
        if !can_others_change_it && !self.waiting.keys().any(|(of, _)| Some(of) == session.as_ref()) {
            self.etags.insert(path, (session, etag(answer)));
        }
    }

    async fn read(
        &mut self,
        connection: &mut Connection,
        path: String,
        session: Option<String>,
    ) -> hyper::Result<()> {
        let answer = connection.call(&Method::GET, &path, None).await?;
        if self.database_fails && is_away(&answer) {
            return Ok(());
        }
        let status = answer.status();
        assert!(status.is_success(), "client {}: GET {path} was answered {status}", self.number);
        self.keep_etag(path, session, &answer);
        Ok(())
    }

    fn below(&self, bound: usize) -> usize {
        usize::from_le_bytes(self.entropy.bytes()) % bound
    }

    fn step(&self) -> Step {
        // Unique, so that a lost write cannot look like another one.
        let version = format!("1.{}.{}", self.number, self.writes);
        if self.is_in_doubt() {
            // Its facts may be outdated. This step depends on none of them.
            return self.step_short_lived();
        }
        match self.below(20) {
            0..6 => Step::write(self.step_in_lobby(&version)),
            6 => Step::Read { path: list_path(self.players[0]), session: None },
            7 => self.step_short_lived(),
            _ => self.step_in_party(&version),
        }
    }

    fn step_short_lived(&self) -> Step {
        let (session_type, lives_s) = SHORT_LIVED[self.below(SHORT_LIVED.len())];
        Step::write(Write::short_lived(session_type, lives_s, self.platform))
    }

    fn step_in_lobby(&self, version: &str) -> Write {
        let lobby = self.below(self.lobbies.len());
        let (session, id) = (&self.lobbies[lobby], lobby_id(lobby));
        let through = PLATFORMS.get(self.below(PLATFORMS.len() + 1)).map(|platform| (*platform, id.as_str()));
        let is_in = self.facts.contains_key(&(session.clone(), Aspect::Joined));
        if is_in && self.below(2) == 0 {
            Write::leave(session, through)
        } else {
            Write::join_lobby(session, through, self.platform, version)
        }
    }

    fn step_in_party(&self, version: &str) -> Step {
        let party = |id| Party { id, facts: &self.facts, players: &self.players, platform: self.platform };
        let joined = self.facts.keys().filter(|(_, aspect)| *aspect == Aspect::Joined);
        let parties = joined.map(|(session, _)| session).filter(|session| !self.lobbies.contains(session));
        let parties: Vec<_> = parties.map(|session| party(session)).collect();
        let Some(party) = parties.get(self.below(PARTIES_MAX)) else {
            return Step::write(Write::create("party", self.platform, version));
        };
        let platform = PLATFORMS[self.below(PLATFORMS.len())];
        let (id, linked) = (party.id, party.fact(Aspect::Link(platform)));
        let read = |path| Step::Read { path, session: Some(id.to_owned()) };
        let pick = |bound| self.below(bound);
        let write = match (self.below(40), linked) {
            (0..3, _) => Some(Write::patch(id, version).by(party.leader())),
            (3..7, Some(linked)) => Some(Write::unlink(id, platform, linked)),
            (3..7, None) => Some(Write::link(id, platform, &format!("pool-{}", self.below(POOL)))),
            (7, _) => Some(Write::join_party(id, self.platform, version)),
            (8, _) if party.is_alone() => Some(Write::leave(id, None)),
            (9, _) => Some(Write::delete(id).by(party.leader())),
            (10..12, Some(linked)) => return read(platform_path(platform, linked)),
            (12..26, _) => party.with_player(pick, version),
            (26..36, _) => party.session_write(pick, version),
            (36..39, _) => {
                let other = &parties[self.below(parties.len())];
                if other.id == id { None } else { party.with_party(other, pick, version) }
            }
            _ => None,
        };
        write.map_or_else(|| read(session_path(id)), Step::write)
    }
}

/// Whether the answer says that the database is unavailable.
fn is_away(answer: &Response<Bytes>) -> bool {
    let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    answer.status() == StatusCode::SERVICE_UNAVAILABLE && body["error_code"] == "store_unavailable"
}

fn etag(answer: &Response<Bytes>) -> String {
    answer.headers()["etag"].to_str().expect("ETags are plain text").to_owned()
}
