//! A small client of the API, for commands that call it.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde_json::Value;
use ureq::tls::TlsConfig;

use crate::api::PREFIX;
use crate::https;

/// Longest wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer, in bytes. A session of the largest configurable size is smaller as JSON.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// How to trust the certificate authority of a server.
const TRUST: &str = "name the file of its certificate authority with --ca-file, or in SSL_CERT_FILE";

/// A client of one server.
pub struct HttpClient {
    /// URL of the server, without a path.
    root: String,
    base: String,
    agent: ureq::Agent,
}

/// An answer of any status.
pub struct HttpAnswer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as text.
    pub text: String,
    /// The body as JSON, or null if it is not JSON.
    pub body: Value,
}

impl HttpClient {
    /// A client of the server at a URL such as `http://127.0.0.1:7700`. `tls` says whom it trusts at `https://`.
    pub fn new(server: &str, tls: TlsConfig) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .tls_config(tls)
            // The server is on this machine or network: ignore a proxy that the environment names.
            .proxy(None)
            .timeout_global(Some(ANSWER_TIMEOUT))
            .build()
            .into();
        let root = server.trim_end_matches('/').to_owned();
        Self { base: format!("{root}{PREFIX}"), root, agent }
    }

    /// URL of the API, which paths are relative to.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends a request to a path below the prefix.
    ///
    /// # Errors
    /// If there is no answer, or one that is too large or not UTF-8. The message names the server.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        token: &str,
        if_none_match: Option<&str>,
        body: Option<&Value>,
    ) -> Result<HttpAnswer, String> {
        self.send_to_root(method, &format!("{PREFIX}{path}"), &format!("Bearer {token}"), if_none_match, body)
    }

    /// Sends a request to any path, with this `Authorization` header.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_to_root(
        &self,
        method: &str,
        path: &str,
        authorization: &str,
        if_none_match: Option<&str>,
        body: Option<&Value>,
    ) -> Result<HttpAnswer, String> {
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.root))
            .header("authorization", authorization);
        if let Some(etag) = if_none_match {
            request = request.header("if-none-match", etag);
        }
        self.answer(request, body)
    }

    /// Gets a path below the prefix, and waits for at most `wait_s` seconds until its ETag is no longer `etag`.
    /// `wait_s` is less than the 30 seconds after which a request fails.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn wait(&self, path: &str, token: &str, etag: &str, wait_s: u32) -> Result<HttpAnswer, String> {
        let request = http::Request::get(format!("{}{path}", self.base))
            .header("authorization", format!("Bearer {token}"))
            .header("if-none-match", etag)
            .header("prefer", format!("wait={wait_s}"));
        self.answer(request, None)
    }

    fn answer(&self, request: http::request::Builder, body: Option<&Value>) -> Result<HttpAnswer, String> {
        let text = body.map_or_else(String::new, Value::to_string);
        let request = request.body(text).map_err(|error| error.to_string())?;
        let failed = |error: ureq::Error| match https::tls_failure(&error, TRUST) {
            Some(cause) => format!("{}: {cause}", self.base),
            None => format!("{}: {error}; is the server running?", self.base),
        };
        let mut response = self.agent.run(request).map_err(failed)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text =
            response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().map_err(failed)?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(HttpAnswer { status, headers, text, body })
    }
}
