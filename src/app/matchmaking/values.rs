//! From stored tickets and sessions to what the matcher takes.

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::app::Catalog;
use crate::domain::client::{Client, VersionCheck};
use crate::domain::matchmaking::Profile;
use crate::domain::matchmaking::matcher::{Backfill, Crossplay, REGION_DEFAULT, TicketValues};
use crate::domain::matchmaking::profile::{Field, MapWish};
use crate::domain::session::filling::PlayerValues;
use crate::domain::session::invite::Overflow;
use crate::domain::{PlayerUuid, Session};
use crate::records::queued::{QueuedClient, QueuedTicket};

/// What the matcher needs to know of a ticket.
pub fn values_of(queued: &QueuedTicket<'_>) -> TicketValues {
    let one = |client: &Option<QueuedClient>| {
        let Some(client) = client else { return Crossplay::UNKNOWN };
        let QueuedClient { platform, input, crossplay } = *client;
        Crossplay::of([&Client { version: String::new(), platform, input, device_type: None, crossplay }])
    };
    TicketValues {
        id: queued.ticket_id,
        players: queued.clients.len(),
        enqueued_ms: queued.enqueued_ms,
        passed_s: queued.passed_s,
        skill: queued.skill,
        region: queued.region_id.as_deref().map(str::to_owned),
        crossplay: queued.clients.iter().map(one).fold(Crossplay::NOBODY, Crossplay::with),
        version_group: queued.version_group.clone().into_owned(),
        maps: queued.maps.clone().into_owned(),
        double_args: queued.double_args.clone().into_owned(),
        string_args: queued.string_args.clone().into_owned(),
        tags: queued.tags.clone().into_owned(),
    }
}

/// A match that players can be sent to now, as the matcher takes it; `None` if they cannot, or if the profile is gone.
/// Whether its host has confirmed it is not looked at. It has no id, and keeps no tickets out.
pub fn backfill_of(session: &Session, catalog: &Catalog, check: VersionCheck) -> Option<Backfill> {
    let backfill = session.backfill.as_ref().filter(|_| session.can_be_filled())?;
    let profile = catalog.matchmaking.profiles.get(&backfill.profile_id)?;
    let wanted_params = backfill.params.as_ref();
    let text = |name: &String| wanted_params.map_or(&backfill.texts, |params| &params.string_args).get(name);
    let range = |field: &Field| match wanted_params {
        Some(params) => params.double_args.get(&field.name).map(|number| (*number, *number)),
        None => range_of(session, field),
    };
    let known = session.players.keys().filter_map(|player| client_of(session, player));
    let version = known.map(|client| check.group_of(&client.version)).next();
    Some(Backfill {
        id: Uuid::nil(),
        created_ms: backfill.created.as_millisecond(),
        version_group: version.unwrap_or_default(),
        equal: profile.equal.iter().map(|name| text(name).cloned()).collect(),
        crossplay: crossplay_of(session),
        region: session.region_id.clone().unwrap_or_else(|| REGION_DEFAULT.to_owned()),
        map: map_of(session, profile, catalog),
        ranges: profile.fields.iter().map(range).collect(),
        wanted: session.wanted_places(),
        overfill: backfill.overflow_action == Overflow::Overfill,
        excluded: BTreeSet::new(),
    })
}

fn values_in_match<'a>(session: &'a Session, player: &PlayerUuid) -> Option<&'a PlayerValues> {
    session.backfill.as_ref()?.values.get(player)
}

/// The client of a player of a match: the one in the match, or else the one in the party.
fn client_of<'a>(session: &'a Session, player: &PlayerUuid) -> Option<&'a Client> {
    let in_party = || values_in_match(session, player)?.client.as_ref();
    session.players.get(player)?.client.as_ref().or_else(in_party)
}

/// The clients of the players of a match. Players who are not active and came by no ticket have none yet.
fn crossplay_of(session: &Session) -> Crossplay {
    let players = session
        .players
        .iter()
        .filter(|(player, entry)| entry.status.is_active() || values_in_match(session, player).is_some());
    let one =
        |(player, _)| client_of(session, player).map_or(Crossplay::UNKNOWN, |client| Crossplay::of([client]));
    players.map(one).fold(Crossplay::NOBODY, Crossplay::with)
}

/// The least and the greatest value of the players of a match who came by tickets.
fn range_of(session: &Session, field: &Field) -> Option<(f64, f64)> {
    let known = session.players.keys().filter_map(|player| values_in_match(session, player));
    let numbers = known.map(|values| values.numbers.get(&field.name).copied().unwrap_or(field.default));
    numbers.fold(None, |range, number| {
        let (low, high) = range.unwrap_or((number, number));
        Some((low.min(number), high.max(number)))
    })
}

/// The map that is played, if wishes for maps are hard: its position in the instance template.
fn map_of(session: &Session, profile: &Profile, catalog: &Catalog) -> Option<usize> {
    if profile.maps != MapWish::Hard {
        return None;
    }
    let played = &session.instance.as_ref()?.startup_params.as_ref()?.map;
    let template = catalog.instance_templates.get(&profile.instance_request_template_id?)?;
    template.maps.iter().position(|map| map.map_weight > 0.0 && map.map_name == *played)
}

#[cfg(test)]
#[path = "values_tests.rs"]
mod tests;
