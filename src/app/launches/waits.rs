//! Which due launches a round of this node need not read.
//!
//! A launch that waits for its turn, for another node or for a pause stays in the queue of launches, because any node
//! may go on with it. A node that has looked at it knows until when it can only wait. What changes a launch also moves
//! it in the queue, or wakes it, so this knowledge holds for one place in the queue alone.

use std::collections::HashMap;

use uuid::Uuid;

use crate::store::{Key, next_key};

/// The launches that can only wait, and how far this node has read the queue.
#[derive(Default)]
pub(super) struct Waits {
    /// The place of the launch in the queue, and until when it waits, in milliseconds since the epoch.
    until_ms: HashMap<Uuid, (i64, i64)>,
    /// Where the next round goes on to read; `None`: at the beginning.
    next: Option<Key>,
}

impl Waits {
    /// Notes that a launch with this place in the queue can only wait until then.
    pub fn note(&mut self, id: Uuid, due_ms: i64, until_ms: i64) {
        self.until_ms.insert(id, (due_ms, until_ms));
    }

    /// Whether a launch with this place in the queue needs a look.
    pub fn is_over(&self, id: Uuid, due_ms: i64, now_ms: i64) -> bool {
        self.until_ms.get(&id).is_none_or(|(noted_ms, until_ms)| *noted_ms != due_ms || now_ms >= *until_ms)
    }

    /// Forgets what is known of a launch: its next place in the queue, or its next turn, needs a look.
    pub fn forget(&mut self, id: Uuid) {
        self.until_ms.remove(&id);
    }

    /// Forgets the waits that are over.
    pub fn forget_old(&mut self, now_ms: i64) {
        self.until_ms.retain(|_, (_, until_ms)| *until_ms > now_ms);
    }

    /// How many launches are known.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.until_ms.len()
    }

    /// Where a round begins to read the queue, which begins at `start`.
    pub fn begin(&mut self, start: Key) -> Key {
        self.next.take().filter(|next| *next > start).unwrap_or(start)
    }

    /// Notes the last key that a round has read, if there are more.
    pub fn end(&mut self, last: Option<&Key>) {
        self.next = last.map(|last| next_key(last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_holds_for_its_place_in_the_queue_and_until_its_end() {
        let (mut waits, id) = (Waits::default(), Uuid::from_u128(7));
        assert!(waits.is_over(id, 10, 10));
        waits.note(id, 10, 50);
        assert!(!waits.is_over(id, 10, 49));
        assert!(waits.is_over(id, 10, 50));
        assert!(waits.is_over(id, 20, 30), "it has moved");
        waits.forget_old(49);
        assert!(!waits.is_over(id, 10, 49));
        waits.forget(id);
        assert!(waits.is_over(id, 10, 49));
    }

    #[test]
    fn rounds_read_the_whole_queue_in_turn() {
        let (mut waits, start) = (Waits::default(), vec![b'L']);
        assert_eq!(waits.begin(start.clone()), start);
        waits.end(Some(&vec![b'L', 3]));
        assert_eq!(waits.begin(start.clone()), vec![b'L', 3, 0]);
        waits.end(None);
        assert_eq!(waits.begin(start.clone()), start);
    }
}
