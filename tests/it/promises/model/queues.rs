//! Queues: joining and leaving them, and the changes of a party that end its ticket.

use std::collections::BTreeSet;

use rallypoint::domain::client::VersionCheck;
use serde_json::{Value, json};

use super::answer::{Answer, ExpectedAnswer, ExpectedEtag};
use super::join_paths::{accepts, same_version};
use super::setup::{Kind, REGIONS, Setup};
use super::state::{Caller, Model, Refusal, Session};
use super::step::GameClient;

/// The queues: for parties of up to five, for one player, a closed one, one for parties of a region, and none.
pub const QUEUES: [&str; 5] = ["casual", "duel", "closed", "europe", "none"];
/// After how long a ticket ends, in seconds.
pub const TICKET_TIMEOUT_S: i64 = 1800;

/// A ticket of a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Ticket {
    pub id: String,
    pub queue: &'static str,
    pub profiles: Vec<&'static str>,
    pub queued_s: i64,
}

/// The active players.
fn players(session: &Session) -> BTreeSet<usize> {
    session.entries.iter().filter(|entry| entry.is_active()).map(|entry| entry.player).collect()
}

/// Whether two states of a session have the same active players, with the same clients, and the same region.
fn is_same_party(one: &Session, other: &Session) -> bool {
    let client = |session: &Session, player| session.entry(player).and_then(|entry| entry.client);
    let is_same = |player: usize| client(one, player) == client(other, player);
    players(one) == players(other) && players(one).into_iter().all(is_same) && one.region == other.region
}

/// Ends the ticket of a session whose party a change has changed.
pub fn settle(before: &Session, after: &mut Session) {
    if before.ticket.is_some() && before.ticket == after.ticket && !is_same_party(before, after) {
        after.ticket = None;
    }
}

/// Ends the ticket of a session that has waited for too long.
pub fn expire(session: &mut Session, now_s: i64) {
    if session.ticket.as_ref().is_some_and(|ticket| now_s - ticket.queued_s >= TICKET_TIMEOUT_S) {
        session.ticket = None;
    }
}

fn check_clients(session: &Session, setup: &Setup) -> Result<(), Refusal> {
    let check = setup.settings.version_check;
    let clients: Vec<_> = session.active(setup).into_iter().map(|entry| entry.client).collect();
    let pairs = || clients.iter().flat_map(|one| clients.iter().map(move |other| (one, other)));
    let versions_fit = pairs().all(|pair| match pair {
        (Some(one), Some(other)) => same_version(check, one.version, other.version),
        _ => check == VersionCheck::Off,
    });
    if !versions_fit {
        return Err(Refusal(403, "version_mismatch"));
    }
    let agree = |(index, one): (usize, &Option<GameClient>)| {
        clients.iter().enumerate().filter(|(other, _)| *other != index).all(|(_, other)| match (one, other) {
            (Some(one), Some(other)) => accepts(one, other),
            (Some(one), None) => {
                matches!(one.crossplay, None | Some(("desired_platforms_any", "desired_inputs_any")))
            }
            (None, _) => true,
        })
    };
    if clients.iter().enumerate().all(agree) { Ok(()) } else { Err(Refusal(403, "crossplay_mismatch")) }
}

fn profiles(session: &Session, queue: &str, size: usize) -> Result<Vec<&'static str>, Refusal> {
    let mut found = Vec::new();
    if queue == "europe" && session.region != Some(REGIONS[0]) {
        return Err(Refusal(403, "no_matching_template"));
    }
    if size <= 4 {
        found.push("4v4");
    }
    if size == 1 && queue != "europe" {
        found.push("1v1");
    }
    if found.is_empty() { Err(Refusal(403, "no_matching_profile")) } else { Ok(found) }
}

impl Model {
    pub fn join_queue(&mut self, caller: Caller, name: &str, queue: usize, reply: &Value) -> ExpectedAnswer {
        let queue = QUEUES[queue];
        let id = self.session(name)?.id.clone();
        let elsewhere = self.sessions.iter().filter(|session| session.id != id && session.ticket.is_some());
        let queued: BTreeSet<_> = elsewhere.flat_map(players).collect();
        let platform = caller.player.and_then(|player| Some((player, self.setup.players[player].platform?)));
        let ticket = self.change(name, |session, setup, now_s| {
            session.require_leader(caller)?;
            if !matches!(session.kind, Kind::Game | Kind::Party) {
                return Err(Refusal(403, "matchmaking_not_allowed"));
            }
            let players = players(session);
            if players.is_empty() {
                return Err(Refusal(403, "queue_group_empty"));
            }
            if let Some(ticket) = &session.ticket {
                let is_same = ticket.queue == queue;
                return if is_same { Ok(ticket.clone()) } else { Err(Refusal(403, "already_in_queue")) };
            }
            match queue {
                "none" => return Err(Refusal(404, "queue_not_found")),
                "closed" => return Err(Refusal(403, "queue_inactive")),
                "casual" if players.len() > 5 => return Err(Refusal(403, "queue_group_too_large")),
                "duel" if players.len() > 1 => return Err(Refusal(403, "queue_group_too_large")),
                _ => {}
            }
            if let Some((player, platform)) = platform
                && let Some(entry) = session.entry_mut(player).filter(|entry| entry.is_active())
                && let Some(client) = &mut entry.client
            {
                client.platform = platform.name();
            }
            check_clients(session, setup)?;
            let profiles = profiles(session, queue, players.len())?;
            if !players.is_disjoint(&queued) {
                return Err(Refusal(403, "player_already_queued"));
            }
            let id = reply["ticket_id"].as_str().unwrap_or_default().to_owned();
            let ticket = Ticket { id, queue, profiles, queued_s: now_s };
            session.ticket = Some(ticket.clone());
            Ok(ticket)
        })?;
        let body = json!({
            "ticket_id": ticket.id, "queue_ids": [ticket.queue], "profile_ids": ticket.profiles,
        });
        Ok(Answer::Body(body, ExpectedEtag::None))
    }

    pub fn leave_queue(&mut self, caller: Caller, name: &str) -> ExpectedAnswer {
        self.change(name, |session, _, _| {
            session.require_leader(caller)?;
            session.ticket.take().map(drop).ok_or(Refusal(404, "not_in_queue"))
        })?;
        Ok(Answer::Empty(ExpectedEtag::None))
    }

    /// The ticket of a session as the session shows it.
    pub fn ticket_view(&self, session: &Session) -> Option<Value> {
        let ticket = session.ticket.as_ref()?;
        Some(json!({
            "ticket_id": ticket.id, "queue_id": ticket.queue, "queue_ids": [ticket.queue],
            "profile_ids": ticket.profiles, "passed_queue_time_seconds": 0, "custom_data": {},
        }))
    }
}
