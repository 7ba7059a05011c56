//! A pass: backfills first, then new matches, bucket by bucket.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use super::Matcher;
use super::backfill::{Backfill, fill};
use super::index::Slot;
use super::proposal::{Proposal, new_match};
use super::search::{Found, Scene};
use super::sweep::Sweep;
use super::ticket::{AgeKey, BucketKey};

/// What a pass may spend. All limits are counts, so that the same input gives the same output on every machine. A step is
/// a look at a ticket, or an attempt to add one to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Steps of the search among nearest candidates, in a pass. What is left is done in the next pass.
    pub steps: usize,
    /// Number of oldest seeds that come first in a pass that goes on where another one stopped.
    pub oldest_seeds: usize,
    /// Number of candidates of a seed; more for matches that need more.
    pub candidates: usize,
    /// Number of tickets that one seed looks at.
    pub looks_per_seed: usize,
    /// Steps of the search among the candidates of a seed.
    pub search_steps: usize,
    /// Number of times that a party is put on a side, in one attempt to form the sides.
    pub packing_steps: usize,
    /// Number of further times after legal sides are found, to balance them.
    pub balance_steps: usize,
    /// Number of attempts to form sides that may fail for one seed.
    pub packings_per_seed: usize,
    /// Number of seeds of a bucket that are searched exactly, in a pass.
    pub exact_seeds: usize,
    /// Steps of the exact search, in a pass.
    pub exact_steps: usize,
    /// Steps of the exact search among some tickets.
    pub exact_search_steps: usize,
    /// As `packing_steps`, in the exact search.
    pub exact_packing_steps: usize,
    /// Number of attempts to exchange tickets between matches of a pass, to make both tighter.
    pub exchanges: usize,
}

impl Default for Limits {
    /// A pass takes at most about a second: a step takes 50 to 100 ns where little fits, and up to 400 ns with all that
    /// follows where many matches are found, but then there are few steps for each ticket.
    fn default() -> Self {
        Self {
            steps: 6_000_000,
            oldest_seeds: 1_000,
            candidates: 64,
            looks_per_seed: 2_048,
            search_steps: 256,
            packing_steps: 2_000,
            balance_steps: 200,
            packings_per_seed: 8,
            exact_seeds: 16,
            exact_steps: 1_000_000,
            exact_search_steps: 50_000,
            exact_packing_steps: 20_000,
            exchanges: 20_000,
        }
    }
}

/// The result of a pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pass {
    /// Backfills first, the oldest first; then new matches, by their oldest ticket. Their tickets are held: the caller
    /// removes or releases each of them.
    pub proposals: Vec<Proposal>,
    /// Number of steps that the pass took.
    pub steps: usize,
    /// From when on another pass could find something although no ticket comes, in milliseconds since 1970. `None`: never.
    pub next_ms: Option<i64>,
}

impl Matcher {
    /// Finds matches among the tickets that wait, and tickets for matches that have begun.
    ///
    /// `now_ms` is in milliseconds since 1970. The tickets of the proposals are held afterwards: the caller calls
    /// [`Self::remove`] for those whose match came about, and [`Self::release`] for the others.
    pub fn pass(&mut self, now_ms: i64, backfills: &[Backfill], limits: &Limits) -> Pass {
        self.advance(now_ms);
        let mut pass = Pass::default();
        self.fill_backfills(backfills, limits, &mut pass);
        let mut found: Vec<Found> = Vec::new();
        let (mut steps_left, mut exact_steps_left) = (limits.steps, limits.exact_steps);
        for key in self.open_buckets() {
            if steps_left == 0 {
                self.next_bucket = Some(key);
                break;
            }
            let Some(bucket) = self.buckets.get_mut(&key) else { continue };
            let mut sweep = Sweep {
                rules: &self.rules,
                tickets: &mut self.tickets,
                bucket,
                now_ms,
                limits,
                steps_left,
                exact_steps_left,
                found: Vec::new(),
                seeds: BTreeSet::new(),
            };
            sweep.run();
            (steps_left, exact_steps_left) = (sweep.steps_left, sweep.exact_steps_left);
            found.append(&mut sweep.found);
            if !bucket.progress.is_open() {
                self.open.remove(&key);
            }
            self.drop_if_empty(&key);
        }
        pass.steps += limits.steps - steps_left + limits.exact_steps - exact_steps_left;
        self.propose(&found, &mut pass);
        pass.next_ms = self.next_pass_ms();
        pass
    }

    fn propose(&self, found: &[Found], pass: &mut Pass) {
        let scene = Scene { rules: &self.rules, tickets: &self.tickets, now_ms: self.now_ms };
        let oldest = |found: &Found| -> Option<AgeKey> {
            found.slots.iter().map(|slot| self.tickets.ticket(*slot).age_key()).min()
        };
        let mut sorted: Vec<_> = found.iter().map(|found| (oldest(found), found)).collect();
        sorted.sort_by_key(|(oldest, _)| *oldest);
        pass.proposals.extend(sorted.into_iter().map(|(_, found)| new_match(scene, found)));
    }

    /// The buckets in which something could be found, beginning where the last pass stopped.
    fn open_buckets(&mut self) -> Vec<Arc<BucketKey>> {
        match self.next_bucket.take() {
            None => self.open.iter().cloned().collect(),
            Some(first) => {
                let later = self.open.range((Bound::Included(first.clone()), Bound::Unbounded));
                later.chain(self.open.range(..first.clone())).cloned().collect()
            }
        }
    }

    fn next_pass_ms(&self) -> Option<i64> {
        let wakes = self.wakes.first().map(|(at, _)| *at);
        if self.open.is_empty() { wakes } else { Some(self.now_ms) }
    }

    fn fill_backfills(&mut self, backfills: &[Backfill], limits: &Limits, pass: &mut Pass) {
        let mut sorted: Vec<_> = backfills.iter().collect();
        sorted.sort_by_key(|backfill| (backfill.created_ms, backfill.id));
        for backfill in sorted {
            if pass.steps >= limits.steps {
                break;
            }
            let key = Arc::new(backfill.bucket());
            let Some(bucket) = self.buckets.get(&key) else { continue };
            let scene = Scene { rules: &self.rules, tickets: &self.tickets, now_ms: self.now_ms };
            let (filled, steps) = fill(scene, bucket, backfill, limits);
            pass.steps += steps;
            if let Some((proposal, slots)) = filled {
                self.hold_all(&slots);
                pass.proposals.push(proposal);
            }
        }
    }

    fn hold_all(&mut self, slots: &[Slot]) {
        for slot in slots {
            self.stop_waiting(*slot);
            self.tickets.entry_mut(*slot).is_held = true;
        }
    }
}
