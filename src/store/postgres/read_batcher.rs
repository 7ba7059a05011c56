//! Batched reads, as in a DataLoader: reads of one kind share a statement.
//!
//! A read on an idle connection is sent at once. Reads that arrive while a statement is in flight wait and share the
//! next statement. A read never joins a statement that was already sent, so that it sees every commit that was answered
//! before the read began.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::connection::{Connection, ConnectionPool, OpenConnection};
use super::retry::Retry;
use super::statement_error::StatementError;
use super::workers::Workers;
use crate::store::StoreError;

/// Most reads that wait for one worker. Further callers wait until there is room.
const QUEUE_CAPACITY: usize = 4_096;

/// A read that can share a statement with other reads of its kind.
pub(super) trait BatchedRead: Send + Sync + 'static {
    type Output: Send;
    /// Most reads that share a statement.
    const BATCH_MAX: usize;

    /// Executes all reads on one connection; returns their outputs in the same order.
    fn run(
        reads: &[&Self],
        connection: &OpenConnection,
    ) -> impl Future<Output = Result<Vec<Self::Output>, StatementError>> + Send;
}

/// A read whose caller waits for the output.
struct PendingRead<R: BatchedRead> {
    read: R,
    since: Instant,
    reply: oneshot::Sender<Result<R::Output, StoreError>>,
}

/// The task that executes batches of reads on one connection.
struct ReadWorker<R: BatchedRead> {
    connection: Arc<Connection>,
    retry_deadline: Duration,
    queue: mpsc::Receiver<PendingRead<R>>,
}

impl<R: BatchedRead> ReadWorker<R> {
    async fn run(mut self) {
        let mut batch = Vec::new();
        while self.queue.recv_many(&mut batch, R::BATCH_MAX).await > 0 {
            self.reply_to_all(&mut batch).await;
        }
    }

    /// Replies to every read of the batch: with its output, or with an error once its retry deadline is over.
    async fn reply_to_all(&self, batch: &mut Vec<PendingRead<R>>) {
        let mut retry = Retry::within(self.retry_deadline);
        loop {
            // A caller that has dropped its future needs no reply.
            batch.retain(|pending| !pending.reply.is_closed());
            if batch.is_empty() {
                return;
            }
            let error = match self.execute(batch).await {
                Ok(outputs) => {
                    for (pending, output) in batch.drain(..).zip(outputs) {
                        let _ = pending.reply.send(Ok(output));
                    }
                    return;
                }
                Err(error) => error,
            };
            let is_final = matches!(error, StatementError::Permanent(_)) || !retry.pause().await;
            let error = error.into_read_error();
            let is_over =
                |pending: &mut PendingRead<R>| is_final || pending.since.elapsed() >= self.retry_deadline;
            for pending in batch.extract_if(.., is_over) {
                let _ = pending.reply.send(Err(error.clone()));
            }
        }
    }

    async fn execute(&self, batch: &[PendingRead<R>]) -> Result<Vec<R::Output>, StatementError> {
        let connection = self.connection.open().await?;
        let reads: Vec<_> = batch.iter().map(|pending| &pending.read).collect();
        R::run(&reads, &connection).await
    }
}

/// Hands reads to the workers, of which each connection has one, in rotation.
pub(super) struct ReadBatcher<R: BatchedRead> {
    workers: Vec<mpsc::Sender<PendingRead<R>>>,
    next: AtomicUsize,
}

impl<R: BatchedRead> ReadBatcher<R> {
    /// Starts a worker for each connection of the pool. The workers end when the batcher is dropped.
    pub(super) fn start(pool: &ConnectionPool, retry_deadline: Duration, workers: &mut Workers) -> Self {
        let start_worker = |connection: &Arc<Connection>| {
            let (sender, queue) = mpsc::channel(QUEUE_CAPACITY);
            workers.spawn(ReadWorker { connection: Arc::clone(connection), retry_deadline, queue }.run());
            sender
        };
        Self { workers: pool.iter().map(start_worker).collect(), next: AtomicUsize::new(0) }
    }

    /// Executes a read in the next batch of a worker. Failures are retried until the retry deadline.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] after the retry deadline; the error of the database if a retry cannot help.
    pub(super) async fn read(&self, read: R) -> Result<R::Output, StoreError> {
        let worker_died = || StoreError::Failed("the reader task has stopped: restart the server".into());
        let (reply, output) = oneshot::channel();
        let worker = &self.workers[self.next.fetch_add(1, Ordering::Relaxed) % self.workers.len()];
        let pending = PendingRead { read, since: Instant::now(), reply };
        worker.send(pending).await.map_err(|_| worker_died())?;
        output.await.unwrap_or_else(|_| Err(worker_died()))
    }
}
