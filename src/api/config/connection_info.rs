//! Where a caller comes from, as they are seen from here.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use schemars::{JsonSchema, SchemaGenerator, json_schema};
use serde::Serialize;

use crate::app::App;
use crate::auth::Caller;
use crate::http::error::Error;
use crate::http::input::params::{ParamDoc, Params, RawParams};
use crate::http::input::violation::Violation;
use crate::http::operation::Input;
use crate::http::reply::{Plain, Reply};

/// The header in which proxies name whom they forward for.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The caller's address, as a parameter.
pub struct ClientAddress(Option<IpAddr>);

impl Params for ClientAddress {
    fn read(raw: &RawParams<'_>, _: &mut Vec<Violation>) -> Option<Self> {
        Some(Self(raw.client))
    }

    fn describe(_: &mut SchemaGenerator) -> Vec<ParamDoc> {
        vec![ParamDoc {
            name: FORWARDED_FOR,
            place: "header",
            description: "The caller's address, from a proxy that the configuration trusts; else it is ignored.",
            required: false,
            schema: json_schema!({ "type": "string", "default": "" }),
        }]
    }
}

/// Where the caller comes from.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ConnectionInfo")]
pub struct ConnectionView {
    /// The address.
    ip: String,
}

/// Where the caller comes from.
pub async fn get(
    _: Arc<App>,
    _: Caller,
    Input { path: address, .. }: Input<ClientAddress>,
) -> Result<Reply<Plain<ConnectionView>>, Error> {
    let ip = address.0.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string());
    Ok(Reply::plain(&ConnectionView { ip }))
}

/// The address of whom a request comes from: the peer, unless that is a trusted proxy; then the last address in the
/// header that is none. Everything before it may be made up.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted_proxies: &[IpAddr]) -> IpAddr {
    let mut client = peer.to_canonical();
    let lines = headers.get_all(FORWARDED_FOR).iter().rev().filter_map(|line| line.to_str().ok());
    for named in lines.flat_map(|line| line.rsplit(',')) {
        if !trusted_proxies.contains(&client) {
            break;
        }
        let Ok(address) = named.trim().parse::<IpAddr>() else { break };
        client = address.to_canonical();
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(peer: &str, forwarded_for: &[&str], expected: &str) {
        let mut headers = HeaderMap::new();
        for line in forwarded_for {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        let trusted = ["10.0.0.1", "10.0.0.2"].map(|proxy| proxy.parse().unwrap());
        let found = client_address(peer.parse().unwrap(), &headers, &trusted);
        assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{peer} {forwarded_for:?}");
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        check("192.0.2.7", &[], "192.0.2.7");
        check("192.0.2.7", &["198.51.100.1"], "192.0.2.7");
        check("10.0.0.1", &["198.51.100.1"], "198.51.100.1");
        check("10.0.0.1", &["1.1.1.1, 198.51.100.1, 10.0.0.2"], "198.51.100.1");
        check("10.0.0.1", &["1.1.1.1", "198.51.100.1,10.0.0.2"], "198.51.100.1");
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &["nonsense"], "10.0.0.1");
        check("10.0.0.1", &["198.51.100.1, nonsense"], "10.0.0.1");
        check("::ffff:10.0.0.1", &["2001:db8::1"], "2001:db8::1");
    }
}
