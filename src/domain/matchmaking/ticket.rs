//! Tickets: parties that wait for a match.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::profile::{DoubleRange, Exclude, MatcherKind, Pool, Profile};
use crate::domain::PlayerUuid;

/// A party that waits for a match, as its session keeps it. A change of the party drops it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ticket {
    /// Its id. A party that queues again has another ticket.
    pub id: Uuid,
    /// The queues that the party has joined, in the order of the request.
    pub queue_ids: Vec<String>,
    /// The profiles that it waits for, in order.
    pub profile_ids: Vec<String>,
    /// What the party asks for.
    #[serde(default)]
    pub params: JoinParams,
    /// Ids or names of maps, most wanted first. Empty: any map.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub map_preferences: Vec<String>,
    /// Time that the party is taken to have waited before, in seconds.
    #[serde(default)]
    pub passed_s: u64,
    /// When the party joined the queues.
    pub enqueued: Timestamp,
    /// The active players of the party, by id. They are in no other ticket.
    pub players: Vec<PlayerUuid>,
    /// Only parties with the same version group can be in one match. Empty, if versions are not compared.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version_group: String,
    /// The skill of the party, for each profile that has a rank.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub skills: BTreeMap<String, f64>,
}

/// What a party asks for (contract: `AdditionalJoinParams`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JoinParams {
    /// Numbers, all finite.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub double_args: BTreeMap<String, f64>,
    /// Texts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub string_args: BTreeMap<String, String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Data that is kept and shown, and never read; in base64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extensions: BTreeMap<String, String>,
}

/// Why a ticket is gone (contract: `DeleteTicketReason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "DeleteTicketReason")]
pub enum TicketEnd {
    /// It became part of a new match.
    Assigned,
    /// It became part of a running match.
    Backfilled,
    /// The party left the queue, or its session has ended.
    LeftQueue,
    /// It has waited for too long, or no profile takes it any more.
    Timeout,
    /// The party is no longer the one that queued.
    PartyChanged,
}

impl TicketEnd {
    /// Every reason, in the order of the contract.
    pub const ALL: [Self; 5] =
        [Self::Assigned, Self::Backfilled, Self::LeftQueue, Self::Timeout, Self::PartyChanged];

    /// The name in requests and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Assigned => "assigned",
            Self::Backfilled => "backfilled",
            Self::LeftQueue => "left_queue",
            Self::Timeout => "timeout",
            Self::PartyChanged => "party_changed",
        }
    }
}

impl Ticket {
    /// When the party joined the queues, less the time that it had waited before, in milliseconds since 1970.
    pub fn since_ms(&self) -> i64 {
        let passed_ms = i64::try_from(self.passed_s).unwrap_or(i64::MAX).saturating_mul(1_000);
        self.enqueued.as_millisecond().saturating_sub(passed_ms)
    }
}

impl Profile {
    /// Whether tickets of parties of this size enter the profile. A party is on one side of a match as a whole; a
    /// matcher of the studio may see that otherwise.
    pub fn takes_party_of(&self, players: usize) -> bool {
        let fits_on_side = self.matcher == MatcherKind::External || players <= self.max_players_per_side;
        fits_on_side && (self.min_players_per_party..=self.max_players_per_party).contains(&players)
    }

    /// Whether one of its pools takes a ticket with these params, at some age.
    pub fn takes(&self, params: &JoinParams) -> bool {
        self.pools.iter().any(|pool| pool.takes(&params.double_args, &params.string_args, &params.tags))
    }
}

impl Pool {
    /// Whether the pool takes a ticket with these numbers, texts and tags, at some age.
    pub fn takes(
        &self,
        double_args: &BTreeMap<String, f64>,
        string_args: &BTreeMap<String, String>,
        tags: &[String],
    ) -> bool {
        self.double_ranges.iter().all(|range| range.contains(double_args.get(&range.arg)))
            && self.string_equals.iter().all(|text| string_args.get(&text.arg) == Some(&text.value))
            && self.tags_present.iter().all(|tag| tags.contains(tag))
    }
}

impl DoubleRange {
    fn contains(&self, value: Option<&f64>) -> bool {
        let Some(value) = value else { return false };
        let (without_min, without_max) = match self.exclude {
            Exclude::None => (false, false),
            Exclude::Min => (true, false),
            Exclude::Max => (false, true),
            Exclude::Both => (true, true),
        };
        let is_above = if without_min { *value > self.min } else { *value >= self.min };
        let is_below = if without_max { *value < self.max } else { *value <= self.max };
        is_above && is_below
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(pool: &Pool, params: &JoinParams) -> bool {
        pool.takes(&params.double_args, &params.string_args, &params.tags)
    }

    #[test]
    fn a_pool_takes_what_fits_all_of_its_conditions() {
        let range = |exclude: &str| -> Pool {
            let text =
                format!("double_ranges = [{{ arg = \"a\", min = 1.0, max = 2.0, exclude = {exclude:?} }}]");
            toml::from_str(&text).unwrap()
        };
        let with = |a: f64| JoinParams { double_args: [("a".to_owned(), a)].into(), ..JoinParams::default() };
        for (exclude, expected) in [
            ("none", [false, true, true, true, false]),
            ("min", [false, false, true, true, false]),
            ("max", [false, true, true, false, false]),
            ("both", [false, false, true, false, false]),
        ] {
            let found = [0.9, 1.0, 1.5, 2.0, 2.1].map(|a| takes(&range(exclude), &with(a)));
            assert_eq!(found, expected, "{exclude}");
            let absent = JoinParams::default();
            assert!(!takes(&range(exclude), &with(f64::NAN)) && !takes(&range(exclude), &absent));
        }
        let pool: Pool =
            toml::from_str("string_equals = [{ arg = \"b\", value = \"x\" }]\ntags_present = [\"t\"]")
                .unwrap();
        let params = |b: &str, tags: &[&str]| JoinParams {
            string_args: [("b".to_owned(), b.to_owned())].into(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            ..JoinParams::default()
        };
        assert!(takes(&pool, &params("x", &["s", "t"])));
        assert!(!takes(&pool, &params("y", &["t"])) && !takes(&pool, &params("x", &["s"])));
        assert!(Profile::default().takes(&JoinParams::default()));
        assert!(
            !Profile { pools: vec![pool, range("none")], ..Profile::default() }.takes(&JoinParams::default())
        );
    }

    #[test]
    fn a_party_must_fit_on_a_side() {
        let profile = Profile {
            max_players_per_side: 4,
            min_players_per_party: 2,
            max_players_per_party: 5,
            ..Profile::default()
        };
        assert_eq!(
            [1, 2, 4, 5, 6].map(|players| profile.takes_party_of(players)),
            [false, true, true, false, false]
        );
        let external = Profile { matcher: MatcherKind::External, ..profile };
        assert_eq!([1, 2, 5, 6].map(|players| external.takes_party_of(players)), [false, true, true, false]);
    }

    #[test]
    fn reasons_have_the_names_of_the_contract() {
        for end in TicketEnd::ALL {
            assert_eq!(serde_json::to_value(end).unwrap(), end.name());
        }
    }
}
