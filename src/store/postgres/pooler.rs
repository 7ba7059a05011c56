//! Detects poolers in front of the database that pool transactions. Session pooling works. Transaction pooling sends
//! each transaction of a client to any connection of the pool, so that session settings and prepared statements are
//! lost, mostly without an error.

use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::{Client, Error, SimpleQueryMessage};

use super::connection::Connector;
use crate::env::Entropy;

/// Advice if transactions are pooled.
pub(super) const ADVICE: &str = "a pooler in front of it gives each transaction another connection, so session settings \
                                 and prepared statements are lost: connect to the database directly, or use session \
                                 pooling (pool_mode = session)";

/// Number of checks. A pooler may assign the same connections again by chance, but hardly in every check.
const ROUNDS: usize = 3;
/// How long a transaction stays open while the other client reads. If the pooler has a single connection, that read
/// waits for the end of the transaction.
const TRANSACTION_TIME: Duration = Duration::from_millis(250);

/// Checks on `client` and on a second connection that session settings are kept. Accepts the database if the check
/// cannot be made: if the second connection fails, or the server has no custom settings.
///
/// # Errors
/// [`ADVICE`] if a setting is lost.
pub(super) async fn refuse_transaction_pooling(
    connector: &Connector,
    client: &Client,
) -> Result<(), &'static str> {
    let check = async {
        let (other, _task) = connector.connect_bare().await.ok()?;
        for _ in 0..ROUNDS {
            if !keep_settings(client, &other).await.ok()? {
                return Some(ADVICE);
            }
        }
        None
    };
    let limit = connector.settings().connect_timeout_of_all_hosts();
    match timeout(limit, check).await {
        Ok(Some(advice)) => Err(advice),
        Ok(None) | Err(_) => Ok(()),
    }
}

/// Whether each of two clients reads back its own setting, while a transaction of the other may take its connection.
async fn keep_settings(client: &Client, other: &Client) -> Result<bool, Error> {
    let mine = Setting::new();
    let others = Setting::new();
    client.batch_execute(&mine.set()).await?;
    other.batch_execute(&format!("BEGIN; {}", others.set())).await?;
    let mut reading = pin!(mine.is_kept(client));
    let read = timeout(TRANSACTION_TIME, &mut reading).await;
    other.batch_execute("COMMIT").await?;
    let is_mine_kept = match read {
        Ok(read) => read?,
        Err(_) => reading.await?,
    };
    Ok(is_mine_kept && others.is_kept(other).await?)
}

/// A random value of a custom setting that only this check uses.
struct Setting(String);

impl Setting {
    fn new() -> Self {
        Self(u64::from_le_bytes(Entropy::System.bytes()).to_string())
    }

    fn set(&self) -> String {
        format!("SELECT set_config('rallypoint.probe', '{}', false)", self.0)
    }

    async fn is_kept(&self, client: &Client) -> Result<bool, Error> {
        let found = client.simple_query("SELECT current_setting('rallypoint.probe', true)").await?;
        Ok(found.iter().any(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0) == Some(&self.0),
            _ => false,
        }))
    }
}
