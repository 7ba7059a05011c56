//! Few and many sessions in the database: their size on disk, and the cost of requests.

use std::time::{Duration, Instant};

use super::Bench;
use super::database::OnDisk;
use super::variants::{self, Ratio, Variant, shown};
use crate::cases::{CALLERS, Case};
use crate::compare::{Server, callers};
use crate::requests::{self, Request};
use crate::sessions::{Kind, Which};

/// Most sessions that each caller reads through a node without a cache.
const READ_EACH: u64 = 256;

/// Measures, and prints a table of the size on disk and one for each kind of request.
pub fn measure(bench: &Bench) {
    println!(
        "\n| sessions | rows each | table, bytes each | index, bytes each | together | filled in, s |\n\
         | --: | --: | --: | --: | --: | --: |"
    );
    let databases = bench.size.sizes.map(|sessions| {
        let started = Instant::now();
        let database = bench.database(sessions);
        print_on_disk(bench, &database, sessions, started.elapsed());
        database
    });
    let nodes = databases.each_ref().map(|database| bench.nodes(database, 1).remove(0));
    let no_cache = databases.each_ref().map(|database| {
        bench.node(&format!("no-cache-{database}"), &bench.cluster.url(database), &["--cache-bytes", "0"])
    });
    let sizes = || bench.size.sizes.into_iter();
    compare(bench, "200", sizes().zip(&nodes), Case::Get, |sessions| Case::Get.requests(sessions, 0));
    compare(bench, "200, nothing in memory", sizes().zip(&no_cache), Case::Get, reads_anywhere);
    compare(bench, "join or leave", sizes().zip(&nodes), Case::Join, |sessions| {
        Case::Join.requests(sessions, 0)
    });
}

fn print_on_disk(bench: &Bench, database: &str, sessions: u64, filling: Duration) {
    let on_disk = bench.runtime.block_on(OnDisk::of(&bench.cluster, database));
    let each = |number: i64| number as f64 / sessions as f64;
    println!(
        "| {} | {:.1} | {} | {} | {} | {:.0} |",
        shown(sessions as f64),
        each(on_disk.rows),
        shown(each(on_disk.table_bytes)),
        shown(each(on_disk.index_bytes)),
        shown(each(on_disk.table_bytes + on_disk.index_bytes)),
        filling.as_secs_f64()
    );
}

fn compare<'a>(
    bench: &Bench,
    title: &str,
    servers: impl Iterator<Item = (u64, &'a Server)>,
    case: Case,
    requests: impl Fn(u64) -> Vec<Vec<Request>>,
) {
    let variant = |(sessions, server): (u64, &Server)| {
        let name = shown(sessions as f64);
        let file = bench.write(&format!("{sessions}.json"), &requests(sessions));
        Variant::new(format!("{name} sessions"), callers(case, &[server], &file, None))
    };
    let mut variants: Vec<_> = servers.map(variant).collect();
    let rounds = variants::rounds(&mut variants, &bench.cluster, bench.size.rounds, bench.size.time);
    let ratios = [
        Ratio { name: "p99, to the fewest", of: |cell| cell.sample.p99_us, to: 0 },
        Ratio { name: "all CPU, to the fewest", of: variants::Cell::cpu_us, to: 0 },
    ];
    variants::print(title, &variants, &rounds, &ratios);
}

/// Reads of sessions spread over the whole table, by a caller who may read any session.
fn reads_anywhere(sessions: u64) -> Vec<Vec<Request>> {
    let token = requests::reader_token();
    let each = READ_EACH.min(sessions / CALLERS);
    let stride = sessions / (CALLERS * each);
    let read = |number| {
        let which = Which { kind: Kind::Game, number: number * stride };
        requests::platform_session(which, &token)
    };
    (0..CALLERS).map(|caller| (caller * each..(caller + 1) * each).map(read).collect()).collect()
}
