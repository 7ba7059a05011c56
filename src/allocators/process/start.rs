//! Starts a server: fills its directory, starts the shim, and waits for its report.

use std::fs::File;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use uuid::Uuid;

use super::command::{is_plain, port_number};
use super::directory::{
    ALLOCATION, AllocationDir, CLIENT_ID, CLIENT_SECRET, CREDENTIALS, LaunchFile, PidFile, try_lock,
};
use super::settings::ProcessSettings;
use super::shim::Report;
use crate::allocators::clients::{ServerLogin, read_secret};
use crate::allocators::{Launch, Placement, Reason};
use crate::crash_point;
use crate::env::{Clock, Entropy};

/// Variables that servers inherit, besides those of the settings.
const INHERITED: [&str; 4] = ["PATH", "HOME", "TMPDIR", "LANG"];
/// Longest report of a shim, in bytes.
const REPORT_BYTES_MAX: u64 = 65_536;
/// How long the end of a killed shim is waited for.
const END_WAIT: Duration = Duration::from_secs(1);
/// Length of a client's secret, in bytes, before it is encoded as text.
const SECRET_BYTES: usize = 32;

/// The first half of a start.
pub enum Begun {
    /// The shim runs, and has the lock.
    Shim { shim: Child, alive: File },
    /// The allocation has a server already.
    Locked,
    /// No shim is started. This is the answer to the call.
    Answer(Placement),
}

/// What a start has come to.
pub enum Started {
    /// The server runs.
    Running { pid: PidFile, alive: File },
    /// The shim has failed, but a process still has the lock. It must be killed.
    Stuck { alive: File },
    /// The allocation has no server.
    Failed(Placement),
}

/// Fills the directory of a launch whose server gets these ports, and starts the shim. It blocks.
///
/// The shim gets the lock that this process takes before it writes the files. So no file changes once a process has the
/// lock, and a server always belongs to the files beside it.
pub fn begin(
    settings: &ProcessSettings,
    dir: &AllocationDir,
    launch: &Launch,
    ports: Vec<u16>,
    clock: &Clock,
    entropy: &Entropy,
) -> io::Result<Begun> {
    dir.create()?;
    let Some(lock) = dir.try_lock()? else { return Ok(Begun::Locked) };
    // To look at the lock later: this process must not hold it itself.
    let alive = File::open(dir.alive())?;
    prepare(settings, dir, launch, ports, clock, entropy)?;
    crash_point::reached(crash_point::SERVER_PREPARED);
    let shim = spawn(settings, dir, lock)?;
    crash_point::reached(crash_point::SHIM_STARTED);
    Ok(Begun::Shim { shim, alive })
}

/// Writes all files that the server needs.
fn prepare(
    settings: &ProcessSettings,
    dir: &AllocationDir,
    launch: &Launch,
    ports: Vec<u16>,
    clock: &Clock,
    entropy: &Entropy,
) -> io::Result<()> {
    let client_id = write_client(&settings.login, dir, &launch.allocation_id, entropy)?;
    let launch = LaunchFile {
        allocation_id: launch.allocation_id.clone(),
        session_id: launch.session_id.clone(),
        instance_id: launch.instance_id.clone(),
        attempt: launch.attempt,
        launched_at: clock.now(),
        command: settings.command.fill(|name| value(settings, dir, launch, &ports, &client_id, name)),
        ports,
        working_dir: settings.working_dir.clone(),
        log_bytes_max: settings.log_bytes_max,
    };
    dir.write_allocation(&launch, &settings.public_host)?;
    // The last one: what was not written whole is written again by the next call.
    dir.write_launch(&launch)
}

/// The value of a placeholder.
fn value(
    settings: &ProcessSettings,
    dir: &AllocationDir,
    launch: &Launch,
    ports: &[u16],
    client_id: &str,
    name: &str,
) -> String {
    let file = |name: &str| dir.file(name).display().to_string();
    // A name of the configuration; but a session may have been stored with another one.
    let plain = |text: &str| if is_plain(text) { text.to_owned() } else { String::new() };
    match name {
        "public_host" => settings.public_host.clone(),
        "base_url" => settings.base_url.clone(),
        "session_id" => launch.session_id.to_string(),
        // A player may have chosen it, or the region.
        "instance_id" => {
            Uuid::parse_str(&launch.instance_id).map_or_else(|_| String::new(), |id| id.to_string())
        }
        "allocation_id" => launch.allocation_id.clone(),
        "session_type" => plain(&launch.session_type),
        "region_id" => launch.region.as_deref().map_or_else(String::new, plain),
        "client_id" => client_id.to_owned(),
        "client_secret_file" => file(CLIENT_SECRET),
        "credentials_file" => file(CREDENTIALS),
        "allocation_file" => file(ALLOCATION),
        "dir" => dir.path().display().to_string(),
        port => {
            let port = port_number(port).and_then(|number| ports.get(number - 1));
            port.map_or_else(String::new, u16::to_string)
        }
    }
}

/// Writes the files with the client of a server, and returns the id of the client.
fn write_client(
    login: &ServerLogin,
    dir: &AllocationDir,
    allocation_id: &str,
    entropy: &Entropy,
) -> io::Result<String> {
    let (id, secret) = match login {
        ServerLogin::PerLaunch(clients) => {
            let secret = URL_SAFE_NO_PAD.encode(entropy.bytes::<SECRET_BYTES>());
            (clients.register(allocation_id, &secret), secret)
        }
        ServerLogin::Own { client_id, secret_file } => {
            (client_id.clone(), read_secret(secret_file).map_err(io::Error::other)?)
        }
        ServerLogin::None => return Ok(String::new()),
    };
    dir.write(CLIENT_ID, &id)?;
    dir.write(CLIENT_SECRET, &secret)?;
    dir.write(CREDENTIALS, &format!("{id}\n{secret}\n"))?;
    Ok(id)
}

/// Starts the shim, and hands it the lock as its standard input.
fn spawn(settings: &ProcessSettings, dir: &AllocationDir, lock: File) -> io::Result<Child> {
    let inherited = INHERITED.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
    Command::new(&settings.shim)
        .arg("server-shim")
        .arg(dir.path())
        .env_clear()
        .envs(inherited)
        .envs(&settings.env)
        .current_dir("/")
        .stdin(lock)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
}

/// Waits for the report of a shim, at most for this time. A shim that makes none is killed.
pub async fn finish(mut shim: Child, alive: File, limit: Duration) -> io::Result<Started> {
    let report = match timeout(limit, read_report(&mut shim)).await {
        Ok(report) => report,
        Err(_) => Err(io::Error::other(format!("no report within {} ms", limit.as_millis()))),
    };
    let failed = match report {
        // The runtime waits for the end of the shim.
        Ok(Report::Started(pid)) => return Ok(Started::Running { pid, alive }),
        Ok(Report::Failed { detail, is_misconfigured }) => {
            end(&mut shim).await;
            Ok(if is_misconfigured {
                Placement::Never { reason: Reason::Misconfigured, detail }
            } else {
                unavailable(detail)
            })
        }
        Ok(report) => Err(format!("{report:?}{}", end(&mut shim).await)),
        Err(error) => Err(format!("{error}{}", end(&mut shim).await)),
    };
    if !try_lock(&alive)? {
        tracing::warn!(?failed, "a process that a failed start has left is killed");
        return Ok(Started::Stuck { alive });
    }
    let started_nothing = |cause| io::Error::other(format!("the shim started no server: {cause}"));
    failed.map(Started::Failed).map_err(started_nothing)
}

async fn read_report(shim: &mut Child) -> io::Result<Report> {
    let out = shim.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut line = String::new();
    BufReader::new(out.take(REPORT_BYTES_MAX)).read_line(&mut line).await?;
    if line.is_empty() {
        return Err(io::Error::other("it ended without a report"));
    }
    serde_json::from_str(&line).map_err(|error| io::Error::other(format!("its report is broken: {error}")))
}

/// Kills a shim. Returns what it has said, and how it ended. A process that waits for a broken disk does not end at
/// once.
async fn end(shim: &mut Child) -> String {
    // It may have ended by itself.
    let _ = shim.start_kill();
    let mut said = Vec::new();
    if let Some(out) = shim.stderr.take() {
        // Without the text, the exit status has to do.
        let _ = timeout(END_WAIT, out.take(REPORT_BYTES_MAX).read_to_end(&mut said)).await;
    }
    let status = match timeout(END_WAIT, shim.wait()).await {
        Ok(Ok(status)) => status.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it does not end".into(),
    };
    format!("; {status} {}", String::from_utf8_lossy(&said).trim())
}

/// The answer if no server was started, and another try may succeed.
pub fn unavailable(detail: String) -> Placement {
    Placement::Later { retry_after: None, reason: Reason::Unavailable, detail }
}
