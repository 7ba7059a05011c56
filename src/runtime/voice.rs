//! Makes the voice services of the configuration.

use std::path::Path;
use std::sync::Arc;

use crate::config::{ChannelType, Config, EpicSection, Problem, VivoxSection};
use crate::env::{Clock, Entropy};
use crate::runtime::server::StartError;
use crate::voice::epic::CALLS_MAX;
use crate::voice::{Epic, EpicSettings, Vivox, VivoxSettings, Voice};

/// Makes the voice services, and reads their secrets.
///
/// # Errors
/// If a setting or a file cannot be used. The message says where it stands.
pub fn open(config: &Config, clock: &Clock, entropy: &Entropy) -> Result<Voice, StartError> {
    let mut voice = Voice::default();
    let failed = |service: &str, (setting, file): (&str, &Path), message: String| {
        // A message about a file begins with the file.
        let setting = if message.starts_with(&file.display().to_string()) { setting } else { "" };
        let problem = Problem::new(&["voice", service, setting], format!("{setting} {message}").trim_start());
        StartError(config.located(problem).to_string())
    };
    if let Some(section) = &config.voice.vivox {
        let opened = Vivox::new(vivox_settings(section), entropy);
        let opened =
            opened.map_err(|message| failed("vivox", ("key_file", section.key_file.as_path()), message))?;
        voice.vivox = Some(Arc::new(opened));
    }
    if let Some(section) = &config.voice.epic {
        let file = ("client_secret_file", section.client_secret_file.as_path());
        let opened = Epic::new(epic_settings(section), clock.clone());
        voice.epic = Some(Arc::new(opened.map_err(|message| failed("epic", file, message))?));
    }
    Ok(voice)
}

/// Checks the settings that only the services can parse, without reading files.
///
/// # Errors
/// The first setting that is invalid.
pub fn check(config: &Config) -> Result<(), Problem> {
    let Some(section) = &config.voice.epic else { return Ok(()) };
    let checked = epic_settings(section).check();
    checked.map_err(|(setting, message)| Problem::new(&["voice", "epic", setting], message))
}

/// The most calls of voice services at the same time, each of which blocks a thread.
pub fn blocking_calls_max(config: &Config) -> usize {
    if config.voice.epic.is_some() { CALLS_MAX } else { 0 }
}

fn vivox_settings(section: &VivoxSection) -> VivoxSettings {
    let section = section.clone();
    VivoxSettings {
        issuer: section.issuer,
        domain: section.domain,
        server: section.server,
        key_file: section.key_file,
        ttl_s: section.ttl_s,
        channel_type: match section.channel_type {
            ChannelType::Plain => "g",
            ChannelType::Positional => "d",
            ChannelType::Echo => "e",
        },
    }
}

fn epic_settings(section: &EpicSection) -> EpicSettings {
    let section = section.clone();
    EpicSettings {
        deployment_id: section.deployment_id,
        client_id: section.client_id,
        client_secret_file: section.client_secret_file,
        base_url: section.base_url,
        connect_jwks_url: section.connect_jwks_url,
        openid_lookup: section.openid_lookup,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration with Epic's voice for this deployment, and these further settings.
    fn epic(deployment_id: &str, settings: &str) -> Config {
        let ids = format!("deployment_id = {deployment_id:?}\nclient_id = \"c\"");
        parse(&format!("[voice.epic]\n{ids}\nclient_secret_file = \"/nowhere\"\n{settings}"))
    }

    fn parse(text: &str) -> Config {
        Config::parse(text, "test", &[]).unwrap()
    }

    #[test]
    fn a_setting_that_cannot_be_used_is_found_without_reading_files() {
        for (deployment_id, settings, expected) in [
            ("d e", "", "[voice.epic] deployment_id takes letters, digits, - and _"),
            ("d", "base_url = \"http://example.com\"", "[voice.epic] base_url must start with https://"),
            ("d", "base_url = \"epic\"", "[voice.epic] base_url is not a URL"),
            (
                "d",
                "connect_jwks_url = \"http://example.com\"",
                "[voice.epic] connect_jwks_url must start with https://",
            ),
        ] {
            let config = epic(deployment_id, settings);
            let message = config.located(check(&config).unwrap_err()).to_string();
            assert!(message.contains(expected), "{message}");
        }
        assert!(check(&epic("d", "base_url = \"http://127.0.0.1:1\"")).is_ok());
    }

    #[test]
    fn a_secret_that_cannot_be_read_keeps_the_server_from_starting() {
        let vivox =
            "[voice.vivox]\nissuer = \"i\"\ndomain = \"d\"\nserver = \"s\"\nkey_file = \"/nowhere\"\n";
        for (config, expected) in [
            (parse(vivox), "[voice.vivox] key_file /nowhere: "),
            (epic("d", ""), "[voice.epic] client_secret_file /nowhere: "),
        ] {
            let message =
                open(&config, &Clock::System, &Entropy::seeded(1)).map(drop).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
