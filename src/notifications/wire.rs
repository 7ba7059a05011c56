//! The wire types of notifications.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::api::wire::CustomDataBody;
use crate::domain::PlayerUuid;
use crate::domain::inbox::{
    MESSAGE_BYTES_MAX, MESSAGE_TEXT_CHARS_MAX, Message, MessageContent, MessageNumber, POSTED_AT_ONCE_MAX,
};
use crate::http::input::param_types;
use crate::http::input::params::{Param, params};
use crate::http::input::violation::ViolationKind;
use crate::http::utc_time::UtcTime;

params! {
    /// Path of a player.
    PlayerPath in "path" {
        /// Player UUID.
        player_uuid: PlayerUuid,
    }
}

/// Most notifications on the requested page: 1 to 100. The default is 10 (contract: `page_size`).
pub type PageSize = param_types::PageSize<100, 10>;

/// Id of a notification in a query, as the client sent it; `None` if it is absent or empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaybeId(pub Option<String>);

impl Param for MaybeId {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        Ok(Self(Some(text.to_owned()).filter(|text| !text.is_empty())))
    }

    fn absent() -> Option<Self> {
        Some(Self(None))
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// A notification for a player.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Notification {
    /// Text of the notification.
    #[schemars(length(max = MESSAGE_TEXT_CHARS_MAX))]
    pub message: String,
    /// Id of the notification. Its format may change.
    pub notification_id: String,
    /// When the notification was created.
    pub created: UtcTime,
    /// Where to read more, as a path on this server.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MESSAGE_TEXT_CHARS_MAX))]
    pub rh_url: Option<String>,
    /// ETag of what is at `rh_url`, when the notification was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub etag: Option<String>,
    /// Further data of the game.
    #[serde(default, skip_serializing_if = "CustomDataBody::is_empty")]
    #[schemars(extend("default" = serde_json::json!({})))]
    pub custom_data: CustomDataBody,
}

impl Notification {
    /// A message of an inbox.
    pub fn of_message(number: MessageNumber, message: Message) -> Self {
        let Message { created_ms, content } = message;
        let MessageContent { message, rh_url, etag, custom_data } = content;
        let (notification_id, created) = (number.id(), UtcTime::of_ms(created_ms));
        Self { message, notification_id, created, rh_url, etag, custom_data: CustomDataBody(custom_data) }
    }
}

/// Notifications of a player.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Notifications {
    /// The notifications.
    pub notifications: Vec<Notification>,
    /// Where to continue.
    pub cursor: String,
}

/// A message for a player.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "NotificationCreate", extend("x-bytes-max" = MESSAGE_BYTES_MAX))]
pub struct NotificationCreateRequest {
    /// Text of the notification.
    #[schemars(length(max = MESSAGE_TEXT_CHARS_MAX))]
    message: String,
    /// Where to read more, as a path on this server.
    #[schemars(length(min = 1, max = MESSAGE_TEXT_CHARS_MAX))]
    rh_url: Option<String>,
    /// Further data of the game.
    #[serde(default)]
    custom_data: CustomDataBody,
    /// ETag of what is at `rh_url`.
    #[schemars(length(min = 1))]
    etag: Option<String>,
}

impl From<NotificationCreateRequest> for MessageContent {
    fn from(request: NotificationCreateRequest) -> Self {
        let NotificationCreateRequest { message, rh_url, custom_data, etag } = request;
        Self { message, rh_url, etag, custom_data: custom_data.0 }
    }
}

/// Messages for a player.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "NotificationCreates")]
pub struct NotificationsCreateRequest {
    /// The messages, the oldest first.
    #[schemars(length(min = 1, max = POSTED_AT_ONCE_MAX))]
    pub notifications: Vec<NotificationCreateRequest>,
}

/// The result of a post.
#[derive(Debug, Serialize, JsonSchema)]
pub struct NotificationCreateResult {
    /// Id of the last notification of the request.
    pub notification_id: String,
}
