//! The course of a simulation: from one event to the next, as the server's matcher would see them.

use std::collections::{BTreeMap, VecDeque};

use uuid::Uuid;

use super::Arrival;
use super::outcome::{End, MatchMade, Outcome, PartyOutcome};
use crate::domain::instance::template::MapChoice;
use crate::domain::matchmaking::entry::Entered;
use crate::domain::matchmaking::matcher::{
    Backfill, Crossplay, Limits, Matcher, Obstacle, Proposal, Rules, Ticket, TicketValues,
};
use crate::domain::matchmaking::profile::{BackfillMode, Field, MapWish, MatcherKind, RANK_FIELD};
use crate::domain::matchmaking::ruleset::Party;
use crate::domain::matchmaking::{Matchmaking, Profile};
use crate::domain::region::Region;
use crate::domain::{PlayerUuid, Refused};

/// Most looks at tickets that a simulation spends on finding out why tickets wait.
const EXPLANATION_LOOKS: usize = 20_000_000;
/// Into how many parts the time is divided, to note how many parties wait.
const TIMES: i64 = 240;

/// What the configuration of a server says about matchmaking.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Queues, profiles and what belongs to them.
    pub matchmaking: Matchmaking,
    /// Regions by id.
    pub regions: BTreeMap<String, Region>,
    /// The maps of each instance template.
    pub maps: BTreeMap<Uuid, Vec<MapChoice>>,
    /// Time from a change to the pass that looks at it, and between two passes, in milliseconds.
    pub pass_every_ms: i64,
    /// Longest life of a ticket, in milliseconds. `None`: no limit.
    pub ticket_timeout_ms: Option<i64>,
    /// Most profiles of a ticket.
    pub profiles_per_ticket_max: usize,
    /// How long a match takes players who come later, in milliseconds, if its profile lets it.
    pub match_ms: i64,
}

/// How far a simulation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The simulated time since the start, in milliseconds.
    pub done_ms: i64,
    /// The time to simulate, in milliseconds.
    pub of_ms: i64,
    /// Number of parties that wait.
    pub waiting: usize,
}

/// Simulates until a time in milliseconds. `arrivals` are in the order of their times, and their tickets have different
/// ids.
pub fn run(setup: &Setup, arrivals: &[Arrival], end_ms: i64, report: &mut dyn FnMut(Progress)) -> Outcome {
    let start_ms = arrivals.first().map_or(end_ms, |arrival| arrival.at_ms);
    let mut course = Course::new(setup, arrivals, start_ms);
    let of_ms = (end_ms - start_ms).max(1);
    let mut next = 0;
    loop {
        let arrival_ms = arrivals.get(next).map(|arrival| arrival.at_ms);
        let leave_ms = course.leaves.last().map(|(leaves_ms, _)| *leaves_ms);
        let times = [arrival_ms, leave_ms, course.next_timeout_ms(), course.next_pass_ms()];
        let Some(now_ms) = times.into_iter().flatten().min().filter(|now| *now < end_ms) else { break };
        course.now_ms = now_ms;
        course.drop_timed_out();
        while arrivals.get(next).is_some_and(|arrival| arrival.at_ms <= now_ms) {
            course.join(next);
            next += 1;
        }
        course.drop_left();
        course.pass();
        let (done_ms, waiting) = (now_ms - start_ms, course.waiting.len());
        let part_ms = done_ms * TIMES / of_ms * of_ms / TIMES;
        let most = course.outcome.waiting.entry(part_ms).or_default();
        *most = waiting.max(*most);
        report(Progress { done_ms, of_ms, waiting });
    }
    course.finish(end_ms)
}

/// A party that waits.
struct Queued<'a> {
    arrival: usize,
    /// The profiles with a matcher that it waits for, and its skill in each.
    profiles: Vec<(&'a str, Option<f64>)>,
}

/// A profile whose matches the server makes.
struct Matching<'a> {
    profile: &'a Profile,
    rules: Rules,
    matcher: Matcher,
    /// When the next pass is due.
    due_ms: Option<i64>,
    /// Matches that take players, and when they end. The numbers of the matches are the ids.
    running: Vec<(i64, Backfill)>,
}

struct Course<'a> {
    setup: &'a Setup,
    arrivals: &'a [Arrival],
    now_ms: i64,
    profiles: BTreeMap<&'a str, Matching<'a>>,
    waiting: BTreeMap<Uuid, Queued<'a>>,
    /// When parties leave, and their tickets: the last first.
    leaves: Vec<(i64, Uuid)>,
    /// Tickets in the order in which they join. Those that wait no longer are skipped.
    by_age: VecDeque<(i64, Uuid)>,
    looks_left: usize,
    outcome: Outcome,
}

impl<'a> Course<'a> {
    fn new(setup: &'a Setup, arrivals: &'a [Arrival], start_ms: i64) -> Self {
        let is_ours = |profile: &&'a Profile| profile.active && profile.matcher == MatcherKind::Builtin;
        let matching = |profile: &'a Profile| {
            let template = profile.instance_request_template_id;
            let maps = template.and_then(|id| setup.maps.get(&id)).map_or(&[][..], Vec::as_slice);
            let rules = Rules::new(profile, &setup.regions, maps);
            let matcher = Matcher::new(rules.clone(), start_ms);
            Matching { profile, rules, matcher, due_ms: None, running: Vec::new() }
        };
        let profiles = setup.matchmaking.profiles.iter().filter(|(_, profile)| is_ours(profile));
        // Nobody leaves before joining.
        let leave = |arrival: &Arrival| Some((arrival.leaves_ms?.max(arrival.at_ms), arrival.ticket_id));
        let mut leaves: Vec<_> = arrivals.iter().filter_map(leave).collect();
        leaves.sort_unstable_by(|one, other| other.cmp(one));
        let party = |arrival: &Arrival| PartyOutcome {
            players: arrival.players.len(),
            region: arrival.region.clone(),
            end: End::Waiting(0),
            played_in: None,
            obstacle: None,
        };
        Self {
            setup,
            arrivals,
            now_ms: start_ms,
            profiles: profiles.map(|(id, profile)| (id.as_str(), matching(profile))).collect(),
            waiting: BTreeMap::new(),
            leaves,
            by_age: VecDeque::new(),
            looks_left: EXPLANATION_LOOKS,
            outcome: Outcome { parties: arrivals.iter().map(party).collect(), ..Outcome::default() },
        }
    }

    fn next_pass_ms(&self) -> Option<i64> {
        self.profiles.values().filter_map(|matching| matching.due_ms).min()
    }

    fn next_timeout_ms(&mut self) -> Option<i64> {
        let timeout_ms = self.setup.ticket_timeout_ms?;
        while let Some((joined_ms, id)) = self.by_age.front() {
            if self.waiting.contains_key(id) {
                return Some(joined_ms + timeout_ms);
            }
            self.by_age.pop_front();
        }
        None
    }

    fn drop_timed_out(&mut self) {
        while self.next_timeout_ms().is_some_and(|at_ms| at_ms <= self.now_ms) {
            let Some((joined_ms, id)) = self.by_age.pop_front() else { return };
            let obstacle = self.obstacle(id);
            if let Some(arrival) = self.take(id) {
                let party = &mut self.outcome.parties[arrival];
                (party.end, party.obstacle) = (End::TimedOut(self.now_ms - joined_ms), obstacle);
            }
        }
    }

    /// Lets the parties go whose time to leave has come, if they still wait.
    fn drop_left(&mut self) {
        while let Some((_, id)) = self.leaves.pop_if(|(leaves_ms, _)| *leaves_ms <= self.now_ms) {
            if let Some(arrival) = self.take(id) {
                self.outcome.parties[arrival].end = End::Left(self.now_ms - self.arrivals[arrival].at_ms);
            }
        }
    }

    /// Lets a party join its queues.
    fn join(&mut self, at: usize) {
        let arrivals = self.arrivals;
        let arrival = &arrivals[at];
        let entered = match self.enter(arrival) {
            Ok(entered) => entered,
            Err(refused) => {
                self.outcome.parties[at].end = End::Refused(code(&refused));
                return;
            }
        };
        let due_ms = self.now_ms + self.setup.pass_every_ms;
        let mut profiles = Vec::new();
        for (id, skill) in entered {
            let Some(matching) = self.profiles.get_mut(id) else { continue };
            matching.matcher.add(Ticket::new(&values(arrival, skill), &matching.rules));
            matching.due_ms = Some(matching.due_ms.map_or(due_ms, |before| before.min(due_ms)));
            profiles.push((id, skill));
        }
        self.waiting.insert(arrival.ticket_id, Queued { arrival: at, profiles });
        self.by_age.push_back((arrival.at_ms, arrival.ticket_id));
    }

    /// The profiles that a party enters, and its skill in each; as when a session joins queues.
    fn enter(&self, arrival: &Arrival) -> Result<Vec<(&'a str, Option<f64>)>, Refused> {
        let matchmaking = &self.setup.matchmaking;
        matchmaking.check_queues(&arrival.queue_ids, arrival.players.len())?;
        let region = arrival.region.as_ref().and_then(|id| self.setup.regions.get(id));
        if region.is_some_and(|region| region.custom_only) {
            return Err(Refused::RegionCustomOnly);
        }
        let party = Party { players: &arrival.players, region_id: arrival.region.as_deref() };
        let templates = matchmaking.templates_for(&party, &arrival.queue_ids)?;
        let profiles_max = self.setup.profiles_per_ticket_max;
        let entered = matchmaking.profiles_for(&party, &templates, &arrival.params, profiles_max)?;
        let known = |player: PlayerUuid, rank: Uuid| {
            let at = arrival.players.iter().position(|other| *other == player)?;
            arrival.skills.get(&rank)?.get(at).copied()
        };
        let is_trusted = arrival.is_of_service;
        let skill =
            |entered: &Entered<'_>| matchmaking.skill(entered, &party, &arrival.params, is_trusted, known);
        let recorded = |entered: &Entered<'_>| {
            arrival.profile_skills.get(entered.id).copied().filter(|_| entered.profile.rank_id.is_some())
        };
        let with_skill = |entered: &Entered<'a>| (entered.id, recorded(entered).or_else(|| skill(entered)));
        Ok(entered.iter().map(with_skill).collect())
    }

    /// Lets the matchers whose time has come make matches.
    fn pass(&mut self) {
        let limits = Limits::default();
        let due: Vec<&str> = self
            .profiles
            .iter()
            .filter(|(_, matching)| matching.due_ms.is_some_and(|due| due <= self.now_ms))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let Some(matching) = self.profiles.get_mut(id) else { continue };
            matching.running.retain(|(ends_ms, _)| *ends_ms > self.now_ms);
            let backfills: Vec<Backfill> =
                matching.running.iter().map(|(_, backfill)| backfill.clone()).collect();
            let pass = matching.matcher.pass(self.now_ms, &backfills, &limits);
            let soonest_ms = self.now_ms + self.setup.pass_every_ms;
            matching.due_ms = pass.next_ms.map(|next| next.max(soonest_ms));
            self.outcome.passes += 1;
            for proposal in pass.proposals {
                match proposal.backfill {
                    Some(running) => self.fill(id, running, &proposal),
                    None => self.make_match(id, proposal),
                }
            }
        }
    }

    fn make_match(&mut self, id: &'a str, proposal: Proposal) {
        let sides: Vec<Vec<(usize, Option<f64>)>> =
            proposal.sides.iter().map(|side| self.take_all(id, side)).collect();
        for (arrival, _) in sides.iter().flatten() {
            self.play(*arrival, End::Matched, &proposal.region);
        }
        let Some(matching) = self.profiles.get_mut(id) else { return };
        let profile = matching.profile;
        let size = |side: &Vec<(usize, Option<f64>)>| -> usize {
            side.iter().map(|(arrival, _)| self.arrivals[*arrival].players.len()).sum()
        };
        let wanted: Vec<usize> =
            sides.iter().map(|side| profile.max_players_per_side.saturating_sub(size(side))).collect();
        if profile.backfill == BackfillMode::Auto && wanted.iter().any(|wanted| *wanted > 0) {
            let all: Vec<_> =
                sides.iter().flatten().map(|(arrival, skill)| (&self.arrivals[*arrival], *skill)).collect();
            let number = self.outcome.matches.len() as u128;
            let backfill = running_match(profile, number, self.now_ms, &all, &proposal, wanted);
            matching.running.push((self.now_ms + self.setup.match_ms, backfill));
            let due_ms = self.now_ms + self.setup.pass_every_ms;
            matching.due_ms = Some(matching.due_ms.map_or(due_ms, |before| before.min(due_ms)));
        }
        self.outcome.matches.push(MatchMade {
            profile: id.to_owned(),
            at_ms: self.now_ms,
            sides: sides.iter().map(|side| side.iter().map(|(arrival, _)| *arrival).collect()).collect(),
            players: proposal.players,
            full: profile.num_sides * profile.max_players_per_side,
            fields: profile.fields.iter().map(|field| field.name.clone()).collect(),
            quality: proposal.quality,
        });
    }

    /// Lets tickets join a match that has begun.
    fn fill(&mut self, id: &str, running: Uuid, proposal: &Proposal) {
        for (team, side) in proposal.sides.iter().enumerate() {
            for (at, skill) in self.take_all(id, side) {
                self.play(at, End::Backfilled, &proposal.region);
                let arrival = &self.arrivals[at];
                let Some(matching) = self.profiles.get_mut(id) else { continue };
                let mut all = matching.running.iter_mut().map(|(_, backfill)| backfill);
                if let Some(backfill) = all.find(|backfill| backfill.id == running) {
                    let wanted = &mut backfill.wanted[team];
                    *wanted = wanted.saturating_sub(arrival.players.len());
                    add(backfill, matching.profile, arrival, skill);
                }
            }
        }
        if let Some(matching) = self.profiles.get_mut(id) {
            matching.running.retain(|(_, backfill)| backfill.wanted.iter().any(|wanted| *wanted > 0));
        }
    }

    /// Takes tickets out of all their profiles. Returns their arrivals, and their skills in one profile.
    fn take_all(&mut self, profile: &str, tickets: &[Uuid]) -> Vec<(usize, Option<f64>)> {
        let mut taken = Vec::new();
        for id in tickets {
            let skills = self.waiting.get(id).map(|queued| queued.profiles.clone()).unwrap_or_default();
            let skill = skills.iter().find(|(other, _)| *other == profile).and_then(|(_, skill)| *skill);
            taken.extend(self.take(*id).map(|arrival| (arrival, skill)));
        }
        taken
    }

    /// Takes a ticket out of all its profiles.
    fn take(&mut self, id: Uuid) -> Option<usize> {
        let queued = self.waiting.remove(&id)?;
        for (profile, _) in queued.profiles {
            if let Some(matching) = self.profiles.get_mut(profile) {
                matching.matcher.remove(id);
            }
        }
        Some(queued.arrival)
    }

    fn play(&mut self, arrival: usize, end: fn(i64) -> End, region: &str) {
        let party = &mut self.outcome.parties[arrival];
        party.end = end(self.now_ms - self.arrivals[arrival].at_ms);
        party.played_in = Some(region.to_owned());
    }

    /// What keeps a ticket from a match, in the profile in which most players fit it.
    fn obstacle(&mut self, id: Uuid) -> Option<Obstacle> {
        let profiles = self.waiting.get(&id)?.profiles.clone();
        let mut best: Option<(usize, Obstacle)> = None;
        for (profile, _) in profiles {
            let Some(matching) = self.profiles.get_mut(profile) else { continue };
            self.looks_left = self.looks_left.checked_sub(matching.matcher.len())?;
            let Some(explanation) = matching.matcher.explain(id, self.now_ms, &[]) else { continue };
            if best.as_ref().is_none_or(|(players, _)| explanation.fit.players > *players) {
                best = Some((explanation.fit.players, explanation.obstacle()));
            }
        }
        best.map(|(_, obstacle)| obstacle)
    }

    /// Tells how it went for those who still wait.
    fn finish(mut self, end_ms: i64) -> Outcome {
        self.now_ms = end_ms;
        for (joined_ms, id) in std::mem::take(&mut self.by_age) {
            let Some(arrival) = self.waiting.get(&id).map(|queued| queued.arrival) else { continue };
            let obstacle = self.obstacle(id);
            let party = &mut self.outcome.parties[arrival];
            (party.end, party.obstacle) = (End::Waiting(end_ms - joined_ms), obstacle);
        }
        self.outcome
    }
}

/// The ticket of a party.
fn values(arrival: &Arrival, skill: Option<f64>) -> TicketValues {
    TicketValues {
        id: arrival.ticket_id,
        players: arrival.players.len(),
        enqueued_ms: arrival.at_ms,
        passed_s: 0,
        skill,
        region: arrival.region.clone(),
        crossplay: arrival.crossplay,
        version_group: String::new(),
        maps: arrival.maps.clone(),
        double_args: arrival.params.double_args.clone(),
        string_args: arrival.params.string_args.clone(),
        tags: arrival.params.tags.clone(),
    }
}

/// A match that has begun, and wants more players.
fn running_match(
    profile: &Profile,
    number: u128,
    now_ms: i64,
    parties: &[(&Arrival, Option<f64>)],
    proposal: &Proposal,
    wanted: Vec<usize>,
) -> Backfill {
    let text = |name: &String| parties.first()?.0.params.string_args.get(name).cloned();
    let mut backfill = Backfill {
        id: Uuid::from_u128(number),
        created_ms: now_ms,
        equal: profile.equal.iter().map(text).collect(),
        region: proposal.region.clone(),
        // A server draws one of them.
        map: proposal.maps.first().copied().filter(|_| profile.maps == MapWish::Hard),
        crossplay: Crossplay::NOBODY,
        ranges: vec![None; profile.fields.len()],
        wanted,
        ..Backfill::default()
    };
    for (arrival, skill) in parties {
        add(&mut backfill, profile, arrival, *skill);
    }
    backfill
}

/// Notes that a party is in a match.
fn add(backfill: &mut Backfill, profile: &Profile, arrival: &Arrival, skill: Option<f64>) {
    backfill.crossplay = backfill.crossplay.with(arrival.crossplay);
    for (range, field) in backfill.ranges.iter_mut().zip(&profile.fields) {
        let number = number(field, arrival, skill);
        let (low, high) = range.unwrap_or((number, number));
        *range = Some((low.min(number), high.max(number)));
    }
}

/// The value of a party in a field.
fn number(field: &Field, arrival: &Arrival, skill: Option<f64>) -> f64 {
    let value =
        if field.name == RANK_FIELD { skill } else { arrival.params.double_args.get(&field.name).copied() };
    value.filter(|value| value.is_finite()).unwrap_or(field.default)
}

/// The error code of a refusal to join queues.
fn code(refused: &Refused) -> &'static str {
    match refused {
        Refused::QueueNotFound(_) => "queue_not_found",
        Refused::QueueInactive(_) => "queue_inactive",
        Refused::QueueGroupTooLarge(..) => "queue_group_too_large",
        Refused::NoMatchingTemplate(_) => "no_matching_template",
        Refused::NoMatchingProfile => "no_matching_profile",
        Refused::RegionCustomOnly => "region_custom_only",
        _ => "refused",
    }
}
