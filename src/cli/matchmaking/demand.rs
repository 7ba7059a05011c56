//! The flags of `rallypoint matchmaking simulate` that say which parties come, and their defaults.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use uuid::Uuid;

use crate::cli::token::parse_duration;
use crate::config::Config;
use crate::domain::matchmaking::{Profile, Rank};
use crate::domain::template::PLAYERS_PER_TEAM_MAX;
use crate::simulation::{Demand, Normal, PARTIES_MAX, Weighted};

/// How common parties are by number of players, unless a flag says otherwise.
const SIZES: [(usize, f64); 4] = [(1, 70.0), (2, 20.0), (3, 7.0), (4, 3.0)];

/// Which parties come, if they are drawn at random.
#[derive(Args)]
pub struct DemandArgs {
    /// Number that all draws follow from. Another one gives other parties of the same kind.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, conflicts_with = "events")]
    seed: u64,
    /// Parties that join in a minute, on average.
    #[arg(long, value_name = "NUMBER", default_value_t = 60.0, conflicts_with = "events")]
    rate: f64,
    /// For how long parties join, in simulated time: a number and s, m, h or d.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration, conflicts_with = "events")]
    duration: Duration,
    /// Queues that parties join, each with its weight [default: all active queues, equally].
    #[arg(long, value_name = "QUEUE=WEIGHT,…", value_parser = parse_weights, conflicts_with = "events")]
    queues: Option<Weighted<String>>,
    /// Numbers of players of a party, each with its weight [default: those of 1=70,2=20,3=7,4=3 that the queues take].
    #[arg(long, value_name = "SIZE=WEIGHT,…", value_parser = parse_weights, conflicts_with = "events")]
    parties: Option<Weighted<String>>,
    /// Regions of parties, each with its weight [default: all regions that are not for custom games only, equally].
    #[arg(long, value_name = "REGION=WEIGHT,…", value_parser = parse_weights, conflicts_with = "events")]
    regions: Option<Weighted<String>>,
    /// Skill of players in every rank: mean and standard deviation [default: `default` and `sigma_default` of each rank].
    #[arg(long, value_name = "MEAN:DEVIATION", value_parser = parse_normal, conflicts_with = "events")]
    skill: Option<Normal>,
    /// A number (`double_args`) of parties: its name, mean and standard deviation. Repeat the flag for more.
    #[arg(long = "number", value_name = "NAME=MEAN:DEVIATION", value_parser = parse_number, conflicts_with = "events")]
    numbers: Vec<(String, Normal)>,
    /// A text (`string_args`) of parties: its name, and its values with their weights. Repeat the flag for more.
    #[arg(long = "text", value_name = "NAME:VALUE=WEIGHT,…", value_parser = parse_text, conflicts_with = "events")]
    texts: Vec<(String, Weighted<String>)>,
}

impl DemandArgs {
    /// The demand on a configuration.
    pub fn demand(&self, config: &Config) -> Result<Demand, String> {
        let queues = self.queues(config)?;
        let demand = Demand {
            seed: self.seed,
            parties_per_minute: self.rate,
            duration_ms: self.duration_ms(),
            sizes: self.sizes(config, &queues)?,
            queues,
            regions: self.regions(config)?,
            ranks: self.ranks(config),
            numbers: self.numbers.iter().cloned().collect(),
            texts: self.texts.iter().cloned().collect(),
        };
        if !demand.parties_per_minute.is_finite() || demand.parties_per_minute <= 0.0 {
            return Err("--rate must be above 0".into());
        }
        let parties = demand.parties_per_minute * self.duration.as_secs_f64() / 60.0;
        if parties > PARTIES_MAX as f64 {
            return Err(format!(
                "--rate for --duration is {parties:.0} parties: at most {PARTIES_MAX} are simulated; shorten --duration"
            ));
        }
        Ok(demand)
    }

    /// For how long parties join, in milliseconds.
    pub fn duration_ms(&self) -> i64 {
        i64::try_from(self.duration.as_millis()).unwrap_or(i64::MAX)
    }

    /// What the draws follow from, for the head of a report.
    pub fn about(&self, demand: &Demand) -> String {
        fn list<T: ToString>(values: &Weighted<T>) -> String {
            let values: Vec<_> =
                values.0.iter().map(|(value, weight)| format!("{}={weight}", value.to_string())).collect();
            values.join(",")
        }
        let mut about = format!(
            "{} parties a minute for {} min, seed {}; queues {}; parties of {}",
            self.rate,
            demand.duration_ms / 60_000,
            self.seed,
            list(&demand.queues),
            list(&demand.sizes)
        );
        if !demand.regions.0.is_empty() {
            about += &format!("; regions {}", list(&demand.regions));
        }
        about
    }

    fn queues(&self, config: &Config) -> Result<Weighted<String>, String> {
        let active: Vec<&String> =
            config.queues.iter().filter(|(_, queue)| queue.active).map(|(id, _)| id).collect();
        match &self.queues {
            Some(queues) => match queues.0.iter().find(|(id, _)| !config.queues.contains_key(id)) {
                Some((id, _)) => {
                    Err(format!("--queues names {id:?}; {}", known(config.queues.keys(), "queue")))
                }
                None => Ok(queues.clone()),
            },
            None if active.is_empty() => Err(NO_QUEUE.into()),
            None => Ok(Weighted(active.into_iter().map(|id| (id.clone(), 1.0)).collect())),
        }
    }

    fn regions(&self, config: &Config) -> Result<Weighted<String>, String> {
        let usable = config.regions.iter().filter(|(_, region)| !region.custom_only).map(|(id, _)| id);
        let Some(regions) = &self.regions else {
            return Ok(Weighted(usable.map(|id| (id.clone(), 1.0)).collect()));
        };
        match regions.0.iter().find(|(id, _)| !config.regions.contains_key(id)) {
            Some((id, _)) => {
                Err(format!("--regions names {id:?}; {}", known(config.regions.keys(), "region")))
            }
            None => Ok(regions.clone()),
        }
    }

    fn sizes(&self, config: &Config, queues: &Weighted<String>) -> Result<Weighted<usize>, String> {
        let takes = |size: usize| {
            let queues = queues.0.iter().filter_map(|(id, _)| config.queues.get(id));
            let largest = queues.map(|queue| queue.max_queue_group_size).max();
            let mut profiles = config.match_making_profiles.values();
            Some(size) <= largest && profiles.any(|profile: &Profile| profile.takes_party_of(size))
        };
        let Some(sizes) = &self.parties else {
            let usual: Vec<_> = SIZES.into_iter().filter(|(size, _)| takes(*size)).collect();
            return match usual.is_empty() {
                true => Err("the queues take no party of 1 to 4 players: give --parties, as in 5=1".into()),
                false => Ok(Weighted(usual)),
            };
        };
        let size = |(size, weight): &(String, f64)| {
            let number = size.parse::<usize>().ok().filter(|size| (1..=PLAYERS_PER_TEAM_MAX).contains(size));
            let number = number.ok_or_else(|| {
                format!("--parties has the size {size:?}; it takes numbers of players from 1 to {PLAYERS_PER_TEAM_MAX}")
            })?;
            Ok::<_, String>((number, *weight))
        };
        let sizes: Vec<(usize, f64)> = sizes.0.iter().map(size).collect::<Result<_, _>>()?;
        let refused: Vec<_> = sizes.iter().filter(|(size, _)| !takes(*size)).collect();
        if refused.len() == sizes.len() {
            return Err("--parties has only sizes that the queues do not take: see max_queue_group_size of the queues, and \
                        max_players_per_side and max_players_per_party of the profiles"
                .into());
        }
        for (size, _) in refused {
            eprintln!("warning: the queues take no party of {size} players, so these are refused");
        }
        Ok(Weighted(sizes))
    }

    fn ranks(&self, config: &Config) -> BTreeMap<Uuid, (Rank, Normal)> {
        let skill =
            |rank: &Rank| self.skill.unwrap_or(Normal { mean: rank.default, deviation: rank.sigma_default });
        config.ranks.iter().map(|(id, rank)| (*id, (rank.clone(), skill(rank)))).collect()
    }
}

/// For a configuration without an active queue.
pub const NO_QUEUE: &str = "the configuration has no active queue, so nobody could join: add a [queues.NAME], as docs/MATCHMAKING.md shows";

fn known<'a>(names: impl Iterator<Item = &'a String>, what: &str) -> String {
    let names: Vec<_> = names.map(String::as_str).collect();
    match names.is_empty() {
        true => format!("the configuration has no {what}"),
        false => format!("the configuration has {}", names.join(", ")),
    }
}

fn parse_weights(text: &str) -> Result<Weighted<String>, String> {
    let wrong = || "this takes names with weights, as in a=3,b=1".to_owned();
    let part = |part: &str| {
        let (name, weight) = part.rsplit_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(wrong)?;
        let weight: f64 = weight.parse().map_err(|_| wrong())?;
        if !weight.is_finite() || weight < 0.0 {
            return Err(format!("the weight of {name} is {weight}: it must be 0 or more"));
        }
        Ok((name.to_owned(), weight))
    };
    let weights: Vec<(String, f64)> = text.split(',').map(part).collect::<Result<_, _>>()?;
    if weights.iter().all(|(_, weight)| *weight == 0.0) {
        return Err("at least one weight must be above 0".into());
    }
    Ok(Weighted(weights))
}

fn parse_normal(text: &str) -> Result<Normal, String> {
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
    let parsed = text.split_once(':').and_then(|(mean, deviation)| {
        Some(Normal {
            mean: number(mean)?,
            deviation: number(deviation).filter(|deviation| *deviation >= 0.0)?,
        })
    });
    parsed.ok_or_else(|| "this takes a mean and a standard deviation of 0 or more, as in 25:8.3".into())
}

fn parse_number(text: &str) -> Result<(String, Normal), String> {
    let named = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, normal) =
        named.ok_or("this takes a name, a mean and a standard deviation, as in level=20:5")?;
    Ok((name.to_owned(), parse_normal(normal)?))
}

fn parse_text(text: &str) -> Result<(String, Weighted<String>), String> {
    let named = text.split_once(':').filter(|(name, _)| !name.is_empty());
    let (name, weights) =
        named.ok_or("this takes a name and values with weights, as in playlist:duel=3,race=1")?;
    Ok((name.to_owned(), parse_weights(weights)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_take_names_weights_and_distributions() {
        assert_eq!(parse_weights("a=3,b=1.5").unwrap(), Weighted(vec![("a".into(), 3.0), ("b".into(), 1.5)]));
        assert_eq!(parse_weights("a=b=1").unwrap(), Weighted(vec![("a=b".into(), 1.0)]));
        for text in ["", "a", "=1", "a=", "a=x", "a=1,,b=1", "a=-1", "a=NaN", "a=inf", "a=0,b=0"] {
            assert!(parse_weights(text).is_err(), "{text}");
        }
        assert_eq!(parse_normal("25:8.3").unwrap(), Normal { mean: 25.0, deviation: 8.3 });
        for text in ["", "25", "25:", ":1", "25:-1", "NaN:1", "1:inf"] {
            assert!(parse_normal(text).is_err(), "{text}");
        }
        assert_eq!(
            parse_number("level=20:5").unwrap(),
            ("level".into(), Normal { mean: 20.0, deviation: 5.0 })
        );
        assert!(parse_number("=20:5").is_err() && parse_number("level").is_err());
        assert_eq!(parse_text("mode:duel=1").unwrap(), ("mode".into(), Weighted(vec![("duel".into(), 1.0)])));
        assert!(parse_text(":a=1").is_err() && parse_text("mode").is_err() && parse_text("mode:a").is_err());
    }
}
