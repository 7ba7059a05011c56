//! Where tickets wait: buckets, and in each bucket classes, sorted by the first field.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::class::{Class, ClassOrder, Waiting};
use super::rules::ClassKey;
use super::ticket::{AgeKey, BucketKey, Ticket};
use super::walk::Walk;
use crate::domain::template::PLAYERS_PER_TEAM_MAX;

/// Number of classes of a bucket up to which the matcher keeps a row of bits for each of them: 32 MiB in all.
const ROWS_KEPT_MAX: usize = 16_384;

/// Position of a ticket in [`Tickets`]. It says nothing about order, since positions are used again.
pub(super) type Slot = u32;

/// A ticket and where it waits.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) ticket: Ticket,
    /// What it accepts now. `None`: it can meet nobody now.
    pub(super) class: Option<ClassKey>,
    /// Whether a proposal has it.
    pub(super) is_held: bool,
}

/// All tickets of a matcher.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    entries: Vec<Option<Entry>>,
    free: Vec<Slot>,
    by_id: BTreeMap<Uuid, Slot>,
}

impl Tickets {
    /// Takes a ticket in. `None` if it is there already.
    pub(super) fn insert(&mut self, ticket: Ticket) -> Option<Slot> {
        if self.by_id.contains_key(&ticket.id) {
            return None;
        }
        let id = ticket.id;
        let entry = Some(Entry { ticket, class: None, is_held: false });
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.entries.push(None);
                (self.entries.len() - 1) as Slot
            }
        };
        self.entries[slot as usize] = entry;
        self.by_id.insert(id, slot);
        Some(slot)
    }

    pub(super) fn remove(&mut self, id: Uuid) -> Option<Entry> {
        let slot = self.by_id.remove(&id)?;
        self.free.push(slot);
        self.entries[slot as usize].take()
    }

    pub(super) fn slot(&self, id: Uuid) -> Option<Slot> {
        self.by_id.get(&id).copied()
    }

    /// The entry of a slot that is in use.
    pub(super) fn entry(&self, slot: Slot) -> &Entry {
        self.entries[slot as usize].as_ref().expect("the slot is in use")
    }

    pub(super) fn entry_mut(&mut self, slot: Slot) -> &mut Entry {
        self.entries[slot as usize].as_mut().expect("the slot is in use")
    }

    pub(super) fn ticket(&self, slot: Slot) -> &Ticket {
        &self.entry(slot).ticket
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.by_id.values().map(|slot| self.entry(*slot))
    }
}

/// Tickets that may meet as far as texts decide it.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// All of its tickets that no proposal has, by age.
    pub(super) by_age: BTreeMap<AgeKey, Slot>,
    classes: Vec<(ClassKey, Class)>,
    by_key: BTreeMap<ClassKey, usize>,
    /// By class: the classes that it can meet, as a set of bits, and the generation in which that was computed.
    meets: Vec<(u64, Vec<u64>)>,
    /// Rises when a class comes or goes.
    generation: u64,
    /// Number of tickets that take part in new matches, by number of players.
    pub(super) sizes: BTreeMap<usize, usize>,
    pub(super) progress: Progress,
    /// When the next of its tickets reaches an age at which something changes, as it stands in the list of these times.
    pub(super) wakes_at_ms: Option<i64>,
}

/// How far the passes over a bucket have come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Whether something came or crossed a step since the last walk over all seeds began.
    pub(super) is_dirty: bool,
    /// The last seed of a walk that ran out of its budget.
    pub(super) stopped_after: Option<AgeKey>,
    /// The last seed of the exact search.
    pub(super) searched: Option<AgeKey>,
    /// Number of seeds that the exact search has still to try.
    pub(super) to_search: usize,
}

impl Progress {
    /// Whether a pass could find something.
    pub(super) fn is_open(&self) -> bool {
        self.is_dirty || self.stopped_after.is_some() || self.to_search > 0
    }
}

impl Bucket {
    /// Lets a ticket wait here, in its class.
    pub(super) fn insert(&mut self, slot: Slot, entry: &Entry) {
        self.by_age.insert(entry.ticket.age_key(), slot);
        let Some(key) = entry.class else { return };
        let at = match self.by_key.get(&key) {
            Some(at) => *at,
            None => self.add_class(key),
        };
        let players = entry.ticket.players as u32;
        self.classes[at].1.insert(Waiting { order: ClassOrder::of(&entry.ticket), slot, players });
        if key.new_matches {
            *self.sizes.entry(entry.ticket.players).or_default() += 1;
        }
    }

    /// Undoes [`Self::insert`].
    pub(super) fn remove(&mut self, entry: &Entry) {
        self.by_age.remove(&entry.ticket.age_key());
        let Some(key) = entry.class else { return };
        let Some(at) = self.by_key.get(&key).copied() else { return };
        if self.classes[at].1.remove(&ClassOrder::of(&entry.ticket)) && key.new_matches {
            let count = self.sizes.entry(entry.ticket.players).or_default();
            *count = count.saturating_sub(1);
        }
        self.sizes.retain(|_, count| *count > 0);
    }

    fn add_class(&mut self, key: ClassKey) -> usize {
        let at = self.classes.len();
        self.classes.push((key, Class::default()));
        self.by_key.insert(key, at);
        self.meets.push((0, Vec::new()));
        self.generation += 1;
        at
    }

    /// Removes classes without tickets, so that they cost nothing. Call it between walks.
    pub(super) fn sweep_classes(&mut self) {
        if self.classes.iter().all(|(_, class)| !class.is_empty()) {
            return;
        }
        self.classes.retain(|(_, class)| !class.is_empty());
        self.by_key = self.classes.iter().enumerate().map(|(at, (key, _))| (*key, at)).collect();
        self.meets = vec![(0, Vec::new()); self.classes.len()];
        self.generation += 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_age.is_empty()
    }

    pub(super) fn classes(&self) -> impl Iterator<Item = (&ClassKey, &Class)> {
        self.classes.iter().filter(|(_, class)| !class.is_empty()).map(|(key, class)| (key, class))
    }

    /// Number of classes.
    pub(super) fn class_count(&self) -> usize {
        self.classes.len()
    }

    /// A walk from a value outward through the tickets for new matches that a class can meet, and the number of steps
    /// that it took to find these classes.
    pub(super) fn walk_from_class(&mut self, key: &ClassKey, value: f64) -> (Walk<'_>, usize) {
        let Some(at) = self.by_key.get(key).copied() else { return (Walk::new([], value), 0) };
        let mut steps = 0;
        if self.meets[at].0 != self.generation {
            let is_kept = self.classes.len() <= ROWS_KEPT_MAX;
            self.meets[at] = (if is_kept { self.generation } else { 0 }, meetings(&self.classes, key));
            // A comparison of two classes is far cheaper than a look at a ticket.
            steps = self.classes.len() / 16;
        }
        let words = self.meets[at].1.iter().enumerate();
        let met =
            words.flat_map(|(word, bits)| super::regions::positions(*bits).map(move |bit| word * 64 + bit));
        (Walk::new(met.map(|at| &self.classes[at].1), value), steps)
    }

    /// A walk from a value outward through all tickets of the classes for which `meets` holds.
    pub(super) fn walk_where(&self, meets: impl Fn(&ClassKey) -> bool, value: f64) -> Walk<'_> {
        Walk::new(self.classes().filter(|(key, _)| meets(key)).map(|(_, class)| class), value)
    }

    /// The sizes of tickets that could fill a side together with a party of a size, to at least `need` and at most `max`
    /// players.
    pub(super) fn can_fill_side(&self, players: usize, need: usize, max: usize) -> bool {
        if players > max {
            return false;
        }
        let mut sums: u128 = 1 << players;
        for (size, count) in &self.sizes {
            let others = if *size == players { count.saturating_sub(1) } else { *count };
            for _ in 0..others.min(max / size) {
                sums |= sums << size;
            }
        }
        sums & range_bits(need, max) != 0
    }
}

/// The bits of the sums from `from` to `to`, at most [`PLAYERS_PER_TEAM_MAX`].
pub(super) fn range_bits(from: usize, to: usize) -> u128 {
    let up_to = |sum: usize| u128::MAX >> (127 - sum.min(PLAYERS_PER_TEAM_MAX));
    up_to(to) & !(if from == 0 { 0 } else { up_to(from - 1) })
}

fn meetings(classes: &[(ClassKey, Class)], key: &ClassKey) -> Vec<u64> {
    let mut bits = vec![0; classes.len().div_ceil(64)];
    for (at, (other, _)) in classes.iter().enumerate() {
        if other.new_matches && key.meets(other) {
            bits[at / 64] |= 1 << (at % 64);
        }
    }
    bits
}

/// Buckets by their texts.
pub(super) type Buckets = BTreeMap<Arc<BucketKey>, Bucket>;
