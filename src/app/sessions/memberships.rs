//! The cache of players' lists. With it, a join counts the player's sessions and invites without a scan of the store.
//! It is used only if no other process writes to the store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::app::locks::LockStripes;
use crate::domain::session::Status;
use crate::domain::{PlayerUuid, SessionId};
use crate::records::values::decode_list_changed;
use crate::records::{Membership, keys};
use crate::store::{Batch, StoreError};

/// Memory of a list beside its entries, in bytes, roughly.
const LIST_BYTES: u64 = 144;
/// Memory of an entry, in bytes, roughly: the id and type of a session, and the rest.
const ENTRY_BYTES: u64 = 192;
/// Number of locks for the change counters of players.
const LOCKS: usize = 256;

/// A player's list.
#[derive(Clone, Debug)]
pub struct MembershipList {
    /// The player's entries in sessions, ordered by session id.
    pub entries: Arc<[(SessionId, Membership)]>,
    /// When the list changed last. It differs from the times of all earlier changes. `None` if that is not known: the
    /// list never had an entry, has been empty for long, or was last changed by an older version of the server.
    pub changed: Option<Timestamp>,
}

impl MembershipList {
    /// Whether the player may see an entry or not, as its template says.
    pub fn depends_on_templates(&self) -> bool {
        self.entries.iter().any(|(_, membership)| membership.status == Status::Reserved)
    }
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<PlayerUuid, MembershipList> for ByBytes {
    fn weight(&self, _: &PlayerUuid, list: &MembershipList) -> u64 {
        LIST_BYTES + ENTRY_BYTES * list.entries.len() as u64
    }
}

/// The change of a player's list in a commit. Values are as stored, and `None` if they were deleted.
#[derive(Default)]
pub struct ListChange {
    entries: Vec<(SessionId, Option<Bytes>)>,
    /// The new time of the last change. The outer `None`: the time stays.
    changed: Option<Option<Bytes>>,
}

/// The changed lists of a commit, by player.
pub type ListChanges = BTreeMap<PlayerUuid, ListChange>;

impl ListChange {
    /// The changes of players' lists in a commit.
    pub fn of(batch: &Batch) -> ListChanges {
        let mut changes = ListChanges::new();
        let put = batch.put.iter().map(|(key, value)| (key, Some(value)));
        let deleted = batch.delete.iter().map(|key| (key, None));
        for (key, value) in put.chain(deleted) {
            if let Some((player, id)) = keys::parse_membership(key) {
                changes.entry(player).or_default().entries.push((id, value.cloned()));
            } else if let Some(player) = keys::parse_list_changed(key) {
                changes.entry(player).or_default().changed = Some(value.cloned());
            }
        }
        changes
    }

    /// The sessions that are no longer on the list.
    pub fn departures(&self) -> impl Iterator<Item = &SessionId> {
        self.entries.iter().filter(|(_, entry)| entry.is_none()).map(|(id, _)| id)
    }

    /// The list after the change.
    fn apply(self, list: &MembershipList) -> Result<MembershipList, StoreError> {
        let mut list = list.clone();
        for (id, entry) in self.entries {
            list.entries = changed(&list.entries, &id, entry)?;
        }
        if let Some(changed) = self.changed {
            list.changed = changed.map(|stored| decode_list_changed(&stored)).transpose()?;
        }
        Ok(list)
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
    pub fn put(&self, player: PlayerUuid, list: &MembershipList, changes_seen: u64) {
        let changes = self.lock(player);
        if *changes == changes_seen {
            self.lists.insert(player, list.clone());
        }
    }

    /// Applies committed changes to the cached lists.
    pub fn committed(&self, changes: ListChanges) {
        for (player, change) in changes {
            let mut changes = self.lock(player);
            *changes += 1;
            let Some(list) = self.lists.get(&player) else { continue };
            match change.apply(&list) {
                Ok(list) => self.lists.insert(player, list),
                Err(_) => {
                    // The next reader reads the list from the store, and reports the corrupt entry.
                    self.lists.remove(&player);
                }
            }
        }
    }

    /// Removes the lists of a commit whose outcome is unknown.
    pub fn forget(&self, changes: &ListChanges) {
        for player in changes.keys() {
            *self.lock(*player) += 1;
            self.lists.remove(player);
        }
    }
}

/// The entries with one added, replaced or, for `None`, removed.
fn changed(
    entries: &[(SessionId, Membership)],
    id: &SessionId,
    entry: Option<Bytes>,
) -> Result<Arc<[(SessionId, Membership)]>, StoreError> {
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
    use crate::records::values::encode_list_changed;

    const PLAYER: PlayerUuid = PlayerUuid(uuid::Uuid::from_u128(1));

    fn id(text: &str) -> SessionId {
        SessionId::parse(text).unwrap()
    }

    fn empty() -> MembershipList {
        MembershipList { entries: Arc::from([]), changed: None }
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
        memberships.committed(ListChange::of(&batch));
    }

    /// The cached list, as `session:type` for each entry.
    fn cached_list(memberships: &Memberships) -> Option<String> {
        let list = memberships.get(PLAYER)?;
        let texts = list.entries.iter().map(|(id, entry)| format!("{id}:{}", entry.session_type));
        Some(texts.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn commits_change_a_cached_list() {
        let memberships = Memberships::new(1 << 20);
        commit(&memberships, "b", Some("game"));
        assert_eq!(cached_list(&memberships), None, "a list that was not read from the store is not cached");
        memberships.put(PLAYER, &empty(), memberships.changes_seen(PLAYER));
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
        memberships.put(PLAYER, &empty(), seen_before);
        assert_eq!(cached_list(&memberships), None);
    }

    #[test]
    fn a_list_is_removed_if_the_outcome_of_a_commit_is_unknown() {
        let memberships = Memberships::new(1 << 20);
        memberships.put(PLAYER, &empty(), memberships.changes_seen(PLAYER));
        let change = Batch::default().put(keys::membership(PLAYER, &id("a")), stored("game"));
        memberships.forget(&ListChange::of(&change));
        assert_eq!(cached_list(&memberships), None);
    }

    #[test]
    fn commits_change_the_time_of_a_cached_list() {
        let memberships = Memberships::new(1 << 20);
        memberships.put(PLAYER, &empty(), memberships.changes_seen(PLAYER));
        let key = keys::list_changed(PLAYER);
        let at: Timestamp = "2026-11-30T12:00:00.000125Z".parse().unwrap();
        for (batch, expected) in [
            (Batch::default().put(key.clone(), encode_list_changed(at)), Some(at)),
            (Batch::default().put(keys::membership(PLAYER, &id("a")), stored("game")), Some(at)),
            (Batch::default().delete(key), None),
        ] {
            memberships.committed(ListChange::of(&batch));
            assert_eq!(memberships.get(PLAYER).unwrap().changed, expected);
        }
        assert_eq!(cached_list(&memberships).as_deref(), Some("a:game"));
    }
}
