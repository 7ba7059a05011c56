//! A surface: operations under one prefix, with one API document. The session API is one; others stand beside it on
//! the same machinery.

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::Value;

use super::operation::Operation;
use super::pipeline::ApiSettings;
use crate::app::App;

/// A group of operations, as a reader of the API document finds them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tag {
    /// Its name.
    pub name: &'static str,
    /// What its operations are about.
    pub description: &'static str,
}

impl Tag {
    /// A tag with a name and a description, in Markdown.
    pub const fn new(name: &'static str, description: &'static str) -> Self {
        Self { name, description }
    }
}

/// The operations of a tag.
pub struct Group {
    tag: Tag,
    rows: Vec<Operation>,
}

impl Group {
    /// These operations under this tag.
    pub fn new(tag: Tag, rows: Vec<Operation>) -> Self {
        Self { tag, rows }
    }
}

/// An example of a failure for the API document.
pub struct FailureExample {
    /// The name that operations refer to it by.
    pub name: &'static str,
    /// What it shows.
    pub summary: &'static str,
    /// The status of the failure.
    pub status: StatusCode,
    /// The body of the failure.
    pub body: Value,
    /// Whether an operation can fail so.
    pub fits: fn(&Operation) -> bool,
}

/// Answers some requests of a surface from their heads alone, in memory, without the normal path.
pub trait FastPath: Send + Sync {
    /// Answers a request under hyper: appends the response as it goes over the wire. Returns the operation's index in the
    /// surface, and the status; `None` if it declines. It may have appended something even then.
    fn answer(
        &self,
        app: &App,
        settings: &ApiSettings,
        request: &httparse::Request<'_, '_>,
        response: &mut Vec<u8>,
    ) -> Option<(usize, StatusCode)>;

    /// Answers a request in hyper's service. Returns the operation's index in the surface, and the response; `None` if it
    /// declines.
    fn respond(
        &self,
        app: &App,
        settings: &ApiSettings,
        head: &Parts,
    ) -> Option<(usize, Response<Full<Bytes>>)>;
}

/// Operations under one prefix.
pub struct Surface {
    /// Every path of the surface starts with this, for example `/session`.
    pub prefix: &'static str,
    /// The introduction of its API document, in Markdown.
    pub introduction: &'static str,
    /// The tags, in the order in which a reader meets them.
    pub tags: Vec<Tag>,
    /// The operations, in the order of their tags.
    pub operations: Vec<Operation>,
    /// Failures that its API document shows.
    pub failures: Vec<FailureExample>,
    /// The fast path of some of its operations.
    pub fast_path: Option<Box<dyn FastPath>>,
}

impl Surface {
    /// These groups under a prefix.
    pub fn new(prefix: &'static str, groups: Vec<Group>) -> Self {
        let (mut tags, mut operations) = (Vec::new(), Vec::new());
        for Group { tag, rows } in groups {
            tags.push(tag);
            operations.extend(rows.into_iter().map(|row| row.tagged(tag)));
        }
        Self { prefix, introduction: "", tags, operations, failures: Vec::new(), fast_path: None }
    }

    /// The same, with an introduction to its API document.
    pub fn introduced(self, introduction: &'static str) -> Self {
        Self { introduction, ..self }
    }

    /// The same, with examples of failures in its API document.
    pub fn with_failures(self, failures: Vec<FailureExample>) -> Self {
        Self { failures, ..self }
    }

    /// The same, with a fast path for some of its operations, which `of` finds among them.
    pub fn with_fast_path<F: FastPath + 'static>(
        mut self,
        of: impl FnOnce(&'static str, &[Operation]) -> Option<F>,
    ) -> Self {
        self.fast_path = of(self.prefix, &self.operations).map(|path| Box::new(path) as Box<dyn FastPath>);
        self
    }
}
