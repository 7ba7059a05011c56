//! The check of request bodies. It uses the schemas that the API document publishes, so that the server enforces what
//! it documents. Each schema is converted once, to a [`BodySchema`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::conversion::{as_boolean, as_integer, as_number, as_text, as_time};
use super::violation::{LocStep, Violation, ViolationKind};

/// A schema keyword of this project: the largest size of an object in bytes, its texts and the names in its maps
/// together.
pub const BYTES_MAX: &str = "x-bytes-max";

/// A schema keyword of this project: names of a map that start with this text are reserved for the server.
pub const RESERVED_PREFIX: &str = "x-reserved-prefix";

/// A schema keyword of this project: what null means in a field that need not be there. Without it, null means the same
/// as no field.
const NULL_AS: &str = "x-null-as";

/// The schema of a value.
#[derive(Debug)]
pub enum BodySchema {
    /// An object with these fields. Other fields are ignored.
    Object { fields: Vec<Field>, bytes_max: Option<u64> },
    /// An object with arbitrary names, whose values all have one schema.
    Map { value: Option<Box<BodySchema>>, limits: MapLimits },
    /// A list whose items all have one schema.
    List { item: Option<Box<BodySchema>>, items_min: Option<u64>, items_max: Option<u64> },
    /// A text of a limited length, in characters.
    Text { chars_min: Option<u64>, chars_max: Option<u64>, is_base64: bool },
    /// A UUID.
    Uuid,
    /// A time.
    Time,
    /// An integer.
    Integer { min: Option<i64>, max: Option<i64> },
    /// A finite number.
    Number,
    /// A boolean.
    Boolean,
    /// One of these values.
    OneOf(Vec<Value>),
    /// Any value.
    Anything,
}

/// The limits of a map.
#[derive(Debug)]
pub struct MapLimits {
    entries_max: Option<u64>,
    /// Length of a name, in characters.
    name_chars_min: Option<u64>,
    name_chars_max: Option<u64>,
    /// Of names and texts together.
    bytes_max: Option<u64>,
    /// The start of names that requests cannot use.
    reserved_prefix: Option<String>,
}

/// A field of an object.
#[derive(Debug)]
pub struct Field {
    name: String,
    required: bool,
    /// Whether null is accepted, and then replaced by `null_as`, or removed like an absent field.
    nullable: bool,
    null_as: Option<Value>,
    schema: BodySchema,
}

/// The location of a value in the body. It is a linked list on the stack, which costs nothing unless there is a
/// violation.
#[derive(Clone, Copy)]
enum Loc<'a> {
    Body,
    Name(&'a Loc<'a>, &'a str),
    Index(&'a Loc<'a>, usize),
}

impl Loc<'_> {
    fn steps(self) -> Vec<LocStep> {
        let (parent, step) = match self {
            Self::Body => return vec!["body".into()],
            Self::Name(parent, name) => (parent, LocStep::Name(name.to_owned().into())),
            Self::Index(parent, index) => (parent, LocStep::Index(index)),
        };
        let mut steps = parent.steps();
        steps.push(step);
        steps
    }
}

impl BodySchema {
    /// Converts a JSON schema without references.
    pub fn of(schema: &Value) -> Self {
        let schema = without_null(schema);
        if let Some(permitted) = permitted(schema) {
            return Self::OneOf(permitted);
        }
        let limit = |name: &str| schema.get(name).and_then(Value::as_u64);
        #[allow(clippy::cast_possible_truncation, reason = "bounds are small")]
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64).map(|bound| bound as i64);
        let of_names = |name: &str| schema.get("propertyNames")?.get(name)?.as_u64();
        let subschema = |name: &str| {
            let schema = schema.get(name).filter(|schema| schema.is_object())?;
            Some(Box::new(Self::of(schema)))
        };
        match type_of(schema) {
            Some("object") => match schema.get("properties").and_then(Value::as_object) {
                Some(fields) => {
                    Self::Object { fields: fields_of(schema, fields), bytes_max: limit(BYTES_MAX) }
                }
                None => Self::Map {
                    value: subschema("additionalProperties"),
                    limits: MapLimits {
                        entries_max: limit("maxProperties"),
                        name_chars_min: of_names("minLength"),
                        name_chars_max: of_names("maxLength"),
                        bytes_max: limit(BYTES_MAX),
                        reserved_prefix: schema.get(RESERVED_PREFIX).and_then(Value::as_str).map(Into::into),
                    },
                },
            },
            Some("array") => Self::List {
                item: subschema("items"),
                items_min: limit("minItems"),
                items_max: limit("maxItems"),
            },
            Some("string") if has_format(schema, "uuid") => Self::Uuid,
            Some("string") if has_format(schema, "date-time") => Self::Time,
            Some("string") => Self::Text {
                chars_min: limit("minLength"),
                chars_max: limit("maxLength"),
                is_base64: schema.get("contentEncoding").and_then(Value::as_str) == Some("base64"),
            },
            Some("number") => Self::Number,
            Some("integer") => Self::Integer { min: bound("minimum"), max: bound("maximum") },
            Some("boolean") => Self::Boolean,
            _ => Self::Anything,
        }
    }

    /// The schema of a list's items, and the most items; `None` if this is not a schema of lists.
    pub fn items(&self) -> Option<(&Self, usize)> {
        match self {
            Self::List { item, items_max, .. } => {
                Some((item.as_deref().unwrap_or(&ANYTHING), as_usize(*items_max)))
            }
            Self::Anything => Some((&ANYTHING, usize::MAX)),
            _ => None,
        }
    }

    /// The schema of the entry with this name in an object; `None` if such an entry is ignored.
    pub fn entry(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object { fields, .. } => {
                fields.iter().find(|field| field.name == name).map(|field| &field.schema)
            }
            Self::Map { value, .. } => Some(value.as_deref().unwrap_or(&ANYTHING)),
            Self::Anything => Some(&ANYTHING),
            _ => None,
        }
    }

    /// The most entries of an object.
    pub fn entries_max(&self) -> usize {
        match self {
            Self::Map { limits, .. } => as_usize(limits.entries_max),
            _ => usize::MAX,
        }
    }

    /// Checks a body and adds all violations. Also normalizes the body for its type: values are converted (see
    /// [`super::conversion`]), and nulls of optional fields are removed.
    pub fn check_body(&self, body: &mut Value, violations: &mut Vec<Violation>) {
        self.check(body, Loc::Body, violations);
    }

    fn check(&self, value: &mut Value, loc: Loc<'_>, violations: &mut Vec<Violation>) {
        let violation = match self {
            Self::Object { fields, bytes_max } => check_object(fields, *bytes_max, value, loc, violations),
            Self::Map { value: value_schema, limits } => {
                check_map(value_schema.as_deref(), limits, value, loc, violations)
            }
            Self::List { item, items_min, items_max } => {
                check_list(item.as_deref(), (*items_min, *items_max), value, loc, violations)
            }
            Self::Text { chars_min, chars_max, is_base64 } => {
                check_text(*chars_min, *chars_max, value).or_else(|| check_base64(*is_base64, value))
            }
            Self::Uuid => check_uuid(value),
            Self::Time => check_time(value),
            Self::Integer { min, max } => check_integer(*min, *max, value),
            Self::Number => check_number(value),
            Self::Boolean => check_boolean(value),
            Self::OneOf(permitted) => check_permitted(permitted, value),
            Self::Anything => None,
        };
        if let Some(kind) = violation {
            violations.push(kind.at(loc.steps()));
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

static ANYTHING: BodySchema = BodySchema::Anything;

/// A limit as a number; the largest one if there is none.
fn as_usize(limit: Option<u64>) -> usize {
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// The schema of the value itself, if the schema is a choice between a value and null.
fn without_null(schema: &Value) -> &Value {
    let choices = schema.get("anyOf").and_then(Value::as_array);
    let not_null = choices.and_then(|choices| choices.iter().find(|choice| type_of(choice) != Some("null")));
    not_null.unwrap_or(schema)
}

/// The type that a schema names, apart from null.
fn type_of(schema: &Value) -> Option<&str> {
    match schema.get("type")? {
        Value::String(name) => Some(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        _ => None,
    }
}

fn has_format(schema: &Value, format: &str) -> bool {
    schema.get("format").and_then(Value::as_str) == Some(format)
}

/// The members of an enumeration, in order; `None` for other schemas.
fn permitted(schema: &Value) -> Option<Vec<Value>> {
    if let Some(members) = schema.get("enum").and_then(Value::as_array) {
        return Some(members.iter().filter(|member| !member.is_null()).cloned().collect());
    }
    // If the members have descriptions, schemars generates one constant for each.
    schema.get("oneOf")?.as_array()?.iter().map(|member| member.get("const").cloned()).collect()
}

fn fields_of(object: &Value, fields: &Map<String, Value>) -> Vec<Field> {
    let required_names = object.get("required").and_then(Value::as_array);
    let field = |(name, schema): (&String, &Value)| {
        let required = required_names.is_some_and(|names| names.iter().any(|other| other == name));
        let nullable = !required && schema.get("default").is_none_or(Value::is_null);
        let null_as = schema.get(NULL_AS).cloned();
        Field { name: name.clone(), required, nullable, null_as, schema: BodySchema::of(schema) }
    };
    fields.iter().map(field).collect()
}

fn check_object(
    fields: &[Field],
    bytes_max: Option<u64>,
    value: &mut Value,
    loc: Loc<'_>,
    violations: &mut Vec<Violation>,
) -> Option<ViolationKind> {
    let Value::Object(found) = value else { return Some(ViolationKind::NOT_OBJECT) };
    for Field { name, required, nullable, null_as, schema } in fields {
        let loc = Loc::Name(&loc, name);
        match found.get_mut(name) {
            None if *required => violations.push(ViolationKind::MISSING.at(loc.steps())),
            None => {}
            Some(field @ Value::Null) if *nullable => match null_as {
                Some(meaning) => *field = meaning.clone(),
                None => drop(found.remove(name)),
            },
            Some(field) => schema.check_present(field, loc, violations),
        }
    }
    let known = fields.iter().filter_map(|field| found.get(&field.name));
    let bytes: usize = if bytes_max.is_some() { known.map(bytes_in).sum() } else { 0 };
    bytes_max.filter(|max| bytes as u64 > *max).map(ViolationKind::too_many_bytes)
}

fn check_map(
    value_schema: Option<&BodySchema>,
    limits: &MapLimits,
    value: &mut Value,
    loc: Loc<'_>,
    violations: &mut Vec<Violation>,
) -> Option<ViolationKind> {
    let Value::Object(entries) = value else { return Some(ViolationKind::NOT_OBJECT) };
    if let Some(max) = limits.entries_max.filter(|max| entries.len() as u64 > *max) {
        return Some(ViolationKind::too_many_entries(max));
    }
    let bytes: usize = entries.iter().map(|(name, entry)| name.len() + text_bytes(entry)).sum();
    if let Some(max) = limits.bytes_max.filter(|max| bytes as u64 > *max) {
        return Some(ViolationKind::too_many_bytes(max));
    }
    for name in entries.keys() {
        if let Some(kind) = length_violation(limits.name_chars_min, limits.name_chars_max, name) {
            violations.push(kind.at(Loc::Name(&loc, name).steps()));
        }
        if let Some(prefix) = limits.reserved_prefix.as_ref().filter(|prefix| name.starts_with(*prefix)) {
            violations.push(ViolationKind::reserved_name(prefix).at(Loc::Name(&loc, name).steps()));
        }
    }
    let value_schema = value_schema?;
    for (name, entry) in entries.iter_mut() {
        value_schema.check_present(entry, Loc::Name(&loc, name), violations);
    }
    None
}

/// The size of the texts in a value, and of the names in its maps, in bytes.
fn bytes_in(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(bytes_in).sum(),
        Value::Object(entries) => entries.iter().map(|(name, entry)| name.len() + bytes_in(entry)).sum(),
        text => text_bytes(text),
    }
}

/// The size of a text in bytes, or of the text that a value is converted to; 0 for other values.
fn text_bytes(value: &Value) -> usize {
    as_text(value).map_or(0, |text| text.len())
}

fn check_list(
    item_schema: Option<&BodySchema>,
    (items_min, items_max): (Option<u64>, Option<u64>),
    value: &mut Value,
    loc: Loc<'_>,
    violations: &mut Vec<Violation>,
) -> Option<ViolationKind> {
    let Value::Array(found) = value else { return Some(ViolationKind::NOT_LIST) };
    let count = found.len() as u64;
    if let Some(min) = items_min.filter(|min| count < *min) {
        return Some(ViolationKind::too_few_items(min));
    }
    if let Some(max) = items_max.filter(|max| count > *max) {
        return Some(ViolationKind::too_many_items(max));
    }
    let item_schema = item_schema?;
    for (index, item) in found.iter_mut().enumerate() {
        item_schema.check_present(item, Loc::Index(&loc, index), violations);
    }
    None
}

fn check_text(chars_min: Option<u64>, chars_max: Option<u64>, value: &mut Value) -> Option<ViolationKind> {
    let Some(text) = as_text(value) else { return Some(ViolationKind::NOT_STRING) };
    let violation = length_violation(chars_min, chars_max, &text);
    if !value.is_string() {
        *value = Value::String(text.into_owned());
    }
    violation
}

fn length_violation(chars_min: Option<u64>, chars_max: Option<u64>, text: &str) -> Option<ViolationKind> {
    let chars = text.chars().count() as u64;
    match (chars_min, chars_max) {
        (Some(min), _) if chars < min => Some(ViolationKind::too_short(min)),
        (_, Some(max)) if chars > max => Some(ViolationKind::too_long(max)),
        _ => None,
    }
}

fn check_base64(is_base64: bool, value: &Value) -> Option<ViolationKind> {
    let text = value.as_str().filter(|_| is_base64)?;
    STANDARD.decode(text).is_err().then_some(ViolationKind::NOT_BASE64)
}

fn check_uuid(value: &mut Value) -> Option<ViolationKind> {
    let Some(text) = value.as_str() else { return Some(ViolationKind::NOT_STRING) };
    let Ok(uuid) = Uuid::parse_str(text) else { return Some(ViolationKind::NOT_UUID) };
    *value = Value::String(uuid.to_string());
    None
}

fn check_time(value: &mut Value) -> Option<ViolationKind> {
    let Some(time) = as_time(value) else { return Some(ViolationKind::NOT_DATETIME) };
    *value = time.to_string().into();
    None
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

fn check_number(value: &mut Value) -> Option<ViolationKind> {
    let Some(number) = as_number(value) else { return Some(ViolationKind::NOT_NUMBER) };
    *value = number.into();
    None
}

fn check_boolean(value: &mut Value) -> Option<ViolationKind> {
    let Some(flag) = as_boolean(value) else { return Some(ViolationKind::NOT_BOOLEAN) };
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
    let names = permitted.iter().map(|member| match member {
        Value::String(name) => format!("'{name}'"),
        other => other.to_string(),
    });
    Some(ViolationKind::not_permitted(names))
}
