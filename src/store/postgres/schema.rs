//! The tables, made and upgraded by numbered migrations.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use super::retry::{Fault, Retry};
use crate::store::StoreError;

/// What makes each schema of the one before, the first of nothing. Each may run again on what it has made, for
/// databases that do not undo such statements.
const MIGRATIONS: [&str; 1] = ["CREATE TABLE IF NOT EXISTS rallypoint_entries (
        key bytea PRIMARY KEY, value bytea NOT NULL, version bigint NOT NULL
    )"];

/// The number of the schema, in the one row that there is. Whoever upgrades holds it locked.
const CREATE_NUMBER: &str = "
CREATE TABLE IF NOT EXISTS rallypoint_schema (id int PRIMARY KEY, number bigint NOT NULL)";
const START_NUMBER: &str = "INSERT INTO rallypoint_schema (id, number) VALUES (1, 0) ON CONFLICT DO NOTHING";
const NUMBER: &str = "SELECT number FROM rallypoint_schema WHERE id = 1";
const NUMBER_LOCKED: &str = "SELECT number FROM rallypoint_schema WHERE id = 1 FOR UPDATE";

/// The schema that this server reads and writes.
const KNOWN: i64 = MIGRATIONS.len() as i64;

/// A migration takes as long as it takes.
const WITHOUT_LIMIT: &str = "SET LOCAL statement_timeout = 0";

/// Makes the tables, or brings them up to date. Several servers may do so at once: each waits for the one before it,
/// however long that takes, and finds nothing left to do.
pub(super) async fn migrate(client: &mut Client, mut retry: Retry) -> Result<(), Fault> {
    loop {
        match try_migrate(client).await {
            Err(error) if is_race(&error) && retry.pause().await => {}
            // Asked again and again, so that a server that is gone is noticed.
            Err(error) if error.code() == Some(&SqlState::QUERY_CANCELED) => {
                tracing::info!("another server upgrades the database's schema; this one waits for it");
            }
            Err(error) => return Err(Fault::of(&error)),
            Ok(found) if found > KNOWN => {
                return Err(Fault::Failed(StoreError::UnknownSchema { found, known: KNOWN }));
            }
            Ok(_) => return Ok(()),
        }
    }
}

/// The number of the schema as it is then.
async fn try_migrate(client: &mut Client) -> Result<i64, Error> {
    // First looked at, so that a user who may not make tables can use those that are there.
    match client.query_opt(NUMBER, &[]).await {
        Ok(Some(row)) if row.get::<_, i64>(0) >= KNOWN => return Ok(row.get(0)),
        Err(error) if error.code() != Some(&SqlState::UNDEFINED_TABLE) => return Err(error),
        _ => {}
    }
    tracing::info!(
        "the database's tables are brought up to date: that waits for other servers, and for standbys"
    );
    client.batch_execute(CREATE_NUMBER).await?;
    client.batch_execute(START_NUMBER).await?;
    let upgrade = client.transaction().await?;
    let mut number: i64 = upgrade.query_one(NUMBER_LOCKED, &[]).await?.get(0);
    upgrade.batch_execute(WITHOUT_LIMIT).await?;
    for migration in MIGRATIONS.iter().skip(usize::try_from(number).unwrap_or(0)) {
        upgrade.batch_execute(migration).await?;
        number += 1;
        upgrade.execute("UPDATE rallypoint_schema SET number = $1 WHERE id = 1", &[&number]).await?;
        tracing::info!(schema = number, "the database's schema was upgraded");
    }
    upgrade.commit().await?;
    Ok(number)
}

/// Whether another server made the same thing at the same moment, which `IF NOT EXISTS` does not always see.
fn is_race(error: &Error) -> bool {
    let races = [
        SqlState::UNIQUE_VIOLATION,
        SqlState::DUPLICATE_TABLE,
        SqlState::DUPLICATE_OBJECT,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
    ];
    error.code().is_some_and(|code| races.contains(code))
}
