//! Connections to the database.
//!
//! Statements are pipelined: many callers send statements on one connection, and none waits for the answers to earlier
//! statements. A [`Connection`] that breaks is opened again when it is needed next.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, timeout};
use tokio_postgres::{Client, Error};

use super::connection_task::ConnectionTask;
use super::hosts::{self, Connected};
use super::metrics::{PostgresMetrics, Purpose};
use super::settings::PostgresSettings;
use super::sql::Statements;
use super::statement_error::{StatementError, describe, needs_new_connection};
use super::timeline::{NewestTimeline, Timeline};
use crate::store::StoreError;

/// Pause after the first failed attempt to connect; each later pause is twice as long.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
/// Longest pause after a failed attempt to connect.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// How often all hosts are asked for a newer primary, besides each check of `/ready` and each new connection. A node
/// whose old primary needs no standby to commit loses the changes of up to this time.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Shortest pause between two such looks, so that many checks of `/ready` share one.
const LOOK_PAUSE_MIN: Duration = Duration::from_secs(1);

/// How long a check of `/ready` waits for such a look, which takes 500 ms while a host does not answer. The check has a
/// second for everything. The answers of hosts that run come far sooner.
const LOOK_WAIT: Duration = Duration::from_millis(300);

/// Turns `synchronous_commit` on if it is off, because a commit must be durable before it is answered. Other values
/// stay: the operator chooses how many machines must have a commit.
const ENABLE_SYNCHRONOUS_COMMIT: &str =
    "SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit')
    WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false)";

/// An open connection with its prepared statements.
pub(super) struct OpenConnection {
    client: Client,
    pub(super) statements: Statements,
    task: ConnectionTask,
    metrics: Arc<PostgresMetrics>,
    answer_timeout: Duration,
    /// The generation in which this connection was opened; see [`Connector::generation`].
    generation: usize,
    current_generation: Arc<AtomicUsize>,
    timeline: Timeline,
    newest_timeline: NewestTimeline,
}

impl OpenConnection {
    /// The client. Pass its futures to [`run`](Self::run), which limits their time and counts them.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Waits for the answer to a statement, for at most [`PostgresSettings::answer_timeout`].
    pub(super) async fn run<T>(
        &self,
        purpose: Purpose,
        statement: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, StatementError> {
        self.run_within(self.answer_timeout, purpose, statement).await
    }

    /// Waits for the answer to a statement, for at most `answer_timeout`.
    ///
    /// A connection that times out, breaks or reaches the wrong server is closed. After a timeout the other connections
    /// are not used for new statements either: their server may have stopped, and another server may have replaced it.
    /// An answer of a primary that a newer one has replaced does not count: the outcome is unknown, as if it was lost.
    pub(super) async fn run_within<T>(
        &self,
        answer_timeout: Duration,
        purpose: Purpose,
        statement: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, StatementError> {
        let since = Instant::now();
        let answer = timeout(answer_timeout, statement).await;
        self.metrics.observe_statement(purpose, since.elapsed());
        let (error, code) = match answer {
            Ok(Ok(answer)) => match self.newest_timeline.check(self.timeline) {
                Ok(()) => return Ok(answer),
                Err(replaced) => (StatementError::ConnectionLost(replaced), None),
            },
            Ok(Err(error)) => {
                let statement_error = StatementError::of(&error);
                let is_lost = matches!(statement_error, StatementError::ConnectionLost(_));
                if is_lost || needs_new_connection(&error) {
                    self.task.abort();
                }
                (statement_error, error.code().cloned())
            }
            Err(_) => {
                self.task.abort();
                self.current_generation.fetch_max(self.generation + 1, Ordering::AcqRel);
                (StatementError::TimedOut(format!("no answer within {answer_timeout:?}")), None)
            }
        };
        self.metrics.count_statement_error(&error, code.as_ref());
        Err(error)
    }

    fn is_usable(&self) -> bool {
        let is_current = self.generation == self.current_generation.load(Ordering::Acquire);
        let is_newest = self.newest_timeline.check(self.timeline).is_ok();
        is_current && is_newest && !self.task.is_aborted() && !self.client.is_closed()
    }
}

/// Opens connections.
pub(super) struct Connector {
    settings: PostgresSettings,
    metrics: Arc<PostgresMetrics>,
    is_closed: AtomicBool,
    /// Rises by one when a statement times out. Connections of an earlier generation get no new statements.
    generation: Arc<AtomicUsize>,
    /// Index of the host that took writes last.
    host: AtomicUsize,
    newest_timeline: NewestTimeline,
    /// When all hosts were last asked for their timelines. Locked meanwhile, so that callers share the answers.
    last_look: Mutex<Option<Instant>>,
    /// Why the last attempt to connect failed; `None` if it succeeded.
    unreachable_cause: RwLock<Option<String>>,
}

impl Connector {
    pub(super) fn new(settings: PostgresSettings) -> Self {
        Self {
            settings,
            metrics: Arc::default(),
            is_closed: AtomicBool::new(false),
            generation: Arc::default(),
            host: AtomicUsize::new(0),
            newest_timeline: NewestTimeline::default(),
            last_look: Mutex::default(),
            unreachable_cause: RwLock::default(),
        }
    }

    pub(super) fn metrics(&self) -> &Arc<PostgresMetrics> {
        &self.metrics
    }

    pub(super) fn settings(&self) -> &PostgresSettings {
        &self.settings
    }

    /// Forbids new connections.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Opens a connection with its time limits, without prepared statements.
    pub(super) async fn connect_bare(&self) -> Result<(Client, ConnectionTask), String> {
        let (client, task, _) = self.connect_to_primary().await?;
        Ok((client, task))
    }

    async fn connect_to_primary(&self) -> Result<(Client, ConnectionTask, Timeline), String> {
        let Connected { client, connection, timeline } =
            hosts::connect(&self.settings, &self.host, &self.newest_timeline).await?;
        let task = ConnectionTask::start(connection, &self.metrics);
        // The limit on idle transactions ends one whose COMMIT or ROLLBACK the network lost: it holds locks.
        let limits = ["statement_timeout", "idle_in_transaction_session_timeout"];
        let limit_ms = self.settings.statement_timeout.as_millis();
        let limits = limits.map(|limit| format!("SET {limit} = {limit_ms};")).concat();
        let setup = limits + ENABLE_SYNCHRONOUS_COMMIT;
        client.batch_execute(&setup).await.map_err(|error| describe(&error))?;
        Ok((client, task, timeline))
    }

    /// Opens a connection for messages, and passes those that arrive to `notifications`. Its own commits need not be
    /// durable.
    pub(super) async fn connect_to_listen(
        &self,
        notifications: mpsc::Sender<String>,
    ) -> Result<(Client, ConnectionTask, Timeline), String> {
        let Connected { client, connection, timeline } =
            hosts::connect(&self.settings, &self.host, &self.newest_timeline).await?;
        let task = ConnectionTask::start_listening(connection, &self.metrics, notifications);
        let limit_ms = self.settings.statement_timeout.as_millis();
        let setup = format!("SET statement_timeout = {limit_ms}; SET synchronous_commit = off");
        client.batch_execute(&setup).await.map_err(|error| describe(&error))?;
        Ok((client, task, timeline))
    }

    /// Whether no newer primary has replaced the server of this timeline.
    pub(super) fn is_newest(&self, timeline: Timeline) -> bool {
        self.newest_timeline.check(timeline).is_ok()
    }

    /// Asks all hosts whether a newer primary has replaced the one in use. If so, the connections to the old one get no
    /// new statements. Does nothing with a single host, and if it was done a moment ago.
    pub(super) async fn look_for_newer_primary(&self) {
        if self.settings.host_count() == 1 || self.is_closed() {
            return;
        }
        let mut last_look = self.last_look.lock().await;
        if last_look.is_none_or(|at| at.elapsed() >= LOOK_PAUSE_MIN) {
            hosts::look_for_newer_primary(&self.settings, &self.newest_timeline).await;
            *last_look = Some(Instant::now());
        }
    }

    /// Like [`look_for_newer_primary`](Self::look_for_newer_primary), but waits only [`LOOK_WAIT`]. The look goes on.
    pub(super) async fn look_briefly_for_newer_primary(self: &Arc<Self>) {
        if self.settings.host_count() == 1 {
            return;
        }
        let connector = Arc::clone(self);
        let look = tokio::spawn(async move { connector.look_for_newer_primary().await });
        // Whether it has ended or not, the check goes on with what is known by then.
        let _ = timeout(LOOK_WAIT, look).await;
    }

    /// Looks for a newer primary at intervals, until the connector is closed or dropped.
    pub(super) fn watch_primaries(self: &Arc<Self>) {
        if self.settings.host_count() == 1 {
            return;
        }
        let connector = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                let Some(connector) = connector.upgrade().filter(|connector| !connector.is_closed()) else {
                    return;
                };
                connector.look_for_newer_primary().await;
            }
        });
    }

    async fn connect(&self) -> Result<OpenConnection, String> {
        // Read before connecting: a timeout meanwhile makes this connection an old one.
        let generation = self.generation.load(Ordering::Acquire);
        let (client, task, timeline) = self.connect_to_primary().await?;
        let statements = Statements::prepare(&client).await.map_err(|error| describe(&error))?;
        Ok(OpenConnection {
            client,
            statements,
            task,
            metrics: Arc::clone(&self.metrics),
            answer_timeout: self.settings.answer_timeout(),
            generation,
            current_generation: Arc::clone(&self.generation),
            timeline,
            newest_timeline: self.newest_timeline.clone(),
        })
    }

    /// Limits an attempt to connect to the time that all hosts together may take.
    pub(super) async fn within_connect_timeout<T>(
        &self,
        connecting: impl Future<Output = Result<T, String>>,
    ) -> Result<T, String> {
        let limit = self.settings.connect_timeout_of_all_hosts();
        let connected = timeout(limit, connecting).await;
        connected.unwrap_or_else(|_| Err(format!("no connection within {limit:?}")))
    }

    async fn connect_in_time(&self) -> Result<OpenConnection, String> {
        let connected = self.within_connect_timeout(self.connect()).await;
        self.note_reachability(connected.as_ref().err());
        connected
    }

    /// Logs once that the database cannot be reached, and once that it can be reached again.
    fn note_reachability(&self, cause: Option<&String>) {
        let mut known_cause = self.unreachable_cause.write().unwrap_or_else(PoisonError::into_inner);
        match (known_cause.is_some(), cause) {
            (false, Some(cause)) => {
                tracing::error!(cause, "the database cannot be reached; the server keeps trying");
            }
            (true, None) => tracing::info!("the database can be reached again"),
            _ => {}
        }
        *known_cause = cause.cloned();
        self.metrics.reachable.set(cause.is_none().into());
    }
}

/// A connection that is opened when it is first needed, and opened again after it broke.
pub(super) struct Connection {
    connector: Arc<Connector>,
    state: Mutex<ReconnectState>,
    /// Statements that are being sent or wait for their answer.
    statements_in_flight: AtomicUsize,
}

#[derive(Default)]
struct ReconnectState {
    open: Option<Arc<OpenConnection>>,
    backoff: Option<Backoff>,
}

/// Why the last attempt to connect failed, and when the next one is allowed.
struct Backoff {
    cause: String,
    pause: Duration,
    retry_at: Instant,
}

impl Connection {
    pub(super) fn new(connector: &Arc<Connector>) -> Self {
        Self {
            connector: Arc::clone(connector),
            state: Mutex::default(),
            statements_in_flight: AtomicUsize::new(0),
        }
    }

    /// Returns the open connection; opens it if it is not open. One caller connects while the others wait. After a
    /// failed attempt all callers get its error until the backoff is over.
    ///
    /// # Errors
    /// [`StatementError::Unreachable`] if the connection cannot be opened; [`StatementError::Permanent`] with
    /// [`StoreError::Closed`] after [`Connector::close`].
    pub(super) async fn open(&self) -> Result<Arc<OpenConnection>, StatementError> {
        let connection = self.try_open().await;
        if let Err(error @ StatementError::Unreachable(_)) = &connection {
            self.connector.metrics.count_statement_error(error, None);
        }
        connection
    }

    async fn try_open(&self) -> Result<Arc<OpenConnection>, StatementError> {
        let mut state = self.state.lock().await;
        if self.connector.is_closed() {
            return Err(StoreError::Closed.into());
        }
        if let Some(open) = state.open.as_ref().filter(|open| open.is_usable()) {
            return Ok(Arc::clone(open));
        }
        state.open = None;
        if let Some(backoff) = state.backoff.as_ref().filter(|backoff| Instant::now() < backoff.retry_at) {
            return Err(StatementError::Unreachable(backoff.cause.clone()));
        }
        match self.connector.connect_in_time().await {
            Ok(open) => {
                let open = Arc::new(open);
                *state = ReconnectState { open: Some(Arc::clone(&open)), backoff: None };
                Ok(open)
            }
            Err(cause) => {
                let last_pause = state.backoff.take().map_or(BACKOFF_MIN / 2, |backoff| backoff.pause);
                let pause = (last_pause * 2).min(BACKOFF_MAX);
                let retry_at = Instant::now() + pause;
                state.backoff = Some(Backoff { cause: cause.clone(), pause, retry_at });
                Err(StatementError::Unreachable(cause))
            }
        }
    }

    /// Closes the connection as soon as no statement waits for an answer on it.
    pub(super) async fn close(&self) {
        self.state.lock().await.open = None;
    }
}

/// A fixed number of connections.
pub(super) struct ConnectionPool(Vec<Arc<Connection>>);

/// A connection of a pool, counted as in use until it is dropped.
pub(super) struct PooledConnection<'a>(&'a Connection);

impl ConnectionPool {
    /// Makes a pool of `count` connections, but at least one. None of them is opened yet.
    pub(super) fn new(connector: &Arc<Connector>, count: usize) -> Self {
        Self((0..count.max(1)).map(|_| Arc::new(Connection::new(connector))).collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.0.iter()
    }

    /// The connection with the fewest statements in flight.
    pub(super) fn least_busy(&self) -> PooledConnection<'_> {
        let in_flight =
            |connection: &&Arc<Connection>| connection.statements_in_flight.load(Ordering::Relaxed);
        let connection = self.0.iter().min_by_key(in_flight).expect("a pool has at least one connection");
        connection.statements_in_flight.fetch_add(1, Ordering::Relaxed);
        PooledConnection(connection)
    }

    pub(super) async fn close(&self) {
        for connection in &self.0 {
            connection.close().await;
        }
    }
}

impl std::ops::Deref for PooledConnection<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0
    }
}

impl Drop for PooledConnection<'_> {
    fn drop(&mut self) {
        self.0.statements_in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
