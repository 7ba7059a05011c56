//! Finding sessions and players: by players' lists, short codes, allocations, listings, older ids.

use super::memberships::{MembershipChange, MembershipList};
use super::{MEMBERSHIPS_MAX, Sessions};
use crate::app::Failure;
use crate::domain::{PlayerUuid, Refused, SessionId, ShortCode};
use crate::records::values::{decode_player, decode_session_id};
use crate::records::{Listed, Membership, keys};
use crate::store::{Batch, CommitError, Key, StoreError, next_key, prefix_end};

/// A listing of the browser, as it is stored.
pub struct StoredListing {
    /// Its number, which orders the listings of a type.
    pub number: u64,
    /// Bytes that it takes as stored.
    pub bytes: usize,
    /// What it shows.
    pub listed: Listed,
}

impl Sessions {
    /// A player's entries in sessions.
    pub async fn memberships(&self, player: PlayerUuid) -> Result<MembershipList, StoreError> {
        let is_sole_writer = self.store.sole_writer();
        if is_sole_writer && let Some(cached) = self.memberships.get(player) {
            return Ok(cached);
        }
        let changes = self.memberships.changes_seen(player);
        let prefix = keys::memberships_of(player);
        let found = self.store.scan(&prefix, &prefix_end(&prefix), MEMBERSHIPS_MAX).await?;
        let is_whole = found.len() < MEMBERSHIPS_MAX;
        let mut memberships = Vec::with_capacity(found.len());
        for (key, entry) in found {
            let (_, id) = keys::parse_membership(&key)
                .ok_or_else(|| StoreError::Corrupt("a player's list names no session".into()))?;
            memberships.push((id, Membership::decode(&entry.value)?));
        }
        let memberships = MembershipList::from(memberships);
        if is_whole && is_sole_writer {
            self.memberships.put(player, &memberships, changes);
        }
        Ok(memberships)
    }

    /// The session of a short code.
    pub async fn id_of_short_code(&self, code: &ShortCode) -> Result<Option<SessionId>, StoreError> {
        self.id_at(&keys::short_code(code)).await
    }

    /// The session of an allocation.
    pub async fn id_of_allocation(&self, allocation_id: &str) -> Result<Option<SessionId>, StoreError> {
        self.id_at(&keys::allocation(allocation_id)).await
    }

    async fn id_at(&self, key: &[u8]) -> Result<Option<SessionId>, StoreError> {
        let entry = self.store.get(key).await?;
        entry.map(|entry| decode_session_id(&entry.value)).transpose()
    }

    /// Up to `limit` listings of a type with numbers above `after`, in order.
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

    /// A number that no other listing has.
    pub async fn next_listing_number(&self) -> Result<u64, Failure> {
        self.listing_numbers.next(&self.store).await
    }

    /// The player of an older, numeric id, if a token in a session has named it.
    ///
    /// # Errors
    /// [`Refused::PlayerNotFound`].
    pub async fn player_of_id(&self, player_id: i64) -> Result<PlayerUuid, Failure> {
        let entry = self.store.get(&keys::player_of_id(player_id)).await?.ok_or(Refused::PlayerNotFound)?;
        Ok(decode_player(&entry.value)?)
    }

    /// Removes a session that is gone from a player's list, if it is still there.
    pub async fn forget_membership(&self, player: PlayerUuid, id: &SessionId) -> Result<(), Failure> {
        let key = keys::membership(player, id);
        if self.store.get(&key).await?.is_none() {
            return Ok(());
        }
        let batch = Batch::default().expect_absent(keys::session(id)).delete(key);
        let changes = MembershipChange::of(&batch);
        match self.store.commit(batch).await {
            Ok(_) => {
                self.memberships.committed(changes);
                Ok(())
            }
            // The session is overdue but not ended yet; the entry goes with it.
            Err(CommitError::Conflict { .. }) => Ok(()),
            Err(CommitError::Store(error)) => Err(error.into()),
        }
    }

    /// Open sessions of a type, oldest first, after the key of one of them.
    pub async fn open(
        &self,
        session_type: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<(Key, SessionId)>, StoreError> {
        let prefix = keys::open_of(session_type);
        let from = after.map_or_else(|| prefix.clone(), |key| next_key(key));
        let mut open = Vec::new();
        for (key, _) in self.store.scan(&from, &prefix_end(&prefix), limit).await? {
            if let Some(id) = keys::parse_open(session_type, &key) {
                open.push((key, id));
            }
        }
        Ok(open)
    }
}
