//! Poolers before a database. One that pools sessions is as good as none. One that pools transactions, which sends each
//! transaction of a client to another connection, loses what is set and prepared for a connection, mostly unseen.

use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::{Client, Error, SimpleQueryMessage};

use super::lane::Connector;
use crate::env::Entropy;

/// What to do about a pooler of transactions.
pub(super) const ADVICE: &str = "a pooler before it gives each transaction another connection, which loses what is set \
                                 for one: connect to the database itself, or pool sessions (pool_mode = session)";

/// A pooler may happen to give the same connections again, but hardly so often.
const ROUNDS: usize = 3;
/// How long a transaction is held for another client's read, which waits for its end where there is one connection.
const HELD: Duration = Duration::from_millis(250);

/// Says what to do where this client, and another that is made for it, do not keep what is set for them. Where the other
/// cannot be made, or the server knows no settings of one's own, nothing is said.
pub(super) async fn refuse_transactions(connector: &Connector, client: &Client) -> Result<(), &'static str> {
    let trying = async {
        let (other, _driver) = connector.connect_bare().await.ok()?;
        for _ in 0..ROUNDS {
            if !keep_settings(client, &other).await.ok()? {
                return Some(ADVICE);
            }
        }
        None
    };
    let limit = connector.settings().connect_timeout_of_all_hosts();
    match timeout(limit, trying).await {
        Ok(Some(advice)) => Err(advice),
        Ok(None) | Err(_) => Ok(()),
    }
}

/// Whether each of two clients finds what it has set, although the other's transaction had the chance to take its
/// connection away.
async fn keep_settings(client: &Client, other: &Client) -> Result<bool, Error> {
    let (mine, others) = (Setting::new(), Setting::new());
    client.batch_execute(&mine.set()).await?;
    other.batch_execute(&format!("BEGIN; {}", others.set())).await?;
    let mut reading = pin!(mine.is_kept(client));
    let read = timeout(HELD, &mut reading).await;
    other.batch_execute("COMMIT").await?;
    let is_mine_kept = match read {
        Ok(read) => read?,
        Err(_) => reading.await?,
    };
    Ok(is_mine_kept && others.is_kept(other).await?)
}

/// The value of a setting that no database knows.
struct Setting(String);

impl Setting {
    /// A value that nobody else sets.
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
