//! What the answers of the allocator service of Agones mean.

use std::time::Duration;

use serde::Deserialize;

use crate::allocators::http_client::{Answer, Failure, for_log};
use crate::allocators::{Found, HANDLE_BYTES_MAX, Placed, Placement, Reason};

/// How long to wait before a lost call is repeated: by then the service knows of the label that the call has set.
const CACHE_LAG: Duration = Duration::from_secs(3);
/// How long to wait after a call that met another one at the same game server.
const CONTENTION: Duration = Duration::from_millis(500);

/// How a game server ends whose description cannot be used. The service has taken it and cannot give it back.
const ENDS: &str = "its bridge ends it when the launch has failed";

/// The answer to a successful allocation. Fields that no one here needs are left out.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Allocated {
    game_server_name: String,
    #[serde(default)]
    ports: Vec<Port>,
    #[serde(default)]
    address: String,
}

#[derive(Deserialize)]
struct Port {
    #[serde(default)]
    name: String,
    port: u16,
}

/// The body of a failure, as gRPC gateways write it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
    message: String,
}

/// What an answer says about the allocation.
enum Outcome {
    Allocated(Placed),
    /// No game server matches.
    NoneAvailable(String),
    /// Other calls wanted the same game servers.
    Contention(String),
    NotSent(String),
    /// The call, or something at the service, must be mended by an operator.
    Wrong(String),
    /// The service may have taken a server.
    Lost(String),
}

/// The answer to the request that takes a server.
pub fn placement(answer: Result<Answer, Failure>, port_name: Option<&str>) -> Placement {
    match outcome(answer, port_name) {
        Outcome::Allocated(placed) => Placement::Placed(placed),
        Outcome::NoneAvailable(detail) => {
            Placement::Later { retry_after: None, reason: Reason::NoCapacity, detail }
        }
        Outcome::Contention(detail) => {
            Placement::Later { retry_after: Some(CONTENTION), reason: Reason::Unavailable, detail }
        }
        Outcome::NotSent(detail) => {
            Placement::Later { retry_after: None, reason: Reason::Unavailable, detail }
        }
        Outcome::Wrong(detail) => Placement::Never { reason: Reason::Misconfigured, detail },
        Outcome::Lost(detail) => {
            Placement::Unknown { retry_after: Some(CACHE_LAG), is_starting: false, detail }
        }
    }
}

/// The answer to the request that takes no server.
///
/// # Errors
/// Why it cannot be told whether there is a server, for the log.
pub fn found(answer: Result<Answer, Failure>, port_name: Option<&str>) -> Result<Found, String> {
    match outcome(answer, port_name) {
        Outcome::Allocated(placed) => Ok(Found::Placed(placed)),
        Outcome::NoneAvailable(_) => Ok(Found::Absent),
        Outcome::Contention(detail)
        | Outcome::NotSent(detail)
        | Outcome::Wrong(detail)
        | Outcome::Lost(detail) => Err(detail),
    }
}

fn outcome(answer: Result<Answer, Failure>, port_name: Option<&str>) -> Outcome {
    let answer = match answer {
        Ok(answer) => answer,
        Err(Failure::NotSent(detail)) => return Outcome::NotSent(detail),
        Err(Failure::NotTrusted(detail)) => return Outcome::Wrong(detail),
        Err(Failure::Lost(detail)) => return Outcome::Lost(detail),
    };
    if answer.status == 200 {
        return match placed(&answer.body, port_name) {
            Ok(placed) => Outcome::Allocated(placed),
            Err(cause) => Outcome::Wrong(cause),
        };
    }
    let body: Status = serde_json::from_slice(&answer.body).unwrap_or_default();
    let detail = format!("the allocator service answered {}: {}", answer.status, for_log(&body.message));
    match status(answer.status, body.code) {
        429 => Outcome::NoneAvailable(detail),
        409 => Outcome::Contention(detail),
        501 => Outcome::Wrong(detail),
        408 | 499 | 500.. => Outcome::Lost(detail),
        _ => Outcome::Wrong(detail),
    }
}

/// The status that decides: what the code of gRPC in the body means, because a setting of the service or a proxy can
/// change the status. Without a known code it is the status itself. If Kubernetes refuses a request, the service passes
/// its HTTP status on as the code, which the gateway does not know and answers with 500.
fn status(status: u16, code: u16) -> u16 {
    match code {
        // Resource exhausted: no game server. Aborted: contention.
        8 => 429,
        10 => 409,
        // Invalid argument, not found, permission denied, failed precondition, out of range, unimplemented,
        // unauthenticated.
        3 | 5 | 7 | 9 | 11 | 12 | 16 => 400,
        // Cancelled, unknown, deadline exceeded, internal, unavailable, data loss.
        1 | 2 | 4 | 13 | 14 | 15 => 503,
        400..600 if status == 500 => code,
        _ => status,
    }
}

fn placed(body: &[u8], port_name: Option<&str>) -> Result<Placed, String> {
    let body: Allocated = serde_json::from_slice(body).map_err(|error| {
        format!("the answer is not that of an allocator service: {}", for_log(&error.to_string()))
    })?;
    let handle = body.game_server_name;
    if handle.is_empty() || handle.len() > HANDLE_BYTES_MAX {
        return Err("the answer names no game server".into());
    }
    let port = match port_name {
        None => body.ports.first(),
        Some(wanted) => {
            let port = body.ports.iter().find(|port| port.name == wanted);
            Some(port.ok_or_else(|| format!("game server {handle} has no port named {wanted:?}; {ENDS}"))?)
        }
    };
    let port = port.map(|port| port.port);
    if body.address.is_empty() {
        return Err(format!("game server {handle} has no address; {ENDS}"));
    }
    Ok(Placed { host: Some(body.address), handle, port })
}
