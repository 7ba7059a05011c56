//! The wire types that several operations share, and their conversions from and to domain types. They import no
//! handler.

pub mod backfill;
pub mod client;
pub mod instance;
pub mod listing;
pub mod match_made;
pub mod match_making;
pub mod platform;
pub mod player;
pub mod queue;
pub mod session;
pub mod view;

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::domain::instance::RESERVED_PREFIX as INSTANCE_PREFIX;
use crate::domain::limits::{CUSTOM_DATA_BYTES_MAX, CUSTOM_DATA_ENTRIES_MAX, CUSTOM_DATA_VALUE_CHARS_MAX};
use crate::domain::{CustomData, Platform};
use crate::http::input::schema::{BYTES_MAX, RESERVED_PREFIX};

/// A `custom_data` map on the wire.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CustomDataBody(pub CustomData);

impl CustomDataBody {
    /// Whether it has no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl JsonSchema for CustomDataBody {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CustomData".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": { "type": "string", "minLength": 1, "maxLength": CUSTOM_DATA_VALUE_CHARS_MAX },
            "maxProperties": CUSTOM_DATA_ENTRIES_MAX,
            BYTES_MAX: CUSTOM_DATA_BYTES_MAX,
        })
    }
}

/// A `custom_data` map of an instance in a request. Some of its names are reserved for the server.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceDataBody(pub CustomData);

impl JsonSchema for InstanceDataBody {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "InstanceCustomData".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = CustomDataBody::json_schema(generator);
        schema.insert(RESERVED_PREFIX.into(), INSTANCE_PREFIX.into());
        schema
    }
}

/// The deprecated number of a platform (contract: `PlatformID`).
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlatformNumber(pub u8);

impl JsonSchema for PlatformNumber {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PlatformID".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let numbers: std::collections::BTreeSet<u8> =
            Platform::ALL.into_iter().filter_map(Platform::legacy_id).collect();
        json_schema!({ "type": "integer", "enum": numbers, "deprecated": true })
    }
}

/// A JSON object with arbitrary names, in the order of these names.
pub type Named<T> = BTreeMap<String, T>;

/// The team that a join requests. Published clients send 0, the contract's default, with every join, so 0 requests no
/// team.
pub fn requested_team(team_id: u64) -> Option<usize> {
    (team_id > 0).then(|| team_index(team_id))
}

/// Converts a `team_id` of a request to an index. A number that does not fit is the index of no team, like
/// `usize::MAX`.
pub fn team_index(team_id: u64) -> usize {
    usize::try_from(team_id).unwrap_or(usize::MAX)
}
