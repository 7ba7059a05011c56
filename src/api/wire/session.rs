//! A session on the wire.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::wire::CustomDataBody;
use crate::api::wire::backfill::BackfillView;
use crate::api::wire::instance::InstanceView;
use crate::api::wire::listing::BrowserView;
use crate::api::wire::match_made::MatchResultsView;
use crate::api::wire::platform::PlatformSessionView;
use crate::api::wire::player::TeamView;
use crate::api::wire::queue::MatchmakingView;
use crate::app::{Detail, View};
use crate::domain::session::{Joinability, TeamChange};
use crate::domain::{Platform, PlayerUuid, Session};

/// A session. Outsiders see an outline of it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Session")]
pub struct SessionView<'a> {
    /// Type of session, which is the name of its template.
    #[serde(rename = "type")]
    session_type: String,
    /// Session id.
    #[schemars(length(min = 1, max = 128))]
    session_id: String,
    /// Instance on which the session is played.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<InstanceView>,
    /// Match that the session was made for. Absent if matchmaking did not make the session, and for outsiders.
    #[serde(skip_serializing_if = "Option::is_none")]
    matchmaking_results: Option<MatchResultsView>,
    /// Ticket of the session. Absent if it is in no matchmaking queue, and for outsiders.
    #[serde(skip_serializing_if = "Option::is_none")]
    matchmaking: Option<MatchmakingView>,
    /// Backfill of the match. Absent if the match takes no further players from queues.
    #[serde(skip_serializing_if = "Option::is_none")]
    backfill: Option<BackfillView>,
    /// Listing of the session in the browser. Absent if the session is not listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    browser: Option<BrowserView>,
    /// Deprecated: the same as `joinability.open`.
    #[schemars(extend("deprecated" = true))]
    joinable: bool,
    /// Join paths for players without an invite.
    joinability: JoinabilityBody,
    /// Teams of the session, with their players.
    teams: Vec<TeamView<'a>>,
    /// Whether the players are omitted because there are too many.
    teams_suppressed: bool,
    /// Linked platform sessions. A player who joins one of them joins this session. Absent for outsiders.
    #[serde(skip_serializing_if = "Option::is_none")]
    platform_session: Option<Vec<PlatformSessionView>>,
    /// For each platform, the player who creates and links its platform session. Absent for outsiders.
    #[serde(skip_serializing_if = "Option::is_none")]
    platform_scouts: Option<BTreeMap<&'static str, ScoutView>>,
    /// Custom data of the session.
    custom_data: CustomDataBody,
    /// Time at which the session was created.
    #[schemars(with = "String", extend("format" = "date-time"))]
    created: Timestamp,
    /// Preferred region.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    region_id: Option<String>,
    /// Whether matchmaking created the session.
    created_by_matchmaking: bool,
    /// Short code, which can replace the session id in paths. Absent for outsiders.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 5, max = 12))]
    short_code: Option<String>,
}

/// Join paths of a session for players without an invite.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SessionJoinability")]
pub struct JoinabilityBody {
    /// Whether every player may join.
    #[serde(default)]
    open: bool,
    /// Whether friends of an active player may join.
    #[serde(default)]
    friends: bool,
    /// Whether players may join through a linked platform session.
    #[serde(default = "yes")]
    platform: bool,
}

/// A change of a team. Absent fields do not change.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct TeamUpdate {
    /// Number of slots.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    max_size: Option<u32>,
    /// Custom data of the team. It replaces the previous data as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_data: Option<CustomDataBody>,
}

/// Converts a change of a team to the input of the rules.
pub fn team_change(update: TeamUpdate) -> TeamChange {
    TeamChange {
        max_size: update.max_size.and_then(|size| usize::try_from(size).ok()),
        custom_data: update.custom_data.map(|data| data.0),
    }
}

fn yes() -> bool {
    true
}

/// The scout of a platform: the player who creates and links its platform session.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PlatformScout")]
pub struct ScoutView {
    /// Player UUID.
    player_uuid: PlayerUuid,
    /// Platform. It equals the key of this entry.
    platform: Platform,
}

impl<'a> SessionView<'a> {
    /// The wire form of a session in a view. `suppressed` says that the view lacks players because there are too many.
    pub fn of(session: &'a Session, view: View, suppressed: bool) -> Self {
        let full = view.detail == Detail::Full;
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
            instance: session.instance.as_ref().map(|instance| InstanceView::of(instance, view.detail)),
            matchmaking_results: session
                .match_made
                .as_ref()
                .filter(|_| full)
                .map(|made| MatchResultsView::of(&made.results, session, view)),
            matchmaking: session
                .matchmaking
                .as_ref()
                .filter(|_| full)
                .map(|ticket| MatchmakingView::of(ticket)),
            backfill: session.backfill.as_ref().map(|backfill| BackfillView::of(backfill, full)),
            browser: session.listing.as_ref().map(BrowserView::of),
            teams: TeamView::all(session, |player, entry| view.shown(player, entry)),
            teams_suppressed: suppressed,
            platform_session: full.then(linked),
            platform_scouts: full.then(scouts),
            custom_data: CustomDataBody(session.custom_data.clone()),
            created: session.created,
            region_id: session.region_id.clone(),
            created_by_matchmaking: session.match_made.is_some(),
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
