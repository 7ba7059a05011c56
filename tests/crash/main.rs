//! Kills the real server under load, again and again, and checks that nothing was lost.
//!
//! `cargo test --test crash -- --rounds 200 --seed 7`. In each round, clients write to a server on the same data
//! directory as fast as it answers, until it gets a SIGKILL. It is started again, and then this is checked over HTTP:
//!
//! - every acknowledged write is there;
//! - every other write took effect completely or not at all;
//! - half of the clients send idempotency keys. They repeat the writes whose answers were lost, at any server, and each of
//!   these is answered as if it was sent once;
//! - all documents agree with each other;
//! - documents that nobody wrote to have the same ETags as before.
//!
//! The audit tells what is in the store, no more and no less (`events.rs`).
//!
//! Further players queue, and the server makes matches of them (`queues.rs`): no ticket is lost, or in two matches.
//!
//! On one server, further players ask for dedicated servers (`launches.rs`). After the start every instance has one server,
//! and no other server lives.
//!
//! With `--nodes 3` there are that many servers on one PostgreSQL database. One of them is killed, and the clients of
//! the others must still be answered. With `--failover` the database is killed or frozen, and its synchronous standby
//! takes over. All nodes must find it by themselves, and then the same checks follow.
//!
//! A SIGKILL does not lose data that the operating system has accepted. So these tests show that the server hands
//! data over before it acknowledges a write, and that it can read that data again. They do not test the disk.

mod verify;
mod audit;
mod client;
mod config;
mod events;
mod failover;
mod further_players;
mod launches;
mod model;
mod party;
mod queues;
#[path = "../support/mod.rs"]
mod support;
mod tally;
mod world;

use std::fmt;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use futures_util::future::join_all;
use rallypoint::auth::{DEFAULT_PLAYER_PERMISSIONS, DevelopmentKey, Grant};
use rallypoint::domain::{Platform, PlayerUuid};
use rallypoint::env::{Clock, Entropy};
use rallypoint::records::keys::KEY_UPGRADE;
use rallypoint::store::{Embedded, Store};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::task::JoinSet;
use uuid::Uuid;

use client::{Client, Lobbies, lobby_id};
use config::{CONFIG, share};
use launches::Launcher;
use model::{PLATFORMS, Write};
use queues::{Matched, Queuer};
use support::connection::Connection;
use support::postgres::Database;
use support::postgres::pair::Pair;
use support::process::{KillAtEnd, Server, lasting_address, serve_at, soon};
use tally::Tally;
use verify::Checked;
use world::World;

/// Number of clients that write at the same time.
const CLIENTS: usize = 24;
/// Number of sessions that all clients share.
const LOBBIES: usize = 3;
/// Maximum number of acknowledged writes before the kill.
const WRITES_MAX: u64 = 600;
/// Maximum time from there to the kill, in microseconds: a few durable writes.
const DELAY_MAX_US: u64 = 15_000;
/// One of this many starts is killed too.
const STARTS_PER_KILL: u64 = 4;
/// Default number of servers that share a database.
const NODES: usize = 3;
/// Maximum number of rounds with several servers, by default.
const ROUNDS_OF_NODES: u32 = 3;
/// Number of writes that the surviving servers must acknowledge after the kill.
const WRITES_AFTERWARDS: u32 = 100;
/// Maximum number of rounds with a failover of the database, by default.
const ROUNDS_OF_FAILOVER: u32 = 2;
/// A run of this many rounds must have seen matches.
const ROUNDS_FOR_MATCHES: u32 = 3;
/// Maximum time from such a start to its kill, in microseconds.
const START_MAX_US: u64 = 100_000;
/// How long documents may contradict each other because something expired between two reads.
const AGREEMENT_TIME_MAX: Duration = Duration::from_secs(20);
/// Pause before all documents are read again.
const READ_PAUSE: Duration = Duration::from_millis(100);
/// Lifetime of tokens: longer than any run.
const TOKEN_TTL: Duration = Duration::from_secs(7 * 24 * 3600);

#[derive(Parser)]
struct Args {
    /// How many rounds to run: the server is killed once in each.
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// Seed of the random operations and of the time of each kill.
    #[arg(long)]
    seed: Option<u64>,
    /// How many servers share a database. Without it, one server runs on a data directory, and then three servers run
    /// a few rounds on a database.
    #[arg(long)]
    nodes: Option<usize>,
    /// Kill the database instead of a server. Without this and `--nodes`, the last few rounds do so.
    #[arg(long)]
    failover: bool,
    /// Other arguments of `cargo test`: name filters, and flags that are ignored here.
    #[arg(hide = true, allow_hyphen_values = true)]
    of_cargo: Vec<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let names: Vec<_> = args.of_cargo.iter().filter(|arg| !arg.starts_with('-')).collect();
    if !names.is_empty() && !names.iter().any(|name| "crash".contains(name.as_str())) {
        return ExitCode::SUCCESS;
    }
    let seed = args.seed.unwrap_or_else(|| u64::from_le_bytes(Entropy::System.bytes()));
    let nodes = args.nodes.unwrap_or(NODES);
    let trials = match args.nodes {
        _ if args.failover => vec![(args.rounds, Setting::Failover(nodes))],
        Some(nodes) => vec![(args.rounds, Setting::Nodes(nodes))],
        None => vec![
            (args.rounds, Setting::Alone),
            (args.rounds.min(ROUNDS_OF_NODES), Setting::Nodes(nodes)),
            (args.rounds.min(ROUNDS_OF_FAILOVER), Setting::Failover(nodes)),
        ],
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (mut wrong, mut matched) = (Vec::new(), Matched::default());
    for (rounds, setting) in trials {
        println!("{rounds} rounds of {CLIENTS} clients on {setting} with --seed {seed}");
        let (mut wrong_here, matched_here) = runtime.block_on(run(rounds, seed, setting));
        wrong.append(&mut wrong_here);
        matched.tickets += matched_here.tickets;
        matched.matches += matched_here.matches;
    }
    if args.rounds >= ROUNDS_FOR_MATCHES && (matched.tickets == 0 || matched.matches == 0) {
        wrong.push(format!("the servers were killed while nobody was matched: {matched}"));
    }
    for what in &wrong {
        eprintln!("{what}");
    }
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The servers of a trial, and what is killed.
#[derive(Clone, Copy)]
enum Setting {
    /// One server on a data directory. The server is killed.
    Alone,
    /// This many servers on a database. One of them is killed.
    Nodes(usize),
    /// This many servers on a database. The database is killed.
    Failover(usize),
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alone => f.write_str("a server"),
            Self::Nodes(nodes) => write!(f, "--nodes {nodes}"),
            Self::Failover(nodes) => write!(f, "--nodes {nodes} --failover"),
        }
    }
}

/// Runs the rounds. Stops after the first round with faults and returns them, and what was seen of the queues in all rounds.
async fn run(rounds: u32, seed: u64, setting: Setting) -> (Vec<String>, Matched) {
    let (mut trial, mut servers) = Trial::start(seed, setting).await;
    let mut matched = Matched::default();
    for round in 1..=rounds {
        let killed = match setting {
            Setting::Failover(_) => trial.write_until_failed_over(&servers, round).await,
            Setting::Alone | Setting::Nodes(_) => trial.write_until_killed(&mut servers).await,
        };
        let mut left = trial.audit().await;
        if !matches!(setting, Setting::Failover(_)) {
            servers.push(trial.restart().await);
        }
        let repeated = trial.repeat(trial.any(&servers)).await;
        let (checked, mut wrong) = trial.verify(trial.any(&servers)).await;
        wrong.append(&mut left);
        println!(
            "round {round}: {killed}; {repeated} lost answers fetched; verified {checked}, {}",
            trial.matched
        );
        matched.tickets += trial.matched.tickets;
        matched.matches += trial.matched.matches;
        if !wrong.is_empty() {
            drop(servers);
            println!("round {round} FAILED; the data directory stays: {}", trial.dir.keep().display());
            return (wrong, matched);
        }
    }
    trial.wait_out(trial.any(&servers)).await;
    if let Setting::Alone = setting {
        let mut admin = trial.admin(&servers[0]).await;
        launches::end_all(&mut trial.launchers, &mut admin, trial.dir.path()).await;
    }
    for server in servers {
        server.stop().await.expect(0);
    }
    let mut left = trial.audit().await;
    if let Setting::Alone = setting {
        left.append(&mut launches::leftovers(trial.dir.path()));
    }
    (left, matched)
}

/// The running clients.
struct Work {
    tally: Arc<Tally>,
    started: Instant,
    writing: JoinSet<Client>,
    launching: JoinSet<Launcher>,
    queuing: JoinSet<Queuer>,
}

/// A data directory or a database, with the clients that use it.
struct Trial {
    _servers: KillAtEnd,
    dir: TempDir,
    /// The address of each server that is started. Dedicated servers need the same one after a restart.
    address: String,
    database: Option<Database>,
    pair: Option<Pair>,
    entropy: Entropy,
    key: DevelopmentKey,
    clients: Vec<Client>,
    launchers: Vec<Launcher>,
    queuers: Vec<Queuer>,
    /// What was last seen of the queues.
    matched: Matched,
    lobbies: Lobbies,
}

impl Trial {
    /// Starts the servers and creates the lobbies.
    async fn start(seed: u64, setting: Setting) -> (Self, Vec<Server>) {
        let dir = TempDir::new().unwrap();
        let key = DevelopmentKey::load_or_create(dir.path(), &Entropy::System).unwrap();
        let (nodes, database, pair) = match setting {
            Setting::Alone => (1, None, None),
            Setting::Nodes(nodes) => (nodes, Some(Database::new().await), None),
            Setting::Failover(nodes) => {
                let pair = Pair::start().await;
                (nodes, Some(Database::on(&pair.url).await), Some(pair))
            }
        };
        let (address, further) = match &database {
            Some(database) => ("127.0.0.1:0".to_owned(), share(dir.path(), &database.url)),
            None => (lasting_address(), launches::configuration()),
        };
        std::fs::write(dir.path().join("crash.toml"), CONFIG.to_owned() + queues::CONFIGURATION + &further)
            .unwrap();
        let (entropy, lobbies) = (Entropy::seeded(seed), Lobbies::default());
        let (clients, launchers, queuers) = (Vec::new(), Vec::new(), Vec::new());
        let matched = Matched::default();
        let _servers = KillAtEnd(dir.path().to_owned());
        let mut trial = Self {
            _servers,
            dir,
            address,
            database,
            pair,
            entropy,
            key,
            clients,
            launchers,
            queuers,
            matched,
            lobbies,
        };
        let starting = (0..nodes).map(|_| Server::spawn(trial.command()));
        let servers = join_all(starting).await;
        trial.lobbies = Arc::new(trial.make_lobbies(&servers[0]).await);
        for number in 0..CLIENTS {
            let entropy = Entropy::seeded(u64::from_le_bytes(trial.entropy.bytes()));
            let mut client = Client::new(number, entropy, Arc::clone(&trial.lobbies));
            client.database_fails = matches!(setting, Setting::Failover(_));
            let permissions = DEFAULT_PLAYER_PERMISSIONS.iter().map(|permission| permission.name());
            let permissions: Vec<_> = permissions.chain(["session:instance:health"]).collect();
            for (number, player) in client.players.iter().enumerate() {
                let player_id = Some(client.player_id(number));
                let platform = Some(client.platform);
                client.tokens.push(trial.token(*player, player_id, platform, &permissions));
            }
            trial.clients.push(client);
        }
        trial.add_launchers(setting);
        trial.add_queuers();
        (trial, servers)
    }

    fn any<'a>(&self, servers: &'a [Server]) -> &'a Server {
        &servers[self.index_below(servers.len())]
    }

    fn index_below(&self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap()
    }

    fn command(&self) -> Command {
        let config = self.dir.path().join("crash.toml");
        let args = ["--config", config.to_str().unwrap(), "--admin-listen", "127.0.0.1:0"];
        let mut command = serve_at(&self.address, self.dir.path(), &args);
        command.stderr(Stdio::inherit());
        command
    }

    fn token(
        &self,
        player: Uuid,
        player_id: Option<i64>,
        platform: Option<Platform>,
        permissions: &[&str],
    ) -> String {
        let permissions = permissions.iter().map(|name| (*name).to_owned()).collect();
        let player = Some(PlayerUuid(player));
        let grant = Grant { player, permissions, platform, player_id, ttl: TOKEN_TTL };
        self.key.sign(&grant, Clock::System.now())
    }

    /// A connection with every permission.
    async fn admin(&self, server: &Server) -> Connection {
        let token = self.token(self.entropy.uuid(), None, None, &["session:*"]);
        Connection::open(server.address, Some(&token)).await.unwrap()
    }

    /// Creates the lobbies, each empty and with a platform session on every platform.
    async fn make_lobbies(&self, server: &Server) -> Vec<String> {
        let mut admin = self.admin(server).await;
        let mut call = async |write: Write| {
            let answer = admin.call(&write.method, &write.path, write.body.as_ref()).await.unwrap();
            assert!(answer.status().is_success(), "{write} was answered {answer:?}");
            serde_json::from_slice(answer.body()).unwrap_or(Value::Null)
        };
        let mut lobbies = Vec::new();
        for lobby in 0..LOBBIES {
            let created = call(Write::create("lobby", Platform::Steam, "1.0.0")).await;
            let session = created["session_id"].as_str().unwrap();
            for platform in PLATFORMS {
                call(Write::link(session, platform, &lobby_id(lobby))).await;
            }
            call(Write::leave(session, None)).await;
            lobbies.push(session.to_owned());
        }
        lobbies
    }

    fn below(&self, bound: u64) -> u64 {
        u64::from_le_bytes(self.entropy.bytes()) % bound
    }

    /// Runs all clients and meanwhile kills one of the servers. Returns a summary.
    async fn write_until_killed(&mut self, servers: &mut Vec<Server>) -> String {
        let work = self.work(servers).await;
        let after_ms = work.started.elapsed().as_millis();
        let (killed, nodes) = (self.index_below(servers.len()), servers.len());
        servers.remove(killed).kill().await;
        if !servers.is_empty() {
            work.tally.gains(WRITES_AFTERWARDS).await;
        }
        let writes = self.end(work).await;
        for client in self.clients.iter().filter(|client| client.number % nodes != killed) {
            let lost = &client.in_flight;
            assert!(lost.is_none(), "client {} of another node was not answered: {lost:?}", client.number);
        }
        format!("{writes} writes acknowledged, killed after {after_ms} ms")
    }

    /// Starts all clients and waits until enough writes are acknowledged, and a random time more.
    async fn work(&mut self, servers: &[Server]) -> Work {
        let (tally, started) = (Arc::new(Tally::new(servers.len())), Instant::now());
        let mut writing = JoinSet::new();
        for client in self.clients.drain(..) {
            let node = client.number % servers.len();
            writing.spawn(client.run(servers[node].address, node, Arc::clone(&tally)));
        }
        let mut launching = JoinSet::new();
        for launcher in self.launchers.drain(..) {
            launching.spawn(launcher.run(servers[0].address, Arc::clone(&tally)));
        }
        let mut queuing = JoinSet::new();
        for (number, queuer) in self.queuers.drain(..).enumerate() {
            queuing.spawn(queuer.run(servers[number % servers.len()].address, Arc::clone(&tally)));
        }
        let enough = u32::try_from(self.below(WRITES_MAX)).unwrap();
        tokio::select! {
            () = tally.reaches(enough) => {}
            Some(ended) = writing.join_next() => {
                panic!("client {} lost its connection before the kill", ended.unwrap().number);
            }
        }
        tokio::time::sleep(Duration::from_micros(self.below(DELAY_MAX_US))).await;
        Work { tally, started, writing, launching, queuing }
    }

    /// Stops the clients; returns the number of acknowledged writes.
    async fn end(&mut self, work: Work) -> usize {
        work.tally.end();
        self.clients = work.writing.join_all().await;
        self.clients.sort_by_key(|client| client.number);
        self.launchers = work.launching.join_all().await;
        self.queuers = work.queuing.join_all().await;
        work.tally.count()
    }

    /// Starts a server on the data that is left. Sometimes kills it once more during its start.
    async fn restart(&self) -> Server {
        if self.below(STARTS_PER_KILL) == 0 {
            let mut starting = self.command().spawn().unwrap();
            tokio::time::sleep(Duration::from_micros(self.below(START_MAX_US))).await;
            soon("the server ends", starting.kill()).await.unwrap();
        }
        Server::spawn(self.command()).await
    }

    /// Repeats the writes whose answers were lost, of the clients that send keys. Returns how many these are.
    async fn repeat(&mut self, server: &Server) -> usize {
        join_all(self.clients.iter_mut().map(|client| client.repeat(server.address))).await.iter().sum()
    }

    /// Reads all documents and compares them with the clients' facts. Returns a summary and the faults.
    async fn verify(&mut self, server: &Server) -> (String, Vec<String>) {
        let mut admin = self.admin(server).await;
        let started = Instant::now();
        let (world, mut wrong) = loop {
            let world = World::read(&mut admin, &self.clients, &self.lobbies).await.unwrap();
            let wrong = world.contradictions(&self.clients, &self.lobbies);
            // If something expires between two reads, the documents contradict each other until both are read again.
            if wrong.is_empty() || started.elapsed() > AGREEMENT_TIME_MAX {
                break (world, wrong);
            }
            tokio::time::sleep(READ_PAUSE).await;
        };
        let mut checked = Checked::default();
        for client in &mut self.clients {
            verify::check_client(client, &world, &mut checked, &mut wrong);
        }
        let servers = launches::verify(&mut self.launchers, &mut admin, self.dir.path(), &mut wrong).await;
        let Checked { facts, etags, in_flight, happened, expired } = checked;
        let verified = format!(
            "{facts} facts, {etags} ETags, {}, {servers}; of {in_flight} writes in flight {happened} took effect, \
             {expired} expired",
            world.size()
        );
        (verified, wrong)
    }

    /// Checks the content of the store after the kill. Reads a copy of a data directory, because only one process may
    /// open it.
    async fn audit(&mut self) -> Vec<String> {
        let copied = TempDir::new().unwrap();
        let store = match &self.database {
            Some(database) => Store::Postgres(database.open().await),
            None => {
                audit::copy(self.dir.path(), copied.path()).unwrap();
                Store::Embedded(Embedded::open(copied.path(), KEY_UPGRADE).unwrap())
            }
        };
        let players = self.clients.iter().flat_map(|client| {
            let players = client.players.iter().enumerate();
            players.map(|(number, player)| (client.player_id(number), *player))
        });
        let (stored, sessions) = audit::read(&store).await;
        let mut wrong = audit::leftovers(&stored, &sessions, &players.collect());
        wrong.append(&mut events::verify(&stored, &sessions));
        self.matched = queues::verify(&sessions, &self.queuers, &mut wrong);
        wrong
    }

    /// Waits until all invites and inactive players have expired.
    async fn wait_out(&self, server: &Server) {
        let mut admin = self.admin(server).await;
        let mut looks = tokio::time::interval(Duration::from_millis(50));
        let waiting = async {
            loop {
                looks.tick().await;
                let world = World::read(&mut admin, &self.clients, &self.lobbies).await.unwrap();
                if !world.waits(&self.clients) {
                    return;
                }
            }
        };
        soon("invites and inactive players have expired", waiting).await;
    }
}
