//! What a wait waits for.

use smallvec::SmallVec;

use super::Seen;
use crate::domain::{PlayerUuid, SessionId};
use crate::telemetry::WaitKind;

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

impl Topic {
    /// The kind of a wait on the topic.
    pub fn kind(&self) -> WaitKind {
        match self {
            Self::Session(_) => WaitKind::Session,
            Self::List(_) => WaitKind::List,
            Self::Inbox(_) => WaitKind::Inbox,
            Self::Listings(_) => WaitKind::Browser,
            Self::Catalog => WaitKind::Catalog,
        }
    }
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
    /// Whether the answer is the same for every caller who may read it. Then waits share one look.
    pub is_shared: bool,
    /// What the store had of each topic, in their order, before the rest of the answer was read; `None` if that is not
    /// known. Of topics beyond, it is not known either.
    pub seen: SmallVec<[Option<Seen>; 1]>,
    /// For a long poll that has nothing to tell yet; `None` for an answer that waits only for clients that ask for it.
    pub long_poll: Option<LongPoll>,
}

/// How to hold a long poll until there is something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LongPoll {
    /// For how long, in milliseconds; 0: not at all.
    pub hold_ms: i64,
    /// The query of the request in the looks that follow. It says from where on there may be news.
    pub query: String,
}

impl WaitOn {
    /// Waits on one topic.
    pub fn topic(topic: Topic) -> Self {
        Self::topics([(topic, None)])
    }

    /// Waits on several topics. With each, what the store had of it.
    pub fn topics(watched: impl IntoIterator<Item = (Topic, Option<Seen>)>) -> Self {
        let (topics, seen) = watched.into_iter().unzip();
        Self { topics, again_after_ms: None, is_shared: false, seen, long_poll: None }
    }

    /// Reads again after this time, in milliseconds.
    #[must_use]
    pub fn again_after_ms(self, again_after_ms: Option<i64>) -> Self {
        Self { again_after_ms, ..self }
    }

    /// The answer shows this of the first topic, or something newer.
    #[must_use]
    pub fn seen(self, seen: Option<Seen>) -> Self {
        Self { seen: SmallVec::from_iter([seen]), ..self }
    }

    /// Waits on another topic too.
    #[must_use]
    pub fn and(mut self, topic: Topic) -> Self {
        self.topics.push(topic);
        self
    }

    /// The answer is the same for every caller who may read it.
    #[must_use]
    pub fn shared(self) -> Self {
        Self { is_shared: true, ..self }
    }
}
