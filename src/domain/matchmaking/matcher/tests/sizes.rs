//! Sizes: who is matched, on which side, and from which age on matches are smaller.

use super::builder::{Scenario, at, later, numbers, party, skilled, solo, sorted};
use crate::domain::matchmaking::matcher::{Limits, TicketValues};

const FOURS: &str = "min_players_per_side = 4\nmax_players_per_side = 4";

#[test]
fn the_oldest_of_equal_tickets_are_matched() {
    let mut tickets: Vec<_> = (1..=9).map(|number| later(number as f64 / 10.0, solo(10 - number))).collect();
    tickets.reverse();
    let pass = Scenario::new(FOURS).pass(&tickets, 2.0);
    let [proposal] = &pass.proposals[..] else { panic!("{pass:?}") };
    let ids: Vec<_> = proposal.tickets.iter().map(|id| id.as_u128()).collect();
    assert_eq!(ids, [9, 8, 7, 6, 5, 4, 3, 2], "the longest wait first; the newest waits");
    assert_eq!(proposal.sides.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4]);
    assert_eq!(proposal.players, 8);
}

#[test]
fn many_equal_tickets_are_matched_by_age() {
    // The values below the seed's are walked downwards, but equal ones by age, too.
    let mut tickets: Vec<_> = (1..=200).map(|number| later(number as f64, skilled(number, 3.0))).collect();
    tickets.push(skilled(500, 3.5));
    let profile = "fields = [{ name = \"rank\" }]";
    let matches = Scenario::new(profile).matches(&tickets, 300.0);
    assert_eq!(matches[0], [vec![500], vec![1]]);
    assert_eq!(sorted(matches[1].clone()), [vec![2], vec![3]]);
}

#[test]
fn parties_stay_whole() {
    let of_sizes = |sizes: &[usize]| -> Vec<TicketValues> {
        sizes.iter().enumerate().map(|(at, size)| party(at as u128 + 1, *size)).collect()
    };
    let fours = Scenario::new(FOURS);
    let sides = sorted(fours.matches(&of_sizes(&[3, 2, 2, 1]), 0.0)[0].clone());
    assert_eq!(sides, [vec![1, 4], vec![2, 3]]);
    assert_eq!(fours.matches(&of_sizes(&[3, 3, 2]), 0.0), [[[0; 0]; 0]; 0]);
    let twos = Scenario::new("min_players_per_side = 2\nmax_players_per_side = 2");
    assert_eq!(sorted(twos.matches(&of_sizes(&[2, 1, 1]), 0.0)[0].clone()), [vec![1], vec![2, 3]]);
    assert_eq!(fours.matches(&of_sizes(&[8]), 0.0).len(), 0, "a party is on one side");
}

#[test]
fn one_side_can_be_a_match() {
    let alone = Scenario::new("num_sides = 1\nmin_players_per_side = 2\nmax_players_per_side = 4");
    assert_eq!(alone.matches(&[party(1, 4)], 0.0), [[[1]]]);
    assert_eq!(alone.matches(&[party(1, 3)], 0.0).len(), 0);
}

#[test]
fn matches_get_smaller_with_age() {
    let profile = |delta: usize| {
        Scenario::new(&format!(
            "min_players_per_side = 3\nmax_players_per_side = 4\nmax_side_delta = {delta}\n\
             size_widen = {{ full_for_s = 20, min_after_s = 60 }}"
        ))
    };
    let seven: Vec<_> = (1..=7).map(solo).collect();
    let sizes = |delta, after_s| -> Vec<Vec<usize>> {
        let matches = profile(delta).matches(&seven, after_s);
        matches.iter().map(|sides| sides.iter().map(Vec::len).collect()).collect()
    };
    assert_eq!(sizes(1, 39.9), [[0; 0]; 0]);
    let [mut found] = <[_; 1]>::try_from(sizes(1, 40.0)).unwrap();
    found.sort_unstable();
    assert_eq!(found, [3, 4]);
    assert_eq!(sizes(0, 59.9), [[0; 0]; 0]);
    assert_eq!(sizes(0, 60.0), [[3, 3]], "one waits");
    // The same by way of the steps: the matcher notices by itself when the size shrinks.
    let mut matcher = profile(1).matcher(&seven);
    let limits = Limits::default();
    let next = matcher.pass(at(1.0), &[], &limits).next_ms;
    assert_eq!(next, Some(at(40.0)));
    assert_eq!(numbers(&matcher.pass(next.unwrap(), &[], &limits)).len(), 1);
}

#[test]
fn a_match_of_two_hundred_is_made() {
    let profile = "min_players_per_side = 100\nmax_players_per_side = 100";
    let tickets: Vec<_> = (1..=200).map(solo).collect();
    assert_eq!(Scenario::new(profile).pass(&tickets, 0.0).proposals[0].players, 200);
}

#[test]
fn the_side_skill_decides_who_plays_on_which_side() {
    let profile = |side_skill: &str| {
        Scenario::new(&format!(
            "min_players_per_side = 2\nmax_players_per_side = 2\nside_skill_delta = [{side_skill}]"
        ))
    };
    let tickets = [skilled(1, 0.0), skilled(2, 1.0), skilled(3, 8.0), skilled(4, 9.0)];
    let strict = profile("{ after_s = 0, value = 0.0 }");
    assert_eq!(sorted(strict.matches(&tickets, 0.0)[0].clone()), [vec![1, 4], vec![2, 3]]);
    let uneven = [skilled(1, 0.0), skilled(2, 1.0), skilled(3, 8.0), skilled(4, 19.0)];
    assert_eq!(strict.matches(&uneven, 0.0).len(), 0);
    let widening = profile("{ after_s = 0, value = 1.0 }, { after_s = 30, value = 5.0 }");
    assert_eq!(widening.matches(&uneven, 29.9).len(), 0);
    let pass = widening.pass(&uneven, 30.0);
    assert_eq!(pass.proposals[0].quality.side_skill_difference, 5.0);
}
