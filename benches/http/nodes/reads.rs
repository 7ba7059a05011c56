//! Polls: compared with the embedded store, and with more servers.

use super::variants::{self, Ratio, Variant};
use super::{Bench, NODES, nodes_variants};
use crate::cases::Case;
use crate::compare::callers;

/// `bounded_ms` of the node with bounded reads.
const BOUNDED_MS: &str = "250";

/// Measures, and prints a table for 200 and for 304.
pub fn measure(bench: &Bench) {
    let database = bench.database(bench.size.sessions);
    let (embedded, nodes) = (bench.embedded(), bench.nodes(&database, NODES[NODES.len() - 1]));
    let bounded = bench.node("bounded", &bench.cluster.url(&database), &["--bounded-ms", BOUNDED_MS]);
    for (case, title) in [(Case::Get, "200"), (Case::NotModified, "304")] {
        let requests = bench.requests(case, &[0], &embedded, bench.size.sessions);
        let file = bench.write("embedded.json", &requests);
        let mut variants = vec![Variant::new("embedded store", callers(case, &[&embedded], &file, None))];
        variants.extend(nodes_variants(bench, case, &nodes, std::iter::repeat(0)));
        // The requests are the same, because every node computes the same ETag.
        let file = bench.write("bounded.json", &bench.requests(case, &[0], &bounded, bench.size.sessions));
        let name = format!("1 node, bounded_ms = {BOUNDED_MS}");
        variants.push(Variant::new(name, callers(case, &[&bounded], &file, None)));
        let rounds = variants::rounds(&mut variants, &bench.cluster, bench.size.rounds, bench.size.time);
        let ratios = [
            Ratio { name: "answers, to embedded", of: |cell| cell.sample.per_second, to: 0 },
            Ratio { name: "all CPU, to 1 node", of: variants::Cell::cpu_us, to: 1 },
        ];
        variants::print(title, &variants, &rounds, &ratios);
    }
}
