//! Joins and leaves with and without messages between nodes.

use super::variants::{self, Cell, Ratio, Variant};
use super::{Bench, nodes_name};
use crate::cases::Case;
use crate::compare::callers;

const CASE: Case = Case::Join;
/// The first one takes the requests; the others are there to be told.
const NODES: usize = 2;

/// Measures, and prints a table.
pub fn measure(bench: &Bench) {
    let database = bench.database(bench.size.sessions);
    let pair = |name: &str, options: &[&str]| {
        let node =
            |number| bench.node(&format!("hints-{name}-{number}"), &bench.cluster.url(&database), options);
        (0..NODES).map(node).collect::<Vec<_>>()
    };
    let (without, with) = (pair("off", &["--no-hints"]), pair("on", &[]));
    let mut variants = Vec::new();
    for ((name, nodes), set) in [("hints = off", &without), ("hints = on", &with)].into_iter().zip(0..) {
        let requests = bench.requests(CASE, &[set], &nodes[0], bench.size.sessions);
        let file = bench.write(&format!("hints-{set}.json"), &requests);
        variants.push(Variant::new(name, callers(CASE, &[&nodes[0]], &file, None)));
    }
    let rounds = variants::rounds(&mut variants, &bench.cluster, bench.size.rounds, bench.size.time);
    let ratios = [
        Ratio { name: "answers, to off", of: |cell| cell.sample.per_second, to: 0 },
        Ratio { name: "all CPU, to off", of: Cell::cpu_us, to: 0 },
    ];
    variants::print(&format!("join or leave, {}", nodes_name(NODES)), &variants, &rounds, &ratios);
}
