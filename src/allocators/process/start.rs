//! Starts a server: fills its directory, starts the shim, and waits for its report.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::command::{is_plain, port_number};
use super::directory::{
    ALLOCATION, AllocationDir, CLIENT_ID, CLIENT_SECRET, CREDENTIALS, LaunchFile, PidFile, try_lock,
};
use super::identity::kill_users_of;
use super::settings::ProcessSettings;
use super::shim::Report;
use crate::allocators::clients::ServerLogin;
use crate::allocators::{Launch, Placement, Reason};
use crate::env::{Clock, Entropy};

/// Variables that servers inherit, besides those of the settings.
const INHERITED: [&str; 4] = ["PATH", "HOME", "TMPDIR", "LANG"];
/// Longest report of a shim, in bytes.
const REPORT_BYTES_MAX: u64 = 65_536;
/// Length of a client's secret, in bytes, before it is encoded as text.
const SECRET_BYTES: usize = 32;

/// What a start has come to.
pub enum Started {
    /// The server runs. This process is the parent of its shim.
    Running { pid: PidFile, shim: Child, alive: File },
    /// The allocation has a server already, with this file as its lock.
    Locked { alive: File },
    /// The allocation has no server.
    Failed(Placement),
}

/// Starts the server of a launch, with these ports.
pub fn start(
    settings: &ProcessSettings,
    dir: &AllocationDir,
    launch: &Launch,
    ports: Vec<u16>,
    clock: &Clock,
    entropy: &Entropy,
) -> Started {
    let prepared = prepare(settings, dir, launch, ports, clock, entropy);
    let started = prepared.and_then(|()| spawn(settings, dir));
    started.unwrap_or_else(|error| {
        let detail = format!("{}: {error}", dir.path().display());
        Started::Failed(Placement::Later { retry_after: None, reason: Reason::Unavailable, detail })
    })
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
    dir.create()?;
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
    let region = launch.region_id.as_ref().filter(|region| settings.regions.contains(*region));
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
        "region_id" => region.map_or_else(String::new, |region| plain(region)),
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
            let secret = std::fs::read_to_string(secret_file)
                .map_err(|error| io::Error::other(format!("{}: {error}", secret_file.display())))?;
            (client_id.clone(), secret.trim_end_matches(['\r', '\n']).to_owned())
        }
        ServerLogin::None => return Ok(String::new()),
    };
    dir.write(CLIENT_ID, &id)?;
    dir.write(CLIENT_SECRET, &secret)?;
    dir.write(CREDENTIALS, &format!("{id}\n{secret}\n"))?;
    Ok(id)
}

/// Starts the shim and reads its report.
fn spawn(settings: &ProcessSettings, dir: &AllocationDir) -> io::Result<Started> {
    let inherited = INHERITED.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
    let mut shim = Command::new(&settings.shim)
        .arg("server-shim")
        .arg(dir.path())
        .env_clear()
        .envs(inherited)
        .envs(&settings.env)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let mut line = String::new();
    let reported = match shim.stdout.take() {
        Some(out) => BufReader::new(out.take(REPORT_BYTES_MAX)).read_line(&mut line),
        None => Ok(0),
    };
    let report = reported.and_then(|_| Ok(serde_json::from_str(&line)?));
    match report {
        Ok(Report::Started(pid)) => {
            shim.stderr = None;
            let alive = File::open(dir.alive())?;
            Ok(Started::Running { pid, shim, alive })
        }
        Ok(Report::Locked) => {
            shim.wait()?;
            Ok(Started::Locked { alive: File::open(dir.alive())? })
        }
        Ok(Report::Failed { detail, is_misconfigured }) => {
            shim.wait()?;
            Ok(Started::Failed(if is_misconfigured {
                Placement::Never { reason: Reason::Misconfigured, detail }
            } else {
                Placement::Later { retry_after: None, reason: Reason::Unavailable, detail }
            }))
        }
        Ok(Report::Ended) | Err(_) => {
            let detail = failure_of(shim);
            if !try_lock(&File::open(dir.alive())?)? {
                kill_users_of(&dir.alive());
            }
            Err(io::Error::other(detail))
        }
    }
}

/// Why a shim has made no report. It is killed if it still runs.
fn failure_of(mut shim: Child) -> String {
    // It may have ended by itself.
    let _ = shim.kill();
    let mut said = String::new();
    if let Some(out) = shim.stderr.take() {
        // Without the text, the exit status has to do.
        let _ = out.take(REPORT_BYTES_MAX).read_to_string(&mut said);
    }
    let status = shim.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
    format!("the shim started no server: {status} {}", said.trim())
}
