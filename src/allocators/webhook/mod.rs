//! The allocator `webhook`: a service of the studio starts and stops the servers. Each call is a signed POST.

mod answer;
mod pauses;
mod signature;

use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde::Serialize;

use self::answer::{Heard, Stopped};
use self::pauses::{Asking, Pauses};
use self::signature::Keys;
use super::http_client::{Answer, CallLimits, Failure, HttpClient, Purpose, TlsFiles};
use super::{Allocator, Found, Launch, Placement, ReleaseMode, Released, Scope};
use crate::domain::instance::StartupParams;
use crate::domain::{CustomData, SessionId};
use crate::env::Clock;
use crate::https;
use crate::secret_file;

/// After the service has refused the hard stop of a server for so long, Rallypoint gives the server up.
const REFUSED_MAX: Duration = Duration::from_secs(3_600);

/// Settings of a webhook allocator. It has no `Debug`: the URL may contain a secret.
#[derive(Clone)]
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
    pauses: Pauses,
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
        /// A header, and no part of the body: the body belongs to the idempotency key, which both modes share.
        #[serde(skip)]
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

    /// The name of the event, the allocation, whether the call changes something at the service, and what it is for.
    fn parts(&self) -> (&'static str, &'a str, bool, Purpose) {
        match self {
            Self::Place { allocation_id, .. } => ("place", allocation_id, true, Purpose::Start),
            Self::Find { allocation_id } => ("find", allocation_id, false, Purpose::Start),
            Self::Release { allocation_id, .. } => ("release", allocation_id, true, Purpose::Stop),
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
        Ok(Self { client, keys, clock, pauses: Pauses::default() })
    }

    async fn call(&self, call: Call<'_>) -> Result<Answer, Failure> {
        let (event, allocation_id, changes, purpose) = call.parts();
        let body = serde_json::to_string(&call).map_err(|error| Failure::NotSent(error.to_string()))?;
        let id = format!("{allocation_id}_{event}");
        let timestamp_s = self.clock.now_ms().div_euclid(1_000);
        let signature = self.keys.sign(&id, timestamp_s, &body);
        let mut headers = vec![
            ("webhook-id", id),
            ("webhook-timestamp", timestamp_s.to_string()),
            ("webhook-signature", signature),
        ];
        if let Call::Release { mode, .. } = call {
            headers.push(("rallypoint-release-mode", mode.to_owned()));
        }
        if changes {
            headers.push(("idempotency-key", format!("\"{allocation_id}.{event}\"")));
        }
        self.client.post(headers, body, purpose).await
    }

    fn begin_pause(&self, allocation_id: &str, asking: Asking, pause: Option<Duration>) {
        if let Some(pause) = pause {
            self.pauses.begin(allocation_id, asking, self.end_of(pause));
        }
    }

    fn end_of(&self, pause: Duration) -> i64 {
        self.clock.up_ms().saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX))
    }

    /// Notes that the service refuses to stop a server. Returns whether it has refused the hard stop for too long: then
    /// the server counts as gone, because further calls cannot help.
    fn is_given_up(
        &self,
        allocation_id: &str,
        handle: Option<&str>,
        asking: Asking,
        heard: &Heard<Stopped>,
    ) -> bool {
        let up_ms = self.clock.up_ms();
        let until_ms = self.end_of(heard.retry_after.unwrap_or_default());
        let since_ms = self.pauses.refused(allocation_id, asking, up_ms, until_ms);
        let is_given_up =
            asking == Asking::StopHard && u128::from(up_ms.abs_diff(since_ms)) >= REFUSED_MAX.as_millis();
        if is_given_up {
            tracing::error!(
                allocation_id,
                handle,
                detail = heard.trouble,
                "the webhook refuses to stop a server, and is not asked again: stop it yourself if it still runs"
            );
        }
        is_given_up
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
            for (asking, found) in
                [(Asking::FindStarting, Found::Starting), (Asking::Find, Found::CannotTell)]
            {
                if self.pauses.is_on(allocation_id, asking, self.clock.up_ms()) {
                    return found;
                }
            }
            let heard = answer::found(self.call(Call::Find { allocation_id }).await);
            let is_starting = heard.meaning == Found::Starting;
            let asking = if is_starting { Asking::FindStarting } else { Asking::Find };
            self.begin_pause(allocation_id, asking, heard.retry_after);
            if let Some(trouble) = heard.trouble {
                self.client.log("the webhook could not be asked for a server", &trouble);
            }
            heard.meaning
        })
    }

    fn release<'a>(
        &'a self,
        allocation_id: &'a str,
        handle: Option<&'a str>,
        mode: ReleaseMode,
    ) -> BoxFuture<'a, Released> {
        Box::pin(async move {
            let (asking, mode) = match mode {
                ReleaseMode::Soft => (Asking::StopSoft, "soft"),
                ReleaseMode::Hard => (Asking::StopHard, "hard"),
            };
            if self.pauses.is_on(allocation_id, asking, self.clock.up_ms()) {
                return Released::Later;
            }
            let heard = answer::stopped(self.call(Call::Release { allocation_id, handle, mode }).await);
            let is_gone = match heard.meaning {
                Stopped::Gone => true,
                Stopped::NotYet => false,
                Stopped::Refused => self.is_given_up(allocation_id, handle, asking, &heard),
            };
            if is_gone {
                self.pauses.forget(allocation_id);
                return Released::Gone;
            }
            if heard.meaning == Stopped::NotYet {
                self.begin_pause(allocation_id, asking, heard.retry_after);
            }
            if let Some(trouble) = heard.trouble {
                self.client.log("the webhook has not stopped a server", &trouble);
            }
            Released::Later
        })
    }
}
