//! The content of an OpenAPI document as facts: short lines that are equal if two documents mean the same, however
//! their generators write it.
//!
//! A fact has a subject: the id of an operation or the name of a schema. In a fact, `?` marks an optional value,
//! `1..128` limits a length, a number or a count, `[T]` is a list, `set[T]` a list without repetitions, `{T}` a map.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Map, Value};

/// Facts in order, each with its subject.
pub type Facts = Vec<(String, String)>;

/// The fact that a request body contains the schema.
pub const IN_REQUESTS: &str = "in requests";
/// The fact that an answer contains the schema.
pub const IN_ANSWERS: &str = "in answers";

/// The facts of the `wanted` operations (by id) of a document, and of every schema that they use. `permissions`
/// returns the facts about the permissions of an operation.
pub fn of(
    document: &Value,
    wanted: impl Fn(&str) -> bool,
    permissions: impl Fn(&str, &Value) -> Vec<String>,
) -> Facts {
    let (mut requests, mut answers) = (Reader::new(document), Reader::new(document));
    let mut facts = Facts::new();
    for (path, methods) in object(&document["paths"]) {
        for (method, operation) in object(methods) {
            let id = text(operation, "operationId");
            if !wanted(id) {
                continue;
            }
            let mut said = vec![format!("{} {path}", method.to_uppercase())];
            said.extend(requests.input(operation));
            said.extend(answers.answers(operation));
            said.extend(permissions(id, operation));
            facts.extend(said.into_iter().map(|fact| (id.to_owned(), fact)));
        }
    }
    let (requests, answers) = (requests.schemas(), answers.schemas());
    let names: BTreeSet<_> = requests.iter().chain(&answers).collect();
    for name in names {
        let uses = [(&requests, IN_REQUESTS), (&answers, IN_ANSWERS)];
        let uses =
            uses.into_iter().filter(|(held, _)| held.contains(name)).map(|(_, usage)| usage.to_owned());
        let said = uses.chain(Reader::new(document).schema(name));
        facts.extend(said.map(|fact| (name.clone(), fact)));
    }
    facts
}

/// Reads a document.
struct Reader<'a> {
    document: &'a Value,
    /// Schemas that the facts so far name.
    named: BTreeSet<String>,
}

impl<'a> Reader<'a> {
    fn new(document: &'a Value) -> Self {
        Self { document, named: BTreeSet::new() }
    }

    fn input(&mut self, operation: &'a Value) -> Vec<String> {
        let mut facts = Vec::new();
        if is_true(operation, "deprecated") {
            facts.push("deprecated".into());
        }
        for parameter in list(operation, "parameters") {
            let (place, name) = (text(parameter, "in"), text(parameter, "name"));
            let value = self.value(&parameter["schema"]);
            facts.push(format!("{place} {name}{} {value}", if_optional(parameter)));
        }
        if let Some(body) = operation.get("requestBody") {
            let content = self.content(body).expect("a body has content");
            facts.push(format!("body{} {content}", if_optional(body)));
        }
        facts
    }

    fn answers(&mut self, operation: &'a Value) -> Vec<String> {
        let answer = |(status, answer): (&String, &'a Value)| {
            let mut fact = status.clone();
            if let Some(content) = self.content(answer) {
                write!(fact, " {content}").unwrap();
            }
            for (name, header) in answer["headers"].as_object().into_iter().flatten() {
                write!(fact, ", {name} {}", self.value(&header["schema"])).unwrap();
            }
            fact
        };
        object(&operation["responses"]).iter().map(answer).collect()
    }

    /// Every schema that the facts so far use, directly or through other schemas.
    fn schemas(mut self) -> BTreeSet<String> {
        let mut read = BTreeSet::new();
        while let Some(name) = self.named.difference(&read).next().cloned() {
            self.schema(&name);
            read.insert(name);
        }
        read
    }

    fn content(&mut self, holder: &'a Value) -> Option<String> {
        let content = object(holder.get("content")?);
        assert!(content.keys().eq(["application/json"]), "all content is JSON");
        Some(self.value(&content["application/json"]["schema"]))
    }

    fn schema(&mut self, name: &str) -> Vec<String> {
        let schema = self.target(name);
        if schema.get("properties").is_some() { self.fields(schema) } else { vec![self.value(schema)] }
    }

    fn fields(&mut self, schema: &'a Value) -> Vec<String> {
        let required: Vec<_> = list(schema, "required").iter().filter_map(Value::as_str).collect();
        let field = |(name, schema): (&'a String, &'a Value)| {
            let optional = if required.contains(&name.as_str()) { "" } else { "?" };
            let deprecated = if is_true(schema, "deprecated") { " deprecated" } else { "" };
            format!("{name}{optional} {}{deprecated}", self.value(schema))
        };
        object(&schema["properties"]).iter().map(field).collect()
    }

    fn target(&self, name: &str) -> &'a Value {
        &self.document["components"]["schemas"][name]
    }

    /// A type, its limits and its default.
    fn value(&mut self, schema: &'a Value) -> String {
        let mut value = self.kind(schema);
        if let Some(default) = schema.get("default") {
            write!(value, " = {default}").unwrap();
        }
        value
    }

    fn kind(&mut self, schema: &'a Value) -> String {
        if let Some(reference) = schema.get("$ref") {
            return self.reference(reference.as_str().unwrap());
        }
        if let Some(permitted) = permitted(schema) {
            return format!("one of {}", permitted.join(" "));
        }
        for choice in ["allOf", "anyOf", "oneOf"] {
            if let Some(choices) = schema.get(choice) {
                // An `allOf` around one schema only adds a description.
                // Newer generators write that an optional value may be null, older ones do not.
                let choices = choices.as_array().unwrap().iter().filter(|choice| choice["type"] != "null");
                let choices: Vec<_> = choices.map(|choice| self.value(choice)).collect();
                assert!(choice != "allOf" || choices.len() == 1, "allOf has one schema");
                return choices.join(" or ");
            }
        }
        match schema["type"].as_str().unwrap_or("anything") {
            "array" => {
                let items = self.value(&schema["items"]);
                let set = if is_true(schema, "uniqueItems") { "set" } else { "" };
                format!("{set}[{items}]{}", bounds(schema, "minItems", "maxItems"))
            }
            "object" if schema.get("properties").is_some() => {
                format!("{{ {} }}", self.fields(schema).join(", "))
            }
            "object" => {
                let entries = schema.get("additionalProperties").filter(|entries| entries.is_object());
                let entries = entries.map_or_else(|| "anything".to_owned(), |entries| self.value(entries));
                format!("{{{entries}}}{}", bounds(schema, "minProperties", "maxProperties"))
            }
            "string" => {
                let format = schema["format"].as_str().unwrap_or("string");
                format!("{format}{}", bounds(schema, "minLength", "maxLength"))
            }
            number => format!("{number}{}", range(schema, number == "integer")),
        }
    }

    /// The target of a reference: the name of an object or enumeration, otherwise the value itself.
    fn reference(&mut self, reference: &str) -> String {
        let name = reference.rsplit('/').next().unwrap();
        let target = self.target(name);
        if target.get("properties").is_some() || permitted(target).is_some() {
            self.named.insert(name.to_owned());
            return name.to_owned();
        }
        self.value(target)
    }
}

/// The members of an enumeration, in order.
fn permitted(schema: &Value) -> Option<Vec<String>> {
    let shown = |member: &Value| member.as_str().map_or_else(|| member.to_string(), str::to_owned);
    Some(schema.get("enum")?.as_array().unwrap().iter().map(shown).collect())
}

/// The range of a number. Older generators mark a minimum as exclusive with a boolean, newer ones have a number;
/// among integers, more than 0 is at least 1.
fn range(schema: &Value, whole: bool) -> String {
    let exclusive = match schema.get("exclusiveMinimum") {
        Some(Value::Bool(true)) => schema.get("minimum"),
        Some(Value::Bool(false)) | None => None,
        number => number,
    };
    let max = schema.get("maximum").map(number).unwrap_or_default();
    match exclusive.and_then(Value::as_f64) {
        Some(min) if whole => format!(" {}..{max}", min + 1.0),
        Some(min) => format!(" {min}<..{max}"),
        None => bounds(schema, "minimum", "maximum"),
    }
}

fn bounds(schema: &Value, min: &str, max: &str) -> String {
    let bound = |name: &str| schema.get(name).map(number).unwrap_or_default();
    let (min, max) = (bound(min), bound(max));
    if min.is_empty() && max.is_empty() { String::new() } else { format!(" {min}..{max}") }
}

/// A number as text, the same for `1` and `1.0`.
fn number(value: &Value) -> String {
    value.as_f64().expect("a bound is a number").to_string()
}

fn is_true(value: &Value, name: &str) -> bool {
    value.get(name) == Some(&Value::Bool(true))
}

fn if_optional(value: &Value) -> &'static str {
    if is_true(value, "required") { "" } else { "?" }
}

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().unwrap()
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}

#[test]
fn equivalent_documents_have_equal_facts() {
    use serde_json::json;
    let facts = |parameter: Value, field: Value| {
        let answer = json!({ "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Answer" } } } });
        let parameter = json!({ "in": "query", "name": "count", "schema": parameter });
        let operation =
            json!({ "operationId": "get", "parameters": [parameter], "responses": { "200": answer } });
        let document = json!({
            "paths": { "/": { "get": operation } },
            "components": { "schemas": {
                "Answer": { "type": "object", "properties": { "color": field } },
                "Color": { "type": "string", "enum": ["red", "green"] },
            } },
        });
        of(&document, |_| true, |_, _| Vec::new())
    };
    let older = facts(
        json!({ "type": "integer", "minimum": 0.0, "exclusiveMinimum": true, "title": "Count" }),
        json!({ "allOf": [{ "$ref": "#/components/schemas/Color" }], "title": "Color", "default": "red" }),
    );
    let newer = facts(
        json!({ "anyOf": [{ "type": "integer", "exclusiveMinimum": 0, "format": "int64" }, { "type": "null" }] }),
        json!({ "$ref": "#/components/schemas/Color", "description": "A color.", "default": "red" }),
    );
    assert_eq!(older, newer);
    let lines: Vec<_> = newer.iter().map(|(subject, fact)| format!("{subject}: {fact}")).collect();
    assert_eq!(
        lines,
        [
            "get: GET /",
            "get: query count? integer 1..",
            "get: 200 Answer",
            "Answer: in answers",
            "Answer: color? Color = \"red\"",
            "Color: in answers",
            "Color: one of red green",
        ]
    );
}
