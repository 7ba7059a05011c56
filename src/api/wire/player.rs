//! Players and teams on the wire.

use std::collections::BTreeSet;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::api::wire::CustomDataBody;
use crate::api::wire::client::ClientSettings;
use crate::api::wire::view::view_for;
use crate::app::Detail;
use crate::auth::Caller;
use crate::document::Document;
use crate::domain::client::CrossplayPreferences;
use crate::domain::session::rights::Right;
use crate::domain::session::{Player, Status};
use crate::domain::{CustomData, PlayerUuid, Refused, Session, SessionId};

/// A team of a session.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionTeam")]
pub struct TeamView<'a> {
    /// Players of the team: active players in the order in which they joined, then the others.
    players: Vec<PlayerView<'a>>,
    /// Number of slots.
    #[schemars(range(min = 1, max = 100))]
    max_size: usize,
    /// Index of the team.
    team_id: usize,
    /// Tickets that a match has put on the team. Absent if matchmaking did not make the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket_ids: Option<&'a [String]>,
    /// Custom data of the team.
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_data: Option<CustomDataBody>,
}

/// A player of a session. Outsiders see only UUID, status and team.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionPlayer")]
pub struct PlayerView<'a> {
    /// Older, numeric id of the player. Absent unless the player's token had it.
    #[serde(skip_serializing_if = "Option::is_none")]
    player_id: Option<i64>,
    /// Player UUID.
    player_uuid: PlayerUuid,
    /// Status of the player in the session.
    status: Status,
    /// UUID of the player who sent the invite.
    #[serde(skip_serializing_if = "Option::is_none")]
    inviting_player_uuid: Option<PlayerUuid>,
    /// Id of the session whose players were invited, if the player's invite came from such an operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    source_session_id: Option<&'a str>,
    /// Custom data of the player.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<CustomDataBody>")]
    custom_data: Option<&'a CustomData>,
    /// Version of the player's game client.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    /// Platform and input device of the player.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_settings: Option<ClientSettings>,
    /// Crossplay preferences of the player. Absent if the player accepts everyone.
    #[serde(skip_serializing_if = "Option::is_none")]
    crossplay_preferences: Option<CrossplayPreferences>,
    /// Time of the player's invite or reservation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    invited: Option<Timestamp>,
    /// Time at which the player became active.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    joined: Option<Timestamp>,
    /// Rights of the player, beyond those that every active player has.
    #[serde(skip_serializing_if = "Option::is_none")]
    session_permissions: Option<BTreeSet<Right>>,
}

/// A player who is shown, and how much of the entry.
type ShownPlayer<'a> = (PlayerUuid, &'a Player, Detail);

impl<'a> TeamView<'a> {
    /// The wire form of all teams. `shown` returns how much of a player is shown, or `None` to omit the player.
    pub fn all(session: &'a Session, shown: impl Fn(PlayerUuid, &Player) -> Option<Detail>) -> Vec<Self> {
        let mut on_teams: Vec<Vec<ShownPlayer<'a>>> = session.teams.iter().map(|_| Vec::new()).collect();
        for (player, entry) in &session.players {
            if let Some(detail) = shown(*player, entry)
                && let Some(on_team) = on_teams.get_mut(entry.team_id)
            {
                on_team.push((*player, entry, detail));
            }
        }
        let teams = on_teams.into_iter().enumerate();
        teams.map(|(team_id, players)| Self::of(session, team_id, players)).collect()
    }

    fn of(session: &'a Session, team_id: usize, mut players: Vec<ShownPlayer<'a>>) -> Self {
        let team = &session.teams[team_id];
        // Active players come first.
        players
            .sort_by_key(|(player, entry, _)| (entry.joined.is_none(), entry.joined, entry.invited, *player));
        let players = players.into_iter();
        Self {
            players: players.map(|(player, entry, detail)| PlayerView::of(player, entry, detail)).collect(),
            max_size: team.max_size,
            team_id,
            ticket_ids: session.match_made.as_ref().map(|_| team.ticket_ids.as_slice()),
            custom_data: team.custom_data.clone().map(CustomDataBody),
        }
    }

    /// Whether the team has players who are shown.
    pub fn has_players(&self) -> bool {
        !self.players.is_empty()
    }
}

impl<'a> PlayerView<'a> {
    /// The wire form of a player's entry, in full or as outsiders see it.
    pub fn of(player_uuid: PlayerUuid, entry: &'a Player, detail: Detail) -> Self {
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
        if detail == Detail::Limited {
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

/// The document of one player of a session, for a caller who reads it.
///
/// # Errors
/// [`Refused::PlayerNotFound`] if the player is not in the session, or is hidden from the caller.
pub fn player_document(caller: &Caller, session: &Session, player: PlayerUuid) -> Result<Document, Refused> {
    let entry = session.entry(player)?;
    let detail = view_for(caller, session).shown(player, entry).ok_or(Refused::PlayerNotFound)?;
    Ok(Document::of(&PlayerView::of(player, entry, detail)))
}

/// The rights of a player in a session.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionPermissions")]
pub struct RightsView {
    /// Player UUID.
    player_uuid: PlayerUuid,
    /// Rights that the player has. The leader has all of them.
    permissions: BTreeSet<Right>,
}

impl RightsView {
    /// The rights of a player.
    ///
    /// # Errors
    /// [`Refused::PlayerNotFound`] if the player is not in the session.
    pub fn of(session: &Session, player: PlayerUuid) -> Result<Self, Refused> {
        Ok(Self { player_uuid: player, permissions: session.entry(player)?.rights() })
    }
}

/// The document of the rights of a player, for a caller who reads it.
///
/// # Errors
/// If the caller is not active in the session, or if the player is not in it, or is hidden from the caller.
pub fn rights_document(caller: &Caller, session: &Session, player: PlayerUuid) -> Result<Document, Refused> {
    session.require_active(caller.actor())?;
    let rights = RightsView::of(session, player)?;
    let is_shown = view_for(caller, session).shown(player, session.entry(player)?).is_some();
    if !caller.reaches_all() && !is_shown {
        return Err(Refused::PlayerNotFound);
    }
    Ok(Document::of(&rights))
}

/// A player of a session after a change.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionPlayerUpdateResponse")]
pub struct PlayerUpdated {
    /// Player UUID.
    player_uuid: PlayerUuid,
    /// Status of the player in the session.
    status: Status,
    /// Index of the player's team.
    team_id: usize,
    /// Custom data of the player.
    custom_data: CustomDataBody,
}

impl PlayerUpdated {
    /// The current entry of a player whom the caller has just changed. The rule of the change must have been
    /// [`seen_by`](super::view::seen_by) the caller, so that the answer shows no hidden player.
    ///
    /// # Errors
    /// [`Refused::PlayerNotFound`] if the player is not in the session.
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
