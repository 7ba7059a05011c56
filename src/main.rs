//! The `rallypoint` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    rallypoint::cli::main()
}
