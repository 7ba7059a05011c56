//! What an operation answers.

use std::marker::PhantomData;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use super::input::headers::Headers;
use crate::document::Document;

/// An answer, ready to be sent.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body; JSON unless `headers` say otherwise.
    pub body: Bytes,
    /// The version of the body, where it has one.
    pub etag: Option<HeaderValue>,
    /// Further headers.
    pub headers: HeaderMap,
}

impl Answer {
    /// A JSON answer.
    pub fn json(status: StatusCode, body: &impl Serialize) -> Self {
        Self { status, body: Document::render(body), etag: None, headers: HeaderMap::new() }
    }

    /// An answer without a body.
    pub fn empty(status: StatusCode) -> Self {
        Self { status, body: Bytes::new(), etag: None, headers: HeaderMap::new() }
    }
}

impl From<Answer> for Response<Full<Bytes>> {
    /// A JSON answer to a request of which nothing is known.
    fn from(answer: Answer) -> Self {
        let mut response = Self::new(Full::new(answer.body));
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

/// The kind of a reply: its status, its body's schema, whether it has an ETag.
pub trait ReplyKind {
    /// Status of success.
    const STATUS: StatusCode;
    /// Whether the reply carries an ETag.
    const ETAG: bool;

    /// What the API document says of the body.
    fn describe(generator: &mut SchemaGenerator) -> Option<Schema>;
}

/// A body with the ETag of its version.
pub struct Versioned<T>(PhantomData<T>);

/// A body without an ETag.
pub struct Plain<T>(PhantomData<T>);

/// No body.
pub struct NoContent;

/// No body, with the ETag of what was changed.
pub struct Changed;

impl<T: JsonSchema> ReplyKind for Versioned<T> {
    const STATUS: StatusCode = StatusCode::OK;
    const ETAG: bool = true;

    fn describe(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.subschema_for::<T>())
    }
}

impl<T: JsonSchema> ReplyKind for Plain<T> {
    const STATUS: StatusCode = StatusCode::OK;
    const ETAG: bool = false;

    fn describe(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.subschema_for::<T>())
    }
}

impl ReplyKind for NoContent {
    const STATUS: StatusCode = StatusCode::NO_CONTENT;
    const ETAG: bool = false;

    fn describe(_: &mut SchemaGenerator) -> Option<Schema> {
        None
    }
}

impl ReplyKind for Changed {
    const STATUS: StatusCode = StatusCode::NO_CONTENT;
    const ETAG: bool = true;

    fn describe(_: &mut SchemaGenerator) -> Option<Schema> {
        None
    }
}

/// A successful reply of a kind.
pub struct Reply<K> {
    answer: Answer,
    kind: PhantomData<fn() -> K>,
}

impl<K: ReplyKind> Reply<K> {
    fn new(body: Bytes, etag: Option<HeaderValue>) -> Self {
        let answer = Answer { status: K::STATUS, body, etag, headers: HeaderMap::new() };
        Self { answer, kind: PhantomData }
    }

    /// The answer.
    pub fn into_answer(self) -> Answer {
        self.answer
    }
}

impl<T: JsonSchema> Reply<Versioned<T>> {
    /// A document, whose ETag speaks for its bytes.
    pub fn document(document: &Document) -> Self {
        Self::new(document.body.clone(), Some(document.etag.clone()))
    }

    /// A body with the ETag of another document: the answer to a change, with the version of what changed.
    pub fn with_etag_of(body: &impl Serialize, changed: &Document) -> Self {
        Self::new(Document::render(body), Some(changed.etag.clone()))
    }
}

impl<T: JsonSchema + Serialize> Reply<Plain<T>> {
    /// A body.
    pub fn plain(body: &T) -> Self {
        Self::new(Document::render(body), None)
    }
}

impl Reply<NoContent> {
    /// Done, and nothing to say.
    pub fn no_content() -> Self {
        Self::new(Bytes::new(), None)
    }
}

impl Reply<Changed> {
    /// Done, and this is the version of what changed.
    pub fn changed(changed: &Document) -> Self {
        Self::new(Bytes::new(), Some(changed.etag.clone()))
    }
}

/// Whether an `If-None-Match` header matches, by RFC 9110: a list, compared weakly, or `*`. What is malformed
/// does not match.
pub fn if_none_match(headers: &(impl Headers + ?Sized), etag: &HeaderValue) -> bool {
    headers.values(header::IF_NONE_MATCH).any(|value| {
        let value = value.trim_ascii();
        value == b"*" || Candidates(value).any(|candidate| candidate == opaque(etag.as_bytes()))
    })
}

/// The opaque tag of an entity tag, without its weakness.
fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// The opaque tags (quotes and all) of a header's list, up to the first malformed one. A comma inside quotes
/// belongs to the tag.
struct Candidates<'a>(&'a [u8]);

impl<'a> Iterator for Candidates<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while let [b',' | b' ' | b'\t', rest @ ..] = self.0 {
            self.0 = rest;
        }
        let tag = opaque(self.0);
        let inner = tag.strip_prefix(b"\"")?;
        let end = inner.iter().position(|byte| *byte == b'"')? + 2;
        let (tag, rest) = tag.split_at(end);
        self.0 = rest;
        let ends_well = matches!(rest.trim_ascii_start(), [] | [b',', ..]);
        ends_well.then_some(tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(header: &str, matches: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::IF_NONE_MATCH, HeaderValue::from_str(header).unwrap());
        assert_eq!(if_none_match(&headers, &HeaderValue::from_static("\"abc\"")), matches, "{header}");
    }

    #[test]
    fn if_none_match_follows_rfc_9110() {
        check("\"abc\"", true);
        check("W/\"abc\"", true);
        check("*", true);
        check("\"x\", \"abc\"", true);
        check("\"x\" ,\t W/\"abc\" , \"y\"", true);
        check("\"a,b\",\"abc\"", true);
        check("\"x\"", false);
        check("\"ABC\"", false);
    }

    #[test]
    fn malformed_values_match_nothing() {
        for header in ["abc", "\"abc", "", ",", "W/", "w/\"abc\"", "\"abc\"x", "**", "\"x\" \"abc\""] {
            check(header, false);
        }
    }
}
