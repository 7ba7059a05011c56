//! Which of several primaries is the newest.
//!
//! Each promotion of a standby begins a new timeline, and the number of the timeline rises. A primary that was replaced
//! and lives on keeps its number. It still takes writes, and loses them when it follows the new primary. So a node uses
//! the primary with the highest timeline that it has seen, and never again one with a lower number.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::statement_error::describe;

/// Reads the timeline of a primary, in hexadecimal; null on a standby. Needs no privilege.
const QUERY: &str = "SELECT CASE WHEN NOT pg_is_in_recovery() THEN \
                     substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END";

/// The timeline of a primary. 0 if the database has none; no timeline of PostgreSQL has this number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Timeline(u32);

impl Timeline {
    /// Asks a server for its timeline.
    ///
    /// # Errors
    /// Why the server does not tell it, for the operator. Nothing is known of the timeline then.
    pub(super) async fn of(client: &Client) -> Result<Self, String> {
        match client.simple_query(QUERY).await {
            Ok(messages) => Self::from_answer(messages.iter().find_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0),
                _ => None,
            })),
            Err(error) if error.code().is_some_and(has_no_timelines) => Ok(Self::default()),
            Err(error) => Err(describe(&error)),
        }
    }

    fn from_answer(text: Option<&str>) -> Result<Self, String> {
        let text = text.ok_or("this server has just become a standby")?;
        let number = u32::from_str_radix(text, 16);
        number.map(Self).map_err(|_| format!("this server has a timeline that is no number: {text}"))
    }
}

/// Whether a server with this error has no timelines: it lacks the functions, or forbids them. Other errors, as that of
/// a server that stops, say nothing of the timeline.
fn has_no_timelines(code: &SqlState) -> bool {
    let codes =
        [SqlState::UNDEFINED_FUNCTION, SqlState::FEATURE_NOT_SUPPORTED, SqlState::INSUFFICIENT_PRIVILEGE];
    codes.contains(code)
}

impl std::fmt::Display for Timeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The newest timeline that this node has seen. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct NewestTimeline {
    newest: Arc<AtomicU32>,
    /// The replaced primaries that were last logged.
    logged: Arc<Mutex<Vec<String>>>,
}

impl NewestTimeline {
    /// Notes the timeline of a primary. From now on primaries with a lower one are not used.
    pub(super) fn note(&self, timeline: Timeline) {
        self.newest.fetch_max(timeline.0, Ordering::AcqRel);
    }

    /// Why a primary with this timeline must not be used: a newer one has replaced it.
    ///
    /// # Errors
    /// The reason, for the operator.
    pub(super) fn check(&self, timeline: Timeline) -> Result<(), String> {
        let newest = Timeline(self.newest.load(Ordering::Acquire));
        if timeline >= newest {
            return Ok(());
        }
        Err(format!(
            "this server has timeline {timeline}, and a newer primary with timeline {newest} has replaced it; if the \
             database was created anew, restart this node"
        ))
    }

    /// Logs once which hosts still take writes although a newer primary has replaced them, and once that there are none
    /// any more.
    pub(super) fn log_replaced(&self, replaced: Vec<String>) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if *logged == replaced {
            return;
        }
        if replaced.is_empty() {
            tracing::info!("there is one primary again");
        } else {
            tracing::error!(
                hosts = replaced.join(", "),
                timeline = self.newest.load(Ordering::Acquire),
                "there are two primaries: these hosts still take writes, and a newer primary has replaced them; stop \
                 them, because what is written there is lost"
            );
        }
        *logged = replaced;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_without_timelines_has_timeline_0() {
        for (code, expected) in [
            ("42883", true),  // undefined function
            ("0A000", true),  // feature not supported
            ("42501", true),  // insufficient privilege
            ("57P01", false), // the server stops, as in a switchover
            ("57P03", false), // the server starts
            ("57014", false), // the statement was cancelled
            ("55000", false), // the server has become a standby since it looked
        ] {
            assert_eq!(has_no_timelines(&SqlState::from_code(code)), expected, "{code}");
        }
        assert_eq!(Timeline::from_answer(Some("0000000A")), Ok(Timeline(10)));
        let standby = Timeline::from_answer(None).unwrap_err();
        assert!(standby.contains("become a standby"), "{standby}");
        Timeline::from_answer(Some("?")).unwrap_err();
    }

    #[test]
    fn the_highest_timeline_wins_for_good() {
        let newest = NewestTimeline::default();
        assert_eq!(newest.check(Timeline(0)), Ok(()), "a database without timelines");
        newest.note(Timeline(2));
        newest.note(Timeline(1));
        assert_eq!(newest.check(Timeline(2)), Ok(()));
        assert_eq!(newest.clone().check(Timeline(3)), Ok(()));
        assert!(
            newest
                .check(Timeline(1))
                .unwrap_err()
                .contains("timeline 1, and a newer primary with timeline 2")
        );
    }
}
