//! Finding the host that takes writes. Each is given a time of its own, so that one that takes connections and then says
//! nothing, as a machine does that stands still, keeps nobody from the next.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::config::{Host, LoadBalanceHosts};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::retry::told;
use super::settings::Settings;
use crate::env::Entropy;

/// How often a connection on which nothing comes is tried, unless the address says so.
const KEEPALIVES: Duration = Duration::from_secs(2);

pub(super) type TlsStream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;
type Connected = (Client, Connection<Socket, TlsStream>);

/// Connects to the first host that takes writes, in the order of the address from the one on that took them last, since
/// one that is gone may take all of its time; or from any of them on where the address asks for it.
pub(super) async fn connect(settings: &Settings, last: &AtomicUsize) -> Result<Connected, String> {
    let address = &settings.address;
    let count = settings.host_count();
    let first = match address.get_load_balance_hosts() {
        LoadBalanceHosts::Random => usize::from_le_bytes(Entropy::System.bytes()) % count,
        _ => last.load(Ordering::Relaxed),
    };
    let mut refusals = Vec::new();
    for number in (first..first + count).map(|number| number % count) {
        let (mut host, limit) = (alone(address, number), settings.connect_timeout);
        if host.get_tcp_user_timeout().is_none() {
            // What was given up must not be delivered long after.
            host.tcp_user_timeout(settings.statement_timeout);
        }
        // Whoever waits for an answer must notice that a machine is gone, also where that may take long.
        if host.get_keepalives_idle() == Config::new().get_keepalives_idle() {
            host.keepalives_idle(KEEPALIVES);
        }
        if host.get_keepalives_interval().is_none() {
            host.keepalives_interval(KEEPALIVES);
        }
        let cause = match timeout(limit, host.connect(settings.tls.0.clone())).await {
            Ok(Ok(connected)) => {
                last.store(number, Ordering::Relaxed);
                return Ok(connected);
            }
            Ok(Err(error)) => told(&error),
            Err(_) => format!("no connection within {limit:?}"),
        };
        refusals.push(if count > 1 { format!("{}: {cause}", name(&host)) } else { cause });
    }
    Err(refusals.join("; "))
}

/// The address with one of its hosts.
pub(super) fn alone(address: &Config, number: usize) -> Config {
    let mut host = Config::new();
    match address.get_hosts().get(number) {
        Some(Host::Tcp(name)) => drop(host.host(name)),
        Some(Host::Unix(path)) => drop(host.host_path(path)),
        None => {}
    }
    let ports = address.get_ports();
    host.port(ports.get(number).or(ports.first()).copied().unwrap_or(5432));
    address.get_hostaddrs().get(number).map(|ip| host.hostaddr(*ip));
    address.get_user().map(|user| host.user(user));
    address.get_password().map(|password| host.password(password));
    address.get_dbname().map(|name| host.dbname(name));
    address.get_options().map(|options| host.options(options));
    address.get_application_name().map(|name| host.application_name(name));
    address.get_connect_timeout().map(|limit| host.connect_timeout(*limit));
    address.get_tcp_user_timeout().map(|limit| host.tcp_user_timeout(*limit));
    address.get_keepalives_interval().map(|interval| host.keepalives_interval(interval));
    address.get_keepalives_retries().map(|retries| host.keepalives_retries(retries));
    host.keepalives(address.get_keepalives())
        .keepalives_idle(address.get_keepalives_idle())
        .ssl_mode(address.get_ssl_mode())
        .ssl_negotiation(address.get_ssl_negotiation())
        .channel_binding(address.get_channel_binding())
        .load_balance_hosts(address.get_load_balance_hosts())
        .target_session_attrs(address.get_target_session_attrs());
    host
}

/// A host, for an operator.
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
    use crate::store::postgres::settings::parse_url;

    #[test]
    fn a_host_alone_is_reached_as_among_others() {
        let others = "&sslmode=require&channel_binding=require&sslnegotiation=direct&load_balance_hosts=random\
            &connect_timeout=3&tcp_user_timeout=4&keepalives=0&keepalives_idle=5&keepalives_interval=6\
            &keepalives_retries=7&options=-csearch_path%3Dgames&application_name=tests";
        let url = |hosts: &str| format!("postgresql://me@{hosts}/games?{}", &others[1..]);
        let mut both = parse_url(&url("one:1,%2Ftwo:2")).unwrap();
        both.password("secret");
        for (number, host) in ["one:1", "%2Ftwo:2"].into_iter().enumerate() {
            let mut only = parse_url(&url(host)).unwrap();
            only.password("secret");
            assert_eq!(alone(&both, number), only);
        }
        let same_port = parse_url("postgresql://me@one,two:7/games").unwrap();
        assert_eq!(name(&alone(&same_port, 1)), "two:7");
    }
}
