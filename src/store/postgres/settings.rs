//! The settings of the store in PostgreSQL: hosts, connections and time limits.

use std::time::Duration;

use tokio_postgres::config::TargetSessionAttrs;

use super::hosts;
use super::tls::PostgresTls;

/// Time that an answer may take beyond the server's own time limit: for the network, and for earlier statements on the
/// connection. After it, the connection counts as broken.
const ANSWER_SLACK: Duration = Duration::from_secs(2);

/// The settings of a store in PostgreSQL.
#[derive(Clone, Debug)]
pub struct PostgresSettings {
    /// Hosts, database and user; see [`parse_postgres_url`].
    pub address: tokio_postgres::Config,
    /// Certificates for encrypted connections.
    pub tls: PostgresTls,
    /// Number of connections for commits. Commits that need a transaction have one more.
    pub write_connections: usize,
    /// Number of connections for reads.
    pub read_connections: usize,
    /// Longest time to connect to one host.
    pub connect_timeout: Duration,
    /// Longest time for the server to execute a statement.
    pub statement_timeout: Duration,
    /// Time after the start of a read or a commit from which it is not retried any more.
    pub retry_deadline: Duration,
    /// Largest allowed difference between this machine's clock and the database's, in milliseconds.
    pub clock_skew_max_ms: i64,
    /// Whether servers send each other messages.
    pub messages: MessageMode,
}

/// Whether servers send each other messages, with `NOTIFY`. They use a connection of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MessageMode {
    /// If the database can.
    #[default]
    Auto,
    /// Always. Otherwise the store is not opened.
    On,
    /// Never.
    Off,
}

impl PostgresSettings {
    /// Number of hosts in the address, at least 1.
    pub(super) fn host_count(&self) -> usize {
        self.address.get_hosts().len().max(self.address.get_hostaddrs().len()).max(1)
    }

    /// Longest time to find the host that takes writes and to connect to it.
    pub(super) fn connect_timeout_of_all_hosts(&self) -> Duration {
        self.connect_timeout * u32::try_from(self.host_count()).unwrap_or(u32::MAX)
    }

    /// Longest time to wait for the answer to a statement.
    pub(super) fn answer_timeout(&self) -> Duration {
        self.statement_timeout + ANSWER_SLACK
    }

    /// The database and its hosts, for messages to the operator.
    pub(super) fn describe(&self) -> String {
        let hosts =
            (0..self.host_count()).map(|number| hosts::name(&hosts::single_host(&self.address, number)));
        let database = self.address.get_dbname().or(self.address.get_user()).unwrap_or_default();
        format!("{database} at {}", hosts.collect::<Vec<_>>().join(", "))
    }
}

/// Parses `postgresql://USER@HOST:PORT,HOST:PORT/DATABASE`. The password is a setting of its own, because a URL is
/// shown in messages.
///
/// # Errors
/// A message about the first mistake. It never contains a password.
pub fn parse_postgres_url(url: &str) -> Result<tokio_postgres::Config, String> {
    const FORM: &str = "as in postgresql://rallypoint@db1.example.com:5432,db2.example.com:5432/rallypoint";
    let mut address: tokio_postgres::Config = url
        .parse()
        .map_err(|_| format!("url is not the address of a PostgreSQL database; write it {FORM}"))?;
    if address.get_password().is_some() {
        return Err(
            "url takes no password: set password_file or RALLYPOINT_POSTGRES__PASSWORD instead".into()
        );
    }
    if address.get_hosts().is_empty() && address.get_hostaddrs().is_empty() {
        return Err(format!("url names no host; write it {FORM}"));
    }
    if address.get_user().is_none() {
        return Err(format!("url names no user; write it {FORM}"));
    }
    address.target_session_attrs(TargetSessionAttrs::ReadWrite);
    if address.get_application_name().is_none() {
        address.application_name("rallypoint");
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_named_and_passwords_are_not() {
        let address = parse_postgres_url("postgresql://me@one:1,two:2/games?connect_timeout=3").unwrap();
        assert_eq!((address.get_hosts().len(), address.get_dbname()), (2, Some("games")));
        assert_eq!(address.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        for (url, expected) in [
            ("postgresql://me:secret@one/games", "takes no password"),
            ("host=one user=me password=secret", "takes no password"),
            ("secret", "not the address of a PostgreSQL database"),
            ("user=me dbname=secret", "names no host"),
            ("postgresql://one/secret", "names no user"),
        ] {
            let message = parse_postgres_url(url).unwrap_err();
            assert!(message.contains(expected) && !message.contains("secret"), "{message}");
        }
    }
}
