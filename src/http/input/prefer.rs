//! The header `Prefer` (RFC 7240), of which the preferences `wait` and `return=minimal` are known.

use http::{HeaderName, HeaderValue};

use super::headers::Headers;

/// The header `Prefer`.
pub const PREFER: HeaderName = HeaderName::from_static("prefer");
/// The header `Preference-Applied`.
pub const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// How many seconds the client wants to wait for a change; `None` if it does not. Several fields are one list, and the
/// first `wait` counts. Malformed and unknown preferences are ignored, as the RFC demands.
pub fn wait_s(headers: &(impl Headers + ?Sized)) -> Option<u32> {
    value_of(headers, b"wait").and_then(seconds).filter(|seconds| *seconds > 0)
}

/// Whether the client prefers an answer without what it could read itself: `return=minimal`. The first `return` counts.
pub fn wants_minimal(headers: &(impl Headers + ?Sized)) -> bool {
    value_of(headers, b"return").is_some_and(|value| value.eq_ignore_ascii_case(b"minimal"))
}

/// The value of the first preference with this name. Several fields are one list.
fn value_of<'a>(headers: &'a (impl Headers + ?Sized), name: &[u8]) -> Option<&'a [u8]> {
    let preferences = headers.values(PREFER).flat_map(|field| field.split(outside_quotes(b',')));
    let mut values = preferences.filter_map(|preference| {
        // Parameters after a semicolon belong to the preference, but no known one has any.
        let preference = preference.split(outside_quotes(b';')).next()?;
        let equals = preference.iter().position(|byte| *byte == b'=')?;
        let has_name = preference[..equals].trim_ascii().eq_ignore_ascii_case(name);
        has_name.then(|| preference[equals + 1..].trim_ascii())
    });
    values.next()
}

/// Finds a separator among bytes, but not inside of a quoted text.
fn outside_quotes(separator: u8) -> impl FnMut(&u8) -> bool {
    let (mut is_quoted, mut is_escaped) = (false, false);
    move |byte| {
        if is_escaped {
            is_escaped = false;
        } else if is_quoted && *byte == b'\\' {
            is_escaped = true;
        } else if *byte == b'"' {
            is_quoted = !is_quoted;
        }
        *byte == separator && !is_quoted
    }
}

/// An unsigned integer; a larger one than fits is the largest that fits.
fn seconds(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let text = std::str::from_utf8(digits).ok()?;
    Some(text.parse().unwrap_or(u32::MAX))
}

/// The header that says for how long the request would have waited at most.
pub fn applied(seconds: i64) -> HeaderValue {
    HeaderValue::try_from(format!("wait={seconds}")).expect("the text is ASCII")
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn the_first_wait_of_all_fields_counts() {
        let cases: &[(&[&str], Option<u32>)] = &[
            (&[], None),
            (&["wait=30"], Some(30)),
            (&["WAIT = 30"], Some(30)),
            (&["respond-async, wait=5"], Some(5)),
            (&["wait=5; x=y"], Some(5)),
            (&["return=minimal", "wait=7"], Some(7)),
            (&["wait=7", "wait=8"], Some(7)),
            (&["wait=9999999999999"], Some(u32::MAX)),
            (&["wait=0"], None),
            (&["wait=-1"], None),
            (&["wait=+1"], None),
            (&["wait=\"5\""], None),
            (&["wait"], None),
            (&["wait="], None),
            (&["waiting=5"], None),
            (&[r#"foo="a, wait=5, b""#], None),
            (&[r#"foo="a\", wait=5", wait=6"#], Some(6)),
            (&[r#"foo=";", wait=7"#], Some(7)),
        ];
        for (fields, expected) in cases {
            let mut headers = HeaderMap::new();
            for field in *fields {
                headers.append(PREFER, field.parse().unwrap());
            }
            assert_eq!(wait_s(&headers), *expected, "{fields:?}");
        }
    }
}
