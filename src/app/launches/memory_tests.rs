//! What a node remembers of the launches that other nodes serve.

use super::*;
use crate::auth::{DevelopmentKey, KeyRing};
use crate::config::Config;
use crate::domain::{SessionId, fixtures};
use crate::records::launch::{self, StoredLaunch};
use crate::runtime::server;
use crate::store::{Memory, Store};

#[tokio::test]
async fn a_node_without_allocators_forgets_the_launches_of_others() {
    let (store, clock) = (Store::Memory(Memory::default()), Clock::manual(fixtures::created()));
    let (entropy, settings) = (Entropy::seeded(1), LaunchSettings::default());
    let dir = tempfile::tempdir().unwrap();
    let key = DevelopmentKey::load_or_create(dir.path(), &entropy).unwrap();
    let ring = Arc::new(KeyRing::new(key.key_set()));
    let app = server::new_app(
        &Config::default(),
        store,
        ring,
        settings,
        (clock.clone(), entropy.clone()),
        Arc::default(),
    );
    let (store, launches) = (app.sessions.store(), &app.launches);
    let now_ms = clock.now_ms();
    let mut records = Vec::new();
    for _ in 0..100 {
        let link = LaunchLink { id: entropy.uuid(), allocator: "others".into(), region: None };
        let wanted =
            LaunchRecord::wanted(&link, &SessionId::parse("s").unwrap(), &fixtures::instance(None, None));
        let claimed = wanted.claimed(entropy.uuid(), entropy.uuid(), now_ms, &Default::default());
        let record = claimed.released(now_ms, false, None).unwrap();
        let version = store.commit(launch::create(&record)).await.unwrap();
        records.push(StoredLaunch { record, version });
    }
    launches.round().await.unwrap();
    for stored in &records {
        store.commit(launch::replace(stored, None)).await.unwrap();
    }
    clock.advance(Duration::from_secs(10));
    launches.round().await.unwrap();
    assert_eq!((lock(&launches.waits).len(), lock(&launches.by_allocation).len()), (0, 0));
}
