//! Regions and maps.

use super::builder::{Scenario, solo};
use crate::domain::matchmaking::matcher::TicketValues;

const WIDENING: &str = "region_widen = [{ after_s = 0, to = \"own\" }, { after_s = 30, to = \"near\" }, \
                        { after_s = 90, to = \"any\" }]";

fn europe_and_america(profile: &str) -> Scenario {
    Scenario::new(profile).regions(&[
        ("eu", 2, &["uk"], false),
        ("uk", 1, &[], false),
        ("us", 3, &[], false),
        ("lan", 0, &[], true),
    ])
}

fn from(number: u128, region: &str) -> TicketValues {
    TicketValues { region: Some(region.to_owned()), ..solo(number) }
}

/// The regions of the matches of the first pass.
fn regions(scenario: &Scenario, tickets: &[TicketValues], after_s: f64) -> Vec<String> {
    scenario.pass(tickets, after_s).proposals.into_iter().map(|proposal| proposal.region).collect()
}

#[test]
fn regions_widen_with_age() {
    let scenario = europe_and_america(WIDENING);
    let (eu, uk, us) = (from(1, "eu"), from(2, "uk"), from(3, "us"));
    let eu_and_uk = [eu.clone(), uk];
    assert_eq!(regions(&scenario, &eu_and_uk, 29.9), [""; 0]);
    // One of them is at home in "uk", and "eu" is not near to the other.
    assert_eq!(regions(&scenario, &eu_and_uk, 30.0), ["uk"]);
    let eu_and_us = [eu.clone(), us.clone()];
    assert_eq!(regions(&scenario, &eu_and_us, 89.9), [""; 0]);
    // The sums of places: 0 + 1 in "eu", 1 + 1 in "uk", 2 + 0 in "us".
    assert_eq!(regions(&scenario, &eu_and_us, 90.0), ["eu"]);
    assert_eq!(regions(&scenario, &[us.clone(), from(4, "us")], 0.0), ["us"]);
    assert_eq!(regions(&scenario, &[us, solo(4)], 0.0), ["us"], "without a region all are accepted");
}

#[test]
fn without_a_wish_the_first_region_in_lists_is_taken() {
    let scenario = europe_and_america(WIDENING);
    assert_eq!(regions(&scenario, &[solo(1), solo(2)], 0.0), ["uk"], "and none for custom games only");
    assert_eq!(regions(&Scenario::new(""), &[solo(1), solo(2)], 0.0), ["default"]);
}

#[test]
fn latencies_decide_where_tickets_have_measured_them() {
    let profile =
        format!("{WIDENING}\nlatency_ms = [{{ after_s = 0, value = 80 }}, {{ after_s = 60, value = 200 }}]");
    let scenario = europe_and_america(&profile);
    let measured = |number, eu: f64, us: f64| TicketValues {
        double_args: [("latency.eu".to_owned(), eu), ("latency.us".to_owned(), us)].into(),
        ..from(number, "uk")
    };
    let apart = [measured(1, 70.0, 90.0), measured(2, 90.0, 70.0)];
    assert_eq!(regions(&scenario, &apart, 59.9), [""; 0]);
    assert_eq!(regions(&scenario, &apart, 60.0), ["eu"]);
    assert_eq!(regions(&scenario, &[measured(1, 70.0, 90.0), measured(2, 80.0, 40.0)], 0.0), ["eu"]);
    assert_eq!(regions(&scenario, &[measured(1, 70.0, 90.0), from(2, "eu")], 0.0), ["eu"]);
    // "uk" was not measured.
    assert_eq!(regions(&scenario, &[measured(1, 70.0, 90.0), from(2, "uk")], 0.0), [""; 0]);
}

#[test]
fn equal_tickets_of_the_own_region_come_first() {
    let scenario = europe_and_america("region_widen = [{ after_s = 0, to = \"any\" }]");
    let tickets = [from(1, "eu"), from(2, "us"), from(3, "uk"), from(4, "eu")];
    assert_eq!(scenario.matches(&tickets, 1.0), [[[1], [4]], [[2], [3]]]);
}

fn wants(number: u128, maps: &[&str]) -> TicketValues {
    TicketValues { maps: maps.iter().map(|map| (*map).to_owned()).collect(), ..solo(number) }
}

/// The maps of the first match of the first pass.
fn maps(mode: &str, tickets: &[TicketValues]) -> Option<Vec<usize>> {
    let scenario = Scenario::new(&format!("maps = \"{mode}\""));
    let scenario = scenario.maps(&[("alps", 1.0), ("bay", 2.0), ("cave", 0.0), ("dam", 1.0)]);
    scenario.pass(tickets, 0.0).proposals.first().map(|proposal| proposal.maps.clone())
}

#[test]
fn hard_wishes_need_a_map_in_common() {
    assert_eq!(maps("hard", &[wants(1, &["alps"]), wants(2, &["bay"])]), None);
    assert_eq!(maps("hard", &[wants(1, &["alps", "dam"]), wants(2, &["/Game/dam"])]), Some(vec![3]));
    assert_eq!(maps("hard", &[wants(1, &["alps"]), wants(2, &[])]), Some(vec![0]), "no wish is any map");
    assert_eq!(
        maps("hard", &[wants(1, &["cave"]), wants(2, &["bay"])]),
        Some(vec![1]),
        "cave is never drawn"
    );
    assert_eq!(maps("hard", &[wants(1, &["unknown"]), wants(2, &["bay"])]), Some(vec![1]));
}

#[test]
fn the_map_is_the_one_with_the_least_sum_of_places() {
    let tickets = [wants(1, &["alps", "bay", "dam"]), wants(2, &["dam", "bay", "alps"])];
    assert_eq!(maps("soft", &tickets), Some(vec![0, 1, 3]), "each has the sum 2: drawn by weight");
    let tickets = [wants(1, &["bay", "alps"]), wants(2, &["alps", "bay", "dam"])];
    assert_eq!(maps("soft", &tickets), Some(vec![0, 1]));
    let tickets = [wants(1, &["bay"]), wants(2, &["alps", "bay"])];
    assert_eq!(maps("soft", &tickets), Some(vec![1]), "the only map that both want");
    let apart = [wants(1, &["bay"]), wants(2, &["dam", "alps"])];
    assert_eq!(maps("soft", &apart), Some(vec![3]), "bay: 0 + 2, dam: 1 + 0, alps: 1 + 1");
    assert_eq!(maps("soft", &[wants(1, &[]), wants(2, &[])]), Some(vec![0, 1, 3]));
    assert_eq!(maps("ignore", &[wants(1, &["alps"]), wants(2, &["dam"])]), Some(vec![0, 1, 3]));
    assert_eq!(Scenario::new("").pass(&[solo(1), solo(2)], 0.0).proposals[0].maps, [0; 0]);
}

#[test]
fn tickets_with_the_same_wishes_are_preferred() {
    let scenario = Scenario::new("").maps(&[("alps", 1.0), ("bay", 1.0)]);
    let tickets = [wants(1, &["alps"]), wants(2, &["bay"]), wants(3, &["bay"]), wants(4, &["alps"])];
    assert_eq!(scenario.matches(&tickets, 0.0), [[[1], [4]], [[2], [3]]]);
}
