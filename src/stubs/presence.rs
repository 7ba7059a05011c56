//! The presence service: players say that they are online, and read it of others. See
//! [`online_status`](crate::app::online_status).

use std::sync::Arc;

use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::app::online_status::{Report, Status};
use crate::auth::{Caller, Policy};
use crate::document::Document;
use crate::domain::{CustomData, Platform, PlayerUuid};
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::input::params::params;
use crate::http::operation::{Input, Operation};
use crate::http::reply::{EmptyObject, Reply, Versioned};
use crate::http::surface::{Group, Surface, Tag};

/// Prefix of every path.
pub const PREFIX: &str = "/presence";
/// Largest body, in bytes. It limits what a node remembers of a player.
const BODY_BYTES_MAX: usize = 16_384;
/// Platform of players of whom the server knows none. The contract needs a platform, and clients know this one.
const UNKNOWN_PLATFORM: Platform = Platform::Anon;

const TAG: Tag = Tag::new("Presence", "Whether players are online.");

/// The presence service.
pub fn surface() -> Surface {
    Surface::new(PREFIX, vec![Group::new(TAG, rows())]).with_introduction(
        "Players report that they are online. Each node remembers a report for 90 seconds, in memory. This has no \
         effect on sessions.",
    )
}

#[rustfmt::skip]
fn rows() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::GET, "get_player_presence_self", "/v1/player/me/presence", get_me, Policy::ANY_TOKEN.as_player(), "Read the caller's presence")
            .about("What the caller has reported within the last 90 seconds, with the status as it was reported."),
        Operation::new(M::PATCH, "update_player_presence_self", "/v1/player/me/presence", update_me, Policy::ANY_TOKEN.as_player(), "Report the caller's presence")
            .body_at_most(BODY_BYTES_MAX)
            .about("Published clients repeat it every 30 seconds. Fields that are absent stay as they were."),
        Operation::new(M::GET, "get_player_presence_public_by_uuid", "/v1/player/uuid/{player_uuid}/presence", get, Policy::ANY_TOKEN, "Read a player's presence")
            .about("A player who has reported nothing within the last 90 seconds is offline, and so is one who is invisible."),
    ]
}

params! {
    /// Path of a player.
    PlayerPath in "path" {
        /// Player UUID.
        player_uuid: PlayerUuid,
    }
}

/// Whether a player is online.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "OnlineStatus")]
pub enum StatusBody {
    /// The player is online.
    Online,
    /// The player is online, but not at the controls.
    Away,
    /// The player is online, and others see them as offline.
    Invisible,
    /// The player is offline.
    Offline,
}

impl From<Status> for StatusBody {
    fn from(status: Status) -> Self {
        match status {
            Status::Online => Self::Online,
            Status::Away => Self::Away,
            Status::Invisible => Self::Invisible,
            Status::Offline => Self::Offline,
        }
    }
}

impl From<StatusBody> for Status {
    fn from(status: StatusBody) -> Self {
        match status {
            StatusBody::Online => Self::Online,
            StatusBody::Away => Self::Away,
            StatusBody::Invisible => Self::Invisible,
            StatusBody::Offline => Self::Offline,
        }
    }
}

/// Further data of a player's presence.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct PresenceData(CustomData);

impl JsonSchema for PresenceData {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PresenceData".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": { "type": "string", "maxLength": 4096 } })
    }
}

/// A report of the caller's presence.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "PlayerPresenceUpdateSelf")]
pub struct PresenceUpdate {
    /// Whether the player is online.
    status: Option<StatusBody>,
    /// Message to others. An empty text, or null, removes it.
    #[schemars(length(max = 256), extend("x-null-as" = ""))]
    message: Option<String>,
    /// Whether the player wants no invites and notifications. The server only remembers it.
    do_not_disturb: Option<bool>,
    /// Further data, in place of all earlier data.
    custom_data: Option<PresenceData>,
}

/// A player's presence.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PlayerPresence")]
pub struct PresenceView {
    /// Player UUID.
    player_uuid: PlayerUuid,
    /// Whether the player is online.
    status: StatusBody,
    /// Message of the player.
    #[schemars(length(max = 256))]
    message: String,
    /// Platform on which the player is; `Anon` if it is not known.
    platform: String,
    /// Name of the player; empty if it is not known.
    display_name: String,
    /// Further data.
    custom_data: PresenceData,
    /// Whether the player wants no invites and notifications. Only the player sees it.
    #[serde(skip_serializing_if = "Option::is_none")]
    do_not_disturb: Option<bool>,
}

impl PresenceView {
    /// The player's own view.
    fn own(player_uuid: PlayerUuid, report: Report) -> Self {
        Self {
            player_uuid,
            status: report.status.into(),
            message: report.message,
            platform: report.platform.unwrap_or(UNKNOWN_PLATFORM).to_string(),
            display_name: report.display_name,
            custom_data: PresenceData(report.custom_data),
            do_not_disturb: Some(report.do_not_disturb),
        }
    }

    /// The view of others. Whoever is invisible looks like a player of whom the server knows nothing, and so does whoever
    /// is offline: a message or a platform would tell the two apart.
    fn public(player_uuid: PlayerUuid, report: Report) -> Self {
        let report = match report.status {
            Status::Online | Status::Away => report,
            Status::Invisible | Status::Offline => Report::default(),
        };
        Self { do_not_disturb: None, ..Self::own(player_uuid, report) }
    }
}

/// The caller's last report, if it still counts, with platform and name as the token has them now.
fn own_report(app: &App, caller: &Caller, player: PlayerUuid) -> Report {
    let token = caller.token();
    let report = app.online_statuses.get(player).unwrap_or_default();
    Report {
        platform: token.platform,
        display_name: token.name.as_deref().unwrap_or_default().into(),
        ..report
    }
}

async fn get_me(app: Arc<App>, caller: Caller, _: Input) -> Result<Reply<Versioned<PresenceView>>, Error> {
    let player = caller.require_player()?;
    let view = PresenceView::own(player, own_report(&app, &caller, player));
    Ok(Reply::document(&Document::of(&view)))
}

async fn update_me(
    app: Arc<App>,
    caller: Caller,
    Input { body: Json(update), .. }: Input<(), (), Json<PresenceUpdate>>,
) -> Result<Reply<EmptyObject>, Error> {
    let player = caller.require_player()?;
    let before = own_report(&app, &caller, player);
    app.online_statuses.set(
        player,
        Report {
            status: update.status.map_or(before.status, Status::from),
            message: update.message.unwrap_or(before.message),
            do_not_disturb: update.do_not_disturb.unwrap_or(before.do_not_disturb),
            custom_data: update.custom_data.map_or(before.custom_data, |data| data.0),
            platform: before.platform,
            display_name: before.display_name,
        },
    );
    Ok(Reply::empty_object())
}

async fn get(
    app: Arc<App>,
    _: Caller,
    Input { path, .. }: Input<PlayerPath>,
) -> Result<Reply<Versioned<PresenceView>>, Error> {
    let report = app.online_statuses.get(path.player_uuid).unwrap_or_default();
    Ok(Reply::document(&Document::of(&PresenceView::public(path.player_uuid, report))))
}
