//! The `rallypoint` command.

use std::process::ExitCode;

/// A change of a session allocates and frees several hundred small blocks. With mimalloc a change costs a sixth less.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    rallypoint::cli::main()
}
