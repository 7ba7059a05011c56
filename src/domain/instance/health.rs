//! How well an instance is held to be, from what it says and how often it says it.

use std::collections::VecDeque;

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use super::Health;
use crate::domain::limits;

/// When instances are expected to report, and what becomes of those that do not; `[health]` of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthRules {
    /// Seconds between reports: 1 to 3600.
    #[serde(deserialize_with = "limits::between::<_, _, 1, 3600>")]
    pub cadence_s: usize,
    /// The share of missing reports, in percent, from which an instance is unhealthy.
    #[serde(deserialize_with = "percent")]
    pub unhealthy_missed_percent: f64,
    /// Reports missed in a row after which an instance's health is unknown: 1 to 1000. Also the number of reports
    /// that shares are taken of.
    #[serde(deserialize_with = "limits::between::<_, _, 1, 1000>")]
    pub missed_before_unknown: usize,
}

impl Default for HealthRules {
    fn default() -> Self {
        Self { cadence_s: 10, unhealthy_missed_percent: 50.0, missed_before_unknown: 6 }
    }
}

/// Reads a percentage above 0.
fn percent<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let percent = f64::deserialize(from)?;
    if percent > 0.0 && percent <= 100.0 {
        return Ok(percent);
    }
    Err(D::Error::custom(format!("{percent} is not above 0 and up to 100")))
}

impl HealthRules {
    /// Milliseconds between reports.
    pub fn cadence_ms(&self) -> i64 {
        i64::try_from(self.cadence_s.max(1)).unwrap_or(i64::MAX).saturating_mul(1000)
    }

    fn window_ms(&self) -> i64 {
        let reports = i64::try_from(self.missed_before_unknown.max(1)).unwrap_or(i64::MAX);
        self.cadence_ms().saturating_mul(reports)
    }
}

/// The reports of an instance that still count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reports {
    /// From when on reports are expected.
    since_ms: i64,
    times_ms: VecDeque<i64>,
    last: Health,
    /// When that was said: also by a report that comes too soon to count.
    said_ms: i64,
}

impl Reports {
    /// No report yet; `last` is what was known before.
    pub fn expected_since(since_ms: i64, last: Health) -> Self {
        Self { since_ms, times_ms: VecDeque::new(), last, said_ms: i64::MIN }
    }

    /// Takes a report in. Reports that come more often than asked for count once per cadence, so that a flood
    /// neither takes memory nor makes up for silence.
    pub fn take_in(&mut self, health: Health, now_ms: i64, rules: &HealthRules) {
        (self.last, self.said_ms) = (health, now_ms);
        let too_soon = |last_ms: &i64| now_ms - last_ms < rules.cadence_ms() / 2;
        if self.times_ms.back().is_some_and(too_soon) {
            return;
        }
        self.times_ms.push_back(now_ms);
        while self.times_ms.front().is_some_and(|time_ms| *time_ms <= now_ms - rules.window_ms()) {
            self.times_ms.pop_front();
        }
    }

    /// Whether there were none for so long that silence cannot make it worse.
    pub fn are_over(&self, now_ms: i64, watched_since_ms: i64, rules: &HealthRules) -> bool {
        self.last_ms().max(watched_since_ms) <= now_ms - rules.window_ms()
    }

    /// When the instance was heard last, or from when on it is expected to be.
    pub fn last_ms(&self) -> i64 {
        self.times_ms.back().copied().unwrap_or(self.since_ms)
    }

    /// These reports and others of the same name together; only the later ones where they began after the others had
    /// ended, since they are those of another instance then.
    #[must_use]
    pub fn merge(self, other: Self, rules: &HealthRules) -> Self {
        if self.since_ms > other.last_ms() {
            return self;
        }
        if other.since_ms > self.last_ms() {
            return other;
        }
        let said = |reports: &Self| (reports.last, reports.said_ms);
        let (last, said_ms) = if other.said_ms > self.said_ms { said(&other) } else { said(&self) };
        let mut times_ms: Vec<_> = self.times_ms.into_iter().chain(other.times_ms).collect();
        times_ms.sort_unstable();
        let mut merged = Self::expected_since(self.since_ms.min(other.since_ms), last);
        for time_ms in times_ms {
            merged.take_in(last, time_ms, rules);
        }
        merged.said_ms = said_ms;
        merged
    }

    /// How well the instance is held to be now; what is missing from before it was watched does not count.
    pub fn judge(&self, now_ms: i64, watched_since_ms: i64, rules: &HealthRules) -> Health {
        if self.are_over(now_ms, watched_since_ms, rules) {
            return Health::Unknown;
        }
        let since_ms = self.since_ms.max(watched_since_ms);
        let window_began_ms = now_ms - rules.window_ms();
        let expected = (now_ms - since_ms.max(window_began_ms)) / rules.cadence_ms();
        let received = self.times_ms.iter().filter(|time_ms| **time_ms > window_began_ms).count();
        let missed = usize::try_from(expected).unwrap_or(0).saturating_sub(received);
        #[allow(clippy::cast_precision_loss, reason = "a handful of reports")]
        let missed_percent = missed as f64 * 100.0 / rules.missed_before_unknown.max(1) as f64;
        if missed > 0 && missed_percent >= rules.unhealthy_missed_percent {
            Health::Unhealthy
        } else {
            self.last
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: HealthRules =
        HealthRules { cadence_s: 10, unhealthy_missed_percent: 50.0, missed_before_unknown: 6 };

    fn reports(at_s: &[i64]) -> Reports {
        let mut reports = Reports::expected_since(0, Health::Healthy);
        for time_s in at_s {
            reports.take_in(Health::Healthy, time_s * 1000, &RULES);
        }
        reports
    }

    #[track_caller]
    fn check(at_s: &[i64], now_s: i64, expected: Health) {
        assert_eq!(reports(at_s).judge(now_s * 1000, 0, &RULES), expected, "{at_s:?} at {now_s}");
    }

    #[test]
    fn silence_makes_an_instance_unhealthy_and_then_unknown() {
        check(&[0, 10, 20], 20, Health::Healthy);
        check(&[0, 10, 20], 49, Health::Healthy);
        check(&[0, 10, 20], 60, Health::Unhealthy);
        check(&[0, 10, 20], 79, Health::Unhealthy);
        check(&[0, 10, 20], 80, Health::Unknown);
        check(&[], 59, Health::Unhealthy);
        check(&[], 60, Health::Unknown);
    }

    #[test]
    fn a_report_after_silence_does_not_make_up_for_it_at_once() {
        check(&[0, 10, 80], 80, Health::Unhealthy);
        check(&[0, 10, 80, 90, 100], 100, Health::Unhealthy);
        check(&[0, 10, 80, 90, 100, 110], 110, Health::Healthy);
    }

    #[test]
    fn a_flood_counts_once_per_cadence() {
        let times: Vec<_> = (0..100).map(|index| 80 + index / 50).collect();
        check(&times, 81, Health::Unhealthy);
        assert_eq!(reports(&times).times_ms.len(), 1);
    }

    #[test]
    fn of_two_reports_the_later_one_says_how_it_is_also_where_it_comes_too_soon_to_count() {
        let (known, mut other) = (reports(&[0, 10]), reports(&[0, 10]));
        other.take_in(Health::Degraded, 11_000, &RULES);
        let merged = known.clone().merge(other.clone(), &RULES);
        assert_eq!(merged.judge(12_000, 0, &RULES), Health::Degraded);
        assert_eq!(other.merge(known, &RULES), merged);
    }

    #[test]
    fn what_an_instance_says_of_itself_counts_where_it_reports_often_enough() {
        let mut reports = reports(&[0, 10, 20, 30, 40, 50]);
        reports.take_in(Health::Degraded, 60_000, &RULES);
        assert_eq!(reports.judge(60_000, 0, &RULES), Health::Degraded);
    }
}
