//! The least that the database can do for a join or a leave: one statement that changes as many rows and bytes, sent by
//! the database's own bench.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rallypoint::records::keys;
use rallypoint::store::Batch;

use super::Bench;
use crate::cases::{CALLERS, Case, SESSIONS_EACH};
use crate::load::Sample;
use crate::sessions::{Sessions, Which};
use crate::support::postgres::Cluster;

/// The script that each client repeats, in a session of its own: a player joins and leaves. Each of the two statements
/// updates the session's row, and inserts or deletes the row of the player's membership.
const SCRIPT: &str = "
\\set n :client_id * :sessions_each + random(0, :sessions_each - 1)
WITH changed AS (
    UPDATE rallypoint_entries SET value = :joined::bytea, version = version + 1
    WHERE key = (SELECT session FROM players WHERE n = :n)
)
INSERT INTO rallypoint_entries (key, value, version) SELECT player, :entry::bytea, 1 FROM players WHERE n = :n
ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version;
WITH changed AS (
    UPDATE rallypoint_entries SET value = :left::bytea, version = version + 1
    WHERE key = (SELECT session FROM players WHERE n = :n)
)
DELETE FROM rallypoint_entries WHERE key = (SELECT player FROM players WHERE n = :n);
";
/// Statements in the script.
const STATEMENTS: f64 = 2.0;

/// pgbench as a variant.
pub struct Pgbench {
    command: Command,
}

impl Pgbench {
    /// pgbench with `connections` connections, on its own copy of a database. `None` if the program is not found.
    pub fn new(bench: &Bench, database: &str, connections: u64) -> Option<Self> {
        let program = find(&bench.cluster)?;
        let name = format!("pgbench_{connections}");
        bench.runtime.block_on(async {
            bench.cluster.create(&name, Some(database)).await;
            make_places(bench, &name).await;
        });
        let script = bench.path("script.sql");
        std::fs::write(&script, SCRIPT).unwrap();
        let sessions_each = CALLERS * SESSIONS_EACH / connections;
        let mut command = Command::new(program);
        command
            .args(["-n", "-M", "prepared", "-j", "2", "-c", &connections.to_string()])
            .arg("-f")
            .arg(script);
        for (name, value) in values() {
            command.arg("-D").arg(format!("{name}={value}"));
        }
        command.arg("-D").arg(format!("sessions_each={sessions_each}")).arg(bench.cluster.url(&name));
        Some(Self { command })
    }

    /// Takes one sample, in whole seconds.
    pub fn measure(&mut self, time: Duration) -> Sample {
        let seconds = time.as_secs().max(1).to_string();
        let url = self.command.get_args().last().unwrap().to_owned();
        let mut command = Command::new(self.command.get_program());
        let options = self.command.get_args().count() - 1;
        command.args(self.command.get_args().take(options)).args(["-T", &seconds]).arg(url);
        let output = command.output().unwrap();
        let (said, failed) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{failed}");
        let number = |before: &str| -> f64 {
            let rest = said.split(before).nth(1).unwrap_or_else(|| panic!("no {before:?} in {said}"));
            rest.split([' ', '/', '\n']).next().unwrap().parse().unwrap()
        };
        Sample {
            answers: (STATEMENTS * number("actually processed: ")) as usize,
            per_second: STATEMENTS * number("tps = "),
            p50_us: f64::NAN,
            p99_us: f64::NAN,
            cpu_us: 0.0,
        }
    }
}

fn find(cluster: &Cluster) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::iter::once(cluster.programs.clone()).chain(std::env::split_paths(&path));
    dirs.map(|dir| dir.join("pgbench")).find(|program| program.is_file())
}

/// Creates a table of the sessions that callers change and of their newcomers, by number: pgbench can draw numbers
/// only.
async fn make_places(bench: &Bench<'_>, database: &str) {
    let client = bench.cluster.client(database).await;
    let make = "CREATE TABLE players (n int PRIMARY KEY, session bytea NOT NULL, player bytea NOT NULL)";
    client.batch_execute(make).await.unwrap();
    let insert = client.prepare("INSERT INTO players VALUES ($1, $2, $3)").await.unwrap();
    for (which, n) in
        Case::Join.sessions_of_callers(bench.size.sessions, 0).into_iter().flatten().zip(0_i32..)
    {
        let (id, player) = (which.id(), which.newcomer().player);
        client.execute(&insert, &[&n, &keys::session(&id), &keys::membership(player, &id)]).await.unwrap();
    }
}

/// The values to write: as many bytes as a server writes, as digits, which take one byte each on the wire and on disk.
fn values() -> [(&'static str, String); 3] {
    let which = Which { kind: Case::Join.stored(), number: 0 };
    let batches = Case::Join.batches(&Sessions::new(), which);
    let digits = |batch: &Batch, key| {
        let (_, value) = batch.put.iter().find(|(put, _)| *put == key).unwrap();
        crate::support::Rng(1).text(value.len())
    };
    let (id, player) = (which.id(), which.newcomer().player);
    [
        ("joined", digits(&batches[0], keys::session(&id))),
        ("entry", digits(&batches[0], keys::membership(player, &id))),
        ("left", digits(&batches[1], keys::session(&id))),
    ]
}
