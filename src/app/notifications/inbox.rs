//! The inboxes of players: the messages that somebody has posted for them.
//!
//! A post writes its messages and the record of which messages the inbox has in one commit, which expects that record as
//! it was read. So numbers rise in the order of commits: a reader who continues after a number passes no message that
//! appears later, on any number of nodes. Nothing here touches the commit of a session.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::NotificationSettings;
use crate::app::Failure;
use crate::app::locks::LockStripes;
use crate::app::passes::Passes;
use crate::app::sessions::ATTEMPTS_MAX;
use crate::app::shield::shield;
use crate::app::waits::{Topic, Waits};
use crate::domain::PlayerUuid;
use crate::domain::inbox::{Inbox, InboxPage, Message, MessageContent, MessageNumber};
use crate::env::Clock;
use crate::records::{inbox as record, keys};
use crate::store::{Batch, CommitError, Entry, Key, Store, StoreError, Version, next_key};

/// Number of locks for posts. Two players may share one; then posts for them wait for each other.
const LOCKS: usize = 256;
/// Inboxes that a round of the job reads.
const READ_AT_ONCE: usize = 128;
/// The time from the start of a pass over all inboxes until the next one starts, in milliseconds.
const PASS_EVERY_MS: i64 = 600_000;

/// The inboxes of all players.
pub struct Inboxes {
    store: Store,
    waits: Arc<Waits>,
    settings: NotificationSettings,
    clock: Clock,
    /// Posts for one player on this node wait for each other, and do not conflict in the store.
    posting: LockStripes<Arc<Mutex<()>>>,
    passes: Passes,
}

/// An inbox as it was read, and the version of its record; `None` if there is no record.
struct Read {
    inbox: Inbox,
    version: Option<Version>,
}

impl Read {
    fn of(entry: Option<Entry>) -> Result<Self, StoreError> {
        Ok(match entry {
            Some(entry) => Self { inbox: record::decode(&entry.value)?, version: Some(entry.version) },
            None => Self { inbox: Inbox::default(), version: None },
        })
    }

    /// A batch that expects the inbox as it was read.
    fn expected(&self, key: Key) -> Batch {
        match self.version {
            Some(version) => Batch::default().expect_version(key, version),
            None => Batch::default().expect_absent(key),
        }
    }
}

impl Inboxes {
    /// The inboxes in a store.
    pub fn new(store: Store, waits: Arc<Waits>, settings: NotificationSettings, clock: Clock) -> Self {
        let (posting, passes) = (LockStripes::new(LOCKS), Passes::every_ms(PASS_EVERY_MS));
        Self { store, waits, settings, clock, posting, passes }
    }

    /// Adds messages to the inbox of a player, all of them in one commit or none. Beyond
    /// [`NotificationSettings::messages_per_player_max`] the oldest go in the same commit. Returns the number of the last
    /// one.
    ///
    /// # Errors
    /// [`Failure::Contended`] after 8 lost races with other nodes; errors of the store.
    pub async fn append(
        self: &Arc<Self>,
        player: PlayerUuid,
        contents: Vec<MessageContent>,
    ) -> Result<MessageNumber, Failure> {
        let inboxes = Arc::clone(self);
        let lock = Arc::clone(self.posting.of(player)).lock_owned().await;
        shield(async move {
            let _lock = lock;
            for _ in 0..ATTEMPTS_MAX {
                if let Some(last) = inboxes.try_append(player, &contents).await? {
                    return Ok(last);
                }
            }
            Err(Failure::Contended)
        })
        .await
    }

    /// Tries to add messages once. Returns `None` if another node changed the inbox first.
    async fn try_append(
        &self,
        player: PlayerUuid,
        contents: &[MessageContent],
    ) -> Result<Option<MessageNumber>, Failure> {
        let read = self.read(player).await?;
        let mut batch = read.expected(keys::inbox(player));
        let (mut inbox, created_ms) = (read.inbox, self.clock.now_ms());
        let (added, dropped) =
            inbox.append(contents.len(), created_ms, self.settings.messages_per_player_max);
        for (number, content) in added.iter().zip(contents).filter(|(number, _)| inbox.has(**number)) {
            let message = Message { created_ms, content: content.clone() };
            batch = batch.put(keys::message(player, *number), record::encode_message(&message));
        }
        for number in dropped {
            batch = batch.delete(keys::message(player, number));
        }
        batch = batch.put(keys::inbox(player), record::encode(&inbox));
        Ok(self.commit(player, batch).await?.then_some(inbox.last))
    }

    /// The messages of a page with their numbers, the newest first, and the newest message that is older. See
    /// [`Inbox::page`].
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn page(
        &self,
        player: PlayerUuid,
        start_at: Option<MessageNumber>,
        after: Option<MessageNumber>,
        size: usize,
    ) -> Result<(Vec<(MessageNumber, Message)>, Option<MessageNumber>), Failure> {
        let InboxPage { numbers, older } = self.read(player).await?.inbox.page(start_at, after, size);
        let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else {
            return Ok((Vec::new(), older));
        };
        let mut messages = self.between(player, *first, *last, numbers.len()).await?;
        messages.reverse();
        Ok((messages, older))
    }

    /// The messages after a number, the oldest first, at most `count`.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn after(
        &self,
        player: PlayerUuid,
        number: MessageNumber,
        count: usize,
    ) -> Result<Vec<(MessageNumber, Message)>, Failure> {
        let Some(first) = number.0.checked_add(1) else { return Ok(Vec::new()) };
        self.between(player, MessageNumber(first), MessageNumber(u64::MAX), count).await
    }

    /// The number of the last message that was posted for a player, also if it has gone since; 0 if nothing is known of
    /// one.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn last_number(&self, player: PlayerUuid) -> Result<MessageNumber, Failure> {
        Ok(self.read(player).await?.inbox.last)
    }

    /// A message of a player; `None` if there is none.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn message(
        &self,
        player: PlayerUuid,
        number: MessageNumber,
    ) -> Result<Option<Message>, Failure> {
        let entry = self.store.get(&keys::message(player, number)).await?;
        Ok(entry.map(|entry| record::decode_message(&entry.value)).transpose()?)
    }

    async fn between(
        &self,
        player: PlayerUuid,
        first: MessageNumber,
        last: MessageNumber,
        count: usize,
    ) -> Result<Vec<(MessageNumber, Message)>, Failure> {
        let (start, end) = keys::messages_between(player, first, last);
        let found = self.store.scan(&start, &end, count).await?;
        let numbered = found.iter().filter_map(|(key, entry)| Some((keys::parse_message(key)?, entry)));
        let messages = numbered.map(|(number, entry)| Ok((number, record::decode_message(&entry.value)?)));
        Ok(messages.collect::<Result<_, StoreError>>()?)
    }

    /// Deletes the messages that are older than [`NotificationSettings::message_keep_ms`]. Each call looks at the next
    /// inboxes of a pass, and does nothing until a pass is due. Returns whether it deleted any and more are left to look at.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn expire(&self) -> Result<bool, Failure> {
        let (start, end) = keys::all_inboxes();
        let Some(from) = self.passes.continue_at(start, self.clock.up_ms()) else { return Ok(false) };
        let found = self.store.scan(&from, &end, READ_AT_ONCE).await?;
        let has_more = found.len() == READ_AT_ONCE;
        // Before anything can fail, so that an inbox that cannot be read does not hold up the pass.
        self.passes.moved_to(found.last().filter(|_| has_more).map(|(last, _)| next_key(last)));
        let (mut has_expired, mut outcome) = (false, Ok(()));
        for (key, entry) in found {
            let Some(player) = keys::parse_inbox(&key) else { continue };
            match self.expire_in(player, entry).await {
                Ok(expired) => has_expired |= expired,
                Err(failure) if failure.is_store_away() => return Err(failure),
                Err(failure) => outcome = Failure::worse(outcome, Err(failure)),
            }
        }
        outcome.map(|()| has_expired && has_more)
    }

    /// Deletes the messages of an inbox that are too old, and its record if all messages that were ever posted are. Returns
    /// whether it did.
    async fn expire_in(&self, player: PlayerUuid, entry: Entry) -> Result<bool, Failure> {
        let kept_after_ms = self.clock.now_ms().saturating_sub(self.settings.message_keep_ms);
        let read = Read::of(Some(entry))?;
        let mut batch = read.expected(keys::inbox(player));
        let mut inbox = read.inbox;
        let expired = inbox.expire(kept_after_ms);
        if expired.is_empty() && !inbox.numbers.is_empty() {
            return Ok(false);
        }
        for number in expired {
            batch = batch.delete(keys::message(player, number));
        }
        batch = match inbox.numbers.is_empty() {
            true => batch.delete(keys::inbox(player)),
            false => batch.put(keys::inbox(player), record::encode(&inbox)),
        };
        // If a post was faster, the next pass finds the old messages again.
        self.commit(player, batch).await
    }

    async fn read(&self, player: PlayerUuid) -> Result<Read, StoreError> {
        Read::of(self.store.get(&keys::inbox(player)).await?)
    }

    /// Commits a change of an inbox, and wakes those who wait for one. Returns whether its expectation held.
    async fn commit(&self, player: PlayerUuid, batch: Batch) -> Result<bool, Failure> {
        let committed = self.store.commit(batch).await;
        // A commit whose answer was lost may have reached the store all the same.
        self.waits.wake([Topic::Inbox(player)]);
        match committed {
            Ok(_) => Ok(true),
            Err(CommitError::Conflict { .. }) => Ok(false),
            Err(CommitError::Store(error)) => Err(error.into()),
        }
    }
}
