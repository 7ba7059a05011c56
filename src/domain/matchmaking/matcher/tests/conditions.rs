//! What tickets must have in common: numbers, texts, platforms and inputs.

use uuid::Uuid;

use super::builder::{Scenario, at, client, later, picky, skilled, solo};
use crate::domain::Platform::{PSN, Steam, XboxLive};
use crate::domain::client::{CrossplayInput as I, CrossplayPlatform as P, Input};
use crate::domain::matchmaking::matcher::{Crossplay, Limits, TicketValues};

fn duel(widen_by: &str) -> Scenario {
    Scenario::new(&format!(
        "fields = [{{ name = \"rank\", widen_by = \"{widen_by}\", widen = [{{ after_s = 0, value = 2.0 }}, \
         {{ after_s = 30, value = 5.0 }}, {{ after_s = 120 }}] }}]"
    ))
}

#[test]
fn the_skill_range_widens_with_age() {
    let apart = [skilled(1, 0.0), skilled(2, 10.0)];
    assert_eq!(duel("oldest").matches(&apart, 119.9).len(), 0);
    assert_eq!(duel("oldest").matches(&apart, 120.0).len(), 1);
    let near = [skilled(1, 0.0), skilled(2, 5.0)];
    assert_eq!(duel("oldest").matches(&near, 29.9).len(), 0);
    let pass = duel("oldest").pass(&near, 30.0);
    assert_eq!(pass.proposals[0].quality.spreads, [Some(1.0)]);
}

/// An outlier waits while a newcomer comes each second. The second at which the outlier is matched, if it is.
fn outlier_matched_at_s(widen_by: &str) -> Option<usize> {
    let scenario = duel(widen_by);
    let mut matcher = scenario.matcher(&[skilled(1, 10.0)]);
    for second in 1..200 {
        let newcomer = later(second as f64, skilled(1_000 + second as u128, 0.0));
        matcher.add(scenario.ticket(&newcomer));
        let pass = matcher.pass(at(second as f64), &[], &Limits::default());
        for proposal in &pass.proposals {
            if proposal.tickets.contains(&Uuid::from_u128(1)) {
                return Some(second);
            }
            proposal.tickets.iter().for_each(|id| assert!(matcher.remove(*id)));
        }
    }
    None
}

#[test]
fn the_age_of_the_oldest_or_of_the_newest_decides() {
    assert_eq!(outlier_matched_at_s("oldest"), Some(120));
    assert_eq!(outlier_matched_at_s("newest"), None);
    let apart = [skilled(1, 10.0), later(60.0, skilled(2, 6.0))];
    assert_eq!(duel("newest").matches(&apart, 89.9).len(), 0);
    assert_eq!(duel("newest").matches(&apart, 90.0).len(), 1);
}

#[test]
fn all_fields_must_be_close() {
    let profile = "fields = [{ name = \"rank\", widen = [{ after_s = 0, value = 2.0 }] }, \
                   { name = \"level\", default = 5.0, widen = [{ after_s = 0, value = 1.0 }] }]";
    let level = |number, level: f64| TicketValues {
        double_args: [("level".to_owned(), level)].into(),
        ..skilled(number, 1.0)
    };
    let scenario = Scenario::new(profile);
    assert_eq!(scenario.matches(&[level(1, 1.0), level(2, 3.0)], 0.0).len(), 0);
    assert_eq!(scenario.matches(&[level(1, 1.0), level(2, 2.0)], 0.0).len(), 1);
    assert_eq!(scenario.matches(&[level(1, 4.0), skilled(2, 1.0)], 0.0).len(), 1, "5 is the default");
}

#[test]
fn texts_and_versions_must_be_equal() {
    let scenario = Scenario::new("equal = [\"playlist\"]");
    let list = |number, list: Option<&str>| TicketValues {
        string_args: list.map(|list| ("playlist".to_owned(), list.to_owned())).into_iter().collect(),
        ..solo(number)
    };
    assert_eq!(scenario.matches(&[list(1, Some("a")), list(2, Some("b"))], 0.0).len(), 0);
    assert_eq!(scenario.matches(&[list(1, Some("a")), list(2, None)], 0.0).len(), 0);
    assert_eq!(scenario.matches(&[list(1, None), list(2, None)], 0.0).len(), 1);
    assert_eq!(scenario.matches(&[list(1, Some("a")), list(2, Some("a"))], 0.0).len(), 1);
    let version = |number, version: &str| TicketValues { version_group: version.to_owned(), ..solo(number) };
    assert_eq!(scenario.matches(&[version(1, "1.0"), version(2, "1.1")], 0.0).len(), 0);
}

#[test]
fn everybody_accepts_all_platforms_and_inputs_of_a_match() {
    let xbox_only = |client| picky(client, P::XboxLike, I::Any);
    let gamepads_only = |client| picky(client, P::Any, I::Gamepad);
    let (xbox, psn) = (client(XboxLive, Input::Gamepad), client(PSN, Input::Gamepad));
    let keyboard = client(Steam, Input::KeyboardAndMouse);
    let meets = |one: &_, other: &_| {
        let ticket = |number, client| TicketValues { crossplay: Crossplay::of([client]), ..solo(number) };
        !Scenario::new("").matches(&[ticket(1, one), ticket(2, other)], 1e6).is_empty()
    };
    assert!(!meets(&xbox_only(xbox.clone()), &psn));
    assert!(meets(&xbox_only(xbox.clone()), &xbox));
    assert!(meets(&psn, &xbox));
    assert!(!meets(&gamepads_only(psn.clone()), &keyboard));
    assert!(meets(&gamepads_only(psn.clone()), &xbox));
    assert!(!Crossplay::of([&xbox_only(xbox.clone()), &psn]).agrees());
    assert!(!Crossplay::of([&gamepads_only(psn), &keyboard]).agrees());
    assert!(Crossplay::of([&xbox_only(xbox.clone()), &xbox]).agrees());
}

#[test]
fn platforms_are_agreed_on_by_all_not_by_pairs() {
    // Each two of them could play together, if a party of both could stand between them.
    let xbox_only = picky(client(XboxLive, Input::Gamepad), P::XboxLike, I::Any);
    let ticket = |number, clients: &[_]| TicketValues { crossplay: Crossplay::of(clients), ..solo(number) };
    let scenario = Scenario::new("num_sides = 3");
    let mixed = [
        ticket(1, &[xbox_only]),
        ticket(2, &[client(XboxLive, Input::Gamepad)]),
        ticket(3, &[client(PSN, Input::Gamepad)]),
    ];
    assert_eq!(scenario.matches(&mixed, 0.0).len(), 0);
    assert_eq!(Scenario::new("").matches(&mixed, 0.0), [[[1], [2]]]);
}
