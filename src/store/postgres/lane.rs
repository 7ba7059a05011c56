//! Connections: a lane is the place of one. Statements share it one behind the other, none waiting for the answers
//! before it, and the connection is made again when it breaks.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use tokio_postgres::{Client, Connection, Error, Socket};

use super::counts::{Counts, Purpose};
use super::hosts::{self, TlsStream};
use super::retry::{Fault, is_unfit, told};
use super::settings::Settings;
use super::sql::Statements;
use crate::store::StoreError;

/// First pause after a connection that could not be made; each next one is twice as long.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
/// Longest pause after a connection that could not be made.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// What is answered must not be lost by a crash, whatever the database's other users can bear. How many machines must
/// have it stays the operator's choice.
const DURABLE: &str = "SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit')
    WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false)";

/// One connection.
pub(super) struct Session {
    client: Client,
    pub(super) statements: Statements,
    driver: Driver,
    counts: Arc<Counts>,
    answer_timeout: Duration,
    /// How often there had been silence when this was made, and how often there has by now.
    made_after: usize,
    silences: Arc<AtomicUsize>,
}

impl Session {
    /// The client; what is asked of it goes through [`run`](Self::run).
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Waits for an answer.
    pub(super) async fn run<T>(
        &self,
        purpose: Purpose,
        asked: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Fault> {
        self.run_within(self.answer_timeout, purpose, asked).await
    }

    /// Waits for an answer. A connection on which none comes in time, or that is no good any more, is given up. Where none
    /// comes, the other connections get no more statements either: the machine at their other end may stand still, while
    /// another has taken its place.
    pub(super) async fn run_within<T>(
        &self,
        answer_timeout: Duration,
        purpose: Purpose,
        asked: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Fault> {
        let since = Instant::now();
        let answered = timeout(answer_timeout, asked).await;
        self.counts.asked(purpose, since.elapsed());
        let (fault, code) = match answered {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => {
                let fault = Fault::of(&error);
                if matches!(fault, Fault::Lost(_)) || is_unfit(&error) {
                    self.driver.give_up();
                }
                (fault, error.code().cloned())
            }
            Err(_) => {
                self.driver.give_up();
                self.silences.fetch_max(self.made_after + 1, Ordering::AcqRel);
                (Fault::Unanswered(format!("no answer within {answer_timeout:?}")), None)
            }
        };
        self.counts.failed(&fault, code.as_ref());
        Err(fault)
    }

    fn is_usable(&self) -> bool {
        let is_newest = self.made_after == self.silences.load(Ordering::Acquire);
        is_newest && !self.driver.is_given_up() && !self.client.is_closed()
    }
}

/// What drives a connection. Dropping it ends the connection.
pub(super) struct Driver {
    task: AbortHandle,
    is_given_up: AtomicBool,
    is_let_go: Arc<AtomicBool>,
}

impl Driver {
    fn start(connection: Connection<Socket, TlsStream>, counts: &Arc<Counts>) -> Self {
        let is_let_go = Arc::new(AtomicBool::new(false));
        let open = Open::new(counts, &is_let_go);
        let driving = tokio::spawn(async move {
            let _open = open;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the database broke");
            }
        });
        Self { task: driving.abort_handle(), is_given_up: AtomicBool::new(false), is_let_go }
    }

    /// Ends a connection that is no good.
    fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Release);
        self.task.abort();
    }

    fn is_given_up(&self) -> bool {
        self.is_given_up.load(Ordering::Acquire)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.is_let_go.store(!self.is_given_up(), Ordering::Release);
        self.task.abort();
    }
}

/// Counts a connection as open, until it ends; and then as broken, unless it was good and let go.
struct Open {
    counts: Arc<Counts>,
    is_let_go: Arc<AtomicBool>,
}

impl Open {
    fn new(counts: &Arc<Counts>, is_let_go: &Arc<AtomicBool>) -> Self {
        counts.connections_made.inc();
        counts.connections.inc();
        Self { counts: Arc::clone(counts), is_let_go: Arc::clone(is_let_go) }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.counts.connections.dec();
        if !self.is_let_go.load(Ordering::Acquire) {
            self.counts.connections_broken.inc();
        }
    }
}

/// Makes connections.
pub(super) struct Connector {
    settings: Settings,
    counts: Arc<Counts>,
    is_closed: AtomicBool,
    /// How often no answer came.
    silences: Arc<AtomicUsize>,
    /// Which host took writes last.
    host: AtomicUsize,
    /// Why the last connection that was tried could not be made, if it could not.
    away: RwLock<Option<String>>,
}

impl Connector {
    pub(super) fn new(settings: Settings) -> Self {
        let counts = Arc::new(Counts::default());
        Self {
            settings,
            counts,
            is_closed: AtomicBool::new(false),
            silences: Arc::default(),
            host: AtomicUsize::new(0),
            away: RwLock::default(),
        }
    }

    pub(super) fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Makes no more connections.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// A bare connection and what drives it.
    pub(super) async fn connect_bare(&self) -> Result<(Client, Driver), String> {
        let (client, connection) = hosts::connect(&self.settings, &self.host).await?;
        let driver = Driver::start(connection, &self.counts);
        // Also of a transaction whose end the network has swallowed: it holds locks.
        let limits = ["statement_timeout", "idle_in_transaction_session_timeout"];
        let limit_ms = self.settings.statement_timeout.as_millis();
        let limits = limits.map(|limit| format!("SET {limit} = {limit_ms};")).concat();
        client.batch_execute(&(limits + DURABLE)).await.map_err(|error| told(&error))?;
        Ok((client, driver))
    }

    async fn connect(&self) -> Result<Session, String> {
        let (silences, made_after) = (Arc::clone(&self.silences), self.silences.load(Ordering::Acquire));
        let (client, driver) = self.connect_bare().await?;
        let statements = Statements::prepare(&client).await.map_err(|error| told(&error))?;
        let answer_timeout = self.settings.answer_timeout();
        let counts = Arc::clone(&self.counts);
        Ok(Session { client, statements, driver, counts, answer_timeout, made_after, silences })
    }

    /// Gives a connection up that takes too long to make.
    pub(super) async fn in_time<T>(
        &self,
        connecting: impl Future<Output = Result<T, String>>,
    ) -> Result<T, String> {
        let limit = self.settings.connect_timeout_of_all_hosts();
        let connected = timeout(limit, connecting).await;
        connected.unwrap_or_else(|_| Err(format!("no connection within {limit:?}")))
    }

    async fn connect_in_time(&self) -> Result<Session, String> {
        let connected = self.in_time(self.connect()).await;
        self.note(connected.as_ref().err());
        connected
    }

    /// Logs when the database goes and when it comes back, once each.
    fn note(&self, cause: Option<&String>) {
        let mut away = self.away.write().unwrap_or_else(PoisonError::into_inner);
        match (away.is_some(), cause) {
            (false, Some(cause)) => {
                tracing::error!(cause, "the database cannot be reached; it is tried again and again");
            }
            (true, None) => tracing::info!("the database can be reached again"),
            _ => {}
        }
        *away = cause.cloned();
        self.counts.reachable.set(cause.is_none().into());
    }
}

/// The place of a connection.
pub(super) struct Lane {
    connector: Arc<Connector>,
    place: Mutex<Place>,
    waiting: AtomicUsize,
}

#[derive(Default)]
struct Place {
    session: Option<Arc<Session>>,
    refused: Option<Refused>,
}

/// Why there is no connection, and when to try again.
struct Refused {
    cause: String,
    backoff: Duration,
    retry_at: Instant,
}

impl Lane {
    pub(super) fn new(connector: &Arc<Connector>) -> Self {
        Self { connector: Arc::clone(connector), place: Mutex::default(), waiting: AtomicUsize::new(0) }
    }

    /// The connection, made if need be. One caller makes it while the others wait, and none tries again before the
    /// pause after a failure is over.
    pub(super) async fn session(&self) -> Result<Arc<Session>, Fault> {
        let session = self.try_session().await;
        if let Err(fault @ Fault::Unreachable(_)) = &session {
            self.connector.counts.failed(fault, None);
        }
        session
    }

    async fn try_session(&self) -> Result<Arc<Session>, Fault> {
        let mut place = self.place.lock().await;
        if self.connector.is_closed() {
            return Err(Fault::Failed(StoreError::Closed));
        }
        if let Some(session) = place.session.as_ref().filter(|session| session.is_usable()) {
            return Ok(Arc::clone(session));
        }
        place.session = None;
        if let Some(refused) = place.refused.as_ref().filter(|refused| Instant::now() < refused.retry_at) {
            return Err(Fault::Unreachable(refused.cause.clone()));
        }
        match self.connector.connect_in_time().await {
            Ok(session) => {
                let session = Arc::new(session);
                *place = Place { session: Some(Arc::clone(&session)), refused: None };
                Ok(session)
            }
            Err(cause) => {
                let before = place.refused.take().map_or(BACKOFF_MIN / 2, |refused| refused.backoff);
                let backoff = (before * 2).min(BACKOFF_MAX);
                let retry_at = Instant::now() + backoff;
                place.refused = Some(Refused { cause: cause.clone(), backoff, retry_at });
                Err(Fault::Unreachable(cause))
            }
        }
    }

    /// Lets go of the connection once nobody waits for an answer on it.
    pub(super) async fn close(&self) {
        self.place.lock().await.session = None;
    }
}

/// Lanes to choose from.
pub(super) struct Lanes(Vec<Arc<Lane>>);

/// A lane in use.
pub(super) struct Taken<'a>(&'a Lane);

impl Lanes {
    pub(super) fn new(connector: &Arc<Connector>, count: usize) -> Self {
        Self((0..count.max(1)).map(|_| Arc::new(Lane::new(connector))).collect())
    }

    /// Each of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Lane>> {
        self.0.iter()
    }

    /// The lane with the fewest statements under way.
    pub(super) fn take(&self) -> Taken<'_> {
        let idlest = self.0.iter().min_by_key(|lane| lane.waiting.load(Ordering::Relaxed));
        let lane = idlest.expect("there is at least one lane");
        lane.waiting.fetch_add(1, Ordering::Relaxed);
        Taken(lane)
    }

    pub(super) async fn close(&self) {
        for lane in &self.0 {
            lane.close().await;
        }
    }
}

impl std::ops::Deref for Taken<'_> {
    type Target = Lane;

    fn deref(&self) -> &Lane {
        self.0
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
