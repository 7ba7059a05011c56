use super::*;
use crate::domain::fixtures::{
    at_s, by, check, check_in, created, empty_session, instance, player, roster, session, template,
};
use crate::domain::instance::Health;

use Actor::{Anyone, Nobody};

fn data(value: &str) -> CustomData {
    CustomData::from([("a".into(), value.into())])
}

#[test]
fn a_new_session_takes_its_values_from_the_template() {
    let template = Template {
        default_public: false,
        keep_alive_on_empty: true,
        player_culling_timeout: Some(30),
        player_visibility: Visibility::Team,
        admin_player_visibility: Visibility::Oneself,
        num_teams: 3,
        players_per_team: 7,
        ..Template::default()
    };
    let session = empty_session(&template);
    assert_eq!(session.joinability, Joinability { open: false, friends: false, platform: true });
    assert_eq!((session.keep_alive_on_empty, session.culling_timeout_s), (true, Some(30)));
    assert_eq!(session.player_visibility, Visibility::Team);
    assert_eq!(session.admin_player_visibility, Visibility::Oneself);
    assert_eq!(session.teams, vec![Team { max_size: 7, custom_data: None, ticket_ids: Vec::new() }; 3]);
    assert_eq!((session.players_per_team, session.created), (7, created()));
    assert_eq!((roster(&session).as_str(), session.leader()), ("- | - | -", None));

    let open = Template { default_public: true, player_culling_timeout: Some(0), ..template };
    let session = empty_session(&open);
    assert_eq!((session.joinability.open, session.culling_timeout_s), (true, None));
}

#[test]
fn leaders_and_members_are_active() {
    let mut session = session("L1 M4 M3 | I5 R6");
    let active = |session: &Session| {
        session.active_players().iter().map(|(player, _)| player.0.as_u128()).collect::<Vec<_>>()
    };
    assert_eq!(active(&session), [1, 3, 4]);
    assert_eq!(
        [1, 4, 5, 6, 9].map(|number| session.is_active(player(number))),
        [true, true, false, false, false]
    );
    assert_eq!(session.leader(), Some(player(1)));
    session.entry_mut(player(4)).unwrap().joined = Some(at_s(0));
    assert_eq!(active(&session), [4, 1, 3], "in the order of joining");
    session.entry_mut(player(3)).unwrap().joined = Some(at_s(0));
    assert_eq!(active(&session), [3, 4, 1], "ties are in the order of the uuids");
}

#[test]
fn every_entry_takes_a_slot() {
    let session = session("L1 I2 | R3 | M4 M5 M6");
    assert_eq!([0, 1, 2, 3].map(|team_id| session.slots_taken(team_id)), [2, 1, 3, 0]);
    assert_eq!([0, 1, 2, 3].map(|team_id| session.has_room(team_id)), [false, true, false, false]);
    assert_eq!(session.first_team_with_room(), Some(1));
}

#[test]
fn actors_are_active_or_lead() {
    let active = |actor| move |session: &mut Session| session.require_active(actor);
    let leader = |actor| move |session: &mut Session| session.require_leader(actor);
    for (actor, is_active, leads) in [
        (Anyone, Ok(()), Ok(())),
        (by(1), Ok(()), Ok(())),
        (by(2), Ok(()), Err(Refused::NotSessionLeader)),
        (by(3), Err(Refused::NotActiveInSession), Err(Refused::NotActiveInSession)),
        (by(4), Err(Refused::NotActiveInSession), Err(Refused::NotActiveInSession)),
        (by(9), Err(Refused::NotActiveInSession), Err(Refused::NotActiveInSession)),
        (Nobody, Err(Refused::NotActiveInSession), Err(Refused::NotActiveInSession)),
    ] {
        let unchanged = "L1 M2 | I3 R4";
        check(unchanged, active(actor), is_active.map(|()| unchanged));
        check(unchanged, leader(actor), leads.map(|()| unchanged));
    }
}

#[test]
fn the_leader_ends_the_session() {
    let end = |actor| move |session: &mut Session| session.end_by(actor);
    check("L1 M2", end(by(1)), Ok("ended"));
    check("L1 M2", end(Anyone), Ok("ended"));
    check("L1 M2", end(by(2)), Err(Refused::NotSessionLeader));
    check("L1 I2", end(by(2)), Err(Refused::NotActiveInSession));
    check("L1", end(Nobody), Err(Refused::NotActiveInSession));
}

#[test]
fn an_update_changes_what_it_contains() {
    let joinability = Joinability { open: false, friends: true, platform: false };
    let before = session("L1");
    let after = |change| {
        let mut session = before.clone();
        session.update(by(1), change).unwrap();
        session
    };
    assert_eq!(after(SessionChange::default()), before);
    let full = SessionChange {
        region_id: Some("us".into()),
        custom_data: Some(data("b")),
        joinability: Some(joinability),
        joinable: Some(true),
        teams: None,
        password: Some(PasswordHash::new("open sesame", [1; 16])),
    };
    let expected = Session {
        region_id: Some("us".into()),
        custom_data: data("b"),
        joinability,
        password: full.password.clone(),
        ..before.clone()
    };
    assert_eq!(after(full), expected, "joinability replaces joinable");
    let closed = after(SessionChange { joinable: Some(false), ..SessionChange::default() });
    assert_eq!(closed.joinability, Joinability { open: false, ..before.joinability });

    let update = |actor| move |session: &mut Session| session.update(actor, SessionChange::default());
    check("L1 M2", update(Anyone), Ok("L1 M2"));
    check("L1 M2", update(by(2)), Err(Refused::NotSessionLeader));
    check("L1 M2", update(by(9)), Err(Refused::NotActiveInSession));
}

#[test]
fn teams_are_added_resized_and_removed() {
    let update = |sizes: &[Option<usize>]| {
        let change = |max_size: &Option<usize>| TeamChange { max_size: *max_size, custom_data: None };
        let teams = Some(sizes.iter().map(change).collect());
        let change = SessionChange { teams, region_id: Some("us".into()), ..SessionChange::default() };
        move |session: &mut Session| session.update(by(1), change)
    };
    check("L1", update(&[None, None]), Ok("L1 | -"));
    check("L1 | - | -", update(&[None]), Ok("L1"));
    check("L1 | M2", update(&[Some(1), Some(5)]), Ok("L1 | M2"));
    check("L1 M2 M3", update(&[None]), Ok("L1 M2 M3"));
    check("L1 | M2", update(&[None]), Err(Refused::TeamNotEmpty));
    check("L1 | I2", update(&[None]), Err(Refused::TeamNotEmpty));
    check("L1", update(&[]), Err(Refused::TeamNotEmpty));
    check("L1 M2", update(&[Some(1)]), Err(Refused::TeamTooFull));
    check("L1 R2", update(&[Some(1)]), Err(Refused::TeamTooFull));
    check("L1 M2 M3", update(&[Some(1)]), Err(Refused::TeamTooFull));
    // A team with more players than slots may keep its size or grow.
    check("L1 M2 M3 M4", update(&[Some(2)]), Ok("L1 M2 M3 M4"));
    check("L1 M2 M3 M4", update(&[Some(3)]), Ok("L1 M2 M3 M4"));

    let mut session = empty_session(&Template { players_per_team: 3, ..template() });
    session.teams[0].custom_data = Some(data("b"));
    let teams = vec![TeamChange { max_size: Some(9), custom_data: None }, TeamChange::default()];
    session.update(Anyone, SessionChange { teams: Some(teams), ..SessionChange::default() }).unwrap();
    let kept = Team { max_size: 9, custom_data: Some(data("b")), ticket_ids: Vec::new() };
    assert_eq!(session.teams, [kept, Team { max_size: 3, custom_data: None, ticket_ids: Vec::new() }]);
}

#[test]
fn one_team_is_updated() {
    let update = |actor, team_id, max_size| {
        let change = TeamChange { max_size, custom_data: Some(data("b")) };
        move |session: &mut Session| session.update_team(actor, team_id, change)
    };
    check("L1 | M2", update(by(1), 1, Some(1)), Ok("L1 | M2"));
    check("L1 | M2", update(Anyone, 1, Some(100)), Ok("L1 | M2"));
    check("L1 | M2 M3", update(by(1), 1, Some(1)), Err(Refused::TeamTooFull));
    check("L1 | M2", update(by(1), 2, None), Err(Refused::TeamNotFound));
    check("L1 | M2", update(by(2), 2, None), Err(Refused::NotSessionLeader));
    check("L1 | I2", update(by(2), 0, None), Err(Refused::NotActiveInSession));

    let mut session = session("L1 | -");
    update(by(1), 1, Some(5))(&mut session).unwrap();
    assert_eq!(session.teams[1], Team { max_size: 5, custom_data: Some(data("b")), ticket_ids: Vec::new() });
    update(by(1), 1, None)(&mut session).unwrap();
    assert_eq!((session.teams[0].max_size, session.teams[1].max_size), (2, 5));
}

#[test]
fn a_session_gets_one_short_code() {
    let give = |actor| {
        move |session: &mut Session| session.give_short_code(actor, ShortCode::parse("ABCDEF").unwrap())
    };
    check("L1 M2", give(by(2)), Ok("L1 M2"));
    check("L1", give(Anyone), Ok("L1"));
    check("L1 I2", give(by(2)), Err(Refused::NotActiveInSession));
    let mut coded = session("L1");
    give(by(1))(&mut coded).unwrap();
    check_in(&coded, give(by(1)), Err(Refused::ShortCodeExists));
    check_in(&coded, give(by(9)), Err(Refused::NotActiveInSession));
}

#[test]
fn only_some_sessions_can_time_out() {
    let plain = session("L1");
    assert!(!plain.can_time_out(true));
    let invited = session("L1 I2");
    assert_eq!([true, false].map(|invites_expire| invited.can_time_out(invites_expire)), [true, false]);
    let culled = Session { culling_timeout_s: Some(30), ..session("L1") };
    assert!(culled.can_time_out(false));
    let mut played = session("L1");
    played.instance = Some(instance(Some(1), None));
    assert!(!played.can_time_out(true), "an instance that never reported its health does not time out");
    played.set_health("i", Health::Healthy).unwrap();
    assert!(played.can_time_out(false));
    played.end();
    assert!(!played.can_time_out(true));
}
