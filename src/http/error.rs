//! A failure becomes a status and an error code, here only.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;

use super::input::violation::Violation;
use super::reply::Answer;
use crate::app::Failure;
use crate::auth::{Denied, Enough};
use crate::domain::Refused;
use crate::store::StoreError;

/// How long a caller should wait before trying again when the store could not take a write, in seconds.
const RETRY_AFTER_S: u64 = 1;

/// Everything that can go wrong with a request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No token came with the request.
    #[error("a bearer token is needed, in the Authorization header or the cookie")]
    TokenMissing,
    /// The token does not verify.
    #[error("the token was refused: {0}")]
    TokenInvalid(String),
    /// The token grants too little; any of these would have been enough.
    #[error("the token does not grant the permission that this needs: any of {0}")]
    PermissionDenied(Enough),
    /// The operation acts as a player and the token names none.
    #[error("this operation acts as a player, and the token names none")]
    PlayerRequired,
    /// The request breaks the contract; every way in which it does.
    #[error("the request is not valid")]
    Invalid(Vec<Violation>),
    /// A rule said no.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// No operation has this path.
    #[error("there is nothing at this path")]
    PathNotFound,
    /// The path has other methods; they are listed.
    #[error("this path does not take this method")]
    MethodNotAllowed(String),
    /// The body broke off, or its chunks are not as HTTP has them.
    #[error("the body ended early or is not framed as HTTP asks")]
    BodyBroken,
    /// The body did not arrive in time.
    #[error("the request took too long to arrive")]
    RequestTimeout,
    /// The body is larger than allowed (bytes).
    #[error("the body is larger than {0} bytes")]
    BodyTooLarge(usize),
    /// The path and query are longer than allowed (bytes).
    #[error("the path is longer than {0} bytes")]
    PathTooLong(usize),
    /// The headers are larger than allowed (bytes).
    #[error("the headers are larger than {0} bytes")]
    HeadersTooLarge(usize),
    /// The server has as many connections as it takes.
    #[error("the server has as many connections as it takes; try again")]
    TooManyConnections,
    /// Too many writers raced for the same session.
    #[error("too many changes at once; try again")]
    Contended,
    /// The store could not do it; the cause is for the log.
    #[error("the service cannot do this right now; try again")]
    Unavailable(StoreError),
    /// The operation took longer than allowed; a write may or may not have happened.
    #[error("the service took too long; try again")]
    TimedOut,
    /// A fault of ours; the cause is for the log.
    #[error("the service failed on this request")]
    Internal(String),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refused) => Self::Refused(refused),
            Failure::Store(error) => Self::Unavailable(error),
            Failure::Denied(denied) => denied.into(),
            Failure::Contended => Self::Contended,
            Failure::Panicked => Self::Internal("work for this request panicked".into()),
        }
    }
}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Permission(enough) => Self::PermissionDenied(enough),
            Denied::PlayerRequired => Self::PlayerRequired,
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error)
    }
}

/// The contract's error object. `auth_success` false tells a client to get a new token and try again, so it is
/// false for token failures only.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "HzApiErrorModel")]
pub struct ErrorBody {
    /// Whether the caller is known.
    #[serde(default = "yes")]
    pub auth_success: bool,
    /// A stable code, snake_case.
    pub error_code: &'static str,
    /// What went wrong, for people.
    pub desc: String,
    /// The framework's text, where a path or method is unknown, for clients that read that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'static str>,
}

fn yes() -> bool {
    true
}

impl Error {
    /// The status and code of every failure, sorted by status. Codes are stable: clients compare them.
    pub fn parts(&self) -> (StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::BodyBroken => (S::BAD_REQUEST, "body_broken"),

            Self::TokenMissing => (S::FORBIDDEN, "token_missing"),
            Self::TokenInvalid(_) => (S::FORBIDDEN, "token_invalid"),
            Self::PermissionDenied(_) => (S::FORBIDDEN, "permission_denied"),
            Self::PlayerRequired => (S::FORBIDDEN, "player_required"),
            Self::Refused(refused) => refused_parts(refused),

            Self::PathNotFound => (S::NOT_FOUND, "path_not_found"),

            Self::MethodNotAllowed(_) => (S::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::RequestTimeout => (S::REQUEST_TIMEOUT, "request_timeout"),
            Self::BodyTooLarge(_) => (S::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::PathTooLong(_) => (S::URI_TOO_LONG, "path_too_long"),
            Self::Invalid(_) => (S::UNPROCESSABLE_ENTITY, "validation_error"),
            Self::HeadersTooLarge(_) => (S::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large"),

            Self::Internal(_) => (S::INTERNAL_SERVER_ERROR, "internal_error"),

            Self::TooManyConnections => (S::SERVICE_UNAVAILABLE, "too_many_connections"),
            Self::Contended => (S::SERVICE_UNAVAILABLE, "contended"),
            Self::Unavailable(_) => (S::SERVICE_UNAVAILABLE, "store_unavailable"),
            Self::TimedOut => (S::SERVICE_UNAVAILABLE, "timed_out"),
        }
    }

    /// The answer that the caller sees.
    pub fn answer(&self) -> Answer {
        let (status, error_code) = self.parts();
        if let Self::Invalid(violations) = self {
            return Answer::json(status, &serde_json::json!({ "detail": violations }));
        }
        let body = ErrorBody {
            auth_success: !matches!(self, Self::TokenMissing | Self::TokenInvalid(_)),
            error_code,
            desc: self.to_string(),
            detail: match self {
                Self::PathNotFound => Some("Not Found"),
                Self::MethodNotAllowed(_) => Some("Method Not Allowed"),
                _ => None,
            },
        };
        let mut answer = Answer::json(status, &body);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            answer.headers.insert(header::RETRY_AFTER, RETRY_AFTER_S.into());
        }
        if let Self::MethodNotAllowed(allowed) = self
            && let Ok(allowed) = HeaderValue::from_maybe_shared(Bytes::from(allowed.clone()))
        {
            answer.headers.insert(header::ALLOW, allowed);
        }
        answer
    }

    /// Says once, in the log, what an operator can act on. What callers do wrong is not news.
    pub fn log(&self, operation: &str) {
        match self {
            Self::Unavailable(cause) => tracing::error!(operation, %cause, "the store failed a request"),
            Self::Internal(cause) => tracing::error!(operation, %cause, "a request failed by our fault"),
            Self::TimedOut => {
                tracing::warn!(operation, "a request took longer than [http] request_timeout_s")
            }
            Self::Contended => tracing::warn!(operation, "a change lost every race for its session"),
            _ => tracing::debug!(operation, code = self.parts().1, "refused"),
        }
    }
}

/// Refusals: what is not there is 404, also where the published contract forgot to list it (its clients rely on
/// `session_not_found`); a rule that says no is 403.
fn refused_parts(refused: &Refused) -> (StatusCode, &'static str) {
    use StatusCode as S;
    match refused {
        Refused::SessionTypeNotCreatable => (S::BAD_REQUEST, "session_type_not_creatable"),

        Refused::NotActiveInSession => (S::FORBIDDEN, "not_active_in_session"),
        Refused::NotSessionLeader => (S::FORBIDDEN, "not_session_leader"),
        Refused::RightNotHeld(_) => (S::FORBIDDEN, "session_right_missing"),
        Refused::NotSessionHost => (S::FORBIDDEN, "not_session_host"),
        Refused::InstanceExists => (S::FORBIDDEN, "instance_exists"),
        Refused::AllocationMismatch => (S::FORBIDDEN, "allocation_mismatch"),
        Refused::AllocationInUse => (S::FORBIDDEN, "allocation_in_use"),
        Refused::TooManyGuesses => (S::FORBIDDEN, "too_many_guesses"),
        Refused::NotForBrowser => (S::FORBIDDEN, "not_for_browser"),
        Refused::JoinForOthers => (S::FORBIDDEN, "join_for_others"),
        Refused::TooManyInvites => (S::FORBIDDEN, "too_many_invites"),
        Refused::TooManySessions => (S::FORBIDDEN, "too_many_sessions"),
        Refused::AlreadyInSession => (S::FORBIDDEN, "already_in_session"),
        Refused::PlayerNotActive => (S::FORBIDDEN, "player_not_active"),
        Refused::LeaderNotKickable => (S::FORBIDDEN, "leader_not_kickable"),
        Refused::LeaderNotSwappable => (S::FORBIDDEN, "leader_not_swappable"),
        Refused::SameTeam => (S::FORBIDDEN, "same_team"),
        Refused::SessionNotJoinable => (S::FORBIDDEN, "session_not_joinable"),
        Refused::WrongPassword => (S::FORBIDDEN, "wrong_password"),
        Refused::VersionMismatch => (S::FORBIDDEN, "version_mismatch"),
        Refused::CrossplayMismatch => (S::FORBIDDEN, "crossplay_mismatch"),
        Refused::TeamFull => (S::FORBIDDEN, "team_full"),
        Refused::SessionFull => (S::FORBIDDEN, "session_full"),
        Refused::SessionTooLarge => (S::FORBIDDEN, "session_too_large"),
        Refused::TeamNotEmpty => (S::FORBIDDEN, "team_not_empty"),
        Refused::TeamTooFull => (S::FORBIDDEN, "team_too_full"),
        Refused::PlatformSessionInUse => (S::FORBIDDEN, "platform_session_in_use"),
        Refused::PlatformAlreadyLinked => (S::FORBIDDEN, "platform_already_linked"),

        Refused::SessionNotFound => (S::NOT_FOUND, "session_not_found"),
        Refused::InstanceNotFound => (S::NOT_FOUND, "instance_not_found"),
        Refused::ListingNotFound => (S::NOT_FOUND, "browser_info_not_found"),
        Refused::PlayerNotFound => (S::NOT_FOUND, "player_not_found"),
        Refused::TeamNotFound => (S::NOT_FOUND, "team_not_found"),
        Refused::RegionNotFound => (S::NOT_FOUND, "region_not_found"),
        Refused::TemplateNotFound => (S::NOT_FOUND, "template_not_found"),
        Refused::InstanceTemplateNotFound => (S::NOT_FOUND, "instance_template_not_found"),
        Refused::PlatformSessionNotFound => (S::NOT_FOUND, "platform_session_not_found"),
        Refused::PlatformNotInTemplate(_) => (S::NOT_FOUND, "platform_not_in_template"),

        Refused::ShortCodeExists => (S::CONFLICT, "short_code_exists"),
        Refused::ShortCodeTaken => (S::SERVICE_UNAVAILABLE, "short_code_taken"),
    }
}
