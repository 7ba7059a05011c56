//! Puts whole parties on sides.

use smallvec::SmallVec;
use uuid::Uuid;

use super::rules::Sides;

/// Steps of the check whether parties have room at all, if the simple way fails.
const ROOM_STEPS: usize = 200;

/// A party to be put on a side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Party {
    pub(super) players: usize,
    pub(super) skill: f64,
    pub(super) id: Uuid,
    /// What the caller knows it by.
    pub(super) index: usize,
}

/// How thorough a packing is.
#[derive(Clone, Copy, Debug)]
pub(super) struct PackingEffort {
    /// Number of times that a party may be put on a side, to find a legal way.
    pub(super) steps: usize,
    /// Number of further times after a legal way is known, to balance the sides.
    pub(super) balance_steps: usize,
}

/// Parties on sides.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Packing {
    /// By side: the indexes of its parties.
    pub(super) sides: Vec<Vec<usize>>,
    /// Largest difference between the sizes of two sides.
    pub(super) size_difference: usize,
    /// Largest difference between the mean skills of two sides.
    pub(super) skill_difference: f64,
}

#[derive(Clone, Copy, Default)]
struct Side {
    players: usize,
    /// Sum over players.
    skill: f64,
}

struct Search<'a> {
    rules: Sides,
    skill_limit: f64,
    parties: &'a [Party],
    /// Players of the parties from an index on.
    rest: Vec<usize>,
    sides: SmallVec<[Side; 8]>,
    placed: Vec<usize>,
    steps: usize,
    steps_taken: usize,
    balance_steps: usize,
    best: Option<(usize, f64, Vec<usize>)>,
}

/// The best way to put parties on sides, and the number of steps that the search took: the least difference of sizes,
/// then the least difference of mean skills, which is at most `skill_limit`. `None` if there is no legal way, or none
/// was found within the effort.
pub(super) fn pack(
    parties: &mut [Party],
    rules: Sides,
    skill_limit: f64,
    effort: PackingEffort,
) -> (Option<Packing>, usize) {
    parties.sort_by(|a, b| b.players.cmp(&a.players).then(b.skill.total_cmp(&a.skill)).then(a.id.cmp(&b.id)));
    let mut rest = vec![0; parties.len() + 1];
    for at in (0..parties.len()).rev() {
        rest[at] = rest[at + 1] + parties[at].players;
    }
    let sides = SmallVec::from_elem(Side::default(), rules.count);
    let mut search = Search {
        rules,
        skill_limit,
        parties,
        rest,
        sides,
        placed: Vec::with_capacity(parties.len()),
        steps: effort.steps,
        steps_taken: 0,
        balance_steps: effort.balance_steps,
        best: None,
    };
    search.place(0);
    let steps = search.steps_taken;
    let packing = search.best.take().map(|(size_difference, skill_difference, placed)| {
        let mut sides = vec![Vec::new(); rules.count];
        for (party, side) in parties.iter().zip(placed) {
            sides[side].push(party.index);
        }
        Packing { sides, size_difference, skill_difference }
    });
    (packing, steps)
}

impl Search<'_> {
    /// Places the parties from an index on. Returns whether the search is at its end.
    fn place(&mut self, at: usize) -> bool {
        let Some(party) = self.parties.get(at).copied() else { return self.consider() };
        if !self.can_end_well(at) {
            return false;
        }
        let mut order: SmallVec<[usize; 8]> = (0..self.sides.len()).collect();
        let sides = &self.sides;
        order.sort_by(|a, b| {
            let (a, b) = (&sides[*a], &sides[*b]);
            a.players.cmp(&b.players).then(a.skill.total_cmp(&b.skill))
        });
        let mut has_tried_empty = false;
        for side in order {
            let before = self.sides[side];
            if before.players + party.players > self.rules.max || before.players == 0 && has_tried_empty {
                continue;
            }
            has_tried_empty |= before.players == 0;
            if self.steps == 0 {
                return true;
            }
            self.steps -= 1;
            self.steps_taken += 1;
            self.sides[side].players += party.players;
            self.sides[side].skill += party.skill * party.players as f64;
            self.placed.push(side);
            if self.place(at + 1) {
                return true;
            }
            self.placed.pop();
            self.sides[side] = before;
        }
        false
    }

    /// Whether the rest of the players can lift all sides to the size that they need.
    fn can_end_well(&self, at: usize) -> bool {
        let largest = self.sides.iter().map(|side| side.players).max().unwrap_or_default();
        let need = self.rules.min.max(largest.saturating_sub(self.rules.delta));
        let missing: usize = self.sides.iter().map(|side| need.saturating_sub(side.players)).sum();
        missing <= self.rest[at]
    }

    /// Notes the sides as they are now if they are the best so far. Returns whether nothing can be better.
    fn consider(&mut self) -> bool {
        let sizes = self.sides.iter().map(|side| side.players);
        let (least, largest) = (sizes.clone().min().unwrap_or_default(), sizes.max().unwrap_or_default());
        let (sizes, skills) = (largest - least, skill_difference(&self.sides));
        if least < self.rules.min || sizes > self.rules.delta || skills > self.skill_limit {
            return false;
        }
        let is_better =
            |(best_sizes, best_skills, _): &(usize, f64, _)| (sizes, skills) < (*best_sizes, *best_skills);
        if self.best.as_ref().is_none_or(is_better) {
            if self.best.is_none() {
                self.steps = self.steps.min(self.balance_steps);
            }
            self.best = Some((sizes, skills, self.placed.clone()));
        }
        let least_possible = usize::from(!self.rest[0].is_multiple_of(self.rules.count));
        sizes == least_possible && skills == 0.0
    }
}

/// The largest difference between the mean skills of two sides. Empty sides do not count.
fn skill_difference(sides: &[Side]) -> f64 {
    let means = sides.iter().filter(|side| side.players > 0).map(|side| side.skill / side.players as f64);
    let (min, max) =
        means.fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), mean| (min.min(mean), max.max(mean)));
    (max - min).max(0.0)
}

/// Whether parties of these sizes, largest first, have room on the sides, whatever the least size of a side is.
pub(super) fn have_room(sizes: &[usize], rules: Sides) -> bool {
    if sizes.first().is_none_or(|largest| *largest == 1) {
        return sizes.len() <= rules.full();
    }
    let mut room: SmallVec<[usize; 8]> = SmallVec::from_elem(rules.max, rules.count);
    let first_fit = sizes.iter().all(|size| {
        let side = room.iter_mut().find(|room| **room >= *size);
        side.map(|room| *room -= size).is_some()
    });
    first_fit || {
        let mut room = SmallVec::from_elem(rules.max, rules.count);
        find_room(sizes, &mut room, &mut { ROOM_STEPS })
    }
}

fn find_room(sizes: &[usize], room: &mut SmallVec<[usize; 8]>, steps: &mut usize) -> bool {
    let Some((size, rest)) = sizes.split_first() else { return true };
    for side in 0..room.len() {
        let before = room[side];
        // Two sides with equal room are the same.
        if before < *size || room[..side].contains(&before) {
            continue;
        }
        if *steps == 0 {
            // Not known: the packing decides.
            return true;
        }
        *steps -= 1;
        room[side] -= size;
        if find_room(rest, room, steps) {
            return true;
        }
        room[side] = before;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes_on_sides(parties: &[(usize, f64)], rules: Sides) -> Option<Vec<Vec<usize>>> {
        let party = |(index, (players, skill)): (usize, &(usize, f64))| Party {
            players: *players,
            skill: *skill,
            id: Uuid::from_u128(index as u128),
            index,
        };
        let mut all: Vec<_> = parties.iter().enumerate().map(party).collect();
        let (packing, _) = pack(&mut all, rules, f64::INFINITY, EFFORT);
        packing.map(|packing| {
            let of_side = |side: &Vec<usize>| side.iter().map(|index| parties[*index].0).collect();
            packing.sides.iter().map(of_side).collect()
        })
    }

    const FOURS: Sides = Sides { count: 2, min: 4, max: 4, delta: 1 };

    #[test]
    fn parties_stay_whole() {
        let solo = |size| (size, 0.0);
        let sides = sizes_on_sides(&[3, 2, 2, 1].map(solo), FOURS).unwrap();
        assert_eq!(sides, [vec![3, 1], vec![2, 2]]);
        assert_eq!(sizes_on_sides(&[3, 3, 2].map(solo), FOURS), None);
        let twos = Sides { count: 2, min: 2, max: 2, delta: 0 };
        assert_eq!(sizes_on_sides(&[2, 1, 1].map(solo), twos).unwrap(), [vec![2], vec![1, 1]]);
    }

    const EFFORT: PackingEffort = PackingEffort { steps: 2_000, balance_steps: 200 };

    #[test]
    fn sides_are_balanced_by_skill() {
        let parties = [(1, 10.0), (1, 9.0), (1, 2.0), (1, 1.0)];
        let mut all: Vec<_> = parties
            .iter()
            .enumerate()
            .map(|(index, (players, skill))| Party {
                players: *players,
                skill: *skill,
                id: Uuid::nil(),
                index,
            })
            .collect();
        let twos = Sides { count: 2, min: 2, max: 2, delta: 0 };
        let (packing, _) = pack(&mut all, twos, 0.0, EFFORT);
        let packing = packing.unwrap();
        assert_eq!(packing.sides, [vec![0, 3], vec![1, 2]]);
        assert_eq!((packing.size_difference, packing.skill_difference), (0, 0.0));
        let (none, _) =
            pack(&mut [all[0], all[1]], Sides { count: 2, min: 1, max: 1, delta: 0 }, 0.5, EFFORT);
        assert_eq!(none, None, "the sides differ by more than the limit");
    }

    #[test]
    fn room_is_found_where_the_simple_way_fails() {
        let sevens = Sides { count: 2, min: 0, max: 7, delta: 7 };
        assert!(have_room(&[4, 3, 3, 2, 2], sevens));
        assert!(have_room(&[5, 3, 2, 2, 2], sevens));
        assert!(!have_room(&[5, 5, 3], sevens));
    }
}
