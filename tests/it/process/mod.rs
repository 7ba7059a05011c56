//! The real binary, as an operator runs it.

/// Every command but `serve`: output and exit code.
mod commands;
/// The example clients against the real binary.
mod examples;
/// `rallypoint serve`: output, signals, files.
mod serve;
/// `rallypoint session`: lists, shows and ends sessions.
mod session_command;
/// `rallypoint store copy`.
mod store_command;
