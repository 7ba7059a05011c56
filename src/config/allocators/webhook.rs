//! `kind = "webhook"`: a service of the studio starts servers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Settings of an allocator that asks a service of the studio, with signed requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookSection {
    /// The address that gets the requests: https, or http on this machine.
    pub url: String,
    /// The file with the secret that signs requests, `whsec_` and base64; two lines while the secret is replaced.
    pub secret_file: PathBuf,
    /// Authorities (PEM) that are trusted for `url`; `None`: those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}
