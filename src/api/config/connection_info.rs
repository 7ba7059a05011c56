//! The network address from which a caller's request came.

use std::net::IpAddr;
use std::sync::Arc;

use schemars::{JsonSchema, SchemaGenerator, json_schema};
use serde::Serialize;

use crate::app::App;
use crate::auth::Caller;
use crate::http::error::Error;
use crate::http::input::client_address::FORWARDED_FOR;
use crate::http::input::params::{ParamDoc, Params, RawParams};
use crate::http::input::violation::Violation;
use crate::http::operation::Input;
use crate::http::reply::{Plain, Reply};

/// The caller's address, read like a parameter; `None` if the peer's address is unknown.
pub struct ClientAddress(Option<IpAddr>);

impl Params for ClientAddress {
    fn read(raw: &RawParams<'_>, _: &mut Vec<Violation>) -> Option<Self> {
        Some(Self(raw.client))
    }

    fn describe(_: &mut SchemaGenerator) -> Vec<ParamDoc> {
        vec![ParamDoc {
            name: FORWARDED_FOR,
            place: "header",
            description: "Client addresses, appended by proxies. The server reads it only if the request comes from a trusted proxy.",
            required: false,
            schema: json_schema!({ "type": "string", "default": "" }),
        }]
    }
}

/// Network address of the caller.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ConnectionInfo")]
pub struct ConnectionView {
    /// IP address of the caller, or `unknown`.
    ip: String,
}

/// Reads the caller's network address.
pub async fn get(
    _: Arc<App>,
    _: Caller,
    Input { path: address, .. }: Input<ClientAddress>,
) -> Result<Reply<Plain<ConnectionView>>, Error> {
    let ip = address.0.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string());
    Ok(Reply::plain(&ConnectionView { ip }))
}
