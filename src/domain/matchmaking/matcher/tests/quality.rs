//! How close to each other the tickets of a match are, beside the best that could be done with the same tickets.

use uuid::Uuid;

use super::builder::{Random, Scenario, later, party, rounds};
use crate::domain::matchmaking::matcher::TicketValues;

/// Mean spread of the matches of a pass beside the best mean for as many matches, over some pools.
#[derive(Default)]
struct Sums {
    ours: f64,
    best: f64,
    matches: usize,
}

impl Sums {
    fn ratio(&self) -> f64 {
        self.ours / self.best
    }
}

fn scenario(side: usize, tolerance: f64) -> Scenario {
    Scenario::new(&format!(
        "min_players_per_side = {side}\nmax_players_per_side = {side}\n\
         fields = [{{ name = \"rank\", widen = [{{ after_s = 0, value = {tolerance:.1} }}] }}]"
    ))
}

/// A skill like those of many players: the sum of several random numbers, around 1,500.
fn skill(random: &mut Random) -> f64 {
    (0..6).map(|_| random.unit() * 500.0).sum()
}

fn spread(skills: &[f64]) -> f64 {
    let (low, high) = skills.iter().fold((f64::MAX, f64::MIN), |(low, high), n| (low.min(*n), high.max(*n)));
    high - low
}

/// The spreads of the matches of the first pass.
fn spreads(scenario: &Scenario, tickets: &[TicketValues]) -> Vec<f64> {
    let skill =
        |id: &Uuid| tickets.iter().find(|ticket| ticket.id == *id).and_then(|ticket| ticket.skill).unwrap();
    let pass = scenario.pass(tickets, 60.0);
    pass.proposals
        .iter()
        .map(|proposal| spread(&proposal.tickets.iter().map(skill).collect::<Vec<_>>()))
        .collect()
}

/// The least sum of spreads of so many matches of so many solos each: matches of neighbours are best.
fn best_of_solos(skills: &mut [f64], size: usize, matches: usize) -> f64 {
    skills.sort_by(f64::total_cmp);
    // By number of matches: the least sum among the first tickets.
    let mut least = vec![vec![f64::INFINITY; matches + 1]; skills.len() + 1];
    least[0][0] = 0.0;
    for end in 1..=skills.len() {
        for count in 0..=matches {
            least[end][count] = least[end - 1][count];
            if end >= size && count > 0 {
                let with = least[end - size][count - 1] + spread(&skills[end - size..end]);
                least[end][count] = least[end][count].min(with);
            }
        }
    }
    least[skills.len()][matches]
}

fn measure_solos(side: usize, count: usize, tolerance: f64, pools: usize) -> Sums {
    let mut random = Random(11);
    let mut sums = Sums::default();
    for _ in 0..pools {
        let tickets: Vec<_> = (0..count)
            .map(|number| TicketValues {
                skill: Some(skill(&mut random)),
                ..later(random.unit() * 50.0, party(number as u128 + 1, 1))
            })
            .collect();
        let ours = spreads(&scenario(side, tolerance), &tickets);
        let mut skills: Vec<_> = tickets.iter().filter_map(|ticket| ticket.skill).collect();
        sums.best += best_of_solos(&mut skills, 2 * side, ours.len());
        sums.ours += ours.iter().sum::<f64>();
        sums.matches += ours.len();
    }
    sums
}

/// The least sum of spreads of so many full matches of two sides, over all partitions. `used`: a set of tickets.
fn best_of_parties(
    tickets: &[TicketValues],
    side: usize,
    used: u32,
    matches: usize,
    memo: &mut std::collections::BTreeMap<(u32, usize), f64>,
) -> f64 {
    if matches == 0 {
        return 0.0;
    }
    if let Some(known) = memo.get(&(used, matches)) {
        return *known;
    }
    let Some(first) = (0..tickets.len()).find(|at| used & 1 << at == 0) else { return f64::INFINITY };
    // Without the first ticket, or with it in one of the matches.
    let mut least = best_of_parties(tickets, side, used | 1 << first, matches, memo);
    let free: Vec<_> = (first + 1..tickets.len()).filter(|at| used & 1 << at == 0).collect();
    for subset in 0_u32..1 << free.len() {
        let others = free.iter().enumerate().filter(|(bit, _)| subset & 1 << bit != 0).map(|(_, at)| *at);
        let chosen: Vec<_> = std::iter::once(first).chain(others).collect();
        let sizes: Vec<_> = chosen.iter().map(|at| tickets[*at].players).collect();
        if sizes.iter().sum::<usize>() != 2 * side || !fills_a_side(&sizes, side) {
            continue;
        }
        let skills: Vec<_> = chosen.iter().filter_map(|at| tickets[*at].skill).collect();
        let set = chosen.iter().fold(used, |set, at| set | 1 << at);
        least = least.min(spread(&skills) + best_of_parties(tickets, side, set, matches - 1, memo));
    }
    memo.insert((used, matches), least);
    least
}

fn fills_a_side(sizes: &[usize], side: usize) -> bool {
    sizes.iter().fold(1_u64, |sums, size| sums | sums << size) & 1 << side != 0
}

fn measure_parties(side: usize, count: usize, tolerance: f64, pools: usize) -> Sums {
    let mut random = Random(12);
    let mut sums = Sums::default();
    for _ in 0..pools {
        let tickets: Vec<_> = (0..count)
            .map(|number| TicketValues {
                skill: Some(skill(&mut random)),
                ..later(random.unit() * 50.0, party(number as u128 + 1, 1 + random.below(3)))
            })
            .collect();
        let ours = spreads(&scenario(side, tolerance), &tickets);
        sums.best += best_of_parties(&tickets, side, 0, ours.len(), &mut Default::default());
        sums.ours += ours.iter().sum::<f64>();
        sums.matches += ours.len();
    }
    sums
}

#[test]
fn matches_are_nearly_as_tight_as_they_can_be() {
    let pools = 20 * rounds();
    let mut all = Vec::new();
    for tolerance in [100.0, 400.0, 5_000.0] {
        // Few tickets of such a pool are close enough for 5v5.
        let sides = if tolerance < 200.0 { &[1, 2][..] } else { &[1, 2, 5] };
        for side in sides.iter().copied() {
            all.push((
                format!("{side}v{side}, 24 solos, {tolerance}"),
                measure_solos(side, 24, tolerance, pools),
            ));
        }
        all.push((format!("3v3, 10 parties, {tolerance}"), measure_parties(3, 10, tolerance, pools)));
    }
    for (name, sums) in &all {
        println!("{name}: {} matches, {:.3} of the best", sums.matches, sums.ratio());
    }
    let ours: f64 = all.iter().map(|(_, sums)| sums.ours).sum();
    let best: f64 = all.iter().map(|(_, sums)| sums.best).sum();
    println!("all: {:.3} of the best", ours / best);
    assert!(ours / best <= 1.15, "{}", ours / best);
    for (name, sums) in all {
        assert!(sums.matches > 0 && sums.ratio() <= 1.25, "{name}: {}", sums.ratio());
    }
}
