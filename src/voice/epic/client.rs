//! The HTTP client of Epic's service. It blocks, and has limits of time and bytes. Redirects are not followed.

use std::time::Duration;

use crate::https;

/// Longest time of a call, from the connection to the end of the answer.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// Largest body of an answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 65_536;
/// How to trust the certificate authority of the service.
const TRUST: &str = "add it to the authorities of the system";

/// A call of Epic's service.
pub enum Call {
    /// A GET of this path and query.
    Get(String),
    /// A POST to this path, with a content type and a body.
    Post(String, &'static str, String),
}

/// The answer to a call.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body: at most [`ANSWER_BYTES_MAX`].
    pub body: Vec<u8>,
}

/// A client of one service.
pub struct Client {
    agent: ureq::Agent,
    /// The address, without a slash at the end.
    base_url: String,
}

impl Client {
    /// A client of the service at this address.
    ///
    /// # Errors
    /// If the address is neither at `https://` nor on this machine, or if the authorities of the system cannot be read.
    pub fn new(base_url: &str) -> Result<Self, String> {
        let (uri, local) = check_base_url(base_url)?;
        let mut config = ureq::Agent::config_builder()
            .timeout_global(Some(CALL_TIMEOUT))
            .max_redirects(0)
            .http_status_as_error(false);
        if local {
            // A proxy from the environment could send the plain request to another machine.
            config = config.proxy(None);
        }
        if uri.scheme_str() == Some("https") {
            config = config.tls_config(https::trust(None)?);
        }
        Ok(Self { agent: config.build().into(), base_url: base_url.trim_end_matches('/').to_owned() })
    }

    /// Makes a call. Blocks the thread for up to [`CALL_TIMEOUT`].
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn make(&self, call: Call, authorization: &str) -> Result<Answer, String> {
        let failed =
            |error: ureq::Error| https::tls_failure(&error, TRUST).unwrap_or_else(|| error.to_string());
        let response = match call {
            Call::Get(target) => {
                let request = self.agent.get(format!("{}{target}", self.base_url));
                request.header("authorization", authorization).call()
            }
            Call::Post(path, content_type, body) => {
                let request = self.agent.post(format!("{}{path}", self.base_url));
                request.header("authorization", authorization).header("content-type", content_type).send(body)
            }
        };
        let mut response = response.map_err(failed)?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        Ok(Answer { status, body: body.map_err(failed)? })
    }
}

/// Parses the address of the service. The flag says whether it names this machine. Paths are appended to it, so it has no
/// query; a password in it could get into the log.
pub fn check_base_url(base_url: &str) -> Result<(http::Uri, bool), String> {
    let (uri, local) = https::parse_url("base_url", base_url, "https://api.epicgames.dev")?;
    if https::has_user(&uri) || uri.query().is_some() {
        return Err("base_url takes a host, a port and a path, without a user, a password or a query".into());
    }
    Ok((uri, local))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_has_neither_a_user_nor_a_query() {
        for url in ["https://api.epicgames.dev", "https://a:8443/epic/", "http://127.0.0.1:80"] {
            assert!(check_base_url(url).is_ok(), "{url}");
        }
        for url in ["https://user:secret@a", "https://user@a", "https://a?x=1", "https://a/b?"] {
            let message = check_base_url(url).unwrap_err();
            assert!(!message.contains("secret") && message.contains("without a user"), "{message}");
        }
    }
}
