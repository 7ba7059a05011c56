//! The cache of players' lists. With it, a join counts the player's sessions and invites without a scan of the store.
//! It is used only if no other process writes to the store.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::app::locks::LockStripes;
use crate::domain::{PlayerUuid, SessionId};
use crate::records::{Membership, keys};
use crate::store::{Batch, StoreError};

/// Memory of a list beside its entries, in bytes, roughly.
const LIST_BYTES: u64 = 128;
/// Memory of an entry, in bytes, roughly: the id and type of a session, and the rest.
const ENTRY_BYTES: u64 = 192;
/// Number of locks for the change counters of players.
const LOCKS: usize = 256;

/// A player's list: the player's entries in sessions, ordered by session id.
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
    /// The changes of players' lists in a commit.
    pub fn of(batch: &Batch) -> Vec<Self> {
        let mut changes = Vec::new();
        for (key, value) in &batch.put {
            if let Some((player, id)) = keys::parse_membership(key) {
                changes.push(Self { player, id, entry: Some(value.clone()) });
            }
        }
        for key in &batch.delete {
            if let Some((player, id)) = keys::parse_membership(key) {
                changes.push(Self { player, id, entry: None });
            }
        }
        changes
    }
}

/// The cached lists of players.
pub struct Memberships {
    lists: Cache<PlayerUuid, MembershipList, ByBytes>,
    /// The number of changes by player. A reader compares it before and after its read; if a change came in between,
    /// the reader does not cache the older list.
    changes: LockStripes<Mutex<u64>>,
}

impl Memberships {
    /// A cache of about this many bytes.
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

    /// The cached list of a player.
    pub fn get(&self, player: PlayerUuid) -> Option<MembershipList> {
        self.lists.get(&player)
    }

    /// The number of changes of a player's list so far. Read it before reading the list from the store, and pass it to
    /// [`put`](Self::put).
    pub fn changes_seen(&self, player: PlayerUuid) -> u64 {
        *self.lock(player)
    }

    /// Caches a list that was read from the store, unless the list has changed since
    /// [`changes_seen`](Self::changes_seen).
    pub fn put(&self, player: PlayerUuid, entries: &MembershipList, changes_seen: u64) {
        let changes = self.lock(player);
        if *changes == changes_seen {
            self.lists.insert(player, Arc::clone(entries));
        }
    }

    /// Applies committed changes to the cached lists.
    pub fn committed(&self, changes: Vec<MembershipChange>) {
        for MembershipChange { player, id, entry } in changes {
            let mut changes = self.lock(player);
            *changes += 1;
            let Some(entries) = self.lists.get(&player) else { continue };
            match changed(&entries, &id, entry) {
                Ok(entries) => self.lists.insert(player, entries),
                Err(_) => {
                    // The next reader reads the list from the store, and reports the corrupt entry.
                    self.lists.remove(&player);
                }
            }
        }
    }

    /// Removes the lists of a commit whose outcome is unknown.
    pub fn forget(&self, changes: &[MembershipChange]) {
        for MembershipChange { player, .. } in changes {
            *self.lock(*player) += 1;
            self.lists.remove(player);
        }
    }
}

/// The list with one entry added, replaced or, for `None`, removed.
fn changed(
    entries: &MembershipList,
    id: &SessionId,
    entry: Option<Bytes>,
) -> Result<MembershipList, StoreError> {
    let position = entries.partition_point(|(other, _)| other < id);
    let (smaller, rest) = entries.split_at(position);
    let greater = rest.iter().skip_while(|(other, _)| other == id);
    let mut changed = Vec::with_capacity(entries.len() + 1);
    changed.extend_from_slice(smaller);
    if let Some(stored) = entry {
        changed.push((id.clone(), Membership::decode(&stored)?));
    }
    changed.extend(greater.cloned());
    Ok(changed.into())
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

    /// Applies a commit that puts an entry with this session type, or deletes the entry for `None`.
    fn commit(memberships: &Memberships, name: &str, session_type: Option<&str>) {
        let key = keys::membership(PLAYER, &id(name));
        let batch = match session_type {
            Some(session_type) => Batch::default().put(key, stored(session_type)),
            None => Batch::default().delete(key),
        };
        memberships.committed(MembershipChange::of(&batch));
    }

    /// The cached list, as `session:type` for each entry.
    fn cached_list(memberships: &Memberships) -> Option<String> {
        let entries = memberships.get(PLAYER)?;
        let texts = entries.iter().map(|(id, entry)| format!("{id}:{}", entry.session_type));
        Some(texts.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn commits_change_a_cached_list() {
        let memberships = Memberships::new(1 << 20);
        commit(&memberships, "b", Some("game"));
        assert_eq!(cached_list(&memberships), None, "a list that was not read from the store is not cached");
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
            assert_eq!(cached_list(&memberships).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_list_read_before_a_change_is_not_cached_after_it() {
        let memberships = Memberships::new(1 << 20);
        let seen_before = memberships.changes_seen(PLAYER);
        commit(&memberships, "a", Some("game"));
        memberships.put(PLAYER, &MembershipList::from([]), seen_before);
        assert_eq!(cached_list(&memberships), None);
    }

    #[test]
    fn a_list_is_removed_if_the_outcome_of_a_commit_is_unknown() {
        let memberships = Memberships::new(1 << 20);
        memberships.put(PLAYER, &MembershipList::from([]), memberships.changes_seen(PLAYER));
        let change = Batch::default().put(keys::membership(PLAYER, &id("a")), stored("game"));
        memberships.forget(&MembershipChange::of(&change));
        assert_eq!(cached_list(&memberships), None);
    }
}
