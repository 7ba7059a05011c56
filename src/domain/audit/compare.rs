//! The events of a change: found by comparing the session before and after it, so that no operation can forget one.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::matching::{backfill_changes, new_match, queue_changes};
use super::{ClientSettings, Event, InviteSource, TeamSize};
use crate::domain::client::Client;
use crate::domain::instance::Instance;
use crate::domain::matchmaking::ticket::TicketEnd;
use crate::domain::session::rights::Right;
use crate::domain::session::{Player, Status};
use crate::domain::{CustomData, PlayerUuid, Session, SessionId};

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

/// Why a session changes: what its events tell beyond a comparison of the session before and after it.
#[derive(Clone, Debug)]
pub struct Why {
    /// What made the change.
    pub cause: Cause,
    /// The reason in the words of the request: at most 128 characters.
    pub reason: Option<String>,
    /// The session whose players are removed together.
    pub removed_session: Option<SessionId>,
    /// Why the change ended the party's ticket, if it did.
    pub ticket_end: Option<TicketEnd>,
    /// The match that the ticket ended for.
    pub match_id: Option<String>,
}

impl From<Cause> for Why {
    fn from(cause: Cause) -> Self {
        Self { cause, reason: None, removed_session: None, ticket_end: None, match_id: None }
    }
}

/// A change of a session.
#[derive(Clone, Copy)]
pub struct Change<'a> {
    /// The session before it; `None` for a new session.
    pub before: Option<&'a Session>,
    /// The session after it.
    pub after: &'a Session,
    /// Why it was made.
    pub why: &'a Why,
    /// When it was made.
    pub at: Timestamp,
}

/// The events of a change. Empty for a change that nobody looks for later, such as the deadline of an invite.
pub fn events(change: &Change<'_>) -> Vec<Event> {
    let Change { before, after, .. } = *change;
    let mut events = Vec::new();
    if before.is_none() {
        events.push(of_joinability("session.created", after));
        events.extend(new_match(after));
    }
    if after.ended {
        roster_changes(change, &mut events);
        end_of_instance(before, None, &mut events);
        queue_changes(change, &mut events);
        backfill_changes(change, &mut events);
        let reason = Some(why_ended(before, after, change.why.cause).into());
        events.push(Event { reason, ..named("session.ended") });
        return events;
    }
    session_changes(before, after, &mut events);
    invited_sessions(change, &mut events);
    roster_changes(change, &mut events);
    link_changes(before, after, &mut events);
    instance_changes(before, after, &mut events);
    queue_changes(change, &mut events);
    backfill_changes(change, &mut events);
    events
}

/// Largest size of data that an event carries, in bytes. A small change must not store much.
pub(super) const DATA_BYTES_MAX: usize = 4_096;

/// Data that an event carries; nothing if it is too large.
pub(super) fn short(data: &CustomData) -> CustomData {
    let bytes: usize = data.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes <= DATA_BYTES_MAX { data.clone() } else { CustomData::new() }
}

pub(super) fn named(name: &'static str) -> Event {
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

fn roster_changes(change: &Change<'_>, events: &mut Vec<Event>) {
    let Change { before, after, why, .. } = *change;
    let players_before = before.into_iter().flat_map(|before| &before.players);
    let is_gone = |(player, _): &(&PlayerUuid, &Arc<Player>)| !after.players.contains_key(*player);
    let gone: Vec<_> = players_before.clone().filter(is_gone).collect();
    if let Some(session) = why.removed_session.as_ref().filter(|_| !gone.is_empty()) {
        events.push(Event { removed_session: Some(session.clone()), ..named("session.kicked") });
    }
    events.extend(gone.into_iter().map(|(player, entry)| removed(after, *player, entry, why)));
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

/// Sessions whose players a request invites together.
fn invited_sessions(change: &Change<'_>, events: &mut Vec<Event>) {
    let known = |player| change.before.and_then(|before| before.players.get(player));
    // A match names the session of a player, too.
    let is_invite = |player, entry: &Player| {
        entry.match_timeout_s.is_none() && is_new_invite(known(player).map(Arc::as_ref), entry)
    };
    let invited = change.after.players.iter().filter(|(player, entry)| is_invite(*player, entry));
    let sessions: BTreeSet<_> = invited.filter_map(|(_, entry)| entry.source_session.clone()).collect();
    events.extend(
        sessions
            .into_iter()
            .map(|session| Event { invited_session: Some(session), ..named("session.invited") }),
    );
}

/// Whether somebody who is not active got an invite or a reservation, also in place of an earlier one.
fn is_new_invite(known: Option<&Player>, entry: &Player) -> bool {
    let is_other = known.is_none_or(|known| {
        (known.status, known.invited, known.inviting_player)
            != (entry.status, entry.invited, entry.inviting_player)
    });
    !entry.status.is_active() && is_other
}

/// A player whose entry is gone. Its event has the entry as it was.
fn removed(after: &Session, player: PlayerUuid, entry: &Player, why: &Why) -> Event {
    let cause = why.cause;
    let name = match (entry.status.is_active(), cause) {
        (true, Cause::Server | Cause::Idle) => "player.culled",
        (true, _) if after.kicked.contains(&player) => "player.kicked",
        (true, _) => "player.left",
        (false, Cause::Server | Cause::Idle) => "player.invite_expired",
        (false, _) if cause.is_by(player) => "player.declined",
        (false, _) => "player.kicked",
    };
    Event { reason: why.reason.clone().map(Cow::Owned), ..about(name, player, entry) }
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
    if is_new_invite(known, entry) {
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
        instance_template_id: instance.template_id,
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

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
