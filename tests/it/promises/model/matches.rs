//! Matches that a matcher of the studio makes: they take the tickets of parties, and invite their players.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use uuid::Uuid;

use super::answer::{Answer, ExpectedAnswer, ExpectedEtag};
use super::join_paths::entry_for;
use super::setup::{Kind, REGIONS};
use super::state::{Caller, Model, Refusal, Session, Team};
use super::step::{MatchParty, Status};
use super::views::{hides_players, time};

/// The profile of the matches.
pub const PROFILE: &str = "4v4";
/// After how long an unanswered invite of a match ends, in seconds: the default of profiles.
pub const ACCEPT_TIMEOUT_S: i64 = 60;

/// What a session keeps of the match that it was made for.
#[derive(Clone, Debug)]
pub struct Made {
    pub match_id: String,
    pub made_s: i64,
    pub tickets: Vec<MadeTicket>,
    /// Whether somebody was active in the session.
    pub was_entered: bool,
    /// What the server shows of the profile. No rule depends on it.
    pub shown: Option<Value>,
}

/// A ticket of a match.
#[derive(Clone, Debug)]
pub struct MadeTicket {
    pub id: String,
    pub queue: &'static str,
    pub profiles: Vec<&'static str>,
    pub queued_s: i64,
    /// The leader first.
    pub players: Vec<usize>,
    pub region: &'static str,
    pub session: String,
}

impl Made {
    /// Copies what the server shows of the profile.
    pub fn adopt(&mut self, results: &Value) {
        self.shown = Some(results["profile"].clone());
    }
}

impl Session {
    fn made_ticket(&self, model: &Model) -> Option<MadeTicket> {
        let ticket = self.ticket.as_ref()?;
        let mut players: Vec<_> = self.active(&model.setup).iter().map(|entry| entry.player).collect();
        players.sort_by_key(|player| !self.leads(*player));
        Some(MadeTicket {
            id: ticket.id.clone(),
            queue: ticket.queue,
            profiles: ticket.profiles.clone(),
            queued_s: ticket.queued_s,
            players,
            region: self.region.unwrap_or(REGIONS[0]),
            session: self.id.clone(),
        })
    }
}

impl Model {
    /// The parties of a match of these sessions. A player who is active in both plays for the first.
    pub fn parties(&self, names: [&str; 2]) -> Vec<MatchParty> {
        let (mut parties, mut taken) = (Vec::<MatchParty>::new(), BTreeSet::new());
        for name in names {
            let session = self.session(name).ok();
            let id = session.map_or_else(|| name.to_owned(), |session| session.id.clone());
            if parties.iter().any(|party| party.id == id) {
                continue;
            }
            let active = session.map(|session| session.active(&self.setup)).unwrap_or_default();
            let players =
                active.iter().map(|entry| entry.player).filter(|player| taken.insert(*player)).collect();
            let ticket = session.and_then(|session| Some(session.ticket.as_ref()?.id.clone()));
            parties.push(MatchParty { id, ticket, players });
        }
        parties
    }

    pub fn make_match(
        &mut self,
        caller: Caller,
        match_id: &str,
        by_tickets: bool,
        parties: &[MatchParty],
        reply: &Value,
    ) -> ExpectedAnswer {
        if !caller.any {
            return Err(Refusal(403, "permission_denied"));
        }
        let is_of_it =
            |session: &&Session| session.made.as_ref().is_some_and(|made| made.match_id == match_id);
        if let Some(known) = self.sessions.iter().find(is_of_it) {
            return Ok(Answer::Body(json!({ "session_id": known.id }), ExpectedEtag::None));
        }
        for party in parties {
            if by_tickets && party.ticket.is_none() {
                return Err(Refusal(404, "ticket_not_found"));
            }
            if !by_tickets {
                self.session(&party.id)?;
            }
        }
        let session = self.session_of_match(match_id, parties, reply);
        for session in &mut self.sessions {
            if parties.iter().any(|party| party.id == session.id) {
                session.ticket = None;
            }
        }
        Ok(self.store(session))
    }

    fn session_of_match(&self, match_id: &str, parties: &[MatchParty], reply: &Value) -> Session {
        let mut session = self.new_session(Kind::Game, None, Some(REGIONS[0]), reply);
        session.teams = parties.iter().map(team).collect();
        for (team, party) in parties.iter().enumerate() {
            for player in &party.players {
                // Of several parties in which the player is active, the first by its id.
                let is_in = |party: &&MatchParty| {
                    self.session(&party.id).is_ok_and(|session| session.is_active(*player))
                };
                let source = parties.iter().filter(is_in).map(|party| party.id.clone()).min();
                let entry = entry_for(&mut session, *player, Status::Invited, self.now_s);
                (entry.team, entry.invited_s) = (team, Some(self.now_s));
                (entry.source, entry.match_timeout_s) = (source, Some(ACCEPT_TIMEOUT_S));
            }
        }
        let queued = parties.iter().filter_map(|party| self.session(&party.id).ok()?.made_ticket(self));
        let mut tickets: Vec<_> = queued.collect();
        tickets.sort_by(|one, other| (one.queued_s, &one.id).cmp(&(other.queued_s, &other.id)));
        session.made = Some(Made {
            match_id: match_id.to_owned(),
            made_s: self.now_s,
            tickets,
            was_entered: false,
            shown: None,
        });
        session
    }

    /// The match of a session as a caller sees it who sees the whole session.
    pub fn match_view(&self, caller: Caller, session: &Session) -> Option<Value> {
        let made = session.made.as_ref()?;
        let profile = made.shown.clone().unwrap_or_default();
        // No party of the model asks for anything.
        let params = json!({ "double_args": {}, "string_args": {}, "tags": [], "extensions": {} });
        // Where there are too many players to show them, tickets hide them, too.
        let suppressed = self.suppresses(session);
        let is_shown = |player: &&usize| match session.entry(**player) {
            Some(entry) if suppressed => caller.player == Some(entry.player),
            Some(entry) => self.shows(caller, session, entry),
            None => !suppressed && !hides_players(&self.setup, caller, session),
        };
        let data = made.tickets.iter().filter_map(|ticket| {
            let players: Vec<_> = ticket.players.iter().filter(is_shown).map(|player| self.uuid(*player)).collect();
            (!players.is_empty()).then(|| {
                json!({
                    "ticket_id": ticket.id, "player_uuids": players, "queue_join_datetime": time(ticket.queued_s),
                    "region_id": ticket.region, "queue_id": ticket.queue, "queue_ids": [ticket.queue],
                    "profile_ids": ticket.profiles, "additional_join_params": params, "rank_data": [],
                    "queued_session_id": ticket.session,
                })
            })
        });
        let waits =
            made.tickets.iter().map(|ticket| (ticket.id.clone(), json!(made.made_s - ticket.queued_s)));
        Some(json!({
            "match_making_id": made.match_id, "created": time(made.made_s), "custom_data": {},
            "ticket_ids": made.tickets.iter().map(|ticket| &ticket.id).collect::<Vec<_>>(),
            "ticket_data": data.collect::<Vec<_>>(), "tickets_assigned": true, "profile": profile,
            "ticket_wait_seconds": waits.collect::<serde_json::Map<_, _>>(),
        }))
    }
}

fn team(party: &MatchParty) -> Team {
    Team { size: party.players.len().max(1), data: None, tickets: party.ticket.iter().cloned().collect() }
}

/// The body of a request for a match.
pub fn match_body(
    match_id: &str,
    by_tickets: bool,
    parties: &[MatchParty],
    uuid: impl Fn(usize) -> String,
) -> Value {
    let player = |player: &usize| json!({ "player_uuid": uuid(*player), "status": "invited" });
    let team = |party: &MatchParty| {
        let Team { size, tickets, .. } = team(party);
        let players: Vec<_> = party.players.iter().map(player).collect();
        json!({ "players": players, "max_size": size, "ticket_ids": tickets })
    };
    let mut body = json!({
        "teams": parties.iter().map(team).collect::<Vec<_>>(), "region_id": REGIONS[0], "match_id": match_id,
        "match_create_request_time": "2026-11-23T12:00:00Z", "match_making_profile_id": PROFILE,
    });
    if by_tickets {
        let ticket = |party: &MatchParty| {
            let ticket = party.ticket.clone().unwrap_or_else(|| Uuid::nil().to_string());
            (party.id.clone(), json!(ticket))
        };
        body["session_tickets"] = Value::Object(parties.iter().map(ticket).collect());
    } else {
        body["sessions"] = parties.iter().map(|party| json!(party.id)).collect();
    }
    body
}
