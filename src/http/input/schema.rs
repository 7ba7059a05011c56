//! What a body must look like: the schema that the API document publishes, read once, so that what is documented
//! is what is enforced.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::violation::{LocStep, Violation, ViolationKind, parse_bool, parse_integer};

/// The keyword, of our own, that bounds the bytes of a map's names and texts together.
pub const BYTES_MAX: &str = "x-bytes-max";

/// What a value must be.
#[derive(Debug)]
pub enum BodySchema {
    /// An object with these fields; others are left alone.
    Object(Vec<Field>),
    /// An object whose entries are all of one shape, if it is known.
    Map { entry: Option<Box<BodySchema>>, entries_max: Option<u64>, bytes_max: Option<u64> },
    /// A list whose items are all of one shape, if it is known.
    List { item: Option<Box<BodySchema>>, items_min: Option<u64>, items_max: Option<u64> },
    /// A text with a length in characters.
    Text { chars_min: Option<u64>, chars_max: Option<u64> },
    /// A UUID.
    Uuid,
    /// A whole number.
    Integer { min: Option<i64>, max: Option<i64> },
    /// A boolean.
    Boolean,
    /// One of these.
    OneOf(Vec<Value>),
    /// Whatever it is.
    Anything,
}

/// A field of an object.
#[derive(Debug)]
pub struct Field {
    name: String,
    required: bool,
    /// A null is as good as no field.
    optional: bool,
    shape: BodySchema,
}

/// The way to a value; told step by step only where something is wrong there.
#[derive(Clone, Copy)]
enum Loc<'a> {
    Body,
    Name(&'a Loc<'a>, &'a str),
    Index(&'a Loc<'a>, usize),
}

impl Loc<'_> {
    fn steps(self) -> Vec<LocStep> {
        let (before, step) = match self {
            Self::Body => return vec!["body".into()],
            Self::Name(before, name) => (before, LocStep::Name(name.to_owned().into())),
            Self::Index(before, index) => (before, LocStep::Index(index)),
        };
        let mut steps = before.steps();
        steps.push(step);
        steps
    }
}

impl BodySchema {
    /// The shape that a schema without references describes.
    pub fn of(schema: &Value) -> Self {
        let schema = without_null(schema);
        if let Some(permitted) = permitted(schema) {
            return Self::OneOf(permitted);
        }
        let limit = |name: &str| schema.get(name).and_then(Value::as_u64);
        #[allow(clippy::cast_possible_truncation, reason = "bounds are small")]
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64).map(|bound| bound as i64);
        let shape_of =
            |name: &str| schema.get(name).filter(|schema| schema.is_object()).map(Self::of).map(Box::new);
        match type_of(schema) {
            Some("object") => match schema.get("properties").and_then(Value::as_object) {
                Some(fields) => Self::Object(fields_of(schema, fields)),
                None => Self::Map {
                    entry: shape_of("additionalProperties"),
                    entries_max: limit("maxProperties"),
                    bytes_max: limit(BYTES_MAX),
                },
            },
            Some("array") => Self::List {
                item: shape_of("items"),
                items_min: limit("minItems"),
                items_max: limit("maxItems"),
            },
            Some("string") if schema.get("format").and_then(Value::as_str) == Some("uuid") => Self::Uuid,
            Some("string") => Self::Text { chars_min: limit("minLength"), chars_max: limit("maxLength") },
            Some("integer") => Self::Integer { min: bound("minimum"), max: bound("maximum") },
            Some("boolean") => Self::Boolean,
            _ => Self::Anything,
        }
    }

    /// Checks a body, noting every violation, and spells it as its type wants it: numeric strings become
    /// integers, an optional null goes.
    pub fn check_body(&self, body: &mut Value, violations: &mut Vec<Violation>) {
        self.check(body, Loc::Body, violations);
    }

    fn check(&self, value: &mut Value, loc: Loc<'_>, violations: &mut Vec<Violation>) {
        let fault = match self {
            Self::Object(fields) => check_object(fields, value, loc, violations),
            Self::Map { entry, entries_max, bytes_max } => {
                check_map(entry.as_deref(), (*entries_max, *bytes_max), value, loc, violations)
            }
            Self::List { item, items_min, items_max } => {
                check_list(item.as_deref(), (*items_min, *items_max), value, loc, violations)
            }
            Self::Text { chars_min, chars_max } => check_text(*chars_min, *chars_max, value),
            Self::Uuid => check_uuid(value),
            Self::Integer { min, max } => check_integer(*min, *max, value),
            Self::Boolean => check_boolean(value),
            Self::OneOf(permitted) => check_permitted(permitted, value),
            Self::Anything => None,
        };
        if let Some(fault) = fault {
            violations.push(fault.at(loc.steps()));
        }
    }

    /// Checks a value that must not be null.
    fn check_present(&self, value: &mut Value, loc: Loc<'_>, violations: &mut Vec<Violation>) {
        if value.is_null() {
            return violations.push(ViolationKind::NULL.at(loc.steps()));
        }
        self.check(value, loc, violations);
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
fn permitted(schema: &Value) -> Option<Vec<Value>> {
    if let Some(members) = schema.get("enum").and_then(Value::as_array) {
        return Some(members.iter().filter(|member| !member.is_null()).cloned().collect());
    }
    // Members with a description of their own are generated as one constant each.
    schema.get("oneOf")?.as_array()?.iter().map(|member| member.get("const").cloned()).collect()
}

fn fields_of(object: &Value, fields: &Map<String, Value>) -> Vec<Field> {
    let names = object.get("required").and_then(Value::as_array);
    let field = |(name, schema): (&String, &Value)| {
        let required = names.is_some_and(|names| names.iter().any(|other| other == name));
        let optional = !required && schema.get("default").is_none_or(Value::is_null);
        Field { name: name.clone(), required, optional, shape: BodySchema::of(schema) }
    };
    fields.iter().map(field).collect()
}

fn check_object(
    fields: &[Field],
    value: &mut Value,
    loc: Loc<'_>,
    violations: &mut Vec<Violation>,
) -> Option<ViolationKind> {
    let Value::Object(found) = value else { return Some(ViolationKind::NOT_OBJECT) };
    for Field { name, required, optional, shape } in fields {
        let loc = Loc::Name(&loc, name);
        match found.get_mut(name) {
            None if *required => violations.push(ViolationKind::MISSING.at(loc.steps())),
            None => {}
            Some(Value::Null) if *optional => drop(found.remove(name)),
            Some(field) => shape.check_present(field, loc, violations),
        }
    }
    None
}

fn check_map(
    shape: Option<&BodySchema>,
    (entries_max, bytes_max): (Option<u64>, Option<u64>),
    value: &mut Value,
    loc: Loc<'_>,
    violations: &mut Vec<Violation>,
) -> Option<ViolationKind> {
    let Value::Object(entries) = value else { return Some(ViolationKind::NOT_OBJECT) };
    if let Some(max) = entries_max.filter(|max| entries.len() as u64 > *max) {
        return Some(ViolationKind::too_many_entries(max));
    }
    let bytes = || -> usize { entries.iter().map(|(name, entry)| name.len() + text_bytes(entry)).sum() };
    if let Some(max) = bytes_max.filter(|max| bytes() as u64 > *max) {
        return Some(ViolationKind::too_many_bytes(max));
    }
    let shape = shape?;
    for (name, entry) in entries.iter_mut() {
        shape.check_present(entry, Loc::Name(&loc, name), violations);
    }
    None
}

fn text_bytes(value: &Value) -> usize {
    value.as_str().map_or(0, str::len)
}

fn check_list(
    shape: Option<&BodySchema>,
    items: (Option<u64>, Option<u64>),
    value: &mut Value,
    loc: Loc<'_>,
    violations: &mut Vec<Violation>,
) -> Option<ViolationKind> {
    let Value::Array(found) = value else { return Some(ViolationKind::NOT_LIST) };
    let count = found.len() as u64;
    match items {
        (Some(min), _) if count < min => return Some(ViolationKind::too_few_items(min)),
        (_, Some(max)) if count > max => return Some(ViolationKind::too_many_items(max)),
        _ => {}
    }
    let shape = shape?;
    for (index, item) in found.iter_mut().enumerate() {
        shape.check_present(item, Loc::Index(&loc, index), violations);
    }
    None
}

fn check_text(chars_min: Option<u64>, chars_max: Option<u64>, value: &Value) -> Option<ViolationKind> {
    let Some(text) = value.as_str() else { return Some(ViolationKind::NOT_STRING) };
    let chars = text.chars().count() as u64;
    match (chars_min, chars_max) {
        (Some(min), _) if chars < min => Some(ViolationKind::too_short(min)),
        (_, Some(max)) if chars > max => Some(ViolationKind::too_long(max)),
        _ => None,
    }
}

fn check_uuid(value: &mut Value) -> Option<ViolationKind> {
    let Some(text) = value.as_str() else { return Some(ViolationKind::NOT_STRING) };
    let Ok(uuid) = Uuid::parse_str(text) else { return Some(ViolationKind::NOT_UUID) };
    *value = Value::String(uuid.to_string());
    None
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

fn check_integer(min: Option<i64>, max: Option<i64>, value: &mut Value) -> Option<ViolationKind> {
    let Some(number) = as_integer(value) else { return Some(ViolationKind::NOT_INTEGER) };
    *value = number.into();
    match (min, max) {
        (Some(min), _) if number < min => Some(ViolationKind::too_small(min)),
        (_, Some(max)) if number > max => Some(ViolationKind::too_large(max)),
        _ => None,
    }
}

fn check_boolean(value: &mut Value) -> Option<ViolationKind> {
    let spelled = match &*value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) => parse_bool(text),
        Value::Number(number) => parse_bool(&number.to_string()),
        _ => None,
    };
    let Some(flag) = spelled else { return Some(ViolationKind::NOT_BOOLEAN) };
    *value = flag.into();
    None
}

fn check_permitted(permitted: &[Value], value: &mut Value) -> Option<ViolationKind> {
    if permitted.iter().any(Value::is_i64)
        && let Some(number) = as_integer(value)
    {
        *value = number.into();
    }
    if permitted.contains(value) {
        return None;
    }
    let shown = permitted.iter().map(|member| match member {
        Value::String(name) => format!("'{name}'"),
        other => other.to_string(),
    });
    Some(ViolationKind::not_permitted(shown))
}
