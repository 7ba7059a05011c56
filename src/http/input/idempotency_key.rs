//! The header `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header), and the digests of a request that has one.

use std::io::Write as _;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::violation::ViolationKind;
use crate::app::idempotency::RequestKey;
use crate::auth::Caller;
use crate::http::error::Error;

/// The header `Idempotency-Key`.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The header `Idempotency-Replayed`.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Longest key, in characters.
const CHARS_MAX: usize = 255;

/// The digests of a request that has a key. `value` is its body; `None` if it has none that can be parsed.
///
/// # Errors
/// [`Error::Invalid`] if the header is not one key; [`Error::IdempotencyKeyUnusable`] if the token names nobody.
pub fn read(
    caller: &Caller,
    parts: &Parts,
    body: &Bytes,
    value: Option<&Value>,
) -> Result<RequestKey, Error> {
    let key = parse(&parts.headers)
        .map_err(|kind| Error::Invalid(vec![kind.at(["header".into(), "idempotency-key".into()])]))?;
    let caller = digest_of_caller(caller).ok_or(Error::IdempotencyKeyUnusable)?;
    let mut request = Digest::default();
    request.add(&caller).add(parts.method.as_str().as_bytes());
    // As it was sent: a short code is not resolved, because it names another session, or none, at another time.
    for segment in parts.uri.path().split('/') {
        request.add(&percent_decode_str(segment).collect::<Vec<_>>());
    }
    request.add(&key);
    let fingerprint = u128::from_be_bytes(fingerprint(parts.uri.query(), body, value));
    Ok(RequestKey { request: request.start(), fingerprint, caller: first_bytes(&caller) })
}

/// Reads the key: a string in quotes, as the draft demands, or without.
fn parse(headers: &HeaderMap) -> Result<Vec<u8>, ViolationKind> {
    let mut fields = headers.get_all(IDEMPOTENCY_KEY).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else {
        return Err(ViolationKind::NOT_IDEMPOTENCY_KEY);
    };
    let field = field.as_bytes().trim_ascii();
    let key = match field {
        [b'"', quoted @ .., b'"'] => unescape(quoted),
        // A comma would begin another key of a list.
        bare => (!bare.iter().any(|byte| matches!(byte, b'"' | b','))).then(|| bare.to_vec()),
    };
    let is_valid =
        |key: &Vec<u8>| (1..=CHARS_MAX).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic);
    key.filter(is_valid).ok_or(ViolationKind::NOT_IDEMPOTENCY_KEY)
}

/// The content of a string in quotes (RFC 9651); `None` if it is not one.
fn unescape(quoted: &[u8]) -> Option<Vec<u8>> {
    let mut content = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.iter();
    while let Some(byte) = bytes.next() {
        content.push(match byte {
            b'\\' => *bytes.next().filter(|escaped| matches!(escaped, b'"' | b'\\'))?,
            b'"' => return None,
            other => *other,
        });
    }
    Some(content)
}

/// Who the caller is; `None` if the token names nobody.
fn digest_of_caller(caller: &Caller) -> Option<[u8; 32]> {
    let mut digest = Digest::default();
    match (caller.player(), &caller.token().service) {
        (Some(player), _) => digest.add(b"player").add(player.0.as_bytes()),
        (None, Some(service)) => {
            digest.add(b"service").add(service.issuer.as_bytes()).add(service.subject.as_bytes())
        }
        (None, None) => return None,
    };
    Some(digest.0.finalize().into())
}

/// What the request asks for. Clients that print the fields of a body, or the parameters of a query, in another order
/// repeat the same request.
fn fingerprint(query: Option<&str>, body: &Bytes, value: Option<&Value>) -> [u8; 16] {
    let mut digest = Digest::default();
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let mut pairs: Vec<_> = pairs.collect();
    // The order of the values of one parameter stays, since the last one counts.
    pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (name, value) in pairs {
        digest.add(name.as_bytes()).add(value.as_bytes());
    }
    digest.add(b"");
    match value {
        Some(value) => digest.add(&sorted(value)),
        // It is empty, or refused anyway.
        None => digest.add(body),
    };
    digest.start()
}

/// A JSON value as text, with the names of its objects sorted.
fn sorted(value: &Value) -> Vec<u8> {
    let mut text = Vec::new();
    write_sorted(value, &mut text);
    text
}

/// The parser limits the depth of values, and so that of this recursion.
fn write_sorted(value: &Value, to: &mut Vec<u8>) {
    // Writing to memory does not fail.
    match value {
        Value::Array(items) => {
            to.push(b'[');
            for item in items {
                write_sorted(item, to);
                to.push(b',');
            }
            to.push(b']');
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            to.push(b'{');
            for (name, value) in fields {
                let _ = serde_json::to_writer(&mut *to, name);
                to.push(b':');
                write_sorted(value, to);
                to.push(b',');
            }
            to.push(b'}');
        }
        scalar => {
            let _ = write!(to, "{scalar}");
        }
    }
}

/// A digest of parts. Each part is added with its length, so that no two lists of parts have the same bytes.
#[derive(Default)]
struct Digest(Sha256);

impl Digest {
    fn add(&mut self, part: &[u8]) -> &mut Self {
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
        self
    }

    /// The first bytes of the digest.
    fn start<const N: usize>(self) -> [u8; N] {
        first_bytes(&self.0.finalize().into())
    }
}

fn first_bytes<const N: usize>(digest: &[u8; 32]) -> [u8; N] {
    *digest.first_chunk().expect("a digest is longer than any part of it that is used")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(fields: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(IDEMPOTENCY_KEY, http::HeaderValue::from_bytes(field.as_bytes()).unwrap());
        }
        parse(&headers).ok().map(|key| String::from_utf8(key).unwrap())
    }

    #[test]
    fn a_key_is_a_string_in_quotes_or_a_bare_token() {
        for (field, expected) in [
            ("\"8e03978e\"", "8e03978e"),
            ("8e03978e", "8e03978e"),
            (" a ", "a"),
            ("\"a\\\"b\\\\c\"", "a\"b\\c"),
            ("\"a,b\"", "a,b"),
            ("~!'{}", "~!'{}"),
        ] {
            assert_eq!(parsed(&[field]).as_deref(), Some(expected), "{field}");
        }
        assert_eq!(parsed(&[&"k".repeat(255)]), Some("k".repeat(255)));
    }

    #[test]
    fn anything_else_is_no_key() {
        let long = "k".repeat(256);
        for field in [
            "",
            "\"\"",
            "\"",
            "a b",
            "\"a b\"",
            "a,b",
            "\"a\", \"b\"",
            "\"a",
            "a\"",
            "\"\\a\"",
            "é",
            "\"a\";p=1",
            &long,
        ] {
            assert_eq!(parsed(&[field]), None, "{field}");
        }
        assert_eq!(parsed(&["a", "a"]), None);
        assert_eq!(parsed(&[]), None);
    }

    #[test]
    fn the_order_of_names_does_not_matter_and_everything_else_does() {
        let text = |json: &str| sorted(&serde_json::from_str(json).unwrap());
        let one = text(r#"{"a": {"b": 1, "c": [1, "2", null]}, "d": 1.5}"#);
        assert_eq!(one, text(r#"{"d":1.5,"a":{"c":[1,"2",null],"b":1}}"#));
        for other in [
            r#"{"a": {"b": 1, "c": ["2", 1, null]}, "d": 1.5}"#,
            r#"{"a": {"b": "1", "c": [1, "2", null]}, "d": 1.5}"#,
            r#"{"a": {"b": 1, "c": [1, "2", null], "d": 1.5}}"#,
            r#"{"a": {"b": 1, "c": [1, "2"]}, "d": 1.5}"#,
        ] {
            assert_ne!(one, text(other), "{other}");
        }
    }
}
