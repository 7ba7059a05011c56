//! Runs the real binary. Its processes end with the test, also if the test panics.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::mpsc;

/// Longest wait for an expected event: long, because test machines are busy.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// Waits for an expected event. Panics after [`WAIT_MAX`].
pub async fn soon<T>(what: &str, happening: impl Future<Output = T>) -> T {
    let happened = tokio::time::timeout(WAIT_MAX, happening).await;
    happened.unwrap_or_else(|_| panic!("this did not happen in {WAIT_MAX:?}: {what}"))
}

/// A command with these arguments, without the environment variables that configure Rallypoint.
pub fn rallypoint(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rallypoint"));
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(rallypoint::config::ENV_PREFIX.as_bytes()) {
            command.env_remove(name);
        }
    }
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// A range of ten UDP ports for game servers, which no other test gets while this process runs. They are below the ports
/// that the kernel gives to other sockets.
pub fn game_ports() -> RangeInclusive<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(97);
    loop {
        let number = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 1_000;
        let first = 20_000 + u16::try_from(number).unwrap() * 10;
        // Game servers leave the TCP port alone. To listen on it keeps the range from other test processes.
        if let Ok(mark) = std::net::TcpListener::bind(("127.0.0.1", first)) {
            std::mem::forget(mark);
            return first..=first + 9;
        }
    }
}

/// The same in the form of the setting `ports`.
pub fn game_ports_setting() -> String {
    let ports = game_ports();
    format!("{}-{}", ports.start(), ports.end())
}

/// The dedicated servers that were started from this data directory, and their children: each works in the directory of
/// its launch.
pub fn processes_in(data_dir: &Path) -> Vec<Pid> {
    let Ok(dir) = data_dir.canonicalize() else { return Vec::new() };
    let is_inside =
        |pid: &Pid| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&dir));
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    pids.filter(is_inside).collect()
}

/// The shims of these servers.
pub fn shims_of(data_dir: &Path) -> Vec<Pid> {
    let Ok(dir) = data_dir.canonicalize() else { return Vec::new() };
    let shims = processes_of("server-shim", dir.to_str().expect("temporary directories have plain names"));
    shims.into_iter().filter_map(|(pid, _)| Pid::from_raw(pid)).collect()
}

/// Kills the dedicated servers of a data directory at the end of a test, also if the test panics.
pub struct KillAtEnd(pub PathBuf);

impl Drop for KillAtEnd {
    fn drop(&mut self) {
        for pid in [shims_of(&self.0), processes_in(&self.0)].concat() {
            // It may end at the same moment.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// The result of a command.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// Asserts the exit code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }
}

/// Runs a command to its end.
pub async fn run(mut command: Command) -> Finished {
    let output = soon("the command ends", command.output()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Finished { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A running server.
pub struct Server {
    /// The address of its API.
    pub address: SocketAddr,
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: mpsc::UnboundedReceiver<String>,
    /// The log lines that were read so far.
    log: String,
}

/// A login key for tests only: it is public. A server that finds it need not make one, which takes long.
const LOGIN_KEY: &str = include_str!("login-key.pem");

/// Writes the login key for tests into a data directory, if it has none.
pub fn write_login_key(data_dir: &Path) {
    let login_key = data_dir.join("login-key.pem");
    // Some tests name a directory that cannot be written to.
    if data_dir.is_dir() && !login_key.exists() && std::fs::write(&login_key, LOGIN_KEY).is_ok() {
        std::fs::set_permissions(&login_key, Permissions::from_mode(0o600)).unwrap();
    }
}

/// The command of a server on a data directory and a free port.
pub fn serve(data_dir: &Path, args: &[&str]) -> Command {
    serve_at("127.0.0.1:0", data_dir, args)
}

/// The command of a server on a data directory and an address.
pub fn serve_at(address: &str, data_dir: &Path, args: &[&str]) -> Command {
    write_login_key(data_dir);
    let data_dir = data_dir.to_str().expect("temporary directories have plain names");
    rallypoint(&[&["serve", "--listen", address, "--data-dir", data_dir], args].concat())
}

/// A free address that a server can have again after a restart: the kernel gives no connection a port below its range of
/// ephemeral ports, not even while the server is down.
pub fn lasting_address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(97);
    loop {
        let number = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let address = format!("127.0.0.1:{}", 10_000 + number % 10_000);
        if std::net::TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}

/// The processes with this command of the binary and this text in their arguments: number, and arguments.
pub fn processes_of(subcommand: &str, text: &str) -> Vec<(i32, String)> {
    let arguments = |pid: i32| Some((pid, std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?));
    let is_meant = |(_, arguments): &(i32, String)| {
        arguments.contains(&format!("\0{subcommand}\0")) && arguments.contains(text)
    };
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(arguments).filter(is_meant).collect()
}

impl Server {
    /// Starts a server on a data directory and a free port.
    pub async fn start(data_dir: &Path) -> Self {
        Self::spawn(serve(data_dir, &[])).await
    }

    /// Starts a server without waiting until it listens.
    pub fn begin(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().expect("standard output is a pipe")).lines();
        let stderr = lines(child.stderr.take());
        Self { address: SocketAddr::from(([0; 4], 0)), child, stdout, stderr, log: String::new() }
    }

    /// Starts a server and waits until it prints its address.
    pub async fn spawn(command: Command) -> Self {
        let mut server = Self::begin(command);
        let said = soon("the server prints its address", server.stdout.next_line()).await.unwrap();
        // `serve` and `demo` print the address in their first line; `demo` continues after a comma.
        let address = said.as_deref().and_then(|line| {
            line.strip_prefix("listening on http://")
                .or_else(|| line.strip_prefix("Rallypoint runs on http://"))
        });
        match address.and_then(|rest| rest.split(',').next()?.parse().ok()) {
            Some(address) => Self { address, ..server },
            None => panic!("this server did not start: {said:?}, {:#?}", server.finished().await),
        }
    }

    /// The next line of standard output.
    pub async fn said(&mut self) -> String {
        let line = soon("the server prints a line", self.stdout.next_line()).await.unwrap();
        line.expect("the server runs")
    }

    /// The next log line that contains this text.
    pub async fn logged(&mut self, text: &str) -> String {
        let line = self.logged_before_end(text).await;
        line.unwrap_or_else(|| panic!("the log ended without {text:?}:\n{}", self.log))
    }

    /// The next log line that contains this text; `None` if the server ends first.
    pub async fn logged_before_end(&mut self, text: &str) -> Option<String> {
        loop {
            let line = soon(text, self.stderr.recv()).await?;
            self.log += &format!("{line}\n");
            if line.contains(text) {
                return Some(line);
            }
        }
    }

    /// The address of its admin listener, from the log.
    pub async fn admin_address(&mut self) -> SocketAddr {
        const ADMIN: &str = "admin listener on http://";
        let line = self.logged(ADMIN).await;
        let address = line.split(ADMIN).nth(1).and_then(|rest| rest.split(": ").next());
        address.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("no address in {line:?}"))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        kill_process(id.expect("the server runs"), signal).unwrap();
    }

    /// Waits for the server to end.
    pub async fn finished(mut self) -> Finished {
        let status = soon("the server ends", self.child.wait()).await.unwrap();
        let mut stdout = String::new();
        soon("standard output ends", self.stdout.get_mut().read_to_string(&mut stdout)).await.unwrap();
        while let Some(line) = soon("the log ends", self.stderr.recv()).await {
            self.log += &format!("{line}\n");
        }
        Finished { code: status.code(), stdout, stderr: self.log }
    }

    /// Stops the server with SIGTERM, as an operator does.
    pub async fn stop(self) -> Finished {
        self.signal(Signal::TERM);
        self.finished().await
    }

    /// Ends the server at once, with SIGKILL.
    pub async fn kill(mut self) {
        soon("the server ends", self.child.kill()).await.unwrap();
    }
}

/// The lines of a pipe. A task reads them at once, so that the process never blocks on a full pipe.
pub fn lines(pipe: Option<impl AsyncRead + Unpin + Send + 'static>) -> mpsc::UnboundedReceiver<String> {
    let (sender, receiver) = mpsc::unbounded_channel();
    if let Some(pipe) = pipe {
        tokio::spawn(async move {
            let mut lines = BufReader::new(pipe).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                // The receiver may be dropped.
                let _ = sender.send(line);
            }
        });
    }
    receiver
}
