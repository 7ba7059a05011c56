//! Credentials of Epic's voice rooms.

use std::net::IpAddr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use super::{NO_STORE, VoipSessionType, room_of};
use crate::app::App;
use crate::app::touch::touch;
use crate::auth::Caller;
use crate::domain::{Actor, Refused};
use crate::http::error::Error;
use crate::http::input::param_types::{RefreshTtl, SessionPath};
use crate::http::input::params::{Param, ParamDoc, Params, RawParams, params};
use crate::http::input::violation::{Violation, ViolationKind, parse_bool};
use crate::http::operation::Input;
use crate::http::reply::{Plain, Reply};
use crate::voice::epic::{EpicError, JoinRequest, RoomCredentials, is_public};

/// The header with the address of the player, for callers that are not the player's machine.
const ADDRESS_HEADER: &str = "x-rh-client-addr";
/// Longest value of that header, in characters (contract).
const ADDRESS_CHARS_MAX: usize = 32;

/// Whether the player joins without a voice. The default is false.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinMuted(pub bool);

impl Param for JoinMuted {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        parse_bool(text).map(Self).ok_or(ViolationKind::NOT_BOOLEAN)
    }

    fn absent() -> Option<Self> {
        Some(Self(false))
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "boolean", "default": false })
    }
}

/// An ID token of Epic's Connect service, if the request has one.
#[derive(Clone)]
pub struct ConnectIdToken(pub Option<String>);

impl Param for ConnectIdToken {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        Ok(Self(Some(text.to_owned())))
    }

    fn absent() -> Option<Self> {
        Some(Self(None))
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

params! {
    /// Query of joining a room.
    JoinRoomQuery in "query" {
        /// Whether the room is that of the session or of the caller's team.
        voip_session_type: VoipSessionType,
        /// Whether the caller joins without a voice.
        join_muted: JoinMuted,
        /// ID token of Epic's Connect service, which says who the caller is there. Without it, the caller's own token must say it, or the server asks Epic.
        connect_id_token: ConnectIdToken,
        /// Whether this request keeps the session alive.
        refresh_ttl: RefreshTtl,
    }
}

/// The query, and the address of the player.
pub struct JoinRoom {
    query: JoinRoomQuery,
    address: Option<IpAddr>,
}

impl Params for JoinRoom {
    fn read(raw: &RawParams<'_>, violations: &mut Vec<Violation>) -> Option<Self> {
        let query = JoinRoomQuery::read(raw, violations);
        let hint = raw.headers.get(ADDRESS_HEADER).map(|value| String::from_utf8_lossy(value.as_bytes()));
        if hint.as_ref().is_some_and(|hint| hint.chars().count() > ADDRESS_CHARS_MAX) {
            let kind = ViolationKind::too_long(ADDRESS_CHARS_MAX as u64);
            violations.push(kind.at(["header".into(), ADDRESS_HEADER.into()]));
            return None;
        }
        let hint = hint.and_then(|hint| hint.trim().parse().ok());
        let address = hint.into_iter().chain(raw.client).find(|address| is_public(*address));
        Some(Self { query: query?, address })
    }

    fn describe(generator: &mut SchemaGenerator) -> Vec<ParamDoc> {
        let mut described = JoinRoomQuery::describe(generator);
        described.push(ParamDoc {
            name: ADDRESS_HEADER,
            place: "header",
            description: "Address of the player on the internet, so that Epic chooses a server that is near. Without it, the address from which the request came counts.",
            required: false,
            schema: json_schema!({ "type": "string", "maxLength": ADDRESS_CHARS_MAX }),
        });
        described
    }
}

/// Credentials of a voice room of Epic.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EpicVoipCredentialsResponse")]
pub struct EpicCredentials {
    /// Id of the room.
    room_id: String,
    /// Token with which the player joins the room.
    participant_token: String,
    /// Address to which the player's client connects.
    client_base_url: String,
    /// ProductUserId of the player at Epic.
    product_user_id: String,
}

/// Gets credentials for the caller.
pub async fn join(
    app: Arc<App>,
    caller: Caller,
    Input { path, query: JoinRoom { query, address }, .. }: Input<SessionPath, JoinRoom>,
) -> Result<Reply<Plain<EpicCredentials>>, Error> {
    let player = caller.require_player()?;
    let cached = app.sessions.get(&path.session_id).await?;
    let cached = touch(&app, &caller, cached, query.refresh_ttl.0).await?;
    cached.session.require_active(Actor::Player(player))?;
    let epic = app.voice.epic.as_ref().ok_or(Refused::VoipNotConfigured)?;
    let request = JoinRequest {
        room: room_of(&cached.session, player, query.voip_session_type)?,
        player,
        product_user_id: caller.token().product_user_id.as_deref().map(str::to_owned),
        connect_id_token: query.connect_id_token.0,
        address,
        is_muted: query.join_muted.0,
    };
    let RoomCredentials { room_id, participant_token, client_base_url, product_user_id } =
        epic.join(request).await.map_err(|error| match error {
            EpicError::IdentityUnknown(text) => Refused::EpicIdentityUnknown(text).into(),
            EpicError::Unavailable => Error::VoiceUnavailable,
        })?;
    let credentials = EpicCredentials { room_id, participant_token, client_base_url, product_user_id };
    let (name, value) = NO_STORE;
    Ok(Reply::plain(&credentials).with_header(name, value))
}
