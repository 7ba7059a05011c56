//! Tickets: parties that wait for a match.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::crossplay::Crossplay;
use super::regions::Place;
use super::rules::{MAPS_MAX, Rules};
use crate::domain::matchmaking::profile::{MapWish, Pool, RANK_FIELD};

/// Prefix of the names of numbers that are latencies to regions, in milliseconds.
pub const LATENCY_PREFIX: &str = "latency.";

/// What a party brings into a queue, independent of any profile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TicketValues {
    /// The ticket's id.
    pub id: Uuid,
    /// Number of players: 1 or more.
    pub players: usize,
    /// When the party joined the queue, in milliseconds since 1970.
    pub enqueued_ms: i64,
    /// Time that it is taken to have waited before, in seconds.
    pub passed_s: u64,
    /// The skill of the party.
    pub skill: Option<f64>,
    /// The region of its session.
    pub region: Option<String>,
    /// The clients of its players.
    pub crossplay: Crossplay,
    /// Only tickets with an equal version group are in one match.
    pub version_group: String,
    /// Ids or names of maps, most wanted first. Empty: any map.
    pub maps: Vec<String>,
    /// Numbers: fields of profiles, and latencies to regions.
    pub double_args: BTreeMap<String, f64>,
    /// Texts.
    pub string_args: BTreeMap<String, String>,
    /// Tags.
    pub tags: Vec<String>,
}

/// The texts that must be equal among the tickets of a match: version group, and the values of the profile's `equal`.
pub(super) type BucketKey = (String, Vec<Option<String>>);

/// A ticket, compiled for a profile.
#[derive(Clone, Debug)]
pub struct Ticket {
    pub(super) id: Uuid,
    pub(super) players: usize,
    pub(super) enqueued_ms: i64,
    /// When it was enqueued, less the time that had passed before.
    pub(super) since_ms: i64,
    pub(super) skill: f64,
    /// The values of the profile's fields.
    pub(super) numbers: Box<[f64]>,
    pub(super) crossplay: Crossplay,
    pub(super) place: Place,
    /// Positions of the maps that it wishes for, most wanted first.
    pub(super) maps: Box<[u8]>,
    /// The set of these maps; all if it has no wish.
    pub(super) wished: u128,
    /// The set of the pools whose conditions it fits, but for its age.
    pub(super) pools: u16,
    pub(super) bucket: Arc<BucketKey>,
}

/// The order of tickets by age: the longest wait first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AgeKey {
    pub(super) since_ms: i64,
    pub(super) enqueued_ms: i64,
    pub(super) id: Uuid,
}

impl Ticket {
    /// Compiles a ticket. Regions, maps and fields that the profile does not know are ignored.
    pub fn new(values: &TicketValues, rules: &Rules) -> Self {
        let passed_ms = i64::try_from(values.passed_s).unwrap_or(i64::MAX).saturating_mul(1_000);
        let maps = wished_maps(&values.maps, rules);
        let wished = match maps.is_empty() {
            true => rules.all_maps(),
            false => maps.iter().fold(0, |set, map| set | 1 << map),
        };
        let pools = rules.pools.iter().enumerate();
        let fits = |pool: &Pool| pool.takes(&values.double_args, &values.string_args, &values.tags);
        let pools = pools.filter(|(_, pool)| fits(pool)).fold(0, |set, (at, _)| set | 1 << at);
        let skill = values.skill.filter(|skill| skill.is_finite());
        let number =
            |name: &str| if name == RANK_FIELD { skill } else { values.double_args.get(name).copied() };
        let fields = rules.fields.iter();
        let numbers = fields
            .clone()
            .map(|field| number(&field.name).filter(|n| n.is_finite()).unwrap_or(field.default));
        let rank = fields.clone().find(|field| field.name == RANK_FIELD).map_or(0.0, |field| field.default);
        let texts = rules.equal.iter().map(|name| values.string_args.get(name).cloned()).collect();
        Self {
            id: values.id,
            players: values.players.max(1),
            enqueued_ms: values.enqueued_ms,
            since_ms: values.enqueued_ms.saturating_sub(passed_ms),
            skill: skill.unwrap_or(rank),
            // Adding 0 turns -0 into 0, which are one value but not the same bits.
            numbers: numbers.map(|number| number + 0.0).collect(),
            crossplay: values.crossplay,
            place: place(values, rules),
            maps,
            wished,
            pools,
            bucket: Arc::new((values.version_group.clone(), texts)),
        }
    }

    /// Its id.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Whether a pool of the profile takes it at some age.
    pub fn enters(&self) -> bool {
        self.pools != 0
    }

    /// The value by which a class is sorted: the first field, or 0.
    pub(super) fn first_number(&self) -> f64 {
        self.numbers.first().copied().unwrap_or_default()
    }

    pub(super) fn age_key(&self) -> AgeKey {
        AgeKey { since_ms: self.since_ms, enqueued_ms: self.enqueued_ms, id: self.id }
    }

    /// Its age in milliseconds. A ticket that another node's clock puts into the future has the age 0.
    pub(super) fn age_ms(&self, now_ms: i64) -> i64 {
        age_ms(self.since_ms, now_ms)
    }
}

/// The age at `now_ms` of what is there since `since_ms`, in milliseconds: 0 or more.
pub(super) fn age_ms(since_ms: i64, now_ms: i64) -> i64 {
    now_ms.saturating_sub(since_ms).max(0)
}

fn wished_maps(names: &[String], rules: &Rules) -> Box<[u8]> {
    if rules.wish == MapWish::Ignore {
        return Box::default();
    }
    let mut found: Vec<u8> = Vec::new();
    for name in names {
        let known = rules.maps.iter().take(MAPS_MAX);
        // Two maps may share a name.
        for (at, _) in known.enumerate().filter(|(_, (_, id, map_name))| name == id || name == map_name) {
            if !found.contains(&(at as u8)) {
                found.push(at as u8);
            }
        }
    }
    found.into()
}

fn place(values: &TicketValues, rules: &Rules) -> Place {
    let known = values.double_args.iter().filter(|(_, ms)| ms.is_finite());
    let latencies = known.filter_map(|(name, ms)| {
        let region = rules.regions.position(name.strip_prefix(LATENCY_PREFIX)?)?;
        Some((region, ms.clamp(0.0, 1e6).ceil() as u32))
    });
    let latencies: Vec<_> = latencies.collect();
    if !rules.latency.is_empty() && !latencies.is_empty() {
        let mut all = vec![None; rules.regions.count()];
        for (region, ms) in latencies {
            all[usize::from(region)] = Some(ms);
        }
        return Place::Latencies(all.into());
    }
    let home = values.region.as_deref().and_then(|region| rules.regions.position(region));
    home.map_or(Place::Anywhere, Place::Home)
}
