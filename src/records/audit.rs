//! What is stored of audit events: those of one change together, as a JSON list in the contract's form.

use std::collections::BTreeSet;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::keys::{self, EventsId};
use crate::document::Document;
use crate::domain::audit::{Event, Recorded};
use crate::domain::{PlayerUuid, Session};
use crate::store::{Batch, StoreError};

/// The field of a stored event with the players whom it concerns, if they are several.
pub const PLAYERS: &str = "players";

/// Stores the events of a change, and an entry for each player whom they concern. It expects nothing, so it conflicts with
/// no other commit.
pub fn put(id: &EventsId, session: &Session, requesting_user: Option<PlayerUuid>, events: &[Event]) -> Batch {
    let at = time(id.at_ms);
    let record = |event| Recorded {
        event,
        session_id: &session.id,
        session_type: &session.session_type,
        region_id: session.region_id.as_deref(),
        requesting_user,
        at: &at,
    };
    let recorded: Vec<_> = events.iter().map(record).collect();
    let players: BTreeSet<_> = events.iter().filter_map(|event| event.player).collect();
    put_rendered(id, Document::render(&recorded), players)
}

/// Stores events that are rendered already.
pub fn put_rendered(id: &EventsId, events: Bytes, players: impl IntoIterator<Item = PlayerUuid>) -> Batch {
    let batch = Batch::default().put(keys::events(id), events);
    players
        .into_iter()
        .fold(batch, |batch, player| batch.put(keys::events_of_player(player, id), Bytes::new()))
}

/// Deletes the events of a change that are stored as `value`, and the entries of its players.
pub fn delete(id: &EventsId, value: &[u8]) -> Batch {
    let batch = Batch::default().delete(keys::events(id));
    let players = players(value).into_iter();
    players.fold(batch, |batch, player| batch.delete(keys::events_of_player(player, id)))
}

/// The player whom an event concerns.
pub fn player_of(event: &Value) -> Option<PlayerUuid> {
    as_player(event.get("player_uuid")?)
}

fn as_player(value: &Value) -> Option<PlayerUuid> {
    serde_json::from_value(value.clone()).ok()
}

/// A time in milliseconds since the epoch, as events tell it: in UTC, with `Z` and milliseconds.
pub fn time(at_ms: i64) -> String {
    format!("{:.3}", Timestamp::from_millisecond(at_ms).unwrap_or_default())
}

/// Decodes the events of a change, or those of them that concern a player. Fields of a newer build are kept. An event that
/// concerns several players is stored once, with their [`PLAYERS`], and read once for each of them.
///
/// # Errors
/// [`StoreError::Corrupt`] if the bytes are not a JSON list.
pub fn decode(value: &[u8], player: Option<PlayerUuid>) -> Result<Vec<Value>, StoreError> {
    let mut events = Vec::new();
    for mut event in stored(value)? {
        let players = event.as_object_mut().and_then(|fields| fields.shift_remove(PLAYERS));
        let Some(Value::Array(players)) = players else {
            if player.is_none() || player_of(&event) == player {
                events.push(event);
            }
            continue;
        };
        for of_player in players {
            if player.is_none() || as_player(&of_player) == player {
                let mut event = event.clone();
                event["player_uuid"] = of_player;
                events.push(event);
            }
        }
    }
    Ok(events)
}

/// How many events are stored together; one, if they cannot be read.
pub fn count(value: &[u8]) -> usize {
    let players = |event: &Value| event.get(PLAYERS).and_then(Value::as_array).map_or(1, Vec::len);
    stored(value).map_or(1, |events| events.iter().map(players).sum())
}

/// The players whom stored events concern; none, if they cannot be read.
pub fn players(value: &[u8]) -> BTreeSet<PlayerUuid> {
    let events = stored(value).unwrap_or_default();
    let several = events.iter().filter_map(|event| event.get(PLAYERS)?.as_array()).flatten();
    events.iter().filter_map(player_of).chain(several.filter_map(as_player)).collect()
}

fn stored(value: &[u8]) -> Result<Vec<Value>, StoreError> {
    serde_json::from_slice(value).map_err(|error| StoreError::Corrupt(format!("audit events: {error}")))
}

/// How much callers have posted about a session on one day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    /// The day, counted from 1970.
    pub day: i64,
    /// Number of events.
    pub events: u32,
    /// Their size, in bytes.
    pub bytes: u64,
    /// The time, in milliseconds since the epoch, and the number of the latest one.
    #[serde(default)]
    pub last: (i64, u64),
}

impl Posted {
    /// The stored form.
    pub fn encode(self) -> Bytes {
        Document::render(&self)
    }

    /// Decodes what was stored.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the bytes do not say it.
    pub fn decode(value: &[u8]) -> Result<Self, StoreError> {
        serde_json::from_slice(value)
            .map_err(|error| StoreError::Corrupt(format!("a number of audit events: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::audit::{Cause, Change, events};
    use crate::domain::fixtures::{created, player, session};

    #[test]
    fn events_of_a_change_are_read_back_in_the_contracts_form() {
        let party = session("L1 M2");
        let cause = Cause::Request(Some(player(1)));
        let found = events(&Change { before: None, after: &party, why: &cause.into(), at: created() });
        let id = EventsId { session: party.id.clone(), at_ms: created().as_millisecond(), number: 1 };
        let batch = put(&id, &party, Some(player(1)), &found);
        assert_eq!(batch.put.len(), 3, "the events, and an entry for each player");
        let (_, value) = batch.put.iter().find(|(key, _)| *key == keys::events(&id)).unwrap();
        let read = decode(value, None).unwrap();
        let expected = serde_json::json!({
            "event_name": "player.joined", "player_uuid": player(2), "team_id": 0, "player_status": "member",
            "session_id": "s", "session_type": "game", "region_id": "eu", "requesting_user_uuid": player(1),
            "event_datetime": "2026-11-24T12:00:00.125Z",
        });
        assert_eq!(read[2], expected);
        assert_eq!(delete(&id, value).delete.len(), 3);
        assert_eq!((count(value), decode(value, Some(player(2))).unwrap().len()), (3, 1));
        assert!(matches!(decode(b"{}", None), Err(StoreError::Corrupt(_))));
    }

    #[test]
    fn an_event_of_several_players_is_read_once_for_each() {
        let stored = br#"[{"event_name":"customer.a","players":["p","q"]},{"event_name":"b"}]"#;
        let named = |name, player| serde_json::json!({"event_name": name, "player_uuid": player});
        let expected =
            [named("customer.a", "p"), named("customer.a", "q"), serde_json::json!({"event_name": "b"})];
        assert_eq!(decode(stored, None).unwrap(), expected);
        assert_eq!(count(stored), 3);
    }
}
