//! The health of an instance, derived from its health reports: what they say and how many are missing.

use std::collections::VecDeque;

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use super::Health;
use crate::domain::limits;

/// How often instances have to report, and how missing reports count: `[health]` of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthRules {
    /// Seconds between reports: 1 to 3600.
    #[serde(deserialize_with = "limits::between::<_, _, 1, 3600>")]
    pub cadence_s: usize,
    /// The share of missing reports from which an instance is unhealthy, in percent: above 0, up to 100.
    #[serde(deserialize_with = "percent")]
    pub unhealthy_missed_percent: f64,
    /// Missing reports in a row after which the health is unknown: 1 to 1000. The share of missing reports refers to
    /// the same number of reports.
    #[serde(deserialize_with = "limits::between::<_, _, 1, 1000>")]
    pub missed_before_unknown: usize,
}

impl Default for HealthRules {
    fn default() -> Self {
        Self { cadence_s: 10, unhealthy_missed_percent: 50.0, missed_before_unknown: 3 }
    }
}

/// Reads a percentage above 0.
fn percent<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let percent = f64::deserialize(from)?;
    if percent > 0.0 && percent <= 100.0 {
        return Ok(percent);
    }
    Err(D::Error::custom(format!("{percent} is not above 0 and at most 100")))
}

impl HealthRules {
    /// Milliseconds between reports.
    pub fn cadence_ms(&self) -> i64 {
        i64::try_from(self.cadence_s.max(1)).unwrap_or(i64::MAX).saturating_mul(1000)
    }

    /// The time that [`Self::missed_before_unknown`] reports take, in milliseconds. Older reports do not count.
    fn window_ms(&self) -> i64 {
        let reports = i64::try_from(self.missed_before_unknown.max(1)).unwrap_or(i64::MAX);
        self.cadence_ms().saturating_mul(reports)
    }
}

/// The health reports of an instance that still count. Times are in milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reports {
    /// The time from which reports are expected.
    since_ms: i64,
    /// The times of the reports that count, at most about two per cadence.
    times_ms: VecDeque<i64>,
    /// The health that the last report named.
    last: Health,
    /// The time of the last report, even if it came too soon after another one to count.
    #[serde(rename = "said_ms")]
    last_reported_ms: i64,
}

impl Reports {
    /// No report yet. `last` is the health that is known from before.
    pub fn expected_since(since_ms: i64, last: Health) -> Self {
        Self { since_ms, times_ms: VecDeque::new(), last, last_reported_ms: i64::MIN }
    }

    /// Adds a report. A report that comes less than half a cadence after another one updates the health but does not
    /// count, so that many reports at once neither take memory nor make up for missing ones.
    pub fn add(&mut self, health: Health, now_ms: i64, rules: &HealthRules) {
        self.last = health;
        self.last_reported_ms = now_ms;
        let too_soon = |last_ms: &i64| now_ms - last_ms < rules.cadence_ms() / 2;
        if self.times_ms.back().is_some_and(too_soon) {
            return;
        }
        self.times_ms.push_back(now_ms);
        while self.times_ms.front().is_some_and(|time_ms| *time_ms <= now_ms - rules.window_ms()) {
            self.times_ms.pop_front();
        }
    }

    /// Whether all reports are too old to count, so that the health is unknown. `watched_since_ms` is the time from
    /// which this node has received the reports of the instance.
    pub fn have_timed_out(&self, now_ms: i64, watched_since_ms: i64, rules: &HealthRules) -> bool {
        self.last_ms().max(watched_since_ms) <= now_ms - rules.window_ms()
    }

    /// The time of the last report that counts, or the time from which reports are expected if there is none.
    pub fn last_ms(&self) -> i64 {
        self.times_ms.back().copied().unwrap_or(self.since_ms)
    }

    /// Starts the reports again at `now_ms` if they have later times, which come from a clock that was ahead.
    pub fn forget_future(&mut self, now_ms: i64) {
        if self.last_ms().max(self.last_reported_ms) > now_ms {
            *self = Self::expected_since(now_ms, self.last);
        }
    }

    /// Merges the reports that two nodes received for instances with the same id. If one series begins after the
    /// other has ended, they belong to different instances, and the later series wins.
    #[must_use]
    pub fn merge(self, other: Self, rules: &HealthRules) -> Self {
        if self.since_ms > other.last_ms() {
            return self;
        }
        if other.since_ms > self.last_ms() {
            return other;
        }
        let latest = if other.last_reported_ms > self.last_reported_ms { &other } else { &self };
        let (last, last_reported_ms) = (latest.last, latest.last_reported_ms);
        let mut times_ms: Vec<_> = self.times_ms.into_iter().chain(other.times_ms).collect();
        times_ms.sort_unstable();
        let mut merged = Self::expected_since(self.since_ms.min(other.since_ms), last);
        for time_ms in times_ms {
            merged.add(last, time_ms, rules);
        }
        merged.last_reported_ms = last_reported_ms;
        merged
    }

    /// The health of the instance now: that of the last report, unless too many reports are missing. Reports that are
    /// missing from before `watched_since_ms` do not count.
    pub fn assess(&self, now_ms: i64, watched_since_ms: i64, rules: &HealthRules) -> Health {
        if self.have_timed_out(now_ms, watched_since_ms, rules) {
            return Health::Unknown;
        }
        let since_ms = self.since_ms.max(watched_since_ms);
        let window_began_ms = now_ms - rules.window_ms();
        let expected = (now_ms - since_ms.max(window_began_ms)) / rules.cadence_ms();
        let received = self.times_ms.iter().filter(|time_ms| **time_ms > window_began_ms).count();
        let missed = usize::try_from(expected).unwrap_or(0).saturating_sub(received);
        #[allow(clippy::cast_precision_loss, reason = "at most 1000 reports")]
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
            reports.add(Health::Healthy, time_s * 1000, &RULES);
        }
        reports
    }

    #[track_caller]
    fn check(at_s: &[i64], now_s: i64, expected: Health) {
        assert_eq!(reports(at_s).assess(now_s * 1000, 0, &RULES), expected, "{at_s:?} at {now_s}");
    }

    #[test]
    fn missing_reports_make_an_instance_unhealthy_and_then_unknown() {
        check(&[0, 10, 20], 20, Health::Healthy);
        check(&[0, 10, 20], 49, Health::Healthy);
        check(&[0, 10, 20], 60, Health::Unhealthy);
        check(&[0, 10, 20], 79, Health::Unhealthy);
        check(&[0, 10, 20], 80, Health::Unknown);
        check(&[], 59, Health::Unhealthy);
        check(&[], 60, Health::Unknown);
    }

    #[test]
    fn one_report_does_not_make_up_for_several_missing_ones() {
        check(&[0, 10, 80], 80, Health::Unhealthy);
        check(&[0, 10, 80, 90, 100], 100, Health::Unhealthy);
        check(&[0, 10, 80, 90, 100, 110], 110, Health::Healthy);
    }

    #[test]
    fn frequent_reports_count_once_per_cadence() {
        let times: Vec<_> = (0..100).map(|index| 80 + index / 50).collect();
        check(&times, 81, Health::Unhealthy);
        assert_eq!(reports(&times).times_ms.len(), 1);
    }

    #[test]
    fn a_merge_keeps_the_health_of_the_last_report_even_if_it_does_not_count() {
        let (known, mut other) = (reports(&[0, 10]), reports(&[0, 10]));
        other.add(Health::Degraded, 11_000, &RULES);
        let merged = known.clone().merge(other.clone(), &RULES);
        assert_eq!(merged.assess(12_000, 0, &RULES), Health::Degraded);
        assert_eq!(other.merge(known, &RULES), merged);
    }

    #[test]
    fn the_last_report_decides_if_none_is_missing() {
        let mut reports = reports(&[0, 10, 20, 30, 40, 50]);
        reports.add(Health::Degraded, 60_000, &RULES);
        assert_eq!(reports.assess(60_000, 0, &RULES), Health::Degraded);
    }
}
