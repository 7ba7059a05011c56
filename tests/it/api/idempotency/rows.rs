//! Every operation that takes a key stores its answer in the commit of its effect. A new operation fails these tests
//! until `changes.rs` has a request for it.

use http::Method;
use rallypoint::api;
use rallypoint::http::surface::Surface;
use rallypoint::notifications;
use rallypoint::records::keys;
use rallypoint::store::Key;

use super::{is_repeat_of, keyed, replayed};
use crate::api::changes::{Scenario, World};
use crate::harness::contents;

fn is_effect(key: &Key) -> bool {
    let (start, end) = keys::all_sessions();
    let is_session = (start..end).contains(key);
    let is_of_deserters = keys::parse_deserter(key).is_some() || keys::parse_deserters_cleared(key).is_some();
    is_session || is_of_deserters || keys::parse_inbox(key).is_some() || keys::parse_events(key).is_some()
}

/// The surfaces whose changes take keys.
fn surfaces() -> [Surface; 2] {
    [api::surface(), notifications::surface(false)]
}

#[tokio::test]
async fn each_operation_stores_its_answer_in_the_commit_of_its_effect() {
    let operations: Vec<_> = surfaces().into_iter().flat_map(|surface| surface.operations).collect();
    for operation in operations.iter().filter(|operation| operation.takes_key) {
        let id = operation.id;
        let world = World::new().await;
        let Scenario { caller, method, path, body } = world.scenario(id).await;
        let body = (!body.is_null()).then_some(&body);
        let mut commits = world.server.app.sessions.store().watch();
        let first = keyed(caller, "k", (method.clone(), &path), body).await;
        assert_eq!(first.status, operation.success, "{id}: {}", first.body);
        let (mut answers, mut effects) = (0, 0);
        while let Ok(commit) = commits.try_recv() {
            let stores_answer = commit.keys.iter().any(|key| keys::is_answer(key));
            let is_effective = commit.keys.iter().any(is_effect);
            assert!(!is_effective || stores_answer, "{id} has a part of its effect in a commit of its own");
            answers += usize::from(stores_answer);
            effects += usize::from(is_effective);
        }
        assert_eq!((answers, effects), (1, 1), "{id}: commits with answer and effect");

        let before = contents(&world.server).await;
        let repeat = keyed(caller, "k", (method, &path), body).await;
        is_repeat_of(&first, &repeat);
        assert_eq!(contents(&world.server).await, before, "{id}");
    }
}

#[test]
fn every_change_takes_a_key_but_those_that_repeat_safely() {
    let without: Vec<_> = surfaces()
        .into_iter()
        .flat_map(|surface| surface.operations)
        .filter(|operation| operation.method != Method::GET && !operation.takes_key)
        .map(|operation| operation.id)
        .collect();
    assert_eq!(without, ["create_matchmade_session", "instance_health_check"]);
}

#[tokio::test]
async fn without_a_key_nothing_is_stored_for_repeats() {
    let world = World::new().await;
    let stored = contents(&world.server).await;
    assert!(!stored.keys().any(|key| keys::is_answer(key)));
    let reply = world.bob.leaves(&world.game).await.expect(204);
    assert_eq!(replayed(&reply), None);
}
