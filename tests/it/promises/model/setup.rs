//! The setup of a server and its model: the players, and the settings that rules depend on.

use proptest::prelude::*;
use rallypoint::config::{Config, FriendsCheck};
use rallypoint::domain::Platform;
use rallypoint::domain::client::VersionCheck;
use rallypoint::domain::instance::HostType;
use rallypoint::domain::instance::health::HealthRules;
use rallypoint::domain::instance::template::{InstanceTemplate, MapChoice};
use rallypoint::domain::matchmaking::profile::BackfillMode;
use rallypoint::domain::template::{AutoStartup, Visibility};
use uuid::Uuid;

use super::queues::TICKET_TIMEOUT_S;
use crate::api::queue::with_queues;

/// Platforms of platform sessions. No template maps the last one.
pub const PLATFORMS: [Platform; 4] = [Platform::XboxLive, Platform::PSN, Platform::Steam, Platform::Google];
/// Number of [`PLATFORMS`] that templates map.
pub const MAPPED: usize = 3;
/// Ids of platform sessions.
pub const IDS: [&str; 2] = ["YQ==", "Yi1j"];
/// Regions. Only the first one is ever configured.
pub const REGIONS: [&str; 2] = ["eu", "us"];
/// The password of sessions, and a wrong one.
pub const PASSWORDS: [&str; 2] = ["open sesame", "open Sesame"];
/// Ids of instances that callers choose.
pub const INSTANCES: [&str; 2] = ["one", "two"];
/// Ids of allocations.
pub const ALLOCATIONS: [&str; 2] = ["a/1", "b"];
/// The instance template, and the maps that it draws.
pub const TEMPLATE: Uuid = Uuid::from_u128(7);
pub const MAPS: [&str; 2] = ["Dunes", "Hills"];
/// The idle time of sessions, in seconds.
pub const IDLE_S: i64 = 3600;
/// The number of a session that has ended or never existed.
pub const ENDED: usize = 9;
/// Number of players with the default permissions.
pub const PLAYERS: usize = 5;
/// The numbers of a player with every permission and of a service, after those of the players.
pub const MODERATOR: usize = PLAYERS;
pub const SERVICE: usize = PLAYERS + 1;

/// A session type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Open, found by create-or-join, two teams.
    Game,
    /// Private, one team.
    Party,
    /// Found by create-or-join; players may not create it.
    Event,
    /// Not configured.
    Raid,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Game => "game",
            Self::Party => "party",
            Self::Event => "event",
            Self::Raid => "raid",
        }
    }
}

/// A player.
#[derive(Clone, Copy, Debug)]
pub struct TestPlayer {
    pub uuid: Uuid,
    /// The platform in the token; otherwise the body names one.
    pub platform: Option<Platform>,
    pub player_id: Option<i64>,
}

/// How the template gives new sessions an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoStart {
    No,
    Params,
    Template,
}

/// When instances must report.
#[derive(Clone, Debug)]
pub struct HealthSettings {
    pub cadence_s: i64,
    pub missed_percent: i64,
    pub missed_max: i64,
}

/// The settings that a sequence runs with.
#[derive(Clone, Debug)]
pub struct Settings {
    pub keep_alive: bool,
    pub own_team: bool,
    pub notify: bool,
    pub auto_list: bool,
    pub culling_s: Option<usize>,
    pub invite_expiry_s: Option<u64>,
    pub trust_friends: bool,
    pub kicked_need_invite: bool,
    pub version_check: VersionCheck,
    pub visibility: Visibility,
    pub leader_visibility: Visibility,
    pub shown_max: usize,
    pub regions: bool,
    pub sessions_max: usize,
    pub invites_max: usize,
    pub invites_per_inviter_max: usize,
    /// Slots of each team of a game.
    pub slots: usize,
    pub auto_start: AutoStart,
    /// The host type of the instance template.
    pub template_host: &'static str,
    pub health: HealthSettings,
}

/// Settings and players.
#[derive(Clone, Debug)]
pub struct Setup {
    pub settings: Settings,
    pub players: Vec<TestPlayer>,
}

fn any_visibility() -> impl Strategy<Value = Visibility> {
    use Visibility as V;
    prop_oneof![4 => Just(V::All), 1 => Just(V::Team), 1 => Just(V::Oneself), 1 => Just(V::None)]
}

impl Settings {
    /// The same settings without timeouts of players and hosts. On a shared store these timeouts are longer, because
    /// other nodes may have received heartbeats and reports. The model does not know that rule.
    pub fn without_timeouts(self) -> Self {
        let health = HealthSettings { cadence_s: 3600, missed_percent: 100, missed_max: 1000 };
        Self { culling_s: None, health, ..self }
    }
}

pub fn any_settings() -> impl Strategy<Value = Settings> {
    let version_check = prop_oneof![
        3 => Just(VersionCheck::Off), 1 => Just(VersionCheck::Exact), 1 => Just(VersionCheck::MajorMinor)
    ];
    let culling = prop_oneof![2 => Just(None), 1 => Just(Some(0)), 3 => Just(Some(600))];
    let template = (any::<bool>(), any::<bool>(), any::<bool>(), prop::bool::weighted(0.2), culling);
    let kicked_need_invite = prop::bool::weighted(0.8);
    let rules =
        (any::<bool>(), any::<bool>(), version_check, any_visibility(), any_visibility(), kicked_need_invite);
    let limits = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), 1..3_usize, any::<bool>());
    let auto_start = prop_oneof![
        6 => Just(AutoStart::No), 1 => Just(AutoStart::Params), 1 => Just(AutoStart::Template)
    ];
    let health = prop::sample::select(vec![(10, 50, 3), (60, 100, 2), (300, 1, 4)]);
    let health = health.prop_map(|(cadence_s, missed_percent, missed_max)| HealthSettings {
        cadence_s,
        missed_percent,
        missed_max,
    });
    let instances = (auto_start, prop::sample::select(vec!["preallocated", "player"]), health);
    (template, rules, limits, instances).prop_map(|(template, rules, limits, instances)| Settings {
        keep_alive: template.0,
        own_team: template.1,
        notify: template.2,
        auto_list: template.3,
        culling_s: template.4,
        invite_expiry_s: rules.0.then_some(300),
        trust_friends: rules.1,
        version_check: rules.2,
        visibility: rules.3,
        leader_visibility: rules.4,
        kicked_need_invite: rules.5,
        shown_max: if limits.0 { 100 } else { 3 },
        regions: limits.1,
        sessions_max: if limits.2 { 32 } else { 2 },
        invites_max: if limits.3 { 100 } else { 1 },
        slots: limits.4,
        invites_per_inviter_max: if limits.5 { 5 } else { 1 },
        auto_start: instances.0,
        template_host: instances.1,
        health: instances.2,
    })
}

impl Settings {
    /// The number of teams of a type, and the slots of each.
    pub const fn shape(&self, kind: Kind) -> (usize, usize) {
        match kind {
            Kind::Game => (2, self.slots),
            _ => (1, 3),
        }
    }

    /// Applies the settings to a server's configuration.
    pub fn apply_to(&self, config: &mut Config) {
        config.sessions.friends_check =
            if self.trust_friends { FriendsCheck::Trust } else { FriendsCheck::Deny };
        config.sessions.version_check = self.version_check;
        config.sessions.kicked_need_invite = self.kicked_need_invite;
        config.sessions.players_shown_max = self.shown_max;
        config.sessions.sessions_per_player_max = self.sessions_max;
        config.sessions.invites_per_player_max = self.invites_max;
        config.sessions.invites_per_inviter_max = self.invites_per_inviter_max;
        config.sessions.invite_expiry_s = self.invite_expiry_s.unwrap_or(0);
        if self.regions {
            config.regions.insert(REGIONS[0].into(), Default::default());
        }
        with_queues(config);
        // The model has no matcher. Tests of matches look at the parties that are matched.
        config.matchmaking.enabled = false;
        for profile in config.match_making_profiles.values_mut() {
            profile.backfill = BackfillMode::Off;
        }
        config.matchmaking.ticket_timeout_s = TICKET_TIMEOUT_S as u32;
        config.templates.get_mut("game").unwrap().can_join_matchmaking = true;
        let HealthSettings { cadence_s, missed_percent, missed_max } = self.health;
        config.health = HealthRules {
            cadence_s: cadence_s as usize,
            unhealthy_missed_percent: missed_percent as f64,
            missed_before_unknown: missed_max as usize,
        };
        config.instance_templates.insert(TEMPLATE, self.instance_template());
        for kind in [Kind::Game, Kind::Party] {
            let template = config.templates.get_mut(kind.name()).unwrap();
            (template.num_teams, template.players_per_team) = self.shape(kind);
            template.keep_alive_on_empty = self.keep_alive;
            template.can_change_own_team = self.own_team;
            template.notify_on_reservation = self.notify;
            template.auto_add_to_browser = self.auto_list;
            template.auto_browser_params = [("by".into(), "itself".into())].into();
            template.player_culling_timeout = self.culling_s;
            template.player_visibility = self.visibility;
            template.admin_player_visibility = self.leader_visibility;
            template.auto_startup_instance_template_id =
                (self.auto_start == AutoStart::Template).then_some(TEMPLATE);
            template.auto_startup_params = (self.auto_start == AutoStart::Params).then(|| AutoStartup {
                map: "Mine".into(),
                mode: Some("arena".into()),
                misc_params: String::new(),
                custom_data: Default::default(),
            });
            template.platform_templates.retain(|platform, _| PLATFORMS[..MAPPED].contains(platform));
            for platform in template.platform_templates.values_mut() {
                platform.custom_data = [("scid".into(), "0000".into())].into();
            }
        }
        let mut event = config.templates["party"].clone();
        event.can_be_created_by_players_directly = false;
        event.attempt_auto_join = true;
        event.can_join_matchmaking = false;
        for platform in event.platform_templates.values_mut() {
            platform.platform_session_type = "event".into();
        }
        config.templates.insert("event".into(), event);
    }

    /// A template that draws one of [`MAPS`]. The map with weight 0 is never drawn.
    fn instance_template(&self) -> InstanceTemplate {
        let map = |(name, map_weight): (&str, f64)| MapChoice {
            map_id: "1".into(),
            map_name: name.into(),
            mode: None,
            map_weight,
            custom_data: Default::default(),
            name: None,
            description: None,
            misc_params: Some("-log".into()),
        };
        let default_host_type =
            if self.template_host == "player" { HostType::Player } else { HostType::Preallocated };
        InstanceTemplate {
            default_host_type,
            map_selection_list_id: "all".into(),
            maps: [("Never", 0.0), (MAPS[0], 2.0), (MAPS[1], 1.0)].into_iter().map(map).collect(),
            custom_data: [("tier".into(), "gold".into())].into(),
        }
    }
}
