//! The process allocator with real processes, through its interface alone.

/// Crashes of Rallypoint and of shims.
mod adoption;
/// Starts, limits and ends of servers.
mod servers;
/// Shims that fail, hang or come late.
mod shims;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use rallypoint::allocators::clients::{LaunchClients, ServerLogin};
use rallypoint::allocators::process::{CommandTemplate, ProcessAllocator, ProcessSettings, ServerState};
use rallypoint::allocators::{
    Allocator as _, Event, Found, Launch, Placed, Placement, Reason, ReleaseMode, Released,
};
use rallypoint::domain::instance::StartupParams;
use rallypoint::env::{Clock, Entropy};
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::process::soon;

/// Waits until something is true.
pub async fn until(what: &str, is_true: impl Fn() -> bool) {
    let waiting = async {
        while !is_true() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(what, waiting).await;
}

/// An allocator whose servers run a shell script.
struct World {
    dir: TempDir,
    settings: ProcessSettings,
    clock: Clock,
    allocator: Option<ProcessAllocator>,
}

/// Remembers registrations.
#[derive(Default)]
struct Clients(Mutex<Vec<String>>);

impl LaunchClients for Clients {
    fn register(&self, allocation_id: &str, secret: &str) -> String {
        assert!(secret.len() >= 40);
        self.0.lock().unwrap().push(allocation_id.to_owned());
        format!("launch:{allocation_id}")
    }

    fn remove(&self, allocation_id: &str) {
        self.0.lock().unwrap().retain(|id| id != allocation_id);
    }
}

impl World {
    async fn new(script: &str) -> Self {
        Self::with(&["/bin/sh", "-c", script, "server"], |_| ()).await
    }

    async fn with(command: &[&str], change: impl FnOnce(&mut ProcessSettings)) -> Self {
        let dir = TempDir::new().unwrap();
        let command: Vec<_> = command.iter().map(|&argument| argument.to_owned()).collect();
        // The kernel gives no other socket a port below this range of ephemeral ports.
        let first = 10_000 + u16::try_from(std::process::id() % 1_000).unwrap() * 20;
        let mut settings = ProcessSettings {
            dir: dir.path().join("servers"),
            node: "node".into(),
            shim: PathBuf::from(env!("CARGO_BIN_EXE_rallypoint")),
            command: CommandTemplate::new(&command, 2).unwrap(),
            working_dir: None,
            env: [("GAME".to_owned(), "chess".to_owned())].into(),
            ports: first..=first + 1_000,
            ports_per_server: 2,
            public_host: "127.0.0.1".into(),
            base_url: "http://127.0.0.1:7700".into(),
            servers_max: 8,
            log_bytes_max: 65_536,
            keep_finished: 20,
            place_timeout: Duration::from_secs(60),
            login: ServerLogin::None,
        };
        change(&mut settings);
        let mut world = Self {
            dir,
            settings,
            clock: Clock::manual("2026-01-01T00:00:00Z".parse().unwrap()),
            allocator: None,
        };
        world.restart().await;
        world
    }

    /// As after a crash: the servers go on, and another allocator opens the directory.
    async fn restart(&mut self) {
        self.allocator = None;
        let opened = || ProcessAllocator::open(self.settings.clone(), self.clock.clone(), Entropy::System);
        // A look of the old allocator may still be under way.
        let opening = async {
            loop {
                match opened().await {
                    Ok(allocator) => return allocator,
                    Err(error) if error.to_string().contains("another server") => {
                        tokio::task::yield_now().await
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        };
        let allocator = soon("the directory is free", opening).await;
        self.allocator = Some(allocator);
    }

    fn allocator(&self) -> &ProcessAllocator {
        self.allocator.as_ref().unwrap()
    }

    /// Starts a server. Returns its allocation and what is known about it.
    async fn placed(&self) -> (String, Placed) {
        let launch = launch(1);
        match self.allocator().place(&launch).await {
            Placement::Placed(placed) => (launch.allocation_id, placed),
            other => panic!("{other:?}"),
        }
    }

    fn file(&self, allocation_id: &str, name: &str) -> PathBuf {
        self.settings.dir.join(allocation_id).join(name)
    }

    fn text(&self, allocation_id: &str, name: &str) -> String {
        std::fs::read_to_string(self.file(allocation_id, name)).unwrap_or_default()
    }

    /// Waits until the log of a server contains a line. Returns the log.
    async fn logged(&self, allocation_id: &str, line: &str) -> String {
        let contains = || self.text(allocation_id, "server.log").lines().any(|logged| logged == line);
        until(&format!("the server logs {line:?}"), contains).await;
        self.text(allocation_id, "server.log")
    }

    async fn exited(&self) -> (String, String) {
        let Event::Exited { allocation_id, status } =
            soon("the end of a server is reported", self.allocator().next_event()).await;
        (allocation_id, status)
    }

    async fn release(&self, allocation_id: &str, mode: ReleaseMode) -> Released {
        self.allocator().release(allocation_id, None, mode).await
    }

    /// As after a failure of the machine: neither Rallypoint nor the server runs.
    async fn lose(&mut self, allocation_id: &str) {
        self.allocator = None;
        kill_process(self.shim_pid(allocation_id), Signal::KILL).unwrap();
        kill_process_group(self.server_pid(allocation_id), Signal::KILL).unwrap();
        let alive = std::fs::File::open(self.file(allocation_id, "alive")).unwrap();
        until("no process has the lock", || alive.try_lock().is_ok()).await;
    }

    fn shim_pid(&self, allocation_id: &str) -> Pid {
        self.pid(allocation_id, "shim")
    }

    fn server_pid(&self, allocation_id: &str) -> Pid {
        self.pid(allocation_id, "server")
    }

    fn pid(&self, allocation_id: &str, which: &str) -> Pid {
        let pid: Value = serde_json::from_str(&self.text(allocation_id, "pid")).unwrap();
        pid_of(pid[which]["pid"].as_i64().unwrap())
    }
}

impl Drop for World {
    /// No server outlives its test.
    fn drop(&mut self) {
        let Ok(dirs) = std::fs::read_dir(&self.settings.dir) else { return };
        for dir in dirs.flatten() {
            let Ok(pid) = std::fs::read(dir.path().join("pid")) else { continue };
            let Ok(pid) = serde_json::from_slice::<Value>(&pid) else { continue };
            let pid = pid["server"]["pid"].as_i64().filter(|_| !dir.path().join("exit").exists());
            if let Some(pid) = pid {
                // It may have ended.
                let _ = kill_process_group(pid_of(pid), Signal::KILL);
            }
        }
    }
}

fn pid_of(pid: impl TryInto<i32>) -> Pid {
    pid.try_into().ok().and_then(Pid::from_raw).unwrap()
}

fn server_pid(placed: &Placed) -> Pid {
    pid_of(placed.handle.strip_prefix("node/").unwrap().parse::<i32>().unwrap())
}

/// Whether a process runs. One that has ended counts as gone, also before its parent has noticed.
fn runs(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    match stat.ok().and_then(|stat| Some(stat.rsplit_once(") ")?.1.starts_with('Z'))) {
        Some(is_zombie) => !is_zombie,
        None => !Path::new("/proc/self").exists() && test_kill_process(pid).is_ok(),
    }
}

/// The launch of a session that was requested in this second, with texts of players that would do harm in a shell.
pub fn launch(second: i64) -> Launch {
    let harm = "\"; rm -rf $HOME; -log $(id) {port}".to_owned();
    let custom_data = [("k".to_owned(), harm.clone())].into();
    let startup_params = StartupParams {
        map: harm.clone(),
        mode: Some("-log".into()),
        misc_params: "x".repeat(4_096),
        custom_data: Default::default(),
    };
    Launch {
        allocation_id: Entropy::System.uuid().to_string(),
        session_id: Entropy::System.uuid().into(),
        instance_id: Entropy::System.uuid().to_string(),
        session_type: "match".into(),
        region_id: Some(harm.clone()),
        region: None,
        startup_params: Some(startup_params),
        custom_data,
        version: Some(harm),
        requested_at: Timestamp::from_second(second).unwrap(),
        attempt: 1,
    }
}

/// A script that waits for its end.
const WAIT: &str = "echo ready; while :; do sleep 0.05; done";

/// The first is in the group of the server, the second has left it.
const CHILDREN: &str = "sleep 1000 & echo child $!; setsid sleep 1000 & echo child $!";

/// The children that a server has logged.
fn children(log: &str) -> Vec<Pid> {
    let pids = log.lines().filter_map(|line| line.strip_prefix("child ")?.parse::<i32>().ok());
    pids.map(pid_of).collect()
}
