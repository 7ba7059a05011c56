//! The `rallypoint` command.

use std::process::ExitCode;

/// A change of a session makes and drops some hundreds of small pieces; this one takes a sixth off its cost.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    rallypoint::cli::main()
}
