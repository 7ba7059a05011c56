//! Sends the demo's requests, shows them, and compares the answers with what they should be.

use std::net::SocketAddr;

use serde_json::Value;

use crate::cli::http_client::HttpClient;
use crate::cli::print;

/// What the demo expects of an answer.
pub struct Expected {
    status: u16,
    /// The error code, where there is one.
    error_code: Option<&'static str>,
}

impl Expected {
    /// Success with a body.
    pub const OK: Self = Self::status(200);

    /// A status, and no error code.
    pub const fn status(status: u16) -> Self {
        Self { status, error_code: None }
    }

    /// A refusal.
    pub const fn refused(status: u16, error_code: &'static str) -> Self {
        Self { status, error_code: Some(error_code) }
    }
}

/// An answer, as far as the demo goes on from it.
pub struct Answered {
    /// Its ETag, or nothing.
    pub etag: String,
    /// Its body.
    pub body: Value,
}

/// See the module.
pub struct Stage {
    http: HttpClient,
    wrong: Vec<String>,
}

impl Stage {
    /// A stage on a server of this process.
    pub fn new(address: SocketAddr) -> Self {
        Self { http: HttpClient::new(&format!("http://{address}")), wrong: Vec::new() }
    }

    /// What every path is below.
    pub fn base(&self) -> &str {
        self.http.base()
    }

    /// Begins a scene.
    pub fn scene(&self, title: &str) -> Result<(), String> {
        print(&format!("\n== {title} ==\n"))
    }

    /// Sends a request, shows it and its answer, and notes whether that is what was expected.
    pub fn call(
        &mut self,
        what: &str,
        (method, path): (&str, &str),
        token: &str,
        if_none_match: Option<&str>,
        body: Option<&Value>,
        expected: &Expected,
    ) -> Result<Answered, String> {
        let mut shown = format!(
            "\n# {what}\n> {method} /session{path}\n> Authorization: Bearer {}…\n",
            token.get(..12).unwrap_or_default()
        );
        if let Some(etag) = if_none_match {
            shown += &format!("> If-None-Match: {etag}\n");
        }
        if let Some(body) = body {
            shown += &format!("> {body}\n");
        }
        let answer = self.http.send(method, path, token, if_none_match, body)?;
        shown += &format!("< {}\n", answer.status);
        for (name, value) in &answer.headers {
            shown += &format!("< {name}: {}\n", value.to_str().unwrap_or("…"));
        }
        if !answer.text.is_empty() {
            let pretty = serde_json::to_string_pretty(&answer.body).unwrap_or(answer.text);
            shown += &format!("{pretty}\n");
        }
        let code = answer.body["error_code"].as_str();
        let right = answer.status.as_u16() == expected.status && code == expected.error_code;
        shown += if right { "✓ as it should be\n" } else { "✗ not what the contract says\n" };
        self.check(what, right);
        print(&shown)?;
        let etag = answer.headers.get("etag").and_then(|etag| etag.to_str().ok()).unwrap_or_default();
        Ok(Answered { etag: etag.to_owned(), body: answer.body })
    }

    /// Notes what is wrong about the content of an answer.
    pub fn check(&mut self, what: &str, right: bool) {
        if !right {
            self.wrong.push(what.to_owned());
        }
    }

    /// Fails where anything was wrong.
    pub fn verdict(&self) -> Result<(), String> {
        if self.wrong.is_empty() {
            return Ok(());
        }
        Err(format!("not as it should be: {}", self.wrong.join("; ")))
    }
}
