//! What the answers of a webhook mean.

use std::time::Duration;

use serde::Deserialize;

use crate::allocators::http_client::{Answer, Failure, for_log, retry_after_s};
use crate::allocators::{Found, HANDLE_BYTES_MAX, Placed, Placement, Reason};

/// Longest host name or address, in bytes: that of a name in DNS.
const HOST_BYTES_MAX: usize = 253;

/// The body of 200.
#[derive(Deserialize)]
struct PlacedBody {
    handle: String,
    host: Option<String>,
    port: Option<u16>,
}

/// Longest pause that the body of 202 can ask for, in seconds.
const STARTING_S_MAX: u64 = 30;

/// The pause after the service has refused to stop a server. The operator may repair it meanwhile.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// The body of 202: the server is being started, or stopped.
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
        Err(Failure::Lost(detail)) => return unknown(None, false, detail),
    };
    let (detail, retry_after) = (describe(&answer), answer.retry_after);
    match answer.status {
        200 => match placed(&answer.body) {
            Ok(placed) => Placement::Placed(placed),
            Err(cause) => unknown(None, false, format!("200: {cause}")),
        },
        202 => {
            let retry_after = asked_for(&answer);
            unknown(retry_after, true, "202: the server is being started".into())
        }
        429 | 503 => Placement::Later { retry_after, reason: Reason::Unavailable, detail },
        300..=399 => {
            let detail = format!("{detail}; redirects are not followed");
            Placement::Never { reason: Reason::Misconfigured, detail }
        }
        // The call did not arrive in time, or an earlier one with this Idempotency-Key is still under way. The service
        // may never come to its end, so this does not count as a start: the operator is told.
        408 | 409 => unknown(retry_after, false, detail),
        400..=499 => Placement::Never { reason: Reason::Refused, detail },
        _ => unknown(retry_after, false, detail),
    }
}

fn unknown(retry_after: Option<Duration>, is_starting: bool, detail: String) -> Placement {
    Placement::Unknown { retry_after, is_starting, detail }
}

/// What an answer means, and what else it says.
pub struct Heard<T> {
    /// What it means.
    pub meaning: T,
    /// How long the service wants to be left alone.
    pub retry_after: Option<Duration>,
    /// What has gone wrong, for the log.
    pub trouble: Option<String>,
}

/// What the answer to `release` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The server is gone.
    Gone,
    /// The server has not stopped yet, or that is not known.
    NotYet,
    /// The service refuses the call.
    Refused,
}

impl<T> Heard<T> {
    fn plain(meaning: T) -> Self {
        Self { meaning, retry_after: None, trouble: None }
    }

    fn trouble(meaning: T, retry_after: Option<Duration>, trouble: String) -> Self {
        Self { meaning, retry_after, trouble: Some(trouble) }
    }
}

/// The answer to `find`.
pub fn found(answer: Result<Answer, Failure>) -> Heard<Found> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(failure) => return Heard::trouble(Found::CannotTell, None, failure.into_text()),
    };
    match answer.status {
        200 => match placed(&answer.body) {
            Ok(placed) => Heard::plain(Found::Placed(placed)),
            Err(cause) => Heard::trouble(Found::CannotTell, None, format!("200: {cause}")),
        },
        202 => Heard { retry_after: asked_for(&answer), ..Heard::plain(Found::Starting) },
        404 | 410 => Heard::plain(Found::Absent),
        _ => Heard::trouble(Found::CannotTell, answer.retry_after, describe(&answer)),
    }
}

/// The answer to `release`.
pub fn stopped(answer: Result<Answer, Failure>) -> Heard<Stopped> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(failure) => return Heard::trouble(Stopped::NotYet, None, failure.into_text()),
    };
    match answer.status {
        200 | 204 | 404 | 410 => Heard::plain(Stopped::Gone),
        202 => Heard { retry_after: asked_for(&answer), ..Heard::plain(Stopped::NotYet) },
        // They are about every call: a wrong key, or an error in the service. The operator repairs it.
        401 | 403 | 405 | 422 => {
            let pause = answer.retry_after.unwrap_or(REFUSED_PAUSE);
            Heard::trouble(Stopped::NotYet, Some(pause), describe(&answer))
        }
        // 408 and 409 as for `place`, and 429 asks for fewer calls.
        400..=499 if !matches!(answer.status, 408 | 409 | 429) => {
            let pause = answer.retry_after.unwrap_or(REFUSED_PAUSE);
            Heard::trouble(Stopped::Refused, Some(pause), describe(&answer))
        }
        _ => Heard::trouble(Stopped::NotYet, answer.retry_after, describe(&answer)),
    }
}

/// The pause that the body of 202 asks for.
fn asked_for(answer: &Answer) -> Option<Duration> {
    let body: StartingBody = serde_json::from_slice(&answer.body).unwrap_or_default();
    body.retry_after_s.map(|seconds| retry_after_s(seconds.min(STARTING_S_MAX)))
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
