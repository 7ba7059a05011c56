//! Everything in the store that follows from a session: computed from it, never written beside it. A change
//! writes the difference between what followed before and what follows now, in one commit, so that sessions,
//! platform sessions and players' lists agree by construction.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::domain::instance::Health;
use crate::domain::session::{Player, Status};
use crate::domain::{CustomData, PlayerUuid, Refused, Session, SessionId};
use crate::records::keys;
use crate::store::{Batch, Key, StoreError, Version};

/// The format of stored sessions, MessagePack with named fields: their first byte. A new field with a default needs no
/// new format; a changed meaning does, and then `decode` reads the older ones too.
const FORMAT: u8 = 2;
/// The format before: JSON.
const FORMAT_JSON: u8 = 1;

/// A player's place in a session, as the player's list shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Membership {
    /// The session's type.
    #[serde(rename = "type")]
    pub session_type: String,
    /// The player's standing.
    pub status: Status,
    /// Who invited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inviting_player: Option<PlayerUuid>,
}

/// A session as the browser shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// The session.
    pub session_id: SessionId,
    /// Its preferred region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region_id: Option<String>,
    /// Its active players.
    pub players: usize,
    /// Its places.
    pub places: usize,
    /// How well its instance is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Data shown with it.
    #[serde(default, skip_serializing_if = "CustomData::is_empty")]
    pub custom_data: CustomData,
}

impl Membership {
    fn of(session: &Session, entry: &Player) -> Self {
        let session_type = session.session_type.clone();
        Self { session_type, status: entry.status, inviting_player: entry.inviting_player }
    }
}

impl Listed {
    fn of(session: &Session, custom_data: &CustomData) -> Self {
        Self {
            session_id: session.id.clone(),
            region_id: session.region_id.clone(),
            players: session.players.values().filter(|entry| entry.status.is_active()).count(),
            places: session.teams.iter().map(|team| team.max_size).sum(),
            health: session.instance.as_ref().and_then(|instance| instance.health),
            custom_data: custom_data.clone(),
        }
    }
}

/// A listing, as stored.
pub fn decode_listed(value: &[u8]) -> Result<Listed, StoreError> {
    serde_json::from_slice(value).map_err(|error| StoreError::Corrupt(format!("a listing: {error}")))
}

/// Bytes of a stored session that are written without asking for more memory.
const SESSION_BYTES_TYPICAL: usize = 2048;

/// A session as it is stored.
///
/// # Panics
/// On sessions that have no stored form: a fault in our types that any test of storing shows.
pub fn encode(session: &Session) -> Bytes {
    let mut encoded = Vec::with_capacity(SESSION_BYTES_TYPICAL);
    encoded.push(FORMAT);
    rmp_serde::encode::write_named(&mut encoded, session).expect("sessions have a stored form");
    encoded.into()
}

/// A changed session as it is stored, unless that takes more bytes than a session may. One that took more already may
/// become smaller, as where the operator has lowered the limit.
fn encode_within(bytes_max: usize, before: Option<&Session>, after: &Session) -> Result<Bytes, Refused> {
    let encoded = encode(after);
    let shrinks = || before.is_some_and(|before| encoded.len() < encode(before).len());
    if encoded.len() <= bytes_max || shrinks() { Ok(encoded) } else { Err(Refused::SessionTooLarge) }
}

/// A stored session.
pub fn decode(value: &[u8]) -> Result<Session, StoreError> {
    let corrupt = |error: &dyn std::error::Error| StoreError::Corrupt(format!("a stored session: {error}"));
    match value.split_first() {
        Some((&FORMAT, packed)) => rmp_serde::from_slice(packed).map_err(|error| corrupt(&error)),
        Some((&FORMAT_JSON, json)) => serde_json::from_slice(json).map_err(|error| corrupt(&error)),
        format => {
            let format = format.map_or_else(|| "none".into(), |(format, _)| format.to_string());
            Err(StoreError::Corrupt(format!(
                "a stored session has format {format} and this version reads {FORMAT_JSON} and {FORMAT}; run the \
                 version that wrote it"
            )))
        }
    }
}

/// A player's place, as stored.
pub fn decode_membership(value: &[u8]) -> Result<Membership, StoreError> {
    serde_json::from_slice(value).map_err(|error| StoreError::Corrupt(format!("a player's list: {error}")))
}

/// A value that follows from a session, compared before it is rendered: most of them stay as they are.
#[derive(PartialEq)]
enum Derived<'a> {
    /// The session's id, under what finds it.
    Named(&'a SessionId),
    Listed(Listed),
    /// Nothing: the key says it all.
    Marked,
}

impl Derived<'_> {
    fn render(self) -> Bytes {
        match self {
            Self::Named(id) => Bytes::copy_from_slice(id.as_str().as_bytes()),
            Self::Listed(listed) => Document::render(&listed),
            Self::Marked => Bytes::new(),
        }
    }
}

/// What follows from a session, beside the places of its players.
fn derived(session: &Session) -> BTreeMap<Key, Derived<'_>> {
    let mut derived = BTreeMap::new();
    if session.ended {
        return derived;
    }
    for (platform, linked) in &session.platform_sessions {
        derived.insert(keys::platform_session(*platform, &linked.id), Derived::Named(&session.id));
    }
    if let Some(code) = &session.short_code {
        derived.insert(keys::short_code(code), Derived::Named(&session.id));
    }
    if let Some(allocation_id) =
        session.instance.as_ref().and_then(|instance| instance.allocation_id.as_deref())
    {
        derived.insert(keys::allocation(allocation_id), Derived::Named(&session.id));
    }
    if let Some(listing) = &session.listing {
        let key = keys::listing(&session.session_type, listing.sequence);
        derived.insert(key, Derived::Listed(Listed::of(session, &listing.custom_data)));
    }
    if session.can_time_out(true) {
        derived.insert(keys::watched(&session.id), Derived::Marked);
    }
    if session.takes_strangers() {
        let key = keys::open(&session.session_type, session.created.as_millisecond(), &session.id);
        derived.insert(key, Derived::Marked);
    }
    derived
}

/// The commit that turns `before` (at its version) into `after`, which may take so many bytes. What one session alone
/// can have must be nobody else's where it is new to the session.
pub fn plan(
    before: Option<(&Session, Version)>,
    after: &Session,
    bytes_max: usize,
) -> Result<Batch, Refused> {
    let session_key = keys::session(&after.id);
    let batch = Batch::default();
    let mut batch = match before {
        Some((_, version)) => batch.expect_version(session_key.clone(), version),
        None => batch.expect_absent(session_key.clone()),
    };
    let before = before.map(|(session, _)| session);
    batch = match after.ended {
        true => batch.delete(session_key),
        false => batch.put(session_key, encode_within(bytes_max, before, after)?),
    };

    let mut gone = before.map(derived).unwrap_or_default();
    for (key, value) in derived(after) {
        let known = gone.remove(&key);
        if known.is_none() && keys::unique(&key).is_some() {
            batch = batch.expect_absent(key.clone());
        }
        if known.as_ref() != Some(&value) {
            batch = batch.put(key, value.render());
        }
    }
    batch = gone.into_keys().fold(batch, Batch::delete);
    batch = plan_memberships(batch, before, after);
    Ok(put_player_ids(batch, before, after))
}

/// The places of players in their lists.
fn plan_memberships(batch: Batch, before: Option<&Session>, after: &Session) -> Batch {
    let key = |player| keys::membership(player, &after.id);
    let stays = |player| !after.ended && after.players.contains_key(player);
    let before_players = before.into_iter().flat_map(|session| session.players.keys());
    let batch =
        before_players.filter(|player| !stays(player)).fold(batch, |b, player| b.delete(key(*player)));
    if after.ended {
        return batch;
    }
    let shown = |entry: &Player| (entry.status, entry.inviting_player);
    let news = changed_players(before, after)
        .filter(|(_, entry, known)| known.is_none_or(|known| shown(known) != shown(entry)));
    news.fold(batch, |batch, (player, entry, _)| {
        batch.put(key(player), Document::render(&Membership::of(after, entry)))
    })
}

/// Notes which player an older, numeric id belongs to. It stays known after the session: the id is the player's.
fn put_player_ids(batch: Batch, before: Option<&Session>, after: &Session) -> Batch {
    let known_id = |known: Option<&Player>| known.and_then(|known| known.player_id);
    let news = changed_players(before, after).filter(|(_, entry, known)| entry.player_id != known_id(*known));
    let with_id = news.filter_map(|(player, entry, _)| Some((player, entry.player_id?)));
    with_id.fold(batch, |batch, (player, player_id)| {
        batch.put(keys::player_of_id(player_id), player.0.as_bytes().to_vec())
    })
}

/// The players whose entries are not those of before, with what was known of them. A change shares with what was
/// before those whom it leaves as they are.
fn changed_players<'a>(
    before: Option<&'a Session>,
    after: &'a Session,
) -> impl Iterator<Item = (PlayerUuid, &'a Player, Option<&'a Player>)> {
    after.players.iter().filter_map(move |(player, entry)| {
        let known = before.and_then(|session| session.players.get(player));
        let shared = known.is_some_and(|known| Arc::ptr_eq(known, entry));
        (!shared).then(|| (*player, &**entry, known.map(Arc::as_ref)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::domain::client::VersionCheck;
    use crate::domain::limits::{CUSTOM_DATA_BYTES_MAX, CUSTOM_DATA_VALUE_CHARS_MAX};
    use crate::domain::session::NewSession;
    use crate::domain::session::join::{JoinPath, JoinRules, Joiner};

    fn session() -> Session {
        let new = NewSession {
            id: SessionId::parse("s").unwrap(),
            session_type: "game".into(),
            now: "2026-11-24T12:00:00.125Z".parse().unwrap(),
            region_id: Some("eu".into()),
            password: None,
        };
        Session::new(new, &Config::default().templates["game"])
    }

    #[test]
    fn sessions_are_read_as_they_were_stored_now_and_before() {
        let session = session();
        assert_eq!(decode(&encode(&session)).unwrap(), session);
        let before = [&[FORMAT_JSON], &*serde_json::to_vec(&session).unwrap()].concat();
        assert_eq!(decode(&before).unwrap(), session);
    }

    /// A session of so many players who all have as much data as the contract allows.
    fn full_session(players: u128) -> Session {
        let mut session = session();
        session.joinability.open = true;
        session.teams[0].max_size = 100;
        let entry = |entry: usize| (format!("{entry:02}"), "x".repeat(CUSTOM_DATA_VALUE_CHARS_MAX - 2));
        let entries = (0..CUSTOM_DATA_BYTES_MAX / CUSTOM_DATA_VALUE_CHARS_MAX).map(entry);
        let custom_data: CustomData = entries.collect();
        let rules =
            JoinRules { now: session.created, version_check: VersionCheck::Off, trust_friends: false };
        for player in 0..players {
            let joiner = Joiner {
                player: PlayerUuid(uuid::Uuid::from_u128(player)),
                player_id: None,
                client: None,
                team_id: Some(0),
                custom_data: Some(custom_data.clone()),
                password: None,
                friend: None,
            };
            session.join(&joiner, JoinPath::Session, rules).unwrap();
        }
        session
    }

    #[test]
    fn a_hundred_players_with_as_much_data_as_they_may_have_fit() {
        let bytes_max = Config::default().sessions.session_bytes_max;
        let session = full_session(100);
        let batch = plan(None, &session, bytes_max).unwrap();
        let stored = batch.put.iter().find(|(key, _)| *key == keys::session(&session.id)).unwrap();
        assert!(stored.1.len() > 100 * CUSTOM_DATA_BYTES_MAX);
        assert!(decode(&stored.1).unwrap() == session);
    }

    #[test]
    fn a_session_that_takes_too_much_may_only_shrink() {
        let (small, large) = (full_session(2), full_session(3));
        let bytes_max = encode(&small).len();
        let change = |before: &Session, after: &Session, bytes_max: usize| {
            plan(Some((before, Version(1))), after, bytes_max).map(drop)
        };
        assert_eq!(change(&full_session(1), &small, bytes_max), Ok(()));
        assert_eq!(plan(None, &large, bytes_max).map(drop), Err(Refused::SessionTooLarge));
        assert_eq!(change(&small, &large, bytes_max), Err(Refused::SessionTooLarge));
        assert_eq!(change(&large, &small, bytes_max - 1), Ok(()));
        let mut otherwise = large.clone();
        otherwise.region_id = Some("us".into());
        assert_eq!(change(&large, &otherwise, bytes_max), Err(Refused::SessionTooLarge));
        otherwise.ended = true;
        assert_eq!(change(&large, &otherwise, bytes_max), Ok(()));
    }

    #[test]
    fn what_another_version_stored_is_refused() {
        for stored in [&[9, 1, 2][..], &[], &[FORMAT, 0xc1], &[FORMAT_JSON, b'{']] {
            assert!(matches!(decode(stored), Err(StoreError::Corrupt(_))), "{stored:?}");
        }
    }
}
