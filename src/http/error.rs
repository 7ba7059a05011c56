//! Errors of requests. This is the only place that maps a failure to a status and an error code.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::input::prefer::PREFERENCE_APPLIED;
use super::input::this_machine::Elsewhere;
use super::input::violation::{Violation, ViolationKind};
use super::reply::Answer;
use crate::app::idempotency::KeyRefused;
use crate::app::login::LoginRefusal;
use crate::app::{Failure, Mismatch};
use crate::auth::{Denied, Enough, TokenError};
use crate::document::Document;
use crate::domain::Refused;
use crate::store::StoreError;

/// `Retry-After` of a 503, in seconds.
const RETRY_AFTER_S: u64 = 1;
/// `Retry-After` of a voice token that could not be had, in seconds.
const VOICE_RETRY_AFTER_S: u64 = 2;
/// `Retry-After` of a login beyond its limit, in seconds.
const LOGIN_RETRY_AFTER_S: u64 = 5;

/// The ways in which a request can fail. The texts are shown to callers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request has no token.
    #[error("a bearer token is required, in the Authorization header or in the cookie")]
    TokenMissing,
    /// The token is not valid.
    #[error("the token was refused: {0}")]
    TokenInvalid(TokenError),
    /// Another site may have sent this change, with the token that the browser keeps in the cookie.
    #[error(
        "with the token in the cookie, a browser may change something only from this server's own origin or one in \
         cors_origins; send the token in the Authorization header"
    )]
    CrossSite,
    /// The operation is for this machine, and the request may come from elsewhere.
    #[error(
        "this operation is for programs on the machine of the server: {0}; or, if every machine that reaches the server \
         is yours, start it with --insecure-expose-development-key"
    )]
    Elsewhere(Elsewhere),
    /// The token grants none of these permissions, each of which would be sufficient.
    #[error("the token does not grant the permission that this operation needs: any of {0}")]
    PermissionDenied(Enough),
    /// The operation acts as a player, but the token names none.
    #[error("this operation acts as a player, but the token names none")]
    PlayerRequired,
    /// The caller asks about the player of the token, but the token names none.
    #[error("this operation is about the player of the token, but the token names none")]
    TokenWithoutPlayer,
    /// A login is refused.
    #[error("{0}")]
    Login(LoginRefusal),
    /// Too many logins, or wrong passwords, in a short time.
    #[error("too many logins, or too many wrong passwords, in a short time; try again")]
    LoginLimited,
    /// The login has no key with this id.
    #[error("there is no key with this id")]
    KeyNotFound,
    /// The input does not match the API document; all violations.
    #[error("the request is not valid")]
    Invalid(Vec<Violation>),
    /// A rule refused the request.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// No operation has this path.
    #[error("no operation has this path")]
    PathNotFound,
    /// The path does not support the method; a list of the supported ones, for `Allow`.
    #[error("this path does not support this method")]
    MethodNotAllowed(String),
    /// The request has no valid `Host` header, or several.
    #[error("a request needs exactly one valid Host header")]
    HostInvalid,
    /// The body ended early, or its HTTP framing is invalid.
    #[error("the body ended early, or its HTTP framing is not valid")]
    BodyBroken,
    /// The body did not arrive in time.
    #[error("the body did not arrive in time")]
    RequestTimeout,
    /// The body is larger than this limit, in bytes.
    #[error("the body is larger than {0} bytes")]
    BodyTooLarge(usize),
    /// The path and query are longer than this limit, in bytes.
    #[error("the path and query are longer than {0} bytes")]
    PathTooLong(usize),
    /// The headers are larger than this limit, in bytes.
    #[error("the headers are larger than {0} bytes")]
    HeadersTooLarge(usize),
    /// The server has its maximum number of connections.
    #[error("the server has its maximum number of connections; try again")]
    TooManyConnections,
    /// A player has too many long polls on this node.
    #[error("the player has the maximum number of long polls on this server; end one of them")]
    TooManyListeners,
    /// This node holds no more long polls, or none more of services. The time after which to try again, in seconds.
    #[error("the server holds no more long polls; poll, and try again")]
    TooManyHeld {
        /// Drawn, so that clients do not come back at the same moment.
        retry_after_s: u64,
    },
    /// Bodies and answers in flight take all of the memory that they may have.
    #[error("the server is overloaded; try again")]
    Overloaded,
    /// The request demands a version of something that has none for it to compare.
    #[error("this operation changes nothing that has an ETag, so it cannot check If-Match; send it without")]
    PreconditionNotSupported,
    /// The resource does not have one of the versions that the request demands.
    #[error(
        "the resource is not what If-Match says{}; look at it, decide again, and send its current ETag",
        if .0.mismatch.has_weak_match { ": the tag would match, but a proxy has made it weak (W/), for example by compressing" } else { "" }
    )]
    PreconditionFailed(Box<PreconditionFailed>),
    /// The token names nobody, so the caller's keys could not be told from those of others.
    #[error("an Idempotency-Key needs a token that names a player or, with sub or client_id, a service")]
    IdempotencyKeyUnusable,
    /// An equal request with the same idempotency key is under way.
    #[error("an equal request with this Idempotency-Key is under way; repeat it to get its answer")]
    IdempotencyKeyInUse,
    /// The idempotency key was used for another request.
    #[error("this Idempotency-Key was used for another request")]
    IdempotencyKeyReused,
    /// The caller has used too many idempotency keys within an hour.
    #[error("too many Idempotency-Keys within an hour; use one for each write, and only where it matters")]
    TooManyIdempotencyKeys {
        /// Seconds until the caller may use further ones.
        retry_after_s: u64,
    },
    /// The answer to an equal request with the same idempotency key is stored, and cannot be read.
    #[error("this request was made before, and its answer cannot be read; look at what it has changed")]
    IdempotencyAnswerUnreadable,
    /// Concurrent changes of the same session came first in every attempt.
    #[error("other changes of the session came first; try again")]
    Contended,
    /// Concurrent posts to the same inbox came first in every attempt.
    #[error("other posts to the player's inbox came first; try again")]
    InboxContended,
    /// A voice service gives no token now. The log has the cause.
    #[error("the voice service gives no token now; try again")]
    VoiceUnavailable,
    /// The store failed. The cause goes only to the log.
    #[error("the service is temporarily unavailable; try again")]
    Unavailable(StoreError),
    /// The operation exceeded the request timeout. A write may or may not have happened.
    #[error("the server took too long to answer; try again")]
    TimedOut,
    /// A bug in the server. The cause goes only to the log.
    #[error("the server failed to process this request")]
    Internal(String),
}

/// What a caller needs to know of a condition that did not hold.
#[derive(Debug, Default)]
pub struct PreconditionFailed {
    /// How the resource differs from what the condition says.
    pub mismatch: Mismatch,
    /// Whether the caller prefers an answer without the resource.
    pub is_minimal: bool,
}

impl PreconditionFailed {
    /// The answer for the caller: the error object, and what the caller needs in order to decide again.
    fn answer(&self, error: &ErrorBody) -> Answer {
        let mut answer = Answer::json(StatusCode::PRECONDITION_FAILED, error);
        if let Some(current) = &self.mismatch.current {
            answer.etag = Some(current.etag.clone());
            if !self.is_minimal {
                answer.body = with_current(&answer.body, current);
            }
        }
        if self.is_minimal {
            answer.headers.insert(PREFERENCE_APPLIED, HeaderValue::from_static("return=minimal"));
        }
        answer
    }
}

/// The body of an error with the resource beside it. The resource is JSON already, so it is not rendered again.
fn with_current(error: &Bytes, current: &Document) -> Bytes {
    let members = error.strip_suffix(b"}").expect("an error is an object");
    [members, b",\"current\":", &current.body, b"}"].concat().into()
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refused) => Self::Refused(refused),
            Failure::Store(error) => Self::Unavailable(error),
            Failure::Denied(denied) => denied.into(),
            // The pipeline answers it like the equal request, unless that answer is gone already.
            Failure::Contended | Failure::Repeated => Self::Contended,
            Failure::InboxContended => Self::InboxContended,
            Failure::PreconditionFailed(mismatch) => Self::PreconditionFailed(Box::new(PreconditionFailed {
                mismatch: *mismatch,
                is_minimal: false,
            })),
            Failure::Panicked => Self::Internal("work for this request panicked".into()),
        }
    }
}

impl From<KeyRefused> for Error {
    fn from(refused: KeyRefused) -> Self {
        match refused {
            KeyRefused::Reused => Self::IdempotencyKeyReused,
            KeyRefused::InUse => Self::IdempotencyKeyInUse,
            KeyRefused::TooMany { retry_after_s } => Self::TooManyIdempotencyKeys { retry_after_s },
            KeyRefused::Unreadable => Self::IdempotencyAnswerUnreadable,
            KeyRefused::Store(error) => Self::Unavailable(error),
        }
    }
}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Permission(permissions) => Self::PermissionDenied(permissions),
            Denied::PlayerRequired => Self::PlayerRequired,
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error)
    }
}

/// The contract's error object. Clients get a new token and try again if `auth_success` is false, so it is false only
/// for failures of the token.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "HzApiErrorModel")]
pub struct ErrorBody {
    /// Whether the token is valid. If it is false, get a new token and repeat the request.
    #[serde(default = "yes")]
    pub auth_success: bool,
    /// Stable code of the failure, for programs.
    pub error_code: &'static str,
    /// Description of the failure, for people.
    pub desc: String,
    /// Text of the contract's framework for an unknown path or method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'static str>,
}

/// The error object of a condition that did not hold.
#[derive(JsonSchema)]
#[schemars(rename = "PreconditionFailed")]
pub struct PreconditionFailedBody {
    /// The error object of all failures.
    #[serde(flatten)]
    pub error: ErrorBody,
    /// The resource as the caller would read it now. Absent if the caller may not read it, or prefers `return=minimal`.
    pub current: Option<Map<String, Value>>,
}

fn yes() -> bool {
    true
}

impl Error {
    /// Whether the store could not be asked, or did not answer in time.
    pub fn is_store_away(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::TimedOut)
    }

    /// The status and the error code, sorted by status. The codes never change, because clients compare them.
    pub fn parts(&self) -> (StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::HostInvalid => (S::BAD_REQUEST, "host_invalid"),
            Self::BodyBroken => (S::BAD_REQUEST, "body_broken"),
            Self::TokenWithoutPlayer => (S::BAD_REQUEST, "token_without_player"),
            Self::PreconditionNotSupported => (S::BAD_REQUEST, "precondition_not_supported"),
            Self::IdempotencyKeyUnusable => (S::BAD_REQUEST, "idempotency_key_unusable"),

            Self::TokenMissing => (S::FORBIDDEN, "token_missing"),
            Self::TokenInvalid(_) => (S::FORBIDDEN, "token_invalid"),
            Self::CrossSite => (S::FORBIDDEN, "cross_site"),
            Self::Elsewhere(_) => (S::FORBIDDEN, "not_this_machine"),
            Self::PermissionDenied(_) => (S::FORBIDDEN, "permission_denied"),
            Self::PlayerRequired => (S::FORBIDDEN, "player_required"),
            Self::Refused(refused) => refused_parts(refused),
            Self::Login(refusal) => (S::FORBIDDEN, refusal.code()),

            Self::PathNotFound => (S::NOT_FOUND, "path_not_found"),
            Self::KeyNotFound => (S::NOT_FOUND, "key_not_found"),

            Self::MethodNotAllowed(_) => (S::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::IdempotencyKeyInUse => (S::CONFLICT, "idempotency_key_in_use"),
            Self::RequestTimeout => (S::REQUEST_TIMEOUT, "request_timeout"),
            Self::TooManyListeners => (S::CONFLICT, "too_many_listening_to_single_client"),
            Self::PreconditionFailed(_) => (S::PRECONDITION_FAILED, "precondition_failed"),
            Self::BodyTooLarge(_) => (S::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::PathTooLong(_) => (S::URI_TOO_LONG, "path_too_long"),
            Self::IdempotencyKeyReused => (S::UNPROCESSABLE_ENTITY, "idempotency_key_reused"),
            Self::Invalid(_) => (S::UNPROCESSABLE_ENTITY, "validation_error"),
            Self::HeadersTooLarge(_) => (S::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large"),

            Self::Internal(_) => (S::INTERNAL_SERVER_ERROR, "internal_error"),

            Self::TooManyConnections => (S::SERVICE_UNAVAILABLE, "too_many_connections"),
            Self::TooManyHeld { .. } => (S::SERVICE_UNAVAILABLE, "connection_limit_reached"),
            Self::Overloaded => (S::SERVICE_UNAVAILABLE, "overloaded"),
            Self::TooManyIdempotencyKeys { .. } => (S::SERVICE_UNAVAILABLE, "too_many_idempotency_keys"),
            Self::IdempotencyAnswerUnreadable => (S::SERVICE_UNAVAILABLE, "idempotency_answer_unreadable"),
            Self::Contended | Self::InboxContended => (S::SERVICE_UNAVAILABLE, "contended"),
            Self::VoiceUnavailable => (S::SERVICE_UNAVAILABLE, "voice_unavailable"),
            Self::Unavailable(_) => (S::SERVICE_UNAVAILABLE, "store_unavailable"),
            Self::TimedOut => (S::SERVICE_UNAVAILABLE, "timed_out"),
            Self::LoginLimited => (S::SERVICE_UNAVAILABLE, "authentication_limited"),
        }
    }

    /// The answer for the caller, in the format of the session API.
    pub fn answer(&self) -> Answer {
        self.answer_with_code(self.parts().1)
    }

    /// The answer for the caller, with another error code. A 422 has no error code.
    pub fn answer_with_code(&self, error_code: &'static str) -> Answer {
        let (status, _) = self.parts();
        if matches!(self, Self::IdempotencyKeyReused) {
            let violation =
                ViolationKind::IDEMPOTENCY_KEY_REUSED.at(["header".into(), "idempotency-key".into()]);
            return Self::Invalid(vec![violation]).answer();
        }
        if let Self::Invalid(violations) = self {
            return Answer::json(status, &serde_json::json!({ "detail": violations }));
        }
        let body = ErrorBody {
            auth_success: !matches!(self, Self::TokenMissing | Self::TokenInvalid(_) | Self::Login(_)),
            error_code,
            desc: self.to_string(),
            detail: match self {
                Self::PathNotFound => Some("Not Found"),
                Self::MethodNotAllowed(_) => Some("Method Not Allowed"),
                _ => None,
            },
        };
        let mut answer = match self {
            Self::PreconditionFailed(failed) => failed.answer(&body),
            _ => Answer::json(status, &body),
        };
        if status == StatusCode::SERVICE_UNAVAILABLE || matches!(self, Self::IdempotencyKeyInUse) {
            let retry_after_s = match self {
                Self::LoginLimited => LOGIN_RETRY_AFTER_S,
                Self::VoiceUnavailable => VOICE_RETRY_AFTER_S,
                Self::TooManyHeld { retry_after_s } | Self::TooManyIdempotencyKeys { retry_after_s } => {
                    *retry_after_s
                }
                _ => RETRY_AFTER_S,
            };
            answer.headers.insert(header::RETRY_AFTER, retry_after_s.into());
        }
        if let Self::MethodNotAllowed(allowed) = self
            && let Ok(allowed) = HeaderValue::from_maybe_shared(Bytes::from(allowed.clone()))
        {
            answer.headers.insert(header::ALLOW, allowed);
        }
        answer
    }

    /// Logs the failure: as an error or a warning if an operator can act on it, and for debugging if the caller caused
    /// it.
    pub fn log(&self, operation: &str) {
        match self {
            Self::Unavailable(cause) => tracing::error!(operation, %cause, "the store failed a request"),
            Self::Internal(cause) => {
                tracing::error!(operation, %cause, "a request failed because of a bug in the server")
            }
            Self::TimedOut => {
                tracing::warn!(operation, "a request took longer than [http] request_timeout_s")
            }
            Self::Contended => tracing::warn!(operation, "a change lost every race for its session"),
            Self::InboxContended => tracing::warn!(operation, "a post lost every race for its inbox"),
            _ => tracing::debug!(operation, code = self.parts().1, "refused"),
        }
    }
}

/// The status and the error code of a refusal. A thing that does not exist gives 404, also where the published contract
/// lists no 404, since its clients rely on `session_not_found`. Any other refusal by a rule gives 403.
fn refused_parts(refused: &Refused) -> (StatusCode, &'static str) {
    use StatusCode as S;
    match refused {
        Refused::SessionTypeNotCreatable => (S::BAD_REQUEST, "session_type_not_creatable"),
        Refused::NotActiveInSession => (S::FORBIDDEN, "not_active_in_session"),
        Refused::NotSessionLeader => (S::FORBIDDEN, "not_session_leader"),
        Refused::RightNotHeld(_) => (S::FORBIDDEN, "session_right_missing"),
        Refused::NotSessionHost => (S::FORBIDDEN, "not_session_host"),
        Refused::InstanceExists => (S::FORBIDDEN, "instance_exists"),
        Refused::StartupParamsNotAllowed => (S::FORBIDDEN, "startup_params_not_allowed"),
        Refused::InstanceClosed => (S::FORBIDDEN, "instance_closed"),
        Refused::AllocationMismatch => (S::FORBIDDEN, "allocation_mismatch"),
        Refused::AllocationInUse => (S::FORBIDDEN, "allocation_in_use"),
        Refused::AuditFull => (S::FORBIDDEN, "audit_full"),
        Refused::TooManyGuesses => (S::FORBIDDEN, "too_many_guesses"),
        Refused::NotForBrowser => (S::FORBIDDEN, "not_for_browser"),
        Refused::JoinForOthers => (S::FORBIDDEN, "join_for_others"),
        Refused::TooManyInvites => (S::FORBIDDEN, "too_many_invites"),
        Refused::TooManyServers => (S::FORBIDDEN, "too_many_servers"),
        Refused::TooManySessions => (S::FORBIDDEN, "too_many_sessions"),
        Refused::AlreadyInSession => (S::FORBIDDEN, "already_in_session"),
        Refused::PlayerNotActive => (S::FORBIDDEN, "player_not_active"),
        Refused::PlayerKicked => (S::FORBIDDEN, "player_kicked"),
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
        Refused::MatchmakingNotAllowed => (S::FORBIDDEN, "matchmaking_not_allowed"),
        Refused::QueueInactive(_) => (S::FORBIDDEN, "queue_inactive"),
        Refused::QueueGroupTooLarge(..) => (S::FORBIDDEN, "queue_group_too_large"),
        Refused::QueueGroupEmpty => (S::FORBIDDEN, "queue_group_empty"),
        Refused::AlreadyInQueue => (S::FORBIDDEN, "already_in_queue"),
        Refused::PlayerAlreadyQueued => (S::FORBIDDEN, "player_already_queued"),
        Refused::NoMatchingTemplate(_) => (S::FORBIDDEN, "no_matching_template"),
        Refused::NoMatchingProfile => (S::FORBIDDEN, "no_matching_profile"),
        Refused::RegionCustomOnly => (S::FORBIDDEN, "region_custom_only"),
        Refused::MatchTooLarge(_) => (S::FORBIDDEN, "match_too_large"),
        Refused::VoipNotConfigured => (S::FORBIDDEN, "voip_not_configured"),
        Refused::EpicIdentityUnknown(_) => (S::FORBIDDEN, "epic_identity_unknown"),
        Refused::PlayerIsDeserter(..) => (S::FORBIDDEN, "player_is_deserter"),

        Refused::QueueNotFound(_) => (S::NOT_FOUND, "queue_not_found"),
        Refused::NotInQueue => (S::NOT_FOUND, "not_in_queue"),
        Refused::NotificationNotFound => (S::NOT_FOUND, "resource_not_found"),
        Refused::SessionNotFound => (S::NOT_FOUND, "session_not_found"),
        Refused::InstanceNotFound => (S::NOT_FOUND, "instance_not_found"),
        Refused::ListingNotFound => (S::NOT_FOUND, "browser_info_not_found"),
        Refused::PlayerNotFound => (S::NOT_FOUND, "player_not_found"),
        Refused::TeamNotFound => (S::NOT_FOUND, "team_not_found"),
        Refused::RegionNotFound => (S::NOT_FOUND, "region_not_found"),
        Refused::TemplateNotFound => (S::NOT_FOUND, "template_not_found"),
        Refused::InstanceTemplateNotFound => (S::NOT_FOUND, "instance_template_not_found"),
        Refused::MatchMakingTemplateNotFound => (S::NOT_FOUND, "match_making_template_not_found"),
        Refused::MatchMakingProfileNotFound => (S::NOT_FOUND, "match_making_profile_not_found"),
        Refused::TicketNotFound(_) => (S::NOT_FOUND, "ticket_not_found"),
        Refused::BackfillNotFound => (S::NOT_FOUND, "backfill_not_found"),
        Refused::DeserterNotFound => (S::NOT_FOUND, "deserter_not_found"),
        Refused::PlatformSessionNotFound => (S::NOT_FOUND, "platform_session_not_found"),
        Refused::PlatformNotInTemplate(_) => (S::NOT_FOUND, "platform_not_in_template"),

        Refused::ShortCodeExists => (S::CONFLICT, "short_code_exists"),
        Refused::ShortCodeTaken => (S::SERVICE_UNAVAILABLE, "short_code_taken"),
        Refused::DesertersUnread => (S::SERVICE_UNAVAILABLE, "contended"),
    }
}
