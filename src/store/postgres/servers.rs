//! Servers that have a database open. They are known by what their connections are called (`application_name`).

use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::Client;

use super::settings::Settings;

/// What the connections are called of who must be alone, beside what those of servers are.
const SUFFIX: &str = " alone";
/// How often is looked, since connections that were closed a moment ago are seen for a moment yet.
const LOOKS: usize = 10;
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// But for what a server that is gone has left waiting for a standby.
const CALLED_SO: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = current_setting('application_name')
        AND wait_event IS DISTINCT FROM 'SyncRep'";

/// What the connections of servers are called that use this database.
pub(super) fn name(settings: &Settings) -> String {
    settings.address.get_application_name().unwrap_or_default().to_owned()
}

/// The same database, with connections that are not taken for a server's.
pub(super) fn without_name(mut settings: Settings) -> Settings {
    let name = name(&settings) + SUFFIX;
    settings.address.application_name(name);
    settings
}

/// How many connections servers have to the database, beside this one, which is called as theirs are; 0 where it does
/// not say who is connected.
pub(super) async fn count(client: &Client) -> i64 {
    let mut others = 0;
    for _ in 0..LOOKS {
        let Ok(row) = client.query_one(CALLED_SO, &[]).await else { return 0 };
        others = row.get::<_, i64>(0) - 1;
        if others <= 0 {
            return 0;
        }
        sleep(PAUSE).await;
    }
    others
}
