//! The figures of a simulation: waits, quality, and what got no match.

use std::collections::BTreeMap;

use super::outcome::{End, Outcome, PartyOutcome};

/// Parts of an hour, in milliseconds, and more of what a report needs of one simulation.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// Whose figures these are: the name of the configuration.
    pub name: String,
    /// All parties.
    pub all: Group,
    /// Parties by number of players.
    pub by_size: BTreeMap<usize, Group>,
    /// Parties by region; empty if no party has one.
    pub by_region: BTreeMap<String, Group>,
    /// Number of matches.
    pub matches: usize,
    /// Number of matches that were full when they were made.
    pub full_matches: usize,
    /// Number of players of matches when they were made, on average.
    pub mean_players: f64,
    /// Of the parties with a region that got a match: the share whose match was played in that region. `None` if there
    /// are none.
    pub own_region: Option<f64>,
    /// By field: spreads of matches beside the last limit of the field, 0 to 1; ascending.
    pub spreads: BTreeMap<String, Vec<f64>>,
    /// Differences between the mean skills of the sides of a match; ascending.
    pub side_skill: Vec<f64>,
    /// Number of matches by the difference between the sizes of their sides.
    pub side_sizes: BTreeMap<usize, usize>,
    /// Number of parties that could not join, by error code.
    pub refused: BTreeMap<&'static str, usize>,
    /// Why parties got no match: those that timed out, and those that waited at the end.
    pub obstacles: BTreeMap<String, [usize; 2]>,
    /// Number of parties that wait, by time in milliseconds since the start.
    pub waiting: BTreeMap<i64, usize>,
    /// Number of passes of the matcher.
    pub passes: usize,
}

/// How it went for some parties.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// Number of parties that have joined.
    pub parties: usize,
    /// Their players.
    pub players: usize,
    /// How long those with a match waited for it, in milliseconds; ascending.
    pub waits_ms: Vec<i64>,
    /// Number of those who joined a match that had begun.
    pub backfilled: usize,
    /// Number of those that left their queues.
    pub left: usize,
    /// Number of those that timed out.
    pub timed_out: usize,
    /// Number of those that waited at the end.
    pub waiting: usize,
    /// The longest wait of those, so far, in milliseconds.
    pub longest_waiting_ms: i64,
}

impl Group {
    fn add(&mut self, party: &PartyOutcome) {
        match party.end {
            End::Refused(_) => return,
            End::Matched(_) => {}
            End::Backfilled(_) => self.backfilled += 1,
            End::Left(_) => self.left += 1,
            End::TimedOut(_) => self.timed_out += 1,
            End::Waiting(ms) => {
                self.waiting += 1;
                self.longest_waiting_ms = self.longest_waiting_ms.max(ms);
            }
        }
        self.parties += 1;
        self.players += party.players;
        self.waits_ms.extend(party.end.wait_ms());
    }

    /// The share of the parties that got a match: 0 to 1. `None` if there are no parties.
    pub fn matched(&self) -> Option<f64> {
        (self.parties > 0).then(|| self.waits_ms.len() as f64 / self.parties as f64)
    }

    /// A percentile of the waits, in milliseconds.
    pub fn wait_ms(&self, percent: usize) -> Option<i64> {
        percentile(&self.waits_ms, percent)
    }
}

impl Figures {
    /// The figures of an outcome.
    pub fn of(name: &str, outcome: &Outcome) -> Self {
        let mut figures = Self {
            name: name.to_owned(),
            all: Group::default(),
            by_size: BTreeMap::new(),
            by_region: BTreeMap::new(),
            matches: outcome.matches.len(),
            full_matches: outcome.matches.iter().filter(|made| made.players >= made.full).count(),
            mean_players: mean(outcome.matches.iter().map(|made| made.players as f64)),
            own_region: own_region(&outcome.parties),
            spreads: BTreeMap::new(),
            side_skill: outcome.matches.iter().map(|made| made.quality.side_skill_difference).collect(),
            side_sizes: BTreeMap::new(),
            refused: BTreeMap::new(),
            obstacles: BTreeMap::new(),
            waiting: outcome.waiting.clone(),
            passes: outcome.passes,
        };
        outcome.parties.iter().for_each(|party| figures.add(party));
        for made in &outcome.matches {
            for (field, spread) in made.fields.iter().zip(&made.quality.spreads) {
                if let Some(spread) = spread {
                    figures.spreads.entry(field.clone()).or_default().push(*spread);
                }
            }
            *figures.side_sizes.entry(made.quality.side_size_difference).or_default() += 1;
        }
        figures.spreads.values_mut().for_each(|spreads| spreads.sort_by(f64::total_cmp));
        figures.side_skill.sort_by(f64::total_cmp);
        let groups = figures.by_size.values_mut().chain(figures.by_region.values_mut());
        groups.chain([&mut figures.all]).for_each(|group| group.waits_ms.sort_unstable());
        figures
    }

    fn add(&mut self, party: &PartyOutcome) {
        if let End::Refused(code) = party.end {
            *self.refused.entry(code).or_default() += 1;
            return;
        }
        self.all.add(party);
        self.by_size.entry(party.players).or_default().add(party);
        if let Some(region) = &party.region {
            self.by_region.entry(region.clone()).or_default().add(party);
        }
        let column = match party.end {
            End::TimedOut(_) => 0,
            End::Waiting(_) => 1,
            _ => return,
        };
        let why = party.obstacle.as_ref().map_or_else(|| "not looked into".to_owned(), ToString::to_string);
        self.obstacles.entry(why).or_default()[column] += 1;
    }
}

/// A percentile of ascending values: the least value that so many percent of the values do not exceed.
pub(super) fn percentile<T: Copy>(ascending: &[T], percent: usize) -> Option<T> {
    let rank = (ascending.len() * percent).div_ceil(100);
    ascending.get(rank.max(1) - 1).copied()
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { 0.0 } else { sum / f64::from(count) }
}

fn own_region(parties: &[PartyOutcome]) -> Option<f64> {
    let regions =
        parties.iter().filter_map(|party| Some((party.region.as_ref()?, party.played_in.as_ref()?)));
    let (own, all) =
        regions.fold((0, 0), |(own, all), (region, played)| (own + usize::from(region == played), all + 1));
    (all > 0).then(|| own as f64 / f64::from(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_least_value_that_so_many_do_not_exceed() {
        let values: Vec<i64> = (1..=10).collect();
        let found = [0, 1, 10, 11, 50, 90, 91, 99, 100].map(|percent| percentile(&values, percent));
        assert_eq!(found, [1, 1, 1, 2, 5, 9, 10, 10, 10].map(Some));
        assert_eq!(percentile::<i64>(&[], 50), None);
    }
}
