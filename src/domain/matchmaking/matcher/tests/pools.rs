//! Which tickets enter a profile, and from which age on.

use super::builder::{START_MS, Scenario, at, later, numbers, solo};
use crate::domain::matchmaking::matcher::{Backfill, TicketValues};

#[test]
fn a_pool_takes_tickets_whose_values_fit() {
    let scenario = Scenario::new(
        "pools = [{ name = \"ranked\", double_ranges = [{ arg = \"level\", min = 1.0, max = 5.0, exclude = \"max\" }], \
         string_equals = [{ arg = \"mode\", value = \"ctf\" }], tags_present = [\"beta\"] }]",
    );
    let ticket = |level: f64, mode: &str, tag: &str| TicketValues {
        double_args: [("level".to_owned(), level)].into(),
        string_args: [("mode".to_owned(), mode.to_owned())].into(),
        tags: vec![tag.to_owned()],
        ..solo(1)
    };
    for (values, enters) in [
        (ticket(1.0, "ctf", "beta"), true),
        (ticket(4.999, "ctf", "beta"), true),
        (ticket(5.0, "ctf", "beta"), false),
        (ticket(0.999, "ctf", "beta"), false),
        (ticket(f64::NAN, "ctf", "beta"), false),
        (ticket(2.0, "tdm", "beta"), false),
        (ticket(2.0, "ctf", "alpha"), false),
        (solo(1), false),
    ] {
        assert_eq!(scenario.ticket(&values).enters(), enters, "{values:?}");
        let other = TicketValues { id: uuid::Uuid::from_u128(2), ..ticket(2.0, "ctf", "beta") };
        assert_eq!(scenario.matches(&[values, other], 0.0).len(), usize::from(enters));
    }
}

#[test]
fn a_pool_takes_tickets_of_an_age() {
    let scenario =
        Scenario::new("pools = [{ name = \"patient\", created_before_s = 30, created_after_s = 60 }]");
    let two = [solo(1), solo(2)];
    for (after_s, count) in [(29.999, 0), (30.0, 1), (60.0, 1), (60.001, 0)] {
        assert_eq!(scenario.matches(&two, after_s).len(), count, "after {after_s} s");
        // The same for tickets that the matcher has seen getting older.
        let mut matcher = scenario.matcher(&two);
        matcher.hold(two[0].id);
        for before in [0.0, 29.0, 31.0, 59.0] {
            if before < after_s {
                assert!(matcher.pass(at(before), &[], &Default::default()).proposals.is_empty());
            }
        }
        matcher.release(two[0].id);
        let pass = matcher.pass(at(after_s), &[], &Default::default());
        assert_eq!(pass.proposals.len(), count, "after {after_s} s");
    }
}

/// A match that has begun and wants two players on one team.
fn backfill() -> Backfill {
    Backfill { region: "default".into(), wanted: vec![2], created_ms: START_MS, ..Backfill::default() }
}

#[test]
fn the_join_mode_decides_which_matches_tickets_take_part_in() {
    let from_30 = Scenario::new("join_mode = \"created_before\"\ncreated_before_s = 30");
    let two = [solo(1), solo(2)];
    assert_eq!(from_30.matches(&two, 29.0).len(), 0);
    assert_eq!(from_30.matches(&two, 30.0).len(), 1);
    assert_eq!(from_30.matches(&[solo(1), later(1.0, solo(2))], 30.0).len(), 0, "also not as a candidate");
    assert_eq!(numbers(&from_30.fill(&backfill(), &two, 1.0)), [[[1, 2]]]);
    let never = Scenario::new("join_mode = \"backfill\"");
    assert_eq!(never.matches(&two, 1e6).len(), 0);
    assert_eq!(numbers(&never.fill(&backfill(), &two, 1.0)), [[[1, 2]]]);
}
