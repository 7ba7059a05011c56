//! The events of a change: found by comparing the session before and after it, so that no operation can forget one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::{ClientSettings, Event, InviteSource, TeamSize};
use crate::domain::client::Client;
use crate::domain::instance::Instance;
use crate::domain::matchmaking::ticket::{JoinParams, Ticket, TicketEnd};
use crate::domain::session::backfill::Backfill;
use crate::domain::session::match_made::{MatchResults, MatchScores};
use crate::domain::session::rights::Right;
use crate::domain::session::{Player, Status};
use crate::domain::{CustomData, PlayerUuid, Session};

/// What made a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A request of this player, or of a service.
    Request(Option<PlayerUuid>),
    /// A timeout in the session, or another change by the server itself.
    Server,
    /// The session was not used for too long.
    Idle,
}

impl Cause {
    /// The player who asks for the change.
    pub fn player(self) -> Option<PlayerUuid> {
        match self {
            Self::Request(player) => player,
            Self::Server | Self::Idle => None,
        }
    }

    fn is_by(self, player: PlayerUuid) -> bool {
        self == Self::Request(Some(player))
    }
}

/// A change of a session.
#[derive(Clone, Copy)]
pub struct Change<'a> {
    /// The session before it; `None` for a new session.
    pub before: Option<&'a Session>,
    /// The session after it.
    pub after: &'a Session,
    /// What made it.
    pub cause: Cause,
    /// Why it ended the party's ticket, if it did.
    pub ticket_end: Option<TicketEnd>,
    /// When it was made.
    pub at: Timestamp,
}

/// The events of a change. Empty for a change that nobody looks for later, such as the deadline of an invite.
pub fn events(change: &Change<'_>) -> Vec<Event> {
    let Change { before, after, cause, .. } = *change;
    let mut events = Vec::new();
    if before.is_none() {
        events.push(of_joinability("session.created", after));
        if let Some(made) = &after.match_made {
            let match_id = Some(made.results.match_id.clone());
            events.push(Event {
                match_id,
                custom_data: data_of_match(&made.results),
                ..named("match.created")
            });
        }
    }
    if after.ended {
        roster_changes(before, after, cause, &mut events);
        end_of_instance(before, None, &mut events);
        queue_changes(change, &mut events);
        backfill_changes(change, &mut events);
        events.push(Event { reason: Some(why_ended(before, after, cause)), ..named("session.ended") });
        return events;
    }
    session_changes(before, after, &mut events);
    roster_changes(before, after, cause, &mut events);
    link_changes(before, after, &mut events);
    instance_changes(before, after, &mut events);
    queue_changes(change, &mut events);
    backfill_changes(change, &mut events);
    events
}

/// Largest size of data that an event carries, in bytes. A small change must not store much.
const DATA_BYTES_MAX: usize = 4_096;

/// Data that an event carries; nothing if it is too large.
fn short(data: &CustomData) -> CustomData {
    let bytes: usize = data.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes <= DATA_BYTES_MAX { data.clone() } else { CustomData::new() }
}

/// Data of a match: that of its matcher, and what the matcher says of how good it is, as texts.
fn data_of_match(results: &MatchResults) -> CustomData {
    let MatchScores { evaluation_score, rank_quality } = results.scores;
    let scores = [("evaluation_score", evaluation_score), ("rank_quality", rank_quality)];
    let scores = scores.into_iter().filter_map(|(name, score)| Some((name.to_owned(), score?.to_string())));
    let mut data = short(&results.custom_data);
    data.extend(scores);
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

fn named(name: &'static str) -> Event {
    Event { name, ..Event::default() }
}

fn of_joinability(name: &'static str, session: &Session) -> Event {
    let (joinability, joinable) = (Some(session.joinability), Some(session.joinability.open));
    Event { joinability, joinable, ..named(name) }
}

/// A session that is ended at a request keeps its players and its instance. One that ends with its last player, or with
/// its instance, has no active player left.
fn why_ended(before: Option<&Session>, after: &Session, cause: Cause) -> &'static str {
    let was_active = before.is_some_and(|before| !before.active_players().is_empty());
    let has_instance =
        |session: &Session| session.instance.as_ref().is_some_and(|instance| !instance.is_closed());
    let is_closed = before.is_some_and(has_instance) && !has_instance(after);
    match cause {
        Cause::Idle => "timeout",
        _ if (was_active || is_closed) && after.active_players().is_empty() => "empty",
        Cause::Server => "empty",
        Cause::Request(_) => "deleted",
    }
}

fn session_changes(before: Option<&Session>, after: &Session, events: &mut Vec<Event>) {
    let Some(before) = before else { return };
    let is_updated = before.joinability != after.joinability
        || before.region_id != after.region_id
        || before.password != after.password
        || before.custom_data != after.custom_data;
    let (teams_before, teams) = (&before.teams, &after.teams);
    if is_updated {
        events.push(of_joinability("session.updated", after));
    }
    if teams_before != teams {
        let teams = teams.iter().map(|team| TeamSize { max_size: team.max_size }).collect();
        events.push(Event { teams, ..named("team.updated") });
    }
}

/// An event about a player, with the entry that says most about the player.
fn about(name: &'static str, player: PlayerUuid, entry: &Player) -> Event {
    let client = entry.client.as_ref();
    let settings = |Client { platform, input, device_type, .. }: &Client| ClientSettings {
        platform: *platform,
        input: *input,
        device_type: *device_type,
    };
    Event {
        player: Some(player),
        team_id: Some(entry.team_id),
        status: Some(entry.status),
        version: client.map(|client| client.version.clone()),
        client_settings: client.map(settings),
        crossplay_preferences: client.and_then(|client| client.crossplay),
        ..named(name)
    }
}

fn roster_changes(before: Option<&Session>, after: &Session, cause: Cause, events: &mut Vec<Event>) {
    let players_before = before.into_iter().flat_map(|before| &before.players);
    for (player, entry) in players_before.clone() {
        if !after.players.contains_key(player) {
            events.push(removed(after, *player, entry, cause));
        }
    }
    // A swap is two moves in one change, each to the team of the other.
    let moves: Vec<_> = players_before
        .filter_map(|(player, entry)| {
            let team_id = after.players.get(player)?.team_id;
            (team_id != entry.team_id).then_some((entry.team_id, team_id))
        })
        .collect();
    let is_swap = matches!(moves[..], [one, other] if (one.1, one.0) == other);
    for (player, entry) in &after.players {
        let known = before.and_then(|before| before.players.get(player));
        if known.is_some_and(|known| Arc::ptr_eq(known, entry)) {
            continue;
        }
        entry_changes(
            *player,
            known.map(Arc::as_ref),
            entry,
            (is_swap, invite_source(after, *player, entry)),
            events,
        );
    }
}

/// Who has invited a player.
fn invite_source(session: &Session, player: PlayerUuid, entry: &Player) -> InviteSource {
    let is_sent = session.backfill.as_ref().is_some_and(|backfill| backfill.unconfirmed.contains(&player));
    match (entry.match_timeout_s, is_sent) {
        (None, _) => InviteSource::Player,
        (Some(_), true) => InviteSource::Backfill,
        (Some(_), false) => InviteSource::Matchmaking,
    }
}

/// A player whose entry is gone. Its event has the entry as it was.
fn removed(after: &Session, player: PlayerUuid, entry: &Player, cause: Cause) -> Event {
    let name = match (entry.status.is_active(), cause) {
        (true, Cause::Server | Cause::Idle) => "player.culled",
        (true, _) if after.kicked.contains(&player) => "player.kicked",
        (true, _) => "player.left",
        (false, Cause::Server | Cause::Idle) => "player.invite_expired",
        (false, _) if cause.is_by(player) => "player.declined",
        (false, _) => "player.kicked",
    };
    about(name, player, entry)
}

fn entry_changes(
    player: PlayerUuid,
    known: Option<&Player>,
    entry: &Player,
    (is_swap, source): (bool, InviteSource),
    events: &mut Vec<Event>,
) {
    let was_active = known.is_some_and(|known| known.status.is_active());
    if entry.status.is_active() && !was_active {
        events.push(about("player.joined", player, entry));
        return;
    }
    let is_invite = known.is_none_or(|known| {
        (known.status, known.invited, known.inviting_player)
            != (entry.status, entry.invited, entry.inviting_player)
    });
    if !entry.status.is_active() && is_invite {
        let name = if entry.status == Status::Reserved { "player.reserved" } else { "player.invited" };
        let (source, invited_session) = (Some(source), entry.source_session.clone());
        events.push(Event { source, invited_session, ..about(name, player, entry) });
        return;
    }
    let Some(known) = known else { return };
    if entry.status == Status::Leader && known.status != Status::Leader {
        events.push(about("player.promoted", player, entry));
    }
    if entry.team_id != known.team_id {
        let name = if is_swap { "player.swapped" } else { "player.moved" };
        events.push(about(name, player, entry));
    }
    if entry.custom_data != known.custom_data || entry.client != known.client {
        events.push(about("player.updated", player, entry));
    }
    right_changes(player, &known.given_rights, &entry.given_rights, events);
}

fn right_changes(
    player: PlayerUuid,
    before: &BTreeSet<Right>,
    after: &BTreeSet<Right>,
    events: &mut Vec<Event>,
) {
    let given = after.difference(before).map(|right| ("right.given", right));
    let taken = before.difference(after).map(|right| ("right.removed", right));
    for (name, right) in given.chain(taken) {
        let custom_data = [("right".to_owned(), right.name().to_owned())].into();
        events.push(Event { player: Some(player), custom_data, ..named(name) });
    }
}

/// Short code, listing and platform sessions.
fn link_changes(before: Option<&Session>, after: &Session, events: &mut Vec<Event>) {
    if let Some(code) = &after.short_code
        && before.and_then(|before| before.short_code.as_ref()) != Some(code)
    {
        events.push(named("short_code.created"));
    }
    let listing_before = before.and_then(|before| before.listing.as_ref());
    let name = match (listing_before, &after.listing) {
        (None, Some(_)) => Some("browser.added"),
        (Some(_), None) => Some("browser.removed"),
        (Some(known), Some(listing)) if known.custom_data != listing.custom_data => Some("browser.updated"),
        _ => None,
    };
    if let Some(name) = name {
        let listing = after.listing.as_ref();
        let custom_data = listing.map(|listing| short(&listing.custom_data)).unwrap_or_default();
        events.push(Event { custom_data, ..named(name) });
    }
    let linked_before = before.into_iter().flat_map(|before| &before.platform_sessions);
    for (platform, linked) in linked_before {
        if after.platform_sessions.get(platform).is_none_or(|now| now.id != linked.id) {
            let (platform, platform_session_id) = (Some(*platform), Some(linked.id.clone()));
            events.push(Event { platform, platform_session_id, ..named("platform.unlinked") });
        }
    }
    for (platform, linked) in &after.platform_sessions {
        let known = before.and_then(|before| before.platform_sessions.get(platform));
        if known.is_none_or(|known| known.id != linked.id) {
            let (platform, platform_session_id) = (Some(*platform), Some(linked.id.clone()));
            events.push(Event { platform, platform_session_id, ..named("platform.linked") });
        }
    }
}

/// An event about an instance. It has no `join_params`.
fn about_instance(name: &'static str, instance: &Instance) -> Event {
    let startup = instance.startup_params.as_ref();
    Event {
        instance_id: Some(instance.instance_id.clone()),
        host_type: Some(instance.host_type),
        host_player: instance.host_player,
        map: startup.map(|startup| startup.map.clone()),
        mode: startup.and_then(|startup| startup.mode.clone()),
        allocation_id: instance.allocation_id.clone(),
        join_status: Some(instance.join_status),
        health: instance.health,
        version: instance.version.clone(),
        match_id: instance.match_id.clone(),
        ..named(name)
    }
}

fn instance_changes(before: Option<&Session>, after: &Session, events: &mut Vec<Event>) {
    let known = before.and_then(|before| before.instance.as_ref());
    end_of_instance(before, after.instance.as_ref(), events);
    let Some(instance) = &after.instance else { return };
    let Some(known) = known.filter(|known| known.instance_id == instance.instance_id) else {
        events.push(about_instance("instance.requested", instance));
        return;
    };
    if known == instance || instance.is_closed() {
        return;
    }
    if known.health != instance.health {
        events.push(about_instance("instance.health", instance));
    }
    if *known != (Instance { health: known.health, ..instance.clone() }) {
        events.push(about_instance("instance.updated", instance));
    }
}

/// The end of an instance: it was closed, removed or replaced, or its session has ended.
fn end_of_instance(before: Option<&Session>, after: Option<&Instance>, events: &mut Vec<Event>) {
    let Some(known) = before.and_then(|before| before.instance.as_ref()) else { return };
    if known.is_closed() {
        return;
    }
    let same = after.filter(|instance| instance.instance_id == known.instance_id);
    match same {
        Some(instance) if !instance.is_closed() => {}
        // A closed instance has lost its allocation and its health.
        same => {
            let last = same.unwrap_or(known);
            let (join_status, version) = (Some(last.join_status), last.version.clone());
            events.push(Event { join_status, version, ..about_instance("instance.ended", known) });
        }
    }
}

/// A ticket that is new or gone: one event for each queue.
fn queue_changes(change: &Change<'_>, events: &mut Vec<Event>) {
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
        let end = change.ticket_end.unwrap_or(TicketEnd::LeftQueue);
        let waited_s = (change.at.as_millisecond() - ticket.enqueued.as_millisecond()).max(0) / 1000;
        let (reason, ticket_wait_seconds) = (Some(end.name()), Some(waited_s));
        events.push(Event { reason, ticket_wait_seconds, ..about_ticket("queue.left", ticket, queue_id) });
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
fn backfill_changes(change: &Change<'_>, events: &mut Vec<Event>) {
    let of_session = |session: &Session| session.backfill.clone().filter(|_| !session.ended);
    let (before, after) = (change.before.and_then(of_session), of_session(change.after));
    let about_backfill = |name, backfill: &Backfill| {
        let ids = [("backfill_id", &backfill.id), ("match_making_profile_id", &backfill.profile_id)];
        let custom_data = ids.into_iter().map(|(name, id)| (name.to_owned(), id.clone())).collect();
        Event { custom_data, ..named(name) }
    };
    let is_same = before.as_ref().map(|before| &before.id) == after.as_ref().map(|after| &after.id);
    match (&before, &after) {
        (Some(known), Some(new)) if is_same => {
            let is_said = change.cause != Cause::Server && !said_the_same(known, new);
            events.extend(is_said.then(|| about_backfill("backfill.updated", new)));
        }
        (known, new) => {
            let reason = Some(why_backfill_ended(change));
            let ended = known.iter().map(|known| Event { reason, ..about_backfill("backfill.ended", known) });
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
    match change.cause {
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

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
