//! A small client of the API, for commands that are its users.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::api::PREFIX;

/// Longest wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer: more than a session as large as one can be configured takes as JSON.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// A client of one server.
pub struct HttpClient {
    base: String,
    agent: ureq::Agent,
}

/// An answer, whatever its status.
pub struct HttpAnswer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, as it came.
    pub text: String,
    /// Its body, where it is JSON; else null.
    pub body: Value,
}

impl HttpClient {
    /// A client of the server at a URL such as `http://127.0.0.1:7700`.
    pub fn new(server: &str) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // The server is on this machine or network; a proxy that the environment names has no business here.
            .proxy(None)
            .timeout_global(Some(ANSWER_TIMEOUT))
            .build()
            .into();
        Self { base: format!("{}{PREFIX}", server.trim_end_matches('/')), agent }
    }

    /// What every path is below.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends a request to a path below the prefix.
    ///
    /// # Errors
    /// Where there is no answer.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        token: &str,
        if_none_match: Option<&str>,
        body: Option<&Value>,
    ) -> Result<HttpAnswer, String> {
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("authorization", format!("Bearer {token}"));
        if let Some(etag) = if_none_match {
            request = request.header("if-none-match", etag);
        }
        let text = body.map_or_else(String::new, Value::to_string);
        let request = request.body(text).map_err(|error| error.to_string())?;
        let failed = |error: ureq::Error| format!("{}: {error}; is the server running?", self.base);
        let mut response = self.agent.run(request).map_err(failed)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text =
            response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().map_err(failed)?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(HttpAnswer { status, headers, text, body })
    }
}
