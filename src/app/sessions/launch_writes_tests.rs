//! A launch is read together with its session.

use futures_util::FutureExt as _;

use super::*;
use crate::app::sessions::fixtures::{clock, new_session, node};
use crate::store::Memory;

#[tokio::test]
async fn a_launch_that_is_stored_but_not_yet_in_the_cache_is_not_read_as_unwanted() {
    let clock = clock();
    let sessions = node(&Memory::default(), &clock);
    let session = new_session("one", &clock);
    let session_id = session.id.clone();
    sessions.create(session).await.unwrap();

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
