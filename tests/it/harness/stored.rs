//! Reads the content of a store directly, without the API.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rallypoint::domain::session::Status;
use rallypoint::domain::{Session, SessionId};
use rallypoint::records::StoredSession;
use rallypoint::records::keys;
use rallypoint::records::launch::NodeRecord;
use rallypoint::store::Key;
use tempfile::TempDir;

use super::Server;

/// The content of a store, to compare before and after. Without what belongs to no session and stays: the gates of
/// session types, the templates of the configuration, the audit, and the nodes that make matches.
pub async fn contents(server: &Server) -> BTreeMap<Key, Bytes> {
    let catalog = server.app.catalog();
    let is_gate = |key: &Key| catalog.templates.keys().any(|name| keys::parse_gate(name, key).is_some());
    let all = server.app.sessions.store().scan(&[0], &[], usize::MAX).await.unwrap();
    let is_of_audit = |key: &Key| {
        keys::parse_events(key).is_some()
            || keys::parse_events_of_player(key).is_some()
            || keys::parse_posted_events(key).is_some()
    };
    // A node that makes matches keeps its record for as long as it runs.
    let is_matcher = |key: &Key, value: &Bytes| {
        keys::parse_node(key).is_some() && NodeRecord::decode(value).is_ok_and(|node| node.matches)
    };
    let is_kept = |key: &Key| !is_gate(key) && !is_of_audit(key) && keys::parse_template(key).is_none();
    let kept = all.into_iter().filter(|(key, entry)| is_kept(key) && !is_matcher(key, &entry.value));
    kept.map(|(key, entry)| (key, entry.value)).collect()
}

/// The content of a store without the times of players' lists, which stay for some time after the last session.
pub async fn leftovers(server: &Server) -> BTreeMap<Key, Bytes> {
    let mut stored = contents(server).await;
    stored.retain(|key, _| keys::parse_list_changed(key).is_none());
    stored
}

/// The stored content without the deadlines of sessions: a read of a session can move its deadline.
pub fn without_deadlines(stored: &BTreeMap<Key, Bytes>) -> BTreeMap<&Key, &Bytes> {
    let any = SessionId::from(uuid::Uuid::nil());
    let kinds = [keys::deadline_of(&any)[0], keys::due(0, &any)[0]];
    stored.iter().filter(|(key, _)| !kinds.contains(&key[0])).collect()
}

/// All keys that must exist for the stored sessions.
pub fn keys_of_sessions(stored: &BTreeMap<Key, Bytes>) -> BTreeSet<Key> {
    let mut expected = BTreeSet::new();
    let (from, to) = keys::all_sessions();
    for (key, value) in stored.range(from..to) {
        let session = StoredSession::decode(value).unwrap().session;
        expected.insert(key.clone());
        expected.extend(index_keys(&session));
        let deadline = keys::deadline_of(&session.id);
        let due_ms = i64::from_be_bytes(stored[&deadline].as_ref().try_into().unwrap());
        expected.insert(keys::due(due_ms, &session.id));
        expected.insert(deadline);
        // The presence record exists only once a node has synced heartbeats of this session.
        let last_seen = keys::last_seen(&session.id);
        if stored.contains_key(&last_seen) {
            expected.insert(last_seen);
        }
    }
    expected
}

/// The index keys of a session, without its own key and its deadline's.
fn index_keys(session: &Session) -> BTreeSet<Key> {
    let id = &session.id;
    let mut expected = BTreeSet::new();
    for (player, entry) in &session.players {
        expected.insert(keys::membership(*player, id));
        // A reservation alone does not change the time of the player's list.
        if entry.status != Status::Reserved {
            expected.insert(keys::list_changed(*player));
        }
        expected.extend(entry.player_id.map(keys::player_of_id));
    }
    for (platform, linked) in &session.platform_sessions {
        expected.insert(keys::platform_session(*platform, &linked.id));
    }
    if session.is_open_with_room() {
        expected.insert(keys::open(&session.session_type, session.created.as_millisecond(), id));
    }
    if let Some(code) = &session.short_code {
        expected.insert(keys::short_code(code));
    }
    if let Some(listing) = &session.listing {
        expected.insert(keys::listing(&session.session_type, listing.sequence));
    }
    if let Some(allocation) = session.instance.as_ref().and_then(|found| found.allocation_id.as_deref()) {
        expected.insert(keys::allocation(allocation));
    }
    if let Some(ticket) = &session.matchmaking {
        let enqueued_ms = ticket.enqueued.as_millisecond();
        expected.extend(ticket.profile_ids.iter().map(|profile| keys::queued(profile, enqueued_ms, id)));
        let active = session.players.iter().filter(|(_, entry)| entry.status.is_active());
        expected.extend(active.map(|(player, _)| keys::queued_player(*player)));
    }
    if let Some(match_made) = &session.match_made {
        expected.insert(keys::match_of(&match_made.results.match_id));
    }
    if let Some(backfill) = &session.backfill
        && session.wanted_places().iter().any(|wanted| *wanted > 0)
    {
        expected.insert(keys::backfill(&backfill.profile_id, backfill.created.as_millisecond(), id));
    }
    let has_invites = session.players.values().any(|entry| !entry.status.is_active());
    let has_health = session.instance.as_ref().is_some_and(|found| found.health.is_some());
    let is_of_matchmaking = session.matchmaking.is_some() || session.backfill.is_some();
    if has_invites || has_health || session.culling_timeout_s.is_some() || is_of_matchmaking {
        expected.insert(keys::watched(id));
    }
    expected
}

/// Writes an entry of the embedded store's `meta` keyspace, such as `format`, as a server of another version would.
pub fn set_meta(dir: &TempDir, key: &str, value: &[u8]) {
    let db = fjall::Database::builder(dir.path().join("store")).open().unwrap();
    db.keyspace("meta", Default::default).unwrap().insert(key, value).unwrap();
    db.persist(fjall::PersistMode::SyncAll).unwrap();
}
