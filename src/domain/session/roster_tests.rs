use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::domain::fixtures::{
    at_s, by, check, check_in, instance, join_rules, joiner, player, roster, session,
};
use crate::domain::session::join::JoinPath;
use crate::domain::session::platform::PlatformSession;
use crate::domain::{Platform, PlatformSessionId};

use Actor::{Anyone, Nobody};

#[test]
fn the_active_player_who_joined_first_leads_next() {
    let leave = |number| move |session: &mut Session| session.leave(player(number), at_s(150));
    check("L1 M2 M3", leave(2), Ok("L1 M3"));
    check("L1 M2 M3", leave(1), Ok("L2 M3"));
    check("M1 M2 L3", leave(3), Ok("L1 M2"));
    check("L3 | I1 R2 M4", leave(3), Ok("- | I1 R2 L4"));
    check("L1 I2", leave(2), Ok("L1"));
    check("L1 R2", leave(2), Ok("L1"));
    check("L1", leave(2), Err(Refused::PlayerNotFound));

    // Of two players who joined at the same time, the lower uuid leads.
    let mut tied = session("L1 M2 M3");
    for number in [2, 3] {
        tied.entry_mut(player(number)).unwrap().joined = Some(at_s(5));
    }
    check_in(&tied, leave(1), Ok("L2 M3"));
    // The time of joining decides, not the uuid.
    tied.entry_mut(player(3)).unwrap().joined = Some(at_s(4));
    check_in(&tied, leave(1), Ok("M2 L3"));
}

#[test]
fn a_session_ends_with_its_last_active_player_unless_it_is_kept_alive() {
    check("L1", |s| s.leave(player(1), at_s(150)), Ok("ended"));
    check("L1 I2 R3", |s| s.leave(player(1), at_s(150)), Ok("ended"));
    let mut kept = session("L1 I2");
    kept.keep_alive_on_empty = true;
    check_in(&kept, |s| s.leave(player(1), at_s(150)), Ok("I2"));
    check_in(&kept, |s| s.leave(player(1), at_s(150)).and_then(|()| s.leave(player(2), at_s(150))), Ok("-"));
}

#[test]
fn players_who_leave_do_not_end_a_session_that_a_service_made() {
    let mut made = session("L1 I2");
    made.made_by_service = true;
    check_in(&made, |s| s.leave(player(1), at_s(150)), Ok("I2"));
    // But the end of its instance does, if the player hosts it.
    let hosted = Session { instance: Some(instance(Some(1), None)), ..made.clone() };
    check_in(&hosted, |s| s.leave(player(1), at_s(150)), Ok("ended"));
    made.instance = Some(instance(None, Some(1)));
    made.leave(player(1), at_s(150)).unwrap();
    assert!(made.instance.is_some(), "a service may host it");
    check_in(&made, |s| s.join(&joiner(3), JoinPath::Session, join_rules()), Ok("I2 L3"));
}

#[test]
fn a_player_who_leaves_takes_platform_session_and_hosted_instance_along() {
    let mut played = session("L1 M2 M3");
    played.instance = Some(instance(Some(2), Some(1)));
    let linked = PlatformSession {
        id: PlatformSessionId::parse("x").unwrap(),
        platform_session_type: "lobby".into(),
        custom_data: CustomData::new(),
        participants: vec![player(1), player(2)],
    };
    played.platform_sessions.insert(Platform::PSN, Box::new(linked));
    let after = |number| {
        let mut session = played.clone();
        session.leave(player(number), at_s(150)).unwrap();
        (session.instance.is_some(), session.platform_sessions[&Platform::PSN].participants.clone())
    };
    assert_eq!(after(1), (true, vec![player(2)]), "the registrar left");
    assert_eq!(after(2), (false, vec![player(1)]), "the host left");
    assert_eq!(after(3), (true, vec![player(1), player(2)]));
}

#[test]
fn kicking_needs_the_right_and_spares_the_leader() {
    let kick = |actor, number| move |session: &mut Session| session.kick(actor, player(number), at_s(150));
    check("L1 M2 I3", kick(by(1), 2), Ok("L1 I3"));
    check("L1 M2 I3", kick(by(1), 3), Ok("L1 M2"));
    check("L1 M2", kick(Anyone, 1), Ok("L2"));
    check("L1 M2", kick(by(2), 1), Err(Refused::RightNotHeld(Right::Kick)));
    check("L1 M2", kick(by(2), 9), Err(Refused::RightNotHeld(Right::Kick)));
    check("L1 M2", kick(by(1), 9), Err(Refused::PlayerNotFound));
    check("L1 M2", kick(Anyone, 9), Err(Refused::PlayerNotFound));
    check("L1 M2", kick(by(9), 9), Err(Refused::NotActiveInSession));
    check("L1 M2 I3", kick(by(3), 2), Err(Refused::NotActiveInSession));
    check("L1 M2", kick(by(9), 2), Err(Refused::NotActiveInSession));
    check("L1 M2", kick(Nobody, 2), Err(Refused::NotActiveInSession));

    let mut given = session("L1 M2 M3");
    given.entry_mut(player(2)).unwrap().given_rights = BTreeSet::from([Right::Kick]);
    check_in(&given, kick(by(2), 3), Ok("L1 M2"));
    check_in(&given, kick(by(2), 1), Err(Refused::LeaderNotKickable));
    check_in(&given, kick(by(2), 9), Err(Refused::PlayerNotFound));
}

#[test]
fn the_leader_kicks_several_players_at_once() {
    let kick_all = |actor, kicker: Option<u128>, numbers: &'static [u128]| {
        move |session: &mut Session| {
            let players: Vec<_> = numbers.iter().map(|number| player(*number)).collect();
            session.kick_all(actor, kicker.map(player), &players, at_s(150))
        }
    };
    check("L1 M2 M3 I4", kick_all(by(1), Some(1), &[2, 9, 4]), Ok("L1 M3"));
    check("L1 M2", kick_all(Anyone, None, &[2]), Ok("L1"));
    check("L1 M2", kick_all(Anyone, None, &[1, 2]), Ok("ended"));
    check("L1 M2", kick_all(by(1), Some(1), &[]), Ok("L1 M2"));
    check("L1 M2", kick_all(by(2), Some(2), &[2]), Err(Refused::NotSessionLeader));
    check("L1 M2", kick_all(by(9), Some(9), &[2]), Err(Refused::NotActiveInSession));
    // The kicker stays, whether as the leader or as a caller who may do everything.
    check("L1 M2 M3", kick_all(by(1), Some(1), &[1, 2]), Ok("L1 M3"));
    check("L1 M2 M3", kick_all(Anyone, Some(2), &[1, 2]), Ok("L2 M3"));

    let kicked = session("L1 M2 I4").kick_all(by(1), Some(player(1)), &[4, 9, 2].map(player), at_s(150));
    assert_eq!(kicked, Ok(vec![player(4), player(2)]));
}

#[test]
fn the_leader_promotes_active_players() {
    let promote = |actor, number| move |session: &mut Session| session.promote(actor, player(number));
    check("L1 M2", promote(by(1), 2), Ok("M1 L2"));
    check("L1 M2", promote(Anyone, 2), Ok("M1 L2"));
    check("L1 M2", promote(by(1), 1), Ok("L1 M2"));
    check("L1 M2", promote(by(2), 2), Err(Refused::NotSessionLeader));
    check("L1 M2", promote(by(2), 9), Err(Refused::NotSessionLeader));
    check("L1 I2", promote(by(2), 2), Err(Refused::NotActiveInSession));
    check("L1 I2", promote(by(1), 2), Err(Refused::PlayerNotActive));
    check("L1 R2", promote(Anyone, 2), Err(Refused::PlayerNotActive));
    check("L1", promote(by(1), 9), Err(Refused::PlayerNotFound));
}

#[test]
fn players_move_themselves_where_the_template_allows_it() {
    let moves = |actor, number, team_id, can_change_own_team| {
        move |session: &mut Session| session.move_to(actor, player(number), team_id, can_change_own_team)
    };
    check("L1 M2 | -", moves(by(2), 2, Some(1), true), Ok("L1 | M2"));
    check("L1 M2 | -", moves(by(1), 1, Some(1), false), Ok("M2 | L1"));
    check("L1 M2 | -", moves(by(1), 2, Some(1), false), Ok("L1 | M2"));
    check("L1 I2 | -", moves(by(1), 2, Some(1), false), Ok("L1 | I2"));
    check("L1 M2 | -", moves(Anyone, 2, Some(1), false), Ok("L1 | M2"));
    check("L1 M2 | -", moves(by(2), 2, None, true), Ok("L1 M2 | -"));
    check("L1 M2 | -", moves(by(2), 2, Some(1), false), Err(Refused::RightNotHeld(Right::Move)));
    check("L1 M2 | -", moves(by(2), 1, Some(1), true), Err(Refused::RightNotHeld(Right::Move)));
    check("L1 I2 | -", moves(by(2), 2, Some(1), true), Err(Refused::NotActiveInSession));
    check("L1 | -", moves(by(1), 9, Some(7), true), Err(Refused::PlayerNotFound));
    check("L1 | -", moves(by(1), 1, Some(2), true), Err(Refused::TeamNotFound));
    check("L1 | M2 M3", moves(by(1), 1, Some(1), true), Err(Refused::TeamFull));
    check("L1 | I2 R3", moves(by(1), 1, Some(1), true), Err(Refused::TeamFull));
    // A player may stay on a team that has more players than slots.
    check("L1 M2 M3 | -", moves(by(1), 3, Some(0), true), Ok("L1 M2 M3 | -"));
}

#[test]
fn the_leader_swaps_two_other_active_players() {
    let swap =
        |actor, one, other| move |session: &mut Session| session.swap(actor, player(one), player(other));
    check("L1 M2 | M3", swap(by(1), 2, 3), Ok("L1 M3 | M2"));
    check("L1 M2 | M3 M4", swap(Anyone, 3, 2), Ok("L1 M3 | M2 M4"));
    check("L1 M2 | M3", swap(by(2), 2, 3), Err(Refused::NotSessionLeader));
    check("L1 M2 | M3", swap(by(9), 2, 3), Err(Refused::NotActiveInSession));
    check("L1 M2 | M3", swap(by(1), 9, 3), Err(Refused::PlayerNotFound));
    check("L1 M2 | I3", swap(by(1), 2, 3), Err(Refused::PlayerNotActive));
    check("L1 M2 | M3", swap(by(1), 1, 3), Err(Refused::LeaderNotSwappable));
    check("L1 M2 | M3", swap(Anyone, 1, 2), Err(Refused::LeaderNotSwappable));
    check("L1 | M2 M3", swap(by(1), 2, 3), Err(Refused::SameTeam));
    check("L1 | M2", swap(by(1), 2, 2), Err(Refused::SameTeam));
}

#[test]
fn data_belongs_to_the_player_and_the_leader() {
    let data = || CustomData::from([("a".into(), "b".into())]);
    let update =
        |actor, number| move |session: &mut Session| session.update_player(actor, player(number), data());
    for (actor, number) in [(by(1), 2), (by(2), 2), (by(3), 3), (Anyone, 1)] {
        let mut changed = session("L1 M2 I3");
        update(actor, number)(&mut changed).unwrap();
        assert_eq!(changed.entry(player(number)).unwrap().custom_data, data());
    }
    check("L1 M2", update(by(2), 1), Err(Refused::NotSessionLeader));
    check("L1 I2", update(by(2), 1), Err(Refused::NotActiveInSession));
    check("L1 M2", update(by(1), 9), Err(Refused::PlayerNotFound));
    check("L1 M2", update(by(9), 9), Err(Refused::PlayerNotFound));
}

#[test]
fn a_timeout_applies_only_to_players_whose_status_is_still_the_same() {
    let expired = |before: &str, inactive: &[u128], invites: &[u128]| {
        let players = |numbers: &[u128]| numbers.iter().map(|number| player(*number)).collect::<Vec<_>>();
        let mut session = session(before);
        let removed = session.expire_inactive(&players(inactive), &players(invites), None, at_s(150));
        (roster(&session), removed)
    };
    assert_eq!(expired("L1 M2 I3", &[2], &[3]), ("L1".into(), vec![true, false]));
    assert_eq!(expired("L1 M2 M3", &[1], &[]), ("L2 M3".into(), vec![true]));
    assert_eq!(expired("L1 M2", &[1, 2], &[]), ("ended".into(), vec![true, true]));
    assert_eq!(expired("L1 M2 I3", &[3, 9], &[2, 9]), ("L1 M2 I3".into(), vec![]));
    assert_eq!(expired("L1 M2", &[], &[]), ("L1 M2".into(), vec![]));
}

#[test]
fn a_timeout_stores_the_health_of_the_current_instance() {
    let mut played = session("L1");
    played.instance = Some(instance(Some(1), None));
    for (instance_id, expected) in [("other", None), ("i", Some(Health::Unknown))] {
        played.expire_inactive(&[], &[], Some(&(instance_id.into(), Health::Unknown)), at_s(150));
        assert_eq!(played.instance.as_ref().unwrap().health, expected);
    }
}

#[test]
fn a_change_copies_only_the_entries_that_it_changes() {
    let before = session("L1 M2 M3");
    let mut after = before.clone();
    after.promote(by(1), player(2)).unwrap();
    let shared = |number| Arc::ptr_eq(&before.players[&player(number)], &after.players[&player(number)]);
    assert_eq!([1, 2, 3].map(shared), [false, false, true]);
}
