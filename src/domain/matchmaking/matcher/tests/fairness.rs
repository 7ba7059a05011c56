//! Nobody waits longer than the rules say.

use uuid::Uuid;

use super::builder::{Random, Scenario, at, later, party, rounds, skilled, solo};
use crate::domain::matchmaking::matcher::{Limits, Matcher, TicketValues};

#[test]
fn time_that_had_passed_before_counts_as_age() {
    let scenario = Scenario::new(
        "fields = [{ name = \"rank\", widen = [{ after_s = 0, value = 1.0 }, { after_s = 60 }] }]",
    );
    let passed = TicketValues { passed_s: 60, ..skilled(2, 9.0) };
    let matches = scenario.matches(&[skilled(1, 0.0), passed.clone(), skilled(3, 5.0)], 0.0);
    assert_eq!(matches, [[[2], [3]]], "its range has widened already, and 5 is nearer");
    let twin = later(-60.0, skilled(4, 9.0));
    let [passed, twin] = [passed, twin].map(|values| scenario.ticket(&values));
    assert_eq!(passed.age_ms(at(5.0)), twin.age_ms(at(5.0)));
    assert!(twin.age_key() < passed.age_key(), "who joined first comes first");
}

fn remove_matched(matcher: &mut Matcher, after_s: f64) -> Vec<Uuid> {
    remove_matched_within(&Limits::default(), matcher, after_s)
}

fn remove_matched_within(limits: &Limits, matcher: &mut Matcher, after_s: f64) -> Vec<Uuid> {
    let pass = matcher.pass(at(after_s), &[], limits);
    let ids: Vec<_> = pass.proposals.iter().flat_map(|proposal| proposal.tickets.clone()).collect();
    ids.iter().for_each(|id| assert!(matcher.remove(*id)));
    ids
}

#[test]
fn a_lone_outlier_is_matched_in_the_first_pass_after_its_last_step() {
    let widen = "[{ after_s = 0, value = 1.0 }, { after_s = 120 }]";
    let scenario =
        Scenario::new(&format!("num_sides = 2\nfields = [{{ name = \"rank\", widen = {widen} }}]"));
    let mut matcher = scenario.matcher(&[skilled(1, 1e6)]);
    // An odd number of newcomers, and no two that could play without the outlier.
    for number in 0..200 * rounds() as u128 {
        matcher.add(scenario.ticket(&later(100.0, skilled(2 + number, number as f64 * 2.0))));
    }
    assert!(remove_matched(&mut matcher, 119.999).is_empty());
    let matched = remove_matched(&mut matcher, 120.0);
    assert!(matched.contains(&Uuid::from_u128(1)) && matched.len() == 2, "{matched:?}");
}

/// The nearest candidates of two parties of 3 are older parties of 3. The parties of 2 that they need are further away
/// than the matcher looks for candidates, and too far away from the older ones.
#[test]
fn what_the_nearest_candidates_hide_is_found_in_turn() {
    let scenario = Scenario::new(
        "min_players_per_side = 5\nmax_players_per_side = 5\nmax_side_delta = 0\n\
         fields = [{ name = \"rank\", widen = [{ after_s = 0, value = 500.0 }] }]",
    );
    let of_skill = |number, players, skill| TicketValues { skill: Some(skill), ..party(number, players) };
    let older = 100 * rounds() as u128;
    let mut tickets: Vec<_> =
        (0..older).map(|number| of_skill(1_000 + number, 3, 290.0 + number as f64 / older as f64)).collect();
    tickets.extend([1, 2].map(|number| later(1.0, of_skill(number, 3, 301.0))));
    tickets.extend([3, 4].map(|number| later(2.0, of_skill(number, 2, 799.0))));
    // They do not see the two either, because of other parties of 2.
    tickets.extend((0..100).map(|number| later(3.0, of_skill(100_000 + number, 2, 810.0))));
    let expected = [1, 2, 3, 4].map(Uuid::from_u128);
    assert_eq!(remove_matched(&mut scenario.matcher(&tickets), 10.0), expected, "sizes that are rare nearby");
    // With fewer looks, the parties of 2 are out of sight.
    let limits = Limits { looks_per_seed: 50, ..Limits::default() };
    let mut matcher = scenario.matcher(&tickets);
    let mut passes = 0;
    let mut matched = Vec::new();
    while matched.is_empty() {
        passes += 1;
        assert!(passes <= tickets.len() / limits.exact_seeds + 1, "no match within the bound");
        matched = remove_matched_within(&limits, &mut matcher, 10.0 + passes as f64 / 4.0);
    }
    assert_eq!(matched, expected);
    assert!(passes > 1, "the older ones had their turns first");
}

#[test]
fn hopeless_older_tickets_keep_nobody_waiting() {
    let scenario = Scenario::new("maps = \"hard\"").maps(&[("alps", 1.0), ("bay", 1.0)]);
    let wants = |number, map: &str| TicketValues { maps: vec![map.to_owned()], ..solo(number) };
    // All the others of this map are parties that are too large for a side.
    let mut tickets: Vec<_> = (0..100 * rounds() as u128)
        .map(|number| TicketValues { players: 2, ..wants(100 + number, "alps") })
        .collect();
    tickets.push(wants(50, "alps"));
    tickets.extend([wants(1, "bay"), wants(2, "bay")].map(|values| later(5.0, values)));
    let mut matcher = scenario.matcher(&tickets);
    assert_eq!(remove_matched(&mut matcher, 6.0), [Uuid::from_u128(1), Uuid::from_u128(2)]);
}

/// A pass that runs out of its steps goes on where it stopped, and begins with the oldest.
#[test]
fn small_budgets_only_delay_matches() {
    let scenario = Scenario::new("fields = [{ name = \"rank\", widen = [{ after_s = 0, value = 3.0 }] }]");
    let mut random = Random(3);
    let tickets: Vec<_> = (1..=400)
        .map(|number| later(random.below(50) as f64, skilled(number, (random.below(200) * 10) as f64)))
        .collect();
    let all: usize = scenario.pass(&tickets, 60.0).proposals.len();
    let mut matcher = scenario.matcher(&tickets);
    let limits = Limits { steps: 100, oldest_seeds: 10, ..Limits::default() };
    let (mut found, mut passes) = (0, 0);
    loop {
        let pass = matcher.pass(at(60.0), &[], &limits);
        found += pass.proposals.len();
        passes += 1;
        if pass.next_ms.is_none() {
            break;
        }
        assert!(passes < 1_000, "{pass:?}");
    }
    assert!(passes > 3);
    assert_eq!(found, all, "after {passes} passes");
}
