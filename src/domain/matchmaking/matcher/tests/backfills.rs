//! Matches that have begun and want more players.

use uuid::Uuid;

use super::builder::{START_MS, Scenario, at, client, later, numbers, party, picky, skilled, solo};
use crate::domain::Platform::{PSN, Steam};
use crate::domain::client::{CrossplayInput, CrossplayPlatform, Input};
use crate::domain::matchmaking::matcher::{Backfill, Crossplay, Limits, TicketValues};

fn wants(number: u128, wanted: &[usize]) -> Backfill {
    Backfill {
        id: Uuid::from_u128(number),
        created_ms: START_MS,
        region: "default".into(),
        wanted: wanted.to_vec(),
        ..Backfill::default()
    }
}

#[test]
fn a_match_that_has_begun_comes_before_new_ones() {
    let scenario = Scenario::new("min_players_per_side = 4\nmax_players_per_side = 4");
    let tickets: Vec<_> = (1..=9).map(|number| later(number as f64, solo(number))).collect();
    let pass = scenario.fill(&wants(77, &[0, 1]), &tickets, 20.0);
    assert_eq!(pass.proposals[0].backfill, Some(Uuid::from_u128(77)));
    assert_eq!(numbers(&pass)[0], [vec![], vec![1]]);
    assert_eq!(pass.proposals[1].backfill, None);
    assert_eq!(pass.proposals[1].players, 8);
    assert_eq!(pass.proposals.len(), 2);
}

#[test]
fn the_older_of_two_backfills_gets_the_only_ticket() {
    let scenario = Scenario::new("");
    let older = Backfill { created_ms: START_MS - 1, ..wants(2, &[1]) };
    let mut matcher = scenario.matcher(&[solo(5)]);
    let pass = matcher.pass(at(0.0), &[wants(1, &[1]), older], &Limits::default());
    assert_eq!(
        pass.proposals.iter().map(|proposal| proposal.backfill).collect::<Vec<_>>(),
        [Some(Uuid::from_u128(2))]
    );
}

#[test]
fn parties_stay_on_one_team() {
    let scenario = Scenario::new("join_mode = \"backfill\"");
    let fill = |wanted: &[usize], overfill, sizes: &[usize]| {
        let tickets: Vec<_> = sizes
            .iter()
            .enumerate()
            .map(|(at, size)| later(at as f64, party(at as u128 + 1, *size)))
            .collect();
        let backfill = Backfill { overfill, ..wants(1, wanted) };
        numbers(&scenario.fill(&backfill, &tickets, 60.0)).first().cloned()
    };
    assert_eq!(fill(&[1, 1], false, &[2]), None, "one place on each team is no room for a party of two");
    assert_eq!(fill(&[0, 2], false, &[2]), Some(vec![vec![], vec![1]]));
    assert_eq!(fill(&[0, 0], false, &[1, 1]), None);
    assert_eq!(fill(&[], false, &[1, 1]), None);
    assert_eq!(fill(&[2, 1], false, &[3, 2, 1, 1]), Some(vec![vec![2], vec![3]]));
    assert_eq!(
        fill(&[1, 0], true, &[3, 1]),
        Some(vec![vec![1], vec![]]),
        "the last party may exceed the team"
    );
}

#[test]
fn tickets_must_fit_the_players_who_are_there() {
    let scenario = Scenario::new(
        "fields = [{ name = \"rank\", widen = [{ after_s = 0, value = 2.0 }, { after_s = 30, value = 8.0 }] }]\nequal = [\"playlist\"]",
    );
    let there = Backfill { equal: vec![None], ranges: vec![Some((4.0, 5.0))], ..wants(1, &[4]) };
    let fits = |backfill: &Backfill, values: TicketValues, after_s| {
        !scenario.fill(backfill, &[values], after_s).proposals.is_empty()
    };
    assert!(fits(&there, skilled(1, 3.0), 0.0), "a range from 3 to 5");
    assert!(!fits(&there, skilled(1, 2.9), 0.0));
    assert!(!fits(&there, skilled(1, 12.0), 29.9));
    assert!(fits(&there, skilled(1, 12.0), 30.0));
    assert!(
        fits(&Backfill { ranges: vec![None], ..there.clone() }, skilled(1, 99.0), 0.0),
        "nothing is known"
    );
    assert!(!fits(&Backfill { version_group: "2".into(), ..there.clone() }, skilled(1, 4.0), 0.0));
    assert!(!fits(&Backfill { equal: vec![Some("a".into())], ..there.clone() }, skilled(1, 4.0), 0.0));
    assert!(!fits(
        &Backfill { excluded: [Uuid::from_u128(1)].into(), ..there.clone() },
        skilled(1, 4.0),
        0.0
    ));
    assert!(!fits(&Backfill { region: "gone".into(), ..there.clone() }, skilled(1, 4.0), 0.0));
    let picky = picky(client(PSN, Input::Gamepad), CrossplayPlatform::PlayStationLike, CrossplayInput::Any);
    let picky = TicketValues { crossplay: Crossplay::of([&picky]), ..skilled(1, 4.0) };
    let steam = Crossplay::of([&client(Steam, Input::Gamepad)]);
    assert!(!fits(&Backfill { crossplay: steam, ..there.clone() }, picky.clone(), 0.0));
    assert!(fits(&there, picky, 0.0));
    // Two that fit, but not each other.
    let pass = scenario.fill(&there, &[skilled(1, 3.2), later(1.0, skilled(2, 5.5))], 1.0);
    assert_eq!(numbers(&pass), [[[2]]], "the one that widens the range least");
}

#[test]
fn a_running_match_has_a_region_and_a_map() {
    let scenario = Scenario::new("maps = \"hard\"").maps(&[("alps", 0.0), ("bay", 1.0), ("dam", 1.0)]);
    let scenario = scenario.regions(&[("eu", 0, &[], false), ("us", 1, &[], false)]);
    let there = Backfill { region: "us".into(), map: Some(2), ..wants(1, &[1]) };
    let ticket = |region: &str, map: &str| TicketValues {
        region: Some(region.to_owned()),
        maps: vec![map.to_owned()],
        ..solo(1)
    };
    let fits = |values| !scenario.fill(&there, &[values], 0.0).proposals.is_empty();
    assert!(fits(ticket("us", "dam")));
    assert!(!fits(ticket("eu", "dam")));
    assert!(!fits(ticket("us", "bay")));
}
