//! Every key in the store: who owns it, how it is laid out, what it holds. Keys sort by their bytes, so a
//! prefix is a list and a deadline in big-endian order is a queue.
//!
//! ```text
//! s <session id>                              the session                        owned by itself
//! t <session id>                              its deadline, i64 ms               moves without changing the session
//! d <deadline ms, i64 big-endian> <session id> (empty)                           what falls due, in order
//! p <platform> 00 <platform session id>       session id                         from the session
//! p <platform> 01 <its SHA-256>               session id                         the same, where the id is long
//! m <player uuid, 16 bytes> <session id>      the player's standing, JSON        from the session
//! c <short code>                              session id                         from the session
//! a <allocation id>                           session id                         from the session
//! b <type> 00 <listing number, u64 big-endian> the listing, JSON                 from the session
//! w <session id>                              (empty)                            sessions that silence can change
//! h <session id>                              what was heard of it, JSON         from several nodes; goes with the session
//! n                                           last listing number, u64           given out in blocks
//! i <player id, i64 big-endian>               player uuid, 16 bytes              from tokens seen in sessions; kept
//! o <type> 00 <created ms, i64 big-endian> <session id> (empty)                  open sessions of a type, oldest first
//! ```
//!
//! Variable parts come last or end with 00, which no platform or type contains. Deadlines stand apart from
//! sessions because asking for a session moves its deadline, and that must not change its ETag. Platform session ids
//! may be longer than any key, and nobody lists them: of a long one the digest is the key.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::domain::{Platform, PlatformSessionId, PlayerUuid, SessionId, ShortCode};
use crate::store::{Key, KeyUpgrade};

const SESSION: u8 = b's';
const DEADLINE_OF: u8 = b't';
const DUE: u8 = b'd';
const PLATFORM_SESSION: u8 = b'p';
const MEMBERSHIP: u8 = b'm';
const OPEN: u8 = b'o';
const PLAYER_OF_ID: u8 = b'i';
const SHORT_CODE: u8 = b'c';
const ALLOCATION: u8 = b'a';
const LISTING: u8 = b'b';
const WATCHED: u8 = b'w';
const LAST_SEEN: u8 = b'h';
const LAST_LISTING_NUMBER: u8 = b'n';

/// Longest platform session id that is in a key as it is, in bytes.
const PLAIN_ID_BYTES_MAX: usize = 1_024;

fn key(kind: u8, parts: &[&[u8]]) -> Key {
    let mut key = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.push(kind);
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

/// Milliseconds that sort as they count: the sign bit is flipped.
fn sortable(ms: i64) -> [u8; 8] {
    (ms.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

fn from_sortable(bytes: &[u8]) -> Option<i64> {
    let bytes: [u8; 8] = bytes.try_into().ok()?;
    Some((u64::from_be_bytes(bytes) ^ (1 << 63)).cast_signed())
}

fn session_id(bytes: &[u8]) -> Option<SessionId> {
    SessionId::parse(std::str::from_utf8(bytes).ok()?).ok()
}

/// Where a session is.
pub fn session(id: &SessionId) -> Key {
    key(SESSION, &[id.as_str().as_bytes()])
}

/// Every session: the range's start and end.
pub fn all_sessions() -> (Key, Key) {
    (vec![SESSION], vec![SESSION + 1])
}

/// Where a session's deadline is.
pub fn deadline_of(id: &SessionId) -> Key {
    key(DEADLINE_OF, &[id.as_str().as_bytes()])
}

/// A session's place in the queue of deadlines.
pub fn due(deadline_ms: i64, id: &SessionId) -> Key {
    key(DUE, &[&sortable(deadline_ms), id.as_str().as_bytes()])
}

/// Everything due at a time or before: the range's start and end.
pub fn due_until(now_ms: i64) -> (Key, Key) {
    (vec![DUE], key(DUE, &[&sortable(now_ms.saturating_add(1))]))
}

/// The deadline and session of a place in the queue.
pub fn parse_due(key: &[u8]) -> Option<(i64, SessionId)> {
    let rest = key.strip_prefix(&[DUE])?;
    let (deadline, id) = rest.split_at_checked(8)?;
    Some((from_sortable(deadline)?, session_id(id)?))
}

/// Where the session of a platform session is named.
pub fn platform_session(platform: Platform, id: &PlatformSessionId) -> Key {
    let (platform, id) = (platform.name().as_bytes(), id.as_str().as_bytes());
    if id.len() > PLAIN_ID_BYTES_MAX {
        return key(PLATFORM_SESSION, &[platform, &[1], &Sha256::digest(id)]);
    }
    key(PLATFORM_SESSION, &[platform, &[0], id])
}

/// What the keys of all platform sessions begin with.
pub const ALL_PLATFORM_SESSIONS: &[u8] = &[PLATFORM_SESSION];

/// The key of a platform session in place of one that holds a long id whole, as keys did once.
pub fn shortened_platform_session(key: &[u8]) -> Option<Key> {
    let rest = key.strip_prefix(ALL_PLATFORM_SESSIONS)?;
    let (platform, id) = rest.split_at(rest.iter().position(|byte| *byte == 0)?);
    let platform = std::str::from_utf8(platform).ok()?.parse().ok()?;
    let id = PlatformSessionId::parse(std::str::from_utf8(&id[1..]).ok()?).ok()?;
    let shortened = platform_session(platform, &id);
    (shortened != key).then_some(shortened)
}

/// The upgrade of an embedded store from format 1, whose keys held long platform session ids whole.
pub const KEY_UPGRADE: KeyUpgrade =
    KeyUpgrade { prefix: ALL_PLATFORM_SESSIONS, renamed: shortened_platform_session };

/// A player's place in a session.
pub fn membership(player: PlayerUuid, id: &SessionId) -> Key {
    key(MEMBERSHIP, &[player.0.as_bytes(), id.as_str().as_bytes()])
}

/// Every place of a player: the prefix.
pub fn memberships_of(player: PlayerUuid) -> Key {
    key(MEMBERSHIP, &[player.0.as_bytes()])
}

/// The player and the session of a place.
pub fn parse_membership(key: &[u8]) -> Option<(PlayerUuid, SessionId)> {
    let (player, id) = key.strip_prefix(&[MEMBERSHIP])?.split_first_chunk()?;
    Some((PlayerUuid(Uuid::from_bytes(*player)), session_id(id)?))
}

/// What a key names that one session alone can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unique {
    /// A platform session.
    PlatformSession,
    /// A short code.
    ShortCode,
    /// An allocation.
    Allocation,
}

/// What a key names, where one session alone can have it.
pub fn unique(key: &[u8]) -> Option<Unique> {
    match *key.first()? {
        PLATFORM_SESSION => Some(Unique::PlatformSession),
        SHORT_CODE => Some(Unique::ShortCode),
        ALLOCATION => Some(Unique::Allocation),
        _ => None,
    }
}

/// Where the session of a short code is named.
pub fn short_code(code: &ShortCode) -> Key {
    key(SHORT_CODE, &[code.as_str().as_bytes()])
}

/// Where the session of an allocation is named.
pub fn allocation(allocation_id: &str) -> Key {
    key(ALLOCATION, &[allocation_id.as_bytes()])
}

/// A listing's place among those of its type.
pub fn listing(session_type: &str, number: u64) -> Key {
    key(LISTING, &[session_type.as_bytes(), &[0], &number.to_be_bytes()])
}

/// The number of a listing's place.
pub fn parse_listing(key: &[u8]) -> Option<u64> {
    let number = key.strip_prefix(&[LISTING])?.last_chunk()?;
    Some(u64::from_be_bytes(*number))
}

/// The listings of a type behind a number: the range's start and end.
pub fn listings_after(session_type: &str, number: u64) -> (Key, Key) {
    let end = key(LISTING, &[session_type.as_bytes(), &[1]]);
    (listing(session_type, number.saturating_add(1)), end)
}

/// The mark of a session that silence can change.
pub fn watched(id: &SessionId) -> Key {
    key(WATCHED, &[id.as_str().as_bytes()])
}

/// Every such mark: the range's start and end.
pub fn all_watched() -> (Key, Key) {
    (vec![WATCHED], vec![WATCHED + 1])
}

/// The session of such a mark.
pub fn parse_watched(key: &[u8]) -> Option<SessionId> {
    session_id(key.strip_prefix(&[WATCHED])?)
}

/// Where nodes tell each other what they heard of a session.
pub fn last_seen(id: &SessionId) -> Key {
    key(LAST_SEEN, &[id.as_str().as_bytes()])
}

/// Where the last listing number given out is.
pub fn last_listing_number() -> Key {
    vec![LAST_LISTING_NUMBER]
}

/// Where the player of an older, numeric id is named.
pub fn player_of_id(player_id: i64) -> Key {
    key(PLAYER_OF_ID, &[&sortable(player_id)])
}

/// An open session's place among its type, oldest first.
pub fn open(session_type: &str, created_ms: i64, id: &SessionId) -> Key {
    key(OPEN, &[session_type.as_bytes(), &[0], &sortable(created_ms), id.as_str().as_bytes()])
}

/// Every open session of a type: the prefix.
pub fn open_of(session_type: &str) -> Key {
    key(OPEN, &[session_type.as_bytes(), &[0]])
}

/// The session of an open session's place, under the type it was looked up by.
pub fn parse_open(session_type: &str, key: &[u8]) -> Option<SessionId> {
    session_id(key.strip_prefix(open_of(session_type).as_slice())?.get(8..)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::KEY_BYTES_MAX;

    fn any_id() -> impl Strategy<Value = SessionId> {
        ".{1,128}".prop_map(|text| SessionId::parse(&text).unwrap())
    }

    proptest! {
        #[test]
        fn keys_round_trip(id in any_id(), player: u128, ms: i64, name in "[a-zA-Z0-9_ -]{1,128}") {
            let player = PlayerUuid(uuid::Uuid::from_u128(player));
            prop_assert_eq!(parse_due(&due(ms, &id)), Some((ms, id.clone())));
            prop_assert_eq!(parse_membership(&membership(player, &id)), Some((player, id.clone())));
            prop_assert!(membership(player, &id).starts_with(&memberships_of(player)));
            prop_assert_eq!(parse_open(&name, &open(&name, ms, &id)), Some(id.clone()));
        }

        #[test]
        fn deadlines_sort_as_they_count(one: i64, other: i64, id in any_id()) {
            prop_assert_eq!(one.cmp(&other), due(one, &id).cmp(&due(other, &id)));
            let (from, to) = due_until(one);
            let key = due(other, &id);
            prop_assert_eq!(key >= from && key < to, other <= one && one < i64::MAX);
        }

        #[test]
        fn different_platform_sessions_have_different_keys(one in ".{1,64}", other in ".{1,64}") {
            let parse = |text: &str| PlatformSessionId::parse(text).unwrap();
            let key = |platform, text: &str| platform_session(platform, &parse(text));
            prop_assert_eq!(one == other, key(Platform::Steam, &one) == key(Platform::Steam, &other));
            for platform in Platform::ALL {
                for second in Platform::ALL {
                    prop_assert_eq!(platform == second, key(platform, &one) == key(second, &one));
                }
            }
            prop_assert_eq!(unique(&key(Platform::Epic, &one)), Some(Unique::PlatformSession));
        }

        #[test]
        fn long_platform_sessions_have_keys_that_fit(end in ".{1,8}", other in ".{1,8}") {
            let parse = |end: &str| PlatformSessionId::parse(&format!("{}{end}", "\u{10ffff}".repeat(4_088))).unwrap();
            let key = |platform, end: &str| platform_session(platform, &parse(end));
            prop_assert!(key(Platform::Steam, &end).len() <= KEY_BYTES_MAX);
            prop_assert_eq!(end == other, key(Platform::Steam, &end) == key(Platform::Steam, &other));
            prop_assert_ne!(key(Platform::Steam, &end), key(Platform::Epic, &end));
        }
    }
}
