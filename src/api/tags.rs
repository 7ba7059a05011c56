//! The groups of the API document: the nouns of the API, in the order that a reader meets them.
#![allow(missing_docs, reason = "the names say what is in them")]

/// A group of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its name.
    pub name: &'static str,
    /// What its operations are about.
    pub description: &'static str,
}

impl Tag {
    const fn new(name: &'static str, description: &'static str) -> Self {
        Self { name, description }
    }
}

pub const SESSIONS: Tag = Tag::new(
    "Sessions",
    "Groups of players, such as parties and matches. A template, the session's type, says what a session starts \
     out as. In every path a short code may stand for `session_id`.",
);
pub const PLATFORM_SESSIONS: Tag = Tag::new(
    "Platform sessions",
    "The sessions that consoles and stores keep of their own (XboxLive, PSN, Steam and others), linked to \
     sessions here: a player who was let into the one finds, joins and leaves the other through it.",
);
pub const PLAYERS: Tag = Tag::new(
    "Players",
    "Who is in a session, and in which standing: leader, member, invited or reserved. *Active* players are \
     leaders and members.",
);
pub const RIGHTS: Tag = Tag::new(
    "Rights",
    "What a leader may lend to players of a session: to invite, to kick and to move others.",
);
pub const PLAYER_SESSIONS: Tag =
    Tag::new("A player's sessions", "Which sessions a player is in, is invited to, or has a place kept in.");
pub const BROWSER: Tag = Tag::new("Browser", "Sessions that are listed for anyone to find.");
pub const INSTANCES: Tag = Tag::new(
    "Instances",
    "Where a session is played: who hosts it, how to connect to it, and whether it is well.",
);
pub const CONFIGURATION: Tag = Tag::new(
    "Configuration",
    "What the operator has set up, as clients see it; and where a client comes from.",
);

/// Every group, in order.
pub const ALL: [Tag; 8] =
    [SESSIONS, PLATFORM_SESSIONS, PLAYERS, RIGHTS, PLAYER_SESSIONS, BROWSER, INSTANCES, CONFIGURATION];
