//! The command line.

mod audit;
mod bridge;
mod config;
mod control;
mod credentials;
mod demo;
mod demo_server;
mod http_client;
mod serve;
mod local_server;
mod matchmaking;
mod server_shim;
mod session;
mod signals;
mod store;
mod token;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use serde_json::Value;
use uuid::Uuid;

use crate::config::Config;
use crate::http::openapi::{self, DocumentSettings};
use crate::http::surface::Surface;
use crate::runtime::server;

/// A game session service that you host yourself. It speaks the RallyHere session API.
#[derive(Parser)]
#[command(version, after_help = HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server.
    #[command(after_help = serve::HELP)]
    Serve(serve::ServeArgs),
    /// Print a token for a player, signed with the development key.
    #[command(after_help = token::HELP)]
    Token(token::TokenArgs),
    /// Print the hash of a password, for a user of the login for development.
    #[command(after_help = credentials::HASH_HELP)]
    HashPassword,
    /// Print a new secret and its hash, for a client of the login for development.
    #[command(after_help = credentials::CLIENT_HELP)]
    NewClient,
    /// Show the main use case: a server, players, a session, a linked platform session, and every answer of Get
    /// Platform Session Info.
    #[command(after_help = demo::HELP)]
    Demo(demo::DemoArgs),
    /// List, show and end sessions of a running server.
    #[command(after_help = session::HELP)]
    Session(session::SessionArgs),
    /// List and kill the dedicated servers on this machine, and show their logs.
    #[command(after_help = local_server::HELP)]
    Server(local_server::ServerArgs),
    /// Export what has happened in sessions.
    #[command(after_help = audit::HELP)]
    Audit(audit::AuditArgs),
    /// Find out how long players would wait for a match, and why.
    #[command(after_help = matchmaking::HELP)]
    Matchmaking(matchmaking::MatchmakingArgs),
    /// Copy a store into a database, out of one, or to another directory; look for damage in a store.
    #[command(after_help = store::HELP)]
    Store(store::StoreArgs),
    /// Run a stand-in for a dedicated server, which makes the calls of a real one.
    #[command(after_help = demo_server::HELP)]
    DemoServer(demo_server::DemoServerArgs),
    /// Run a dedicated server and write its log. The process allocator starts it; it is not for people.
    #[command(hide = true)]
    ServerShim(server_shim::ServerShimArgs),
    /// Run a dedicated server in a pod of Agones.
    Bridge(bridge::BridgeArgs),
    /// Print the OpenAPI 3.1 document of the session API, or of another API of the server.
    #[command(after_help = OPENAPI_HELP)]
    Openapi(OpenapiArgs),
    /// Print the effective configuration as a TOML file.
    #[command(after_help = config::HELP)]
    Config(config::ConfigArgs),
    /// Check a configuration file, without the environment and without a server.
    #[command(after_help = config::CHECK_HELP)]
    CheckConfig(config::CheckConfigArgs),
}

#[derive(Args)]
struct OpenapiArgs {
    /// The first part of the paths of the API.
    #[arg(default_value = "session")]
    surface: String,
}

// In all help texts a paragraph is one line; clap wraps it at the width of the terminal.
const HELP: &str = "\
Start with `rallypoint demo`: it runs a server on a temporary data directory and shows what the API does. Then run \
`rallypoint serve`, and call it with a token from `rallypoint token`. `rallypoint COMMAND --help` explains a command \
and has examples.";

const OPENAPI_HELP: &str = "\
The document is generated from the code that validates requests. A running server has it at /openapi.json, those of \
the other APIs at PREFIX/openapi.json, and a page to read and try all of them at /docs.

  rallypoint openapi > openapi.json

Next: give the file to a code generator, to get a client in your language.";

/// Parses a UUID. The error shows the format.
fn parse_uuid(text: &str) -> Result<Uuid, String> {
    text.parse().map_err(|_| format!("{text:?} is no UUID, as in 11111111-1111-4111-8111-111111111111"))
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Token(args) => token::run(&args),
        Command::HashPassword => credentials::hash_password(),
        Command::NewClient => credentials::new_client(),
        Command::Demo(args) => demo::run(&args),
        Command::Session(args) => session::run(&args),
        Command::Server(args) => local_server::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Matchmaking(args) => matchmaking::run(&args),
        Command::Store(args) => store::run(&args),
        Command::DemoServer(args) => return demo_server::run(&args),
        Command::ServerShim(args) => server_shim::run(&args),
        Command::Bridge(args) => return bridge::run(args),
        Command::Openapi(args) => print_openapi(&args.surface),
        Command::Config(args) => config::print_config(&args),
        Command::CheckConfig(args) => config::check_config(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Prints to standard output. A reader that has closed the pipe (`| head`) is not an error.
fn print(text: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn print_json(value: &Value) -> Result<(), String> {
    let text = serde_json::to_string_pretty(value).map_err(|error| error.to_string())?;
    print(&format!("{text}\n"))
}

/// Prints the API document of a surface, also of one that is off by default.
fn print_openapi(name: &str) -> Result<(), String> {
    let surfaces = server::all_surfaces();
    let Some(surface) = surfaces.iter().find(|surface| surface.name() == name) else {
        let names: Vec<_> = surfaces.iter().map(Surface::name).collect();
        return Err(format!("there is no API {name:?}; choose one of {}", names.join(", ")));
    };
    let config = Config::default();
    let settings = DocumentSettings { cookie: &config.auth.cookie, keep_s: config.idempotency.keep_s };
    print_json(&openapi::document(surface, settings))
}

/// Threads for work that blocks, such as reading files: the default of tokio.
const BLOCKING_THREADS_MAX: usize = 512;

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    runtime_with_calls(0)
}

/// A runtime in which so many calls of services can block a thread each, without a thread less for other work.
fn runtime_with_calls(calls_max: usize) -> Result<tokio::runtime::Runtime, String> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let builder = builder.enable_all().max_blocking_threads(BLOCKING_THREADS_MAX + calls_max);
    builder.build().map_err(|error| error.to_string())
}
