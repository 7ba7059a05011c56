//! The operations. Each takes typed input, asks the application, and answers; each folder is a noun of the API and has its
//! own `rows()`. This page lists the groups.

pub mod browser;
pub mod config;
pub mod examples;
pub mod fast_path;
pub mod instance;
pub mod platform;
pub mod player;
pub mod player_sessions;
pub mod policies;
pub mod rights;
pub mod session;
pub mod wire;

use http::StatusCode;

use crate::http::surface::{Group, Surface};

/// Every path of the session API starts with this.
pub const PREFIX: &str = "/session";

const MISSING: &[StatusCode] = &[StatusCode::NOT_FOUND];
const MISSING_OR_CONFLICT: &[StatusCode] = &[StatusCode::NOT_FOUND, StatusCode::CONFLICT];
const MISSING_OR_NOT_CREATABLE: &[StatusCode] = &[StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND];

/// What a reader of the API document needs before the first call.
const INTRODUCTION: &str = "\
Game sessions, and the platform sessions linked to them. Speaks the RallyHere session API.

**Authenticate** with a JWT: `Authorization: Bearer TOKEN`, or in a cookie. The server verifies \
tokens with the keys that its operator configured and issues none itself. Where it has no keys of its own it \
takes tokens of its development key, which \
`rallypoint token --player 11111111-1111-4111-8111-111111111111` prints. Each operation names the permission \
that the token must hold; `session:*` opens all of them.

**Failures** have a stable `error_code`, for programs, and a `desc`, for people. A 403 with `auth_success` false \
asks for a new token; with `auth_success` true the caller is known and may not. A 422 lists everything in the \
request that breaks this document. docs/API.md in the source lists every code and what to do about it.

**Poll** with the `ETag` of the last answer in `If-None-Match`: 304 says that nothing has changed. Nothing is \
pushed.";

/// The session API: its groups, in the order in which a reader meets them.
pub fn surface() -> Surface {
    let groups = vec![
        Group::new(session::TAG, session::rows()),
        Group::new(platform::TAG, platform::rows()),
        Group::new(player::TAG, player::rows()),
        Group::new(rights::TAG, rights::rows()),
        Group::new(player_sessions::TAG, player_sessions::rows()),
        Group::new(browser::TAG, browser::rows()),
        Group::new(instance::TAG, instance::rows()),
        Group::new(config::TAG, config::rows()),
    ];
    Surface::new(PREFIX, groups)
        .introduced(INTRODUCTION)
        .with_failures(examples::failures())
        .with_fast_path(fast_path::FastPath::of)
}
