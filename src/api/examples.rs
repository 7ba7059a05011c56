//! Examples of requests, answers and failures for the API document. A test validates each against its schema.

#![allow(missing_docs, reason = "each name says which operation the example is for")]

use super::policies::READ_PLATFORM;
use crate::auth::TokenError;
use crate::domain::{Platform, Refused};
use crate::http::error::Error;
use crate::http::input::violation::{LocStep, ViolationKind};
use crate::http::operation::{Example, Operation};
use crate::http::surface::FailureExample;

const fn of(request: Option<&'static str>, answer: Option<&'static str>) -> Example {
    Example { request, answer }
}

const SESSION_BODY: &str = r#"{
  "type": "party",
  "session_id": "64eecb0d-6146-437d-8924-9d2197504044",
  "joinable": false,
  "joinability": { "open": false, "friends": false, "platform": true },
  "teams": [{
    "players": [{
      "player_uuid": "11111111-1111-4111-8111-111111111111",
      "status": "leader",
      "custom_data": {},
      "version": "1.0.0",
      "client_settings": { "platform": "XboxLive", "input": "gamepad" },
      "joined": "2026-11-24T06:08:16Z",
      "session_permissions": ["invite", "kick", "move"]
    }],
    "max_size": 4,
    "team_id": 0
  }],
  "teams_suppressed": false,
  "platform_session": [],
  "platform_scouts": {
    "XboxLive": { "player_uuid": "11111111-1111-4111-8111-111111111111", "platform": "XboxLive" }
  },
  "custom_data": { "map_vote": "dunes" },
  "created": "2026-11-24T06:08:16Z",
  "created_by_matchmaking": false
}"#;

const JOIN_BODY: &str = r#"{
  "client_version": "1.0.0",
  "client_settings": { "platform": "XboxLive", "input": "gamepad" },
  "team_id": 0
}"#;

const PLAYER_BODY: &str = r#"{
  "player_uuid": "22222222-2222-4222-8222-222222222222",
  "status": "member",
  "team_id": 0,
  "custom_data": {}
}"#;

const INSTANCE_BODY: &str = r#"{
  "instance_id": "5f0c7f2e-9a51-4e0b-8f0b-1a7f6f1c2d3e",
  "host_type": "dedicated",
  "join_status": "requested",
  "instance_startup_params": { "map": "Dunes", "mode": "arena", "misc_params": "-log", "custom_data": {} },
  "created": "2026-11-24T06:08:16Z",
  "custom_data": {}
}"#;

pub const CREATE_OR_JOIN: Example = of(
    Some(
        r#"{
  "session_type": "party",
  "client_version": "1.0.0",
  "client_settings": { "platform": "XboxLive", "input": "gamepad" }
}"#,
    ),
    Some(r#"{ "session_id": "64eecb0d-6146-437d-8924-9d2197504044" }"#),
);
pub const SESSION: Example = of(None, Some(SESSION_BODY));
pub const UPDATE_SESSION: Example = of(
    Some(r#"{ "joinability": { "open": false, "platform": true }, "custom_data": { "map_vote": "dunes" } }"#),
    Some(SESSION_BODY),
);
pub const JOIN: Example = of(Some(JOIN_BODY), Some(PLAYER_BODY));
pub const JOIN_THROUGH: Example = of(Some(JOIN_BODY), Some(SESSION_BODY));
pub const INVITE: Example = of(Some(r#"{ "team_id": 0, "custom_data": { "from": "friends_list" } }"#), None);
pub const SHORT_CODE: Example = of(None, Some(r#"{ "short_code": "4FJ7KQ" }"#));
pub const PLATFORM_SESSION: Example = of(
    None,
    Some(
        r#"{
  "platform": "XboxLive",
  "platform_session_type": "party",
  "platform_session_id_base64": "bXlnYW1lfnBhcnR5fjdmM2E5YzI=",
  "players": [{ "player_uuid": "11111111-1111-4111-8111-111111111111", "leader": true }],
  "custom_data": {}
}"#,
    ),
);
pub const PLAYER_SESSIONS: Example = of(
    None,
    Some(
        r#"{
  "sessions": {
    "party": {
      "type": "party",
      "session_ids": ["64eecb0d-6146-437d-8924-9d2197504044"],
      "pending_invites": {
        "0b8d6e0c-6a3e-4c9e-9d0e-3f2a1b5c7d9e": {
          "session_id": "0b8d6e0c-6a3e-4c9e-9d0e-3f2a1b5c7d9e",
          "inviting_player_uuid": "22222222-2222-4222-8222-222222222222"
        }
      },
      "reserved_sessions": []
    }
  }
}"#,
    ),
);
pub const INSTANCE: Example = of(
    Some(
        r#"{
  "host_type": "dedicated",
  "instance_startup_params": { "map": "Dunes", "mode": "arena", "misc_params": "-log" }
}"#,
    ),
    Some(INSTANCE_BODY),
);

/// Examples of failures that several operations share. The server itself renders their bodies.
pub fn failures() -> Vec<FailureExample> {
    let platforms = Platform::ALL.map(|platform| format!("'{platform}'"));
    let missing = ViolationKind::MISSING.at([LocStep::from("body"), LocStep::from("client_version")]);
    let platform = ViolationKind::not_permitted(platforms.into_iter())
        .at([LocStep::from("path"), LocStep::from("platform")]);
    let boolean = ViolationKind::NOT_BOOLEAN.at([LocStep::from("query"), LocStep::from("refresh_ttl")]);
    let precondition_failed = Error::PreconditionFailed(Box::default());
    let denied = Error::PermissionDenied(READ_PLATFORM.enough());
    let expired = Error::TokenInvalid(TokenError::Expired);
    vec![
        example("token_invalid", "A token that has expired", expired, |_| true),
        example("permission_denied", "A token without the permission", denied, |_| true),
        example(
            "not_active_in_session",
            "A rule that refuses the request",
            Refused::NotActiveInSession.into(),
            |row| names_session(row) || names_platform(row),
        ),
        example(
            "session_not_found",
            "A session that does not exist",
            Refused::SessionNotFound.into(),
            names_session,
        ),
        example(
            "platform_session_not_found",
            "A platform session that is not linked",
            Refused::PlatformSessionNotFound.into(),
            names_platform,
        ),
        example(
            "template_not_found",
            "A type of session that does not exist",
            Refused::TemplateNotFound.into(),
            |row| row.path.contains("{session_type}") || row.path.ends_with("/session"),
        ),
        example(
            "precondition_failed",
            "A session that is not what the caller has read; `current` is left out here",
            precondition_failed,
            |row| row.takes_if_match,
        ),
        example("field_missing", "A body without a required field", Error::Invalid(vec![missing]), |row| {
            row.has_body && (row.path.contains("/player/me") || row.path.ends_with("/session"))
        }),
        example("platform_unknown", "An unknown platform", Error::Invalid(vec![platform]), names_platform),
        example(
            "boolean_broken",
            "A parameter that is not a boolean",
            Error::Invalid(vec![boolean]),
            names_session,
        ),
    ]
}

fn example(
    name: &'static str,
    summary: &'static str,
    error: Error,
    fits: fn(&Operation) -> bool,
) -> FailureExample {
    let body = serde_json::from_slice(&error.answer().body).expect("errors are JSON");
    FailureExample { name, summary, status: error.parts().0, body, fits }
}

fn names_session(row: &Operation) -> bool {
    row.path.contains("{session_id}")
}

fn names_platform(row: &Operation) -> bool {
    row.path.contains("{platform}")
}
