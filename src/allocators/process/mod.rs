//! Starts servers as processes on this machine, for laptops, LANs and CI.
//!
//! Each allocation has a directory (`directory.rs`). Between Rallypoint and a server is a shim (`shim.rs`), which holds
//! the lock of the directory. So an allocation has one server at most, whatever ends when, and a restarted Rallypoint
//! finds the servers of the one before.

mod command;
mod directory;
mod identity;
mod info;
mod log;
mod ports;
mod settings;
pub mod shim;
mod start;
mod table;
mod watch;

use std::fs::{File, TryLockError};
use std::io;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustix::process::Signal;
use tokio::sync::{Notify, mpsc};

pub use self::command::CommandTemplate;
use self::directory::{AllocationDir, ExitFile, PidFile, RELEASED};
pub use self::info::{ServerInfo, ServerState};
use self::ports::bindable;
pub use self::settings::ProcessSettings;
use self::start::{Begun, Started, begin, finish, unavailable};
use self::table::{Admission, Entry, Running, Table};
use super::{Allocator, Event, Found, Held, Launch, Placed, Placement, Reason, ReleaseMode, Released, Scope};
use crate::env::{Clock, Entropy};
use crate::file_lock::lock_soon;
use crate::private_dir;

/// How long [`Allocator::release`] waits for the end of a server that it has killed.
const KILL_WAIT: Duration = Duration::from_secs(5);
/// Most bytes of a log that [`ProcessAllocator::log`] reads.
const LOG_BYTES_MAX: u64 = 1 << 20;
/// The lock of an allocator's directory.
const DIR_LOCK: &str = "lock";

/// Starts servers as processes on this machine. Needs a tokio runtime. Dropping it leaves the servers running.
pub struct ProcessAllocator(Arc<Inner>);

/// What calls and the watcher share.
struct Inner {
    settings: ProcessSettings,
    clock: Clock,
    entropy: Entropy,
    table: Mutex<Table>,
    events: mpsc::UnboundedSender<Event>,
    reported: tokio::sync::Mutex<mpsc::UnboundedReceiver<Event>>,
    /// Notified after servers have ended.
    ended: Notify,
    /// When it was last logged that a server cannot be watched, by [`Clock::up_ms`].
    warned_up_ms: AtomicI64,
    /// Keeps other processes from using the directory.
    _lock: File,
}

impl ProcessAllocator {
    /// Creates the directory if it is missing, and adopts the servers of an earlier process.
    ///
    /// # Errors
    /// If the directory cannot be used, or if another process uses it.
    pub async fn open(settings: ProcessSettings, clock: Clock, entropy: Entropy) -> io::Result<Self> {
        let inner = blocking(move || Inner::open(settings, clock, entropy)).await.flatten()?;
        tokio::spawn(watch::watch(Arc::downgrade(&inner)));
        Ok(Self(inner))
    }

    /// The servers that run or are being started, and then those that have ended and whose directory is kept, the
    /// latest first. Reads files, so it blocks.
    pub fn servers(&self) -> Vec<ServerInfo> {
        let table = self.0.table();
        let live: Vec<_> = table.servers.iter().map(|(id, entry)| (id.clone(), entry.state())).collect();
        let ended: Vec<_> = table.finished.iter().rev().map(|id| (id.clone(), ServerState::Ended)).collect();
        drop(table);
        let all = live.into_iter().chain(ended);
        all.filter_map(|(id, state)| ServerInfo::read(&self.0.settings, id, state)).collect()
    }

    /// The last lines of the log of a server. Reads a file, so it blocks.
    ///
    /// # Errors
    /// If there is no such log.
    pub fn log(&self, allocation_id: &str, lines: usize) -> io::Result<Vec<String>> {
        let dir = AllocationDir::of(&self.0.settings.dir, allocation_id).ok_or(io::ErrorKind::NotFound)?;
        log::last_lines(&dir.file(directory::LOG), lines, LOG_BYTES_MAX)
    }

    /// Kills a server, and waits a moment for its end. Returns whether it has ended.
    pub async fn kill(&self, allocation_id: &str) -> bool {
        self.0.kill(allocation_id).await;
        let gone = self.0.ended(|table| !table.servers.contains_key(allocation_id));
        tokio::time::timeout(KILL_WAIT, gone).await.is_ok()
    }

    /// Kills all servers, also those that are being started, and waits a moment for their end. None is started after
    /// this.
    pub async fn kill_all(&self) {
        let pids = {
            let mut table = self.0.table();
            table.is_stopping = true;
            table.servers.values_mut().filter_map(Entry::kill).collect()
        };
        signal(pids, Signal::KILL).await;
        // The servers end in any case; only their records may be missing.
        let _ = tokio::time::timeout(KILL_WAIT, self.0.ended(|table| table.is_empty())).await;
    }
}

/// Does work that blocks, on a thread for such work.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}

/// Sends a signal to servers. Whether a process is still the same stands in `/proc`.
async fn signal(servers: Vec<PidFile>, signal: Signal) {
    let sent = blocking(move || servers.iter().for_each(|pid| pid.server.signal_group(signal))).await;
    if let Err(error) = sent {
        tracing::error!(%error, "a signal could not be sent to servers");
    }
}

impl Allocator for ProcessAllocator {
    fn scope(&self) -> Scope {
        Scope::Node
    }

    fn place<'a>(&'a self, launch: &'a Launch) -> BoxFuture<'a, Placement> {
        Box::pin(async {
            let inner = &self.0;
            let Some(dir) = AllocationDir::of(&inner.settings.dir, &launch.allocation_id) else {
                let detail = "the allocation id is no uuid in lower case".into();
                return Placement::Never { reason: Reason::Refused, detail };
            };
            // At once: from now on `find` and `release` know of the call, also if it is dropped.
            let admission = inner.table().admit(&inner.settings, &dir, &launch.allocation_id);
            if let Admission::Answer(answer) = admission {
                return answer;
            }
            // A task, so that a dropped call does not leave a half-started server behind.
            let starting = tokio::spawn(Inner::start(Arc::clone(inner), dir, launch.clone()));
            let started = tokio::time::timeout(inner.settings.place_timeout, starting).await;
            started.ok().and_then(Result::ok).unwrap_or_else(table::still_starting)
        })
    }

    fn find<'a>(&'a self, allocation_id: &'a str) -> BoxFuture<'a, Found> {
        let table = self.0.table();
        let found = match table.servers.get(allocation_id) {
            None => Found::Absent,
            Some(entry) => entry.placed(&self.0.settings).map_or(Found::CannotTell, Found::Placed),
        };
        Box::pin(std::future::ready(found))
    }

    fn release<'a>(
        &'a self,
        allocation_id: &'a str,
        _handle: Option<&'a str>,
        mode: ReleaseMode,
    ) -> BoxFuture<'a, Released> {
        Box::pin(Inner::release(Arc::clone(&self.0), allocation_id, mode))
    }

    fn list(&self) -> BoxFuture<'_, Option<Vec<Held>>> {
        let now = self.0.clock.now();
        let table = self.0.table();
        let held = table.servers.iter().filter_map(|(allocation_id, entry)| {
            let age = now.duration_since(entry.launched_at?).try_into().unwrap_or_default();
            let handle = entry.placed(&self.0.settings).map_or_else(String::new, |placed| placed.handle);
            Some(Held { allocation_id: allocation_id.clone(), handle, age })
        });
        Box::pin(std::future::ready(Some(held.collect())))
    }

    fn next_event(&self) -> BoxFuture<'_, Event> {
        Box::pin(async {
            match self.0.reported.lock().await.recv().await {
                Some(event) => event,
                None => std::future::pending().await,
            }
        })
    }
}

impl Inner {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`ProcessAllocator::open`]. It blocks.
    fn open(settings: ProcessSettings, clock: Clock, entropy: Entropy) -> io::Result<Arc<Self>> {
        private_dir::create(&settings.dir)?;
        let settings = ProcessSettings { dir: settings.dir.canonicalize()?, ..settings };
        let lock = File::create(settings.dir.join(DIR_LOCK))?;
        lock_soon(&lock).map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other("another server uses this directory"),
            TryLockError::Error(error) => error,
        })?;
        let (events, reported) = mpsc::unbounded_channel();
        let table = Mutex::new(Table::new(&settings));
        let (reported, ended) = (tokio::sync::Mutex::new(reported), Notify::new());
        let warned_up_ms = AtomicI64::new(i64::MIN);
        let inner =
            Self { settings, clock, entropy, table, events, reported, ended, warned_up_ms, _lock: lock };
        watch::adopt_all(&inner)?;
        Ok(Arc::new(inner))
    }

    /// The answer to a call for an allocation that had a server before. It blocks.
    fn earlier(&self, dir: &AllocationDir, allocation_id: &str) -> Option<Placement> {
        if !dir.exists() {
            return None;
        }
        if dir.file(RELEASED).exists() {
            let detail = "the allocation was released".into();
            return Some(Placement::Never { reason: Reason::Refused, detail });
        }
        let exit = dir.exit()?;
        let handle = self.settings.handle(dir.pid().map_or(0, |pid| pid.server.pid));
        let port = dir.launch().and_then(|launch| launch.ports.first().copied());
        self.report_end(allocation_id, &exit);
        Some(Placement::Placed(Placed { handle, host: Some(self.settings.public_host.clone()), port }))
    }

    /// Starts a server, and notes the result.
    async fn start(inner: Arc<Self>, dir: AllocationDir, launch: Launch) -> Placement {
        let id = launch.allocation_id.clone();
        let (beginning, path) = (Arc::clone(&inner), dir.path().to_owned());
        let started = match blocking(move || beginning.begin(dir, &launch)).await.flatten() {
            Ok(Begun::Shim { shim, alive }) => {
                finish(shim, alive, inner.settings.place_timeout / 4 * 3).await
            }
            Ok(Begun::Locked) => return inner.started(&id).await,
            Ok(Begun::Answer(answer)) => Ok(Started::Failed(answer)),
            Err(error) => Err(error),
        };
        let running = match started {
            Ok(Started::Running { pid, alive }) => Running::new(Some(pid), alive),
            Ok(Started::Stuck { alive }) => Running { is_killed: true, ..Running::new(None, alive) },
            Ok(Started::Failed(answer)) => return Self::give_up(inner, id, answer).await,
            Err(error) => {
                let detail = format!("{}: {error}", path.display());
                return Self::give_up(inner, id, unavailable(detail)).await;
            }
        };
        if let Some(entry) = inner.table().servers.get_mut(&id) {
            entry.run(running, inner.clock.now());
        }
        inner.started(&id).await
    }

    /// The first half of a start: takes ports, and starts the shim. A server that is there already is adopted. It
    /// blocks.
    fn begin(&self, dir: AllocationDir, launch: &Launch) -> io::Result<Begun> {
        let id = &launch.allocation_id;
        if let Some(answer) = self.earlier(&dir, id) {
            return Ok(Begun::Answer(answer));
        }
        let Some(ports) = self.take_ports(id) else {
            let (first, last) = (self.settings.ports.start(), self.settings.ports.end());
            let detail = format!("too few of the ports {first}-{last} are free");
            return Ok(Begun::Answer(Placement::Later { retry_after: None, reason: Reason::NoPort, detail }));
        };
        let begun = begin(&self.settings, &dir, launch, ports, &self.clock, &self.entropy)?;
        if matches!(begun, Begun::Locked) {
            // An earlier process has begun to start it. Its files say which ports it has.
            watch::adopt(self, id, dir)?;
        }
        Ok(begun)
    }

    /// Takes ports for a server that is being started. To try them takes long, so other starts take ports meanwhile.
    fn take_ports(&self, allocation_id: &str) -> Option<Vec<u16>> {
        loop {
            let free = self.table().ports.free(self.clock.up_ms());
            let ports = bindable(free, self.settings.ports_per_server)?;
            if self.table().take_ports(allocation_id, &ports) {
                return Some(ports);
            }
        }
    }

    /// The answer to a call whose server runs now. It is killed if this node stops, or if it was released meanwhile.
    async fn started(&self, allocation_id: &str) -> Placement {
        let (placed, is_unwanted) = {
            let table = self.table();
            let entry = table.servers.get(allocation_id);
            let is_released = entry.is_some_and(|entry| entry.released);
            (entry.and_then(|entry| entry.placed(&self.settings)), table.is_stopping || is_released)
        };
        if is_unwanted {
            self.kill(allocation_id).await;
        }
        placed.map_or_else(table::still_starting, Placement::Placed)
    }

    /// Forgets an allocation that got no server.
    async fn give_up(inner: Arc<Self>, id: String, answer: Placement) -> Placement {
        let forgotten = blocking(move || {
            inner.settings.shut_out(&id);
            let dir = AllocationDir::of(&inner.settings.dir, &id).filter(AllocationDir::exists);
            if let Some(dir) = &dir {
                watch::delete_secrets(&id, dir);
            }
            let mut table = inner.table();
            table.forget(&id);
            if dir.is_some() {
                table.finished.push_back(id);
            }
            drop(table);
            inner.prune();
        });
        if let Err(error) = forgotten.await {
            tracing::error!(%error, "a launch that has failed could not be tidied up");
        }
        answer
    }

    /// Reports the end of a server.
    fn report_end(&self, allocation_id: &str, exit: &ExitFile) {
        let event = Event::Exited { allocation_id: allocation_id.to_owned(), status: exit.status() };
        // The receiver lives as long as this.
        let _ = self.events.send(event);
    }

    async fn release(inner: Arc<Self>, allocation_id: &str, mode: ReleaseMode) -> Released {
        let Some(dir) = AllocationDir::of(&inner.settings.dir, allocation_id) else { return Released::Gone };
        let (is_known, pid) = match inner.table().servers.get_mut(allocation_id) {
            None => (false, None),
            Some(entry) => {
                entry.released = true;
                let is_hard = mode == ReleaseMode::Hard;
                (true, if is_hard { entry.kill() } else { entry.pid() })
            }
        };
        if !is_known {
            let (inner, id) = (Arc::clone(&inner), allocation_id.to_owned());
            return blocking(move || inner.release_absent(&id, dir)).await.unwrap_or(Released::Later);
        }
        if let Err(error) = blocking(move || dir.write(RELEASED, "")).await.flatten() {
            tracing::warn!(allocation_id, %error, "the release of a server could not be stored");
        }
        let pids = Vec::from_iter(pid);
        match mode {
            ReleaseMode::Soft => signal(pids, Signal::TERM).await,
            ReleaseMode::Hard => {
                signal(pids, Signal::KILL).await;
                let gone = inner.ended(|table| !table.servers.contains_key(allocation_id));
                if tokio::time::timeout(KILL_WAIT, gone).await.is_ok() {
                    return Released::Gone;
                }
            }
        }
        Released::Later
    }

    /// Sees to it that no server is started any more: a shim may be on its way that a killed Rallypoint has started. It
    /// blocks.
    fn release_absent(&self, allocation_id: &str, dir: AllocationDir) -> Released {
        if !dir.exists() || dir.exit().is_some() {
            return Released::Gone;
        }
        let released = dir.try_lock().and_then(|lock| {
            dir.write(RELEASED, "")?;
            match lock {
                Some(_) => dir.write_exit(&ExitFile::unseen(self.clock.now())).map(|()| true),
                // The next call stops it.
                None => watch::adopt(self, allocation_id, dir.clone()).map(|()| false),
            }
        });
        match released {
            Ok(true) => Released::Gone,
            Ok(false) => Released::Later,
            Err(error) => {
                tracing::warn!(dir = %dir.path().display(), %error, "an allocation could not be released");
                Released::Later
            }
        }
    }

    /// Kills a server, and whatever it has started.
    async fn kill(&self, allocation_id: &str) {
        let pid = self.table().servers.get_mut(allocation_id).and_then(Entry::kill);
        signal(Vec::from_iter(pid), Signal::KILL).await;
    }

    /// Waits until ended servers have made something true.
    async fn ended(&self, is_true: impl Fn(&Table) -> bool) {
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            // Before the look at the table, so that no end is missed.
            ended.as_mut().enable();
            if is_true(&self.table()) {
                return;
            }
            ended.await;
        }
    }
}
