//! Why a statement failed, whether a retry can help, and the text that an operator reads.

use tokio_postgres::error::{DbError, Severity, SqlState};

use super::pooler;
use crate::store::StoreError;

/// Why a statement failed. The variants differ in what the caller may do next.
#[derive(Clone, Debug)]
pub(super) enum StatementError {
    /// There is no connection to the database. The statement was not sent.
    Unreachable(String),
    /// The connection broke. The statement may or may not have been executed.
    ConnectionLost(String),
    /// No answer came in time. The statement may have been executed, or may still be.
    TimedOut(String),
    /// The server rolled the statement back, and a retry may succeed.
    Retryable(String),
    /// The server rolled the statement back, and a retry would fail in the same way.
    Permanent(StoreError),
}

impl From<StoreError> for StatementError {
    fn from(error: StoreError) -> Self {
        Self::Permanent(error)
    }
}

impl StatementError {
    /// Classifies an error of the client library or of the server.
    pub(super) fn of(error: &tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(error) => Self::of_server(error),
            None => Self::ConnectionLost(describe(error)),
        }
    }

    /// Classifies an error of the server. One of severity `ERROR` ends the statement and rolls it back. A higher
    /// severity ends the connection, and may come before or after a commit.
    fn of_server(error: &DbError) -> Self {
        let message = error.message().to_owned();
        if !matches!(error.parsed_severity(), Some(Severity::Error) | None) {
            return Self::ConnectionLost(message);
        }
        match *error.code() {
            // Some databases report an unknown outcome for one statement and keep the connection open.
            SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN | SqlState::TRANSACTION_RESOLUTION_UNKNOWN => {
                Self::ConnectionLost(message)
            }
            SqlState::T_R_SERIALIZATION_FAILURE
            | SqlState::T_R_DEADLOCK_DETECTED
            // The statement of a commit divides by zero if a key exists that was absent when the statement began.
            | SqlState::DIVISION_BY_ZERO
            | SqlState::QUERY_CANCELED => Self::Retryable(message),
            SqlState::READ_ONLY_SQL_TRANSACTION => Self::Retryable(with_advice(error)),
            _ => Self::Permanent(StoreError::Failed(with_advice(error))),
        }
    }

    /// The error of a read that is not retried any more. A read changes nothing, so its outcome is never unknown.
    pub(super) fn into_read_error(self) -> StoreError {
        match self {
            Self::Unreachable(cause)
            | Self::ConnectionLost(cause)
            | Self::TimedOut(cause)
            | Self::Retryable(cause) => StoreError::Unavailable(cause),
            Self::Permanent(error) => error,
        }
    }
}

/// Whether the connection must be replaced although it works: its server became a standby and takes no writes, or
/// does not have the prepared statements.
pub(super) fn needs_new_connection(error: &tokio_postgres::Error) -> bool {
    let codes = [SqlState::READ_ONLY_SQL_TRANSACTION, SqlState::INVALID_SQL_STATEMENT_NAME];
    error.code().is_some_and(|code| codes.contains(code))
}

/// The message of an error with its causes, and advice for the operator if there is any.
pub(super) fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(error) = error.as_db_error() {
        return with_advice(error);
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    if text.contains("certificate") {
        text += "; set [postgres] ca_file to the certificate authority of the server, and use the host name of the \
                 server's certificate in url";
    }
    if text.contains("password missing") {
        text += "; set password_file, or RALLYPOINT_POSTGRES__PASSWORD";
    }
    if text.contains("server does not support TLS") {
        text += "; to connect without encryption, set sslmode=disable in [postgres] url";
    }
    // The client's message for a host that does not match target_session_attrs.
    if text.contains("database does not allow writes") {
        text = format!("{text}; {READ_ONLY_ADVICE}");
    }
    text
}

/// Advice for standbys, and for databases that are configured as read-only.
const READ_ONLY_ADVICE: &str = "this server takes no writes: name the primary, or all hosts, in [postgres] url, and \
                                check that default_transaction_read_only is off there";

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
            "the user needs CREATE on the schema; if another user's server has created the tables, the user needs SELECT, \
             INSERT, UPDATE and DELETE on them"
        }
        SqlState::UNDEFINED_TABLE
        | SqlState::UNDEFINED_COLUMN
        | SqlState::UNDEFINED_FUNCTION
        | SqlState::DATATYPE_MISMATCH
        | SqlState::INVALID_COLUMN_REFERENCE => {
            "the tables are not the ones that a server creates: check that database and search_path are those of the \
             store; if they are, restore the database from a backup"
        }
        SqlState::INVALID_SCHEMA_NAME => "create the schema that search_path names",
        SqlState::TOO_MANY_CONNECTIONS => {
            "raise max_connections of the database, or lower write_connections and read_connections"
        }
        SqlState::DISK_FULL => "free space on the database's disk",
        SqlState::READ_ONLY_SQL_TRANSACTION => READ_ONLY_ADVICE,
        SqlState::INVALID_SQL_STATEMENT_NAME | SqlState::DUPLICATE_PSTATEMENT => pooler::ADVICE,
        _ => return None,
    })
}
