//! The server is killed at each step of a launch, exactly there. After its restart the launch goes on: the instance gets one
//! server, and in the end no process is left.

use std::time::Duration;

use http::Method;
use rallypoint::crash_point::{LAUNCH_STORE, LAUNCH_STORED, SERVER_PREPARED, SHIM_LOCKED, SHIM_STARTED};
use rallypoint::records::keys::{self, KEY_UPGRADE};
use rallypoint::store::{Backend as _, Embedded};
use rustix::process::{Pid, Signal, getpgid, kill_process_group};
use serde_json::{Value, json};

use super::allocator::until;
use super::examples::{allocated_server, has_python};
use super::launches::{Machine, asked, reaches, request, says_hello};
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
            tokio::time::sleep(Duration::from_millis(20)).await;
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

/// Halts the server that runs as soon as it has made this step, so that it makes no other one meanwhile; at once if the
/// step is empty. Returns the group of its processes: the interpreter may be started by others.
async fn halted(machine: &Machine, step: &str) -> Pid {
    let has_made_step = |process: &Pid| {
        let log = std::fs::read_to_string(format!("/proc/{process}/cwd/server.log")).unwrap_or_default();
        step.is_empty() || log.lines().any(|line| line.split(' ').next() == Some(step))
    };
    let halting = async {
        loop {
            let mut processes = machine.processes().into_iter().filter(has_made_step);
            let group = processes.find_map(|process| getpgid(Some(process)).ok());
            match group.filter(|group| kill_process_group(*group, Signal::STOP).is_ok()) {
                Some(group) => return group,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    soon(&format!("a server makes the step {step:?}"), halting).await
}

/// The published plugin repeats every call but its login. So a server that cannot log in ends, and another one takes over.
#[tokio::test]
async fn a_server_with_the_published_plugin_survives_a_crash_at_each_of_its_steps_but_its_login() {
    if !has_python().await {
        return;
    }
    let options = ["--time-scale=0.05", "--match-seconds=0", "--players=1"];
    let machine = Machine::with("closing_timeout_s = 1", &allocated_server(&options));
    let mut server = machine.serve().await;
    for step in ["", "logged-in", "allocated", "pending", "joinable"] {
        let mut player = machine.connect(&server).await;
        let session = asked(&mut player).await;
        if step.is_empty() {
            reaches(&mut player, &session, "allocated").await;
        }
        let group = halted(&machine, step).await;
        let seen = call(&mut player, Method::GET, &session, None).await.expect(200);
        let allocation = &seen.body["instance"]["allocation_id"];
        assert!(allocation.is_string(), "{step}: {}", seen.body);
        server.kill().await;
        if step.is_empty() {
            kill_process_group(group, Signal::CONT).unwrap();
            until("the server ends without a login", || machine.all_processes().is_empty()).await;
            server = machine.serve().await;
        } else {
            server = machine.serve().await;
            kill_process_group(group, Signal::CONT).unwrap();
        }
        let mut player = machine.connect(&server).await;
        let instance = reaches(&mut player, &session, "joinable").await;
        assert_eq!(instance["allocation_id"] == *allocation, !step.is_empty(), "{step}: {instance}");
        assert_eq!(machine.processes().len(), 1, "{step}: the instance has one server");
        says_hello(&instance);
        let closed = reaches(&mut player, &session, "closed").await;
        assert_eq!(closed["custom_data"], json!({}), "{step}: the match has ended without a failure");
        until(&format!("{step}: no process is left"), || machine.all_processes().is_empty()).await;
    }
    server.stop().await.expect(0);
    nothing_is_stored(&machine).await;
}
