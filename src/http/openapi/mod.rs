//! The API document, derived from the rows. Nothing in it is written by hand twice.

pub mod pages;

use http::StatusCode;
use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::error::ErrorBody;
use super::input::violation::ValidationBody;
use super::operation::{Operation, OperationDoc};
use super::surface::{FailureExample, Surface, Tag};

const BEARER: &str = "A JWT. `rallypoint token` prints one where the server has no keys of its own.";
const IF_NONE_MATCH: &str = "An ETag from an earlier answer. Where it still names the current version, the answer is 304 without a body.";
const ETAG: &str = "Names this version of the content: equal where, and only where, the body is.";
const ETAG_OF_CHANGE: &str = "Names the session as the caller would read it now, whatever this body is; on linking, the platform session.";

/// The OpenAPI 3.1 document of a surface, with the name of the cookie that may carry a token.
pub fn document(surface: &Surface, cookie: &str) -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut generator = settings.into_generator();

    let mut paths: Map<String, Value> = Map::new();
    for operation in &surface.operations {
        let on_path = paths.entry(operation.path).or_insert_with(|| json!({}));
        on_path[operation.method.as_str().to_lowercase()] =
            describe(operation, &surface.failures, &mut generator);
    }
    let mut schemas = generator.take_definitions(true);
    for schema in schemas.values_mut() {
        published(schema);
    }
    let tag = |tag: &Tag| json!({ "name": tag.name, "description": tag.description });
    let tags: Vec<Value> = surface.tags.iter().map(tag).collect();
    let failure = |failure: &FailureExample| {
        (failure.name.to_owned(), json!({ "summary": failure.summary, "value": failure.body }))
    };
    let failures: Map<String, Value> = surface.failures.iter().map(failure).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Rallypoint",
            "description": surface.introduction,
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT" },
        },
        "servers": [{ "url": surface.prefix }],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas,
            "examples": failures,
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": BEARER },
                "cookie": { "type": "apiKey", "in": "cookie", "name": cookie },
            },
        },
    })
}

fn describe(operation: &Operation, failures: &[FailureExample], generator: &mut SchemaGenerator) -> Value {
    let OperationDoc { params, body, reply } = operation.describe(generator);
    let checks_input = !params.is_empty() || operation.has_body;
    let mut parameters: Vec<Value> = params
        .into_iter()
        .map(|param| {
            json!({
                "name": param.name,
                "in": param.place,
                "description": param.description,
                "required": param.required,
                "schema": param.schema,
            })
        })
        .collect();
    let reads = operation.method == http::Method::GET && operation.has_etag;
    if reads {
        let schema = json!({ "type": "string" });
        parameters.push(json!({
            "name": "if-none-match", "in": "header", "description": IF_NONE_MATCH, "required": false, "schema": schema,
        }));
    }
    let mut described = json!({
        "operationId": operation.id,
        "tags": [operation.tag.name],
        "summary": operation.summary,
        "description": format!("{}\n\n{}", operation.about, operation.policy.describe()),
        "parameters": parameters,
        "responses": responses(operation, failures, reply, reads, checks_input, generator),
        "security": [{ "bearer": [] }, { "cookie": [] }],
    });
    if operation.is_deprecated {
        described["deprecated"] = json!(true);
    }
    if let Some(mut schema) = body.map(Schema::to_value) {
        published(&mut schema);
        let content = content(schema, operation.example.request);
        described["requestBody"] = json!({ "required": true, "content": content });
    }
    described
}

fn responses(
    operation: &Operation,
    failures: &[FailureExample],
    reply: Option<Schema>,
    reads: bool,
    checks_input: bool,
    generator: &mut SchemaGenerator,
) -> Value {
    let etag = if reads { ETAG } else { ETAG_OF_CHANGE };
    let etag = json!({ "ETag": { "description": etag, "schema": { "type": "string" } } });
    let mut success = json!({ "description": "Done." });
    if let Some(schema) = reply {
        success["content"] = content(schema.to_value(), operation.example.answer);
    }
    if operation.has_etag {
        success["headers"] = etag.clone();
    }
    let mut responses = Map::new();
    responses.insert(operation.success.as_str().into(), success);
    if reads {
        responses
            .insert("304".into(), json!({ "description": "The caller has this version.", "headers": etag }));
    }
    for status in operation.failures.iter().chain(&[StatusCode::FORBIDDEN]) {
        let failure = failure::<ErrorBody>(failure_text(*status), generator);
        responses.insert(status.as_str().into(), shown(failure, *status, operation, failures));
    }
    if checks_input {
        let text = "The request breaks this document; every violation is listed.";
        let failure = failure::<ValidationBody>(text, generator);
        responses.insert("422".into(), shown(failure, StatusCode::UNPROCESSABLE_ENTITY, operation, failures));
    }
    let mut unavailable = failure::<ErrorBody>("Not right now; try again after the time given.", generator);
    let seconds = json!({ "description": "Seconds to wait.", "schema": { "type": "integer" } });
    unavailable["headers"] = json!({ "Retry-After": seconds });
    responses.insert("503".into(), unavailable);
    responses.insert(
        "default".into(),
        failure::<ErrorBody>("A limit was passed, or the service failed.", generator),
    );
    Value::Object(responses)
}

fn failure_text(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "It does not exist; the error code says what.",
        StatusCode::FORBIDDEN => {
            "No valid token, no permission, or a rule said no; the error code says which."
        }
        _ => "The request cannot be carried out; the error code says why.",
    }
}

fn failure<T: JsonSchema>(description: &str, generator: &mut SchemaGenerator) -> Value {
    let schema = generator.subschema_for::<T>();
    json!({ "description": description, "content": { "application/json": { "schema": schema } } })
}

/// A JSON body, and what one looks like.
fn content(schema: Value, example: Option<&str>) -> Value {
    let mut content = json!({ "schema": schema });
    if let Some(example) = example {
        content["example"] = serde_json::from_str(example).expect("examples are JSON");
    }
    json!({ "application/json": content })
}

/// A failure, with the examples that show it.
fn shown(
    mut failure: Value,
    status: StatusCode,
    operation: &Operation,
    failures: &[FailureExample],
) -> Value {
    let mut examples = Map::new();
    for example in failures.iter().filter(|example| example.status == status && (example.fits)(operation)) {
        let reference = format!("#/components/examples/{}", example.name);
        examples.insert(example.name.to_owned(), json!({ "$ref": reference }));
    }
    if !examples.is_empty() {
        failure["content"]["application/json"]["examples"] = examples.into();
    }
    failure
}

/// A schema as it is published: what is absent is omitted and never null, so null is not a choice; and an
/// enumeration is one list, from which generators of clients make a type.
fn published(schema: &mut Value) {
    if let Ok(as_schema) = <&mut Schema>::try_from(schema) {
        Published.transform(as_schema);
    }
}

struct Published;

impl Transform for Published {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        let Some(object) = schema.as_object_mut() else { return };
        list_members(object);
        if let Some(Value::Array(names)) = object.get_mut("type") {
            names.retain(|name| name != "null");
            if let [name] = names.as_slice() {
                let name = name.clone();
                object.insert("type".into(), name);
            }
        }
        if let Some(Value::Array(members)) = object.get_mut("enum") {
            members.retain(|member| !member.is_null());
        }
        let real = object.get_mut("anyOf").and_then(Value::as_array_mut).and_then(|choices| {
            choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
            if choices.len() == 1 { choices.pop() } else { None }
        });
        if let Some(Value::Object(real)) = real {
            object.remove("anyOf");
            object.extend(real);
        }
        // The width of our integers is no business of clients.
        if object.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
            object.remove("format");
        }
        if object.get("default").is_some_and(Value::is_null) {
            object.remove("default");
        }
    }
}

/// Turns members with a description of their own, which are generated as one constant each, into a list of members
/// and one of descriptions.
fn list_members(object: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = object.get("oneOf") else { return };
    let each =
        |field: &str| choices.iter().map(|choice| choice.get(field).cloned()).collect::<Option<Vec<_>>>();
    let (Some(types), Some(members), Some(texts)) = (each("type"), each("const"), each("description")) else {
        return;
    };
    if types.iter().all(|kind| *kind == types[0]) {
        object.remove("oneOf");
        object.insert("type".into(), types[0].clone());
        object.insert("enum".into(), members.into());
        object.insert("x-enum-descriptions".into(), texts.into());
    }
}
