use super::*;
use crate::domain::Actor;
use crate::domain::fixtures::{at_s, by, check_in, join_rules, joiner, player, roster, session};
use crate::domain::session::invite::{Invite, Overflow};
use crate::domain::session::join::{JoinPath, JoinRules};
use crate::domain::{CustomData, Platform};

fn join(number: u128) -> impl FnOnce(&mut Session) -> Result<(), Refused> {
    move |session| session.join(&joiner(number), JoinPath::Session, join_rules())
}

fn invite() -> Invite {
    Invite {
        reserve: false,
        team_id: None,
        overflow: Overflow::Fail,
        custom_data: CustomData::new(),
        inviting_player: None,
        source_session: None,
        now: at_s(50),
    }
}

/// A session with this roster, of which players were kicked.
fn kicked(roster: &str, numbers: &[u128]) -> Session {
    let mut session = session(roster);
    for number in numbers {
        session.kick(by(1), player(*number), at_s(150)).unwrap();
    }
    session
}

#[test]
fn a_kicked_player_needs_an_invite_to_return() {
    let mut session = kicked("L1 M2", &[2]);
    for path in [JoinPath::Session, JoinPath::Platform(Platform::PSN)] {
        let join = |session: &mut Session| session.join(&joiner(2), path, join_rules());
        check_in(&session, join, Err(Refused::PlayerKicked));
    }
    let is_off = JoinRules { kicked_need_invite: false, ..join_rules() };
    check_in(&session, |session| session.join(&joiner(2), JoinPath::Session, is_off), Ok("L1 M2"));
    check_in(&session, join(3), Ok("L1 M3"));

    session.invite(by(1), player(2), &invite()).unwrap();
    join(2)(&mut session).unwrap();
    // Later the player may leave and return as everyone else.
    session.leave(player(2), at_s(150)).unwrap();
    check_in(&session, join(2), Ok("L1 M2"));
}

#[test]
fn an_invite_that_is_not_accepted_does_not_undo_a_kick() {
    let invited = || {
        let mut session = kicked("L1 M2", &[2]);
        session.invite(by(1), player(2), &invite()).unwrap();
        session
    };
    let (mut declined, mut withdrawn, mut expired) = (invited(), invited(), invited());
    declined.leave(player(2), at_s(150)).unwrap();
    withdrawn.kick(by(1), player(2), at_s(150)).unwrap();
    expired.expire_inactive(&[], &[player(2)], None, at_s(150));
    for session in [declined, withdrawn, expired] {
        assert_eq!(roster(&session), "L1");
        check_in(&session, join(2), Err(Refused::PlayerKicked));
    }
}

#[test]
fn only_a_kick_of_an_active_player_is_remembered() {
    let mut withdrawn = kicked("L1 M2 | I3 R4", &[3, 4]);
    withdrawn.leave(player(2), at_s(150)).unwrap();
    withdrawn.expire_inactive(&[player(2)], &[], None, at_s(150));
    let mut silent = session("L1 M2");
    silent.expire_inactive(&[player(2)], &[], None, at_s(150));
    assert!(withdrawn.kicked.is_empty() && silent.kicked.is_empty());

    let mut all = session("L1 M2 | I3 M4");
    all.kick_all(by(1), Some(player(1)), &[1, 2, 3, 4].map(player), at_s(150)).unwrap();
    assert_eq!(all.kicked, [player(2), player(4)]);
}

#[test]
fn a_session_without_the_right_to_invite_brings_no_kicked_player_back() {
    let session = kicked("L1 M2 | M3", &[2]);
    let invite = |actor, numbers: &[u128]| {
        let source: Vec<_> = numbers.iter().map(|number| (player(*number), None)).collect();
        move |session: &mut Session| session.invite_session(actor, &source, &invite(), join_rules())
    };
    for actor in [by(2), by(3), by(7)] {
        check_in(&session, invite(actor, &[7, 2]), Err(Refused::PlayerKicked));
    }
    check_in(&session, invite(by(7), &[7]), Ok("L1 I7 | M3"));
    check_in(&session, invite(by(1), &[2]), Ok("L1 I2 | M3"));
    check_in(&session, invite(Actor::Anyone, &[2]), Ok("L1 I2 | M3"));
}

#[test]
fn the_latest_kicked_players_are_remembered() {
    let mut session = session("L1");
    let numbers = 2..KICKED_MAX as u128 + 3;
    for number in numbers.clone().chain([3]) {
        join(number)(&mut session).or_else(|_| session.invite(by(1), player(number), &invite())).unwrap();
        if !session.is_active(player(number)) {
            join(number)(&mut session).unwrap();
        }
        session.kick(by(1), player(number), at_s(150)).unwrap();
    }
    assert_eq!(session.kicked.len(), KICKED_MAX);
    assert!(!session.keeps_out(player(2)), "the first one is forgotten");
    assert_eq!(session.kicked.last(), Some(&player(3)), "kicked twice, and the latest");
    assert_eq!(session.kicked[0], player(4));
}

#[test]
fn a_player_whom_an_older_build_let_in_stays() {
    let mut session = session("L1 M2");
    session.kicked.push(player(2));
    check_in(&session, join(2), Ok("L1 M2"));
    session.kick(by(1), player(2), at_s(150)).unwrap();
    assert_eq!(session.kicked, [player(2)]);
}
