//! The wire types that several operations share, and how they are made from the domain's. They import no handler.

pub mod client;
pub mod instance;
pub mod listing;
pub mod platform;
pub mod player;
pub mod session;
pub mod view;

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::domain::limits::{CUSTOM_DATA_BYTES_MAX, CUSTOM_DATA_ENTRIES_MAX, CUSTOM_DATA_VALUE_CHARS_MAX};
use crate::domain::{CustomData, Platform};
use crate::http::input::schema::BYTES_MAX;

/// A `custom_data` map as clients send and read it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CustomDataBody(pub CustomData);

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

/// The deprecated number of a platform.
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

/// A map on the wire.
pub type Named<T> = BTreeMap<String, T>;

/// The index of a team on the wire; one too large for an index is no team's either way.
pub fn team_index(team_id: u64) -> usize {
    usize::try_from(team_id).unwrap_or(usize::MAX)
}
