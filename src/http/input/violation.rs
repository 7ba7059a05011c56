//! Violations: the errors in the input of a request. Texts and types are those of the contract's framework, which
//! clients already read in its 422 bodies.

use std::borrow::Cow;
use std::num::IntErrorKind;

use schemars::JsonSchema;
use serde::Serialize;

/// One step of the location of a violation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum LocStep {
    /// Name of a part of the request, of a parameter, or of a field.
    Name(Cow<'static, str>),
    /// Index of an element in a list, or of a byte in a body that is not JSON.
    Index(usize),
}

impl From<&'static str> for LocStep {
    fn from(name: &'static str) -> Self {
        Self::Name(Cow::Borrowed(name))
    }
}

/// One error in the input of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "ValidationError")]
pub struct Violation {
    /// Location of the error: `path`, `query`, `header` or `body`, and then the steps from there.
    pub loc: Vec<LocStep>,
    /// Description of the error, for people.
    pub msg: String,
    /// Type of the error, for programs.
    #[serde(rename = "type")]
    pub kind: &'static str,
}

/// The body of a 422.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "HTTPValidationError")]
pub struct ValidationBody {
    /// All errors in the input of the request.
    pub detail: Vec<Violation>,
}

/// A violation without its location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViolationKind {
    /// Description for people.
    pub msg: Cow<'static, str>,
    /// Type for programs.
    pub kind: &'static str,
}

impl ViolationKind {
    const fn fixed(msg: &'static str, kind: &'static str) -> Self {
        Self { msg: Cow::Borrowed(msg), kind }
    }

    /// A required field, parameter or body is absent.
    pub const MISSING: Self = Self::fixed("field required", "value_error.missing");
    /// Null, where null is not allowed.
    pub const NULL: Self = Self::fixed("none is not an allowed value", "type_error.none.not_allowed");
    /// Not an object.
    pub const NOT_OBJECT: Self = Self::fixed("value is not a valid dict", "type_error.dict");
    /// Not a list.
    pub const NOT_LIST: Self = Self::fixed("value is not a valid list", "type_error.list");
    /// Not a string.
    pub const NOT_STRING: Self = Self::fixed("str type expected", "type_error.str");
    /// Not an integer.
    pub const NOT_INTEGER: Self = Self::fixed("value is not a valid integer", "type_error.integer");
    /// Not a finite number.
    pub const NOT_NUMBER: Self = Self::fixed("value is not a valid float", "type_error.float");
    /// Not text in base64. The framework has no such type; this one is formed like its others.
    pub const NOT_BASE64: Self = Self::fixed("value is not valid base64", "value_error.base64");
    /// Neither a boolean nor one of its spellings.
    pub const NOT_BOOLEAN: Self = Self::fixed("value could not be parsed to a boolean", "type_error.bool");
    /// An element that occurs twice in a list.
    pub const NOT_UNIQUE: Self =
        Self::fixed("the list has duplicated items", "value_error.list.unique_items");
    /// Not a time with a zone, nor a Unix timestamp.
    pub const NOT_DATETIME: Self = Self::fixed("invalid datetime format", "value_error.datetime");
    /// Not a UUID.
    pub const NOT_UUID: Self = Self::fixed("value is not a valid uuid", "type_error.uuid");
    /// Bytes that are not UTF-8.
    pub const NOT_UTF8: Self = Self::fixed("invalid utf-8 sequence", "value_error.unicodedecode");

    /// Not a list of entity tags, nor `*`.
    pub const NOT_ENTITY_TAGS: Self =
        Self::fixed("value is neither a list of entity tags nor *", "value_error.entity_tags");
    /// Not one idempotency key.
    pub const NOT_IDEMPOTENCY_KEY: Self = Self::fixed(
        "value is not one key of 1 to 255 visible ASCII characters, in quotes or without",
        "value_error.idempotency_key",
    );
    /// An idempotency key that was used for another request.
    pub const IDEMPOTENCY_KEY_REUSED: Self = Self::fixed(
        "this key was used for another request; use a new one",
        "value_error.idempotency_key_reused",
    );

    /// None of the permitted values, which are given as the text shows them.
    pub fn not_permitted(permitted: impl Iterator<Item = String>) -> Self {
        let permitted = permitted.collect::<Vec<_>>().join(", ");
        let msg = format!("value is not a valid enumeration member; permitted: {permitted}");
        Self { msg: msg.into(), kind: "type_error.enum" }
    }

    /// Fewer characters than this minimum.
    pub fn too_short(chars_min: u64) -> Self {
        let msg = format!("ensure this value has at least {chars_min} characters");
        Self { msg: msg.into(), kind: "value_error.any_str.min_length" }
    }

    /// More characters than this maximum.
    pub fn too_long(chars_max: u64) -> Self {
        let msg = format!("ensure this value has at most {chars_max} characters");
        Self { msg: msg.into(), kind: "value_error.any_str.max_length" }
    }

    /// A number below this minimum.
    pub fn too_small(min: i64) -> Self {
        let msg = format!("ensure this value is greater than or equal to {min}");
        Self { msg: msg.into(), kind: "value_error.number.not_ge" }
    }

    /// A number above this maximum.
    pub fn too_large(max: i64) -> Self {
        let msg = format!("ensure this value is less than or equal to {max}");
        Self { msg: msg.into(), kind: "value_error.number.not_le" }
    }

    /// Fewer elements than this minimum.
    pub fn too_few_items(items_min: u64) -> Self {
        let msg = format!("ensure this value has at least {items_min} items");
        Self { msg: msg.into(), kind: "value_error.list.min_items" }
    }

    /// More elements than this maximum.
    pub fn too_many_items(items_max: u64) -> Self {
        let msg = format!("ensure this value has at most {items_max} items");
        Self { msg: msg.into(), kind: "value_error.list.max_items" }
    }

    /// An object whose names and texts together have more bytes than this maximum. The framework has no such type; this
    /// one is formed like its others.
    pub fn too_many_bytes(bytes_max: u64) -> Self {
        let msg = format!("ensure this value has at most {bytes_max} bytes");
        Self { msg: msg.into(), kind: "value_error.dict.max_bytes" }
    }

    /// More entries than this maximum. The framework has no such type; this one is formed like its others.
    pub fn too_many_entries(entries_max: u64) -> Self {
        let msg = format!("ensure this value has at most {entries_max} items");
        Self { msg: msg.into(), kind: "value_error.dict.max_items" }
    }

    /// A name in an object that starts with this text, which is reserved. The framework has no such type; this one is
    /// formed like its others.
    pub fn reserved_name(prefix: &str) -> Self {
        let msg = format!("names that start with '{prefix}' are reserved for the server");
        Self { msg: msg.into(), kind: "value_error.dict.reserved_name" }
    }

    /// A time before that of another field, which it must not come before. The framework has no such type; this one is
    /// formed like its others.
    pub fn before_time_of(field: &str) -> Self {
        Self { msg: format!("this time is before {field}").into(), kind: "value_error.date.order" }
    }

    /// The same element twice, or more often. The framework has no such type; this one is formed like its others.
    pub const REPEATED: Self = Self::fixed("value is in the list already", "value_error.list.unique_items");

    /// The violation at a location.
    pub fn at(self, loc: impl IntoIterator<Item = LocStep>) -> Violation {
        Violation { loc: loc.into_iter().collect(), msg: self.msg.into_owned(), kind: self.kind }
    }
}

/// Parses an integer, perhaps with single underscores between digits, as Python does. One that does not fit into 64
/// bits becomes the nearest that does.
pub fn parse_integer(text: &str) -> Option<i64> {
    let text = text.trim();
    let is_between_digits = |(at, _): (usize, &str)| {
        let [before, after] = [at.checked_sub(1), at.checked_add(1)].map(|at| text.as_bytes().get(at?));
        [before, after].iter().all(|byte| byte.is_some_and(u8::is_ascii_digit))
    };
    if !text.match_indices('_').all(is_between_digits) {
        return None;
    }
    match text.replace('_', "").parse::<i64>() {
        Ok(number) => Some(number),
        Err(error) => match error.kind() {
            IntErrorKind::PosOverflow => Some(i64::MAX),
            IntErrorKind::NegOverflow => Some(i64::MIN),
            _ => None,
        },
    }
}

/// Parses a boolean, in any of the spellings that queries and bodies may use.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "on" | "yes" | "t" | "y" => Some(true),
        "false" | "0" | "off" | "no" | "f" | "n" => Some(false),
        _ => None,
    }
}
