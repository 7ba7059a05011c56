//! Topics that have changed on this node, and that other nodes are told of.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use super::{Topic, lock};

/// Most topics that gather. Beyond, other nodes are told that anything may have changed.
const TOPICS_MAX: usize = 300;

/// Gathers the topics of commits until they are sent. It gathers nothing while it is closed, as on a node that is alone.
#[derive(Debug, Default)]
pub struct Outbox {
    is_open: AtomicBool,
    gathered: Mutex<Gathered>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Gathered {
    topics: HashSet<Topic>,
    is_too_much: bool,
}

/// What was gathered.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// These topics have changed.
    Topics(Vec<Topic>),
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

    /// Adds topics. The topics of a node's own configuration concern no other.
    pub(super) fn add<'a>(&self, topics: impl IntoIterator<Item = &'a Topic>) {
        if !self.is_open.load(Ordering::Acquire) {
            return;
        }
        let mut gathered = lock(&self.gathered);
        for topic in topics.into_iter().filter(|topic| **topic != Topic::Catalog) {
            gathered.is_too_much |= gathered.topics.len() >= TOPICS_MAX && !gathered.topics.contains(topic);
            if gathered.is_too_much {
                gathered.topics.clear();
                break;
            }
            gathered.topics.insert(topic.clone());
        }
        drop(gathered);
        self.news.notify_one();
    }

    /// Whether something has gathered.
    pub fn has_news(&self) -> bool {
        let gathered = lock(&self.gathered);
        gathered.is_too_much || !gathered.topics.is_empty()
    }

    /// Sleeps until something has gathered.
    pub async fn news(&self) {
        while !self.has_news() {
            self.news.notified().await;
        }
    }

    /// Takes what has gathered; `None` if nothing has.
    pub fn take(&self) -> Option<News> {
        let Gathered { topics, is_too_much } = std::mem::take(&mut *lock(&self.gathered));
        match is_too_much {
            true => Some(News::Everything),
            false if topics.is_empty() => None,
            false => Some(News::Topics(topics.into_iter().collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::SessionId;

    fn topic(number: usize) -> Topic {
        Topic::Session(SessionId::parse(&number.to_string()).unwrap())
    }

    #[test]
    fn topics_gather_once_each_while_it_is_open() {
        let outbox = Outbox::default();
        outbox.add(&[topic(1)]);
        assert_eq!(outbox.take(), None, "it is closed");
        outbox.set_open(true);
        outbox.add(&[topic(1), topic(1), Topic::Catalog]);
        outbox.add(&[topic(1)]);
        assert!(outbox.has_news());
        assert_eq!(outbox.take(), Some(News::Topics(vec![topic(1)])));
        assert_eq!(outbox.take(), None);
        outbox.add(&[topic(1)]);
        outbox.set_open(false);
        assert!(!outbox.has_news());
    }

    #[test]
    fn too_many_topics_become_one_mark() {
        let outbox = Outbox::default();
        outbox.set_open(true);
        let topics: Vec<_> = (0..TOPICS_MAX).map(topic).collect();
        outbox.add(&topics);
        outbox.add(&topics);
        assert!(matches!(outbox.take(), Some(News::Topics(all)) if all.len() == TOPICS_MAX));
        outbox.add(&topics);
        outbox.add(&[topic(TOPICS_MAX)]);
        outbox.add(&[topic(1)]);
        assert_eq!(outbox.take(), Some(News::Everything));
    }
}
