//! The events of each rule, by name and player.

use std::collections::BTreeMap;

use super::*;
use crate::domain::fixtures::{by, created, instance, join_rules, player, session};
use crate::domain::instance::{InstanceChange, JoinParams, JoinStatus};
use crate::domain::matchmaking::Profile;
use crate::domain::session::invite::Invite;
use crate::domain::session::match_made::MatchPlayer;
use crate::domain::session::{SessionChange, TeamChange};
use crate::domain::{Actor, CustomData, Platform, PlatformSessionId, Refused};

/// The events of a change.
fn events_of(before: Option<&Session>, after: &Session, cause: Cause) -> Vec<Event> {
    events(&Change { before, after, why: &cause.into(), at: created() })
}

/// The events of a rule, as `name player` in one text each.
fn names(
    before: &Session,
    cause: Cause,
    rule: impl FnOnce(&mut Session) -> Result<(), Refused>,
) -> Vec<String> {
    let mut after = before.clone();
    rule(&mut after).unwrap();
    events_of(Some(before), &after, cause).iter().map(name_of).collect()
}

fn name_of(event: &Event) -> String {
    match event.player {
        Some(player) => format!("{} {}", event.name, player.0.as_u128()),
        None => event.name.to_owned(),
    }
}

fn request(number: u128) -> Cause {
    Cause::Request(Some(player(number)))
}

fn invite() -> Invite {
    Invite {
        reserve: false,
        team_id: None,
        overflow: Default::default(),
        custom_data: CustomData::new(),
        inviting_player: Some(player(1)),
        source_session: None,
        now: created(),
    }
}

#[test]
fn a_new_session_has_an_event_and_one_for_each_player() {
    let events = events_of(None, &session("L1 I2"), request(1));
    let names: Vec<_> = events.iter().map(name_of).collect();
    assert_eq!(names, ["session.created", "player.joined 1", "player.invited 2"]);
}

#[test]
fn who_removes_a_player_decides_the_event() {
    let party = session("L1 M2 I3");
    let leaves = |number| names(&party, request(number), |session| session.leave(player(number), created()));
    assert_eq!(leaves(2), ["player.left 2"]);
    assert_eq!(leaves(3), ["player.declined 3"]);
    assert_eq!(leaves(1), ["player.left 1", "player.promoted 2"]);
    let kicks = |number| names(&party, request(1), |session| session.kick(by(1), player(number), created()));
    assert_eq!(
        (kicks(2), kicks(3)),
        (vec!["player.kicked 2".to_owned()], vec!["player.kicked 3".to_owned()])
    );
    let expires = |session: &mut Session| {
        session.expire_inactive(&[player(2)], &[player(3)], None, created());
        Ok(())
    };
    assert_eq!(names(&party, Cause::Server, expires), ["player.culled 2", "player.invite_expired 3"]);
    // A service takes a player out as the player would leave.
    assert_eq!(
        names(&party, Cause::Request(None), |session| session.leave(player(2), created())),
        ["player.left 2"]
    );
}

#[test]
fn the_end_of_a_session_says_why() {
    let reason = |before: &Session, cause, rule: fn(&mut Session) -> Result<(), Refused>| {
        let mut after = before.clone();
        rule(&mut after).unwrap();
        let events = events_of(Some(before), &after, cause);
        let last = events.last().unwrap().clone();
        (last.name, last.reason.unwrap().into_owned())
    };
    let alone = session("L1");
    let ended = |why: &str| ("session.ended", why.to_owned());
    assert_eq!(reason(&alone, request(1), |session| session.end_by(by(1))), ended("deleted"));
    assert_eq!(reason(&alone, request(1), |session| session.leave(player(1), created())), ended("empty"));
    let end = |session: &mut Session| {
        session.end();
        Ok(())
    };
    assert_eq!(reason(&alone, Cause::Idle, end), ended("timeout"));
    let cull = |session: &mut Session| {
        session.expire_inactive(&[player(1)], &[], None, created());
        Ok(())
    };
    assert_eq!(reason(&alone, Cause::Server, cull), ended("empty"));
}

#[test]
fn changes_of_the_session_and_of_teams_are_two_events() {
    let party = session("L1 | -");
    let update = |change: SessionChange| names(&party, request(1), |session| session.update(by(1), change));
    assert_eq!(update(SessionChange { joinable: Some(false), ..Default::default() }), ["session.updated"]);
    assert_eq!(
        update(SessionChange { region_id: Some("us".into()), ..Default::default() }),
        ["session.updated"]
    );
    let teams = Some(vec![TeamChange { max_size: Some(9), custom_data: None }]);
    assert_eq!(update(SessionChange { teams, ..Default::default() }), ["team.updated"]);
    assert_eq!(update(SessionChange::default()), Vec::<String>::new());
}

#[test]
fn a_swap_is_told_from_moves() {
    let teams = session("L1 M2 | M3");
    let moved = names(&teams, request(1), |session| session.move_to(by(1), player(2), Some(1), true));
    assert_eq!(moved, ["player.moved 2"]);
    let swapped = names(&teams, request(1), |session| session.swap(by(1), player(2), player(3)));
    assert_eq!(swapped, ["player.swapped 2", "player.swapped 3"]);
}

#[test]
fn invites_promotions_and_data_have_their_events() {
    let party = session("L1 M2 | -");
    let invited = names(&party, request(1), |session| session.invite(by(1), player(3), &invite()));
    assert_eq!(invited, ["player.invited 3"]);
    let reserve = Invite { reserve: true, ..invite() };
    let reserved = names(&party, request(1), |session| session.invite(by(1), player(3), &reserve));
    assert_eq!(reserved, ["player.reserved 3"]);
    let promoted = names(&party, request(1), |session| session.promote(by(1), player(2)));
    assert_eq!(promoted, ["player.promoted 2"]);
    let data: CustomData = [("a".to_owned(), "b".to_owned())].into();
    let updated = names(&party, request(2), |session| session.update_player(by(2), player(2), data));
    assert_eq!(updated, ["player.updated 2"]);
}

#[test]
fn links_have_their_events() {
    let party = session("L1");
    let id = PlatformSessionId::parse("room").unwrap();
    let template = crate::domain::template::PlatformTemplate {
        platform: None,
        platform_id: None,
        platform_session_type: "room".into(),
        max_players: None,
        custom_data: CustomData::new(),
    };
    let mut linked = party.clone();
    linked.link(by(1), Some(player(1)), Platform::Steam, &id, Some(&template)).unwrap();
    let found = events_of(Some(&party), &linked, request(1));
    assert_eq!(found.iter().map(|event| event.name).collect::<Vec<_>>(), ["platform.linked"]);
    assert_eq!(found[0].platform_session_id.as_ref(), Some(&id));
    let found = events_of(Some(&linked), &party, request(1));
    assert_eq!(found.iter().map(|event| event.name).collect::<Vec<_>>(), ["platform.unlinked"]);
}

#[test]
fn an_instance_is_followed_and_its_join_params_are_never_told() {
    let empty = session("L1");
    let mut requested = empty.clone();
    requested.instance = Some(instance(None, None));
    let step = |before: &Session, after: &Session| {
        events_of(Some(before), after, Cause::Request(None))
            .iter()
            .map(|event| event.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(step(&empty, &requested), ["instance.requested"]);
    let mut joinable = requested.clone();
    let join_params = JoinParams {
        public_conn_str: "203.0.113.7:7777".into(),
        private_conn_str: String::new(),
        custom_data: [("rh.SessionSecurityToken".to_owned(), "secret".to_owned())].into(),
    };
    let change = InstanceChange {
        join_status: Some(JoinStatus::Joinable),
        join_params: Some(join_params),
        ..InstanceChange::default()
    };
    joinable.update_instance(Actor::Anyone, change, joinable.created).unwrap();
    let found = events_of(Some(&requested), &joinable, Cause::Request(None));
    assert_eq!(found.iter().map(|event| event.name).collect::<Vec<_>>(), ["instance.updated"]);
    let text = serde_json::to_string(&found).unwrap();
    assert!(!text.contains("secret") && !text.contains("203.0.113.7"), "{text}");
    let mut removed = joinable.clone();
    removed.instance = None;
    assert_eq!(step(&joinable, &removed), ["instance.ended"]);
    let mut ended = joinable.clone();
    ended.end();
    assert_eq!(step(&joinable, &ended), ["instance.ended", "session.ended"]);
}

#[test]
fn a_backfill_begins_changes_and_ends() {
    let mut before = session("L1 M2");
    before.instance = Some(crate::domain::fixtures::instance(None, Some(1)));
    let mut filled = before.clone();
    filled.start_backfill("b".into(), "p".into(), crate::domain::fixtures::at_s(0));
    let found = events_of(Some(&before), &filled, Cause::Server);
    let [created] = &found[..] else { panic!("{found:?}") };
    assert_eq!((created.name, &*created.custom_data["backfill_id"]), ("backfill.created", "b"));
    assert_eq!(created.profile_id.as_deref(), Some("p"));
    let step = |cause, rule: fn(&mut Session)| {
        let mut after = filled.clone();
        rule(&mut after);
        let events = events_of(Some(&filled), &after, cause).into_iter();
        let events = events.filter(|event| event.name.starts_with("backfill."));
        events.map(|event| (event.name, event.reason.unwrap_or_default().into_owned())).collect::<Vec<_>>()
    };
    let host = Cause::Request(Some(crate::domain::fixtures::player(1)));
    let wants_none = |game: &mut Session| {
        game.update_backfill(Actor::Anyone, "i", BTreeMap::new(), None).unwrap();
    };
    assert_eq!(step(host, wants_none), [("backfill.updated", String::new())]);
    let ended = |why: &str| [("backfill.ended", why.to_owned())];
    let is_sent = |game: &mut Session| game.note_backfilled(0, &[crate::domain::fixtures::player(2)]);
    assert!(step(Cause::Server, is_sent).is_empty());
    let ends = |game: &mut Session| game.expire_backfill();
    assert_eq!(step(host, ends), ended("deleted"));
    assert_eq!(step(Cause::Server, ends), ended("timeout"));
    let closes = |game: &mut Session| {
        game.close_instance();
        game.expire_backfill();
    };
    assert_eq!(step(host, closes), ended("instance_ended"));
    let replaces = |game: &mut Session| {
        game.instance.as_mut().unwrap().instance_id = "other".into();
        game.expire_backfill();
    };
    assert_eq!(step(host, replaces), ended("instance_ended"));
    assert_eq!(step(host, |game| game.end()), ended("session_ended"));
}

#[test]
fn an_invite_names_what_has_sent_it() {
    let mut before = session("L1 M2");
    before.start_backfill("b".into(), "p".into(), crate::domain::fixtures::at_s(0));
    let source = |rule: fn(&mut Session)| {
        let mut after = before.clone();
        rule(&mut after);
        let events = events_of(Some(&before), &after, Cause::Server);
        events.into_iter().find(|event| event.name == "player.invited").unwrap().source
    };
    let give_place = |game: &mut Session| {
        let place = MatchPlayer {
            player: crate::domain::fixtures::player(5),
            reserve: false,
            custom_data: CustomData::new(),
            source_session: None,
        };
        game.give_place(0, place, 60, crate::domain::fixtures::at_s(1));
    };
    assert_eq!(source(give_place), Some(InviteSource::Matchmaking));
    let fill = |game: &mut Session| {
        let ticket = crate::domain::fixtures::ticket(&[5], 0);
        game.fill_with(0, &session("L5"), &ticket, &Profile::default(), crate::domain::fixtures::at_s(1));
    };
    assert_eq!(source(fill), Some(InviteSource::Backfill));
}

#[test]
fn the_reason_of_a_request_is_told_with_the_players_who_are_gone() {
    let party = session("L1 M2 M3");
    let reasons = |rule: fn(&mut Session) -> Result<(), Refused>| {
        let mut after = party.clone();
        rule(&mut after).unwrap();
        let why = Why { reason: Some("afk".into()), ..request(1).into() };
        let found = events(&Change { before: Some(&party), after: &after, why: &why, at: created() });
        found.into_iter().map(|event| (event.name, event.reason)).collect::<Vec<_>>()
    };
    let afk = Some(Cow::Borrowed("afk"));
    let kicked = reasons(|session| session.kick(by(1), player(2), created()));
    assert_eq!(kicked, [("player.kicked", afk.clone())]);
    let left = reasons(|session| session.leave(player(1), created()));
    assert_eq!(left, [("player.left", afk), ("player.promoted", None)]);
}

#[test]
fn a_session_is_invited_and_kicked_as_a_whole_and_each_of_its_players() {
    let game = session("L1 M4 | -");
    let party = SessionId::parse("party").unwrap();
    let mut invited = game.clone();
    let invite = Invite { source_session: Some(party.clone()), ..invite() };
    invited.invite_session(by(1), &[(player(2), None), (player(3), None)], &invite, join_rules()).unwrap();
    let found = events_of(Some(&game), &invited, request(1));
    let names: Vec<_> = found.iter().map(name_of).collect();
    assert_eq!(names, ["session.invited", "player.invited 2", "player.invited 3"]);
    assert!(found.iter().all(|event| event.invited_session.as_ref() == Some(&party)));

    let why = Why { removed_session: Some(party.clone()), ..request(1).into() };
    let kick = |players: &[u128]| {
        let players: Vec<_> = players.iter().map(|number| player(*number)).collect();
        let mut after = invited.clone();
        after.kick_all(by(1), Some(player(1)), &players, created()).unwrap();
        events(&Change { before: Some(&invited), after: &after, why: &why, at: created() })
    };
    let found = kick(&[3, 4]);
    let names: Vec<_> = found.iter().map(name_of).collect();
    assert_eq!(names, ["session.kicked", "player.kicked 3", "player.kicked 4"]);
    assert_eq!(found[0].removed_session, Some(party));
    assert!(kick(&[9]).is_empty(), "nobody of it is there");
}
