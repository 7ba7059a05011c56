//! `rallypoint bridge agones`: runs a dedicated server in a pod of Agones, and connects it with its sidecar.

mod allocation;
mod session_api;
mod sidecar;
mod supervise;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use self::allocation::AllocationFile;
use self::session_api::SessionApi;
use self::sidecar::Sidecar;
use self::supervise::Bridge;
use super::runtime;
use super::session::parse_server;
use crate::allocators::agones::{LABEL_PREFIX, LabelNames};
use crate::telemetry;

/// Text after `rallypoint bridge agones --help`.
pub const HELP: &str = "\
It is the entry point of the container, in front of the server's command. It needs no change of the server: a server \
with the published plugin reads its allocation from a file.

What it does: it waits for the sidecar of Agones, starts the server, and marks the game server as ready. While the server \
runs, it tells the sidecar that the server is healthy. When the game server is allocated, it writes the file: allocation, \
session, address and port. The server ends when its match is over; then the bridge tells the sidecar to shut down, and \
exits with the status of the server. If the session does not know the allocation any more for some time, the bridge ends \
the server.

Signals: SIGTERM and others go to the server. A server with the published plugin goes on until its session ends, so set \
terminationGracePeriodSeconds of the pod to the length of a match.

Port of the sidecar: AGONES_SDK_HTTP_PORT, which Agones sets; without it, 9358.

  rallypoint bridge agones --client-id bridge \\
    --base-url https://sessions.example.com:443 \\
    --client-secret-file /secrets/client-secret \\
    --allocation-file /run/rallypoint/allocation.json -- \\
    /games/server/GameServer.sh -Port=7777 -OSS=Null \\
    -rhbootstrapmode=Allocated -ghaprovider=Multiplay \\
    -rhmultiplayfile=/run/rallypoint/allocation.json \\
    -rh.url=https://sessions.example.com:443

Next: docs/OPERATING.md has a whole fleet, and the settings of the allocator.";

/// The port of the sidecar, if Agones names none.
const SIDECAR_PORT: u16 = 9358;

#[derive(Args)]
pub struct BridgeArgs {
    #[command(subcommand)]
    command: BridgeCommand,
}

#[derive(Subcommand)]
enum BridgeCommand {
    /// Run a dedicated server in a pod of Agones: report it as ready and healthy, and tell it its session.
    #[command(after_help = HELP)]
    Agones(AgonesArgs),
}

#[derive(Args)]
struct AgonesArgs {
    /// URL of the Rallypoint server, with its port and without a path.
    #[arg(long, value_name = "URL", value_parser = parse_server)]
    base_url: String,
    /// Id of the client that the bridge logs in with. It needs the permission session:read:allocation.
    #[arg(long, value_name = "ID")]
    client_id: String,
    /// File with the secret of that client.
    #[arg(long, value_name = "FILE")]
    client_secret_file: PathBuf,
    /// Certificate authorities (PEM) to trust at https:// instead of those of the system.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// File that tells the server its session. The bridge writes it, also before there is a session.
    #[arg(long, value_name = "FILE")]
    allocation_file: PathBuf,
    /// The port that players connect to, by its name in the fleet [default: the first one].
    #[arg(long, value_name = "NAME")]
    port_name: Option<String>,
    /// Prefix of the labels that the allocator writes: label_prefix of its settings.
    #[arg(long, value_name = "PREFIX", default_value = LABEL_PREFIX)]
    label_prefix: String,
    /// Seconds between two health reports to the sidecar: 1 to 3600. Keep it below the health period of the fleet.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    health_s: u64,
    /// Seconds after which the server is ended because its session does not know the allocation: 1 to 3600.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    gone_after_s: u64,
    /// The server's program and its arguments, after `--`.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
    /// Port of the sidecar.
    #[arg(long, env = "AGONES_SDK_HTTP_PORT", default_value_t = SIDECAR_PORT, hide = true)]
    sidecar_port: u16,
}

/// Runs the command. The status is that of the server.
pub fn run(args: BridgeArgs) -> ExitCode {
    let BridgeCommand::Agones(args) = args.command;
    let done = telemetry::start_logs("info", false).and_then(|()| {
        let bridge = bridge(args)?;
        let runtime = runtime()?;
        let status = runtime.block_on(bridge.run());
        // The watch of the sidecar blocks a thread, and has no end.
        runtime.shutdown_background();
        status
    });
    match done {
        Ok(status) => ExitCode::from(status),
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn bridge(args: AgonesArgs) -> Result<Bridge, String> {
    let names = LabelNames::new(&args.label_prefix)?;
    Ok(Bridge {
        sidecar: Sidecar::new(args.sidecar_port, names, args.port_name),
        sessions: SessionApi::new(
            args.base_url,
            &args.client_id,
            &args.client_secret_file,
            args.ca_file.as_deref(),
        )?,
        file: AllocationFile::new(args.allocation_file),
        health_every: Duration::from_secs(args.health_s),
        gone_after: Duration::from_secs(args.gone_after_s),
        command: args.command,
    })
}
