//! Sends the requests of the demo, prints them with their answers, and checks the answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use ureq::tls::TlsConfig;

use crate::cli::http_client::{HttpAnswer, HttpClient};
use crate::cli::print;
use crate::env::Clock;
use crate::runtime::server::Server;

/// Longest time that a step of the demo takes.
pub const STEP_MAX: Duration = Duration::from_secs(60);
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Longest wait for a change, in seconds.
const WAIT_S: u32 = 20;

/// Looks until there is a result; `None` if there is none for too long.
pub fn look_until<T>(mut look: impl FnMut() -> Result<Option<T>, String>) -> Result<Option<T>, String> {
    let end = Clock::System.instant() + STEP_MAX;
    while Clock::System.instant() < end {
        if let Some(found) = look()? {
            return Ok(Some(found));
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
    Ok(None)
}

/// The expected status and error code of an answer.
pub struct Expected {
    status: u16,
    error_code: Option<&'static str>,
}

impl Expected {
    /// Success with a body.
    pub const OK: Self = Self::status(200);

    /// A status without an error code.
    pub const fn status(status: u16) -> Self {
        Self { status, error_code: None }
    }

    /// A refusal with an error code.
    pub const fn refused(status: u16, error_code: &'static str) -> Self {
        Self { status, error_code: Some(error_code) }
    }
}

/// A request of the demo.
pub struct DemoRequest<'a> {
    /// What the request shows.
    what: &'a str,
    method: &'static str,
    path: String,
    token: &'a str,
    if_none_match: Option<&'a str>,
    body: Option<Value>,
}

impl<'a> DemoRequest<'a> {
    /// A request with a token, to a path below the prefix of the API.
    pub fn new(what: &'a str, token: &'a str, method: &'static str, path: impl Into<String>) -> Self {
        Self { what, method, path: path.into(), token, if_none_match: None, body: None }
    }

    /// The same with a body.
    pub fn body(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }

    /// The same for a client that has the version with this ETag.
    pub fn if_none_match(self, etag: &'a str) -> Self {
        Self { if_none_match: Some(etag), ..self }
    }

    /// What the demo prints of it, without its body.
    fn shown(&self) -> String {
        let Self { what, method, path, .. } = self;
        let token = self.token.get(..12).unwrap_or_default();
        let mut shown = format!("\n# {what}\n> {method} /session{path}\n> Authorization: Bearer {token}…\n");
        if let Some(etag) = self.if_none_match {
            shown += &format!("> If-None-Match: {etag}\n");
        }
        shown
    }
}

/// The parts of an answer that later requests use.
pub struct Answered {
    /// The ETag, or an empty text.
    pub etag: String,
    /// The body as JSON.
    pub body: Value,
}

/// Runs requests against one server, and collects the failed checks.
pub struct Runner {
    http: Arc<HttpClient>,
    failed: Vec<String>,
}

impl Runner {
    /// A runner for the server at this address.
    pub fn new(address: SocketAddr) -> Self {
        let http = HttpClient::new(&format!("http://{address}"), TlsConfig::default());
        Self { http: Arc::new(http), failed: Vec::new() }
    }

    /// URL of the API, which paths are relative to.
    pub fn base(&self) -> &str {
        self.http.base()
    }

    /// Prints the title of a part of the demo.
    pub fn section(&self, title: &str) -> Result<(), String> {
        print(&format!("\n== {title} ==\n"))
    }

    /// Sends a request, prints it with its answer, and checks the status and the error code of the answer.
    pub fn call(&mut self, request: DemoRequest<'_>, expected: &Expected) -> Result<Answered, String> {
        let mut shown = request.shown();
        let DemoRequest { what, method, path, token, if_none_match, body } = request;
        if let Some(body) = &body {
            shown += &format!("> {body}\n");
        }
        let answer = self.http.send(method, &path, token, if_none_match, body.as_ref())?;
        self.show(what, shown, answer, expected)
    }

    /// Sends a GET that waits until its answer is no longer the one with this ETag. While the server holds it, `change`
    /// sends the request that ends the wait. Prints both, and the time from that request to the end of the wait.
    pub fn call_during_wait(
        &mut self,
        server: &Server,
        waiting: (DemoRequest<'_>, &str),
        change: (DemoRequest<'_>, &Expected),
    ) -> Result<Answered, String> {
        let (wait, etag) = (waiting.0.if_none_match(waiting.1), waiting.1);
        print(&format!("{}> Prefer: wait={WAIT_S}\n", wait.shown()))?;
        let (http, held_before) = (self.http.clone(), server.waits());
        std::thread::scope(|threads| {
            let waiting = threads.spawn(|| {
                let answer = http.wait(&wait.path, wait.token, etag, WAIT_S);
                (answer, Clock::System.instant())
            });
            let held = look_until(|| Ok((server.waits() > held_before).then_some(())))?;
            self.check("the server holds the request that waits", held.is_some());
            print("  the server holds this request until the answer changes\n")?;
            let changed_at = Clock::System.instant();
            self.call(change.0, change.1)?;
            let (answer, answered_at) = waiting.join().map_err(|_| "the thread that waits has failed")?;
            let took_ms = answered_at.duration_since(changed_at).as_secs_f64() * 1000.0;
            let woken = format!("\n# which has ended the wait: {took_ms:.1} ms later, its answer is\n");
            self.show(wait.what, woken, answer?, &Expected::OK)
        })
    }

    /// Prints an answer below what was shown of its request, and checks its status and its error code.
    fn show(
        &mut self,
        what: &str,
        mut shown: String,
        answer: HttpAnswer,
        expected: &Expected,
    ) -> Result<Answered, String> {
        shown += &format!("< {}\n", answer.status);
        for (name, value) in &answer.headers {
            shown += &format!("< {name}: {}\n", value.to_str().unwrap_or("…"));
        }
        if !answer.text.is_empty() {
            let pretty = serde_json::to_string_pretty(&answer.body).unwrap_or(answer.text);
            shown += &format!("{pretty}\n");
        }
        let code = answer.body["error_code"].as_str();
        let is_expected = answer.status.as_u16() == expected.status && code == expected.error_code;
        shown += &if is_expected {
            "✓ OK\n".to_owned()
        } else {
            let code = expected.error_code.map_or(String::new(), |code| format!(" {code}"));
            format!("✗ FAILED: the contract says {}{code}\n", expected.status)
        };
        self.check(what, is_expected);
        print(&shown)?;
        let etag = answer.headers.get("etag").and_then(|etag| etag.to_str().ok()).unwrap_or_default();
        Ok(Answered { etag: etag.to_owned(), body: answer.body })
    }

    /// Reads a path below the prefix, and prints nothing.
    pub fn read(&self, path: &str, token: &str) -> Result<Value, String> {
        self.http.send("GET", path, token, None, None).map(|answer| answer.body)
    }

    /// Notes a failed check under this name.
    pub fn check(&mut self, what: &str, holds: bool) {
        if !holds {
            self.failed.push(what.to_owned());
        }
    }

    /// Returns an error that names the failed checks, if there are any.
    pub fn result(&self) -> Result<(), String> {
        if self.failed.is_empty() {
            return Ok(());
        }
        Err(format!("not as the contract says: {}; report this as a bug", self.failed.join("; ")))
    }
}
