//! The exact search for a match in which a ticket is the oldest. It finds what the search over the nearest candidates can
//! miss: for one field as far as packing reaches, for several fields among few tickets.

use std::collections::{BTreeMap, BTreeSet};

use super::crossplay::Crossplay;
use super::index::{Bucket, Slot};
use super::regions::positions;
use super::rules::{ClassKey, MAPS_MAX};
use super::search::{Candidate, Effort, Found, Scene, search};
use crate::domain::matchmaking::profile::{MapWish, WidenBy};

/// Number of tickets among which all subsets are tried.
const ALL_SUBSETS_MAX: usize = 16;
/// Number of different sets of accepted platforms and inputs that are tried for one seed.
const ACCEPTED_MAX: usize = 16;

/// The exact search of one seed: what it has to spend, and whom it has asked.
struct Exact<'a> {
    scene: Scene<'a>,
    bucket: &'a Bucket,
    seed: Slot,
    effort: Effort,
    steps_left: usize,
}

/// A match in which the seed is the oldest, and the number of steps that the search took, at most about `steps_max`.
pub(super) fn search_exactly(
    scene: Scene<'_>,
    bucket: &Bucket,
    seed: Slot,
    effort: Effort,
    steps_max: usize,
) -> (Option<Found>, usize) {
    let mut exact = Exact { scene, bucket, seed, effort, steps_left: steps_max };
    let found = exact.run();
    (found, steps_max - exact.steps_left)
}

impl Exact<'_> {
    fn run(&mut self) -> Option<Found> {
        let key = self.scene.entry(self.seed).class?;
        for youngest_ms in self.least_ages() {
            for group in self.mutual_classes(&key) {
                if self.steps_left == 0 {
                    return None;
                }
                let candidates = self.candidates(&group, youngest_ms);
                let found = if candidates.len() < ALL_SUBSETS_MAX {
                    self.search(&candidates, false)
                } else {
                    self.search_windows(&candidates, youngest_ms)
                };
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    /// The least ages that the newest ticket of a match can have, as far as they make a difference: the oldest first.
    fn least_ages(&self) -> Vec<i64> {
        let by_newest = self.scene.rules.fields.iter().filter(|field| field.by == WidenBy::Newest);
        let age_ms = self.scene.entry(self.seed).ticket.age_ms(self.scene.now_ms);
        let mut ages: Vec<i64> =
            by_newest.flat_map(|field| field.tolerance.ages()).filter(|age| *age <= age_ms).collect();
        ages.push(i64::MIN);
        ages.sort_unstable_by(|a, b| b.cmp(a));
        ages.dedup();
        ages
    }

    /// Sets of classes whose tickets can all be in one match with the seed: for each region, map, and set of accepted
    /// platforms and inputs.
    fn mutual_classes(&mut self, key: &ClassKey) -> Vec<Vec<ClassKey>> {
        let keys = self.bucket.classes().map(|(key, _)| *key).filter(|key| key.new_matches);
        // Sorted, since the order of classes is that of their making.
        let keys: Vec<_> = keys.collect::<BTreeSet<_>>().into_iter().collect();
        let maps: Vec<u128> = match self.scene.rules.wish {
            MapWish::Hard => (0..MAPS_MAX).map(|map| 1 << map).filter(|map| key.maps & map != 0).collect(),
            MapWish::Soft | MapWish::Ignore => vec![u128::MAX],
        };
        // A ticket without a wish accepts every map, also those that there are not.
        let known = u128::MAX >> (MAPS_MAX - self.scene.rules.map_count().max(1));
        let mut sets = BTreeSet::new();
        for accepted in accepted(key, &keys) {
            for region in positions(key.regions) {
                for map in maps.iter().filter(|map| *map & known != 0) {
                    let fits = |other: &&ClassKey| {
                        other.regions & 1 << region != 0
                            && other.maps & map != 0
                            && other.crossplay.is_at_home_in(accepted)
                    };
                    sets.insert(keys.iter().filter(fits).copied().collect::<Vec<_>>());
                    self.steps_left = self.steps_left.saturating_sub(keys.len() / 16 + 1);
                }
            }
        }
        sets.into_iter().filter(|set| !set.is_empty()).collect()
    }

    /// The tickets of some classes that are younger than the seed, have an age, and are within its tolerances, the
    /// cheapest first.
    fn candidates(&mut self, classes: &[ClassKey], youngest_ms: i64) -> Vec<Candidate> {
        let (scene, seed) = (self.scene, self.scene.entry(self.seed));
        let full = scene.rules.sides.full();
        let first = seed.ticket.first_number();
        let reach = self.tolerance(0, youngest_ms);
        let mut found = Vec::new();
        let mut open_sizes = self.bucket.sizes.clone();
        // Without a limit one window holds all, and few of each size are enough.
        let is_one_window = !reach.is_finite() && self.only_sizes_decide();
        if is_one_window {
            open_sizes.iter_mut().for_each(|(size, count)| *count = (*count).min(full / size));
        }
        for near in self.bucket.walk_where(|key| classes.binary_search(key).is_ok(), first) {
            if near.distance > reach || self.steps_left == 0 || open_sizes.is_empty() {
                break;
            }
            self.steps_left -= 1;
            let ticket = scene.tickets.ticket(near.slot);
            let mut numbers = seed.ticket.numbers.iter().zip(&ticket.numbers).enumerate();
            let is_younger = ticket.age_key() > seed.ticket.age_key();
            if is_younger
                && ticket.age_ms(scene.now_ms) >= youngest_ms
                && numbers.all(|(at, (a, b))| (a - b).abs() <= self.tolerance(at, youngest_ms))
                && seed.ticket.players + ticket.players <= full
                && open_sizes.contains_key(&ticket.players)
            {
                found.push(scene.candidate(seed, near.slot));
                if is_one_window {
                    let left = open_sizes.entry(ticket.players).or_default();
                    *left = left.saturating_sub(1);
                    open_sizes.retain(|_, left| *left > 0);
                }
            }
        }
        found.sort_unstable();
        found
    }

    /// The tolerance of a field if the newest ticket has at least an age.
    fn tolerance(&self, field: usize, youngest_ms: i64) -> f64 {
        let Some(field) = self.scene.rules.fields.get(field) else { return f64::INFINITY };
        let oldest_ms = self.scene.entry(self.seed).ticket.age_ms(self.scene.now_ms);
        field.tolerance.at(if field.by == WidenBy::Oldest { oldest_ms } else { youngest_ms })
    }

    /// Whether any tickets that fit the seed and have the right sizes are a match.
    fn only_sizes_decide(&self) -> bool {
        self.scene.rules.fields.len() <= 1 && self.scene.rules.side_skill.is_empty()
    }

    /// Number of parties of a size that one match can have.
    fn most_of(&self, players: usize) -> usize {
        self.scene.rules.sides.full() / players
    }

    /// Searches all windows of the first field that are as wide as its tolerance and hold the seed. In a window, parties
    /// of a size are the same as far as sides are concerned, so few of each size are enough.
    fn search_windows(&mut self, candidates: &[Candidate], youngest_ms: i64) -> Option<Found> {
        let scene = self.scene;
        let number = |slot: Slot| scene.tickets.ticket(slot).first_number();
        let (seed, reach) = (number(self.seed), self.tolerance(0, youngest_ms));
        let mut sorted: Vec<_> =
            candidates.iter().map(|candidate| (number(candidate.slot), candidate.players)).collect();
        sorted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let lower = sorted.iter().map(|(value, _)| *value).filter(|value| *value < seed);
        let mut starts: Vec<f64> = if reach.is_finite() { lower.collect() } else { Vec::new() };
        starts.dedup();
        starts.push(if reach.is_finite() { seed } else { f64::NEG_INFINITY });
        let (mut counts, mut first, mut end) = (BTreeMap::new(), 0, 0);
        let mut tried = BTreeSet::new();
        for start in starts {
            while end < sorted.len() && (!reach.is_finite() || sorted[end].0 - start <= reach) {
                *counts.entry(sorted[end].1).or_insert(0_usize) += 1;
                end += 1;
            }
            while first < end && sorted[first].0 < start {
                *counts.entry(sorted[first].1).or_default() -= 1;
                first += 1;
            }
            let useful: Vec<_> =
                counts.iter().map(|(size, count)| *count.min(&self.most_of(*size))).collect();
            self.steps_left = self.steps_left.saturating_sub(1);
            // If only sizes decide, windows with the same sizes lead to the same.
            if !tried.insert((counts.len(), useful)) && self.only_sizes_decide() {
                continue;
            }
            let found = self.search_window(candidates, |value| value >= start && (value - start <= reach));
            if found.is_some() || self.steps_left == 0 {
                return found;
            }
        }
        None
    }

    fn search_window(&mut self, candidates: &[Candidate], holds: impl Fn(f64) -> bool) -> Option<Found> {
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        let tickets = self.scene.tickets;
        let inside =
            candidates.iter().filter(|candidate| holds(tickets.ticket(candidate.slot).first_number()));
        let useful = inside.filter(|candidate| {
            let count = counts.entry(candidate.players).or_default();
            *count += 1;
            *count <= self.most_of(candidate.players)
        });
        let useful: Vec<_> = useful.copied().collect();
        self.steps_left = self.steps_left.saturating_sub(candidates.len() / 8);
        self.search(&useful, self.only_sizes_decide())
    }

    fn search(&mut self, candidates: &[Candidate], alike: bool) -> Option<Found> {
        let effort = Effort { alike, ..self.effort };
        let (found, steps) = search(self.scene, self.seed, candidates, effort);
        self.steps_left = self.steps_left.saturating_sub(steps + 1);
        found
    }
}

/// The sets of platforms and inputs that matches with a ticket of a class can agree on: what it accepts, cut down to what
/// others accept.
fn accepted(key: &ClassKey, others: &[ClassKey]) -> Vec<Crossplay> {
    let mut sets = BTreeSet::from([Crossplay::NOBODY.accepting_at_most(key.crossplay)]);
    for other in others {
        if sets.len() >= ACCEPTED_MAX {
            break;
        }
        let smaller: Vec<_> = sets.iter().map(|set| set.accepting_at_most(other.crossplay)).collect();
        sets.extend(smaller);
    }
    sets.into_iter().collect()
}
