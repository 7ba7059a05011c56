//! The grants of the contract: the ways to log in.

use schemars::JsonSchema;
use serde::Deserialize;

use super::LoginRefusal;
use crate::domain::Platform;

/// A way to log in, named as in the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are those of the contract")]
pub enum GrantType {
    Anon,
    Google,
    Apple,
    Refresh,
    Epic,
    #[serde(rename = "xboxlive")]
    XboxLive,
    Ps4V1,
    Ps4V3,
    Ps5V3,
    NintendoSwitch,
    Steam,
    Basic,
    #[serde(rename = "rallyhere")]
    RallyHere,
    ClientCredentials,
    AndroidDevice,
    IosDevice,
}

/// What the login of a grant checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantKind {
    /// The token is the name of the player.
    Anon,
    /// The token is a user's name and password.
    Basic,
    /// The request has a client's id and secret.
    Client,
    /// The token is a refresh token.
    Refresh,
    /// The token is a ticket of a platform, which cannot be verified here.
    Platform {
        /// The platform of the players.
        platform: Platform,
        /// The refusal if the operator has not opened the platform.
        disabled: LoginRefusal,
        /// The refusal of a login without a name.
        empty: LoginRefusal,
    },
    /// Not supported.
    Unsupported(LoginRefusal),
}

impl GrantType {
    /// Every grant, in the contract's order.
    pub const ALL: [Self; 16] = [
        Self::Anon,
        Self::Google,
        Self::Apple,
        Self::Refresh,
        Self::Epic,
        Self::XboxLive,
        Self::Ps4V1,
        Self::Ps4V3,
        Self::Ps5V3,
        Self::NintendoSwitch,
        Self::Steam,
        Self::Basic,
        Self::RallyHere,
        Self::ClientCredentials,
        Self::AndroidDevice,
        Self::IosDevice,
    ];

    /// The name in requests, metrics and the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Anon => "anon",
            Self::Google => "google",
            Self::Apple => "apple",
            Self::Refresh => "refresh",
            Self::Epic => "epic",
            Self::XboxLive => "xboxlive",
            Self::Ps4V1 => "ps4_v1",
            Self::Ps4V3 => "ps4_v3",
            Self::Ps5V3 => "ps5_v3",
            Self::NintendoSwitch => "nintendo_switch",
            Self::Steam => "steam",
            Self::Basic => "basic",
            Self::RallyHere => "rallyhere",
            Self::ClientCredentials => "client_credentials",
            Self::AndroidDevice => "android_device",
            Self::IosDevice => "ios_device",
        }
    }

    /// What its login checks.
    pub fn kind(self) -> GrantKind {
        use LoginRefusal as R;
        let platform = |platform, disabled, empty| GrantKind::Platform { platform, disabled, empty };
        match self {
            Self::Anon => GrantKind::Anon,
            Self::Basic => GrantKind::Basic,
            Self::ClientCredentials => GrantKind::Client,
            Self::Refresh => GrantKind::Refresh,
            Self::Google => platform(Platform::Google, R::GoogleDisabled, R::GoogleTokenEmpty),
            Self::Apple => platform(Platform::Apple, R::AppleDisabled, R::AppleTokenEmpty),
            Self::Epic => platform(Platform::Epic, R::EpicDisabled, R::EpicTokenEmpty),
            Self::XboxLive => platform(Platform::XboxLive, R::XboxDisabled, R::XboxTokenEmpty),
            Self::Ps4V1 => platform(Platform::PSN, R::Ps4V1Disabled, R::Ps4V1TokenEmpty),
            Self::Ps4V3 => platform(Platform::PSN, R::Ps4V3Disabled, R::Ps4V3TokenEmpty),
            Self::Ps5V3 => platform(Platform::PSN, R::Ps5V3Disabled, R::Ps5V3TokenEmpty),
            Self::NintendoSwitch => {
                platform(Platform::NintendoSwitch, R::NintendoDisabled, R::NintendoTokenEmpty)
            }
            Self::Steam => platform(Platform::Steam, R::SteamDisabled, R::SteamTokenEmpty),
            Self::RallyHere => GrantKind::Unsupported(R::DeveloperApiDisabled),
            Self::AndroidDevice => GrantKind::Unsupported(R::AndroidDeviceDisabled),
            Self::IosDevice => GrantKind::Unsupported(R::IosDeviceDisabled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_have_their_names_in_requests() {
        for grant in GrantType::ALL {
            assert_eq!(serde_json::from_value::<GrantType>(grant.name().into()).unwrap(), grant);
        }
        assert!(serde_json::from_value::<GrantType>("Anon".into()).is_err());
    }
}
