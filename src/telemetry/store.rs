//! Metrics of the stores. They are read from the counts of the store at each request for `/metrics`.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::store::{Embedded, Postgres, PostgresCounts, Stats};

/// Collects the metrics of an embedded store.
#[derive(Debug)]
pub struct StoreCollector(StatsOf);

struct StatsOf(Box<dyn Fn() -> Stats + Send + Sync>);

impl std::fmt::Debug for StatsOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StatsOf(..)")
    }
}

impl StoreCollector {
    /// A collector for this store.
    pub fn new(store: Embedded) -> Self {
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
                "Durable writes; each carries one or more commits and takes one fsync.",
                stats.groups,
            ),
            (
                "store_conflicts",
                "Commits refused because of a conflict with another change.",
                stats.conflicts,
            ),
            ("store_failures", "Commits that failed.", stats.failures),
        ];
        for (name, help, count) in counts {
            let counter = ConstCounter::new(count);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        let waiting = ConstGauge::new(i64::try_from(stats.queue_depth).unwrap_or(i64::MAX));
        let help = "Commits that wait for the disk now.";
        waiting.encode(encoder.encode_descriptor("store_queue_depth", help, None, waiting.metric_type())?)
    }
}

/// Collects the metrics of a store in PostgreSQL.
#[derive(Debug)]
pub struct PostgresCollector(Arc<PostgresCounts>);

impl PostgresCollector {
    /// A collector for this store.
    pub fn new(store: &Postgres) -> Self {
        Self(store.counts())
    }
}

impl Collector for PostgresCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counts = &*self.0;
        let counters = [
            ("store_commits", "Commits that succeeded.", &counts.commits),
            (
                "store_conflicts",
                "Commits refused because of a conflict with another change.",
                &counts.conflicts,
            ),
            ("store_failures", "Commits that failed.", &counts.failures),
            ("store_unsure", "Failed commits whose outcome is unknown.", &counts.unsure),
            ("store_reads", "Answered reads of single values.", &counts.reads),
            ("store_connections_made", "Connections made to the database.", &counts.connections_made),
            (
                "store_connections_broken",
                "Connections that broke or were given up.",
                &counts.connections_broken,
            ),
        ];
        for (name, help, counter) in counters {
            counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        let gauges = [
            ("store_connections", "Open connections to the database.", &counts.connections),
            ("store_reachable", "1, or 0 if the last attempt to connect failed.", &counts.reachable),
        ];
        for (name, help, gauge) in gauges {
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let (help, unit) = ("Time from sending a statement to its answer.", Some(&Unit::Seconds));
        let mut family =
            encoder.encode_descriptor("store_statement_duration", help, unit, MetricType::Histogram)?;
        for (purpose, duration) in counts.durations() {
            duration.encode(family.encode_family(&[("purpose", purpose)])?)?;
        }
        let help = "Statements that failed, by reason.";
        let mut family = encoder.encode_descriptor("store_faults", help, None, MetricType::Counter)?;
        for (reason, count) in counts.faults() {
            count.encode(family.encode_family(&[("reason", reason)])?)?;
        }
        Ok(())
    }
}
