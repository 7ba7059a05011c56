//! The data that a player's client sends about itself when it creates or joins a session.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::api::wire::{CustomDataBody, PlatformNumber, requested_team};
use crate::auth::Caller;
use crate::domain::client::{Client, CrossplayPreferences, DeviceType, Input};
use crate::domain::session::Status;
use crate::domain::session::join::Joiner;
use crate::domain::{Platform, PlayerUuid};
use crate::http::error::Error;
use crate::http::input::violation::ViolationKind;

/// Platform and input device of a player.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ClientSettings {
    /// Deprecated: number of the platform. The server reads it only if `platform` is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform_id: Option<PlatformNumber>,
    /// Platform of the player. A platform in the player's token takes precedence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Input device.
    pub input: Input,
    /// Kind of device on which the game runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_type: Option<DeviceType>,
}

/// A request to join a session.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(rename = "SelfSessionPlayerUpdateRequest")]
pub struct JoinRequest {
    /// Requested status. The server ignores it: a joiner becomes the leader if there is none, and a member otherwise.
    #[serde(default = "member")]
    #[allow(dead_code, reason = "the contract has this field; the rules decide on the status")]
    pub status: Status,
    /// Version of the game client.
    pub client_version: String,
    /// Platform and input device of the player.
    pub client_settings: ClientSettings,
    /// Index of the requested team. With 0, the player gets the team of their invite, else the first team with a free slot.
    pub team_id: u64,
    /// Crossplay preferences. If they are absent, the player accepts everyone.
    pub crossplay_preferences: Option<CrossplayPreferences>,
    /// Custom data of the player.
    #[serde(default)]
    pub custom_data: CustomDataBody,
    /// Password of the session.
    #[schemars(length(min = 1, max = 128))]
    pub password: Option<String>,
    /// UUID of a friend who is active in the session.
    pub friend_uuid: Option<Uuid>,
}

fn member() -> Status {
    Status::Member
}

/// The client of a player. Its platform is `claimed`, the one in the player's token, or else the one in the body. `loc`
/// is the location of `client_settings` in the body, for the error.
///
/// # Errors
/// [`Error::Invalid`] if neither the token nor the body names a platform.
pub fn client(
    claimed: Option<Platform>,
    version: String,
    settings: &ClientSettings,
    crossplay: Option<CrossplayPreferences>,
    loc: &[&'static str],
) -> Result<Client, Error> {
    let by_number = || settings.platform_id.and_then(|number| Platform::from_legacy_id(number.0));
    let platform = claimed.or(settings.platform).or_else(by_number);
    let steps = || loc.iter().chain(&["client_settings", "platform"]).map(|name| (*name).into());
    let platform = platform.ok_or_else(|| Error::Invalid(vec![ViolationKind::MISSING.at(steps())]))?;
    Ok(Client { version, platform, input: settings.input, device_type: settings.device_type, crossplay })
}

impl JoinRequest {
    /// Converts the request to the input of the join rules. The token's claims (platform, older id) apply only to the
    /// token's own player.
    ///
    /// # Errors
    /// [`Error::Invalid`] if neither the token nor the body names a platform.
    pub fn joiner(self, caller: &Caller, player: PlayerUuid, loc: &[&'static str]) -> Result<Joiner, Error> {
        let own_token = (caller.player() == Some(player)).then(|| caller.token());
        let claimed = own_token.and_then(|token| token.platform);
        let (version, crossplay) = (self.client_version, self.crossplay_preferences);
        Ok(Joiner {
            player,
            player_id: own_token.and_then(|token| token.player_id),
            client: Some(client(claimed, version, &self.client_settings, crossplay, loc)?),
            team_id: requested_team(self.team_id),
            custom_data: Some(self.custom_data.0),
            password: self.password,
            friend: self.friend_uuid.map(PlayerUuid),
            claims: own_token.map(|token| token.claims.clone()).unwrap_or_default(),
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
