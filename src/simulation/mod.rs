//! What would players wait for? A simulation lets the matcher of the server make matches of parties that are drawn at
//! random or taken from recorded events, in simulated time, and tells how long they waited and how well they fit.
//!
//! The parties enter profiles by the same function as parties of sessions do, and the matcher is the same. What a
//! simulation leaves out: a commit takes no time and never fails, parties do not change while they wait, and nobody
//! leaves a match before its end. The same input gives the same result on every machine.

mod chart;
mod course;
mod drawn;
mod figures;
mod outcome;
mod recorded;
mod report;
mod table;

pub use course::{Progress, Setup, run};
pub use drawn::{Demand, Normal, PARTIES_MAX, Weighted};
pub use figures::Figures;
pub use outcome::{End, MatchMade, Outcome, PartyOutcome};
pub use recorded::{ReadError, Recorded, read};
pub use report::{as_html, as_svg, as_text};

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::domain::PlayerUuid;
use crate::domain::matchmaking::matcher::Crossplay;
use crate::domain::matchmaking::rank::Skill;
use crate::domain::matchmaking::ticket::JoinParams;

/// A party that joins queues.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arrival {
    /// When it joins, in milliseconds. Arrivals are in this order.
    pub at_ms: i64,
    /// When it leaves its queues, if it waits so long, in milliseconds.
    pub leaves_ms: Option<i64>,
    /// The id of its ticket.
    pub ticket_id: Uuid,
    /// The queues that it joins.
    pub queue_ids: Vec<String>,
    /// Its players: one or more.
    pub players: Vec<PlayerUuid>,
    /// By rank: the skill of each player, in the order of `players`. Empty if it is not known.
    pub skills: BTreeMap<Uuid, Vec<Skill>>,
    /// By profile: the skill of the party, if it was recorded. It comes before `skills`.
    pub profile_skills: BTreeMap<String, f64>,
    /// The region of its session.
    pub region: Option<String>,
    /// What it asks for.
    pub params: JoinParams,
    /// Whether its caller may give the skill of the party in `params`, where a rank believes services only.
    pub is_of_service: bool,
    /// Ids or names of maps, most wanted first.
    pub maps: Vec<String>,
    /// The clients of its players.
    pub crossplay: Crossplay,
}

#[cfg(test)]
#[path = "simulation_tests.rs"]
mod tests;
