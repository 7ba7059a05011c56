//! The operations of the session API. Each folder is a noun of the API, and its `rows()` lists its operations. A
//! handler takes typed input, calls the application and builds the reply.

pub mod audit;
pub mod backfill;
pub mod browser;
mod change;
pub mod config;
pub mod deserter;
pub mod examples;
pub mod fast_path;
pub mod instance;
pub mod platform;
pub mod player;
pub mod player_sessions;
pub mod policies;
pub mod queue;
pub mod rights;
pub mod session;
pub mod voip;
pub mod wire;

pub use self::wire::view::session_document_of;

use http::StatusCode;

use crate::http::surface::{Group, Surface};

/// Prefix of every path of the session API.
pub const PREFIX: &str = "/session";

/// Statuses of failures of one operation, for [`Operation::may_fail`](crate::http::operation::Operation::may_fail).
const MISSING: &[StatusCode] = &[StatusCode::NOT_FOUND];
const MISSING_OR_CONFLICT: &[StatusCode] = &[StatusCode::NOT_FOUND, StatusCode::CONFLICT];
const MISSING_OR_NOT_CREATABLE: &[StatusCode] = &[StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND];

/// Introduction of the API document, in Markdown: what a client developer needs before the first call.
const INTRODUCTION: &str = "\
Game sessions, and the platform sessions that are linked to them. The server speaks the RallyHere session API.

**Authenticate** with a JWT, either as `Authorization: Bearer TOKEN` or in a cookie. The server verifies tokens \
with the keys that its operator configured. If no keys are configured, it has a login for development at \
`/users/v1/login`, and accepts tokens that are signed with its development key; \
`rallypoint token --player 11111111-1111-4111-8111-111111111111` prints such a token. The description of each \
operation names the permissions that the token needs. `session:*` grants all of them.

**Send** each value with the type that its schema names. In bodies, the server also accepts a number or a boolean in \
place of a text, and the usual spellings of numbers and booleans, and converts them.

**Failures** have a stable `error_code` for programs and a `desc` for people. After a 403 with `auth_success` \
false, get a new token. A 403 with `auth_success` true means that the token is valid, but the caller may not do \
this. A 422 lists every error in the request. docs/API.md in the source lists every code and what a client \
should do about it.

**Poll** with the `ETag` of the last answer in `If-None-Match`. The answer is 304 while nothing has changed. With \
`Prefer: wait=30` as well, it comes once something has changed.

**Change** only what you have read, with its `ETag` in `If-Match`. The answer is 412 if it has changed since then.";

/// The session API: its groups of operations, in the order of the API document.
pub fn surface() -> Surface {
    let groups = vec![
        Group::new(session::TAG, session::rows()),
        Group::new(platform::TAG, platform::rows()),
        Group::new(player::TAG, player::rows()),
        Group::new(rights::TAG, rights::rows()),
        Group::new(player_sessions::TAG, player_sessions::rows()),
        Group::new(browser::TAG, browser::rows()),
        Group::new(instance::TAG, instance::rows()),
        Group::new(queue::TAG, queue::rows()),
        Group::new(backfill::TAG, backfill::rows()),
        Group::new(deserter::TAG, deserter::rows()),
        Group::new(voip::TAG, voip::rows()),
        Group::new(audit::TAG, audit::rows()),
        Group::new(config::TAG, config::rows()),
    ];
    Surface::new(PREFIX, groups)
        .with_idempotency_keys()
        .with_introduction(INTRODUCTION)
        .with_failures(examples::failures())
        .with_fast_path(fast_path::PollFastPath::of)
}
