//! Which due sessions a round ends, and where in the queue of deadlines it starts.

use std::collections::BTreeSet;

use super::*;
use crate::app::LaunchHooks;
use crate::app::Limits;
use crate::config::Config;
use crate::domain::Session;
use crate::domain::session::NewSession;
use crate::env::{Clock, Entropy};
use crate::store::{Memory, Store};

const LIMITS: Limits = Limits {
    idle_ms: 1_000,
    cache_bytes: 1 << 20,
    session_bytes_max: 1 << 20,
    sessions_per_player_max: 1,
    invites_per_player_max: 1,
    invites_per_inviter_max: 1,
    staleness_ms_max: 0,
};

/// A session service whose queue has `count` entries, all with the deadline `due_ms`.
async fn sessions_with_due(count: usize, due_ms: i64) -> Sessions {
    let (entropy, store) = (Entropy::seeded(1), Store::Memory(Memory::default()));
    let mut batch = Batch::default();
    for _ in 0..count {
        batch = batch.put(keys::due(due_ms, &entropy.uuid().into()), "");
    }
    store.commit(batch).await.unwrap();
    Sessions::new(store, LIMITS, (Clock::System, entropy), Arc::default(), LaunchHooks::default(), |_| {})
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
    let clock = Clock::manual("2026-11-24T12:00:00Z".parse().unwrap());
    let time_and_randomness = (clock.clone(), Entropy::seeded(1));
    // The panic of the observer stands for any bug that only one session triggers.
    let observer = |session: &Session| assert!(!session.ended || session.id.as_str() != "cursed");
    let store = Store::Memory(Memory::default());
    let sessions =
        Sessions::new(store, LIMITS, time_and_randomness, Arc::default(), LaunchHooks::default(), observer);
    let sessions = Arc::new(sessions);
    let ids = ["one", "cursed", "other"].map(|id| SessionId::parse(id).unwrap());
    for id in &ids {
        let new = NewSession {
            id: id.clone(),
            session_type: "game".into(),
            now: clock.now(),
            region_id: None,
            password: None,
        };
        sessions.create(Session::new(new, &Config::default().templates["game"])).await.unwrap();
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
