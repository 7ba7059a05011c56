//! Session services and sessions for tests.

use std::sync::Arc;

use super::Sessions;
use crate::app::{LaunchHooks, Limits};
use crate::config::Config;
use crate::domain::session::NewSession;
use crate::domain::{Session, SessionId};
use crate::env::{Clock, Entropy};
use crate::store::{Memory, Store};

/// Limits for a few small sessions, each without use for at most a minute.
pub(crate) const LIMITS: Limits = Limits {
    idle_ms: 60_000,
    cache_bytes: 1 << 20,
    session_bytes_max: 1 << 20,
    sessions_per_player_max: 1,
    invites_per_player_max: 1,
    invites_per_inviter_max: 1,
    staleness_ms_max: 0,
};

/// The session service of a node on a store in memory.
pub(crate) fn node(store: &Memory, clock: &Clock) -> Arc<Sessions> {
    observed_node(LIMITS, store, clock, |_| ())
}

/// The same, with other limits and an observer.
pub(crate) fn observed_node(
    limits: Limits,
    store: &Memory,
    clock: &Clock,
    observer: impl Fn(&Session) + Send + Sync + 'static,
) -> Arc<Sessions> {
    let (store, time_and_randomness) = (Store::Memory(store.clone()), (clock.clone(), Entropy::seeded(1)));
    let hooks = LaunchHooks::default();
    Arc::new(Sessions::new(store, limits, time_and_randomness, Arc::default(), hooks, observer))
}

/// A clock that stands still.
pub(crate) fn clock() -> Clock {
    Clock::manual("2026-11-24T12:00:00Z".parse().unwrap())
}

/// A new session of the type `game`, without players.
pub(crate) fn new_session(id: &str, clock: &Clock) -> Session {
    let (id, session_type) = (SessionId::parse(id).unwrap(), "game".to_owned());
    let new = NewSession { id, session_type, now: clock.now(), region_id: None, password: None };
    Session::new(new, &Config::default().templates["game"])
}
