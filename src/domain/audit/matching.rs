//! The events of queues, matches and backfills.

use std::collections::BTreeMap;

use super::Event;
use super::compare::{Cause, Change, DATA_BYTES_MAX, named, short};
use crate::domain::matchmaking::ticket::{JoinParams, Ticket, TicketEnd};
use crate::domain::session::backfill::Backfill;
use crate::domain::session::match_made::{MatchResults, MatchScores};
use crate::domain::{CustomData, Session};

/// The match that a new session was made for.
pub(super) fn new_match(session: &Session) -> Option<Event> {
    let results = &session.match_made.as_ref()?.results;
    Some(Event {
        match_id: Some(results.match_id.clone()),
        profile_id: Some(results.profile.id.clone()),
        custom_data: data_of_match(results, session.backfill.as_deref()),
        ..named("match.created")
    })
}

/// Data of a match, as texts: that of its matcher, what is known of how good it is, its backfill, and when the matcher has
/// asked for it.
fn data_of_match(results: &MatchResults, backfill: Option<&Backfill>) -> CustomData {
    let MatchScores { evaluation_score, rank_quality } = results.scores;
    let known = [
        ("evaluation_score", evaluation_score.map(|score| score.to_string())),
        ("rank_quality", rank_quality.map(|quality| quality.to_string())),
        ("backfill_id", backfill.map(|backfill| backfill.id.clone())),
        ("match_create_request_time", results.requested.map(|time| format!("{time:.3}"))),
    ];
    let mut data = short(&results.custom_data);
    data.extend(known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    data
}

/// What a ticket asks for, without the data that is never read; `None` if it is too large.
fn short_params(params: &JoinParams) -> Option<JoinParams> {
    let JoinParams { double_args, string_args, tags, .. } = params;
    let numbers: usize = double_args.keys().map(|name| name.len() + size_of::<f64>()).sum();
    let texts: usize = string_args.iter().map(|(name, value)| name.len() + value.len()).sum();
    let bytes = numbers + texts + tags.iter().map(String::len).sum::<usize>();
    let params = JoinParams { extensions: BTreeMap::new(), ..params.clone() };
    (bytes <= DATA_BYTES_MAX).then_some(params)
}

/// A ticket that is new or gone: one event for each queue.
pub(super) fn queue_changes(change: &Change<'_>, events: &mut Vec<Event>) {
    let of_session = |session: &Session| session.matchmaking.clone().filter(|_| !session.ended);
    let (before, after) = (change.before.and_then(of_session), of_session(change.after));
    if before.as_ref().map(|ticket| ticket.id) == after.as_ref().map(|ticket| ticket.id) {
        return;
    }
    let about_ticket = |name, ticket: &Ticket, queue_id: &String| Event {
        queue_id: Some(queue_id.clone()),
        ticket_id: Some(ticket.id),
        ..named(name)
    };
    for (ticket, queue_id) in
        before.iter().flat_map(|ticket| ticket.queue_ids.iter().map(move |id| (ticket, id)))
    {
        let end = change.why.ticket_end.unwrap_or(TicketEnd::LeftQueue);
        let waited_s = (change.at.as_millisecond() - ticket.enqueued.as_millisecond()).max(0) / 1000;
        events.push(Event {
            reason: Some(end.name().into()),
            ticket_wait_seconds: Some(waited_s),
            match_id: change.why.match_id.clone(),
            ..about_ticket("queue.left", ticket, queue_id)
        });
    }
    for (ticket, queue_id) in
        after.iter().flat_map(|ticket| ticket.queue_ids.iter().map(move |id| (ticket, id)))
    {
        events.push(Event {
            additional_params: short_params(&ticket.params),
            map_preferences: ticket.map_preferences.clone(),
            custom_data: what_the_matcher_knows(ticket),
            ..about_ticket("queue.joined", ticket, queue_id)
        });
    }
}

/// A backfill that is new or gone, or of which its host says something else. Players who are sent are events of their own.
pub(super) fn backfill_changes(change: &Change<'_>, events: &mut Vec<Event>) {
    let of_session = |session: &Session| session.backfill.clone().filter(|_| !session.ended);
    let (before, after) = (change.before.and_then(of_session), of_session(change.after));
    let made =
        change.after.match_made.as_ref().or(change.before.and_then(|before| before.match_made.as_ref()));
    let match_id = made.map(|made| &made.results.match_id);
    let about_backfill = |name, backfill: &Backfill| Event {
        match_id: match_id.cloned(),
        profile_id: Some(backfill.profile_id.clone()),
        custom_data: [("backfill_id".to_owned(), backfill.id.clone())].into(),
        ..named(name)
    };
    let is_same = before.as_ref().map(|before| &before.id) == after.as_ref().map(|after| &after.id);
    match (&before, &after) {
        (Some(known), Some(new)) if is_same => {
            let is_said = change.why.cause != Cause::Server && !said_the_same(known, new);
            events.extend(is_said.then(|| about_backfill("backfill.updated", new)));
        }
        (known, new) => {
            let reason = || Some(why_backfill_ended(change).into());
            let ended = known
                .iter()
                .map(|known| Event { reason: reason(), ..about_backfill("backfill.ended", known) });
            let created = new.iter().map(|new| about_backfill("backfill.created", new));
            events.extend(ended.chain(created));
        }
    }
}

/// Whether the host of a backfill has said nothing new.
fn said_the_same(one: &Backfill, other: &Backfill) -> bool {
    let said = |backfill: &Backfill| {
        let Backfill { overflow_action, styles, extensions, params, wanted, .. } = backfill.clone();
        (overflow_action, styles, extensions, params, wanted)
    };
    said(one) == said(other)
}

fn why_backfill_ended(change: &Change<'_>) -> &'static str {
    let living = |session: &Session| {
        let instance = session.instance.as_ref().filter(|instance| !instance.is_closed());
        instance.map(|instance| instance.instance_id.clone())
    };
    let instance_before = change.before.and_then(living);
    match change.why.cause {
        _ if change.after.ended => "session_ended",
        // Also if another one has taken its place.
        _ if instance_before.is_some() && instance_before != living(change.after) => "instance_ended",
        Cause::Server | Cause::Idle => "timeout",
        Cause::Request(_) => "deleted",
    }
}

/// The size of a party and its skills, so that its wait can be simulated later.
fn what_the_matcher_knows(ticket: &Ticket) -> CustomData {
    let skills = ticket.skills.iter().map(|(profile, skill)| (format!("skill.{profile}"), skill.to_string()));
    [("players".to_owned(), ticket.players.len().to_string())].into_iter().chain(skills).collect()
}
