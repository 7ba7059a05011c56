//! The command line.

mod demo;
mod http_client;
mod session;
mod store;
mod token;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use uuid::Uuid;

use crate::api;
use crate::config::{AdminListen, Config, Sources, parse_address};
use crate::http::openapi;
use crate::runtime::server;
use crate::telemetry;

/// A game session service that you host yourself. Speaks the RallyHere session API.
#[derive(Parser)]
#[command(version, after_help = HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server.
    #[command(after_help = SERVE_HELP)]
    Serve(ServeArgs),
    /// Print a player's token, signed with the development key, and nothing else.
    #[command(after_help = token::HELP)]
    Token(token::TokenArgs),
    /// Show the main job end to end: a server, three players, a session, a linked platform session, and every
    /// answer of Get Platform Session Info.
    #[command(after_help = DEMO_HELP)]
    Demo {
        /// Keep the server running until Ctrl-C (or SIGTERM, or until the terminal is closed), and print curl lines to
        /// paste.
        #[arg(long)]
        stay: bool,
    },
    /// List, show and end sessions of a running server.
    #[command(after_help = session::HELP)]
    Session(session::SessionArgs),
    /// Move what is stored to another store.
    Store(store::StoreArgs),
    /// Print the OpenAPI 3.1 document of the API; a running server has it at /openapi.json, and a page to
    /// read it and try it at /docs.
    Openapi,
    /// Print the effective configuration as a file, secrets masked: defaults, file, environment and flags,
    /// each over the one before.
    Config(ConfigArgs),
    /// Say whether a configuration file is right, and if not, where and why; the environment is left out.
    CheckConfig {
        /// The file.
        file: PathBuf,
        /// Take an address that others can reach without keys of your own, as serve does with this flag.
        #[arg(long)]
        insecure_expose_development_key: bool,
    },
}

// Help is one line per paragraph: it is broken where the reader's terminal ends.
const HELP: &str = "\
Start with `rallypoint demo`: it shows the whole of it on a temporary data directory. Then run `rallypoint \
serve`, and call it with a token from `rallypoint token`.";

const SERVE_HELP: &str = "\
The API is at http://ADDR:PORT/session, its reference at /docs and /openapi.json; only the reference is \
answered without a token.

Without keys of your own the server makes a development key in the data directory and listens on loopback \
only; get tokens from `rallypoint token`. With keys of your own (jwks_file or jwks_url under [auth]) it \
takes the tokens that they verify and no others.

Every knob has a line in config.default.toml and an environment variable, as in \
RALLYPOINT_SESSIONS__IDLE_S=600 for idle_s under [sessions]. Flags win over the environment, the \
environment over the file; `rallypoint config` shows what comes of it.

Ctrl-C or SIGTERM stops it: requests under way finish first.";

const DEMO_HELP: &str = "\
Takes free ports and a temporary data directory, and leaves nothing behind. Ends with an error where any \
answer is not what the contract says.";

#[derive(Args)]
struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Listen on an address that others can reach although anyone who reads the development key can forge tokens.
    #[arg(long)]
    insecure_expose_development_key: bool,
}

#[derive(Args)]
struct ConfigArgs {
    /// Configuration file; see config.default.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the API listens; port 0 takes a free port [default: 127.0.0.1:7700].
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_address)]
    listen: Option<SocketAddr>,
    /// Where /live, /ready and /metrics are, or "off" [default: 127.0.0.1:7701, a free port where --listen asks
    /// for one].
    #[arg(long, value_name = "ADDR:PORT|off")]
    admin_listen: Option<AdminListen>,
    /// Where the embedded store and the development key are [default: ./rallypoint-data].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl ConfigArgs {
    /// The configuration with these flags over it.
    fn load(&self) -> Result<Config, String> {
        let listen = self.listen.map(|listen| listen.to_string());
        let admin_listen = self.admin_listen.map(|listen| listen.to_string());
        let sources = Sources::of_process(self.config.clone())
            .with_flag("--listen", ("http", "listen"), listen)
            .with_flag("--admin-listen", ("http", "admin_listen"), admin_listen);
        let mut config = Config::load(&sources).map_err(|error| error.to_string())?;
        if let Some(data_dir) = &self.data_dir {
            config.store.data_dir.clone_from(data_dir);
        }
        Ok(config)
    }
}

/// Where the development key is: as for `serve`.
#[derive(Args)]
struct KeyArgs {
    /// Configuration file of the server.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The data directory of the server [default: ./rallypoint-data].
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
}

impl KeyArgs {
    /// The configuration that file and environment come to.
    fn load(&self) -> Result<Config, String> {
        Config::load(&Sources::of_process(self.config.clone())).map_err(|error| error.to_string())
    }

    /// The data directory that file, environment and flag come to.
    fn data_dir(&self) -> Result<PathBuf, String> {
        let config = self.load()?;
        if config.auth.has_own_keys() {
            eprintln!(
                "warning: [auth] names keys of its own; such a server takes no token of the development key"
            );
        }
        Ok(self.data_dir.clone().unwrap_or(config.store.data_dir))
    }
}

/// Reads a UUID, or says how one is written.
fn parse_uuid(text: &str) -> Result<Uuid, String> {
    text.parse().map_err(|_| format!("{text:?} is no UUID, as in 11111111-1111-4111-8111-111111111111"))
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(args) => serve(&args),
        Command::Token(args) => token::print(&args),
        Command::Demo { stay } => demo::run(stay),
        Command::Session(args) => session::run(&args),
        Command::Store(args) => store::run(&args),
        Command::Openapi => print_json(&openapi::document(&api::surface(), &Config::default().auth.cookie)),
        Command::Config(args) => args.load().and_then(|config| print(&config.to_masked_toml())),
        Command::CheckConfig { file, insecure_expose_development_key } => {
            check_config(file, insecure_expose_development_key)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Prints to standard output. A reader that went away (`| head`) is no error of ours.
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

fn check_config(file: PathBuf, expose_development_key: bool) -> Result<(), String> {
    let shown = file.display().to_string();
    let sources = Sources { file: Some(file), ..Sources::default() };
    let config = Config::load(&sources).map_err(|error| error.to_string())?;
    if !expose_development_key {
        config.check_exposure().map_err(|error| error.to_string())?;
    }
    let templates = match config.templates.len() {
        1 => "1 template".into(),
        count => format!("{count} templates"),
    };
    print(&format!("{shown}: right; {templates}\n"))
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| error.to_string())
}

fn serve(args: &ServeArgs) -> Result<(), String> {
    let config = args.config.load()?;
    telemetry::start_logs(&config.telemetry.log, config.telemetry.log_format)?;
    runtime()?.block_on(async {
        // Asked for before anything runs, so that no signal is missed.
        let mut signals = StopSignals::listen()?;
        let server = tokio::select! {
            started = server::start(&config, args.insecure_expose_development_key) => {
                started.map_err(|error| error.to_string())?
            }
            () = signals.next() => {
                tracing::info!("stopped while it started");
                return Ok(());
            }
        };
        print(&format!("listening on http://{}\n", server.api_address))?;
        signals.next().await;
        let delay_s = config.http.leave_delay_s;
        if delay_s > 0 {
            server.leave();
            tracing::info!(
                "leaving: /ready says so, and the server stops in {delay_s} s or at the next signal"
            );
            // Whichever comes first.
            let _ = tokio::time::timeout(Duration::from_secs(delay_s), signals.next()).await;
        }
        tracing::info!("stopping: requests under way finish first");
        server.stop().await.map_err(|error| error.to_string())?;
        tracing::info!("stopped");
        Ok(())
    })
}

fn listen(kind: SignalKind) -> Result<Signal, String> {
    signal(kind).map_err(|error| format!("cannot listen for signals: {error}"))
}

/// SIGTERM and SIGINT (Ctrl-C).
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn listen() -> Result<Self, String> {
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
