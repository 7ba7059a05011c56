//! A check of one session that panics, while the check of another one succeeds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::app::LaunchHooks;
use crate::app::Limits;
use crate::app::presence::table::{PresenceTable, Timeouts};
use crate::app::sessions::Sessions;
use crate::config::Config;
use crate::domain::fixtures;
use crate::domain::session::NewSession;
use crate::env::{Clock, Entropy};
use crate::store::{Memory, Store};
use crate::telemetry::Metrics;

/// The sessions `one` and `other`, in each of which a player times out after 60 s. While `panics` is set, every commit
/// of `one` panics in the observer.
async fn two_sessions(clock: &Clock, panics: &Arc<AtomicBool>) -> (Presence, Arc<Sessions>, [SessionId; 2]) {
    let limits = Limits {
        idle_ms: 3_600_000,
        cache_bytes: 1 << 20,
        session_bytes_max: 1 << 20,
        sessions_per_player_max: 2,
        invites_per_player_max: 1,
        invites_per_inviter_max: 1,
        staleness_ms_max: 0,
    };
    let table = Arc::new(PresenceTable::new(Default::default(), Timeouts::default(), false));
    let observer = {
        let (table, clock, panics) = (Arc::clone(&table), clock.clone(), Arc::clone(panics));
        move |session: &Session| {
            assert!(
                !panics.load(Ordering::SeqCst) || session.id.as_str() != "one",
                "a test asked for this panic"
            );
            table.observe(session, clock.now_ms());
        }
    };
    let (store, metrics) = (Store::Memory(Memory::default()), Arc::<Metrics>::default());
    let time_and_randomness = (clock.clone(), Entropy::seeded(1));
    let sessions = Arc::new(Sessions::new(
        store,
        limits,
        time_and_randomness,
        Arc::clone(&metrics),
        LaunchHooks::default(),
        observer,
    ));
    let ids = ["one", "other"].map(|id| SessionId::parse(id).unwrap());
    let mut template = Config::default().templates["game"].clone();
    template.player_culling_timeout = Some(60);
    for id in &ids {
        let (session_type, now) = ("game".to_owned(), clock.now());
        let new = NewSession { id: id.clone(), session_type, now, region_id: None, password: None };
        let mut session = Session::new(new, &template);
        session.enter_first(&fixtures::joiner(1), now).unwrap();
        sessions.create(session).await.unwrap();
    }
    let presence = Presence::new(
        table,
        Arc::clone(&sessions),
        Default::default(),
        Arc::default(),
        clock.clone(),
        metrics,
    );
    (presence, sessions, ids)
}

#[tokio::test]
async fn a_session_whose_check_panics_is_checked_again_and_stops_no_other() {
    let (clock, panics) = (Clock::manual("2026-11-24T12:00:00Z".parse().unwrap()), Arc::default());
    let (presence, sessions, [one, other]) = two_sessions(&clock, &panics).await;
    clock.advance(Duration::from_secs(30));
    // The check after 60 s finds nothing to do, but queues the session for the next one.
    presence.heartbeat(Some(fixtures::player(1)), &sessions.get(&one).await.unwrap(), clock.now_ms());
    panics.store(true, Ordering::SeqCst);
    clock.advance(Duration::from_secs(30));
    for _ in 0..3 {
        assert!(matches!(presence.expire_inactive().await, Err(Failure::Panicked)));
        assert!(sessions.find(&other).await.unwrap().is_none(), "it has ended with its last player");
    }
    panics.store(false, Ordering::SeqCst);
    presence.expire_inactive().await.unwrap();
    assert!(sessions.find(&one).await.unwrap().is_some());
    clock.advance(Duration::from_secs(30));
    presence.expire_inactive().await.unwrap();
    assert!(
        sessions.find(&one).await.unwrap().is_none(),
        "30 s are over since the check, and 60 s since the heartbeat"
    );
}
