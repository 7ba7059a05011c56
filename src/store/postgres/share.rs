//! Questions that share statements. Callers who come while a statement is under way share the next one; who comes to an
//! idle connection is asked for at once. A question joins only a statement that is yet to be sent, so that its answer has
//! every commit answered before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::lane::{Lane, Lanes, Session};
use super::retry::{Fault, Retry};
use crate::store::StoreError;

/// Questions that may wait for an asker.
const QUEUE_CAPACITY: usize = 4_096;

/// What can be asked together with others of its kind.
pub(super) trait Question: Send + Sync + 'static {
    type Answer: Send;
    /// Most that share a statement.
    const SHARED_MAX: usize;

    /// Asks all of them; answers them in their order.
    fn ask(
        asked: &[&Self],
        session: &Session,
    ) -> impl Future<Output = Result<Vec<Self::Answer>, Fault>> + Send;
}

/// A question that somebody waits for.
struct Waiting<Q: Question> {
    question: Q,
    since: Instant,
    answer: oneshot::Sender<Result<Q::Answer, StoreError>>,
}

/// The task that asks for everyone, on one lane.
struct Asker<Q: Question> {
    lane: Arc<Lane>,
    patience: Duration,
    questions: mpsc::Receiver<Waiting<Q>>,
}

impl<Q: Question> Asker<Q> {
    async fn run(mut self) {
        let mut waiting = Vec::new();
        while self.questions.recv_many(&mut waiting, Q::SHARED_MAX).await > 0 {
            self.answer_all(&mut waiting).await;
        }
    }

    /// Answers every question, with a failure once it has waited for too long.
    async fn answer_all(&self, waiting: &mut Vec<Waiting<Q>>) {
        let mut retry = Retry::within(self.patience);
        while !waiting.is_empty() {
            // Whoever went away needs no answer.
            waiting.retain(|waiting| !waiting.answer.is_closed());
            let fault = match self.ask(waiting).await {
                Ok(answers) => {
                    for (waiting, answer) in waiting.drain(..).zip(answers) {
                        let _ = waiting.answer.send(Ok(answer));
                    }
                    return;
                }
                Err(fault) => fault,
            };
            let is_final = matches!(fault, Fault::Failed(_)) || !retry.pause().await;
            let error = unavailable(fault);
            let late = |waiting: &mut Waiting<Q>| is_final || waiting.since.elapsed() >= self.patience;
            for waiting in waiting.extract_if(.., late) {
                let _ = waiting.answer.send(Err(error.clone()));
            }
        }
    }

    async fn ask(&self, waiting: &[Waiting<Q>]) -> Result<Vec<Q::Answer>, Fault> {
        let session = self.lane.session().await?;
        let asked: Vec<_> = waiting.iter().map(|waiting| &waiting.question).collect();
        Q::ask(&asked, &session).await
    }
}

/// What a question that failed is told: it has changed nothing, whatever became of it.
pub(super) fn unavailable(fault: Fault) -> StoreError {
    match fault {
        Fault::Unreachable(cause)
        | Fault::Lost(cause)
        | Fault::Unanswered(cause)
        | Fault::Rejected(cause) => StoreError::Unavailable(cause),
        Fault::Failed(error) => error,
    }
}

/// To the tasks that ask, one for each lane, which take turns.
pub(super) struct Askers<Q: Question> {
    askers: Vec<mpsc::Sender<Waiting<Q>>>,
    next: AtomicUsize,
}

impl<Q: Question> Askers<Q> {
    /// Starts them. They end when nobody can ask any more.
    pub(super) fn start(lanes: &Lanes, patience: Duration) -> Self {
        let start = |lane: &Arc<Lane>| {
            let (asking, questions) = mpsc::channel(QUEUE_CAPACITY);
            tokio::spawn(Asker { lane: Arc::clone(lane), patience, questions }.run());
            asking
        };
        Self { askers: lanes.iter().map(start).collect(), next: AtomicUsize::new(0) }
    }

    /// Asks, and again for a while where the database is away.
    pub(super) async fn ask(&self, question: Q) -> Result<Q::Answer, StoreError> {
        let (answer, answered) = oneshot::channel();
        let asker = &self.askers[self.next.fetch_add(1, Ordering::Relaxed) % self.askers.len()];
        let gone = || StoreError::Failed("the reader has died: restart the server".into());
        let waiting = Waiting { question, since: Instant::now(), answer };
        asker.send(waiting).await.map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}
