//! Makes the allocators of the configuration.

use std::net::SocketAddr;
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
        let failed = |message: String| StartError(format!("[allocators.{name}] {message}"));
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
