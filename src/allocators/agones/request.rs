//! Requests to the allocator service of Agones, in the JSON of its Protocol Buffers.

use std::collections::BTreeMap;

use serde::Serialize;

use super::labels::LabelNames;
use crate::allocators::Launch;

/// The label that Agones gives the game servers of a fleet.
const FLEET: &str = "agones.dev/fleet";

/// Where servers are taken from, and what they are told.
pub struct Target {
    /// The namespace of the fleet.
    pub namespace: String,
    /// The fleet.
    pub fleet: String,
    /// The names of labels and annotations.
    pub names: LabelNames,
    /// The URL of this server, as game servers reach it.
    pub base_url: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    namespace: &'a str,
    scheduling: &'static str,
    game_server_selectors: Vec<Selector<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Selector<'a> {
    match_labels: BTreeMap<&'a str, &'a str>,
    game_server_state: &'static str,
}

#[derive(Serialize)]
struct Metadata<'a> {
    labels: BTreeMap<&'a str, &'a str>,
    annotations: BTreeMap<&'a str, &'a str>,
}

impl Target {
    /// Takes a server for an allocation, or finds the one that it has.
    pub fn place(&self, launch: &Launch) -> String {
        let names = &self.names;
        let ready = Selector {
            match_labels: BTreeMap::from([(FLEET, self.fleet.as_str())]),
            game_server_state: "READY",
        };
        let metadata = Metadata {
            labels: BTreeMap::from([(names.allocation.as_str(), launch.allocation_id.as_str())]),
            annotations: BTreeMap::from([
                (names.session.as_str(), launch.session_id.as_str()),
                (names.instance.as_str(), launch.instance_id.as_str()),
                (names.base_url.as_str(), self.base_url.as_str()),
            ]),
        };
        self.request(vec![self.allocated(&launch.allocation_id), ready], Some(metadata))
    }

    /// Finds the server of an allocation, and takes none.
    pub fn find(&self, allocation_id: &str) -> String {
        self.request(vec![self.allocated(allocation_id)], None)
    }

    /// Selects the server that an earlier call has taken for this allocation.
    fn allocated<'a>(&'a self, allocation_id: &'a str) -> Selector<'a> {
        Selector {
            match_labels: BTreeMap::from([(self.names.allocation.as_str(), allocation_id)]),
            game_server_state: "ALLOCATED",
        }
    }

    fn request(&self, game_server_selectors: Vec<Selector<'_>>, metadata: Option<Metadata<'_>>) -> String {
        let namespace = &self.namespace;
        let request = Request { namespace, scheduling: "Packed", game_server_selectors, metadata };
        serde_json::to_string(&request).expect("texts are always JSON")
    }
}
