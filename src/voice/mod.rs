//! Tokens for voice services. Those of Vivox are signed here. Those of Epic come from Epic. Nothing here knows a session
//! or a permission: what is asked for is allowed.

pub mod epic;
pub mod vivox;

use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

pub use self::epic::{Epic, EpicSettings};
pub use self::vivox::{Vivox, VivoxSettings};
use crate::domain::SessionId;

/// What stands for itself in the name of a channel or room. Everything else is percent-encoded.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'(')
    .remove(b')')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'=')
    .remove(b'_')
    .remove(b'~');

/// The voice services of a server; `None` for those that are not configured.
#[derive(Clone, Default)]
pub struct Voice {
    /// Signs tokens of Vivox.
    pub vivox: Option<Arc<Vivox>>,
    /// Asks Epic for tokens.
    pub epic: Option<Arc<Epic>>,
}

/// The name of a session's channel or room or, with a team, of that team's.
pub fn room_name(session: &SessionId, team_id: Option<usize>) -> String {
    let session = utf8_percent_encode(session.as_str(), PLAIN);
    match team_id {
        Some(team_id) => format!("{session}-{team_id}"),
        None => session.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_named_after_the_session_and_the_team() {
        let name = |id: &str, team_id| room_name(&SessionId::parse(id).unwrap(), team_id);
        let id = "6f1b5f0e-35a4-4b9f-8b63-5a1a6f1c2d3e";
        assert_eq!(name(id, None), id);
        assert_eq!(name(id, Some(1)), format!("{id}-1"));
        assert_eq!(name("a!()+-.=_~", None), "a!()+-.=_~");
        assert_eq!(name("a/é %", Some(0)), "a%2F%C3%A9%20%25-0");
    }
}
