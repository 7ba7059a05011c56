//! Deserters: players who left matches, and may not queue for some time. Game servers say who is one.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::{CustomData, PlayerUuid, Refused};

/// Most kinds of desertion in a configuration.
pub const DESERTERS_MAX: usize = 64;

/// A kind of desertion. Its table in the configuration file is empty: the id is all there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeserterKind {}

/// What a game server says of a player, for one kind of desertion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeserterReport {
    /// The player is a deserter until then.
    pub expiration: Timestamp,
    /// From then on the count reads 0. Not before `expiration`. `None`: the count stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset: Option<Timestamp>,
    /// How often the player has deserted.
    pub count: u64,
    /// The product's data about it.
    #[serde(default, skip_serializing_if = "CustomData::is_empty")]
    pub custom_data: CustomData,
}

/// The status of a player, for one kind of desertion, as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeserterStatus {
    /// The latest report.
    #[serde(flatten)]
    pub report: DeserterReport,
    /// When it came.
    pub last_updated: Timestamp,
    /// How often the kind had been cleared before. The status counts until the next clear. Clears are counted, because the
    /// clocks of two nodes can differ.
    pub clears: u64,
}

/// The clears of one kind of desertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeserterClears {
    /// Their number.
    pub count: u64,
    /// The latest one.
    pub last: Timestamp,
}

impl DeserterStatus {
    /// Whether the player is a deserter at this time.
    pub fn is_deserter(&self, now: Timestamp) -> bool {
        now < self.report.expiration
    }

    /// How often the player has deserted, as it reads at this time.
    pub fn count(&self, now: Timestamp) -> u64 {
        if self.report.reset.is_some_and(|reset| reset <= now) { 0 } else { self.report.count }
    }

    /// From when on the status says nothing any more.
    pub fn ends(&self) -> Timestamp {
        self.report.reset.unwrap_or(self.report.expiration)
    }
}

/// Until when players may not queue. It knows some players only, since the players of a party can change after it was read.
#[derive(Clone, Debug, Default)]
pub struct Bans {
    known: BTreeSet<PlayerUuid>,
    expirations: BTreeMap<(PlayerUuid, Uuid), Timestamp>,
}

impl Bans {
    /// The bans of these players. `expirations` has those who have a status, with the kind of desertion.
    pub fn new(
        players: impl IntoIterator<Item = PlayerUuid>,
        expirations: impl IntoIterator<Item = ((PlayerUuid, Uuid), Timestamp)>,
    ) -> Self {
        Self { known: players.into_iter().collect(), expirations: expirations.into_iter().collect() }
    }

    /// Refuses a player who is a deserter of one of these kinds at this time.
    ///
    /// # Errors
    /// [`Refused::PlayerIsDeserter`]; [`Refused::DesertersUnread`] if nothing is known of the player.
    pub fn check(&self, player: PlayerUuid, kinds: &BTreeSet<Uuid>, now: Timestamp) -> Result<(), Refused> {
        if !self.known.contains(&player) {
            return Err(Refused::DesertersUnread);
        }
        let expirations = kinds.iter().filter_map(|kind| self.expirations.get(&(player, *kind)));
        match expirations.max().filter(|expiration| now < **expiration) {
            Some(expiration) => Err(Refused::PlayerIsDeserter(player, *expiration)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    #[test]
    fn a_status_ends_at_its_expiration_and_its_count_at_the_reset() {
        let report = |reset: Option<i64>| DeserterReport {
            expiration: at(1_000),
            reset: reset.map(at),
            count: 3,
            custom_data: CustomData::new(),
        };
        let status = |reset| DeserterStatus { report: report(reset), last_updated: at(0), clears: 0 };
        let shown = |reset, now| (status(reset).is_deserter(at(now)), status(reset).count(at(now)));
        assert_eq!(shown(Some(2_000), 999), (true, 3));
        assert_eq!(shown(Some(2_000), 1_000), (false, 3));
        assert_eq!(shown(Some(2_000), 1_999), (false, 3));
        assert_eq!(shown(Some(2_000), 2_000), (false, 0));
        assert_eq!(shown(None, i64::from(u32::MAX)), (false, 3));
        assert_eq!((status(Some(2_000)).ends(), status(None).ends()), (at(2_000), at(1_000)));
    }

    #[test]
    fn a_player_of_whom_nothing_is_known_is_not_let_in() {
        let [ann, bob, eve] = [1, 2, 3].map(|player| PlayerUuid(Uuid::from_u128(player)));
        let [kind, other] = [1, 2].map(Uuid::from_u128);
        let bans = Bans::new([ann, bob], [((ann, kind), at(10)), ((ann, other), at(20))]);
        let kinds = |kinds: &[Uuid]| kinds.iter().copied().collect::<BTreeSet<_>>();
        let both = kinds(&[kind, other]);
        assert_eq!(bans.check(ann, &both, at(9)), Err(Refused::PlayerIsDeserter(ann, at(20))));
        assert_eq!(bans.check(ann, &kinds(&[kind]), at(9)), Err(Refused::PlayerIsDeserter(ann, at(10))));
        assert_eq!(bans.check(ann, &kinds(&[kind]), at(10)), Ok(()));
        assert_eq!(bans.check(bob, &both, at(0)), Ok(()));
        assert_eq!(bans.check(eve, &both, at(99)), Err(Refused::DesertersUnread));
    }
}
