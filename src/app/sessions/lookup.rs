//! Lookups through index entries: players' lists, short codes, allocations, listings, open sessions, numeric player
//! ids.

use super::gates::{GATES_MAX, Gates};
use super::memberships::{ListChange, MembershipList};
use super::{MEMBERSHIPS_MAX, Sessions};
use crate::app::Failure;
use crate::app::waits::{Seen, Topic};
use crate::domain::{PlayerUuid, Refused, SessionId, ShortCode};
use crate::records::values::{decode_list_changed, decode_player, decode_session_id};
use crate::records::{Listed, Membership, keys};
use crate::store::{Batch, CommitError, Entry, Key, StoreError, next_key, prefix_end};

/// A stored listing of the session browser.
pub struct StoredListing {
    /// The number of the listing. It orders the listings of a session type.
    pub number: u64,
    /// Size of the stored listing, in bytes.
    pub bytes: usize,
    /// The listing.
    pub listed: Listed,
}

/// A page of the open sessions of a type.
pub struct OpenPage {
    /// The sessions, oldest first.
    pub ids: Vec<SessionId>,
    /// The gates of the type. Only the first page has them.
    pub gates: Gates,
    /// The key after which the next page starts; `None` if this is the last page.
    pub last: Option<Key>,
}

impl Sessions {
    /// A player's list: the sessions of the player, up to [`MEMBERSHIPS_MAX`]. It may include overdue sessions.
    pub async fn memberships(&self, player: PlayerUuid) -> Result<MembershipList, StoreError> {
        let is_sole_writer = self.store.sole_writer();
        if is_sole_writer && let Some(cached) = self.memberships.get(player) {
            return Ok(cached);
        }
        let changes = self.memberships.changes_seen(player);
        // At the same time, so that a database answers both in one round trip. The order does not matter: a change
        // between the two reads makes the next answer differ.
        let (changed, found) = tokio::try_join!(self.list_changed(player), self.membership_entries(player))?;
        let is_whole = found.len() < MEMBERSHIPS_MAX;
        let list = list_of(changed, found)?;
        if is_whole && is_sole_writer {
            self.memberships.put(player, &list, changes);
        }
        Ok(list)
    }

    /// Like [`memberships`](Self::memberships), for a wait: with what the store had of the list before its entries were
    /// read. `None`: no other process changes it.
    pub async fn watched_memberships(
        &self,
        player: PlayerUuid,
    ) -> Result<(MembershipList, Option<Seen>), StoreError> {
        if self.store.sole_writer() {
            return Ok((self.memberships(player).await?, None));
        }
        // One after the other: a change between the two reads must not count as seen.
        let changed = self.list_changed(player).await?;
        let seen = Seen(changed.as_ref().map(|entry| entry.version));
        Ok((list_of(changed, self.membership_entries(player).await?)?, Some(seen)))
    }

    /// When a player's list changed last.
    async fn list_changed(&self, player: PlayerUuid) -> Result<Option<Entry>, StoreError> {
        self.store.get(&keys::list_changed(player)).await
    }

    async fn membership_entries(&self, player: PlayerUuid) -> Result<Vec<(Key, Entry)>, StoreError> {
        let prefix = keys::memberships_of(player);
        self.store.scan(&prefix, &prefix_end(&prefix), MEMBERSHIPS_MAX).await
    }

    /// The id of the session with this short code. The session may be overdue.
    pub async fn id_of_short_code(&self, code: &ShortCode) -> Result<Option<SessionId>, StoreError> {
        self.id_at(&keys::short_code(code)).await
    }

    /// The id of the session whose instance has this allocation. The session may be overdue.
    pub async fn id_of_allocation(&self, allocation_id: &str) -> Result<Option<SessionId>, StoreError> {
        self.id_at(&keys::allocation(allocation_id)).await
    }

    async fn id_at(&self, key: &[u8]) -> Result<Option<SessionId>, StoreError> {
        let entry = self.store.get(key).await?;
        entry.map(|entry| decode_session_id(&entry.value)).transpose()
    }

    /// Up to `limit` listings of a session type with numbers above `after`, by number.
    pub async fn listed(
        &self,
        session_type: &str,
        after: u64,
        limit: usize,
    ) -> Result<Vec<StoredListing>, StoreError> {
        let (from, to) = keys::listings_after(session_type, after);
        let mut listings = Vec::new();
        for (key, entry) in self.store.scan(&from, &to, limit).await? {
            let number = keys::parse_listing(&key)
                .ok_or_else(|| StoreError::Corrupt("a listing has no number".into()))?;
            let listed = Listed::decode(&entry.value)?;
            listings.push(StoredListing { number, bytes: entry.value.len(), listed });
        }
        Ok(listings)
    }

    /// A new number for a listing. No other listing on any node gets it.
    pub async fn next_listing_number(&self) -> Result<u64, Failure> {
        self.listing_numbers.next(&self.store).await
    }

    /// The player with this older, numeric id. The server learns such ids from the tokens of players in sessions.
    ///
    /// # Errors
    /// [`Refused::PlayerNotFound`] if no token of a player in a session has named the id yet.
    pub async fn player_of_id(&self, player_id: i64) -> Result<PlayerUuid, Failure> {
        let entry = self.store.get(&keys::player_of_id(player_id)).await?.ok_or(Refused::PlayerNotFound)?;
        Ok(decode_player(&entry.value)?)
    }

    /// Removes a session that has ended from a player's list. Does nothing if the list does not name the session, or if
    /// the session is still stored.
    pub async fn forget_membership(&self, player: PlayerUuid, id: &SessionId) -> Result<(), Failure> {
        let key = keys::membership(player, id);
        if self.store.get(&key).await?.is_none() {
            return Ok(());
        }
        let batch = Batch::default().expect_absent(keys::session(id)).delete(key);
        let batch = batch.and(self.put_list_times(&[player]));
        let changes = ListChange::of(&batch);
        match self.store.commit(batch).await {
            Ok(_) => {
                self.memberships.committed(changes);
                self.changed(&[Topic::List(player)]);
                Ok(())
            }
            // The session is still stored. The commit that ends it removes the entry.
            Err(CommitError::Conflict { .. }) => Ok(()),
            Err(CommitError::Store(error)) => Err(error.into()),
        }
    }

    /// Up to `limit` open sessions of a type, oldest first, starting after the key `after`. The first page also has the
    /// gates of the type, read at the same moment.
    pub async fn open(
        &self,
        session_type: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<OpenPage, StoreError> {
        let prefix = keys::open_of(session_type);
        let (from, limit) = match after {
            Some(after) => (next_key(after), limit),
            None => (prefix.clone(), limit + GATES_MAX),
        };
        let found = self.store.scan(&from, &prefix_end(&prefix), limit).await?;
        let last = (found.len() == limit).then(|| found.last().map(|(key, _)| key.clone())).flatten();
        let (mut ids, mut gates) = (Vec::new(), Gates::default());
        for (key, entry) in found {
            if let Some(number) = keys::parse_gate(session_type, &key) {
                gates.note(number, entry.version);
            } else if let Some(id) = keys::parse_open(session_type, &key) {
                ids.push(id);
            }
        }
        Ok(OpenPage { ids, gates, last })
    }
}

/// The list with these entries of the store.
fn list_of(changed: Option<Entry>, found: Vec<(Key, Entry)>) -> Result<MembershipList, StoreError> {
    let changed = changed.map(|entry| decode_list_changed(&entry.value)).transpose()?;
    let mut entries = Vec::with_capacity(found.len());
    for (key, entry) in found {
        let (_, id) = keys::parse_membership(&key)
            .ok_or_else(|| StoreError::Corrupt("a player's list names no session".into()))?;
        entries.push((id, Membership::decode(&entry.value)?));
    }
    Ok(MembershipList { entries: entries.into(), changed })
}
