//! The shim: a small process between Rallypoint and a server. It holds the lock of the allocation, starts the server,
//! copies the output of the server into the log, and writes down how the server has ended.
//!
//! Its standard input is the file of the lock. Rallypoint has locked it, so that the lock is held without a gap.
//!
//! The shim outlives Rallypoint. So a server keeps its log, its log keeps its limit, and its exit status is known, also
//! if Rallypoint was killed and started again meanwhile. It runs as `rallypoint server-shim`, in the server's
//! environment.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::directory::{AllocationDir, ExitFile, LOG, LaunchFile, PidFile, try_lock};
use super::identity::ProcessId;
use super::log::BoundedLog;
use crate::crash_point;
use crate::env::Clock;

/// What a shim reports to Rallypoint: one line of JSON on standard output.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The server runs.
    Started(PidFile),
    /// Another shim has the lock, so the allocation has a server.
    Locked,
    /// The allocation had a server, and it has ended.
    Ended,
    /// The server could not be started. The allocation has no server.
    Failed {
        /// What happened.
        detail: String,
        /// Whether the program itself is at fault, so that another try is of no use.
        is_misconfigured: bool,
    },
}

/// Runs the server of an allocation to its end.
///
/// # Errors
/// If the files of the allocation cannot be read or written.
pub fn run(dir: &Path) -> io::Result<()> {
    let dir = AllocationDir::at(dir);
    // The lock ends with the last process that has it: this one, the server, or a child of the server.
    let lock = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    if !dir.is_alive_file(&lock)? {
        return Err(io::Error::other("standard input is not the file `alive` of this directory"));
    }
    if !try_lock(&lock)? {
        return report(&Report::Locked);
    }
    if dir.exit().is_some() {
        return report(&Report::Ended);
    }
    let launch = dir.launch().ok_or_else(|| io::Error::other("launch.json is missing or broken"))?;
    crash_point::reached(crash_point::SHIM_LOCKED);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(supervise(&dir, &launch, &lock))
}

/// Starts the server, and waits for its end. A signal that asks this process to stop goes to the server.
async fn supervise(dir: &AllocationDir, launch: &LaunchFile, lock: &File) -> io::Result<()> {
    // Before the server starts, so that no signal ends this process without it.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut log = BoundedLog::open(&dir.file(LOG), launch.log_bytes_max)?;
    let (output, writer) = io::pipe()?;
    let child = match start(dir, launch, lock, writer) {
        Ok(child) => child,
        Err(error) => {
            // Anything else, such as too little memory or too many processes, may pass.
            let is_misconfigured = matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied
            ) || error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error());
            let working_dir = launch.working_dir.as_deref().unwrap_or(dir.path()).display();
            let detail = format!("{}, in {working_dir}: {error}", launch.command[0]);
            return report(&Report::Failed { detail, is_misconfigured });
        }
    };
    let server = ProcessId::now(i32::try_from(child.id()).unwrap_or_default());
    let shim = ProcessId::now(i32::try_from(std::process::id()).unwrap_or_default());
    let pid = PidFile { server, shim };
    if let Err(error) = dir.write_pid(&pid) {
        // Without the file the server could not be stopped after a restart.
        server.signal_group(Signal::KILL);
        let detail = format!("{}: {error}", dir.path().display());
        return report(&Report::Failed { detail, is_misconfigured: false });
    }
    // Rallypoint may have ended meanwhile. Then nobody reads the report, and the next start finds the server.
    let _ = report(&Report::Started(pid));
    let (copied, mut copying) = oneshot::channel();
    thread::spawn(move || copied.send(log.copy_from(output)));
    let (ended, mut ending) = oneshot::channel();
    thread::spawn(move || ended.send(wait(child, server)));
    let status = loop {
        tokio::select! {
            status = &mut ending => break status.map_err(io::Error::other)??,
            _ = terminate.recv() => server.signal_group(Signal::TERM),
            _ = interrupt.recv() => server.signal_group(Signal::INT),
            _ = hangup.recv() => {}
        }
    };
    // A process that has left the group of the server may still have the pipe open: nobody waits for it.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), &mut copying).await;
    dir.write_exit(&ExitFile::new(status, Clock::System.now()))
}

/// Starts the server in a group of processes of its own. It inherits the lock.
fn start(dir: &AllocationDir, launch: &LaunchFile, lock: &File, output: io::PipeWriter) -> io::Result<Child> {
    fcntl_setfd(lock, FdFlags::empty())?;
    let started = Command::new(&launch.command[0])
        .args(&launch.command[1..])
        .current_dir(launch.working_dir.as_deref().unwrap_or(dir.path()))
        .stdin(Stdio::null())
        .stderr(output.try_clone()?)
        .stdout(output)
        .process_group(0)
        .spawn();
    fcntl_setfd(lock, FdFlags::CLOEXEC)?;
    started
}

/// Waits for the end of the server, and then ends what is left of its group. The number of the group cannot belong to
/// other processes before the server is reaped, which comes last.
fn wait(mut child: Child, server: ProcessId) -> io::Result<ExitStatus> {
    if let Some(pid) = Pid::from_raw(server.pid) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while waitid(WaitId::Pid(pid), options).is_err_and(|error| error == Errno::INTR) {}
    }
    server.signal_group(Signal::KILL);
    child.wait()
}

fn report(report: &Report) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(report)?)?;
    out.flush()
}
