//! What a player's client sends about itself when it creates or joins.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::api::wire::{CustomDataBody, PlatformNumber, team_index};
use crate::auth::Caller;
use crate::domain::client::{Client, CrossplayPreferences, DeviceType, Input};
use crate::domain::session::Status;
use crate::domain::session::join::Joiner;
use crate::domain::{Platform, PlayerUuid};
use crate::http::error::Error;
use crate::http::input::violation::ViolationKind;

/// A player's platform and input.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ClientSettings {
    /// Deprecated: the platform's number, read where `platform` is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform_id: Option<PlatformNumber>,
    /// The platform; the token's wins where it names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The input used.
    pub input: Input,
    /// The machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_type: Option<DeviceType>,
}

/// What a player says of themselves when joining.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(rename = "SelfSessionPlayerUpdateRequest")]
pub struct JoinRequest {
    /// The standing asked for; a joiner leads only where nobody does.
    #[serde(default = "member")]
    #[allow(dead_code, reason = "accepted as the contract has it; who leads is the rules' business")]
    pub status: Status,
    /// The game's version.
    pub client_version: String,
    /// Platform and input.
    pub client_settings: ClientSettings,
    /// Index of the team asked for.
    pub team_id: u64,
    /// Whom the player agrees to play with; without any, everyone.
    pub crossplay_preferences: Option<CrossplayPreferences>,
    /// The player's own data.
    #[serde(default)]
    pub custom_data: CustomDataBody,
    /// The password of the session.
    #[schemars(length(min = 1, max = 128))]
    pub password: Option<String>,
    /// The friend whose session this is.
    pub friend_uuid: Option<Uuid>,
}

fn member() -> Status {
    Status::Member
}

/// The client of a player, on the platform that their own token names, else the one the body does.
///
/// # Errors
/// A violation where neither names one. `loc` is where the body has its `client_settings`.
pub fn client(
    claimed: Option<Platform>,
    version: String,
    settings: &ClientSettings,
    crossplay: Option<CrossplayPreferences>,
    loc: &[&'static str],
) -> Result<Client, Error> {
    let numbered = || settings.platform_id.and_then(|number| Platform::from_legacy_id(number.0));
    let platform = claimed.or(settings.platform).or_else(numbered);
    let steps = || loc.iter().chain(&["client_settings", "platform"]).map(|name| (*name).into());
    let platform = platform.ok_or_else(|| Error::Invalid(vec![ViolationKind::MISSING.at(steps())]))?;
    Ok(Client { version, platform, input: settings.input, device_type: settings.device_type, crossplay })
}

impl JoinRequest {
    /// The request of a player about themselves, as the rules see it. Claims of the token (platform, older id)
    /// speak for the token's own player only.
    pub fn joiner(self, caller: &Caller, player: PlayerUuid, loc: &[&'static str]) -> Result<Joiner, Error> {
        let own_token = (caller.player() == Some(player)).then(|| caller.token());
        let claimed = own_token.and_then(|token| token.platform);
        let (version, crossplay) = (self.client_version, self.crossplay_preferences);
        Ok(Joiner {
            player,
            player_id: own_token.and_then(|token| token.player_id),
            client: Some(client(claimed, version, &self.client_settings, crossplay, loc)?),
            team_id: Some(team_index(self.team_id)),
            custom_data: Some(self.custom_data.0),
            password: self.password,
            friend: self.friend_uuid.map(PlayerUuid),
        })
    }
}

/// The wire form of a client's settings.
impl From<&Client> for ClientSettings {
    fn from(client: &Client) -> Self {
        Self {
            platform_id: None,
            platform: Some(client.platform),
            input: client.input,
            device_type: client.device_type,
        }
    }
}
