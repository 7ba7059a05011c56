//! `[config]` and `[stubs]`: small answers in place of other services. `config.default.toml` describes each setting.

use std::collections::BTreeMap;

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

/// Largest size of the key-value pairs in bytes, names and values together. Every client reads all of them every two
/// minutes.
const KEY_VALUES_BYTES_MAX: usize = 65_536;

/// `[config]`: what the config service answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConfigSection {
    /// Texts by name.
    #[serde(deserialize_with = "key_values")]
    pub kvs: BTreeMap<String, String>,
}

/// `[stubs]`: which services are answered for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents them")]
pub struct StubsSection {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub friends: Option<bool>,
    pub inventory_session: bool,
    #[serde(rename = "match")]
    pub matches: bool,
}

fn key_values<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    let pairs = BTreeMap::<String, String>::deserialize(from)?;
    let bytes: usize = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > KEY_VALUES_BYTES_MAX {
        let message = format!("kvs takes at most {KEY_VALUES_BYTES_MAX} bytes, names and values together");
        return Err(D::Error::custom(message));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use crate::config::tests::parse;

    #[test]
    fn key_values_are_texts_of_a_limited_size() {
        let config = parse("[config.kvs]\nLoginRetries = \"3\"\n", &[]).unwrap();
        assert_eq!(config.config.kvs["LoginRetries"], "3");
        let of_variable = parse("", &[("RALLYPOINT_CONFIG__KVS", "{ A = \"b\" }")]).unwrap();
        assert_eq!(of_variable.config.kvs["A"], "b");
        let message = parse("[config.kvs]\nLoginRetries = 3\n", &[]).unwrap_err();
        assert!(message.contains("line 2") && message.contains("expected a string"), "{message}");
        let message = parse(&format!("[config]\nkvs = {{ a = {:?} }}", "x".repeat(65_536)), &[]).unwrap_err();
        assert!(message.contains("line 2") && message.contains("at most 65536 bytes"), "{message}");
    }
}
