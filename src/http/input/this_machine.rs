//! Operations for this machine: the login for development believes every name, so only programs of this machine may use
//! it, unless the operator has allowed others. The listener is on loopback then, but that is not enough. A browser of
//! this machine runs pages of other sites: such a page can post to loopback, and the owner of a name can let it mean
//! 127.0.0.1 (DNS rebinding), so that the page counts as one of this server. A proxy on this machine passes on requests
//! of other machines.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};

use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Uri, header};

use super::cross_site;
use crate::http::error::Error;

/// Headers that proxies add. Programs of this machine have no reason to send them.
const OF_PROXIES: [&str; 3] = ["x-forwarded-for", "forwarded", "x-real-ip"];
/// Shortest time between two warnings about a proxy, in milliseconds.
const WARN_EVERY_MS: i64 = 60_000;

/// What shows that a request may come from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// The request is for a server of another name.
    Host,
    /// A page of another site has sent it.
    Origin,
    /// A proxy has passed it on.
    Proxy,
}

impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "the Host header is neither localhost nor an IP address. Use http://localhost or an IP address",
            Self::Origin => "a page of another site has sent this request. Add its origin to [http] cors_origins",
            Self::Proxy => "a proxy has passed this request on. Send it without the proxy",
        })
    }
}

/// Checks whether requests come from this machine. Logs requests of proxies.
pub struct ThisMachine {
    /// When the last warning was logged, by the monotonic clock.
    warned_up_ms: AtomicI64,
}

impl Default for ThisMachine {
    fn default() -> Self {
        Self { warned_up_ms: AtomicI64::new(i64::MIN) }
    }
}

impl ThisMachine {
    /// Checks a request. Pages of this machine and of the listed origins may send it; `*` lists none.
    ///
    /// # Errors
    /// [`Error::Elsewhere`].
    pub fn check(&self, headers: &HeaderMap, listed_origins: &[String], up_ms: i64) -> Result<(), Error> {
        let host = headers.get(header::HOST);
        if !host
            .is_none_or(|host| host_of(host).is_some_and(|host| is_local_name(&host) || ip(&host).is_some()))
        {
            return Err(Error::Elsewhere(Elsewhere::Host));
        }
        let is_allowed =
            |origin| cross_site::is_listed(origin, listed_origins) || is_of_this_machine(origin, host);
        if !headers.get_all(header::ORIGIN).iter().all(is_allowed) {
            return Err(Error::Elsewhere(Elsewhere::Origin));
        }
        if let Some(name) = OF_PROXIES.into_iter().find(|name| headers.contains_key(*name)) {
            self.warn(name, up_ms);
            return Err(Error::Elsewhere(Elsewhere::Proxy));
        }
        Ok(())
    }

    fn warn(&self, header: &str, up_ms: i64) {
        let last = self.warned_up_ms.load(Ordering::Relaxed);
        if last == i64::MIN || up_ms.saturating_sub(last) >= WARN_EVERY_MS {
            self.warned_up_ms.store(up_ms, Ordering::Relaxed);
            tracing::warn!(
                header,
                "refused a request that a proxy has passed on: the login for development is for this machine only. Set \
                 jwks_file or jwks_url under [auth], or, if you own every machine that reaches the proxy, start with \
                 --insecure-expose-development-key; further such lines come once a minute"
            );
        }
    }
}

/// Whether an origin is on this machine, or the one of the request. An address of another machine is not: there may be
/// a page of anybody.
fn is_of_this_machine(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let Some(name) =
        Uri::try_from(origin.as_bytes()).ok().and_then(|uri| Some(uri.host()?.to_ascii_lowercase()))
    else {
        return false;
    };
    let is_loopback = ip(&name).is_some_and(|ip| ip.to_canonical().is_loopback());
    is_local_name(&name) || is_loopback || host.and_then(host_of).is_some_and(|host| host == name)
}

/// The host of a `Host` header, without the port, in lower case.
fn host_of(value: &HeaderValue) -> Option<String> {
    Authority::try_from(value.as_bytes()).ok().map(|authority| authority.host().to_ascii_lowercase())
}

fn is_local_name(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

fn ip(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}
