//! `rallypoint config` and `rallypoint check-config`, and the flags of other commands that name a configuration.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::print;
use crate::config::{AdminListen, Config, Sources, parse_address};
use crate::runtime::settings;

/// Text after `rallypoint config --help`.
pub const HELP: &str = "\
Each setting comes from the first of: a flag, an environment variable, the file of --config, the default. An \
environment variable is named after section and setting: RALLYPOINT_SESSIONS__IDLE_S is idle_s under [sessions]. \
Masked or left out of the output: the database password, and user, password and query of jwks_url.

  rallypoint config --config rallypoint.toml
  RALLYPOINT_SESSIONS__IDLE_S=600 rallypoint config > effective.toml

Next: `rallypoint serve` with the same flags and environment uses this configuration.";

/// Text after `rallypoint check-config --help`.
pub const CHECK_HELP: &str = "\
Checks names, types and ranges of settings, and whether settings and templates fit together. Prints OK if the file is \
right. Otherwise prints the first error, with its line and what is allowed, and exits with status 1. Warns of values \
that are allowed, but with which published clients have trouble. The command ignores the environment, and opens no \
ports or directories. It reads no file that a setting names, such as a key or a certificate: `rallypoint serve` reads \
them, and refuses to start if one cannot be used.

  rallypoint check-config rallypoint.toml

Next: `rallypoint serve --config rallypoint.toml`. A running server reloads templates, regions, instance templates \
and matchmaking when the file changes; other settings need a restart.";

/// Flags that select and change the configuration of a server.
#[derive(Args)]
pub struct ConfigArgs {
    /// Configuration file; config.default.toml describes every setting.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address of the API; port 0 takes a free port [default: 127.0.0.1:7700].
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_address)]
    listen: Option<SocketAddr>,
    /// Address of /live, /ready and /metrics, or "off" [default: 127.0.0.1:7701, or a free port if --listen takes one].
    #[arg(long, value_name = "ADDR:PORT|off")]
    admin_listen: Option<AdminListen>,
    /// Directory of the embedded store and the development key [default: ./rallypoint-data].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl ConfigArgs {
    /// Loads the configuration. The flags take precedence.
    pub fn load(&self) -> Result<Config, String> {
        let listen = self.listen.map(|listen| listen.to_string());
        let admin_listen = self.admin_listen.map(|listen| listen.to_string());
        let sources = Sources::of_process(self.config.clone())
            .with_flag("--listen", ("http", "listen"), listen)
            .with_flag("--admin-listen", ("http", "admin_listen"), admin_listen);
        let mut config = load(&sources)?;
        if let Some(data_dir) = &self.data_dir {
            config.store.data_dir.clone_from(data_dir);
        }
        Ok(config)
    }
}

/// Flags that name the development key of a server.
#[derive(Args)]
pub struct KeyArgs {
    /// Configuration file of the server.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Data directory of the server [default: ./rallypoint-data].
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
}

impl KeyArgs {
    /// Loads the configuration of the server.
    pub fn load(&self) -> Result<Config, String> {
        load(&Sources::of_process(self.config.clone()))
    }

    /// The data directory of the server. Warns if the server does not use its development key.
    pub fn data_dir(&self) -> Result<PathBuf, String> {
        let config = self.load()?;
        if config.auth.has_own_keys() {
            eprintln!(
                "warning: jwks_file or jwks_url is set under [auth]; a server with this configuration rejects tokens of \
                 the development key: use a token of your token service"
            );
        }
        Ok(self.data_dir.clone().unwrap_or(config.store.data_dir))
    }
}

#[derive(Args)]
pub struct CheckConfigArgs {
    /// Configuration file to check.
    file: PathBuf,
    /// Allow the development key and the login for development where other machines can reach them, as the same flag of
    /// serve does.
    #[arg(long)]
    insecure_expose_development_key: bool,
}

/// Loads a configuration from these sources.
pub fn load(sources: &Sources) -> Result<Config, String> {
    settings::load_config(sources).map_err(|error| error.to_string())
}

/// Runs `rallypoint config`.
pub fn print_config(args: &ConfigArgs) -> Result<(), String> {
    print(&settings::masked_toml(&args.load()?))
}

/// Runs `rallypoint check-config`.
pub fn check_config(args: &CheckConfigArgs) -> Result<(), String> {
    let config = load(&Sources { file: Some(args.file.clone()), ..Sources::default() })?;
    config.check_exposure(args.insecure_expose_development_key).map_err(|error| error.to_string())?;
    for warning in config.warnings() {
        eprintln!("warning: {}: {warning}", args.file.display());
    }
    let templates = match config.templates.len() {
        1 => "1 template".into(),
        count => format!("{count} templates"),
    };
    print(&format!("{}: OK; {templates}\n", args.file.display()))
}
