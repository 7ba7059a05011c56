//! `[voice.vivox]` and `[voice.epic]`: voice services. `config.default.toml` describes each setting.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::limits;

/// The voice services that players get tokens for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents them")]
pub struct VoiceSection {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vivox: Option<VivoxSection>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epic: Option<EpicSection>,
}

/// `[voice.vivox]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents them")]
pub struct VivoxSection {
    #[serde(deserialize_with = "limits::text::<_, 128>")]
    pub issuer: String,
    #[serde(deserialize_with = "limits::text::<_, 255>")]
    pub domain: String,
    #[serde(deserialize_with = "limits::text::<_, 2048>")]
    pub server: String,
    pub key_file: PathBuf,
    #[serde(default = "VivoxSection::ttl_s", deserialize_with = "limits::between::<_, _, 1, 86_400>")]
    pub ttl_s: u32,
    #[serde(default)]
    pub channel_type: ChannelType,
}

impl VivoxSection {
    fn ttl_s() -> u32 {
        90
    }
}

/// The kind of channels of Vivox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChannelType {
    /// Everybody hears everybody.
    #[default]
    #[serde(rename = "g")]
    Plain,
    /// Players hear who is near.
    #[serde(rename = "d")]
    Positional,
    /// Players hear themselves. For tests.
    #[serde(rename = "e")]
    Echo,
}

/// `[voice.epic]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents them")]
pub struct EpicSection {
    #[serde(deserialize_with = "limits::text::<_, 128>")]
    pub deployment_id: String,
    #[serde(deserialize_with = "limits::text::<_, 128>")]
    pub client_id: String,
    pub client_secret_file: PathBuf,
    #[serde(default = "EpicSection::base_url")]
    pub base_url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_jwks_url: Option<String>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "limits::maybe_text::<_, 128>"
    )]
    pub puid_claim: Option<String>,
    #[serde(default)]
    pub openid_lookup: bool,
}

impl EpicSection {
    fn base_url() -> String {
        "https://api.epicgames.dev".into()
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, DEFAULT_FILE};

    /// The examples of the default file, without the marks that make comments of them.
    fn examples() -> String {
        let (_, examples) = DEFAULT_FILE.split_once("# [voice.vivox]").unwrap();
        let (examples, _) = examples.split_once("# Kinds of desertion").unwrap();
        let lines = examples.lines().map(|line| line.strip_prefix("# ").unwrap_or(line));
        format!("[voice.vivox]\n{}", lines.collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn the_examples_of_the_default_file_set_everything() {
        let voice = Config::parse(&examples(), "test", &[]).unwrap().voice;
        let settings = |text: String| text.parse::<toml::Table>().unwrap();
        let set = settings(examples())["voice"].clone();
        let known = toml::Value::try_from(&voice).unwrap();
        for service in ["vivox", "epic"] {
            let names =
                |value: &toml::Value| value[service].as_table().unwrap().keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(&set), names(&known));
        }
        // What may be left out has the default that the example shows.
        let required = |line: &&str| {
            !["ttl_s", "channel_type", "base_url", "openid_lookup"].iter().any(|name| line.starts_with(name))
        };
        let least = examples().lines().filter(required).collect::<Vec<_>>().join("\n");
        assert_eq!(Config::parse(&least, "test", &[]).unwrap().voice, voice);
    }

    #[test]
    fn bad_settings_are_refused() {
        let refused = |from: &str, to: &str, expected: &str| {
            let message = Config::parse(&examples().replace(from, to), "test", &[]).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        };
        refused("\"g\"", "\"x\"", "unknown variant `x`");
        refused("ttl_s = 90", "ttl_s = 0", "0 is not from 1 to 86400");
        refused("\"mygame-1234-dev\"", "\"\"", "this takes 1 to 128 characters");
        refused("\"epic_puid\"", "\"\"", "this takes 1 to 128 characters");
        refused("openid_lookup", "openid", "unknown field `openid`");
    }
}
