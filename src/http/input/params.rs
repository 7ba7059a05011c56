//! Path and query parameters: parsed once, at the edge, into types that are valid by existing.

use std::borrow::Cow;
use std::net::IpAddr;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use uuid::Uuid;

use super::violation::{Violation, ViolationKind, parse_bool, parse_integer};
use crate::domain::ids::{LengthError, PLATFORM_SESSION_ID_CHARS_MAX, SESSION_ID_CHARS_MAX};
use crate::domain::session::rights::Right;
use crate::domain::{Platform, PlatformSessionId, PlayerUuid, SessionId};

/// Stands for an empty path segment while the router matches, since it takes no empty ones. It cannot come from
/// a request: paths hold no control characters.
pub const EMPTY_SEGMENT: &str = "\u{1}";

/// The parameters of one request, as they came.
pub struct RawParams<'a> {
    /// Path parameters, still percent-encoded.
    pub path: matchit::Params<'a, 'a>,
    /// The query, still encoded.
    pub query: Option<&'a str>,
    /// Sessions that the path names by a short code, by parameter.
    pub by_short_code: Vec<(&'static str, SessionId)>,
    /// The address of whom the request comes from.
    pub client: Option<IpAddr>,
}

/// The path parameters that name a session, by id or by short code.
pub const SESSION_PARAMS: [&str; 3] = ["session_id", "invited_session_id", "kicked_session_id"];

/// A parameter's value, decoded; an error where it is not UTF-8.
pub type RawValue<'a> = Option<Result<Cow<'a, str>, ViolationKind>>;

impl RawParams<'_> {
    fn path(&self, name: &str) -> RawValue<'_> {
        if let Some((_, id)) = self.by_short_code.iter().find(|(param, _)| *param == name) {
            return Some(Ok(Cow::Borrowed(id.as_str())));
        }
        let raw = self.path.get(name)?;
        if raw == EMPTY_SEGMENT {
            return Some(Ok(Cow::Borrowed("")));
        }
        // Hardly any is encoded, and what is not needs no second look.
        if !raw.contains('%') {
            return Some(Ok(Cow::Borrowed(raw)));
        }
        Some(percent_decode_str(raw).decode_utf8().map_err(|_| ViolationKind::NOT_UTF8))
    }

    /// The last value given, as the contract's framework takes it.
    fn query(&self, name: &str) -> RawValue<'_> {
        let pairs = form_urlencoded::parse(self.query?.as_bytes());
        pairs.filter(|(key, _)| key == name).last().map(|(_, value)| Ok(value))
    }
}

/// The type of a parameter.
pub trait Param: Sized {
    /// The value of this text.
    fn parse(text: &str) -> Result<Self, ViolationKind>;

    /// The value where none is given; `None` where one must be.
    fn absent() -> Option<Self> {
        None
    }

    /// What the API document says of it.
    fn schema(generator: &mut SchemaGenerator) -> Schema;
}

impl Param for Platform {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        let names = || Self::ALL.iter().map(|platform| format!("'{platform}'"));
        Self::from_str(text).map_err(|()| ViolationKind::not_permitted(names()))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Self>()
    }
}

fn length_fault(error: LengthError) -> ViolationKind {
    match error {
        LengthError::TooShort => ViolationKind::too_short(1),
        LengthError::TooLong(chars_max) => ViolationKind::too_long(chars_max as u64),
    }
}

impl Param for SessionId {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        Self::parse(text).map_err(length_fault)
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "maxLength": SESSION_ID_CHARS_MAX })
    }
}

impl Param for PlatformSessionId {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        Self::parse(text).map_err(length_fault)
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "maxLength": PLATFORM_SESSION_ID_CHARS_MAX })
    }
}

impl Param for PlayerUuid {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        Uuid::parse_str(text).map(Self).map_err(|_| ViolationKind::NOT_UUID)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        <Uuid as JsonSchema>::json_schema(generator)
    }
}

impl Param for Uuid {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        Self::parse_str(text).map_err(|_| ViolationKind::NOT_UUID)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        <Self as JsonSchema>::json_schema(generator)
    }
}

impl Param for String {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        Ok(text.to_owned())
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// Whether asking for a session keeps it alive; yes unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshTtl(pub bool);

impl Param for RefreshTtl {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        parse_bool(text).map(Self).ok_or(ViolationKind::NOT_BOOLEAN)
    }

    fn absent() -> Option<Self> {
        Some(Self(true))
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "boolean", "default": true })
    }
}

impl Param for i64 {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        parse_integer(text).ok_or(ViolationKind::NOT_INTEGER)
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer" })
    }
}

/// A whole number within bounds.
fn parse_between(text: &str, min: i64, max: i64) -> Result<i64, ViolationKind> {
    let number = i64::parse(text)?;
    if number < min {
        Err(ViolationKind::too_small(min))
    } else if number > max {
        Err(ViolationKind::too_large(max))
    } else {
        Ok(number)
    }
}

/// Index of a team.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TeamId(pub usize);

impl Param for TeamId {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        let index = parse_between(text, 0, i64::MAX)?;
        Ok(Self(usize::try_from(index).unwrap_or(usize::MAX)))
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 0 })
    }
}

/// Where a page begins: 0, or what the page before named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(pub u64);

impl Param for Cursor {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        parse_between(text, 0, i64::MAX).map(|cursor| Self(cursor.unsigned_abs()))
    }

    fn absent() -> Option<Self> {
        Some(Self(0))
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 0, "default": 0 })
    }
}

/// Most entries of a page (contract: `page_size`).
const PAGE_SIZE_MAX: i64 = 50;

/// How many entries a page shall have at most: 1 to 50.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize(pub usize);

impl Param for PageSize {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        let size = parse_between(text, 1, PAGE_SIZE_MAX)?;
        Ok(Self(usize::try_from(size).unwrap_or(1)))
    }

    fn absent() -> Option<Self> {
        usize::try_from(PAGE_SIZE_MAX).ok().map(Self)
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": PAGE_SIZE_MAX, "default": PAGE_SIZE_MAX })
    }
}

impl Param for Right {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        let found = Self::ALL.into_iter().find(|right| right.name() == text);
        found.ok_or_else(|| {
            ViolationKind::not_permitted(Self::ALL.iter().map(|right| format!("'{}'", right.name())))
        })
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Self>()
    }
}

/// A region to look in; absent, any. 1 to 128 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionId(pub Option<String>);

impl Param for RegionId {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        short_text(text).map(|text| Self(Some(text)))
    }

    fn absent() -> Option<Self> {
        Some(Self(None))
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        short_text_schema()
    }
}

/// An allocation's id: 1 to 128 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocationId(pub String);

impl Param for AllocationId {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        short_text(text).map(Self)
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        short_text_schema()
    }
}

/// Longest text of those that the contract keeps short, in characters.
const SHORT_TEXT_CHARS_MAX: usize = 128;

/// A text of 1 to 128 characters.
fn short_text(text: &str) -> Result<String, ViolationKind> {
    match text.chars().count() {
        0 => Err(ViolationKind::too_short(1)),
        1..=SHORT_TEXT_CHARS_MAX => Ok(text.to_owned()),
        _ => Err(ViolationKind::too_long(SHORT_TEXT_CHARS_MAX as u64)),
    }
}

fn short_text_schema() -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": SHORT_TEXT_CHARS_MAX })
}

/// A player's or host's word on why they do something: 1 to 128 characters; logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(pub Option<String>);

impl Param for Reason {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        short_text(text).map(|text| Self(Some(text)))
    }

    fn absent() -> Option<Self> {
        Some(Self(None))
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        short_text_schema()
    }
}

/// What the API document says of a parameter.
pub struct ParamDoc {
    /// Its name.
    pub name: &'static str,
    /// Where it stands: `path` or `query`.
    pub place: &'static str,
    /// What it means.
    pub description: &'static str,
    /// Whether it must be given.
    pub required: bool,
    /// Its type and limits.
    pub schema: Schema,
}

/// All parameters of one place.
pub trait Params: Sized + Send + 'static {
    /// Reads them; notes every violation, and is `None` if there was any.
    fn read(raw: &RawParams<'_>, violations: &mut Vec<Violation>) -> Option<Self>;

    /// What the API document says of them.
    fn describe(generator: &mut SchemaGenerator) -> Vec<ParamDoc>;
}

impl Params for () {
    fn read(_: &RawParams<'_>, _: &mut Vec<Violation>) -> Option<Self> {
        Some(())
    }

    fn describe(_: &mut SchemaGenerator) -> Vec<ParamDoc> {
        Vec::new()
    }
}

/// Reads one parameter.
pub fn read_param<T: Param>(
    raw: RawValue<'_>,
    place: &'static str,
    name: &'static str,
    violations: &mut Vec<Violation>,
) -> Option<T> {
    let value = match raw {
        Some(text) => text.and_then(|text| T::parse(&text)),
        None => T::absent().ok_or(ViolationKind::MISSING),
    };
    value.map_err(|fault| violations.push(fault.at([place.into(), name.into()]))).ok()
}

/// Reads a raw parameter of a place; what `params!` expands to.
pub fn raw_param<'a>(raw: &'a RawParams<'_>, place: &str, name: &str) -> RawValue<'a> {
    if place == "path" { raw.path(name) } else { raw.query(name) }
}

/// Declares the parameters of a place: the struct, how it is read and how it is described, in one.
macro_rules! params {
    ($(#[doc = $about:literal])* $name:ident in $place:literal { $(#[doc = $doc:literal] $field:ident: $type:ty,)* }) => {
        $(#[doc = $about])*
        pub struct $name { $(#[doc = $doc] pub $field: $type,)* }

        impl $crate::http::input::params::Params for $name {
            fn read(
                raw: &$crate::http::input::params::RawParams<'_>,
                violations: &mut Vec<$crate::http::input::violation::Violation>,
            ) -> Option<Self> {
                use $crate::http::input::params::{raw_param, read_param};
                $(let $field = read_param(
                    raw_param(raw, $place, stringify!($field)), $place, stringify!($field), violations,
                );)*
                Some(Self { $($field: $field?,)* })
            }

            fn describe(generator: &mut schemars::SchemaGenerator) -> Vec<$crate::http::input::params::ParamDoc> {
                use $crate::http::input::params::{Param, ParamDoc};
                vec![$(ParamDoc {
                    name: stringify!($field),
                    place: $place,
                    description: $doc.trim_ascii(),
                    required: <$type as Param>::absent().is_none(),
                    schema: <$type as Param>::schema(generator),
                },)*]
            }
        }
    };
}
pub(crate) use params;

params! {
    /// The query of operations that keep a session alive.
    RefreshQuery in "query" {
        /// Whether this request keeps the session alive.
        refresh_ttl: RefreshTtl,
    }
}

params! {
    /// The path of a session.
    SessionPath in "path" {
        /// The session.
        session_id: SessionId,
    }
}

params! {
    /// The path of a player of a session.
    PlayerInSessionPath in "path" {
        /// The session.
        session_id: SessionId,
        /// The player.
        player_uuid: PlayerUuid,
    }
}
