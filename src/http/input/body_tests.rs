//! Each kind of violation, as observed in answers of the published service, on a body with every kind of field.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::domain::limits::{CUSTOM_DATA_BYTES_MAX, CUSTOM_DATA_ENTRIES_MAX};

#[derive(Debug, Deserialize, JsonSchema)]
#[allow(dead_code, reason = "read through the schema")]
struct Everything {
    #[schemars(length(min = 1, max = 8))]
    name: String,
    team: Option<u64>,
    #[serde(default)]
    open: bool,
    friend: Option<Uuid>,
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    until: Option<jiff::Timestamp>,
    input: Option<crate::domain::client::Input>,
    inner: Option<Inner>,
    #[schemars(length(min = 1, max = 2))]
    list: Option<Vec<Inner>>,
    #[schemars(length(min = 2, max = 2))]
    pair: Option<Vec<u32>>,
    #[serde(default)]
    custom_data: crate::api::wire::CustomDataBody,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[allow(dead_code, reason = "read through the schema")]
struct Inner {
    #[schemars(range(min = 1, max = 100))]
    max_size: u32,
}

fn read(body: &str) -> Result<Everything, Vec<(Value, String, &'static str)>> {
    let mut violations = Vec::new();
    let schema = Json::<Everything>::schema();
    let read = Json::<Everything>::read(&Bytes::from(body.to_owned()), &schema, &mut violations);
    match read {
        Some(Json(read)) => Ok(read),
        None => Err(violations
            .into_iter()
            .map(|found| (serde_json::to_value(found.loc).unwrap(), found.msg, found.kind))
            .collect()),
    }
}

#[track_caller]
fn refused(body: &Value, loc: Value, msg: &str, kind: &str) {
    assert_eq!(read(&body.to_string()).unwrap_err(), [(loc, msg.to_owned(), kind)], "{body}");
}

#[test]
fn each_violation_has_the_text_and_type_of_the_contracts_framework() {
    let missing = "field required";
    refused(&json!(null), json!(["body"]), missing, "value_error.missing");
    refused(&json!({}), json!(["body", "name"]), missing, "value_error.missing");
    refused(&json!([]), json!(["body"]), "value is not a valid dict", "type_error.dict");
    let none = "none is not an allowed value";
    refused(&json!({"name": null}), json!(["body", "name"]), none, "type_error.none.not_allowed");
    let open_null = json!({"name": "a", "open": null});
    refused(&open_null, json!(["body", "open"]), none, "type_error.none.not_allowed");
    let short = "ensure this value has at least 1 characters";
    refused(&json!({"name": ""}), json!(["body", "name"]), short, "value_error.any_str.min_length");
    let long = "ensure this value has at most 8 characters";
    refused(&json!({"name": "123456789"}), json!(["body", "name"]), long, "value_error.any_str.max_length");
    for name in [json!([]), json!(["a"]), json!({}), json!({"a": "b"})] {
        refused(&json!({"name": name}), json!(["body", "name"]), "str type expected", "type_error.str");
    }
    refused(&json!({"name": 123_456_789}), json!(["body", "name"]), long, "value_error.any_str.max_length");

    let with = |field: &str, value: Value| json!({"name": "a", field: value});
    let integer = "value is not a valid integer";
    refused(&with("team", json!("x")), json!(["body", "team"]), integer, "type_error.integer");
    refused(&with("team", json!(1.5)), json!(["body", "team"]), integer, "type_error.integer");
    let at_least = "ensure this value is greater than or equal to 0";
    refused(&with("team", json!(-1)), json!(["body", "team"]), at_least, "value_error.number.not_ge");
    let at_most = "ensure this value is less than or equal to 100";
    let size = json!(["body", "inner", "max_size"]);
    refused(&with("inner", json!({"max_size": 101})), size, at_most, "value_error.number.not_le");
    let boolean = "value could not be parsed to a boolean";
    refused(&with("open", json!("perhaps")), json!(["body", "open"]), boolean, "type_error.bool");
    let uuid = "value is not a valid uuid";
    refused(&with("friend", json!("me")), json!(["body", "friend"]), uuid, "type_error.uuid");
    let datetime = "invalid datetime format";
    for until in [json!("2026-11-30T12:00:00"), json!(true), json!([])] {
        refused(&with("until", until), json!(["body", "until"]), datetime, "value_error.datetime");
    }
    let inputs = "value is not a valid enumeration member; permitted: 'keyboardandmouse', 'gamepad', 'touch'";
    refused(&with("input", json!("wheel")), json!(["body", "input"]), inputs, "type_error.enum");
    refused(
        &with("list", json!({})),
        json!(["body", "list"]),
        "value is not a valid list",
        "type_error.list",
    );
    let items = "ensure this value has at least 1 items";
    refused(&with("list", json!([])), json!(["body", "list"]), items, "value_error.list.min_items");
    let items = "ensure this value has at most 2 items";
    refused(&with("list", json!([1, 2, 3])), json!(["body", "list"]), items, "value_error.list.max_items");
    let items = "ensure this value has at least 2 items";
    refused(&with("pair", json!([1])), json!(["body", "pair"]), items, "value_error.list.min_items");
    let element = json!(["body", "list", 1, "max_size"]);
    refused(&with("list", json!([{"max_size": 1}, {}])), element, missing, "value_error.missing");
    let entry = json!(["body", "custom_data", "a"]);
    refused(&with("custom_data", json!({"a": [1]})), entry.clone(), "str type expected", "type_error.str");
    refused(&with("custom_data", json!({"a": null})), entry, none, "type_error.none.not_allowed");
    for open in [json!(2), json!(-1), json!(0.5), json!([]), json!({}), json!("1.0")] {
        refused(&with("open", open), json!(["body", "open"]), boolean, "type_error.bool");
    }
    for input in [json!(1), json!(true), json!([])] {
        refused(&with("input", input), json!(["body", "input"]), inputs, "type_error.enum");
    }
}

#[test]
fn every_violation_is_listed_in_declared_order() {
    let body = json!({"open": "no idea", "team": -1, "inner": []});
    let found: Vec<_> = read(&body.to_string()).unwrap_err().into_iter().map(|(loc, ..)| loc).collect();
    assert_eq!(
        found,
        [json!(["body", "name"]), json!(["body", "team"]), json!(["body", "open"]), json!(["body", "inner"]),]
    );
}

#[test]
fn broken_json_names_the_byte() {
    for (broken, position) in
        [("{\"a\":", 5), ("{", 1), ("[1,", 3), ("{\n\"a\":", 6), ("{\"a\":x}", 5), ("{} {}", 3)]
    {
        let found = read(broken).unwrap_err();
        assert_eq!(
            (&found[0].0, found[0].2),
            (&json!(["body", position]), "value_error.jsondecode"),
            "{broken}"
        );
    }
    // A byte order mark counts for nothing.
    let found = read("\u{feff}{\"a\":").unwrap_err();
    assert_eq!((&found[0].0, found[0].2), (&json!(["body", 5]), "value_error.jsondecode"));
    for broken in ["\u{feff}", "\u{feff}\u{feff}{}"] {
        let found = read(broken).unwrap_err();
        assert_eq!((&found[0].0, found[0].2), (&json!(["body", 0]), "value_error.jsondecode"), "{broken:?}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(read(&deep).unwrap_err()[0].2, "value_error.jsondecode");
    assert_eq!(read("").unwrap_err()[0].2, "value_error.missing");
}

#[test]
fn integers_beyond_64_bits_become_the_nearest() {
    let beyond = "9".repeat(40);
    for team in [beyond.clone(), format!("\"{beyond}\""), u64::MAX.to_string(), "1e300".into()] {
        let read = read(&format!("{{\"name\": \"a\", \"team\": {team}}}")).unwrap();
        assert_eq!(read.team, Some(i64::MAX.unsigned_abs()), "{team}");
    }
    let below = json!({"name": "a", "team": format!("-{beyond}")});
    let at_least = "ensure this value is greater than or equal to 0";
    refused(&below, json!(["body", "team"]), at_least, "value_error.number.not_ge");
}

#[test]
fn lenient_spellings_are_accepted() {
    let body = json!({
        "name": "é".repeat(8), "team": "3", "open": "yes", "unknown": [], "inner": null,
        "friend": "0123456789ABCDEF0123456789ABCDEF", "until": "1796040000",
    });
    let read = read(&body.to_string()).unwrap();
    assert_eq!((read.team, read.open), (Some(3), true));
    assert!(read.inner.is_none());
    assert_eq!(read.until.unwrap().to_string(), "2026-11-30T12:00:00Z");
}

#[test]
fn values_are_converted_as_the_contracts_framework_does() {
    let body = r#"{
        "name": 104, "team": true, "open": 1.0, "inner": {"max_size": 7.0},
        "custom_data": {"score": 12, "f": 1.5, "b": true, "c": false, "exp": 1e22, "small": 1e-7, "zero": -0.0,
            "long": 123456789012345678901234567890, "text": "123456789012345678901234567890 \" -0"}
    }"#;
    let read_body = read(body).unwrap();
    assert_eq!((&*read_body.name, read_body.team, read_body.open), ("104", Some(1), true));
    assert_eq!(read_body.inner.unwrap().max_size, 7);
    let custom_data = serde_json::to_value(read_body.custom_data).unwrap();
    assert_eq!(
        custom_data,
        json!({
            "score": "12", "f": "1.5", "b": "True", "c": "False", "exp": "1e+22", "small": "1e-07", "zero": "-0.0",
            "long": "123456789012345678901234567890", "text": "123456789012345678901234567890 \" -0",
        })
    );
    for (open, expected) in [("0.0", false), ("-0", false), ("0", false), ("\"OFF\"", false), ("\"T\"", true)]
    {
        assert_eq!(read(&format!("{{\"name\": \"a\", \"open\": {open}}}")).unwrap().open, expected, "{open}");
    }
    assert_eq!(read("\u{feff}{\"name\": \"a\"}").unwrap().name, "a");
}

#[test]
fn converted_texts_count_towards_the_limit_on_bytes() {
    // The largest map: each entry takes the same share, one with a number.
    let share = CUSTOM_DATA_BYTES_MAX / CUSTOM_DATA_ENTRIES_MAX;
    let entry = |n: usize, text: &str| (format!("{n:0>0$}", share - 300), json!(text));
    let texts = (1..CUSTOM_DATA_ENTRIES_MAX).map(|n| entry(n, &"x".repeat(300)));
    for (digits, refusal) in [(300, None), (301, Some("value_error.dict.max_bytes"))] {
        let custom_data: serde_json::Map<_, _> = texts.clone().chain([entry(0, "NUMBER")]).collect();
        let body = json!({"name": "a", "custom_data": custom_data}).to_string();
        let found = read(&body.replace("\"NUMBER\"", &"9".repeat(digits)));
        assert_eq!(found.err().map(|found| found[0].2), refusal);
    }
}
