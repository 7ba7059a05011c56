//! A naive reference: whether a ticket can be in any match at all. It tries all subsets of the other tickets, and all
//! ways to put them on sides.

use super::builder::Scenario;
use super::checker::Case;

impl Scenario {
    /// Whether the first of some cases can be in a match with some of the others.
    pub fn can_match_first(&self, cases: &[Case], now_ms: i64) -> bool {
        let full = self.profile.num_sides * self.profile.max_players_per_side;
        let subsets = 0_u32..1 << (cases.len() - 1);
        subsets.into_iter().any(|subset| {
            let others =
                cases[1..].iter().enumerate().filter(|(at, _)| subset & 1 << at != 0).map(|(_, case)| case);
            let chosen: Vec<&Case> = std::iter::once(&cases[0]).chain(others).collect();
            let players: usize = chosen.iter().map(|case| case.values.players).sum();
            players <= full
                && players >= self.profile.num_sides * self.profile.min_players_per_side
                && self.common_regions(&chosen, now_ms).is_ok()
                && self.has_sides(&chosen, &mut vec![Vec::new(); self.profile.num_sides], now_ms)
        })
    }

    fn has_sides<'a>(&self, left: &[&'a Case], sides: &mut Vec<Vec<&'a Case>>, now_ms: i64) -> bool {
        let Some((next, rest)) = left.split_first() else { return self.sides_fault(sides, now_ms).is_none() };
        for at in 0..sides.len() {
            let size: usize = sides[at].iter().map(|case| case.values.players).sum();
            // Of several empty sides one is enough.
            let is_second_empty = size == 0 && sides[..at].iter().any(Vec::is_empty);
            if is_second_empty || size + next.values.players > self.profile.max_players_per_side {
                continue;
            }
            sides[at].push(next);
            let has_sides = self.has_sides(rest, sides, now_ms);
            sides[at].pop();
            if has_sides {
                return true;
            }
        }
        false
    }
}
