//! Why a ticket waits: how many others fit it, condition by condition.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::Matcher;
use super::group::Group;
use super::index::Entry;
use super::waiting;

/// What a ticket waits for.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// Its age, the time that had passed before included, in milliseconds.
    pub age_ms: i64,
    /// Whether a proposal has it.
    pub is_held: bool,
    /// Whether it takes part in new matches at its age.
    pub takes_part: bool,
    /// Smallest number of players of a match in which it is the oldest.
    pub players_needed: usize,
    /// How many of the other tickets fit it.
    pub fit: Fit,
    /// When it next reaches an age at which something widens, in milliseconds since 1970. `None`: nothing widens any more.
    pub next_step_ms: Option<i64>,
}

/// How many tickets fit a ticket by each condition alone. All but `waiting` and `texts` are counted among the tickets
/// with equal texts that take part in new matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

impl Matcher {
    /// Why a ticket waits, at a time in milliseconds since 1970. `None` if it is not here. Looks at every ticket.
    pub fn explain(&mut self, id: Uuid, now_ms: i64) -> Option<Explanation> {
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
        Some(Explanation {
            age_ms: ticket.age_ms(self.now_ms),
            is_held: entry.is_held,
            takes_part: entry.class.is_some_and(|class| class.new_matches),
            players_needed: rules.sizes.at(ticket.age_ms(self.now_ms)),
            fit,
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
