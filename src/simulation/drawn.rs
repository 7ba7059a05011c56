//! Arrivals that are drawn at random.

use std::collections::BTreeMap;
use std::f64::consts::TAU;

use uuid::Uuid;

use super::Arrival;
use crate::domain::PlayerUuid;
use crate::domain::matchmaking::rank::{Rank, Skill};
use crate::domain::matchmaking::ticket::JoinParams;
use crate::env::Entropy;

/// Most parties of one simulation.
pub const PARTIES_MAX: usize = 2_000_000;

/// Values of which one is drawn by weight.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weighted<T>(pub Vec<(T, f64)>);

impl<T> Weighted<T> {
    /// The value that belongs to a number from 0 (included) to 1 (excluded). `None` if there are no values.
    fn at(&self, fraction: f64) -> Option<&T> {
        let total: f64 = self.0.iter().map(|(_, weight)| weight).sum();
        let mut left = fraction * total;
        for (value, weight) in &self.0 {
            if left < *weight {
                return Some(value);
            }
            left -= weight;
        }
        // Sums of fractions are not exact.
        self.0.last().map(|(value, _)| value)
    }
}

/// A normal distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normal {
    /// The mean.
    pub mean: f64,
    /// The standard deviation: 0 or more.
    pub deviation: f64,
}

/// Which parties join which queues, and how often.
#[derive(Clone, Debug)]
pub struct Demand {
    /// Another seed gives other parties.
    pub seed: u64,
    /// Parties that join in a minute, on average: above 0. They come at random times, independently of each other.
    pub parties_per_minute: f64,
    /// For how long parties join, in milliseconds.
    pub duration_ms: i64,
    /// The queues: each party joins one.
    pub queues: Weighted<String>,
    /// Numbers of players of a party.
    pub sizes: Weighted<usize>,
    /// Regions of parties. Empty: parties have no region.
    pub regions: Weighted<String>,
    /// Ranks, each with the skill of players in it. A player is as good in one rank as in another.
    pub ranks: BTreeMap<Uuid, (Rank, Normal)>,
    /// Numbers (`double_args`) of parties.
    pub numbers: BTreeMap<String, Normal>,
    /// Texts (`string_args`) of parties.
    pub texts: BTreeMap<String, Weighted<String>>,
}

impl Demand {
    /// The parties, in the order in which they join. The first time is 0. At most [`PARTIES_MAX`].
    pub fn arrivals(&self) -> Vec<Arrival> {
        let entropy = Entropy::seeded(self.seed);
        let (mut at_ms, mut arrivals) = (0.0, Vec::new());
        loop {
            // The time between two events that are independent of each other is distributed exponentially.
            at_ms -= (1.0 - entropy.fraction()).ln() * 60_000.0 / self.parties_per_minute;
            if at_ms >= self.duration_ms as f64 || arrivals.len() >= PARTIES_MAX {
                return arrivals;
            }
            arrivals.push(self.arrival(at_ms as i64, &entropy));
        }
    }

    fn arrival(&self, at_ms: i64, entropy: &Entropy) -> Arrival {
        let size = self.sizes.at(entropy.fraction()).copied().unwrap_or(1);
        // How many deviations above the mean each player is.
        let talents: Vec<f64> = (0..size).map(|_| deviations(entropy)).collect();
        let skills = self.ranks.iter().map(|(id, (rank, skill))| {
            let mu = |talent: &f64| rank.bounded(skill.mean + talent * skill.deviation);
            let skills = talents.iter().map(|talent| Skill { mu: mu(talent), sigma: rank.sigma_default });
            (*id, skills.collect())
        });
        let numbers = self
            .numbers
            .iter()
            .map(|(name, number)| (name.clone(), number.mean + deviations(entropy) * number.deviation));
        let texts = self
            .texts
            .iter()
            .filter_map(|(name, texts)| Some((name.clone(), texts.at(entropy.fraction())?.clone())));
        Arrival {
            at_ms,
            queue_ids: self.queues.at(entropy.fraction()).cloned().into_iter().collect(),
            skills: skills.collect(),
            region: self.regions.at(entropy.fraction()).cloned(),
            params: JoinParams {
                double_args: numbers.collect(),
                string_args: texts.collect(),
                ..JoinParams::default()
            },
            players: (0..size).map(|_| PlayerUuid(entropy.uuid())).collect(),
            ticket_id: entropy.uuid(),
            ..Arrival::default()
        }
    }
}

/// A number of the standard normal distribution, by the method of Box and Muller.
fn deviations(entropy: &Entropy) -> f64 {
    let (one, other) = (1.0 - entropy.fraction(), entropy.fraction());
    (-2.0 * one.ln()).sqrt() * (TAU * other).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(seed: u64) -> Demand {
        Demand {
            seed,
            parties_per_minute: 60.0,
            duration_ms: 3_600_000,
            queues: Weighted(vec![("a".into(), 3.0), ("b".into(), 1.0)]),
            sizes: Weighted(vec![(1, 50.0), (3, 50.0)]),
            regions: Weighted(vec![("eu".into(), 1.0)]),
            ranks: [(
                Uuid::nil(),
                (Rank { max: 30.0, ..Rank::default() }, Normal { mean: 25.0, deviation: 5.0 }),
            )]
            .into(),
            numbers: [("level".to_owned(), Normal { mean: 10.0, deviation: 0.0 })].into(),
            texts: [("mode".to_owned(), Weighted(vec![("x".into(), 1.0)]))].into(),
        }
    }

    #[test]
    fn a_seed_gives_the_same_parties_each_time() {
        let arrivals = demand(7).arrivals();
        assert_eq!(arrivals, demand(7).arrivals());
        assert_ne!(arrivals, demand(8).arrivals());
    }

    #[test]
    fn parties_are_as_the_demand_says() {
        let arrivals = demand(7).arrivals();
        // Of 3,600 expected ones; the deviation is 60.
        assert!((3_300..3_900).contains(&arrivals.len()), "{}", arrivals.len());
        assert!(arrivals.is_sorted_by_key(|arrival| arrival.at_ms));
        assert!(arrivals.last().unwrap().at_ms < 3_600_000);
        let share = |is: &dyn Fn(&Arrival) -> bool| {
            arrivals.iter().filter(|arrival| is(arrival)).count() as f64 / arrivals.len() as f64
        };
        assert!((0.71..0.79).contains(&share(&|arrival| arrival.queue_ids == ["a"])));
        assert!((0.46..0.54).contains(&share(&|arrival| arrival.players.len() == 3)));
        assert_eq!(share(&|arrival| arrival.region.as_deref() == Some("eu")), 1.0);
        let mus: Vec<f64> =
            arrivals.iter().flat_map(|arrival| &arrival.skills[&Uuid::nil()]).map(|skill| skill.mu).collect();
        assert!(mus.iter().all(|mu| (0.0..=30.0).contains(mu)) && mus.contains(&30.0));
        let below = mus.iter().filter(|mu| **mu < 25.0).count() as f64 / mus.len() as f64;
        assert!((0.46..0.54).contains(&below), "{below}");
        assert!(arrivals.iter().all(|arrival| arrival.params.double_args["level"] == 10.0));
        assert!(arrivals.iter().all(|arrival| arrival.params.string_args["mode"] == "x"));
    }

    #[test]
    fn values_are_drawn_by_weight() {
        let values = Weighted(vec![("a", 1.0), ("b", 0.0), ("c", 3.0)]);
        let drawn = [0.0, 0.249, 0.25, 0.9, 0.999_999_999].map(|fraction| values.at(fraction).copied());
        assert_eq!(drawn, [Some("a"), Some("a"), Some("c"), Some("c"), Some("c")]);
        assert_eq!(Weighted::<u8>::default().at(0.5), None);
    }
}
