//! Presence records: when the players and the host of a session were last seen. Nodes that share a store exchange them.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::domain::PlayerUuid;
use crate::domain::instance::health::{HealthRules, Reports};
use crate::store::StoreError;

/// The presence record of a session. Times are in milliseconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LastSeen {
    /// The last heartbeat of each player.
    #[serde(rename = "asked_ms")]
    pub heartbeat_ms: BTreeMap<PlayerUuid, i64>,
    /// The id of the instance that reported, and its reports.
    pub reports: Option<(String, Reports)>,
    /// The id of the backfill, and when its host last confirmed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<(String, i64)>,
}

impl LastSeen {
    /// Merges the record of another node: keeps the later heartbeat of each player, and the reports of both nodes. If
    /// the reports come from instances with different ids, keeps those of the instance that reported last.
    pub fn merge(&mut self, other: Self, rules: &HealthRules) {
        for (player, ms) in other.heartbeat_ms {
            let latest_ms = self.heartbeat_ms.entry(player).or_insert(ms);
            *latest_ms = ms.max(*latest_ms);
        }
        let later = |one: &(String, i64), other: &(String, i64)| one.1.cmp(&other.1);
        self.confirmed = self.confirmed.take().into_iter().chain(other.confirmed).max_by(later);
        self.reports = match (self.reports.take(), other.reports) {
            (Some((id, reports)), Some((other_id, other_reports))) if id == other_id => {
                Some((id, reports.merge(other_reports, rules)))
            }
            (Some(own), Some(other)) if other.1.last_ms() >= own.1.last_ms() => Some(other),
            (own, other) => own.or(other),
        };
    }

    /// Moves times after `now_ms` to `now_ms`: they were noted before the clock was set back. Reports with such times
    /// start again.
    pub fn forget_future(&mut self, now_ms: i64) {
        for heartbeat_ms in self.heartbeat_ms.values_mut() {
            *heartbeat_ms = (*heartbeat_ms).min(now_ms);
        }
        if let Some((_, reports)) = &mut self.reports {
            reports.forget_future(now_ms);
        }
        if let Some((_, confirmed_ms)) = &mut self.confirmed {
            *confirmed_ms = (*confirmed_ms).min(now_ms);
        }
    }

    /// The stored form: JSON.
    pub fn encode(&self) -> Bytes {
        Document::render(self)
    }

    /// Decodes a stored record.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the bytes are not a presence record.
    pub fn decode(value: &[u8]) -> Result<Self, StoreError> {
        serde_json::from_slice(value)
            .map_err(|error| StoreError::Corrupt(format!("the presence of a session: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::instance::Health;

    const RULES: HealthRules =
        HealthRules { cadence_s: 10, unhealthy_missed_percent: 50.0, missed_before_unknown: 6 };
    const ALICE: PlayerUuid = PlayerUuid(Uuid::from_u128(1));
    const BOB: PlayerUuid = PlayerUuid(Uuid::from_u128(2));

    fn heartbeats(heartbeats: &[(PlayerUuid, i64)]) -> LastSeen {
        LastSeen { heartbeat_ms: heartbeats.iter().copied().collect(), ..LastSeen::default() }
    }

    /// A record with one health report of an instance.
    fn reported(id: &str, at_ms: i64) -> LastSeen {
        let mut reports = Reports::expected_since(at_ms, Health::Healthy);
        reports.add(Health::Healthy, at_ms, &RULES);
        LastSeen { reports: Some((id.to_owned(), reports)), ..LastSeen::default() }
    }

    fn merged(mut one: LastSeen, other: LastSeen) -> LastSeen {
        one.merge(other, &RULES);
        one
    }

    #[test]
    fn the_later_heartbeat_of_each_player_wins() {
        for (one, other, expected) in [
            (heartbeats(&[]), heartbeats(&[]), heartbeats(&[])),
            (heartbeats(&[(ALICE, 1)]), heartbeats(&[]), heartbeats(&[(ALICE, 1)])),
            (heartbeats(&[(ALICE, 1)]), heartbeats(&[(BOB, 2)]), heartbeats(&[(ALICE, 1), (BOB, 2)])),
            (
                heartbeats(&[(ALICE, 1), (BOB, 4)]),
                heartbeats(&[(ALICE, 3), (BOB, 2)]),
                heartbeats(&[(ALICE, 3), (BOB, 4)]),
            ),
        ] {
            assert_eq!(merged(one.clone(), other.clone()), expected);
            assert_eq!(merged(other, one), expected);
        }
    }

    #[test]
    fn the_reports_of_the_last_instance_win() {
        let none = LastSeen::default();
        for (one, other, expected) in [
            (none.clone(), none.clone(), none.clone()),
            (reported("a", 1_000), none, reported("a", 1_000)),
            (reported("a", 1_000), reported("b", 2_000), reported("b", 2_000)),
            // A new instance with the same id.
            (reported("a", 1_000), reported("a", 90_000), reported("a", 90_000)),
        ] {
            assert_eq!(merged(one.clone(), other.clone()), expected);
            assert_eq!(merged(other, one), expected);
        }
    }

    #[test]
    fn reports_of_one_instance_at_two_nodes_are_merged() {
        let report = |times_ms: &[i64]| {
            let mut reports = Reports::expected_since(0, Health::Healthy);
            for time_ms in times_ms {
                reports.add(Health::Healthy, *time_ms, &RULES);
            }
            LastSeen { reports: Some(("a".to_owned(), reports)), ..LastSeen::default() }
        };
        let expected = report(&[0, 10_000, 20_000, 30_000]);
        assert_eq!(merged(report(&[0, 20_000]), report(&[0, 10_000, 30_000])), expected);
    }

    #[test]
    fn the_later_confirmation_of_a_backfill_wins() {
        let confirmed =
            |id: &str, ms| LastSeen { confirmed: Some((id.to_owned(), ms)), ..LastSeen::default() };
        let none = LastSeen::default();
        for (one, other, expected) in [
            (none.clone(), confirmed("a", 1), confirmed("a", 1)),
            (confirmed("a", 2), confirmed("a", 1), confirmed("a", 2)),
            (confirmed("a", 1), confirmed("b", 2), confirmed("b", 2)),
        ] {
            assert_eq!(merged(one.clone(), other.clone()), expected);
            assert_eq!(merged(other, one), expected);
        }
        let mut record = confirmed("a", 90_000);
        record.forget_future(2_000);
        assert_eq!(record, confirmed("a", 2_000));
        assert_eq!(LastSeen::decode(&record.encode()), Ok(record));
    }

    #[test]
    fn times_in_the_future_are_moved_to_now() {
        let mut record = heartbeats(&[(ALICE, 1_000), (BOB, 90_000)]);
        record.reports = reported("a", 90_000).reports;
        record.forget_future(2_000);
        assert_eq!(record.heartbeat_ms, heartbeats(&[(ALICE, 1_000), (BOB, 2_000)]).heartbeat_ms);
        let mut reports = record.reports.unwrap().1;
        assert_eq!(reports.last_ms(), 2_000);
        reports.add(Health::Healthy, 2_000, &RULES);
        assert!(!reports.have_timed_out(61_999, 0, &RULES) && reports.have_timed_out(62_000, 0, &RULES));
    }

    #[test]
    fn records_round_trip() {
        let mut record = reported("a", 1_000);
        record.heartbeat_ms.insert(ALICE, 2_000);
        assert_eq!(LastSeen::decode(&record.encode()), Ok(record));
        assert!(matches!(LastSeen::decode(b"{"), Err(StoreError::Corrupt(_))));
    }
}
