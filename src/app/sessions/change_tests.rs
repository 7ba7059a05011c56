//! One commit that changes several sessions: all of them change, or none. A change that depends on another session.

use std::sync::Mutex;

use futures_util::FutureExt as _;

use super::*;
use crate::app::sessions::fixtures::{LIMITS, clock, new_session, observed_node};
use crate::store::Memory;

/// Two sessions, `one` and `other`, and the ids that the observer gets.
pub(in crate::app::sessions) async fn two_sessions()
-> (Arc<Sessions>, [SessionId; 2], Arc<Mutex<Vec<String>>>) {
    let (clock, seen) = (clock(), Arc::new(Mutex::new(Vec::new())));
    let observer = {
        let seen = Arc::clone(&seen);
        move |session: &Session| seen.lock().unwrap().push(session.id.to_string())
    };
    let sessions = observed_node(LIMITS, &Memory::default(), &clock, observer);
    for id in ["one", "other"] {
        sessions.create(new_session(id, &clock)).await.unwrap();
    }
    let ids = ["one", "other"].map(|id| SessionId::parse(id).unwrap());
    seen.lock().unwrap().clear();
    (sessions, ids, seen)
}

/// A plan that sets the region of each session.
async fn plan_regions(sessions: &Sessions, ids: &[SessionId], region: &str) -> Plan {
    let mut joined: Option<Plan> = None;
    for id in ids {
        let before = sessions.get_latest(id).await.unwrap();
        let mut after = before.session.clone();
        after.region_id = Some(region.to_owned());
        let plan =
            sessions.plan_change(&before, after, Cause::Server.into(), usize::MAX, None).await.unwrap();
        joined = Some(match joined {
            None => plan,
            Some(first) => first.and(plan),
        });
    }
    joined.unwrap()
}

async fn regions(sessions: &Sessions, ids: &[SessionId]) -> Vec<Option<String>> {
    let mut regions = Vec::new();
    for id in ids {
        regions.push(sessions.get(id).await.unwrap().session.region_id.clone());
    }
    regions
}

#[tokio::test]
async fn joined_plans_are_one_commit() {
    let (sessions, ids, seen) = two_sessions().await;
    let both = plan_regions(&sessions, &ids, "eu").await;
    assert!(sessions.commit(both).await.unwrap().is_some());
    assert_eq!(regions(&sessions, &ids).await, [Some("eu".to_owned()), Some("eu".to_owned())]);
    assert_eq!(*seen.lock().unwrap(), ["one", "other"]);

    // A change of one session is committed first, so the joined plan changes neither.
    let both = plan_regions(&sessions, &ids, "us").await;
    let first = plan_regions(&sessions, &ids[1..], "asia").await;
    assert!(sessions.commit(first).await.unwrap().is_some());
    assert!(sessions.commit(both).await.unwrap().is_none());
    assert_eq!(regions(&sessions, &ids).await, [Some("eu".to_owned()), Some("asia".to_owned())]);
}

/// The region that one session gets by a change that takes it from the other one, which changes meanwhile. Then the
/// number of times that the rule has run.
async fn copy_region_while_it_changes(
    sessions: &Arc<Sessions>,
    [one, other]: &[SessionId; 2],
) -> (Option<String>, usize) {
    let (changing, other_id, mut runs) = (Arc::clone(sessions), other.clone(), 0);
    let rule = move |session: &mut Session, beside: &Session| {
        runs += 1;
        session.region_id.clone_from(&beside.region_id);
        if runs == 1 {
            // After the read of the other session, and before the commit. A store in memory commits at once.
            let rename = |session: &mut Session| {
                session.region_id = Some("us".to_owned());
                Ok(())
            };
            let renamed = changing.update(&other_id, Update::by_server(false), rename).now_or_never();
            renamed.expect("the other session is not locked").unwrap();
        }
        Ok(runs)
    };
    let (runs, cached) = sessions.update_beside(one, other, Update::by_caller(true), rule).await.unwrap();
    (cached.session.region_id.clone(), runs)
}

#[tokio::test]
async fn a_change_beside_another_session_is_judged_by_its_version_at_the_commit() {
    let (sessions, ids, _) = two_sessions().await;
    let eu = plan_regions(&sessions, &ids[1..], "eu").await;
    assert!(sessions.commit(eu).await.unwrap().is_some());
    assert_eq!(copy_region_while_it_changes(&sessions, &ids).await, (Some("us".to_owned()), 2));
}

/// However often the other session changes: on one node, a change beside it gets its turn.
#[tokio::test]
async fn a_change_beside_a_busy_session_ends() {
    let (sessions, ids, _) = two_sessions().await;
    let (changing, other, mut changes) = (Arc::clone(&sessions), ids[1].clone(), 0);
    let rule = move |session: &mut Session, beside: &Session| {
        session.last_sequence = 1 + beside.last_sequence;
        let count = |session: &mut Session| {
            session.last_sequence += 1;
            Ok(())
        };
        // Does nothing while the lock of the other session is held.
        let counted = changing.update(&other, Update::by_server(false), count).now_or_never();
        changes += u64::from(counted.is_some());
        Ok(changes)
    };
    let (changes, cached) =
        sessions.update_beside(&ids[0], &ids[1], Update::by_caller(true), rule).await.unwrap();
    assert_eq!((changes, cached.session.last_sequence), (8, 9));
}

#[tokio::test]
async fn a_change_beside_a_session_that_ends_meanwhile_is_refused() {
    let (sessions, ids, _) = two_sessions().await;
    let (ending, other) = (Arc::clone(&sessions), ids[1].clone());
    let rule = move |session: &mut Session, _: &Session| {
        session.region_id = Some("eu".to_owned());
        let end = |session: &mut Session| {
            session.end();
            Ok(())
        };
        let ended = ending.update(&other, Update::by_server(false), end).now_or_never();
        ended.expect("the other session is not locked").unwrap();
        Ok(())
    };
    let refused = sessions.update_beside(&ids[0], &ids[1], Update::by_caller(true), rule).await;
    assert!(matches!(refused, Err(Failure::Refused(Refused::SessionNotFound))));
    assert_eq!(regions(&sessions, &ids[..1]).await, [None]);
}
