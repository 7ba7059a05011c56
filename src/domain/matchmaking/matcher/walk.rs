//! A walk from a value outward through several classes at once: the nearest tickets first, among equally near ones the
//! oldest.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use smallvec::SmallVec;
use uuid::Uuid;

use super::class::{Class, ClassOrder, Position, Waiting};
use super::index::Slot;

/// A ticket on a walk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Near {
    pub(super) slot: Slot,
    pub(super) distance: f64,
    pub(super) players: usize,
    pub(super) since_ms: i64,
}

/// What comes next from one direction of one class. The order is the distance as bits (distances are not negative, so
/// the order of bits is theirs), then the age, then the id. At the end: the direction, and the ticket.
type Next = Reverse<(u64, i64, Uuid, u32, Slot, u32)>;

pub(super) struct Walk<'a> {
    from: f64,
    ways: SmallVec<[Way<'a>; 8]>,
    heap: BinaryHeap<Next>,
}

/// One direction of a class.
enum Way<'a> {
    Up(&'a Class, Position),
    Down(Down<'a>),
}

impl<'a> Walk<'a> {
    /// A walk through classes, from a value.
    pub(super) fn new(classes: impl IntoIterator<Item = &'a Class>, from: f64) -> Self {
        let mut walk = Self { from, ways: SmallVec::new(), heap: BinaryHeap::new() };
        let first = ClassOrder::first_of(from);
        for class in classes {
            let at = class.seek(&first);
            walk.ways.push(Way::Up(class, at));
            walk.ways.push(Way::Down(Down { class, end: at, equal: None }));
        }
        for way in 0..walk.ways.len() {
            walk.step(way);
        }
        walk
    }

    /// Puts the next ticket of a direction into the heap.
    fn step(&mut self, way: usize) {
        let next = match &mut self.ways[way] {
            Way::Up(class, at) => class.get(*at).inspect(|_| *at = class.after(*at)),
            Way::Down(down) => down.next(),
        };
        if let Some(Waiting { order, slot, players }) = next {
            let distance = (order.value() - self.from).abs();
            self.heap.push(Reverse((
                distance.to_bits(),
                order.since_ms,
                order.id,
                way as u32,
                *slot,
                *players,
            )));
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = Near;

    fn next(&mut self) -> Option<Near> {
        let Reverse((distance, since_ms, _, way, slot, players)) = self.heap.pop()?;
        self.step(way as usize);
        Some(Near { slot, distance: f64::from_bits(distance), players: players as usize, since_ms })
    }
}

/// The values below a start, downwards; but the tickets of one value by age, as upwards.
struct Down<'a> {
    class: &'a Class,
    /// All before it is still to come.
    end: Position,
    /// Tickets of one value that come before that: from a position to another.
    equal: Option<(Position, Position)>,
}

impl<'a> Iterator for Down<'a> {
    type Item = &'a Waiting;

    fn next(&mut self) -> Option<Self::Item> {
        let (from, to) = match self.equal.take() {
            Some(equal) => equal,
            None => {
                let last = self.class.before(self.end)?;
                let value = self.class.get(last)?.order.value();
                let earlier = self.class.before(last).and_then(|before| self.class.get(before));
                let has_equal = earlier.is_some_and(|earlier| earlier.order.value() == value);
                let first = if has_equal { self.class.seek(&ClassOrder::first_of(value)) } else { last };
                (first, std::mem::replace(&mut self.end, first))
            }
        };
        let after = self.class.after(from);
        self.equal = (after != to).then_some((after, to));
        self.class.get(from)
    }
}
