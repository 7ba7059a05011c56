//! The cursor of a long poll: what the player was told so far.
//!
//! A cursor carries the state itself, so no node stores what a client was told. It is not signed: a client that forges
//! one misleads only itself. As bytes:
//!
//! ```text
//! format 1 | player check 4 | position 4 | last message 8 | created ms 6 | subject 1 | count 1
//!          | count × (session 16, tag 8) | digest of the further sessions 8, if there are any
//! ```

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::domain::PlayerUuid;

/// Longest text that is decoded, in characters.
pub const CURSOR_CHARS_MAX: usize = 8_192;
/// Most sessions that a cursor names. Of further ones it has a digest.
pub const SESSIONS_MAX: usize = 160;

const FORMAT: u8 = 1;
/// Numbers of subjects that are no session. A session has its place in the list, from 1 on.
const NO_SUBJECT: u8 = 0;
const START: u8 = 252;
const MESSAGE: u8 = 253;
const OTHER: u8 = 254;

/// Which version of a session the player was told: the first bytes of the digest in the ETag of the player's view.
pub type Tag = [u8; 8];

/// Instead of a version: the player was told a moment ago that the session is no longer on the list.
pub const GONE: Tag = [u8::MAX; 8];

/// What an entry with this cursor as its id is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Nothing: the cursor is the id of no entry.
    Nothing,
    /// Nothing: the poll came without a cursor, and nothing was told yet.
    Start,
    /// The last message.
    Message,
    /// A session that the cursor names.
    Session(Uuid),
    /// A session that the cursor does not name: the player is no longer in it, or it is one of the further sessions.
    Other,
}

/// What a player was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The number of entries before this. It tells the ids of one stream apart.
    pub position: u32,
    /// The number of the last message that was told; 0: none.
    pub last_message: u64,
    /// When the entry was made, in milliseconds since the epoch.
    pub created_ms: i64,
    /// What the entry with this id is about.
    pub subject: Subject,
    /// The sessions that the player knows of, each with its version or [`GONE`]. At most [`SESSIONS_MAX`].
    pub sessions: BTreeMap<Uuid, Tag>,
    /// The digest of the further sessions that the player was told; `None`: none.
    pub rest: Option<Tag>,
}

impl Cursor {
    /// The cursor of a player who was told nothing.
    pub fn nothing() -> Self {
        Self {
            position: 0,
            last_message: 0,
            created_ms: 0,
            subject: Subject::Nothing,
            sessions: BTreeMap::new(),
            rest: None,
        }
    }

    /// The cursor as text.
    pub fn encode(&self, player: PlayerUuid) -> String {
        let mut bytes = vec![FORMAT];
        bytes.extend(player_check(player));
        bytes.extend(self.position.to_be_bytes());
        bytes.extend(self.last_message.to_be_bytes());
        let [_, _, created @ ..] = self.created_ms.to_be_bytes();
        bytes.extend(created);
        bytes.push(self.subject_number());
        bytes.push(u8::try_from(self.sessions.len()).expect("a cursor names few sessions"));
        for (id, tag) in &self.sessions {
            bytes.extend(id.as_bytes());
            bytes.extend(tag);
        }
        bytes.extend(self.rest.iter().flatten());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn subject_number(&self) -> u8 {
        match self.subject {
            Subject::Nothing => NO_SUBJECT,
            Subject::Start => START,
            Subject::Message => MESSAGE,
            Subject::Other => OTHER,
            Subject::Session(id) => {
                let place = self.sessions.keys().position(|other| *other == id);
                place.and_then(|place| u8::try_from(place + 1).ok()).unwrap_or(OTHER)
            }
        }
    }

    /// Decodes a text; `None` if it is no cursor of this player.
    pub fn decode(text: &str, player: PlayerUuid) -> Option<Self> {
        if text.len() > CURSOR_CHARS_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let mut rest = Bytes(&bytes);
        if rest.take()? != [FORMAT] || rest.take()? != player_check(player) {
            return None;
        }
        let position = u32::from_be_bytes(rest.take()?);
        let last_message = u64::from_be_bytes(rest.take()?);
        let [a, b, c, d, e, f] = rest.take()?;
        let created_ms = i64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        let [subject, count] = rest.take()?;
        let count = usize::from(count);
        if count > SESSIONS_MAX {
            return None;
        }
        let mut sessions = BTreeMap::new();
        for _ in 0..count {
            let id = Uuid::from_bytes(rest.take()?);
            // Sorted, so that one state has one text.
            if sessions.last_key_value().is_some_and(|(last, _)| *last >= id) {
                return None;
            }
            sessions.insert(id, rest.take()?);
        }
        let subject = match subject {
            NO_SUBJECT => Subject::Nothing,
            START => Subject::Start,
            MESSAGE => Subject::Message,
            OTHER => Subject::Other,
            place => Subject::Session(*sessions.keys().nth(usize::from(place) - 1)?),
        };
        let digest = if rest.0.is_empty() { None } else { Some(rest.take()?) };
        let is_whole = rest.0.is_empty();
        is_whole.then_some(Self { position, last_message, created_ms, subject, sessions, rest: digest })
    }
}

/// Bytes that are read from the front.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const LENGTH: usize>(&mut self) -> Option<[u8; LENGTH]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }
}

/// Tells cursors of several players apart. It protects nothing: see the module.
fn player_check(player: PlayerUuid) -> [u8; 4] {
    let digest = Sha256::digest(player.0.as_bytes());
    [digest[0], digest[1], digest[2], digest[3]]
}

#[cfg(test)]
#[path = "cursor_tests.rs"]
mod tests;
