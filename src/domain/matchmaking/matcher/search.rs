//! The search for the tickets of one match: depth-first over candidates, the cheapest first.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::group::Group;
use super::index::{Entry, Slot, Tickets};
use super::packing::{Packing, PackingEffort, Party, have_room, pack};
use super::rules::Rules;
use crate::domain::matchmaking::profile::MapWish;

/// Number of replacements that are tried for one ticket of a match, to make it tighter.
const WAYS_MAX: usize = 4;

/// The cost of having no map in common that all wish for.
const MAP_MISS_COST: i64 = 1_000;

/// What every part of a pass needs.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) rules: &'a Rules,
    pub(super) tickets: &'a Tickets,
    pub(super) now_ms: i64,
}

/// A ticket that could join a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub(super) cost: i64,
    pub(super) since_ms: i64,
    pub(super) id: Uuid,
    pub(super) slot: Slot,
    pub(super) players: usize,
    /// The part of the cost that is due to regions and maps.
    pub(super) place_cost: i64,
}

/// Tickets that make a match.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// The seed first.
    pub(super) slots: Vec<Slot>,
    pub(super) group: Group,
    /// By side: positions in `slots`.
    pub(super) packing: Packing,
}

/// How thorough a search is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// Number of tickets that may be added to a group, in all.
    pub(super) steps: usize,
    /// The effort of one packing.
    pub(super) packing: PackingEffort,
    /// Number of packings that may fail.
    pub(super) packings: usize,
    /// Whether candidates of equal size are the same: if one leads to nothing, the others do not either.
    pub(super) alike: bool,
}

impl Candidate {
    /// Whether it is as large as another candidate, and wishes for regions and maps that suit the seed as well.
    fn could_replace(&self, other: &Self) -> bool {
        self.players == other.players && self.place_cost <= other.place_cost
    }
}

impl<'a> Scene<'a> {
    pub(super) fn entry(&self, slot: Slot) -> &'a Entry {
        self.tickets.entry(slot)
    }

    /// The cost of a ticket as a companion of another, at the age that decides.
    pub(super) fn candidate(&self, seed: &Entry, slot: Slot) -> Candidate {
        let entry = self.entry(slot);
        let (one, other) = (&seed.ticket, &entry.ticket);
        let numbers = one.numbers.iter().zip(&other.numbers);
        let fields = self.rules.fields.iter().zip(numbers);
        let fields = fields.map(|(field, (a, b))| field.cost((a - b).abs(), one.age_ms(self.now_ms)));
        let here_and_there =
            seed.class.zip(entry.class).map_or(0, |(here, there)| here.regions & there.regions);
        let mut place_cost = self.rules.region_cost(&[&one.place, &other.place], here_and_there);
        if self.rules.wish == MapWish::Soft && one.wished & other.wished == 0 {
            place_cost += MAP_MISS_COST;
        }
        let cost = fields.sum::<i64>() + place_cost;
        Candidate { cost, since_ms: other.since_ms, id: other.id, slot, players: other.players, place_cost }
    }

    /// What it costs that the tickets of a match wish for different regions and maps.
    pub(super) fn place_cost(&self, found: &Found) -> i64 {
        let tickets = || found.slots.iter().map(|slot| self.tickets.ticket(*slot));
        let places: Vec<_> = tickets().map(|ticket| &ticket.place).collect();
        let common = tickets().fold(u128::MAX, |set, ticket| set & ticket.wished);
        let has_map = self.rules.wish != MapWish::Soft || common != 0;
        self.rules.region_cost(&places, found.group.regions) + if has_map { 0 } else { MAP_MISS_COST }
    }

    /// Puts tickets on sides. Returns `None` if that is impossible, and the number of steps that it took.
    pub(super) fn packed(
        &self,
        slots: &[Slot],
        age_ms: i64,
        effort: PackingEffort,
    ) -> (Option<Packing>, usize) {
        let party = |(index, slot): (usize, &Slot)| {
            let ticket = self.tickets.ticket(*slot);
            Party { players: ticket.players, skill: ticket.skill, id: ticket.id, index }
        };
        let mut parties: Vec<_> = slots.iter().enumerate().map(party).collect();
        pack(&mut parties, self.rules.sides, self.rules.side_skill.at(age_ms), effort)
    }
}

/// The depth-first search.
pub(super) struct Search<'a> {
    scene: Scene<'a>,
    candidates: &'a [Candidate],
    /// Players of the candidates from a position on.
    rest: Vec<usize>,
    effort: Effort,
    steps_taken: usize,
    chosen: Vec<Slot>,
    cost: i64,
    best: Option<(i64, Found)>,
}

/// The best match of a seed with some candidates, and the number of steps that the search took. A full match is the
/// best; otherwise the one with most players, then the least cost.
pub(super) fn search(
    scene: Scene<'_>,
    seed: Slot,
    candidates: &[Candidate],
    effort: Effort,
) -> (Option<Found>, usize) {
    let mut rest = vec![0; candidates.len() + 1];
    for at in (0..candidates.len()).rev() {
        rest[at] = rest[at + 1] + candidates[at].players;
    }
    let chosen = vec![seed];
    let mut search = Search { scene, candidates, rest, effort, steps_taken: 0, chosen, cost: 0, best: None };
    if let Some(group) = Group::of(scene.entry(seed), scene.rules, scene.now_ms) {
        let full = scene.rules.sides.full();
        if group.players < full {
            search.descend(&group, 0);
        }
        if group.players <= full {
            search.consider(&group);
        }
    }
    (search.best.map(|(_, found)| found), search.steps_taken)
}

impl Search<'_> {
    /// Adds candidates from a position on. Returns whether a full match was found.
    fn descend(&mut self, group: &Group, from: usize) -> bool {
        let full = self.scene.rules.sides.full();
        let mut failed_sizes: u128 = 0;
        for at in from..self.candidates.len() {
            let candidate = self.candidates[at];
            let players = group.players + candidate.players;
            let is_spent = self.steps_taken >= self.effort.steps || self.effort.packings == 0;
            if is_spent || !self.can_gain(group.players + self.rest[at]) {
                return false;
            }
            let is_known = self.effort.alike && failed_sizes & 1 << candidate.players.min(127) != 0;
            if players > full || is_known {
                continue;
            }
            self.steps_taken += 1;
            let entry = self.scene.entry(candidate.slot);
            let Some(next) = group.with(entry, self.scene.rules, self.scene.now_ms) else { continue };
            self.chosen.push(candidate.slot);
            self.cost += candidate.cost;
            if self.has_room() {
                let is_full = players == full;
                if !is_full && self.descend(&next, at + 1) || self.consider(&next) && is_full {
                    return true;
                }
            }
            self.chosen.pop();
            self.cost -= candidate.cost;
            failed_sizes |= 1 << candidate.players.min(127);
        }
        false
    }

    /// Whether so many players would be a match that is better than the best one.
    fn can_gain(&self, players: usize) -> bool {
        let smallest = self.scene.rules.sides.count * self.scene.rules.sides.min;
        players >= self.best.as_ref().map_or(smallest, |(_, best)| best.group.players)
    }

    fn has_room(&self) -> bool {
        let sizes = self.chosen.iter().map(|slot| self.scene.tickets.ticket(*slot).players);
        let mut sizes: smallvec::SmallVec<[usize; 16]> = sizes.collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        have_room(&sizes, self.scene.rules.sides)
    }

    /// Notes a group if it is a match, and the best so far. Returns whether it is.
    fn consider(&mut self, group: &Group) -> bool {
        let age_ms = group.age_ms(self.scene.now_ms);
        let is_better = self.best.as_ref().is_none_or(|(cost, best)| {
            group.players > best.group.players || group.players == best.group.players && self.cost < *cost
        });
        if group.players < self.scene.rules.sizes.at(age_ms) || !is_better || self.effort.packings == 0 {
            return false;
        }
        let (packing, steps) = self.scene.packed(&self.chosen, age_ms, self.effort.packing);
        self.steps_taken += steps / 8;
        let Some(packing) = packing else {
            self.effort.packings -= 1;
            return false;
        };
        self.best = Some((self.cost, Found { slots: self.chosen.clone(), group: group.clone(), packing }));
        true
    }
}

/// Replaces outer tickets of a match by unused candidates of the same size further inside, while the spread gets
/// smaller, and then balances the sides. `seeds` stay. Returns the steps that it took.
pub(super) fn improve(
    scene: Scene<'_>,
    found: &mut Found,
    candidates: &[Candidate],
    seeds: &BTreeSet<Slot>,
    effort: PackingEffort,
) -> usize {
    let mut steps = 0;
    let (mut slots, mut group) = (found.slots.clone(), found.group.clone());
    for _ in 0..slots.len() * 2 {
        steps += slots.len() + candidates.len() / 8;
        let Some(better) = tighter(scene, &slots, &group, candidates, seeds) else { break };
        (slots, group) = better;
    }
    for slots in [slots, found.slots.clone()] {
        if let Some(better) = judged(scene, slots, effort) {
            *found = better;
            break;
        }
    }
    steps + found.slots.len()
}

/// The tickets with the outermost one replaced, so that the spread of the first field is the least.
fn tighter(
    scene: Scene<'_>,
    slots: &[Slot],
    group: &Group,
    candidates: &[Candidate],
    seeds: &BTreeSet<Slot>,
) -> Option<(Vec<Slot>, Group)> {
    let (min, max) = group.ranges.first().copied().flatten()?;
    let number = |slot: Slot| scene.tickets.ticket(slot).first_number();
    let mut ways: Vec<(f64, i64, usize, Slot)> = Vec::new();
    let is_outer = |slot: Slot| [min, max].contains(&number(slot)) && !seeds.contains(&slot);
    for (at, outer) in slots.iter().enumerate().filter(|(_, slot)| is_outer(**slot)) {
        let others = slots.iter().filter(|slot| *slot != outer).map(|slot| number(*slot));
        let (low, high) =
            others.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        let Some(replaced) = candidates.iter().find(|candidate| candidate.slot == *outer) else { continue };
        for inner in candidates.iter().filter(|inner| inner.could_replace(replaced)) {
            let value = number(inner.slot);
            let spread = high.max(value) - low.min(value);
            if spread < max - min && !slots.contains(&inner.slot) {
                ways.push((spread, inner.cost, at, inner.slot));
            }
        }
    }
    ways.sort_by(|a, b| {
        a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).then_with(|| {
            let id = |slot: Slot| scene.tickets.ticket(slot).id;
            (id(a.3), id(slots[a.2])).cmp(&(id(b.3), id(slots[b.2])))
        })
    });
    let now = group.spread_cost(scene.rules, scene.now_ms);
    ways.into_iter().take(WAYS_MAX).find_map(|(_, _, at, inner)| {
        let mut slots = slots.to_vec();
        slots[at] = inner;
        let group = grouped(scene, &slots)?;
        (group.spread_cost(scene.rules, scene.now_ms) < now).then_some((slots, group))
    })
}

/// A match of as many players with a smaller spread, also of other sizes of parties: the best of all windows around the
/// seed that are narrower than the match is now. `candidates` hold its own tickets, too. Returns the steps that it took.
pub(super) fn narrow(
    scene: Scene<'_>,
    found: &mut Found,
    seed: Slot,
    candidates: &[Candidate],
    effort: Effort,
) -> usize {
    let number = |slot: Slot| scene.tickets.ticket(slot).first_number();
    let cost = |found: &Found| found.group.spread_cost(scene.rules, scene.now_ms);
    let (value, width) = (number(seed), found.group.spread(0));
    let mut starts: Vec<f64> = candidates.iter().map(|candidate| number(candidate.slot)).collect();
    starts.retain(|start| *start <= value && value - start < width);
    starts.sort_unstable_by(f64::total_cmp);
    starts.dedup();
    let (mut steps_taken, mut width) = (0, width);
    for start in starts {
        let is_inside = |candidate: &&Candidate| {
            let from_start = number(candidate.slot) - start;
            candidate.slot != seed && from_start >= 0.0 && from_start < width
        };
        let inside: Vec<_> = candidates.iter().filter(is_inside).copied().collect();
        let (better, steps) = search(scene, seed, &inside, effort);
        steps_taken += steps + candidates.len() / 8;
        let is_better = |better: &Found| {
            better.group.players >= found.group.players
                && cost(better) < cost(found)
                && scene.place_cost(better) <= scene.place_cost(found)
        };
        if let Some(better) = better.filter(is_better) {
            *found = better;
            width = found.group.spread(0);
        }
    }
    steps_taken
}

/// The tickets as a group, if they fit each other.
pub(super) fn grouped(scene: Scene<'_>, slots: &[Slot]) -> Option<Group> {
    // By age, since the tolerance of a field may be that of the oldest.
    let mut by_age: Vec<_> =
        slots.iter().map(|slot| (scene.tickets.ticket(*slot).age_key(), *slot)).collect();
    by_age.sort_unstable();
    let empty = Group::empty(scene.rules);
    by_age
        .into_iter()
        .try_fold(empty, |group, (_, slot)| group.with(scene.entry(slot), scene.rules, scene.now_ms))
}

/// The tickets as a match, if they are one. The first ticket is the seed.
pub(super) fn judged(scene: Scene<'_>, slots: Vec<Slot>, effort: PackingEffort) -> Option<Found> {
    let group = grouped(scene, &slots)?;
    let age_ms = group.age_ms(scene.now_ms);
    if group.players > scene.rules.sides.full() || group.players < scene.rules.sizes.at(age_ms) {
        return None;
    }
    let (packing, _) = scene.packed(&slots, age_ms, effort);
    Some(Found { slots, group, packing: packing? })
}
