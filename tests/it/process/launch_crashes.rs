//! The server is killed at each step of a launch, exactly there. After its restart the launch goes on: the instance gets one
//! server, and in the end no process is left.

use http::Method;
use rallypoint::crash_point::{LAUNCH_STORE, LAUNCH_STORED, SERVER_PREPARED, SHIM_LOCKED, SHIM_STARTED};
use rallypoint::records::keys::{self, KEY_UPGRADE};
use rallypoint::store::{Backend as _, Embedded};
use serde_json::{Value, json};

use super::allocator::until;
use super::launches::{Machine, reaches, request, says_hello};
use super::serve::{call, creates};
use crate::harness::Reply;
use crate::support::connection::Connection;
use crate::support::process::soon;

/// How often a launch is stored at the least: wanted, claimed, placed, up, releasing, deleted.
const STORES_MIN: u32 = 6;

/// A match of one player.
struct Match {
    session: String,
    player: Connection,
    /// Whether the server has let the player in. The match ends soon after that.
    has_connected: bool,
}

impl Match {
    fn path(&self, end: &str) -> String {
        format!("/v1/session/{}{end}", self.session)
    }

    /// Asks for a server, plays until the match ends, and returns the closed instance. `None` if Rallypoint is killed
    /// meanwhile. Notes whether the request was answered.
    async fn play(&mut self, is_answered: &mut bool) -> Option<Value> {
        let answer = self.player.call(&Method::POST, &self.path("/instance"), Some(&request())).await.ok()?;
        Reply::from(answer).expect(200);
        *is_answered = true;
        loop {
            let seen = self.player.call(&Method::GET, &self.path(""), None).await.ok()?;
            let instance = Reply::from(seen).expect(200).body["instance"].take();
            if instance["join_status"] == "closed" {
                return Some(instance);
            }
            if instance["join_status"] == "joinable" && !self.has_connected {
                says_hello(&instance);
                self.has_connected = true;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Plays on after a restart. Returns the instance; null if the request was never stored.
    async fn play_on(&mut self, machine: &Machine) -> Value {
        let path = self.path("");
        let seen = call(&mut self.player, Method::GET, &path, None).await.expect(200).body["instance"].take();
        if seen.is_null() {
            return seen;
        }
        if !self.has_connected {
            let instance = reaches(&mut self.player, &path, "joinable").await;
            assert_eq!(machine.processes().len(), 1, "the instance has one server");
            says_hello(&instance);
        }
        reaches(&mut self.player, &path, "closed").await
    }

    /// How many servers have been started for the session. Each writes a line when it starts.
    fn servers(&self, machine: &Machine) -> usize {
        let line = format!("allocated for session {},", self.session);
        let allocations = std::fs::read_dir(machine.data_dir().join("servers/local")).unwrap().flatten();
        let logs = allocations.filter_map(|dir| std::fs::read_to_string(dir.path().join("server.log")).ok());
        logs.map(|log| log.matches(&line).count()).sum()
    }
}

/// Whether a launch survives a crash. `None` if it does not come to the point of the crash any more.
async fn survives(machine: &Machine, crash: &str) -> Option<()> {
    let mut server = machine.serve().await;
    let mut player = machine.connect(&server).await;
    let session = creates(&mut player).await;
    let mut game = Match { session, player, has_connected: false };
    std::fs::write(machine.crash_file(), crash).unwrap();
    let mut is_answered = false;
    let (over, closed) =
        tokio::join!(server.logged_before_end("the launch is over"), game.play(&mut is_answered));
    // A failed attempt is over, too, before the launch is: the crash may still come.
    let is_killed = !machine.crash_file().exists();
    let (server, instance) = if is_killed {
        assert_eq!(server.finished().await.code, None, "{crash}: a signal has ended it");
        let server = machine.serve().await;
        game.player = machine.connect(&server).await;
        (server, game.play_on(machine).await)
    } else {
        assert!(over.is_some(), "{crash}: {:#?}", server.finished().await);
        std::fs::remove_file(machine.crash_file()).unwrap();
        (server, closed.unwrap())
    };
    if instance.is_null() {
        assert!(!is_answered, "{crash}: an answered request was lost");
    } else {
        assert_eq!(instance["custom_data"], json!({}), "{crash}: the match has ended without a failure");
    }
    assert_eq!(game.servers(machine), usize::from(!instance.is_null()), "{crash}");
    until(&format!("{crash}: no process is left"), || machine.all_processes().is_empty()).await;
    if !instance.is_null() {
        soon(&format!("{crash}: the end of each server is known"), machine.ended()).await;
    }
    server.stop().await.expect(0);
    is_killed.then_some(())
}

/// No launch is stored any more, and none is due.
async fn nothing_is_stored(machine: &Machine) {
    let store = Embedded::open(&machine.data_dir(), KEY_UPGRADE).unwrap();
    for (start, end) in [keys::all_launches(), keys::launches_due_until(i64::MAX)] {
        assert_eq!(store.scan(&start, &end, 10).await.unwrap(), []);
    }
    store.close().await.unwrap();
}

fn machine() -> Machine {
    Machine::new("closing_timeout_s = 1", &["--match-seconds=0"])
}

/// Kills the server at every visit of a point. Returns how many there are.
async fn kills_at_each(point: &str) -> u32 {
    let (machine, mut visits) = (machine(), 0);
    while survives(&machine, &format!("{point} {} self", visits + 1)).await.is_some() {
        visits += 1;
    }
    nothing_is_stored(&machine).await;
    visits
}

#[tokio::test]
async fn a_launch_survives_a_kill_before_each_of_its_commits() {
    let stores = kills_at_each(LAUNCH_STORE).await;
    assert!(stores >= STORES_MIN, "killed at {stores} commits");
}

#[tokio::test]
async fn a_launch_survives_a_kill_after_each_of_its_commits() {
    let stores = kills_at_each(LAUNCH_STORED).await;
    assert!(stores >= STORES_MIN, "killed at {stores} commits");
}

#[tokio::test]
async fn a_launch_survives_a_kill_around_the_start_of_its_process() {
    let machine = machine();
    // The shim that has the lock goes on, goes too, or hangs.
    for crash in [
        format!("{SERVER_PREPARED} 1 self"),
        format!("{SHIM_STARTED} 1 self"),
        format!("{SHIM_LOCKED} 1 parent"),
        format!("{SHIM_LOCKED} 1 both"),
        format!("{SHIM_LOCKED} 1 parent-and-halt"),
    ] {
        survives(&machine, &crash).await.unwrap_or_else(|| panic!("{crash}: nothing was killed"));
    }
    nothing_is_stored(&machine).await;
}
