//! What does a request cost beside the HTTP library and the store that carry it? See `../README.md`.

mod load;
mod process;
mod requests;
mod servers;
mod sessions;
#[path = "../support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use http::StatusCode;
use load::{Caller, Committer, Connection, Sample};
use process::Process;
use requests::{CALLERS, Request, SESSIONS_EACH, asked_for};
use sessions::Sessions;
use support::{median, spread};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// As in the binary; the bare server has it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What does a request cost beside the HTTP library and the store that carry it?
#[derive(Parser)]
struct Args {
    /// A short check that everything works; its numbers mean little.
    #[arg(long)]
    quick: bool,
    /// One case alone.
    #[arg(long)]
    only: Option<Case>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// How much is measured.
struct Size {
    sessions: u64,
    rounds: usize,
    time: Duration,
}

const WHOLE: Size = Size { sessions: 100_000, rounds: 15, time: Duration::from_secs(1) };
const QUICK: Size = Size { sessions: 4_096, rounds: 3, time: Duration::from_millis(200) };

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Case {
    /// Get Platform Session Info, answered with the document.
    Get,
    /// The same, answered 304.
    #[value(name = "304")]
    NotModified,
    /// Players join and leave, each answered after an fsync.
    Join,
}

/// What a process of the bench does.
#[derive(Subcommand)]
enum Role {
    #[command(hide = true)]
    Serve { dir: PathBuf },
    #[command(hide = true)]
    ServeBare { status: StatusCode },
    #[command(hide = true)]
    Load { address: SocketAddr, server_pid: u32, requests: PathBuf },
    #[command(hide = true)]
    Commit { dir: PathBuf, stored: u64 },
}

fn main() {
    let args = Args::parse();
    let runtime = Runtime::new().unwrap();
    match args.role {
        Some(role) => play(&runtime, role),
        None => compare(&runtime, if args.quick { QUICK } else { WHOLE }, args.only),
    }
}

/// Plays a role until the process that asked for it goes away.
fn play(runtime: &Runtime, role: Role) {
    match role {
        Role::Serve { dir } => {
            let server = runtime.block_on(servers::start(&dir));
            process::print_line(&server.api_address.to_string());
            process::times().for_each(drop);
            runtime.block_on(server.stop()).unwrap();
        }
        Role::ServeBare { status } => {
            let document = requests::document(&Sessions::new(), asked_for(0, 0, 0));
            let address = runtime.block_on(servers::start_bare(document, status));
            process::print_line(&address.to_string());
            process::times().for_each(drop);
        }
        Role::Load { address, server_pid, requests } => {
            let connections = runtime.block_on(Connection::open_all(address, &requests));
            answer_times(runtime, connections, server_pid);
        }
        Role::Commit { dir, stored } => {
            let committers = runtime.block_on(Committer::open_all(&dir, stored));
            answer_times(runtime, committers, std::process::id());
        }
    }
}

fn answer_times<C: Caller>(runtime: &Runtime, mut callers: Vec<C>, server_pid: u32) {
    for time in process::times() {
        let sample = runtime.block_on(load::measure(&mut callers, server_pid, time));
        process::print_line(&serde_json::to_string(&sample).unwrap());
    }
}

fn compare(runtime: &Runtime, size: Size, only: Option<Case>) {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let bench = Bench { runtime, dir: dir.path(), sessions: Sessions::new(), size };
    let data_dir = bench.filled("server");
    let (server, address) = start_server(&["serve", &data_dir], Stdio::null());
    println!(
        "{:12} {:14} {:>10} {:>8} {:>8} {:>8} {:>18} {:>18}",
        "", "", "answers/s", "p50 us", "p99 us", "CPU us", "answers ratio", "CPU ratio"
    );
    for case in Case::value_variants().iter().filter(|case| only.is_none_or(|only| only == **case)) {
        let requests = bench.requests(*case);
        match case {
            Case::Get | Case::NotModified => {
                let status = requests[0].status.to_string();
                let (bare, bare_address) = start_server(&["serve-bare", &status], Stdio::inherit());
                bench.check_same_answer([bare_address, address], &requests[..1]);
                let loads = [(&bare, bare_address), (&server, address)]
                    .map(|(server, address)| bench.load(server, address, &requests));
                print(case, "bare hyper", &bench.rounds(loads));
            }
            Case::Join => {
                let stored = bench.size.sessions.to_string();
                let raw = Process::start(&["commit", &bench.filled("raw"), &stored], Stdio::inherit());
                print(case, "store alone", &bench.rounds([raw, bench.load(&server, address, &requests)]));
            }
        }
    }
}

/// A process that serves, and where.
fn start_server(role: &[&str], errors: Stdio) -> (Process, SocketAddr) {
    let mut server = Process::start(role, errors);
    let address = server.line().parse().unwrap();
    (server, address)
}

struct Bench<'a> {
    runtime: &'a Runtime,
    dir: &'a Path,
    sessions: Sessions,
    size: Size,
}

impl Bench<'_> {
    fn path(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().to_owned()
    }

    /// A directory with all sessions stored.
    fn filled(&self, name: &str) -> String {
        let dir = self.path(name);
        std::fs::create_dir(&dir).unwrap();
        self.runtime.block_on(self.sessions.fill(Path::new(&dir), self.size.sessions));
        dir
    }

    /// The requests of a case, each connection's share in one piece.
    fn requests(&self, case: Case) -> Vec<Request> {
        let turns = (0..CALLERS).flat_map(|caller| (0..SESSIONS_EACH).map(move |turn| (caller, turn)));
        let numbers = turns.map(|(caller, turn)| asked_for(caller, turn, self.size.sessions));
        let requests = |number| match case {
            Case::Get => vec![requests::get(&self.sessions, number, false)],
            Case::NotModified => vec![requests::get(&self.sessions, number, true)],
            Case::Join => requests::join_and_leave(&self.sessions, number).into(),
        };
        numbers.flat_map(requests).collect()
    }

    fn load(&self, server: &Process, address: SocketAddr, requests: &[Request]) -> Process {
        let file = self.path("requests.json");
        std::fs::write(&file, serde_json::to_vec(requests).unwrap()).unwrap();
        Process::start(&["load", &address.to_string(), &server.id().to_string(), &file], Stdio::inherit())
    }

    /// Two servers are compared fairly only where they answer alike, to the byte; but for the time.
    fn check_same_answer(&self, addresses: [SocketAddr; 2], requests: &[Request]) {
        let [one, other] = addresses.map(|address| {
            self.runtime.block_on(async {
                let mut connection = Connection::open(address, requests).await;
                connection.call().await;
                let answer = String::from_utf8(connection.answer().to_vec()).unwrap();
                answer.split("\r\n").filter(|line| !line.starts_with("date: ")).collect::<Vec<_>>().join("\n")
            })
        });
        assert_eq!(one, other);
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

fn print(case: &Case, baseline: &str, rounds: &[[Sample; 2]]) {
    let of =
        |asker: usize, number: fn(&Sample) -> f64| median(rounds.iter().map(|round| number(&round[asker])));
    let ratio = |number: fn(&Sample) -> f64| {
        spread(rounds.iter().map(move |[base, ours]| number(ours) / number(base)))
    };
    let name = case.to_possible_value().unwrap().get_name().to_owned();
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
