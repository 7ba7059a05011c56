//! What is wrong with a request, in the words that clients of this contract already read (its 422 body).

use std::borrow::Cow;
use std::num::IntErrorKind;

use schemars::JsonSchema;
use serde::Serialize;

/// One step on the way to what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum LocStep {
    /// A place, parameter or field.
    Name(Cow<'static, str>),
    /// An element of a list, or a byte of a broken body.
    Index(usize),
}

impl From<&'static str> for LocStep {
    fn from(name: &'static str) -> Self {
        Self::Name(Cow::Borrowed(name))
    }
}

/// One thing that is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "ValidationError")]
pub struct Violation {
    /// Where: `path`, `query`, `header` or `body`, and on from there.
    pub loc: Vec<LocStep>,
    /// What, for people.
    pub msg: String,
    /// What, for programs.
    #[serde(rename = "type")]
    pub kind: &'static str,
}

/// The 422 body.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "HTTPValidationError")]
pub struct ValidationBody {
    /// Everything that is wrong with the request.
    pub detail: Vec<Violation>,
}

/// What is wrong with a value, wherever it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViolationKind {
    /// For people.
    pub msg: Cow<'static, str>,
    /// For programs.
    pub kind: &'static str,
}

impl ViolationKind {
    const fn fixed(msg: &'static str, kind: &'static str) -> Self {
        Self { msg: Cow::Borrowed(msg), kind }
    }

    /// A field that must be there is not.
    pub const MISSING: Self = Self::fixed("field required", "value_error.missing");
    /// A null where no null may be.
    pub const NULL: Self = Self::fixed("none is not an allowed value", "type_error.none.not_allowed");
    /// Not an object.
    pub const NOT_OBJECT: Self = Self::fixed("value is not a valid dict", "type_error.dict");
    /// Not a list.
    pub const NOT_LIST: Self = Self::fixed("value is not a valid list", "type_error.list");
    /// Not a string.
    pub const NOT_STRING: Self = Self::fixed("str type expected", "type_error.str");
    /// Not a whole number.
    pub const NOT_INTEGER: Self = Self::fixed("value is not a valid integer", "type_error.integer");
    /// Not a boolean, nor one of its spellings.
    pub const NOT_BOOLEAN: Self = Self::fixed("value could not be parsed to a boolean", "type_error.bool");
    /// Not a UUID.
    pub const NOT_UUID: Self = Self::fixed("value is not a valid uuid", "type_error.uuid");
    /// Bytes that are no text.
    pub const NOT_UTF8: Self = Self::fixed("invalid utf-8 sequence", "value_error.unicodedecode");

    /// Not one of these, as they are to be shown.
    pub fn not_permitted(permitted: impl Iterator<Item = String>) -> Self {
        let permitted = permitted.collect::<Vec<_>>().join(", ");
        let msg = format!("value is not a valid enumeration member; permitted: {permitted}");
        Self { msg: msg.into(), kind: "type_error.enum" }
    }

    /// Fewer characters than this.
    pub fn too_short(chars_min: u64) -> Self {
        let msg = format!("ensure this value has at least {chars_min} characters");
        Self { msg: msg.into(), kind: "value_error.any_str.min_length" }
    }

    /// More characters than this.
    pub fn too_long(chars_max: u64) -> Self {
        let msg = format!("ensure this value has at most {chars_max} characters");
        Self { msg: msg.into(), kind: "value_error.any_str.max_length" }
    }

    /// Less than this.
    pub fn too_small(min: i64) -> Self {
        let msg = format!("ensure this value is greater than or equal to {min}");
        Self { msg: msg.into(), kind: "value_error.number.not_ge" }
    }

    /// More than this.
    pub fn too_large(max: i64) -> Self {
        let msg = format!("ensure this value is less than or equal to {max}");
        Self { msg: msg.into(), kind: "value_error.number.not_le" }
    }

    /// Fewer elements than this.
    pub fn too_few_items(items_min: u64) -> Self {
        let msg = format!("ensure this value has at least {items_min} items");
        Self { msg: msg.into(), kind: "value_error.list.min_items" }
    }

    /// More elements than this.
    pub fn too_many_items(items_max: u64) -> Self {
        let msg = format!("ensure this value has at most {items_max} items");
        Self { msg: msg.into(), kind: "value_error.list.max_items" }
    }

    /// An object whose names and texts take more than this. The framework has no word for it; ours is built like its
    /// others.
    pub fn too_many_bytes(bytes_max: u64) -> Self {
        let msg = format!("ensure this value has at most {bytes_max} bytes");
        Self { msg: msg.into(), kind: "value_error.dict.max_bytes" }
    }

    /// More entries than this. The framework has no word for it; ours is built like its others.
    pub fn too_many_entries(entries_max: u64) -> Self {
        let msg = format!("ensure this value has at most {entries_max} items");
        Self { msg: msg.into(), kind: "value_error.dict.max_items" }
    }

    /// The fault, at its place.
    pub fn at(self, loc: impl IntoIterator<Item = LocStep>) -> Violation {
        Violation { loc: loc.into_iter().collect(), msg: self.msg.into_owned(), kind: self.kind }
    }
}

/// An integer; one that 64 bits cannot hold is the nearest that they can.
pub fn parse_integer(text: &str) -> Option<i64> {
    match text.trim().parse::<i64>() {
        Ok(number) => Some(number),
        Err(error) => match error.kind() {
            IntErrorKind::PosOverflow => Some(i64::MAX),
            IntErrorKind::NegOverflow => Some(i64::MIN),
            _ => None,
        },
    }
}

/// A boolean in any of the spellings that queries (and, leniently, bodies) may use.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "on" | "yes" | "t" | "y" => Some(true),
        "false" | "0" | "off" | "no" | "f" | "n" => Some(false),
        _ => None,
    }
}
