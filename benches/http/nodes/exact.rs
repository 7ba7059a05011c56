//! What `Idempotency-Key` and `If-Match` cost: changes with them against changes without, and answers that change nothing
//! against polls. On the embedded store, and through a node on a database.

use super::Bench;
use super::variants::{self, Cell, Ratio, Variant};
use crate::cases::Case;
use crate::compare::{Server, callers};
use crate::requests::Request;

/// Makes a request out of another one.
type Prepare = fn(&Request) -> Request;

/// Each set of callers uses other sessions.
const JOINS: [(&str, u64, Prepare); 3] = [
    ("join or leave", 0, Request::clone),
    ("with Idempotency-Key", 1, Request::with_new_keys),
    ("with If-Match", 2, Request::if_unchanged),
];
const UNCHANGED: [(&str, u64, Prepare); 2] = [
    ("repeat of a join, replayed", 3, |request| request.with_key("the-same-each-time")),
    ("join with If-Match, 412", 4, Request::if_stale),
];

/// Measures, and prints two tables for each store.
pub fn measure(bench: &Bench) {
    let database = bench.database(bench.size.sessions);
    let start: [(&str, &dyn Fn() -> Server); 2] = [
        ("embedded store", &|| bench.embedded()),
        ("1 node on a database", &|| bench.nodes(&database, 1).remove(0)),
    ];
    for (name, start) in start {
        // One after the other: players who send nothing for long are removed.
        let server = start();
        changes(bench, name, &server);
        answers(bench, name, &server);
    }
}

fn changes(bench: &Bench, name: &str, server: &Server) {
    let variant = |(name, set, with): (&str, u64, fn(&Request) -> Request)| {
        let requests = bench.requests(Case::Join, &[set], server, bench.size.sessions);
        let requests = requests.iter().map(|its| its.iter().map(with).collect()).collect::<Vec<Vec<_>>>();
        let file = bench.write(&format!("exact-{set}.json"), &requests);
        Variant::new(name, callers(Case::Join, &[server], &file, None))
    };
    print(bench, name, JOINS.map(variant).into(), "answers, to without");
}

fn answers(bench: &Bench, name: &str, server: &Server) {
    // Polls take no steps, and neither do requests that change nothing.
    let case = Case::Session;
    let polls = bench.write("exact-polls.json", &bench.requests(case, &[0], server, bench.size.sessions));
    let mut variants = vec![Variant::new("poll, 200", callers(case, &[server], &polls, None))];
    variants.extend(UNCHANGED.map(|(name, set, with)| {
        let requests = bench.requests(Case::Join, &[set], server, bench.size.sessions);
        let joins = requests.iter().map(|its| its.iter().step_by(2).map(with).collect());
        let file = bench.write(&format!("exact-{set}.json"), &joins.collect::<Vec<Vec<_>>>());
        Variant::new(name, callers(case, &[server], &file, None))
    }));
    print(bench, name, variants, "answers, to a poll");
}

fn print(bench: &Bench, title: &str, mut variants: Vec<Variant>, ratio: &'static str) {
    let rounds = variants::rounds(&mut variants, &bench.cluster, bench.size.rounds, bench.size.time);
    let ratios = [
        Ratio { name: ratio, of: |cell| cell.sample.per_second, to: 0 },
        Ratio { name: "all CPU, ratio", of: Cell::cpu_us, to: 0 },
    ];
    variants::print(title, &variants, &rounds, &ratios);
}
