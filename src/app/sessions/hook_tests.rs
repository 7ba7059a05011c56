//! Changes with a hook.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::app::sessions::Sessions;
use crate::app::{LaunchHooks, Limits, Update};
use crate::config::Config;
use crate::domain::session::NewSession;
use crate::domain::{Refused, Session, SessionId};
use crate::env::{Clock, Entropy};
use crate::store::{Memory, Store};
use crate::telemetry::Metrics;

/// Where the hook of these tests writes.
const BESIDE: &[u8] = b"beside";

/// A node on a store.
fn node(store: Store, metrics: Arc<Metrics>) -> Arc<Sessions> {
    let limits = Limits {
        idle_ms: 60_000,
        cache_bytes: 1 << 20,
        session_bytes_max: 1 << 20,
        sessions_per_player_max: 1,
        invites_per_player_max: 1,
        invites_per_inviter_max: 1,
        staleness_ms_max: 0,
    };
    let clock = Clock::manual("2026-11-24T12:00:00Z".parse().unwrap());
    let time_and_randomness = (clock, Entropy::seeded(1));
    Arc::new(Sessions::new(store, limits, time_and_randomness, metrics, LaunchHooks::default(), |_| ()))
}

async fn one_session(metrics: &Arc<Metrics>) -> (Arc<Sessions>, SessionId) {
    let sessions = node(Store::Memory(Memory::default()), Arc::clone(metrics));
    let id = SessionId::parse("one").unwrap();
    let now = "2026-11-24T12:00:00Z".parse().unwrap();
    let new =
        NewSession { id: id.clone(), session_type: "game".into(), now, region_id: None, password: None };
    sessions.create(Session::new(new, &Config::default().templates["game"])).await.unwrap();
    (sessions, id)
}

/// Demands a session whose region is this one, and writes the region after the change beside it, once.
struct Demand {
    region: Option<&'static str>,
    judged: AtomicUsize,
}

impl Demand {
    fn region(region: Option<&'static str>) -> Arc<Self> {
        Arc::new(Self { region, judged: AtomicUsize::new(0) })
    }
}

impl ChangeHook<()> for Demand {
    fn judge(&self, before: &CachedSession) -> Verdict {
        self.judged.fetch_add(1, Ordering::Relaxed);
        if before.session.region_id.as_deref() == self.region {
            return Verdict::Holds;
        }
        Verdict::Fails(Box::new(Mismatch { current: None, has_weak_match: true }))
    }

    fn writes(&self, (): &(), after: &CachedSession) -> Result<Batch, Failure> {
        let region = after.session.region_id.clone().unwrap_or_default();
        Ok(Batch::default().expect_absent(BESIDE.to_vec()).put(BESIDE.to_vec(), region.into_bytes()))
    }
}

async fn set(
    sessions: &Arc<Sessions>,
    id: &SessionId,
    hook: Arc<Demand>,
    region: &'static str,
) -> Result<(), Failure> {
    let rule = move |session: &mut Session| {
        session.region_id = Some(region.into());
        if region == "none" { Err(Refused::RegionNotFound) } else { Ok(()) }
    };
    sessions.update(id, Update::by_caller(true).with(Some(hook)), rule).await.map(drop)
}

#[tokio::test]
async fn what_a_hook_writes_is_in_the_commit_of_the_change() {
    let metrics = Arc::new(Metrics::new());
    let (sessions, id) = one_session(&metrics).await;
    set(&sessions, &id, Demand::region(None), "eu").await.unwrap();
    let beside = sessions.store().get(BESIDE).await.unwrap().unwrap();
    assert_eq!(&*beside.value, b"eu", "the session after the change");
    let stored = sessions.get(&id).await.unwrap();
    assert_eq!(stored.version, beside.version, "one commit");

    // The expectation of the hook does not hold any more, so nothing of the change is stored.
    let hook = Demand::region(Some("eu"));
    let failed = set(&sessions, &id, Arc::clone(&hook), "us").await;
    assert!(matches!(failed, Err(Failure::Contended)), "{failed:?}");
    assert!(hook.judged.load(Ordering::Relaxed) > 1, "each attempt is judged");
    assert_eq!(sessions.get(&id).await.unwrap().session.region_id.as_deref(), Some("eu"));
}

#[tokio::test]
async fn a_change_of_nothing_has_the_writes_of_its_hook() {
    let metrics = Arc::new(Metrics::new());
    let (sessions, id) = one_session(&metrics).await;
    let rule = |session: &mut Session| {
        session.region_id = Some("eu".into());
        Ok(())
    };
    sessions.update(&id, Update::by_caller(true), rule).await.unwrap();
    let before = sessions.get(&id).await.unwrap();
    set(&sessions, &id, Demand::region(Some("other")), "eu").await.unwrap();
    assert_eq!(&*sessions.store().get(BESIDE).await.unwrap().unwrap().value, b"eu");
    assert_eq!(sessions.get(&id).await.unwrap().version, before.version, "the session is not written");
    assert!(metrics.render().contains("rallypoint_preconditions_total{result=\"already_so\"} 1\n"));
}

#[tokio::test]
async fn a_change_of_what_the_caller_does_not_know_writes_nothing() {
    let metrics = Arc::new(Metrics::new());
    let (sessions, id) = one_session(&metrics).await;
    for region in ["eu", "none"] {
        let failed = set(&sessions, &id, Demand::region(Some("other")), region).await;
        let Err(Failure::PreconditionFailed(mismatch)) = failed else { panic!("{failed:?}") };
        assert!(mismatch.has_weak_match, "that of the hook");
    }
    assert_eq!(sessions.store().get(BESIDE).await.unwrap(), None);
    assert_eq!(sessions.get(&id).await.unwrap().session.region_id, None);
    let refused = set(&sessions, &id, Demand::region(None), "none").await;
    assert!(matches!(refused, Err(Failure::Refused(Refused::RegionNotFound))), "{refused:?}");
    assert!(metrics.render().contains("rallypoint_preconditions_total{result=\"failed\"} 2\n"));
}
