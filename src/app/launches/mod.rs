//! Launches: gives requested instances their dedicated servers.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::allocators::Allocator;
use crate::domain::launch::LaunchRules;

/// An allocator that this node serves.
#[derive(Clone)]
pub struct Served {
    /// The allocator.
    pub allocator: Arc<dyn Allocator>,
    /// The rules of its launches.
    pub rules: LaunchRules,
}

/// The allocators that this node serves, by name.
pub type Allocators = BTreeMap<String, Served>;
