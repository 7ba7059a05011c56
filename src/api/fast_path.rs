//! The fast path: Get Platform Session Info, answered at once where all it takes is in memory.
//!
//! It knows successes only. Whatever is unusual in a request (a query, an escape in the path, a token not seen
//! before, a session not in memory, any refusal) it leaves to the way that every operation goes, which alone knows how
//! to read and to refuse. Tests hold the two against each other.

use http::{Method, request};

use super::credentials;
use super::operation::Operation;
use super::platform_view::platform_document;
use super::reply::Answer;
use super::routes::{PLATFORM_SESSION, PREFIX};
use super::session::present;
use crate::app::App;
use crate::auth::{Permission, Policy};
use crate::domain::{Actor, Platform};

/// What the fast path is a short cut for: a row of the surface.
pub struct FastPath {
    /// The row's index.
    pub operation: usize,
    policy: Policy,
}

impl FastPath {
    /// The short cut, where the surface has the operation.
    pub fn of(operations: &[Operation]) -> Option<Self> {
        let is_it = |row: &Operation| row.method == Method::GET && row.path == PLATFORM_SESSION;
        let operation = operations.iter().position(is_it)?;
        Some(Self { operation, policy: operations[operation].policy })
    }

    /// The answer, where everything is usual and at hand.
    pub fn answer(&self, app: &App, cookie: &str, head: &request::Parts) -> Option<Answer> {
        let (platform, id) = names(head)?;
        let now_ms = app.clock.now_ms();
        let token = app.verifier.remembered(credentials::token(&head.headers, cookie).ok()?, now_ms)?;
        let caller = self.policy.admit(token).ok()?;
        let live = app.sessions.at_hand(platform, id).filter(|live| live.deadline_ms() > now_ms)?;
        let may_read = match caller.actor_unless(Permission::ReadAny) {
            Actor::Anyone => true,
            Actor::Player(player) => live.is_active(player),
            Actor::Nobody => false,
        };
        if !may_read {
            return None;
        }
        present(app, &caller, &live);
        let document = platform_document(&live, platform)?;
        Some(Answer::document(document))
    }
}

/// The platform session that a request asks for, where it is spelled plainly.
fn names(head: &request::Parts) -> Option<(Platform, &str)> {
    if head.method != Method::GET || head.uri.query().is_some() {
        return None;
    }
    let rest = head.uri.path().strip_prefix(PREFIX)?.strip_prefix("/v1/platform/")?;
    let (platform, rest) = rest.split_once('/')?;
    let id = rest.strip_prefix("platform-session/")?;
    let is_plain = !id.bytes().any(|byte| matches!(byte, b'/' | b'%'));
    is_plain.then_some((platform.parse().ok()?, id))
}
