//! Creates and upgrades the tables by numbered migrations.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use super::retry::Retry;
use super::statement_error::StatementError;
use crate::store::StoreError;

/// Each migration turns the schema before it into the next; the first starts from an empty database. A migration must
/// be safe to repeat, because some databases do not roll back such statements.
const MIGRATIONS: [&str; 1] = ["CREATE TABLE IF NOT EXISTS rallypoint_entries (
        key bytea PRIMARY KEY, value bytea NOT NULL, version bigint NOT NULL
    )"];

/// The schema number, in a table with a single row. A server that upgrades holds a lock on the row.
const CREATE_NUMBER: &str = "
CREATE TABLE IF NOT EXISTS rallypoint_schema (id int PRIMARY KEY, number bigint NOT NULL)";
const START_NUMBER: &str = "INSERT INTO rallypoint_schema (id, number) VALUES (1, 0) ON CONFLICT DO NOTHING";
const NUMBER: &str = "SELECT number FROM rallypoint_schema WHERE id = 1";
const NUMBER_LOCKED: &str = "SELECT number FROM rallypoint_schema WHERE id = 1 FOR UPDATE";

/// The schema number that this server reads and writes.
const KNOWN: i64 = MIGRATIONS.len() as i64;

/// A migration has no time limit.
const REMOVE_TIMEOUT: &str = "SET LOCAL statement_timeout = 0";

/// Creates the tables, or upgrades them. Several servers may do so at once: each waits for the server before it,
/// without a time limit, and then finds the work done.
///
/// # Errors
/// [`StatementError::Permanent`] with [`StoreError::UnknownSchema`] if a newer server has made the tables.
pub(super) async fn migrate(client: &mut Client, mut retry: Retry) -> Result<(), StatementError> {
    loop {
        match try_migrate(client).await {
            Err(error) if is_race(&error) && retry.pause().await => {}
            // Repeated until the lock is free; the time limit of each attempt detects a dead connection.
            Err(error) if error.code() == Some(&SqlState::QUERY_CANCELED) => {
                tracing::info!("another server is upgrading the database's schema; this server waits for it");
            }
            Err(error) => return Err(StatementError::of(&error)),
            Ok(found) if found > KNOWN => {
                return Err(StoreError::UnknownSchema { found, known: KNOWN }.into());
            }
            Ok(_) => return Ok(()),
        }
    }
}

/// Tries to upgrade the schema once; returns the schema number afterwards.
async fn try_migrate(client: &mut Client) -> Result<i64, Error> {
    // Read first, so that a user without the right to create tables can use existing ones.
    match client.query_opt(NUMBER, &[]).await {
        Ok(Some(row)) if row.get::<_, i64>(0) >= KNOWN => return Ok(row.get(0)),
        Err(error) if error.code() != Some(&SqlState::UNDEFINED_TABLE) => return Err(error),
        _ => {}
    }
    tracing::info!("upgrading the database's tables; this waits for other servers and for standbys");
    client.batch_execute(CREATE_NUMBER).await?;
    client.batch_execute(START_NUMBER).await?;
    let upgrade = client.transaction().await?;
    let mut number: i64 = upgrade.query_one(NUMBER_LOCKED, &[]).await?.get(0);
    upgrade.batch_execute(REMOVE_TIMEOUT).await?;
    for migration in MIGRATIONS.iter().skip(usize::try_from(number).unwrap_or(0)) {
        upgrade.batch_execute(migration).await?;
        number += 1;
        upgrade.execute("UPDATE rallypoint_schema SET number = $1 WHERE id = 1", &[&number]).await?;
        tracing::info!(schema = number, "the database's schema was upgraded");
    }
    upgrade.commit().await?;
    Ok(number)
}

/// Whether another server created the same table or row at the same moment; `IF NOT EXISTS` does not always prevent it.
fn is_race(error: &Error) -> bool {
    let codes = [
        SqlState::UNIQUE_VIOLATION,
        SqlState::DUPLICATE_TABLE,
        SqlState::DUPLICATE_OBJECT,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
    ];
    error.code().is_some_and(|code| codes.contains(code))
}
