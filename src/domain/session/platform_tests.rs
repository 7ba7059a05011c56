use super::*;
use crate::domain::fixtures::{by, check, check_in, client, player, session, set_client};

use Actor::{Anyone, Nobody};

fn id(text: &str) -> PlatformSessionId {
    PlatformSessionId::parse(text).unwrap()
}

fn template() -> PlatformTemplate {
    PlatformTemplate {
        platform: None,
        platform_id: None,
        platform_session_type: "lobby".into(),
        max_players: None,
        custom_data: CustomData::from([("a".into(), "b".into())]),
    }
}

/// Links the session of this id on PSN.
fn link(actor: Actor, linker: Option<u128>, text: &str) -> impl FnOnce(&mut Session) -> Result<(), Refused> {
    let id = id(text);
    move |session| session.link(actor, linker.map(player), Platform::PSN, &id, Some(&template()))
}

/// A session of this roster with a linked session on PSN without participants.
fn linked(roster: &str) -> Session {
    let mut session = session(roster);
    link(Anyone, None, "x")(&mut session).unwrap();
    session
}

fn participants(session: &Session) -> Vec<u128> {
    session.platform_sessions[&Platform::PSN].participants.iter().map(|player| player.0.as_u128()).collect()
}

#[test]
fn active_players_link_one_session_of_each_platform() {
    check("L1 M2", link(by(2), None, "x"), Ok("L1 M2"));
    check("L1 M2", link(Anyone, None, "x"), Ok("L1 M2"));
    check("L1 I2", link(by(2), None, "x"), Err(Refused::NotActiveInSession));
    check("L1", link(Nobody, None, "x"), Err(Refused::NotActiveInSession));
    check_in(&linked("L1"), link(by(1), Some(1), "x"), Ok("L1"));
    check_in(&linked("L1"), link(by(1), Some(1), "y"), Err(Refused::PlatformAlreadyLinked));
    check_in(&linked("L1"), link(by(9), Some(9), "y"), Err(Refused::NotActiveInSession));

    let without_template =
        |platform| move |session: &mut Session| session.link(by(1), None, platform, &id("x"), None);
    let refused = Refused::PlatformNotInTemplate(Platform::Steam);
    check_in(&linked("L1"), without_template(Platform::Steam), Err(refused));
    check_in(&linked("L1"), without_template(Platform::PSN), Ok("L1"));
}

#[test]
fn a_link_takes_type_and_data_from_the_template_and_adds_the_linker_once() {
    let mut session = linked("L1 M2 I3");
    let psn = &session.platform_sessions[&Platform::PSN];
    assert_eq!((&psn.id, psn.platform_session_type.as_str()), (&id("x"), "lobby"));
    assert_eq!(psn.custom_data, template().custom_data);
    for (linker, expected) in [(2, vec![2]), (2, vec![2]), (1, vec![2, 1]), (3, vec![2, 1]), (9, vec![2, 1])]
    {
        link(Anyone, Some(linker), "x")(&mut session).unwrap();
        assert_eq!(participants(&session), expected);
    }
}

#[test]
fn a_linked_session_is_unlinked_by_active_players() {
    let unlink = |actor, text| move |session: &mut Session| session.unlink(actor, Platform::PSN, &id(text));
    check_in(&linked("L1 M2"), unlink(by(2), "x"), Ok("L1 M2"));
    check_in(&linked("L1 M2"), unlink(Anyone, "x"), Ok("L1 M2"));
    check_in(&linked("L1 I2"), unlink(by(2), "x"), Err(Refused::NotActiveInSession));
    check_in(&linked("L1 I2"), unlink(by(2), "y"), Err(Refused::PlatformSessionNotFound));
    check("L1", unlink(by(1), "x"), Err(Refused::PlatformSessionNotFound));
    let mut session = linked("L1");
    unlink(by(1), "x")(&mut session).unwrap();
    assert!(session.platform_sessions.is_empty());
    assert_eq!(session.require_linked(Platform::PSN, &id("x")), Err(Refused::PlatformSessionNotFound));
}

#[test]
fn players_of_a_platform_session_play_on_it_or_came_through_it() {
    let mut session = linked("M1 L2 M3 I4");
    session.platform_sessions.get_mut(&Platform::PSN).unwrap().participants = vec![player(3)];
    for (number, platform) in [(1, Platform::PSN), (2, Platform::Steam), (3, Platform::Steam)] {
        set_client(&mut session, number, client(platform));
    }
    let players = |session: &Session, platform| {
        let players = session.platform_players(platform);
        let player = |player: &PlatformPlayer| (player.player.0.as_u128(), player.leader);
        players.iter().map(player).collect::<Vec<_>>()
    };
    assert_eq!(players(&session, Platform::PSN), [(1, true), (3, false)], "the first of them leads");
    set_client(&mut session, 2, client(Platform::PSN));
    let all = [(1, false), (2, true), (3, false)];
    assert_eq!(players(&session, Platform::PSN), all, "the leader of the session leads if all are in it");
    assert_eq!(players(&session, Platform::Steam), [], "it is not linked");
    assert_eq!(players(&linked("L1"), Platform::PSN), [], "no player plays on it");
}

#[test]
fn the_scout_of_a_platform_is_the_active_player_who_joined_first() {
    let mut session = session("L1 M2 M3 M4 I5");
    for (number, platform) in
        [(2, Platform::PSN), (3, Platform::Steam), (4, Platform::PSN), (5, Platform::Epic)]
    {
        set_client(&mut session, number, client(platform));
    }
    let scouts = BTreeMap::from([(Platform::PSN, player(2)), (Platform::Steam, player(3))]);
    assert_eq!(session.platform_scouts(), scouts);
}

#[test]
fn the_platform_of_an_active_player_is_noted_anew() {
    let mut session = session("L1 M2 I3 M4");
    for number in [1, 2, 3] {
        set_client(&mut session, number, client(Platform::XboxLive));
    }
    let before = session.clone();
    for (number, platform) in
        [(1, Platform::XboxLive), (3, Platform::PSN), (4, Platform::PSN), (9, Platform::PSN)]
    {
        session.note_platform(player(number), platform);
        assert_eq!(session, before, "{number}");
    }
    assert_eq!(session.platform_scouts(), [(Platform::XboxLive, player(1))].into());
    session.note_platform(player(1), Platform::PSN);
    let expected = [(Platform::PSN, player(1)), (Platform::XboxLive, player(2))];
    assert_eq!(session.platform_scouts(), expected.into());
    assert_eq!(session.entry(player(1)).unwrap().client, Some(client(Platform::PSN)));
}
