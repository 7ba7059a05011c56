//! Validates replies against the API document that the server publishes.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use http::Method;
use jsonschema::Validator;
use rallypoint::api;
use rallypoint::http::openapi;
use serde_json::{Value, json};

use super::Reply;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| openapi::document(&api::surface(), "access_token"));

static ROUTER: LazyLock<matchit::Router<String>> = LazyLock::new(|| {
    let mut router = matchit::Router::new();
    for path in DOCUMENT["paths"].as_object().unwrap().keys() {
        router.insert(path.clone(), path.clone()).unwrap();
    }
    router
});

type Key = (String, String, String);
static VALIDATORS: LazyLock<Mutex<HashMap<Key, &'static Validator>>> = LazyLock::new(Mutex::default);

/// Panics if the document does not allow the reply: an unknown status, a body that does not match, a missing header.
/// Panics as well if the body contains a null, which makes published clients drop the whole document.
#[track_caller]
pub fn check(method: &Method, path: &str, reply: &Reply) {
    assert!(reply.bytes.is_empty() || !holds_null(&reply.body), "{method} {path}: a null in {}", reply.body);
    let path = path.split('?').next().unwrap();
    let method = if *method == Method::HEAD { "get" } else { &method.as_str().to_lowercase() };
    let Some(operation) = operation(path, method) else { return };
    let status = reply.status.as_u16().to_string();
    let responses = &operation["responses"];
    let documented = if responses.get(&status).is_some() { status.as_str() } else { "default" };
    let response = &responses[documented];
    assert!(
        documented != "default" || reply.status.as_u16() >= 400,
        "{method} {path}: {status} is not documented"
    );
    for header in response["headers"].as_object().into_iter().flatten() {
        assert!(reply.headers.contains_key(header.0), "{method} {path}: {status} has no {}", header.0);
    }
    let Some(schema) = response["content"]["application/json"].get("schema") else {
        assert!(reply.bytes.is_empty(), "{method} {path}: {status} should have no body");
        return;
    };
    // A HEAD reply has the headers of a body and no body.
    if reply.bytes.is_empty() && method == "get" {
        return;
    }
    let id = operation["operationId"].as_str().unwrap().to_owned();
    let validator = validator((id, method.to_owned(), documented.to_owned()), schema);
    if let Err(error) = validator.validate(&reply.body) {
        panic!("{method} {path} {status}: {error} at {}\n{}", error.instance_path(), reply.body);
    }
}

/// Panics if a body does not match a schema of a document.
#[track_caller]
pub fn fits(document: &Value, schema: &Value, body: &Value, what: &str) {
    let mut whole = strict(schema);
    whole["components"] = strict(&document["components"]);
    if let Err(error) = jsonschema::validator_for(&whole).unwrap().validate(body) {
        panic!("{what}: {error} at {}", error.instance_path());
    }
}

fn holds_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(holds_null),
        Value::Object(fields) => fields.values().any(holds_null),
        _ => false,
    }
}

fn operation(path: &str, method: &str) -> Option<&'static Value> {
    let found = ROUTER.at(path).ok()?;
    DOCUMENT["paths"][found.value].get(method)
}

fn validator(key: Key, schema: &Value) -> &'static Validator {
    let mut validators = VALIDATORS.lock().unwrap();
    validators.entry(key).or_insert_with(|| {
        let mut whole = strict(schema);
        whole["components"] = strict(&DOCUMENT["components"]);
        Box::leak(Box::new(jsonschema::validator_for(&whole).unwrap()))
    })
}

/// The schema, changed so that undocumented fields are errors.
fn strict(schema: &Value) -> Value {
    match schema {
        Value::Object(fields) => {
            let mut fields: serde_json::Map<_, _> =
                fields.iter().map(|(name, value)| (name.clone(), strict(value))).collect();
            if fields.contains_key("properties") && fields.get("type") == Some(&json!("object")) {
                fields.entry("additionalProperties").or_insert(json!(false));
            }
            Value::Object(fields)
        }
        Value::Array(items) => items.iter().map(strict).collect(),
        other => other.clone(),
    }
}
