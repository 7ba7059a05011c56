//! Finds the host that takes writes, and connects to it. All hosts are asked at the same time, so that a host that
//! accepts connections but never answers delays nothing, and so that of two primaries the newer one is used.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::config::{Host, LoadBalanceHosts};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::settings::PostgresSettings;
use super::statement_error::describe;
use super::timeline::{NewestTimeline, Timeline};
use crate::env::Entropy;

/// Idle time before a TCP keepalive probe, and the time between probes, unless the address sets them.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);

/// After one primary has answered: how long the answers of the other hosts are waited for. One of them may be a newer
/// primary.
const OTHERS_WAIT: Duration = Duration::from_millis(500);

pub(super) type TlsStream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

/// A connection to a primary.
pub(super) struct Connected {
    pub(super) client: Client,
    pub(super) connection: Connection<Socket, TlsStream>,
    pub(super) timeline: Timeline,
}

/// The answer of the host with this index: a connection to a primary, or why there is none.
type HostAnswer = (usize, Result<Connected, String>);

/// Connects to the primary. All hosts are asked at the same time. Of several primaries, the newest is used. Of several
/// hosts with the same timeline, the first one is used. The order is that of the address, and starts with the host at
/// index `last`, which was used last. With `load_balance_hosts=random` in the address, it starts with a random host.
///
/// # Errors
/// The causes of all hosts, in that order.
pub(super) async fn connect(
    settings: &PostgresSettings,
    last: &AtomicUsize,
    newest: &NewestTimeline,
) -> Result<Connected, String> {
    let count = settings.host_count();
    let first = match settings.address.get_load_balance_hosts() {
        LoadBalanceHosts::Random => usize::from_le_bytes(Entropy::System.bytes()) % count,
        _ => last.load(Ordering::Relaxed),
    };
    let mut answers = ask(settings, 0..count, newest, None).await;
    answers.sort_by_key(|(number, _)| (number + count - first) % count);
    log_replaced(settings, &answers, newest);
    let mut refusals = Vec::new();
    for (number, answer) in answers {
        let usable = answer.and_then(|connected| newest.check(connected.timeline).map(|()| connected));
        match usable {
            Ok(connected) => {
                last.store(number, Ordering::Relaxed);
                return Ok(connected);
            }
            Err(cause) if count > 1 => {
                refusals.push(format!("{}: {cause}", name(&single_host(&settings.address, number))));
            }
            Err(cause) => refusals.push(cause),
        }
    }
    Err(refusals.join("; "))
}

/// Asks all hosts for their timelines, for at most [`OTHERS_WAIT`]. Notes the newest one.
pub(super) async fn look_for_newer_primary(settings: &PostgresSettings, newest: &NewestTimeline) {
    let until = Instant::now() + OTHERS_WAIT;
    let answers = ask(settings, 0..settings.host_count(), newest, Some(until)).await;
    log_replaced(settings, &answers, newest);
}

/// Logs which hosts a newer primary has replaced.
fn log_replaced(settings: &PostgresSettings, answers: &[HostAnswer], newest: &NewestTimeline) {
    let primaries =
        answers.iter().filter_map(|(number, answer)| Some((*number, answer.as_ref().ok()?.timeline)));
    let replaced = primaries.filter(|(_, timeline)| newest.check(*timeline).is_err());
    newest.log_replaced(replaced.map(|(number, _)| name(&single_host(&settings.address, number))).collect());
}

/// Connects to these hosts at the same time. Each has its own time limit. After a usable primary has answered, the
/// others have only [`OTHERS_WAIT`]; a host that was powered off must not delay the connection to the other. Notes the
/// newest timeline.
async fn ask(
    settings: &PostgresSettings,
    numbers: std::ops::Range<usize>,
    newest: &NewestTimeline,
    mut until: Option<Instant>,
) -> Vec<HostAnswer> {
    let attempt = async |number| (number, connect_to(settings, number).await);
    let mut attempts: FuturesUnordered<_> = numbers.map(attempt).collect();
    let mut answers: Vec<HostAnswer> = Vec::new();
    loop {
        let next = match until {
            None => attempts.next().await,
            Some(until) => timeout_at(until, attempts.next()).await.unwrap_or(None),
        };
        let Some(answer) = next else { return answers };
        if let Ok(connected) = &answer.1 {
            // At once, so that nobody uses an old primary while another host does not answer.
            newest.note(connected.timeline);
            if newest.check(connected.timeline).is_ok() {
                until.get_or_insert(Instant::now() + OTHERS_WAIT);
            }
        }
        answers.push(answer);
    }
}

/// Connects to one host, and reads its timeline.
async fn connect_to(settings: &PostgresSettings, number: usize) -> Result<Connected, String> {
    let mut host = single_host(&settings.address, number);
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
    let connecting = async {
        let connected = host.connect(settings.tls.0.clone()).await;
        let (client, mut connection) = connected.map_err(|error| describe(&error))?;
        let timeline = tokio::select! {
            timeline = Timeline::of(&client) => timeline?,
            // Ends only if the connection breaks; then the client returns the error.
            _ = &mut connection => Timeline::of(&client).await?,
        };
        Ok(Connected { client, connection, timeline })
    };
    match timeout(settings.connect_timeout, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(format!("no connection within {:?}", settings.connect_timeout)),
    }
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
