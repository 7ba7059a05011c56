use super::*;
use crate::domain::fixtures::{by, check, check_in, created, instance, player, session};

use crate::domain::launch::LaunchLink;
use Actor::{Anyone, Nobody};

/// A session of this roster with an instance of this host and registrar.
fn played(roster: &str, host: Option<u128>, registrar: Option<u128>) -> Session {
    Session { instance: Some(instance(host, registrar)), ..session(roster) }
}

#[test]
fn the_leader_requests_one_instance() {
    let request =
        |actor, host| move |session: &mut Session| session.request_instance(actor, instance(host, None));
    check("L1 M2", request(by(1), None), Ok("L1 M2"));
    check("L1 M2", request(Anyone, Some(2)), Ok("L1 M2"));
    check("L1 M2", request(by(2), Some(2)), Err(Refused::NotSessionLeader));
    check("L1 I2", request(by(2), None), Err(Refused::NotActiveInSession));
    check("L1 I2", request(by(1), Some(2)), Err(Refused::PlayerNotActive));
    check("L1", request(by(1), Some(9)), Err(Refused::PlayerNotFound));
    check_in(&played("L1", None, None), request(by(1), Some(9)), Err(Refused::InstanceExists));
}

#[test]
fn a_closed_instance_is_replaced_by_one_with_another_id() {
    let mut session = played("L1 M2", None, None);
    session.close_instance();
    let request = |id: &str| {
        let wanted = Instance { instance_id: id.into(), ..instance(Some(2), None) };
        move |session: &mut Session| session.request_instance(by(1), wanted)
    };
    check_in(&session, request("i"), Err(Refused::InstanceExists));
    request("j")(&mut session).unwrap();
    let replaced = session.instance.as_ref().unwrap();
    assert_eq!((&replaced.instance_id[..], replaced.is_closed()), ("j", false));
    check_in(&session, request("k"), Err(Refused::InstanceExists));
}

#[test]
fn a_host_has_its_numeric_id_from_the_request_or_the_session() {
    for (requested, expected) in [(None, Some(17)), (Some(18), Some(18))] {
        let mut session = session("L1");
        session.active_entry(player(1)).unwrap().player_id = Some(17);
        let wanted = Instance { host_player_id: requested, ..instance(Some(1), None) };
        session.request_instance(by(1), wanted).unwrap();
        assert_eq!(session.instance.unwrap().host_player_id, expected);
    }
}

#[test]
fn host_and_registrar_control_the_instance_and_the_leader_does_after_them() {
    let require = |actor| move |session: &mut Session| session.require_host(actor);
    let roster = "L1 M2 M3 | I4";
    for (host, registrar, actor, is_host) in [
        (Some(2), Some(3), by(2), true),
        (Some(2), Some(3), by(3), true),
        (Some(2), Some(3), by(1), false),
        (Some(2), None, by(1), false),
        // Neither is active any more.
        (Some(8), Some(9), by(1), true),
        (Some(8), Some(4), by(1), true),
        (Some(8), Some(9), by(2), false),
        (Some(8), Some(4), by(4), false),
        (Some(8), Some(9), by(8), false),
        // A server hosts it.
        (None, None, by(1), false),
        (None, None, Anyone, true),
        (Some(2), Some(3), Anyone, true),
        (Some(2), Some(3), Nobody, false),
    ] {
        let expected = if is_host { Ok(roster) } else { Err(Refused::NotSessionHost) };
        check_in(&played(roster, host, registrar), require(actor), expected);
    }
    check("L1 M2", require(by(2)), Err(Refused::InstanceNotFound));
    check("L1 M2", require(Anyone), Err(Refused::InstanceNotFound));
    check("L1", require(by(9)), Err(Refused::NotActiveInSession));
}

#[test]
fn the_host_updates_the_instance() {
    let before = played("L1 M2", Some(2), None);
    let change = || InstanceChange {
        allocation_id: Some("a".into()),
        join_status: Some(JoinStatus::Unjoinable),
        join_params: None,
        version: Some("1.0".into()),
        custom_data: Some(CustomData::from([("a".into(), "b".into())])),
        match_id: Some("m".into()),
    };
    let mut changed = before.clone();
    changed.update_instance(by(2), change(), created()).unwrap();
    let expected = Instance {
        allocation_id: Some("a".into()),
        join_status: JoinStatus::Unjoinable,
        version: Some("1.0".into()),
        custom_data: CustomData::from([("a".into(), "b".into())]),
        match_id: Some("m".into()),
        ..instance(Some(2), None)
    };
    assert_eq!(changed.instance.as_ref(), Some(&expected));
    let same = InstanceChange { allocation_id: Some("a".into()), ..InstanceChange::default() };
    changed.update_instance(by(2), same, created()).unwrap();
    assert_eq!(changed.instance.as_ref(), Some(&expected), "what is absent stays");

    let update = |actor, allocation_id: Option<&str>| {
        let change = InstanceChange { allocation_id: allocation_id.map(str::to_owned), ..change() };
        move |session: &mut Session| session.update_instance(actor, change, created())
    };
    check_in(&changed, update(by(2), Some("b")), Err(Refused::AllocationMismatch));
    check_in(&changed, update(by(2), None), Err(Refused::AllocationMismatch));
    check_in(&changed, update(by(1), Some("b")), Err(Refused::NotSessionHost));
    check("L1", update(by(1), None), Err(Refused::InstanceNotFound));
}

fn status(join_status: JoinStatus) -> InstanceChange {
    InstanceChange { join_status: Some(join_status), ..InstanceChange::default() }
}

#[test]
fn closed_is_final_and_frees_the_allocation() {
    let mut session = played("L1 M2", Some(2), None);
    let allocated = InstanceChange { allocation_id: Some("a".into()), ..InstanceChange::default() };
    session.update_instance(by(2), allocated.clone(), created()).unwrap();
    session.set_health("i", Health::Healthy).unwrap();
    let close = |session: &mut Session| session.update_instance(by(2), status(JoinStatus::Closed), created());
    check_in(&session, close, Err(Refused::AllocationMismatch));
    let change = InstanceChange { join_status: Some(JoinStatus::Closed), ..allocated.clone() };
    session.update_instance(by(2), change, created()).unwrap();
    let expected = Instance { join_status: JoinStatus::Closed, ..instance(Some(2), None) };
    assert_eq!(session.instance.as_ref(), Some(&expected), "without allocation and health");
    for reopened in [
        JoinStatus::Requested,
        JoinStatus::Allocated,
        JoinStatus::Pending,
        JoinStatus::Joinable,
        JoinStatus::Unjoinable,
    ] {
        let reopen = |session: &mut Session| session.update_instance(by(2), status(reopened), created());
        check_in(&session, reopen, Err(Refused::InstanceClosed));
    }
    close(&mut session).unwrap();
    session.update_instance(by(2), allocated, created()).unwrap();
    assert_eq!(session.instance.as_ref(), Some(&expected), "a closed instance takes no allocation");
    assert_eq!(session.require_instance("i"), Err(Refused::InstanceNotFound));
}

#[test]
fn a_host_does_not_remove_what_the_server_notes_in_the_custom_data() {
    let mut session = played("L1", Some(1), None);
    let noted = || CustomData::from([("rallypoint.launch".into(), "lost".into())]);
    session.instance.as_mut().unwrap().custom_data = noted();
    for (given, expected) in [(vec![("a", "b")], vec![("a", "b")]), (vec![], vec![])] {
        let data = |entries: Vec<(&str, &str)>| {
            entries
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect::<CustomData>()
        };
        let change = InstanceChange { custom_data: Some(data(given)), ..InstanceChange::default() };
        session.update_instance(by(1), change, created()).unwrap();
        let expected: CustomData = data(expected).into_iter().chain(noted()).collect();
        assert_eq!(session.instance.as_ref().unwrap().custom_data, expected);
    }
}

#[test]
fn a_session_that_a_service_made_ends_with_its_instance_if_nobody_is_active() {
    let close =
        |session: &mut Session| session.update_instance(Anyone, status(JoinStatus::Closed), created());
    let end = |session: &mut Session| session.end_instance(Anyone);
    let made = |roster: &str| Session { made_by_service: true, ..played(roster, None, None) };
    for (roster, expected) in [("-", "ended"), ("I1 R2", "ended"), ("L1", "L1"), ("L1 I2", "L1 I2")] {
        check_in(&made(roster), close, Ok(expected));
        check_in(&made(roster), end, Ok(expected));
        let kept = Session { keep_alive_on_empty: true, ..made(roster) };
        let players = Session { made_by_service: false, ..made(roster) };
        for stays in [kept, players] {
            check_in(&stays, close, Ok(roster));
            check_in(&stays, end, Ok(roster));
        }
    }
    // A repeated request to close does not end it: its instance did not become closed.
    let mut session = made("L1");
    close(&mut session).unwrap();
    session.leave(player(1), created()).unwrap();
    check_in(&session, close, Ok("-"));
    check_in(&session, end, Ok("ended"));
}

#[test]
fn the_host_ends_the_instance() {
    let end = |actor| move |session: &mut Session| session.end_instance(actor);
    let mut session = played("L1 M2", Some(2), None);
    check_in(&session, end(by(1)), Err(Refused::NotSessionHost));
    end(by(2))(&mut session).unwrap();
    assert_eq!(session.instance, None);
    check_in(&session, end(by(2)), Err(Refused::InstanceNotFound));
}

#[test]
fn health_belongs_to_the_current_instance() {
    let mut session = played("L1", Some(1), None);
    session.set_health("i", Health::Degraded).unwrap();
    assert_eq!(session.instance.as_ref().unwrap().health, Some(Health::Degraded));
    let set = |instance_id| move |session: &mut Session| session.set_health(instance_id, Health::Healthy);
    check_in(&session, set("other"), Err(Refused::InstanceNotFound));
    check("L1", set("i"), Err(Refused::InstanceNotFound));
    assert_eq!(session.require_instance("i"), Ok(()));
    assert_eq!(session.require_instance("other"), Err(Refused::InstanceNotFound));
}

#[test]
fn only_the_server_of_the_present_attempt_speaks_for_a_launched_instance() {
    let mut session = played("L1", None, Some(1));
    let link = LaunchLink { id: uuid::Uuid::from_u128(7), allocator: "local".into(), region: None };
    let instance = session.instance.as_mut().unwrap();
    (instance.launch, instance.join_status) = (Some(link), JoinStatus::Requested);
    let says = |allocation_id: Option<&str>| InstanceChange {
        allocation_id: allocation_id.map(str::to_owned),
        ..status(JoinStatus::Pending)
    };
    let refuses = |session: &Session, allocation_id| {
        for actor in [Anyone, by(1)] {
            let update =
                |session: &mut Session| session.update_instance(actor, says(allocation_id), created());
            check_in(session, update, Err(Refused::AllocationMismatch));
        }
        assert_eq!(
            session.require_instance("i"),
            Err(Refused::InstanceNotFound),
            "reports name no allocation"
        );
    };
    // Before there is an allocation, there is no server.
    refuses(&session, None);
    refuses(&session, Some("a"));
    session.instance.as_mut().unwrap().allocation_id = Some("b".into());
    refuses(&session, None);
    refuses(&session, Some("a"));
    session.update_instance(Anyone, says(Some("b")), created()).unwrap();
    assert_eq!(session.require_instance("i"), Ok(()));
}

#[test]
fn a_session_that_a_service_made_ends_with_the_host_of_its_instance() {
    let made = |roster: &str| Session { made_by_service: true, ..played(roster, Some(1), None) };
    let leaves = |session: &mut Session| session.leave(player(1), created());
    let is_kicked = |session: &mut Session| session.kick(Anyone, player(1), created());
    let all_are_kicked =
        |session: &mut Session| session.kick_all(Anyone, None, &[player(1), player(2)], created()).map(drop);
    let all_are_away = |session: &mut Session| {
        assert!(!session.expire_inactive(&[player(1), player(2)], &[], None, created()).is_empty());
        Ok(())
    };
    check_in(&made("L1"), leaves, Ok("ended"));
    check_in(&made("L1 M2"), leaves, Ok("L2"));
    check_in(&made("L1"), is_kicked, Ok("ended"));
    check_in(&made("L1 M2"), all_are_kicked, Ok("ended"));
    check_in(&made("L1 M2"), all_are_away, Ok("ended"));
    let kept = Session { keep_alive_on_empty: true, ..made("L1") };
    check_in(&kept, leaves, Ok("-"));
}
