//! Linearizability: clients of several nodes operate on one session at once, and matchers take its ticket. There must be one order of all
//! operations in which (1) an operation that was answered before another one began comes first and (2) each answer is
//! the one that a session with one operation at a time would give.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use http::Method;
use rallypoint::env::Entropy;
use rallypoint::store::{Memory, Store};
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::api::match_made::with_external_matcher;
use crate::harness::{Client, Reply, Server, link_path, platform_path};
use crate::support::postgres::Database;

/// Number of players. The first one creates the session.
const PLAYERS: usize = 5;
/// Operations of each player in a round. All operations of a round must fit into the bits of [`Done`].
const OPERATIONS: usize = 12;
/// Number of different custom data. Some writes change nothing.
const DATA: usize = 4;
/// Number of rounds, each with a new session.
const ROUNDS: u64 = 40;

/// The state of a session: its players, one bit each, whether its platform session is linked, its custom data, a number,
/// and the number of its ticket, 0 if it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Session {
    players: u8,
    linked: bool,
    data: u8,
    ticket: u8,
}

/// An operation, with the bit of the acting player if that matters.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Create(u8),
    Join(u8),
    Leave(u8),
    Link(u8),
    Unlink(u8),
    /// Lets the party wait in a queue.
    Queue,
    Unqueue,
    /// Makes a match of the session, if it has this ticket.
    Match(u8),
    /// Reads the session, with or without `If-None-Match`.
    Read,
    /// Reads the platform session, to see whether it is linked.
    Find,
    /// Writes the custom data, with `If-Match` and the ETag of this session.
    Write {
        known: Session,
        data: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Done,
    Refused,
    Read(Option<Session>),
    Found(bool),
    /// The session has this ticket.
    Queued(u8),
    /// The ETag does not match: the session is this one.
    Differs(Session),
}

/// The sequential specification: whether an operation may have this answer, and the state after it.
fn after(session: Option<Session>, operation: Operation, answer: Answer) -> Option<Option<Session>> {
    if let (Some(now), Operation::Write { known, data }) = (session, operation) {
        let written = Session { data, ..now };
        return match answer {
            // What would change nothing needs no matching ETag.
            Answer::Done => (now == known || now == written).then_some(Some(written)),
            // The ETag is also that of what this state leaves out, such as the leader: it may differ although this does
            // not.
            Answer::Differs(current) => (now == current && now != written).then_some(session),
            _ => None,
        };
    }
    if let (Some(now), Operation::Queue, Answer::Queued(ticket)) = (session, operation, answer) {
        return (now.ticket == 0 || now.ticket == ticket).then_some(Some(Session { ticket, ..now }));
    }
    let (after, expected) = apply(session, operation);
    (answer == expected).then_some(after)
}

/// The state after an operation without conditions, and its answer.
fn apply(session: Option<Session>, operation: Operation) -> (Option<Session>, Answer) {
    let Some(now) = session else {
        let created = |players| Session { players, linked: false, data: 0, ticket: 0 };
        return match operation {
            Operation::Create(player) => (Some(created(player)), Answer::Done),
            Operation::Read => (None, Answer::Read(None)),
            Operation::Find => (None, Answer::Found(false)),
            _ => (None, Answer::Refused),
        };
    };
    let is_in = |player| now.players & player != 0;
    let after = match operation {
        Operation::Join(player) if is_in(player) => now,
        // A change of the party ends its ticket.
        Operation::Join(player) => Session { players: now.players | player, ticket: 0, ..now },
        Operation::Leave(player) if is_in(player) => {
            Session { players: now.players & !player, ticket: 0, ..now }
        }
        Operation::Unqueue if now.ticket != 0 => Session { ticket: 0, ..now },
        Operation::Match(ticket) if now.ticket == ticket => Session { ticket: 0, ..now },
        // It succeeds, and says which ticket it is.
        Operation::Queue => return (session, Answer::Queued(now.ticket)),
        Operation::Link(player) if is_in(player) => Session { linked: true, ..now },
        Operation::Unlink(player) if is_in(player) && now.linked => Session { linked: false, ..now },
        Operation::Read => return (session, Answer::Read(session)),
        Operation::Find => return (session, Answer::Found(now.linked)),
        _ => return (session, Answer::Refused),
    };
    // The session ends with its last player.
    (Some(after).filter(|after| after.players != 0), Answer::Done)
}

/// An operation with its answer, and the logical times when it began and was answered.
#[derive(Clone, Copy, Debug)]
struct Record {
    began: u64,
    operation: Operation,
    answer: Answer,
    answered: u64,
}

/// The records that already have a position in the order, one bit each.
type Done = u64;

/// Whether there is such an order. This is the search of Wing and Gong ("Testing and verifying concurrent objects",
/// 1993): each operation that began before any other remaining operation was answered may be next. As Lowe proposed
/// ("Testing for linearizability", 2017), it remembers the states that it has seen and searches each of them once.
fn is_linearizable(history: &[Record]) -> bool {
    let all = history.iter().enumerate().fold(0, |all: Done, (index, _)| all | 1 << index);
    let (mut seen, mut open) = (HashSet::new(), vec![(0, None)]);
    while let Some((done, session)) = open.pop() {
        if done == all {
            return true;
        }
        let left = || history.iter().enumerate().filter(|(index, _)| done & (1 << index) == 0);
        let first_answered = left().map(|(_, record)| record.answered).min().unwrap_or(u64::MAX);
        for (index, record) in left().filter(|(_, record)| record.began < first_answered) {
            let Some(after) = after(session, record.operation, record.answer) else { continue };
            let next = (done | 1 << index, after);
            if seen.insert(next) {
                open.push(next);
            }
        }
    }
    false
}

/// The last ETag that a player has seen, and its session.
type Known = Option<(String, Option<Session>)>;

/// One round: a session, the players that operate on it, and the nodes that serve them.
struct Round {
    nodes: Vec<Server>,
    players: Vec<Client>,
    reader: Client,
    session: String,
    platform_session: String,
    /// The tickets that were seen, by their numbers.
    tickets: Mutex<Vec<String>>,
    time: AtomicU64,
}

impl Round {
    /// Records when an operation began and was answered. Returns `None` if the operation certainly had no effect.
    async fn record(
        &self,
        operation: Operation,
        answering: impl Future<Output = Option<Answer>>,
    ) -> Option<Record> {
        let began = self.time.fetch_add(1, Ordering::SeqCst);
        let answer = answering.await?;
        Some(Record { began, operation, answer, answered: self.time.fetch_add(1, Ordering::SeqCst) })
    }

    fn read(&self, reply: &Reply) -> Option<Session> {
        (reply.status != 404).then(|| self.session_in(&reply.body))
    }

    fn session_in(&self, document: &Value) -> Session {
        let teams = document["teams"].as_array().unwrap().iter();
        let players = teams.flat_map(|team| team["players"].as_array().unwrap());
        let bit = |entry: &Value| {
            let is = |player: &&Client| entry["player_uuid"] == player.player.to_string();
            1 << self.players.iter().position(|player| is(&player)).unwrap()
        };
        let players = players.fold(0, |players, entry| players | bit(entry));
        let data = document["custom_data"]["data"].as_str().map_or(0, |data| data.parse().unwrap());
        let linked = document["platform_session"] != json!([]);
        let ticket = document["matchmaking"]["ticket_id"].as_str().map_or(0, |id| self.ticket_number(id));
        Session { players, linked, data, ticket }
    }

    /// The number of a ticket, from 1.
    fn ticket_number(&self, id: &str) -> u8 {
        let mut tickets = self.tickets.lock().unwrap();
        let known = tickets.iter().position(|known| known == id);
        let at = known.unwrap_or_else(|| {
            tickets.push(id.to_owned());
            tickets.len() - 1
        });
        u8::try_from(at + 1).unwrap()
    }

    /// The newest ticket that was seen: its number and its id.
    fn newest_ticket(&self) -> Option<(u8, String)> {
        let tickets = self.tickets.lock().unwrap();
        Some((u8::try_from(tickets.len()).unwrap(), tickets.last()?.clone()))
    }

    /// A matcher makes a match of the session, with nobody in it.
    async fn make_match(&self, matcher: &Client, ticket: &str) -> Reply {
        let body = json!({
            "teams": [{ "players": [], "max_size": 1 }], "session_tickets": { (self.session.clone()): ticket },
            "region_id": "eu", "match_id": matcher.server.app.entropy.uuid(),
            "match_create_request_time": "2026-11-23T12:00:30Z", "match_making_profile_id": "4v4",
        });
        matcher.post("/v1/match-made-session", &body).await
    }

    /// Runs random operations of a player at random nodes.
    async fn run_operations(&self, number: usize, entropy: Entropy) -> Vec<Record> {
        let below = |bound: usize| usize::from(u16::from_le_bytes(entropy.bytes())) % bound;
        let (mut history, mut known) = (Vec::new(), Known::None);
        for _ in 0..OPERATIONS {
            let server = self.nodes[below(self.nodes.len())].clone();
            let player = Client { server: server.clone(), ..self.players[number].clone() };
            let reader = Client { server, ..self.reader.clone() };
            let (id, bit) = (&self.session, 1 << number);
            let link = link_path("XboxLive", &self.platform_session, id);
            let write = known.clone().and_then(|(etag, session)| Some((etag, session?)));
            let queue = format!("/v1/session/{id}/queue");
            let record = match (below(18), write) {
                (0 | 1, _) => {
                    self.record(Operation::Join(bit), async { done(&player.joins(id).await) }).await
                }
                (2, _) => self.record(Operation::Leave(bit), async { done(&player.leaves(id).await) }).await,
                (3, _) => {
                    let link = async { done(&player.post(&link, &Value::Null).await) };
                    self.record(Operation::Link(bit), link).await
                }
                (4, _) => {
                    self.record(Operation::Unlink(bit), async { done(&player.delete(&link).await) }).await
                }
                (5, _) => {
                    let path = platform_path("XboxLive", &self.platform_session);
                    let find = async { Some(Answer::Found(reader.get(&path).await.status == 200)) };
                    self.record(Operation::Find, find).await
                }
                (6..9, Some((etag, session))) => {
                    let data = below(DATA) as u8 + 1;
                    let operation = Operation::Write { known: session, data };
                    self.record(operation, self.write(&reader, &etag, data, &mut known)).await
                }
                (9..11, _) => {
                    let queued = async {
                        let reply = reader.post(&queue, &json!({ "queue_id": "casual" })).await;
                        let ticket =
                            reply.body["ticket_id"].as_str().map(|ticket| self.ticket_number(ticket));
                        ticket.map(Answer::Queued).or_else(|| done(&reply))
                    };
                    self.record(Operation::Queue, queued).await
                }
                (11, _) => {
                    self.record(Operation::Unqueue, async { done(&reader.delete(&queue).await) }).await
                }
                (12..14, _) => match self.newest_ticket() {
                    Some((number, ticket)) => {
                        let made = async { done(&self.make_match(&reader, &ticket).await) };
                        self.record(Operation::Match(number), made).await
                    }
                    None => None,
                },
                _ => self.record(Operation::Read, self.read_if_changed(&reader, &mut known)).await,
            };
            history.extend(record);
        }
        history
    }

    /// Writes the custom data if the session has this ETag. Notes what the answer shows.
    async fn write(&self, writer: &Client, etag: &str, data: u8, known: &mut Known) -> Option<Answer> {
        let body = json!({ "custom_data": { "data": data.to_string() } }).to_string();
        let path = format!("/v1/session/{}", self.session);
        let reply = writer.send(Method::PATCH, &path, &[("if-match", etag)], Some(body.into())).await;
        if reply.status != 412 {
            if reply.status == 200 {
                *known = Some((reply.etag(), self.read(&reply)));
            }
            return done(&reply);
        }
        assert_ne!(reply.etag(), etag);
        let session = self.session_in(&reply.body["current"]);
        *known = Some((reply.etag(), Some(session)));
        Some(Answer::Differs(session))
    }

    /// Reads the session, with the known ETag if there is one.
    async fn read_if_changed(&self, reader: &Client, known: &mut Known) -> Option<Answer> {
        let path = format!("/v1/session/{}", self.session);
        let reply = match known {
            Some((etag, _)) => reader.get_if_none_match(&path, etag).await,
            None => reader.get(&path).await,
        };
        match (reply.status.as_u16(), &known) {
            (304, Some((_, session))) => return Some(Answer::Read(*session)),
            (200, _) => *known = Some((reply.etag(), self.read(&reply))),
            (404, _) => {}
            _ => panic!("{reply:?}"),
        }
        Some(Answer::Read(self.read(&reply)))
    }
}

/// The answer to a change; `None` if it lost every race and so had no effect.
fn done(reply: &Reply) -> Option<Answer> {
    match reply.status.as_u16() {
        200 | 204 => Some(Answer::Done),
        403 | 404 => Some(Answer::Refused),
        503 if reply.body["error_code"] == "contended" => None,
        _ => panic!("{reply:?}"),
    }
}

/// Three nodes on these stores.
fn nodes([store, others @ ..]: [Store; 3]) -> Vec<Server> {
    let one = Server::over(store, |config| {
        with_external_matcher(config);
        config.match_making_profiles.get_mut("4v4").unwrap().max_players_per_side = PLAYERS;
        let game = config.templates.get_mut("game").unwrap();
        (game.attempt_auto_join, game.players_per_team) = (false, PLAYERS);
        game.can_join_matchmaking = true;
    });
    let others = others.map(|store| one.another_node(store));
    [one].into_iter().chain(others).collect()
}

/// Runs a round; returns the history of its operations.
async fn run_round(nodes: &[Server], number: u64) -> Vec<Record> {
    let players: Vec<_> = (0..PLAYERS).map(|_| nodes[0].player()).collect();
    let time = AtomicU64::new(0);
    let mut round = Round {
        reader: nodes[0].service(&["session:*"]),
        platform_session: URL_SAFE.encode(format!("session of round {number}")),
        nodes: nodes.to_vec(),
        session: String::new(),
        players,
        tickets: Mutex::default(),
        time,
    };
    let (creator, mut session) = (round.players[0].clone(), String::new());
    let create = async {
        session = creator.creates("game").await;
        Some(Answer::Done)
    };
    let mut history: Vec<_> = round.record(Operation::Create(1), create).await.into_iter().collect();
    round.session = session;
    let (round, everyone) = (Arc::new(round), Arc::new(Barrier::new(PLAYERS)));
    let mut playing = JoinSet::new();
    for player in 0..PLAYERS {
        let (round, everyone) = (Arc::clone(&round), Arc::clone(&everyone));
        let entropy = Entropy::seeded(number * PLAYERS as u64 + player as u64);
        playing.spawn(async move {
            everyone.wait().await;
            round.run_operations(player, entropy).await
        });
    }
    history.extend(playing.join_all().await.into_iter().flatten());
    history
}

/// Asserts that the history of every round on these stores is linearizable.
async fn assert_linearizable_on(stores: [Store; 3]) {
    let nodes = nodes(stores);
    let (mut changes, mut writes, mut matches) = (0, [0; 2], [0; 2]);
    for number in 0..ROUNDS {
        let mut history = run_round(&nodes, number).await;
        history.sort_by_key(|record| record.began);
        assert!(is_linearizable(&history), "round {number} is not linearizable: {history:#?}");
        changes += history.iter().filter(|record| record.answer == Answer::Done).count() as u64;
        for record in history.iter().filter(|record| matches!(record.operation, Operation::Write { .. })) {
            writes[usize::from(record.answer == Answer::Done)] += 1;
        }
        for record in history.iter().filter(|record| matches!(record.operation, Operation::Match(_))) {
            matches[usize::from(record.answer == Answer::Done)] += 1;
        }
    }
    // Changes that lose every race are in no history. Some must win, beside the creation of each round.
    assert!(changes >= 3 * ROUNDS, "only {changes} changes in {ROUNDS} rounds");
    assert!(writes.iter().all(|writes| *writes >= ROUNDS / 2), "{writes:?} writes with an ETag");
    assert!(matches.iter().all(|matches| *matches >= ROUNDS / 4), "{matches:?} matches");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_that_share_memory_are_linearizable() {
    let memory = Memory::shared();
    assert_linearizable_on([(); 3].map(|()| Store::Memory(memory.clone()))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_that_share_a_database_are_linearizable() {
    let database = Database::new().await;
    let stores = [database.open().await, database.open().await, database.open().await];
    assert_linearizable_on(stores.map(Store::Postgres)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn answers_from_stale_caches_are_detected() {
    // Each node assumes that it is the only one, and so never checks whether its cache is current.
    let memory = Memory::default();
    let nodes = nodes([(); 3].map(|()| Store::Memory(memory.clone())));
    for number in 0..ROUNDS {
        if !is_linearizable(&run_round(&nodes, number).await) {
            return;
        }
    }
    panic!("all {ROUNDS} rounds were linearizable, with stale caches");
}

#[test]
fn the_checker_finds_an_order_if_there_is_one() {
    let record = |began, operation, answer, answered| Record { began, operation, answer, answered };
    let created = record(0, Operation::Create(1), Answer::Done, 1);
    let joined = record(2, Operation::Join(2), Answer::Done, 5);
    let seen = |began, players, answered| {
        let session = Session { players, linked: false, data: 0, ticket: 0 };
        record(began, Operation::Read, Answer::Read(Some(session)), answered)
    };
    // A read during a join may or may not show the player. After one read has shown them, all later reads must.
    assert!(is_linearizable(&[created, joined, seen(3, 1, 4)]));
    assert!(is_linearizable(&[created, joined, seen(3, 3, 4)]));
    assert!(is_linearizable(&[created, joined, seen(3, 1, 6), seen(4, 3, 7)]));
    assert!(!is_linearizable(&[created, joined, seen(6, 1, 7)]));
    assert!(!is_linearizable(&[
        created,
        record(2, Operation::Join(2), Answer::Done, 9),
        seen(3, 3, 4),
        seen(5, 1, 6)
    ]));
}

#[test]
fn the_checker_allows_one_of_two_writes_with_the_same_etag() {
    let known = Session { players: 1, linked: false, data: 0, ticket: 0 };
    let written = |data| Session { data, ..known };
    let created = Record { began: 0, operation: Operation::Create(1), answer: Answer::Done, answered: 1 };
    let write = |began, data, answer| Record {
        began,
        operation: Operation::Write { known, data },
        answer,
        answered: began + 2,
    };
    let history = |one, other| is_linearizable(&[created, write(2, 1, one), write(3, 2, other)]);
    assert!(history(Answer::Done, Answer::Differs(written(1))));
    assert!(history(Answer::Differs(written(2)), Answer::Done));
    assert!(!history(Answer::Done, Answer::Done), "an update is lost");
    assert!(!history(Answer::Differs(written(2)), Answer::Differs(written(1))));
    assert!(
        is_linearizable(&[created, write(2, 1, Answer::Done), write(3, 1, Answer::Done)]),
        "the same twice"
    );
}

#[test]
fn the_checker_allows_one_of_two_matches_with_the_same_ticket() {
    let record = |began, operation, answer| Record { began, operation, answer, answered: began + 2 };
    let created = Record { answered: 1, ..record(0, Operation::Create(1), Answer::Done) };
    let queued = Record { answered: 3, ..record(2, Operation::Queue, Answer::Queued(1)) };
    let history = |one, other| {
        let matches = [one, other].map(|answer| record(4, Operation::Match(1), answer));
        is_linearizable(&[created, queued, matches[0], matches[1]])
    };
    assert!(history(Answer::Done, Answer::Refused) && history(Answer::Refused, Answer::Done));
    assert!(!history(Answer::Done, Answer::Done), "a ticket is in two matches");
    assert!(!history(Answer::Refused, Answer::Refused), "a ticket is lost");
}
