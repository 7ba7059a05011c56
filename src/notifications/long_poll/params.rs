//! The query of a long poll.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::http::input::param_types::parse_between;
use crate::http::input::params::{Param, params};
use crate::http::input::violation::ViolationKind;
use crate::notifications::wire::{MaybeId, PageSize};

/// Longest and default deadline, in seconds (contract: `deadline`).
const DEADLINE_S_MAX: i64 = 900;
const DEADLINE_S_DEFAULT: i64 = 30;

params! {
    /// Query of a long poll.
    LongPollQuery in "query" {
        /// Largest number of notifications in the answer.
        max_page_size: PageSize,
        /// Where to continue: the id of the last notification that the client has, or the `cursor` of the last answer.
        exclude_before: MaybeId,
        /// Where to begin without `exclude_before`, or if it is not of this player: with what changes from now on and has changed just now, or with everything that there is.
        offset_reset_strategy: OffsetReset,
        /// After how many seconds the answer comes, also if there is nothing to tell. The server may hold it for a shorter time.
        deadline: Deadline,
    }
}

/// Where to begin. The default is `latest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetReset {
    /// With what changes from now on, and has changed just now.
    Latest,
    /// With everything that there is.
    Earliest,
}

impl JsonSchema for OffsetReset {
    fn schema_name() -> Cow<'static, str> {
        "OffsetReset".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": ["latest", "earliest"] })
    }
}

impl Param for OffsetReset {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        match text {
            "latest" => Ok(Self::Latest),
            "earliest" => Ok(Self::Earliest),
            _ => Err(ViolationKind::not_permitted(["'latest'", "'earliest'"].map(str::to_owned).into_iter())),
        }
    }

    fn absent() -> Option<Self> {
        Some(Self::Latest)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = generator.subschema_for::<Self>();
        schema.insert("default".to_owned(), "latest".into());
        schema
    }
}

/// After how many seconds the answer comes at the latest. The default is 30.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(pub i64);

impl Param for Deadline {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        parse_between(text, 0, DEADLINE_S_MAX).map(Self)
    }

    fn absent() -> Option<Self> {
        Some(Self(DEADLINE_S_DEFAULT))
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 0, "maximum": DEADLINE_S_MAX, "default": DEADLINE_S_DEFAULT })
    }
}
