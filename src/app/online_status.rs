//! What players say about themselves to their friends: whether they are online, and a message. Clients repeat it every
//! 30 seconds. It is kept in memory and forgotten soon: it is no reason to end a player's membership, which is the task
//! of [`presence`](super::presence).

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::domain::{CustomData, Platform, PlayerUuid};
use crate::env::Clock;

/// How long a report counts, in milliseconds: three times the pause between two reports.
const COUNTS_FOR_MS: i64 = 90_000;
/// Largest memory of all reports, in bytes. Beyond it, some are forgotten early.
const BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Assumed size of a report, in bytes.
const REPORT_BYTES_TYPICAL: u64 = 256;

/// Whether a player is online.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// Online.
    Online,
    /// Online, but not at the controls.
    Away,
    /// Online, and shown to others as offline.
    Invisible,
    /// Not online.
    #[default]
    Offline,
}

/// What a player has reported. The default is that of a player who has reported nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Whether the player is online.
    pub status: Status,
    /// A message to others.
    pub message: String,
    /// Whether the player wants no invites. Only the player sees it.
    pub do_not_disturb: bool,
    /// Further data.
    pub custom_data: CustomData,
    /// The platform on which the player is, if the token names one.
    pub platform: Option<Platform>,
    /// The player's name, if the token has one.
    pub display_name: String,
}

/// A report, and when it was made, by [`Clock::up_ms`].
#[derive(Clone)]
struct Timed {
    report: Report,
    since_ms: i64,
}

/// Weighs reports by their size.
#[derive(Clone)]
struct BySize;

impl Weighter<PlayerUuid, Timed> for BySize {
    fn weight(&self, _: &PlayerUuid, Timed { report, .. }: &Timed) -> u64 {
        let data: usize = report.custom_data.iter().map(|(name, value)| name.len() + value.len() + 64).sum();
        (size_of::<Timed>() + report.message.len() + report.display_name.len() + data) as u64
    }
}

/// The reports of the players who have reported to this node.
pub struct OnlineStatuses {
    reports: Cache<PlayerUuid, Timed, BySize>,
    clock: Clock,
}

impl OnlineStatuses {
    /// No reports yet.
    pub fn new(clock: Clock) -> Self {
        let items = usize::try_from(BYTES_MAX / REPORT_BYTES_TYPICAL).unwrap_or(usize::MAX);
        Self { reports: Cache::with_weighter(items, BYTES_MAX, BySize), clock }
    }

    /// What a player has reported within the last 90 seconds; `None` if nothing.
    pub fn get(&self, player: PlayerUuid) -> Option<Report> {
        let oldest_ms = self.clock.up_ms() - COUNTS_FOR_MS;
        self.reports.get(&player).filter(|timed| timed.since_ms > oldest_ms).map(|timed| timed.report)
    }

    /// Remembers what a player reports now.
    pub fn set(&self, player: PlayerUuid, report: Report) {
        self.reports.insert(player, Timed { report, since_ms: self.clock.up_ms() });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_report_counts_for_90_seconds() {
        let clock = Clock::manual(jiff::Timestamp::UNIX_EPOCH);
        let statuses = OnlineStatuses::new(clock.clone());
        let player = PlayerUuid(Uuid::nil());
        assert_eq!(statuses.get(player), None);
        let report = Report { status: Status::Online, ..Report::default() };
        statuses.set(player, report.clone());
        clock.advance(Duration::from_millis(89_999));
        assert_eq!(statuses.get(player), Some(report.clone()));
        clock.advance(Duration::from_millis(1));
        assert_eq!(statuses.get(player), None);
        statuses.set(player, report.clone());
        assert_eq!(statuses.get(player), Some(report));
    }

    #[test]
    fn reports_have_a_budget_of_memory() {
        let statuses = OnlineStatuses::new(Clock::manual(jiff::Timestamp::UNIX_EPOCH));
        let report = Report { message: "x".repeat(1024 * 1024), ..Report::default() };
        for player in 0..100 {
            statuses.set(PlayerUuid(Uuid::from_u128(player)), report.clone());
        }
        let kept = (0..100).filter(|player| statuses.get(PlayerUuid(Uuid::from_u128(*player))).is_some());
        assert!(kept.count() <= 32);
    }
}
