//! Which checks of the clock count.

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
    assert!(!steps.note_check(during, &Ok(())));
    assert!(!steps.look().is_checked, "the new time was not compared");
    let after = steps.count();
    assert!(steps.note_check(after, &Ok(())));
    assert!(steps.look().is_checked);

    let skew = StoreError::ClockSkew { difference_ms: HOUR_MS, allowed_ms: 1 };
    clock.step(-HOUR_MS);
    assert!(!steps.note_check(after, &Err(skew)));
    assert!(!steps.look().is_checked && !steps.look().was_wrong);
}
