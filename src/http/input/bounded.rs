//! Parses a JSON body along its schema, and keeps only what the check of the body needs to see. A parsed value can take
//! fifty times the memory of its text. So of a list or a map, the first item beyond its limit is the last that is kept,
//! and of a value that the schema does not expect, only its kind is kept. Everything is parsed nevertheless: a syntax
//! error is found wherever it is.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::schema::BodySchema;

/// Parses a JSON text.
///
/// # Errors
/// If the text is not JSON, or has more than 128 levels of nesting, which also limits the recursion of later steps.
pub fn parse(text: &[u8], schema: &BodySchema) -> serde_json::Result<Value> {
    let mut parser = serde_json::Deserializer::from_slice(text);
    let value = Kept(schema).deserialize(&mut parser)?;
    parser.end()?;
    Ok(value)
}

/// A value that is kept as far as this schema expects it.
#[derive(Clone, Copy)]
struct Kept<'a>(&'a BodySchema);

/// A value that is parsed and dropped.
struct Dropped;

impl<'de> DeserializeSeed<'de> for Kept<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Kept<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any valid JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(flag.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let Some((item, items_max)) = self.0.items() else {
            while items.next_element_seed(Dropped)?.is_some() {}
            return Ok(Value::Array(Vec::new()));
        };
        let mut kept = Vec::new();
        while kept.len() <= items_max {
            let Some(value) = items.next_element_seed(Kept(item))? else { return Ok(kept.into()) };
            kept.push(value);
        }
        while items.next_element_seed(Dropped)?.is_some() {}
        Ok(kept.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let entries_max = self.0.entries_max();
        let mut kept = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            match self.0.entry(&name) {
                // Of two entries with one name, the second counts.
                Some(schema) if kept.len() <= entries_max || kept.contains_key(&name) => {
                    let value = entries.next_value_seed(Kept(schema))?;
                    kept.insert(name, value);
                }
                _ => entries.next_value_seed(Dropped)?,
            }
        }
        Ok(kept.into())
    }
}

impl<'de> DeserializeSeed<'de> for Dropped {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        // Not `deserialize_ignored_any`, which has no limit of nesting.
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Dropped {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any valid JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Dropped)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while entries.next_key_seed(Dropped)?.is_some() {
            entries.next_value_seed(Dropped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> BodySchema {
        let text = json!({ "type": "string", "maxLength": 3 });
        BodySchema::of(&json!({
            "type": "object",
            "properties": {
                "text": text,
                "list": { "type": "array", "items": text, "maxItems": 2 },
                "lists": {
                    "type": "array",
                    "items": { "type": "array", "items": { "type": "integer" }, "maxItems": 1 },
                    "maxItems": 2
                },
                "map": { "type": "object", "additionalProperties": text, "maxProperties": 2 },
            },
        }))
    }

    #[test]
    fn nothing_is_kept_beyond_the_limits() {
        let numbers = |count| Value::from(vec![1; count]);
        for (sent, kept) in [
            (json!({ "list": ["a", "b", "c", "d"] }), json!({ "list": ["a", "b", "c"] })),
            (json!({ "list": numbers(10_000) }), json!({ "list": [1, 1, 1] })),
            (json!({ "list": [numbers(9), { "a": 1 }] }), json!({ "list": [[], {}] })),
            (
                json!({ "lists": vec![numbers(9); 9] }),
                json!({ "lists": [numbers(2), numbers(2), numbers(2)] }),
            ),
            (
                json!({ "map": { "a": 1, "b": "b", "c": [1], "d": 4, "e": 5 } }),
                json!({ "map": { "a": 1, "b": "b", "c": [] } }),
            ),
            (json!({ "text": numbers(10_000) }), json!({ "text": [] })),
            (json!({ "text": { "a": numbers(10) } }), json!({ "text": {} })),
            (json!({ "map": numbers(10), "list": { "a": 1 } }), json!({ "map": [], "list": {} })),
            (json!({ "other": numbers(10_000), "text": "abcd" }), json!({ "text": "abcd" })),
            (numbers(10_000), json!([])),
        ] {
            assert_eq!(parse(sent.to_string().as_bytes(), &schema()).unwrap(), kept);
        }
        let twice = r#"{"map":{"a":"1","b":"2","c":"3","a":"4","d":"5"},"text":"x","text":"y"}"#;
        let kept = json!({ "map": { "a": "4", "b": "2", "c": "3" }, "text": "y" });
        assert_eq!(parse(twice.as_bytes(), &schema()).unwrap(), kept);
    }

    #[test]
    fn errors_and_violations_are_those_of_the_whole_body() {
        let nested = |depth| format!("{{\"other\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        for text in [
            r#"{"list":["a","b","c","d"]}"#,
            r#"{"list":[1,"b","c"],"map":{"a":"abcd","b":{},"c":""},"text":[1]}"#,
            r#"{"list":[1,"abcd"],"lists":[[1],[1,2],[true]],"map":{"a":"abcd","b":{}},"text":{}}"#,
            r#"{"list":["a","b","c",}"#,
            r#"{"list":["a","b","c","d\u00"#,
            r#"{"other":[1,2,{"a":1e999}]}"#,
            r#"{"other":"\ud800"}"#,
            r#"{"other":{"a":tru}}"#,
            r#"{"text":"a"} x"#,
            &nested(126),
            &nested(127),
            &nested(100_000),
            "",
            "[[",
            "{\"a\" 1}",
        ] {
            let check = |parsed: serde_json::Result<Value>| {
                let mut violations = Vec::new();
                let mut value = parsed.map_err(|error| error.to_string())?;
                schema().check_body(&mut value, &mut violations);
                Ok::<_, String>(violations)
            };
            let whole = check(serde_json::from_slice(text.as_bytes()));
            assert_eq!(check(parse(text.as_bytes(), &schema())), whole, "{}", &text[..text.len().min(100)]);
        }
    }
}
