//! What becomes of a statement that fails, and how long it is tried again.

use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::error::{DbError, Severity, SqlState};

use super::pooler::ADVICE;
use crate::env::Entropy;
use crate::store::StoreError;

/// First pause before another try; each next one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(2);
/// Longest pause before another try.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Why a statement did not do what it should.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// The database could not be reached. Nothing was sent.
    Unreachable(String),
    /// The connection broke: whether it was carried out is not known.
    Lost(String),
    /// No answer came in time: whether it was carried out, or will be, is not known.
    Unanswered(String),
    /// It was rolled back, for a reason that another try may not meet.
    Rejected(String),
    /// It was rolled back, and another try would be, too.
    Failed(StoreError),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl Fault {
    /// What an error of the client or of the server comes to.
    pub(super) fn of(error: &tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(refused) => Self::of_server(refused),
            None => Self::Lost(told(error)),
        }
    }

    /// An error ends the statement and rolls it back. What is worse ends the connection, and may come after a commit
    /// as well as before it.
    fn of_server(error: &DbError) -> Self {
        let told = error.message().to_owned();
        if !matches!(error.parsed_severity(), Some(Severity::Error) | None) {
            return Self::Lost(told);
        }
        match *error.code() {
            // Some databases say so of one statement, and go on.
            SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN | SqlState::TRANSACTION_RESOLUTION_UNKNOWN => {
                Self::Lost(told)
            }
            SqlState::T_R_SERIALIZATION_FAILURE
            | SqlState::T_R_DEADLOCK_DETECTED
            // How the statement of a commit says that a key is there that was absent when it began.
            | SqlState::DIVISION_BY_ZERO
            | SqlState::READ_ONLY_SQL_TRANSACTION
            | SqlState::QUERY_CANCELED => Self::Rejected(told),
            _ => Self::Failed(StoreError::Failed(with_advice(error))),
        }
    }
}

/// Whether a connection is no good, although it works: its server takes no writes, since it was the primary once, or does
/// not know what was prepared there.
pub(super) fn is_unfit(error: &tokio_postgres::Error) -> bool {
    let unfit = [SqlState::READ_ONLY_SQL_TRANSACTION, SqlState::INVALID_SQL_STATEMENT_NAME];
    error.code().is_some_and(|code| unfit.contains(code))
}

/// An error with its causes, and with what an operator can do about it.
pub(super) fn told(error: &tokio_postgres::Error) -> String {
    if let Some(refused) = error.as_db_error() {
        return with_advice(refused);
    }
    let mut told = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        told = format!("{told}: {error}");
        cause = error.source();
    }
    if told.contains("certificate") {
        told += "; name the authority of the server's certificate in [postgres] ca_file, and the server in url as its \
                 certificate does";
    }
    if told.contains("password missing") {
        told += "; set password_file, or RALLYPOINT_POSTGRES__PASSWORD";
    }
    if told.contains("server does not support TLS") {
        told += "; say sslmode=disable in [postgres] url where that is meant";
    }
    // How a host is refused that is not what target_session_attrs asks for.
    if told.contains("database does not allow writes") {
        told = format!("{told}; {TAKES_NO_WRITES}");
    }
    told
}

/// Of standbys, and of databases that are set so.
const TAKES_NO_WRITES: &str = "this server takes no writes: name the primary, or all hosts, in [postgres] url, and see \
                               that default_transaction_read_only is off there";

fn with_advice(error: &DbError) -> String {
    let (message, code) = (error.message(), error.code());
    match advice(code) {
        Some(advice) => format!("{message}; {advice}"),
        None => format!("{message} (SQLSTATE {})", code.code()),
    }
}

fn advice(code: &SqlState) -> Option<&'static str> {
    Some(match *code {
        SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            "check the user in [postgres] url, and password or password_file"
        }
        SqlState::INVALID_CATALOG_NAME => "create the database, or name another one in [postgres] url",
        SqlState::INSUFFICIENT_PRIVILEGE => {
            "the user needs CREATE on the schema, or SELECT, INSERT, UPDATE and DELETE on the tables once another \
             user's server has made them"
        }
        SqlState::UNDEFINED_TABLE
        | SqlState::UNDEFINED_COLUMN
        | SqlState::UNDEFINED_FUNCTION
        | SqlState::DATATYPE_MISMATCH
        | SqlState::INVALID_COLUMN_REFERENCE => {
            "the tables are not those that a server makes: is this the database, and the search_path, of the store? If so, \
             restore it from a backup"
        }
        SqlState::INVALID_SCHEMA_NAME => "create the schema that search_path names",
        SqlState::TOO_MANY_CONNECTIONS => {
            "raise max_connections of the database, or lower write_connections and read_connections"
        }
        SqlState::DISK_FULL => "make room on the database's disk",
        SqlState::READ_ONLY_SQL_TRANSACTION => TAKES_NO_WRITES,
        SqlState::INVALID_SQL_STATEMENT_NAME | SqlState::DUPLICATE_PSTATEMENT => ADVICE,
        _ => return None,
    })
}

/// How long something is tried again, and the pauses between.
pub(super) struct Retry {
    until: Instant,
    pause: Duration,
}

impl Retry {
    /// Tries for this long.
    pub(super) fn within(patience: Duration) -> Self {
        Self::until(Instant::now() + patience)
    }

    /// Tries until then.
    pub(super) fn until(until: Instant) -> Self {
        Self { until, pause: PAUSE_MIN }
    }

    /// Pauses before another try, each time longer; false where there is no time left for one. Half of a pause is
    /// chance, so that those who met once do not meet again.
    pub(super) async fn pause(&mut self) -> bool {
        let pause = self.pause.mul_f64(0.5 + Entropy::System.fraction() / 2.0);
        if Instant::now() + pause >= self.until {
            return false;
        }
        tokio::time::sleep(pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        true
    }
}
