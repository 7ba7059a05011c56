//! A surface: operations under one prefix, with one API document. The session API is a surface. Further surfaces can be
//! added beside it.

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::Value;

use super::error_format::ErrorFormat;
use super::operation::Operation;
use super::pipeline::PipelineSettings;
use crate::app::App;

/// A tag of the API document, which names and describes a group of operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tag {
    /// Name of the group.
    pub name: &'static str,
    /// Description of the group, in Markdown.
    pub description: &'static str,
}

impl Tag {
    /// Creates a tag from a name and a description in Markdown.
    pub const fn new(name: &'static str, description: &'static str) -> Self {
        Self { name, description }
    }
}

/// A tag with its operations.
pub struct Group {
    tag: Tag,
    operations: Vec<Operation>,
}

impl Group {
    /// Groups operations under a tag.
    pub fn new(tag: Tag, operations: Vec<Operation>) -> Self {
        Self { tag, operations }
    }
}

/// An example of a failure for the API document.
pub struct FailureExample {
    /// Name of the example. Operations refer to it by this name.
    pub name: &'static str,
    /// Short description of the failure.
    pub summary: &'static str,
    /// Status of the failure.
    pub status: StatusCode,
    /// Body of the failure.
    pub body: Value,
    /// Whether an operation can fail in this way.
    pub fits: fn(&Operation) -> bool,
}

/// Answers some requests of a surface from memory, using only their heads, without the normal path.
pub trait FastPath: Send + Sync {
    /// Answers a request under hyper: appends the response as it goes over the wire. Returns the operation's index in
    /// the surface, and the status; `None` if it declines. It may have appended something even then.
    fn answer(
        &self,
        app: &App,
        settings: &PipelineSettings,
        request: &httparse::Request<'_, '_>,
        response: &mut Vec<u8>,
    ) -> Option<(usize, StatusCode)>;

    /// Answers a request in hyper's service. Returns the operation's index in the surface, and the response; `None` if
    /// it declines.
    fn respond(
        &self,
        app: &App,
        settings: &PipelineSettings,
        head: &Parts,
    ) -> Option<(usize, Response<Full<Bytes>>)>;
}

/// Operations under one prefix.
pub struct Surface {
    /// Prefix of every path of the surface, for example `/session`.
    pub prefix: &'static str,
    /// Introduction of the API document, in Markdown.
    pub introduction: &'static str,
    /// Tags, in the order of the API document.
    pub tags: Vec<Tag>,
    /// Operations, in the order of their tags.
    pub operations: Vec<Operation>,
    /// Examples of failures in the API document.
    pub failures: Vec<FailureExample>,
    /// Format of failures, also of requests below the prefix that reach no operation.
    pub errors: ErrorFormat,
    /// Fast path of some of the operations.
    pub fast_path: Option<Box<dyn FastPath>>,
}

impl Surface {
    /// Creates a surface from groups of operations.
    pub fn new(prefix: &'static str, groups: Vec<Group>) -> Self {
        let mut tags = Vec::new();
        let mut operations = Vec::new();
        for group in groups {
            tags.push(group.tag);
            for operation in group.operations {
                operations.push(operation.tagged(group.tag));
            }
        }
        let (failures, errors) = (Vec::new(), ErrorFormat::default());
        Self { prefix, introduction: "", tags, operations, failures, errors, fast_path: None }
    }

    /// Name of the surface: its prefix without the slash.
    pub fn name(&self) -> &'static str {
        self.prefix.trim_start_matches('/')
    }

    /// Sets the introduction of the API document.
    pub fn with_introduction(self, introduction: &'static str) -> Self {
        Self { introduction, ..self }
    }

    /// Sets the examples of failures in the API document.
    pub fn with_failures(self, failures: Vec<FailureExample>) -> Self {
        Self { failures, ..self }
    }

    /// Lets requests that change something have an idempotency key. The server stores their answers, so no answer may
    /// have a secret. An operation that changes what is stored does so in one commit, together with the writes of
    /// [`Recorder`](crate::app::idempotency::Recorder).
    pub fn with_idempotency_keys(mut self) -> Self {
        self.operations = self.operations.into_iter().map(Operation::with_key).collect();
        self
    }

    /// Sets the format of failures.
    pub fn with_errors(self, errors: ErrorFormat) -> Self {
        Self { errors, ..self }
    }

    /// Sets the fast path that `of` creates from the prefix and the operations, if it creates one.
    pub fn with_fast_path<F: FastPath + 'static>(
        mut self,
        of: impl FnOnce(&'static str, &[Operation]) -> Option<F>,
    ) -> Self {
        self.fast_path = of(self.prefix, &self.operations).map(|path| Box::new(path) as Box<dyn FastPath>);
        self
    }
}

#[cfg(test)]
#[path = "surface_tests.rs"]
mod tests;
