//! Asks the session API whether it still knows the allocation of a server.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;

use crate::api::PREFIX;
use crate::https;
use crate::secret_file;

/// Longest time of a call.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer that is read, in bytes. The session itself is not read.
const BYTES_MAX: u64 = 65_536;
/// The code of an answer that says that there is no such session. Another 404 comes from a proxy, for example.
const NOT_FOUND: &str = "session_not_found";
/// How to trust the certificate authority of the server.
const TRUST: &str = "name the file of its certificate authority with --ca-file";

/// What the session API says about an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// A session has it.
    Yes,
    /// No session has it.
    No,
}

/// A client of the session API, with a login of its own.
#[derive(Clone)]
pub struct SessionApi(Arc<Shared>);

struct Shared {
    base_url: String,
    authorization: String,
    agent: ureq::Agent,
    /// The token of the last login.
    token: Mutex<Option<String>>,
}

#[derive(Deserialize)]
struct Login {
    access_token: String,
}

/// The body of a refusal.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error_code: String,
}

impl SessionApi {
    /// A client of the server at this URL. Reads the secret.
    ///
    /// # Errors
    /// If a file cannot be used. The message names it.
    pub fn new(
        base_url: String,
        client_id: &str,
        client_secret_file: &Path,
        ca_file: Option<&Path>,
    ) -> Result<Self, String> {
        let secret = secret_file::read(client_secret_file)?;
        let secret = String::from_utf8_lossy(&secret);
        let basic = STANDARD.encode(format!("{client_id}:{}", secret.trim_end_matches(['\r', '\n'])));
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(TIMEOUT));
        if https::is_https(&base_url) {
            config = config.tls_config(https::trust(ca_file)?);
        }
        let (authorization, agent) = (format!("Basic {basic}"), config.build().into());
        Ok(Self(Arc::new(Shared { base_url, authorization, agent, token: Mutex::new(None) })))
    }

    /// Asks whether a session has this allocation.
    ///
    /// # Errors
    /// If the API cannot be asked now.
    pub async fn knows(&self, allocation_id: &str) -> Result<Known, String> {
        let (shared, allocation_id) = (self.0.clone(), allocation_id.to_owned());
        let asked = tokio::task::spawn_blocking(move || shared.knows(&allocation_id));
        asked.await.unwrap_or_else(|error| Err(error.to_string()))
    }
}

impl Shared {
    fn knows(&self, allocation_id: &str) -> Result<Known, String> {
        let kept = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let token = match kept {
            Some(token) => token,
            None => self.log_in()?,
        };
        let url = format!("{}{PREFIX}/v1/session/allocation/{allocation_id}", self.base_url);
        let request = self.agent.get(url).header("authorization", format!("Bearer {token}"));
        let mut answer = request.call().map_err(|error| failed(&error))?;
        let status = answer.status().as_u16();
        if status == 200 {
            return Ok(Known::Yes);
        }
        let body = answer.body_mut().with_config().limit(BYTES_MAX).read_to_vec().unwrap_or_default();
        let refusal: Refusal = serde_json::from_slice(&body).unwrap_or_default();
        if status == 404 && refusal.error_code == NOT_FOUND {
            return Ok(Known::No);
        }
        if matches!(status, 401 | 403) {
            // The token may have ended: the next call logs in again.
            *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        Err(format!("the session API answered {status} {}", refusal.error_code))
    }

    fn log_in(&self) -> Result<String, String> {
        let body = json!({
            "grant_type": "client_credentials",
            "include_refresh": false,
            "accept_eula": true,
            "accept_tos": true,
            "accept_privacy_policy": true,
        });
        let request = self.agent.post(format!("{}/users/v1/login", self.base_url));
        let request =
            request.header("authorization", &self.authorization).header("content-type", "application/json");
        let mut answer = request.send(body.to_string()).map_err(|error| failed(&error))?;
        let status = answer.status().as_u16();
        let body =
            answer.body_mut().with_config().limit(BYTES_MAX).read_to_vec().map_err(|error| failed(&error))?;
        if status != 200 {
            let refusal: Refusal = serde_json::from_slice(&body).unwrap_or_default();
            return Err(format!("the login answered {status} {}", refusal.error_code));
        }
        let login: Login = serde_json::from_slice(&body).map_err(|_| "the login answered without a token")?;
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(login.access_token.clone());
        Ok(login.access_token)
    }
}

fn failed(error: &ureq::Error) -> String {
    https::tls_failure(error, TRUST).unwrap_or_else(|| error.to_string())
}
