//! Matchmaking profiles: which tickets fit together, and what the session of a match is made from.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::domain::identity::product_uuid;
use crate::domain::template::{PLAYERS_PER_TEAM_MAX, TEAMS_MAX};
use crate::domain::{CustomData, limits};

/// Largest number of players in one match: sides times players of a side.
pub const MATCH_PLAYERS_MAX: usize = 200;
/// Maximum number of [`Field`]s of a profile.
pub const FIELDS_MAX: usize = 8;
/// The name of the [`Field`] that is the skill of a ticket, in the rank of the profile.
pub const RANK_FIELD: &str = "rank";
/// Maximum number of [`Pool`]s of a profile.
pub const POOLS_MAX: usize = 16;

/// A matchmaking profile (contract: `MatchMakingProfileV2`), in the form of the configuration file. The steps of all
/// `widen` lists ascend in `after_s`, and each allows at least what the step before it allows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Profile {
    /// Whether tickets enter the profile. Tickets leave it when it becomes inactive.
    pub active: bool,
    /// Who makes its matches.
    pub matcher: MatcherKind,
    /// Which matches its tickets take part in.
    pub join_mode: JoinMode,
    /// For [`JoinMode::CreatedBefore`]: the age from which tickets take part in new matches, in seconds.
    pub created_before_s: u32,
    /// The type of the sessions that it makes: the name of a session template.
    pub session_type: String,
    /// The template of the instance of each match. Without one, a match has no instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_request_template_id: Option<Uuid>,
    /// The rank whose value is the skill of a ticket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank_id: Option<Uuid>,
    /// Players with this deserter status cannot queue for the profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deserter_id: Option<Uuid>,
    /// Number of sides of a match: 1 to [`TEAMS_MAX`].
    #[serde(deserialize_with = "limits::between::<_, _, 1, TEAMS_MAX>")]
    pub num_sides: usize,
    /// Smallest number of players of a side, at any age: 1 to [`PLAYERS_PER_TEAM_MAX`].
    #[serde(deserialize_with = "limits::between::<_, _, 1, PLAYERS_PER_TEAM_MAX>")]
    pub min_players_per_side: usize,
    /// Largest number of players of a side: 1 to [`PLAYERS_PER_TEAM_MAX`].
    #[serde(deserialize_with = "limits::between::<_, _, 1, PLAYERS_PER_TEAM_MAX>")]
    pub max_players_per_side: usize,
    /// Largest difference between the numbers of players of two sides.
    pub max_side_delta: usize,
    /// Smallest number of players of a ticket.
    #[serde(deserialize_with = "limits::between::<_, _, 1, PLAYERS_PER_TEAM_MAX>")]
    pub min_players_per_party: usize,
    /// Largest number of players of a ticket.
    #[serde(deserialize_with = "limits::between::<_, _, 1, PLAYERS_PER_TEAM_MAX>")]
    pub max_players_per_party: usize,
    /// Which tickets enter the profile: those that one of these pools takes. At most [`POOLS_MAX`].
    pub pools: Vec<Pool>,
    /// From which age on matches with free places are made. `None`: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_widen: Option<SizeWiden>,
    /// Largest difference between the mean skills of two sides, by age. Empty: no limit.
    pub side_skill_delta: Vec<Step>,
    /// Numbers in which the tickets of a match must be close. At most [`FIELDS_MAX`].
    pub fields: Vec<Field>,
    /// Names of texts that must be equal among the tickets of a match. A text that is absent equals only an absent one.
    pub equal: Vec<String>,
    /// Which regions a ticket accepts beside its own, by age. Ignored for tickets with latencies if `latency_ms` is set.
    pub region_widen: Vec<RegionStep>,
    /// Largest latency to a region that a ticket accepts, in milliseconds, by age.
    pub latency_ms: Vec<Step>,
    /// What the wishes for maps count.
    pub maps: MapWish,
    /// When the players of a match are invited.
    pub invite: InviteTime,
    /// Time after which an invite to a match ends, in seconds. 0: as every invite.
    pub accept_timeout_s: u32,
    /// Whether matches are filled while they run.
    pub backfill: BackfillMode,
    /// The product's data.
    #[serde(deserialize_with = "limits::custom_data")]
    pub custom_data: CustomData,
    /// The product's data of the first version of the contract.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub legacy_config: Option<BTreeMap<String, Value>>,
}

/// Who makes the matches of a profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatcherKind {
    /// This server.
    #[default]
    Builtin,
    /// A service of the studio. Tickets wait for it.
    External,
}

/// Which matches the tickets of a profile take part in (contract: `ProfileJoinMode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ProfileJoinMode")]
pub enum JoinMode {
    /// New matches, and matches that have begun.
    #[default]
    Normal,
    /// Matches that have begun only.
    Backfill,
    /// Matches that have begun; and new ones from a certain age of the ticket on.
    CreatedBefore,
}

/// A filter of tickets. Every condition must hold; a condition on a value that the ticket does not have does not hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pool {
    /// Its name, for people.
    pub name: String,
    /// Numbers that must be within a range.
    pub double_ranges: Vec<DoubleRange>,
    /// Texts that must have a value.
    pub string_equals: Vec<StringEquals>,
    /// Tags that must be there.
    pub tags_present: Vec<String>,
    /// Age from which the pool takes a ticket, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_before_s: Option<u32>,
    /// Age up to which the pool takes a ticket, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_after_s: Option<u32>,
}

/// A number that must be within a range. NaN never is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoubleRange {
    /// Name of the number, in the `double_args` of the ticket.
    pub arg: String,
    /// Lower end.
    pub min: f64,
    /// Upper end.
    pub max: f64,
    /// Which of the ends are not in the range.
    #[serde(default)]
    pub exclude: Exclude,
}

/// Which ends of a range are not in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exclude {
    /// Both ends are in it.
    #[default]
    None,
    /// The lower end is not.
    Min,
    /// The upper end is not.
    Max,
    /// Neither end is.
    Both,
}

/// A text that must have a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StringEquals {
    /// Name of the text, in the `string_args` of the ticket.
    pub arg: String,
    /// The value.
    pub value: String,
}

/// How the size of a match may shrink with the age of its oldest ticket: full until `full_for_s`, then evenly down to
/// the smallest size at `min_after_s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SizeWiden {
    /// Age up to which only full matches are made, in seconds.
    pub full_for_s: u32,
    /// Age from which the smallest matches are made, in seconds; at least `full_for_s`.
    pub min_after_s: u32,
}

/// A limit from an age on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The age, in seconds.
    pub after_s: u32,
    /// The limit. `None`: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
}

/// A number in which the tickets of a match must be close.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Its name: `rank` is the skill of the ticket, others are names of `double_args`.
    pub name: String,
    /// The value of tickets without it.
    #[serde(default)]
    pub default: f64,
    /// How much a distance counts when candidates are compared, relative to other fields: above 0.
    #[serde(default = "one")]
    pub weight: f64,
    /// Whose age decides how far apart tickets may be.
    #[serde(default)]
    pub widen_by: WidenBy,
    /// Largest difference between two tickets of a match, by age. Empty: no limit.
    #[serde(default)]
    pub widen: Vec<Step>,
}

fn one() -> f64 {
    1.0
}

/// Whose age decides how far a limit has widened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WidenBy {
    /// That of the oldest ticket of the match.
    #[default]
    Oldest,
    /// That of the newest ticket of the match.
    Newest,
}

/// Which regions a ticket accepts from an age on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionStep {
    /// The age, in seconds.
    pub after_s: u32,
    /// The regions.
    pub to: RegionReach,
}

/// Which regions a ticket accepts. A ticket without a region accepts all. Regions for custom games only are never
/// accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegionReach {
    /// Its own.
    Own,
    /// Its own, and those that the configuration names near it.
    Near,
    /// All.
    Any,
}

/// What the wishes of tickets for maps count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MapWish {
    /// The tickets of a match must have a map in common.
    Hard,
    /// Tickets with the same wishes are preferred.
    #[default]
    Soft,
    /// Nothing.
    Ignore,
}

/// When the players of a match are invited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InviteTime {
    /// As soon as the match is made.
    #[default]
    AtOnce,
    /// When its instance can be joined; until then their places are reserved.
    WhenJoinable,
}

/// Whether matches are filled while they run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackfillMode {
    /// They are not, unless the creator of the match asks for it.
    #[default]
    Off,
    /// They are, while their host asks for players.
    Auto,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            active: true,
            matcher: MatcherKind::Builtin,
            join_mode: JoinMode::Normal,
            created_before_s: 0,
            session_type: "game".into(),
            instance_request_template_id: None,
            rank_id: None,
            deserter_id: None,
            num_sides: 2,
            min_players_per_side: 1,
            max_players_per_side: 1,
            max_side_delta: 1,
            min_players_per_party: 1,
            max_players_per_party: PLAYERS_PER_TEAM_MAX,
            pools: vec![Pool { name: "all".into(), ..Pool::default() }],
            size_widen: None,
            side_skill_delta: Vec::new(),
            fields: Vec::new(),
            equal: Vec::new(),
            region_widen: Vec::new(),
            latency_ms: Vec::new(),
            maps: MapWish::Soft,
            invite: InviteTime::AtOnce,
            accept_timeout_s: 60,
            backfill: BackfillMode::Off,
            custom_data: CustomData::new(),
            legacy_config: None,
        }
    }
}

impl Profile {
    /// The id of the template of the sessions that the profile makes, which follows from their type.
    pub fn session_template_id(&self) -> Uuid {
        product_uuid(&format!("session-template:{}", self.session_type))
    }

    /// The data of the first version of the contract as texts. What is no text is shown as JSON.
    pub fn legacy_texts(&self) -> CustomData {
        let text = |(name, value): (&String, &Value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (name.clone(), text)
        };
        self.legacy_config.iter().flatten().map(text).collect()
    }
}
