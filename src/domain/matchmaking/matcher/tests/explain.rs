//! Why a ticket waits.

use uuid::Uuid;

use super::builder::{Scenario, at, later, party, skilled, solo};
use crate::domain::matchmaking::matcher::{Backfill, Limits, Obstacle, TicketValues};

#[test]
fn a_waiting_ticket_is_explained() {
    let scenario = Scenario::new(
        "min_players_per_side = 2\nmax_players_per_side = 2\nequal = [\"list\"]\n\
         size_widen = { full_for_s = 50, min_after_s = 50 }\n\
         fields = [{ name = \"rank\", widen = [{ after_s = 0, value = 1.0 }, { after_s = 40 }] }]",
    );
    let other_list = TicketValues { string_args: [("list".to_owned(), "a".to_owned())].into(), ..solo(4) };
    let tickets =
        [skilled(1, 1.0), skilled(2, 2.0), skilled(3, 9.0), other_list, party(5, 4), later(1.0, solo(6))];
    let mut matcher = scenario.matcher(&tickets);
    assert!(matcher.hold(Uuid::from_u128(6)));
    let explanation = matcher.explain(Uuid::from_u128(1), at(10.0), &[]).unwrap();
    assert_eq!((explanation.age_ms, explanation.players_needed), (10_000, 4));
    assert!(explanation.takes_part && !explanation.is_held);
    assert_eq!(explanation.next_step_ms, Some(at(40.0)));
    let fit = explanation.fit;
    assert_eq!([fit.waiting, fit.texts, fit.take_part, fit.size], [4, 3, 3, 2]);
    assert_eq!([fit.crossplay, fit.regions, fit.maps, fit.fields["rank"]], [3, 3, 3, 2]);
    assert_eq!([fit.all, fit.players], [1, 1]);
    let later = matcher.explain(Uuid::from_u128(1), at(60.0), &[]).unwrap();
    assert_eq!((later.next_step_ms, later.fit.all), (None, 2));
    assert!(matcher.explain(Uuid::from_u128(6), at(60.0), &[]).unwrap().is_held);
    assert_eq!(matcher.explain(Uuid::from_u128(99), at(60.0), &[]), None);
}

#[test]
fn an_explanation_names_the_first_obstacle() {
    let profile = "min_players_per_side = 2\nmax_players_per_side = 2\nequal = [\"list\"]\n\
                   fields = [{ name = \"rank\", widen = [{ after_s = 0, value = 1.0 }] }]";
    let listed = |list: &str, ticket: TicketValues| TicketValues {
        string_args: [("list".to_owned(), list.to_owned())].into(),
        ..ticket
    };
    let obstacle = |profile: &str, others: &[TicketValues]| {
        let tickets: Vec<_> = std::iter::once(skilled(1, 5.0)).chain(others.iter().cloned()).collect();
        let mut matcher = Scenario::new(profile).matcher(&tickets);
        matcher.explain(Uuid::from_u128(1), at(1.0), &[]).unwrap().obstacle()
    };
    assert_eq!(obstacle(profile, &[]), Obstacle::NobodyElse);
    assert_eq!(obstacle(profile, &[listed("a", skilled(2, 5.0))]), Obstacle::Texts);
    assert_eq!(obstacle(profile, &[TicketValues { players: 4, ..skilled(2, 5.0) }]), Obstacle::Size);
    assert_eq!(obstacle(profile, &[skilled(2, 9.0)]), Obstacle::Field("rank".into()));
    let large = TicketValues { players: 4, ..skilled(2, 5.0) };
    assert_eq!(obstacle(profile, &[large, skilled(3, 9.0)]), Obstacle::NoneInAll);
    assert_eq!(obstacle(profile, &[skilled(2, 5.0)]), Obstacle::TooFew);
    // The others fit the first, but are too far from each other.
    let around = [4.1, 4.2, 5.8, 5.9].map(|skill| skilled((skill * 10.0) as u128, skill));
    assert_eq!(obstacle(profile, &around[..1]), Obstacle::TooFew);
    assert_eq!(obstacle(profile, &around), Obstacle::NotTogether);
    let backfill = format!("join_mode = \"backfill\"\n{profile}");
    assert_eq!(obstacle(&backfill, &[skilled(2, 5.0)]), Obstacle::TakesNoPart);
}

#[test]
fn a_pass_says_when_the_next_one_can_find_something() {
    let scenario = Scenario::new(
        "fields = [{ name = \"rank\", widen = [{ after_s = 0, value = 1.0 }, { after_s = 40 }] }]",
    );
    let mut matcher = scenario.matcher(&[skilled(1, 1.0), later(5.0, skilled(2, 9.0))]);
    assert_eq!(matcher.oldest_age_ms(at(10.0)), Some(10_000));
    let pass = matcher.pass(at(10.0), &[], &Limits::default());
    assert_eq!((pass.proposals.len(), pass.next_ms), (0, Some(at(40.0))));
    let idle = matcher.pass(at(39.9), &[], &Limits::default());
    assert_eq!(idle.steps, 0, "nothing changed");
    assert_eq!(matcher.pass(at(40.0), &[], &Limits::default()).proposals.len(), 1);
}

#[test]
fn an_explanation_counts_the_running_matches_that_could_take_the_ticket() {
    let scenario = Scenario::new(
        "max_players_per_side = 4\nfields = [{ name = \"rank\", widen = [{ after_s = 0, value = 2.0 }] }]",
    );
    let wants = |wanted: &[usize], rank: f64| Backfill {
        region: "default".into(),
        ranges: vec![Some((rank, rank))],
        wanted: wanted.to_vec(),
        ..Backfill::default()
    };
    let mut matcher = scenario.matcher(&[TicketValues { players: 2, ..skilled(1, 5.0) }]);
    let all = [
        wants(&[0, 2], 4.0),
        wants(&[1, 1], 5.0),
        Backfill { overfill: true, ..wants(&[1, 1], 5.0) },
        wants(&[4, 4], 8.0),
        Backfill { excluded: [Uuid::from_u128(1)].into(), ..wants(&[4, 4], 5.0) },
        Backfill { version_group: "2".into(), ..wants(&[4, 4], 5.0) },
    ];
    let explanation = matcher.explain(Uuid::from_u128(1), at(1.0), &all).unwrap();
    assert_eq!((explanation.running, explanation.running_fit), (6, 2));
}
