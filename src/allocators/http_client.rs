//! The HTTP client of the allocators that call a service. Calls, time and bytes have limits, and redirects are not
//! followed.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::Uri;
use tokio::sync::Semaphore;

use crate::https;

/// Largest body of an answer, in bytes.
pub const ANSWER_BYTES_MAX: u64 = 65_536;
/// Longest wait for a connection: a service that is off must not take all of the time of a call.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(5);
/// Longest text of a service that goes into the log, in characters.
const LOGGED_CHARS_MAX: usize = 200;
/// Limits of `Retry-After`, in seconds.
const RETRY_AFTER_S: std::ops::RangeInclusive<u64> = 1..=60;

/// Time between two lines in the log about servers that cannot be found or stopped.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// How to trust the certificate authority of a service.
const TRUST: &str = "set ca_file to the file of its certificate authority";

/// Limits of the calls of one allocator.
#[derive(Clone, Copy, Debug)]
pub struct CallLimits {
    /// Most calls at the same time that start or find servers, and as many that stop them. Each takes a thread.
    pub calls_max: usize,
    /// Longest time of a call.
    pub timeout: Duration,
}

/// What a call is for. Each purpose has calls of its own, so that slow stops keep no server from being started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To start a server, or to find one.
    Start,
    /// To stop a server.
    Stop,
}

/// The files (PEM) of a connection with TLS. They are read again when they change.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// Certificate authorities to trust, instead of those of the system.
    pub ca_file: Option<PathBuf>,
    /// Client certificate and its private key, for services that require mutual TLS.
    pub certificate_and_key: Option<(PathBuf, PathBuf)>,
}

/// The answer of a service.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// How long the service wants to be left alone: whole seconds of `Retry-After`, at most a minute.
    pub retry_after: Option<Duration>,
    /// The body: at most [`ANSWER_BYTES_MAX`].
    pub body: Vec<u8>,
}

/// Why there is no answer. The text is for the log.
#[derive(Debug)]
pub enum Failure {
    /// The request was not sent.
    NotSent(String),
    /// One of the two sides does not trust the other.
    NotTrusted(String),
    /// The service may have read the request.
    Lost(String),
}

impl Failure {
    /// The text for the log.
    pub fn into_text(self) -> String {
        match self {
            Self::NotSent(text) | Self::NotTrusted(text) | Self::Lost(text) => text,
        }
    }
}

/// A client of one URL.
#[derive(Clone)]
pub struct HttpClient {
    shared: Arc<Shared>,
    calls_max: usize,
    /// When a trouble was logged last.
    logged: Arc<Mutex<Option<Instant>>>,
    starts: Arc<Semaphore>,
    stops: Arc<Semaphore>,
}

struct Shared {
    uri: Uri,
    local: bool,
    files: TlsFiles,
    timeouts: Timeouts,
    loaded: Mutex<Loaded>,
}

/// The parts of the time that a call may take.
#[derive(Clone, Copy)]
struct Timeouts {
    /// The wait until fewer than [`CallLimits::calls_max`] calls are under way.
    turn: Duration,
    /// The exchange with the service, from the connection to the end of the answer.
    exchange: Duration,
}

impl Timeouts {
    fn of(call: Duration) -> Self {
        let turn = call / 8;
        Self { turn, exchange: call.saturating_sub(turn) }
    }
}

/// The HTTP agent, and the state of the files that it was made from.
struct Loaded {
    agent: ureq::Agent,
    files: Vec<FileState>,
}

/// Shows whether a file has changed. Secrets that Kubernetes mounts change by another file at the same path.
type FileState = Option<(u64, u64, SystemTime)>;

impl HttpClient {
    /// A client of this URL. Reads the files.
    ///
    /// # Errors
    /// If a file cannot be used. The message names it.
    pub fn new(uri: Uri, local: bool, files: TlsFiles, limits: CallLimits) -> Result<Self, String> {
        let (states, timeouts) = (files.states(), Timeouts::of(limits.timeout));
        let agent = agent(&uri, local, &files, timeouts.exchange)?;
        let loaded = Mutex::new(Loaded { agent, files: states });
        let shared = Arc::new(Shared { uri, local, files, timeouts, loaded });
        let (calls_max, logged) = (limits.calls_max, Arc::default());
        let [starts, stops] = [0; 2].map(|_| Arc::new(Semaphore::new(calls_max)));
        Ok(Self { shared, calls_max, logged, starts, stops })
    }

    /// Logs why a server could not be found or stopped, once a minute. Other failures are told to the caller, who logs
    /// them.
    pub fn log(&self, what: &str, detail: &str) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.is_none_or(|last| last.elapsed() >= LOG_EVERY) {
            *logged = Some(Instant::now());
            let host = self.shared.uri.host().unwrap_or_default();
            tracing::warn!(host, detail, "{what}; further such lines come once a minute");
        }
    }

    /// Sends a POST with a body of JSON.
    pub async fn post(
        &self,
        headers: Vec<(&'static str, String)>,
        body: String,
        purpose: Purpose,
    ) -> Result<Answer, Failure> {
        let turn = self.shared.timeouts.turn;
        let calls = match purpose {
            Purpose::Start => Arc::clone(&self.starts),
            Purpose::Stop => Arc::clone(&self.stops),
        };
        let permit = tokio::time::timeout(turn, calls.acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            return Err(Failure::NotSent(format!(
                "{} calls are under way, and none has ended",
                self.calls_max
            )));
        };
        let shared = self.shared.clone();
        let call = tokio::task::spawn_blocking(move || {
            // A caller that goes away does not end the call, so the call itself counts.
            let _permit = permit;
            shared.post(&headers, body)
        });
        call.await.unwrap_or_else(|error| Err(Failure::Lost(format!("the call failed: {error}"))))
    }
}

impl TlsFiles {
    fn states(&self) -> Vec<FileState> {
        let pair = self.certificate_and_key.iter().flat_map(|(certificate, key)| [certificate, key]);
        self.ca_file.iter().chain(pair).map(|path| state(path)).collect()
    }
}

fn state(path: &Path) -> FileState {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.len(), metadata.modified().ok()?))
}

fn agent(uri: &Uri, local: bool, files: &TlsFiles, timeout: Duration) -> Result<ureq::Agent, String> {
    let connect_timeout = Some(timeout.min(CONNECT_TIMEOUT_MAX));
    let mut config = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .timeout_resolve(connect_timeout)
        .timeout_connect(connect_timeout)
        .max_redirects(0)
        .http_status_as_error(false)
        // A kept connection that the service closes at the same moment would lose a call.
        .max_idle_connections(0);
    if local {
        // A proxy from the environment could send the plain request to another machine.
        config = config.proxy(None);
    }
    if uri.scheme_str() == Some("https") {
        let ca_file = files.ca_file.as_deref();
        config = config.tls_config(match &files.certificate_and_key {
            Some((certificate, key)) => https::mutual(ca_file, certificate, key)?,
            None => https::trust(ca_file)?,
        });
    }
    Ok(config.build().into())
}

impl Shared {
    /// The agent, made again if a file has changed. If the new files cannot be used, the old ones stay in force: a
    /// certificate and its key do not change at the same moment. Other calls do not wait while the files are read.
    fn agent(&self) -> ureq::Agent {
        let states = self.files.states();
        {
            let mut loaded = self.loaded();
            if loaded.files == states {
                return loaded.agent.clone();
            }
            loaded.files.clone_from(&states);
        }
        match agent(&self.uri, self.local, &self.files, self.timeouts.exchange) {
            Ok(agent) => {
                let mut loaded = self.loaded();
                // Otherwise a call that came later has seen newer files, and reads them.
                if loaded.files == states {
                    loaded.agent = agent;
                }
                drop(loaded);
                tracing::info!("the certificates of an allocator were read again");
            }
            Err(error) => {
                tracing::warn!(%error, "the certificates of an allocator could not be read again; the old ones stay in force");
            }
        }
        self.loaded().agent.clone()
    }

    fn loaded(&self) -> MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn post(&self, headers: &[(&'static str, String)], body: String) -> Result<Answer, Failure> {
        let mut request = self.agent().post(&self.uri).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let mut response = request.send(body).map_err(|error| failure(&error))?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|value| value.trim().parse().ok()).map(retry_after_s);
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let body = body.map_err(|error| match error {
            ureq::Error::BodyExceedsLimit(_) => {
                Failure::Lost(format!("the answer ({status}) is longer than {ANSWER_BYTES_MAX} bytes"))
            }
            error => failure(&error),
        })?;
        Ok(Answer { status, retry_after, body })
    }
}

/// A pause that a service asks for, kept within limits.
pub fn retry_after_s(seconds: u64) -> Duration {
    Duration::from_secs(seconds.clamp(*RETRY_AFTER_S.start(), *RETRY_AFTER_S.end()))
}

/// What a service says, for the log: one line of limited length.
pub fn for_log(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).take(LOGGED_CHARS_MAX).collect()
}

fn failure(error: &ureq::Error) -> Failure {
    let text = https::tls_failure(error, TRUST).unwrap_or_else(|| error.to_string());
    if https::is_refused_by_tls(error) {
        return Failure::NotTrusted(text);
    }
    match error {
        ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::ConnectProxyFailed(_)
        | ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => Failure::NotSent(text),
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            Failure::NotSent(text)
        }
        _ => Failure::Lost(text),
    }
}
