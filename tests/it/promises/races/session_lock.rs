//! The session lock: a change that holds it completes, and watchers observe changes in order.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use rallypoint::app::LaunchHooks;
use rallypoint::app::{Limits, Sessions, Update};
use rallypoint::domain::{Refused, Session, SessionId};
use rallypoint::store::{Memory, Store};

use super::concurrently;
use crate::harness::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_change_whose_caller_disconnects_before_it_gets_the_lock_is_not_made() {
    let server = Server::new();
    let id = SessionId::parse(&server.player().creates("party").await).unwrap();
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel();
    let mut begun = Some(begun);
    let holds_on = move |_: &mut Session| {
        begun.take().map(|begun| begun.send(()));
        may_go_on.recv().unwrap();
        Ok(())
    };
    let (sessions, name) = (Arc::clone(&server.app.sessions), id.clone());
    let first =
        tokio::spawn(
            async move { sessions.update(&name, Update::by_caller(false), holds_on).await.map(drop) },
        );
    has_begun.await.unwrap();
    let change = |session: &mut Session| {
        session.region_id = Some("late".into());
        Ok(())
    };
    let mut second = Box::pin(server.app.sessions.update(&id, Update::by_caller(false), change));
    assert!((&mut second).now_or_never().is_none(), "it waits for the lock");
    drop(second);
    go_on.send(()).unwrap();
    first.await.unwrap().unwrap();
    // This change comes after all changes that wait for the lock.
    let look = |session: &mut Session| Ok(session.region_id.clone());
    assert_eq!(server.app.sessions.update(&id, Update::by_caller(false), look).await.unwrap().0, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_check_of_timeouts_that_is_broken_off_is_made_again() {
    let server = Server::over(Store::Memory(Memory::default()), |config| {
        config.templates.get_mut("party").unwrap().player_culling_timeout = Some(60);
    });
    let alice = server.player();
    let id = SessionId::parse(&alice.creates("party").await).unwrap();
    server.clock.advance(Duration::from_secs(61));
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel();
    let mut begun = Some(begun);
    let holds_on = move |_: &mut Session| {
        begun.take().map(|begun| begun.send(()));
        may_go_on.recv().unwrap();
        // A refused change is not observed, so it does not put the session into the queue.
        Err::<(), _>(Refused::TeamNotFound)
    };
    let (sessions, name) = (Arc::clone(&server.app.sessions), id.clone());
    let change =
        tokio::spawn(
            async move { sessions.update(&name, Update::by_caller(false), holds_on).await.is_err() },
        );
    has_begun.await.unwrap();
    assert!(server.app.presence.expire_inactive().now_or_never().is_none(), "it waits for the lock");
    go_on.send(()).unwrap();
    assert!(change.await.unwrap());
    assert!(server.app.sessions.find(&id).await.unwrap().is_some());
    server.app.presence.expire_inactive().await.unwrap();
    assert!(server.app.sessions.find(&id).await.unwrap().is_none(), "the session ends with its last player");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_are_observed_in_commit_order() {
    let store = Store::Memory(Memory::default());
    let server = Server::over(store.clone(), |_| {});
    let id = SessionId::parse(&server.player().creates("party").await).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let watcher = {
        let seen = Arc::clone(&seen);
        move |session: &Session| {
            // Lets other threads run, so that a wrong order would show.
            std::thread::yield_now();
            seen.lock().unwrap().push(session.teams[0].max_size);
        }
    };
    let sessions = Arc::new(Sessions::new(
        store,
        Limits { cache_bytes: 1 << 20, ..server.app.settings.limits },
        (server.clock.clone(), server.app.entropy.clone()),
        Arc::default(),
        LaunchHooks::default(),
        watcher,
    ));
    let changes = (0..200).map(|_| {
        let (sessions, id) = (Arc::clone(&sessions), id.clone());
        let grow = |session: &mut Session| {
            session.teams[0].max_size += 1;
            Ok(())
        };
        async move { sessions.update(&id, Update::by_caller(false), grow).await.map(drop).unwrap() }
    });
    concurrently(changes).await;
    assert_eq!(*seen.lock().unwrap(), (5..=204).collect::<Vec<_>>());
}
