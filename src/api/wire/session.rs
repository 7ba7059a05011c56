//! A session on the wire.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::wire::CustomDataBody;
use crate::api::wire::instance::InstanceView;
use crate::api::wire::listing::BrowserView;
use crate::api::wire::platform::PlatformSessionView;
use crate::api::wire::player::TeamView;
use crate::app::{Depth, View};
use crate::domain::session::Joinability;
use crate::domain::{Platform, PlayerUuid, Session};

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

/// A platform's scout.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PlatformScout")]
pub struct ScoutView {
    /// Who.
    player_uuid: PlayerUuid,
    /// On which platform; the same as the key.
    platform: Platform,
}

impl<'a> SessionView<'a> {
    /// A session in a view; without its players if they are `suppressed`.
    pub fn of(session: &'a Session, view: View, suppressed: bool) -> Self {
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
