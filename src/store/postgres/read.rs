//! Reads: batched reads of single values and of ranges, and rare reads that have a statement each.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio_postgres::types::{FromSql, ToSql};
use tokio_postgres::{Row, Statement};

use super::Inner;
use super::commit::version_to_sql;
use super::connection::OpenConnection;
use super::metrics::Purpose;
use super::read_batcher::BatchedRead;
use super::retry::Retry;
use super::sql::Statements;
use super::statement_error::StatementError;
use crate::store::{ConditionalRead, Entry, Key, StoreError, Version};

/// Reads the value of a key, unless it has the known version.
pub(super) struct ValueRead {
    key: Key,
    known: Option<Version>,
}

impl ValueRead {
    fn as_tuple(&self) -> (&[u8], Option<Version>) {
        (&self.key, self.known)
    }
}

impl BatchedRead for ValueRead {
    type Output = ConditionalRead;
    /// Small enough that the values of a batch fit into memory even if all of them are large.
    const BATCH_MAX: usize = 128;

    async fn run(
        reads: &[&Self],
        connection: &OpenConnection,
    ) -> Result<Vec<ConditionalRead>, StatementError> {
        // Equal reads are sent once.
        let mut distinct: Vec<_> = reads.iter().map(|read| read.as_tuple()).collect();
        distinct.sort_unstable();
        distinct.dedup();
        let keys: Vec<_> = distinct.iter().map(|(key, _)| *key).collect();
        let known: Vec<_> = distinct.iter().map(|(_, known)| known.map(version_to_sql)).collect();
        let params: [&(dyn ToSql + Sync); 2] = [&keys, &known];
        let query = connection.client().query(&connection.statements.read, &params);
        let rows = connection.run(Purpose::Read, query).await?;
        // A read without a row found the known version; or no value, if it knows no version.
        let mut outputs = Vec::with_capacity(distinct.len());
        for (_, known) in &distinct {
            outputs.push(if known.is_some() { ConditionalRead::Unchanged } else { ConditionalRead::Absent });
        }
        for row in &rows {
            if let Some(output) = outputs.get_mut(index(row)?) {
                *output = conditional_read(row)?;
            }
        }
        let output = |read: &&Self| {
            let index = distinct.binary_search(&read.as_tuple()).expect("`distinct` has every read");
            outputs[index].clone()
        };
        Ok(reads.iter().map(output).collect())
    }
}

/// Reads the first `limit` entries of a range.
pub(super) struct RangeRead {
    from: Key,
    to: Key,
    limit: i64,
}

impl BatchedRead for RangeRead {
    type Output = Vec<(Key, Entry)>;
    const BATCH_MAX: usize = 64;

    async fn run(reads: &[&Self], connection: &OpenConnection) -> Result<Vec<Self::Output>, StatementError> {
        // A statement has one limit. Most reads have the same.
        let mut indexes_by_limit: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (index, read) in reads.iter().enumerate() {
            indexes_by_limit.entry(read.limit).or_default().push(index);
        }
        let statements = indexes_by_limit.into_iter().map(async |(limit, indexes)| {
            let from: Vec<_> = indexes.iter().map(|index| reads[*index].from.as_slice()).collect();
            let to: Vec<_> = indexes.iter().map(|index| reads[*index].to.as_slice()).collect();
            let params: [&(dyn ToSql + Sync); 3] = [&from, &to, &limit];
            let query = connection.client().query(&connection.statements.scan, &params);
            let rows = connection.run(Purpose::Scan, query).await?;
            Ok::<_, StatementError>((rows, indexes))
        });
        let mut outputs: Vec<_> = reads.iter().map(|_| Vec::new()).collect();
        for (rows, indexes) in try_join_all(statements).await? {
            for row in &rows {
                if let Some(read) = indexes.get(index(row)?) {
                    outputs[*read].push(entry(row, 1)?);
                }
            }
        }
        Ok(outputs)
    }
}

/// The index of the read that a row belongs to, from 0. The first column has it, from 1.
fn index(row: &Row) -> Result<usize, StoreError> {
    Ok(usize::try_from(column::<i64>(row, 0)? - 1).unwrap_or(usize::MAX))
}

fn conditional_read(row: &Row) -> Result<ConditionalRead, StoreError> {
    let Some(version) = column::<Option<i64>>(row, 1)? else { return Ok(ConditionalRead::Absent) };
    let value = Bytes::copy_from_slice(column(row, 2)?);
    Ok(ConditionalRead::Changed(Entry { version: Version(version.cast_unsigned()), value }))
}

/// Reads a column. A column of another type means that no migration has created this table.
fn column<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, StoreError> {
    row.try_get(column).map_err(|error| StoreError::Corrupt(format!("the table of entries: {error}")))
}

/// Reads a key, its version and its value from three columns, of which `first` is the first.
fn entry(row: &Row, first: usize) -> Result<(Key, Entry), StoreError> {
    let version = Version(column::<i64>(row, first + 1)?.cast_unsigned());
    let value = Bytes::copy_from_slice(column(row, first + 2)?);
    Ok((column(row, first)?, Entry { version, value }))
}

/// A limit as a `bigint` parameter.
fn bigint(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

impl Inner {
    /// See [`Backend::get`](crate::store::Backend::get).
    pub(super) async fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        match self.read(key, None).await? {
            ConditionalRead::Changed(entry) => Ok(Some(entry)),
            ConditionalRead::Unchanged | ConditionalRead::Absent => Ok(None),
        }
    }

    /// Reads the value of a key, unless it has the known version.
    pub(super) async fn read(
        &self,
        key: &[u8],
        known: Option<Version>,
    ) -> Result<ConditionalRead, StoreError> {
        self.refuse_if_closed()?;
        self.value_reads.read(ValueRead { key: key.into(), known }).await
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
            return self.range_reads.read(RangeRead { from: from.into(), to: to.into(), limit }).await;
        }
        let rows = self.query(Purpose::Scan, |prepared| &prepared.scan_to_end, &[&from, &limit]).await?;
        rows.iter().map(|row| entry(row, 0)).collect()
    }

    /// See [`Backend::page`](crate::store::Backend::page).
    pub(super) async fn page(
        &self,
        from: &[u8],
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<(Key, Entry)>, StoreError> {
        let limit = bigint(limit);
        let bytes_max = bigint(bytes_max);
        let params: [&(dyn ToSql + Sync); 3] = [&from, &limit, &bytes_max];
        let rows = self.query(Purpose::Page, |prepared| &prepared.page, &params).await?;
        rows.iter().map(|row| entry(row, 0)).collect()
    }

    /// The time of the database's clock, in milliseconds since the Unix epoch.
    pub(super) async fn clock_ms(&self) -> Result<i64, StoreError> {
        let rows = self.query(Purpose::Clock, |prepared| &prepared.clock, &[]).await?;
        let no_row = || StoreError::Failed("the database returned no time".into());
        column(rows.first().ok_or_else(no_row)?, 0)
    }

    fn refuse_if_closed(&self) -> Result<(), StoreError> {
        if self.connector.is_closed() { Err(StoreError::Closed) } else { Ok(()) }
    }

    /// Runs a statement of its own on the least busy connection. Failures are retried until the retry deadline.
    async fn query(
        &self,
        purpose: Purpose,
        statement: fn(&Statements) -> &Statement,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let mut retry = Retry::within(self.connector.settings().retry_deadline);
        loop {
            let error = match self.try_query(purpose, statement, params).await {
                Ok(rows) => return Ok(rows),
                Err(error) => error,
            };
            if matches!(error, StatementError::Permanent(_)) || !retry.pause().await {
                return Err(error.into_read_error());
            }
        }
    }

    async fn try_query(
        &self,
        purpose: Purpose,
        statement: fn(&Statements) -> &Statement,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StatementError> {
        let pooled = self.read_connections.least_busy();
        let connection = pooled.open().await?;
        let statement = statement(&connection.statements);
        connection.run(purpose, connection.client().query(statement, params)).await
    }
}
