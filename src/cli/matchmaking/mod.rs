//! `rallypoint matchmaking`: what players of a configuration wait for.

mod demand;
mod explain;
mod simulate;

use clap::{Args, Subcommand};
use uuid::Uuid;

use super::config::KeyArgs;
use super::parse_uuid;

/// Text after `rallypoint matchmaking --help`.
pub const HELP: &str = "\
docs/MATCHMAKING.md explains queues and profiles, from a first match on.

  rallypoint matchmaking simulate --config rallypoint.toml
  rallypoint matchmaking explain 0b8d6e0c-6a3e-4c9e-9d0e-3f2a1b5c7d9e";

#[derive(Args)]
pub struct MatchmakingArgs {
    #[command(subcommand)]
    command: MatchmakingCommand,
}

#[derive(Subcommand)]
enum MatchmakingCommand {
    /// Simulate the queues of a configuration, without a server: how long players wait, and how well matches fit.
    #[command(after_help = simulate::HELP)]
    Simulate(Box<simulate::SimulateArgs>),
    /// Say of a waiting ticket of a running server what it waits for.
    #[command(after_help = explain::HELP)]
    Explain(ExplainArgs),
}

#[derive(Args)]
struct ExplainArgs {
    /// Ticket, as the answer to the request that joined the queue named it.
    #[arg(value_parser = parse_uuid)]
    ticket: Uuid,
    #[command(flatten)]
    key: KeyArgs,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &MatchmakingArgs) -> Result<(), String> {
    match &args.command {
        MatchmakingCommand::Simulate(args) => simulate::run(args),
        MatchmakingCommand::Explain(args) => explain::run(&args.key.data_dir()?, args.ticket, args.json),
    }
}
