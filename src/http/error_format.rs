//! The error format of a surface: how its failures are answered, and which schemas the bodies have.

use schemars::{Schema, SchemaGenerator};

use super::error::{Error, ErrorBody};
use super::input::violation::ValidationBody;
use super::reply::Answer;

/// The error format of a surface. The default is that of the session API.
#[derive(Clone, Copy)]
pub struct ErrorFormat {
    /// Renders a failure. The status should be that of [`Error::parts`].
    pub answer: fn(&Error) -> Answer,
    /// Schema of the body of a failure.
    pub body: fn(&mut SchemaGenerator) -> Schema,
    /// Schema of the body of a 422, which lists the violations.
    pub violations: fn(&mut SchemaGenerator) -> Schema,
}

impl Default for ErrorFormat {
    fn default() -> Self {
        Self {
            answer: Error::answer,
            body: SchemaGenerator::subschema_for::<ErrorBody>,
            violations: SchemaGenerator::subschema_for::<ValidationBody>,
        }
    }
}
