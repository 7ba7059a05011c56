//! Rallypoint against what carries it: each case in short cells, in turn with its baseline.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::cases::Case;
use crate::connection::{Client, Connection};
use crate::load::{self, Sample};
use crate::process::Process;
use crate::requests::{self, Request};
use crate::servers::Answer;
use crate::sessions::Kind;
use crate::support::{median, spread};

/// How much is measured.
pub struct Size {
    sessions: u64,
    rounds: usize,
    time: Duration,
}

pub const WHOLE: Size = Size { sessions: 100_000, rounds: 15, time: Duration::from_secs(1) };
pub const QUICK: Size = Size { sessions: 4_096, rounds: 3, time: Duration::from_millis(200) };

/// A process that serves, and where.
pub struct Server {
    pub process: Process,
    pub address: SocketAddr,
    /// Where it answers operators, if it does.
    pub admin: Option<SocketAddr>,
}

impl Server {
    pub fn start(role: &[&str], errors: Stdio) -> Self {
        let mut process = Process::start(role, errors);
        let line = process.line();
        let mut addresses = line.split(' ').map(|address| address.parse().unwrap());
        let address = addresses.next().unwrap();
        Self { process, address, admin: addresses.next() }
    }
}

struct Bench<'a> {
    runtime: &'a Runtime,
    dir: &'a Path,
    size: Size,
}

/// Measures the cases, and prints what they came to.
pub fn compare(runtime: &Runtime, size: Size, cases: &[Case]) {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let bench = Bench { runtime, dir: dir.path(), size };
    println!(
        "{:12} {:14} {:>10} {:>8} {:>8} {:>8} {:>18} {:>18}",
        "", "", "answers/s", "p50 us", "p99 us", "CPU us", "answers ratio", "CPU ratio"
    );
    for same in cases.chunk_by(|one, other| one.stored() == other.stored()) {
        let data_dir = bench.filled("server", same[0].stored());
        let server = Server::start(&["serve", &data_dir], Stdio::null());
        for case in same {
            bench.run(*case, &server);
        }
    }
}

impl Bench<'_> {
    fn path(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().to_owned()
    }

    /// A data directory of its own with all sessions stored, filled the first time it is asked for.
    fn filled(&self, name: &str, kind: Kind) -> String {
        let dir = self.path(&format!("{name}-{}", kind.name()));
        if std::fs::create_dir(&dir).is_ok() {
            self.runtime.block_on(Case::fill(Path::new(&dir), kind, self.size.sessions));
        }
        dir
    }

    fn run(&self, case: Case, server: &Server) {
        let stored = self.size.sessions;
        let mut requests = case.requests(stored, 0);
        if case.is_conditional() {
            self.runtime.block_on(make_conditional(server.address, &mut requests));
        }
        if case.is_at_once() {
            self.runtime.block_on(check_all_join(case, server.address, &requests));
        }
        let file = self.path("requests.json");
        std::fs::write(&file, serde_json::to_vec(&requests).unwrap()).unwrap();
        if case.is_change() {
            let store = ["commit", &case.name(), &self.filled("raw", case.stored()), &stored.to_string()];
            let store = Process::start(&store, Stdio::inherit());
            print(case, "store alone", &self.rounds([store, callers(case, &[server], &file, None)]));
        } else {
            let bare = self.bare(case, server.address, &requests[0][0]);
            print(
                case,
                "bare hyper",
                &self.rounds([callers(case, &[&bare], &file, None), callers(case, &[server], &file, None)]),
            );
        }
    }

    /// A bare server that answers what the server at this address answers to a request. The two are compared fairly
    /// only where they answer alike, to the byte; but for the time.
    fn bare(&self, case: Case, address: SocketAddr, request: &Request) -> Server {
        let (answer, whole) = self.runtime.block_on(ask(address, request));
        case.check(&answer.body);
        let file = self.path("answer.json");
        std::fs::write(&file, serde_json::to_vec(&answer).unwrap()).unwrap();
        let bare = Server::start(&["serve-bare", &file], Stdio::inherit());
        assert_eq!(self.runtime.block_on(ask(bare.address, request)).1, whole);
        bare
    }

    /// Short cells in turn, and in changing order, so that a slow moment of the machine meets both.
    fn rounds(&self, mut askers: [Process; 2]) -> Vec<[Sample; 2]> {
        let round = |round: usize| {
            let first = round % 2;
            let mut samples = [None; 2];
            for index in [first, 1 - first] {
                samples[index] = Some(askers[index].measure(self.size.time));
            }
            samples.map(Option::unwrap)
        };
        (0..self.size.rounds).map(round).collect()
    }
}

/// The callers of a case, who ask one or several servers, spread over them; each so often at most, where that is said.
pub fn callers(case: Case, servers: &[&Server], requests: &str, every: Option<Duration>) -> Process {
    let list = |of: fn(&Server) -> String| servers.iter().copied().map(of).collect::<Vec<_>>().join(",");
    let addresses = list(|server| server.address.to_string());
    let pids = list(|server| server.process.id().to_string());
    let (name, every_ms) = (case.name(), every.map(|every| every.as_millis().to_string()));
    let mut role = vec!["load", &name, requests, "--addresses", &addresses, "--pids", &pids];
    if let Some(every_ms) = &every_ms {
        role.extend(["--every-ms", every_ms]);
    }
    Process::start(&role, Stdio::inherit())
}

/// Has those who ask know already what they will be answered.
pub async fn make_conditional(address: SocketAddr, requests: &mut [Vec<Request>]) {
    let mut connection = Connection::open(address).await;
    for request in requests.iter_mut().flatten() {
        connection.ask(request).await;
        *request = request.unless(connection.header("etag").unwrap());
    }
}

/// Those who join at once are all in, with who was there before; those who leave at once are all out.
async fn check_all_join(case: Case, address: SocketAddr, requests: &[Vec<Request>]) {
    let meeting = case.asked_for(0, 0)[0][0];
    let (host, mut connection) = (requests::token(meeting.player(1)), Connection::open(address).await);
    let mut guests = Client::open_all(&[address], requests.to_vec(), case.steps()).await;
    for guests_in in [guests.len(), 0] {
        load::once(&mut guests).await;
        let (mut players, mut cursor) = (0, 0);
        loop {
            connection.ask(&requests::players(meeting, &host, cursor)).await;
            players += connection.body().matches("player_uuid").count();
            let page: serde_json::Value = serde_json::from_str(connection.body()).unwrap();
            cursor = page["cursor"].as_u64().unwrap();
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(players, guests_in + meeting.kind.players() as usize);
    }
}

/// What a server answers: its parts, and all of it but for the time.
async fn ask(address: SocketAddr, request: &Request) -> (Answer, String) {
    let mut connection = Connection::open(address).await;
    connection.ask(request).await;
    let (etag, body) = (connection.header("etag").unwrap(), connection.body());
    let answer = Answer { status: request.status, etag: etag.to_owned(), body: body.to_owned() };
    let lines = connection.answer().split("\r\n").filter(|line| !line.starts_with("date: "));
    (answer, lines.collect::<Vec<_>>().join("\n"))
}

fn print(case: Case, baseline: &str, rounds: &[[Sample; 2]]) {
    let of =
        |asker: usize, number: fn(&Sample) -> f64| median(rounds.iter().map(|round| number(&round[asker])));
    let ratio = |number: fn(&Sample) -> f64| {
        spread(rounds.iter().map(move |[base, ours]| number(ours) / number(base)))
    };
    let name = case.name();
    for (asker, who) in [baseline, "rallypoint"].into_iter().enumerate() {
        let numbers = [
            of(asker, |sample| sample.per_second),
            of(asker, |sample| sample.p50_us),
            of(asker, |sample| sample.p99_us),
        ];
        let [per_second, p50_us, p99_us] = numbers;
        let cpu_us = of(asker, |sample| sample.cpu_us);
        let ratios = [ratio(|sample| sample.per_second), ratio(|sample| sample.cpu_us)];
        let [answers, cpu] = if asker == 1 { ratios } else { [String::new(), String::new()] };
        println!(
            "{name:12} {who:14} {per_second:>10.0} {p50_us:>8.0} {p99_us:>8.0} {cpu_us:>8.1} {answers:>18} {cpu:>18}"
        );
    }
}
