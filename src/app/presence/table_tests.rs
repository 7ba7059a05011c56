//! Heartbeats, timeouts, grace periods and the sync lag, with times in seconds after the creation of the session.

use std::sync::Arc;

use super::*;
use crate::domain::fixtures::{self, player};

/// A session with the active players 1 and 2, who time out after 60 s, and player 3, who was invited after 3 s.
fn session() -> Session {
    let mut session = fixtures::session("L1 M2 I3");
    session.culling_timeout_s = Some(60);
    session
}

/// A table that watches the session from second 10 on.
fn table(session: &Session, invite_expiry_s: Option<u64>, is_shared: bool) -> PresenceTable {
    let invite_expiry = invite_expiry_s.map(Duration::from_secs);
    let timeouts = Timeouts { invite_expiry, ticket_timeout: Some(Duration::from_secs(900)) };
    let table = PresenceTable::new(HealthRules::default(), timeouts, is_shared);
    table.observe(session, at(10.0));
    table
}

/// Milliseconds since the epoch.
fn at(seconds: f64) -> i64 {
    fixtures::created().as_millisecond() + (seconds * 1000.0) as i64
}

/// Checks which players have timed out at several times: active ones and invited ones.
fn check(table: &PresenceTable, session: &Session, cases: &[(f64, &[u128])]) {
    for (seconds, expected) in cases {
        let overdue = table.overdue(session, at(*seconds));
        let timed_out: Vec<_> = overdue.inactive.into_iter().chain(overdue.expired_invites).collect();
        let expected: Vec<_> = expected.iter().map(|number| player(*number)).collect();
        assert_eq!(timed_out, expected, "after {seconds} s");
    }
}

#[test]
fn a_player_times_out_after_the_last_heartbeat() {
    let session = session();
    let table = table(&session, None, false);
    check(&table, &session, &[(69.9, &[]), (70.0, &[1, 2])]);
    table.heartbeat(&session, player(1), at(50.0));
    check(&table, &session, &[(70.0, &[2]), (109.9, &[2]), (110.0, &[1, 2])]);
}

#[test]
fn only_heartbeats_of_active_players_in_sessions_with_a_timeout_count() {
    let session = session();
    let table = table(&session, None, false);
    for number in [3, 4] {
        table.heartbeat(&session, player(number), at(20.0));
    }
    assert_eq!(table.last_seen_of(&session.id), Some(LastSeen::default()));
    let without_timeout = fixtures::session("L1 M2");
    table.observe(&without_timeout, at(20.0));
    table.heartbeat(&without_timeout, player(1), at(20.0));
    assert!(!table.watches(&without_timeout.id), "nothing in it can time out");
}

#[test]
fn a_grace_period_starts_the_timeouts_of_players_again() {
    let session = session();
    let table = table(&session, Some(100), false);
    table.heartbeat(&session, player(1), at(50.0));
    table.grant_grace(at(65.0));
    // The invite of player 3 expires 100 s after it was sent, with or without a grace period.
    check(&table, &session, &[(102.9, &[]), (103.0, &[3]), (124.9, &[3]), (125.0, &[1, 2, 3])]);
}

#[test]
fn invites_expire_only_with_an_invite_expiry() {
    let session = fixtures::session("L1 I3");
    for (invite_expiry_s, expected) in [(None, &[][..]), (Some(300), &[3])] {
        let table = table(&session, invite_expiry_s, false);
        check(&table, &session, &[(302.9, &[]), (303.0, expected)]);
    }
}

#[test]
fn a_node_that_shares_its_store_waits_two_sync_lags_longer() {
    let session = session();
    let table = table(&session, None, true);
    // The sync lag is 60 s / 8 = 7.5 s.
    check(&table, &session, &[(84.9, &[]), (85.0, &[1, 2])]);
    let elsewhere = LastSeen { heartbeat_ms: [(player(2), at(30.0))].into(), ..LastSeen::default() };
    table.merge(&session.id, elsewhere);
    check(&table, &session, &[(85.0, &[1]), (104.9, &[1]), (105.0, &[1, 2])]);
}

#[test]
fn heartbeats_are_synced_once_per_sync_lag() {
    let session = session();
    let table = table(&session, None, true);
    let synced = |seconds: f64| !table.take_unsynced(at(seconds)).is_empty();
    assert!(!synced(19.0), "there is no heartbeat yet");
    table.heartbeat(&session, player(1), at(20.0));
    assert!(synced(20.0));
    table.heartbeat(&session, player(1), at(21.0));
    assert!(!synced(27.4));
    assert!(synced(27.5));
    assert!(!synced(60.0), "nothing is new");
    table.sync_again(&session.id);
    assert!(synced(60.0), "a failed sync is repeated at once");

    let alone = self::table(&session, None, false);
    alone.heartbeat(&session, player(1), at(20.0));
    assert!(alone.take_unsynced(at(60.0)).is_empty(), "there is no other node");
}

#[test]
fn a_session_waits_in_the_queue_for_its_first_timeout() {
    let session = session();
    let table = table(&session, None, false);
    let only_session = vec![session.id.clone()];
    assert_eq!(table.due(at(69.9)), []);
    for _ in 0..2 {
        assert_eq!(table.due(at(70.0)), only_session, "it stays in the queue until it is observed again");
    }
    table.observe(&session, at(70.0));
    table.forget(&session.id);
    assert_eq!((table.due(i64::MAX), table.watched_count()), (vec![], 0));
}

#[test]
fn a_ticket_ends_after_its_timeout() {
    let mut session = fixtures::session("L1");
    session.matchmaking = Some(Arc::new(fixtures::ticket(&[1], 5)));
    let table = table(&session, None, false);
    assert_eq!([904.9, 905.0].map(|seconds| table.overdue(&session, at(seconds)).ticket), [false, true]);
    let only_session = vec![session.id.clone()];
    assert_eq!((table.due(at(904.9)), table.due(at(905.0))), (vec![], only_session.clone()));
    table.follow_config(at(20.0));
    assert_eq!(table.due(at(20.0)), only_session, "a reload lets all tickets be checked");
    session.matchmaking = None;
    table.observe(&session, at(30.0));
    assert!(!table.watches(&session.id));
}

#[test]
fn an_invite_of_a_match_ends_at_the_earlier_time() {
    let mut session = session();
    let mut expires = |match_timeout_s, invite_expiry_s: Option<u64>, expected: Option<f64>| {
        Arc::make_mut(session.players.get_mut(&player(3)).unwrap()).match_timeout_s = match_timeout_s;
        session.culling_timeout_s = None;
        assert_eq!(session.can_time_out(invite_expiry_s.is_some()), expected.is_some());
        let table = table(&session, invite_expiry_s, false);
        if let Some(after_s) = expected {
            check(&table, &session, &[(after_s - 0.1, &[]), (after_s, &[3])]);
        }
    };
    // The invite was sent after 3 s.
    expires(Some(30), Some(100), Some(33.0));
    expires(Some(30), None, Some(33.0));
    expires(Some(30), Some(20), Some(23.0));
    expires(Some(0), Some(20), Some(23.0));
    expires(Some(0), None, None);
    expires(None, None, None);
}

#[test]
fn a_reload_lets_backfills_be_checked() {
    let mut session = fixtures::session("L1");
    let mut instance = fixtures::instance(None, Some(1));
    instance.join_status = crate::domain::instance::JoinStatus::Joinable;
    session.instance = Some(instance);
    session.start_backfill("b".into(), "p".into(), fixtures::at_s(5));
    let table = table(&session, None, false);
    assert_eq!(table.due(at(9_999.0)), vec![], "no limit is set");
    table.set_backfill_timeout(Duration::from_secs(60));
    table.follow_config(at(20.0));
    assert_eq!(table.due(at(20.0)), vec![session.id.clone()]);
    assert_eq!([69.9, 70.0].map(|seconds| table.overdue(&session, at(seconds)).backfill), [false, true]);
}
