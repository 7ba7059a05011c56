//! Reads. Callers who come while a statement is under way share the next one; who comes to an idle connection is asked
//! for at once. A read joins only a statement that is yet to be sent, so that it sees every commit answered before it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::Inner;
use super::commit::stored;
use super::counts::Purpose;
use super::lane::Lane;
use super::retry::{Fault, Retry};
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

/// The task that reads for everyone, on one lane.
pub(super) struct Reader {
    lane: Arc<Lane>,
    patience: Duration,
    questions: mpsc::Receiver<Question>,
}

/// Found values by key; none where the only version that was known is current.
type Found = BTreeMap<Key, (Version, Option<Bytes>)>;

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
                Ok(found) => {
                    for Question { key, known, answer, .. } in waiting.drain(..) {
                        let _ = answer.send(Ok(judge(found.get(&key), known)));
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

    async fn ask(&self, waiting: &[Question]) -> Result<Found, Fault> {
        // What somebody does not have is sent to everyone who asks for it in the same statement.
        let mut asked = BTreeMap::new();
        for question in waiting {
            let known = asked.entry(question.key.as_slice()).or_insert(question.known);
            if *known != question.known {
                *known = None;
            }
        }
        let keys: Vec<_> = asked.keys().copied().collect();
        let known = asked.iter().filter_map(|(key, known)| Some((*key, stored((*known)?))));
        let (known_keys, known_versions): (Vec<_>, Vec<_>) = known.unzip();
        let params: [&(dyn ToSql + Sync); 3] = [&keys, &known_keys, &known_versions];
        let session = self.lane.session().await?;
        let asked = session.client().query(&session.statements.read, &params);
        let rows = session.run(Purpose::Read, asked).await?;
        rows.iter().map(|row| Ok((get(row, 0)?, (version(row)?, value(row)?)))).collect()
    }
}

fn judge(found: Option<&(Version, Option<Bytes>)>, known: Option<Version>) -> Read {
    match found {
        None => Read::Absent,
        Some((version, _)) if known == Some(*version) => Read::Unchanged,
        // A value is missing only where everyone who asked knows it.
        Some((version, value)) => {
            Read::Changed(Entry { version: *version, value: value.clone().unwrap_or_default() })
        }
    }
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

/// Pauses before another try, if there is to be one.
async fn pause_after(fault: Fault, retry: &mut Retry) -> Result<(), StoreError> {
    if matches!(fault, Fault::Failed(_)) || !retry.pause().await {
        return Err(unavailable(fault));
    }
    Ok(())
}

/// A column, or that the table is not the one that a migration made.
fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, Fault> {
    let wrong = |error| Fault::Failed(StoreError::Corrupt(format!("the table of entries: {error}")));
    row.try_get(column).map_err(wrong)
}

fn version(row: &Row) -> Result<Version, Fault> {
    Ok(Version(get::<i64>(row, 1)?.cast_unsigned()))
}

fn value(row: &Row) -> Result<Option<Bytes>, Fault> {
    Ok(get::<Option<&[u8]>>(row, 2)?.map(Bytes::copy_from_slice))
}

/// A row of a range.
fn entry(row: &Row) -> Result<(Key, Entry), Fault> {
    let (version, value) = (version(row)?, value(row)?.unwrap_or_default());
    Ok((get(row, 0)?, Entry { version, value }))
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
        let mut retry = Retry::within(self.connector.settings().patience);
        loop {
            match self.try_to_scan(from, to, limit).await {
                Ok(found) => return Ok(found),
                Err(fault) => pause_after(fault, &mut retry).await?,
            }
        }
    }

    /// See [`Backend::page`](crate::store::Backend::page).
    pub(super) async fn page(
        &self,
        from: &[u8],
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<(Key, Entry)>, StoreError> {
        let mut retry = Retry::within(self.connector.settings().patience);
        loop {
            match self.try_to_read_page(from, limit, bytes_max).await {
                Ok(found) => return Ok(found),
                Err(fault) => pause_after(fault, &mut retry).await?,
            }
        }
    }

    /// What the database's clock says, in milliseconds since the epoch.
    pub(super) async fn clock_ms(&self) -> Result<i64, StoreError> {
        let mut retry = Retry::within(self.connector.settings().patience);
        loop {
            match self.try_to_read_clock().await {
                Ok(ms) => return Ok(ms),
                Err(fault) => pause_after(fault, &mut retry).await?,
            }
        }
    }

    async fn try_to_read_clock(&self) -> Result<i64, Fault> {
        let lane = self.scanners.take();
        let session = lane.session().await?;
        let asked = session.client().query_one(&session.statements.clock, &[]);
        let row = session.run(Purpose::Clock, asked).await?;
        get(&row, 0)
    }

    async fn try_to_scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Entry)>, Fault> {
        let lane = self.scanners.take();
        let session = lane.session().await?;
        let limit = bigint(limit);
        let (client, statements) = (session.client(), &session.statements);
        let rows = if to.is_empty() {
            session.run(Purpose::Scan, client.query(&statements.scan_to_end, &[&from, &limit])).await?
        } else {
            session.run(Purpose::Scan, client.query(&statements.scan, &[&from, &to, &limit])).await?
        };
        rows.iter().map(entry).collect()
    }

    async fn try_to_read_page(
        &self,
        from: &[u8],
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<(Key, Entry)>, Fault> {
        let lane = self.scanners.take();
        let session = lane.session().await?;
        let (limit, bytes_max) = (bigint(limit), bigint(bytes_max));
        let params: [&(dyn ToSql + Sync); 3] = [&from, &limit, &bytes_max];
        let asked = session.client().query(&session.statements.page, &params);
        let rows = session.run(Purpose::Page, asked).await?;
        rows.iter().map(entry).collect()
    }
}
