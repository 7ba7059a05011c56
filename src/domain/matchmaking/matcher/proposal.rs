//! What a pass proposes: who plays with whom, on which side, where, and on which map.

use uuid::Uuid;

use super::index::Slot;
use super::regions::positions;
use super::search::{Found, Scene};

/// A match that a pass proposes, or tickets that it proposes for a match that has begun.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// The match that the tickets join. `None`: they are a new match.
    pub backfill: Option<Uuid>,
    /// By side (of a backfill: by team): ids of its tickets, the longest wait first.
    pub sides: Vec<Vec<Uuid>>,
    /// The tickets, the longest wait first.
    pub tickets: Vec<Uuid>,
    /// Number of players of all tickets.
    pub players: usize,
    /// Where the match is played.
    pub region: String,
    /// Positions, in the instance template, of the maps that suit the tickets best. If there are several, one of them is
    /// drawn by weight. Empty if the template has no map to draw, or for a backfill.
    pub maps: Vec<usize>,
    /// How well the tickets fit.
    pub quality: Quality,
}

/// How well the tickets of a proposal fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Quality {
    /// By field of the profile: the difference between the least and the greatest value, relative to the widest limit of
    /// the field: 0 to 1. `None` for a field that has no limit.
    pub spreads: Vec<Option<f64>>,
    /// Largest difference between the mean skills of two sides.
    pub side_skill_difference: f64,
    /// Largest difference between the sizes of two sides.
    pub side_size_difference: usize,
}

impl Quality {
    /// The spread in the field in which the tickets differ most: 0 if all are equal, 1 at the widest limit of the field.
    /// `None` if no field has a limit.
    pub fn widest_spread(&self) -> Option<f64> {
        self.spreads.iter().flatten().copied().max_by(f64::total_cmp)
    }
}

/// The proposal of a match that was found.
pub(super) fn new_match(scene: Scene<'_>, found: &Found) -> Proposal {
    let sides = found.packing.sides.iter();
    let sides = sides.map(|side| by_age(scene, side.iter().map(|at| found.slots[*at]))).collect();
    let region = best_region(scene, &found.slots, found.group.regions);
    let spreads = scene.rules.fields.iter().enumerate();
    Proposal {
        backfill: None,
        sides,
        tickets: by_age(scene, found.slots.iter().copied()),
        players: found.group.players,
        region: scene.rules.regions.name(region).to_owned(),
        maps: best_maps(scene, &found.slots, found.group.maps),
        quality: Quality {
            spreads: spreads.map(|(at, field)| field.relative(found.group.spread(at))).collect(),
            side_skill_difference: found.packing.skill_difference,
            side_size_difference: found.packing.size_difference,
        },
    }
}

/// Ids of tickets, the longest wait first.
pub(super) fn by_age(scene: Scene<'_>, slots: impl Iterator<Item = Slot>) -> Vec<Uuid> {
    let mut keys: Vec<_> = slots.map(|slot| scene.tickets.ticket(slot).age_key()).collect();
    keys.sort_unstable();
    keys.into_iter().map(|key| key.id).collect()
}

/// The region with the least sum of places in the players' orders, or of milliseconds; among equals the first in lists.
fn best_region(scene: Scene<'_>, slots: &[Slot], common: u64) -> usize {
    let sum = |region: &usize| -> u64 {
        let tickets = slots.iter().map(|slot| scene.tickets.ticket(*slot));
        let ranks = tickets.map(|ticket| {
            u64::from(scene.rules.regions.rank(&ticket.place, *region)) * ticket.players as u64
        });
        ranks.sum()
    };
    positions(common).min_by_key(sum).unwrap_or_default()
}

/// The maps with the least sum of places in the players' wishes, of those that all accept, or else of all. A map that a
/// ticket does not wish for comes after its wishes.
fn best_maps(scene: Scene<'_>, slots: &[Slot], required: u128) -> Vec<usize> {
    let tickets = || slots.iter().map(|slot| scene.tickets.ticket(*slot));
    let common = tickets().fold(required, |set, ticket| set & ticket.wished);
    let is_in = |set: u128| move |map: &usize| set.checked_shr(*map as u32).unwrap_or_default() & 1 == 1;
    // Maps beyond those that can be wished for take part where nobody has a wish.
    let has_wish = tickets().any(|ticket| !ticket.maps.is_empty());
    let all = 0..if has_wish { scene.rules.map_count() } else { scene.rules.maps.len() };
    let mut usable: Vec<usize> = all.clone().filter(is_in(common)).collect();
    if usable.is_empty() || !has_wish {
        usable = all.collect();
    }
    let sum = |map: usize| -> usize {
        let place =
            |wishes: &[u8]| wishes.iter().position(|wish| usize::from(*wish) == map).unwrap_or(wishes.len());
        tickets().map(|ticket| place(&ticket.maps) * ticket.players).sum()
    };
    let least = usable.iter().map(|map| sum(*map)).min();
    let best = usable.into_iter().filter(|map| Some(sum(*map)) == least);
    best.map(|map| scene.rules.maps[map].0).collect()
}
