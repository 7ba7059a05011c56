//! How long a pass of the matcher takes over many waiting tickets. See `README.md` in this directory.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use rallypoint::domain::Platform;
use rallypoint::domain::client::{Client, CrossplayInput, CrossplayPlatform, CrossplayPreferences, Input};
use rallypoint::domain::instance::template::MapChoice;
use rallypoint::domain::matchmaking::Profile;
use rallypoint::domain::matchmaking::matcher::{Crossplay, Limits, Matcher, Rules, Ticket, TicketValues};
use rallypoint::domain::matchmaking::profile::{Field, MapWish, Step, WidenBy};
use rallypoint::domain::region::Region;
use uuid::Uuid;

/// Number of tickets without `TICKETS`.
const TICKETS: usize = 100_000;
/// Number of tickets of the naive walk, which takes a time that grows with the square.
const NAIVE_TICKETS: usize = 5_000;
/// Tickets that come between two steady passes: 1,000 a second.
const NEWCOMERS: usize = 250;
const STEADY_PASSES: usize = 8;
const PASS_EVERY_MS: i64 = 250;
const NOW_MS: i64 = 1_800_000_000_000;

/// Tickets of one kind.
#[derive(Clone, Copy)]
struct Shape {
    name: &'static str,
    sizes: &'static [usize],
    tolerance: Option<f64>,
    regions: usize,
    /// Whether half of the players accept their own platform only.
    camps: bool,
    /// Number of sets of maps, one of which each ticket insists on; 0: no wishes.
    map_sets: usize,
    buckets: usize,
}

const SOLOS: Shape = Shape {
    name: "solos, tolerance 50",
    sizes: &[1],
    tolerance: Some(50.0),
    regions: 0,
    camps: false,
    map_sets: 0,
    buckets: 1,
};
const PARTIES: Shape = Shape { name: "parties of 1, 2, 3, 5", sizes: &[1, 1, 1, 2, 2, 3, 5], ..SOLOS };

const SHAPES: [Shape; 15] = [
    SOLOS,
    Shape { name: "the same in 200 buckets", buckets: 200, ..SOLOS },
    PARTIES,
    Shape { name: "parties, 6 regions", regions: 6, ..PARTIES },
    Shape { name: "parties, 2 crossplay camps", camps: true, ..PARTIES },
    Shape {
        name: "parties, 6 regions, camps, 12 map sets",
        regions: 6,
        camps: true,
        map_sets: 12,
        ..PARTIES
    },
    Shape { name: "parties, 6 regions, no skill limit", regions: 6, tolerance: None, ..PARTIES },
    Shape { name: "nothing fits: tolerance 0.0005", tolerance: Some(0.0005), ..SOLOS },
    Shape { name: "the same in 200 buckets", tolerance: Some(0.0005), buckets: 200, ..SOLOS },
    Shape { name: "about half fits: tolerance 0.5", tolerance: Some(0.5), ..SOLOS },
    Shape { name: "64 regions, 64 hard maps", regions: 64, map_sets: 64, ..SOLOS },
    Shape { name: "only parties of 3", sizes: &[3], ..SOLOS },
    Shape { name: "only parties of 3 and 4", sizes: &[3, 4], ..SOLOS },
    Shape { name: "parties of 3 and 4, few solos", sizes: &FEW_SOLOS, ..SOLOS },
    Shape { name: "the same, no skill limit", sizes: &FEW_SOLOS, tolerance: None, ..SOLOS },
];
/// Parties of 3 and 4, and one solo among 200 parties.
const FEW_SOLOS: [usize; 201] = {
    let mut sizes = [3; 201];
    let mut at = 0;
    while at < 100 {
        sizes[at] = 4;
        at += 1;
    }
    sizes[200] = 1;
    sizes
};

/// A repeatable generator of random numbers.
struct Rng(u64);

impl Rng {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    /// About normal: 1,500, with a standard deviation of 300.
    fn skill(&mut self) -> f64 {
        let sum: f64 = (0..12).map(|_| self.below(1 << 30) as f64 / f64::from(1 << 30)).sum();
        1_500.0 + 300.0 * (sum - 6.0)
    }
}

fn name(kind: &str, number: usize) -> String {
    format!("{kind}{number:02}")
}

impl Shape {
    fn rules(&self) -> Rules {
        let profile = Profile {
            min_players_per_side: 5,
            max_players_per_side: 5,
            fields: vec![Field {
                name: "rank".into(),
                default: 0.0,
                weight: 1.0,
                widen_by: WidenBy::Oldest,
                widen: self
                    .tolerance
                    .map(|value| Step { after_s: 0, value: Some(value) })
                    .into_iter()
                    .collect(),
            }],
            equal: vec!["playlist".into()],
            maps: if self.map_sets > 0 { MapWish::Hard } else { MapWish::Soft },
            ..Profile::default()
        };
        let regions: BTreeMap<_, _> =
            (0..self.regions).map(|at| (name("r", at), Region::default())).collect();
        let maps: Vec<_> = (0..self.map_sets.max(1)).map(|at| map(&name("m", at))).collect();
        Rules::new(&profile, &regions, &maps)
    }

    fn ticket(&self, rules: &Rules, rng: &mut Rng, number: usize, enqueued_ms: i64) -> Ticket {
        let platform = [Platform::Steam, Platform::XboxLive, Platform::PSN][rng.below(3)];
        let map = rng.below(self.map_sets.max(1));
        // Of twelve sets, most hold a map in common with the next one; of 64 none does.
        let maps = if self.map_sets == 12 { vec![map, (map + 1) % 12] } else { vec![map] };
        let values = TicketValues {
            id: Uuid::from_u128((rng.below(1 << 30) as u128) << 64 | number as u128),
            players: self.sizes[rng.below(self.sizes.len())],
            enqueued_ms,
            skill: Some(rng.skill()),
            region: (self.regions > 0).then(|| name("r", rng.below(self.regions))),
            crossplay: Crossplay::of(&[client(platform, self.camps && rng.below(2) == 0)]),
            maps: maps.into_iter().filter(|_| self.map_sets > 0).map(|map| name("m", map)).collect(),
            string_args: [("playlist".to_owned(), rng.below(self.buckets).to_string())].into(),
            ..TicketValues::default()
        };
        Ticket::new(&values, rules)
    }

    fn tickets(&self, rules: &Rules, count: usize) -> Vec<Ticket> {
        let mut rng = Rng(42);
        (0..count)
            .map(|number| {
                let age_ms = rng.below(60_000) as i64;
                self.ticket(rules, &mut rng, number, NOW_MS - age_ms)
            })
            .collect()
    }
}

fn map(id: &str) -> MapChoice {
    MapChoice {
        map_id: id.to_owned(),
        map_name: id.to_owned(),
        mode: None,
        map_weight: 1.0,
        custom_data: Default::default(),
        name: None,
        description: None,
        misc_params: None,
    }
}

/// Players of a camp accept consoles of their own kind only; on Steam all are accepted.
fn client(platform: Platform, is_picky: bool) -> Client {
    let permitted_platform = match platform {
        Platform::XboxLive if is_picky => CrossplayPlatform::XboxLike,
        Platform::PSN if is_picky => CrossplayPlatform::PlayStationLike,
        _ => CrossplayPlatform::Any,
    };
    let crossplay = CrossplayPreferences { permitted_platform, permitted_input: CrossplayInput::Any };
    Client {
        version: "1".into(),
        platform,
        input: Input::Gamepad,
        device_type: None,
        crossplay: Some(crossplay),
    }
}

fn ms(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1_000.0
}

/// Resident memory of this process, in bytes.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or_default() * 1_024.0
}

/// A sort of what a pass at least has to read: value, time and id of each ticket.
fn sort_ms(count: usize) -> f64 {
    let mut rng = Rng(7);
    let mut rows: Vec<_> =
        (0..count).map(|at| (rng.skill().to_bits(), rng.below(60_000), rng.below(1 << 30), at)).collect();
    let begin = Instant::now();
    rows.sort();
    black_box(&rows);
    ms(begin)
}

/// What a matcher without an index does: for each ticket a look at all others.
fn naive_ms(count: usize) -> f64 {
    let mut rng = Rng(7);
    let rows: Vec<_> = (0..count).map(|_| rng.skill()).collect();
    let mut taken = vec![false; count];
    let begin = Instant::now();
    for seed in 0..count {
        if taken[seed] {
            continue;
        }
        let mut near: Vec<_> = (0..count)
            .filter(|at| *at != seed && !taken[*at])
            .map(|at| ((rows[at] - rows[seed]).abs(), at))
            .collect();
        near.retain(|(distance, _)| *distance <= 50.0);
        near.sort_by(|a, b| a.0.total_cmp(&b.0));
        if near.len() >= 9 {
            taken[seed] = true;
            near[..9].iter().for_each(|(_, at)| taken[*at] = true);
        }
    }
    black_box(&taken);
    ms(begin)
}

struct Measured {
    add_us: f64,
    bytes: f64,
    first_ms: f64,
    first_steps: usize,
    classes: usize,
    matched: usize,
    steady_ms: Vec<f64>,
    left: usize,
}

fn take(matcher: &mut Matcher, now_ms: i64) -> (f64, usize, usize) {
    let begin = Instant::now();
    let pass = matcher.pass(now_ms, &[], &Limits::default());
    let took_ms = ms(begin);
    let matched: Vec<_> = pass.proposals.iter().flat_map(|proposal| &proposal.tickets).collect();
    matched.iter().for_each(|id| assert!(matcher.remove(**id)));
    (took_ms, pass.steps, matched.len())
}

fn measure(shape: &Shape, count: usize) -> Measured {
    let rules = shape.rules();
    let empty = resident();
    let tickets = shape.tickets(&rules, count);
    let mut matcher = Matcher::new(rules.clone(), NOW_MS);
    let begin = Instant::now();
    for ticket in tickets {
        matcher.add(ticket);
    }
    let add_us = ms(begin) * 1_000.0 / count as f64;
    let bytes = (resident() - empty) / count as f64;
    let classes = matcher.classes();
    let (first_ms, first_steps, matched) = take(&mut matcher, NOW_MS);
    let mut rng = Rng(99);
    let mut steady_ms = Vec::new();
    for pass in 1..=STEADY_PASSES {
        let now_ms = NOW_MS + pass as i64 * PASS_EVERY_MS;
        for number in 0..NEWCOMERS {
            let ticket =
                shape.ticket(&rules, &mut rng, count + pass * NEWCOMERS + number, now_ms - number as i64);
            matcher.add(ticket);
        }
        steady_ms.push(take(&mut matcher, now_ms).0);
    }
    steady_ms.sort_by(f64::total_cmp);
    let left = matcher.len();
    Measured { add_us, bytes, first_ms, first_steps, classes, matched, steady_ms, left }
}

fn main() {
    let count = std::env::var("TICKETS").map_or(TICKETS, |text| text.parse().expect("TICKETS is a number"));
    let only = std::env::var("SHAPE").ok();
    let sort = sort_ms(count);
    println!("{count} tickets, 5v5. A sort of them takes {sort:.0} ms.");
    println!(
        "| tickets | add, µs | bytes each | classes | first pass, ms | of a sort | ns a step | matched | steady pass, ms: p50, max | left |"
    );
    println!("| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |");
    for shape in SHAPES.iter().filter(|shape| only.as_ref().is_none_or(|only| shape.name.contains(only))) {
        let m = measure(shape, count);
        println!(
            "| {} | {:.1} | {:.0} | {} | {:.0} | {:.1} | {:.0} | {:.1} % | {:.0}, {:.0} | {} |",
            shape.name,
            m.add_us,
            m.bytes,
            m.classes,
            m.first_ms,
            m.first_ms / sort,
            m.first_ms * 1e6 / m.first_steps.max(1) as f64,
            m.matched as f64 * 100.0 / count as f64,
            m.steady_ms[m.steady_ms.len() / 2],
            m.steady_ms[m.steady_ms.len() - 1],
            m.left,
        );
    }
    let (naive, ours) = (naive_ms(NAIVE_TICKETS), measure(&SOLOS, NAIVE_TICKETS).first_ms);
    println!(
        "{NAIVE_TICKETS} solos: naive walk {naive:.0} ms, matcher {ours:.0} ms: {:.1} of it",
        ours / naive
    );
}
