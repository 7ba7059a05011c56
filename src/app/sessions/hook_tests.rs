//! Changes with a hook.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::app::Update;
use crate::app::sessions::Sessions;
use crate::app::sessions::fixtures::{clock, new_session, node};
use crate::domain::{Refused, Session, SessionId};
use crate::env::Clock;
use crate::records::keys;
use crate::store::Memory;

/// Where the hook of these tests writes.
const BESIDE: &[u8] = b"beside";

async fn one_session() -> (Clock, Arc<Sessions>, SessionId) {
    let clock = clock();
    let (sessions, session) = (node(&Memory::default(), &clock), new_session("one", &clock));
    let id = session.id.clone();
    sessions.create(session).await.unwrap();
    (clock, sessions, id)
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
    let (_, sessions, id) = one_session().await;
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
    let (_, sessions, id) = one_session().await;
    let rule = |session: &mut Session| {
        session.region_id = Some("eu".into());
        Ok(())
    };
    sessions.update(&id, Update::by_caller(true), rule).await.unwrap();
    let before = sessions.get(&id).await.unwrap();
    set(&sessions, &id, Demand::region(Some("other")), "eu").await.unwrap();
    assert_eq!(&*sessions.store().get(BESIDE).await.unwrap().unwrap().value, b"eu");
    assert_eq!(sessions.get(&id).await.unwrap().version, before.version, "the session is not written");
    assert!(sessions.metrics.render().contains("rallypoint_preconditions_total{result=\"already_so\"} 1\n"));
}

#[tokio::test]
async fn a_change_of_nothing_stores_the_writes_of_its_hook_with_the_deadline() {
    let (clock, sessions, id) = one_session().await;
    let deadline = async || sessions.store().get(&keys::deadline_of(&id)).await.unwrap().unwrap();
    set(&sessions, &id, Demand::region(None), "eu").await.unwrap();
    let (before, far) = (sessions.store().get(BESIDE).await.unwrap(), deadline().await);
    sessions.store().commit(Batch::default().delete(BESIDE.to_vec())).await.unwrap();

    // The deadline is near, so that it must be stored before the answer.
    clock.advance(Duration::from_secs(61));
    set(&sessions, &id, Demand::region(Some("eu")), "eu").await.unwrap();
    let (after, moved) = (sessions.store().get(BESIDE).await.unwrap(), deadline().await);
    assert!(after.is_some() && after != before && moved != far);
    assert_eq!(after.unwrap().version, moved.version, "one commit");

    // If the writes are refused, the deadline stays as it is.
    clock.advance(Duration::from_secs(61));
    let refused = set(&sessions, &id, Demand::region(Some("eu")), "eu").await;
    assert!(matches!(refused, Err(Failure::Contended)), "{refused:?}");
    assert_eq!(deadline().await, moved);
}

#[tokio::test]
async fn a_change_of_what_the_caller_does_not_know_writes_nothing() {
    let (_, sessions, id) = one_session().await;
    for region in ["eu", "none"] {
        let failed = set(&sessions, &id, Demand::region(Some("other")), region).await;
        let Err(Failure::PreconditionFailed(mismatch)) = failed else { panic!("{failed:?}") };
        assert!(mismatch.has_weak_match, "that of the hook");
    }
    assert_eq!(sessions.store().get(BESIDE).await.unwrap(), None);
    assert_eq!(sessions.get(&id).await.unwrap().session.region_id, None);
    let refused = set(&sessions, &id, Demand::region(None), "none").await;
    assert!(matches!(refused, Err(Failure::Refused(Refused::RegionNotFound))), "{refused:?}");
    assert!(sessions.metrics.render().contains("rallypoint_preconditions_total{result=\"failed\"} 2\n"));
}
