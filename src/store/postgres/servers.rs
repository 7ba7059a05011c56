//! Detects servers that use the database, by the `application_name` of their connections.

use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::Client;

use super::settings::PostgresSettings;

/// Suffix of the `application_name` of connections that do not belong to a server.
const SUFFIX: &str = " alone";
/// Number of checks: a connection that was just closed is listed for a moment longer.
const CHECKS: usize = 10;
/// Pause between two checks.
const PAUSE: Duration = Duration::from_millis(100);

/// Counts the connections with the `application_name` of this one. Leaves out backends that wait for a standby: a
/// server that has ended may have left them behind.
const COUNT_CONNECTIONS: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = current_setting('application_name')
        AND wait_event IS DISTINCT FROM 'SyncRep'";

/// The `application_name` of the connections of servers that use this database.
pub(super) fn name(settings: &PostgresSettings) -> String {
    settings.address.get_application_name().unwrap_or_default().to_owned()
}

/// The same settings with another `application_name`, so that connections do not count as those of a server.
pub(super) fn with_other_name(mut settings: PostgresSettings) -> PostgresSettings {
    let name = name(&settings) + SUFFIX;
    settings.address.application_name(name);
    settings
}

/// Number of connections that servers have to the database. `client`, which has the name of a server's connection, does
/// not count. Returns 0 if the database does not list its connections.
pub(super) async fn count(client: &Client) -> i64 {
    let mut others = 0;
    for _ in 0..CHECKS {
        let Ok(row) = client.query_one(COUNT_CONNECTIONS, &[]).await else { return 0 };
        others = row.get::<_, i64>(0) - 1;
        if others <= 0 {
            return 0;
        }
        sleep(PAUSE).await;
    }
    others
}
