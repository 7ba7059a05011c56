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
    services_max: 3,
    drain_spread_ms: 3_000,
    sweep_ms: 5_000,
};

fn waits() -> Arc<Waits> {
    let clock = Clock::manual(Timestamp::UNIX_EPOCH);
    Arc::new(Waits::new(LIMITS, (clock, Entropy::seeded(1))))
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
    let mut on_a = waits.subscribe(player(1), on(&[session("a")])).unwrap();
    let mut on_both = waits.subscribe(player(2), on(&[session("a"), session("b")])).unwrap();
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
    let mut subscription = waits.subscribe(player(1), on(&[session("a")])).unwrap();
    waits.wake([session("a")]);
    waits.wake([session("a")]);
    assert!(is_woken(&mut subscription));
    assert!(!is_woken(&mut subscription), "several wake-ups are one");
}

#[test]
fn other_topics_replace_the_former() {
    let waits = waits();
    let mut subscription = waits.subscribe(player(1), on(&[session("a"), session("b")])).unwrap();
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
    let mut subscription = waits.subscribe(player(1), on(&[session("a")])).unwrap();
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
    let subscribe = |caller| waits.subscribe(caller, on(&[session("a")]));
    let first = [subscribe(player(1)), subscribe(player(1))];
    assert!(first.iter().all(Option::is_some));
    assert!(subscribe(player(1)).is_none(), "of this player");
    let services = [subscribe(None), subscribe(None)];
    assert!(services.iter().all(Option::is_some));
    assert!(subscribe(player(2)).is_none(), "of the node");
    drop(first);
    assert!(subscribe(player(1)).is_some());
    let third = subscribe(None);
    assert!(third.is_some() && subscribe(None).is_none(), "of all services together");
    drop((services, third));
    assert_eq!(waits.count(), 0);
}

#[test]
fn a_drain_ends_all_waits_within_its_spread() {
    let waits = waits();
    let mut held = [1, 2].map(|number| waits.subscribe(player(number), on(&[session("a")])).unwrap());
    waits.drain();
    assert!(waits.subscribe(player(3), on(&[session("a")])).is_none());
    waits.clock.advance(std::time::Duration::from_millis(3_000));
    waits.wake_due();
    for subscription in &mut held {
        assert!(subscription.must_end() && is_woken(subscription));
    }
}
