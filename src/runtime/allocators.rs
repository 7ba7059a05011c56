//! Makes the allocators of the configuration.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::allocators::Allocator;
use crate::app::launches::{Allocators, Served};
use crate::config::{AllocatorKind, AllocatorSection, Config};
use crate::runtime::server::StartError;

/// Makes every allocator of the configuration. `api_address` is the address that the API listens on.
///
/// # Errors
/// If an allocator cannot start. The message names its section, and says what to do.
pub fn start(config: &Config, api_address: SocketAddr) -> Result<Allocators, StartError> {
    let mut allocators = Allocators::new();
    for (name, section) in &config.allocators {
        let rules = section.common.rules.clone();
        let allocator = start_one(section, api_address)
            .map_err(|message| StartError(format!("[allocators.{name}] {message}")))?;
        allocators.insert(name.clone(), Served { allocator, rules });
    }
    Ok(allocators)
}

/// Makes one allocator, of any kind.
fn start_one(section: &AllocatorSection, api_address: SocketAddr) -> Result<Arc<dyn Allocator>, String> {
    let base_url = section.common.base_url.clone().unwrap_or_else(|| format!("http://{api_address}"));
    match &section.kind {
        AllocatorKind::Process(_) | AllocatorKind::Agones(_) | AllocatorKind::Webhook(_) => {
            Err(format!("this build cannot start servers (they would use {base_url})"))
        }
    }
}
