//! Everything in the store that follows from a session is computed from it here, and never written beside it. A change
//! writes the difference between what followed before and what follows now, in one commit, so sessions,
//! platform sessions and players' lists agree by construction.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::{Listed, Membership, StoredSession, UnknownFields, keys};
use crate::document::Document;
use crate::domain::session::Player;
use crate::domain::{PlayerUuid, Refused, Session, SessionId};
use crate::store::{Batch, Key, Version};

/// A session as it is stored before a change.
#[derive(Clone, Copy)]
pub struct Before<'a> {
    /// The session.
    pub session: &'a Session,
    /// Fields of it that this build does not know.
    pub unknown: &'a UnknownFields,
    /// The version that the commit expects to replace.
    pub version: Version,
}

/// A change of a session, ready to be committed.
#[derive(Debug)]
pub struct Planned {
    /// Everything that the change writes, and what must hold for it.
    pub batch: Batch,
    /// Bytes that the session takes as stored; 0 if it ends.
    pub stored_bytes: usize,
    /// Fields of the session that this build does not know, as they are after the change.
    pub unknown: UnknownFields,
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

/// Everything that follows from a session, but for the entries in its players' lists.
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
    if session.is_open_with_room() {
        let key = keys::open(&session.session_type, session.created.as_millisecond(), &session.id);
        derived.insert(key, Derived::Marked);
    }
    derived
}

/// Plans the commit that turns `before` into `after`, which may take up to `bytes_max` bytes. Where the session gets
/// something that only one session can have, the commit expects that no other session has it.
///
/// # Errors
/// [`Refused::SessionTooLarge`].
pub fn plan(before: Option<Before<'_>>, after: &Session, bytes_max: usize) -> Result<Planned, Refused> {
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
    batch = put_derived(batch, before, after);
    batch = put_memberships(batch, before, after);
    batch = put_player_ids(batch, before, after);
    Ok(Planned { batch, stored_bytes, unknown })
}

/// Everything that follows from the session, as far as it changes.
fn put_derived(mut batch: Batch, before: Option<&Session>, after: &Session) -> Batch {
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
    gone.into_keys().fold(batch, Batch::delete)
}

/// The entries of the session in the lists of its players, as far as they change.
fn put_memberships(batch: Batch, before: Option<&Session>, after: &Session) -> Batch {
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
#[path = "index_tests.rs"]
mod tests;
