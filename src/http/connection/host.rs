//! The header `Host` (RFC 9112, 3.2). A request of HTTP/1.1 has exactly one. Proxies route by it, so a request that two
//! servers could understand differently is refused.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, Version, header};
use http_body_util::Full;

use super::CLOSE;

/// The body of the 400. A test holds it equal to the one of `Error::HostInvalid`.
const REFUSAL_BODY: &str = r#"{"auth_success":true,"error_code":"host_invalid","desc":"a request needs exactly one valid Host header"}"#;

/// Whether the `Host` headers of a request are valid. Only a request of HTTP/1.0 may have none.
pub fn is_valid(head: &Parts) -> bool {
    let mut values = head.headers.get_all(header::HOST).iter();
    match (values.next(), values.next()) {
        (None, _) => head.version < Version::HTTP_11,
        (Some(value), None) => is_host(value.as_bytes()),
        (Some(_), Some(_)) => false,
    }
}

/// Whether a value of `Host` has only characters of a host and a port (RFC 3986, 3.2.2). It may be empty. The loop has
/// no early exit, so that the compiler can check many bytes at a time.
pub fn is_host(value: &[u8]) -> bool {
    let is_allowed = |byte: u8| {
        byte.is_ascii_alphanumeric()
            | matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'[' | b']' | b'%')
            | matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
    };
    value.iter().fold(true, |all, byte| all & is_allowed(*byte))
}

/// 400 `host_invalid`. The connection is closed: the client, and a proxy before it, may not agree on where the next
/// request begins. Connections do not depend on the API's errors, so their only error is rendered here.
pub fn refusal() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(REFUSAL_BODY));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONNECTION, CLOSE);
    response
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::http::Error;

    #[tokio::test]
    async fn the_refusal_equals_the_error_of_the_api() {
        let by_api = Error::HostInvalid.answer();
        let (own, own_body) = refusal().into_parts();
        assert_eq!(own.status, by_api.status);
        assert_eq!(own_body.collect().await.unwrap().to_bytes(), by_api.body);
    }

    #[test]
    fn a_request_has_exactly_one_host() {
        for (version, hosts, expected) in [
            (Version::HTTP_11, &["localhost:7700"][..], true),
            (Version::HTTP_11, &["[2001:db8::7]:4433"], true),
            (Version::HTTP_11, &["caf%C3%A9.example"], true),
            (Version::HTTP_11, &[""], true),
            (Version::HTTP_11, &[], false),
            (Version::HTTP_11, &["a", "a"], false),
            (Version::HTTP_11, &["a b"], false),
            (Version::HTTP_11, &["a/b"], false),
            (Version::HTTP_11, &["user@a"], false),
            (Version::HTTP_10, &[], true),
            (Version::HTTP_10, &["a"], true),
            (Version::HTTP_10, &["a", "b"], false),
        ] {
            let mut request = Request::get("/").version(version);
            for host in hosts {
                request = request.header(header::HOST, *host);
            }
            let (head, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(is_valid(&head), expected, "{version:?} {hosts:?}");
        }
    }
}
