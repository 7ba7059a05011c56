//! Runs the server: passes signals on, reports its health, tells it its session, and ends it if the session is gone.

use std::convert::Infallible;
use std::future::pending;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::signal::unix::SignalKind;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

use super::allocation::{AllocationFile, Assignment};
use super::session_api::{Known, SessionApi};
use super::sidecar::{GameServer, SHUTDOWN, Sidecar};
use crate::cli::signals::listen;

/// Pause before a call to the sidecar is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Time between two reads of the game server. A watch reports its changes at once, but a watch can break unnoticed.
const READ_EVERY: Duration = Duration::from_secs(5);
/// How often the allocation is asked for within the time after which it counts as gone.
const ASKED_WITHIN: u32 = 3;
/// How long a server has to end after SIGTERM, before it gets SIGKILL.
const END_TIME: Duration = Duration::from_secs(10);
/// How often the sidecar is told to shut down.
const SHUTDOWN_TRIES: u32 = 5;
/// Time between two lines in the log about the same trouble.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Most signals that wait to be sent to the server.
const SIGNALS_MAX: usize = 16;

/// The signals that go to the server.
const PASSED_ON: [(SignalKind, Signal); 6] = [
    (SignalKind::terminate(), Signal::TERM),
    (SignalKind::interrupt(), Signal::INT),
    (SignalKind::hangup(), Signal::HUP),
    (SignalKind::quit(), Signal::QUIT),
    (SignalKind::user_defined1(), Signal::USR1),
    (SignalKind::user_defined2(), Signal::USR2),
];

/// What the bridge connects.
pub struct Bridge {
    /// The sidecar.
    pub sidecar: Sidecar,
    /// The session API.
    pub sessions: SessionApi,
    /// The file that the server reads.
    pub file: AllocationFile,
    /// Time between two health reports.
    pub health_every: Duration,
    /// How long the allocation may be unknown before the server is ended.
    pub gone_after: Duration,
    /// The server's program and its arguments.
    pub command: Vec<String>,
}

impl Bridge {
    /// Runs the server to its end. Returns its exit status; 128 and the signal's number if a signal has ended it.
    ///
    /// # Errors
    /// If the server cannot be started. Then the game server is not marked as ready.
    pub async fn run(self) -> Result<u8, String> {
        let mut signals = signals()?;
        self.file.write_none()?;
        tokio::select! {
            () = self.wait_for_sidecar() => {}
            Some(signal) = signals.recv() => return Ok(by_signal(signal.as_raw())),
        }
        let mut child = start(&self.command)?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let group = group.ok_or("the server has no process id")?;
        let mut tasks = JoinSet::new();
        let (sender, changes) = watch::channel(None);
        tasks.spawn(report_health(self.sidecar.clone(), self.health_every));
        tasks.spawn(watch_changes(self.sidecar.clone(), sender.clone()));
        tasks.spawn(read_regularly(self.sidecar.clone(), sender));
        tasks.spawn(follow_session(
            self.sidecar.clone(),
            self.sessions,
            self.file,
            self.gone_after,
            changes,
            group,
        ));
        let status = loop {
            tokio::select! {
                status = child.wait() => break status.map_err(|error| error.to_string())?,
                Some(signal) = signals.recv() => send(group, signal),
            }
        };
        drop(tasks);
        tracing::info!(%status, "the server has ended");
        for _ in 0..SHUTDOWN_TRIES {
            match self.sidecar.tell(SHUTDOWN).await {
                Ok(()) => break,
                Err(error) => tracing::warn!(%error, "the sidecar was not told to shut down"),
            }
            sleep(RETRY_PAUSE).await;
        }
        Ok(exit_code(status))
    }

    async fn wait_for_sidecar(&self) {
        let mut trouble = Trouble::default();
        while let Err(error) = self.sidecar.game_server().await {
            trouble.log("the sidecar does not answer; the server starts when it does", &error);
            sleep(RETRY_PAUSE).await;
        }
    }
}

/// The signals that this process gets from now on.
fn signals() -> Result<mpsc::Receiver<Signal>, String> {
    let (sender, receiver) = mpsc::channel(SIGNALS_MAX);
    for (kind, signal) in PASSED_ON {
        let (mut arriving, sender) = (listen(kind)?, sender.clone());
        tokio::spawn(async move {
            while arriving.recv().await.is_some() {
                // The same signal once more changes nothing, and nobody receives once the server has ended.
                let _ = sender.try_send(signal);
            }
        });
    }
    Ok(receiver)
}

/// Starts the server in a process group of its own, so that signals also reach the children of a script.
fn start(command: &[String]) -> Result<Child, String> {
    let (program, arguments) = command.split_first().ok_or("there is no command")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).process_group(0);
    command.spawn().map_err(|error| format!("cannot start {program}: {error}"))
}

/// Sends a signal to the server and its children.
fn send(group: Pid, signal: Signal) {
    if let Err(error) = kill_process_group(group, signal) {
        tracing::debug!(%error, ?signal, "a signal did not reach the server");
    }
}

/// Marks the game server as ready, and then reports that it is healthy, for as long as the server runs.
async fn report_health(sidecar: Sidecar, every: Duration) {
    let mut trouble = Trouble::default();
    while let Err(error) = sidecar.tell("ready").await {
        trouble.log("the game server could not be marked as ready", &error);
        sleep(RETRY_PAUSE).await;
    }
    let mut ticks = interval(every);
    loop {
        ticks.tick().await;
        if let Err(error) = sidecar.tell("health").await {
            trouble.log("the sidecar took no health report", &error);
        }
    }
}

async fn watch_changes(sidecar: Sidecar, changes: watch::Sender<Option<GameServer>>) {
    let mut trouble = Trouble::default();
    loop {
        if let Err(error) = sidecar.watch(changes.clone()).await {
            trouble.log("the watch of the game server has broken", &error);
        }
        sleep(RETRY_PAUSE).await;
    }
}

async fn read_regularly(sidecar: Sidecar, changes: watch::Sender<Option<GameServer>>) {
    let (mut ticks, mut trouble) = (interval(READ_EVERY), Trouble::default());
    loop {
        ticks.tick().await;
        match sidecar.game_server().await {
            Ok(game_server) => drop(changes.send_replace(Some(game_server))),
            Err(error) => trouble.log("the game server could not be read", &error),
        }
    }
}

/// Waits until the game server is allocated, and tells the server its session. Ends the server if its session is gone,
/// also if it could not be told: the allocator cannot give a game server back.
async fn follow_session(
    sidecar: Sidecar,
    sessions: SessionApi,
    file: AllocationFile,
    gone_after: Duration,
    mut changes: watch::Receiver<Option<GameServer>>,
    group: Pid,
) {
    let allocation_id = |game_server: &GameServer| sidecar.allocation_id(game_server).cloned();
    let allocated = changes.wait_for(|seen| seen.as_ref().and_then(allocation_id).is_some()).await;
    let Some(allocation_id) = allocated.ok().and_then(|seen| seen.as_ref().and_then(allocation_id)) else {
        return;
    };
    tokio::select! {
        () = until_gone(&sessions, &allocation_id, gone_after) => {}
        never = tell_session(&sidecar, &file, changes) => match never {},
    }
    tracing::warn!(allocation_id, "no session has this allocation any more; the server is ended");
    send(group, Signal::TERM);
    sleep(END_TIME).await;
    send(group, Signal::KILL);
}

/// Writes the file, as soon as the description of the game server is whole.
async fn tell_session(
    sidecar: &Sidecar,
    file: &AllocationFile,
    mut changes: watch::Receiver<Option<GameServer>>,
) -> Infallible {
    let mut trouble = Trouble::default();
    loop {
        let assignment = changes.borrow_and_update().as_ref().map(|seen| sidecar.assignment(seen));
        match assignment {
            None => {}
            Some(Err(error)) => {
                trouble.log("the game server is allocated, but its session cannot be told", &error);
            }
            Some(Ok(assignment)) => match file.write_session(&assignment) {
                Err(error) => trouble.log("the server could not be told its session", &error),
                Ok(()) => {
                    let Assignment { allocation_id, session_id, host, port } = &assignment;
                    tracing::info!(allocation_id, session_id, host, port, "the server was told its session");
                    return pending().await;
                }
            },
        }
        // A description comes every few seconds, also without a change.
        if changes.changed().await.is_err() {
            return pending().await;
        }
    }
}

/// Returns when no session has had the allocation for this time.
async fn until_gone(sessions: &SessionApi, allocation_id: &str, gone_after: Duration) {
    let (mut gone_since, mut trouble) = (None::<Instant>, Trouble::default());
    loop {
        sleep(gone_after / ASKED_WITHIN).await;
        match sessions.knows(allocation_id).await {
            Ok(Known::Yes) => gone_since = None,
            Ok(Known::No) => {
                let now = Instant::now();
                if now.duration_since(*gone_since.get_or_insert(now)) >= gone_after {
                    return;
                }
            }
            Err(error) => trouble.log("the session API could not be asked for the allocation", &error),
        }
    }
}

fn exit_code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(1),
        (None, Some(signal)) => by_signal(signal),
        (None, None) => 1,
    }
}

/// The exit status of a process that a signal has ended, as shells give it.
fn by_signal(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(1)
}

/// Logs a trouble that lasts, once in a while.
#[derive(Default)]
struct Trouble(Option<Instant>);

impl Trouble {
    fn log(&mut self, what: &str, error: &str) {
        if self.0.is_none_or(|last| last.elapsed() >= LOG_EVERY) {
            tracing::warn!(error, "{what}");
            self.0 = Some(Instant::now());
        }
    }
}
