//! The replies of operations, and ETags.

use std::marker::PhantomData;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use super::input::conditions::Conditions;
use super::input::headers::Headers;
use crate::app::HookWrites;
use crate::app::idempotency::Answered;
use crate::app::waits::WaitOn;
use crate::document::Document;

/// An answer to a request, before it is adapted to the request's method and `If-None-Match`.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Body; JSON unless `headers` name another content type.
    pub body: Bytes,
    /// ETag; `None` if the answer has none.
    pub etag: Option<HeaderValue>,
    /// Further headers.
    pub headers: HeaderMap,
    /// How to wait for a change of the answer; `None` if a request cannot.
    pub wait_on: Option<WaitOn>,
}

impl Answer {
    /// Whether this is the answer of a long poll that has nothing to tell yet.
    pub fn is_nothing_new(&self) -> bool {
        self.wait_on.as_ref().is_some_and(|wait_on| wait_on.long_poll.is_some())
    }

    /// Creates an answer with a JSON body.
    pub fn json(status: StatusCode, body: &impl Serialize) -> Self {
        Self { status, body: Document::render(body), etag: None, headers: HeaderMap::new(), wait_on: None }
    }

    /// What is stored of it for repeats of the request.
    pub fn to_store(&self) -> Answered<'_> {
        let etag = self.etag.as_ref().and_then(|etag| etag.to_str().ok());
        Answered { status: self.status.as_u16(), etag, body: &self.body }
    }

    /// Creates an answer without a body.
    pub fn empty(status: StatusCode) -> Self {
        Self { status, body: Bytes::new(), etag: None, headers: HeaderMap::new(), wait_on: None }
    }
}

impl From<Answer> for Response<Full<Bytes>> {
    /// Converts a JSON answer to a response, without regard to the request's method and headers.
    fn from(answer: Answer) -> Self {
        let mut response = Self::new(Full::new(answer.body));
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

/// A kind of reply: its status, the schema of its body, and whether it has an ETag.
pub trait ReplyKind {
    /// Status of success.
    const STATUS: StatusCode;
    /// Whether the reply carries an ETag.
    const ETAG: bool;
    /// Whether a request can wait for a change of the reply.
    const WAITS: bool = false;
    /// Whether the request is held until there is something to tell, without being asked to.
    const LONG_POLLS: bool = false;

    /// Schema of the body for the API document; `None` if there is no body.
    fn describe(generator: &mut SchemaGenerator) -> Option<Schema>;
}

/// 200 with a body and an ETag.
pub struct Versioned<T>(PhantomData<T>);

/// Like [`Versioned`], and a request can wait until the body changes.
pub struct Watched<T>(PhantomData<T>);

/// 200 with a body, without an ETag. A request is held until there is something to tell.
pub struct LongPolled<T>(PhantomData<T>);

/// 200 with a body, without an ETag.
pub struct Plain<T>(PhantomData<T>);

/// 202 with a body, without an ETag.
pub struct Accepted<T>(PhantomData<T>);

/// 200 with an empty object, without an ETag. For contracts that have no 204.
pub struct EmptyObject;

/// 204 without a body and without an ETag.
pub struct NoContent;

/// 204 without a body, with the ETag of the changed thing.
pub struct Changed;

impl<T: JsonSchema> ReplyKind for Versioned<T> {
    const STATUS: StatusCode = StatusCode::OK;
    const ETAG: bool = true;

    fn describe(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.subschema_for::<T>())
    }
}

impl<T: JsonSchema> ReplyKind for Watched<T> {
    const STATUS: StatusCode = StatusCode::OK;
    const ETAG: bool = true;
    const WAITS: bool = true;

    fn describe(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.subschema_for::<T>())
    }
}

impl<T: JsonSchema> ReplyKind for LongPolled<T> {
    const STATUS: StatusCode = StatusCode::OK;
    const ETAG: bool = false;
    const LONG_POLLS: bool = true;

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

impl<T: JsonSchema> ReplyKind for Accepted<T> {
    const STATUS: StatusCode = StatusCode::ACCEPTED;
    const ETAG: bool = false;

    fn describe(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.subschema_for::<T>())
    }
}

impl ReplyKind for EmptyObject {
    const STATUS: StatusCode = StatusCode::OK;
    const ETAG: bool = false;

    fn describe(_: &mut SchemaGenerator) -> Option<Schema> {
        Some(json_schema!({ "type": "object" }))
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

/// A successful reply of a kind: [`Versioned`], [`Watched`], [`LongPolled`], [`Plain`], [`Accepted`], [`EmptyObject`],
/// [`NoContent`] or [`Changed`].
pub struct Reply<K> {
    answer: Answer,
    kind: PhantomData<fn() -> K>,
}

impl<K: ReplyKind> Reply<K> {
    fn new(body: Bytes, etag: Option<HeaderValue>) -> Self {
        let answer = Answer { status: K::STATUS, body, etag, headers: HeaderMap::new(), wait_on: None };
        Self { answer, kind: PhantomData }
    }

    /// Adds a header. The row of the operation documents it with
    /// [`Operation::answers_with`](super::operation::Operation::answers_with).
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.answer.headers.insert(name, value);
        self
    }

    /// Adds an ETag. For requests that ask for one where the operation has none by itself.
    #[must_use]
    pub fn with_etag(mut self, etag: HeaderValue) -> Self {
        self.answer.etag = Some(etag);
        self
    }

    /// The writes that store this reply for repeats of the request; none if the request has no idempotency key.
    pub fn stored_for(self, conditions: &Conditions) -> HookWrites {
        match &conditions.recorder {
            Some(recorder) => recorder.writes(self.into_answer().to_store(), || None),
            None => HookWrites::default(),
        }
    }

    /// Converts the reply to an answer.
    pub fn into_answer(self) -> Answer {
        self.answer
    }
}

impl<T: JsonSchema> Reply<Versioned<T>> {
    /// Replies with a document and its ETag.
    pub fn document(document: &Document) -> Self {
        Self::new(document.body.clone(), Some(document.etag.clone()))
    }

    /// Replies to a change with a body, and with the ETag of another document, that of the changed thing.
    pub fn with_etag_of(body: &impl Serialize, changed: &Document) -> Self {
        Self::new(Document::render(body), Some(changed.etag.clone()))
    }
}

impl<T: JsonSchema> Reply<Watched<T>> {
    /// Replies with a document, its ETag, and how to wait for a change of it.
    pub fn watched(document: &Document, wait_on: WaitOn) -> Self {
        let mut reply = Self::new(document.body.clone(), Some(document.etag.clone()));
        reply.answer.wait_on = Some(wait_on);
        reply
    }
}

impl<T: JsonSchema + Serialize> Reply<LongPolled<T>> {
    /// Replies to a long poll with something to tell.
    pub fn news(body: &T) -> Self {
        Self::new(Document::render(body), None)
    }

    /// Replies to a long poll that has nothing to tell yet. `body` is the answer if that stays so.
    pub fn nothing_new(body: &T, wait_on: WaitOn) -> Self {
        let mut reply = Self::news(body);
        reply.answer.wait_on = Some(wait_on);
        reply
    }
}

impl<T: JsonSchema + Serialize> Reply<Plain<T>> {
    /// Replies with a body.
    pub fn plain(body: &T) -> Self {
        Self::new(Document::render(body), None)
    }
}

impl<T: JsonSchema> Reply<Plain<T>> {
    /// Replies with a body that borrows from something.
    pub fn plain_of(body: &impl Serialize) -> Self {
        Self::new(Document::render(body), None)
    }
}

impl<T: JsonSchema + Serialize> Reply<Accepted<T>> {
    /// Replies with a body.
    pub fn accepted(body: &T) -> Self {
        Self::new(Document::render(body), None)
    }
}

impl Reply<EmptyObject> {
    /// Replies with an empty object.
    pub fn empty_object() -> Self {
        Self::new(Bytes::from_static(b"{}"), None)
    }
}

impl Reply<NoContent> {
    /// Replies without a body.
    pub fn no_content() -> Self {
        Self::new(Bytes::new(), None)
    }
}

impl Reply<Changed> {
    /// Replies without a body, with the ETag of the changed thing.
    pub fn changed(changed: &Document) -> Self {
        Self::new(Bytes::new(), Some(changed.etag.clone()))
    }
}

/// Whether an `If-None-Match` header matches an ETag, as in RFC 9110: the header is `*` or a list of tags, which are
/// compared weakly. Malformed tags do not match.
pub fn if_none_match(headers: &(impl Headers + ?Sized), etag: &HeaderValue) -> bool {
    headers.values(header::IF_NONE_MATCH).any(|value| value.trim_ascii() == b"*" || has_tag(value, etag))
}

/// Whether a list of tags, as in `If-None-Match`, has this one. They are compared weakly. Malformed tags do not match.
pub fn has_tag(list: &[u8], etag: &HeaderValue) -> bool {
    let expected = opaque_tag(etag.as_bytes());
    OpaqueTags(list.trim_ascii()).any(|tag| tag == expected)
}

/// The opaque tag of an entity tag, without the prefix `W/` of weak tags.
fn opaque_tag(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// Iterates over the opaque tags of a header's list, with their quotes, up to the first malformed tag. A comma inside
/// quotes belongs to the tag.
struct OpaqueTags<'a>(&'a [u8]);

impl<'a> Iterator for OpaqueTags<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while let [b',' | b' ' | b'\t', rest @ ..] = self.0 {
            self.0 = rest;
        }
        let tag = opaque_tag(self.0);
        let inner = tag.strip_prefix(b"\"")?;
        let end = inner.iter().position(|byte| *byte == b'"')? + 2;
        let (tag, rest) = tag.split_at(end);
        self.0 = rest;
        let is_list_item = matches!(rest.trim_ascii_start(), [] | [b',', ..]);
        is_list_item.then_some(tag)
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
