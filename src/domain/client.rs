//! The game client of a player, and which clients may play together.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Platform;

/// The input device of the player (contract: `Input`).
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

/// The machine that the player uses (contract: `DeviceType`).
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

/// Platforms that a player accepts in other players (contract: `CrossplayPlatform`).
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

/// Inputs that a player accepts in other players (contract: `CrossplayInput`).
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

/// Which other players a player accepts; without preferences, all (contract: `CrossplayPreferences`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CrossplayPreferences {
    /// Accepted platforms.
    pub permitted_platform: CrossplayPlatform,
    /// Accepted inputs.
    pub permitted_input: CrossplayInput,
}

/// A player's client, as the player's request to join described it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// The version of the game, usually a semantic version.
    pub version: String,
    /// The platform: that of the token, if the token names one.
    pub platform: Platform,
    /// The input device.
    pub input: Input,
    /// The machine, if the client named it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_type: Option<DeviceType>,
    /// Which other players the player accepts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crossplay: Option<CrossplayPreferences>,
}

/// How far two clients' versions must agree for their players to share a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VersionCheck {
    /// Versions are not compared.
    #[default]
    Off,
    /// Versions must be equal.
    Exact,
    /// The first two numbers of the versions must be equal.
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

impl VersionCheck {
    /// A text that is the same for versions that admit each other, and for no others. Empty, if versions are not
    /// compared.
    pub fn group_of(self, version: &str) -> String {
        match self {
            Self::Off => String::new(),
            Self::Exact => version.to_owned(),
            Self::MajorMinor => version.split(['.', '-', '+']).take(2).collect::<Vec<_>>().join("."),
        }
    }
}

impl CrossplayPreferences {
    /// Whether they accept every platform and input.
    fn agree_to_all(self) -> bool {
        self.permitted_platform == CrossplayPlatform::Any && self.permitted_input == CrossplayInput::Any
    }
}

impl Client {
    /// Whether this player accepts a player whose client is unknown.
    pub fn agrees_to_unknown(&self) -> bool {
        self.crossplay.is_none_or(CrossplayPreferences::agree_to_all)
    }

    /// Whether this player accepts the other. Two players may play together if both accept each other.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_far_as_configured() {
        use VersionCheck::{Exact, MajorMinor, Off};
        for (check, one, other, admits) in [
            (Off, "1.0.0", "2.0.0", true),
            (Exact, "1.2.3", "1.2.3", true),
            (Exact, "1.2.3", "1.2.4", false),
            (Exact, "1.2", "1.2.0", false),
            (MajorMinor, "1.2.3", "1.2.4", true),
            (MajorMinor, "1.2", "1.2.9", true),
            (MajorMinor, "1.2-beta", "1.2+build", true),
            (MajorMinor, "1.2.3", "1.3.3", false),
            (MajorMinor, "1.2.3", "2.2.3", false),
            (MajorMinor, "1", "1.0", false),
        ] {
            assert_eq!(check.admits(one, other), admits, "{check:?}: {one} {other}");
            assert_eq!(check.admits(other, one), admits, "{check:?}: {other} {one}");
        }
    }

    #[test]
    fn crossplay_preferences_name_platforms_and_inputs() {
        let client = |platform, input, crossplay| Client {
            version: "1.0".into(),
            platform,
            input,
            device_type: None,
            crossplay,
        };
        let wants = |permitted_platform, permitted_input| {
            let crossplay = CrossplayPreferences { permitted_platform, permitted_input };
            client(Platform::Steam, Input::Gamepad, Some(crossplay))
        };
        let xbox_gamepad = client(Platform::XboxLive, Input::Gamepad, None);
        let psn_keyboard = client(Platform::PSN, Input::KeyboardAndMouse, None);
        let steam_touch = client(Platform::Steam, Input::Touch, None);
        use {CrossplayInput as I, CrossplayPlatform as P};
        for (wanted, accepts) in [
            (wants(P::Any, I::Any), [true, true, true]),
            (wants(P::XboxLike, I::Any), [true, false, false]),
            (wants(P::PlayStationLike, I::Any), [false, true, false]),
            (wants(P::Any, I::Gamepad), [true, false, false]),
            (wants(P::Any, I::KeyboardAndMouse), [false, true, false]),
            (wants(P::Any, I::Touch), [false, false, true]),
            (wants(P::XboxLike, I::KeyboardAndMouse), [false, false, false]),
        ] {
            let found = [&xbox_gamepad, &psn_keyboard, &steam_touch].map(|other| wanted.agrees_to(other));
            assert_eq!(found, accepts, "{:?}", wanted.crossplay);
        }
        assert!(steam_touch.agrees_to(&xbox_gamepad), "without preferences everyone is accepted");
        assert!(steam_touch.agrees_to_unknown());
        assert!(wants(P::Any, I::Any).agrees_to_unknown());
        assert!(!wants(P::XboxLike, I::Any).agrees_to_unknown());
        assert!(!wants(P::Any, I::Gamepad).agrees_to_unknown());
    }
}
