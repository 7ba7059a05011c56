//! `rallypoint server-shim`: the small process between Rallypoint and a dedicated server.

use std::path::PathBuf;

use clap::Args;

use crate::allocators::process::shim;

#[derive(Args)]
pub struct ServerShimArgs {
    /// The directory of the allocation.
    dir: PathBuf,
}

/// Runs the command.
pub fn run(args: &ServerShimArgs) -> Result<(), String> {
    shim::run(&args.dir).map_err(|error| format!("{}: {error}", args.dir.display()))
}
