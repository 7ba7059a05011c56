//! Validates replies against the API documents that the server publishes.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use http::Method;
use jsonschema::Validator;
use rallypoint::http::openapi::{self, DocumentSettings};
use rallypoint::http::surface::Surface;
use rallypoint::runtime::server::all_surfaces;
use serde_json::{Value, json};

use super::Reply;

/// The API document of each surface.
static DOCUMENTS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let surfaces = all_surfaces();
    surfaces.iter().map(document).collect()
});

/// The API document of a surface, with the default configuration.
pub fn document(surface: &Surface) -> Value {
    openapi::document(surface, DocumentSettings { cookie: "access_token", keep_s: 3_600 })
}

/// Maps a path with its prefix to the document and the path in it.
static ROUTER: LazyLock<matchit::Router<(&Value, &str)>> = LazyLock::new(|| {
    let mut router = matchit::Router::new();
    for document in &*DOCUMENTS {
        let prefix = document["servers"][0]["url"].as_str().unwrap();
        for path in document["paths"].as_object().unwrap().keys() {
            router.insert(format!("{prefix}{path}"), (document, &path[..])).unwrap();
        }
    }
    router
});

/// The description of the API for its users, which explains every error code.
const API_MD: &str = include_str!("../../../docs/API.md");

type Key = (String, String, String);
static VALIDATORS: LazyLock<Mutex<HashMap<Key, &'static Validator>>> = LazyLock::new(Mutex::default);

/// Panics if the document does not allow the reply: an unknown status, a body that does not match, a missing header.
/// Panics as well if the body contains a null, which makes published clients drop the whole document, or an error code
/// that `docs/API.md` does not explain. `path` has the prefix of its surface.
#[track_caller]
pub fn check(method: &Method, path: &str, reply: &Reply) {
    assert!(reply.bytes.is_empty() || !holds_null(&reply.body), "{method} {path}: a null in {}", reply.body);
    if let Some(code) = reply.body.get("error_code").and_then(Value::as_str) {
        assert!(API_MD.contains(&format!("`{code}`")), "docs/API.md does not explain {code}");
    }
    let path = path.split('?').next().unwrap();
    let method = if *method == Method::HEAD { "get" } else { &method.as_str().to_lowercase() };
    let Some((document, operation)) = operation(path, method) else { return };
    let status = reply.status.as_u16().to_string();
    let responses = &operation["responses"];
    let documented = if responses.get(&status).is_some() { status.as_str() } else { "default" };
    let response = &responses[documented];
    assert!(
        documented != "default" || reply.status.as_u16() >= 400,
        "{method} {path}: {status} is not documented"
    );
    for (name, header) in response["headers"].as_object().into_iter().flatten() {
        let is_optional = header.get("required") == Some(&Value::Bool(false));
        assert!(is_optional || reply.headers.contains_key(name), "{method} {path}: {status} has no {name}");
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
    let validator = validator((id, method.to_owned(), documented.to_owned()), document, schema);
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

fn operation(path: &str, method: &str) -> Option<(&'static Value, &'static Value)> {
    let (document, path) = ROUTER.at(path).ok()?.value;
    Some((document, document["paths"][path].get(method)?))
}

fn validator(key: Key, document: &Value, schema: &Value) -> &'static Validator {
    let mut validators = VALIDATORS.lock().unwrap();
    validators.entry(key).or_insert_with(|| {
        let mut whole = strict(schema);
        whole["components"] = strict(&document["components"]);
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
