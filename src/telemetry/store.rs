//! The metrics of the stores, read from their own counts when metrics are asked for.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::store::{Embedded, Postgres, PostgresCounts, Stats};

/// The embedded store's own counts, read when metrics are.
#[derive(Debug)]
pub struct StoreCollector(StatsOf);

struct StatsOf(Box<dyn Fn() -> Stats + Send + Sync>);

impl std::fmt::Debug for StatsOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StatsOf(..)")
    }
}

impl StoreCollector {
    /// The counts of this store.
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
                "Durable writes that carried them: commits / groups share one fsync.",
                stats.groups,
            ),
            ("store_conflicts", "Commits refused because something had changed.", stats.conflicts),
            ("store_failures", "Commits that failed.", stats.failures),
        ];
        for (name, help, count) in counts {
            let counter = ConstCounter::new(count);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        let waiting = ConstGauge::new(i64::try_from(stats.queue_depth).unwrap_or(i64::MAX));
        let help = "Commits that wait for the writer.";
        waiting.encode(encoder.encode_descriptor("store_queue_depth", help, None, waiting.metric_type())?)
    }
}

/// The counts of a store in PostgreSQL, read when metrics are.
#[derive(Debug)]
pub struct PostgresCollector(Arc<PostgresCounts>);

impl PostgresCollector {
    /// The counts of this store.
    pub fn new(store: &Postgres) -> Self {
        Self(store.counts())
    }
}

impl Collector for PostgresCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counts = &*self.0;
        let counters = [
            ("store_commits", "Commits that succeeded.", &counts.commits),
            ("store_conflicts", "Commits refused because something had changed.", &counts.conflicts),
            ("store_failures", "Commits that failed.", &counts.failures),
            ("store_unsure", "Commits that failed and may have been made.", &counts.unsure),
            ("store_reads", "Reads of single values that were answered.", &counts.reads),
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
            ("store_connections", "Connections to the database.", &counts.connections),
            ("store_reachable", "Whether the last connection tried could be made.", &counts.reachable),
        ];
        for (name, help, gauge) in gauges {
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let (help, unit) = ("Time to answer a statement.", Some(&Unit::Seconds));
        let mut family =
            encoder.encode_descriptor("store_statement_duration", help, unit, MetricType::Histogram)?;
        for (purpose, duration) in counts.durations() {
            duration.encode(family.encode_family(&[("purpose", purpose)])?)?;
        }
        let help = "Statements that did not do what they should.";
        let mut family = encoder.encode_descriptor("store_faults", help, None, MetricType::Counter)?;
        for (reason, count) in counts.faults() {
            count.encode(family.encode_family(&[("reason", reason)])?)?;
        }
        Ok(())
    }
}
