//! The type of an operation, a row of a surface. The router, the permission check, the input check and the API document
//! are derived from it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::FutureExt as _;
use http::{Method, StatusCode, header};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;

use super::error::Error;
use super::input::body::{self, Body};
use super::input::conditions::Conditions;
use super::input::params::{ParamDoc, Params, RawParams};
use super::input::schema::BodySchema;
use super::reply::{Answer, Reply, ReplyKind};
use super::surface::Tag;
use crate::app::App;
use crate::auth::{Caller, Policy};

/// The checked and typed input of an operation.
pub struct Input<P = (), Q = (), B = ()> {
    /// Path parameters.
    pub path: P,
    /// Query parameters.
    pub query: Q,
    /// Body.
    pub body: B,
    /// What the headers ask of a change.
    pub conditions: Conditions,
}

/// The future of a handler. It does nothing before it is polled.
pub type HandlerFuture = Pin<Box<dyn Future<Output = Result<Answer, Error>> + Send>>;
/// Makes the schema of a type.
type SchemaOf = fn(&mut SchemaGenerator) -> Schema;
/// Parses a body as far as its schema needs it; `None` if it is not JSON.
type ParseBody = dyn Fn(&Bytes) -> Option<Value> + Send + Sync;
/// Checks the input and calls the handler.
type Start = dyn Fn(&Arc<App>, Caller, &RawParams<'_>, &Bytes) -> Result<HandlerFuture, Error> + Send + Sync;

/// The parts of the API document that are derived from the types of an operation's handler.
pub struct OperationDoc {
    /// Path and query parameters.
    pub params: Vec<ParamDoc>,
    /// Schema of the request body; `None` if the operation has none.
    pub body: Option<Schema>,
    /// Schema of the body of success; `None` if there is none.
    pub reply: Option<Schema>,
}

/// Examples of an operation's bodies for the API document, as JSON texts; `None` if there is no example.
#[derive(Clone, Copy, Debug, Default)]
pub struct Example {
    /// Body of a request.
    pub request: Option<&'static str>,
    /// Body of the answer.
    pub answer: Option<&'static str>,
}

/// One operation: a row of the surface.
pub struct Operation {
    /// HTTP method.
    pub method: Method,
    /// Operation id of the contract. Logs and metrics use it too.
    pub id: &'static str,
    /// Path below the surface's prefix, as in the contract.
    pub path: &'static str,
    /// Tag of the operation's group.
    pub tag: Tag,
    /// Summary in the API document: one line.
    pub summary: &'static str,
    /// Description in the API document, beyond the summary.
    pub about: &'static str,
    /// Examples of the bodies.
    pub example: Example,
    /// Permissions that the operation needs.
    pub policy: Policy,
    /// Whether the request has a body.
    pub has_body: bool,
    /// Whether the answer of success has an ETag.
    pub has_etag: bool,
    /// Whether a request can wait for a change of the answer.
    pub can_wait: bool,
    /// Whether a request is held until there is something to tell, without being asked to.
    pub is_long_poll: bool,
    /// Whether a request can demand a version of what the operation changes, with `If-Match`.
    pub takes_if_match: bool,
    /// Whether a request can have an idempotency key.
    pub takes_key: bool,
    /// Whether repeating a request does no harm even without an idempotency key.
    repeats_safely: bool,
    /// Status of success.
    pub success: StatusCode,
    /// Statuses of failures beyond those that every operation can have.
    pub failures: &'static [StatusCode],
    /// Status of failures whose bodies have a schema of their own, and that schema.
    pub own_failure: Option<(StatusCode, SchemaOf)>,
    /// Headers of the answer of success, each with its description.
    pub answer_headers: &'static [(&'static str, &'static str)],
    /// Largest size of the body, in bytes, if it is lower than that of all operations.
    pub body_bytes_max: Option<usize>,
    /// Whether the contract marks the operation as deprecated.
    pub is_deprecated: bool,
    describe: fn(&mut SchemaGenerator) -> OperationDoc,
    start: Box<Start>,
    parse_body: Box<ParseBody>,
}

impl Operation {
    /// Creates an operation. Its input, its answer and their schemas follow from the types of the handler.
    pub fn new<P, Q, B, K, F, Fut>(
        method: Method,
        id: &'static str,
        path: &'static str,
        handler: F,
        policy: Policy,
        summary: &'static str,
    ) -> Self
    where
        P: Params,
        Q: Params,
        B: Body,
        K: ReplyKind + 'static,
        F: Fn(Arc<App>, Caller, Input<P, Q, B>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply<K>, Error>> + Send + 'static,
    {
        let (schema, is_read) = (Arc::new(B::schema()), method == Method::GET);
        let schema_of_keyed = Arc::clone(&schema);
        Self {
            method,
            id,
            path,
            tag: Tag::default(),
            summary,
            about: "",
            example: Example::default(),
            policy,
            has_body: B::EXPECTED,
            has_etag: K::ETAG,
            can_wait: K::WAITS,
            is_long_poll: K::LONG_POLLS,
            takes_if_match: false,
            takes_key: false,
            repeats_safely: false,
            success: K::STATUS,
            failures: &[],
            own_failure: None,
            answer_headers: &[],
            body_bytes_max: None,
            is_deprecated: false,
            describe: |generator| OperationDoc {
                params: [P::describe(generator), Q::describe(generator)].into_iter().flatten().collect(),
                body: B::describe(generator),
                reply: K::describe(generator),
            },
            start: Box::new(move |app, caller, raw_params, body| {
                let input = read_input(raw_params, body, &schema, is_read)?;
                let reply = handler(Arc::clone(app), caller, input);
                Ok(Box::pin(reply.map(|reply| reply.map(Reply::into_answer))))
            }),
            parse_body: Box::new(move |body| body::parse(body, &schema_of_keyed).ok()),
        }
    }

    /// Sets the statuses of failures beyond those that every operation can have.
    pub fn may_fail(mut self, failures: &'static [StatusCode]) -> Self {
        self.failures = failures;
        self
    }

    /// Sets the schema of the bodies of failures with this status. It must fit every failure with this status that the
    /// surface's error format renders for the operation.
    pub fn fails_with<T: JsonSchema>(mut self, status: StatusCode) -> Self {
        self.own_failure = Some((status, SchemaGenerator::subschema_for::<T>));
        self
    }

    /// Sets the headers that the answer of success has, each with its description.
    pub fn answers_with(mut self, headers: &'static [(&'static str, &'static str)]) -> Self {
        self.answer_headers = headers;
        self
    }

    /// Lets requests demand a version of what the operation changes, with `If-Match`. The handler judges it.
    pub fn takes_if_match(mut self) -> Self {
        self.takes_if_match = true;
        self
    }

    /// Says that repeating a request does no harm even without an idempotency key, so that none is read.
    pub fn safe_to_repeat(mut self) -> Self {
        self.repeats_safely = true;
        self
    }

    /// Lets requests have an idempotency key, if they change something.
    pub fn with_key(mut self) -> Self {
        self.takes_key = self.method != Method::GET && !self.repeats_safely;
        self
    }

    /// Sets the largest size of the body, in bytes. A larger limit than that of all operations has no effect.
    pub fn body_at_most(mut self, bytes: usize) -> Self {
        self.body_bytes_max = Some(bytes);
        self
    }

    /// Sets the description, beyond the summary.
    pub fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }

    /// Sets the examples of the bodies.
    pub fn example(mut self, example: Example) -> Self {
        self.example = example;
        self
    }

    /// Sets the tag of the operation's group.
    pub fn tagged(mut self, tag: Tag) -> Self {
        self.tag = tag;
        self
    }

    /// Marks the operation as deprecated.
    pub fn deprecated(mut self) -> Self {
        self.is_deprecated = true;
        self
    }

    /// Checks the input and calls the handler. The returned future does the work of the operation.
    ///
    /// # Errors
    /// [`Error::PreconditionNotSupported`] if the request has a condition that the operation cannot check;
    /// [`Error::Invalid`] with all violations, if there are any.
    pub fn start(
        &self,
        app: &Arc<App>,
        caller: Caller,
        raw_params: &RawParams<'_>,
        body: &Bytes,
    ) -> Result<HandlerFuture, Error> {
        let has_if_match = raw_params.headers.contains_key(header::IF_MATCH);
        if has_if_match && !self.takes_if_match && self.method != Method::GET {
            return Err(Error::PreconditionNotSupported);
        }
        (self.start)(app, caller, raw_params, body)
    }

    /// Parses a body as far as its schema needs it; `None` if it is not JSON.
    pub fn parse_body(&self, body: &Bytes) -> Option<Value> {
        (self.parse_body)(body)
    }

    /// Describes the operation's parameters and bodies for the API document.
    pub fn describe(&self, generator: &mut SchemaGenerator) -> OperationDoc {
        (self.describe)(generator)
    }
}

/// Reads the parameters, the conditions and the body, and collects all violations, so that one answer names every one.
fn read_input<P: Params, Q: Params, B: Body>(
    raw_params: &RawParams<'_>,
    body: &Bytes,
    schema: &BodySchema,
    is_read: bool,
) -> Result<Input<P, Q, B>, Error> {
    let mut violations = Vec::new();
    let path = P::read(raw_params, &mut violations);
    let query = Q::read(raw_params, &mut violations);
    let conditions = match is_read {
        true => Some(Conditions::default()),
        false => Conditions::read(raw_params, &mut violations),
    };
    let body = B::read(body, schema, &mut violations);
    match (path, query, conditions, body) {
        (Some(path), Some(query), Some(conditions), Some(body)) => {
            Ok(Input { path, query, body, conditions })
        }
        _ => Err(Error::Invalid(violations)),
    }
}
