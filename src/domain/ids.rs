//! Platforms and identifiers. A value of an identifier type is always valid: it is checked when it is parsed.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Maximum length of a session id, in characters (contract: `session_id`).
pub const SESSION_ID_CHARS_MAX: usize = 128;
/// Maximum length of a platform session id, in characters after percent-decoding (contract:
/// `platform_session_id_base64`).
pub const PLATFORM_SESSION_ID_CHARS_MAX: usize = 4096;

/// The platforms that responses can name, named and ordered as in the contract (Get Platform Session Info).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the names are those of the contract")]
pub enum Platform {
    Anon,
    Basic,
    XboxLive,
    PSN,
    NintendoNAID,
    NintendoSwitch,
    NintendoPPID,
    Google,
    GooglePlay,
    Apple,
    Epic,
    Steam,
    Amazon,
    Twitch,
    RallyHere,
    LegacyName,
}

impl Platform {
    /// Every platform, in the contract's order.
    pub const ALL: [Self; 16] = [
        Self::Anon,
        Self::Basic,
        Self::XboxLive,
        Self::PSN,
        Self::NintendoNAID,
        Self::NintendoSwitch,
        Self::NintendoPPID,
        Self::Google,
        Self::GooglePlay,
        Self::Apple,
        Self::Epic,
        Self::Steam,
        Self::Amazon,
        Self::Twitch,
        Self::RallyHere,
        Self::LegacyName,
    ];

    /// The name in requests and responses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Anon => "Anon",
            Self::Basic => "Basic",
            Self::XboxLive => "XboxLive",
            Self::PSN => "PSN",
            Self::NintendoNAID => "NintendoNAID",
            Self::NintendoSwitch => "NintendoSwitch",
            Self::NintendoPPID => "NintendoPPID",
            Self::Google => "Google",
            Self::GooglePlay => "GooglePlay",
            Self::Apple => "Apple",
            Self::Epic => "Epic",
            Self::Steam => "Steam",
            Self::Amazon => "Amazon",
            Self::Twitch => "Twitch",
            Self::RallyHere => "RallyHere",
            Self::LegacyName => "LegacyName",
        }
    }

    /// The deprecated number of this platform (contract: `PlatformID`). Four platforms have none.
    pub const fn legacy_id(self) -> Option<u8> {
        match self {
            Self::Anon => Some(2),
            Self::Amazon => Some(4),
            Self::Steam => Some(5),
            Self::PSN => Some(9),
            Self::XboxLive => Some(10),
            Self::Basic => Some(11),
            Self::Google => Some(13),
            Self::Twitch => Some(16),
            Self::NintendoSwitch => Some(22),
            Self::Apple => Some(24),
            Self::NintendoNAID => Some(26),
            Self::Epic => Some(28),
            Self::NintendoPPID | Self::GooglePlay | Self::RallyHere | Self::LegacyName => None,
        }
    }

    /// The platform with this deprecated number.
    pub fn from_legacy_id(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|platform| platform.legacy_id() == Some(id))
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Platform {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|platform| platform.name() == name).ok_or(())
    }
}

/// The id of a player, as tokens and paths name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct PlayerUuid(pub Uuid);

impl fmt::Display for PlayerUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of a session: 1 to [`SESSION_ID_CHARS_MAX`] characters. The server creates UUIDs; clients treat the id as
/// opaque.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(Arc<str>);

/// The id that a platform gave to its session, as the client encoded it: 1 to [`PLATFORM_SESSION_ID_CHARS_MAX`]
/// characters, opaque, stored and compared byte by byte.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlatformSessionId(Arc<str>);

/// The length of an id is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LengthError {
    /// The text is empty.
    TooShort,
    /// The text has more than this many characters.
    TooLong(usize),
}

/// Checks a length in characters. Counts them only if the text has more bytes than that.
fn check_length(text: &str, chars_max: usize) -> Result<(), LengthError> {
    if text.is_empty() {
        return Err(LengthError::TooShort);
    }
    if text.len() > chars_max && text.chars().nth(chars_max).is_some() {
        return Err(LengthError::TooLong(chars_max));
    }
    Ok(())
}

impl SessionId {
    /// A session id, if `text` has an allowed length.
    pub fn parse(text: &str) -> Result<Self, LengthError> {
        check_length(text, SESSION_ID_CHARS_MAX)?;
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The UUID from which the id was made; `None` if it was made from none.
    pub fn uuid(&self) -> Option<Uuid> {
        Uuid::try_parse(&self.0).ok()
    }
}

/// Allows lookups in a map with session ids as keys by `&str`.
impl Borrow<str> for SessionId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<Uuid> for SessionId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid.to_string().into())
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PlatformSessionId {
    /// A platform session id, if `text` has an allowed length.
    pub fn parse(text: &str) -> Result<Self, LengthError> {
        check_length(text, PLATFORM_SESSION_ID_CHARS_MAX)?;
        Ok(Self(text.into()))
    }

    /// The text, as the client sent it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Characters of short codes: capital letters and digits without those that look alike (0 and O, 1 and I).
const SHORT_CODE_ALPHABET: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
/// Length of the codes that the server creates. There are about a billion of them (32^6), so that the rate limit on
/// unknown codes makes guessing impractical.
const SHORT_CODE_CHARS: usize = 6;
/// Lengths that the contract allows (contract: `short_code`).
const SHORT_CODE_CHARS_ALLOWED: std::ops::RangeInclusive<usize> = 5..=12;

/// A short code: a second id of a session that people can type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShortCode(Arc<str>);

impl ShortCode {
    /// A code from random bytes.
    pub fn from_random(bytes: [u8; SHORT_CODE_CHARS]) -> Self {
        let char = |byte: u8| char::from(SHORT_CODE_ALPHABET[usize::from(byte) % SHORT_CODE_ALPHABET.len()]);
        Self(bytes.into_iter().map(char).collect::<String>().into())
    }

    /// The code in a text, in upper or lower case. Returns `None` if the text cannot be a code.
    pub fn parse(text: &str) -> Option<Self> {
        let code = text.to_ascii_uppercase();
        let is_code = SHORT_CODE_CHARS_ALLOWED.contains(&code.len())
            && code.bytes().all(|byte| SHORT_CODE_ALPHABET.contains(&byte));
        is_code.then(|| Self(code.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_found_by_their_exact_name_only() {
        for platform in Platform::ALL {
            assert_eq!(platform.name().parse(), Ok(platform));
            assert_eq!(serde_json::to_value(platform).unwrap(), platform.name());
        }
        assert_eq!("xboxlive".parse::<Platform>(), Err(()));
        assert_eq!("Discord".parse::<Platform>(), Err(()));
    }

    #[test]
    fn lengths_count_characters_not_bytes() {
        assert_eq!(PlatformSessionId::parse(""), Err(LengthError::TooShort));
        assert!(PlatformSessionId::parse(&"é".repeat(4096)).is_ok());
        assert_eq!(PlatformSessionId::parse(&"é".repeat(4097)), Err(LengthError::TooLong(4096)));
        assert!(SessionId::parse(&"a".repeat(128)).is_ok());
        assert_eq!(SessionId::parse(&"a".repeat(129)), Err(LengthError::TooLong(128)));
    }

    #[test]
    fn short_codes_are_found_in_any_case() {
        let code = ShortCode::from_random([0, 31, 32, 255, 100, 7]);
        assert_eq!(ShortCode::parse(&code.as_str().to_lowercase()), Some(code.clone()));
        for text in ["", "2345", "ABCDEFGHJKLMN", "ABC DE", "ABCDE0", "ABCDEO", "ABCDEI", "ÄBCDEF"] {
            assert_eq!(ShortCode::parse(text), None, "{text}");
        }
    }
}
