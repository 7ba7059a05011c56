//! Keys of audit events.

use uuid::Uuid;

use super::{from_sortable, key, session_id, sortable};
use crate::domain::{PlayerUuid, SessionId};
use crate::store::Key;

const EVENTS: u8 = b'u';
const EVENTS_OF_PLAYER: u8 = b'v';
const POSTED_EVENTS: u8 = b'z';

/// What names the events of one change: the session, the time, and a number that no other change of the same session and
/// millisecond has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventsId {
    /// The session.
    pub session: SessionId,
    /// The time, in milliseconds since the epoch.
    pub at_ms: i64,
    /// The number. Later changes by the same node have higher ones.
    pub number: u64,
}

/// The key of the events of a change.
pub fn events(id: &EventsId) -> Key {
    let session = id.session.as_str().as_bytes();
    key(EVENTS, &[session, &[0], &sortable(id.at_ms), &id.number.to_be_bytes()])
}

/// The change of such a key.
pub fn parse_events(key: &[u8]) -> Option<EventsId> {
    let (session, end) = key.strip_prefix(&[EVENTS])?.split_last_chunk::<17>()?;
    parse_id(session, end)
}

/// The range of all such keys: start, and end (excluded).
pub fn all_events() -> (Key, Key) {
    (vec![EVENTS], vec![EVENTS + 1])
}

/// The range of the events of a session from `from_ms` to `to_ms` (excluded).
pub fn events_between(session: &SessionId, from_ms: i64, to_ms: i64) -> (Key, Key) {
    let at = |ms| key(EVENTS, &[session.as_str().as_bytes(), &[0], &sortable(ms)]);
    (at(from_ms), at(to_ms))
}

/// The entry of a change that concerns a player.
pub fn events_of_player(player: PlayerUuid, id: &EventsId) -> Key {
    let session = id.session.as_str().as_bytes();
    let parts =
        [player.0.as_bytes().as_slice(), &sortable(id.at_ms), session, &[0], &id.number.to_be_bytes()];
    key(EVENTS_OF_PLAYER, &parts)
}

/// The player and the change of such an entry.
pub fn parse_events_of_player(key: &[u8]) -> Option<(PlayerUuid, EventsId)> {
    let (player, rest) = key.strip_prefix(&[EVENTS_OF_PLAYER])?.split_at_checked(16)?;
    let (at, rest) = rest.split_at_checked(8)?;
    let (session, end) = rest.split_last_chunk::<9>()?;
    let (separator, number) = end.split_first()?;
    let id = EventsId {
        session: session_id(session)?,
        at_ms: from_sortable(at)?,
        number: u64::from_be_bytes(number.try_into().ok()?),
    };
    (*separator == 0).then_some((PlayerUuid(Uuid::from_slice(player).ok()?), id))
}

/// The range of all such entries: start, and end (excluded).
pub fn all_events_of_players() -> (Key, Key) {
    (vec![EVENTS_OF_PLAYER], vec![EVENTS_OF_PLAYER + 1])
}

/// The range of the changes that concern a player, from `from_ms` to `to_ms` (excluded).
pub fn events_of_player_between(player: PlayerUuid, from_ms: i64, to_ms: i64) -> (Key, Key) {
    let at = |ms| key(EVENTS_OF_PLAYER, &[player.0.as_bytes(), &sortable(ms)]);
    (at(from_ms), at(to_ms))
}

/// The key of how many events callers have posted about a session.
pub fn posted_events(session: &SessionId) -> Key {
    key(POSTED_EVENTS, &[session.as_str().as_bytes()])
}

/// The session of such a key.
pub fn parse_posted_events(key: &[u8]) -> Option<SessionId> {
    session_id(key.strip_prefix(&[POSTED_EVENTS])?)
}

/// The range of all such keys: start, and end (excluded).
pub fn all_posted_events() -> (Key, Key) {
    (vec![POSTED_EVENTS], vec![POSTED_EVENTS + 1])
}

fn parse_id(session: &[u8], end: &[u8; 17]) -> Option<EventsId> {
    let (separator, end) = end.split_first()?;
    let (at, number) = end.split_at_checked(8)?;
    let number = u64::from_be_bytes(number.try_into().ok()?);
    let id = EventsId { session: session_id(session)?, at_ms: from_sortable(at)?, number };
    (*separator == 0).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(session: &str, at_ms: i64, number: u64) -> EventsId {
        EventsId { session: SessionId::parse(session).unwrap(), at_ms, number }
    }

    #[test]
    fn keys_are_read_back_and_sort_by_session_time_and_number() {
        let player = PlayerUuid(Uuid::from_u128(7));
        let ids = [id("a", -1, 9), id("a", 0, 1), id("a", 0, 2), id("a", 1 << 40, 0), id("ab", -5, u64::MAX)];
        for id in &ids {
            assert_eq!(parse_events(&events(id)).as_ref(), Some(id));
            assert_eq!(parse_events_of_player(&events_of_player(player, id)), Some((player, id.clone())));
        }
        let keys: Vec<_> = ids.iter().map(events).collect();
        assert!(keys.is_sorted());
        let (start, end) = events_between(&ids[0].session, 0, 1 << 40);
        let found: Vec<_> = keys.iter().filter(|key| (&start..&end).contains(key)).collect();
        assert_eq!(found, [&keys[1], &keys[2]]);
        let (start, end) = events_of_player_between(player, 0, 1 << 40);
        let of_player: Vec<_> = ids.iter().map(|id| events_of_player(player, id)).collect();
        assert_eq!(of_player.iter().filter(|key| (&start..&end).contains(key)).count(), 2);
        for key in [&b""[..], b"u", b"u0123456789abcdefg", b"v0123456789abcdef"] {
            assert_eq!((parse_events(key), parse_events_of_player(key)), (None, None));
        }
    }
}
