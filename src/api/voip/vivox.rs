//! Tokens of Vivox.

use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use super::{NO_STORE, VoipSessionType, room_of};
use crate::api::policies::*;
use crate::api::wire::view::view_for;
use crate::app::App;
use crate::app::touch::touch;
use crate::auth::{Caller, Denied, Permission, Policy};
use crate::domain::{Actor, PlayerUuid, Refused, SessionId};
use crate::http::error::Error;
use crate::http::input::param_types::RefreshTtl;
use crate::http::input::params::{Param, params};
use crate::http::input::violation::ViolationKind;
use crate::http::operation::Input;
use crate::http::reply::{Plain, Reply};
use crate::voice::Vivox;
use crate::voice::vivox::Action;

/// An action in Vivox other than logging in.
#[derive(Clone, Copy, Debug, JsonSchema)]
#[schemars(rename = "VivoxSessionActionSingle")]
#[allow(dead_code, reason = "only its schema is used")]
enum ActionNames {
    #[schemars(rename = "join")]
    Join,
    #[schemars(rename = "join_muted")]
    JoinMuted,
    #[schemars(rename = "kick")]
    Kick,
    #[schemars(rename = "mute")]
    Mute,
    #[schemars(rename = "trxn")]
    Transcribe,
}

impl Param for Action {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        let found = Self::ALL.into_iter().find(|action| action.name() == text);
        let names = || Self::ALL.iter().map(|action| format!("'{}'", action.name()));
        found.ok_or_else(|| ViolationKind::not_permitted(names()))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<ActionNames>()
    }
}

params! {
    /// Path of an action of the caller in a session's channel.
    OwnActionPath in "path" {
        /// Session id, or a short code of the session.
        session_id: SessionId,
        /// What the token allows.
        vivox_action: Action,
    }
}

params! {
    /// Path of an action in a session's channel.
    ActionPath in "path" {
        /// Session id, or a short code of the session.
        session_id: SessionId,
        /// Player UUID.
        player_uuid: PlayerUuid,
        /// What the token allows.
        vivox_action: Action,
    }
}

params! {
    /// Query of an action in a session's channel.
    ActionQuery in "query" {
        /// Whether the channel is that of the session or of the player's team.
        voip_session_type: VoipSessionType,
        /// Whether this request keeps the session alive.
        refresh_ttl: RefreshTtl,
    }
}

/// A token of Vivox.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "VoipTokenResponse")]
pub struct VivoxToken {
    /// The token. It can be used once, and for a short time.
    token: String,
    /// Issuer of the token.
    issuer: String,
    /// Address of the Vivox server.
    server: String,
    /// Name of the channel. Absent for logging in.
    #[serde(skip_serializing_if = "Option::is_none")]
    channel_name: Option<String>,
}

impl VivoxToken {
    fn reply(vivox: &Vivox, token: String, channel_name: Option<String>) -> Reply<Plain<Self>> {
        let (issuer, server) = (vivox.issuer().to_owned(), vivox.server().to_owned());
        let (name, value) = NO_STORE;
        Reply::plain(&Self { token, issuer, server, channel_name }).with_header(name, value)
    }
}

/// Which permissions an action needs, and what they allow.
struct Rights {
    /// Permissions for all players, and for the caller's own player or as the leader.
    policy: Policy,
    /// Permission to act on oneself.
    on_oneself: Permission,
    /// Permissions to act on every player, as the leader.
    as_leader: &'static [Permission],
}

impl Rights {
    fn of(action: Action) -> Self {
        use Permission as P;
        match action {
            Action::Join => Self { policy: VIVOX_JOIN, on_oneself: P::VivoxJoin, as_leader: &[] },
            Action::JoinMuted => {
                Self { policy: VIVOX_JOIN_MUTED, on_oneself: P::VivoxJoinMuted, as_leader: &[] }
            }
            Action::Kick => {
                Self { policy: VIVOX_KICK, on_oneself: P::VivoxKickSelf, as_leader: &[P::VivoxKickAsLeader] }
            }
            Action::Mute => {
                Self { policy: VIVOX_MUTE, on_oneself: P::VivoxMuteSelf, as_leader: &[P::VivoxMuteAsLeader] }
            }
            Action::Transcribe => {
                Self { policy: VIVOX_TRANSCRIBE, on_oneself: P::VivoxTranscribeAsMember, as_leader: &[] }
            }
        }
    }

    /// For the caller's own player the contract names the permission to kick as the leader where it means to mute. Either
    /// counts.
    fn of_own(action: Action) -> Self {
        let rights = Self::of(action);
        if action != Action::Mute {
            return rights;
        }
        let as_leader = &[Permission::VivoxMuteAsLeader, Permission::VivoxKickAsLeader];
        Self { policy: VIVOX_OWN_MUTE, as_leader, ..rights }
    }
}

/// What the caller must be in the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Nothing: the permission covers all sessions.
    None,
    /// Active.
    Active,
    /// The leader.
    Leader,
}

impl Standing {
    /// What a caller must be in the session to act on a player.
    fn of(rights: &Rights, caller: &Caller, target: PlayerUuid) -> Result<Self, Denied> {
        let caller = caller.narrowed(rights.policy)?;
        if caller.reaches_all() {
            return Ok(Self::None);
        }
        if caller.player() == Some(target) && caller.may(rights.on_oneself) {
            return Ok(Self::Active);
        }
        let leads = rights.as_leader.iter().any(|permission| caller.may(*permission));
        if leads { Ok(Self::Leader) } else { Err(caller.out_of_reach()) }
    }
}

/// Gets a token to log in.
pub async fn login(app: Arc<App>, caller: Caller, _: Input) -> Result<Reply<Plain<VivoxToken>>, Error> {
    let player = caller.require_player()?;
    let vivox = app.voice.vivox.as_ref().ok_or(Refused::VoipNotConfigured)?;
    let now = app.sessions.right_time().await?;
    Ok(VivoxToken::reply(vivox, vivox.login(player, now), None))
}

/// Gets a token for an action of the caller.
pub async fn own_action(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<OwnActionPath, ActionQuery>,
) -> Result<Reply<Plain<VivoxToken>>, Error> {
    let target = caller.require_player()?;
    let standing = Standing::of(&Rights::of_own(path.vivox_action), &caller, target)?;
    token(app, caller, &path.session_id, (path.vivox_action, target, standing), query).await
}

/// Gets a token for an action that is about a player.
pub async fn action(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<ActionPath, ActionQuery>,
) -> Result<Reply<Plain<VivoxToken>>, Error> {
    let target = path.player_uuid;
    let standing = Standing::of(&Rights::of(path.vivox_action), &caller, target)?;
    token(app, caller, &path.session_id, (path.vivox_action, target, standing), query).await
}

async fn token(
    app: Arc<App>,
    caller: Caller,
    session_id: &SessionId,
    (action, target, standing): (Action, PlayerUuid, Standing),
    query: ActionQuery,
) -> Result<Reply<Plain<VivoxToken>>, Error> {
    let cached = app.sessions.get(session_id).await?;
    let cached = touch(&app, &caller, cached, query.refresh_ttl.0).await?;
    let session = &cached.session;
    let actor = caller.player().map_or(Actor::Nobody, Actor::Player);
    match standing {
        Standing::None => {}
        Standing::Active => session.require_active(actor)?,
        Standing::Leader => session.require_leader(actor)?,
    }
    // A player whom the view of the caller hides must not differ from one who is not in the session.
    let is_hidden = view_for(&caller, session).shown(target, session.entry(target)?).is_none();
    if is_hidden && standing != Standing::None {
        return Err(Refused::PlayerNotFound.into());
    }
    let vivox = app.voice.vivox.as_ref().ok_or(Refused::VoipNotConfigured)?;
    let channel = room_of(session, target, query.voip_session_type)?;
    // A kick or a mute is done by the caller to the player; everything else is what the player's own client does.
    let (by, to) = match action {
        Action::Kick | Action::Mute => (caller.player(), Some(target)),
        Action::Join | Action::JoinMuted | Action::Transcribe => (Some(target), None),
    };
    let token = vivox.action(action, by, &channel, to, app.sessions.right_time().await?);
    Ok(VivoxToken::reply(vivox, token, Some(channel)))
}
