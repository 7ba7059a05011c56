//! Checks the content of the store directly, for faults that no answer shows.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use rallypoint::domain::Session;
use rallypoint::domain::launch::{LaunchRecord, Stage};
use rallypoint::records::keys;
use rallypoint::records::launch::{self, live_launch};
use rallypoint::records::{StoredSession, index};
use rallypoint::store::{Key, Store};
use uuid::Uuid;

/// The whole content of a store.
pub type Stored = BTreeMap<Key, Bytes>;

/// The whole content of a store, and the sessions in it. Closes the store.
pub async fn read(store: &Store) -> (Stored, Vec<Session>) {
    let stored = store.scan(&[0], &[], usize::MAX).await.unwrap();
    store.close().await.unwrap();
    let stored: Stored = stored.into_iter().map(|(key, entry)| (key, entry.value)).collect();
    let (from, to) = keys::all_sessions();
    let sessions =
        stored.range(from..to).map(|(_, value)| StoredSession::decode(value).unwrap().session).collect();
    (stored, sessions)
}

/// Keys that no session needs, and needed keys that are missing. The given numeric ids of players may stay stored.
pub fn leftovers(stored: &Stored, sessions: &[Session], players: &BTreeMap<i64, Uuid>) -> Vec<String> {
    let mut expected = kept_beside_sessions(stored, players);
    let mut wrong = numbered_anew(stored, sessions);
    let launches = launches(stored);
    expected.extend(launches.iter().flat_map(|record| launch::create(record).put));
    wrong.extend(without_launch(sessions, &launches));
    for session in sessions {
        expected.extend(index::plan(None, session, usize::MAX).unwrap().batch.put);
        let deadline = keys::deadline_of(&session.id);
        let Some(due) = stored.get(&deadline) else {
            wrong.push(format!("session {} has no deadline", session.id));
            continue;
        };
        let due_ms = i64::from_be_bytes(due.as_ref().try_into().unwrap());
        expected.insert(keys::due(due_ms, &session.id), Bytes::new());
        expected.insert(deadline, due.clone());
        // The presence record exists only once a node has synced heartbeats of this session.
        let last_seen = keys::last_seen(&session.id);
        if let Some(presence) = stored.get(&last_seen) {
            expected.insert(last_seen, presence.clone());
        }
    }
    let differ = stored.iter().filter(|(key, value)| expected.get(*key) != Some(value));
    let missing = expected.keys().filter(|key| !stored.contains_key(*key));
    wrong.extend(differ.map(|(key, _)| format!("stored, but needed by no session: {}", key.escape_ascii())));
    wrong.extend(missing.map(|key| format!("needed by a session, but not stored: {}", key.escape_ascii())));
    wrong
}

/// Entries that stay when sessions end: the players of numeric ids, the next listing number, the templates, the nodes, and
/// for some time the times of players' lists and the answers to repeated requests.
fn kept_beside_sessions(stored: &Stored, players: &BTreeMap<i64, Uuid>) -> Stored {
    let ids = players
        .iter()
        .map(|(id, player)| (keys::player_of_id(*id), Bytes::copy_from_slice(player.as_bytes())));
    let number = keys::next_listing_number();
    let number = stored.get(&number).map(|last| (number, last.clone()));
    let (from, to) = keys::all_templates();
    let templates = stored.range(from..to).map(|(key, value)| (key.clone(), value.clone()));
    let is_kept = |key: &Key| {
        let is_of_audit = keys::parse_events(key).is_some()
            || keys::parse_events_of_player(key).is_some()
            || keys::parse_posted_events(key).is_some();
        let is_of_node = keys::parse_node(key).is_some();
        keys::parse_list_changed(key).is_some() || keys::is_answer(key) || is_of_audit || is_of_node
    };
    let list_times =
        stored.iter().filter(|(key, _)| is_kept(key)).map(|(key, value)| (key.clone(), value.clone()));
    let kept = number.into_iter().chain(templates).chain(list_times);
    ids.filter(|(key, _)| stored.contains_key(key)).chain(kept).collect()
}

/// The launches. Each belongs to an instance, or stops a server.
fn launches(stored: &Stored) -> Vec<LaunchRecord> {
    let (from, to) = keys::all_launches();
    let launches = stored.range(from..to);
    launches.map(|(key, value)| launch::decode(keys::parse_launch(key).unwrap(), value).unwrap()).collect()
}

/// Instances that have lost their launch, and launches that belong to no instance and stop no server.
fn without_launch(sessions: &[Session], launches: &[LaunchRecord]) -> Vec<String> {
    let wanted = sessions.iter().filter_map(|session| Some((live_launch(session)?.0.id, &session.id)));
    let mut wanted: BTreeMap<_, _> = wanted.collect();
    let mut wrong = Vec::new();
    for record in launches {
        if wanted.remove(&record.id).is_none() && !matches!(record.stage, Stage::Releasing(_)) {
            wrong.push(format!("no session wants the launch {record:?}"));
        }
    }
    wrong.extend(wanted.iter().map(|(launch, id)| format!("session {id} has lost its launch {launch}")));
    wrong
}

/// Sessions whose listing number could be given to another session.
fn numbered_anew(stored: &Stored, sessions: &[Session]) -> Vec<String> {
    let next = stored.get(&keys::next_listing_number());
    let next = next.map_or(0, |next| u64::from_be_bytes(next.as_ref().try_into().unwrap()));
    let listed =
        sessions.iter().filter_map(|session| Some((&session.id, session.listing.as_ref()?.sequence)));
    let anew = listed.filter(|(_, number)| *number >= next);
    anew.map(|(id, number)| format!("session {id} is listing {number}, and the next will be {next}"))
        .collect()
}

/// The directory of the dedicated servers, which go on and change it.
const SERVERS: &str = "servers";

/// Copies a data directory in the state that a killed server left. The control socket of that server and the directories of
/// its dedicated servers are left out.
pub fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_name() == SERVERS {
            continue;
        }
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
