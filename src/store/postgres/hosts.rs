//! Finds the host that takes writes, and connects to it. Each host has its own time limit, so that a host that accepts
//! connections but never answers does not prevent the attempt at the next host.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::config::{Host, LoadBalanceHosts};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::settings::PostgresSettings;
use super::statement_error::describe;
use crate::env::Entropy;

/// Idle time before a TCP keepalive probe, and the time between probes, unless the address sets them.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);

pub(super) type TlsStream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;
type Connected = (Client, Connection<Socket, TlsStream>);

/// Connects to the first host that takes writes. The order is that of the address, and starts with the host at index
/// `last`, which took writes last: a host that is down may use up its time limit. With `load_balance_hosts=random` in
/// the address, it starts with a random host.
///
/// # Errors
/// The causes of all hosts, in the order of the attempts.
pub(super) async fn connect(settings: &PostgresSettings, last: &AtomicUsize) -> Result<Connected, String> {
    let address = &settings.address;
    let count = settings.host_count();
    let first = match address.get_load_balance_hosts() {
        LoadBalanceHosts::Random => usize::from_le_bytes(Entropy::System.bytes()) % count,
        _ => last.load(Ordering::Relaxed),
    };
    let mut refusals = Vec::new();
    for number in (first..first + count).map(|number| number % count) {
        let limit = settings.connect_timeout;
        let mut host = single_host(address, number);
        if host.get_tcp_user_timeout().is_none() {
            // A statement that was abandoned must not reach the server long after.
            host.tcp_user_timeout(settings.statement_timeout);
        }
        // Detects a dead server while a statement waits for its answer, which may take long.
        if host.get_keepalives_idle() == Config::new().get_keepalives_idle() {
            host.keepalives_idle(KEEPALIVE_INTERVAL);
        }
        if host.get_keepalives_interval().is_none() {
            host.keepalives_interval(KEEPALIVE_INTERVAL);
        }
        let cause = match timeout(limit, host.connect(settings.tls.0.clone())).await {
            Ok(Ok(connected)) => {
                last.store(number, Ordering::Relaxed);
                return Ok(connected);
            }
            Ok(Err(error)) => describe(&error),
            Err(_) => format!("no connection within {limit:?}"),
        };
        refusals.push(if count > 1 { format!("{}: {cause}", name(&host)) } else { cause });
    }
    Err(refusals.join("; "))
}

/// The address with only one of its hosts.
pub(super) fn single_host(address: &Config, number: usize) -> Config {
    let mut host = Config::new();
    match address.get_hosts().get(number) {
        Some(Host::Tcp(name)) => {
            host.host(name);
        }
        Some(Host::Unix(path)) => {
            host.host_path(path);
        }
        None => {}
    }
    let ports = address.get_ports();
    host.port(ports.get(number).or(ports.first()).copied().unwrap_or(5432));
    if let Some(ip) = address.get_hostaddrs().get(number) {
        host.hostaddr(*ip);
    }
    if let Some(user) = address.get_user() {
        host.user(user);
    }
    if let Some(password) = address.get_password() {
        host.password(password);
    }
    if let Some(name) = address.get_dbname() {
        host.dbname(name);
    }
    if let Some(options) = address.get_options() {
        host.options(options);
    }
    if let Some(name) = address.get_application_name() {
        host.application_name(name);
    }
    if let Some(limit) = address.get_connect_timeout() {
        host.connect_timeout(*limit);
    }
    if let Some(limit) = address.get_tcp_user_timeout() {
        host.tcp_user_timeout(*limit);
    }
    if let Some(interval) = address.get_keepalives_interval() {
        host.keepalives_interval(interval);
    }
    if let Some(retries) = address.get_keepalives_retries() {
        host.keepalives_retries(retries);
    }
    host.keepalives(address.get_keepalives())
        .keepalives_idle(address.get_keepalives_idle())
        .ssl_mode(address.get_ssl_mode())
        .ssl_negotiation(address.get_ssl_negotiation())
        .channel_binding(address.get_channel_binding())
        .load_balance_hosts(address.get_load_balance_hosts())
        .target_session_attrs(address.get_target_session_attrs());
    host
}

/// Name and port of the host, for messages to the operator.
pub(super) fn name(host: &Config) -> String {
    let name = match (host.get_hosts().first(), host.get_hostaddrs().first()) {
        (Some(Host::Tcp(name)), _) => name.clone(),
        (Some(Host::Unix(path)), _) => path.display().to_string(),
        (None, ip) => ip.map(ToString::to_string).unwrap_or_default(),
    };
    format!("{name}:{}", host.get_ports()[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::postgres::settings::parse_postgres_url;

    #[test]
    fn a_single_host_keeps_all_parameters() {
        let others = "&sslmode=require&channel_binding=require&sslnegotiation=direct&load_balance_hosts=random\
            &connect_timeout=3&tcp_user_timeout=4&keepalives=0&keepalives_idle=5&keepalives_interval=6\
            &keepalives_retries=7&options=-csearch_path%3Dgames&application_name=tests";
        let url = |hosts: &str| format!("postgresql://me@{hosts}/games?{}", &others[1..]);
        let mut both = parse_postgres_url(&url("one:1,%2Ftwo:2")).unwrap();
        both.password("secret");
        for (number, host) in ["one:1", "%2Ftwo:2"].into_iter().enumerate() {
            let mut only = parse_postgres_url(&url(host)).unwrap();
            only.password("secret");
            assert_eq!(single_host(&both, number), only);
        }
        let same_port = parse_postgres_url("postgresql://me@one,two:7/games").unwrap();
        assert_eq!(name(&single_host(&same_port, 1)), "two:7");
    }
}
