//! Exchanges tickets between the matches of a pass. The seeds of a pass choose one after another, so what is best for one
//! match can be bad for the next. The same tickets are matched afterwards, but closer together.

use super::index::Slot;
use super::packing::PackingEffort;
use super::pass::Limits;
use super::search::{Found, Scene, judged};

/// Number of later matches that each match is compared with in a round.
const NEIGHBOURS: usize = 8;
/// Number of attempts that it costs to judge whether two matches are legal.
const JUDGEMENT: usize = 10;
/// Number of rounds over all matches.
const ROUNDS: usize = 8;

/// A ticket of a match: its first number, its size, and its slot.
#[derive(Clone, Copy)]
struct Member {
    value: f64,
    players: usize,
    slot: Slot,
}

/// The tickets of two other matches, and the sum of the spreads of their first field.
type Parts = (f64, [Vec<Slot>; 2]);

/// Exchanges tickets between matches whose ranges in the first field overlap, while that makes them tighter. All matches
/// are of one bucket. `tries_left` is what may be spent.
pub(super) fn exchange(scene: Scene<'_>, found: &mut [Found], limits: &Limits, tries_left: &mut usize) {
    if scene.rules.fields.is_empty() {
        return;
    }
    let effort = PackingEffort { steps: limits.packing_steps, balance_steps: limits.balance_steps };
    for _ in 0..ROUNDS {
        found.sort_by(|a, b| {
            let id = |found: &Found| scene.tickets.ticket(found.slots[0]).id;
            range(a).0.total_cmp(&range(b).0).then_with(|| id(a).cmp(&id(b)))
        });
        let mut has_changed = false;
        for at in 0..found.len() {
            for other in at + 1..found.len().min(at + 1 + NEIGHBOURS) {
                if range(&found[other]).0 >= range(&found[at]).1 || *tries_left == 0 {
                    break;
                }
                if let Some((low, high)) = better_parts(scene, &found[at], &found[other], effort, tries_left)
                {
                    (found[at], found[other]) = (low, high);
                    has_changed = true;
                }
            }
        }
        if !has_changed {
            break;
        }
    }
}

fn range(found: &Found) -> (f64, f64) {
    found.group.ranges.first().copied().flatten().unwrap_or_default()
}

/// Two matches of the same tickets as two others, if they are legal and closer together.
fn better_parts(
    scene: Scene<'_>,
    one: &Found,
    other: &Found,
    effort: PackingEffort,
    tries_left: &mut usize,
) -> Option<(Found, Found)> {
    let before = one.group.spread(0) + other.group.spread(0);
    let (p, q) = (members(scene, one), members(scene, other));
    *tries_left = tries_left.saturating_sub(1 + p.len() * q.len() / 128);
    let mut parts: Vec<Parts> = split(scene, &p, &q).into_iter().chain(swap(&p, &q)).collect();
    parts.retain(|(spread, _)| *spread < before);
    parts.sort_by(|a, b| a.0.total_cmp(&b.0));
    let cost = |found: &Found| found.group.spread_cost(scene.rules, scene.now_ms);
    let place = |found: &Found| scene.place_cost(found);
    parts.into_iter().find_map(|(_, [low, high])| {
        *tries_left = tries_left.saturating_sub(JUDGEMENT);
        let (low, high) = (judged(scene, low, effort)?, judged(scene, high, effort)?);
        let is_better = cost(&low) + cost(&high) < cost(one) + cost(other)
            && place(&low) + place(&high) <= place(one) + place(other);
        is_better.then_some((low, high))
    })
}

/// The tickets of a match by value, then by id.
fn members(scene: Scene<'_>, found: &Found) -> Vec<Member> {
    let mut members: Vec<_> = found.slots.iter().map(|slot| (scene.tickets.ticket(*slot), *slot)).collect();
    members.sort_by(|(a, _), (b, _)| a.first_number().total_cmp(&b.first_number()).then(a.id.cmp(&b.id)));
    let member = |(ticket, slot): (&super::ticket::Ticket, Slot)| Member {
        value: ticket.first_number(),
        players: ticket.players,
        slot,
    };
    members.into_iter().map(member).collect()
}

/// Those with the lowest values, and those with the highest, in matches of the same sizes as before.
fn split(scene: Scene<'_>, one: &[Member], other: &[Member]) -> Option<Parts> {
    let mut all: Vec<Member> = one.iter().chain(other).copied().collect();
    let id = |member: &Member| scene.tickets.ticket(member.slot).id;
    all.sort_by(|a, b| a.value.total_cmp(&b.value).then_with(|| id(a).cmp(&id(b))));
    let players = [one, other].map(|members| members.iter().map(|member| member.players).sum::<usize>());
    let parts = players.into_iter().filter_map(|lower_players| {
        let mut left = lower_players;
        let (low, high): (Vec<Member>, Vec<Member>) = all.iter().copied().partition(|member| {
            let fits = member.players <= left;
            left -= if fits { member.players } else { 0 };
            fits
        });
        let spread =
            |part: &[Member]| part.last().zip(part.first()).map_or(0.0, |(high, low)| high.value - low.value);
        let slots = |part: &[Member]| part.iter().map(|member| member.slot).collect();
        (left == 0).then(|| (spread(&low) + spread(&high), [slots(&low), slots(&high)]))
    });
    parts.min_by(|a, b| a.0.total_cmp(&b.0))
}

/// Two parties of one size change places: those two for which the spreads get smallest.
fn swap(one: &[Member], other: &[Member]) -> Option<Parts> {
    let mut best: Option<(f64, usize, usize)> = None;
    for (at, out) in one.iter().enumerate() {
        for (with, into) in other.iter().enumerate().filter(|(_, into)| into.players == out.players) {
            let spread = spread_with(one, at, into.value) + spread_with(other, with, out.value);
            if best.is_none_or(|(least, _, _)| spread < least) {
                best = Some((spread, at, with));
            }
        }
    }
    let (spread, at, with) = best?;
    let slots = |members: &[Member]| members.iter().map(|member| member.slot).collect::<Vec<_>>();
    let (mut one, mut other) = (slots(one), slots(other));
    std::mem::swap(&mut one[at], &mut other[with]);
    Some((spread, [one, other]))
}

/// The spread of tickets, sorted by value, if one of them had another value.
fn spread_with(sorted: &[Member], at: usize, value: f64) -> f64 {
    let low = sorted.get(usize::from(at == 0)).map_or(value, |member| member.value.min(value));
    let last = sorted.len() - 1;
    let high = if at == last { last.checked_sub(1) } else { Some(last) };
    high.map_or(value, |high| sorted[high].value.max(value)) - low
}
