//! Limits that change with the age of a ticket.

use crate::domain::matchmaking::profile::{SizeWiden, Step};

/// A limit by age. The first step counts from age 0 on.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Steps(Vec<(i64, f64)>);

impl Steps {
    pub(super) fn new(steps: &[Step]) -> Self {
        Self(steps.iter().map(|step| (ms(step.after_s), step.value.unwrap_or(f64::INFINITY))).collect())
    }

    /// Whether there are no steps, which means: no limit at any age.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The limit at an age in milliseconds; infinite if there is none.
    pub(super) fn at(&self, age_ms: i64) -> f64 {
        let Some(((_, first), later)) = self.0.split_first() else { return f64::INFINITY };
        later.iter().take_while(|(after, _)| *after <= age_ms).last().map_or(*first, |(_, limit)| *limit)
    }

    /// The widest limit that is finite.
    pub(super) fn last_finite(&self) -> Option<f64> {
        self.0.iter().rev().map(|(_, limit)| *limit).find(|limit| limit.is_finite())
    }

    /// The ages at which the limit changes, in milliseconds.
    pub(super) fn ages(&self) -> impl Iterator<Item = i64> {
        self.0.iter().skip(1).map(|(after, _)| *after)
    }
}

/// The smallest number of players of a match, by the age of its oldest ticket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sizes {
    full: i64,
    smallest: i64,
    widen: Option<(i64, i64)>,
}

impl Sizes {
    /// Sizes from `smallest` to `full` players.
    pub(super) fn new(smallest: usize, full: usize, widen: Option<SizeWiden>) -> Self {
        let widen = widen.map(|widen| (ms(widen.full_for_s), ms(widen.min_after_s)));
        Self { full: full as i64, smallest: smallest.min(full) as i64, widen }
    }

    /// The smallest match at an age in milliseconds.
    pub(super) fn at(&self, age_ms: i64) -> usize {
        let size = match self.widen {
            Some((_, to)) if age_ms >= to => self.smallest,
            Some((from, to)) if age_ms > from => {
                self.full - (self.full - self.smallest) * (age_ms - from) / (to - from)
            }
            _ => self.full,
        };
        size as usize
    }

    /// The ages at which the size changes, in milliseconds.
    pub(super) fn ages(&self) -> impl Iterator<Item = i64> {
        let (from, to) = self.widen.unwrap_or_default();
        let sizes = if self.widen.is_some() { self.full - self.smallest } else { 0 };
        (1..=sizes).map(move |fewer| from + (fewer * (to - from) + sizes - 1) / sizes)
    }
}

/// Seconds in milliseconds.
pub(super) fn ms(seconds: u32) -> i64 {
    i64::from(seconds) * 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_counts_from_the_start() {
        let step = |after_s, value| Step { after_s, value };
        let steps = Steps::new(&[step(10, Some(1.0)), step(20, Some(2.0)), step(30, None)]);
        for (age_ms, limit) in
            [(0, 1.0), (19_999, 1.0), (20_000, 2.0), (29_999, 2.0), (30_000, f64::INFINITY)]
        {
            assert_eq!(steps.at(age_ms), limit, "at {age_ms}");
        }
        assert_eq!(steps.ages().collect::<Vec<_>>(), [20_000, 30_000]);
        assert_eq!(steps.last_finite(), Some(2.0));
        assert_eq!(Steps::default().at(5), f64::INFINITY);
    }

    #[test]
    fn sizes_shrink_evenly_and_are_rounded_up() {
        let sizes = Sizes::new(6, 8, Some(SizeWiden { full_for_s: 20, min_after_s: 60 }));
        for (age_ms, size) in
            [(0, 8), (20_000, 8), (39_999, 8), (40_000, 7), (59_999, 7), (60_000, 6), (90_000, 6)]
        {
            assert_eq!(sizes.at(age_ms), size, "at {age_ms}");
        }
        assert_eq!(sizes.ages().collect::<Vec<_>>(), [40_000, 60_000]);
        let at_once = Sizes::new(6, 8, Some(SizeWiden { full_for_s: 20, min_after_s: 20 }));
        assert_eq!([at_once.at(19_999), at_once.at(20_000)], [8, 6]);
        assert_eq!(Sizes::new(6, 8, None).at(i64::MAX), 8);
    }
}
