//! The header `If-Match` (RFC 9110, 13.1.1).

use http::{HeaderMap, HeaderValue, header};

use super::violation::ViolationKind;

/// The value of `If-Match`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// `*`: any version.
    Any,
    /// A list of entity tags.
    Tags(Vec<EntityTag>),
}

/// An entity tag of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityTag {
    /// What is between the quotes.
    opaque: Vec<u8>,
    is_weak: bool,
}

/// How an `If-Match` compares with ETags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Match {
    /// No tag is one of them.
    No,
    /// A weak tag would match if it were strong.
    Weak,
    /// A tag matches.
    Strong,
}

impl IfMatch {
    /// Parses the header. Several fields are one list. A tag without quotes is read as if it had them.
    ///
    /// # Errors
    /// If a field is empty or malformed, or if `*` is not alone.
    pub fn parse(headers: &HeaderMap) -> Result<Self, ViolationKind> {
        let mut fields = headers.get_all(header::IF_MATCH).iter().map(HeaderValue::as_bytes).peekable();
        if fields.peek().is_some_and(|field| field.trim_ascii() == b"*") {
            fields.next();
            return if fields.next().is_none() { Ok(Self::Any) } else { Err(ViolationKind::NOT_ENTITY_TAGS) };
        }
        let mut tags = Vec::new();
        for field in fields {
            let known = tags.len();
            read_tags(field, &mut tags).ok_or(ViolationKind::NOT_ENTITY_TAGS)?;
            if tags.len() == known {
                return Err(ViolationKind::NOT_ENTITY_TAGS);
            }
        }
        Ok(Self::Tags(tags))
    }

    /// Compares with a strong ETag, which is in quotes.
    pub fn compare(&self, etag: &HeaderValue) -> Match {
        let Self::Tags(tags) = self else { return Match::Strong };
        let expected = etag.as_bytes();
        let is_equal = |tag: &&EntityTag| {
            let inner = expected.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
            inner == Some(&*tag.opaque)
        };
        let equal = tags.iter().filter(is_equal);
        equal.map(|tag| if tag.is_weak { Match::Weak } else { Match::Strong }).max().unwrap_or(Match::No)
    }
}

/// Reads the tags of a field; `None` if it is malformed. Empty elements of the list are skipped, as the RFC demands.
fn read_tags(mut rest: &[u8], tags: &mut Vec<EntityTag>) -> Option<()> {
    loop {
        rest = rest.trim_ascii_start();
        match rest {
            [] => return Some(()),
            [b',', after @ ..] => rest = after,
            _ => {
                let (tag, after) = read_tag(rest)?;
                tags.push(tag);
                rest = after.trim_ascii_start();
                if !matches!(rest, [] | [b',', ..]) {
                    return None;
                }
            }
        }
    }
}

/// Reads one tag, and returns what follows it.
fn read_tag(text: &[u8]) -> Option<(EntityTag, &[u8])> {
    let (is_weak, text) = match text.strip_prefix(b"W/") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (opaque, rest) = match text.strip_prefix(b"\"") {
        Some(inner) => {
            let end = inner.iter().position(|byte| *byte == b'"')?;
            (&inner[..end], &inner[end + 1..])
        }
        None => {
            let end = text.iter().position(|byte| matches!(byte, b',' | b' ' | b'\t')).unwrap_or(text.len());
            let (bare, rest) = text.split_at(end);
            if bare.is_empty() || bare.contains(&b'"') || bare == b"*" {
                return None;
            }
            (bare, rest)
        }
    };
    let is_valid = opaque.iter().all(|byte| matches!(byte, 0x21 | 0x23..=0x7E | 0x80..));
    is_valid.then(|| (EntityTag { opaque: opaque.to_vec(), is_weak }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(fields: &[&str]) -> Result<IfMatch, ViolationKind> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(header::IF_MATCH, HeaderValue::from_str(field).unwrap());
        }
        IfMatch::parse(&headers)
    }

    #[test]
    fn if_match_compares_strongly() {
        let cases: &[(&[&str], Match)] = &[
            (&["\"abc\""], Match::Strong),
            (&["*"], Match::Strong),
            (&[" * "], Match::Strong),
            (&["abc"], Match::Strong),
            (&["\"x\", \"abc\""], Match::Strong),
            (&["\"x\"", "\"abc\""], Match::Strong),
            (&["\"x\" ,\t, \"abc\" ,"], Match::Strong),
            (&["W/\"abc\", \"abc\""], Match::Strong),
            (&["\"a,b\",\"abc\""], Match::Strong),
            (&["W/\"abc\""], Match::Weak),
            (&["W/abc, \"x\""], Match::Weak),
            (&["\"x\""], Match::No),
            (&["\"ABC\""], Match::No),
            (&["\"\""], Match::No),
            (&["\"*\""], Match::No),
        ];
        for (fields, expected) in cases {
            let compared = parse(fields).unwrap().compare(&HeaderValue::from_static("\"abc\""));
            assert_eq!(compared, *expected, "{fields:?}");
        }
    }

    #[test]
    fn malformed_fields_are_refused() {
        let cases: &[&[&str]] = &[
            &[""],
            &["  "],
            &[","],
            &["\"abc"],
            &["abc\""],
            &["\"abc\"x"],
            &["\"x\" \"abc\""],
            &["a b"],
            &["W/"],
            &["**, *"],
            &["*, \"abc\""],
            &["\"abc\", *"],
            &["*", "\"abc\""],
            &["\"abc\"", "*"],
            &["*", "*"],
            &["\"abc\"", ""],
            &["\"a c\""],
        ];
        for fields in cases {
            assert_eq!(parse(fields), Err(ViolationKind::NOT_ENTITY_TAGS), "{fields:?}");
        }
    }
}
