//! The same tickets at the same time give the same proposals, however they came here.

use std::collections::BTreeSet;

use super::builder::{Random, Scenario, at, later, numbers, party, rounds, skilled};
use crate::domain::matchmaking::matcher::{Limits, Pass, TicketValues};

fn scenario() -> Scenario {
    let widen = "[{ after_s = 0, value = 40.0 }, { after_s = 20, value = 90.0 }, { after_s = 60 }]";
    let profile = format!(
        "min_players_per_side = 2\nmax_players_per_side = 3\nsize_widen = {{ full_for_s = 10, min_after_s = 50 }}\n\
         region_widen = [{{ after_s = 0, to = \"own\" }}, {{ after_s = 30, to = \"any\" }}]\n\
         fields = [{{ name = \"rank\", widen = {widen} }}, {{ name = \"level\", widen = {widen} }}]"
    );
    Scenario::new(&profile).regions(&[("eu", 0, &[], false), ("us", 1, &[], false)])
}

fn pool(random: &mut Random, count: usize) -> Vec<TicketValues> {
    let ticket = |number: usize| TicketValues {
        // Round values, so that many are equal.
        skill: Some((random.below(50) * 20) as f64),
        double_args: [("level".to_owned(), random.below(100) as f64)].into(),
        region: [None, Some("eu"), Some("us")][random.below(3)].map(str::to_owned),
        passed_s: random.below(2) as u64 * 10,
        ..later(random.below(60) as f64, party(number as u128 + 1, 1 + random.below(3)))
    };
    (0..count).map(ticket).collect()
}

#[test]
fn the_order_of_arrival_changes_nothing() {
    let scenario = scenario();
    let mut random = Random(7);
    let mut tickets = pool(&mut random, 150);
    let expected = scenario.pass(&tickets, 70.0);
    assert!(expected.proposals.len() > 10);
    for _ in 0..2 * rounds() {
        random.shuffle(&mut tickets);
        assert_eq!(scenario.pass(&tickets, 70.0), expected);
    }
}

#[test]
fn the_history_of_the_matcher_changes_nothing() {
    let scenario = scenario();
    let mut random = Random(8);
    let mut tickets = pool(&mut random, 150);
    let expected = scenario.pass(&tickets, 70.0);
    for round in 0..2 * rounds() {
        random.shuffle(&mut tickets);
        let mut matcher = scenario.matcher(&[]);
        let mut strangers = Vec::new();
        for (number, values) in tickets.iter().enumerate() {
            assert!(matcher.add(scenario.ticket(values)));
            let stranger = skilled(10_000 + number as u128, random.below(1_000) as f64);
            match random.below(5) {
                0 => {
                    assert!(matcher.add(scenario.ticket(&stranger)));
                    strangers.push(stranger);
                }
                1 => assert!(matcher.remove(values.id) && matcher.add(scenario.ticket(values))),
                2 => {
                    assert!(matcher.hold(values.id) && !matcher.hold(values.id) && matcher.release(values.id))
                }
                3 => {
                    // Classes are those of an earlier time, or of a later one.
                    matcher.explain(values.id, at([10.0, 40.0, 95.0][random.below(3)]), &[]);
                }
                _ => assert!(!matcher.add(scenario.ticket(values))),
            }
        }
        strangers.iter().for_each(|stranger| assert!(matcher.remove(stranger.id)));
        let pass = matcher.pass(at(70.0), &[], &Limits::default());
        assert_eq!(numbers(&pass), numbers(&expected), "round {round}");
        assert_eq!(pass, expected, "round {round}");
    }
}

#[test]
fn released_tickets_are_matched_again() {
    let scenario = scenario();
    let tickets = pool(&mut Random(9), 60);
    let mut matcher = scenario.matcher(&tickets);
    let first = matcher.pass(at(70.0), &[], &Limits::default());
    let second = matcher.pass(at(70.0), &[], &Limits::default());
    let ids = |pass: &Pass| -> BTreeSet<_> {
        pass.proposals.iter().flat_map(|proposal| proposal.tickets.clone()).collect()
    };
    assert!(ids(&first).len() > 40 && ids(&first).is_disjoint(&ids(&second)), "they are held");
    for id in ids(&first).union(&ids(&second)) {
        assert!(matcher.release(*id) && !matcher.release(*id));
    }
    assert_eq!(matcher.pass(at(70.0), &[], &Limits::default()).proposals, first.proposals);
}
