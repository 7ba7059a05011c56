//! What callers see of a session: the wire types, and how each view is made from the session.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::client::{ClientSettings, CustomDataBody};
use crate::app::{Live, View};
use crate::auth::{Caller, Permission};
use crate::document::Document;
use crate::domain::client::CrossplayPreferences;
use crate::domain::rights::Right;
use crate::domain::session::{Joinability, Player, Status};
use crate::domain::{Platform, PlayerUuid, Session};

/// A session.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Session")]
pub struct SessionView {
    /// Template it was made from.
    #[serde(rename = "type")]
    session_type: String,
    /// Its id.
    #[schemars(length(min = 1, max = 128))]
    session_id: String,
    /// Deprecated: the same as `joinability.open`.
    joinable: bool,
    /// Ways in without an invite.
    joinability: JoinabilityView,
    /// Teams and their players.
    teams: Vec<TeamView>,
    /// Whether players are left out because there are too many.
    teams_suppressed: bool,
    /// Linked platform sessions; joining one joins this session. Absent for those outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    platform_session: Option<Vec<PlatformSessionView>>,
    /// Per platform the player who creates and links its session. Absent for those outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    platform_scouts: Option<BTreeMap<&'static str, ScoutView>>,
    /// Data of the leader or the host.
    custom_data: CustomDataBody,
    /// When it was made.
    #[schemars(with = "String", extend("format" = "date-time"))]
    created: Timestamp,
    /// Preferred region.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    region_id: Option<String>,
    /// Whether matchmaking made it.
    created_by_matchmaking: bool,
}

/// Ways into a session without an invite.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionJoinability")]
pub struct JoinabilityView {
    /// Everyone may join.
    open: bool,
    /// Friends of an active player may join.
    friends: bool,
    /// Players may join through a linked platform session.
    platform: bool,
}

/// A team of a session.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionTeam")]
pub struct TeamView {
    /// Its players, longest-standing first.
    players: Vec<PlayerView>,
    /// Places.
    #[schemars(range(min = 1, max = 100))]
    max_size: usize,
    /// Its index.
    team_id: usize,
    /// The product's data about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_data: Option<CustomDataBody>,
}

/// A player of a session. Those outside see uuid, status and team only.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionPlayer")]
pub struct PlayerView {
    /// The older, numeric id.
    #[serde(skip_serializing_if = "Option::is_none")]
    player_id: Option<i64>,
    /// Who.
    player_uuid: PlayerUuid,
    /// Standing.
    status: Status,
    /// Who invited.
    #[serde(skip_serializing_if = "Option::is_none")]
    inviting_player_uuid: Option<PlayerUuid>,
    /// The session that was invited as a whole, where the player came by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    source_session_id: Option<String>,
    /// The player's own data.
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_data: Option<CustomDataBody>,
    /// The game's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Platform and input.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_settings: Option<ClientSettings>,
    /// Whom the player agrees to play with.
    #[serde(skip_serializing_if = "Option::is_none")]
    crossplay_preferences: Option<CrossplayPreferences>,
    /// When the player was invited.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    invited: Option<Timestamp>,
    /// When the player became active.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    joined: Option<Timestamp>,
    /// Rights the player has beside those of every active player.
    #[serde(skip_serializing_if = "Option::is_none")]
    session_permissions: Option<BTreeSet<Right>>,
}

/// A platform's scout.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PlatformScout")]
pub struct ScoutView {
    /// Who.
    player_uuid: PlayerUuid,
    /// On which platform; the same as the key.
    platform: Platform,
}

/// A platform session.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PlatformSession")]
pub struct PlatformSessionView {
    /// Platform.
    platform: Platform,
    /// The platform's own name of its kind.
    #[schemars(length(min = 1, max = 128))]
    platform_session_type: String,
    /// The platform's own id of it, as it was linked.
    #[schemars(length(min = 1, max = 4096))]
    platform_session_id_base64: String,
    /// Deprecated: its players, longest-standing first.
    players: Vec<PlatformPlayerView>,
    /// The product's data about it.
    custom_data: CustomDataBody,
}

/// A player of a platform session.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PlatformSessionPlayer")]
pub struct PlatformPlayerView {
    /// The older, numeric id, where the player's token named it.
    #[serde(skip_serializing_if = "Option::is_none")]
    player_id: Option<i64>,
    /// Who.
    player_uuid: PlayerUuid,
    /// Whether the player leads the platform session.
    leader: bool,
}

/// The view of a caller.
pub fn view_for(caller: &Caller, session: &Session) -> View {
    let active = caller.player().is_some_and(|player| session.is_active(player));
    if active || caller.may(Permission::ReadAny) { View::Full } else { View::Limited }
}

/// A session's document in a view.
pub fn session_document(live: &Live, view: View) -> &Document {
    live.document(view, || Document::of(&SessionView::of(&live.session, view)))
}

/// A linked platform session's document; `None` where the platform has none.
pub fn platform_document(live: &Live, platform: Platform) -> Option<&Document> {
    live.platform_document(platform, || Document::of(&PlatformSessionView::of(&live.session, platform)))
}

impl SessionView {
    fn of(session: &Session, view: View) -> Self {
        let full = view == View::Full;
        let linked = || {
            let platforms = session.platform_sessions.keys();
            platforms.filter_map(|platform| PlatformSessionView::of(session, *platform)).collect()
        };
        let scouts = || {
            let scout = |(platform, player_uuid): (Platform, _)| {
                (platform.name(), ScoutView { player_uuid, platform })
            };
            session.platform_scouts().into_iter().map(scout).collect()
        };
        Self {
            session_type: session.session_type.clone(),
            session_id: session.id.to_string(),
            joinable: session.joinability.open,
            joinability: session.joinability.into(),
            teams: (0..session.teams.len()).map(|team_id| TeamView::of(session, team_id, view)).collect(),
            teams_suppressed: false,
            platform_session: full.then(linked),
            platform_scouts: full.then(scouts),
            custom_data: CustomDataBody(session.custom_data.clone()),
            created: session.created,
            region_id: session.region_id.clone(),
            created_by_matchmaking: false,
        }
    }
}

impl From<Joinability> for JoinabilityView {
    fn from(Joinability { open, friends, platform }: Joinability) -> Self {
        Self { open, friends, platform }
    }
}

impl TeamView {
    fn of(session: &Session, team_id: usize, view: View) -> Self {
        Self::with_players(session, team_id, view, |_| true)
    }

    /// A team with those of its players that are `shown`.
    pub fn with_players(
        session: &Session,
        team_id: usize,
        view: View,
        shown: impl Fn(&Player) -> bool,
    ) -> Self {
        let team = &session.teams[team_id];
        let on_team = session.players.iter().filter(|(_, entry)| entry.team_id == team_id);
        let mut players: Vec<_> = on_team.filter(|(_, entry)| shown(entry)).collect();
        // Who is there comes before who may come.
        players
            .sort_by_key(|(player, entry)| (entry.joined.is_none(), entry.joined, entry.invited, **player));
        Self {
            players: players
                .into_iter()
                .map(|(player, entry)| PlayerView::of(*player, entry, view))
                .collect(),
            max_size: team.max_size,
            team_id,
            custom_data: team.custom_data.clone().map(CustomDataBody),
        }
    }
}

impl PlayerView {
    /// A player's entry, in a view.
    pub fn of(player_uuid: PlayerUuid, entry: &Player, view: View) -> Self {
        let outline = Self {
            player_id: None,
            player_uuid,
            status: entry.status,
            inviting_player_uuid: None,
            source_session_id: None,
            custom_data: None,
            version: None,
            client_settings: None,
            crossplay_preferences: None,
            invited: None,
            joined: None,
            session_permissions: None,
        };
        if view == View::Limited {
            return outline;
        }
        let client = entry.client.as_ref();
        Self {
            player_id: entry.player_id,
            inviting_player_uuid: entry.inviting_player,
            source_session_id: entry.source_session.as_ref().map(ToString::to_string),
            custom_data: Some(CustomDataBody(entry.custom_data.clone())),
            version: client.map(|client| client.version.clone()),
            client_settings: client.map(ClientSettings::from),
            crossplay_preferences: client.and_then(|client| client.crossplay),
            invited: entry.invited,
            joined: entry.joined,
            session_permissions: Some(entry.rights()),
            ..outline
        }
    }
}

impl PlatformSessionView {
    fn of(session: &Session, platform: Platform) -> Option<Self> {
        let linked = session.platform_sessions.get(&platform)?;
        let players = session.platform_players(platform).into_iter().map(|player| PlatformPlayerView {
            player_id: player.player_id,
            player_uuid: player.player,
            leader: player.leader,
        });
        Some(Self {
            platform,
            platform_session_type: linked.platform_session_type.clone(),
            platform_session_id_base64: linked.id.as_str().to_owned(),
            players: players.collect(),
            custom_data: CustomDataBody(linked.custom_data.clone()),
        })
    }
}
