//! What a wait waits for.

use smallvec::SmallVec;

use crate::domain::{PlayerUuid, SessionId};

/// Something that changes. A change wakes the waits on its topics.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// A session, with its players, its instance and its platform sessions.
    Session(SessionId),
    /// A player's list of sessions.
    List(PlayerUuid),
    /// The messages that were posted for a player.
    Inbox(PlayerUuid),
    /// The listed sessions of a type.
    Listings(Box<str>),
    /// The templates of the configuration.
    Catalog,
}

/// The topics of one wait.
pub type Topics = SmallVec<[Topic; 1]>;

/// How to wait for a change of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitOn {
    /// What changes the answer.
    pub topics: Topics,
    /// After how long the wait reads again although nothing has woken it, in milliseconds: a wait on a session keeps its
    /// player present and the session alive. `None`: it need not.
    pub again_after_ms: Option<i64>,
}

impl WaitOn {
    /// Waits on one topic.
    pub fn topic(topic: Topic) -> Self {
        Self { topics: Topics::from_iter([topic]), again_after_ms: None }
    }

    /// Reads again after this time, in milliseconds.
    #[must_use]
    pub fn again_after_ms(self, again_after_ms: Option<i64>) -> Self {
        Self { again_after_ms, ..self }
    }
}
