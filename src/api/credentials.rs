//! Where a request carries its token.

use http::{HeaderMap, header};

use super::error::Error;

/// The token of a request: from `Authorization: Bearer`, else from the cookie.
pub fn token<'a>(headers: &'a HeaderMap, cookie: &str) -> Result<&'a [u8], Error> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let value = value.as_bytes();
        let space = value.iter().position(|byte| *byte == b' ').ok_or(Error::TokenMissing)?;
        let (scheme, token) = (&value[..space], value[space..].trim_ascii());
        return if scheme.eq_ignore_ascii_case(b"bearer") && !token.is_empty() {
            Ok(token)
        } else {
            Err(Error::TokenMissing)
        };
    }
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let found = pairs.find(|(name, value)| *name == cookie && !value.is_empty());
    found.map(|(_, value)| value.trim_matches('"').as_bytes()).ok_or(Error::TokenMissing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &'static str, value: &'static str, expected: Option<&str>) {
        let expected = expected.map(str::as_bytes);
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        assert_eq!(token(&headers, "access_token").ok(), expected, "{name}: {value}");
    }

    #[test]
    fn tokens_are_found_in_header_and_cookie() {
        check("authorization", "Bearer abc", Some("abc"));
        check("authorization", "bearer  abc ", Some("abc"));
        check("authorization", "Basic abc", None);
        check("authorization", "Bearer ", None);
        check("cookie", "a=b; access_token=abc; c=d", Some("abc"));
        check("cookie", "access_token=\"abc\"", Some("abc"));
        check("cookie", "xaccess_token=abc", None);
        check("x", "y", None);
    }
}
