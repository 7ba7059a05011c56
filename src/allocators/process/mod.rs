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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustix::process::Signal;
use tokio::sync::{Notify, mpsc};

pub use self::command::CommandTemplate;
use self::directory::{AllocationDir, ExitFile, RELEASED};
pub use self::info::{ServerInfo, ServerState};
pub use self::settings::ProcessSettings;
use self::start::{Begun, Started, begin, finish, unavailable};
use self::table::{Admission, Running, Table};
use super::{Allocator, Event, Found, Held, Launch, Placed, Placement, Reason, ReleaseMode, Released, Scope};
use crate::env::{Clock, Entropy};
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
    /// Keeps other processes from using the directory.
    _lock: File,
}

impl ProcessAllocator {
    /// Creates the directory if it is missing, and adopts the servers of an earlier process.
    ///
    /// # Errors
    /// If the directory cannot be used, or if another process uses it.
    pub async fn open(settings: ProcessSettings, clock: Clock, entropy: Entropy) -> io::Result<Self> {
        private_dir::create(&settings.dir)?;
        let settings = ProcessSettings { dir: settings.dir.canonicalize()?, ..settings };
        let lock = File::create(settings.dir.join(DIR_LOCK))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other("another server uses this directory"),
            TryLockError::Error(error) => error,
        })?;
        let (events, reported) = mpsc::unbounded_channel();
        let table = Mutex::new(Table::new(&settings));
        let (reported, ended) = (tokio::sync::Mutex::new(reported), Notify::new());
        let inner = Inner { settings, clock, entropy, table, events, reported, ended, _lock: lock };
        let inner = Arc::new(inner);
        watch::adopt_all(&inner).await?;
        tokio::spawn(watch::watch(Arc::downgrade(&inner)));
        Ok(Self(inner))
    }

    /// The servers that run or are being started, and then those that have ended and whose directory is kept, the
    /// latest first. Reads files, so it may block.
    pub fn servers(&self) -> Vec<ServerInfo> {
        let inner = &self.0;
        let table = inner.table();
        let live: Vec<_> = table.servers.iter().map(|(id, entry)| (id.clone(), entry.state())).collect();
        let ended: Vec<_> = table.finished.iter().rev().map(|id| (id.clone(), ServerState::Ended)).collect();
        drop(table);
        let all = live.into_iter().chain(ended);
        all.filter_map(|(id, state)| ServerInfo::read(&inner.settings, id, state)).collect()
    }

    /// The last lines of the log of a server. Reads files, so it may block.
    ///
    /// # Errors
    /// If there is no such log.
    pub fn log(&self, allocation_id: &str, lines: usize) -> io::Result<Vec<String>> {
        let dir = AllocationDir::of(&self.0.settings.dir, allocation_id).ok_or(io::ErrorKind::NotFound)?;
        log::last_lines(&dir.file(directory::LOG), lines, LOG_BYTES_MAX)
    }

    /// Kills a server, and waits a moment for its end. Returns whether it has ended.
    pub async fn kill(&self, allocation_id: &str) -> bool {
        self.0.kill(allocation_id);
        let gone = self.0.ended(|table| !table.servers.contains_key(allocation_id));
        tokio::time::timeout(KILL_WAIT, gone).await.is_ok()
    }

    /// Kills all servers, also those that are being started, and waits a moment for their end. None is started after this.
    pub async fn kill_all(&self) {
        let all: Vec<_> = {
            let mut table = self.0.table();
            table.is_stopping = true;
            table.running().map(|(id, _)| id.clone()).collect()
        };
        for id in &all {
            self.0.kill(id);
        }
        // The servers end in any case; only their records may be missing.
        let _ = tokio::time::timeout(KILL_WAIT, self.0.ended(|table| table.is_empty())).await;
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
            if let Some(answer) = inner.earlier(&dir, &launch.allocation_id) {
                return answer;
            }
            let admission =
                inner.table().admit(&inner.settings, &dir, &launch.allocation_id, inner.clock.up_ms());
            let ports = match admission {
                Admission::Answer(answer) => return answer,
                Admission::Start(ports) => ports,
            };
            // A task, so that a dropped call does not leave a half-started server behind.
            let starting = tokio::spawn(Inner::start(Arc::clone(inner), dir, launch.clone(), ports));
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
        Box::pin(self.0.release(allocation_id, mode))
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

    /// The answer to a call for an allocation that had a server before.
    fn earlier(&self, dir: &AllocationDir, allocation_id: &str) -> Option<Placement> {
        if !dir.exists() || self.table().servers.contains_key(allocation_id) {
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
    async fn start(inner: Arc<Self>, dir: AllocationDir, launch: Launch, ports: Vec<u16>) -> Placement {
        let id = launch.allocation_id.clone();
        let (blocking, start_dir) = (Arc::clone(&inner), dir.clone());
        let begun = tokio::task::spawn_blocking(move || {
            let Self { settings, clock, entropy, .. } = &*blocking;
            begin(settings, &start_dir, &launch, ports, clock, entropy)
        });
        let started = match begun.await.map_err(io::Error::other).flatten() {
            Ok(Begun::Shim { shim, alive }) => {
                finish(shim, alive, inner.settings.place_timeout / 4 * 3).await
            }
            Ok(Begun::Locked) => return inner.adopt_late(&id, dir).await,
            Err(error) => Err(error),
        };
        let running = match started {
            Ok(Started::Running { pid, alive }) => Running::new(Some(pid), alive),
            Ok(Started::Stuck { alive }) => Running { is_killed: true, ..Running::new(None, alive) },
            Ok(Started::Failed(answer)) => return inner.give_up(&id, answer),
            Err(error) => {
                let detail = format!("{}: {error}", dir.path().display());
                return inner.give_up(&id, unavailable(detail));
            }
        };
        if let Some(entry) = inner.table().servers.get_mut(&id) {
            entry.run(running, inner.clock.now());
        }
        inner.started(&id)
    }

    /// The allocation has a server that an earlier process has begun to start. Its files say which ports it has.
    async fn adopt_late(&self, allocation_id: &str, dir: AllocationDir) -> Placement {
        if let Err(error) = watch::adopt(self, allocation_id, dir.clone()).await {
            return self.give_up(allocation_id, unavailable(format!("{}: {error}", dir.path().display())));
        }
        self.started(allocation_id)
    }

    /// The answer to a call whose server runs now. It is killed if this node stops.
    fn started(&self, allocation_id: &str) -> Placement {
        let table = self.table();
        let placed = table.servers.get(allocation_id).and_then(|entry| entry.placed(&self.settings));
        let is_stopping = table.is_stopping;
        drop(table);
        if is_stopping {
            self.kill(allocation_id);
        }
        placed.map_or_else(table::still_starting, Placement::Placed)
    }

    /// Forgets an allocation that got no server.
    fn give_up(&self, allocation_id: &str, answer: Placement) -> Placement {
        self.settings.shut_out(allocation_id);
        let dir = AllocationDir::of(&self.settings.dir, allocation_id).filter(AllocationDir::exists);
        if let Some(dir) = &dir {
            watch::delete_secrets(allocation_id, dir);
        }
        let mut table = self.table();
        table.forget(allocation_id);
        if dir.is_some() {
            table.finished.push_back(allocation_id.to_owned());
        }
        drop(table);
        self.prune();
        answer
    }

    /// Reports the end of a server.
    fn report_end(&self, allocation_id: &str, exit: &ExitFile) {
        let event = Event::Exited { allocation_id: allocation_id.to_owned(), status: exit.status() };
        // The receiver lives as long as this.
        let _ = self.events.send(event);
    }

    async fn release(&self, allocation_id: &str, mode: ReleaseMode) -> Released {
        let Some(dir) = AllocationDir::of(&self.settings.dir, allocation_id) else { return Released::Gone };
        match self.table().servers.get_mut(allocation_id) {
            None => return self.release_absent(&dir),
            Some(entry) => entry.released = true,
        }
        if let Err(error) = dir.write(RELEASED, "") {
            tracing::warn!(allocation_id, %error, "the release of a server could not be stored");
        }
        match mode {
            ReleaseMode::Soft => self.signal(allocation_id, Signal::TERM),
            ReleaseMode::Hard => {
                self.kill(allocation_id);
                let gone = self.ended(|table| !table.servers.contains_key(allocation_id));
                if tokio::time::timeout(KILL_WAIT, gone).await.is_ok() {
                    return Released::Gone;
                }
            }
        }
        Released::Later
    }

    /// Sees to it that no shim starts a server any more: one may be on its way that a killed Rallypoint has started.
    fn release_absent(&self, dir: &AllocationDir) -> Released {
        if !dir.exists() || dir.exit().is_some() {
            return Released::Gone;
        }
        let released = dir.try_lock().and_then(|lock| {
            if lock.is_some() {
                dir.write(RELEASED, "")?;
                dir.write_exit(&ExitFile::unseen(self.clock.now()))?;
            }
            Ok(lock.is_some())
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

    fn signal(&self, allocation_id: &str, signal: Signal) {
        let table = self.table();
        let pid = table.servers.get(allocation_id).and_then(|entry| entry.running.as_ref()?.pid);
        if let Some(pid) = pid {
            pid.server.signal_group(signal);
        }
    }

    /// Kills a server, and whatever it has started.
    fn kill(&self, allocation_id: &str) {
        if let Some(running) =
            self.table().servers.get_mut(allocation_id).and_then(|entry| entry.running.as_mut())
        {
            running.is_killed = true;
        }
        self.signal(allocation_id, Signal::KILL);
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
