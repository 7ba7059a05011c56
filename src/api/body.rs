//! Request bodies, checked against the very schema that the API document publishes, so that what is documented
//! is what is enforced. Every violation is found, not only the first.

use bytes::Bytes;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::violation::{Fault, Step, Violation, parse_bool, parse_integer};

/// The body of an operation.
pub trait Body: Sized + Send + 'static {
    /// Whether there is one.
    const EXPECTED: bool;

    /// What the API document says of it.
    fn describe(generator: &mut SchemaGenerator) -> Option<Schema>;

    /// The schema to check it against, without references.
    fn checked_against() -> Value;

    /// Reads it; notes every violation, and is `None` if there was any.
    fn read(bytes: &Bytes, schema: &Value, violations: &mut Vec<Violation>) -> Option<Self>;
}

impl Body for () {
    const EXPECTED: bool = false;

    fn describe(_: &mut SchemaGenerator) -> Option<Schema> {
        None
    }

    fn checked_against() -> Value {
        Value::Null
    }

    fn read(_: &Bytes, _: &Value, _: &mut Vec<Violation>) -> Option<Self> {
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

    fn checked_against() -> Value {
        let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
        settings.into_generator().into_root_schema_for::<T>().to_value()
    }

    fn read(bytes: &Bytes, schema: &Value, violations: &mut Vec<Violation>) -> Option<Self> {
        let mut value = parse(bytes).map_err(|violation| violations.push(violation)).ok()?;
        let found_before = violations.len();
        check(schema, &mut value, &mut vec!["body".into()], violations);
        if violations.len() > found_before {
            return None;
        }
        let read = serde_json::from_value(value).map(Json);
        // Unreachable while types and schemas agree; a client still gets an answer it can read.
        let fault = |error: serde_json::Error| Fault { msg: error.to_string().into(), kind: "value_error" };
        read.map_err(|error| violations.push(fault(error).at(["body".into()]))).ok()
    }
}

/// Parses JSON. The parser refuses more than 128 levels, so depth is bounded here too.
fn parse(bytes: &Bytes) -> Result<Value, Violation> {
    if bytes.is_empty() {
        return Err(Fault::MISSING.at(["body".into()]));
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Null) => Err(Fault::MISSING.at(["body".into()])),
        Ok(value) => Ok(value),
        Err(error) => {
            let position = byte_position(bytes, &error);
            let fault = Fault { msg: error.to_string().into(), kind: "value_error.jsondecode" };
            Err(fault.at(["body".into(), Step::Index(position)]))
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

/// Checks a value against a schema, noting every violation, and spells it as the type wants it: numeric strings
/// become integers, an optional null goes.
fn check(schema: &Value, value: &mut Value, loc: &mut Vec<Step>, violations: &mut Vec<Violation>) {
    let schema = without_null(schema);
    let fault = if let Some(permitted) = permitted(schema) {
        check_permitted(&permitted, value)
    } else {
        match type_of(schema) {
            Some("object") => return check_object(schema, value, loc, violations),
            Some("array") => return check_list(schema, value, loc, violations),
            Some("string") => check_string(schema, value),
            Some("integer") => check_integer(schema, value),
            Some("boolean") => check_boolean(value),
            _ => None,
        }
    };
    if let Some(fault) = fault {
        violations.push(fault.at(loc.iter().cloned()));
    }
}

/// The schema of the value itself, where null is the other choice.
fn without_null(schema: &Value) -> &Value {
    let choices = schema.get("anyOf").and_then(Value::as_array);
    let real = choices.and_then(|choices| choices.iter().find(|choice| type_of(choice) != Some("null")));
    real.unwrap_or(schema)
}

fn type_of(schema: &Value) -> Option<&str> {
    match schema.get("type")? {
        Value::String(name) => Some(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        _ => None,
    }
}

/// The members of an enumeration, in order.
fn permitted(schema: &Value) -> Option<Vec<&Value>> {
    if let Some(members) = schema.get("enum").and_then(Value::as_array) {
        return Some(members.iter().filter(|member| !member.is_null()).collect());
    }
    // Members with a description of their own are generated as one constant each.
    schema.get("oneOf")?.as_array()?.iter().map(|member| member.get("const")).collect()
}

fn check_permitted(permitted: &[&Value], value: &mut Value) -> Option<Fault> {
    if permitted.iter().any(|member| member.is_i64())
        && let Some(number) = as_integer(value)
    {
        *value = number.into();
    }
    if permitted.contains(&&*value) {
        return None;
    }
    let shown = permitted.iter().map(|member| match member {
        Value::String(name) => format!("'{name}'"),
        other => other.to_string(),
    });
    Some(Fault::not_permitted(shown))
}

fn check_string(schema: &Value, value: &mut Value) -> Option<Fault> {
    let Some(text) = value.as_str() else { return Some(Fault::NOT_STRING) };
    if schema.get("format").and_then(Value::as_str) == Some("uuid") {
        let Ok(uuid) = Uuid::parse_str(text) else { return Some(Fault::NOT_UUID) };
        *value = Value::String(uuid.to_string());
        return None;
    }
    let chars = text.chars().count() as u64;
    match (limit(schema, "minLength"), limit(schema, "maxLength")) {
        (Some(min), _) if chars < min => Some(Fault::too_short(min)),
        (_, Some(max)) if chars > max => Some(Fault::too_long(max)),
        _ => None,
    }
}

fn limit(schema: &Value, name: &str) -> Option<u64> {
    schema.get(name).and_then(Value::as_u64)
}

/// An integer, or a string that spells one; a fraction is neither. What 64 bits cannot hold is the nearest that they
/// can.
fn as_integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => {
            let whole = || number.as_f64().filter(|float| float.fract() == 0.0);
            #[allow(clippy::cast_possible_truncation, reason = "whole, and cut to the nearest as said")]
            number.as_i64().or_else(|| whole().map(|float| float as i64))
        }
        Value::String(text) => parse_integer(text),
        _ => None,
    }
}

fn check_integer(schema: &Value, value: &mut Value) -> Option<Fault> {
    let Some(number) = as_integer(value) else { return Some(Fault::NOT_INTEGER) };
    *value = number.into();
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "bounds are small")]
    match (bound("minimum"), bound("maximum")) {
        (Some(min), _) if (number as f64) < min => Some(Fault::too_small(min as i64)),
        (_, Some(max)) if (number as f64) > max => Some(Fault::too_large(max as i64)),
        _ => None,
    }
}

fn check_boolean(value: &mut Value) -> Option<Fault> {
    let spelled = match &*value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) => parse_bool(text),
        Value::Number(number) => parse_bool(&number.to_string()),
        _ => None,
    };
    let Some(flag) = spelled else { return Some(Fault::NOT_BOOLEAN) };
    *value = flag.into();
    None
}

fn check_list(schema: &Value, value: &mut Value, loc: &mut Vec<Step>, violations: &mut Vec<Violation>) {
    let Value::Array(items) = value else {
        return violations.push(Fault::NOT_LIST.at(loc.iter().cloned()));
    };
    let count = items.len() as u64;
    let fault = match (limit(schema, "minItems"), limit(schema, "maxItems")) {
        (Some(min), _) if count < min => Some(Fault::too_few_items(min)),
        (_, Some(max)) if count > max => Some(Fault::too_many_items(max)),
        _ => None,
    };
    if let Some(fault) = fault {
        return violations.push(fault.at(loc.iter().cloned()));
    }
    let Some(item_schema) = schema.get("items") else { return };
    for (index, item) in items.iter_mut().enumerate() {
        loc.push(Step::Index(index));
        check_present(item_schema, item, loc, violations);
        loc.pop();
    }
}

fn check_object(schema: &Value, value: &mut Value, loc: &mut Vec<Step>, violations: &mut Vec<Violation>) {
    let Value::Object(fields) = value else {
        return violations.push(Fault::NOT_OBJECT.at(loc.iter().cloned()));
    };
    if let Some(max) = limit(schema, "maxProperties").filter(|max| fields.len() as u64 > *max) {
        return violations.push(Fault::too_many_entries(max).at(loc.iter().cloned()));
    }
    let declared = schema.get("properties").and_then(Value::as_object);
    for (name, field_schema) in declared.into_iter().flatten() {
        loc.push(Step::Name(name.clone().into()));
        check_field(schema, name, field_schema, fields, loc, violations);
        loc.pop();
    }
    // A map: every entry has the same type.
    let entry_schema = schema.get("additionalProperties").filter(|schema| schema.is_object());
    if let (None, Some(entry_schema)) = (declared, entry_schema) {
        for (name, entry) in fields.iter_mut() {
            loc.push(Step::Name(name.clone().into()));
            check_present(entry_schema, entry, loc, violations);
            loc.pop();
        }
    }
}

fn check_field(
    object: &Value,
    name: &str,
    schema: &Value,
    fields: &mut Map<String, Value>,
    loc: &mut Vec<Step>,
    violations: &mut Vec<Violation>,
) {
    let required = object.get("required").and_then(Value::as_array);
    let required = required.is_some_and(|names| names.iter().any(|other| other == name));
    let optional = !required && schema.get("default").is_none_or(Value::is_null);
    match fields.get_mut(name) {
        None if required => violations.push(Fault::MISSING.at(loc.iter().cloned())),
        None => {}
        Some(Value::Null) if optional => drop(fields.remove(name)),
        Some(field) => check_present(schema, field, loc, violations),
    }
}

/// Checks a value that must not be null.
fn check_present(schema: &Value, value: &mut Value, loc: &mut Vec<Step>, violations: &mut Vec<Violation>) {
    if value.is_null() {
        return violations.push(Fault::NULL.at(loc.iter().cloned()));
    }
    check(schema, value, loc, violations);
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
