//! The tickets of a class, sorted by the first field, then by age.

use uuid::Uuid;

use super::index::Slot;
use super::ticket::Ticket;

/// Largest number of tickets in a chunk.
const CHUNK_MAX: usize = 256;

/// The order in a class: by first field, then by age, then by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClassOrder {
    value: u64,
    pub(super) since_ms: i64,
    pub(super) id: Uuid,
}

impl ClassOrder {
    pub(super) fn of(ticket: &Ticket) -> Self {
        Self { value: ordered_bits(ticket.first_number()), since_ms: ticket.since_ms, id: ticket.id }
    }

    /// The first place among the tickets with a value.
    pub(super) fn first_of(value: f64) -> Self {
        Self { value: ordered_bits(value), since_ms: i64::MIN, id: Uuid::nil() }
    }

    pub(super) fn value(&self) -> f64 {
        let sign = if self.value >> 63 == 1 { 1 << 63 } else { u64::MAX };
        f64::from_bits(self.value ^ sign)
    }
}

/// Bits whose order as integers is that of the numbers.
fn ordered_bits(number: f64) -> u64 {
    let bits = (number + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

/// A ticket in a class, with what a walk needs to know of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) order: ClassOrder,
    pub(super) slot: Slot,
    pub(super) players: u32,
}

/// A sorted list in chunks: a search takes two binary searches, a change moves the rest of one chunk, and a walk goes
/// through memory in order.
#[derive(Debug, Default)]
pub(super) struct Class {
    chunks: Vec<Vec<Waiting>>,
    /// By chunk: its last place.
    lasts: Vec<ClassOrder>,
}

/// A place between two tickets of a class: chunk, and position in it. The end is the chunk after the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position(usize, usize);

impl Class {
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub(super) fn insert(&mut self, waiting: Waiting) {
        let at =
            self.lasts.partition_point(|last| *last < waiting.order).min(self.chunks.len().saturating_sub(1));
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.push(vec![waiting]);
            self.lasts.push(waiting.order);
            return;
        };
        let place = chunk.partition_point(|other| other.order < waiting.order);
        chunk.insert(place, waiting);
        if chunk.len() > CHUNK_MAX {
            let upper = chunk.split_off(CHUNK_MAX / 2);
            self.chunks.insert(at + 1, upper);
            self.lasts.insert(at + 1, self.lasts[at]);
            self.note_last(at + 1);
        }
        self.note_last(at);
    }

    /// Returns whether the ticket was here.
    pub(super) fn remove(&mut self, order: &ClassOrder) -> bool {
        let Position(at, place) = self.seek(order);
        let chunk = self.chunks.get_mut(at);
        let Some(chunk) = chunk.filter(|chunk| chunk[place].order == *order) else { return false };
        chunk.remove(place);
        let (is_empty, is_small) = (chunk.is_empty(), chunk.len() < CHUNK_MAX / 4);
        if is_empty {
            self.chunks.remove(at);
            self.lasts.remove(at);
            return true;
        }
        if is_small && self.chunks.get(at + 1).is_some_and(|next| next.len() < CHUNK_MAX / 2) {
            let next = self.chunks.remove(at + 1);
            self.lasts.remove(at + 1);
            self.chunks[at].extend(next);
        }
        self.note_last(at);
        true
    }

    fn note_last(&mut self, at: usize) {
        if let Some(last) = self.chunks[at].last() {
            self.lasts[at] = last.order;
        }
    }

    /// The first ticket that is not before a place.
    pub(super) fn seek(&self, order: &ClassOrder) -> Position {
        let at = self.lasts.partition_point(|last| last < order);
        let place =
            self.chunks.get(at).map_or(0, |chunk| chunk.partition_point(|other| other.order < *order));
        Position(at, place)
    }

    pub(super) fn get(&self, Position(at, place): Position) -> Option<&Waiting> {
        self.chunks.get(at)?.get(place)
    }

    /// The position after one that is not the end.
    pub(super) fn after(&self, Position(at, place): Position) -> Position {
        if place + 1 < self.chunks[at].len() { Position(at, place + 1) } else { Position(at + 1, 0) }
    }

    pub(super) fn before(&self, Position(at, place): Position) -> Option<Position> {
        if place > 0 {
            return Some(Position(at, place - 1));
        }
        let at = at.checked_sub(1)?;
        Some(Position(at, self.chunks[at].len() - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_a_sorted_set() {
        let order = |number: u64| ClassOrder {
            value: number % 97,
            since_ms: (number % 7) as i64,
            id: Uuid::from_u128(number.into()),
        };
        let mut class = Class::default();
        let mut expected = std::collections::BTreeSet::new();
        let mut random = 1_u64;
        for round in 0..20_000_u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = (random >> 33) % 3_000;
            // First it grows, then it shrinks.
            let adds = (random >> 20) % 10 < if round < 10_000 { 7 } else { 2 };
            if !adds {
                assert_eq!(class.remove(&order(number)), expected.remove(&order(number)));
            } else if expected.insert(order(number)) {
                class.insert(Waiting { order: order(number), slot: 0, players: 1 });
            }
            if round % 1_000 == 0 {
                check(&class, &expected);
            }
        }
        expected.iter().for_each(|order| assert!(class.remove(order)));
        assert!(class.is_empty());
    }

    fn check(class: &Class, expected: &std::collections::BTreeSet<ClassOrder>) {
        let first = expected.first().copied().unwrap_or(ClassOrder::first_of(0.0));
        let (mut forward, mut at) = (Vec::new(), class.seek(&first));
        while let Some(waiting) = class.get(at) {
            forward.push(waiting.order);
            at = class.after(at);
        }
        assert_eq!(forward, expected.iter().copied().collect::<Vec<_>>());
        let mut backward = Vec::new();
        while let Some(before) = class.before(at) {
            backward.extend(class.get(before).map(|waiting| waiting.order));
            at = before;
        }
        backward.reverse();
        assert_eq!(forward, backward);
    }
}
