//! Ranks: where the skill of a party comes from, and how the skills of players become the skill of their party.

use serde::{Deserialize, Serialize};

use super::template::MmrGrouping;

/// A rank: a measure of skill, such as that of 1v1 matches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rank {
    /// Whose word counts for the skill of a party.
    pub from: RankSource,
    /// The skill of a player that is not known.
    pub default: f64,
    /// The uncertainty of a skill that is not known: above 0.
    pub sigma_default: f64,
    /// Lowest skill. A lower one is raised to it.
    pub min: f64,
    /// Highest skill. A higher one is cut to it.
    pub max: f64,
}

/// Whose word counts for the skill of a party.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RankSource {
    /// That of callers who may change every session.
    #[default]
    Service,
    /// That of every caller, players included.
    Anyone,
}

/// The skill of a player.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Skill {
    /// The skill itself.
    pub mu: f64,
    /// Its uncertainty.
    pub sigma: f64,
}

impl Default for Rank {
    fn default() -> Self {
        Self { from: RankSource::Service, default: 25.0, sigma_default: 8.333, min: 0.0, max: 50.0 }
    }
}

impl Rank {
    /// The skill of a player that is not known.
    pub fn unknown_skill(&self) -> Skill {
        Skill { mu: self.default, sigma: self.sigma_default }
    }

    /// A skill within the bounds of the rank.
    pub fn bounded(&self, mu: f64) -> f64 {
        mu.clamp(self.min, self.max)
    }
}

impl MmrGrouping {
    /// The skill of a party from the skills of its players; `None` if there are none.
    ///
    /// The weighted mean is normalized: the sum of skill times variance, over the sum of the variances. Otherwise it
    /// would be a number of another scale, and no limit on the distance of two skills could be right for it.
    pub fn group(self, players: &[Skill]) -> Option<f64> {
        let mus = || players.iter().map(|skill| skill.mu);
        match self {
            Self::Worst => mus().min_by(f64::total_cmp),
            Self::Best => mus().max_by(f64::total_cmp),
            #[allow(clippy::cast_precision_loss, reason = "a session has thousands of players at most")]
            Self::Avg => (!players.is_empty()).then(|| mus().sum::<f64>() / players.len() as f64),
            Self::AvgWeightedBySigma => {
                let variance = |skill: &Skill| skill.sigma * skill.sigma;
                let total: f64 = players.iter().map(variance).sum();
                if total == 0.0 {
                    return Self::Avg.group(players);
                }
                Some(players.iter().map(|skill| skill.mu * variance(skill)).sum::<f64>() / total)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_party_has_one_skill_by_each_method() {
        let players =
            [Skill { mu: 10.0, sigma: 1.0 }, Skill { mu: 40.0, sigma: 2.0 }, Skill { mu: 25.0, sigma: 0.0 }];
        for (method, expected) in [
            (MmrGrouping::Worst, 10.0),
            (MmrGrouping::Best, 40.0),
            (MmrGrouping::Avg, 25.0),
            (MmrGrouping::AvgWeightedBySigma, (10.0 + 160.0) / 5.0),
        ] {
            assert_eq!(method.group(&players), Some(expected), "{method:?}");
            assert_eq!(method.group(&[]), None, "{method:?}");
        }
        let certain = [Skill { mu: 1.0, sigma: 0.0 }, Skill { mu: 3.0, sigma: 0.0 }];
        assert_eq!(MmrGrouping::AvgWeightedBySigma.group(&certain), Some(2.0));
    }

    #[test]
    fn skills_are_cut_to_the_bounds_of_the_rank() {
        let rank = Rank::default();
        assert_eq!([-1.0, 0.0, 30.0, 50.5].map(|mu| rank.bounded(mu)), [0.0, 0.0, 30.0, 50.0]);
        assert_eq!(rank.unknown_skill(), Skill { mu: 25.0, sigma: 8.333 });
    }
}
