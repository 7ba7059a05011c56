//! A change of several sessions is one commit, whatever happens beside it.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt as _;

use super::super::change::tests::two_sessions;
use super::super::fixtures::{clock, new_session, node};
use super::*;
use crate::app::Update;
use crate::domain::fixtures::{player, ticket};
use crate::records::keys;
use crate::store::Memory;

fn update(ids: &[SessionId], new_id: Option<&SessionId>) -> UpdateMany {
    UpdateMany { ids: ids.to_vec(), new_id: new_id.cloned(), hook: None, cause: Cause::Server }
}

/// Sets the region of each session.
fn set_regions(many: &mut Many, region: &str) {
    for session in many.sessions.iter_mut().flatten() {
        session.region_id = Some(region.into());
    }
}

async fn region(sessions: &Sessions, id: &SessionId) -> Option<String> {
    sessions.find_latest(id).await.unwrap().and_then(|cached| cached.session.region_id.clone())
}

#[tokio::test]
async fn sessions_change_and_a_new_one_is_created_in_one_commit() {
    let (sessions, ids, seen) = two_sessions().await;
    let new_id = SessionId::parse("new").unwrap();
    let id = new_id.clone();
    let changed = sessions.update_many(update(&ids, Some(&new_id)), move |many| {
        set_regions(many, "eu");
        many.new = Some(new_session(id.as_str(), &clock()));
        Ok(())
    });
    assert_eq!(changed.await.unwrap().new.unwrap().session.id, new_id);
    assert_eq!(*seen.lock().unwrap(), ["new", "one", "other"]);
    let versions = [&ids[0], &ids[1], &new_id].map(|id| sessions.find_latest(id));
    let found = try_join_all(versions).await.unwrap();
    let version = |position: usize| found[position].as_ref().unwrap().version;
    assert!(version(0) == version(1) && version(1) == version(2), "one commit");
}

#[tokio::test]
async fn a_refusal_changes_nothing() {
    let (sessions, ids, seen) = two_sessions().await;
    let refused = sessions.update_many(update(&ids, None), |many| {
        set_regions(many, "eu");
        Err::<(), _>(Refused::TeamFull)
    });
    assert!(matches!(refused.await, Err(Failure::Refused(Refused::TeamFull))));
    assert_eq!((region(&sessions, &ids[0]).await, region(&sessions, &ids[1]).await), (None, None));
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_rule_sees_which_sessions_are_gone_and_need_not_change_any() {
    let (sessions, ids, seen) = two_sessions().await;
    let gone = SessionId::parse("gone").unwrap();
    let many = [ids[0].clone(), gone, ids[1].clone()];
    let changed = sessions.update_many(
        UpdateMany { ids: many.to_vec(), new_id: None, hook: None, cause: Cause::Server },
        |many| Ok(many.sessions.iter().map(Option::is_some).collect::<Vec<_>>()),
    );
    assert_eq!(changed.await.unwrap().result, [true, false, true]);
    assert!(seen.lock().unwrap().is_empty(), "nothing was committed");
}

#[tokio::test]
async fn a_change_of_one_of_them_by_another_node_repeats_the_rule_on_fresh_data() {
    let store = Memory::shared();
    let (sessions, other_node) = (node(&store, &clock()), node(&store, &clock()));
    let ids = ["one", "other"].map(|id| SessionId::parse(id).unwrap());
    for id in &ids {
        sessions.create(new_session(id.as_str(), &clock())).await.unwrap();
    }
    let (changed_id, mut runs) = (ids[1].clone(), 0);
    let many = UpdateMany { ids: ids.to_vec(), new_id: None, hook: None, cause: Cause::Server };
    let changed = sessions.update_many(many, move |many| {
        runs += 1;
        let found = many.sessions[1].as_ref().and_then(|session| session.region_id.clone());
        set_regions(many, "eu");
        if runs == 1 {
            let rename = |session: &mut Session| {
                session.region_id = Some("us".to_owned());
                Ok(())
            };
            let renamed = other_node.update(&changed_id, Update::by_server(false), rename).now_or_never();
            renamed.expect("nodes share no lock, and a store in memory commits at once").unwrap();
        }
        Ok((runs, found))
    });
    assert_eq!(changed.await.unwrap().result, (2, Some("us".to_owned())));
    assert_eq!(region(&sessions, &ids[1]).await.as_deref(), Some("eu"));
}

#[tokio::test]
async fn a_change_that_is_always_too_late_is_given_up_after_eight_attempts() {
    let store = Memory::shared();
    let (sessions, other_node) = (node(&store, &clock()), node(&store, &clock()));
    let id = SessionId::parse("one").unwrap();
    sessions.create(new_session(id.as_str(), &clock())).await.unwrap();
    let runs = Arc::new(AtomicUsize::new(0));
    let (counted, of_other) = (Arc::clone(&runs), id.clone());
    let late = sessions.update_many(update(&[id], None), move |many| {
        counted.fetch_add(1, Ordering::Relaxed);
        set_regions(many, "eu");
        let count = |session: &mut Session| {
            session.last_sequence += 1;
            Ok(())
        };
        let changed = other_node.update(&of_other, Update::by_server(false), count).now_or_never();
        changed.expect("nodes share no lock, and a store in memory commits at once").unwrap();
        Ok(())
    });
    assert!(matches!(late.await, Err(Failure::Contended)));
    assert_eq!(runs.load(Ordering::Relaxed), ATTEMPTS_MAX);
}

#[tokio::test]
async fn a_change_of_the_party_ends_its_ticket() {
    let (sessions, ids, _) = two_sessions().await;
    let queued = sessions.update_many(update(&ids, None), |many| {
        for (session, number) in many.sessions.iter_mut().flatten().zip([1, 2]) {
            session.matchmaking = Some(Arc::new(ticket(&[number], 0)));
        }
        Ok(())
    });
    queued.await.unwrap();
    let entries = [1, 2].map(|number| keys::queued_player(player(number)));
    for entry in &entries {
        assert!(sessions.store.get(entry).await.unwrap().is_some());
    }
    let changed = sessions.update_many(update(&ids, None), |many| {
        set_regions(many, "eu");
        Ok(())
    });
    changed.await.unwrap();
    for (id, entry) in ids.iter().zip(&entries) {
        assert_eq!(sessions.get_latest(id).await.unwrap().session.matchmaking, None);
        assert!(sessions.store.get(entry).await.unwrap().is_none());
    }
}

/// Changes of overlapping sets of sessions, in any order of ids, all end.
#[tokio::test]
async fn changes_of_the_same_sessions_in_any_order_do_not_wait_in_a_circle() {
    let (sessions, ids, _) = two_sessions().await;
    let count = |many: &mut Many| {
        for session in many.sessions.iter_mut().flatten() {
            session.last_sequence += 1;
        }
        Ok(())
    };
    let turned = [ids[1].clone(), ids[0].clone()];
    let changes =
        (0..50).flat_map(|_| [&ids, &turned]).map(|ids| sessions.update_many(update(ids, None), count));
    try_join_all(changes).await.unwrap();
    for id in &ids {
        assert_eq!(sessions.get_latest(id).await.unwrap().session.last_sequence, 100);
    }
}
