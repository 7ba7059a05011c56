//! The metrics of launches and allocators.

use std::collections::HashMap;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::domain::launch::{LaunchFailure, LaunchRecord, Stage};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    allocator: String,
    outcome: &'static str,
    /// Why a launch failed; empty for one that was given a server.
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AttemptLabels {
    allocator: String,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PhaseLabels {
    phase: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AllocatorLabels {
    allocator: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabels {
    allocator: String,
    state: &'static str,
}

/// The metrics of launches.
pub struct LaunchMetrics {
    launches: Family<OutcomeLabels, Counter>,
    attempts: Family<AllocatorLabels, Counter>,
    failed_attempts: Family<AttemptLabels, Counter>,
    seconds: Family<PhaseLabels, Histogram, fn() -> Histogram>,
    servers: Family<StateLabels, Gauge>,
    queue: Family<AllocatorLabels, Gauge>,
    unreleased: Family<AllocatorLabels, Gauge>,
    ready: Family<AllocatorLabels, Gauge>,
    orphans: Family<AllocatorLabels, Counter>,
}

/// A server is counted as unreleased after this time, in milliseconds: by then each way to stop it was tried.
const UNRELEASED_MS: i64 = 60_000;
/// The states of servers, in the order of their lives.
const STATES: [&str; 4] = ["claimed", "placed", "up", "releasing"];

fn of(allocator: &str) -> AllocatorLabels {
    AllocatorLabels { allocator: allocator.to_owned() }
}

fn new_seconds() -> Histogram {
    // 16 buckets from 5 ms to 164 s, each twice the one before.
    Histogram::new(exponential_buckets(0.005, 2.0, 16))
}

impl LaunchMetrics {
    /// Registers the metrics, all zero.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            launches: Family::default(),
            attempts: Family::default(),
            failed_attempts: Family::default(),
            seconds: Family::new_with_constructor(new_seconds as fn() -> Histogram),
            servers: Family::default(),
            queue: Family::default(),
            unreleased: Family::default(),
            ready: Family::default(),
            orphans: Family::default(),
        };
        registry.register(
            "launches",
            "Servers that launches were given, and launches that failed",
            metrics.launches.clone(),
        );
        let help = "Attempts to launch a server that got one, or failed";
        registry.register("launch_attempts", help, metrics.attempts.clone());
        let help = "Attempts and launches that failed, by reason";
        registry.register("launch_attempts_failed", help, metrics.failed_attempts.clone());
        let help = "Time that launches spent in each phase";
        registry.register_with_unit("launch", help, Unit::Seconds, metrics.seconds.clone());
        registry.register("servers", "Servers of launches, by state", metrics.servers.clone());
        registry.register("launch_queue", "Launches that wait for a server", metrics.queue.clone());
        let help = "Servers that have not stopped a minute after they should";
        registry.register("servers_unreleased", help, metrics.unreleased.clone());
        let help = "Whether the allocator works, by its last answer";
        registry.register("allocator_ready", help, metrics.ready.clone());
        let help = "Servers stopped because no launch knew them";
        registry.register("orphans_released", help, metrics.orphans.clone());
        metrics
    }

    /// Counts a launch that has moved from one stage to another. The time is in milliseconds since the epoch.
    pub fn moved(&self, before: &LaunchRecord, after: &LaunchRecord, now_ms: i64) {
        match (&before.stage, &after.stage) {
            (Stage::Claimed(claim), Stage::Placed { .. } | Stage::Up { .. }) => {
                self.attempts.get_or_create(&of(&after.allocator)).inc();
                self.count_outcome(&after.allocator, "placed", "");
                self.observe("queue", claim.since_ms - claim.wanted_since_ms);
                self.observe("place", now_ms - claim.since_ms);
                if matches!(after.stage, Stage::Up { was_joinable: true, .. }) {
                    self.observe("joinable", 0);
                }
            }
            (Stage::Placed { since_ms, .. }, Stage::Up { was_joinable, .. }) => {
                self.observe("start", now_ms - since_ms);
                if *was_joinable {
                    self.observe("joinable", 0);
                }
            }
            (Stage::Up { since_ms, was_joinable: false, .. }, Stage::Up { was_joinable: true, .. }) => {
                self.observe("joinable", now_ms - since_ms);
            }
            _ => {}
        }
    }

    fn observe(&self, phase: &'static str, ms: i64) {
        self.seconds.get_or_create(&PhaseLabels { phase }).observe(ms.max(0) as f64 / 1_000.0);
    }

    fn count_outcome(&self, allocator: &str, outcome: &'static str, reason: &'static str) {
        let labels = OutcomeLabels { allocator: allocator.to_owned(), outcome, reason };
        self.launches.get_or_create(&labels).inc();
    }

    /// Counts a launch that has failed.
    pub fn failed(&self, allocator: &str, reason: LaunchFailure) {
        self.count_outcome(allocator, "failed", reason.name());
    }

    /// Counts an attempt that has failed.
    pub fn attempt_failed(&self, record: &LaunchRecord, reason: LaunchFailure) {
        if matches!(record.stage, Stage::Wanted { .. } | Stage::Claimed(_)) {
            // It was not counted yet: it has got no server.
            self.attempts.get_or_create(&of(&record.allocator)).inc();
        }
        let labels = AttemptLabels { allocator: record.allocator.clone(), reason: reason.name() };
        self.failed_attempts.get_or_create(&labels).inc();
    }

    /// Notes whether an allocator works.
    pub fn set_ready(&self, allocator: &str, is_ready: bool) {
        self.ready.get_or_create(&of(allocator)).set(is_ready.into());
    }

    /// Counts a server that no launch knew.
    pub fn orphan_released(&self, allocator: &str) {
        self.orphans.get_or_create(&of(allocator)).inc();
    }

    /// Notes how many launches there are. The time is in milliseconds since the epoch.
    pub fn count<'a>(
        &self,
        allocators: impl Iterator<Item = &'a str>,
        launches: &[&LaunchRecord],
        now_ms: i64,
    ) {
        let mut counts = HashMap::<(&str, &str), i64>::new();
        let mut unreleased = HashMap::<&str, i64>::new();
        for record in launches {
            *counts.entry((&record.allocator, record.stage.name())).or_default() += 1;
            if matches!(&record.stage, Stage::Releasing(release) if now_ms - release.since_ms >= UNRELEASED_MS)
            {
                *unreleased.entry(&record.allocator).or_default() += 1;
            }
        }
        for name in allocators {
            let labels = of(name);
            let count = |state| counts.get(&(name, state)).copied().unwrap_or_default();
            for state in STATES {
                let labels = StateLabels { allocator: name.to_owned(), state };
                self.servers.get_or_create(&labels).set(count(state));
            }
            self.queue.get_or_create(&labels).set(count("wanted"));
            self.unreleased.get_or_create(&labels).set(unreleased.get(name).copied().unwrap_or_default());
        }
    }
}
