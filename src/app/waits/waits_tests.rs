//! Subscriptions, wake-ups and alarms.

use futures_util::future::FutureExt as _;
use jiff::Timestamp;
use uuid::Uuid;

use super::*;
use crate::domain::SessionId;

const LIMITS: WaitLimits = WaitLimits {
    max_ms: 55_000,
    waits_max: 4,
    per_player_max: 2,
    long_polls_per_player_max: 1,
    services_max: 3,
    drain_spread_ms: 3_000,
    sweep_ms: 5_000,
    sweep_keys_per_s: 20_000,
    wake_delay_ms: 0,
};

fn waits() -> Arc<Waits> {
    let clock = Clock::manual(Timestamp::UNIX_EPOCH);
    Arc::new(Waits::new(LIMITS, (clock, Entropy::seeded(1)), Arc::default()))
}

fn player(number: u128) -> Option<PlayerUuid> {
    Some(PlayerUuid(Uuid::from_u128(number)))
}

fn session(id: &str) -> Topic {
    Topic::Session(SessionId::parse(id).unwrap())
}

fn on(topics: &[Topic]) -> Topics {
    topics.iter().cloned().collect()
}

/// Whether a wait is woken now.
fn is_woken(subscription: &mut Subscription) -> bool {
    subscription.sleep_until(i64::MAX).now_or_never().is_some()
}

#[test]
fn a_change_wakes_the_waits_on_its_topics() {
    let waits = waits();
    let mut on_a = waits.subscribe(WaitForm::Get, player(1), on(&[session("a")])).unwrap();
    let mut on_both = waits.subscribe(WaitForm::Get, player(2), on(&[session("a"), session("b")])).unwrap();
    assert!(!is_woken(&mut on_a) && !is_woken(&mut on_both));
    waits.wake([session("b")]);
    assert!(!is_woken(&mut on_a) && is_woken(&mut on_both));
    waits.wake([session("a"), session("c")]);
    assert!(is_woken(&mut on_a) && is_woken(&mut on_both));
    assert!(!is_woken(&mut on_a), "one wake-up is one look");
}

#[test]
fn a_wake_up_before_the_sleep_is_not_lost() {
    let waits = waits();
    let mut subscription = waits.subscribe(WaitForm::Get, player(1), on(&[session("a")])).unwrap();
    waits.wake([session("a")]);
    waits.wake([session("a")]);
    assert!(is_woken(&mut subscription));
    assert!(!is_woken(&mut subscription), "several wake-ups are one");
}

/// Lets time pass, and ends the rests that are over.
fn pass(waits: &Waits, ms: u64) {
    waits.clock.advance(std::time::Duration::from_millis(ms));
    waits.wake_due();
}

#[test]
fn a_topic_with_many_waits_rests_after_a_wake_up() {
    let limits = WaitLimits { waits_max: 5_000, services_max: 5_000, ..LIMITS };
    for (waiting, rest_ms) in [(199, None), (200, Some(10)), (4_999, Some(249))] {
        let waits = Arc::new(Waits::new(
            limits,
            (Clock::manual(Timestamp::UNIX_EPOCH), Entropy::seeded(1)),
            Arc::default(),
        ));
        let mut held: Vec<_> = (0..waiting)
            .map(|_| waits.subscribe(WaitForm::Get, None, on(&[session("a")])).unwrap())
            .collect();
        let mut are_woken = |expected: bool, when: &str| {
            let woken = held.iter_mut().filter_map(|held| is_woken(held).then_some(())).count();
            assert_eq!(woken, if expected { waiting } else { 0 }, "{when}, {waiting} waits");
        };
        waits.wake([session("a")]);
        are_woken(true, "the first wake-up is served at once");
        for _ in 0..3 {
            waits.wake([session("a")]);
        }
        let Some(rest_ms) = rest_ms else {
            are_woken(true, "few waits need no rest");
            continue;
        };
        are_woken(false, "the topic rests");
        pass(&waits, rest_ms - 1);
        are_woken(false, "it still rests");
        pass(&waits, 1);
        are_woken(true, "the changes during the rest share a wake-up");
        pass(&waits, rest_ms);
        are_woken(false, "nothing has changed since");
        waits.wake([session("a")]);
        are_woken(true, "the rest is over");
    }
}

#[test]
fn a_rest_goes_on_although_all_waits_have_ended() {
    let waits = waits();
    let listings = Topic::Listings("game".into());
    let mut first = waits.subscribe(WaitForm::Get, player(1), on(std::slice::from_ref(&listings))).unwrap();
    waits.wake([listings.clone()]);
    assert!(is_woken(&mut first));
    drop(first);
    let mut second = waits.subscribe(WaitForm::Get, player(1), on(std::slice::from_ref(&listings))).unwrap();
    waits.wake([listings]);
    pass(&waits, 249);
    assert!(!is_woken(&mut second));
    pass(&waits, 1);
    assert!(is_woken(&mut second), "the change during the rest is not lost");
    pass(&waits, 250);
    drop(second);
    assert!(waits.by_topic.is_empty() && waits.alarms.is_empty());
}

#[test]
fn the_sweep_wakes_waits_that_may_have_missed_a_change() {
    let waits = waits();
    let seen = |version| Some(Seen(Some(crate::store::Version(version))));
    let mut first = waits.subscribe(WaitForm::Get, player(1), on(&[session("a")])).unwrap();
    assert!(!waits.note_swept(&session("a"), seen(1)), "not known to be a change");
    assert!(is_woken(&mut first), "but the wait may have looked before");
    assert!(!waits.note_swept(&session("a"), seen(1)) && !is_woken(&mut first));
    assert!(waits.note_swept(&session("a"), seen(2)) && is_woken(&mut first));
    assert!(waits.note_swept(&session("a"), Some(Seen(None))), "it has ended");
    assert!(is_woken(&mut first));
    first.note_seen(&[seen(3)]);
    let mut second = waits.subscribe(WaitForm::Get, player(2), on(&[session("a")])).unwrap();
    second.note_seen(&[seen(4)]);
    assert!(waits.note_swept(&session("a"), seen(4)), "the first has not looked since");
    assert!(is_woken(&mut first) && is_woken(&mut second));
    waits.wake([session("a")]);
    assert!(is_woken(&mut first) && is_woken(&mut second));
    first.note_seen(&[seen(5)]);
    second.note_seen(&[seen(5)]);
    assert!(!waits.note_swept(&session("a"), seen(5)), "the wake-up was for this version");
    assert!(!is_woken(&mut first) && !is_woken(&mut second));
    second.note_seen(&[seen(6)]);
    assert!(waits.note_swept(&session("a"), seen(6)), "only one of them has looked at this");
    assert!(is_woken(&mut first));
    let mut third = waits
        .subscribe(WaitForm::LongPoll, player(3), on(&[Topic::List(player(3).unwrap()), session("a")]))
        .unwrap();
    waits.wake([session("a")]);
    assert!(is_woken(&mut first) && is_woken(&mut second) && is_woken(&mut third));
    first.note_seen(&[seen(7)]);
    second.note_seen(&[seen(7)]);
    assert!(!waits.note_swept(&session("a"), seen(7)) && is_woken(&mut third), "nobody knows when it looked");
    assert!(is_woken(&mut first) && is_woken(&mut second));
    third.note_seen(&[None, seen(7)]);
    waits.wake([session("a")]);
    assert!(is_woken(&mut first) && is_woken(&mut second) && is_woken(&mut third));
    assert!(!waits.note_swept(&session("a"), seen(7)), "all have looked at this");
    assert!(!is_woken(&mut first) && !is_woken(&mut second) && !is_woken(&mut third));
    third.note_seen(&[]);
    assert!(!waits.note_swept(&session("a"), seen(7)) && is_woken(&mut third), "it does not say any more");
    drop(third);
    assert!(!waits.note_swept(&session("a"), None), "nothing is known");
    assert!(is_woken(&mut first));
}

/// A shared read that began between two wake-ups has missed the second change.
#[test]
fn the_latest_wake_up_counts_in_whatever_order_they_arrive() {
    let (waiter, now) = (Waiter::new(1), Clock::manual(Timestamp::UNIX_EPOCH).instant());
    waiter.wake_by_change(7, now);
    waiter.wake_by_change(6, now);
    waiter.wake_by_alarm(5);
    waiter.look_from(4);
    assert_eq!(lock(&waiter.last_wake).moment, 7);
}

/// The steps of a wait, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Register,
    Read,
    Compare,
    Sleep,
    Publish,
    Wake,
}

/// Every order of two sequences of steps that keeps the order of each.
fn interleavings(one: &[Step], other: &[Step]) -> Vec<Vec<Step>> {
    match (one, other) {
        ([], rest) | (rest, []) => vec![rest.to_vec()],
        ([first, rest @ ..], [other_first, other_rest @ ..]) => {
            let then = |first: Step, tails: Vec<Vec<Step>>| {
                tails.into_iter().map(move |tail| [&[first][..], &tail].concat())
            };
            let one_first = then(*first, interleavings(rest, other));
            one_first.chain(then(*other_first, interleavings(one, other_rest))).collect()
        }
    }
}

/// Runs the steps on one topic. Returns whether the wait has read the change, at once or after it was woken.
fn finds_the_change(steps: &[Step]) -> bool {
    let waits = waits();
    let (mut held, mut value, mut read, mut is_answered) = (None, 0, 0, false);
    for step in steps {
        match step {
            Step::Register => held = waits.subscribe(WaitForm::Get, player(1), on(&[session("a")])).ok(),
            Step::Read => read = value,
            Step::Compare => is_answered = read != 0,
            Step::Sleep => {}
            Step::Publish => value = 1,
            Step::Wake => waits.wake([session("a")]),
        }
    }
    // The wait sleeps from its last step on, and looks again if it is woken.
    is_answered || is_woken(held.as_mut().unwrap()) && value == 1
}

#[test]
fn a_change_is_found_wherever_it_falls() {
    let wait = [Step::Register, Step::Read, Step::Compare, Step::Sleep];
    let all = interleavings(&wait, &[Step::Publish, Step::Wake]);
    assert_eq!(all.len(), 15);
    for steps in all {
        assert!(finds_the_change(&steps), "{steps:?}");
    }
    // What goes wrong otherwise: a wait that reads before it registers.
    let early_read = [Step::Read, Step::Register, Step::Compare, Step::Sleep];
    let misses = interleavings(&early_read, &[Step::Publish, Step::Wake]);
    assert!(misses.iter().any(|steps| !finds_the_change(steps)));
}

#[test]
fn waits_end_evenly_during_a_drain() {
    const WAITING: usize = 2_000;
    let limits = WaitLimits { waits_max: WAITING, services_max: WAITING, ..LIMITS };
    let clock = Clock::manual(Timestamp::UNIX_EPOCH);
    let waits = Arc::new(Waits::new(limits, (clock, Entropy::seeded(1)), Arc::default()));
    let mut held: Vec<_> =
        (0..WAITING).map(|_| waits.subscribe(WaitForm::Get, None, on(&[session("a")])).unwrap()).collect();
    waits.drain();
    for tenth in 1..=10 {
        pass(&waits, u64::from(LIMITS.drain_spread_ms) / 10);
        let before = held.len();
        held.retain_mut(|held| !is_woken(held));
        assert!(before - held.len() <= WAITING / 5, "tenth {tenth}");
    }
    assert!(held.is_empty(), "all have ended");
}

#[test]
fn a_change_during_a_drain_ends_no_wait_early() {
    let waits = waits();
    let mut held = waits.subscribe(WaitForm::Get, player(1), on(&[session("a")])).unwrap();
    assert!(!is_woken(&mut held));
    waits.drain();
    waits.wake([session("a")]);
    assert!(is_woken(&mut held) && !held.must_end(), "it looks, and sleeps on");
    pass(&waits, u64::from(LIMITS.drain_spread_ms));
    assert!(is_woken(&mut held) && held.must_end());
}

/// With a search through all of them for each, this would take 100 million steps.
#[test]
fn all_waits_on_a_topic_can_end_at_once() {
    const WAITING: usize = 20_000;
    let limits = WaitLimits { waits_max: WAITING, services_max: WAITING, ..LIMITS };
    let clock = Clock::manual(Timestamp::UNIX_EPOCH);
    let waits = Arc::new(Waits::new(limits, (clock, Entropy::seeded(1)), Arc::default()));
    let mut held: Vec<_> =
        (0..WAITING).map(|_| waits.subscribe(WaitForm::Get, None, on(&[session("a")])).unwrap()).collect();
    assert_eq!(waits.by_topic.places(&session("a")) / WAITING, 1);
    waits.wake([session("a")]);
    assert!(held.iter_mut().all(is_woken));
    pass(&waits, 1_000);
    let mut last = held.pop().unwrap();
    drop(held);
    assert_eq!(waits.count(), 1);
    assert!(
        waits.by_topic.places(&session("a")) < 100,
        "a wake-up does not walk through the places of the others"
    );
    waits.wake([session("a")]);
    assert!(is_woken(&mut last));
    drop(last);
    assert!(waits.by_topic.is_empty());
}

#[test]
fn many_waits_leave_nothing_behind() {
    let rounds = std::env::var("RALLYPOINT_TEST_WAITS")
        .map_or(20_000, |rounds| rounds.parse().expect("a number of rounds is a number"));
    let waits = waits();
    for round in 0..rounds {
        let mut held = waits.subscribe(WaitForm::Get, player(1), on(&[session("a"), session("b")])).unwrap();
        assert!(!is_woken(&mut held));
        if round % 3 == 0 {
            waits.wake([session("b")]);
        }
    }
    assert_eq!(waits.count(), 0);
    assert!(waits.by_topic.is_empty() && waits.alarms.is_empty());
}

#[test]
fn other_topics_replace_the_former() {
    let waits = waits();
    let mut subscription =
        waits.subscribe(WaitForm::Get, player(1), on(&[session("a"), session("b")])).unwrap();
    subscription.listen_to(on(&[session("b"), session("c")]));
    for (id, wakes) in [("a", false), ("b", true), ("c", true)] {
        waits.wake([session(id)]);
        assert_eq!(is_woken(&mut subscription), wakes, "{id}");
    }
    drop(subscription);
    assert!(waits.by_topic.is_empty());
}

#[test]
fn an_alarm_wakes_a_wait_once_it_is_due() {
    let waits = waits();
    let mut subscription = waits.subscribe(WaitForm::Get, player(1), on(&[session("a")])).unwrap();
    assert!(subscription.sleep_until(100).now_or_never().is_none());
    waits.wake_due();
    assert!(subscription.sleep_until(100).now_or_never().is_none());
    waits.clock.advance(std::time::Duration::from_millis(100));
    waits.wake_due();
    assert!(subscription.sleep_until(200).now_or_never().is_some());
    drop(subscription);
    assert!(waits.alarms.is_empty(), "a wait that ends takes its alarm along");
}

#[test]
fn each_caller_and_the_node_hold_a_limited_number() {
    let waits = waits();
    let subscribe = |caller| waits.subscribe(WaitForm::Get, caller, on(&[session("a")]));
    let first = [subscribe(player(1)), subscribe(player(1))];
    assert!(first.iter().all(Result::is_ok));
    assert_eq!(subscribe(player(1)).err(), Some(NotHeld::TooManyOfPlayer));
    let services = [subscribe(None), subscribe(None)];
    assert!(services.iter().all(Result::is_ok));
    assert_eq!(subscribe(player(2)).err(), Some(NotHeld::TooMany), "of the node");
    drop(first);
    let long_poll = waits.subscribe(WaitForm::LongPoll, player(1), on(&[session("a")]));
    assert!(long_poll.is_ok());
    let other = waits.subscribe(WaitForm::LongPoll, player(1), on(&[session("a")]));
    assert_eq!(other.err(), Some(NotHeld::TooManyOfPlayer), "long polls have a limit of their own");
    let third = subscribe(None);
    assert!(third.is_ok() && subscribe(None).err() == Some(NotHeld::TooMany), "of all services together");
    drop((services, third, long_poll));
    assert_eq!(waits.count(), 0);
}

#[test]
fn a_drain_ends_all_waits_within_its_spread() {
    let waits = waits();
    let mut held =
        [1, 2].map(|number| waits.subscribe(WaitForm::Get, player(number), on(&[session("a")])).unwrap());
    waits.drain();
    assert!(waits.subscribe(WaitForm::LongPoll, player(3), on(&[session("a")])).is_err());
    waits.clock.advance(std::time::Duration::from_millis(3_000));
    waits.wake_due();
    for subscription in &mut held {
        assert!(subscription.must_end() && is_woken(subscription));
    }
}
