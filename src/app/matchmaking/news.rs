//! What commits on this node say about tickets, and about matches that want players.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use uuid::Uuid;

use super::values::values_of;
use crate::domain::matchmaking::matcher::TicketValues;
use crate::domain::{Session, SessionId};
use crate::records::backfill::WantedPlayers;
use crate::records::queued::QueuedTicket;

/// Most news that waits for a round of the matcher.
const NEWS_MAX: usize = 200_000;

/// Tells the matcher which tickets have come and gone, in the order of commits of each session.
#[derive(Default)]
pub struct TicketNews {
    /// Whether there is a matcher that takes the news.
    is_heard: bool,
    news: Mutex<Vec<News>>,
    has_news: Notify,
}

/// A piece of news.
pub enum News {
    /// A ticket waits. It may be known already.
    Waits(Waiting),
    /// A ticket has ended.
    Ended(Uuid),
    /// A match that has begun wants players of a profile, or may do so.
    Wants {
        /// The profile.
        profile_id: String,
        /// The session of the match.
        session_id: SessionId,
        /// When its backfill was made, in milliseconds since 1970.
        created_ms: i64,
        /// Whom it wants. `None`: nobody.
        wanted: Option<WantedPlayers<'static>>,
    },
    /// A match wants no players any more.
    WantsNobody(SessionId),
    /// The host of a match has confirmed that it wants players.
    Confirmed(SessionId),
}

/// A ticket that waits.
pub struct Waiting {
    /// Its id.
    pub ticket_id: Uuid,
    /// The session that has it.
    pub session_id: SessionId,
    /// What matchers need to know, for each of its profiles.
    pub by_profile: BTreeMap<String, TicketValues>,
}

impl TicketNews {
    /// News for a matcher, if there is one.
    pub fn new(is_heard: bool) -> Self {
        Self { is_heard, ..Self::default() }
    }

    /// Notes a session after a commit.
    pub fn observe(&self, session: &Session) {
        if let Some(backfill) = session.backfill.as_ref().filter(|_| self.is_heard && !session.ended) {
            self.note(News::Wants {
                profile_id: backfill.profile_id.clone(),
                session_id: session.id.clone(),
                created_ms: backfill.created.as_millisecond(),
                wanted: WantedPlayers::of(session, backfill).map(WantedPlayers::into_owned),
            });
        }
        let Some(ticket) = session.matchmaking.as_ref().filter(|_| self.is_heard) else { return };
        if session.ended {
            return self.note(News::Ended(ticket.id));
        }
        let values = |id: &String| (id.clone(), values_of(&QueuedTicket::of(session, ticket, id)));
        self.note(News::Waits(Waiting {
            ticket_id: ticket.id,
            session_id: session.id.clone(),
            by_profile: ticket.profile_ids.iter().map(values).collect(),
        }));
    }

    /// Notes that a ticket has ended.
    pub fn ended(&self, ticket_id: Uuid) {
        if self.is_heard {
            self.note(News::Ended(ticket_id));
        }
    }

    /// Notes that a commit has deleted the index entry of a match that wants players.
    pub fn wants_nobody(&self, session_id: SessionId) {
        if self.is_heard {
            self.note(News::WantsNobody(session_id));
        }
    }

    /// Notes that the host of a match has confirmed that it wants players.
    pub fn confirmed(&self, session_id: &SessionId) {
        if self.is_heard {
            self.note(News::Confirmed(session_id.clone()));
        }
    }

    /// Takes the news. `None` if there was too much of it: then all tickets have to be read again.
    pub fn take(&self) -> Option<Vec<News>> {
        let news = std::mem::take(&mut *self.lock());
        (news.len() < NEWS_MAX).then_some(news)
    }

    /// Waits until there is news.
    pub async fn wait(&self) {
        loop {
            let notified = self.has_news.notified();
            if !self.lock().is_empty() {
                return;
            }
            notified.await;
        }
    }

    fn note(&self, news: News) {
        let mut waiting = self.lock();
        if waiting.len() < NEWS_MAX {
            waiting.push(news);
        }
        drop(waiting);
        self.has_news.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<News>> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
