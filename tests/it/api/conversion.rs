//! Values of another type than the schema names, converted as the contract's framework does.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Server, creation};

#[tokio::test]
async fn numbers_and_booleans_become_texts_in_every_body() {
    let server = Server::new();
    let alice = server.player();
    let mut create = creation("game");
    create["client_version"] = json!(104);
    create["player"] =
        json!({ "team_id": false, "client_version": 1.5, "custom_data": { "rank": 7, "ready": true } });
    create["player"]["client_settings"] = create["client_settings"].clone();
    let session = alice.post("/v1/session", &create).await.expect(200).body["session_id"].clone();
    let path = format!("/v1/session/{}", session.as_str().unwrap());
    let own = alice.get(&path).await.expect(200).body["teams"][0]["players"][0].clone();
    assert_eq!(own["custom_data"], json!({ "rank": "7", "ready": "True" }));

    let change = r#"{
        "custom_data": {"score": 12, "f": 1.5, "b": true, "e": 1e22, "l": 123456789012345678901234567890},
        "joinable": 0.0, "region_id": 1, "teams": [{"max_size": "3", "custom_data": {"score": -0.0}}]
    }"#;
    // A byte order mark at the start.
    let change = Bytes::from(format!("\u{feff}{change}"));
    let changed = alice.send(Method::PATCH, &path, &[], Some(change)).await.expect(200).body;
    assert_eq!(
        changed["custom_data"],
        json!({"score": "12", "f": "1.5", "b": "True", "e": "1e+22", "l": "123456789012345678901234567890"})
    );
    assert_eq!((&changed["joinable"], &changed["region_id"]), (&json!(false), &json!("1")));
    assert_eq!(changed["teams"][0]["custom_data"], json!({ "score": "-0.0" }));
    assert_eq!(changed["teams"][0]["max_size"], json!(3));
}

#[tokio::test]
async fn other_types_are_refused_as_before() {
    let server = Server::new();
    let alice = server.player();
    let path = format!("/v1/session/{}", alice.creates("game").await);
    let refused = async |body: Value, loc: Value, kind: &str| {
        alice.patch(&path, &body).await.invalid(&[(loc, kind)]);
    };
    for wrong in [json!([]), json!(["a"]), json!({}), json!({ "a": "b" })] {
        refused(json!({ "region_id": wrong }), json!(["body", "region_id"]), "type_error.str").await;
        let entry = json!(["body", "custom_data", "a"]);
        refused(json!({ "custom_data": { "a": wrong } }), entry, "type_error.str").await;
    }
    let entry = json!(["body", "custom_data", "a"]);
    refused(json!({ "custom_data": { "a": null } }), entry, "type_error.none.not_allowed").await;
    for wrong in [json!(2), json!(0.5), json!([])] {
        refused(json!({ "joinable": wrong }), json!(["body", "joinable"]), "type_error.bool").await;
    }
}
