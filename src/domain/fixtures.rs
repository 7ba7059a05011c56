//! Sessions for tests, written and read as one line of text.
//!
//! A roster such as `"L1 M2 | I3 R4"` has a team for each part between the bars. A letter is the status of a player
//! (Leader, Member, Invited, Reserved), and a number is the player: number 3 is [`player(3)`](player). A team without
//! players is `-`. Player `n` joined or was invited `n` seconds after the session was created.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::client::{Client, Input, VersionCheck};
use super::instance::{HostType, Instance, JoinStatus};
use super::matchmaking::Claims;
use super::matchmaking::ticket::{JoinParams, Ticket};
use super::session::join::{JoinRules, Joiner};
use super::session::{NewSession, Status};
use super::template::Template;
use super::{Actor, CustomData, Platform, PlayerUuid, Refused, Session, SessionId};

/// Slots of each team of [`session`].
pub(crate) const TEAM_SIZE: usize = 2;

/// When the sessions were created: 2026-11-24T12:00:00.125Z.
pub(crate) fn created() -> Timestamp {
    Timestamp::from_millisecond(1_795_521_600_125).unwrap()
}

/// The time so many seconds after the sessions were created.
pub(crate) fn at_s(seconds: i64) -> Timestamp {
    created() + SignedDuration::from_secs(seconds)
}

/// The player with this number.
pub(crate) fn player(number: u128) -> PlayerUuid {
    PlayerUuid(Uuid::from_u128(number))
}

/// The player with this number, as an actor.
pub(crate) fn by(number: u128) -> Actor {
    Actor::Player(player(number))
}

/// A template of open sessions with one team.
pub(crate) fn template() -> Template {
    Template { default_public: true, players_per_team: TEAM_SIZE, ..Template::default() }
}

/// A new session of a template, without players.
pub(crate) fn empty_session(template: &Template) -> Session {
    let new = NewSession {
        id: SessionId::parse("s").unwrap(),
        session_type: "game".into(),
        now: created(),
        region_id: Some("eu".into()),
        password: None,
    };
    Session::new(new, template)
}

/// An open session with this roster. A team may have more players than slots.
pub(crate) fn session(roster: &str) -> Session {
    let teams: Vec<_> = roster.split('|').collect();
    let mut session = empty_session(&Template { num_teams: teams.len(), ..template() });
    let mut entries = Vec::new();
    for (team_id, players) in teams.into_iter().enumerate() {
        for entry in players.split_whitespace().filter(|entry| *entry != "-") {
            let status = match &entry[..1] {
                "L" => Status::Leader,
                "M" => Status::Member,
                "I" => Status::Invited,
                "R" => Status::Reserved,
                other => panic!("no status has the letter {other}"),
            };
            entries.push((entry[1..].parse::<u32>().unwrap(), status, team_id));
        }
    }
    entries.sort_unstable_by_key(|(number, ..)| *number);
    for (number, status, team_id) in entries {
        let entry = session.put_entry(player(number.into()), status, team_id);
        let since = Some(at_s(number.into()));
        if status.is_active() {
            entry.joined = since;
        } else {
            entry.invited = since;
        }
    }
    session
}

/// The roster of a session, in the form that [`session`] reads; `ended` for a session that ended.
pub(crate) fn roster(session: &Session) -> String {
    if session.ended {
        return "ended".into();
    }
    let mut teams = Vec::new();
    for team_id in 0..session.teams.len() {
        let mut entries = Vec::new();
        for (player, entry) in session.players.iter().filter(|(_, entry)| entry.team_id == team_id) {
            let letter = match entry.status {
                Status::Leader => 'L',
                Status::Member => 'M',
                Status::Invited => 'I',
                Status::Reserved => 'R',
            };
            entries.push(format!("{letter}{}", player.0.as_u128()));
        }
        teams.push(if entries.is_empty() { "-".into() } else { entries.join(" ") });
    }
    teams.join(" | ")
}

/// Applies a rule to a session. Expects the roster afterwards, or a refusal that changes nothing.
#[track_caller]
pub(crate) fn check_in<T: std::fmt::Debug>(
    before: &Session,
    rule: impl FnOnce(&mut Session) -> Result<T, Refused>,
    expected: Result<&str, Refused>,
) {
    let mut session = before.clone();
    let result = rule(&mut session);
    if result.is_err() {
        assert_eq!(session, *before, "a refusal changed the session");
    }
    assert_eq!(result.map(|_| roster(&session)), expected.map(str::to_owned), "in {}", roster(before));
}

/// As [`check_in`], with a session of this roster.
#[track_caller]
pub(crate) fn check<T: std::fmt::Debug>(
    before: &str,
    rule: impl FnOnce(&mut Session) -> Result<T, Refused>,
    expected: Result<&str, Refused>,
) {
    check_in(&session(before), rule, expected);
}

/// A player who gives nothing but the id.
pub(crate) fn joiner(number: u128) -> Joiner {
    Joiner {
        player: player(number),
        player_id: None,
        client: None,
        team_id: None,
        custom_data: None,
        password: None,
        friend: None,
        claims: Claims::new(),
    }
}

/// Join rules that compare no versions and trust friends, a while after the sessions were created.
pub(crate) fn join_rules() -> JoinRules {
    JoinRules {
        now: at_s(100),
        version_check: VersionCheck::Off,
        trust_friends: true,
        kicked_need_invite: true,
    }
}

/// A client of version 1.0 on this platform that accepts every other client.
pub(crate) fn client(platform: Platform) -> Client {
    Client { version: "1.0".into(), platform, input: Input::Gamepad, device_type: None, crossplay: None }
}

/// Sets the client of a player.
pub(crate) fn set_client(session: &mut Session, number: u128, client: Client) {
    let entry = session.players.get_mut(&player(number)).unwrap();
    Arc::make_mut(entry).client = Some(client);
}

/// A ticket of these players, who queued so many seconds after the session was created.
pub(crate) fn ticket(players: &[u128], seconds: i64) -> Ticket {
    Ticket {
        id: Uuid::from_u128(7),
        queue_ids: vec!["casual".into()],
        profile_ids: vec!["p".into()],
        params: JoinParams::default(),
        map_preferences: Vec::new(),
        passed_s: 0,
        enqueued: at_s(seconds),
        players: players.iter().map(|number| player(*number)).collect(),
        version_group: String::new(),
        skills: BTreeMap::new(),
    }
}

/// An instance that these players host and registered.
pub(crate) fn instance(host: Option<u128>, registrar: Option<u128>) -> Instance {
    Instance {
        instance_id: "i".into(),
        template_id: None,
        host_type: HostType::Player,
        host_player: host.map(player),
        host_player_id: None,
        registrar: registrar.map(player),
        allocation_id: None,
        join_status: JoinStatus::Joinable,
        join_params: None,
        startup_params: None,
        version: None,
        created: created(),
        custom_data: CustomData::new(),
        health: None,
        match_id: None,
        match_making_profile_id: None,
        launch: None,
        dedicated_host: None,
    }
}
