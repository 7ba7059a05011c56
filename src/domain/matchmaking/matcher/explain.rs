//! Why a ticket waits: how many others fit it, condition by condition.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Matcher;
use super::backfill::{Backfill, takes};
use super::group::Group;
use super::index::Entry;
use super::search::Scene;
use super::waiting;

/// What a ticket waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// Its age, the time that had passed before included, in milliseconds.
    pub age_ms: i64,
    /// Whether a proposal has it.
    pub is_held: bool,
    /// Whether it takes part in new matches at its age.
    pub takes_part: bool,
    /// Number of its own players.
    pub players: usize,
    /// Smallest number of players of a match in which it is the oldest.
    pub players_needed: usize,
    /// How many of the other tickets fit it.
    pub fit: Fit,
    /// How many running matches take players now.
    #[serde(default)]
    pub running: usize,
    /// How many of those could take it.
    #[serde(default)]
    pub running_fit: usize,
    /// When it next reaches an age at which something widens, in milliseconds since 1970. `None`: nothing widens any more.
    pub next_step_ms: Option<i64>,
}

/// How many tickets fit a ticket by each condition alone. All but `waiting` and `texts` are counted among the tickets
/// with equal texts that take part in new matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fit {
    /// All others of the profile.
    pub waiting: usize,
    /// Those with the same version group and equal texts.
    pub texts: usize,
    /// Those that take part in new matches.
    pub take_part: usize,
    /// Those that are small enough to be in one match with it.
    pub size: usize,
    /// Those with whom all platforms and inputs are accepted.
    pub crossplay: usize,
    /// Those that accept a region that it accepts, too.
    pub regions: usize,
    /// Those that wish for a map that it wishes for, if wishes are hard.
    pub maps: usize,
    /// By field: those that are close enough in it.
    pub fields: BTreeMap<String, usize>,
    /// Those that fit by all conditions.
    pub all: usize,
    /// Players of those.
    pub players: usize,
}

/// The first thing that keeps a ticket from a new match.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    /// It takes part in no new match at its age.
    TakesNoPart,
    /// No other ticket waits.
    NobodyElse,
    /// None of the others has the same version and the same texts.
    Texts,
    /// None of those takes part in new matches.
    OthersTakeNoPart,
    /// All of those are too large.
    Size,
    /// None of those plays on platforms and with inputs that all accept.
    Crossplay,
    /// None of those accepts a region that it accepts.
    Regions,
    /// None of those wishes for a map that it wishes for.
    Maps,
    /// None of those is close enough in this field.
    Field(String),
    /// Each condition suits some, but nobody is suited by all.
    NoneInAll,
    /// Those who fit are too few players.
    TooFew,
    /// Enough players fit it, but they do not fit each other, or they cannot form the sides.
    NotTogether,
}

impl std::fmt::Display for Obstacle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TakesNoPart => "takes no part in new matches: its pools, its latencies or the join mode",
            Self::NobodyElse => "nobody else waits",
            Self::Texts => "nobody else has the same version and the same texts",
            Self::OthersTakeNoPart => "nobody else takes part in new matches",
            Self::Size => "all others are too many players for one match with it",
            Self::Crossplay => "nobody else plays on platforms and with inputs that all accept",
            Self::Regions => "nobody else accepts a region that it accepts",
            Self::Maps => "nobody else wishes for a map that it wishes for",
            Self::Field(name) => return write!(f, "nobody else is close enough in {name:?}"),
            Self::NoneInAll => "each condition suits some of the others, but all conditions suit none",
            Self::TooFew => "too few players fit",
            Self::NotTogether => "enough players fit it, but not each other, or they cannot form the sides",
        })
    }
}

impl Explanation {
    /// The first thing that keeps the ticket from a new match.
    pub fn obstacle(&self) -> Obstacle {
        let fit = &self.fit;
        let checks = [
            (self.takes_part, Obstacle::TakesNoPart),
            (fit.waiting > 0, Obstacle::NobodyElse),
            (fit.texts > 0, Obstacle::Texts),
            (fit.take_part > 0, Obstacle::OthersTakeNoPart),
            (fit.size > 0, Obstacle::Size),
            (fit.crossplay > 0, Obstacle::Crossplay),
            (fit.regions > 0, Obstacle::Regions),
            (fit.maps > 0, Obstacle::Maps),
        ];
        let first = checks.into_iter().find(|(holds, _)| !holds).map(|(_, obstacle)| obstacle);
        let mut fields = fit.fields.iter();
        let far = fields.find(|(_, close)| **close == 0).map(|(name, _)| Obstacle::Field(name.clone()));
        first.or(far).unwrap_or(match fit.all {
            0 => Obstacle::NoneInAll,
            _ if self.players + fit.players < self.players_needed => Obstacle::TooFew,
            _ => Obstacle::NotTogether,
        })
    }
}

impl Matcher {
    /// Why a ticket waits, at a time in milliseconds since 1970, beside these running matches. `None` if it is not here.
    /// Looks at every ticket, and at every match.
    pub fn explain(&mut self, id: Uuid, now_ms: i64, backfills: &[Backfill]) -> Option<Explanation> {
        self.advance(now_ms.max(self.now_ms));
        let slot = self.tickets.slot(id)?;
        let entry = self.tickets.entry(slot);
        let (ticket, rules) = (&entry.ticket, &self.rules);
        let steps = rules.ages.iter().map(|age| ticket.since_ms.saturating_add(*age));
        let mut fit = Fit::default();
        for other in waiting(&self.tickets).filter(|other| other.ticket.id != id) {
            fit.waiting += 1;
            self.count(&mut fit, entry, other);
        }
        let scene = Scene { rules, tickets: &self.tickets, now_ms: self.now_ms };
        Some(Explanation {
            age_ms: ticket.age_ms(self.now_ms),
            is_held: entry.is_held,
            takes_part: entry.class.is_some_and(|class| class.new_matches),
            players: ticket.players,
            players_needed: rules.sizes.at(ticket.age_ms(self.now_ms)),
            fit,
            running: backfills.len(),
            running_fit: backfills.iter().filter(|backfill| takes(scene, backfill, entry)).count(),
            next_step_ms: steps.filter(|at| *at > self.now_ms).min(),
        })
    }

    fn count(&self, fit: &mut Fit, one: &Entry, other: &Entry) {
        if one.ticket.bucket != other.ticket.bucket {
            return;
        }
        fit.texts += 1;
        let Some((here, there)) = one.class.zip(other.class).filter(|(_, there)| there.new_matches) else {
            return;
        };
        fit.take_part += 1;
        let has_size = one.ticket.players + other.ticket.players <= self.rules.sides.full();
        fit.size += usize::from(has_size);
        fit.crossplay += usize::from(here.crossplay.with(there.crossplay).agrees());
        fit.regions += usize::from(here.regions & there.regions != 0);
        fit.maps += usize::from(here.maps & there.maps != 0);
        let oldest_ms = one.ticket.age_ms(self.now_ms).max(other.ticket.age_ms(self.now_ms));
        let newest_ms = one.ticket.age_ms(self.now_ms).min(other.ticket.age_ms(self.now_ms));
        let numbers = one.ticket.numbers.iter().zip(&other.ticket.numbers);
        for (field, (a, b)) in self.rules.fields.iter().zip(numbers) {
            let is_close = (a - b).abs() <= field.tolerance.at(field.age(oldest_ms, newest_ms));
            *fit.fields.entry(field.name.clone()).or_default() += usize::from(is_close);
        }
        let pair = Group::of(one, &self.rules, self.now_ms)
            .and_then(|group| group.with(other, &self.rules, self.now_ms));
        if pair.is_some() && has_size {
            fit.all += 1;
            fit.players += other.ticket.players;
        }
    }
}
