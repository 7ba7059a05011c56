//! Players who queue for duels, leave their queues, and accept their matches, until a server is killed. Whatever was killed
//! when: each ticket that an answer has promised waits, or is in one match; and each match is whole.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Method, StatusCode};
use rallypoint::domain::{Platform, PlayerUuid, Session};
use rallypoint::env::Entropy;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::launches::call;
use crate::model::{joining, list_path, session_path};
use crate::support::connection::Connection;
use crate::tally::Tally;

/// Number of players who queue at the same time.
pub const QUEUERS: usize = 8;
/// Most matches of a player in one round: a player is in a limited number of sessions.
const MATCHES_MAX: usize = 4;
/// One of this many looks at the list is a try to leave the queue instead.
const LOOKS_PER_LEAVE: u64 = 10;

/// The additional configuration: crews queue for duels. Two profiles take each ticket, so both may want it. Places wait for
/// an instance that never comes, so they do not expire: a match that was made can be seen, however long a failover takes.
pub const CONFIGURATION: &str = r#"
[templates.crew]
can_be_created_by_players_directly = true
can_join_matchmaking = true
[templates.duel]
[queues.duel]
match_making_template_group_id = "00000000-0000-4000-8000-0000000000a1"
[[match_making_template_groups.00000000-0000-4000-8000-0000000000a1.templates]]
profiles = ["duel", "rematch"]
[match_making_profiles.duel]
session_type = "duel"
invite = "when_joinable"
[match_making_profiles.rematch]
session_type = "duel"
invite = "when_joinable"
[matchmaking]
pass_every_ms = 10
poll_ms = 50
node_timeout_s = 1
"#;

/// How many tickets players were given, and how many matches there are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Matched {
    pub tickets: usize,
    pub matches: usize,
}

impl fmt::Display for Matched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tickets, {} matches", self.tickets, self.matches)
    }
}

/// What a player knows of a ticket.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// It waits, or is in a match.
    Given,
    /// The player has left the queue.
    Left,
    /// The player has tried to leave, and does not know the answer.
    Unsure,
}

/// A player who queues.
pub struct Queuer {
    player: Uuid,
    token: String,
    entropy: Entropy,
    crew: Option<String>,
    /// The ticket that waits, as far as the player knows.
    waiting: Option<Uuid>,
    /// The tickets of this round.
    tickets: BTreeMap<Uuid, Fate>,
    matches: usize,
}

impl Queuer {
    pub fn new(player: Uuid, token: String, entropy: Entropy) -> Self {
        Self { player, token, entropy, crew: None, waiting: None, tickets: BTreeMap::new(), matches: 0 }
    }

    /// Queues until the server is gone or the tally is complete.
    pub async fn run(mut self, address: SocketAddr, tally: Arc<Tally>) -> Self {
        (self.crew, self.waiting, self.matches) = (None, None, 0);
        self.tickets.clear();
        let Ok(mut connection) = Connection::open(address, Some(&self.token)).await else { return self };
        if self.leave_all(&mut connection).await.is_err() {
            return self;
        }
        while !tally.is_enough() && self.step(&mut connection).await.is_ok() {}
        self
    }

    fn below(&self, bound: u64) -> u64 {
        u64::from_le_bytes(self.entropy.bytes()) % bound
    }

    /// Leaves the sessions of the round before.
    async fn leave_all(&self, connection: &mut Connection) -> hyper::Result<()> {
        let list = call(connection, Method::GET, &list_path(self.player), None).await?.1;
        for session_type in ["crew", "duel"] {
            let of_type = &list["sessions"][session_type];
            let ids = |list: &str| of_type[list].as_array().cloned().unwrap_or_default();
            let ids: Vec<Value> = [ids("session_ids"), ids("reserved_sessions")].concat();
            for id in &ids {
                let Some(id) = id.as_str() else { continue };
                call(connection, Method::DELETE, &(session_path(id) + "/player/me"), None).await?;
            }
        }
        Ok(())
    }

    async fn step(&mut self, connection: &mut Connection) -> hyper::Result<()> {
        let Some(crew) = self.crew.clone() else {
            let mut body = joining(Platform::Steam, "1.0.0");
            body["session_type"] = "crew".into();
            let (_, created) = call(connection, Method::POST, "/v1/session", Some(body)).await?;
            self.crew = created["session_id"].as_str().map(str::to_owned);
            return Ok(());
        };
        let queue = session_path(&crew) + "/queue";
        match self.waiting {
            None if self.matches < MATCHES_MAX => {
                let body = json!({ "queue_id": "duel" });
                let (_, joined) = call(connection, Method::POST, &queue, Some(body)).await?;
                if let Some(ticket) = joined["ticket_id"].as_str().and_then(|id| id.parse().ok()) {
                    self.waiting = Some(ticket);
                    self.tickets.insert(ticket, Fate::Given);
                }
            }
            Some(ticket) if self.below(LOOKS_PER_LEAVE) == 0 => {
                self.tickets.insert(ticket, Fate::Unsure);
                let (status, _) = call(connection, Method::DELETE, &queue, None).await?;
                let fate = match status {
                    StatusCode::NO_CONTENT => Fate::Left,
                    StatusCode::NOT_FOUND => Fate::Given,
                    _ => Fate::Unsure,
                };
                self.tickets.insert(ticket, fate);
                self.waiting = None;
            }
            _ => self.accept(connection).await?,
        }
        Ok(())
    }

    /// Joins the match that has a place for the player, if there is one.
    async fn accept(&mut self, connection: &mut Connection) -> hyper::Result<()> {
        let list = call(connection, Method::GET, &list_path(self.player), None).await?.1;
        let reserved = list["sessions"]["duel"]["reserved_sessions"].as_array().cloned().unwrap_or_default();
        for session in &reserved {
            let Some(session) = session.as_str() else { continue };
            let path = session_path(session) + "/player/me";
            let (status, _) =
                call(connection, Method::POST, &path, Some(joining(Platform::Steam, "1.0.0"))).await?;
            self.matches += usize::from(status.is_success());
            self.waiting = None;
        }
        Ok(())
    }
}

/// Compares the tickets that answers have promised with the sessions in the store after the kill. Returns how many tickets
/// and matches there are.
pub fn verify(sessions: &[Session], queuers: &[Queuer], wrong: &mut Vec<String>) -> Matched {
    let mut matches = 0;
    let mut matched: BTreeMap<Uuid, Vec<String>> = BTreeMap::new();
    for session in sessions {
        let Some(made) = &session.match_made else { continue };
        matches += 1;
        let tickets = &made.results.tickets;
        let decided: Vec<Uuid> =
            tickets.iter().flat_map(|ticket| &ticket.players).map(|player| player.0).collect();
        // Who has left again has no entry any more.
        let is_decided = session.players.keys().all(|player| decided.contains(&player.0));
        let of_teams = session.teams.iter().map(|team| team.ticket_ids.len()).collect::<Vec<_>>();
        if tickets.len() != 2 || decided.len() != 2 || of_teams != [1, 1] || !is_decided {
            wrong.push(format!("the match {} is not whole: {tickets:?}", session.id));
        }
        for ticket in tickets {
            matched.entry(ticket.id).or_default().push(session.id.to_string());
            let has_it = |queuer: &&Queuer| queuer.tickets.contains_key(&ticket.id);
            let owner = queuers.iter().find(has_it).map(|queuer| queuer.player);
            if owner.is_some_and(|owner| ticket.players != [PlayerUuid(owner)]) {
                wrong.push(format!(
                    "the ticket {} is of {owner:?}, and matched {:?}",
                    ticket.id, ticket.players
                ));
            }
        }
    }
    let waiting = sessions.iter().filter_map(|session| Some(session.matchmaking.as_ref()?.id));
    let waiting: Vec<Uuid> = waiting.collect();
    for (ticket, sessions) in &matched {
        if sessions.len() > 1 || waiting.contains(ticket) {
            wrong.push(format!(
                "the ticket {ticket} is in {sessions:?}, and waits: {}",
                waiting.contains(ticket)
            ));
        }
    }
    for queuer in queuers {
        for (ticket, fate) in &queuer.tickets {
            let is_there = waiting.contains(ticket) || matched.contains_key(ticket);
            let is_right = match fate {
                Fate::Given => is_there,
                Fate::Left => !is_there,
                Fate::Unsure => true,
            };
            if !is_right {
                wrong.push(format!(
                    "the ticket {ticket} of {} is {fate:?}; is it there: {is_there}",
                    queuer.player
                ));
            }
        }
    }
    Matched { tickets: queuers.iter().map(|queuer| queuer.tickets.len()).sum(), matches }
}
