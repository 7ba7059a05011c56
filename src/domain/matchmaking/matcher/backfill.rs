//! Matches that have begun and want more players.

use std::collections::BTreeSet;

use smallvec::SmallVec;
use uuid::Uuid;

use super::crossplay::Crossplay;
use super::group::Group;
use super::index::{Bucket, Entry, Slot};
use super::pass::Limits;
use super::proposal::{Proposal, Quality, by_age};
use super::search::{Candidate, Scene};
use super::ticket::{BucketKey, age_ms};

/// A match that has begun and wants more players.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Backfill {
    /// What proposals name it by.
    pub id: Uuid,
    /// When it was made, in milliseconds since 1970. Older ones come first.
    pub created_ms: i64,
    /// Version group of its session.
    pub version_group: String,
    /// By text of the profile's `equal`: its value.
    pub equal: Vec<Option<String>>,
    /// The clients of the players who are there.
    pub crossplay: Crossplay,
    /// The region where it is played.
    pub region: String,
    /// The map that is played, if the maps of the profile are hard wishes: its position in the instance template.
    pub map: Option<usize>,
    /// By field of the profile: the least and the greatest value among the players there, as far as it is known.
    pub ranges: Vec<Option<(f64, f64)>>,
    /// By team: number of players wanted.
    pub wanted: Vec<usize>,
    /// Whether the last party of a team may exceed what is wanted (contract: `overfill`). Otherwise no team gets more
    /// players than it wants, and a party is always on one team.
    pub overfill: bool,
    /// Tickets that must not join it, because the match has kicked one of their players.
    pub excluded: BTreeSet<Uuid>,
}

impl Backfill {
    pub(super) fn bucket(&self) -> BucketKey {
        (self.version_group.clone(), self.equal.clone())
    }

    /// The players who are there. `None` if nobody could join them: the region is not configured any more.
    fn group(&self, scene: Scene<'_>) -> Option<Group> {
        let rules = scene.rules;
        let named = rules.regions.position(&self.region).map(usize::from);
        let region = named.or_else(|| (rules.regions.name(0) == self.region).then_some(0))?;
        let map = self.map.and_then(|map| rules.maps.iter().position(|(at, _, _)| *at == map));
        let maps = map.map_or(u128::MAX, |map| 1_u128.checked_shl(map as u32).unwrap_or(u128::MAX));
        let ranges: SmallVec<[_; 2]> =
            (0..rules.fields.len()).map(|at| self.ranges.get(at).copied().flatten()).collect();
        Some(Group::in_match(1 << region, maps, self.crossplay, &ranges))
    }
}

/// The tickets that fill a match, and the number of steps that it took to find them.
pub(super) fn fill(
    scene: Scene<'_>,
    bucket: &Bucket,
    backfill: &Backfill,
    limits: &Limits,
) -> (Option<(Proposal, Vec<Slot>)>, usize) {
    let most = if backfill.overfill {
        usize::MAX
    } else {
        backfill.wanted.iter().copied().max().unwrap_or_default()
    };
    let Some(group) = backfill.group(scene).filter(|_| backfill.wanted.iter().any(|wanted| *wanted > 0))
    else {
        return (None, 1);
    };
    let (candidates, looks) = candidates(scene, bucket, backfill, &group, most, limits);
    let mut filled =
        Filled { group, left: backfill.wanted.clone(), teams: vec![Vec::new(); backfill.wanted.len()] };
    for candidate in &candidates {
        filled.try_to_add(scene, backfill, candidate);
    }
    let slots: Vec<Slot> = filled.teams.iter().flatten().copied().collect();
    let proposal = (!slots.is_empty()).then(|| (filled.proposal(scene, backfill, &slots), slots));
    (proposal, looks + candidates.len())
}

/// Whether a match could take a ticket now, if it took no other one.
pub(super) fn takes(scene: Scene<'_>, backfill: &Backfill, entry: &Entry) -> bool {
    let ticket = &entry.ticket;
    let has_place = |wanted: &usize| *wanted >= ticket.players || backfill.overfill && *wanted > 0;
    *ticket.bucket == backfill.bucket()
        && !backfill.excluded.contains(&ticket.id)
        && backfill.wanted.iter().any(has_place)
        && backfill.group(scene).is_some_and(|group| group.with(entry, scene.rules, scene.now_ms).is_some())
}

/// The nearest tickets that fit the players there, the cheapest first.
fn candidates(
    scene: Scene<'_>,
    bucket: &Bucket,
    backfill: &Backfill,
    group: &Group,
    players_max: usize,
    limits: &Limits,
) -> (Vec<Candidate>, usize) {
    let known = group.ranges.first().copied().flatten();
    let (low, high) = known.unwrap_or_default();
    let middle = low / 2.0 + high / 2.0;
    let (mut found, mut looks) = (Vec::new(), 0);
    // No ticket reaches farther than the oldest.
    let oldest_ms = bucket.by_age.first_key_value().map_or(0, |(key, _)| age_ms(key.since_ms, scene.now_ms));
    let first = scene.rules.fields.first().filter(|_| known.is_some());
    let reach = first.map_or(f64::INFINITY, |field| field.tolerance.at(oldest_ms));
    for near in bucket.walk_where(|key| group.meets(key), middle) {
        let is_too_far = near.distance - (high - low) / 2.0 > reach;
        if is_too_far || looks >= limits.looks_per_seed || found.len() >= limits.candidates {
            break;
        }
        looks += 1;
        let entry = scene.entry(near.slot);
        let ticket = &entry.ticket;
        if ticket.players > players_max || backfill.excluded.contains(&ticket.id) {
            continue;
        }
        if let Some(joined) = group.with(entry, scene.rules, scene.now_ms) {
            let fields = scene.rules.fields.iter().enumerate();
            let farther = fields.map(|(at, field)| {
                let farther = joined.spread(at) - group.spread(at);
                field.cost(farther, ticket.age_ms(scene.now_ms))
            });
            found.push(Candidate {
                cost: farther.sum(),
                since_ms: ticket.since_ms,
                id: ticket.id,
                slot: near.slot,
                players: ticket.players,
                place_cost: 0,
            });
        }
    }
    found.sort_unstable();
    (found, looks)
}

/// A match while it is being filled.
struct Filled {
    group: Group,
    /// By team: places that are still wanted.
    left: Vec<usize>,
    teams: Vec<Vec<Slot>>,
}

impl Filled {
    /// Puts a party on the team that wants most players, if it fits there.
    fn try_to_add(&mut self, scene: Scene<'_>, backfill: &Backfill, candidate: &Candidate) {
        let has_room = |left: usize| left >= candidate.players || backfill.overfill && left > 0;
        let teams = (0..self.left.len()).filter(|team| has_room(self.left[*team]));
        let Some(team) = teams.max_by_key(|team| (self.left[*team], usize::MAX - team)) else { return };
        if let Some(joined) = self.group.with(scene.entry(candidate.slot), scene.rules, scene.now_ms) {
            self.group = joined;
            self.left[team] = self.left[team].saturating_sub(candidate.players);
            self.teams[team].push(candidate.slot);
        }
    }

    fn proposal(&self, scene: Scene<'_>, backfill: &Backfill, slots: &[Slot]) -> Proposal {
        let fields = scene.rules.fields.iter().enumerate();
        Proposal {
            backfill: Some(backfill.id),
            sides: self.teams.iter().map(|team| by_age(scene, team.iter().copied())).collect(),
            tickets: by_age(scene, slots.iter().copied()),
            players: self.group.players,
            region: backfill.region.clone(),
            maps: Vec::new(),
            quality: Quality {
                spreads: fields.map(|(at, field)| field.relative(self.group.spread(at))).collect(),
                side_skill_difference: 0.0,
                side_size_difference: 0,
            },
        }
    }
}
