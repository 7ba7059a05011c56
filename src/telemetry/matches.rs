//! The metrics of matches, and of the matcher.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets, linear_buckets};
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ProfileLabels {
    profile: String,
}

/// The metrics of matches, and of the matcher.
pub struct MatchMetrics {
    made: Counter,
    filled: Counter,
    waits: Histogram,
    spreads: Histogram,
    waiting: Family<ProfileLabels, Gauge>,
    oldest_seconds: Family<ProfileLabels, Gauge>,
    passes: Histogram,
    proposals: Counter,
    conflicts: Counter,
}

impl MatchMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            made: Counter::default(),
            filled: Counter::default(),
            // From 1 s to 68 minutes.
            waits: Histogram::new(exponential_buckets(1.0, 2.0, 13)),
            spreads: Histogram::new(linear_buckets(0.1, 0.1, 10)),
            waiting: Family::default(),
            oldest_seconds: Family::default(),
            // From 50 µs to 1.6 s.
            passes: Histogram::new(exponential_buckets(50e-6, 2.0, 16)),
            proposals: Counter::default(),
            conflicts: Counter::default(),
        };
        registry.register(
            "matches_made",
            "Matches made, by the server or for a matcher of the studio",
            metrics.made.clone(),
        );
        registry.register(
            "matches_filled",
            "Times that parties were sent into a running match",
            metrics.filled.clone(),
        );
        registry.register_with_unit(
            "ticket_wait",
            "Time that tickets waited for their match",
            Unit::Seconds,
            metrics.waits.clone(),
        );
        registry.register(
            "match_spread_ratio",
            "How far apart the tickets of a match of the server are, in the field in which they differ most: 1 is the \
             widest limit of the profile",
            metrics.spreads.clone(),
        );
        registry.register(
            "tickets_waiting",
            "Tickets that wait for a profile at this node",
            metrics.waiting.clone(),
        );
        registry.register_with_unit(
            "ticket_oldest",
            "Age of the ticket that waits longest for a profile at this node",
            Unit::Seconds,
            metrics.oldest_seconds.clone(),
        );
        registry.register_with_unit(
            "matcher_pass",
            "Time that the passes of the matcher take",
            Unit::Seconds,
            metrics.passes.clone(),
        );
        registry.register(
            "matcher_proposals",
            "Matches that the matcher has proposed",
            metrics.proposals.clone(),
        );
        registry.register(
            "matcher_conflicts",
            "Proposals that became no match, because something of them had changed",
            metrics.conflicts.clone(),
        );
        metrics
    }

    /// Counts a match, and how long each of its tickets has waited, in seconds.
    pub fn made(&self, waits_s: impl Iterator<Item = u64>) {
        self.made.inc();
        for wait_s in waits_s {
            self.waits.observe(wait_s as f64);
        }
    }

    /// Counts a filling of a running match, and how long each of its tickets has waited, in seconds.
    pub fn filled(&self, waits_s: impl Iterator<Item = u64>) {
        self.filled.inc();
        for wait_s in waits_s {
            self.waits.observe(wait_s as f64);
        }
    }

    /// Notes how well the tickets of a match fit: their spread in the field in which they differ most, relative to its
    /// widest limit. `None`: no field has a limit.
    pub fn of_quality(&self, widest_spread: Option<f64>) {
        if let Some(spread) = widest_spread {
            self.spreads.observe(spread);
        }
    }

    /// Notes the tickets that wait for a profile, and the age of the oldest.
    pub fn set_waiting(&self, profile: &str, tickets: usize, oldest_ms: i64) {
        let labels = ProfileLabels { profile: profile.to_owned() };
        self.waiting.get_or_create(&labels).set(i64::try_from(tickets).unwrap_or(i64::MAX));
        self.oldest_seconds.get_or_create(&labels).set(oldest_ms / 1_000);
    }

    /// Forgets the tickets of a profile that this node does not match any more.
    pub fn forget_profile(&self, profile: &str) {
        let labels = ProfileLabels { profile: profile.to_owned() };
        self.waiting.remove(&labels);
        self.oldest_seconds.remove(&labels);
    }

    /// Counts a pass, and its proposals.
    pub fn passed(&self, took: Duration, proposals: usize) {
        self.passes.observe(took.as_secs_f64());
        self.proposals.inc_by(proposals as u64);
    }

    /// Counts a proposal that became no match, because something of it had changed.
    pub fn conflict(&self) {
        self.conflicts.inc();
    }
}
