//! The config service: key-value pairs from the configuration file, and the time.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;
use schemars::{JsonSchema, SchemaGenerator, json_schema};
use serde::Serialize;

use crate::app::App;
use crate::auth::{Caller, Policy};
use crate::document::Document;
use crate::http::error::Error;
use crate::http::input::params::{ParamDoc, Params, RawParams};
use crate::http::input::violation::Violation;
use crate::http::operation::{Input, Operation};
use crate::http::reply::{Plain, Reply, Versioned};
use crate::http::surface::{Group, Surface, Tag};
use crate::http::utc_time::UtcTime;

/// Prefix of every path.
pub const PREFIX: &str = "/config";

const TAG: Tag = Tag::new("Config", "What clients and servers read before anything else.");

/// The config service.
pub fn surface() -> Surface {
    Surface::new(PREFIX, vec![Group::new(TAG, rows())]).with_introduction(
        "Key-value pairs that the operator has set under `[config]`, and the server's time. Both need no token.",
    )
}

#[rustfmt::skip]
fn rows() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::GET, "get_kvs_v2", "/v2/kv", key_values, Policy::PUBLIC, "Read the key-value pairs")
            .about("Published clients and servers read them at their start and every two minutes."),
        Operation::new(M::GET, "get_utc_time", "/v1/time/utc", time, Policy::PUBLIC, "Read the server's time")
            .about("Clients with a wrong clock compute the difference from it."),
    ]
}

/// The names of the pairs to read; `None` for all. Read like a parameter that may be repeated.
pub struct KeysQuery(Option<Vec<String>>);

const KEYS: &str = "keys_to_include";

impl Params for KeysQuery {
    fn read(raw: &RawParams<'_>, _: &mut Vec<Violation>) -> Option<Self> {
        let keys: Vec<_> = raw.query_values(KEYS).map(String::from).collect();
        Some(Self((!keys.is_empty()).then_some(keys)))
    }

    fn describe(_: &mut SchemaGenerator) -> Vec<ParamDoc> {
        vec![ParamDoc {
            name: KEYS,
            place: "query",
            description: "Names of the pairs to read. Without names, all pairs are read.",
            required: false,
            schema: json_schema!({ "type": "array", "items": { "type": "string" } }),
        }]
    }
}

/// Key-value pairs.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "KVsResponseV2")]
pub struct KeyValuesView<'a> {
    /// Values by name.
    kvs: BTreeMap<&'a str, &'a str>,
}

async fn key_values(
    app: Arc<App>,
    _: Caller,
    Input { query: KeysQuery(keys), .. }: Input<(), KeysQuery>,
) -> Result<Reply<Versioned<KeyValuesView<'static>>>, Error> {
    let catalog = app.catalog();
    let is_wanted = |key: &String| keys.as_ref().is_none_or(|keys| keys.contains(key));
    let wanted = catalog.key_values.iter().filter(|(key, _)| is_wanted(key));
    let kvs = wanted.map(|(key, value)| (key.as_str(), value.as_str())).collect();
    Ok(Reply::document(&Document::of(&KeyValuesView { kvs })))
}

async fn time(app: Arc<App>, _: Caller, _: Input) -> Result<Reply<Plain<UtcTime>>, Error> {
    Ok(Reply::plain(&UtcTime(app.clock.now())))
}
