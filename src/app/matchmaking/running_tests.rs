//! Which matches passes try, and in which order.

use std::borrow::Cow;

use super::*;

fn id(number: usize) -> SessionId {
    SessionId::parse(&format!("match{number}")).unwrap()
}

fn wanted(can_be_filled: bool) -> WantedPlayers<'static> {
    WantedPlayers { backfill_id: Cow::Borrowed("b"), wanted: vec![1], can_be_filled }
}

/// Matches with these numbers; the one with the least number is the youngest.
fn running(count: usize) -> Running {
    let mut running = Running::new("p".to_owned());
    for number in 0..count {
        running.note(id(number), -(number as i64), wanted(true));
    }
    running
}

#[test]
fn only_the_match_that_has_changed_is_tried_again() {
    let mut running = running(3);
    assert_eq!(running.turn(), [id(2), id(1), id(0)]);
    assert!(!running.has_untried());
    running.note(id(1), -1, wanted(true));
    assert_eq!(running.turn(), [id(1)]);
    running.forget_seen(&id(2));
    assert_eq!(running.turn(), [id(2)]);
    running.found(id(0), 0, wanted(true));
    assert!(!running.has_untried(), "it is as it was");
    running.try_all();
    assert_eq!(running.turn().len(), 3);
}

#[test]
fn the_turn_is_taken_from_the_oldest_that_can_be_filled_and_leaves_none_out() {
    let mut running = running(2 * FILLED_AT_ONCE);
    for number in 0..FILLED_AT_ONCE {
        running.note(id(number), -(number as i64), wanted(number < 5));
    }
    let (first, second) = (FILLED_AT_ONCE..2 * FILLED_AT_ONCE, 0..5);
    let expected = |numbers: std::ops::Range<usize>| numbers.rev().map(id).collect::<Vec<_>>();
    assert_eq!(running.turn(), expected(first.clone()));
    running.try_all();
    let turn = running.turn();
    assert_eq!(turn[..5], expected(second), "new tickets do not let the first ones come first again");
    assert_eq!(turn.len(), FILLED_AT_ONCE);
    assert_eq!(running.turn().len(), 5);
    assert!(!running.has_untried());
    running.try_all();
    assert_eq!(running.turn(), expected(first));
}

#[test]
fn a_match_that_fails_is_set_aside_for_a_time_that_doubles() {
    let mut running = running(2);
    running.turn();
    let mut up_ms = 0;
    for pause_ms in [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
        running.set_aside(&id(0), up_ms);
        assert_eq!(running.next_up_ms(), Some(up_ms + pause_ms));
        // Neither news nor other tickets end it.
        running.note(id(0), 0, wanted(true));
        running.confirmed(&id(0));
        running.forget_seen(&id(0));
        running.try_all();
        running.try_those_set_aside(up_ms + pause_ms - 1, false);
        assert_eq!(running.turn(), [id(1)]);
        up_ms += pause_ms;
        running.try_those_set_aside(up_ms, false);
        assert_eq!((running.next_up_ms(), running.turn()), (None, vec![id(0)]));
    }
    running.try_those_set_aside(up_ms + ASIDE_MS_MAX, false);
    running.set_aside(&id(0), 0);
    assert_eq!(running.next_up_ms(), Some(ASIDE_MS_MIN), "the failures are long ago");
    running.forget(&id(0));
    running.try_those_set_aside(up_ms, false);
    assert_eq!((running.next_up_ms(), running.has_untried()), (None, false));
}

fn looked(is_confirmed: bool, roster: u64) -> Option<Looked> {
    Some(Looked { backfill: Some(Backfill::default()), is_confirmed, roster })
}

#[test]
fn a_match_without_a_confirmation_waits_for_one() {
    let mut running = running(1);
    running.turn();
    running.note_look(&id(0), looked(false, 1), 0);
    assert!(running.open().is_empty());
    running.try_all();
    running.try_those_set_aside(UNCONFIRMED_FOR_MS, false);
    assert!(!running.has_untried(), "without other nodes the confirmation is news");
    running.confirmed(&id(0));
    assert_eq!(running.turn(), [id(0)]);
    running.note_look(&id(0), looked(false, 1), 0);
    running.try_those_set_aside(UNCONFIRMED_FOR_MS, true);
    assert_eq!(running.turn(), [id(0)], "another node may have it");
    running.note_look(&id(0), looked(true, 1), 0);
    assert_eq!(running.open().len(), 1);
}

#[test]
fn with_other_nodes_all_matches_are_tried_at_intervals() {
    let mut running = running(1);
    running.try_those_set_aside(0, true);
    running.turn();
    running.try_those_set_aside(SEEN_FOR_MS - 1, true);
    assert!(!running.has_untried());
    running.try_those_set_aside(SEEN_FOR_MS, true);
    assert_eq!(running.turn(), [id(0)]);
}

#[test]
fn tickets_are_kept_out_until_the_players_are_others() {
    let mut running = running(1);
    let tickets = [1, 2].map(Uuid::from_u128);
    running.note_look(&id(0), looked(true, 1), 0);
    running.exclude(&id(0), &tickets);
    running.note(id(0), 0, wanted(true));
    running.note_look(&id(0), looked(true, 1), 0);
    assert_eq!(running.open()[0].excluded, tickets.into());
    let seen = Arc::new(Backfill::default());
    running.ready = vec![Fillable { session_id: id(0), seen }];
    let ready = running.ready(|ticket| *ticket == tickets[0]);
    assert_eq!(ready[0].excluded, [tickets[0]].into(), "the other one waits no longer");
    running.note_look(&id(0), looked(true, 2), 0);
    assert!(running.open()[0].excluded.is_empty());
}
