//! The matcher of a profile: which of its waiting tickets become a match.
//!
//! A [`Matcher`] keeps the tickets that wait, in an index that a change updates in O(log n) steps. [`Matcher::pass`] finds
//! matches and proposes them; it holds their tickets until the caller says whether the matches came about. It reads no
//! clock, draws no random numbers and depends on no order in memory: the same tickets at the same time give the same
//! proposals in the same order.
//!
//! Tickets whose texts differ never meet: they are in different *buckets*. The tickets of a bucket that accept the same
//! (regions, hard maps, platforms, inputs) are a *class*, sorted by the first field. A pass takes one ticket after
//! another as the *seed* of a match, the longest wait first; walks from its value outward through all classes that it can
//! meet; and searches the best match among the nearest *candidates*. Some of the seeds without a match are then searched
//! exactly, in turn, so that none is forgotten.

mod backfill;
mod class;
mod crossplay;
mod exact;
mod exchange;
mod explain;
mod group;
mod index;
mod packing;
mod pass;
mod proposal;
mod regions;
mod rules;
mod search;
mod size_counts;
mod steps;
mod sweep;
mod ticket;
mod walk;
#[cfg(test)]
mod tests;

pub use backfill::Backfill;
pub use crossplay::Crossplay;
pub use explain::{Explanation, Fit, Obstacle};
pub use pass::{Limits, Pass};
pub use proposal::{Proposal, Quality};
pub use regions::{REGION_DEFAULT, REGIONS_MAX};
pub use rules::{MAPS_MAX, Rules};
pub use ticket::{LATENCY_PREFIX, Ticket, TicketValues};

use std::collections::BTreeSet;
use std::sync::Arc;

use uuid::Uuid;

use index::{Bucket, Buckets, Entry, Slot, Tickets};
use ticket::{AgeKey, BucketKey};

/// The waiting tickets of a profile, and what finds matches among them.
#[derive(Debug)]
pub struct Matcher {
    rules: Rules,
    tickets: Tickets,
    buckets: Buckets,
    /// The time for which the classes of all tickets are right, in milliseconds since 1970.
    now_ms: i64,
    /// When a ticket of a bucket reaches an age at which something changes for it.
    wakes: BTreeSet<(i64, Arc<BucketKey>)>,
    /// Buckets in which a pass could find something.
    open: BTreeSet<Arc<BucketKey>>,
    /// The bucket with which the next pass begins.
    next_bucket: Option<Arc<BucketKey>>,
}

impl Matcher {
    /// A matcher without tickets. `now_ms` is in milliseconds since 1970.
    pub fn new(rules: Rules, now_ms: i64) -> Self {
        Self {
            rules,
            tickets: Tickets::default(),
            buckets: Buckets::new(),
            now_ms,
            wakes: BTreeSet::new(),
            open: BTreeSet::new(),
            next_bucket: None,
        }
    }

    /// Number of tickets, those that a proposal holds included.
    pub fn len(&self) -> usize {
        self.tickets.len()
    }

    /// Whether there are no tickets.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The age of the oldest ticket that no proposal holds, in milliseconds, for metrics.
    pub fn oldest_age_ms(&self, now_ms: i64) -> Option<i64> {
        let oldest = self.buckets.values().filter_map(|bucket| bucket.by_age.first_key_value());
        oldest.map(|(key, _)| ticket::age_ms(key.since_ms, now_ms)).max()
    }

    /// Number of classes, for metrics.
    pub fn classes(&self) -> usize {
        self.buckets.values().map(Bucket::class_count).sum()
    }

    /// Lets a ticket wait. Returns whether it is new; a ticket that is here already stays as it is.
    pub fn add(&mut self, ticket: Ticket) -> bool {
        let Some(slot) = self.tickets.insert(ticket) else { return false };
        self.wait(slot);
        true
    }

    /// Takes a ticket away, held or not. Returns whether it was here.
    pub fn remove(&mut self, id: Uuid) -> bool {
        let Some(slot) = self.tickets.slot(id) else { return false };
        self.stop_waiting(slot);
        self.tickets.remove(id);
        true
    }

    /// Keeps a ticket out of passes, since a proposal of another profile has it. Returns whether it is here and was not
    /// held yet.
    pub fn hold(&mut self, id: Uuid) -> bool {
        let Some(slot) = self.tickets.slot(id).filter(|slot| !self.tickets.entry(*slot).is_held) else {
            return false;
        };
        self.stop_waiting(slot);
        self.tickets.entry_mut(slot).is_held = true;
        true
    }

    /// Lets a held ticket wait again, with its age, since its match did not come about. Returns whether it was held.
    pub fn release(&mut self, id: Uuid) -> bool {
        let Some(slot) = self.tickets.slot(id).filter(|slot| self.tickets.entry(*slot).is_held) else {
            return false;
        };
        self.tickets.entry_mut(slot).is_held = false;
        self.wait(slot);
        true
    }

    fn wait(&mut self, slot: Slot) {
        let entry = self.tickets.entry_mut(slot);
        entry.class = self.rules.class(&entry.ticket, entry.ticket.age_ms(self.now_ms));
        let key = entry.ticket.bucket.clone();
        // Equal tickets share their texts.
        let key = self.buckets.get_key_value(&key).map_or(key, |(known, _)| known.clone());
        entry.ticket.bucket = key.clone();
        let bucket = self.buckets.entry(key.clone()).or_default();
        bucket.insert(slot, entry);
        bucket.progress.is_dirty = true;
        self.open.insert(key.clone());
        let since_ms = entry.ticket.since_ms;
        let ages = self.rules.ages.iter().map(|age| since_ms.saturating_add(*age));
        let wakes_at_ms = ages.filter(|at| *at > self.now_ms).min();
        if let Some(at) = wakes_at_ms.filter(|at| bucket.wakes_at_ms.is_none_or(|earlier| *at < earlier)) {
            self.set_wake(&key, Some(at));
        }
    }

    fn stop_waiting(&mut self, slot: Slot) {
        let entry = self.tickets.entry(slot);
        if entry.is_held {
            return;
        }
        let key = entry.ticket.bucket.clone();
        let Some(bucket) = self.buckets.get_mut(&key) else { return };
        bucket.remove(entry);
        self.drop_if_empty(&key);
    }

    fn drop_if_empty(&mut self, key: &Arc<BucketKey>) {
        if self.buckets.get(key).is_some_and(Bucket::is_empty) {
            self.set_wake(key, None);
            self.buckets.remove(key);
            self.open.remove(key);
        }
    }

    /// Notes when a ticket of a bucket next reaches an age at which something changes.
    fn set_wake(&mut self, key: &Arc<BucketKey>, at_ms: Option<i64>) {
        let Some(bucket) = self.buckets.get_mut(key) else { return };
        if let Some(before) = std::mem::replace(&mut bucket.wakes_at_ms, at_ms) {
            self.wakes.remove(&(before, key.clone()));
        }
        if let Some(at) = at_ms {
            self.wakes.insert((at, key.clone()));
        }
    }

    /// Moves the tickets that have reached a step to their new classes.
    fn advance(&mut self, now_ms: i64) {
        let before_ms = std::mem::replace(&mut self.now_ms, now_ms);
        let due: Vec<Arc<BucketKey>> = if now_ms < before_ms {
            self.buckets.keys().cloned().collect()
        } else {
            self.wakes.iter().take_while(|(at, _)| *at <= now_ms).map(|(_, key)| key.clone()).collect()
        };
        for key in due {
            let Some(bucket) = self.buckets.get_mut(&key) else { continue };
            bucket.progress.is_dirty = true;
            self.open.insert(key.clone());
            let moved = if now_ms < before_ms {
                bucket.by_age.values().copied().collect()
            } else {
                crossed(bucket, &self.rules.class_ages, before_ms, now_ms)
            };
            for slot in moved {
                let entry = self.tickets.entry_mut(slot);
                bucket.remove(entry);
                entry.class = self.rules.class(&entry.ticket, entry.ticket.age_ms(now_ms));
                bucket.insert(slot, entry);
            }
            let next = next_wake(bucket, &self.rules.ages, now_ms);
            self.set_wake(&key, next);
        }
    }
}

/// The tickets of a bucket that have reached one of some ages after one time and until another.
fn crossed(bucket: &Bucket, ages: &[i64], after_ms: i64, until_ms: i64) -> BTreeSet<Slot> {
    let until = |age: &i64| since(until_ms.saturating_sub(*age).saturating_add(1));
    let after = |age: &i64| since(after_ms.saturating_sub(*age).saturating_add(1));
    ages.iter().flat_map(|age| bucket.by_age.range(after(age)..until(age)).map(|(_, slot)| *slot)).collect()
}

/// When the next ticket of a bucket reaches one of some ages.
fn next_wake(bucket: &Bucket, ages: &[i64], now_ms: i64) -> Option<i64> {
    let next = ages.iter().filter_map(|age| {
        let (key, _) = bucket.by_age.range(since(now_ms.saturating_sub(*age).saturating_add(1))..).next()?;
        Some(key.since_ms.saturating_add(*age))
    });
    next.min()
}

/// The first key of the tickets that are there since a time or later.
fn since(since_ms: i64) -> AgeKey {
    AgeKey { since_ms, enqueued_ms: i64::MIN, id: Uuid::nil() }
}

/// All tickets of a matcher that a pass can use, for the parts that look at single tickets.
fn waiting(tickets: &Tickets) -> impl Iterator<Item = &Entry> {
    tickets.iter().filter(|entry| !entry.is_held)
}
