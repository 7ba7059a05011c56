use super::*;
use crate::domain::Platform;
use crate::domain::client::VersionCheck;
use crate::domain::fixtures::{
    at_s, by, check, check_in, client, join_rules, player, roster, session, set_client,
};
use crate::domain::password::PasswordHash;
use crate::domain::session::rights::Right;

use Actor::{Anyone, Nobody};
use Overflow::{AllowOverflow, Fail, Overfill, PartialWithOverflow, PartialWithoutOverflow};

fn terms(team_id: Option<usize>, overflow: Overflow) -> Invite {
    Invite {
        reserve: false,
        team_id,
        overflow,
        custom_data: CustomData::new(),
        inviting_player: None,
        source_session: None,
        now: at_s(100),
    }
}

fn invite(
    actor: Actor,
    number: u128,
    team_id: Option<usize>,
) -> impl FnOnce(&mut Session) -> Result<(), Refused> {
    move |session| session.invite(actor, player(number), &terms(team_id, Fail))
}

/// Invites players without a client together, on behalf of a server.
fn invite_all(
    numbers: &[u128],
    team_id: Option<usize>,
    overflow: Overflow,
) -> impl FnOnce(&mut Session) -> Result<Vec<PlayerUuid>, Refused> {
    invite_session(Anyone, numbers, team_id, overflow)
}

fn invite_session(
    actor: Actor,
    numbers: &[u128],
    team_id: Option<usize>,
    overflow: Overflow,
) -> impl FnOnce(&mut Session) -> Result<Vec<PlayerUuid>, Refused> {
    let source: Vec<_> = numbers.iter().map(|number| (player(*number), None)).collect();
    move |session| session.invite_session(actor, &source, &terms(team_id, overflow), join_rules())
}

#[test]
fn inviting_a_player_needs_the_right() {
    check("L1", invite(by(1), 3, None), Ok("L1 I3"));
    check("L1", invite(Anyone, 3, None), Ok("L1 I3"));
    check("L1 I2", invite(by(1), 2, None), Ok("L1 I2"));
    check("L1 R2", invite(by(1), 2, None), Ok("L1 I2"));
    check("L1 M2 | -", invite(by(2), 3, None), Err(Refused::RightNotHeld(Right::Invite)));
    check("L1 M2 | -", invite(by(2), 1, None), Err(Refused::RightNotHeld(Right::Invite)));
    check("L1 I2", invite(by(2), 3, None), Err(Refused::NotActiveInSession));
    check("L1", invite(by(3), 3, None), Err(Refused::NotActiveInSession));
    check("L1", invite(Nobody, 3, None), Err(Refused::NotActiveInSession));
    check("L1 M2", invite(by(1), 2, Some(7)), Err(Refused::AlreadyInSession));
    check("L1 M2", invite(Anyone, 1, None), Err(Refused::AlreadyInSession));

    let mut given = session("L1 M2 | -");
    given.give_right(by(1), player(2), Right::Invite).unwrap();
    check_in(&given, invite(by(2), 3, None), Ok("L1 M2 | I3"));
}

#[test]
fn an_invited_player_gets_the_requested_team_or_the_first_with_room() {
    check("L1 | -", invite(by(1), 3, None), Ok("L1 I3 | -"));
    check("L1 M2 | -", invite(by(1), 3, None), Ok("L1 M2 | I3"));
    check("L1 | -", invite(by(1), 3, Some(1)), Ok("L1 | I3"));
    check("L1 | -", invite(by(1), 3, Some(2)), Err(Refused::TeamNotFound));
    check("L1 M2 | M4 M5", invite(by(1), 3, Some(2)), Err(Refused::TeamNotFound));
    check("L1 M2 | -", invite(by(1), 3, Some(0)), Err(Refused::TeamFull));
    check("L1 I2 | -", invite(by(1), 3, Some(0)), Err(Refused::TeamFull));
    check("L1 R2 | -", invite(by(1), 3, Some(0)), Err(Refused::TeamFull));
    check("L1 M2 | M4 M5", invite(by(1), 3, Some(0)), Err(Refused::SessionFull));
    check("L1 I2 | R4 M5", invite(by(1), 3, None), Err(Refused::SessionFull));
    // A player who is invited again may change the team, and keeps the slot of an overfull one.
    check("L1 I3 | -", invite(by(1), 3, Some(1)), Ok("L1 | I3"));
    check("L1 M2 I3", invite(by(1), 3, Some(0)), Ok("L1 M2 I3"));
    check("L1 M2 I3 | M4 M5", invite(by(1), 3, Some(1)), Err(Refused::TeamFull));
}

#[test]
fn an_invite_and_a_reservation_fill_the_entry() {
    let mut invited = session("L1 I2");
    let data = CustomData::from([("a".into(), "b".into())]);
    let source = SessionId::parse("source").unwrap();
    let full = Invite {
        reserve: true,
        custom_data: data.clone(),
        inviting_player: Some(player(1)),
        source_session: Some(source.clone()),
        ..terms(None, Fail)
    };
    invited.invite(by(1), player(2), &full).unwrap();
    assert_eq!(roster(&invited), "L1 R2");
    let entry = invited.entry(player(2)).unwrap();
    assert_eq!((&entry.custom_data, entry.inviting_player), (&data, Some(player(1))));
    assert_eq!((entry.source_session.as_ref(), entry.invited), (Some(&source), Some(at_s(100))));
    assert_eq!((entry.sequence, entry.joined), (2, None));
    // The next invite replaces all of it.
    invited.invite(by(1), player(2), &terms(None, Fail)).unwrap();
    let entry = invited.entry(player(2)).unwrap();
    assert_eq!((entry.custom_data.is_empty(), entry.inviting_player), (true, None));
    assert_eq!((entry.status, entry.source_session.as_ref()), (Status::Invited, None));
}

#[test]
fn overflow_decides_what_happens_if_the_team_is_too_small() {
    let three = [7, 8, 9];
    for (overflow, before, team_id, expected) in [
        (Fail, "L1 | -", Some(0), Err(Refused::TeamFull)),
        (AllowOverflow, "L1 | -", Some(0), Ok("L1 I7 | I8 I9")),
        (PartialWithOverflow, "L1 | -", Some(0), Ok("L1 I7 | I8 I9")),
        (PartialWithoutOverflow, "L1 | -", Some(0), Ok("L1 I7 | -")),
        (Overfill, "L1 | -", Some(0), Ok("L1 I7 I8 I9 | -")),
        // The whole session is too small.
        (Fail, "L1 M2 | M3", Some(1), Err(Refused::TeamFull)),
        (AllowOverflow, "L1 M2 | M3", Some(1), Err(Refused::TeamFull)),
        (PartialWithOverflow, "L1 | M2", Some(1), Ok("L1 I8 | M2 I7")),
        (PartialWithoutOverflow, "L1 | M2", Some(1), Ok("L1 | M2 I7")),
        (Overfill, "L1 | M2", Some(1), Ok("L1 | M2 I7 I8 I9")),
        // The requested team is full.
        (PartialWithOverflow, "L1 M2 | -", Some(0), Ok("L1 M2 | I7 I8")),
        (PartialWithoutOverflow, "L1 M2 | -", Some(0), Err(Refused::TeamFull)),
        // No team has a free slot.
        (Fail, "L1 M2", None, Err(Refused::SessionFull)),
        (AllowOverflow, "L1 M2", None, Err(Refused::SessionFull)),
        (PartialWithOverflow, "L1 M2", None, Err(Refused::SessionFull)),
        (PartialWithoutOverflow, "L1 M2", None, Err(Refused::SessionFull)),
        (Overfill, "L1 M2", None, Ok("L1 M2 I7 I8 I9")),
        // Without a team, the first with room for all counts, else the first of all.
        (Fail, "L1 M2 | - | -", None, Err(Refused::TeamFull)),
        (PartialWithoutOverflow, "L1 | -", None, Ok("L1 I7 | -")),
        (Overfill, "L1 | -", Some(2), Err(Refused::TeamNotFound)),
    ] {
        check(before, invite_all(&three, team_id, overflow), expected);
    }
    check("L1 | -", invite_all(&[7, 8], None, Fail), Ok("L1 | I7 I8"));
    check("L1 M2", invite_all(&[], None, Fail), Ok("L1 M2"));
}

#[test]
fn active_players_are_skipped_and_invited_ones_keep_their_slots() {
    check("L1 M2 | -", invite_all(&[1, 2, 7], None, Fail), Ok("L1 M2 | I7"));
    check("L1 I2 | -", invite_all(&[7, 2], Some(0), PartialWithoutOverflow), Ok("L1 I2 | -"));
    check("L1 I2 | -", invite_all(&[7, 2], Some(0), PartialWithOverflow), Ok("L1 I2 | I7"));
    check("L1 M2 I3 | -", invite_all(&[3], Some(0), Fail), Ok("L1 M2 I3 | -"));
    // A slot that an invited player leaves is free for another one.
    check("L1 M2 | I3 M4", invite_all(&[3, 7], Some(1), Fail), Err(Refused::TeamFull));
    check("L1 I3 | M4", invite_all(&[7, 3], Some(1), PartialWithOverflow), Ok("L1 I7 | I3 M4"));

    let mut invited = session("L1 I2 | -");
    let returned = invite_all(&[7, 1, 2], Some(0), PartialWithOverflow)(&mut invited);
    assert_eq!(returned, Ok(vec![player(7), player(2)]), "in the order of the request");
}

#[test]
fn without_the_right_a_session_is_invited_only_where_its_players_could_join() {
    let not_held = || Err(Refused::RightNotHeld(Right::Invite));
    check("L1 M2 | -", invite_session(by(2), &[7], None, Fail), Ok("L1 M2 | I7"));
    check("L1 | -", invite_session(by(7), &[7, 8], None, Fail), Ok("L1 | I7 I8"));
    check("L1 M2 | -", invite_session(by(2), &[7], None, Overfill), not_held());
    check("L1 | -", invite_session(by(7), &[7], None, Overfill), Err(Refused::NotActiveInSession));

    let mut closed = session("L1 M2 | -");
    closed.joinability.open = false;
    check_in(&closed, invite_session(by(2), &[7], None, Fail), not_held());
    check_in(&closed, invite_session(by(9), &[7], None, Fail), Err(Refused::NotActiveInSession));
    check_in(&closed, invite_session(by(1), &[7], None, Fail), Ok("L1 M2 | I7"));

    let mut locked = session("L1 M2 | -");
    locked.password = Some(PasswordHash::new("open sesame", [1; 16]));
    check_in(&locked, invite_session(by(2), &[7], None, Fail), not_held());
    check_in(&locked, invite_session(by(1), &[7], None, Fail), Ok("L1 M2 | I7"));
}

#[test]
fn without_the_right_the_versions_of_the_players_must_fit() {
    let mut session = session("L1 M2 | -");
    set_client(&mut session, 1, client(Platform::PSN));
    let old = Client { version: "0.9".into(), ..client(Platform::PSN) };
    let exact = JoinRules { version_check: VersionCheck::Exact, ..join_rules() };
    let invite = |actor, source: Vec<SourcePlayer>| {
        move |session: &mut Session| session.invite_session(actor, &source, &terms(None, Fail), exact)
    };
    let fits = || (player(7), Some(client(Platform::PSN)));
    let old = |number| (player(number), Some(old.clone()));
    check_in(&session, invite(by(2), vec![fits()]), Ok("L1 M2 | I7"));
    check_in(&session, invite(by(2), vec![fits(), old(8)]), Err(Refused::VersionMismatch));
    check_in(&session, invite(by(2), vec![(player(7), None)]), Err(Refused::VersionMismatch));
    check_in(&session, invite(by(2), vec![fits(), old(2)]), Ok("L1 M2 | I7"));
    check_in(&session, invite(by(1), vec![fits(), old(8)]), Ok("L1 M2 | I7 I8"));
}
