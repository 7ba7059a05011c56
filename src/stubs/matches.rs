//! The match service: a host reports how its match goes, and reads back what it has sent.

use std::sync::Arc;

use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::app::App;
use crate::auth::{Caller, Policy};
use crate::domain::PlayerUuid;
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::input::params::params;
use crate::http::operation::{Input, Operation};
use crate::http::reply::{Plain, Reply};
use crate::http::surface::{Group, Surface, Tag};

/// Prefix of every path.
pub const PREFIX: &str = "/match";
/// Largest body, in bytes. Hosts send a few fields.
const BODY_BYTES_MAX: usize = 16_384;

const TAG: Tag = Tag::new("Matches", "Reports of hosts about their matches. Nothing is stored.");

/// The match service.
pub fn surface() -> Surface {
    Surface::new(PREFIX, vec![Group::new(TAG, rows())])
        .with_introduction("Hosts of published clients report the start, the players and the end of a match.")
}

#[rustfmt::skip]
fn rows() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::PATCH, "update_match", "/v1/match/{match_id}", update, Policy::ANY_TOKEN, "Report a match")
            .body_at_most(BODY_BYTES_MAX)
            .about("The answer is the report with the id of the match. The server stores nothing."),
        Operation::new(M::PATCH, "update_match_player", "/v1/match/{match_id}/player/{player_uuid}", update_player, Policy::ANY_TOKEN, "Report a player of a match")
            .body_at_most(BODY_BYTES_MAX)
            .about("The answer is the report with the ids of the match and of the player. The server stores nothing."),
    ]
}

params! {
    /// Path of a match.
    MatchPath in "path" {
        /// Id of the match, which the host has made.
        match_id: String,
    }
}

params! {
    /// Path of a player of a match.
    MatchPlayerPath in "path" {
        /// Id of the match, which the host has made.
        match_id: String,
        /// Player UUID.
        player_uuid: PlayerUuid,
    }
}

/// What a host reports: any fields.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct Report(Map<String, Value>);

impl JsonSchema for Report {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MatchReport".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object" })
    }
}

impl Report {
    /// The report with a further field. Absent fields are left out: clients refuse a whole document for a null.
    fn with(mut self, name: &str, value: String) -> Self {
        self.0.values_mut().for_each(remove_nulls);
        self.0.retain(|_, value| !value.is_null());
        self.0.insert(name.to_owned(), value.into());
        self
    }
}

fn remove_nulls(value: &mut Value) {
    match value {
        Value::Array(items) => {
            items.retain(|item| !item.is_null());
            items.iter_mut().for_each(remove_nulls);
        }
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(remove_nulls);
        }
        _ => {}
    }
}

async fn update(
    _: Arc<App>,
    _: Caller,
    Input { path, body: Json(report), .. }: Input<MatchPath, (), Json<Report>>,
) -> Result<Reply<Plain<Report>>, Error> {
    Ok(Reply::plain(&report.with("match_id", path.match_id)))
}

async fn update_player(
    _: Arc<App>,
    _: Caller,
    Input { path, body: Json(report), .. }: Input<MatchPlayerPath, (), Json<Report>>,
) -> Result<Reply<Plain<Report>>, Error> {
    let report = report.with("match_id", path.match_id);
    Ok(Reply::plain(&report.with("player_uuid", path.player_uuid.to_string())))
}
