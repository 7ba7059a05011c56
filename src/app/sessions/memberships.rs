//! Players' lists in memory, so that a join need not search the store for the player's other sessions. They are used
//! only if no other process writes to the store.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::app::locks::LockStripes;
use crate::domain::{PlayerUuid, SessionId};
use crate::records::{Membership, keys};
use crate::store::{Batch, Key, StoreError};

/// Bytes that a list takes beside its entries, roughly.
const LIST_BYTES: u64 = 128;
/// Bytes that an entry takes, roughly: a session's id, its type, the rest.
const ENTRY_BYTES: u64 = 192;
/// Locks of players.
const LOCKS: usize = 256;

/// A player's entries in sessions, ordered by session.
pub type MembershipList = Arc<[(SessionId, Membership)]>;

#[derive(Clone)]
struct ByBytes;

impl Weighter<PlayerUuid, MembershipList> for ByBytes {
    fn weight(&self, _: &PlayerUuid, entries: &MembershipList) -> u64 {
        LIST_BYTES + ENTRY_BYTES * entries.len() as u64
    }
}

/// A change of a player's list: the entry as stored, or `None` if it was removed.
pub struct MembershipChange {
    player: PlayerUuid,
    id: SessionId,
    entry: Option<Bytes>,
}

impl MembershipChange {
    /// What a commit changes in players' lists.
    pub fn of(batch: &Batch) -> Vec<Self> {
        let put = batch.put.iter().map(|(key, value)| (key, Some(value)));
        let gone = batch.delete.iter().map(|key| (key, None));
        let change = |(key, entry): (&Key, Option<&Bytes>)| {
            let (player, id) = keys::parse_membership(key)?;
            Some(Self { player, id, entry: entry.cloned() })
        };
        put.chain(gone).filter_map(change).collect()
    }
}

/// Players' lists, as far as they are in memory.
pub struct Memberships {
    lists: Cache<PlayerUuid, MembershipList, ByBytes>,
    /// The number of changes: a list read before a change must not be cached after it.
    changes: LockStripes<Mutex<u64>>,
}

impl Memberships {
    /// Lists of about so many bytes.
    pub fn new(bytes: u64) -> Self {
        let lists_estimated = usize::try_from(bytes / (LIST_BYTES + ENTRY_BYTES)).unwrap_or(1 << 20).max(64);
        Self {
            lists: Cache::with_weighter(lists_estimated, bytes, ByBytes),
            changes: LockStripes::new(LOCKS),
        }
    }

    fn lock(&self, player: PlayerUuid) -> MutexGuard<'_, u64> {
        self.changes.of(player).lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A player's list.
    pub fn get(&self, player: PlayerUuid) -> Option<MembershipList> {
        self.lists.get(&player)
    }

    /// To be asked before a list is read from the store, and told to [`put`](Self::put).
    pub fn changes_seen(&self, player: PlayerUuid) -> u64 {
        *self.lock(player)
    }

    /// Keeps what was read, unless something changed meanwhile.
    pub fn put(&self, player: PlayerUuid, entries: &MembershipList, seen: u64) {
        let changes = self.lock(player);
        if *changes == seen {
            self.lists.insert(player, Arc::clone(entries));
        }
    }

    /// Takes in what was committed.
    pub fn committed(&self, changes: Vec<MembershipChange>) {
        for MembershipChange { player, id, entry } in changes {
            let mut changes = self.lock(player);
            *changes += 1;
            let Some(entries) = self.lists.get(&player) else { continue };
            match changed(&entries, &id, entry) {
                Ok(entries) => self.lists.insert(player, entries),
                // Read from the store again, and refused there if it is no good.
                Err(_) => drop(self.lists.remove(&player)),
            }
        }
    }

    /// Forgets the lists of which nobody knows whether they changed.
    pub fn forget(&self, changes: &[MembershipChange]) {
        for MembershipChange { player, .. } in changes {
            *self.lock(*player) += 1;
            self.lists.remove(player);
        }
    }
}

fn changed(
    entries: &MembershipList,
    id: &SessionId,
    entry: Option<Bytes>,
) -> Result<MembershipList, StoreError> {
    let entry = entry.map(|stored| Membership::decode(&stored)).transpose()?;
    let position = entries.partition_point(|(other, _)| other < id);
    let after = entries.iter().skip(position).skip_while(|(other, _)| other == id);
    let changed = entry.map(|entry| (id.clone(), entry));
    Ok(entries[..position].iter().chain(changed.as_ref()).chain(after).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;
    use crate::domain::session::Status;

    const PLAYER: PlayerUuid = PlayerUuid(uuid::Uuid::from_u128(1));

    fn id(text: &str) -> SessionId {
        SessionId::parse(text).unwrap()
    }

    fn stored(session_type: &str) -> Bytes {
        let session_type = session_type.to_owned();
        Document::render(&Membership { session_type, status: Status::Member, inviting_player: None })
    }

    /// Commits a entry, or that it is gone.
    fn commit(memberships: &Memberships, name: &str, session_type: Option<&str>) {
        let key = keys::membership(PLAYER, &id(name));
        let batch = match session_type {
            Some(session_type) => Batch::default().put(key, stored(session_type)),
            None => Batch::default().delete(key),
        };
        memberships.committed(MembershipChange::of(&batch));
    }

    fn seen(memberships: &Memberships) -> Option<String> {
        let entries = memberships.get(PLAYER)?;
        let shown = entries.iter().map(|(id, entry)| format!("{id}:{}", entry.session_type));
        Some(shown.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_list_follows_what_is_committed() {
        let memberships = Memberships::new(1 << 20);
        commit(&memberships, "b", Some("game"));
        assert_eq!(seen(&memberships), None, "what was not read from the store is not known whole");
        memberships.put(PLAYER, &MembershipList::from([]), memberships.changes_seen(PLAYER));
        for (name, session_type, expected) in [
            ("b", Some("game"), "b:game"),
            ("c", Some("game"), "b:game c:game"),
            ("a", Some("party"), "a:party b:game c:game"),
            ("b", Some("party"), "a:party b:party c:game"),
            ("b", None, "a:party c:game"),
            ("b", None, "a:party c:game"),
        ] {
            commit(&memberships, name, session_type);
            assert_eq!(seen(&memberships).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_list_read_before_a_change_is_not_kept_after_it() {
        let memberships = Memberships::new(1 << 20);
        let seen_before = memberships.changes_seen(PLAYER);
        commit(&memberships, "a", Some("game"));
        memberships.put(PLAYER, &MembershipList::from([]), seen_before);
        assert_eq!(seen(&memberships), None);
    }

    #[test]
    fn a_list_is_forgotten_where_nobody_knows_what_became_of_a_change() {
        let memberships = Memberships::new(1 << 20);
        memberships.put(PLAYER, &MembershipList::from([]), memberships.changes_seen(PLAYER));
        let change = Batch::default().put(keys::membership(PLAYER, &id("a")), stored("game"));
        memberships.forget(&MembershipChange::of(&change));
        assert_eq!(seen(&memberships), None);
    }
}
