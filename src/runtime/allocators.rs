//! Makes the allocators of the configuration.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::allocators::agones::{self, Agones};
use crate::allocators::clients::LaunchClients;
use crate::allocators::webhook::{self, Webhook};
use crate::allocators::{Allocator, CallLimits};
use crate::app::launches::{LaunchSettings, Served};
use crate::config::{
    AgonesSection, AllocatorKind, AllocatorSection, Config, OnStop, Problem, WebhookSection,
};
use crate::env::{Clock, Entropy};
use crate::runtime::local_servers::{LocalAllocator, LocalServers};
use crate::runtime::node_id::NodeId;
use crate::runtime::process_allocator;
use crate::runtime::server::StartError;

/// The allocators of a configuration.
#[derive(Default)]
pub struct StartedAllocators {
    /// All of them, for the launches service.
    pub launches: LaunchSettings,
    /// Holds the id of the node. `None` without allocators.
    pub node: Option<NodeId>,
    /// Those that start processes on this machine.
    pub local: LocalServers,
}

/// Makes every allocator of the configuration. `api_address` is the address that the API listens on. Launched servers
/// log in with `clients`, unless the configuration names a client.
///
/// # Errors
/// If an allocator cannot start, or if another server has the id of this node. The message says what to do.
pub async fn start(
    config: &Config,
    api_address: SocketAddr,
    clients: Arc<dyn LaunchClients>,
    clock: &Clock,
) -> Result<StartedAllocators, StartError> {
    let mut started = StartedAllocators::default();
    if config.allocators.is_empty() {
        return Ok(started);
    }
    let node = NodeId::load_or_create(&config.store.data_dir, &Entropy::System).map_err(StartError)?;
    (started.launches.node, started.launches.directory) = (node.id, node.directory.clone());
    started.node = Some(node);
    for (name, section) in &config.allocators {
        let failed = |message: String| {
            let setting = setting_of(section, &message);
            let message = format!("{setting} {message}");
            let problem = Problem::new(&["allocators", name, setting], message.trim_start());
            StartError(config.located(problem).to_string())
        };
        let base_url = section.common.base_url.clone().unwrap_or_else(|| format!("http://{api_address}"));
        let calls = call_limits(section);
        let allocator: Arc<dyn Allocator> = match &section.kind {
            AllocatorKind::Process(process) => {
                let (of, clients) = ((name.as_str(), section, process), Arc::clone(&clients));
                let opened = process_allocator::open(config, of, base_url, clients, clock.clone()).await;
                let allocator = Arc::new(opened.map_err(failed)?);
                let (name, local) = (name.clone(), Arc::clone(&allocator));
                started.local.0.push(LocalAllocator { name, allocator: local, on_stop: process.on_stop });
                allocator
            }
            AllocatorKind::Agones(agones) => {
                Arc::new(Agones::new(agones_settings(agones, base_url, calls)).map_err(failed)?)
            }
            AllocatorKind::Webhook(webhook) => {
                Arc::new(Webhook::new(&webhook_settings(webhook, calls), clock.clone()).map_err(failed)?)
            }
        };
        let ends_on_stop =
            matches!(&section.kind, AllocatorKind::Process(process) if process.on_stop == OnStop::End);
        let served = Served { allocator, rules: section.common.rules.clone(), ends_on_stop };
        started.launches.allocators.insert(name.clone(), served);
    }
    Ok(started)
}

/// The setting with the file that a message is about; empty if it is about none. Such messages begin with the file.
fn setting_of(section: &AllocatorSection, message: &str) -> &'static str {
    let files = match &section.kind {
        AllocatorKind::Process(process) => vec![("client_secret_file", process.client_secret_file.as_ref())],
        AllocatorKind::Agones(agones) => vec![
            ("ca_file", Some(&agones.ca_file)),
            ("certificate_file", Some(&agones.certificate_file)),
            ("key_file", Some(&agones.key_file)),
        ],
        AllocatorKind::Webhook(webhook) => {
            vec![("secret_file", Some(&webhook.secret_file)), ("ca_file", webhook.ca_file.as_ref())]
        }
    };
    let is_about = |file: &PathBuf| message.starts_with(&format!("{}: ", file.display()));
    let about = files.into_iter().find(|(_, file)| file.is_some_and(is_about));
    about.map_or("", |(setting, _)| setting)
}

/// The most calls of services at the same time, each of which blocks a thread.
pub fn blocking_calls_max(config: &Config) -> usize {
    let calls = |section: &AllocatorSection| match section.kind {
        AllocatorKind::Process(_) => 0,
        AllocatorKind::Agones(_) | AllocatorKind::Webhook(_) => section.common.rules.calls_max,
    };
    config.allocators.values().map(calls).sum()
}

/// Checks the settings that only the allocators can parse, without reading files.
///
/// # Errors
/// The first setting that is invalid.
pub fn check(config: &Config) -> Result<(), Problem> {
    for (name, section) in &config.allocators {
        let calls = call_limits(section);
        let checked = match &section.kind {
            AllocatorKind::Process(process) => process_allocator::check(config, process).map(drop),
            AllocatorKind::Agones(agones) => agones_settings(agones, String::new(), calls).check(),
            AllocatorKind::Webhook(webhook) => webhook_settings(webhook, calls).check(),
        };
        checked.map_err(|(setting, message)| Problem::new(&["allocators", name, setting], message))?;
    }
    Ok(())
}

fn call_limits(section: &AllocatorSection) -> CallLimits {
    let rules = &section.common.rules;
    CallLimits { calls_max: rules.calls_max, timeout: Duration::from_secs(rules.place_timeout_s) }
}

fn webhook_settings(section: &WebhookSection, calls: CallLimits) -> webhook::Settings {
    let WebhookSection { url, secret_file, ca_file } = section.clone();
    webhook::Settings { url, secret_file, ca_file, calls }
}

fn agones_settings(section: &AgonesSection, base_url: String, calls: CallLimits) -> agones::Settings {
    let section = section.clone();
    agones::Settings {
        url: section.url,
        ca_file: Some(section.ca_file),
        certificate_and_key: Some((section.certificate_file, section.key_file)),
        namespace: section.namespace,
        fleet: section.fleet,
        label_prefix: section.label_prefix,
        port_name: section.port_name,
        base_url,
        calls,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;
    use crate::runtime::launch_clients::EarlyLaunchClients;
    use crate::runtime::settings::load_config;

    fn webhook(name: &str, secret_file: &str) -> String {
        format!(
            "[allocators.{name}]\nkind = \"webhook\"\nurl = \"http://127.0.0.1/\"\ncalls_max = 200\n\
             secret_file = \"{secret_file}\"\n"
        )
    }

    fn config(text: &str) -> (tempfile::TempDir, Config) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("my.toml");
        std::fs::write(&file, text).unwrap();
        let mut config = load_config(&Sources { file: Some(file), ..Sources::default() }).unwrap();
        config.store.data_dir = dir.path().join("data");
        (dir, config)
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_used_is_an_error_with_its_line() {
        let agones = "[allocators.a]\nkind = \"agones\"\nurl = \"https://agones\"\nfleet = \"game\"\n\
                      ca_file = \"/no/ca\"\ncertificate_file = \"/no/certificate\"\nkey_file = \"/no/key\"\n";
        let process = "[allocators.a]\nkind = \"process\"\ncommand = [\"/bin/sh\"]\nports = \"7777\"\n\
                       client_id = \"a\"\nclient_secret_file = \"/no/secret\"\n";
        for (text, expected) in [
            (&*webhook("a", "/no/secret"), "line 5: [allocators.a] secret_file /no/secret: No such file"),
            (agones, "line 6: [allocators.a] certificate_file /no/certificate: "),
            (process, "line 6: [allocators.a] client_secret_file /no/secret: No such file"),
        ] {
            let (_dir, config) = config(text);
            let clients = Arc::<EarlyLaunchClients>::default();
            let address = "127.0.0.1:7700".parse().unwrap();
            let error = start(&config, address, clients, &Clock::System).await.err().unwrap().0;
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn every_call_of_a_service_has_a_thread() {
        let process = "[allocators.c]\nkind = \"process\"\ncommand = [\"/bin/sh\"]\nports = \"7777\"\n";
        let (_dir, config) = config(&format!("{}{}{process}", webhook("a", "/s"), webhook("b", "/s")));
        assert_eq!(blocking_calls_max(&config), 400);
    }
}
