//! Matchmaking profiles, in their current and their older form.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::CustomDataBody;
use crate::domain::matchmaking::Profile;
use crate::domain::matchmaking::profile::JoinMode;
use crate::domain::session::match_made::MatchedProfile;

/// A matchmaking profile: which parties play together, and what their session is made from.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MatchMakingProfileV2")]
pub struct ProfileView {
    /// Id of the profile.
    #[schemars(length(min = 1, max = 128))]
    match_making_profile_id: String,
    /// Which matches its tickets take part in.
    join_mode: JoinMode,
    /// Instance request template of the match's instance. Absent: matches have no instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_request_template_id: Option<Uuid>,
    /// Rank whose value is the skill of a party.
    #[serde(skip_serializing_if = "Option::is_none")]
    rank_id: Option<String>,
    /// Number of sides of a match.
    num_sides: usize,
    /// Largest number of players of a side.
    max_players_per_side: usize,
    /// Smallest number of players of a side.
    min_players_per_side: usize,
    /// Data of the older form. Absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    legacy_config: Option<BTreeMap<String, Value>>,
    /// Deserter configuration. Players with this status cannot queue for the profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    deserter_id: Option<String>,
    /// Id that follows from the type of the sessions that the profile makes.
    session_template_id: Uuid,
    /// Custom data of the profile.
    custom_data: CustomDataBody,
}

/// Deprecated: a matchmaking profile in its older form.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MatchMakingProfile")]
pub struct LegacyProfileView {
    /// Id of the profile.
    #[schemars(length(min = 1, max = 128))]
    profile_id: String,
    /// Which matches its tickets take part in.
    join_mode: JoinMode,
    /// Instance request template of the match's instance. All zeros: matches have no instance.
    instance_launch_template_id: Uuid,
    /// Rank whose value is the skill of a party.
    #[serde(skip_serializing_if = "Option::is_none")]
    rank_id: Option<String>,
    /// Number of sides of a match.
    num_sides: usize,
    /// Largest number of players of a side.
    max_players_per_side: usize,
    /// Smallest number of players of a side.
    min_players_per_side: usize,
    /// Deserter configuration. Players with this status cannot queue for the profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    deserter_id: Option<String>,
    /// Data of this form. What is no text is shown as JSON text.
    legacy_config: CustomDataBody,
}

impl ProfileView {
    /// The wire form of a profile.
    pub fn of(id: &str, profile: &Profile) -> Self {
        Self::of_match(&MatchedProfile::of(id, profile))
    }

    /// The wire form of the profile of a match.
    pub fn of_match(profile: &MatchedProfile) -> Self {
        Self {
            match_making_profile_id: profile.id.clone(),
            join_mode: profile.join_mode,
            instance_request_template_id: profile.instance_request_template_id,
            rank_id: profile.rank_id.map(|id| id.to_string()),
            num_sides: profile.num_sides,
            max_players_per_side: profile.max_players_per_side,
            min_players_per_side: profile.min_players_per_side,
            legacy_config: profile.legacy_config.clone(),
            deserter_id: profile.deserter_id.map(|id| id.to_string()),
            session_template_id: profile.session_template_id,
            custom_data: CustomDataBody(profile.custom_data.clone()),
        }
    }
}

impl LegacyProfileView {
    /// The older wire form of a profile.
    pub fn of(id: &str, profile: &Profile) -> Self {
        Self {
            profile_id: id.to_owned(),
            join_mode: profile.join_mode,
            instance_launch_template_id: profile.instance_request_template_id.unwrap_or_default(),
            rank_id: profile.rank_id.map(|id| id.to_string()),
            num_sides: profile.num_sides,
            max_players_per_side: profile.max_players_per_side,
            min_players_per_side: profile.min_players_per_side,
            deserter_id: profile.deserter_id.map(|id| id.to_string()),
            legacy_config: CustomDataBody(profile.legacy_texts()),
        }
    }
}
