//! A profile, prepared for the matcher: ages in milliseconds, names as positions, choices as sets of bits.

use std::collections::BTreeMap;

use super::crossplay::Crossplay;
use super::regions::{Place, Regions, positions};
use super::steps::{Sizes, Steps, ms};
use super::ticket::Ticket;
use crate::domain::instance::template::MapChoice;
use crate::domain::matchmaking::profile::{
    FIELDS_MAX, JoinMode, MapWish, POOLS_MAX, Pool, Profile, RegionReach, WidenBy,
};
use crate::domain::region::Region;

/// Largest number of maps that a matcher knows. Further ones can be drawn, but not wished for.
pub const MAPS_MAX: usize = 128;
/// Costs are integers: thousandths.
const MILLI: f64 = 1_000.0;
/// The largest cost of one condition, so that sums cannot overflow.
const COST_MAX: f64 = 1e12;

/// A profile with the regions and the maps that it may choose from.
#[derive(Clone, Debug)]
pub struct Rules {
    pub(super) sides: Sides,
    pub(super) sizes: Sizes,
    pub(super) side_skill: Steps,
    pub(super) fields: Vec<FieldRule>,
    pub(super) equal: Vec<String>,
    pub(super) regions: Regions,
    region_steps: Vec<(i64, RegionReach)>,
    pub(super) latency: Steps,
    pub(super) wish: MapWish,
    /// By map that can be drawn: its position in the template, its id and its name.
    pub(super) maps: Vec<(usize, String, String)>,
    pub(super) pools: Vec<Pool>,
    /// Age from which tickets take part in new matches, in milliseconds. `None`: never.
    new_from_ms: Option<i64>,
    /// Ages at which a ticket moves to another class, ascending.
    pub(super) class_ages: Vec<i64>,
    /// Ages at which anything changes for a ticket, ascending.
    pub(super) ages: Vec<i64>,
}

/// The sides of a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sides {
    pub(super) count: usize,
    pub(super) min: usize,
    pub(super) max: usize,
    /// Largest difference between the sizes of two sides.
    pub(super) delta: usize,
}

/// A number in which the tickets of a match must be close.
#[derive(Clone, Debug)]
pub(super) struct FieldRule {
    pub(super) name: String,
    pub(super) default: f64,
    weight: f64,
    pub(super) by: WidenBy,
    pub(super) tolerance: Steps,
}

/// What decides which other tickets a ticket can meet at its age. Tickets with the same are a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClassKey {
    pub(super) regions: u64,
    pub(super) maps: u128,
    pub(super) crossplay: Crossplay,
    /// Whether the tickets take part in new matches. Otherwise they only join matches that have begun.
    pub(super) new_matches: bool,
}

impl ClassKey {
    /// Whether tickets of two classes can be in one match.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.regions & other.regions != 0
            && self.maps & other.maps != 0
            && self.crossplay.with(other.crossplay).agrees()
    }
}

impl Rules {
    /// `maps` are those of the profile's instance template, or none.
    pub fn new(profile: &Profile, regions: &BTreeMap<String, Region>, maps: &[MapChoice]) -> Self {
        let sides = Sides {
            count: profile.num_sides,
            min: profile.min_players_per_side,
            max: profile.max_players_per_side,
            delta: profile.max_side_delta,
        };
        let mut rules = Self {
            sides,
            sizes: Sizes::new(sides.count * sides.min, sides.full(), profile.size_widen),
            side_skill: Steps::new(&profile.side_skill_delta),
            fields: profile.fields.iter().take(FIELDS_MAX).map(FieldRule::new).collect(),
            equal: profile.equal.clone(),
            regions: Regions::new(regions),
            region_steps: profile.region_widen.iter().map(|step| (ms(step.after_s), step.to)).collect(),
            latency: Steps::new(&profile.latency_ms),
            wish: profile.maps,
            maps: drawable(maps),
            pools: profile.pools.iter().take(POOLS_MAX).cloned().collect(),
            new_from_ms: match profile.join_mode {
                JoinMode::Normal => Some(0),
                JoinMode::CreatedBefore => Some(ms(profile.created_before_s)),
                JoinMode::Backfill => None,
            },
            class_ages: Vec::new(),
            ages: Vec::new(),
        };
        rules.class_ages = ascending(rules.all_class_ages());
        rules.ages = ascending(rules.all_ages());
        rules
    }

    fn all_class_ages(&self) -> Vec<i64> {
        let regions = self.region_steps.iter().map(|(after, _)| *after);
        let from = self.pools.iter().filter_map(|pool| pool.created_before_s).map(ms);
        // A pool still takes a ticket of exactly this age.
        let to = self.pools.iter().filter_map(|pool| pool.created_after_s).map(|age_s| ms(age_s) + 1);
        regions.chain(self.latency.ages()).chain(from).chain(to).chain(self.new_from_ms).collect()
    }

    fn all_ages(&self) -> Vec<i64> {
        let fields = self.fields.iter().flat_map(|field| field.tolerance.ages());
        let others = self.side_skill.ages().chain(self.sizes.ages());
        self.class_ages.iter().copied().chain(fields).chain(others).collect()
    }

    /// The class of a ticket at an age, or `None` if it can meet nobody at that age.
    pub(super) fn class(&self, ticket: &Ticket, age_ms: i64) -> Option<ClassKey> {
        let key = ClassKey {
            regions: self.accepted_regions(&ticket.place, age_ms),
            maps: if self.wish == MapWish::Hard { ticket.wished } else { u128::MAX },
            crossplay: ticket.crossplay,
            new_matches: self.new_from_ms.is_some_and(|from| age_ms >= from),
        };
        let is_possible = key.regions != 0 && key.crossplay.agrees() && self.takes(ticket, age_ms);
        is_possible.then_some(key)
    }

    /// Whether one of the pools that the ticket's values fit takes it at an age.
    fn takes(&self, ticket: &Ticket, age_ms: i64) -> bool {
        self.pools.iter().enumerate().any(|(at, pool)| {
            let from = pool.created_before_s.map_or(i64::MIN, ms);
            let to = pool.created_after_s.map_or(i64::MAX, ms);
            ticket.pools & 1 << at != 0 && (from..=to).contains(&age_ms)
        })
    }

    fn accepted_regions(&self, place: &Place, age_ms: i64) -> u64 {
        match place {
            Place::Anywhere => self.regions.all(),
            Place::Home(home) => {
                let steps = self.region_steps.iter().take_while(|(after, _)| *after <= age_ms);
                let reach = steps.last().map_or(RegionReach::Own, |(_, reach)| *reach);
                self.regions.reached(*home, reach)
            }
            Place::Latencies(all) => {
                let limit = self.latency.at(age_ms);
                let near = all.iter().enumerate();
                near.filter(|(_, ms)| ms.is_some_and(|ms| f64::from(ms) <= limit))
                    .fold(0, |set, (at, _)| set | 1 << at)
            }
        }
    }

    /// What it costs to have tickets in one match although they stand in different places: nothing if a region is the
    /// first choice of all. `common` are the regions that all accept.
    pub(super) fn region_cost(&self, places: &[&Place], common: u64) -> i64 {
        if places.iter().all(|place| matches!(place, Place::Anywhere)) {
            return 0;
        }
        let all = positions(common)
            .map(|region| places.iter().map(|place| self.wish_cost(place, region)).sum::<i64>());
        all.min().unwrap_or_default()
    }

    fn wish_cost(&self, place: &Place, region: usize) -> i64 {
        let rank = f64::from(self.regions.rank(place, region));
        let unit = if matches!(place, Place::Latencies(_)) { self.latency_unit() } else { 1.0 };
        milli(rank / unit)
    }

    /// The latency that costs as much as one place in the order of regions.
    fn latency_unit(&self) -> f64 {
        self.latency.last_finite().filter(|limit| *limit > 0.0).unwrap_or(100.0)
    }

    /// The set of all maps that can be wished for.
    pub(super) fn all_maps(&self) -> u128 {
        u128::MAX
    }

    /// Number of maps that can be wished for.
    pub(super) fn map_count(&self) -> usize {
        self.maps.len().min(MAPS_MAX)
    }
}

impl Sides {
    /// Number of players of a full match.
    pub(super) fn full(&self) -> usize {
        self.count * self.max
    }
}

impl FieldRule {
    fn new(field: &crate::domain::matchmaking::profile::Field) -> Self {
        Self {
            name: field.name.clone(),
            default: field.default,
            weight: field.weight,
            by: field.widen_by,
            tolerance: Steps::new(&field.widen),
        }
    }

    /// The age that decides, of those of the oldest and of the newest ticket.
    pub(super) fn age(&self, oldest_ms: i64, newest_ms: i64) -> i64 {
        if self.by == WidenBy::Oldest { oldest_ms } else { newest_ms }
    }

    /// The cost of a distance, relative to what is allowed at an age.
    pub(super) fn cost(&self, distance: f64, age_ms: i64) -> i64 {
        if distance == 0.0 {
            return 0;
        }
        let now = Some(self.tolerance.at(age_ms)).filter(|limit| limit.is_finite());
        let unit = now.or_else(|| self.tolerance.last_finite()).filter(|limit| *limit > 0.0).unwrap_or(1.0);
        milli(self.weight * distance / unit)
    }

    /// A distance relative to the widest limit. `None` if there is never a limit.
    pub(super) fn relative(&self, distance: f64) -> Option<f64> {
        self.tolerance.last_finite().filter(|limit| *limit > 0.0).map(|limit| distance / limit)
    }
}

fn milli(cost: f64) -> i64 {
    (cost * MILLI).clamp(0.0, COST_MAX) as i64
}

/// The maps that have a weight, since others are never drawn.
fn drawable(maps: &[MapChoice]) -> Vec<(usize, String, String)> {
    let maps = maps.iter().enumerate().filter(|(_, map)| map.map_weight > 0.0);
    maps.map(|(at, map)| (at, map.map_id.clone(), map.map_name.clone())).collect()
}

fn ascending(mut ages: Vec<i64>) -> Vec<i64> {
    ages.retain(|age| *age > 0);
    ages.sort_unstable();
    ages.dedup();
    ages
}
