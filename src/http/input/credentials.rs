//! Finding the token of a request, or the credentials of a client.

use http::header;

use super::headers::Headers;
use crate::auth::BasicCredentials;
use crate::http::error::Error;

/// Finds the token of a request: in `Authorization: Bearer`, or else in the cookie. A header with another scheme is
/// ignored, since it may be meant for a proxy. A `Bearer` header without a token is not ignored: the cookie does not
/// count then.
///
/// # Errors
/// [`Error::TokenMissing`].
pub fn token<'a>(headers: &'a (impl Headers + ?Sized), cookie: &str) -> Result<&'a [u8], Error> {
    let authorization = headers.values(header::AUTHORIZATION).next().and_then(bearer);
    let token = authorization.or_else(|| in_cookie(headers, cookie));
    token.filter(|token| !token.is_empty()).ok_or(Error::TokenMissing)
}

/// Whether [`token`] looks for the token in the cookie.
pub fn is_in_cookie(headers: &(impl Headers + ?Sized)) -> bool {
    headers.values(header::AUTHORIZATION).next().and_then(bearer).is_none()
}

/// The credentials of a client in `Authorization: Basic`; `None` if there are none, or they are malformed.
pub fn basic(headers: &(impl Headers + ?Sized)) -> Option<BasicCredentials> {
    let authorization = headers.values(header::AUTHORIZATION).next()?;
    BasicCredentials::parse(of_scheme(authorization, b"basic")?)
}

/// The token of an `Authorization` header, if its scheme is `Bearer`.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    of_scheme(value, b"bearer")
}

/// What follows the scheme in an `Authorization` header, if it has this scheme.
fn of_scheme<'a>(value: &'a [u8], expected: &[u8]) -> Option<&'a [u8]> {
    let end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    let (scheme, rest) = value.split_at(end);
    scheme.eq_ignore_ascii_case(expected).then(|| rest.trim_ascii())
}

fn in_cookie<'a>(headers: &'a (impl Headers + ?Sized), cookie: &str) -> Option<&'a [u8]> {
    let lines = headers.values(header::COOKIE).filter_map(|line| std::str::from_utf8(line).ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let found = pairs.find(|(name, value)| *name == cookie && !value.is_empty());
    found.map(|(_, value)| value.trim_matches('"').as_bytes())
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    #[track_caller]
    fn check(name: &'static str, value: &'static str, expected: Option<&str>) {
        check_all(&[(name, value)], expected);
    }

    #[track_caller]
    fn check_all(sent: &[(&'static str, &'static str)], expected: Option<&str>) {
        let headers = sent.iter().map(|(name, value)| {
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        });
        let headers: HeaderMap = headers.collect();
        assert_eq!(token(&headers, "access_token").ok(), expected.map(str::as_bytes), "{sent:?}");
    }

    #[test]
    fn tokens_are_found_in_header_and_cookie() {
        check("authorization", "Bearer abc", Some("abc"));
        check("authorization", "bearer  abc ", Some("abc"));
        check("authorization", "Basic abc", None);
        check("authorization", "Bearer ", None);
        check("authorization", "Bearer", None);
        check("authorization", "abc", None);
        check("cookie", "a=b; access_token=abc; c=d", Some("abc"));
        check("cookie", "access_token=\"abc\"", Some("abc"));
        check("cookie", "other=é; access_token=abc", Some("abc"));
        check("cookie", "xaccess_token=abc", None);
        check("cookie", "access_token=\"\"", None);
        check("x", "y", None);
    }

    #[test]
    fn only_a_bearer_header_takes_precedence_over_the_cookie() {
        let cookie = ("cookie", "access_token=abc");
        for other in ["Basic xyz", "Digest username=\"x\"", "Negotiate", "Bearerxyz", ""] {
            check_all(&[("authorization", other), cookie], Some("abc"));
        }
        check_all(&[("authorization", "Bearer xyz"), cookie], Some("xyz"));
        for broken in ["Bearer", "Bearer ", "bearer  "] {
            check_all(&[("authorization", broken), cookie], None);
        }
    }
}
