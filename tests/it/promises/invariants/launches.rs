//! The stored launches and the instances of sessions agree.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use rallypoint::domain::launch::Stage;
use rallypoint::records::launch::{self, live_launch};
use rallypoint::records::{StoredSession, keys};
use rallypoint::store::Key;

/// Checks each launch and its instance. Returns the keys that must exist for the launches: their own, their places in the
/// queue, and the entries by which the servers of players are counted.
pub fn check(stored: &BTreeMap<Key, Bytes>) -> Result<BTreeSet<Key>, TestCaseError> {
    let (from, to) = keys::all_sessions();
    let sessions = stored.range(from..to).map(|(_, value)| StoredSession::decode(value).unwrap().session);
    let sessions: Vec<_> = sessions.collect();
    let launched = sessions.iter().filter_map(|session| Some((session, live_launch(session)?)));
    let mut launched: BTreeMap<_, _> =
        launched.map(|(session, (link, instance))| (link.id, (session, link, instance))).collect();
    let mut expected = BTreeSet::new();
    let (from, to) = keys::all_launches();
    for (key, value) in stored.range(from..to) {
        let record = launch::decode(keys::parse_launch(key).unwrap(), value).unwrap();
        expected.insert(key.clone());
        expected.insert(keys::launch_due(record.due_ms, record.id));
        expected
            .extend(record.player.map(|player| keys::launch_of_player(player, &record.allocator, record.id)));
        // A change of the health to `unknown` asks for a look, which may not have been made yet.
        let (start, end) = keys::launches_due_until(i64::MAX - 1);
        let in_queue = stored.range(start..end).map(|(key, _)| key);
        let is_own = |key: &&Key| keys::parse_launch_due(key).is_some_and(|(_, id)| id == record.id);
        expected.extend(in_queue.filter(is_own).cloned());
        let is_releasing = matches!(record.stage, Stage::Releasing(_));
        let Some((session, link, instance)) = launched.remove(&record.id) else {
            prop_assert!(is_releasing, "no instance wants it: {record:?}");
            continue;
        };
        prop_assert!(!is_releasing, "its instance has not ended: {record:?}");
        prop_assert_eq!(
            (&session.id, instance.instance_id.as_str(), &link.allocator, instance.registrar),
            (&record.session_id, record.instance_id.as_str(), &record.allocator, record.player)
        );
        // The index entry of this allocation is one of the session's keys.
        prop_assert_eq!(instance.allocation_id.as_deref(), record.allocation_id());
        prop_assert_eq!(instance.dedicated_host.is_some(), record.handle().is_some());
    }
    prop_assert!(launched.is_empty(), "instances without a launch: {:?}", launched);
    Ok(expected)
}
