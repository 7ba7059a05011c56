//! Reading the configuration: regions, instance templates, and the caller's address.

use http::Request;
use http_body_util::Full;
use rallypoint::config::Config;
use rallypoint::domain::CustomData;
use rallypoint::domain::instance::HostType;
use rallypoint::domain::instance::template::{InstanceTemplate, MapChoice};
use rallypoint::domain::region::Region;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Client, Server};

fn region(sort_order: u32, custom_only: bool, description: Option<&str>) -> Region {
    Region { sort_order, custom_only, description: description.map(Into::into), near: Vec::new() }
}

fn with_regions(config: &mut Config) {
    config.regions.insert("us".into(), region(2, false, Some("America")));
    config.regions.insert("eu".into(), region(1, false, Some("Europe")));
    config.regions.insert("lan".into(), region(2, true, None));
}

#[tokio::test]
async fn regions_are_sorted_and_paged() {
    let server = Server::with(with_regions);
    let alice = server.player();
    let eu = json!({"region_id": "eu", "sort_order": 1, "custom_only": false, "description": "Europe"});
    let lan = json!({"region_id": "lan", "sort_order": 2, "custom_only": true});
    let us = json!({"region_id": "us", "sort_order": 2, "custom_only": false, "description": "America"});
    let all = alice.get("/v1/regions").await.expect(200);
    assert_eq!(all.body, json!({"regions": [eu, lan, us], "cursor": 0}));
    assert!(!all.headers.contains_key("etag"), "the contract has no ETag here");
    let first = alice.get("/v1/regions?page_size=2").await.expect(200).body;
    assert_eq!(first["regions"], json!([eu, lan]));
    assert_ne!(first["cursor"], json!(0));
    let rest = alice.get(&format!("/v1/regions?page_size=2&cursor={}", first["cursor"])).await.expect(200);
    assert_eq!(rest.body, json!({"regions": [us], "cursor": 0}));
    let behind = alice.get("/v1/regions?cursor=9223372036854775807").await.expect(200);
    assert_eq!(behind.body, json!({"regions": [], "cursor": 0}));
    alice.get("/v1/regions?page_size=3").await.expect(200);
    alice.get("/v1/regions?page_size=51&cursor=-1").await.invalid(&[
        (json!(["query", "cursor"]), "value_error.number.not_ge"),
        (json!(["query", "page_size"]), "value_error.number.not_le"),
    ]);
    let none = Server::new().player().get("/v1/regions").await.expect(200);
    assert_eq!(none.body, json!({"regions": [], "cursor": 0}));
}

const TEMPLATE: Uuid = Uuid::from_u128(7);

fn with_template(config: &mut Config) {
    let map = |map_id: &str, map_name: &str| MapChoice {
        map_id: map_id.into(),
        map_name: map_name.into(),
        mode: None,
        map_weight: 12.5,
        custom_data: CustomData::new(),
        name: None,
        description: None,
        misc_params: None,
    };
    let dunes = MapChoice {
        mode: Some("arena".into()),
        map_weight: 87.5,
        custom_data: CustomData::from([("sky".into(), "red".into())]),
        name: Some("The Dunes".into()),
        description: Some("Sand".into()),
        misc_params: Some("-log".into()),
        ..map("42", "Dunes")
    };
    let template = InstanceTemplate {
        default_host_type: HostType::Standalone,
        map_selection_list_id: "all".into(),
        maps: vec![dunes, map("hills", "Hills")],
        custom_data: CustomData::from([("tier".into(), "gold".into())]),
    };
    config.instance_templates.insert(TEMPLATE, template);
}

#[tokio::test]
async fn an_instance_template_shows_every_field() {
    let server = Server::with(with_template);
    let alice = server.player();
    let path = format!("/v1/instance-request-template/{TEMPLATE}");
    let read = alice.get(&path).await.expect(200);
    let expected = json!({
        "instance_request_template_id": TEMPLATE,
        "map_selection_list": {
            "map_selection_list_id": "all",
            "maps": [
                {
                    "map_id": "42", "map_name": "Dunes", "mode": "arena", "map_weight": 87.5,
                    "custom_data": {"sky": "red"}, "name": "The Dunes", "description": "Sand", "misc_params": "-log",
                },
                {"map_id": "hills", "map_name": "Hills", "map_weight": 12.5, "custom_data": {}},
            ],
        },
        "default_host_type": "standalone", "custom_data": {"tier": "gold"},
    });
    assert_eq!(read.body, expected);
    alice.get_if_none_match(&path, &read.etag()).await.expect(304);
}

#[tokio::test]
async fn an_instance_template_is_readable_in_the_deprecated_form() {
    let server = Server::with(with_template);
    let alice = server.player();
    let path = format!("/v1/instance-launch-templates/{TEMPLATE}");
    let read = alice.get(&path).await.expect(200);
    let expected = json!({
        "instance_launch_template_id": TEMPLATE,
        "map_selection_list": {
            "map_selection_list_id": "all",
            "maps": [
                {
                    "map_game_id": 42, "map_name": "Dunes", "mode": "arena", "selection_chance": 87.5,
                    "custom_data": {"sky": "red"},
                },
                // The deprecated form shows 0 for an id that is not a number.
                {"map_game_id": 0, "map_name": "Hills", "selection_chance": 12.5, "custom_data": {}},
            ],
        },
        "default_host_type": "standalone", "custom_data": {"tier": "gold"},
    });
    assert_eq!(read.body, expected);
    alice.get_if_none_match(&path, &read.etag()).await.expect(304);
}

#[tokio::test]
async fn an_instance_template_is_found_by_its_uuid() {
    let server = Server::with(with_template);
    let (reader, creator) = (server.service(&["session:read:config"]), server.service(&["session:create"]));
    for (path, param) in [
        ("/v1/instance-request-template", "instance_request_template_id"),
        ("/v1/instance-launch-templates", "instance_launch_template_id"),
    ] {
        reader.get(&format!("{path}/{}", Uuid::nil())).await.refused(404, "instance_template_not_found");
        reader.get(&format!("{path}/7")).await.invalid(&[(json!(["path", param]), "type_error.uuid")]);
        reader.get(&format!("{path}/{TEMPLATE}")).await.expect(200);
        creator.get(&format!("{path}/{TEMPLATE}")).await.refused(403, "permission_denied");
    }
}

/// The address that the server returns to a caller from `peer` with these `X-Forwarded-For` headers.
async fn address(caller: &Client, peer: Option<&str>, forwarded_for: &[&str]) -> Value {
    let token = caller.token.as_deref().unwrap();
    let mut request =
        Request::get("/session/v1/connection-info").header("authorization", format!("Bearer {token}"));
    for line in forwarded_for {
        request = request.header("x-forwarded-for", *line);
    }
    let request = request.body(Full::default()).unwrap();
    let reply = caller.send_from(peer.map(|peer| peer.parse().unwrap()), request).await.expect(200);
    assert_eq!(reply.body.as_object().unwrap().len(), 1, "{}", reply.body);
    reply.body["ip"].clone()
}

#[tokio::test]
async fn connection_info_returns_the_callers_address() {
    let proxies =
        ["10.0.0.1/32", "10.0.0.2/32", "172.16.0.0/12"].map(|proxy| proxy.parse().unwrap()).to_vec();
    let server = Server::with(|config| config.http.trusted_proxies = proxies);
    let alice = server.player();
    assert_eq!(address(&alice, Some("192.0.2.7"), &[]).await, json!("192.0.2.7"));
    assert_eq!(address(&alice, Some("2001:db8::7"), &[]).await, json!("2001:db8::7"));
    // The header of an untrusted peer is ignored.
    assert_eq!(address(&alice, Some("192.0.2.7"), &["198.51.100.1"]).await, json!("192.0.2.7"));
    // The header of a trusted proxy counts: its last address that is not a trusted proxy.
    assert_eq!(address(&alice, Some("10.0.0.1"), &["198.51.100.1"]).await, json!("198.51.100.1"));
    let made_up_first = ["203.0.113.5, 198.51.100.1", "10.0.0.2"];
    assert_eq!(address(&alice, Some("10.0.0.1"), &made_up_first).await, json!("198.51.100.1"));
    assert_eq!(address(&alice, Some("10.0.0.1"), &[]).await, json!("10.0.0.1"));
    // Proxies in a trusted network, and entries with ports.
    let with_ports = ["[2001:db8::7]:4433, , 172.20.0.9:80"];
    assert_eq!(address(&alice, Some("172.31.0.1"), &with_ports).await, json!("2001:db8::7"));
    server.service(&["session:read:config"]).get("/v1/connection-info").await.expect(200);
    server.service(&["session:create"]).get("/v1/connection-info").await.refused(403, "permission_denied");
}

#[tokio::test]
async fn without_trusted_proxies_the_peer_address_is_the_callers() {
    let server = Server::new();
    let alice = server.player();
    assert_eq!(address(&alice, Some("10.0.0.1"), &["198.51.100.1"]).await, json!("10.0.0.1"));
    assert_eq!(address(&alice, None, &["198.51.100.1"]).await, json!("unknown"));
}
