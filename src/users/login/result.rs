//! The answer to a login. Published clients refuse it as a whole if a field is null, so absent fields are left out.

use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::app::login::LoggedIn;
use crate::domain::identity::product_uuid;
use crate::domain::{Platform, PlayerUuid};
use crate::users::errors::Restriction;

/// The answer to a login. It has tokens, so it has no `Debug`.
#[derive(Serialize, JsonSchema)]
pub struct LoginResult {
    /// Access token, for `Authorization: Bearer`.
    pub access_token: String,
    /// Always `Bearer`.
    pub token_type: &'static str,
    /// Seconds until the access token expires.
    pub expires_in: u64,
    /// Refresh token, for the grant `refresh`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// Player. Absent for a service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_player_uuid: Option<PlayerUuid>,
    /// Person behind the player. Absent for a service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person_id: Option<Uuid>,
    /// Platform of the player. Absent for a service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The player's id on the platform. Absent for a service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub portal_user_id: Option<String>,
    /// Display name of the player. Absent for a service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Permissions of the access token.
    pub permissions: Vec<String>,
    /// Always empty: this server restricts no players.
    pub restrictions: [Restriction; 0],
    /// Client that logged in.
    pub client_id: String,
    /// Deprecated: a constant.
    pub publisher_uuid: Uuid,
    /// Deprecated: a constant.
    pub tenant_uuid: Uuid,
    /// Deprecated: a constant.
    pub config_elector_uuid: Uuid,
    /// Deprecated: follows from `client_id`.
    pub client_uuid: Uuid,
}

impl LoginResult {
    /// The answer to a login that succeeded.
    pub fn of(login: LoggedIn) -> Self {
        let LoggedIn { access_token, expires_in, permissions, client_id, player } = login;
        let mut result = Self {
            access_token,
            token_type: "Bearer",
            expires_in: expires_in.as_secs(),
            refresh_token: None,
            active_player_uuid: None,
            person_id: None,
            platform: None,
            portal_user_id: None,
            display_name: None,
            permissions,
            restrictions: [],
            publisher_uuid: product_uuid("publisher"),
            tenant_uuid: product_uuid("tenant"),
            config_elector_uuid: product_uuid("config"),
            client_uuid: product_uuid(&format!("client:{client_id}")),
            client_id,
        };
        if let Some(player) = player {
            result.active_player_uuid = Some(player.identity.player());
            result.person_id = Some(player.identity.person());
            result.platform = Some(player.identity.platform);
            result.portal_user_id = Some(player.identity.user_id);
            result.display_name = Some(player.display_name);
            result.refresh_token = player.refresh_token;
        }
        result
    }
}
