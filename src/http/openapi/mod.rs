//! The API document of a surface in OpenAPI 3.1. It is derived from the operations.

pub mod pages;

use http::StatusCode;
use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::error::PreconditionFailedBody;
use super::error_format::ErrorFormat;
use super::operation::{Operation, OperationDoc};
use super::surface::{FailureExample, Surface, Tag};

const BEARER: &str = "A JWT. `rallypoint token` prints one that a server without configured keys accepts.";
const BASIC: &str = "The id and the secret of a client.";
/// Description of the header `Prefer`.
const PREFER: &str = "`wait=30`: if the answer is the version in `If-None-Match`, wait up to 30 seconds until it differs. An answer to a \
     request that waited, or could have waited, has the header `Preference-Applied`.";
/// Description of a 304.
const UNCHANGED: &str = "Nothing has changed since the version that the caller has.";
const IF_NONE_MATCH: &str =
    "The ETag of an earlier answer. If nothing has changed since then, the answer is 304 without a body.";
/// Description of the header `If-Match`.
const IF_MATCH: &str = "The ETag of the session, or of what else this operation changes, as the caller has read it. If it is not so any more, \
     the answer is 412 and nothing changes. A success then has an `ETag`: the new one of the session; after linking, that \
     of the platform session.";
/// Description of a 412.
const NOT_MATCHED: &str =
    "What the operation changes is not what `If-Match` says. The body shows what it is.";
const ETAG_OF_CURRENT: &str = "ETag of `current`. Absent if the caller may not read it.";
const ETAG: &str = "Version of the content. Two ETags are equal if and only if the bodies are equal.";
const ETAG_OF_CHANGE: &str = "ETag of the session as the caller would read it now, whatever the body of this answer is. After linking, the ETag of the platform session.";

/// What an API document says of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct DocumentSettings<'a> {
    /// Name of the cookie that may contain the token.
    pub cookie: &'a str,
    /// How long answers are kept for repeated requests, in seconds.
    pub keep_s: u32,
}

/// Creates the OpenAPI 3.1 document of a surface.
pub fn document(surface: &Surface, settings: DocumentSettings<'_>) -> Value {
    let DocumentSettings { cookie, keep_s } = settings;
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut generator = settings.into_generator();

    let mut paths: Map<String, Value> = Map::new();
    for operation in &surface.operations {
        let on_path = paths.entry(operation.path).or_insert_with(|| json!({}));
        on_path[operation.method.as_str().to_lowercase()] =
            describe(operation, surface, keep_s, &mut generator);
    }
    let mut schemas = generator.take_definitions(true);
    for schema in schemas.values_mut() {
        clean_schema(schema);
    }
    let tag = |tag: &Tag| json!({ "name": tag.name, "description": tag.description });
    let tags: Vec<Value> = surface.tags.iter().map(tag).collect();
    let mut examples = Map::new();
    for failure in &surface.failures {
        examples
            .insert(failure.name.to_owned(), json!({ "summary": failure.summary, "value": failure.body }));
    }
    let mut schemes = json!({
        "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": BEARER },
        "cookie": { "type": "apiKey", "in": "cookie", "name": cookie },
    });
    if surface.operations.iter().any(|operation| operation.policy.takes_basic()) {
        schemes["basic"] = json!({ "type": "http", "scheme": "basic", "description": BASIC });
    }
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
            "examples": examples,
            "securitySchemes": schemes,
        },
    })
}

/// The document's entry for an operation.
fn describe(operation: &Operation, surface: &Surface, keep_s: u32, generator: &mut SchemaGenerator) -> Value {
    let OperationDoc { params, body, reply } = operation.describe(generator);
    let checks_input = !params.is_empty() || operation.has_body || operation.takes_key;
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
    let idempotency_key = format!(
        "A new random text for each write, such as a UUID. A repeat with the same key gets the answer of the first request, with \
         the header `Idempotency-Replayed`, and changes nothing again. Answers are kept for {keep_s} seconds, refusals are not."
    );
    let headers = [
        (reads, "if-none-match", IF_NONE_MATCH),
        (operation.can_wait, "prefer", PREFER),
        (operation.takes_if_match, "if-match", IF_MATCH),
        (operation.takes_key, "idempotency-key", &*idempotency_key),
    ];
    for (_, name, description) in headers.into_iter().filter(|(is_read, ..)| *is_read) {
        let schema = json!({ "type": "string" });
        parameters.push(json!({
            "name": name, "in": "header", "description": description, "required": false, "schema": schema,
        }));
    }
    let mut described = json!({
        "operationId": operation.id,
        "tags": [operation.tag.name],
        "summary": operation.summary,
        "description": format!("{}\n\n{}", operation.about, operation.policy.describe()),
        "parameters": parameters,
        "responses": responses(operation, surface, reply, reads, checks_input, generator),
        "security": security(operation),
    });
    if operation.is_deprecated {
        described["deprecated"] = json!(true);
    }
    if let Some(mut schema) = body.map(Schema::to_value) {
        clean_schema(&mut schema);
        let content = content(schema, operation.example.request);
        described["requestBody"] = json!({ "required": true, "content": content });
    }
    described
}

/// The ways in which a caller of an operation can prove who they are. An empty object means that none is needed.
fn security(operation: &Operation) -> Value {
    match (operation.policy.is_public(), operation.policy.takes_basic()) {
        (false, _) => json!([{ "bearer": [] }, { "cookie": [] }]),
        (true, false) => json!([]),
        (true, true) => json!([{}, { "basic": [] }]),
    }
}

/// The document's entries for the answers of an operation.
fn responses(
    operation: &Operation,
    surface: &Surface,
    reply: Option<Schema>,
    reads: bool,
    checks_input: bool,
    generator: &mut SchemaGenerator,
) -> Value {
    let etag = if reads { ETAG } else { ETAG_OF_CHANGE };
    let etag = json!({ "ETag": { "description": etag, "schema": { "type": "string" } } });
    let mut success = json!({ "description": "Success." });
    if let Some(schema) = reply {
        success["content"] = content(schema.to_value(), operation.example.answer);
    }
    if operation.has_etag {
        success["headers"] = etag.clone();
    }
    for (name, description) in operation.answer_headers {
        success["headers"][name] = json!({ "description": description, "schema": { "type": "string" } });
    }
    let mut responses = Map::new();
    responses.insert(operation.success.as_str().into(), success);
    if reads {
        responses.insert("304".into(), json!({ "description": UNCHANGED, "headers": etag }));
    }
    let ErrorFormat { body, violations, .. } = surface.errors;
    // A caller who needs no token is not refused for it, but perhaps for where the request comes from.
    let policy = operation.policy;
    let forbidden = (!policy.is_public() || policy.is_for_this_machine()).then_some(&StatusCode::FORBIDDEN);
    for status in operation.failures.iter().chain(forbidden) {
        let own = operation.own_failure.filter(|(own_status, _)| own_status == status);
        let schema = own.map_or(body, |(_, schema)| schema)(generator);
        let mut failure = failure(failure_text(*status, operation), schema);
        add_examples(&mut failure, *status, operation, &surface.failures);
        responses.insert(status.as_str().into(), failure);
    }
    if operation.takes_if_match {
        let mut failure = failure(NOT_MATCHED, generator.subschema_for::<PreconditionFailedBody>());
        let etag =
            json!({ "description": ETAG_OF_CURRENT, "required": false, "schema": { "type": "string" } });
        failure["headers"] = json!({ "ETag": etag });
        add_examples(&mut failure, StatusCode::PRECONDITION_FAILED, operation, &surface.failures);
        responses.insert("412".into(), failure);
    }
    if checks_input {
        let text = "The input does not match this document. The body lists every violation.";
        let mut failure = failure(text, violations(generator));
        add_examples(&mut failure, StatusCode::UNPROCESSABLE_ENTITY, operation, &surface.failures);
        responses.insert("422".into(), failure);
    }
    let mut unavailable =
        failure("The server cannot do this now. Try again after the time in `Retry-After`.", body(generator));
    let seconds =
        json!({ "description": "Seconds to wait before the next attempt.", "schema": { "type": "integer" } });
    unavailable["headers"] = json!({ "Retry-After": seconds });
    responses.insert("503".into(), unavailable);
    let other = failure("The request exceeds a limit, or the server failed.", body(generator));
    responses.insert("default".into(), other);
    Value::Object(responses)
}

/// The description of a failure with this status.
fn failure_text(status: StatusCode, operation: &Operation) -> &'static str {
    match status {
        StatusCode::FORBIDDEN if operation.policy.is_public() => {
            "The server refuses the request. The error code says why."
        }
        StatusCode::NOT_FOUND => "Something that the request names does not exist. The error code says what.",
        StatusCode::FORBIDDEN => {
            "The token is not valid, the caller lacks a permission, or a rule refuses the request. The error code says which."
        }
        _ => "The server cannot carry out the request. The error code says why.",
    }
}

/// A response with a JSON body.
fn failure(description: &str, schema: Schema) -> Value {
    json!({ "description": description, "content": { "application/json": { "schema": schema } } })
}

/// A JSON body with its schema and an example.
fn content(schema: Value, example: Option<&str>) -> Value {
    let mut content = json!({ "schema": schema });
    if let Some(example) = example {
        content["example"] = serde_json::from_str(example).expect("examples are JSON");
    }
    json!({ "application/json": content })
}

/// Adds the examples of failures that fit an operation and a status.
fn add_examples(failure: &mut Value, status: StatusCode, operation: &Operation, failures: &[FailureExample]) {
    let mut examples = Map::new();
    for example in failures.iter().filter(|example| example.status == status && (example.fits)(operation)) {
        let reference = format!("#/components/examples/{}", example.name);
        examples.insert(example.name.to_owned(), json!({ "$ref": reference }));
    }
    if !examples.is_empty() {
        failure["content"]["application/json"]["examples"] = examples.into();
    }
}

/// Cleans a generated schema for publication. The server omits absent fields and never sends null, so null is removed
/// from the choices. An enumeration becomes one list, which client generators convert to a type.
fn clean_schema(schema: &mut Value) {
    if let Ok(as_schema) = <&mut Schema>::try_from(schema) {
        CleanSchema.transform(as_schema);
    }
}

struct CleanSchema;

impl Transform for CleanSchema {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        let Some(object) = schema.as_object_mut() else { return };
        merge_enum_members(object);
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
        let only_choice = object.get_mut("anyOf").and_then(Value::as_array_mut).and_then(|choices| {
            choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
            if choices.len() == 1 { choices.pop() } else { None }
        });
        if let Some(Value::Object(only_choice)) = only_choice {
            object.remove("anyOf");
            object.extend(only_choice);
        }
        // The width of the server's integers does not matter to clients.
        if object.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
            object.remove("format");
        }
        if object.get("default").is_some_and(Value::is_null) {
            object.remove("default");
        }
    }
}

/// Converts an enumeration whose members have descriptions. It is generated as one constant for each member; the result
/// is a list of members and a list of descriptions.
fn merge_enum_members(object: &mut Map<String, Value>) {
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
