//! Bounded reads of one node: no read after another one is older, however slow the reads are.

use super::*;
use crate::app::sessions::fixtures::{self, clock, new_session, observed_node};
use crate::app::{Limits, Update};
use crate::domain::Session;
use crate::store::Memory;

const LIMITS: Limits = Limits { staleness_ms_max: 10_000, ..fixtures::LIMITS };

/// Two nodes on one store, and a session whose region the other node changes.
struct Nodes {
    node: Arc<Sessions>,
    other: Arc<Sessions>,
    id: SessionId,
}

/// A read that has its answer from the store, but has not reached the cache yet.
struct SlowRead {
    start: ReadStart,
    entry: Option<Entry>,
}

impl Nodes {
    async fn new() -> Self {
        let (clock, store) = (clock(), Memory::shared());
        let node = || observed_node(LIMITS, &store, &clock, |_| ());
        let nodes = Self { node: node(), other: node(), id: SessionId::parse("one").unwrap() };
        nodes.other.create(new_session("one", &clock)).await.unwrap();
        nodes
    }

    async fn change(&self, region: &'static str) {
        let rule = |session: &mut Session| {
            session.region_id = Some(region.to_owned());
            Ok(())
        };
        self.other.update(&self.id, Update::by_caller(true), rule).await.unwrap();
    }

    async fn end(&self) {
        let rule = |session: &mut Session| {
            session.end();
            Ok(())
        };
        self.other.update(&self.id, Update::by_caller(false), rule).await.unwrap();
    }

    async fn begin_read(&self) -> SlowRead {
        let start = self.node.start_read(&self.id);
        SlowRead { start, entry: self.node.store.get(&keys::session(&self.id)).await.unwrap() }
    }

    fn finish(&self, read: SlowRead) {
        let deadline_ms = Arc::new(AtomicI64::new(i64::MAX));
        let entry = read.entry.expect("the session is stored");
        self.node.cache_unless_changed(&self.id, entry, deadline_ms, &read.start).unwrap();
    }

    /// The region that a read of the node shows; `None` without the session.
    async fn region(&self) -> Option<String> {
        self.node.find(&self.id).await.unwrap().map(|cached| cached.session.region_id.clone().unwrap())
    }
}

#[tokio::test]
async fn an_older_read_that_ends_later_does_not_replace_a_newer_version() {
    let nodes = Nodes::new().await;
    nodes.change("one").await;
    let slow = nodes.begin_read().await;
    nodes.change("two").await;
    assert_eq!(nodes.region().await.unwrap(), "two");
    nodes.finish(slow);
    assert_eq!(nodes.region().await.unwrap(), "two");
}

#[tokio::test]
async fn a_newer_read_that_ends_later_is_not_lost() {
    let nodes = Nodes::new().await;
    nodes.change("one").await;
    let older = nodes.begin_read().await;
    nodes.change("two").await;
    let newer = nodes.begin_read().await;
    nodes.finish(older);
    nodes.finish(newer);
    assert_eq!(nodes.region().await.unwrap(), "two");
}

#[tokio::test]
async fn an_older_read_does_not_bring_an_ended_session_back() {
    let nodes = Nodes::new().await;
    nodes.change("one").await;
    assert_eq!(nodes.region().await.unwrap(), "one");
    let slow = nodes.begin_read().await;
    nodes.end().await;
    assert!(nodes.node.find_latest(&nodes.id).await.unwrap().is_none());
    nodes.finish(slow);
    assert_eq!(nodes.region().await, None);
}

#[tokio::test]
async fn equal_reads_at_the_same_time_stay_cached() {
    let nodes = Nodes::new().await;
    nodes.change("one").await;
    let reads = [nodes.begin_read().await, nodes.begin_read().await];
    for read in reads {
        nodes.finish(read);
    }
    nodes.change("two").await;
    assert_eq!(nodes.region().await.unwrap(), "one", "a bounded read needs no store");
}
