//! Properties of random pools of random profiles. `PROPTEST_CASES=3000` tries more of them.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use uuid::Uuid;

use super::builder::{START_MS, Scenario, at, client, picky};
use super::checker::{Case, age_s};
use crate::domain::Platform::{PSN, Steam, XboxLive};
use crate::domain::client::{CrossplayInput, CrossplayPlatform, Input};
use crate::domain::matchmaking::Profile;
use crate::domain::matchmaking::matcher::{Crossplay, Limits, TicketValues};
use crate::domain::matchmaking::profile::{
    Field, JoinMode, MapWish, RegionReach, RegionStep, SizeWiden, Step, WidenBy,
};

const REGIONS: [&str; 4] = ["eu", "uk", "us", "lan"];
const MAPS: [&str; 4] = ["alps", "bay", "cave", "dam"];

/// A list of limits that widen.
fn steps(unit: f64) -> impl Strategy<Value = Vec<Step>> {
    let step = (0_u32..50, 0_u32..4);
    (prop::collection::vec(step, 0..3), any::<bool>()).prop_map(move |(steps, is_open)| {
        let (mut after_s, mut value) = (0, 0.0);
        let mut all = Vec::new();
        for (later, wider) in steps {
            value += f64::from(wider) * unit;
            all.push(Step { after_s, value: Some(value) });
            after_s += 1 + later;
        }
        if is_open && !all.is_empty() {
            all.push(Step { after_s, value: None });
        }
        all
    })
}

fn field(name: &'static str) -> impl Strategy<Value = Field> {
    (steps(1.0), any::<bool>()).prop_map(move |(widen, is_oldest)| Field {
        name: name.to_owned(),
        default: 0.0,
        weight: 1.0,
        widen_by: if is_oldest { WidenBy::Oldest } else { WidenBy::Newest },
        widen,
    })
}

fn sizes() -> impl Strategy<Value = Profile> {
    let widen = prop::option::of((0_u32..40, 0_u32..60));
    (1_usize..4, 1_usize..5, 0_usize..4, 0_usize..3, widen).prop_map(
        |(num_sides, max, fewer, delta, widen)| Profile {
            num_sides,
            max_players_per_side: max,
            min_players_per_side: max.saturating_sub(fewer).max(1),
            max_side_delta: delta,
            size_widen: widen.map(|(from, more)| SizeWiden { full_for_s: from, min_after_s: from + more }),
            ..Profile::default()
        },
    )
}

/// A random profile with its regions and maps.
fn scenarios() -> impl Strategy<Value = Scenario> {
    let fields = (prop::option::of(field("rank")), prop::option::of(field("level")));
    let modes =
        (0_usize..6, 0_usize..3, any::<bool>(), prop::option::of((1_u32..50, 1_u32..50)), any::<bool>());
    (sizes(), fields, prop::option::weighted(0.3, steps(1.0)), prop::option::of(steps(40.0)), modes).prop_map(
        |(sizes, (rank, level), side_skill, latency, (join, maps, has_maps, widen, is_equal))| {
            let region = |after_s, to| RegionStep { after_s, to };
            let widen = widen.map(|(near, any)| {
                vec![
                    region(0, RegionReach::Own),
                    region(near, RegionReach::Near),
                    region(near + any, RegionReach::Any),
                ]
            });
            let profile = Profile {
                fields: rank.into_iter().chain(level).collect(),
                side_skill_delta: side_skill.unwrap_or_default(),
                latency_ms: latency.unwrap_or_default(),
                region_widen: widen.unwrap_or_default(),
                join_mode: [JoinMode::Normal, JoinMode::CreatedBefore][usize::from(join == 0)],
                created_before_s: 30,
                maps: [MapWish::Hard, MapWish::Soft, MapWish::Ignore][maps],
                equal: if is_equal { vec!["list".to_owned()] } else { Vec::new() },
                ..sizes
            };
            let scenario = Scenario { profile, regions: BTreeMap::new(), maps: Vec::new() };
            let scenario = scenario.regions(&[
                ("eu", 1, &["uk"], false),
                ("uk", 0, &["eu", "us"], false),
                ("us", 0, &[], false),
                ("lan", 0, &[], true),
            ]);
            if has_maps {
                scenario.maps(&[("alps", 1.0), ("bay", 2.0), ("cave", 0.0), ("dam", 1.0)])
            } else {
                scenario
            }
        },
    )
}

fn places() -> impl Strategy<Value = (Option<String>, BTreeMap<String, f64>, Vec<String>)> {
    let latency = prop::option::weighted(0.3, (0_u32..120, 0_u32..120));
    let maps = prop::sample::subsequence(MAPS.to_vec(), 0..3);
    (prop::option::of(0_usize..4), latency, maps).prop_map(|(region, latency, maps)| {
        let latencies = latency.into_iter().flat_map(|(eu, us)| {
            [("latency.eu".to_owned(), f64::from(eu)), ("latency.us".to_owned(), f64::from(us))]
        });
        let region = region.map(|region| REGIONS[region].to_owned());
        (region, latencies.collect(), maps.into_iter().map(str::to_owned).collect())
    })
}

/// A random ticket; its id is set later.
fn cases() -> impl Strategy<Value = Case> {
    let numbers = (0_u32..7, 0_u32..7, 0_u32..9, 0_i64..100, 0_u64..2);
    // Most tickets are alike, since otherwise hardly any fit.
    let rare = (0_usize..12, 0_usize..8);
    (1_usize..4, numbers, places(), rare).prop_map(
        |(players, numbers, (region, mut double_args, maps), (who, list))| {
            let (skill, level, version, age_s, passed) = numbers;
            let (steam, xbox) = (client(Steam, Input::Gamepad), client(XboxLive, Input::Gamepad));
            let client = match who {
                0 => picky(xbox, CrossplayPlatform::XboxLike, CrossplayInput::Any),
                1 => xbox,
                2 => client(PSN, Input::KeyboardAndMouse),
                3 => picky(steam, CrossplayPlatform::Any, CrossplayInput::Gamepad),
                _ => steam,
            };
            double_args.insert("level".to_owned(), f64::from(level));
            let clients = vec![client];
            let values = TicketValues {
                players,
                skill: Some(f64::from(skill)),
                enqueued_ms: START_MS - age_s * 1_000,
                passed_s: passed * 20,
                region,
                crossplay: Crossplay::of(&clients),
                version_group: if version == 0 { "2".into() } else { "1".into() },
                maps,
                double_args,
                string_args: (list == 0).then(|| ("list".to_owned(), "a".to_owned())).into_iter().collect(),
                ..TicketValues::default()
            };
            Case { values, clients }
        },
    )
}

fn pools(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Case>> {
    prop::collection::vec(cases(), count).prop_map(|mut cases| {
        for (number, case) in cases.iter_mut().enumerate() {
            case.values.id = Uuid::from_u128(number as u128 + 1);
        }
        cases
    })
}

fn values(cases: &[Case]) -> Vec<TicketValues> {
    cases.iter().map(|case| case.values.clone()).collect()
}

fn cases_count() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(256)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases_count(),
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(17),
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_proposal_is_legal(scenario in scenarios(), cases in pools(1..40)) {
        let by_id: BTreeMap<_, _> = cases.iter().map(|case| (case.values.id, case.clone())).collect();
        let mut matcher = scenario.matcher(&values(&cases));
        let mut matched = BTreeSet::new();
        for after_s in [0.0, 10.0, 11.5, 60.0, 500.0] {
            for proposal in matcher.pass(at(after_s), &[], &Limits::default()).proposals {
                let fault = scenario.fault(&by_id, &proposal, at(after_s));
                prop_assert_eq!(fault, None, "{:?}", proposal);
                for id in &proposal.tickets {
                    prop_assert!(matched.insert(*id), "{} is in two matches", id);
                    // Some matches do not come about.
                    if proposal.tickets[0].as_u128() % 3 == 0 {
                        matched.remove(id);
                        prop_assert!(matcher.release(*id));
                    } else {
                        prop_assert!(matcher.remove(*id));
                    }
                }
            }
        }
        prop_assert_eq!(matcher.len(), cases.len() - matched.len());
    }

    #[test]
    fn no_match_is_left_over(scenario in scenarios(), cases in pools(2..9)) {
        // What is left after the passes has no match for anybody: as for the oldest, one after another.
        let mut matcher = scenario.matcher(&values(&cases));
        let mut gone = BTreeSet::new();
        loop {
            let pass = matcher.pass(START_MS, &[], &Limits::default());
            gone.extend(pass.proposals.iter().flat_map(|proposal| proposal.tickets.clone()));
            if pass.next_ms != Some(START_MS) {
                break;
            }
        }
        let mut left: Vec<_> = cases.iter().filter(|case| !gone.contains(&case.values.id)).cloned().collect();
        left.sort_by(|a, b| age_s(&b.values, START_MS).total_cmp(&age_s(&a.values, START_MS)));
        for at in 0..left.len() {
            prop_assert!(!scenario.can_match_first(&left[at..], START_MS), "{:?}", left[at].values.id);
        }
    }
}

#[test]
fn the_oldest_ticket_is_matched_if_it_can_be() {
    let config = ProptestConfig {
        cases: cases_count(),
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(18),
        ..ProptestConfig::default()
    };
    let cases_seen = config.cases;
    let possible = Cell::new(0);
    TestRunner::new(config)
        .run(&(scenarios(), pools(2..13)), |(scenario, mut cases)| {
            cases.retain(|case| scenario.takes_part(&case.values, START_MS));
            cases.sort_by(|a, b| {
                let age = |case: &Case| age_s(&case.values, START_MS);
                let key = |case: &Case| (case.values.enqueued_ms, case.values.id);
                age(b).total_cmp(&age(a)).then(key(a).cmp(&key(b)))
            });
            let Some(oldest) = cases.first() else { return Ok(()) };
            let is_possible = scenario.can_match_first(&cases, START_MS);
            possible.set(possible.get() + u32::from(is_possible));
            let pass = scenario.pass(&values(&cases), 0.0);
            let is_matched =
                pass.proposals.iter().any(|proposal| proposal.tickets.contains(&oldest.values.id));
            prop_assert_eq!(is_matched, is_possible, "{:?}", pass);
            Ok(())
        })
        .unwrap();
    let possible = possible.get();
    // Otherwise the pools say little.
    assert!(possible > cases_seen / 10, "only {possible} of {cases_seen} can be matched");
}
