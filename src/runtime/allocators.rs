//! Makes the allocators of the configuration.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::allocators::agones::{self, Agones};
use crate::allocators::webhook::{self, Webhook};
use crate::allocators::{Allocator, CallLimits};
use crate::app::launches::{Allocators, Served};
use crate::config::{AgonesSection, AllocatorKind, AllocatorSection, Config, Problem, WebhookSection};
use crate::env::Clock;
use crate::runtime::server::StartError;

/// Makes every allocator of the configuration. `api_address` is the address that the API listens on.
///
/// # Errors
/// If an allocator cannot start. The message names its section, and says what to do.
pub fn start(config: &Config, api_address: SocketAddr, clock: &Clock) -> Result<Allocators, StartError> {
    let mut allocators = Allocators::new();
    for (name, section) in &config.allocators {
        let rules = section.common.rules.clone();
        let allocator = start_one(section, api_address, clock)
            .map_err(|message| StartError(format!("[allocators.{name}] {message}")))?;
        allocators.insert(name.clone(), Served { allocator, rules });
    }
    Ok(allocators)
}

/// Makes one allocator, of any kind.
fn start_one(
    section: &AllocatorSection,
    api_address: SocketAddr,
    clock: &Clock,
) -> Result<Arc<dyn Allocator>, String> {
    let base_url = section.common.base_url.clone().unwrap_or_else(|| format!("http://{api_address}"));
    let calls = call_limits(section);
    match &section.kind {
        AllocatorKind::Process(_) => {
            Err(format!("this build cannot start servers (they would use {base_url})"))
        }
        AllocatorKind::Agones(agones) => Ok(Arc::new(Agones::new(agones_settings(agones, base_url, calls))?)),
        AllocatorKind::Webhook(webhook) => {
            Ok(Arc::new(Webhook::new(&webhook_settings(webhook, calls), clock.clone())?))
        }
    }
}

/// Checks the settings that only the allocators can parse, without reading files.
///
/// # Errors
/// The first setting that is invalid.
pub fn check(config: &Config) -> Result<(), Problem> {
    for (name, section) in &config.allocators {
        let calls = call_limits(section);
        let checked = match &section.kind {
            AllocatorKind::Process(_) => Ok(()),
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
