//! Tickets that may be in one match, but for the sides: what they have in common, as running totals.

use smallvec::SmallVec;

use super::crossplay::Crossplay;
use super::index::Entry;
use super::rules::{ClassKey, FieldRule, Rules};
use super::ticket::age_ms;

/// Totals of some tickets. A ticket is added in as many steps as there are fields.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) players: usize,
    pub(super) regions: u64,
    pub(super) maps: u128,
    crossplay: Crossplay,
    /// By field: the least and the greatest value. `None`: no ticket is known to have one.
    pub(super) ranges: SmallVec<[Option<(f64, f64)>; 2]>,
    /// The oldest and the newest ticket. Reversed if there is no ticket.
    pub(super) oldest_ms: i64,
    newest_ms: i64,
}

impl Group {
    /// No tickets.
    pub(super) fn empty(rules: &Rules) -> Self {
        Self {
            players: 0,
            regions: rules.regions.all(),
            maps: u128::MAX,
            crossplay: Crossplay::NOBODY,
            ranges: rules.fields.iter().map(|_| None).collect(),
            oldest_ms: i64::MAX,
            newest_ms: i64::MIN,
        }
    }

    /// Players who are in a match already. Their ages decide nothing, only their values.
    pub(super) fn in_match(
        regions: u64,
        maps: u128,
        crossplay: Crossplay,
        ranges: &[Option<(f64, f64)>],
    ) -> Self {
        let ranges = ranges.iter().copied().collect();
        Self { players: 0, regions, maps, crossplay, ranges, oldest_ms: i64::MAX, newest_ms: i64::MIN }
    }

    /// A group of one.
    pub(super) fn of(entry: &Entry, rules: &Rules, now_ms: i64) -> Option<Self> {
        Self::empty(rules).with(entry, rules, now_ms)
    }

    /// The group with one ticket more, if the ticket fits it. Sizes are the caller's affair.
    pub(super) fn with(&self, entry: &Entry, rules: &Rules, now_ms: i64) -> Option<Self> {
        let key = entry.class.as_ref()?;
        let (regions, maps) = (self.regions & key.regions, self.maps & key.maps);
        let crossplay = self.crossplay.with(key.crossplay);
        if regions == 0 || maps == 0 || !crossplay.agrees() {
            return None;
        }
        let ticket = &entry.ticket;
        let (oldest_ms, newest_ms) =
            (self.oldest_ms.min(ticket.since_ms), self.newest_ms.max(ticket.since_ms));
        let (oldest_age_ms, newest_age_ms) = (age_ms(oldest_ms, now_ms), age_ms(newest_ms, now_ms));
        let mut ranges = SmallVec::with_capacity(self.ranges.len());
        for ((field, range), number) in rules.fields.iter().zip(&self.ranges).zip(&ticket.numbers) {
            let (min, max) = range.unwrap_or((*number, *number));
            let (min, max) = (min.min(*number), max.max(*number));
            if max - min > field.tolerance.at(field.age(oldest_age_ms, newest_age_ms)) {
                return None;
            }
            ranges.push(Some((min, max)));
        }
        let players = self.players + ticket.players;
        Some(Self { players, regions, maps, crossplay, ranges, oldest_ms, newest_ms })
    }

    /// The age of its oldest ticket, in milliseconds.
    pub(super) fn age_ms(&self, now_ms: i64) -> i64 {
        age_ms(self.oldest_ms, now_ms)
    }

    /// The age that decides about a field.
    pub(super) fn age_of(&self, field: &FieldRule, now_ms: i64) -> i64 {
        field.age(age_ms(self.oldest_ms, now_ms), age_ms(self.newest_ms, now_ms))
    }

    /// The difference between the least and the greatest value of a field.
    pub(super) fn spread(&self, field: usize) -> f64 {
        self.ranges[field].map_or(0.0, |(min, max)| max - min)
    }

    /// The sum of the costs of its spreads.
    pub(super) fn spread_cost(&self, rules: &Rules, now_ms: i64) -> i64 {
        let fields = rules.fields.iter().enumerate();
        fields.map(|(at, field)| field.cost(self.spread(at), self.age_of(field, now_ms))).sum()
    }

    /// Whether all tickets of a class can be added, as far as regions, maps and crossplay decide it.
    pub(super) fn meets(&self, key: &ClassKey) -> bool {
        self.regions & key.regions != 0
            && self.maps & key.maps != 0
            && self.crossplay.with(key.crossplay).agrees()
    }
}
