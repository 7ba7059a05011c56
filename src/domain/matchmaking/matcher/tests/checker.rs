//! A naive checker: whether a proposal is legal, from the profile and the tickets' values alone. It shares no code with
//! the matcher.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::builder::Scenario;
use crate::domain::client::Client;
use crate::domain::matchmaking::matcher::{Proposal, TicketValues};
use crate::domain::matchmaking::profile::{JoinMode, MapWish, RegionReach, Step, WidenBy};

/// A ticket and the clients of its players.
#[derive(Clone, Debug)]
pub struct Case {
    pub values: TicketValues,
    pub clients: Vec<Client>,
}

pub fn age_s(values: &TicketValues, now_ms: i64) -> f64 {
    ((now_ms - values.enqueued_ms) as f64 / 1_000.0 + values.passed_s as f64).max(0.0)
}

fn limit(steps: &[Step], age_s: f64) -> f64 {
    let Some(first) = steps.first() else { return f64::INFINITY };
    let mut reached = steps.iter().filter(|step| f64::from(step.after_s) <= age_s);
    reached.next_back().unwrap_or(first).value.unwrap_or(f64::INFINITY)
}

impl Scenario {
    fn regions_of(&self, values: &TicketValues, age_s: f64) -> Vec<String> {
        let usable =
            self.regions.iter().filter(|(_, region)| !region.custom_only).map(|(name, _)| name.clone());
        let usable: Vec<_> = usable.collect();
        if usable.is_empty() {
            return vec!["default".to_owned()];
        }
        let latency = |region: &String| values.double_args.get(&format!("latency.{region}")).copied();
        if !self.profile.latency_ms.is_empty() && usable.iter().any(|region| latency(region).is_some()) {
            let limit = limit(&self.profile.latency_ms, age_s);
            return usable
                .into_iter()
                .filter(|region| latency(region).is_some_and(|ms| ms <= limit))
                .collect();
        }
        let Some(own) = values.region.clone().filter(|own| usable.contains(own)) else { return usable };
        let mut steps = self.profile.region_widen.iter().filter(|step| f64::from(step.after_s) <= age_s);
        match steps.next_back().map_or(RegionReach::Own, |step| step.to) {
            RegionReach::Own => vec![own],
            RegionReach::Near => {
                let near = self.regions[&own].near.clone();
                usable.into_iter().filter(|region| *region == own || near.contains(region)).collect()
            }
            RegionReach::Any => usable,
        }
    }

    /// The maps that a ticket wishes for, of those that are drawn: all without a wish.
    fn maps_of(&self, values: &TicketValues) -> Vec<usize> {
        let drawn = self.maps.iter().enumerate().filter(|(_, map)| map.map_weight > 0.0);
        let drawn: Vec<_> = drawn.collect();
        let wished = |names: &[String]| -> Vec<usize> {
            let wished =
                drawn.iter().filter(|(_, map)| names.contains(&map.map_id) || names.contains(&map.map_name));
            wished.map(|(at, _)| *at).collect()
        };
        let wished = wished(&values.maps);
        if wished.is_empty() { drawn.iter().map(|(at, _)| *at).collect() } else { wished }
    }

    /// Whether a ticket takes part in new matches.
    pub fn takes_part(&self, values: &TicketValues, now_ms: i64) -> bool {
        match self.profile.join_mode {
            JoinMode::Normal => true,
            JoinMode::Backfill => false,
            JoinMode::CreatedBefore => age_s(values, now_ms) >= f64::from(self.profile.created_before_s),
        }
    }

    /// The smallest match at an age.
    pub fn smallest(&self, age_s: f64) -> usize {
        let (sides, profile) = (self.profile.num_sides, &self.profile);
        let (full, least) = (sides * profile.max_players_per_side, sides * profile.min_players_per_side);
        let Some(widen) = profile.size_widen else { return full };
        let (from, to) = (f64::from(widen.full_for_s), f64::from(widen.min_after_s));
        match age_s {
            age if age >= to => least,
            age if age <= from => full,
            age => (full as f64 - (full - least) as f64 * (age - from) / (to - from) - 1e-9).ceil() as usize,
        }
    }

    /// Why tickets cannot be in one match, whatever the sides. Otherwise the regions that they have in common.
    pub fn common_regions(&self, cases: &[&Case], now_ms: i64) -> Result<Vec<String>, String> {
        let values: Vec<_> = cases.iter().map(|case| &case.values).collect();
        let first = values[0];
        if let Some(early) = values.iter().find(|values| !self.takes_part(values, now_ms)) {
            return Err(format!("{} does not take part yet", early.id));
        }
        for other in &values {
            let text = |name| first.string_args.get(name) == other.string_args.get(name);
            if first.version_group != other.version_group || !self.profile.equal.iter().all(text) {
                return Err("texts differ".into());
            }
        }
        let clients = || cases.iter().flat_map(|case| &case.clients);
        if clients().any(|one| clients().any(|other| !one.agrees_to(other))) {
            return Err("platforms or inputs are not accepted".into());
        }
        let ages: Vec<f64> = values.iter().map(|values| age_s(values, now_ms)).collect();
        let (oldest, newest) =
            ages.iter().fold((0.0, f64::MAX), |(old, new), age| (age.max(old), age.min(new)));
        for field in &self.profile.fields {
            let number = |values: &&TicketValues| match &*field.name {
                "rank" => values.skill.unwrap_or(field.default),
                name => values.double_args.get(name).copied().unwrap_or(field.default),
            };
            let numbers: Vec<_> = values.iter().map(number).collect();
            let spread = numbers.iter().fold(f64::MIN, |max, n| max.max(*n))
                - numbers.iter().fold(f64::MAX, |min, n| min.min(*n));
            let age = if field.widen_by == WidenBy::Oldest { oldest } else { newest };
            if spread > limit(&field.widen, age) {
                return Err(format!("{} is too far apart: {spread}", field.name));
            }
        }
        let all_want = |map: &usize| values.iter().all(|values| self.maps_of(values).contains(map));
        if self.profile.maps == MapWish::Hard
            && !self.maps.is_empty()
            && !(0..self.maps.len()).any(|map| all_want(&map))
        {
            return Err("no map in common".into());
        }
        let own = |values: &&TicketValues| self.regions_of(values, age_s(values, now_ms));
        let common =
            own(&first).into_iter().filter(|region| values.iter().all(|values| own(values).contains(region)));
        let common: Vec<_> = common.collect();
        if common.is_empty() { Err("no region in common".into()) } else { Ok(common) }
    }

    /// Why these sides are not legal.
    pub fn sides_fault(&self, sides: &[Vec<&Case>], now_ms: i64) -> Option<String> {
        let profile = &self.profile;
        let size = |side: &Vec<&Case>| side.iter().map(|case| case.values.players).sum::<usize>();
        let sizes: Vec<_> = sides.iter().map(size).collect();
        let (least, largest) = (*sizes.iter().min().unwrap(), *sizes.iter().max().unwrap());
        if sides.len() != profile.num_sides || least < profile.min_players_per_side {
            return Some(format!("sides of {sizes:?}"));
        }
        if largest > profile.max_players_per_side || largest - least > profile.max_side_delta {
            return Some(format!("sides of {sizes:?}"));
        }
        let ages = sides.iter().flatten().map(|case| age_s(&case.values, now_ms));
        let oldest = ages.fold(0.0, f64::max);
        if sizes.iter().sum::<usize>() < self.smallest(oldest) {
            return Some(format!("only {sizes:?} at {oldest} s"));
        }
        let skill = |case: &Case| case.values.skill.unwrap_or(0.0) * case.values.players as f64;
        let means =
            sides.iter().map(|side| side.iter().map(|case| skill(case)).sum::<f64>() / size(side) as f64);
        let (low, high) =
            means.fold((f64::MAX, f64::MIN), |(low, high), mean| (mean.min(low), mean.max(high)));
        let is_even = high - low <= limit(&profile.side_skill_delta, oldest) + 1e-9;
        (!is_even).then(|| format!("mean skills from {low} to {high}"))
    }

    /// Why a proposal of a new match is not legal.
    pub fn fault(&self, cases: &BTreeMap<Uuid, Case>, proposal: &Proposal, now_ms: i64) -> Option<String> {
        let mut on_sides: Vec<Uuid> = proposal.sides.iter().flatten().copied().collect();
        let mut tickets = proposal.tickets.clone();
        on_sides.sort();
        tickets.sort();
        let count = tickets.len();
        tickets.dedup();
        if on_sides != tickets || count != tickets.len() || !tickets.iter().all(|id| cases.contains_key(id)) {
            return Some("tickets and sides differ".into());
        }
        let all: Vec<&Case> = tickets.iter().map(|id| &cases[id]).collect();
        match self.common_regions(&all, now_ms) {
            Err(fault) => return Some(fault),
            Ok(regions) if !regions.contains(&proposal.region) => {
                return Some("the region is not accepted".into());
            }
            Ok(_) => {}
        }
        let is_wished = |map: &usize| all.iter().all(|case| self.maps_of(&case.values).contains(map));
        let has_maps = self.maps.iter().any(|map| map.map_weight > 0.0);
        if proposal.maps.is_empty() == has_maps {
            return Some(format!("maps {:?}", proposal.maps));
        }
        if self.profile.maps == MapWish::Hard && !proposal.maps.iter().all(is_wished) {
            return Some(format!("not all want {:?}", proposal.maps));
        }
        if proposal.players != all.iter().map(|case| case.values.players).sum::<usize>() {
            return Some("players".into());
        }
        let sides: Vec<Vec<&Case>> =
            proposal.sides.iter().map(|side| side.iter().map(|id| &cases[id]).collect()).collect();
        self.sides_fault(&sides, now_ms)
    }
}
