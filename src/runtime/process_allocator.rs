//! Makes an allocator that starts processes on this machine.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::allocators::clients::{LaunchClients, ServerLogin};
use crate::allocators::process::{CommandTemplate, ProcessAllocator, ProcessSettings};
use crate::config::{AllocatorSection, Config, ENV_PREFIX, ProcessSection};
use crate::env::{Clock, Entropy};

/// The directory with the directories of all servers, in the data directory.
const SERVERS_DIR: &str = "servers";

/// Opens the allocator of a section, and adopts the servers that an earlier process has started. Servers log in with
/// `clients`, unless the configuration names a client.
///
/// # Errors
/// If the allocator cannot start: what is wrong, without the name of the section.
pub async fn open(
    config: &Config,
    (name, section, process): (&str, &AllocatorSection, &ProcessSection),
    base_url: String,
    clients: Arc<dyn LaunchClients>,
    clock: Clock,
) -> Result<ProcessAllocator, String> {
    let settings = settings(config, (name, section, process), base_url, clients)?;
    let dir = settings.dir.clone();
    let opened = ProcessAllocator::open(settings, clock, Entropy::System).await;
    opened.map_err(|error| format!("{}: {error}", dir.display()))
}

/// Checks what the configuration itself cannot check. The error is the setting, and what is wrong with it.
pub fn check(config: &Config, process: &ProcessSection) -> Result<CommandTemplate, (&'static str, String)> {
    if let Some(name) = process.env.keys().find(|name| name.starts_with(ENV_PREFIX)) {
        let message = format!("env has {name}: variables of servers must not start with {ENV_PREFIX}");
        return Err(("env", message));
    }
    let is_variable = |(name, value): (&String, &String)| {
        !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
    };
    if !process.env.iter().all(is_variable) {
        let message =
            "env has a name that is empty or contains '=', or a NUL character, which no variable can have";
        return Err(("env", message.into()));
    }
    if process.working_dir.as_ref().is_some_and(|dir| !dir.is_absolute() || !dir.is_dir()) {
        return Err(("working_dir", "working_dir needs the absolute path of a directory that exists".into()));
    }
    let command = CommandTemplate::new(&process.command, process.ports_per_server.into())
        .map_err(|message| ("command", format!("command {message}")))?;
    let has_own_keys = config.auth.jwks_file.is_some() || config.auth.jwks_url.is_some();
    if has_own_keys && process.client_id.is_none() && command.names_client() {
        let message = "command names a client, but with keys of your own servers log in elsewhere: set client_id and \
                       client_secret_file";
        return Err(("command", message.into()));
    }
    Ok(command)
}

fn settings(
    config: &Config,
    (name, section, process): (&str, &AllocatorSection, &ProcessSection),
    base_url: String,
    clients: Arc<dyn LaunchClients>,
) -> Result<ProcessSettings, String> {
    let command = check(config, process).map_err(|(_, message)| message)?;
    let data_dir = std::path::absolute(&config.store.data_dir).map_err(|error| error.to_string())?;
    let login = match (&process.client_id, &process.client_secret_file) {
        (Some(client_id), Some(file)) => ServerLogin::own(client_id, file)?,
        _ if command.names_client() => ServerLogin::PerLaunch(clients),
        _ => ServerLogin::None,
    };
    Ok(ProcessSettings {
        dir: data_dir.join(SERVERS_DIR).join(name),
        node: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        shim: own_program().map_err(|error| format!("the program of this process is unknown: {error}"))?,
        command,
        working_dir: process.working_dir.clone(),
        env: process.env.clone(),
        ports: process.ports.first..=process.ports.last,
        ports_per_server: process.ports_per_server.into(),
        public_host: process.public_host.clone(),
        base_url,
        servers_max: process.servers_max,
        log_bytes_max: process.log_bytes_max,
        keep_finished: process.keep_finished,
        place_timeout: Duration::from_secs(section.common.rules.place_timeout_s),
        login,
    })
}

/// The program of this process. On Linux also if its file was replaced meanwhile, as an upgrade does.
fn own_program() -> std::io::Result<PathBuf> {
    let program = PathBuf::from("/proc/self/exe");
    if program.exists() { Ok(program) } else { std::env::current_exe() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AllocatorKind;

    fn checked(more: &str) -> Result<CommandTemplate, (&'static str, String)> {
        let text =
            format!("[allocators.a]\nkind = \"process\"\ncommand = [\"/bin/sh\"]\nports = \"7777\"\n{more}");
        let config = Config::parse(&text, "my.toml", &[]).unwrap();
        let AllocatorKind::Process(process) = &config.allocators["a"].kind else { panic!() };
        check(&config, process)
    }

    #[test]
    fn what_no_process_can_be_started_with_is_refused() {
        for more in ["", "env = { A = \"b=c\", B = \"\" }", "working_dir = \"/\""] {
            checked(more).unwrap();
        }
        for (more, setting, expected) in [
            ("env = { RALLYPOINT_A = \"\" }", "env", "must not start with RALLYPOINT_"),
            ("env = { \"\" = \"a\" }", "env", "a name that is empty"),
            ("env = { \"A=B\" = \"a\" }", "env", "contains '='"),
            ("env = { \"A\" = \"\\u0000\" }", "env", "NUL"),
            ("working_dir = \"games\"", "working_dir", "the absolute path of a directory"),
            ("working_dir = \"/bin/sh\"", "working_dir", "the absolute path of a directory"),
            ("working_dir = \"/no/such/directory\"", "working_dir", "the absolute path of a directory"),
        ] {
            let (found, message) = checked(more).unwrap_err();
            assert!(found == setting && message.contains(expected), "{more}: {message}");
        }
    }
}
