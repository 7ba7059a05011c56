//! Compares Rallypoint with its baseline, a bare server or the bare store: for each case, short samples in turn.

use std::ffi::OsString;
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

/// Size of a run.
pub struct Size {
    sessions: u64,
    pub rounds: usize,
    pub time: Duration,
}

pub const WHOLE: Size = Size { sessions: 100_000, rounds: 15, time: Duration::from_secs(1) };
pub const QUICK: Size = Size { sessions: 4_096, rounds: 3, time: Duration::from_millis(200) };

/// A server process.
pub struct Server {
    pub process: Process,
    pub address: SocketAddr,
    /// Address of the admin listener, if there is one.
    pub admin: Option<SocketAddr>,
}

impl Server {
    pub fn start(role: &[&str], errors: Stdio) -> Self {
        Self::of(Process::start(role, errors))
    }

    /// Starts a server of another build of this program.
    pub fn start_program(program: OsString, role: &[&str], errors: Stdio) -> Self {
        Self::of(Process::start_program(program, role, errors))
    }

    fn of(mut process: Process) -> Self {
        let line = process.line();
        let mut addresses = line.split(' ').map(|address| address.parse().unwrap());
        let address = addresses.next().unwrap();
        Self { process, address, admin: addresses.next() }
    }
}

/// Servers whose polls take the fast path in the service: their names, and the option that makes them do so.
const OTHER_SERVERS: [(&str, &str); 2] = [("fast_path = false", "--no-fast-path"), ("with CORS", "--cors")];

/// A variant in the table: its name, and the callers that measure it.
type Variant = (&'static str, Process);

struct Bench<'a> {
    runtime: &'a Runtime,
    dir: &'a Path,
    size: Size,
}

/// Measures the cases and prints a table. With `paths`, it has also the polls that are not answered under hyper.
pub fn compare(runtime: &Runtime, size: Size, cases: &[Case], paths: bool) {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let bench = Bench { runtime, dir: dir.path(), size };
    print_head();
    for same in cases.chunk_by(|one, other| one.stored() == other.stored()) {
        let server = bench.server("server", same[0].stored(), None);
        let others: Vec<_> = if paths && same.iter().any(|case| case.is_fast()) {
            let other = |(name, option)| (name, bench.server(option, same[0].stored(), Some(option)));
            OTHER_SERVERS.map(other).into()
        } else {
            Vec::new()
        };
        for case in same {
            bench.run(*case, &server, &others);
        }
    }
}

impl Bench<'_> {
    fn path(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().to_owned()
    }

    /// A data directory with all sessions. It is filled on first use.
    fn filled(&self, name: &str, kind: Kind) -> String {
        let dir = self.path(&format!("{name}-{}", kind.name()));
        if std::fs::create_dir(&dir).is_ok() {
            self.runtime.block_on(Case::fill(Path::new(&dir), kind, self.size.sessions));
        }
        dir
    }

    /// A server on a data directory of its own, with an option.
    fn server(&self, name: &str, stored: Kind, option: Option<&str>) -> Server {
        let data_dir = self.filled(name.trim_start_matches('-'), stored);
        let role: Vec<_> = ["serve", &data_dir].into_iter().chain(option).collect();
        Server::start(&role, Stdio::null())
    }

    fn run(&self, case: Case, server: &Server, others: &[(&'static str, Server)]) {
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
            self.measure(
                case,
                vec![("store alone", store), ("rallypoint", callers(case, &[server], &file, None))],
            );
        } else {
            let bare = self.bare(case, server.address, &requests[0][0]);
            let variant = |name, server: &Server| (name, callers(case, &[server], &file, None));
            let mut variants = vec![variant("bare hyper", &bare), variant("rallypoint", server)];
            if case.is_fast() {
                variants.extend(others.iter().map(|(name, server)| variant(name, server)));
            }
            if case.is_fast() && !others.is_empty() {
                let requests = requests.iter().map(|its| its.iter().map(Request::by_normal_path).collect());
                let file = self.path("normal.json");
                let requests: Vec<Vec<_>> = requests.collect();
                std::fs::write(&file, serde_json::to_vec(&requests).unwrap()).unwrap();
                variants.push(("normal path", callers(case, &[server], &file, None)));
            }
            self.measure(case, variants);
        }
    }

    fn measure(&self, case: Case, mut variants: Vec<Variant>) {
        let rounds = self.rounds(&mut variants);
        let names: Vec<_> = variants.iter().map(|(name, _)| *name).collect();
        print(&case.name(), &names, &rounds);
    }

    /// A bare server that sends the same response as the server at this address. The comparison is fair only if both
    /// send the same bytes, except for the date.
    fn bare(&self, case: Case, address: SocketAddr, request: &Request) -> Server {
        let (answer, whole) = self.runtime.block_on(fetch(address, request));
        case.check(&answer.body);
        let file = self.path("answer.json");
        std::fs::write(&file, serde_json::to_vec(&answer).unwrap()).unwrap();
        let bare = Server::start(&["serve-bare", &file], Stdio::inherit());
        assert_eq!(self.runtime.block_on(fetch(bare.address, request)).1, whole);
        bare
    }

    /// Short samples of all variants in turn. Each round begins with another variant, so that a slow moment of the
    /// machine affects all of them.
    fn rounds(&self, variants: &mut [Variant]) -> Vec<Vec<Sample>> {
        let count = variants.len();
        let mut rounds = Vec::new();
        for round in 0..self.size.rounds {
            let mut samples = vec![None; count];
            for index in (0..count).map(|turn| (round + turn) % count) {
                samples[index] = Some(variants[index].1.measure(self.size.time));
            }
            rounds.push(samples.into_iter().map(Option::unwrap).collect());
        }
        rounds
    }
}

/// The callers of a case, spread over the servers. With `every`, each caller sends at most one request in that time.
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

/// Adds an `If-None-Match` header with the current ETag to each request.
pub async fn make_conditional(address: SocketAddr, requests: &mut [Vec<Request>]) {
    let mut connection = Connection::open(address).await;
    for request in requests.iter_mut().flatten() {
        connection.send(request).await;
        *request = request.unless(connection.header("etag").unwrap());
    }
}

/// Asserts that after all guests join at the same moment, all are in the session, and after all leave, none is.
async fn check_all_join(case: Case, address: SocketAddr, requests: &[Vec<Request>]) {
    let meeting = case.sessions_of_callers(0, 0)[0][0];
    let host = requests::token(meeting.player(1));
    let mut connection = Connection::open(address).await;
    let mut guests = Client::open_all(&[address], requests.to_vec(), case.steps()).await;
    for guests_in in [guests.len(), 0] {
        load::once(&mut guests).await;
        let (mut players, mut cursor) = (0, 0);
        loop {
            connection.send(&requests::players(meeting, &host, cursor)).await;
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

/// The response of a server: its parts, and all of it without the date.
pub async fn fetch(address: SocketAddr, request: &Request) -> (Answer, String) {
    let mut connection = Connection::open(address).await;
    connection.send(request).await;
    let (etag, body) = (connection.header("etag").unwrap(), connection.body());
    let answer = Answer { status: request.status, etag: etag.to_owned(), body: body.to_owned() };
    let lines = connection.answer().split("\r\n").filter(|line| !line.starts_with("date: "));
    (answer, lines.collect::<Vec<_>>().join("\n"))
}

/// Prints the head of the table.
pub fn print_head() {
    println!(
        "{:12} {:18} {:>10} {:>8} {:>8} {:>8} {:>18} {:>18}",
        "", "", "answers/s", "p50 us", "p99 us", "CPU us", "answers ratio", "CPU ratio"
    );
}

/// Prints the medians of the rounds, and the ratios to the first variant, the baseline.
pub fn print(name: &str, variants: &[&str], rounds: &[Vec<Sample>]) {
    for (variant, who) in variants.iter().enumerate() {
        let of = |number: fn(&Sample) -> f64| median(rounds.iter().map(|round| number(&round[variant])));
        let ratio = |number: fn(&Sample) -> f64| match variant {
            0 => String::new(),
            _ => spread(rounds.iter().map(move |round| number(&round[variant]) / number(&round[0]))),
        };
        let (per_second, cpu_us) = (of(|sample| sample.per_second), of(|sample| sample.cpu_us));
        let (p50_us, p99_us) = (of(|sample| sample.p50_us), of(|sample| sample.p99_us));
        let (answers, cpu) = (ratio(|sample| sample.per_second), ratio(|sample| sample.cpu_us));
        println!(
            "{name:12} {who:18} {per_second:>10.0} {p50_us:>8.0} {p99_us:>8.0} {cpu_us:>8.1} {answers:>18} {cpu:>18}"
        );
    }
}
