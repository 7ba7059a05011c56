//! Sends the requests of the demo, prints them with their answers, and checks the answers.

use std::net::SocketAddr;

use serde_json::Value;
use ureq::tls::TlsConfig;

use crate::cli::http_client::HttpClient;
use crate::cli::print;

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
    http: HttpClient,
    failed: Vec<String>,
}

impl Runner {
    /// A runner for the server at this address.
    pub fn new(address: SocketAddr) -> Self {
        Self { http: HttpClient::new(&format!("http://{address}"), TlsConfig::default()), failed: Vec::new() }
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
        let DemoRequest { what, method, path, token, if_none_match, body } = request;
        let mut shown = format!(
            "\n# {what}\n> {method} /session{path}\n> Authorization: Bearer {}…\n",
            token.get(..12).unwrap_or_default()
        );
        if let Some(etag) = if_none_match {
            shown += &format!("> If-None-Match: {etag}\n");
        }
        if let Some(body) = &body {
            shown += &format!("> {body}\n");
        }
        let answer = self.http.send(method, &path, token, if_none_match, body.as_ref())?;
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
