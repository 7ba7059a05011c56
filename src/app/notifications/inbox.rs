//! The inboxes of players: the messages that somebody has posted for them.
//!
//! A post writes its messages and the record of which messages the inbox has in one commit, which expects that record as
//! it was read. So numbers rise in the order of commits: a reader who continues after a number passes no message that
//! appears later, on any number of nodes. Nothing here touches the commit of a session.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::{NotificationSettings, UnreadableLog};
use crate::app::Failure;
use crate::app::locks::LockStripes;
use crate::app::passes::{Passes, Step};
use crate::app::sessions::{ATTEMPTS_MAX, Sessions};
use crate::app::shield::shield;
use crate::app::waits::{Seen, Topic, Waits};
use crate::domain::PlayerUuid;
use crate::domain::inbox::{Inbox, InboxPage, Message, MessageContent, MessageNumber};
use crate::env::Clock;
use crate::records::{inbox as record, keys};
use crate::store::{Batch, CommitError, Entry, Key, StoreError, Version};

/// Number of locks for posts. Two players may share one; then posts for them wait for each other.
const LOCKS: usize = 256;
/// Inboxes that a round of the job reads.
const READ_AT_ONCE: usize = 128;
/// The time from the start of a pass over all inboxes until the next one starts, in milliseconds. With many inboxes a
/// pass takes longer.
const PASS_EVERY_MS: i64 = 600_000;
/// How long the record of an inbox stays after its last message was posted, in milliseconds. Much longer than the clocks
/// of nodes may differ: without the record, the next number is the time at the node that posts.
const RECORD_KEPT_MS: i64 = 86_400_000;

/// The inboxes of all players.
pub struct Inboxes {
    /// Has the store, and checks the clock. A wrong clock would post numbers from the future, and delete messages that
    /// are young by the clocks of other nodes.
    sessions: Arc<Sessions>,
    waits: Arc<Waits>,
    settings: NotificationSettings,
    clock: Clock,
    unreadable: Arc<UnreadableLog>,
    /// Posts for one player on this node wait for each other, and do not conflict in the store.
    posting: LockStripes<Arc<Mutex<()>>>,
    passes: Passes,
}

/// A page of messages with their numbers, the newest first.
#[derive(Default)]
pub struct MessagesPage {
    /// The messages.
    pub messages: Vec<(MessageNumber, Message)>,
    /// The newest message that is older; `None` if there is none.
    pub older: Option<MessageNumber>,
    /// What the store had of the inbox before the messages were read.
    pub seen: Option<Seen>,
}

/// An inbox as it was read, and the version of its record; `None` if there is no record.
struct StoredInbox {
    inbox: Inbox,
    version: Option<Version>,
}

impl StoredInbox {
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
    pub fn new(
        sessions: Arc<Sessions>,
        waits: Arc<Waits>,
        (settings, clock, unreadable): (NotificationSettings, Clock, Arc<UnreadableLog>),
    ) -> Self {
        let (posting, passes) = (LockStripes::new(LOCKS), Passes::every_ms(PASS_EVERY_MS));
        Self { sessions, waits, settings, clock, unreadable, posting, passes }
    }

    /// Adds messages to the inbox of a player, all of them in one commit or none. Beyond
    /// [`NotificationSettings::messages_per_player_max`] the oldest go in the same commit. Returns the number of the last
    /// one. `also` are further writes of the commit, if the last message has this number.
    ///
    /// # Errors
    /// [`Failure::Repeated`] if the answer to the request is stored already; [`Failure::InboxContended`] after 8 lost races
    /// with other nodes; errors of the store, also if this node's clock is wrong.
    pub async fn append(
        self: &Arc<Self>,
        player: PlayerUuid,
        contents: Vec<MessageContent>,
        also: impl Fn(MessageNumber) -> Batch + Send + Sync + 'static,
    ) -> Result<MessageNumber, Failure> {
        let inboxes = Arc::clone(self);
        let lock = Arc::clone(self.posting.of(player)).lock_owned().await;
        shield(async move {
            let _lock = lock;
            for _ in 0..ATTEMPTS_MAX {
                if let Some(last) = inboxes.try_append(player, &contents, &also).await? {
                    return Ok(last);
                }
            }
            Err(Failure::InboxContended)
        })
        .await
    }

    /// Tries to add messages once. Returns `None` if another node changed the inbox first.
    async fn try_append(
        &self,
        player: PlayerUuid,
        contents: &[MessageContent],
        also: &(impl Fn(MessageNumber) -> Batch + Sync),
    ) -> Result<Option<MessageNumber>, Failure> {
        let created_ms = self.sessions.require_right_clock().await?;
        let stored = self.read(player).await?;
        let mut batch = stored.expected(keys::inbox(player));
        let mut inbox = stored.inbox;
        let (added, dropped) =
            inbox.append(contents.len(), created_ms, self.settings.messages_per_player_max);
        for (number, content) in added.iter().zip(contents).filter(|(number, _)| inbox.has(**number)) {
            let message = Message { created_ms, content: content.clone() };
            batch = batch.put(keys::message(player, *number), record::encode_message(&message));
        }
        for number in dropped {
            batch = batch.delete(keys::message(player, number));
        }
        batch = batch.put(keys::inbox(player), record::encode(&inbox)).and(also(inbox.last));
        Ok(self.commit(player, batch).await?.then_some(inbox.last))
    }

    /// A page of messages. See [`Inbox::page`]. All of them were in the inbox at the same moment, unless there is a post during each of 8 attempts:
    /// then the page can lack messages that these posts have deleted.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn page(
        &self,
        player: PlayerUuid,
        start_at: Option<MessageNumber>,
        after: Option<MessageNumber>,
        size: usize,
    ) -> Result<MessagesPage, Failure> {
        let mut page = MessagesPage::default();
        for _ in 0..ATTEMPTS_MAX {
            let StoredInbox { inbox, version } = self.read(player).await?;
            let (seen, InboxPage { numbers, older }) =
                (Some(Seen(version)), inbox.page(start_at, after, size));
            let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else {
                return Ok(MessagesPage { messages: Vec::new(), older, seen });
            };
            let found = self.between(player, *first, *last, numbers.len()).await?;
            let is_whole = found.len() == numbers.len();
            let messages = found.into_iter().rev().filter_map(readable).collect();
            page = MessagesPage { messages, older, seen };
            // Otherwise fewer than were there a moment ago: a post has deleted the oldest.
            if is_whole {
                break;
            }
        }
        Ok(page)
    }

    /// The messages after a number, the oldest first, at most `count`. Those that cannot be read are left out.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn after(
        &self,
        player: PlayerUuid,
        number: MessageNumber,
        count: usize,
    ) -> Result<Vec<(MessageNumber, Message)>, Failure> {
        let (mut messages, mut last) = (Vec::new(), number);
        loop {
            let Some(first) = last.0.checked_add(1) else { return Ok(messages) };
            let missing = count - messages.len();
            let found = self.between(player, MessageNumber(first), MessageNumber(u64::MAX), missing).await?;
            let is_end = found.len() < missing;
            last = found.last().map_or(last, |(number, _)| *number);
            messages.extend(found.into_iter().filter_map(readable));
            if is_end || messages.len() == count {
                return Ok(messages);
            }
        }
    }

    /// Like [`after`](Self::after), for a wait: with what the store had of the inbox before the messages were read.
    /// `None`: no other process changes it.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn watched_after(
        &self,
        player: PlayerUuid,
        number: MessageNumber,
        count: usize,
    ) -> Result<(Vec<(MessageNumber, Message)>, Option<Seen>), Failure> {
        let store = self.sessions.store();
        if store.sole_writer() {
            return Ok((self.after(player, number, count).await?, None));
        }
        let entry = store.get(&keys::inbox(player)).await?;
        let seen = Some(Seen(entry.as_ref().map(|entry| entry.version)));
        // A record that cannot be read keeps no message from being told.
        let last = StoredInbox::of(entry).map_or(MessageNumber(u64::MAX), |stored| stored.inbox.last);
        if last <= number {
            return Ok((Vec::new(), seen));
        }
        Ok((self.after(player, number, count).await?, seen))
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
        let entry = self.sessions.store().get(&keys::message(player, number)).await?;
        Ok(entry.map(|entry| record::decode_message(&entry.value)).transpose()?)
    }

    /// Messages with their numbers, the oldest first, at most `count`; `None` for one that cannot be read.
    async fn between(
        &self,
        player: PlayerUuid,
        first: MessageNumber,
        last: MessageNumber,
        count: usize,
    ) -> Result<Vec<(MessageNumber, Option<Message>)>, Failure> {
        let (start, end) = keys::messages_between(player, first, last);
        let found = self.sessions.store().scan(&start, &end, count).await?;
        let numbered = found.iter().filter_map(|(key, entry)| Some((keys::parse_message(key)?, entry)));
        let decode = |(number, entry): (MessageNumber, &Entry)| {
            let message = record::decode_message(&entry.value);
            let note = |error: &StoreError| self.unreadable.note("a message", &number.id(), error);
            (number, message.inspect_err(note).ok())
        };
        Ok(numbered.map(decode).collect())
    }

    /// Deletes the messages that are older than [`NotificationSettings::message_keep_ms`]. Each call looks at the next
    /// inboxes of a pass, and does nothing until a pass is due. Returns whether it deleted any and more are left to look at.
    ///
    /// # Errors
    /// [`StoreError::ClockSkew`] if this node's clock is wrong; other errors of the store.
    pub async fn expire(&self) -> Result<bool, Failure> {
        let inboxes = || vec![keys::all_inboxes()];
        let Some(next) = self.passes.next(self.clock.up_ms(), inboxes) else { return Ok(false) };
        let now_ms = self.sessions.check_clock().await?;
        let Step { found, has_more } = self.passes.read(self.sessions.store(), next, READ_AT_ONCE).await?;
        let ago_ms = |ms| self.sessions.time_ago(now_ms, ms).unwrap_or(i64::MIN);
        let (kept_from_ms, record_from_ms) = (ago_ms(self.settings.message_keep_ms), ago_ms(RECORD_KEPT_MS));
        let (mut has_expired, mut outcome) = (false, Ok(()));
        for (key, entry) in found {
            let Some(player) = keys::parse_inbox(&key) else { continue };
            match self.expire_in(player, entry, (kept_from_ms, record_from_ms)).await {
                Ok(expired) => has_expired |= expired,
                Err(failure) if failure.is_store_away() => return Err(failure),
                Err(failure) => outcome = Failure::worse(outcome, Err(failure)),
            }
        }
        outcome.map(|()| has_expired && has_more)
    }

    /// Deletes the messages of an inbox that are older than the first time, or its record if it is empty since before the
    /// second one. Returns whether it deleted any.
    async fn expire_in(
        &self,
        player: PlayerUuid,
        entry: Entry,
        (kept_from_ms, record_from_ms): (i64, i64),
    ) -> Result<bool, Failure> {
        let stored = StoredInbox::of(Some(entry))?;
        let mut batch = stored.expected(keys::inbox(player));
        let mut inbox = stored.inbox;
        let expired = inbox.expire(kept_from_ms);
        let is_over = inbox.is_empty_since(record_from_ms);
        if expired.is_empty() && !is_over {
            return Ok(false);
        }
        for number in expired {
            batch = batch.delete(keys::message(player, number));
        }
        batch = match is_over {
            true => batch.delete(keys::inbox(player)),
            false => batch.put(keys::inbox(player), record::encode(&inbox)),
        };
        // If a post was faster, the next pass finds the old messages again.
        self.commit(player, batch).await
    }

    async fn read(&self, player: PlayerUuid) -> Result<StoredInbox, StoreError> {
        StoredInbox::of(self.sessions.store().get(&keys::inbox(player)).await?)
    }

    /// Commits a change of an inbox, and wakes those who wait for one. Returns whether its expectation held.
    async fn commit(&self, player: PlayerUuid, batch: Batch) -> Result<bool, Failure> {
        let committed = self.sessions.store().commit(batch).await;
        // A commit whose answer was lost may have reached the store all the same.
        self.waits.changed(&[Topic::Inbox(player)]);
        match committed {
            Ok(_) => Ok(true),
            Err(CommitError::Conflict { key }) if keys::is_answer(&key) => Err(Failure::Repeated),
            Err(CommitError::Conflict { .. }) => Ok(false),
            Err(CommitError::Store(error)) => Err(error.into()),
        }
    }
}

/// A message, if it could be read.
fn readable((number, message): (MessageNumber, Option<Message>)) -> Option<(MessageNumber, Message)> {
    Some((number, message?))
}
