//! The servers that run or are being started, and the ports that they have.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::directory::{AllocationDir, PidFile};
use super::ports::Ports;
use super::settings::ProcessSettings;
use crate::allocators::clients::ServerLogin;
use crate::allocators::{Placed, Placement, Reason};

/// How long a caller should wait until it asks again for a server that is being started.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// All servers of the allocator.
pub struct Table {
    /// By allocation.
    pub servers: BTreeMap<String, Entry>,
    /// The ports.
    pub ports: Ports,
    /// Whether all servers are killed, and none is started any more.
    pub is_stopping: bool,
    /// Allocations whose directories are kept although their servers have ended, the oldest first.
    pub finished: VecDeque<String>,
}

/// A server, or the start of one.
pub struct Entry {
    /// Its directory.
    pub dir: AllocationDir,
    /// Its ports; none until the start has taken them.
    pub ports: Vec<u16>,
    /// Whether the allocation was released: then its end is no news.
    pub released: bool,
    /// When the server was started; `None` while it is being started.
    pub launched_at: Option<Timestamp>,
    /// The server; `None` while it is being started.
    pub running: Option<Running>,
}

/// A server that runs.
pub struct Running {
    /// The server and its shim; `None` if they could not be identified.
    pub pid: Option<PidFile>,
    /// The file whose lock the server has.
    pub alive: Arc<File>,
    /// Whether the server is to be killed, with all that it has started.
    pub is_killed: bool,
    /// How often it was killed: a process that waits for a broken disk does not end at once.
    pub kills: u32,
}

/// The answer to a launch that has no server yet.
pub enum Admission {
    /// It gets this answer.
    Answer(Placement),
    /// It gets a server, if there are ports.
    Start,
}

impl Running {
    /// A server with its processes.
    pub fn new(pid: Option<PidFile>, alive: File) -> Self {
        Self { pid, alive: Arc::new(alive), is_killed: false, kills: 0 }
    }
}

impl Entry {
    /// A server that is being started.
    pub fn starting(dir: AllocationDir) -> Self {
        Self { dir, ports: Vec::new(), released: false, launched_at: None, running: None }
    }

    /// The server runs from now on.
    pub fn run(&mut self, running: Running, launched_at: Timestamp) {
        (self.running, self.launched_at) = (Some(running), Some(launched_at));
    }

    /// The processes of the server, if it runs and they are known.
    pub fn pid(&self) -> Option<PidFile> {
        self.running.as_ref()?.pid
    }

    /// Marks a server that runs as one to be killed. Returns its processes, if they are known.
    pub fn kill(&mut self) -> Option<PidFile> {
        self.running.as_mut()?.is_killed = true;
        self.pid()
    }

    /// The server as the caller knows it; `None` while it is being started, or if it could not be identified.
    pub fn placed(&self, settings: &ProcessSettings) -> Option<Placed> {
        let pid = self.pid()?;
        let (host, port) = (Some(settings.public_host.clone()), self.ports.first().copied());
        Some(Placed { handle: settings.handle(pid.server.pid), host, port })
    }
}

impl Table {
    /// An empty table.
    pub fn new(settings: &ProcessSettings) -> Self {
        Self {
            servers: BTreeMap::new(),
            ports: Ports::new(settings.ports.clone()),
            is_stopping: false,
            finished: VecDeque::new(),
        }
    }

    /// Whether there are no servers.
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// Takes a place for an allocation, if it has no server yet.
    pub fn admit(
        &mut self,
        settings: &ProcessSettings,
        dir: &AllocationDir,
        allocation_id: &str,
    ) -> Admission {
        let later = |reason, detail| Placement::Later { retry_after: None, reason, detail };
        if let Some(entry) = self.servers.get(allocation_id) {
            return Admission::Answer(entry.placed(settings).map_or_else(still_starting, Placement::Placed));
        }
        if self.is_stopping {
            return Admission::Answer(later(Reason::Unavailable, "this node stops".into()));
        }
        let running = self.servers.len();
        if running >= settings.servers_max {
            let detail = format!("{running} of {} servers run", settings.servers_max);
            return Admission::Answer(later(Reason::NoCapacity, detail));
        }
        self.finished.retain(|id| id != allocation_id);
        self.servers.insert(allocation_id.to_owned(), Entry::starting(dir.clone()));
        Admission::Start
    }

    /// Takes ports for a server that is being started, if they are still free.
    pub fn take_ports(&mut self, allocation_id: &str, ports: &[u16]) -> bool {
        let are_taken = self.ports.take(ports);
        if are_taken && let Some(entry) = self.servers.get_mut(allocation_id) {
            entry.ports = ports.to_owned();
        }
        are_taken
    }

    /// Forgets an allocation that got no server, and gives back its ports.
    pub fn forget(&mut self, allocation_id: &str) {
        if let Some(entry) = self.servers.remove(allocation_id) {
            self.ports.give_back(&entry.ports);
        }
    }
}

impl ProcessSettings {
    /// The handle of a server.
    pub fn handle(&self, pid: i32) -> String {
        format!("{}/{pid}", self.node)
    }

    /// Shuts the client of an allocation out, if it has one of its own.
    pub fn shut_out(&self, allocation_id: &str) {
        if let ServerLogin::PerLaunch(clients) = &self.login {
            clients.remove(allocation_id);
        }
    }
}

/// The answer while a server is being started.
pub fn still_starting() -> Placement {
    let detail = "the server is being started".into();
    Placement::Unknown { retry_after: Some(RETRY_AFTER), is_starting: true, detail }
}
