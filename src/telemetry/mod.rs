//! Starts the log, and holds the metrics of the server. Every metric is named here or in `store`.

mod idempotency;
mod launches;
mod logs;
mod matches;
mod preconditions;
mod store;
mod tickets;
mod waits;

use std::fmt::Write as _;
use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::Duration;

use http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

pub use self::idempotency::{IdempotencyMetrics, IdempotencyOutcome};
pub use self::launches::LaunchMetrics;
pub use self::logs::start_logs;
pub use self::matches::MatchMetrics;
pub use self::preconditions::Precondition;
use self::preconditions::Preconditions;
use self::tickets::Tickets;
pub use self::waits::{InvalidationEvent, WaitEnd, WaitKind, WaitMetrics};
use crate::domain::matchmaking::ticket::TicketEnd;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    operation: &'static str,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
}

/// How a player left a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// The player left, or declined an invite.
    Left,
    /// The player was kicked, or the invite was revoked.
    Kicked,
    /// The player sent no heartbeat for too long.
    Absent,
    /// The player did not answer an invite in time.
    Expired,
}

impl Departure {
    /// Every way, in the order of the enum.
    const ALL: [Self; 4] = [Self::Left, Self::Kicked, Self::Absent, Self::Expired];

    /// Value of the label `how`.
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

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LoginLabels {
    grant: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ExposureLabels {
    exposed: &'static str,
}

/// The code that answered a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponsePath {
    /// The fast path on the connection, under the HTTP library.
    FastConnection,
    /// The fast path in the HTTP library's service.
    FastService,
    /// The normal path.
    Normal,
}

impl ResponsePath {
    /// Every path, in the order of the discriminants.
    const ALL: [Self; 3] = [Self::FastConnection, Self::FastService, Self::Normal];

    /// The label's value.
    const fn name(self) -> &'static str {
        match self {
            Self::FastConnection => "fast_connection",
            Self::FastService => "fast_service",
            Self::Normal => "normal",
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PathLabels {
    path: &'static str,
}

/// Common statuses. Their counters are looked up once for each operation, and then cached.
const STATUSES: [u16; 9] = [200, 204, 304, 400, 403, 404, 422, 500, 503];

/// Cached metrics of an operation, so that counting a request needs no look-up by label.
pub struct OperationMetrics {
    operation: &'static str,
    by_status: [OnceLock<Counter>; STATUSES.len()],
    duration: Histogram,
}

/// The metrics of one server.
pub struct Metrics {
    registry: RwLock<Registry>,
    requests: Family<RequestLabels, Counter>,
    durations: Family<OperationLabels, Histogram, fn() -> Histogram>,
    /// By [`ResponsePath`], so that counting needs no look-up.
    responses_by_path: [Counter; ResponsePath::ALL.len()],
    panics: Counter,
    sessions_expired: Counter,
    departures: Family<DepartureLabels, Counter>,
    logins: Family<LoginLabels, Counter>,
    development_login: Family<ExposureLabels, Gauge>,
    /// Refresh tokens that are valid.
    pub refresh_tokens: Gauge,
    /// Open connections, on both listeners.
    pub connections: Gauge,
    /// Connections refused because `connections_max` were open.
    pub connections_refused: Counter,
    /// Bytes of bodies that are being read, and of answers that clients have not taken yet.
    pub memory_in_flight: Gauge,
    /// Requests refused, and connections cut, because there was no memory in flight left.
    pub memory_refusals: Counter,
    preconditions: Preconditions,
    tickets: Tickets,
    /// The metrics of matches, and of the matcher.
    pub matches: MatchMetrics,
    /// The requests with an idempotency key.
    pub idempotency: IdempotencyMetrics,
    /// The metrics of launches and allocators.
    pub launches: LaunchMetrics,
    /// The metrics of requests that wait.
    pub waits: WaitMetrics,
}

fn new_duration() -> Histogram {
    // 16 buckets from 50 µs to 1.6 s, each twice the one before.
    Histogram::new(exponential_buckets(50e-6, 2.0, 16))
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// New metrics, all zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("rallypoint");
        let requests = Family::<RequestLabels, Counter>::default();
        let durations = Family::new_with_constructor(new_duration as fn() -> Histogram);
        let (panics, sessions_expired) = (Counter::default(), Counter::default());
        let departures = Family::<DepartureLabels, Counter>::default();
        // Every label value exists from the start: otherwise a monitoring system misses the rise from none to 1.
        for how in Departure::ALL {
            drop(departures.get_or_create(&DepartureLabels { how: how.name() }));
        }
        let by_path = Family::<PathLabels, Counter>::default();
        let responses_by_path =
            ResponsePath::ALL.map(|path| by_path.get_or_create(&PathLabels { path: path.name() }).clone());
        let (connections, connections_refused) = (Gauge::default(), Counter::default());
        registry.register("requests", "Requests answered", requests.clone());
        let help = "Time from the head of a request to its answer";
        registry.register_with_unit("request_duration", help, Unit::Seconds, durations.clone());
        registry.register("panics", "Panics in requests and in background work", panics.clone());
        registry.register(
            "sessions_expired",
            "Sessions that ended because they were idle",
            sessions_expired.clone(),
        );
        registry.register("departures", "Players who left a session, by how they left", departures.clone());
        registry.register("connections", "Open connections", connections.clone());
        let help = "Requests answered, by the path that answered them";
        registry.register("responses_by_path", help, by_path);
        let refused = connections_refused.clone();
        registry.register(
            "connections_refused",
            "Connections refused because connections_max were open",
            refused,
        );
        let (logins, development_login) = (Family::default(), Family::default());
        let refresh_tokens = Gauge::default();
        registry.register("logins", "Logins, by grant and outcome", logins.clone());
        let help = "1 if the server has the login for development, by whether other machines can reach it";
        registry.register("development_login", help, development_login.clone());
        registry.register("refresh_tokens", "Refresh tokens that are valid", refresh_tokens.clone());
        let (memory_in_flight, memory_refusals) = (Gauge::default(), Counter::default());
        let help = "Bodies being read and answers not yet taken";
        registry.register_with_unit("memory_in_flight", help, Unit::Bytes, memory_in_flight.clone());
        let help = "Requests refused and connections cut because memory_in_flight_bytes was used up";
        registry.register("memory_refusals", help, memory_refusals.clone());
        Self {
            preconditions: Preconditions::register(&mut registry),
            tickets: Tickets::register(&mut registry),
            matches: MatchMetrics::register(&mut registry),
            idempotency: IdempotencyMetrics::register(&mut registry),
            launches: LaunchMetrics::register(&mut registry),
            waits: WaitMetrics::register(&mut registry),
            registry: RwLock::new(registry),
            requests,
            durations,
            responses_by_path,
            panics,
            sessions_expired,
            departures,
            logins,
            development_login,
            refresh_tokens,
            connections,
            connections_refused,
            memory_in_flight,
            memory_refusals,
        }
    }

    /// Counts a login. The grant is one of the contract's, and the outcome `ok` or an error code.
    pub fn logged_in(&self, grant: &'static str, outcome: &'static str) {
        self.logins.get_or_create(&LoginLabels { grant, outcome }).inc();
    }

    /// Shows that the server has the login for development, and whether other machines can reach it.
    pub fn has_development_login(&self, is_exposed: bool) {
        let exposed = if is_exposed { "true" } else { "false" };
        self.development_login.get_or_create(&ExposureLabels { exposed }).set(1);
    }

    /// Registers further metrics, which are read at each request for `/metrics`.
    fn register_collector(&self, collector: Box<dyn Collector>) {
        self.registry.write().unwrap_or_else(PoisonError::into_inner).register_collector(collector);
    }

    /// The metrics of an operation, for [`Self::answered`]. The id must be unique.
    pub fn of_operation(&self, id: &'static str) -> OperationMetrics {
        OperationMetrics {
            operation: id,
            by_status: std::array::from_fn(|_| OnceLock::new()),
            duration: self.durations.get_or_create(&OperationLabels { operation: id }).clone(),
        }
    }

    /// Counts an answer. `operation` is `None` if the request reached no operation.
    pub fn answered(
        &self,
        path: ResponsePath,
        operation: Option<&OperationMetrics>,
        status: StatusCode,
        took: Duration,
    ) {
        self.responses_by_path[path as usize].inc();
        let status = status.as_u16();
        let id = operation.map_or("none", |metrics| metrics.operation);
        let counter = || self.requests.get_or_create(&RequestLabels { operation: id, status }).clone();
        let Some(metrics) = operation else {
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

    /// Counts sessions that ended because they were idle.
    pub fn expired(&self, sessions: u64) {
        self.sessions_expired.inc_by(sessions);
    }

    /// Counts a player who left a session.
    pub fn departed(&self, how: Departure) {
        self.departures.get_or_create(&DepartureLabels { how: how.name() }).inc();
    }

    /// Counts a ticket of a party in a queue that has ended.
    pub fn ticket_ended(&self, end: TicketEnd) {
        self.tickets.count_end(end);
    }

    /// Counts the precondition of a change.
    pub fn precondition(&self, result: Precondition) {
        self.preconditions.count(result);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_counted_by_path_from_the_start() {
        let metrics = Metrics::new();
        for (path, count) in ResponsePath::ALL.into_iter().zip(0..) {
            for _ in 0..count {
                metrics.answered(path, None, StatusCode::NOT_FOUND, Duration::ZERO);
            }
        }
        let text = metrics.render();
        for (path, count) in [("fast_connection", 0), ("fast_service", 1), ("normal", 2)] {
            let line = format!("rallypoint_responses_by_path_total{{path=\"{path}\"}} {count}\n");
            assert!(text.contains(&line), "{line:?} is not in:\n{text}");
        }
    }

    #[test]
    fn a_response_is_counted_for_its_operation() {
        let metrics = Metrics::new();
        for (id, count) in [("one", 1), ("other", 2)] {
            // As for the pipelines of two listeners, which share the metrics.
            let operation = metrics.of_operation(id);
            for _ in 0..count {
                metrics.answered(ResponsePath::Normal, Some(&operation), StatusCode::OK, Duration::ZERO);
            }
        }
        let text = metrics.render();
        for (id, count) in [("one", 1), ("other", 2)] {
            let line = format!("rallypoint_requests_total{{operation=\"{id}\",status=\"200\"}} {count}\n");
            assert!(text.contains(&line), "{line:?} is not in:\n{text}");
        }
    }

    #[test]
    fn each_departure_is_counted_from_the_start() {
        let metrics = Metrics::new();
        metrics.departed(Departure::Kicked);
        let text = metrics.render();
        for (how, count) in [("left", 0), ("kicked", 1), ("absent", 0), ("expired", 0)] {
            let line = format!("rallypoint_departures_total{{how=\"{how}\"}} {count}\n");
            assert!(text.contains(&line), "{line:?} is not in:\n{text}");
        }
    }
}
