//! A launch is read together with its session.

use futures_util::FutureExt as _;

use super::*;
use crate::app::Limits;
use crate::config::Config;
use crate::domain::SessionId;
use crate::domain::session::NewSession;
use crate::env::{Clock, Entropy};
use crate::store::{Memory, Store};

fn sessions(clock: &Clock) -> Arc<Sessions> {
    let limits = Limits {
        idle_ms: 60_000,
        cache_bytes: 1 << 20,
        session_bytes_max: 1 << 20,
        sessions_per_player_max: 1,
        invites_per_player_max: 1,
        invites_per_inviter_max: 1,
        staleness_ms_max: 0,
    };
    let store = Store::Memory(Memory::default());
    let time_and_randomness = (clock.clone(), Entropy::seeded(1));
    let hooks = LaunchHooks::default();
    Arc::new(Sessions::new(store, limits, time_and_randomness, Arc::default(), hooks, |_| ()))
}

#[tokio::test]
async fn a_launch_that_is_stored_but_not_yet_in_the_cache_is_not_read_as_unwanted() {
    let clock = Clock::manual("2026-11-24T12:00:00Z".parse().unwrap());
    let sessions = sessions(&clock);
    let session_id = SessionId::parse("one").unwrap();
    let new = NewSession {
        id: session_id.clone(),
        session_type: "game".into(),
        now: clock.now(),
        region_id: None,
        password: None,
    };
    sessions.create(Session::new(new, &Config::default().templates["game"])).await.unwrap();

    // A change that has committed, and has not published the session yet: it still has the lock.
    let lock = sessions.lock(&session_id).await;
    let link = LaunchLink { id: Uuid::from_u128(7), allocator: "local".into(), region: None };
    let instance = Instance { launch: Some(link.clone()), ..crate::domain::fixtures::instance(None, None) };
    let record = LaunchRecord::wanted(&link, &session_id, &instance);
    sessions.store.commit(launch::create(&record)).await.unwrap();
    let mut read = Box::pin(sessions.launch_and_session(link.id));
    assert!(read.as_mut().now_or_never().is_none(), "the session is not known yet");

    drop(lock);
    let (stored, session) = read.await.unwrap().unwrap();
    assert_eq!(stored.record, record);
    assert_eq!(session.unwrap().session.id, session_id);
}
