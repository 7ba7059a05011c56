//! Reads. Callers who come while a statement is under way share the next one; who comes to an idle connection is asked
//! for at once. A read joins only a statement that is yet to be sent, so that it sees every commit answered before it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use super::Inner;
use super::commit::stored;
use super::counts::Purpose;
use super::lane::Lane;
use super::retry::{Fault, Retry};
use super::sql::Statements;
use crate::store::{Entry, Key, Read, StoreError, Version};

/// Reads that may wait for a reader.
const QUEUE_CAPACITY: usize = 4_096;
/// Most reads that share a statement.
const SHARED_MAX: usize = 512;

type Answer = Result<Read, StoreError>;

/// What somebody wants to know.
pub(super) struct Question {
    key: Key,
    known: Option<Version>,
    since: Instant,
    answer: oneshot::Sender<Answer>,
}

impl Question {
    fn wanted(&self) -> (&[u8], Option<Version>) {
        (&self.key, self.known)
    }
}

/// The task that reads for everyone, on one lane.
pub(super) struct Reader {
    lane: Arc<Lane>,
    patience: Duration,
    questions: mpsc::Receiver<Question>,
}

impl Reader {
    /// Starts one. It ends when nobody can ask any more.
    pub(super) fn start(lane: &Arc<Lane>, patience: Duration) -> mpsc::Sender<Question> {
        let (asking, questions) = mpsc::channel(QUEUE_CAPACITY);
        let reader = Self { lane: Arc::clone(lane), patience, questions };
        tokio::spawn(reader.run());
        asking
    }

    async fn run(mut self) {
        let mut waiting = Vec::new();
        while self.questions.recv_many(&mut waiting, SHARED_MAX).await > 0 {
            self.answer_all(&mut waiting).await;
        }
    }

    /// Answers every question, with a failure once it has waited for too long.
    async fn answer_all(&self, waiting: &mut Vec<Question>) {
        let mut retry = Retry::within(self.patience);
        while !waiting.is_empty() {
            // Whoever went away needs no answer.
            waiting.retain(|question| !question.answer.is_closed());
            let fault = match self.ask(waiting).await {
                Ok(reads) => {
                    for (question, read) in waiting.drain(..).zip(reads) {
                        let _ = question.answer.send(Ok(read));
                    }
                    return;
                }
                Err(fault) => fault,
            };
            let is_final = matches!(fault, Fault::Failed(_)) || !retry.pause().await;
            let error = unavailable(fault);
            let late = |question: &mut Question| is_final || question.since.elapsed() >= self.patience;
            for question in waiting.extract_if(.., late) {
                let _ = question.answer.send(Err(error.clone()));
            }
        }
    }

    /// What each of them wants to know.
    async fn ask(&self, waiting: &[Question]) -> Result<Vec<Read>, Fault> {
        // Who asks for the same, knowing the same, is answered by the same row.
        let mut asked: Vec<_> = waiting.iter().map(Question::wanted).collect();
        asked.sort_unstable();
        asked.dedup();
        let (keys, known): (Vec<_>, Vec<_>) =
            asked.iter().map(|(key, known)| (*key, known.map(stored))).unzip();
        let params: [&(dyn ToSql + Sync); 2] = [&keys, &known];
        let session = self.lane.session().await?;
        let asking = session.client().query(&session.statements.read, &params);
        let rows = session.run(Purpose::Read, asking).await?;
        // There is no row where nothing is other than is known.
        let as_known = |known: &Option<_>| if known.is_some() { Read::Unchanged } else { Read::Absent };
        let mut reads: Vec<_> = known.iter().map(as_known).collect();
        for row in &rows {
            let place = usize::try_from(get::<i64>(row, 0)? - 1).unwrap_or(usize::MAX);
            if let Some(read) = reads.get_mut(place) {
                *read = other_than_known(row)?;
            }
        }
        let place = |question: &Question| asked.binary_search(&question.wanted()).expect("it was asked for");
        Ok(waiting.iter().map(|question| reads[place(question)].clone()).collect())
    }
}

fn other_than_known(row: &Row) -> Result<Read, StoreError> {
    let Some(version) = get::<Option<i64>>(row, 1)? else { return Ok(Read::Absent) };
    let value = Bytes::copy_from_slice(get(row, 2)?);
    Ok(Read::Changed(Entry { version: Version(version.cast_unsigned()), value }))
}

/// What a read that failed is told: it has changed nothing, whatever became of it.
fn unavailable(fault: Fault) -> StoreError {
    match fault {
        Fault::Unreachable(cause) | Fault::Lost(cause) | Fault::Rejected(cause) => {
            StoreError::Unavailable(cause)
        }
        Fault::Failed(error) => error,
    }
}

/// A column, or that the table is not the one that a migration made.
fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, StoreError> {
    row.try_get(column).map_err(|error| StoreError::Corrupt(format!("the table of entries: {error}")))
}

/// A row of a range.
fn entry(row: &Row) -> Result<(Key, Entry), StoreError> {
    let version = Version(get::<i64>(row, 1)?.cast_unsigned());
    Ok((get(row, 0)?, Entry { version, value: Bytes::copy_from_slice(get(row, 2)?) }))
}

/// How a bound is sent.
fn bigint(bound: usize) -> i64 {
    i64::try_from(bound).unwrap_or(i64::MAX)
}

impl Inner {
    /// The value of a key.
    pub(super) async fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        Ok(match self.read(key, None).await? {
            Read::Changed(entry) => Some(entry),
            Read::Unchanged | Read::Absent => None,
        })
    }

    /// The value of a key, unless it is the one of a known version.
    pub(super) async fn read(&self, key: &[u8], known: Option<Version>) -> Answer {
        if self.connector.is_closed() {
            return Err(StoreError::Closed);
        }
        let (answer, answered) = oneshot::channel();
        let question = Question { key: key.into(), known, since: Instant::now(), answer };
        let gone = || StoreError::Failed("the reader has died: restart the server".into());
        self.reader().send(question).await.map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    /// See [`Backend::scan`](crate::store::Backend::scan).
    pub(super) async fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Key, Entry)>, StoreError> {
        let limit = bigint(limit);
        let rows = match to {
            [] => self.query(Purpose::Scan, |known| &known.scan_to_end, &[&from, &limit]).await?,
            to => self.query(Purpose::Scan, |known| &known.scan, &[&from, &to, &limit]).await?,
        };
        rows.iter().map(entry).collect()
    }

    /// See [`Backend::page`](crate::store::Backend::page).
    pub(super) async fn page(
        &self,
        from: &[u8],
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<(Key, Entry)>, StoreError> {
        let (limit, bytes_max) = (bigint(limit), bigint(bytes_max));
        let rows = self.query(Purpose::Page, |known| &known.page, &[&from, &limit, &bytes_max]).await?;
        rows.iter().map(entry).collect()
    }

    /// What the database's clock says, in milliseconds since the epoch.
    pub(super) async fn clock_ms(&self) -> Result<i64, StoreError> {
        let rows = self.query(Purpose::Clock, |known| &known.clock, &[]).await?;
        let row = rows.first().ok_or_else(|| StoreError::Failed("the database tells no time".into()))?;
        get(row, 0)
    }

    /// Asks on any connection, and again for a while where the database is away.
    async fn query(
        &self,
        purpose: Purpose,
        statement: fn(&Statements) -> &Statement,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let mut retry = Retry::within(self.connector.settings().patience);
        loop {
            match self.try_query(purpose, statement, params).await {
                Ok(rows) => return Ok(rows),
                Err(fault) if matches!(fault, Fault::Failed(_)) || !retry.pause().await => {
                    return Err(unavailable(fault));
                }
                Err(_) => {}
            }
        }
    }

    async fn try_query(
        &self,
        purpose: Purpose,
        statement: fn(&Statements) -> &Statement,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Fault> {
        let lane = self.scanners.take();
        let session = lane.session().await?;
        session.run(purpose, session.client().query(statement(&session.statements), params)).await
    }
}
