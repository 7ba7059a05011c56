use super::*;
use crate::domain::PlatformSessionId;
use crate::domain::client::{CrossplayInput, CrossplayPlatform, CrossplayPreferences};
use crate::domain::fixtures::{
    at_s, check, check_in, client, empty_session, join_rules, joiner, player, roster, session, set_client,
    template,
};
use crate::domain::password::PasswordHash;
use crate::domain::session::Joinability;
use crate::domain::session::platform::PlatformSession;
use crate::domain::template::Template;

const CLOSED: Joinability = Joinability { open: false, friends: false, platform: false };
const BY_PSN: JoinPath = JoinPath::Platform(Platform::PSN);

/// Joins by the session's own id.
fn join(joiner: Joiner) -> impl FnOnce(&mut Session) -> Result<(), Refused> {
    join_by(joiner, JoinPath::Session, join_rules())
}

fn join_by(
    joiner: Joiner,
    path: JoinPath,
    rules: JoinRules,
) -> impl FnOnce(&mut Session) -> Result<(), Refused> {
    move |session| session.join(&joiner, path, rules)
}

fn to_team(number: u128, team_id: usize) -> Joiner {
    Joiner { team_id: Some(team_id), ..joiner(number) }
}

fn with_client(number: u128, client: Client) -> Joiner {
    Joiner { client: Some(client), ..joiner(number) }
}

/// A session that nobody may join without an invite.
fn closed(roster: &str) -> Session {
    Session { joinability: CLOSED, ..session(roster) }
}

#[test]
fn the_first_player_leads_and_later_ones_are_members() {
    let mut created = empty_session(&template());
    created.enter_first(&joiner(1), at_s(0)).unwrap();
    assert_eq!(roster(&created), "L1");
    check_in(&created, join(joiner(2)), Ok("L1 M2"));

    // A session that was kept alive without active players.
    check("I2", join(joiner(2)), Ok("L2"));
    check("I2", join(joiner(3)), Ok("I2 L3"));
    // The creator may ask for a team that the session has.
    let enter = |team_id| move |session: &mut Session| session.enter_first(&to_team(1, team_id), at_s(0));
    let teams = empty_session(&Template { num_teams: 2, ..template() });
    check_in(&teams, enter(1), Ok("- | L1"));
    check_in(&teams, enter(2), Err(Refused::TeamNotFound));
}

#[test]
fn a_joiner_gets_the_requested_team_else_that_of_the_invite_else_the_first_with_room() {
    check("L1 | -", join(joiner(3)), Ok("L1 M3 | -"));
    check("L1 M2 | -", join(joiner(3)), Ok("L1 M2 | M3"));
    check("L1 | -", join(to_team(3, 1)), Ok("L1 | M3"));
    check("L1 | I3", join(joiner(3)), Ok("L1 | M3"));
    check("L1 | I3", join(to_team(3, 0)), Ok("L1 M3 | -"));
    // Invited players use the slot that they have, even if the team has more players than slots.
    check("L1 M2 I3 | -", join(joiner(3)), Ok("L1 M2 M3 | -"));
    check("L1 M2 R3", join(joiner(3)), Ok("L1 M2 M3"));

    check("L1 | -", join(to_team(3, 2)), Err(Refused::TeamNotFound));
    check("L1 M2 | M4 M5", join(to_team(3, 2)), Err(Refused::TeamNotFound));
    check("L1 M2 | -", join(to_team(3, 0)), Err(Refused::TeamFull));
    check("L1 I2 | -", join(to_team(3, 0)), Err(Refused::TeamFull));
    check("L1 R2 | I3", join(to_team(3, 0)), Err(Refused::TeamFull));
    check("L1 M2 | M4 M5", join(to_team(3, 0)), Err(Refused::SessionFull));
    check("L1 I2 | R4 M5", join(joiner(3)), Err(Refused::SessionFull));
}

#[test]
fn without_an_invite_a_join_path_must_be_open() {
    let friend_of = |number| Joiner { friend: Some(player(number)), ..joiner(3) };
    let open = Session { joinability: Joinability { open: true, ..CLOSED }, ..session("L1") };
    check_in(&open, join(joiner(3)), Ok("L1 M3"));
    check_in(&open, join_by(joiner(3), BY_PSN, join_rules()), Ok("L1 M3"));

    let platform = Session { joinability: Joinability { platform: true, ..CLOSED }, ..session("L1") };
    check_in(&platform, join_by(joiner(3), BY_PSN, join_rules()), Ok("L1 M3"));
    check_in(&platform, join(friend_of(1)), Err(Refused::SessionNotJoinable));

    let friends = Session { joinability: Joinability { friends: true, ..CLOSED }, ..session("L1 | I2") };
    check_in(&friends, join(friend_of(1)), Ok("L1 M3 | I2"));
    check_in(&friends, join(friend_of(2)), Err(Refused::SessionNotJoinable));
    check_in(&friends, join(friend_of(9)), Err(Refused::SessionNotJoinable));
    check_in(&friends, join_by(joiner(3), BY_PSN, join_rules()), Err(Refused::SessionNotJoinable));
    let untrusted = JoinRules { trust_friends: false, ..join_rules() };
    check_in(&friends, join_by(friend_of(1), JoinPath::Session, untrusted), Err(Refused::SessionNotJoinable));

    check_in(&closed("L1"), join(joiner(3)), Err(Refused::SessionNotJoinable));
    check_in(&closed("L1 I3"), join(joiner(3)), Ok("L1 M3"));
    check_in(&closed("L1 R3"), join(joiner(3)), Ok("L1 M3"));
}

#[test]
fn the_first_check_that_fails_is_the_refusal() {
    let mut strict = closed("L1 M2");
    strict.password = Some(PasswordHash::new("open sesame", [1; 16]));
    let wants_xbox = CrossplayPreferences {
        permitted_platform: CrossplayPlatform::XboxLike,
        permitted_input: CrossplayInput::Any,
    };
    set_client(&mut strict, 1, Client { crossplay: Some(wants_xbox), ..client(Platform::XboxLive) });
    let exact = JoinRules { version_check: VersionCheck::Exact, ..join_rules() };
    let mut stranger = with_client(3, Client { version: "2.0".into(), ..client(Platform::PSN) });
    stranger.team_id = Some(7);
    let refused = |session: &Session, stranger: &Joiner| {
        session.clone().join(stranger, JoinPath::Session, exact).unwrap_err()
    };

    assert_eq!(refused(&strict, &stranger), Refused::SessionNotJoinable);
    strict.joinability.open = true;
    assert_eq!(refused(&strict, &stranger), Refused::WrongPassword);
    stranger.password = Some("close sesame".into());
    assert_eq!(refused(&strict, &stranger), Refused::WrongPassword);
    stranger.password = Some("open sesame".into());
    assert_eq!(refused(&strict, &stranger), Refused::VersionMismatch);
    stranger.client = Some(client(Platform::PSN));
    assert_eq!(refused(&strict, &stranger), Refused::CrossplayMismatch);
    stranger.client = Some(client(Platform::XboxLive));
    assert_eq!(refused(&strict, &stranger), Refused::TeamNotFound);
    stranger.team_id = Some(0);
    assert_eq!(refused(&strict, &stranger), Refused::SessionFull);
    strict.teams[0].max_size = 3;
    check_in(&strict, join_by(stranger, JoinPath::Session, exact), Ok("L1 M2 M3"));
}

#[test]
fn an_invite_replaces_joinability_password_and_version_but_not_crossplay() {
    let mut strict = closed("L1 | I3");
    strict.password = Some(PasswordHash::new("open sesame", [1; 16]));
    set_client(&mut strict, 1, client(Platform::XboxLive));
    let exact = JoinRules { version_check: VersionCheck::Exact, ..join_rules() };
    let other_version = with_client(3, Client { version: "2.0".into(), ..client(Platform::PSN) });
    check_in(&strict, join_by(other_version, JoinPath::Session, exact), Ok("L1 | M3"));

    let wants_xbox = CrossplayPreferences {
        permitted_platform: CrossplayPlatform::XboxLike,
        permitted_input: CrossplayInput::Any,
    };
    set_client(&mut strict, 1, Client { crossplay: Some(wants_xbox), ..client(Platform::XboxLive) });
    check_in(&strict, join(with_client(3, client(Platform::PSN))), Err(Refused::CrossplayMismatch));
}

#[test]
fn clients_must_fit_those_of_every_active_player() {
    let wants_psn = CrossplayPreferences {
        permitted_platform: CrossplayPlatform::PlayStationLike,
        permitted_input: CrossplayInput::Any,
    };
    let mut session = session("L1 | I4");
    set_client(&mut session, 1, client(Platform::XboxLive));
    // Neither an invited player nor a player without a client restricts others.
    set_client(&mut session, 4, Client { crossplay: Some(wants_psn), ..client(Platform::PSN) });
    check_in(&session, join(with_client(3, client(Platform::Steam))), Ok("L1 M3 | I4"));
    check_in(&session, join(joiner(3)), Ok("L1 M3 | I4"));
    // Both sides have to agree.
    let picky = Client { crossplay: Some(wants_psn), ..client(Platform::PSN) };
    check_in(&session, join(with_client(3, picky.clone())), Err(Refused::CrossplayMismatch));
    set_client(&mut session, 1, picky);
    check_in(&session, join(with_client(3, client(Platform::Steam))), Err(Refused::CrossplayMismatch));
    check_in(&session, join(with_client(3, client(Platform::PSN))), Ok("L1 M3 | I4"));
    check_in(&session, join(joiner(3)), Err(Refused::CrossplayMismatch));

    // A joiner without a client has no version.
    let exact = JoinRules { version_check: VersionCheck::Exact, ..join_rules() };
    set_client(&mut session, 1, client(Platform::PSN));
    check_in(&session, join_by(joiner(3), JoinPath::Session, exact), Err(Refused::VersionMismatch));
    let fits = with_client(3, client(Platform::PSN));
    check_in(&session, join_by(fits, JoinPath::Session, exact), Ok("L1 M3 | I4"));
}

#[test]
fn joining_again_changes_only_the_client() {
    let data = CustomData::from([("a".into(), "b".into())]);
    let mut joined = closed("L1 M2 | -");
    let mut again = Joiner { custom_data: Some(data), player_id: Some(17), ..to_team(2, 1) };
    again.client = Some(client(Platform::PSN));
    join(again)(&mut joined).unwrap();
    // What the joiner does not give stays.
    join(joiner(2))(&mut joined).unwrap();
    assert_eq!(roster(&joined), "L1 M2 | -");
    let entry = joined.entry(player(2)).unwrap();
    assert_eq!((entry.player_id, entry.client.clone()), (Some(17), Some(client(Platform::PSN))));
    assert_eq!((entry.joined, entry.custom_data.is_empty()), (Some(at_s(2)), true));
}

#[test]
fn a_joiner_keeps_the_data_of_an_invite_unless_it_brings_its_own() {
    let data = |value: &str| CustomData::from([("a".into(), value.into())]);
    for (own, expected) in [(None, data("invite")), (Some(data("own")), data("own"))] {
        let mut invited = session("L1 I2");
        invited.entry_mut(player(2)).unwrap().custom_data = data("invite");
        join(Joiner { custom_data: own, ..joiner(2) })(&mut invited).unwrap();
        let entry = invited.entry(player(2)).unwrap();
        assert_eq!((&entry.custom_data, entry.joined), (&expected, Some(at_s(100))));
        assert_eq!((entry.invited, entry.sequence), (Some(at_s(2)), 2));
    }
}

#[test]
fn entries_are_numbered_and_numbers_are_not_used_again() {
    let mut numbered = session("L1 M2");
    numbered.leave(player(2), at_s(150)).unwrap();
    join(joiner(2))(&mut numbered).unwrap();
    assert_eq!(numbered.entry(player(2)).unwrap().sequence, 3);
}

#[test]
fn a_player_who_joins_through_a_platform_session_is_its_participant() {
    let mut linked = session("L1");
    let psn = PlatformSession {
        id: PlatformSessionId::parse("x").unwrap(),
        platform_session_type: "lobby".into(),
        custom_data: CustomData::new(),
        participants: Vec::new(),
    };
    linked.platform_sessions.insert(Platform::PSN, Box::new(psn));
    for (number, path) in [(2, JoinPath::Session), (2, BY_PSN), (1, BY_PSN), (2, BY_PSN)] {
        join_by(joiner(number), path, join_rules())(&mut linked).unwrap();
    }
    assert_eq!(linked.platform_sessions[&Platform::PSN].participants, [player(2), player(1)]);
}

#[test]
fn create_or_join_finds_open_sessions_with_a_free_slot() {
    assert!(session("L1").is_open_with_room());
    assert!(session("L1 M2 | -").is_open_with_room());
    assert!(!session("L1 I2").is_open_with_room());
    assert!(!closed("L1").is_open_with_room());
}
