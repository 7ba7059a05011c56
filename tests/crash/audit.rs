//! Looks into the store itself, for what no answer shows.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use rallypoint::app::index;
use rallypoint::store::{Embedded, Key, Store, keys};

/// Everything that is stored and does not follow from a session, and everything that follows and is not stored.
pub async fn leftovers(data_dir: &Path) -> Vec<String> {
    let store = Store::Embedded(Embedded::open(data_dir).unwrap());
    let stored = store.scan(&[0], &[], usize::MAX).await.unwrap();
    let stored: BTreeMap<Key, Bytes> = stored.into_iter().map(|(key, entry)| (key, entry.value)).collect();
    let mut expected = BTreeMap::new();
    let (from, to) = keys::all_sessions();
    for (_, value) in stored.range(from..to) {
        let session = index::decode(value).unwrap();
        expected.extend(index::plan(None, &session).unwrap().put);
        let deadline = keys::deadline_of(&session.id);
        if let Some(due) = stored.get(&deadline) {
            let due_ms = i64::from_be_bytes(due.as_ref().try_into().unwrap());
            expected.insert(keys::due(due_ms, &session.id), Bytes::new());
            expected.insert(deadline, due.clone());
        }
    }
    let differ = stored.iter().filter(|(key, value)| expected.get(*key) != Some(value));
    let missing = expected.keys().filter(|key| !stored.contains_key(*key));
    let differ =
        differ.map(|(key, _)| format!("stored, and follows from no session: {}", key.escape_ascii()));
    differ.chain(missing.map(|key| format!("not stored: {}", key.escape_ascii()))).collect()
}
