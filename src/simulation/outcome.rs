//! What has become of the parties of a simulation.

use std::collections::BTreeMap;

use crate::domain::matchmaking::matcher::{Obstacle, Quality};

/// How it went for a party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It could not join its queues: the error code that a server would have answered with.
    Refused(&'static str),
    /// It became part of a new match, after so many milliseconds.
    Matched(i64),
    /// It joined a match that had begun, after so many milliseconds.
    Backfilled(i64),
    /// It left its queues, after so many milliseconds.
    Left(i64),
    /// It waited for the longest time that a ticket lives.
    TimedOut(i64),
    /// It still waited at the end, for so many milliseconds so far.
    Waiting(i64),
}

impl End {
    /// How long it waited for its match, in milliseconds; `None` if it got none.
    pub fn wait_ms(self) -> Option<i64> {
        match self {
            Self::Matched(ms) | Self::Backfilled(ms) => Some(ms),
            Self::Refused(_) | Self::Left(_) | Self::TimedOut(_) | Self::Waiting(_) => None,
        }
    }
}

/// A party, and how it went.
#[derive(Clone, Debug, PartialEq)]
pub struct PartyOutcome {
    /// Number of its players.
    pub players: usize,
    /// Its region.
    pub region: Option<String>,
    /// How it went.
    pub end: End,
    /// Where its match was played, if it got one.
    pub played_in: Option<String>,
    /// What kept it from a match, if it got none and this was looked into.
    pub obstacle: Option<Obstacle>,
}

/// A match.
#[derive(Clone, Debug, PartialEq)]
pub struct MatchMade {
    /// The profile.
    pub profile: String,
    /// When it was made, in milliseconds.
    pub at_ms: i64,
    /// Numbers of the parties (positions among the arrivals) of each side. Those that joined later are not in it.
    pub sides: Vec<Vec<usize>>,
    /// Number of players when it was made.
    pub players: usize,
    /// Number of players of a full match.
    pub full: usize,
    /// Names of the fields of the profile, in the order of the spreads in `quality`.
    pub fields: Vec<String>,
    /// How well its parties fit.
    pub quality: Quality,
}

/// The result of a simulation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// By arrival: how it went.
    pub parties: Vec<PartyOutcome>,
    /// The matches, in the order in which they were made.
    pub matches: Vec<MatchMade>,
    /// Number of parties that wait, by time in milliseconds since the start.
    pub waiting: BTreeMap<i64, usize>,
    /// Number of passes of the matcher.
    pub passes: usize,
}
