//! The allocator `webhook`: a service of the studio starts and stops the servers. Each call is a signed POST.

mod answer;
mod signature;

use std::path::PathBuf;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde::Serialize;

use self::signature::Keys;
use super::http_client::{Answer, CallLimits, Failure, HttpClient, TlsFiles};
use super::{Allocator, Found, Launch, Placement, ReleaseMode, Released, Scope};
use crate::domain::instance::StartupParams;
use crate::domain::{CustomData, SessionId};
use crate::env::Clock;
use crate::https;
use crate::secret_file;

/// Settings of a webhook allocator.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The URL: https, or http on this machine.
    pub url: String,
    /// File with the keys that sign: one or two lines, as in `whsec_…`. Others must not read it.
    pub secret_file: PathBuf,
    /// File (PEM) of the certificate authorities to trust, instead of those of the system.
    pub ca_file: Option<PathBuf>,
    /// Limits of its calls.
    pub calls: CallLimits,
}

impl Settings {
    /// Checks the settings without reading the files. The error is the setting, and what is wrong with it.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        self.uri().map(drop).map_err(|message| ("url", message))
    }

    fn uri(&self) -> Result<(http::Uri, bool), String> {
        https::parse_url("url", &self.url, "https://servers.example.com/rallypoint")
    }
}

/// Calls the service of a studio.
pub struct Webhook {
    client: HttpClient,
    keys: Keys,
    clock: Clock,
}

/// The body of a call. It is the same whenever the call is repeated, so that a service can compare it.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Call<'a> {
    Place {
        allocation_id: &'a str,
        session_id: &'a SessionId,
        instance_id: &'a str,
        session_type: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        region_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        version: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        startup_params: Option<&'a StartupParams>,
        custom_data: &'a CustomData,
        requested_at: Timestamp,
        attempt: u32,
    },
    Find {
        allocation_id: &'a str,
    },
    Release {
        allocation_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        handle: Option<&'a str>,
        mode: &'static str,
    },
}

impl<'a> Call<'a> {
    fn place(launch: &'a Launch) -> Self {
        Self::Place {
            allocation_id: &launch.allocation_id,
            session_id: &launch.session_id,
            instance_id: &launch.instance_id,
            session_type: &launch.session_type,
            region_id: launch.region_id.as_deref(),
            version: launch.version.as_deref(),
            startup_params: launch.startup_params.as_ref(),
            custom_data: &launch.custom_data,
            requested_at: launch.requested_at,
            attempt: launch.attempt,
        }
    }

    /// The name of the event, the allocation, and whether the call changes something at the service.
    fn parts(&self) -> (&'static str, &'a str, bool) {
        match self {
            Self::Place { allocation_id, .. } => ("place", allocation_id, true),
            Self::Find { allocation_id } => ("find", allocation_id, false),
            Self::Release { allocation_id, .. } => ("release", allocation_id, true),
        }
    }
}

impl Webhook {
    /// An allocator with these settings. Reads the files.
    ///
    /// # Errors
    /// If a setting or a file cannot be used. The message names it.
    pub fn new(settings: &Settings, clock: Clock) -> Result<Self, String> {
        let (uri, local) = settings.uri()?;
        let secret = secret_file::read(&settings.secret_file)?;
        let keys = Keys::parse(&String::from_utf8_lossy(&secret));
        let keys = keys.map_err(|cause| format!("{}: {cause}", settings.secret_file.display()))?;
        let files = TlsFiles { ca_file: settings.ca_file.clone(), certificate_and_key: None };
        let client = HttpClient::new(uri, local, files, settings.calls)?;
        Ok(Self { client, keys, clock })
    }

    async fn call(&self, call: Call<'_>) -> Result<Answer, Failure> {
        let (event, allocation_id, changes) = call.parts();
        let body = serde_json::to_string(&call).map_err(|error| Failure::NotSent(error.to_string()))?;
        let id = format!("{allocation_id}_{event}");
        let timestamp_s = self.clock.now_ms().div_euclid(1_000);
        let signature = self.keys.sign(&id, timestamp_s, &body);
        let mut headers = vec![
            ("webhook-id", id),
            ("webhook-timestamp", timestamp_s.to_string()),
            ("webhook-signature", signature),
        ];
        if changes {
            headers.push(("idempotency-key", format!("\"{allocation_id}.{event}\"")));
        }
        self.client.post(headers, body).await
    }
}

impl Allocator for Webhook {
    fn scope(&self) -> Scope {
        Scope::Cluster
    }

    fn place<'a>(&'a self, launch: &'a Launch) -> BoxFuture<'a, Placement> {
        Box::pin(async move { answer::placement(self.call(Call::place(launch)).await) })
    }

    fn find<'a>(&'a self, allocation_id: &'a str) -> BoxFuture<'a, Found> {
        Box::pin(async move {
            answer::found(self.call(Call::Find { allocation_id }).await).unwrap_or_else(|detail| {
                self.client.log("the webhook could not be asked for a server", &detail);
                Found::CannotTell
            })
        })
    }

    fn release<'a>(
        &'a self,
        allocation_id: &'a str,
        handle: Option<&'a str>,
        mode: ReleaseMode,
    ) -> BoxFuture<'a, Released> {
        let mode = match mode {
            ReleaseMode::Soft => "soft",
            ReleaseMode::Hard => "hard",
        };
        Box::pin(async move {
            let answer = self.call(Call::Release { allocation_id, handle, mode }).await;
            answer::released(answer).unwrap_or_else(|detail| {
                self.client.log("the webhook has not stopped a server", &detail);
                Released::Later
            })
        })
    }
}
