//! Tests of the real binary, as an operator runs it.

/// The process allocator with real processes.
mod allocator;
/// `rallypoint audit`.
mod audit_command;
/// `rallypoint bridge agones`.
mod bridge;
/// `demo`, `token`, `openapi`, `config`, `check-config` and help: output and exit status.
mod commands;
/// The clients in `examples/` against a running server.
mod examples;
/// Headers for browsers and caches.
mod headers;
/// A login of a studio's own, `examples/login_service.py`.
mod login_service;
/// The game client and the dedicated server in `examples/`: from login to the end of a match.
mod plugin;
/// Requests that are held while the server is killed.
mod held;
/// The login for development: files, restarts, the log, commands.
mod login;
/// The command lines of `docs/LOCAL.md` and the README, with two players.
mod local;
/// From a request for an instance to a running match.
mod launches;
/// Launches while the server is killed. Only a build with debug assertions has the points at which it is.
#[cfg(debug_assertions)]
mod launch_crashes;
/// `rallypoint matchmaking`.
mod matchmaking_command;
/// The configurations and commands of `docs/MATCHMAKING.md`.
mod matchmaking_page;
/// nginx and HAProxy in front of a server, as `docs/PROXIES.md` configures them.
mod proxies;
/// How the clients in `examples/` wait, against a scripted server.
mod push;
/// `rallypoint serve`: output, signals, files.
mod serve;
/// `rallypoint server`, and the control socket.
mod server_command;
/// `rallypoint session`.
mod session_command;
/// `rallypoint store copy`.
mod store_command;
/// Dedicated servers that hang, or that do not end when they should.
mod stubborn_servers;
/// Templates over restarts.
mod templates;
