//! The size limit of stored sessions, and the size that a plan reports.

use std::iter;

use super::*;
use crate::config::Config;
use crate::domain::client::VersionCheck;
use crate::domain::limits::{CUSTOM_DATA_BYTES_MAX, CUSTOM_DATA_VALUE_CHARS_MAX};
use crate::domain::matchmaking::Claims;
use crate::domain::session::NewSession;
use crate::domain::session::join::{JoinPath, JoinRules, Joiner};
use crate::domain::{CustomData, Platform, fixtures};

fn session() -> Session {
    let new = NewSession {
        id: SessionId::parse("s").unwrap(),
        session_type: "game".into(),
        now: "2026-11-24T12:00:00.125Z".parse().unwrap(),
        region_id: Some("eu".into()),
        password: None,
    };
    Session::new(new, &Config::default().templates["game"])
}

/// A session with this many players, each with as much custom data as the contract allows.
fn full_session(players: u128) -> Session {
    let mut session = session();
    session.joinability.open = true;
    session.teams[0].max_size = 100;
    let value = "x".repeat(CUSTOM_DATA_VALUE_CHARS_MAX - 2);
    let entries = CUSTOM_DATA_BYTES_MAX / CUSTOM_DATA_VALUE_CHARS_MAX;
    let keys = (0..entries).map(|entry| format!("{entry:02}"));
    let custom_data: CustomData = keys.zip(iter::repeat(value)).collect();
    let rules = JoinRules {
        now: session.created,
        version_check: VersionCheck::Off,
        trust_friends: false,
        kicked_need_invite: true,
    };
    for player in 0..players {
        let joiner = Joiner {
            player: PlayerUuid(uuid::Uuid::from_u128(player)),
            player_id: None,
            client: None,
            team_id: Some(0),
            custom_data: Some(custom_data.clone()),
            password: None,
            friend: None,
            claims: Claims::new(),
        };
        session.join(&joiner, JoinPath::Session, rules).unwrap();
    }
    session
}

/// Size of a stored session in bytes.
fn bytes_of(session: &Session) -> usize {
    StoredSession::encode(session, &UnknownFields::default()).0.len()
}

#[test]
fn a_hundred_players_with_full_custom_data_fit_into_the_default_limit() {
    let bytes_max = Config::default().sessions.session_bytes_max;
    let session = full_session(100);
    let planned = plan(None, &session, bytes_max).unwrap();
    let key = keys::session(&session.id);
    let (_, stored) = planned.batch.put.iter().find(|(put, _)| *put == key).unwrap();
    assert!(stored.len() > 100 * CUSTOM_DATA_BYTES_MAX);
    assert_eq!(planned.stored_bytes, stored.len());
    assert!(StoredSession::decode(stored).unwrap().session == session);
}

#[test]
fn a_session_above_the_limit_may_only_shrink_or_end() {
    let (small, large) = (full_session(2), full_session(3));
    let bytes_max = bytes_of(&small);
    let change = |before: &Session, after: &Session, bytes_max: usize| {
        let before = Before { session: before, unknown: &UnknownFields::default(), version: Version(1) };
        plan(Some(before), after, bytes_max).map(drop)
    };
    assert_eq!(change(&full_session(1), &small, bytes_max), Ok(()));
    assert_eq!(plan(None, &large, bytes_max).map(drop), Err(Refused::SessionTooLarge));
    assert_eq!(change(&small, &large, bytes_max), Err(Refused::SessionTooLarge));
    assert_eq!(change(&large, &small, bytes_max - 1), Ok(()));
    let mut same_size = large.clone();
    same_size.region_id = Some("us".into());
    assert_eq!(change(&large, &same_size, bytes_max), Err(Refused::SessionTooLarge));
    same_size.ended = true;
    assert_eq!(change(&large, &same_size, bytes_max), Ok(()));
}

#[test]
fn a_ticket_has_an_entry_for_each_profile_and_each_player() {
    let mut before = fixtures::session("L1 M2 I3");
    let mut after = before.clone();
    let mut ticket = fixtures::ticket(&[1, 2], 5);
    ticket.profile_ids.push("q".into());
    let enqueued_ms = ticket.enqueued.as_millisecond();
    let queued = ["p", "q"].map(|profile| keys::queued(profile, enqueued_ms, &after.id));
    let players = [1, 2].map(|number| keys::queued_player(fixtures::player(number)));
    after.matchmaking = Some(Arc::new(ticket));
    let change = |before: &Session, after: &Session| {
        let before = Before { session: before, unknown: &UnknownFields::default(), version: Version(1) };
        plan(Some(before), after, usize::MAX).unwrap().batch
    };
    let is_entry = |key: &&Key| queued.contains(key) || players.contains(key);
    let joined = change(&before, &after);
    assert_eq!(joined.put.iter().map(|(key, _)| key).filter(is_entry).count(), 4);
    let absent = joined.expect.iter().filter(|(key, version)| is_entry(&key) && version.is_none());
    assert_eq!(absent.map(|(key, _)| key).collect::<Vec<_>>(), players.iter().collect::<Vec<_>>(), "unique");

    // What a matcher does not read leaves the entries as they are.
    before = after.clone();
    after.custom_data = CustomData::from([("a".to_owned(), "b".to_owned())]);
    let unrelated = change(&before, &after);
    assert!(!unrelated.put.iter().map(|(key, _)| key).chain(&unrelated.delete).any(|key| is_entry(&key)));
    fixtures::set_client(&mut after, 2, fixtures::client(Platform::PSN));
    let rewritten = change(&before, &after);
    assert_eq!(rewritten.put.iter().map(|(key, _)| key).filter(is_entry).count(), 2);
    after.ended = true;
    assert_eq!(change(&before, &after).delete.iter().filter(is_entry).count(), 4);
}
