//! The index entries of a session. They are always computed from the session. A change writes the difference between
//! the entries before and after it, in the same commit as the session, so sessions, platform sessions, players' lists
//! and the other entries always agree.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::backfill::WantedPlayers;
use super::queued::QueuedTicket;
use super::{Listed, Membership, StoredSession, UnknownFields, keys};
use crate::document::Document;
use crate::domain::session::{Player, Status};
use crate::domain::{PlayerUuid, Refused, Session, SessionId};
use crate::store::{Batch, Key, Version};

/// A stored session before a change.
#[derive(Clone, Copy)]
pub struct Before<'a> {
    /// The session.
    pub session: &'a Session,
    /// Its stored fields that this build does not know.
    pub unknown: &'a UnknownFields,
    /// The version that the commit replaces. With another stored version the commit fails.
    pub version: Version,
}

/// The writes of a change of one session.
#[derive(Debug)]
pub struct SessionWrites {
    /// The writes, and the versions that the commit expects.
    pub batch: Batch,
    /// Size of the stored session in bytes; 0 if it ends.
    pub stored_bytes: usize,
    /// The stored fields that this build does not know, after the change.
    pub unknown: UnknownFields,
    /// The players whose lists the change changes. The commit must also write the time of that
    /// ([`keys::list_changed`]).
    pub lists_changed: Vec<PlayerUuid>,
}

/// The value of an index entry. Values are compared before they are rendered, because a change leaves most of them as
/// they are.
#[derive(PartialEq)]
enum IndexValue<'a> {
    /// The session's id.
    SessionId(&'a SessionId),
    /// The session as the session browser shows it.
    Listing(Listed),
    /// The ticket of the session, for a profile.
    Ticket(QueuedTicket<'a>),
    /// The players that the host of the session wants.
    Wanted(WantedPlayers<'a>),
    /// Nothing: the key has all the information.
    Empty,
}

impl IndexValue<'_> {
    fn render(self) -> Bytes {
        match self {
            Self::SessionId(id) => Bytes::copy_from_slice(id.as_str().as_bytes()),
            Self::Listing(listed) => Document::render(&listed),
            Self::Ticket(ticket) => Document::render(&ticket),
            Self::Wanted(wanted) => Document::render(&wanted),
            Self::Empty => Bytes::new(),
        }
    }
}

/// All index entries of a session except its memberships, by key.
fn index_entries(session: &Session) -> BTreeMap<Key, IndexValue<'_>> {
    let mut entries = BTreeMap::new();
    if session.ended {
        return entries;
    }
    for (platform, linked) in &session.platform_sessions {
        entries.insert(keys::platform_session(*platform, &linked.id), IndexValue::SessionId(&session.id));
    }
    if let Some(code) = &session.short_code {
        entries.insert(keys::short_code(code), IndexValue::SessionId(&session.id));
    }
    let allocation_id = session.instance.as_ref().and_then(|instance| instance.allocation_id.as_deref());
    if let Some(allocation_id) = allocation_id {
        entries.insert(keys::allocation(allocation_id), IndexValue::SessionId(&session.id));
    }
    if let Some(listing) = &session.listing {
        let key = keys::listing(&session.session_type, listing.sequence);
        entries.insert(key, IndexValue::Listing(Listed::of(session, &listing.custom_data)));
    }
    if let Some(ticket) = &session.matchmaking {
        let enqueued_ms = ticket.enqueued.as_millisecond();
        for profile_id in &ticket.profile_ids {
            let queued = QueuedTicket::of(session, ticket, profile_id);
            entries.insert(keys::queued(profile_id, enqueued_ms, &session.id), IndexValue::Ticket(queued));
        }
        for player in &ticket.players {
            entries.insert(keys::queued_player(*player), IndexValue::SessionId(&session.id));
        }
    }
    if let Some(match_made) = &session.match_made {
        entries.insert(keys::match_of(&match_made.results.match_id), IndexValue::SessionId(&session.id));
    }
    if let Some(backfill) = &session.backfill
        && let Some(wanted) = WantedPlayers::of(session, backfill)
    {
        let key = keys::backfill(&backfill.profile_id, backfill.created.as_millisecond(), &session.id);
        entries.insert(key, IndexValue::Wanted(wanted));
    }
    // Even if invites do not expire on this node: another node may have another setting.
    if session.can_time_out(true) {
        entries.insert(keys::watched(&session.id), IndexValue::Empty);
    }
    if session.is_open_with_room() {
        let key = keys::open(&session.session_type, session.created.as_millisecond(), &session.id);
        entries.insert(key, IndexValue::Empty);
    }
    entries
}

/// Plans the commit of a change from `before` to `after`; without `before`, of a new session. If the session gets a
/// unique key, such as a short code, the commit expects that no other session has it.
///
/// # Errors
/// [`Refused::SessionTooLarge`] if the stored session would exceed `bytes_max` and would not become smaller.
pub fn plan(before: Option<Before<'_>>, after: &Session, bytes_max: usize) -> Result<SessionWrites, Refused> {
    let session_key = keys::session(&after.id);
    let mut batch = match before {
        Some(before) => Batch::default().expect_version(session_key.clone(), before.version),
        None => Batch::default().expect_absent(session_key.clone()),
    };
    let no_fields = UnknownFields::default();
    let unknown_before = before.map_or(&no_fields, |before| before.unknown);
    let before = before.map(|before| before.session);
    let (mut stored_bytes, mut unknown) = (0, UnknownFields::default());
    if after.ended {
        batch = batch.delete(session_key);
    } else {
        let (encoded, kept) = StoredSession::encode_within(bytes_max, before, after, unknown_before)?;
        (stored_bytes, unknown) = (encoded.len(), kept);
        batch = batch.put(session_key, encoded);
    }
    batch = put_index_entries(batch, before, after);
    let lists_changed;
    (batch, lists_changed) = put_memberships(batch, before, after);
    batch = put_player_ids(batch, before, after);
    Ok(SessionWrites { batch, stored_bytes, unknown, lists_changed })
}

/// Writes the index entries that the change adds or changes, and deletes those that it removes.
fn put_index_entries(mut batch: Batch, before: Option<&Session>, after: &Session) -> Batch {
    let mut removed = before.map(index_entries).unwrap_or_default();
    for (key, value) in index_entries(after) {
        let value_before = removed.remove(&key);
        if value_before.is_none() && keys::unique(&key).is_some() {
            batch = batch.expect_absent(key.clone());
        }
        if value_before.as_ref() != Some(&value) {
            batch = batch.put(key, value.render());
        }
    }
    for key in removed.into_keys() {
        batch = batch.delete(key);
    }
    batch
}

/// Writes and deletes the entries of the session in the lists of its players. Returns the players whose lists change.
fn put_memberships(mut batch: Batch, before: Option<&Session>, after: &Session) -> (Batch, Vec<PlayerUuid>) {
    let mut lists_changed = Vec::new();
    let players_before = before.into_iter().flat_map(|session| session.players.keys());
    for player in players_before {
        if after.ended || !after.players.contains_key(player) {
            batch = batch.delete(keys::membership(*player, &after.id));
            lists_changed.push(*player);
        }
    }
    if after.ended {
        return (batch, lists_changed);
    }
    let listed_values = |entry: &Player| (entry.status, entry.inviting_player);
    for ChangedPlayer { player, entry_before, entry } in changed_players(before, after) {
        let is_listed_as_before = entry_before.map(listed_values) == Some(listed_values(entry));
        if !is_listed_as_before {
            let membership = Membership::of(after, entry);
            batch = batch.put(keys::membership(player, &after.id), Document::render(&membership));
        }
        // A further invite is news for the player, although the list shows the same. A new reservation is not: the
        // template may hide it.
        let is_news = !is_listed_as_before || entry_before.map(|entry| entry.invited) != Some(entry.invited);
        let was_waiting = entry_before.is_none_or(|entry| entry.status == Status::Reserved);
        if is_news && !(was_waiting && entry.status == Status::Reserved) {
            lists_changed.push(player);
        }
    }
    (batch, lists_changed)
}

/// Writes which player an older, numeric id belongs to. These values stay after the session: the id belongs to the
/// player, not to the session.
fn put_player_ids(mut batch: Batch, before: Option<&Session>, after: &Session) -> Batch {
    for ChangedPlayer { player, entry_before, entry } in changed_players(before, after) {
        let id_before = entry_before.and_then(|entry| entry.player_id);
        if let Some(player_id) = entry.player_id.filter(|id| Some(*id) != id_before) {
            batch = batch.put(keys::player_of_id(player_id), player.0.as_bytes().to_vec());
        }
    }
    batch
}

/// A player whose entry is new, or may have changed.
struct ChangedPlayer<'a> {
    player: PlayerUuid,
    entry_before: Option<&'a Player>,
    entry: &'a Player,
}

/// The players whose entries are new or may have changed. Both versions of the session share the entries that the
/// change left as they were, so comparing pointers finds the others.
fn changed_players<'a>(
    before: Option<&'a Session>,
    after: &'a Session,
) -> impl Iterator<Item = ChangedPlayer<'a>> {
    after.players.iter().filter_map(move |(player, entry)| {
        let entry_before = before.and_then(|session| session.players.get(player));
        if entry_before.is_some_and(|entry_before| Arc::ptr_eq(entry_before, entry)) {
            return None;
        }
        Some(ChangedPlayer { player: *player, entry_before: entry_before.map(Arc::as_ref), entry })
    })
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
