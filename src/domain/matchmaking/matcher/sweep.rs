//! One bucket in a pass: its tickets as seeds, the oldest first.

use std::collections::BTreeSet;

use super::exact::search_exactly;
use super::exchange::exchange;
use super::index::{Bucket, Slot, Tickets};
use super::packing::PackingEffort;
use super::pass::Limits;
use super::rules::{ClassKey, Rules};
use super::search::{Candidate, Effort, Found, Scene, improve, narrow, search};
use super::size_counts::SizeCounts;
use super::ticket::{AgeKey, age_ms};
use crate::domain::matchmaking::profile::WidenBy;

/// Number of times that the matches of a pass are improved, one with another and with free tickets.
const IMPROVEMENTS: usize = 3;

/// A bucket during a pass.
pub(super) struct Sweep<'a> {
    pub(super) rules: &'a Rules,
    pub(super) tickets: &'a mut Tickets,
    pub(super) bucket: &'a mut Bucket,
    pub(super) now_ms: i64,
    pub(super) limits: &'a Limits,
    /// Steps that the pass may still take.
    pub(super) steps_left: usize,
    /// Steps that the exact search of the pass may still take.
    pub(super) exact_steps_left: usize,
    /// The matches found so far. Their tickets are held.
    pub(super) found: Vec<Found>,
    /// Their seeds. They stay matched, whatever is improved.
    pub(super) seeds: BTreeSet<Slot>,
}

impl Sweep<'_> {
    fn scene(&self) -> Scene<'_> {
        Scene { rules: self.rules, tickets: self.tickets, now_ms: self.now_ms }
    }

    /// Tries all tickets as seeds, or those that are left since the last pass, and then some of those without a match
    /// exactly.
    pub(super) fn run(&mut self) {
        self.bucket.sweep_classes();
        if self.bucket.progress.is_dirty || self.bucket.progress.stopped_after.is_some() {
            self.try_seeds();
        }
        if self.bucket.progress.stopped_after.is_none() {
            self.take_turns();
        }
        let mut tries_left = self.limits.exchanges;
        for _ in 0..IMPROVEMENTS {
            let scene = Scene { rules: self.rules, tickets: self.tickets, now_ms: self.now_ms };
            exchange(scene, &mut self.found, self.limits, &mut tries_left);
            if !self.tighten(&mut tries_left) {
                break;
            }
        }
    }

    fn try_seeds(&mut self) {
        let stopped = self.bucket.progress.stopped_after.take();
        if stopped.is_none() {
            self.bucket.progress.is_dirty = false;
        }
        let all = self.bucket.by_age.iter().enumerate();
        // The oldest come first also in a pass that goes on where another one stopped.
        let seeds = all.filter(|(at, (key, _))| {
            *at < self.limits.oldest_seeds || stopped.is_none_or(|last| **key > last)
        });
        let seeds: Vec<(AgeKey, Slot)> = seeds.map(|(_, (key, slot))| (*key, *slot)).collect();
        let mut oldest_is_tried = false;
        for (key, slot) in seeds {
            if self.steps_left == 0 {
                return;
            }
            if self.can_be_seed(slot) {
                let is_found = self.try_seed(slot);
                if !is_found && !oldest_is_tried {
                    // Before younger tickets take what the oldest needs.
                    self.try_exactly(slot);
                }
                oldest_is_tried = true;
            }
            self.bucket.progress.stopped_after = stopped.max(Some(key));
        }
        self.bucket.progress.stopped_after = None;
        self.bucket.progress.to_search = self.bucket.sizes.values().sum();
    }

    /// Searches a match among the nearest tickets of a seed. Returns whether there is one.
    fn try_seed(&mut self, slot: Slot) -> bool {
        let Some(candidates) = self.candidates(slot) else { return false };
        let (found, steps) = search(self.scene(), slot, &candidates, self.effort());
        self.spend(steps);
        found.map(|found| self.keep(found, &candidates)).is_some()
    }

    /// Searches a match of a ticket exactly. Returns whether the steps sufficed.
    fn try_exactly(&mut self, slot: Slot) -> bool {
        let effort = Effort {
            steps: self.limits.exact_search_steps,
            packing: PackingEffort { steps: self.limits.exact_packing_steps, balance_steps: 0 },
            packings: usize::MAX,
            alike: false,
        };
        let steps_max = self.exact_steps_left;
        let (found, steps) = search_exactly(self.scene(), self.bucket, slot, effort, steps_max);
        self.exact_steps_left = steps_max.saturating_sub(steps);
        found.map(|found| self.keep(found, &[])).is_some() || steps < steps_max
    }

    /// Whether a ticket takes part in new matches, and the sizes of the tickets here could fill its side.
    fn can_be_seed(&self, slot: Slot) -> bool {
        let entry = self.tickets.entry(slot);
        if entry.is_held || entry.class.is_none_or(|class| !class.new_matches) {
            return false;
        }
        let Some((oldest, _)) = self.bucket.by_age.first_key_value() else { return false };
        let need = self.rules.sizes.at(age_ms(oldest.since_ms, self.now_ms));
        let waiting: usize = self.bucket.sizes.iter().map(|(size, count)| size * count).sum();
        let (side, max) = (self.smallest_side(need), self.rules.sides.max);
        waiting >= need && self.bucket.can_fill_side(entry.ticket.players, side, max)
    }

    /// The smallest side of a match of so many players.
    fn smallest_side(&self, players: usize) -> usize {
        let sides = self.rules.sides;
        sides.min.max(players.saturating_sub((sides.count - 1) * sides.max))
    }

    /// The nearest tickets that fit a seed, the cheapest first. `None` if their sizes cannot fill the sides.
    fn candidates(&mut self, slot: Slot) -> Option<Vec<Candidate>> {
        let scene = Scene { rules: self.rules, tickets: self.tickets, now_ms: self.now_ms };
        let seed = scene.entry(slot);
        let alone = super::group::Group::of(seed, self.rules, self.now_ms)?;
        let (full, max) = (self.rules.sides.full(), self.rules.sides.max);
        let age_ms = seed.ticket.age_ms(self.now_ms);
        let reach = self.rules.fields.first().map_or(f64::INFINITY, |field| field.tolerance.at(age_ms));
        let (walk, mut steps) = self.bucket.walk_from_class(&seed.class?, seed.ticket.first_number());
        let (mut slots, mut looks, mut oldest_ms) = (Vec::new(), 0, seed.ticket.since_ms);
        let mut sizes = SizeCounts::new(max, seed.ticket.players);
        let mut can_fill = false;
        let slots_max = self.limits.candidates.max(2 * full);
        let looks_max = self.limits.looks_per_seed.max(4 * full);
        // What is within reach fits by its class, unless there are more fields, or the newest decides.
        let is_fit =
            self.rules.fields.len() <= 1 && self.rules.fields.iter().all(|field| field.by == WidenBy::Oldest);
        let sides = self.rules.sides;
        let need = |oldest_ms| self.rules.sizes.at(super::ticket::age_ms(oldest_ms, self.now_ms));
        for near in walk {
            if near.distance > reach || looks >= looks_max || can_fill {
                break;
            }
            looks += 1;
            let is_possible = near.slot != slot && seed.ticket.players + near.players <= full;
            let fits = || alone.with(scene.entry(near.slot), self.rules, self.now_ms).is_some();
            // Those that are there cannot fill the sides: only sizes that are rare among them can help.
            let is_wanted = slots.len() < slots_max || sizes.count(near.players) <= full / near.players;
            if is_possible && is_wanted && (is_fit || fits()) {
                slots.push(near.slot);
                sizes.add(near.players);
                oldest_ms = oldest_ms.min(near.since_ms);
                can_fill = slots.len() >= slots_max && sizes.can_fill(sides, need(oldest_ms));
            }
        }
        steps += looks + 1;
        let can_fill = can_fill || sizes.can_fill(sides, need(oldest_ms));
        let candidates = can_fill.then(|| {
            let mut candidates: Vec<_> = slots.into_iter().map(|slot| scene.candidate(seed, slot)).collect();
            candidates.sort_unstable();
            candidates
        });
        self.spend(steps);
        candidates
    }

    /// Tries some tickets exactly: in turn by age, so that hopeless ones do not keep the others from it.
    fn take_turns(&mut self) {
        let (mut tries, mut visits) = (0, self.bucket.by_age.len());
        while self.bucket.progress.to_search > 0
            && tries < self.limits.exact_seeds
            && self.exact_steps_left > 0
        {
            let after = self.bucket.progress.searched.map(next_after);
            let next = after.and_then(|after| self.bucket.by_age.range(after..).next());
            let next = next.or_else(|| self.bucket.by_age.first_key_value());
            let Some((key, slot)) = next.map(|(key, slot)| (*key, *slot)).filter(|_| visits > 0) else {
                self.bucket.progress.to_search = 0;
                break;
            };
            visits -= 1;
            let is_seed = self.tickets.entry(slot).class.is_some_and(|class| class.new_matches);
            if is_seed && self.can_be_seed(slot) {
                tries += 1;
                if !self.try_exactly(slot) && tries > 1 {
                    // Next time it has all the steps of a pass.
                    break;
                }
            }
            self.bucket.progress.searched = Some(key);
            self.bucket.progress.to_search -= usize::from(is_seed);
        }
    }

    /// Improves a match, and holds its tickets.
    fn keep(&mut self, mut found: Found, candidates: &[Candidate]) {
        self.seeds.insert(found.slots[0]);
        let scene = Scene { rules: self.rules, tickets: self.tickets, now_ms: self.now_ms };
        let steps = improve(scene, &mut found, candidates, &self.seeds, self.balanced());
        self.spend(steps);
        found.slots.iter().for_each(|slot| self.hold(*slot));
        self.found.push(found);
    }

    /// Replaces outer tickets of all matches by tickets that are still free. Returns whether a match has changed.
    fn tighten(&mut self, tries_left: &mut usize) -> bool {
        let mut has_changed = false;
        if self.rules.fields.is_empty() {
            return false;
        }
        for at in 0..self.found.len() {
            let mut found = self.found[at].clone();
            let candidates = self.free_around(&found);
            *tries_left = tries_left.saturating_sub(candidates.len() / 4 + self.bucket.class_count() / 4 + 1);
            if *tries_left == 0 {
                break;
            }
            let scene = Scene { rules: self.rules, tickets: self.tickets, now_ms: self.now_ms };
            improve(scene, &mut found, &candidates, &self.seeds, self.balanced());
            *tries_left = tries_left.saturating_sub(self.narrow(&mut found, &candidates) / 16);
            if found.group.spread_cost(self.rules, self.now_ms)
                < self.found[at].group.spread_cost(self.rules, self.now_ms)
            {
                let before = std::mem::replace(&mut self.found[at], found.clone());
                before
                    .slots
                    .iter()
                    .filter(|slot| !found.slots.contains(slot))
                    .for_each(|slot| self.let_go(*slot));
                found
                    .slots
                    .iter()
                    .filter(|slot| !before.slots.contains(slot))
                    .for_each(|slot| self.hold(*slot));
                has_changed = true;
                // The tickets that are free now may make a match with others.
                self.bucket.progress.is_dirty = true;
            }
        }
        has_changed
    }

    /// Searches narrower windows around the seed of a match. With parties of one size, the replacement of single tickets
    /// leads to the same.
    fn narrow(&self, found: &mut Found, candidates: &[Candidate]) -> usize {
        let seeds: Vec<_> = found.slots.iter().filter(|slot| self.seeds.contains(slot)).copied().collect();
        let is_mixed = candidates.iter().any(|candidate| candidate.players != candidates[0].players);
        let &[seed] = &seeds[..] else { return 0 };
        if !is_mixed {
            return 0;
        }
        let effort = Effort { packing: self.balanced(), ..self.effort() };
        narrow(self.scene(), found, seed, candidates, effort)
    }

    /// The tickets of a match as candidates, and the free ones that are nearest to its middle.
    fn free_around(&self, found: &Found) -> Vec<Candidate> {
        let scene = self.scene();
        let (low, high) = found.group.ranges.first().copied().flatten().unwrap_or_default();
        let seed = found.slots.iter().find(|slot| self.seeds.contains(slot)).unwrap_or(&found.slots[0]);
        let seed = scene.entry(*seed);
        let meets = |key: &ClassKey| key.new_matches && found.group.meets(key);
        let free = self.bucket.walk_where(meets, low / 2.0 + high / 2.0);
        let near = free.take_while(|near| near.distance < high - low).take(self.limits.candidates);
        let slots = found.slots.iter().copied().chain(near.map(|near| near.slot));
        let mut candidates: Vec<_> = slots.map(|slot| scene.candidate(seed, slot)).collect();
        candidates.sort_unstable();
        candidates
    }

    fn effort(&self) -> Effort {
        Effort {
            steps: self.limits.search_steps.max(4 * self.rules.sides.full()),
            packing: PackingEffort { steps: self.limits.packing_steps, balance_steps: 0 },
            packings: self.limits.packings_per_seed,
            alike: false,
        }
    }

    fn balanced(&self) -> PackingEffort {
        PackingEffort { steps: self.limits.packing_steps, balance_steps: self.limits.balance_steps }
    }

    fn hold(&mut self, slot: Slot) {
        let entry = self.tickets.entry_mut(slot);
        self.bucket.remove(entry);
        entry.is_held = true;
    }

    fn let_go(&mut self, slot: Slot) {
        let entry = self.tickets.entry_mut(slot);
        entry.is_held = false;
        self.bucket.insert(slot, entry);
    }

    fn spend(&mut self, steps: usize) {
        self.steps_left = self.steps_left.saturating_sub(steps);
    }
}

/// The first key after another.
fn next_after(key: AgeKey) -> AgeKey {
    let id = uuid::Uuid::from_u128(key.id.as_u128().wrapping_add(1));
    AgeKey { id, ..key }
}
