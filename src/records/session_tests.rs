//! Stored sessions of this build, of older builds, and of newer builds that have more fields.

use std::sync::Arc;

use rmpv::Value;

use super::*;
use crate::config::Config;
use crate::domain::client::{Client, Input, VersionCheck};
use crate::domain::matchmaking::Claims;
use crate::domain::session::join::{JoinPath, JoinRules, Joiner};
use crate::domain::session::platform::PlatformSession;
use crate::domain::session::{NewSession, Player};
use crate::domain::{CustomData, Platform, PlatformSessionId, PlayerUuid, SessionId, fixtures};
use crate::store::StoreError;

/// The bytes of this uuid are not UTF-8: the lookup of a player's fields must not depend on that.
const ALICE: PlayerUuid = PlayerUuid(uuid::Uuid::from_u128(0xFFFE_FDFC_0000_4000_8000_0000_0000_0001));
const BOB: PlayerUuid = PlayerUuid(uuid::Uuid::from_u128(0x2222_2222_2222_4222_8222_2222_2222_2222));

/// A session with two players on two teams.
fn session() -> Session {
    let new = NewSession {
        id: SessionId::parse("s").unwrap(),
        session_type: "game".into(),
        now: "2026-11-24T12:00:00.125Z".parse().unwrap(),
        region_id: Some("eu".into()),
        password: None,
    };
    let mut session = Session::new(new, &Config::default().templates["game"]);
    session.joinability.open = true;
    session.teams.resize(2, session.teams[0].clone());
    let rules = JoinRules {
        now: session.created,
        version_check: VersionCheck::Off,
        trust_friends: false,
        kicked_need_invite: true,
    };
    for (player, team_id) in [(ALICE, 0), (BOB, 1)] {
        let (player_id, client, custom_data, password, friend) = (None, None, None, None, None);
        let (team_id, claims) = (Some(team_id), Claims::new());
        let joiner = Joiner { player, player_id, client, team_id, custom_data, password, friend, claims };
        session.join(&joiner, JoinPath::Session, rules).unwrap();
    }
    session
}

fn encode(session: &Session) -> Bytes {
    StoredSession::encode(session, &UnknownFields::default()).0
}

/// A stored session, changed as MessagePack without the types of this build, as a newer build could write it.
fn changed(stored: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value = rmpv::decode::read_value(&mut &stored[1..]).unwrap();
    change(&mut value);
    let mut changed = vec![stored[0]];
    rmpv::encode::write_value(&mut changed, &value).unwrap();
    changed
}

/// The value at a path of keys and indices; `None` if there is none.
fn at<'v>(value: &'v mut Value, path: &[Value]) -> Option<&'v mut Value> {
    let mut found = value;
    for step in path {
        found = match found {
            Value::Map(fields) => &mut fields.iter_mut().find(|(key, _)| key == step)?.1,
            Value::Array(items) => items.get_mut(usize::try_from(step.as_u64()?).ok()?)?,
            _ => return None,
        };
    }
    Some(found)
}

/// Inserts a field into the map at a path.
fn insert(value: &mut Value, path: &[Value], name: &str) {
    let Some(Value::Map(fields)) = at(value, path) else { panic!("no map at {path:?}") };
    fields.insert(0, (name.into(), Value::from(vec![Value::from(name), Value::Nil])));
}

/// For each path, whether the stored session has a field of this name there.
fn has_field(stored: &[u8], paths: &[Vec<Value>], name: &str) -> Vec<bool> {
    let mut value = rmpv::decode::read_value(&mut &stored[1..]).unwrap();
    let mut has = |path: &Vec<Value>| at(&mut value, &[&path[..], &[name.into()]].concat()).is_some();
    paths.iter().map(&mut has).collect()
}

fn player_key(player: PlayerUuid) -> Value {
    Value::from(player.0.as_bytes().as_slice())
}

/// Paths at which a newer build may have added a field: the session, a struct in it, an item of a list, values of a
/// map.
fn paths() -> Vec<Vec<Value>> {
    let players = Value::from("players");
    vec![
        vec![],
        vec!["joinability".into()],
        vec!["teams".into(), 1.into()],
        vec![players.clone(), player_key(ALICE)],
        vec![players, player_key(BOB)],
    ]
}

#[test]
fn sessions_in_the_current_and_the_older_format_are_read() {
    let session = session();
    let expected = StoredSession { session: session.clone(), unknown: UnknownFields::default() };
    assert_eq!(StoredSession::decode(&encode(&session)).unwrap(), expected);
    let before = [&[FORMAT_JSON], &*serde_json::to_vec(&session).unwrap()].concat();
    assert_eq!(StoredSession::decode(&before).unwrap(), expected);
}

#[test]
fn a_change_keeps_the_fields_of_a_newer_build() {
    let session = session();
    let newer = changed(&encode(&session), |value| {
        paths().iter().for_each(|path| insert(value, path, "newer"));
    });
    let read = StoredSession::decode(&newer).unwrap();
    assert_eq!(read.session, session);
    let mut after = read.session.clone();
    after.region_id = Some("us".into());
    let (stored, kept) = StoredSession::encode(&after, &read.unknown);
    assert_eq!(has_field(&stored, &paths(), "newer"), [true; 5]);
    assert_eq!(kept, read.unknown);
    // The stored form has them too, as after a restart.
    let again = StoredSession::decode(&stored).unwrap();
    assert_eq!((again.session, again.unknown), (after, kept));
}

#[test]
fn unknown_fields_of_removed_players_and_teams_are_dropped() {
    let newer = changed(&encode(&session()), |value| {
        paths().iter().for_each(|path| insert(value, path, "newer"));
    });
    let read = StoredSession::decode(&newer).unwrap();
    let mut after = read.session;
    after.leave(BOB, fixtures::created()).unwrap();
    after.teams.truncate(1);
    let (stored, kept) = StoredSession::encode(&after, &read.unknown);
    assert_eq!(has_field(&stored, &paths(), "newer"), [true, true, false, true, false]);
    // A player who comes back gets a new entry, without the unknown fields of the old one.
    let (stored, _) = StoredSession::encode(&session(), &kept);
    assert_eq!(has_field(&stored, &paths(), "newer"), [true, true, false, true, false]);
}

#[test]
fn unknown_fields_of_what_was_replaced_are_dropped() {
    let client = |version: &str| Client {
        version: version.into(),
        platform: Platform::Steam,
        input: Input::Gamepad,
        device_type: None,
        crossplay: None,
    };
    let platform_session = |id: &str| PlatformSession {
        id: PlatformSessionId::parse(id).unwrap(),
        platform_session_type: "party".into(),
        custom_data: CustomData::new(),
        participants: vec![ALICE],
    };
    let mut before = session();
    before.platform_sessions.insert(Platform::Steam, platform_session("one").into());
    Arc::make_mut(before.players.get_mut(&ALICE).unwrap()).client = Some(client("1.0"));
    let entry: Vec<Value> = vec!["players".into(), player_key(ALICE)];
    let paths =
        [[&entry[..], &["client".into()]].concat(), entry, vec!["platform_sessions".into(), "Steam".into()]];
    let newer = changed(&encode(&before), |value| {
        paths.iter().for_each(|path| insert(value, path, "newer"));
    });
    let read = StoredSession::decode(&newer).unwrap();

    let stored_after = |change: &dyn Fn(&mut Session)| {
        let mut after = read.session.clone();
        change(&mut after);
        has_field(&StoredSession::encode(&after, &read.unknown).0, &paths, "newer")
    };
    let alice = |session: &mut Session| Arc::make_mut(session.players.get_mut(&ALICE).unwrap()).clone();
    // Other changes keep all of them.
    assert_eq!(stored_after(&|session| session.region_id = Some("us".into())), [true; 3]);
    // A new client, in the same entry.
    let with_client = |session: &mut Session| {
        let entry = Player { client: Some(client("1.1")), ..alice(session) };
        session.players.insert(ALICE, entry.into());
    };
    assert_eq!(stored_after(&with_client), [false, true, true]);
    // A new entry, with the same client.
    let with_entry = |session: &mut Session| {
        let entry = Player { sequence: 9, ..alice(session) };
        session.players.insert(ALICE, entry.into());
    };
    assert_eq!(stored_after(&with_entry), [false, false, true]);
    // Another platform session of the same platform.
    let with_link = |session: &mut Session| {
        session.platform_sessions.insert(Platform::Steam, platform_session("two").into());
    };
    assert_eq!(stored_after(&with_link), [true, true, false]);
    // The same platform session with other participants.
    let without_participants = |session: &mut Session| {
        session.platform_sessions.get_mut(&Platform::Steam).unwrap().participants.clear();
    };
    assert_eq!(stored_after(&without_participants), [true; 3]);
}

#[test]
fn a_known_field_has_the_value_of_the_last_change() {
    let mut session = session();
    session.region_id = None;
    let newer = changed(&encode(&session), |value| {
        insert(value, &[], "newer");
        // A known field without a value. This build leaves it out; the other build writes nil.
        let Value::Map(fields) = value else { panic!("a session is a map") };
        fields.push(("region_id".into(), Value::Nil));
    });
    let mut read = StoredSession::decode(&newer).unwrap();
    for region_id in [Some("us".to_owned()), None] {
        read.session.region_id.clone_from(&region_id);
        let (stored, _) = StoredSession::encode(&read.session, &read.unknown);
        assert_eq!(has_field(&stored, &[vec![]], "newer"), [true]);
        read = StoredSession::decode(&stored).unwrap();
        assert_eq!(read.session.region_id, region_id);
    }
}

#[test]
fn an_unknown_format_is_refused() {
    for stored in [&[9, 1, 2][..], &[], &[FORMAT, 0xc1], &[FORMAT_JSON, b'{']] {
        assert!(matches!(StoredSession::decode(stored), Err(StoreError::Corrupt(_))), "{stored:?}");
    }
}

#[test]
fn a_ticket_round_trips() {
    let mut session = session();
    let mut ticket = fixtures::ticket(&[1, 2], 5);
    ticket.params.double_args = [("rank".to_owned(), 1.5), ("latency.eu".to_owned(), 70.0)].into();
    ticket.params.string_args = [("playlist".to_owned(), "a".to_owned())].into();
    ticket.params.tags = vec!["t".into()];
    ticket.params.extensions = [("proto".to_owned(), "AAE=".to_owned())].into();
    (ticket.map_preferences, ticket.passed_s) = (vec!["Dunes".into()], u64::MAX);
    (ticket.version_group, ticket.skills) = ("1.0".into(), [("p".to_owned(), 25.0)].into());
    session.matchmaking = Some(Arc::new(ticket));
    let stored = StoredSession::decode(&encode(&session)).unwrap();
    assert!(stored.session == session);
    assert_eq!(
        StoredSession::encode(&stored.session, &stored.unknown).0,
        encode(&session),
        "nothing is unknown"
    );
}
