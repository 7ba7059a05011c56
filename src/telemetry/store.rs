//! The metrics of the stores. Each collector reads the counts of its store when `/metrics` is requested.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::Metrics;
use crate::store::{Embedded, Postgres, PostgresMetrics, Stats, Store};

impl Metrics {
    /// Registers the metrics of a store. A store in memory has none.
    pub fn register_store(&self, store: &Store) {
        match store {
            Store::Memory(_) => {}
            Store::Embedded(embedded) => {
                self.register_collector(Box::new(StoreCollector::new(embedded.clone())));
            }
            Store::Postgres(postgres) => self.register_collector(Box::new(PostgresCollector::new(postgres))),
        }
    }
}

/// Collects the metrics of an embedded store.
#[derive(Debug)]
struct StoreCollector(StatsOf);

struct StatsOf(Box<dyn Fn() -> Stats + Send + Sync>);

impl std::fmt::Debug for StatsOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StatsOf(..)")
    }
}

impl StoreCollector {
    /// Makes a collector for `store`.
    fn new(store: Embedded) -> Self {
        Self(StatsOf(Box::new(move || store.stats())))
    }
}

impl Collector for StoreCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let stats = self.0.0();
        let counts = [
            ("store_commits", "Commits that succeeded.", stats.commits),
            (
                "store_groups",
                "Durable writes. Commits divided by groups is the number of commits that share an fsync.",
                stats.groups,
            ),
            (
                "store_conflicts",
                "Commits refused because of a conflict with another change.",
                stats.conflicts,
            ),
            ("store_failures", "Commits that failed for any other reason than a conflict.", stats.failures),
        ];
        for (name, help, count) in counts {
            let counter = ConstCounter::new(count);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        let waiting = ConstGauge::new(i64::try_from(stats.queue_depth).unwrap_or(i64::MAX));
        let help = "Commits that wait for the disk.";
        waiting.encode(encoder.encode_descriptor("store_queue_depth", help, None, waiting.metric_type())?)
    }
}

/// Collects the metrics of a store in PostgreSQL.
#[derive(Debug)]
struct PostgresCollector(Arc<PostgresMetrics>);

impl PostgresCollector {
    /// Makes a collector for `store`.
    fn new(store: &Postgres) -> Self {
        Self(store.metrics())
    }
}

impl Collector for PostgresCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let metrics = &*self.0;
        let counters = [
            ("store_commits", "Commits that succeeded.", &metrics.commits),
            (
                "store_conflicts",
                "Commits refused because of a conflict with another change.",
                &metrics.conflicts,
            ),
            (
                "store_failures",
                "Commits that failed for any other reason than a conflict.",
                &metrics.failures,
            ),
            (
                "store_unsure",
                "Failed commits that may have been made, because the answer was lost.",
                &metrics.unsure,
            ),
            ("store_reads", "Reads of single values that succeeded.", &metrics.reads),
            ("store_connections_made", "Connections opened to the database.", &metrics.connections_made),
            (
                "store_connections_broken",
                "Connections that broke, or were closed because they did not work.",
                &metrics.connections_broken,
            ),
        ];
        for (name, help, counter) in counters {
            counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        let gauges = [
            ("store_connections", "Open connections to the database.", &metrics.connections),
            ("store_reachable", "1, or 0 if the last attempt to connect failed.", &metrics.reachable),
        ];
        for (name, help, gauge) in gauges {
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let (help, unit) = ("Time from sending a statement to its answer.", Some(&Unit::Seconds));
        let mut family =
            encoder.encode_descriptor("store_statement_duration", help, unit, MetricType::Histogram)?;
        for (purpose, duration) in metrics.durations() {
            duration.encode(family.encode_family(&[("purpose", purpose)])?)?;
        }
        let help = "Statements that failed, by reason.";
        let mut family = encoder.encode_descriptor("store_faults", help, None, MetricType::Counter)?;
        for (reason, count) in metrics.statement_errors() {
            count.encode(family.encode_family(&[("reason", reason)])?)?;
        }
        Ok(())
    }
}
