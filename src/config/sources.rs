//! Where a configuration comes from: a file, over it the environment, over that flags.

use std::path::PathBuf;

/// Environment variables that are knobs start with this.
pub const ENV_PREFIX: &str = "RALLYPOINT_";
/// Separates section and name in an environment variable.
const ENV_SEPARATOR: &str = "__";

/// Where a configuration comes from, and can be read again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sources {
    /// The file, if any; read again when it changes.
    pub file: Option<PathBuf>,
    /// What wins over the file, later ones over earlier ones.
    pub overrides: Vec<Override>,
}

/// A knob that is set beside the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// The variable or flag that sets it.
    pub origin: String,
    /// The section, lower case.
    pub section: String,
    /// The knob, lower case.
    pub knob: String,
    /// Its value.
    pub value: toml::Value,
}

impl Sources {
    /// A file, if any, and the environment of this process over it.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        // What is no text is no knob of ours, and nothing to stumble over.
        let vars = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self { file, overrides: variables(vars) }
    }

    /// Puts a flag over all else, where it is given.
    pub fn with_flag(mut self, flag: &str, (section, knob): (&str, &str), value: Option<String>) -> Self {
        self.overrides.extend(value.map(|value| Override {
            origin: flag.into(),
            section: section.into(),
            knob: knob.into(),
            value: value.into(),
        }));
        self
    }
}

/// The knobs among variables, in the order of their names.
pub fn variables(vars: impl Iterator<Item = (String, String)>) -> Vec<Override> {
    let knob = |(name, value): (String, String)| {
        let (section, knob) = name.strip_prefix(ENV_PREFIX)?.split_once(ENV_SEPARATOR)?;
        let (section, knob) = (section.to_lowercase(), knob.to_lowercase());
        // A password is what it is, also one that reads as a number.
        let value = if knob == "password" { value.into() } else { variable(&value) };
        Some(Override { section, knob, value, origin: name })
    };
    let mut knobs: Vec<_> = vars.filter_map(knob).collect();
    knobs.sort_by(|one, other| one.origin.cmp(&other.origin));
    knobs
}

/// A variable's value: a number, boolean, list or quoted text where it reads as one, else plain text.
fn variable(text: &str) -> toml::Value {
    let parsed = format!("value = {text}").parse::<toml::Table>().ok();
    parsed.and_then(|mut table| table.remove("value")).unwrap_or_else(|| text.into())
}
