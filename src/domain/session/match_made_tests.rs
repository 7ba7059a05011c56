use super::*;
use crate::domain::audit::{Cause, Change, InviteSource, events};
use crate::domain::fixtures::{
    at_s, by, created, instance, join_rules, joiner, player, roster, session, template, ticket,
};
use crate::domain::instance::InstanceChange;
use crate::domain::session::join::JoinPath;
use crate::domain::{Actor, Refused};

/// A match of 1 and 2 against 3: the parties of 1 and 3 have waited, the former longer.
fn new_match<'a>(profile: &'a Profile, template: &'a Template) -> NewMatch<'a> {
    let place = |number: u128| MatchPlayer {
        player: player(number),
        reserve: profile.invite == InviteTime::WhenJoinable,
        custom_data: CustomData::new(),
        source_session: Some(SessionId::parse("party").unwrap()),
    };
    let team = |numbers: &[u128]| MatchTeam {
        max_size: 2,
        ticket_ids: vec![numbers[0].to_string()],
        custom_data: None,
        players: numbers.iter().map(|number| place(*number)).collect(),
    };
    let ticket_of = |numbers: &[u128], waited_s: i64| {
        let mut ticket = ticket(numbers, 100 - waited_s);
        ticket.id = Uuid::from_u128(numbers[0]);
        let party = session(&format!("L{}", numbers.last().unwrap()));
        MatchedTicket::of(&party, &ticket, (None, at_s(100)), "eu", &Matchmaking::default())
    };
    NewMatch {
        session: NewSession {
            id: SessionId::parse("match").unwrap(),
            session_type: "game".into(),
            now: at_s(100),
            region_id: Some("eu".into()),
            password: None,
        },
        match_id: "m".into(),
        custom_data: CustomData::new(),
        scores: MatchScores::default(),
        requested: None,
        profile_id: "p",
        profile,
        template,
        teams: vec![team(&[1, 2]), team(&[3])],
        tickets: vec![ticket_of(&[1, 2], 30), ticket_of(&[3], 10)],
        instance: Some(Instance { join_status: JoinStatus::Pending, ..instance(None, None) }),
        host_player: None,
    }
}

fn made(profile: &Profile) -> Session {
    Session::of_match(new_match(profile, &template()))
}

/// A match whose places are reserved until its instance can be joined.
fn made_when_joinable() -> Session {
    made(&Profile { invite: InviteTime::WhenJoinable, ..Profile::default() })
}

fn join(session: &mut Session, number: u128, team_id: Option<usize>) -> Result<(), Refused> {
    let joiner = super::super::join::Joiner { team_id, ..joiner(number) };
    session.join(&joiner, JoinPath::Session, join_rules())
}

fn says(session: &mut Session, join_status: JoinStatus) {
    let change = InstanceChange { join_status: Some(join_status), ..InstanceChange::default() };
    session.update_instance(Actor::Anyone, change, at_s(200)).unwrap();
}

fn host(session: &Session) -> Option<PlayerUuid> {
    session.instance.as_ref().unwrap().host_player
}

#[test]
fn a_match_invites_its_players_to_their_sides() {
    let made = made(&Profile::default());
    assert_eq!(roster(&made), "I1 I2 | I3");
    assert_eq!(made.teams.iter().map(|team| team.ticket_ids.len()).collect::<Vec<_>>(), [1, 1]);
    let entry = made.entry(player(3)).unwrap();
    assert_eq!(
        (entry.invited, entry.inviting_player, entry.match_timeout_s),
        (Some(at_s(100)), None, Some(60))
    );
    assert_eq!(entry.source_session.as_ref().unwrap().as_str(), "party");
    let results = &made.match_made.as_ref().unwrap().results;
    assert_eq!(results.tickets.iter().map(|ticket| ticket.wait_s).collect::<Vec<_>>(), [30, 10]);
    let instance = made.instance.as_ref().unwrap();
    assert_eq!(
        (instance.match_id.as_deref(), instance.match_making_profile_id.as_deref()),
        (Some("m"), Some("p"))
    );
    assert!(made.leader().is_none());
}

#[test]
fn a_matched_player_keeps_the_side_and_the_first_one_leads() {
    let mut made = made(&Profile::default());
    join(&mut made, 3, Some(0)).unwrap();
    join(&mut made, 1, Some(7)).unwrap();
    assert_eq!(roster(&made), "M1 I2 | L3");
    assert_eq!(made.entry(player(3)).unwrap().match_timeout_s, None);
    // Who has no place in the match chooses, as everywhere.
    made.joinability.open = true;
    assert_eq!(join(&mut made, 9, Some(0)), Err(Refused::TeamFull));
    join(&mut made, 9, Some(1)).unwrap();
    assert_eq!(roster(&made), "M1 I2 | L3 M9");
}

#[test]
fn a_session_ends_when_nobody_comes() {
    let mut declined = made(&Profile::default());
    for (number, after) in [(1, "I2 | I3"), (3, "I2 | -"), (2, "ended")] {
        declined.leave(player(number), at_s(150)).unwrap();
        assert_eq!(roster(&declined), after);
    }
    let mut expired = made(&Profile::default());
    expired.expire_inactive(&[], &[player(1), player(2), player(3)], None, at_s(150));
    assert_eq!(roster(&expired), "ended");
    // Somebody was there: then the template decides, as everywhere.
    let stays = Template { keep_alive_on_empty: true, ..template() };
    let mut entered = Session::of_match(new_match(&Profile::default(), &stays));
    join(&mut entered, 2, None).unwrap();
    for number in [1, 2, 3] {
        entered.leave(player(number), at_s(150)).unwrap();
    }
    assert_eq!(roster(&entered), "- | -");
    let mut unused = Session::of_match(new_match(&Profile::default(), &stays));
    unused.expire_inactive(&[], &[player(1), player(2), player(3)], None, at_s(150));
    assert_eq!(roster(&unused), "ended");
}

#[test]
fn reserved_places_become_invites_when_the_instance_can_be_joined() {
    let mut made = made_when_joinable();
    assert_eq!(roster(&made), "R1 I2 | R3", "the host is invited");
    assert!(made.waits_for_instance(made.entry(player(1)).unwrap()));
    says(&mut made, JoinStatus::Pending);
    join(&mut made, 3, None).unwrap();
    assert_eq!(roster(&made), "R1 I2 | L3", "a reservation can be accepted before");
    says(&mut made, JoinStatus::Joinable);
    assert_eq!(roster(&made), "I1 I2 | L3");
    assert_eq!(made.entry(player(1)).unwrap().invited, Some(at_s(200)));
    assert_eq!(made.entry(player(2)).unwrap().invited, Some(at_s(100)), "as before");
    // A reservation by a player is not one by the match.
    let mut at_once = self::made(&Profile::default());
    at_once.give_place(
        0,
        MatchPlayer {
            reserve: true,
            ..new_match(&Profile::default(), &template()).teams[0].players[0].clone()
        },
        60,
        created(),
    );
    says(&mut at_once, JoinStatus::Joinable);
    assert_eq!(roster(&at_once), "R1 I2 | I3");
}

#[test]
fn the_next_player_hosts_if_the_host_does_not_come() {
    let mut made = made(&Profile::default());
    // The leader of the party that has waited longest is player 2.
    assert_eq!(host(&made), Some(player(2)));
    assert!(matches!(made.require_host(by(2)), Err(Refused::NotSessionHost)), "not active yet");
    join(&mut made, 3, None).unwrap();
    assert_eq!(made.require_host(by(3)), Err(Refused::NotSessionHost), "the host may still come");
    made.leave(player(2), at_s(150)).unwrap();
    assert_eq!((roster(&made).as_str(), host(&made)), ("I1 | L3", Some(player(1))));
    made.expire_inactive(&[], &[player(1)], None, at_s(150));
    assert_eq!(host(&made), Some(player(3)));
    made.require_host(by(3)).unwrap();
    says(&mut made, JoinStatus::Joinable);
    made.give_place(
        0,
        new_match(&Profile::default(), &template()).teams[0].players[0].clone(),
        60,
        created(),
    );
    join(&mut made, 1, None).unwrap();
    made.leave(player(3), at_s(150)).unwrap();
    assert_eq!(made.instance, None, "an instance that could be joined ends with its host");
    let mut named = Session::of_match(NewMatch {
        host_player: Some(player(3)),
        ..new_match(&Profile::default(), &template())
    });
    assert_eq!(host(&named), Some(player(3)));
    named.leave(player(3), at_s(150)).unwrap();
    assert_eq!(host(&named), Some(player(2)));
}

#[test]
fn each_host_is_invited_before_the_instance_can_be_joined() {
    let mut made = made_when_joinable();
    assert!(!made.waits_for_instance(made.entry(player(2)).unwrap()), "the invite of the host times out");
    made.expire_inactive(&[], &[player(2)], None, at_s(160));
    assert_eq!((roster(&made).as_str(), host(&made)), ("I1 | R3", Some(player(1))));
    assert_eq!(made.entry(player(1)).unwrap().invited, Some(at_s(160)));
    made.leave(player(1), at_s(170)).unwrap();
    assert_eq!((roster(&made).as_str(), host(&made)), ("- | I3", Some(player(3))));
    assert_eq!(made.entry(player(3)).unwrap().invited, Some(at_s(170)));
    made.expire_inactive(&[], &[player(3)], None, at_s(230));
    assert_eq!(roster(&made), "ended", "nobody can open it any more");
    // A host who came and left again.
    let mut left = made_when_joinable();
    join(&mut left, 2, None).unwrap();
    join(&mut left, 3, None).unwrap();
    left.leave(player(2), at_s(180)).unwrap();
    assert_eq!((roster(&left).as_str(), host(&left)), ("I1 | L3", Some(player(1))));
    // Places of a dedicated server wait, all of them.
    let profile = Profile { invite: InviteTime::WhenJoinable, ..Profile::default() };
    let template = template();
    let mut dedicated = new_match(&profile, &template);
    dedicated.instance.as_mut().unwrap().host_type = HostType::Dedicated;
    assert_eq!(roster(&Session::of_match(dedicated)), "R1 R2 | R3");
}

#[test]
fn the_numeric_id_of_the_host_is_known_once_the_host_is_there() {
    let comes = |session: &mut Session, number: u128, player_id| {
        let joiner = super::super::join::Joiner { player_id, ..joiner(number) };
        session.join(&joiner, JoinPath::Session, join_rules()).unwrap();
    };
    let host_id = |session: &Session| session.instance.as_ref().unwrap().host_player_id;
    let mut made = made(&Profile::default());
    comes(&mut made, 3, Some(30));
    assert_eq!(host_id(&made), None, "not the host");
    comes(&mut made, 2, Some(20));
    assert_eq!(host_id(&made), Some(20));
    made.leave(player(2), at_s(150)).unwrap();
    assert_eq!((host(&made), host_id(&made)), (Some(player(1)), None));
    made.leave(player(1), at_s(150)).unwrap();
    assert_eq!((host(&made), host_id(&made)), (Some(player(3)), Some(30)), "active already");
}

#[test]
fn the_audit_says_that_a_match_was_made_and_who_invites() {
    let (profile, template) = (Profile::default(), template());
    let mut made = Session::of_match(NewMatch {
        custom_data: [("map".into(), "dunes".into())].into(),
        scores: MatchScores { evaluation_score: Some(0.75), rank_quality: Some(2.0) },
        requested: Some(created()),
        ..new_match(&profile, &template)
    });
    made.start_backfill("b".into(), "p".into(), at_s(100));
    let change = Change { before: None, after: &made, why: &Cause::Server.into(), at: at_s(100) };
    let events = events(&change);
    let of_match = events.iter().find(|event| event.name == "match.created").unwrap();
    assert_eq!((of_match.match_id.as_deref(), of_match.profile_id.as_deref()), (Some("m"), Some("p")));
    let data = [
        ("map", "dunes"),
        ("evaluation_score", "0.75"),
        ("rank_quality", "2"),
        ("backfill_id", "b"),
        ("match_create_request_time", "2026-11-24T12:00:00.125Z"),
    ];
    assert_eq!(of_match.custom_data, data.map(|(name, value)| (name.into(), value.into())).into());
    let of_backfill = events.iter().find(|event| event.name == "backfill.created").unwrap();
    assert_eq!((of_backfill.match_id.as_deref(), of_backfill.profile_id.as_deref()), (Some("m"), Some("p")));
    let invites: Vec<_> = events.iter().filter(|event| event.name == "player.invited").collect();
    assert_eq!(invites.len(), 3);
    assert!(invites.iter().all(|event| event.source == Some(InviteSource::Matchmaking)));
}
