//! What a player was not told yet: the state of now against the cursor.
//!
//! Nothing is compared but these two, so nothing can be lost: an answer that a client did not get is computed again from
//! the cursor that the client still has.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::cursor::{Cursor, GONE, SESSIONS_MAX, Subject, Tag};

/// The state of now of a player.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The numbers of the messages after the cursor's, oldest first.
    pub messages: Vec<u64>,
    /// The sessions that the player's list shows, each with its version.
    pub sessions: BTreeMap<Uuid, Tag>,
    /// Sessions that others have taken off the player's list a moment ago, as far as that is remembered. The player may
    /// know of one although the cursor does not: a client reads a session as soon as it has joined it.
    pub departed: BTreeSet<Uuid>,
    /// Sessions of which nothing is told yet.
    pub quiet: BTreeSet<Uuid>,
}

/// Something that the player was not told yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A message with this number.
    Message(u64),
    /// A session that is new on the player's list.
    Added(Uuid),
    /// A session that the player knows of has changed.
    Changed(Uuid),
    /// A session is no longer on the player's list.
    Removed(Uuid),
}

/// An entry of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What the entry tells.
    pub change: Change,
    /// What the player was told after this entry. It is the id of the entry.
    pub cursor: Cursor,
}

/// The entries that follow a cursor, at most `limit`: messages, then sessions that were added or changed, then sessions
/// that were removed. There is one entry for a session. `created_ms` says when a change was made, in milliseconds since
/// the epoch.
pub fn entries_after(
    cursor: &Cursor,
    now: &Now,
    limit: usize,
    created_ms: impl Fn(Change) -> i64,
) -> Vec<Entry> {
    let further = Further::of(&now.sessions);
    let mut told = cursor.clone();
    let is_remembered = |id: &Uuid| now.sessions.contains_key(id) || now.departed.contains(id);
    told.sessions.retain(|id, tag| !further.has(*id) && (*tag != GONE || is_remembered(id)));
    if further.sessions.is_empty() {
        told.rest = None;
    }
    let mut entries = Vec::new();
    for (change, rest) in changes_since(&told, now, &further) {
        if entries.len() == limit {
            break;
        }
        let version = |id: Uuid| now.sessions.get(&id).copied().unwrap_or_default();
        match change {
            Change::Message(number) => told.last_message = number,
            Change::Changed(_) if rest.is_some() => told.rest = rest,
            Change::Added(id) => {
                if told.sessions.len() == SESSIONS_MAX {
                    told.sessions.retain(|_, tag| *tag != GONE);
                }
                // Only sessions that are quiet take the place: it is told when they no longer are.
                if told.sessions.len() == SESSIONS_MAX {
                    continue;
                }
                told.sessions.insert(id, version(id));
            }
            Change::Changed(id) => drop(told.sessions.insert(id, version(id))),
            Change::Removed(id) => {
                let was_known = told.sessions.remove(&id).is_some();
                if now.departed.contains(&id) {
                    // Without a place for it, the cursor could not tell that the player was told.
                    if !was_known && told.sessions.len() == SESSIONS_MAX {
                        continue;
                    }
                    told.sessions.insert(id, GONE);
                }
            }
        }
        told.position = told.position.wrapping_add(1);
        told.created_ms = created_ms(change);
        told.subject = match change {
            Change::Message(_) => Subject::Message,
            Change::Added(id) | Change::Changed(id) if rest.is_none() => Subject::Session(id),
            _ => Subject::Other,
        };
        entries.push(Entry { change, cursor: told.clone() });
    }
    entries
}

/// All changes since a cursor, in order. Those of further sessions have the digest of the further sessions that are told
/// with them.
fn changes_since(told: &Cursor, now: &Now, further: &Further) -> Vec<(Change, Option<Tag>)> {
    let messages = now.messages.iter().map(|number| (Change::Message(*number), None));
    let is_told_now = |id: &Uuid| !now.quiet.contains(id);
    let listed = now.sessions.iter().take(SESSIONS_MAX).filter(|(id, _)| is_told_now(id));
    let changed = listed.filter_map(|(id, tag)| match told.sessions.get(id) {
        None | Some(&GONE) => Some((Change::Added(*id), None)),
        Some(known) if known != tag => Some((Change::Changed(*id), None)),
        Some(_) => None,
    });
    let changed: Vec<_> = changed.chain(further.changes_since(told.rest)).collect();
    let known = told.sessions.iter().filter(|(_, tag)| **tag != GONE).map(|(id, _)| id);
    let unknown = now.departed.iter().filter(|id| !told.sessions.contains_key(id));
    let gone = known.chain(unknown).filter(|id| !now.sessions.contains_key(id) && is_told_now(id));
    let removed = gone.map(|id| (Change::Removed(*id), None));
    let added = changed.iter().filter(|(change, _)| matches!(change, Change::Added(_)));
    // A cursor that is full has no place for new sessions before others have left it.
    if told.sessions.len() + added.count() > SESSIONS_MAX {
        messages.chain(removed).chain(changed).collect()
    } else {
        messages.chain(changed).chain(removed).collect()
    }
}

/// The sessions beyond those that a cursor names. A cursor has the digest of the first of them up to the last one that
/// was told. If another one of these changes, all are told again.
struct Further {
    /// Each with the digest of the sessions up to it.
    sessions: Vec<(Uuid, Tag)>,
}

impl Further {
    fn of(sessions: &BTreeMap<Uuid, Tag>) -> Self {
        let mut chained = [0; 32];
        let digests = sessions.iter().skip(SESSIONS_MAX).map(|(id, tag)| {
            chained =
                Sha256::new().chain_update(chained).chain_update(id).chain_update(tag).finalize().into();
            let [a, b, c, d, e, f, g, h, ..] = chained;
            (*id, [a, b, c, d, e, f, g, h])
        });
        Self { sessions: digests.collect() }
    }

    fn has(&self, id: Uuid) -> bool {
        self.sessions.binary_search_by_key(&id, |(other, _)| *other).is_ok()
    }

    /// The digest of all of them; `None` if there are none.
    fn digest(&self) -> Option<Tag> {
        self.sessions.last().map(|(_, digest)| *digest)
    }

    fn changes_since(&self, told: Option<Tag>) -> impl Iterator<Item = (Change, Option<Tag>)> {
        let last_told = told.and_then(|told| self.sessions.iter().position(|(_, digest)| *digest == told));
        let not_delivered = last_told.map_or(0, |last| last + 1);
        // The cursor does not know which of them are new.
        self.sessions[not_delivered..].iter().map(|(id, digest)| (Change::Changed(*id), Some(*digest)))
    }
}

/// The cursor of a player who knows all of these sessions, except those with recent changes. `recent` may have sessions
/// that the player was in until a moment ago.
pub fn cursor_before(
    sessions: &BTreeMap<Uuid, Tag>,
    recent: &BTreeSet<Uuid>,
    departed: &BTreeSet<Uuid>,
    last_message: u64,
) -> Cursor {
    let further = Further::of(sessions);
    let is_known = !further.sessions.iter().any(|(id, _)| recent.contains(id));
    let rest = further.digest().filter(|_| is_known);
    let named = sessions.iter().take(SESSIONS_MAX).filter(|(id, _)| !recent.contains(id));
    let mut known: BTreeMap<_, _> = named.map(|(id, tag)| (*id, *tag)).collect();
    for id in departed.iter().filter(|id| !sessions.contains_key(id)) {
        if known.len() < SESSIONS_MAX {
            known.insert(*id, Tag::default());
        }
    }
    Cursor { subject: Subject::Start, last_message, sessions: known, rest, ..Cursor::nothing() }
}

#[cfg(test)]
#[path = "news_tests.rs"]
mod tests;
