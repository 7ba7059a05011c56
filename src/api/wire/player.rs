//! Players and teams on the wire.

use std::collections::BTreeSet;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::api::wire::CustomDataBody;
use crate::api::wire::client::ClientSettings;
use crate::app::Depth;
use crate::domain::client::CrossplayPreferences;
use crate::domain::session::rights::Right;
use crate::domain::session::{Player, Status};
use crate::domain::{CustomData, PlayerUuid, Refused, Session, SessionId};

/// A team of a session.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionTeam")]
pub struct TeamView<'a> {
    /// Its players, longest-standing first.
    players: Vec<PlayerView<'a>>,
    /// Slots.
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
pub struct PlayerView<'a> {
    /// The older, numeric id.
    #[serde(skip_serializing_if = "Option::is_none")]
    player_id: Option<i64>,
    /// Who.
    player_uuid: PlayerUuid,
    /// Status.
    status: Status,
    /// Who invited.
    #[serde(skip_serializing_if = "Option::is_none")]
    inviting_player_uuid: Option<PlayerUuid>,
    /// The session that was invited as a whole, where the player came by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    source_session_id: Option<&'a str>,
    /// The player's own data.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<CustomDataBody>")]
    custom_data: Option<&'a CustomData>,
    /// The game's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
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

impl<'a> TeamView<'a> {
    /// A team with those of its players that are `shown`, as deep as that says.
    pub fn with_players(
        session: &'a Session,
        team_id: usize,
        shown: impl Fn(PlayerUuid, &Player) -> Option<Depth>,
    ) -> Self {
        let team = &session.teams[team_id];
        let on_team = session.players.iter().filter(|(_, entry)| entry.team_id == team_id);
        let shown = on_team.filter_map(|(player, entry)| Some((player, entry, shown(*player, entry)?)));
        let mut players: Vec<_> = shown.collect();
        // Who is there comes before who may come.
        players.sort_by_key(|(player, entry, _)| {
            (entry.joined.is_none(), entry.joined, entry.invited, **player)
        });
        let players = players.into_iter();
        Self {
            players: players.map(|(player, entry, depth)| PlayerView::of(*player, entry, depth)).collect(),
            max_size: team.max_size,
            team_id,
            custom_data: team.custom_data.clone().map(CustomDataBody),
        }
    }
}

impl<'a> PlayerView<'a> {
    /// A player's entry, as deep as asked for.
    pub fn of(player_uuid: PlayerUuid, entry: &'a Player, depth: Depth) -> Self {
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
        if depth == Depth::Limited {
            return outline;
        }
        let client = entry.client.as_ref();
        Self {
            player_id: entry.player_id,
            inviting_player_uuid: entry.inviting_player,
            source_session_id: entry.source_session.as_ref().map(SessionId::as_str),
            custom_data: Some(&entry.custom_data),
            version: client.map(|client| client.version.as_str()),
            client_settings: client.map(ClientSettings::from),
            crossplay_preferences: client.and_then(|client| client.crossplay),
            invited: entry.invited,
            joined: entry.joined,
            session_permissions: Some(entry.rights()),
            ..outline
        }
    }
}

/// A player's place after a change.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionPlayerUpdateResponse")]
pub struct PlayerUpdated {
    /// Who.
    player_uuid: PlayerUuid,
    /// Status.
    status: Status,
    /// Index of the team.
    team_id: usize,
    /// The player's own data.
    custom_data: CustomDataBody,
}

impl PlayerUpdated {
    /// A player's place in a session as it is now.
    pub fn of(session: &Session, player: PlayerUuid) -> Result<Self, Refused> {
        let entry = session.entry(player)?;
        Ok(Self {
            player_uuid: player,
            status: entry.status,
            team_id: entry.team_id,
            custom_data: CustomDataBody(entry.custom_data.clone()),
        })
    }
}
