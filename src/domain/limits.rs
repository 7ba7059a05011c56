//! Limits that request bodies and the configuration share, and the functions that check them when the configuration
//! is read. Their errors say what is allowed; the configuration adds the position in the file.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::CustomData;

/// Maximum number of entries in a `custom_data` map. The contract sets no limit.
pub const CUSTOM_DATA_ENTRIES_MAX: usize = 128;
/// Maximum size of a `custom_data` map in bytes, names and values together: 32 values of the maximum length. By
/// default a session has room for a hundred players with that much data. The contract sets no limit, but every change
/// reads and writes the whole session.
pub const CUSTOM_DATA_BYTES_MAX: usize = 131_072;
/// Maximum length of a `custom_data` value, in characters (contract: `custom_data`).
pub const CUSTOM_DATA_VALUE_CHARS_MAX: usize = 4096;

/// Reads a number from `MIN` to `MAX`.
pub fn between<'de, D: Deserializer<'de>, N: TryFrom<usize>, const MIN: usize, const MAX: usize>(
    from: D,
) -> Result<N, D::Error> {
    let number = usize::deserialize(from)?;
    let allowed = Some(number).filter(|number| (MIN..=MAX).contains(number));
    let allowed = allowed.and_then(|number| N::try_from(number).ok());
    allowed.ok_or_else(|| D::Error::custom(format!("{number} is not from {MIN} to {MAX}")))
}

/// Reads an optional number from `MIN` to `MAX`.
pub fn maybe_between<'de, D: Deserializer<'de>, N: TryFrom<usize>, const MIN: usize, const MAX: usize>(
    from: D,
) -> Result<Option<N>, D::Error> {
    between::<D, N, MIN, MAX>(from).map(Some)
}

/// Reads a text of 1 to `MAX` characters.
pub fn text<'de, D: Deserializer<'de>, const MAX: usize>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    if (1..=MAX).contains(&text.chars().count()) {
        return Ok(text);
    }
    Err(D::Error::custom(format!("this takes 1 to {MAX} characters")))
}

/// Reads an optional text of 1 to `MAX` characters.
pub fn maybe_text<'de, D: Deserializer<'de>, const MAX: usize>(from: D) -> Result<Option<String>, D::Error> {
    text::<D, MAX>(from).map(Some)
}

/// Reads a `custom_data` map within the limits above.
pub fn custom_data<'de, D: Deserializer<'de>>(from: D) -> Result<CustomData, D::Error> {
    let data = CustomData::deserialize(from)?;
    check_custom_data(&data).map(|()| data).map_err(D::Error::custom)
}

/// Checks a `custom_data` map.
///
/// # Errors
/// What is allowed, if the map is beyond a limit.
pub fn check_custom_data(data: &CustomData) -> Result<(), String> {
    if data.len() > CUSTOM_DATA_ENTRIES_MAX {
        return Err(format!("custom_data takes at most {CUSTOM_DATA_ENTRIES_MAX} entries"));
    }
    let bytes: usize = data.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > CUSTOM_DATA_BYTES_MAX {
        return Err(format!("custom_data takes at most {CUSTOM_DATA_BYTES_MAX} bytes"));
    }
    let fits = |value: &str| (1..=CUSTOM_DATA_VALUE_CHARS_MAX).contains(&value.chars().count());
    match data.iter().find(|(_, value)| !fits(value)) {
        Some((key, _)) => {
            Err(format!("custom_data.{key} takes 1 to {CUSTOM_DATA_VALUE_CHARS_MAX} characters"))
        }
        None => Ok(()),
    }
}
