//! Reads: of single values and of ranges, which share statements, and of what is asked for seldom.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio_postgres::types::{FromSql, ToSql};
use tokio_postgres::{Row, Statement};

use super::Inner;
use super::commit::stored;
use super::counts::Purpose;
use super::lane::Session;
use super::retry::{Fault, Retry};
use super::share::{Question, unavailable};
use super::sql::Statements;
use crate::store::{Entry, Key, Read, StoreError, Version};

/// The value of a key, unless it is the one of a known version.
pub(super) struct Value {
    key: Key,
    known: Option<Version>,
}

impl Value {
    fn wanted(&self) -> (&[u8], Option<Version>) {
        (&self.key, self.known)
    }
}

impl Question for Value {
    type Answer = Read;
    /// Few enough that large sessions, which nobody here knows yet, do not all come at once.
    const SHARED_MAX: usize = 128;

    async fn ask(all: &[&Self], session: &Session) -> Result<Vec<Read>, Fault> {
        // Who asks for the same, knowing the same, is answered by the same row.
        let mut asked: Vec<_> = all.iter().map(|value| value.wanted()).collect();
        asked.sort_unstable();
        asked.dedup();
        let (keys, known): (Vec<_>, Vec<_>) =
            asked.iter().map(|(key, known)| (*key, known.map(stored))).unzip();
        let params: [&(dyn ToSql + Sync); 2] = [&keys, &known];
        let asking = session.client().query(&session.statements.read, &params);
        let rows = session.run(Purpose::Read, asking).await?;
        // There is no row where nothing is other than is known.
        let as_known = |known: &Option<_>| if known.is_some() { Read::Unchanged } else { Read::Absent };
        let mut reads: Vec<_> = known.iter().map(as_known).collect();
        for row in &rows {
            if let Some(read) = reads.get_mut(place(row)?) {
                *read = other_than_known(row)?;
            }
        }
        let found = |value: &Self| asked.binary_search(&value.wanted()).expect("it was asked for");
        Ok(all.iter().map(|value| reads[found(value)].clone()).collect())
    }
}

/// The entries of a range, the first few.
pub(super) struct Range {
    from: Key,
    to: Key,
    limit: i64,
}

impl Question for Range {
    type Answer = Vec<(Key, Entry)>;
    const SHARED_MAX: usize = 64;

    async fn ask(all: &[&Self], session: &Session) -> Result<Vec<Self::Answer>, Fault> {
        // One statement takes one limit; most ask for the same.
        let mut by_limit: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (number, range) in all.iter().enumerate() {
            by_limit.entry(range.limit).or_default().push(number);
        }
        let statements = by_limit.into_iter().map(async |(limit, numbers)| {
            let from: Vec<_> = numbers.iter().map(|number| all[*number].from.as_slice()).collect();
            let to: Vec<_> = numbers.iter().map(|number| all[*number].to.as_slice()).collect();
            let params: [&(dyn ToSql + Sync); 3] = [&from, &to, &limit];
            let asking = session.client().query(&session.statements.scan, &params);
            Ok::<_, Fault>((session.run(Purpose::Scan, asking).await?, numbers))
        });
        let mut found: Vec<_> = all.iter().map(|_| Vec::new()).collect();
        for (rows, numbers) in try_join_all(statements).await? {
            for row in &rows {
                if let Some(number) = numbers.get(place(row)?) {
                    found[*number].push(entry(row, 1)?);
                }
            }
        }
        Ok(found)
    }
}

/// Which of the questions a row answers, from 0.
fn place(row: &Row) -> Result<usize, StoreError> {
    Ok(usize::try_from(get::<i64>(row, 0)? - 1).unwrap_or(usize::MAX))
}

fn other_than_known(row: &Row) -> Result<Read, StoreError> {
    let Some(version) = get::<Option<i64>>(row, 1)? else { return Ok(Read::Absent) };
    let value = Bytes::copy_from_slice(get(row, 2)?);
    Ok(Read::Changed(Entry { version: Version(version.cast_unsigned()), value }))
}

/// A column, or that the table is not the one that a migration made.
fn get<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, StoreError> {
    row.try_get(column).map_err(|error| StoreError::Corrupt(format!("the table of entries: {error}")))
}

/// A key, its version and its value, from a column on.
fn entry(row: &Row, first: usize) -> Result<(Key, Entry), StoreError> {
    let version = Version(get::<i64>(row, first + 1)?.cast_unsigned());
    let value = Bytes::copy_from_slice(get(row, first + 2)?);
    Ok((get(row, first)?, Entry { version, value }))
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
    pub(super) async fn read(&self, key: &[u8], known: Option<Version>) -> Result<Read, StoreError> {
        self.refuse_if_closed()?;
        self.values.ask(Value { key: key.into(), known }).await
    }

    /// See [`Backend::scan`](crate::store::Backend::scan).
    pub(super) async fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Key, Entry)>, StoreError> {
        self.refuse_if_closed()?;
        let limit = bigint(limit);
        if !to.is_empty() {
            return self.ranges.ask(Range { from: from.into(), to: to.into(), limit }).await;
        }
        let rows = self.query(Purpose::Scan, |known| &known.scan_to_end, &[&from, &limit]).await?;
        rows.iter().map(|row| entry(row, 0)).collect()
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
        rows.iter().map(|row| entry(row, 0)).collect()
    }

    /// What the database's clock says, in milliseconds since the epoch.
    pub(super) async fn clock_ms(&self) -> Result<i64, StoreError> {
        let rows = self.query(Purpose::Clock, |known| &known.clock, &[]).await?;
        let row = rows.first().ok_or_else(|| StoreError::Failed("the database tells no time".into()))?;
        get(row, 0)
    }

    fn refuse_if_closed(&self) -> Result<(), StoreError> {
        if self.connector.is_closed() { Err(StoreError::Closed) } else { Ok(()) }
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
        let lane = self.readers.take();
        let session = lane.session().await?;
        session.run(purpose, session.client().query(statement(&session.statements), params)).await
    }
}
