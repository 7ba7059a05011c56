//! The ticket of a session that waits in matchmaking queues, and what a party asks for.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::CustomDataBody;
use crate::domain::CustomData;
use crate::domain::matchmaking::ticket::{JoinParams, Ticket};

/// Most entries of each map and list of [`JoinParamsBody`].
const ENTRIES_MAX: usize = 64;
/// Largest length of a name in them, in characters.
const NAME_CHARS_MAX: usize = 128;
/// Largest length of a text in them, in characters (contract).
const TEXT_CHARS_MAX: usize = 4_096;

/// What a party asks for beyond its queues.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AdditionalJoinParams", extend("x-bytes-max" = 65_536))]
pub struct JoinParamsBody {
    /// Numbers by name. Fields of profiles, `latency.` and a region, and the id of a rank have a meaning.
    #[serde(default)]
    double_args: NumbersBody,
    /// Texts by name.
    #[serde(default)]
    string_args: TextsBody,
    /// Tags.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 4096)))]
    tags: Vec<String>,
    /// Data in base64, by name. The server keeps it, and does not read it.
    #[serde(default)]
    extensions: ExtensionsBody,
}

/// Numbers by name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NumbersBody(BTreeMap<String, f64>);

/// Texts by name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TextsBody(pub BTreeMap<String, String>);

/// Texts in base64 by name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExtensionsBody(BTreeMap<String, String>);

/// The schema of a map with names of a limited length, whose values have a schema.
fn map_of(value: &serde_json::Value) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": value,
        "maxProperties": ENTRIES_MAX,
        "propertyNames": { "minLength": 1, "maxLength": NAME_CHARS_MAX },
    })
}

impl JsonSchema for NumbersBody {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Numbers".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        map_of(&serde_json::json!({ "type": "number" }))
    }
}

impl JsonSchema for TextsBody {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Texts".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        map_of(&serde_json::json!({ "type": "string", "minLength": 1, "maxLength": TEXT_CHARS_MAX }))
    }
}

impl JsonSchema for ExtensionsBody {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Extensions".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let text = serde_json::json!({
            "type": "string", "minLength": 1, "maxLength": TEXT_CHARS_MAX, "contentEncoding": "base64",
        });
        map_of(&text)
    }
}

impl From<JoinParams> for JoinParamsBody {
    fn from(params: JoinParams) -> Self {
        Self {
            double_args: NumbersBody(params.double_args),
            string_args: TextsBody(params.string_args),
            tags: params.tags,
            extensions: ExtensionsBody(params.extensions),
        }
    }
}

impl From<JoinParamsBody> for JoinParams {
    fn from(body: JoinParamsBody) -> Self {
        Self {
            double_args: body.double_args.0,
            string_args: body.string_args.0,
            tags: body.tags,
            extensions: body.extensions.0,
        }
    }
}

/// The matchmaking of a session that is in a queue.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MatchmakingInfo")]
pub struct MatchmakingView {
    /// Id of the ticket. A session that queues again has another one.
    ticket_id: String,
    /// First queue.
    #[schemars(length(min = 1, max = 128))]
    queue_id: String,
    /// Queues in the order of the request.
    #[schemars(inner(length(min = 1, max = 128)))]
    queue_ids: Vec<String>,
    /// Matchmaking profiles that the ticket waits for.
    #[schemars(inner(length(min = 1, max = 128)))]
    profile_ids: Vec<String>,
    /// Time that the session is taken to have waited before it joined the queue, in seconds.
    passed_queue_time_seconds: u64,
    /// Always empty.
    custom_data: CustomDataBody,
}

impl MatchmakingView {
    /// The wire form of a ticket.
    pub fn of(ticket: &Ticket) -> Self {
        Self {
            ticket_id: ticket.id.to_string(),
            queue_id: ticket.queue_ids.first().cloned().unwrap_or_default(),
            queue_ids: ticket.queue_ids.clone(),
            profile_ids: ticket.profile_ids.clone(),
            passed_queue_time_seconds: ticket.passed_s,
            custom_data: CustomDataBody(CustomData::new()),
        }
    }
}
