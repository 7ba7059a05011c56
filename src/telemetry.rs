//! Logs and metrics: their names, in one place.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::Duration;

use http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::store::{Embedded, Stats};

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people at a terminal.
    #[default]
    Text,
    /// A JSON object per line, for collectors.
    Json,
}

/// What may be named in a log filter without a level, for all that it says.
const LOG_TARGETS: [&str; 4] = ["rallypoint", "fjall", "lsm_tree", "tokio_postgres"];

/// Reads what is to be logged, or says how that is written.
pub fn parse_log_filter(text: &str) -> Result<EnvFilter, String> {
    let wrong = |cause: String| {
        format!("{text:?} is no log filter, as in \"info\" or \"warn,rallypoint=debug\": {cause}")
    };
    if let Some(word) = text.split(',').find(|directive| is_stray_word(directive)) {
        return Err(wrong(format!("{word:?} is none of the levels error, warn, info, debug, trace and off")));
    }
    let filter = EnvFilter::try_new(text).map_err(|error| wrong(error.to_string()))?;
    // Below that, the database's client logs what is stored.
    let quiet = "tokio_postgres=warn".parse().map_err(|error| format!("{error}"))?;
    Ok(filter.add_directive(quiet))
}

/// Whether a directive is a mere word that names no level. The library takes each for a module, and so would log that
/// alone, and nothing where there is no such module.
fn is_stray_word(directive: &str) -> bool {
    let is_target = |target: &str| LOG_TARGETS.iter().any(|known| target.starts_with(known));
    !directive.contains(['=', '[']) && directive.parse::<LevelFilter>().is_err() && !is_target(directive)
}

/// Starts writing logs to standard error; standard output stays free for what commands print.
///
/// # Errors
/// Where `filter` is no filter, or logs are written already.
pub fn start_logs(filter: &str, format: LogFormat) -> Result<(), String> {
    let registry = tracing_subscriber::registry().with(parse_log_filter(filter)?);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // Colours are for terminals; in a file or a journal they are noise.
    let layer = if std::io::stderr().is_terminal() { layer } else { layer.with_ansi(false) };
    match format {
        LogFormat::Text => registry.with(layer.with_target(false)).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    }
    .map_err(|error| error.to_string())
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    operation: &'static str,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
}

/// How a player went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// By leaving, or declining an invite.
    Left,
    /// By being kicked, or their invite taken back.
    Kicked,
    /// By not asking for the session for too long.
    Absent,
    /// By not answering an invite for too long.
    Expired,
}

impl Departure {
    /// Each of them.
    const ALL: [Self; 4] = [Self::Left, Self::Kicked, Self::Absent, Self::Expired];

    /// The label's value.
    const fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Kicked => "kicked",
            Self::Absent => "absent",
            Self::Expired => "expired",
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DepartureLabels {
    how: &'static str,
}

/// Statuses whose counters are looked up once and kept at hand.
const STATUSES: [u16; 9] = [200, 204, 304, 400, 403, 404, 422, 500, 503];

/// The metrics of an operation, at hand so that counting a request costs no look-up.
struct OperationMetrics {
    operation: &'static str,
    by_status: [OnceLock<Counter>; STATUSES.len()],
    duration: Histogram,
}

/// Everything that is counted.
pub struct Metrics {
    registry: RwLock<Registry>,
    requests: Family<RequestLabels, Counter>,
    durations: Family<OperationLabels, Histogram, fn() -> Histogram>,
    operations: OnceLock<Vec<OperationMetrics>>,
    panics: Counter,
    sessions_expired: Counter,
    departures: Family<DepartureLabels, Counter>,
    /// Connections being served.
    pub connections: Gauge,
    /// Connections refused for being too many.
    pub connections_refused: Counter,
}

fn new_duration() -> Histogram {
    // 50 µs to 1.6 s.
    Histogram::new(exponential_buckets(50e-6, 2.0, 16))
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Fresh metrics, all zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("rallypoint");
        let requests = Family::<RequestLabels, Counter>::default();
        let durations = Family::new_with_constructor(new_duration as fn() -> Histogram);
        let (panics, sessions_expired) = (Counter::default(), Counter::default());
        let departures = Family::<DepartureLabels, Counter>::default();
        // There from the start, so that the first of a kind is seen to be a rise.
        for how in Departure::ALL {
            drop(departures.get_or_create(&DepartureLabels { how: how.name() }));
        }
        let (connections, connections_refused) = (Gauge::default(), Counter::default());
        registry.register("requests", "Requests answered", requests.clone());
        let unit = Unit::Seconds;
        registry.register_with_unit("request_duration", "Time to answer a request", unit, durations.clone());
        registry.register("panics", "Requests that failed by a fault of the server", panics.clone());
        registry.register("sessions_expired", "Sessions ended for being idle", sessions_expired.clone());
        registry.register("departures", "Players who went, by how", departures.clone());
        registry.register("connections", "Connections being served", connections.clone());
        let refused = connections_refused.clone();
        registry.register("connections_refused", "Connections refused for being too many", refused);
        Self {
            registry: RwLock::new(registry),
            requests,
            durations,
            operations: OnceLock::new(),
            panics,
            sessions_expired,
            departures,
            connections,
            connections_refused,
        }
    }

    /// Registers further metrics, read when asked for.
    pub fn register_collector(&self, collector: Box<dyn Collector>) {
        self.registry.write().unwrap_or_else(PoisonError::into_inner).register_collector(collector);
    }

    /// Makes room for the operations of the surface, in its order.
    pub fn register_operations(&self, ids: impl Iterator<Item = &'static str>) {
        let metrics = |operation| OperationMetrics {
            operation,
            by_status: std::array::from_fn(|_| OnceLock::new()),
            duration: self.durations.get_or_create(&OperationLabels { operation }).clone(),
        };
        self.operations.get_or_init(|| ids.map(metrics).collect());
    }

    /// Counts an answer; `operation` is its index in the surface, if it reached one.
    pub fn answered(&self, operation: Option<usize>, status: StatusCode, took: Duration) {
        let status = status.as_u16();
        let metrics = operation.and_then(|index| self.operations.get()?.get(index));
        let operation = metrics.map_or("none", |metrics| metrics.operation);
        let counter = || self.requests.get_or_create(&RequestLabels { operation, status }).clone();
        let Some(metrics) = metrics else {
            counter().inc();
            return;
        };
        metrics.duration.observe(took.as_secs_f64());
        match STATUSES.iter().position(|other| *other == status) {
            Some(index) => metrics.by_status[index].get_or_init(counter).inc(),
            None => counter().inc(),
        };
    }

    /// Counts a panic.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// Counts sessions that ended for being idle.
    pub fn expired(&self, sessions: u64) {
        self.sessions_expired.inc_by(sessions);
    }

    /// Counts a player who went.
    pub fn departed(&self, how: Departure) {
        self.departures.get_or_create(&DepartureLabels { how: how.name() }).inc();
    }

    /// All metrics, in the OpenMetrics text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        if prometheus_client::encoding::text::encode(&mut text, &registry).is_err() {
            let _ = write!(text, "# metrics could not be rendered");
        }
        text
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_no_log_filter() {
        for text in [
            "info",
            "WARN",
            "off",
            "5",
            "",
            "rallypoint",
            "rallypoint::api",
            "info,fjall=warn,lsm_tree=warn",
            "warn,hyper=debug",
            "info,[request]=debug",
        ] {
            assert!(parse_log_filter(text).is_ok(), "{text:?}");
        }
        for (text, word) in [
            ("verbose", "verbose"),
            ("warning", "warning"),
            ("info,all", "all"),
            ("info, debug", " debug"),
            ("6", "6"),
            ("hyper", "hyper"),
        ] {
            let message = parse_log_filter(text).unwrap_err();
            assert!(message.starts_with(&format!("{text:?} is no log filter, as in \"info\"")), "{message}");
            let told = format!("{word:?} is none of the levels error, warn, info, debug, trace and off");
            assert!(message.ends_with(&told), "{message}");
        }
    }

    #[test]
    fn each_way_to_go_is_counted_from_the_start() {
        let metrics = Metrics::new();
        metrics.departed(Departure::Kicked);
        let text = metrics.render();
        for (how, count) in [("left", 0), ("kicked", 1), ("absent", 0), ("expired", 0)] {
            let line = format!("rallypoint_departures_total{{how=\"{how}\"}} {count}\n");
            assert!(text.contains(&line), "{line:?} is not in:\n{text}");
        }
    }
}
