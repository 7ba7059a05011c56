//! Memory of held requests, compared with that of a bare hyper server that holds as many.

use std::time::Duration;

use rallypoint::domain::PlayerUuid;
use tokio::runtime::Runtime;

use super::watcher::Watcher;
use super::{Size, bare, game, server, temp_dir};
use crate::compare::Server;
use crate::process::resident_bytes;
use crate::requests;
use crate::sessions::Kind;

/// Longer than the measurement.
const WAIT_S: u64 = 50;
/// Requests begin in groups, 2,000 a second: what they need at the same moment is not what they keep. The last ones begin
/// before the first long polls end.
const BEGUN_AT_ONCE: usize = 100;
const BEGIN_EVERY: Duration = Duration::from_millis(50);
/// Pause until the server holds all requests and its memory has settled.
const SETTLE: Duration = Duration::from_secs(3);

/// Resident memory of a server, in bytes.
struct Resident {
    started: u64,
    /// With a connection for each player, each of which has read its session.
    connected: u64,
    waiting: u64,
}

/// Measures both servers and prints a table.
pub fn measure(runtime: &Runtime, size: Size) {
    let dir = temp_dir();
    let sessions = size.waits.div_ceil(Kind::Game.players() as usize);
    let server = server(runtime, dir.path(), Kind::Game, sessions as u64, size.waits);
    let request = requests::session(game(0), &requests::token(game(0).player(1)));
    let bare = bare(runtime, dir.path(), server.address, &request);
    println!("memory of {} held requests", size.waits);
    println!(
        "{:14} {:>9} {:>12} {:>10} {:>13} {:>16}",
        "", "start MB", "connected MB", "waiting MB", "bytes a wait", "beyond connected"
    );
    let begin_wait = |watcher: &mut Watcher| watcher.begin_wait(WAIT_S);
    let of_bare = Resident::of(runtime, &bare, size.waits, requests::token, begin_wait);
    drop(bare);
    let of_server = Resident::of(runtime, &server, size.waits, requests::token, begin_wait);
    drop(server);
    let dir = temp_dir();
    let server = self::server(runtime, dir.path(), Kind::Game, sessions as u64, size.waits);
    let begin = Watcher::begin_long_poll;
    let of_long_polls = Resident::of(runtime, &server, size.waits, requests::listener_token, begin);
    of_bare.print("bare hyper", size.waits);
    of_server.print("waits", size.waits);
    of_long_polls.print("long polls", size.waits);
}

impl Resident {
    fn of(
        runtime: &Runtime,
        server: &Server,
        waits: usize,
        token: fn(PlayerUuid) -> String,
        begin: fn(&mut Watcher),
    ) -> Self {
        let resident = || resident_bytes(server.process.id());
        let started = resident();
        let mut watchers = runtime.block_on(Watcher::open_all(server.address, 0, waits, token));
        runtime.block_on(async { tokio::time::sleep(SETTLE).await });
        let connected = resident();
        runtime.block_on(async {
            for group in watchers.chunks_mut(BEGUN_AT_ONCE) {
                group.iter_mut().for_each(begin);
                tokio::time::sleep(BEGIN_EVERY).await;
            }
        });
        runtime.block_on(async { tokio::time::sleep(SETTLE).await });
        Self { started, connected, waiting: resident() }
    }

    fn print(&self, name: &str, waits: usize) {
        let mb = |bytes: u64| bytes as f64 / 1e6;
        let each = |before: u64| (self.waiting as f64 - before as f64) / waits as f64;
        println!(
            "{name:14} {:>9.1} {:>12.1} {:>10.1} {:>13.0} {:>16.0}",
            mb(self.started),
            mb(self.connected),
            mb(self.waiting),
            each(self.started),
            each(self.connected),
        );
    }
}
