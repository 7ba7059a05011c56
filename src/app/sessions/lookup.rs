//! How sessions and players are found: by players' lists, short codes, allocations, listings, older ids.

use uuid::Uuid;

use super::memberships::{MembershipChange, MembershipList};
use super::{MEMBERSHIPS_MAX, Sessions};
use crate::app::Failure;
use crate::domain::{PlayerUuid, Refused, SessionId, ShortCode};
use crate::records::index::{self, Listed};
use crate::records::keys;
use crate::store::{Batch, CommitError, Entry, Key, StoreError, next_key, prefix_end};

impl Sessions {
    /// A player's places, by session.
    pub async fn memberships(&self, player: PlayerUuid) -> Result<MembershipList, StoreError> {
        let (is_sole_writer, kept) = (self.store().sole_writer(), || self.memberships.get(player));
        if let Some(places) = is_sole_writer.then(kept).flatten() {
            return Ok(places);
        }
        let seen = self.memberships.changes_seen(player);
        let prefix = keys::memberships_of(player);
        let found = self.store().scan(&prefix, &prefix_end(&prefix), MEMBERSHIPS_MAX).await?;
        let is_whole = found.len() < MEMBERSHIPS_MAX;
        let read = |(key, entry): (Key, Entry)| {
            let place = keys::parse_membership(&key);
            let (_, id) =
                place.ok_or_else(|| StoreError::Corrupt("a player's list names no session".into()))?;
            Ok((id, index::decode_membership(&entry.value)?))
        };
        let places = found.into_iter().map(read).collect::<Result<MembershipList, _>>()?;
        if is_whole && is_sole_writer {
            self.memberships.put(player, &places, seen);
        }
        Ok(places)
    }

    /// The session of a short code.
    pub async fn id_of_short_code(&self, code: &ShortCode) -> Result<Option<SessionId>, StoreError> {
        let entry = self.store().get(&keys::short_code(code)).await?;
        entry.map(|entry| named_session(&entry.value)).transpose()
    }

    /// The session of an allocation.
    pub async fn id_of_allocation(&self, allocation_id: &str) -> Result<Option<SessionId>, StoreError> {
        let entry = self.store().get(&keys::allocation(allocation_id)).await?;
        entry.map(|entry| named_session(&entry.value)).transpose()
    }

    /// Listings of a type behind a number, in their order, with their numbers and the bytes that they take.
    pub async fn listed(
        &self,
        session_type: &str,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, usize, Listed)>, StoreError> {
        let (from, to) = keys::listings_after(session_type, after);
        let found = self.store().scan(&from, &to, limit).await?;
        let read = |(key, entry): (Key, Entry)| {
            let number = keys::parse_listing(&key);
            let number = number.ok_or_else(|| StoreError::Corrupt("a listing has no number".into()))?;
            Ok((number, entry.value.len(), index::decode_listed(&entry.value)?))
        };
        found.into_iter().map(read).collect()
    }

    /// The player of an older, numeric id, as far as tokens in sessions have named it.
    pub async fn player_of_id(&self, player_id: i64) -> Result<PlayerUuid, Failure> {
        let entry = self.store().get(&keys::player_of_id(player_id)).await?.ok_or(Refused::PlayerNotFound)?;
        let uuid = Uuid::from_slice(&entry.value);
        Ok(PlayerUuid(uuid.map_err(|_| StoreError::Corrupt("a player id names no player".into()))?))
    }

    /// Takes a session that is gone out of a player's list, should it ever stand there.
    pub async fn forget_membership(&self, player: PlayerUuid, id: &SessionId) -> Result<(), Failure> {
        let key = keys::membership(player, id);
        if self.store().get(&key).await?.is_some() {
            let batch = Batch::default().expect_absent(keys::session(id)).delete(key);
            let places = MembershipChange::of(&batch);
            match self.store().commit(batch).await {
                Ok(_) => self.memberships.committed(places),
                // The session is there to be ended yet, and the entry goes with it.
                Err(CommitError::Conflict { .. }) => {}
                Err(CommitError::Store(error)) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Open sessions of a type, oldest first, behind the place of one of them.
    pub async fn open(
        &self,
        session_type: &str,
        behind: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<(Key, SessionId)>, StoreError> {
        let prefix = keys::open_of(session_type);
        let from = behind.map_or_else(|| prefix.clone(), |place| next_key(place));
        let found = self.store().scan(&from, &prefix_end(&prefix), limit).await?;
        let read = |(key, _): (Key, Entry)| keys::parse_open(session_type, &key).map(|id| (key, id));
        Ok(found.into_iter().filter_map(read).collect())
    }
}

/// The session that an index entry names.
pub(super) fn named_session(value: &[u8]) -> Result<SessionId, StoreError> {
    let id = std::str::from_utf8(value).ok().and_then(|text| SessionId::parse(text).ok());
    id.ok_or_else(|| StoreError::Corrupt("an index entry names no session".into()))
}
