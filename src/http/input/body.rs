//! Request bodies. They are checked against the schema that the API document publishes. The check finds all violations,
//! not only the first.

use std::borrow::Cow;

use bytes::Bytes;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::bounded;
use super::conversion::keep_integers;
use super::schema::BodySchema;
use super::violation::{LocStep, Violation, ViolationKind};

/// A type of request body.
pub trait Body: Sized + Send + 'static {
    /// Whether the request has a body.
    const EXPECTED: bool;

    /// Schema of the body for the API document; `None` if there is no body.
    fn describe(generator: &mut SchemaGenerator) -> Option<Schema>;

    /// Schema for the check of a body.
    fn schema() -> BodySchema;

    /// Reads a body. If there are violations, adds all of them and returns `None`.
    fn read(bytes: &Bytes, schema: &BodySchema, violations: &mut Vec<Violation>) -> Option<Self>;
}

impl Body for () {
    const EXPECTED: bool = false;

    fn describe(_: &mut SchemaGenerator) -> Option<Schema> {
        None
    }

    fn schema() -> BodySchema {
        BodySchema::Anything
    }

    fn read(_: &Bytes, _: &BodySchema, _: &mut Vec<Violation>) -> Option<Self> {
        Some(())
    }
}

/// A JSON body.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + JsonSchema + Send + 'static> Body for Json<T> {
    const EXPECTED: bool = true;

    fn describe(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.subschema_for::<T>())
    }

    fn schema() -> BodySchema {
        let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
        BodySchema::of(settings.into_generator().into_root_schema_for::<T>().as_value())
    }

    fn read(bytes: &Bytes, schema: &BodySchema, violations: &mut Vec<Violation>) -> Option<Self> {
        let mut value = parse(bytes, schema).map_err(|violation| violations.push(violation)).ok()?;
        let violations_before = violations.len();
        schema.check_body(&mut value, violations);
        if violations.len() > violations_before {
            return None;
        }
        match serde_json::from_value(value) {
            Ok(body) => Some(Json(body)),
            // This does not happen as long as types and schemas agree. If it does, the client gets a 422.
            Err(error) => {
                let kind = ViolationKind { msg: error.to_string().into(), kind: "value_error" };
                violations.push(kind.at(["body".into()]));
                None
            }
        }
    }
}

/// The byte order mark of UTF-8, with which some clients begin a body.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Parses JSON, as far as the schema needs it.
///
/// # Errors
/// The violation, if there is no JSON.
pub fn parse(bytes: &Bytes, schema: &BodySchema) -> Result<Value, Violation> {
    if bytes.is_empty() {
        return Err(ViolationKind::MISSING.at(["body".into()]));
    }
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let value = bounded::parse(bytes, schema).and_then(|value| match keep_integers(bytes) {
        Cow::Borrowed(_) => Ok(value),
        Cow::Owned(kept) => {
            drop(value);
            bounded::parse(&kept, schema)
        }
    });
    match value {
        Ok(Value::Null) => Err(ViolationKind::MISSING.at(["body".into()])),
        Ok(value) => Ok(value),
        Err(error) => {
            let position = byte_position(bytes, &error);
            let kind = ViolationKind { msg: error.to_string().into(), kind: "value_error.jsondecode" };
            Err(kind.at(["body".into(), LocStep::Index(position)]))
        }
    }
}

/// The offset of the byte at which the parser failed, from 0. The parser names it by line and column, both from 1. If
/// the input ended early, its column is that of the last byte, and the result is the length of the input.
fn byte_position(bytes: &[u8], error: &serde_json::Error) -> usize {
    let lines = bytes.split(|byte| *byte == b'\n');
    let before: usize = lines.take(error.line().saturating_sub(1)).map(|line| line.len() + 1).sum();
    let column = if error.is_eof() { error.column() } else { error.column().saturating_sub(1) };
    (before + column).min(bytes.len())
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
