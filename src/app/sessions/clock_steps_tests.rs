//! Which checks of the clock count.

use std::time::Duration;

use super::*;

const HOUR_MS: i64 = 3_600_000;

fn clock() -> Clock {
    Clock::manual("2026-11-30T12:00:00Z".parse().unwrap())
}

#[test]
fn a_check_during_which_the_clock_was_set_says_nothing() {
    let clock = clock();
    let steps = ClockSteps::new(&clock);
    let during = steps.count();
    clock.step(2 * HOUR_MS);
    assert!(steps.note_check(during, Ok(())).is_none());
    assert!(!steps.look().is_checked, "the new time was not compared");
    let (after, now_ms) = (steps.count(), clock.now_ms());
    assert_eq!(steps.note_check(after, Ok(())), Some(Ok(now_ms)));
    assert!(steps.look().is_checked);

    let skew = StoreError::ClockSkew { difference_ms: HOUR_MS, allowed_ms: 1 };
    clock.step(-HOUR_MS);
    assert!(steps.note_check(after, Err(skew)).is_none());
    assert!(!steps.look().is_checked && !steps.look().was_wrong);
}

#[test]
fn polls_notice_a_step_themselves_and_wait_for_its_check() {
    let clock = clock();
    let steps = ClockSteps::new(&clock);
    clock.advance(Duration::from_secs(3_600));
    assert!(steps.is_checked(clock.read()));
    for step_ms in [2 * HOUR_MS, -2 * HOUR_MS] {
        clock.step(step_ms);
        assert!(!steps.is_checked(clock.read()), "nothing else has looked");
        let count = steps.count();
        assert!(!steps.is_checked(clock.read()), "it was seen, and not checked");
        assert_eq!(steps.note_check(count, Ok(())), Some(Ok(clock.now_ms())));
        assert!(steps.is_checked(clock.read()));
    }
    clock.step(STEP_MIN_MS - 1);
    assert!(steps.is_checked(clock.read()), "a correction by NTP");
}
