//! The task that reads and writes the socket of a connection.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_postgres::{AsyncMessage, Error, Socket};

use super::hosts::TlsStream;
use super::metrics::PostgresMetrics;

/// The task that reads and writes the socket of a connection. Dropping it closes the connection.
pub(super) struct ConnectionTask {
    task: AbortHandle,
    is_aborted: AtomicBool,
    is_closed_cleanly: Arc<AtomicBool>,
}

impl ConnectionTask {
    pub(super) fn start(
        connection: tokio_postgres::Connection<Socket, TlsStream>,
        metrics: &Arc<PostgresMetrics>,
    ) -> Self {
        Self::run(connection, metrics)
    }

    /// Like [`start`](Self::start), and passes on the texts of notifications. If more arrive than are taken, the
    /// connection is closed: the next one begins without those.
    pub(super) fn start_listening(
        mut connection: tokio_postgres::Connection<Socket, TlsStream>,
        metrics: &Arc<PostgresMetrics>,
        notifications: mpsc::Sender<String>,
    ) -> Self {
        let driver = async move {
            loop {
                match poll_fn(|context| connection.poll_message(context)).await {
                    Some(Ok(AsyncMessage::Notification(notification))) => {
                        if notifications.try_send(notification.payload().to_owned()).is_err() {
                            return Ok(());
                        }
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error),
                    None => return Ok(()),
                }
            }
        };
        Self::run(driver, metrics)
    }

    fn run(
        connection: impl Future<Output = Result<(), Error>> + Send + 'static,
        metrics: &Arc<PostgresMetrics>,
    ) -> Self {
        let is_closed_cleanly = Arc::new(AtomicBool::new(false));
        let gauge = ConnectionGauge::new(metrics, &is_closed_cleanly);
        let task = tokio::spawn(async move {
            let _gauge = gauge;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the database broke");
            }
        });
        Self { task: task.abort_handle(), is_aborted: AtomicBool::new(false), is_closed_cleanly }
    }

    /// Closes a broken connection. It is counted as broken.
    pub(super) fn abort(&self) {
        self.is_aborted.store(true, Ordering::Release);
        self.task.abort();
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.is_aborted.load(Ordering::Acquire)
    }
}

impl Drop for ConnectionTask {
    fn drop(&mut self) {
        self.is_closed_cleanly.store(!self.is_aborted(), Ordering::Release);
        self.task.abort();
    }
}

/// Counts a connection as open until it is dropped, and then as broken unless it was closed cleanly.
struct ConnectionGauge {
    metrics: Arc<PostgresMetrics>,
    is_closed_cleanly: Arc<AtomicBool>,
}

impl ConnectionGauge {
    fn new(metrics: &Arc<PostgresMetrics>, is_closed_cleanly: &Arc<AtomicBool>) -> Self {
        metrics.connections_made.inc();
        metrics.connections.inc();
        Self { metrics: Arc::clone(metrics), is_closed_cleanly: Arc::clone(is_closed_cleanly) }
    }
}

impl Drop for ConnectionGauge {
    fn drop(&mut self) {
        self.metrics.connections.dec();
        if !self.is_closed_cleanly.load(Ordering::Acquire) {
            self.metrics.connections_broken.inc();
        }
    }
}
