//! Where the database is and how long it is waited for.

use std::time::Duration;

use tokio_postgres::config::TargetSessionAttrs;

use super::hosts;
use super::tls::Tls;

/// How much longer than the server's own limit an answer is waited for: what the network and the statements ahead may
/// take. After that the connection counts as broken.
const ANSWER_SLACK: Duration = Duration::from_secs(2);

/// Where the database is and how long it is waited for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Hosts, database and user; see [`parse_url`].
    pub address: tokio_postgres::Config,
    /// How connections are encrypted, where they are.
    pub tls: Tls,
    /// Connections for commits.
    pub write_connections: usize,
    /// Connections for reads.
    pub read_connections: usize,
    /// Longest time for a host to take a connection.
    pub connect_timeout: Duration,
    /// Longest time for the database to carry a statement out.
    pub statement_timeout: Duration,
    /// Longest time that a read or a commit is tried again while the database is away.
    pub patience: Duration,
    /// How far this machine's clock and the database's may differ, in milliseconds.
    pub clock_skew_max_ms: i64,
}

impl Settings {
    /// How many hosts there are to look at.
    pub(super) fn host_count(&self) -> usize {
        self.address.get_hosts().len().max(self.address.get_hostaddrs().len()).max(1)
    }

    /// Longest time to find the host that takes writes, and to get a connection there.
    pub(super) fn connect_timeout_of_all_hosts(&self) -> Duration {
        self.connect_timeout * u32::try_from(self.host_count()).unwrap_or(u32::MAX)
    }

    /// Longest time to wait for an answer.
    pub(super) fn answer_timeout(&self) -> Duration {
        self.statement_timeout + ANSWER_SLACK
    }

    /// The hosts, for an operator.
    pub(super) fn shown(&self) -> String {
        let hosts = (0..self.host_count()).map(|number| hosts::name(&hosts::alone(&self.address, number)));
        let database = self.address.get_dbname().or(self.address.get_user()).unwrap_or_default();
        format!("{database} at {}", hosts.collect::<Vec<_>>().join(", "))
    }
}

/// Reads `postgresql://USER@HOST:PORT,HOST:PORT/DATABASE`. A password has a place of its own, where it is not shown.
///
/// # Errors
/// With what is wrong; never with a password.
pub fn parse_url(url: &str) -> Result<tokio_postgres::Config, String> {
    const FORM: &str = "as in postgresql://rallypoint@db1.example.com:5432,db2.example.com:5432/rallypoint";
    let mut address: tokio_postgres::Config =
        url.parse().map_err(|_| format!("url is no address of a PostgreSQL database, {FORM}"))?;
    if address.get_password().is_some() {
        return Err(
            "url takes no password: put it into password_file or RALLYPOINT_POSTGRES__PASSWORD".into()
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
        let address = parse_url("postgresql://me@one:1,two:2/games?connect_timeout=3").unwrap();
        assert_eq!((address.get_hosts().len(), address.get_dbname()), (2, Some("games")));
        assert_eq!(address.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        for (url, told) in [
            ("postgresql://me:secret@one/games", "takes no password"),
            ("host=one user=me password=secret", "takes no password"),
            ("secret", "no address of a PostgreSQL database"),
            ("user=me dbname=secret", "names no host"),
            ("postgresql://one/secret", "names no user"),
        ] {
            let message = parse_url(url).unwrap_err();
            assert!(message.contains(told) && !message.contains("secret"), "{message}");
        }
    }
}
