//! What has changed on this node, and other nodes are told of.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use super::{Topic, lock};
use crate::domain::{PlayerUuid, SessionId};

/// Most topics that gather. Beyond, other nodes are told that anything may have changed.
const TOPICS_MAX: usize = 300;

/// Gathers the changes of commits until they are sent. It gathers nothing while it is closed, as on a node that is alone.
#[derive(Debug, Default)]
pub struct Outbox {
    is_open: AtomicBool,
    gathered: Mutex<Gathered>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Gathered {
    changes: Changes,
    is_too_much: bool,
}

/// What has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The topics. A session has the player who has changed it last; `None`: a service or the server.
    pub topics: HashMap<Topic, Option<PlayerUuid>>,
    /// Players whose lists no longer have a session.
    pub departures: BTreeSet<(PlayerUuid, SessionId)>,
}

/// What was gathered.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// These.
    Changes(Changes),
    /// Too many have changed to name them.
    Everything,
}

impl Outbox {
    /// Opens or closes the outbox. What was gathered is lost when it is closed.
    pub fn set_open(&self, is_open: bool) {
        self.is_open.store(is_open, Ordering::Release);
        if !is_open {
            *lock(&self.gathered) = Gathered::default();
        }
    }

    /// Adds topics that a player has changed, and the departures that belong to them. The topics of a node's own
    /// configuration concern no other.
    pub(super) fn add(
        &self,
        topics: &[Topic],
        actor: Option<PlayerUuid>,
        departures: &[(PlayerUuid, SessionId)],
    ) {
        if !self.is_open.load(Ordering::Acquire) {
            return;
        }
        let mut gathered = lock(&self.gathered);
        let Gathered { changes, is_too_much } = &mut *gathered;
        for topic in topics.iter().filter(|topic| **topic != Topic::Catalog) {
            *is_too_much |= changes.topics.len() >= TOPICS_MAX && !changes.topics.contains_key(topic);
            if *is_too_much {
                break;
            }
            let actor = actor.filter(|_| matches!(topic, Topic::Session(_)));
            changes.topics.insert(topic.clone(), actor);
        }
        match *is_too_much {
            true => *changes = Changes::default(),
            false => changes.departures.extend(departures.iter().cloned()),
        }
        drop(gathered);
        self.news.notify_one();
    }

    /// Whether something has gathered.
    pub fn has_news(&self) -> bool {
        let gathered = lock(&self.gathered);
        gathered.is_too_much || !gathered.changes.topics.is_empty()
    }

    /// Sleeps until something has gathered.
    pub async fn news(&self) {
        while !self.has_news() {
            self.news.notified().await;
        }
    }

    /// Takes what has gathered; `None` if nothing has.
    pub fn take(&self) -> Option<News> {
        let Gathered { changes, is_too_much } = std::mem::take(&mut *lock(&self.gathered));
        match is_too_much {
            true => Some(News::Everything),
            false if changes.topics.is_empty() => None,
            false => Some(News::Changes(changes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const ALICE: PlayerUuid = PlayerUuid(Uuid::from_u128(1));

    fn topic(number: usize) -> Topic {
        Topic::Session(SessionId::parse(&number.to_string()).unwrap())
    }

    fn add(outbox: &Outbox, topics: &[Topic]) {
        outbox.add(topics, None, &[]);
    }

    fn changes(topics: impl IntoIterator<Item = Topic>) -> Changes {
        let topics = topics.into_iter().map(|topic| (topic, None)).collect();
        Changes { topics, ..Changes::default() }
    }

    #[test]
    fn changes_gather_once_each_while_it_is_open() {
        let outbox = Outbox::default();
        add(&outbox, &[topic(1)]);
        assert_eq!(outbox.take(), None, "it is closed");
        outbox.set_open(true);
        add(&outbox, &[topic(1), topic(1), Topic::Catalog]);
        add(&outbox, &[topic(1)]);
        assert!(outbox.has_news());
        assert_eq!(outbox.take(), Some(News::Changes(changes([topic(1)]))));
        assert_eq!(outbox.take(), None);
        add(&outbox, &[topic(1)]);
        outbox.set_open(false);
        assert!(!outbox.has_news());
    }

    #[test]
    fn the_last_player_who_changed_a_session_and_every_departure_are_kept() {
        let outbox = Outbox::default();
        outbox.set_open(true);
        let departure = (ALICE, SessionId::parse("1").unwrap());
        let topics = [topic(1), Topic::List(ALICE)];
        outbox.add(&topics, Some(ALICE), std::slice::from_ref(&departure));
        add(&outbox, &[topic(2)]);
        outbox.add(&[topic(2)], Some(ALICE), &[]);
        outbox.add(&[topic(3)], Some(ALICE), &[]);
        add(&outbox, &[topic(3)]);
        let mut expected = changes([topic(3), Topic::List(ALICE)]);
        expected.topics.extend([(topic(1), Some(ALICE)), (topic(2), Some(ALICE))]);
        expected.departures.insert(departure);
        assert_eq!(outbox.take(), Some(News::Changes(expected)));
    }

    #[test]
    fn too_many_topics_become_one_mark() {
        let outbox = Outbox::default();
        outbox.set_open(true);
        let topics: Vec<_> = (0..TOPICS_MAX).map(topic).collect();
        add(&outbox, &topics);
        add(&outbox, &topics);
        assert!(matches!(outbox.take(), Some(News::Changes(all)) if all.topics.len() == TOPICS_MAX));
        add(&outbox, &topics);
        add(&outbox, &[topic(TOPICS_MAX)]);
        add(&outbox, &[topic(1)]);
        assert_eq!(outbox.take(), Some(News::Everything));
    }
}
