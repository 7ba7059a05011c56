//! The sources of a configuration: a file, then environment variables, then flags; later ones take precedence.

use std::fmt;
use std::path::PathBuf;

/// Prefix of the environment variables that are settings.
pub const ENV_PREFIX: &str = "RALLYPOINT_";
/// Separates section and setting in the name of an environment variable.
const ENV_SEPARATOR: &str = "__";

/// The sources of a configuration, kept so that it can be read again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sources {
    /// The file, if there is one; it is read again when it changes.
    pub file: Option<PathBuf>,
    /// Settings from variables and flags. They take precedence over the file, later ones over earlier ones.
    pub overrides: Vec<Override>,
}

/// A setting from an environment variable or a flag. `Debug` leaves out the value, which may be a password.
#[derive(Clone, PartialEq)]
pub struct Override {
    /// Name of the variable or flag, for error messages.
    pub origin: String,
    /// The section, in lower case.
    pub section: String,
    /// The name of the setting in its section, in lower case.
    pub setting: String,
    /// The value of the setting.
    pub value: toml::Value,
}

impl fmt::Debug for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Override").field(&self.origin).finish()
    }
}

impl Sources {
    /// A file, if there is one, and the environment variables of this process, which take precedence.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        // A variable that is not UTF-8 cannot be a setting; it is ignored.
        let vars = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self { file, overrides: variables(vars) }
    }

    /// Adds a flag, if it was given. It takes precedence over the file and the environment.
    pub fn with_flag(mut self, flag: &str, (section, setting): (&str, &str), value: Option<String>) -> Self {
        self.overrides.extend(value.map(|value| Override {
            origin: flag.into(),
            section: section.into(),
            setting: setting.into(),
            value: value.into(),
        }));
        self
    }
}

/// The settings among these environment variables, sorted by the name of the variable.
pub fn variables(vars: impl Iterator<Item = (String, String)>) -> Vec<Override> {
    let setting_of = |(name, value): (String, String)| {
        let (section, setting) = name.strip_prefix(ENV_PREFIX)?.split_once(ENV_SEPARATOR)?;
        let (section, setting) = (section.to_lowercase(), setting.to_lowercase());
        // A password is always text, even if it looks like a number.
        let value = if setting == "password" { value.into() } else { parse_value(&value) };
        Some(Override { section, setting, value, origin: name })
    };
    let mut settings: Vec<_> = vars.filter_map(setting_of).collect();
    settings.sort_by(|one, other| one.origin.cmp(&other.origin));
    settings
}

/// The value of a variable: any TOML value, such as a number, boolean, list or quoted text; otherwise plain text.
fn parse_value(text: &str) -> toml::Value {
    let parsed = format!("value = {text}").parse::<toml::Table>().ok();
    parsed.and_then(|mut table| table.remove("value")).unwrap_or_else(|| text.into())
}
