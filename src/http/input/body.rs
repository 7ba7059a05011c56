//! Request bodies, checked against the very schema that the API document publishes. Every violation is found, not
//! only the first.

use bytes::Bytes;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::schema::BodySchema;
use super::violation::{LocStep, Violation, ViolationKind};

/// The body of an operation.
pub trait Body: Sized + Send + 'static {
    /// Whether there is one.
    const EXPECTED: bool;

    /// What the API document says of it.
    fn describe(generator: &mut SchemaGenerator) -> Option<Schema>;

    /// What to check it against.
    fn checked_against() -> BodySchema;

    /// Reads it; notes every violation, and is `None` if there was any.
    fn read(bytes: &Bytes, shape: &BodySchema, violations: &mut Vec<Violation>) -> Option<Self>;
}

impl Body for () {
    const EXPECTED: bool = false;

    fn describe(_: &mut SchemaGenerator) -> Option<Schema> {
        None
    }

    fn checked_against() -> BodySchema {
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

    fn checked_against() -> BodySchema {
        let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
        BodySchema::of(settings.into_generator().into_root_schema_for::<T>().as_value())
    }

    fn read(bytes: &Bytes, shape: &BodySchema, violations: &mut Vec<Violation>) -> Option<Self> {
        let mut value = parse(bytes).map_err(|violation| violations.push(violation)).ok()?;
        let found_before = violations.len();
        shape.check_body(&mut value, violations);
        if violations.len() > found_before {
            return None;
        }
        let read = serde_json::from_value(value).map(Json);
        // Unreachable while types and schemas agree; a client still gets an answer it can read.
        let fault =
            |error: serde_json::Error| ViolationKind { msg: error.to_string().into(), kind: "value_error" };
        read.map_err(|error| violations.push(fault(error).at(["body".into()]))).ok()
    }
}

/// Parses JSON. The parser refuses more than 128 levels, so depth is bounded here too.
fn parse(bytes: &Bytes) -> Result<Value, Violation> {
    if bytes.is_empty() {
        return Err(ViolationKind::MISSING.at(["body".into()]));
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Null) => Err(ViolationKind::MISSING.at(["body".into()])),
        Ok(value) => Ok(value),
        Err(error) => {
            let position = byte_position(bytes, &error);
            let fault = ViolationKind { msg: error.to_string().into(), kind: "value_error.jsondecode" };
            Err(fault.at(["body".into(), LocStep::Index(position)]))
        }
    }
}

/// The byte that the parser stumbled over: the one it names by line and column, from 1; the end where there was
/// nothing more to read, up to which it counts then.
fn byte_position(bytes: &[u8], error: &serde_json::Error) -> usize {
    let lines = bytes.split(|byte| *byte == b'\n');
    let before: usize = lines.take(error.line().saturating_sub(1)).map(|line| line.len() + 1).sum();
    let column = if error.is_eof() { error.column() } else { error.column().saturating_sub(1) };
    (before + column).min(bytes.len())
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
