//! The audit events in the store after the kill: told again in their order, they make exactly the sessions that are there. So
//! each change that is visible has its events, and each event has its change.

use std::collections::{BTreeMap, BTreeSet};

use rallypoint::domain::Session;
use rallypoint::records::audit::{decode, players};
use rallypoint::records::keys;
use serde_json::{Value, json};

use crate::audit::Stored;

/// What events tell of a session, or what is stored of it.
#[derive(Debug, Default, PartialEq)]
struct Told {
    /// Status and team of each player.
    players: BTreeMap<String, (String, u64)>,
    has_code: bool,
    is_listed: bool,
    /// The linked platform sessions, each with its platform.
    links: BTreeSet<(String, String)>,
    /// The instance, if it is not closed.
    instance: Option<String>,
    ticket: Option<String>,
    match_id: Option<String>,
}

impl Told {
    fn of(session: &Session) -> Self {
        let text = |value: Value| value.as_str().unwrap_or_default().to_owned();
        let players = session
            .players
            .iter()
            .map(|(player, entry)| (text(json!(player)), (text(json!(entry.status)), entry.team_id as u64)));
        let links = session.platform_sessions.iter();
        let instance = session.instance.as_ref().filter(|instance| !instance.is_closed());
        Self {
            players: players.collect(),
            has_code: session.short_code.is_some(),
            is_listed: session.listing.is_some(),
            links: links.map(|(platform, linked)| (text(json!(platform)), text(json!(linked.id)))).collect(),
            instance: instance.map(|instance| instance.instance_id.clone()),
            ticket: session.matchmaking.as_ref().map(|ticket| ticket.id.to_string()),
            match_id: session.match_made.as_ref().map(|made| made.results.match_id.clone()),
        }
    }

    /// What the next event adds.
    fn hear(&mut self, event: &Value) {
        let text = |field: &str| event[field].as_str().map(str::to_owned);
        let link = || (text("platform").unwrap_or_default(), text("platform_session_id").unwrap_or_default());
        match event["event_name"].as_str().unwrap_or_default() {
            "player.left"
            | "player.declined"
            | "player.kicked"
            | "player.culled"
            | "player.invite_expired" => {
                self.players.remove(&text("player_uuid").unwrap_or_default());
            }
            name if name.starts_with("player.") => self.hear_of_player(event),
            "short_code.created" => self.has_code = true,
            "browser.added" => self.is_listed = true,
            "browser.removed" => self.is_listed = false,
            "platform.linked" => drop(self.links.insert(link())),
            "platform.unlinked" => drop(self.links.remove(&link())),
            "instance.requested" => self.instance = text("instance_id"),
            "instance.ended" => self.instance = None,
            "queue.joined" => self.ticket = text("ticket_id"),
            "queue.left" => self.ticket = None,
            "match.created" => self.match_id = text("match_id"),
            _ => {}
        }
    }

    /// Who is in the session has one status and one team. Nobody is told that another one leads now.
    fn hear_of_player(&mut self, event: &Value) {
        let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
        let status = text("player_status");
        if status == "leader" {
            let leaders = self.players.values_mut().filter(|(status, _)| status == "leader");
            leaders.for_each(|(status, _)| "member".clone_into(status));
        }
        self.players.insert(text("player_uuid"), (status, event["team_id"].as_u64().unwrap_or_default()));
    }
}

/// The faults of the events in a store.
pub fn verify(stored: &Stored, sessions: &[Session]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut told: BTreeMap<String, (Told, Vec<String>)> = BTreeMap::new();
    let mut of_players = BTreeSet::new();
    let (from, to) = keys::all_events();
    for (key, value) in stored.range(from..to) {
        let id = keys::parse_events(key).expect("a key of events");
        of_players.extend(players(value).into_iter().map(|player| keys::events_of_player(player, &id)));
        let (session, names) = told.entry(id.session.to_string()).or_default();
        for event in decode(value, None).expect("events") {
            names.push(event["event_name"].as_str().unwrap_or_default().to_owned());
            session.hear(&event);
        }
    }
    let (from, to) = keys::all_events_of_players();
    if !of_players.iter().eq(stored.range(from..to).map(|(key, _)| key)) {
        wrong.push("the entries of players are not those of the events".to_owned());
    }
    for session in sessions {
        let (heard, names) = told.remove(session.id.as_str()).unwrap_or_default();
        let is_there = Told::of(session);
        if heard != is_there || names.first().is_none_or(|name| name != "session.created") {
            wrong.push(format!(
                "session {} is {is_there:?}, and its events {names:?} tell {heard:?}",
                session.id
            ));
        }
    }
    for (session, (_, names)) in told {
        let ends = names.iter().filter(|name| *name == "session.ended").count();
        if ends != 1 || names.last().is_none_or(|name| name != "session.ended") {
            wrong.push(format!("session {session} is gone, and its events are {names:?}"));
        }
    }
    wrong
}
