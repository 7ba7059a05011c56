//! Snapshots of the list of operations and of the API documents, and checks of the documents themselves.

use std::fmt::Write as _;

use expect_test::expect_file;
use rallypoint::api;
use rallypoint::http::surface::Surface;
use rallypoint::runtime::server::all_surfaces;
use serde_json::Value;

use crate::harness::{Server, document, fits};

#[test]
fn the_surface_matches_the_snapshot() {
    let mut surface =
        String::from("# Every operation. Rewritten by UPDATE_EXPECT=1 cargo test; read every change.\n");
    for Surface { prefix, operations, .. } in all_surfaces() {
        for operation in operations {
            let (method, prefix) = (operation.method.as_str(), shown_prefix(prefix));
            writeln!(surface, "{method:7}{prefix}{} ({})", operation.path, operation.id).unwrap();
        }
    }
    expect_file!["../surface.txt"].assert_eq(&surface);
}

/// The prefix of a surface in snapshots and documents. The session API is by far the largest surface; its paths are
/// shown as its contract writes them.
pub fn shown_prefix(prefix: &'static str) -> &'static str {
    if prefix == api::PREFIX { "" } else { prefix }
}

/// Every surface with its API document.
fn documents() -> Vec<(Surface, Value)> {
    let documented = |surface| {
        let document = document(&surface);
        (surface, document)
    };
    all_surfaces().into_iter().map(documented).collect()
}

#[test]
fn the_stored_api_documents_are_current() {
    let stored = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi");
    for (surface, document) in documents() {
        let document = serde_json::to_string_pretty(&document).unwrap() + "\n";
        match surface.prefix {
            api::PREFIX => expect_file!["../../../openapi.json"].assert_eq(&document),
            _ => expect_file![format!("{stored}/{}.json", surface.name())].assert_eq(&document),
        }
    }
}

#[tokio::test]
async fn the_served_documents_match_the_stored_ones() {
    let server = Server::with_every_surface();
    for (surface, document) in documents() {
        let path = format!("{}/openapi.json", shown_prefix(surface.prefix));
        let request = http::Request::get(path).body(http_body_util::Full::default()).unwrap();
        assert_eq!(server.anonymous().send_raw(request).await.expect(200).body, document);
    }
}

#[tokio::test]
async fn the_document_names_the_configured_cookie() {
    let server = Server::with(|config| config.auth.cookie = "session_token".into());
    let request = http::Request::get("/openapi.json").body(http_body_util::Full::default()).unwrap();
    let document = server.anonymous().send_raw(request).await.expect(200).body;
    let cookie = serde_json::json!({ "type": "apiKey", "in": "cookie", "name": "session_token" });
    assert_eq!(document["components"]["securitySchemes"]["cookie"], cookie);
    let operation = &document["paths"]["/v1/template"]["get"];
    assert_eq!(operation["security"], serde_json::json!([{ "bearer": [] }, { "cookie": [] }]));
}

#[test]
fn every_reference_resolves_and_no_value_is_null() {
    fn walk(document: &Value, value: &Value) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    let target = document.pointer(reference.trim_start_matches('#'));
                    assert!(target.is_some(), "{reference}");
                }
                fields.values().for_each(|value| walk(document, value));
            }
            Value::Array(items) => items.iter().for_each(|value| walk(document, value)),
            Value::Null => panic!("a null in the document"),
            Value::String(name) => assert_ne!(name, "null"),
            _ => {}
        }
    }
    for (_, document) in documents() {
        walk(&document, &document);
    }
}

#[test]
fn every_keyword_of_a_body_schema_is_enforced() {
    let about = ["$ref", "type", "description", "default", "deprecated", "x-enum-descriptions"];
    let checked =
        ["properties", "required", "items", "additionalProperties", "enum", "format", "contentEncoding"];
    let limits = [
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
        "minItems",
        "maxItems",
        "maxProperties",
        "propertyNames",
    ];
    let own = ["x-bytes-max", "x-reserved-prefix", "x-null-as"];
    let known = [&about[..], &checked, &limits, &own].concat();
    fn walk(document: &Value, schema: &Value, known: &[&str], id: &str) {
        for (keyword, value) in schema.as_object().unwrap() {
            assert!(known.contains(&keyword.as_str()), "{id}: the server does not check {keyword}");
            match keyword.as_str() {
                "$ref" => {
                    let target = document.pointer(value.as_str().unwrap().trim_start_matches('#'));
                    walk(document, target.unwrap(), known, id);
                }
                "properties" => {
                    value.as_object().unwrap().values().for_each(|field| walk(document, field, known, id))
                }
                "format" => assert!(
                    ["uuid", "int64", "date-time"].contains(&value.as_str().unwrap()),
                    "{id}: the server does not check {value}"
                ),
                "items" | "additionalProperties" => walk(document, value, known, id),
                "propertyNames" => walk(document, value, &["minLength", "maxLength"], id),
                "contentEncoding" => assert_eq!(value, "base64", "{id}"),
                _ => {}
            }
        }
    }
    for (_, document) in documents() {
        let paths = document["paths"].as_object().unwrap().values();
        for operation in paths.flat_map(|path| path.as_object().unwrap().values()) {
            let id = operation["operationId"].as_str().unwrap();
            if let Some(body) = operation.get("requestBody") {
                walk(&document, &body["content"]["application/json"]["schema"], &known, id);
            }
        }
    }
}

#[test]
fn the_document_describes_every_etag() {
    let operations = api::surface().operations;
    let document = document(&api::surface());
    for operation in operations.iter().filter(|operation| operation.has_etag) {
        let method = operation.method.as_str().to_lowercase();
        let responses = &document["paths"][operation.path][method]["responses"];
        let said = &responses[operation.success.as_str()]["headers"]["ETag"]["description"];
        let names = if operation.method == http::Method::GET { "the content" } else { "the session" };
        assert!(said.as_str().unwrap().contains(names), "{}: {said}", operation.id);
    }
}

#[test]
fn every_operation_has_a_tag_and_a_description() {
    for Surface { operations, tags, .. } in all_surfaces() {
        for operation in &operations {
            let sentence =
                |text: &str| text.ends_with('.') && text.starts_with(|first: char| first.is_uppercase());
            assert!(sentence(operation.about), "{}: {:?} is not a sentence", operation.id, operation.about);
            assert!(tags.contains(&operation.tag), "{}: its tag is not in the list of tags", operation.id);
        }
        for tag in tags {
            let has_operations = operations.iter().any(|operation| operation.tag == tag);
            assert!(has_operations, "{}: a tag without operations", tag.name);
        }
    }
}

#[test]
fn every_example_matches_its_schema() {
    let seen: usize = documents().iter().map(|(_, document)| check_examples(document)).sum();
    assert!(seen > 100, "only {seen} examples");
}

/// Checks every example of a document, and returns their number.
fn check_examples(document: &Value) -> usize {
    let mut seen = 0;
    let paths = document["paths"].as_object().unwrap().iter();
    for (path, operation) in
        paths.flat_map(|(path, on_path)| on_path.as_object().unwrap().values().map(move |one| (path, one)))
    {
        let request = operation.get("requestBody").map(|body| ("request", body));
        let responses = operation["responses"].as_object().unwrap().iter();
        for (what, body) in request.into_iter().chain(responses.map(|(status, body)| (&status[..], body))) {
            let content = &body["content"]["application/json"];
            let named = content["examples"].as_object().into_iter().flatten();
            let named = named.map(|(_, named)| {
                let target = named["$ref"].as_str().unwrap().trim_start_matches('#');
                &document.pointer(target).unwrap()["value"]
            });
            for example in content.get("example").into_iter().chain(named) {
                fits(document, &content["schema"], example, &format!("{path} {what}"));
                seen += 1;
            }
        }
    }
    seen
}

#[tokio::test]
async fn the_server_accepts_the_example_bodies() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let document = document(&api::surface());
    let body = |path: &str, method: &str| {
        document["paths"][path][method]["requestBody"]["content"]["application/json"]["example"].clone()
    };
    let created = alice.post("/v1/session", &body("/v1/session", "post")).await.expect(200);
    let session = format!("/v1/session/{}", created.body["session_id"].as_str().unwrap());
    alice.opens(created.body["session_id"].as_str().unwrap()).await;
    let joining = body("/v1/session/{session_id}/player/me", "post");
    bob.post(&format!("{session}/player/me"), &joining).await.expect(200);
    alice.patch(&session, &body("/v1/session/{session_id}", "patch")).await.expect(200);
    let instance = body("/v1/session/{session_id}/instance", "post");
    alice.post(&format!("{session}/instance"), &instance).await.expect(200);
}

#[tokio::test]
async fn unknown_paths_and_methods_return_both_kinds_of_error_body() {
    let server = Server::new();
    for path in
        ["/session/v1/nothing", "/session", "/nothing", "/session/v1/session/a/b", "/Session/v1/template"]
    {
        let request = http::Request::get(path).body(http_body_util::Full::default()).unwrap();
        let reply = server.anonymous().send_raw(request).await.refused(404, "path_not_found");
        assert_eq!(reply.body["detail"], "Not Found");
    }
    let request = http::Request::put("/session/v1/session/x").body(http_body_util::Full::default()).unwrap();
    let reply = server.anonymous().send_raw(request).await.refused(405, "method_not_allowed");
    assert_eq!(
        (&reply.body["detail"], &reply.headers["allow"]),
        (&"Method Not Allowed".into(), &"GET, PATCH, DELETE, HEAD".parse().unwrap())
    );
    for page in ["/", "/openapi.json", "/docs", "/docs/"] {
        let request = http::Request::post(page).body(http_body_util::Full::default()).unwrap();
        let reply = server.anonymous().send_raw(request).await.refused(405, "method_not_allowed");
        assert_eq!(reply.headers["allow"], "GET, HEAD", "{page}");
    }
}

#[tokio::test]
async fn the_root_path_redirects_to_the_api_reference() {
    let anyone = Server::new().anonymous();
    let get = async |path: &str| {
        let request = http::Request::get(path).body(http_body_util::Full::default()).unwrap();
        anyone.send_raw(request).await
    };
    assert_eq!(get("/").await.expect(307).headers["location"], "/docs");
    assert_eq!(get("/docs").await.expect(308).headers["location"], "/docs/");
    let page = get("/docs/").await.expect(200);
    assert_eq!(page.headers["content-type"], "text/html");
    let html = str::from_utf8(&page.bytes).unwrap();
    assert!(html.contains("<title>Rallypoint API</title>"), "{html}");
}
