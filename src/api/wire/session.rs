//! What callers see of a session: the wire types, and how each view is made from the session.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::client::{ClientSettings, CustomDataBody};
use super::platform::PlatformSessionView;
use crate::api::browser::BrowserView;
use crate::api::instance::InstanceView;
use crate::app::{App, CachedSession, Depth, Shown, View};
use crate::auth::{Caller, Permission};
use crate::document::Document;
use crate::domain::client::CrossplayPreferences;
use crate::domain::session::rights::Right;
use crate::domain::session::{Joinability, Player, Status};
use crate::domain::template::Visibility;
use crate::domain::{CustomData, Platform, PlayerUuid, Session, SessionId};

/// A session.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Session")]
pub struct SessionView<'a> {
    /// Template it was made from.
    #[serde(rename = "type")]
    session_type: String,
    /// Its id.
    #[schemars(length(min = 1, max = 128))]
    session_id: String,
    /// Where it is played.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<InstanceView>,
    /// Its listing in the browser.
    #[serde(skip_serializing_if = "Option::is_none")]
    browser: Option<BrowserView>,
    /// Deprecated: the same as `joinability.open`.
    #[schemars(extend("deprecated" = true))]
    joinable: bool,
    /// Ways in without an invite.
    joinability: JoinabilityBody,
    /// Teams and their players.
    teams: Vec<TeamView<'a>>,
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
    /// A code that serves in place of the id. Absent for those outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 5, max = 12))]
    short_code: Option<String>,
}

/// Ways into a session without an invite.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SessionJoinability")]
pub struct JoinabilityBody {
    /// Everyone may join.
    #[serde(default)]
    open: bool,
    /// Friends of an active player may join.
    #[serde(default)]
    friends: bool,
    /// Players may join through a linked platform session.
    #[serde(default = "yes")]
    platform: bool,
}

fn yes() -> bool {
    true
}

/// A team of a session.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionTeam")]
pub struct TeamView<'a> {
    /// Its players, longest-standing first.
    players: Vec<PlayerView<'a>>,
    /// MembershipList.
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
    /// Readiness.
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

/// A platform's scout.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PlatformScout")]
pub struct ScoutView {
    /// Who.
    player_uuid: PlayerUuid,
    /// On which platform; the same as the key.
    platform: Platform,
}

/// The view of a caller: how much of the session, by their standing in it, and which of its players, by its
/// template.
pub fn view_for(caller: &Caller, session: &Session) -> View {
    if caller.may(Permission::ReadAny) {
        return View::FULL;
    }
    let own = caller.player().and_then(|player| Some((player, session.entry(player).ok()?)));
    view_of(session, own)
}

/// The view of someone who has no part in the session.
pub fn outside_view(session: &Session) -> View {
    view_of(session, None)
}

fn view_of(session: &Session, own: Option<(PlayerUuid, &Player)>) -> View {
    let active = own.is_some_and(|(_, entry)| entry.status.is_active());
    let depth = if active { Depth::Full } else { Depth::Limited };
    let visibility = match own {
        Some((_, entry)) if entry.status == Status::Leader => session.admin_player_visibility,
        _ => session.player_visibility,
    };
    let players = match (visibility, own) {
        (Visibility::All, _) => Shown::All,
        (Visibility::Team, Some((_, entry))) => Shown::Team(entry.team_id),
        (Visibility::Oneself, Some((player, _))) => Shown::Only(player),
        (Visibility::Team | Visibility::Oneself, None) | (Visibility::None, _) => Shown::Nobody,
    };
    View { depth, players }
}

/// A session's document, as a caller sees it.
pub fn session_document(app: &App, caller: &Caller, cached: &CachedSession) -> Document {
    document_in(app, cached, view_for(caller, &cached.session))
}

/// A session's document in a view.
pub fn document_in(app: &App, cached: &CachedSession, view: View) -> Document {
    cached.document(view, || render(app, cached, view))
}

/// A session's document with everything in it.
pub fn full_document<'a>(app: &App, cached: &'a CachedSession) -> &'a Document {
    cached.full_document(|| render(app, cached, View::FULL))
}

fn render(app: &App, cached: &CachedSession, view: View) -> Document {
    Document::of(&SessionView::of(&cached.session, view, is_suppressed(app, &cached.session)))
}

/// Whether a session has too many players to be shown with them.
pub fn is_suppressed(app: &App, session: &Session) -> bool {
    session.players.len() > app.settings.players_shown_max
}

impl<'a> SessionView<'a> {
    fn of(session: &'a Session, view: View, suppressed: bool) -> Self {
        let full = view.depth == Depth::Full;
        let team = |team_id| {
            TeamView::with_players(session, team_id, |player, entry| {
                (!suppressed && view.shows(player, entry)).then_some(view.depth)
            })
        };
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
            instance: session.instance.as_ref().map(|instance| InstanceView::of(instance, view.depth)),
            browser: session.listing.as_ref().map(BrowserView::of),
            teams: (0..session.teams.len()).map(team).collect(),
            teams_suppressed: suppressed,
            platform_session: full.then(linked),
            platform_scouts: full.then(scouts),
            custom_data: CustomDataBody(session.custom_data.clone()),
            created: session.created,
            region_id: session.region_id.clone(),
            created_by_matchmaking: false,
            short_code: session.short_code.as_ref().filter(|_| full).map(|code| code.as_str().to_owned()),
        }
    }
}

impl From<Joinability> for JoinabilityBody {
    fn from(Joinability { open, friends, platform }: Joinability) -> Self {
        Self { open, friends, platform }
    }
}

impl From<JoinabilityBody> for Joinability {
    fn from(JoinabilityBody { open, friends, platform }: JoinabilityBody) -> Self {
        Self { open, friends, platform }
    }
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
