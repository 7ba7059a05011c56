//! Regions that a session can prefer for its host.

use serde::{Deserialize, Serialize};

use super::limits;

/// A region (contract: `Region`), as the configuration file spells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Region {
    /// Position in lists: the lowest number comes first.
    pub sort_order: u32,
    /// Whether the region is for custom games only.
    pub custom_only: bool,
    /// A description for people: 1 to 256 characters.
    #[serde(deserialize_with = "limits::maybe_text::<_, 256>", skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Regions near it, the nearest first. Matchmaking tries them when a ticket has waited for its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub near: Vec<String>,
}
