//! Messages between servers, with `LISTEN` and `NOTIFY`, on a connection of their own.
//!
//! `NOTIFY` takes one lock for all databases of the server until its transaction is durable. So no commit carries it: a
//! message is a statement by itself, on this connection alone, which does not wait for the disk
//! (`synchronous_commit = off`): a message that a crash loses is only late news.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, SimpleQueryMessage, Statement};

use super::connection::Connector;
use super::connection_task::ConnectionTask;
use super::metrics::Purpose;
use super::statement_error::describe;
use super::timeline::Timeline;
use crate::store::messages::{EVENTS_MAX, MessageEvent, MessageService};

/// How long a new connection waits for its own message.
const ECHO_WAIT: Duration = Duration::from_secs(2);
/// How long a new connection may take beside one answer.
const SETUP_WAIT: Duration = Duration::from_secs(10);
/// A connection that lasted for less counts as a failed attempt.
const LASTED: Duration = Duration::from_secs(5);
/// How often the connection is checked: whether the store was closed, or a newer primary has replaced the server.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// Pause after the first failed attempt to connect; each later pause is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// After this many attempts in a row that a database without messages would answer so, there are no further ones.
const UNSUPPORTED_MAX: usize = 3;

/// Why messages cannot be used.
pub(super) enum ListenError {
    /// The database has no messages, or something between loses them.
    Unsupported(String),
    /// The database cannot be reached, or not now.
    Unreachable(String),
}

impl ListenError {
    fn of(error: &Error) -> Self {
        const UNSUPPORTED: [SqlState; 4] = [
            SqlState::SYNTAX_ERROR,
            SqlState::FEATURE_NOT_SUPPORTED,
            SqlState::UNDEFINED_FUNCTION,
            SqlState::INSUFFICIENT_PRIVILEGE,
        ];
        match error.code() {
            Some(code) if UNSUPPORTED.contains(code) => Self::Unsupported(describe(error)),
            _ => Self::Unreachable(describe(error)),
        }
    }
}

/// A connection that listens.
pub(super) struct Listener {
    client: Client,
    task: ConnectionTask,
    timeline: Timeline,
    notifications: mpsc::Receiver<String>,
    notify: Statement,
    channel: String,
}

impl Listener {
    /// Connects, listens, and checks that a message arrives, all of it within a time: a database that is stopped keeps
    /// its connections and answers nothing.
    pub(super) async fn connect(connector: &Connector) -> Result<Self, ListenError> {
        let longest = connector.settings().answer_timeout() + SETUP_WAIT;
        let timed_out = |_| Err(ListenError::Unreachable("no answer to LISTEN".into()));
        timeout(longest, Self::connect_and_listen(connector)).await.unwrap_or_else(timed_out)
    }

    async fn connect_and_listen(connector: &Connector) -> Result<Self, ListenError> {
        let (sender, notifications) = mpsc::channel(EVENTS_MAX);
        let connected = connector.within_connect_timeout(connector.connect_to_listen(sender)).await;
        let (client, task, timeline) = connected.map_err(ListenError::Unreachable)?;
        let cannot = |error: Error| ListenError::of(&error);
        let channel = channel_of(&client).await.map_err(cannot)?;
        client.batch_execute(&format!("LISTEN {channel}")).await.map_err(cannot)?;
        let notify = client.prepare("SELECT pg_notify($1, $2)").await.map_err(cannot)?;
        let mut listener = Self { client, task, timeline, notifications, notify, channel };
        listener.notify(connector, "").await?;
        // The own message, or one of another server: both say that messages arrive.
        match timeout(ECHO_WAIT, listener.notifications.recv()).await {
            Ok(Some(_)) => Ok(listener),
            Ok(None) => Err(ListenError::Unreachable("the connection broke".into())),
            Err(_) => Err(ListenError::Unsupported("a message did not arrive; is there a pooler?".into())),
        }
    }

    async fn notify(&self, connector: &Connector, text: &str) -> Result<(), ListenError> {
        let since = Instant::now();
        let parameters: [&(dyn ToSql + Sync); 2] = [&self.channel, &text];
        let sending = self.client.execute(&self.notify, &parameters);
        let sent = timeout(connector.settings().answer_timeout(), sending).await;
        connector.metrics().observe_statement(Purpose::Notify, since.elapsed());
        match sent {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(ListenError::of(&error)),
            Err(_) => Err(ListenError::Unreachable("no answer to a message".into())),
        }
    }

    /// Passes messages on until the connection breaks. Returns `false` if there is nobody left to pass them to.
    async fn serve(&mut self, connector: &Connector, service: &mut MessageService) -> bool {
        let mut check = interval(CHECK_EVERY);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                received = self.notifications.recv() => {
                    let Some(text) = received else { return true };
                    // An empty message is the check of a server that has just connected.
                    let is_passed = text.is_empty() || service.incoming.send(MessageEvent::Received(text)).await.is_ok();
                    if !is_passed {
                        return false;
                    }
                }
                message = service.outgoing.recv() => {
                    let Some(text) = message else { return false };
                    if let Err(ListenError::Unsupported(cause) | ListenError::Unreachable(cause)) =
                        self.notify(connector, &text).await
                    {
                        tracing::debug!(cause, "a message to other servers was not sent");
                        self.task.abort();
                        return true;
                    }
                }
                _ = check.tick() => {
                    if connector.is_closed() {
                        return false;
                    }
                    if !connector.is_newest(self.timeline) {
                        return true;
                    }
                }
            }
        }
    }
}

/// The channel of this database and schema: other schemas of the database may belong to other servers.
async fn channel_of(client: &Client) -> Result<String, Error> {
    let found = client.simple_query("SELECT current_database(), current_schema()").await?;
    let mut digest = Sha256::new();
    for message in &found {
        if let SimpleQueryMessage::Row(row) = message {
            for column in 0..row.len() {
                digest.update(row.get(column).unwrap_or_default());
                digest.update([0]);
            }
        }
    }
    let digest: String = digest.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("rallypoint_{digest}"))
}

/// Passes messages between the database and this server until the store is closed or nobody takes them any more.
pub(super) async fn run(connector: Arc<Connector>, mut service: MessageService) {
    let (mut pause, mut is_logged, mut unsupported) = (PAUSE_MIN, false, 0);
    while !connector.is_closed() && !service.incoming.is_closed() {
        let cause = match Listener::connect(&connector).await {
            Ok(mut listener) => {
                if is_logged {
                    tracing::info!("messages of other servers arrive again");
                }
                (is_logged, unsupported) = (false, 0);
                let since = Instant::now();
                if service.incoming.send(MessageEvent::Connected).await.is_err()
                    || !listener.serve(&connector, &mut service).await
                    || service.incoming.send(MessageEvent::Disconnected).await.is_err()
                {
                    return;
                }
                if since.elapsed() >= LASTED {
                    pause = PAUSE_MIN;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
                continue;
            }
            Err(ListenError::Unsupported(cause)) => {
                unsupported += 1;
                if unsupported == UNSUPPORTED_MAX {
                    tracing::warn!(
                        cause,
                        "no messages between servers: this server looks into the database more often instead, to find \
                         changes that requests wait for; set [postgres] hints = \"off\" if that is intended"
                    );
                    return;
                }
                cause
            }
            Err(ListenError::Unreachable(cause)) => {
                unsupported = 0;
                cause
            }
        };
        if !std::mem::replace(&mut is_logged, true) {
            tracing::warn!(cause, "messages of other servers do not arrive; the server keeps trying");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
