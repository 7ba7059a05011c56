//! Protection against cross-site request forgery. A browser sends a cookie also with requests that pages of other sites
//! make, so a token in a cookie does not prove that its player wants a change.

use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Uri, header};

use crate::http::error::Error;

/// The header in which browsers say how the origin of a page relates to that of the request. A page cannot set it.
const FETCH_SITE: &str = "sec-fetch-site";
/// Its value for a page of the request's own origin.
const SAME_ORIGIN: &str = "same-origin";
/// The entry of `cors_origins` for every origin. It names none, so that it does not count here.
const ANY_ORIGIN: &str = "*";

/// Checks a request that changes something and has its token in the cookie. It must come from a page of its own origin
/// or of a listed one, or from a client that is no browser. Such a client sends neither `Sec-Fetch-Site` nor `Origin`;
/// a browser sends at least one of them with such a request.
///
/// # Errors
/// [`Error::CrossSite`].
pub fn check(headers: &HeaderMap, listed_origins: &[String]) -> Result<(), Error> {
    let origin = headers.get(header::ORIGIN);
    let is_allowed = origin.is_some_and(|origin| is_listed(origin, listed_origins))
        || match (headers.get(FETCH_SITE), origin) {
            (Some(site), _) => site == SAME_ORIGIN,
            (None, Some(origin)) => names_host(origin, headers.get(header::HOST)).unwrap_or(false),
            (None, None) => true,
        };
    if is_allowed { Ok(()) } else { Err(Error::CrossSite) }
}

/// Whether an origin is a listed one.
pub(super) fn is_listed(origin: &HeaderValue, listed_origins: &[String]) -> bool {
    listed_origins.iter().any(|listed| listed != ANY_ORIGIN && origin == listed.as_str())
}

/// Whether an origin has the host and the port of the request; `None` if one of the two is missing or malformed. The
/// scheme is not compared: behind a proxy with TLS, the request does not show it.
fn names_host(origin: &HeaderValue, host: Option<&HeaderValue>) -> Option<bool> {
    let origin = Uri::try_from(origin.as_bytes()).ok()?;
    let host = Authority::try_from(host?.as_bytes()).ok()?;
    let default_port = if *origin.scheme()? == Scheme::HTTPS { 443 } else { 80 };
    let is_same_port = origin.port_u16().unwrap_or(default_port) == host.port_u16().unwrap_or(default_port);
    Some(origin.host()?.eq_ignore_ascii_case(host.host()) && is_same_port)
}
