//! Watches the servers: notices their end, and adopts those of an earlier process. Apart from [`watch`], everything
//! here reads files and blocks.

use std::fs::File;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::Timestamp;
use rustix::process::Signal;

use super::Inner;
use super::directory::{
    AllocationDir, CLIENT_SECRET, CREDENTIALS, ExitFile, LOG, PidFile, RELEASED, try_lock,
};
use super::identity::kill_users_of;
use super::log::last_lines;
use super::table::{Entry, Running};
use crate::allocators::clients::ServerLogin;

/// Time between two looks at the servers. A look costs a few system calls for each server.
const EVERY: Duration = Duration::from_millis(50);
/// How often [`pid_soon`] looks.
const PID_TRIES: usize = 40;
/// In how many looks a server is killed each time; later only once in as many looks.
const KILLS_AT_ONCE: u32 = 20;
/// The shortest time between two warnings that a server cannot be watched, in milliseconds.
const WARN_EVERY_MS: i64 = 60_000;
/// How many lines of the log of a failed server go into our log, and at most how many of its bytes.
const LOG_LINES: usize = 20;
const LOG_BYTES: u64 = 8_192;

/// Watches the servers until the allocator is dropped.
pub async fn watch(inner: Weak<Inner>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        if inner.table().is_empty() {
            continue;
        }
        // A look reads files.
        if let Err(error) = tokio::task::spawn_blocking(move || inner.look()).await {
            tracing::error!(%error, "a look at the servers has failed; the next one follows");
        }
    }
}

/// The processes of an allocation whose shim has the lock, and may not have written them yet.
fn pid_soon(dir: &AllocationDir) -> Option<PidFile> {
    for _ in 0..PID_TRIES {
        if let Some(pid) = dir.pid() {
            return Some(pid);
        }
        std::thread::park_timeout(EVERY);
    }
    None
}

/// Adopts all servers of an earlier process that still run.
pub fn adopt_all(inner: &Inner) -> io::Result<()> {
    let mut finished: Vec<(Option<Timestamp>, String)> = Vec::new();
    for entry in std::fs::read_dir(&inner.settings.dir)? {
        let name = entry?.file_name();
        let Some(id) = name.to_str() else { continue };
        let Some(dir) = AllocationDir::of(&inner.settings.dir, id) else { continue };
        match adopt_or_finish(inner, id, dir) {
            Ok(adopted) => finished.extend(adopted.map(|ended| (ended, id.to_owned()))),
            // The other servers, and the API, do not depend on it. The next start tries again.
            Err(error) => {
                tracing::error!(allocation_id = id, %error, "the directory of a server cannot be used; it stays as it is");
            }
        }
    }
    finished.sort_unstable();
    inner.table().finished.extend(finished.into_iter().map(|(_, id)| id));
    inner.prune();
    Ok(())
}

/// Adopts the server of an allocation if it runs. Otherwise returns when it has ended, if that is known.
fn adopt_or_finish(inner: &Inner, id: &str, dir: AllocationDir) -> io::Result<Option<Option<Timestamp>>> {
    // Before the look at `exit`: a server may end in between. One that has ended may have left a process behind.
    let Some(_lock) = dir.try_lock()? else { return adopt(inner, id, dir).map(|()| None) };
    let exit = dir.exit();
    // Nobody has seen its end; or it never started, and the call may be made again.
    if exit.is_none() && dir.pid().is_some() {
        store_exit(id, &dir, &ExitFile::unseen(inner.clock.now()));
    }
    delete_secrets(id, &dir);
    Ok(Some(exit.map(|exit| exit.at)))
}

/// Stores how a server has ended. Without the file it counts as lost after a restart, as one whose shim was killed.
fn store_exit(id: &str, dir: &AllocationDir, exit: &ExitFile) {
    if let Err(error) = dir.write_exit(exit) {
        tracing::warn!(allocation_id = id, %error, "the end of a server could not be stored");
    }
}

/// Adopts the server of an allocation whose lock is taken.
pub(super) fn adopt(inner: &Inner, id: &str, dir: AllocationDir) -> io::Result<()> {
    let has_ended = dir.exit().is_some();
    let pid = pid_soon(&dir);
    let alive = File::open(dir.alive())?;
    let launch = dir.launch();
    let ports = launch.as_ref().map_or_else(Vec::new, |launch| launch.ports.clone());
    let launched_at = launch.map_or_else(|| inner.clock.now(), |launch| launch.launched_at);
    if let ServerLogin::PerLaunch(clients) = &inner.settings.login
        && let Ok(secret) = dir.text(CLIENT_SECRET)
    {
        clients.register(id, &secret);
    }
    let is_running = |pid: &PidFile| pid.server.is_running() || pid.shim.is_running();
    let identified = pid.filter(|pid| !has_ended && is_running(pid));
    match identified {
        _ if has_ended => tracing::warn!(
            allocation_id = id,
            "a server of an earlier process has ended, but a process that it has started runs: it is killed"
        ),
        Some(pid) => {
            tracing::info!(allocation_id = id, pid = pid.server.pid, "a running server was adopted");
        }
        None => tracing::warn!(
            allocation_id = id,
            "a server of an earlier process runs, but its process cannot be identified: it is killed"
        ),
    }
    let released = dir.file(RELEASED).exists();
    let running = Some(Running { is_killed: identified.is_none(), ..Running::new(identified, alive) });
    let mut entry = Entry { dir, ports: ports.clone(), released, launched_at: Some(launched_at), running };
    let mut table = inner.table();
    // A start that has met this server has taken other ports for it, and may have been released meanwhile.
    if let Some(start) = table.servers.remove(id) {
        table.ports.give_back(&start.ports);
        entry.released |= start.released;
    }
    table.servers.insert(id.to_owned(), entry);
    table.ports.mark_used(&ports);
    Ok(())
}

/// What a look needs of a server that runs.
struct Seen {
    id: String,
    dir: AllocationDir,
    pid: Option<PidFile>,
    alive: Arc<File>,
    is_killed: bool,
}

impl Inner {
    /// Notices the end of servers, and kills those that must not run. Others use the table meanwhile.
    fn look(&self) {
        let of = |(id, entry): (&String, &Entry)| {
            let Running { pid, alive, is_killed, .. } = entry.running.as_ref()?;
            let (id, dir, alive) = (id.clone(), entry.dir.clone(), Arc::clone(alive));
            Some(Seen { id, dir, pid: *pid, alive, is_killed: *is_killed })
        };
        let seen: Vec<_> = self.table().servers.iter().filter_map(of).collect();
        let mut has_ended = false;
        for server in seen {
            match try_lock(&server.alive) {
                Ok(true) => {
                    has_ended = true;
                    self.finish(&server.id, &server.dir);
                }
                Ok(false) => self.see_to(&server),
                Err(error) => self.warn_of_lock(&server.id, &error),
            }
        }
        if has_ended {
            self.prune();
            self.ended.notify_waiters();
        }
    }

    /// Warns that the lock of a server cannot be looked at, once a minute. A disk that fails so fails for every server.
    fn warn_of_lock(&self, id: &str, error: &io::Error) {
        let (up_ms, last) = (self.clock.up_ms(), self.warned_up_ms.load(Ordering::Relaxed));
        if last == i64::MIN || up_ms - last >= WARN_EVERY_MS {
            self.warned_up_ms.store(up_ms, Ordering::Relaxed);
            tracing::warn!(
                allocation_id = id,
                %error,
                "a server cannot be watched; further such lines come once a minute"
            );
        }
    }

    /// Ends a server that is to be killed, or whose shim has ended: without a shim it can neither log nor be watched.
    fn see_to(&self, server: &Seen) {
        let has_shim = server.pid.is_some_and(|pid| pid.shim.is_running());
        if has_shim && !server.is_killed {
            return;
        }
        let id = &server.id;
        if !server.is_killed && server.dir.exit().is_none() {
            tracing::warn!(allocation_id = id, "the shim of a server has ended: the server is killed");
        }
        let kills = {
            let mut table = self.table();
            let running = table.servers.get_mut(id).and_then(|entry| entry.running.as_mut());
            let Some(running) = running else { return };
            (running.is_killed, running.kills) = (true, running.kills.wrapping_add(1));
            running.kills
        };
        if kills > KILLS_AT_ONCE && !kills.is_multiple_of(KILLS_AT_ONCE) {
            return;
        }
        if let Some(pid) = server.pid {
            pid.server.signal_group(Signal::KILL);
        }
        // What has left the group of the server, but still has its lock. The shim has it too, and goes by itself.
        if !has_shim {
            kill_users_of(&server.dir.alive());
        }
    }

    /// Notes the end of a server. It stays in the table until its end is stored and its client is shut out.
    fn finish(&self, id: &str, dir: &AllocationDir) {
        let exit = dir.exit().unwrap_or_else(|| {
            let exit = ExitFile::unseen(self.clock.now());
            store_exit(id, dir, &exit);
            exit
        });
        self.settings.shut_out(id);
        delete_secrets(id, dir);
        let mut table = self.table();
        let Some(entry) = table.servers.remove(id) else { return };
        table.ports.rest(&entry.ports, self.clock.up_ms());
        table.finished.push_back(id.to_owned());
        drop(table);
        let status = exit.status();
        if exit.is_success() || entry.released {
            tracing::info!(allocation_id = id, status, "a server has ended");
        } else {
            let lines = last_lines(&dir.file(LOG), LOG_LINES, LOG_BYTES).unwrap_or_default().join("\n");
            tracing::warn!(allocation_id = id, status, "a server has failed; the end of its log:\n{lines}");
        }
        self.report_end(id, &exit);
    }

    /// Deletes the directories of ended servers beyond the number that is kept.
    pub(super) fn prune(&self) {
        let mut table = self.table();
        let surplus = table.finished.len().saturating_sub(self.settings.keep_finished);
        let surplus: Vec<_> = table.finished.drain(..surplus).collect();
        drop(table);
        for id in surplus {
            let Some(dir) = AllocationDir::of(&self.settings.dir, &id) else { continue };
            if let Err(error) = dir.delete() {
                tracing::warn!(dir = %dir.path().display(), %error, "the directory of an ended server stays");
            }
        }
    }
}

/// Deletes the files with which a server has logged in.
pub(super) fn delete_secrets(id: &str, dir: &AllocationDir) {
    for secret in [CLIENT_SECRET, CREDENTIALS] {
        if let Err(error) = dir.delete_file(secret) {
            tracing::warn!(allocation_id = id, %error, "the secret of an ended server could not be deleted");
        }
    }
}
