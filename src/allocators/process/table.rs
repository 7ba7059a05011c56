//! The servers that run or are being started, and the ports that they have.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
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
    /// Its ports.
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
    pub alive: File,
    /// Whether the server is to be killed, with all that it has started.
    pub is_killed: bool,
    /// How often it was killed: a process that waits for a broken disk does not end at once.
    pub kills: u32,
}

/// The answer to a launch that has no server yet.
pub enum Admission {
    /// It gets this answer.
    Answer(Placement),
    /// It gets a server with these ports.
    Start(Vec<u16>),
}

impl Running {
    /// A server with its processes.
    pub fn new(pid: Option<PidFile>, alive: File) -> Self {
        Self { pid, alive, is_killed: false, kills: 0 }
    }
}

impl Entry {
    /// A server that is being started.
    pub fn starting(dir: AllocationDir, ports: Vec<u16>) -> Self {
        Self { dir, ports, released: false, launched_at: None, running: None }
    }

    /// The server runs from now on.
    pub fn run(&mut self, running: Running, launched_at: Timestamp) {
        (self.running, self.launched_at) = (Some(running), Some(launched_at));
    }

    /// The server as the caller knows it; `None` while it is being started, or if it could not be identified.
    pub fn placed(&self, settings: &ProcessSettings) -> Option<Placed> {
        let pid = self.running.as_ref()?.pid?;
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

    /// All servers that run, with their allocations.
    pub fn running(&self) -> impl Iterator<Item = (&String, &Running)> {
        self.servers.iter().filter_map(|(id, entry)| Some((id, entry.running.as_ref()?)))
    }

    /// Whether there are no servers.
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// Takes a place and ports for an allocation, if it has no server yet.
    pub fn admit(
        &mut self,
        settings: &ProcessSettings,
        dir: &AllocationDir,
        allocation_id: &str,
        up_ms: i64,
    ) -> Admission {
        if let Some(entry) = self.servers.get(allocation_id) {
            return Admission::Answer(entry.placed(settings).map_or_else(still_starting, Placement::Placed));
        }
        if self.is_stopping {
            let detail = "this node stops".into();
            let reason = Reason::Unavailable;
            return Admission::Answer(Placement::Later { retry_after: None, reason, detail });
        }
        let reason = if self.servers.len() >= settings.servers_max {
            Reason::NoCapacity
        } else if let Some(ports) = self.ports.take(settings.ports_per_server, up_ms) {
            self.finished.retain(|id| id != allocation_id);
            self.servers.insert(allocation_id.to_owned(), Entry::starting(dir.clone(), ports.clone()));
            return Admission::Start(ports);
        } else {
            Reason::NoPort
        };
        let detail = format!("{} of {} servers run", self.servers.len(), settings.servers_max);
        Admission::Answer(Placement::Later { retry_after: None, reason, detail })
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
    Placement::Unknown { retry_after: Some(RETRY_AFTER), detail: "the server is being started".into() }
}
