//! The types of path and query parameters, and the parameters that several operations share. A value of such a type is
//! always valid.

use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use uuid::Uuid;

use super::conversion::as_time;
use super::params::{Param, params};
use super::violation::{ViolationKind, parse_bool, parse_integer};
use crate::domain::ids::{LengthError, PLATFORM_SESSION_ID_CHARS_MAX, SESSION_ID_CHARS_MAX};
use crate::domain::matchmaking::ticket::TicketEnd;
use crate::domain::session::rights::Right;
use crate::domain::{Platform, PlatformSessionId, PlayerUuid, SessionId};

impl Param for Platform {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        let names = || Self::ALL.iter().map(|platform| format!("'{platform}'"));
        Self::from_str(text).map_err(|()| ViolationKind::not_permitted(names()))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Self>()
    }
}

fn length_violation(error: LengthError) -> ViolationKind {
    match error {
        LengthError::TooShort => ViolationKind::too_short(1),
        LengthError::TooLong(chars_max) => ViolationKind::too_long(chars_max as u64),
    }
}

impl Param for SessionId {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        Self::parse(text).map_err(length_violation)
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "maxLength": SESSION_ID_CHARS_MAX })
    }
}

impl Param for PlatformSessionId {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        Self::parse(text).map_err(length_violation)
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

/// Whether the request keeps the session alive. The default is true.
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

/// Parses an integer from `min` to `max`.
///
/// # Errors
/// The violation, if the text is no integer or out of range.
pub fn parse_between(text: &str, min: i64, max: i64) -> Result<i64, ViolationKind> {
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

/// Start of a page: 0, or the `cursor` of the previous page. The default is 0.
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

/// Number of a page, from 0. The default is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageNumber(pub usize);

impl Param for PageNumber {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        let number = parse_between(text, 0, i64::MAX)?;
        Ok(Self(usize::try_from(number).unwrap_or(usize::MAX)))
    }

    fn absent() -> Option<Self> {
        Some(Self(0))
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 0, "default": 0 })
    }
}

/// A time in milliseconds since the epoch: a text with a zone, or a Unix timestamp in seconds, or in milliseconds if it is
/// above 2e10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeMs(pub i64);

impl Param for TimeMs {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        // In a query, an unescaped `+` of the zone reads as a space.
        let with_zone = text.rsplit_once(' ').filter(|(time, _)| time.contains(':'));
        let with_zone = with_zone.map(|(time, zone)| format!("{time}+{zone}"));
        let time = as_time(&with_zone.as_deref().unwrap_or(text).into());
        time.map(|time| Self(time.as_millisecond())).ok_or(ViolationKind::NOT_DATETIME)
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// Largest number of entries on the requested page: 1 to `MAX`, and by default `DEFAULT`. Those of most pages are those
/// of the contract of the session API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize<const MAX: i64 = 50, const DEFAULT: usize = 50>(pub usize);

impl<const MAX: i64, const DEFAULT: usize> Param for PageSize<MAX, DEFAULT> {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        let size = parse_between(text, 1, MAX)?;
        Ok(Self(usize::try_from(size).unwrap_or(1)))
    }

    fn absent() -> Option<Self> {
        Some(Self(DEFAULT))
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": MAX, "default": DEFAULT })
    }
}

impl Param for Right {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        let found = Self::ALL.into_iter().find(|right| right.name() == text);
        let names = || Self::ALL.iter().map(|right| format!("'{}'", right.name()));
        found.ok_or_else(|| ViolationKind::not_permitted(names()))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Self>()
    }
}

impl Param for TicketEnd {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        let found = Self::ALL.into_iter().find(|end| end.name() == text);
        let names = || Self::ALL.iter().map(|end| format!("'{}'", end.name()));
        found.ok_or_else(|| ViolationKind::not_permitted(names()))
    }

    fn absent() -> Option<Self> {
        Some(Self::LeftQueue)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = generator.subschema_for::<Self>();
        schema.insert("default".into(), Self::LeftQueue.name().into());
        schema
    }
}

/// Id of a region, 1 to 128 characters; `None` means any region.
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

/// Id of an allocation: 1 to 128 characters.
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

/// Id of a matchmaking profile: 1 to 128 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileId(pub String);

impl Param for ProfileId {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        short_text(text).map(Self)
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        short_text_schema()
    }
}

/// Largest length of ids and reasons in the contract, in characters.
const SHORT_TEXT_CHARS_MAX: usize = 128;

/// Parses a text of 1 to 128 characters.
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

/// Reason for leaving or kicking, 1 to 128 characters. The server writes it to its log.
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

params! {
    /// Query of operations that can keep a session alive.
    RefreshQuery in "query" {
        /// Whether this request keeps the session alive.
        refresh_ttl: RefreshTtl,
    }
}

params! {
    /// Path of a session.
    SessionPath in "path" {
        /// Session id, or a short code of the session.
        session_id: SessionId,
    }
}

params! {
    /// Path of a player of a session.
    PlayerInSessionPath in "path" {
        /// Session id, or a short code of the session.
        session_id: SessionId,
        /// Player UUID.
        player_uuid: PlayerUuid,
    }
}
