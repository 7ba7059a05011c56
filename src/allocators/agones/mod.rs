//! The allocator `agones`: game servers of one fleet of Agones, by its allocator service (REST, with mutual TLS).
//!
//! The service promises no idempotency. A call gives the game server a label with the allocation, and first selects an
//! allocated game server with that label. So a repeated call finds the server that an earlier one has taken. The
//! service knows of a new label only a moment later (its cache), so a lost call is not repeated at once.
//!
//! The service cannot stop a server. The server ends by itself when its instance is closed: `rallypoint bridge agones`
//! in its pod sees to that.

mod answer;
mod labels;
mod request;

use std::path::PathBuf;

use futures_util::future::BoxFuture;

use self::request::Target;
use super::http_client::{Answer, CallLimits, Failure, HttpClient, Purpose, TlsFiles};
use super::{Allocator, Found, Launch, Placement, ReleaseMode, Released, Scope};
use crate::https;

pub use self::labels::{LABEL_PREFIX, LabelNames};

/// The path of the allocator service.
const PATH: &str = "/gameserverallocation";

/// Settings of an Agones allocator.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address of the allocator service, without a path: https, or http on this machine.
    pub url: String,
    /// File (PEM) of the certificate authorities to trust, instead of those of the system.
    pub ca_file: Option<PathBuf>,
    /// Client certificate and its private key (PEM). Others must not read the key.
    pub certificate_and_key: Option<(PathBuf, PathBuf)>,
    /// The namespace of the fleet.
    pub namespace: String,
    /// The fleet.
    pub fleet: String,
    /// The prefix of the labels and annotations that game servers get.
    pub label_prefix: String,
    /// The port that players use, by its name in the fleet; `None`: the first one.
    pub port_name: Option<String>,
    /// The URL of this server, as game servers reach it. It becomes an annotation.
    pub base_url: String,
    /// Limits of its calls.
    pub calls: CallLimits,
}

impl Settings {
    /// Checks the settings without reading the files. The error is the setting, and what is wrong with it.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let in_setting = |setting| move |message| (setting, message);
        self.uri().map_err(in_setting("url"))?;
        labels::check_name("namespace", &self.namespace).map_err(in_setting("namespace"))?;
        labels::check_name("fleet", &self.fleet).map_err(in_setting("fleet"))?;
        LabelNames::new(&self.label_prefix).map(drop).map_err(in_setting("label_prefix"))
    }

    /// The URL of the operation that allocates, and whether it is on this machine.
    fn uri(&self) -> Result<(http::Uri, bool), String> {
        let example = "https://agones-allocator.agones-system.svc.cluster.local";
        let (uri, local) = https::parse_url("url", &self.url, example)?;
        if uri.path() != "/" || uri.query().is_some() || https::has_user(&uri) {
            return Err(format!("url must have no path and no user, as in {example}"));
        }
        let uri = format!("{}{PATH}", self.url.trim_end_matches('/')).parse();
        Ok((uri.map_err(|_| format!("url is not a URL such as {example}"))?, local))
    }
}

/// Allocates game servers of a fleet.
pub struct Agones {
    client: HttpClient,
    target: Target,
    port_name: Option<String>,
}

impl Agones {
    /// An allocator with these settings. Reads the files.
    ///
    /// # Errors
    /// If a setting or a file cannot be used. The message names it.
    pub fn new(settings: Settings) -> Result<Self, String> {
        settings.check().map_err(|(_, message)| message)?;
        let (uri, local) = settings.uri()?;
        let names = LabelNames::new(&settings.label_prefix)?;
        let files = TlsFiles { ca_file: settings.ca_file, certificate_and_key: settings.certificate_and_key };
        let client = HttpClient::new(uri, local, files, settings.calls)?;
        let Settings { namespace, fleet, base_url, port_name, .. } = settings;
        Ok(Self { client, target: Target { namespace, fleet, names, base_url }, port_name })
    }

    async fn call(&self, body: String, purpose: Purpose) -> Result<Answer, Failure> {
        self.client.post(Vec::new(), body, purpose).await
    }

    async fn find(&self, allocation_id: &str, purpose: Purpose) -> Found {
        let answer = self.call(self.target.find(allocation_id), purpose).await;
        answer::found(answer, self.port_name.as_deref()).unwrap_or_else(|detail| {
            self.client.log("the allocator service could not be asked for a server", &detail);
            Found::CannotTell
        })
    }
}

impl Allocator for Agones {
    fn scope(&self) -> Scope {
        Scope::Cluster
    }

    fn place<'a>(&'a self, launch: &'a Launch) -> BoxFuture<'a, Placement> {
        Box::pin(async move {
            let answer = self.call(self.target.place(launch), Purpose::Start).await;
            answer::placement(answer, self.port_name.as_deref())
        })
    }

    fn find<'a>(&'a self, allocation_id: &'a str) -> BoxFuture<'a, Found> {
        Box::pin(self.find(allocation_id, Purpose::Start))
    }

    /// Asks whether the server is gone: nothing can be called to stop it.
    fn release<'a>(
        &'a self,
        allocation_id: &'a str,
        _handle: Option<&'a str>,
        _mode: ReleaseMode,
    ) -> BoxFuture<'a, Released> {
        Box::pin(async move {
            match self.find(allocation_id, Purpose::Stop).await {
                Found::Absent => Released::Gone,
                Found::Placed(_) | Found::Starting | Found::CannotTell => Released::Later,
            }
        })
    }
}
