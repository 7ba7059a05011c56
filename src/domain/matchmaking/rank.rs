//! Ranks: where the skill of a party comes from, and how the skills of players become the skill of their party.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::template::MmrGrouping;

/// What stands before the name of a claim in the configuration.
const CLAIM_PREFIX: &str = "claim:";
/// Longest name of a claim, in characters.
const CLAIM_CHARS_MAX: usize = 128;

/// A rank: a measure of skill, such as that of 1v1 matches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rank {
    /// Whose word counts for the skill of a party.
    pub from: RankSource,
    /// The claim with the uncertainty of a player's skill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sigma_from: Option<ClaimName>,
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RankSource {
    /// That of callers who may change every session.
    #[default]
    Service,
    /// That of every caller, players included.
    Anyone,
    /// That of such callers, and else that of a claim in the token of each player.
    Claim(ClaimName),
}

/// The name of a claim with a number, `claim:NAME` in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClaimName(String);

/// Numbers of a player's token, by the name of their claim.
pub type Claims = BTreeMap<String, Finite>;

/// A number that is neither NaN nor infinite.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finite(f64);

impl Eq for Finite {}

impl Finite {
    /// The number, if it is finite.
    pub fn new(number: f64) -> Option<Self> {
        number.is_finite().then_some(Self(number))
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl ClaimName {
    /// The name, as in a token.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ClaimName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let name = text.strip_prefix(CLAIM_PREFIX).unwrap_or_default();
        let is_right = (1..=CLAIM_CHARS_MAX).contains(&name.chars().count());
        let wrong =
            || format!("{text:?} is no \"claim:NAME\", with a name of 1 to {CLAIM_CHARS_MAX} characters");
        is_right.then(|| Self(name.to_owned())).ok_or_else(wrong)
    }
}

impl From<ClaimName> for String {
    fn from(name: ClaimName) -> Self {
        format!("{CLAIM_PREFIX}{}", name.0)
    }
}

impl TryFrom<String> for RankSource {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "service" => Ok(Self::Service),
            "anyone" => Ok(Self::Anyone),
            _ if text.starts_with(CLAIM_PREFIX) => ClaimName::try_from(text).map(Self::Claim),
            _ => Err(format!("{text:?} is none of \"service\", \"anyone\" and \"claim:NAME\"")),
        }
    }
}

impl From<RankSource> for String {
    fn from(source: RankSource) -> Self {
        match source {
            RankSource::Service => "service".into(),
            RankSource::Anyone => "anyone".into(),
            RankSource::Claim(name) => name.into(),
        }
    }
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
        let (from, sigma_from) = (RankSource::Service, None);
        Self { from, sigma_from, default: 25.0, sigma_default: 8.333, min: 0.0, max: 50.0 }
    }
}

impl Rank {
    /// The skill of a player that is not known.
    pub fn unknown_skill(&self) -> Skill {
        Skill { mu: self.default, sigma: self.sigma_default }
    }

    /// The skill of a player by the claims of the player's token; `None` if they do not tell it.
    pub fn skill_of(&self, claims: &Claims) -> Option<Skill> {
        let RankSource::Claim(name) = &self.from else { return None };
        let number = |name: &ClaimName| claims.get(name.as_str()).map(|number| number.get());
        let sigma = self.sigma_from.as_ref().and_then(number).filter(|sigma| *sigma >= 0.0);
        Some(Skill { mu: number(name)?, sigma: sigma.unwrap_or(self.sigma_default) })
    }

    /// The names of the claims that the rank reads.
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        let from = match &self.from {
            RankSource::Claim(name) => Some(name),
            RankSource::Service | RankSource::Anyone => None,
        };
        from.into_iter().chain(&self.sigma_from).map(ClaimName::as_str)
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
    fn a_rank_can_read_claims() {
        let rank: Rank = toml::from_str("from = \"claim:mmr\"\nsigma_from = \"claim:dev\"").unwrap();
        assert_eq!(rank.claims().collect::<Vec<_>>(), ["mmr", "dev"]);
        let claims = |numbers: &[(&str, f64)]| -> Claims {
            numbers
                .iter()
                .filter_map(|(name, number)| Some(((*name).to_owned(), Finite::new(*number)?)))
                .collect()
        };
        let skill = |mu, sigma| Some(Skill { mu, sigma });
        assert_eq!(rank.skill_of(&claims(&[("mmr", 30.0), ("dev", 2.0)])), skill(30.0, 2.0));
        assert_eq!(rank.skill_of(&claims(&[("mmr", 30.0), ("dev", -2.0)])), skill(30.0, 8.333));
        assert_eq!(rank.skill_of(&claims(&[("dev", 2.0), ("mmr", f64::NAN)])), None);
        assert_eq!(Rank::default().skill_of(&claims(&[("mmr", 30.0)])), None);
        let text = toml::to_string(&rank).unwrap();
        assert!(text.contains("from = \"claim:mmr\"\nsigma_from = \"claim:dev\""), "{text}");
        assert_eq!(toml::from_str::<Rank>(&text).unwrap(), rank);
    }

    #[test]
    fn skills_are_cut_to_the_bounds_of_the_rank() {
        let rank = Rank::default();
        assert_eq!([-1.0, 0.0, 30.0, 50.5].map(|mu| rank.bounded(mu)), [0.0, 0.0, 30.0, 50.0]);
        assert_eq!(rank.unknown_skill(), Skill { mu: 25.0, sigma: 8.333 });
    }
}
