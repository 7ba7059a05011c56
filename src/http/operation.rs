//! What a row of the surface is. Router, permission check, input check and API document are all derived from it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::FutureExt as _;
use http::{Method, StatusCode};
use schemars::{Schema, SchemaGenerator};

use super::error::Error;
use super::input::body::Body;
use super::input::params::{ParamDoc, Params, RawParams};
use super::input::schema::BodySchema;
use super::reply::{Answer, Reply, ReplyKind};
use super::surface::Tag;
use crate::app::App;
use crate::auth::{Caller, Policy};

/// The input of an operation: everything checked, everything typed.
pub struct Input<P = (), Q = (), B = ()> {
    /// Path parameters.
    pub path: P,
    /// Query parameters.
    pub query: Q,
    /// The body.
    pub body: B,
}

type Running = Pin<Box<dyn Future<Output = Result<Answer, Error>> + Send>>;
type Run = dyn Fn(&Arc<App>, Caller, &RawParams<'_>, &Bytes) -> Result<Running, Error> + Send + Sync;

/// What the API document says of an operation's input and answer.
pub struct OperationDoc {
    /// Path and query parameters.
    pub params: Vec<ParamDoc>,
    /// The request body.
    pub body: Option<Schema>,
    /// The body of success.
    pub reply: Option<Schema>,
}

/// An operation's body and answer as JSON, for the API document; `None` where there is none to show.
#[derive(Clone, Copy, Debug, Default)]
pub struct Example {
    /// The body of a request.
    pub request: Option<&'static str>,
    /// The body of its answer.
    pub answer: Option<&'static str>,
}

/// One operation: a row of the surface.
pub struct Operation {
    /// Method.
    pub method: Method,
    /// The contract's operation id; also the name in logs and metrics.
    pub id: &'static str,
    /// Path below the prefix, as the contract writes it.
    pub path: &'static str,
    /// The group it belongs to.
    pub tag: Tag,
    /// A line on what it does.
    pub summary: &'static str,
    /// What there is to know beyond that line.
    pub about: &'static str,
    /// What its bodies look like.
    pub example: Example,
    /// Who may call it.
    pub policy: Policy,
    /// Whether it takes a body.
    pub has_body: bool,
    /// Whether its success carries an ETag.
    pub has_etag: bool,
    /// Status of success.
    pub success: StatusCode,
    /// Failures it can answer beside those that every operation can.
    pub failures: &'static [StatusCode],
    /// Whether the contract advises against it. It works all the same.
    pub is_deprecated: bool,
    describe: fn(&mut SchemaGenerator) -> OperationDoc,
    run: Box<Run>,
}

impl Operation {
    /// A row. The handler's type says what it takes and answers; nothing else needs to be declared.
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
        let schema = B::checked_against();
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
            success: K::STATUS,
            failures: &[],
            is_deprecated: false,
            describe: |generator| OperationDoc {
                params: [P::describe(generator), Q::describe(generator)].into_iter().flatten().collect(),
                body: B::describe(generator),
                reply: K::describe(generator),
            },
            run: Box::new(move |app, caller, raw, body| {
                let input = read_input(raw, body, &schema)?;
                Ok(Box::pin(
                    handler(Arc::clone(app), caller, input).map(|reply| reply.map(Reply::into_answer)),
                ))
            }),
        }
    }

    /// Names failures of this operation beside those that every operation can answer.
    pub fn may_fail(mut self, failures: &'static [StatusCode]) -> Self {
        self.failures = failures;
        self
    }

    /// Says what there is to know beyond the summary.
    pub fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }

    /// Shows what its bodies look like.
    pub fn example(mut self, example: Example) -> Self {
        self.example = example;
        self
    }

    /// Puts it in a group.
    pub fn tagged(mut self, tag: Tag) -> Self {
        self.tag = tag;
        self
    }

    /// Marks it as one that the contract advises against.
    pub fn deprecated(mut self) -> Self {
        self.is_deprecated = true;
        self
    }

    /// Checks the input, whole, and starts the handler.
    pub fn run(
        &self,
        app: &Arc<App>,
        caller: Caller,
        raw: &RawParams<'_>,
        body: &Bytes,
    ) -> Result<Running, Error> {
        (self.run)(app, caller, raw, body)
    }

    /// What the API document says of it.
    pub fn describe(&self, generator: &mut SchemaGenerator) -> OperationDoc {
        (self.describe)(generator)
    }
}

/// Reads everything before it judges anything, so that one answer names every violation.
fn read_input<P: Params, Q: Params, B: Body>(
    raw: &RawParams<'_>,
    body: &Bytes,
    schema: &BodySchema,
) -> Result<Input<P, Q, B>, Error> {
    let mut violations = Vec::new();
    let path = P::read(raw, &mut violations);
    let query = Q::read(raw, &mut violations);
    let body = B::read(body, schema, &mut violations);
    match (path, query, body) {
        (Some(path), Some(query), Some(body)) => Ok(Input { path, query, body }),
        _ => Err(Error::Invalid(violations)),
    }
}
