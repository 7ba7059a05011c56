//! `rallypoint matchmaking`: what players of a configuration wait for.

mod demand;
mod simulate;

use clap::{Args, Subcommand};

/// Text after `rallypoint matchmaking --help`.
pub const HELP: &str = "\
docs/MATCHMAKING.md explains queues and profiles, from a first match on.

  rallypoint matchmaking simulate --config rallypoint.toml";

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
}

/// Runs the command.
pub fn run(args: &MatchmakingArgs) -> Result<(), String> {
    match &args.command {
        MatchmakingCommand::Simulate(args) => simulate::run(args),
    }
}
