//! What the answers of a webhook mean.

use serde::Deserialize;

use crate::allocators::http_client::{Answer, Failure, for_log, retry_after_s};
use crate::allocators::{Found, HANDLE_BYTES_MAX, Placed, Placement, Reason, Released};

/// Longest host name or address, in bytes: that of a name in DNS.
const HOST_BYTES_MAX: usize = 253;

/// The body of 200.
#[derive(Deserialize)]
struct PlacedBody {
    handle: String,
    host: Option<String>,
    port: Option<u16>,
}

/// The body of 202: the server is being started.
#[derive(Default, Deserialize)]
#[serde(default)]
struct StartingBody {
    retry_after_s: Option<u64>,
}

/// The body of a refusal. Both fields are optional.
#[derive(Default, Deserialize)]
#[serde(default)]
struct RefusalBody {
    error_code: String,
    desc: String,
}

/// The answer to `place`.
pub fn placement(answer: Result<Answer, Failure>) -> Placement {
    let answer = match answer {
        Ok(answer) => answer,
        Err(Failure::NotSent(detail)) => {
            return Placement::Later { retry_after: None, reason: Reason::Unavailable, detail };
        }
        Err(Failure::NotTrusted(detail)) => {
            return Placement::Never { reason: Reason::Misconfigured, detail };
        }
        Err(Failure::Lost(detail)) => return Placement::Unknown { retry_after: None, detail },
    };
    let (detail, retry_after) = (describe(&answer), answer.retry_after);
    match answer.status {
        200 => match placed(&answer.body) {
            Ok(placed) => Placement::Placed(placed),
            Err(cause) => Placement::Unknown { retry_after: None, detail: format!("200: {cause}") },
        },
        202 => {
            let body: StartingBody = serde_json::from_slice(&answer.body).unwrap_or_default();
            let retry_after = body.retry_after_s.map(|seconds| retry_after_s(seconds.min(30)));
            Placement::Unknown { retry_after, detail: "202: the server is being started".into() }
        }
        429 | 503 => Placement::Later { retry_after, reason: Reason::Unavailable, detail },
        300..=399 => {
            let detail = format!("{detail}; redirects are not followed");
            Placement::Never { reason: Reason::Misconfigured, detail }
        }
        // 409: an earlier call with this Idempotency-Key is still under way. 408: the call did not arrive in time.
        408 | 409 => Placement::Unknown { retry_after, detail },
        400..=499 => Placement::Never { reason: Reason::Refused, detail },
        _ => Placement::Unknown { retry_after, detail },
    }
}

/// The answer to `find`.
///
/// # Errors
/// Why it cannot be told whether there is a server, for the log.
pub fn found(answer: Result<Answer, Failure>) -> Result<Found, String> {
    let answer = answer.map_err(Failure::into_text)?;
    match answer.status {
        200 => Ok(Found::Placed(placed(&answer.body)?)),
        404 | 410 => Ok(Found::Absent),
        202 => Ok(Found::CannotTell),
        _ => Err(describe(&answer)),
    }
}

/// The answer to `release`.
///
/// # Errors
/// Why it is not known whether the server is gone, for the log.
pub fn released(answer: Result<Answer, Failure>) -> Result<Released, String> {
    let answer = answer.map_err(Failure::into_text)?;
    match answer.status {
        200 | 204 | 404 | 410 => Ok(Released::Gone),
        202 => Ok(Released::Later),
        _ => Err(describe(&answer)),
    }
}

fn placed(body: &[u8]) -> Result<Placed, String> {
    let body: PlacedBody = serde_json::from_slice(body).map_err(|error| for_log(&error.to_string()))?;
    if body.handle.is_empty() || body.handle.len() > HANDLE_BYTES_MAX {
        return Err(format!("handle must have 1 to {HANDLE_BYTES_MAX} bytes"));
    }
    let is_host = |host: &String| {
        (1..=HOST_BYTES_MAX).contains(&host.len()) && host.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if !body.host.as_ref().is_none_or(is_host) {
        return Err("host is neither a name nor an address".into());
    }
    if body.port == Some(0) {
        return Err("port must be at least 1".into());
    }
    Ok(Placed { handle: body.handle, host: body.host, port: body.port })
}

/// Status, code and description of a refusal, for the log.
fn describe(answer: &Answer) -> String {
    let body: RefusalBody = serde_json::from_slice(&answer.body).unwrap_or_default();
    let text = [body.error_code, body.desc].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>();
    match for_log(&text.join(": ")) {
        text if text.is_empty() => format!("the service answered {}", answer.status),
        text => format!("the service answered {}: {text}", answer.status),
    }
}
