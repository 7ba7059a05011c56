//! `rallypoint server`: the dedicated servers of a running Rallypoint server, over its control socket.

use clap::{Args, Subcommand};

use super::config::KeyArgs;
use super::control::ask;
use super::{print, print_json};
use crate::allocators::process::{ServerInfo, ServerState};
use crate::env::Clock;
use crate::runtime::control::ControlRequest;
use crate::runtime::local_servers::LocalServer;

/// Text after `rallypoint server --help`.
pub const HELP: &str = "\
These are the dedicated servers that allocators of kind \"process\" have started on this machine. The command speaks to \
the running Rallypoint server over the socket control.sock in its data directory, which --data-dir, \
RALLYPOINT_STORE__DATA_DIR or the configuration file names, as for serve. Only the user that runs the server can use it.

  rallypoint server list
  rallypoint server log 0b8d6e0c
  rallypoint server kill 0b8d6e0c";

/// Text after `rallypoint server list --help`.
const LIST_HELP: &str = "\
Servers that have ended are in the list as long as their directory is kept: keep_finished of the allocator says how many \
are.

  rallypoint server list
  rallypoint server list --json

Next: read the log of a server with `rallypoint server log`.";

/// Text after `rallypoint server log --help`.
const LOG_HELP: &str = "\
The log is the standard output and standard error of the server. The whole log is the file server.log in the directory of \
the allocation; `rallypoint server list --json` shows the directory.

  rallypoint server log 0b8d6e0c
  rallypoint server log 0b8d6e0c --lines 1000";

/// Text after `rallypoint server kill --help`.
const KILL_HELP: &str = "\
The server and all processes that it has started end at once, with SIGKILL. Its session goes on: the instance gets \
another server if nobody could join yet, else it is closed. To end the session as well, use `rallypoint session end`.

  rallypoint server kill 0b8d6e0c";

/// How many digits of an allocation the table shows. They are enough to name a server.
const ID_DIGITS: usize = 8;

#[derive(Args)]
pub struct ServerArgs {
    #[command(subcommand)]
    command: ServerCommand,
    #[command(flatten)]
    key: KeyArgs,
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum ServerCommand {
    /// List the dedicated servers on this machine.
    #[command(after_help = LIST_HELP)]
    List,
    /// Show the end of a server's log.
    #[command(after_help = LOG_HELP)]
    Log {
        /// Allocation of the server, or the first digits of its id.
        allocation: String,
        /// Number of lines.
        #[arg(long, value_name = "N", default_value_t = 100)]
        lines: usize,
    },
    /// Kill a server.
    #[command(after_help = KILL_HELP)]
    Kill {
        /// Allocation of the server, or the first digits of its id.
        allocation: String,
    },
}

/// Runs the command.
pub fn run(args: &ServerArgs) -> Result<(), String> {
    let data_dir = args.key.data_dir()?;
    match &args.command {
        ServerCommand::List => {
            let servers: Vec<LocalServer> = ask(&data_dir, &ControlRequest::ServerList)?;
            match args.json {
                true => print_json(&serde_json::to_value(&servers).map_err(|error| error.to_string())?),
                false => print(&table(&servers)),
            }
        }
        ServerCommand::Log { allocation, lines } => {
            let request = ControlRequest::ServerLog { allocation: allocation.clone(), lines: *lines };
            let lines: Vec<String> = ask(&data_dir, &request)?;
            match args.json {
                true => print_json(&lines.into()),
                false => print(&lines.into_iter().map(|line| line + "\n").collect::<String>()),
            }
        }
        ServerCommand::Kill { allocation } => {
            let request = ControlRequest::ServerKill { allocation: allocation.clone() };
            let killed: LocalServer = ask(&data_dir, &request)?;
            match args.json {
                true => print_json(&serde_json::to_value(&killed).map_err(|error| error.to_string())?),
                false => print(&format!("killed {}\n", killed.server.allocation_id)),
            }
        }
    }
}

/// The servers as a table.
fn table(servers: &[LocalServer]) -> String {
    if servers.is_empty() {
        return "no servers\n".into();
    }
    let mut text = format!(
        "{:9} {:10} {:8} {:>8} {:>12} {:>8}  {:36}  {}\n",
        "ID", "ALLOCATOR", "STATE", "PID", "UDP PORTS", "AGE", "SESSION", "END"
    );
    let now = Clock::System.now();
    for LocalServer { allocator, server } in servers {
        let ServerInfo { allocation_id, session_id, state, pid, ports, launched_at, ended_at, exit, .. } =
            server;
        let id = allocation_id.get(..ID_DIGITS).unwrap_or(allocation_id);
        let state = match state {
            ServerState::Starting => "starting",
            ServerState::Running => "running",
            ServerState::Stopping => "stopping",
            ServerState::Ended => "ended",
        };
        let pid = pid.map_or_else(String::new, |pid| pid.to_string());
        let ports = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
        let age = ended_at.unwrap_or(now).duration_since(*launched_at).as_secs();
        let exit = exit.as_deref().unwrap_or_default();
        text += format!(
            "{id:9} {allocator:10} {state:8} {pid:>8} {ports:>12} {:>8}  {session_id:36}  {exit}",
            format!("{age} s")
        )
        .trim_end();
        text += "\n";
    }
    text
}
