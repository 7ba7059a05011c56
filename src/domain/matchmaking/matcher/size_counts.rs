//! Whether parties of given sizes can fill all sides, as a quick check before a search.

use smallvec::SmallVec;

use super::rules::Sides;

/// How many parties of each size there are, beside a seed.
pub(super) struct SizeCounts {
    /// Largest party that fits a side.
    max: usize,
    seed: usize,
    /// Sizes and their counts.
    counts: SmallVec<[(usize, usize); 8]>,
    /// Players of all.
    players: usize,
}

/// A search for sides that are large enough.
struct Filling<'a> {
    counts: &'a mut [(usize, usize)],
    sides: Sides,
    /// Smallest side.
    low: usize,
    need: usize,
    steps: usize,
}

impl SizeCounts {
    pub(super) fn new(max: usize, seed: usize) -> Self {
        Self { max, seed, counts: SmallVec::new(), players: seed }
    }

    pub(super) fn add(&mut self, players: usize) {
        if players > self.max {
            return;
        }
        self.players += players;
        match self.counts.iter_mut().find(|(size, _)| *size == players) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((players, 1)),
        }
    }

    /// Number of parties of a size.
    pub(super) fn count(&self, players: usize) -> usize {
        self.counts.iter().find(|(size, _)| *size == players).map_or(0, |(_, count)| *count)
    }

    /// Whether sides could be filled with `need` players in all. A search that takes too long counts as yes.
    pub(super) fn can_fill(&mut self, sides: Sides, need: usize) -> bool {
        if self.players < need || self.seed > sides.max {
            return false;
        }
        // The largest first, since small ones fill what is left.
        self.counts.sort_unstable_by(|a, b| b.cmp(a));
        let low = sides.min.max(need.saturating_sub((sides.count - 1) * sides.max));
        let steps = 4 * sides.full() + 256;
        Filling { counts: &mut self.counts, sides, low, need, steps }.fill(0, self.seed, 0, self.seed)
    }
}

impl Filling<'_> {
    /// Fills a side that has `on_side` players with parties of the sizes from an index on, and then the other sides.
    fn fill(&mut self, side: usize, on_side: usize, from: usize, players: usize) -> bool {
        if self.steps == 0 {
            return true;
        }
        self.steps -= 1;
        for at in from..self.counts.len() {
            let (size, count) = self.counts[at];
            if count == 0 || on_side + size > self.sides.max {
                continue;
            }
            self.counts[at].1 -= 1;
            let is_filled = self.fill(side, on_side + size, at, players + size);
            self.counts[at].1 += 1;
            if is_filled {
                return true;
            }
        }
        let is_last = side + 1 == self.sides.count;
        on_side >= self.low && if is_last { players >= self.need } else { self.fill(side + 1, 0, 0, players) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sides_must_be_filled() {
        let fives = Sides { count: 2, min: 5, max: 5, delta: 0 };
        let can_fill = |seed, others: &[usize], sides: Sides, need| {
            let mut counts = SizeCounts::new(sides.max, seed);
            others.iter().for_each(|size| counts.add(*size));
            counts.can_fill(sides, need)
        };
        assert!(can_fill(4, &[4, 1, 1], fives, 10));
        assert!(!can_fill(4, &[4, 4, 4, 1, 3], fives, 10), "one solo for two sides");
        assert!(!can_fill(3, &[3, 3, 3, 3], fives, 10));
        assert!(can_fill(3, &[3, 2, 2], fives, 10));
        assert!(!can_fill(1, &[1; 8], fives, 10));
        let fours_or_fives = Sides { min: 4, ..fives };
        assert!(can_fill(4, &[4], fours_or_fives, 8));
        assert!(!can_fill(4, &[4], fours_or_fives, 9));
        assert!(can_fill(1, &[1; 8], fours_or_fives, 9));
    }
}
