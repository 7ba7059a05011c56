//! The keys of live backfills.

use super::{BACKFILL, from_sortable, key, session_id, sortable};
use crate::domain::SessionId;
use crate::store::Key;

/// The index entry of a session whose host wants players of this profile. The time is in milliseconds since the epoch.
pub fn backfill(profile_id: &str, created_ms: i64, id: &SessionId) -> Key {
    key(BACKFILL, &[profile_id.as_bytes(), &[0], &sortable(created_ms), id.as_str().as_bytes()])
}

/// The range of a profile's entries, the oldest first: start, and end (excluded).
pub fn backfills_of(profile_id: &str) -> (Key, Key) {
    (key(BACKFILL, &[profile_id.as_bytes(), &[0]]), key(BACKFILL, &[profile_id.as_bytes(), &[1]]))
}

/// The time, in milliseconds since the epoch, and the session of an entry of this profile.
pub fn parse_backfill(profile_id: &str, key: &[u8]) -> Option<(i64, SessionId)> {
    let rest = key.strip_prefix(&[BACKFILL])?.strip_prefix(profile_id.as_bytes())?.strip_prefix(&[0])?;
    let (created, id) = rest.split_at_checked(8)?;
    Some((from_sortable(created)?, session_id(id)?))
}

/// The session of such an entry, whatever its profile is.
pub fn session_of_backfill(key: &[u8]) -> Option<SessionId> {
    let rest = key.strip_prefix(&[BACKFILL])?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    session_id(rest.get(end + 1 + 8..)?)
}
