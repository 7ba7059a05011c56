//! The inbox of a player: the messages that somebody has posted for the player. Each has a number.
//!
//! Numbers only rise, also after the inbox was empty for so long that its record was deleted, and after the store was
//! restored from a backup: a number is at least the time of the post, in milliseconds since the epoch. So a reader who
//! continues after a number misses no message.

use serde::{Deserialize, Serialize};

use super::CustomData;

/// Most messages that one request posts (contract: `notifications`).
pub const POSTED_AT_ONCE_MAX: usize = 100;
/// Largest message, in bytes: its texts, and the names and texts of its custom data. The contract limits no message as
/// a whole, but a player's whole inbox has to fit into a few answers.
pub const MESSAGE_BYTES_MAX: usize = 32_768;
/// Maximum length of the text and of the address in a message, in characters (contract: `message`, `rh_url`).
pub const MESSAGE_TEXT_CHARS_MAX: usize = 4096;

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageContent {
    /// The text.
    pub message: String,
    /// Where to read more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rh_url: Option<String>,
    /// The ETag of what is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// Further data of the game.
    #[serde(default, skip_serializing_if = "CustomData::is_empty")]
    pub custom_data: CustomData,
}

/// A message in an inbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// When it was posted, in milliseconds since the epoch.
    pub created_ms: i64,
    /// What it says.
    #[serde(flatten)]
    pub content: MessageContent,
}

/// The number of a message in its inbox. As text it is the short id of the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageNumber(pub u64);

impl MessageNumber {
    /// The number in a short id; `None` if the text is not one.
    pub fn of_id(id: &str) -> Option<Self> {
        let number = id.parse().ok().map(Self)?;
        // One id for each message: no signs and no leading zeros.
        (number.id() == id).then_some(number)
    }

    /// The short id.
    pub fn id(self) -> String {
        self.0.to_string()
    }
}

/// Which messages an inbox has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inbox {
    /// The number of the last message that was posted; 0 if there was none.
    pub last: MessageNumber,
    /// The numbers of its messages, in rising order.
    pub numbers: Vec<MessageNumber>,
}

/// A part of an inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxPage {
    /// The numbers of its messages, in rising order.
    pub numbers: Vec<MessageNumber>,
    /// The newest message that is older than those of the page; `None` if there is none.
    pub older: Option<MessageNumber>,
}

impl Inbox {
    /// Adds `count` messages. Beyond `messages_max` messages the oldest go, of the new ones too. Returns the numbers of
    /// the new messages, and of those that go.
    pub fn append(
        &mut self,
        count: usize,
        now_ms: i64,
        messages_max: usize,
    ) -> (Vec<MessageNumber>, Vec<MessageNumber>) {
        let now = u64::try_from(now_ms).unwrap_or_default();
        let first = now.max(self.last.0.saturating_add(1));
        let added: Vec<_> = (first..).take(count).map(MessageNumber).collect();
        self.last = added.last().copied().unwrap_or(self.last);
        self.numbers.extend(&added);
        let excess = self.numbers.len().saturating_sub(messages_max);
        (added, self.numbers.drain(..excess).collect())
    }

    /// Removes the messages that were posted before this time, in milliseconds since the epoch. Returns their numbers.
    /// Messages that were posted within one millisecond can stay a little longer.
    pub fn expire(&mut self, before_ms: i64) -> Vec<MessageNumber> {
        let before = MessageNumber(u64::try_from(before_ms).unwrap_or_default());
        let expired = self.numbers.partition_point(|number| *number < before);
        self.numbers.drain(..expired).collect()
    }

    /// Whether it has no message, and the last one was posted before this time, in milliseconds since the epoch.
    pub fn is_empty_since(&self, before_ms: i64) -> bool {
        self.numbers.is_empty() && self.last < MessageNumber(u64::try_from(before_ms).unwrap_or_default())
    }

    /// Whether it has a message.
    pub fn has(&self, number: MessageNumber) -> bool {
        self.numbers.binary_search(&number).is_ok()
    }

    /// The newest messages, at most `size`: of those up to `start_at`, and after `after`.
    pub fn page(
        &self,
        start_at: Option<MessageNumber>,
        after: Option<MessageNumber>,
        size: usize,
    ) -> InboxPage {
        let position_after = |number: MessageNumber| self.numbers.partition_point(|other| *other <= number);
        let end = start_at.map_or(self.numbers.len(), position_after);
        let start = after.map_or(0, position_after).min(end);
        let page_start = end.saturating_sub(size).max(start);
        let older = (page_start > start).then(|| self.numbers[page_start - 1]);
        InboxPage { numbers: self.numbers[page_start..end].to_vec(), older }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(numbers: &[u64]) -> Vec<MessageNumber> {
        numbers.iter().copied().map(MessageNumber).collect()
    }

    #[test]
    fn numbers_rise_whatever_the_clock_does() {
        let mut inbox = Inbox::default();
        assert_eq!(inbox.append(2, 1000, 9), (numbers(&[1000, 1001]), vec![]));
        assert_eq!(inbox.append(1, 1000, 9), (numbers(&[1002]), vec![]), "in the same millisecond");
        assert_eq!(inbox.append(1, 500, 9), (numbers(&[1003]), vec![]), "the clock was set back");
        assert_eq!(inbox.append(1, 2000, 9), (numbers(&[2000]), vec![]));
        assert_eq!(inbox.last, MessageNumber(2000));
        assert_eq!(inbox.numbers, numbers(&[1000, 1001, 1002, 1003, 2000]));
        assert_eq!(Inbox::default().append(1, -1, 9), (numbers(&[1]), vec![]), "never 0, which means none");
    }

    #[test]
    fn the_oldest_messages_go_also_of_the_new_ones() {
        let mut inbox = Inbox::default();
        inbox.append(3, 10, 3);
        assert_eq!(inbox.append(2, 20, 3), (numbers(&[20, 21]), numbers(&[10, 11])));
        assert_eq!(inbox.numbers, numbers(&[12, 20, 21]));
        assert_eq!(inbox.append(4, 30, 3), (numbers(&[30, 31, 32, 33]), numbers(&[12, 20, 21, 30])));
        assert!(!inbox.has(MessageNumber(30)) && inbox.has(MessageNumber(31)));
        // The operator has lowered the limit.
        assert_eq!(inbox.append(1, 40, 1), (numbers(&[40]), numbers(&[31, 32, 33])));
    }

    #[test]
    fn messages_expire_oldest_first_and_the_last_number_stays() {
        let mut inbox = Inbox::default();
        inbox.append(2, 10, 9);
        inbox.append(1, 20, 9);
        assert_eq!(inbox.expire(10), []);
        assert_eq!(inbox.expire(12), numbers(&[10, 11]));
        assert_eq!(inbox.expire(21), numbers(&[20]));
        assert_eq!((inbox.last, inbox.numbers.len()), (MessageNumber(20), 0));
        assert_eq!(inbox.expire(-1), []);
        assert!(inbox.is_empty_since(21) && !inbox.is_empty_since(20) && !inbox.is_empty_since(-1));
        inbox.append(1, 30, 9);
        assert!(!inbox.is_empty_since(99));
    }

    #[test]
    fn pages_have_the_newest_messages_and_name_the_next_older_one() {
        let inbox = Inbox { last: MessageNumber(50), numbers: numbers(&[10, 20, 30, 40, 50]) };
        let page = |start_at: Option<u64>, after: Option<u64>, size: usize| {
            let page = inbox.page(start_at.map(MessageNumber), after.map(MessageNumber), size);
            (page.numbers, page.older.map(|older| older.0))
        };
        assert_eq!(page(None, None, 2), (numbers(&[40, 50]), Some(30)));
        assert_eq!(page(Some(30), None, 2), (numbers(&[20, 30]), Some(10)));
        assert_eq!(page(Some(10), None, 2), (numbers(&[10]), None));
        assert_eq!(page(Some(35), None, 9), (numbers(&[10, 20, 30]), None), "a message that has gone");
        assert_eq!(page(None, Some(20), 2), (numbers(&[40, 50]), Some(30)));
        assert_eq!(page(Some(30), Some(20), 2), (numbers(&[30]), None));
        assert_eq!(page(Some(20), Some(30), 2), (vec![], None));
        assert_eq!(page(Some(9), None, 2), (vec![], None));
        assert_eq!(page(None, Some(50), 2), (vec![], None));
    }

    #[test]
    fn a_message_has_one_short_id() {
        for number in [0, 1, 1_795_521_600_125, u64::MAX] {
            assert_eq!(MessageNumber::of_id(&MessageNumber(number).id()), Some(MessageNumber(number)));
        }
        for id in ["", "01", "+1", "-1", "1 ", "x", "18446744073709551616", "١"] {
            assert_eq!(MessageNumber::of_id(id), None, "{id}");
        }
    }
}
