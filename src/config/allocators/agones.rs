//! `kind = "agones"`: servers are allocated from a fleet in a Kubernetes cluster.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::limits;

/// Settings of an allocator that asks the allocator service of an Agones cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgonesSection {
    /// The address of the allocator service, with https.
    pub url: String,
    /// Client certificate (PEM) that the allocator service knows.
    pub certificate_file: PathBuf,
    /// Its key (PEM).
    pub key_file: PathBuf,
    /// The authority (PEM) that has signed the certificate of the allocator service.
    pub ca_file: PathBuf,
    /// The Kubernetes namespace of the fleet.
    #[serde(default = "default_namespace", deserialize_with = "limits::text::<_, 63>")]
    pub namespace: String,
    /// The name of the fleet.
    #[serde(deserialize_with = "limits::text::<_, 63>")]
    pub fleet: String,
    /// The name of the game server's port that players connect to; `None`: the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_name: Option<String>,
    /// The prefix of the labels and annotations that the allocator writes.
    #[serde(default = "default_label_prefix", deserialize_with = "limits::text::<_, 253>")]
    pub label_prefix: String,
}

fn default_namespace() -> String {
    "default".into()
}

fn default_label_prefix() -> String {
    "rallypoint.dev".into()
}
