//! What a player's game client says of itself, and who may play with whom.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Platform;

/// How the player holds the game (contract: `Input`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Input {
    /// Keyboard and mouse.
    KeyboardAndMouse,
    /// A gamepad.
    Gamepad,
    /// A touch screen.
    Touch,
}

/// The machine the player is on (contract: `DeviceType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeviceType {
    /// A personal computer.
    Pc,
    /// Xbox Series X or S.
    XboxSeries,
    /// Xbox One.
    XboxOne,
    /// A web browser.
    Web,
}

/// Platforms that a player agrees to play with (contract: `CrossplayPlatform`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CrossplayPlatform {
    /// Every platform.
    #[serde(rename = "desired_platforms_any")]
    Any,
    /// Xbox consoles only.
    #[serde(rename = "desired_platforms_xboxlike")]
    XboxLike,
    /// PlayStation consoles only.
    #[serde(rename = "desired_platforms_playstationlike")]
    PlayStationLike,
}

/// Inputs that a player agrees to play with (contract: `CrossplayInput`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CrossplayInput {
    /// Every input.
    #[serde(rename = "desired_inputs_any")]
    Any,
    /// Keyboard and mouse only.
    #[serde(rename = "desired_inputs_keyboardandmouse")]
    KeyboardAndMouse,
    /// Gamepads only.
    #[serde(rename = "desired_inputs_gamepad")]
    Gamepad,
    /// Touch screens only.
    #[serde(rename = "desired_inputs_touch")]
    Touch,
}

/// Whom a player agrees to play with; without any, everyone (contract: `CrossplayPreferences`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CrossplayPreferences {
    /// Platforms agreed to.
    pub permitted_platform: CrossplayPlatform,
    /// Inputs agreed to.
    pub permitted_input: CrossplayInput,
}

/// A player's client, as it described itself when joining.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// The game's version, semver by convention.
    pub version: String,
    /// The platform played on: the token's, where it names one.
    pub platform: Platform,
    /// The input used.
    pub input: Input,
    /// The machine, where given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_type: Option<DeviceType>,
    /// Whom the player agrees to play with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crossplay: Option<CrossplayPreferences>,
}

/// How far two clients' versions must agree for their players to share a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VersionCheck {
    /// Not at all.
    #[default]
    Off,
    /// To the letter.
    Exact,
    /// In their first two numbers.
    MajorMinor,
}

impl VersionCheck {
    /// Whether players with these versions may share a session.
    pub fn admits(self, one: &str, other: &str) -> bool {
        fn major_minor(version: &str) -> (Option<&str>, Option<&str>) {
            let mut numbers = version.split(['.', '-', '+']);
            (numbers.next(), numbers.next())
        }
        match self {
            Self::Off => true,
            Self::Exact => one == other,
            Self::MajorMinor => major_minor(one) == major_minor(other),
        }
    }
}

impl CrossplayPreferences {
    /// Whether they agree to everyone.
    fn agree_to_all(self) -> bool {
        self.permitted_platform == CrossplayPlatform::Any && self.permitted_input == CrossplayInput::Any
    }
}

impl Client {
    /// Whether this player agrees to play with someone of whose client nothing is known.
    pub fn agrees_to_unknown(&self) -> bool {
        self.crossplay.is_none_or(CrossplayPreferences::agree_to_all)
    }

    /// Whether this player agrees to play with the other; a pair plays where both agree.
    pub fn agrees_to(&self, other: &Self) -> bool {
        let Some(wanted) = self.crossplay else { return true };
        let platform = match wanted.permitted_platform {
            CrossplayPlatform::Any => true,
            CrossplayPlatform::XboxLike => other.platform == Platform::XboxLive,
            CrossplayPlatform::PlayStationLike => other.platform == Platform::PSN,
        };
        let input = match wanted.permitted_input {
            CrossplayInput::Any => true,
            CrossplayInput::KeyboardAndMouse => other.input == Input::KeyboardAndMouse,
            CrossplayInput::Gamepad => other.input == Input::Gamepad,
            CrossplayInput::Touch => other.input == Input::Touch,
        };
        platform && input
    }
}
