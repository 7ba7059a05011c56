//! Which due sessions a round ends, and where in the queue of deadlines it starts.

use std::collections::BTreeSet;

use super::*;
use crate::app::Limits;
use crate::app::sessions::fixtures::{self, clock, new_session, observed_node};
use crate::domain::Session;
use crate::env::{Clock, Entropy};
use crate::store::Memory;

const LIMITS: Limits = Limits { idle_ms: 1_000, ..fixtures::LIMITS };

/// A session service whose queue has `count` entries, all with the deadline `due_ms`.
async fn sessions_with_due(count: usize, due_ms: i64) -> Arc<Sessions> {
    let entropy = Entropy::seeded(1);
    let sessions = observed_node(LIMITS, &Memory::default(), &Clock::System, |_| ());
    let mut batch = Batch::default();
    for _ in 0..count {
        batch = batch.put(keys::due(due_ms, &entropy.uuid().into()), "");
    }
    sessions.store.commit(batch).await.unwrap();
    sessions
}

#[tokio::test]
async fn nodes_start_in_different_places_if_much_fell_due_at_once() {
    let (due_ms, now_ms) = (1_000_000, 9_000_000);
    let sessions = sessions_with_due(8 * DUE_AT_ONCE, due_ms).await;
    let (first, end) = keys::due_until(now_ms);
    let mut entries_after_start = BTreeSet::new();
    for _ in 0..64 {
        let start = sessions.first_due(now_ms).await.unwrap().unwrap();
        assert!(start >= first);
        let after_start = sessions.store().scan(&start, &end, usize::MAX).await.unwrap();
        entries_after_start.insert(after_start.len());
    }
    assert!(entries_after_start.len() > 32 && !entries_after_start.contains(&0), "{entries_after_start:?}");
}

#[tokio::test]
async fn a_few_due_sessions_are_taken_from_the_front() {
    let sessions = sessions_with_due(DUE_AT_ONCE - 1, 1_000).await;
    assert_eq!(sessions.first_due(1_000).await, Ok(Some(keys::due_until(1_000).0)));
    assert_eq!(sessions.first_due(999).await, Ok(None));
}

#[tokio::test]
async fn a_panic_over_one_session_keeps_no_other_alive() {
    let clock = clock();
    // The panic of the observer stands for any bug that only one session triggers.
    let observer = |session: &Session| assert!(!session.ended || session.id.as_str() != "cursed");
    let sessions = observed_node(LIMITS, &Memory::default(), &clock, observer);
    let ids = ["one", "cursed", "other"].map(|id| SessionId::parse(id).unwrap());
    for id in &ids {
        sessions.create(new_session(id.as_str(), &clock)).await.unwrap();
    }
    let before = sessions.expire_due(|| false).await.unwrap();
    assert_eq!((before.ended, before.failures.len()), (0, 0));
    clock.advance(Duration::from_secs(10));
    let round = sessions.expire_due(|| false).await.unwrap();
    assert_eq!(round.ended, 2);
    assert!(matches!(round.failures[..], [Failure::Panicked]), "{:?}", round.failures);
    for (id, expected) in ids.iter().zip([false, true, false]) {
        let is_in_queue = sessions.stored_deadline(id).await.unwrap().is_some();
        assert!(!is_in_queue || expected, "{id}");
    }
}
