use super::*;
use crate::domain::fixtures;
use crate::domain::instance::{Health, Instance, JoinStatus};
use crate::domain::{PlayerUuid, SessionId};

const OWN: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);
/// The time of the cases, in milliseconds.
const T: i64 = 1_000_000;

fn rules() -> LaunchRules {
    LaunchRules { max_lifetime_s: 3_600, ..LaunchRules::default() }
}

fn node() -> Node {
    Node { id: OWN, is_bound: false, other_is_gone: false }
}

fn server() -> LaunchServer {
    LaunchServer { allocation_id: "a".into(), node: OWN, handle: Some("h".into()) }
}

fn claim() -> Claim {
    Claim {
        allocation_id: "a".into(),
        node: OWN,
        until_ms: T + 30_000,
        since_ms: T,
        wanted_since_ms: T,
        not_before_ms: T,
    }
}

fn release() -> Release {
    Release {
        allocation_id: "a".into(),
        node: OWN,
        handle: None,
        since_ms: T,
        until_ms: T + 30_000,
        not_before_ms: T,
        is_urgent: false,
    }
}

fn wanted() -> Stage {
    Stage::Wanted { since_ms: T, not_before_ms: T, reason: None }
}

fn up(was_joinable: bool, unknown_since_ms: Option<i64>) -> Stage {
    Stage::Up { server: server(), since_ms: T, was_joinable, unknown_since_ms }
}

fn placed() -> Stage {
    Stage::Placed { server: server(), since_ms: T }
}

fn record(stage: Stage) -> LaunchRecord {
    LaunchRecord {
        id: Uuid::from_u128(9),
        session_id: SessionId::parse("s").unwrap(),
        instance_id: "i".into(),
        allocator: "local".into(),
        region: None,
        player: None,
        requested_ms: T,
        attempt: 1,
        stage,
        due_ms: T,
    }
}

fn instance(join_status: JoinStatus, health: Option<Health>) -> Instance {
    Instance { join_status, health, ..fixtures::instance(None, None) }
}

/// The step for a launch whose instance is as it was when the stage began, this many seconds after it.
fn step_after(stage: Stage, node: Node, seconds: i64) -> Step {
    let (join_status, health) = match &stage {
        Stage::Wanted { .. } | Stage::Claimed(_) => (JoinStatus::Requested, None),
        Stage::Placed { .. } => (JoinStatus::Allocated, None),
        Stage::Up { was_joinable, unknown_since_ms, .. } => (
            if *was_joinable { JoinStatus::Joinable } else { JoinStatus::Pending },
            unknown_since_ms.map(|_| Health::Unknown),
        ),
        Stage::Releasing(_) => (JoinStatus::Closed, None),
    };
    let found = instance(join_status, health);
    record(stage).next(Some(&found), node, T + seconds * 1_000, &rules())
}

#[test]
fn each_time_out_has_its_end() {
    use LaunchFailure as F;
    let waits = Step::Wait { until_ms: 0 };
    let busy = || Stage::Wanted { since_ms: T, not_before_ms: T + 50_000, reason: Some(F::Unavailable) };
    for (stage, seconds, expected) in [
        (wanted(), 0, Step::Claim { until_ms: T + 60_000 }),
        (wanted(), 59, Step::Claim { until_ms: T + 60_000 }),
        (wanted(), 60, Step::Fail(F::NoCapacity)),
        (busy(), 49, waits.clone()),
        (busy(), 50, Step::Claim { until_ms: T + 60_000 }),
        (busy(), 60, Step::Fail(F::Unavailable)),
        (Stage::Claimed(claim()), 0, Step::Repeat),
        (Stage::Claimed(claim()), 119, Step::Repeat),
        (Stage::Claimed(claim()), 120, Step::Retry(F::Unavailable)),
        (placed(), 119, waits.clone()),
        (placed(), 120, Step::Retry(F::StartTimeout)),
        (up(false, None), 599, waits.clone()),
        (up(false, None), 600, Step::Fail(F::NeverJoinable)),
        (up(true, None), 3_599, waits.clone()),
        (up(true, None), 3_600, Step::Fail(F::MaxLifetime)),
        (up(true, Some(T + 100_000)), 159, waits.clone()),
        (up(true, Some(T + 100_000)), 160, Step::Fail(F::Lost)),
        (Stage::Releasing(release()), 29, waits.clone()),
        (Stage::Releasing(release()), 30, Step::Release { is_hard: false }),
        (Stage::Releasing(release()), 39, Step::Release { is_hard: false }),
        (Stage::Releasing(release()), 40, Step::Release { is_hard: true }),
    ] {
        let name = stage.name();
        match (step_after(stage, node(), seconds), expected) {
            (Step::Wait { .. }, Step::Wait { .. }) => {}
            (step, expected) => assert_eq!(step, expected, "{name} after {seconds} s"),
        }
    }
}

#[test]
fn a_record_is_due_when_its_next_time_out_is() {
    for (stage, due_s) in [
        (wanted(), 0),
        (Stage::Claimed(claim()), 30),
        (placed(), 120),
        (up(false, None), 600),
        (up(true, None), 3_600),
        (up(true, Some(T + 100_000)), 160),
        (Stage::Releasing(release()), 30),
        (Stage::Releasing(Release { is_urgent: true, ..release() }), 0),
    ] {
        let record = record(stage);
        assert_eq!(record.next_due_ms(&rules()), T + due_s * 1_000, "{}", record.stage.name());
    }
    let forever = LaunchRules { max_lifetime_s: 0, lost_after_s: 0, ..rules() };
    assert_eq!(record(up(true, Some(T))).next_due_ms(&forever), i64::MAX);
}

#[test]
fn the_first_sign_of_life_makes_a_server_up() {
    for (join_status, expected) in [
        (JoinStatus::Requested, None),
        (JoinStatus::Allocated, None),
        (JoinStatus::Pending, Some(false)),
        (JoinStatus::Joinable, Some(true)),
        (JoinStatus::Unjoinable, Some(true)),
    ] {
        let step = record(placed()).next(Some(&instance(join_status, None)), node(), T, &rules());
        let is_up = match step {
            Step::Store(stored) => match stored.stage {
                Stage::Up { was_joinable, .. } => Some(was_joinable),
                other => panic!("{other:?}"),
            },
            _ => None,
        };
        assert_eq!(is_up, expected, "{join_status:?}");
    }
}

#[test]
fn a_server_is_lost_only_while_its_health_is_unknown() {
    let seen = |stage, health| {
        record(stage).next(Some(&instance(JoinStatus::Joinable, health)), node(), T, &rules())
    };
    for (stage, health, expected) in [
        (up(true, None), Some(Health::Unknown), Some(Some(T))),
        (up(true, Some(T - 1)), Some(Health::Healthy), Some(None)),
        (up(true, Some(T - 1)), Some(Health::Unknown), None),
        (up(true, None), Some(Health::Unhealthy), None),
        (up(true, None), None, None),
    ] {
        let stored = match seen(stage, health) {
            Step::Store(stored) => match stored.stage {
                Stage::Up { unknown_since_ms, .. } => Some(unknown_since_ms),
                other => panic!("{other:?}"),
            },
            _ => None,
        };
        assert_eq!(stored, expected, "{health:?}");
    }
    let never = LaunchRules { lost_after_s: 0, ..rules() };
    let unknown = instance(JoinStatus::Joinable, Some(Health::Unknown));
    let step = record(up(true, Some(T))).next(Some(&unknown), node(), T + 600_000, &never);
    assert!(matches!(step, Step::Wait { .. }), "{step:?}");
}

#[test]
fn what_the_session_does_not_want_is_handed_over() {
    for stage in [wanted(), Stage::Claimed(claim()), placed(), up(true, None)] {
        let name = stage.name();
        assert_eq!(record(stage).next(None, node(), T, &rules()), Step::HandOver, "{name}");
    }
    let step = record(Stage::Releasing(release())).next(None, node(), T + 40_000, &rules());
    assert_eq!(step, Step::Release { is_hard: true });
    for (stage, until_ms) in
        [(Stage::Claimed(claim()), Some(T + 30_000)), (placed(), Some(T)), (wanted(), None)]
    {
        let released = record(stage).released(T, false, Some(&rules())).map(|record| match record.stage {
            Stage::Releasing(release) => release.until_ms,
            other => panic!("{other:?}"),
        });
        assert_eq!(released, until_ms, "a call may be under way until then");
    }
}

#[test]
fn a_claim_of_another_node_is_taken_over_after_its_lease_or_abandoned_with_its_node() {
    let other = || Stage::Claimed(Claim { node: OTHER, ..claim() });
    let bound = Node { is_bound: true, ..node() };
    let gone = Node { other_is_gone: true, ..bound };
    for (node, seconds, expected) in [
        (node(), 29, None),
        (node(), 30, Some(Step::Repeat)),
        (bound, 30, None),
        (bound, 600, None),
        (gone, 0, Some(Step::Retry(LaunchFailure::Unavailable))),
    ] {
        match (step_after(other(), node, seconds), expected) {
            (Step::Wait { .. }, None) => {}
            (step, expected) => assert_eq!(Some(step), expected, "{node:?} after {seconds} s"),
        }
    }
    let renewed = record(other()).claimed(OWN, Uuid::from_u128(7), T + 30_000, &rules());
    assert_eq!(
        (renewed.allocation_id(), renewed.node()),
        (Some("a"), Some(OWN)),
        "the id of the attempt stays"
    );
}

#[test]
fn a_server_is_stopped_by_the_node_that_has_it() {
    let other = || Stage::Releasing(Release { node: OTHER, ..release() });
    let bound = Node { is_bound: true, ..node() };
    for (node, seconds, expected) in [
        (node(), 29, None),
        (node(), 40, Some(Step::Release { is_hard: true })),
        (bound, 40, None),
        (Node { other_is_gone: true, ..bound }, 0, Some(Step::Forget)),
    ] {
        match (step_after(other(), node, seconds), expected) {
            (Step::Wait { .. }, None) => {}
            (step, expected) => assert_eq!(Some(step), expected, "{node:?} after {seconds} s"),
        }
    }
    // A call of the other node may be under way until the end of its lease.
    let urgent = || Stage::Releasing(Release { node: OTHER, is_urgent: true, ..release() });
    assert!(matches!(step_after(urgent(), node(), 29), Step::Wait { .. }));
    assert_eq!(step_after(urgent(), node(), 30), Step::Release { is_hard: true });
}

#[test]
fn a_launch_that_no_node_serves_comes_to_an_end() {
    let wants = instance(JoinStatus::Requested, None);
    let unserved = |stage, instance, seconds: i64| record(stage).next_unserved(instance, T + seconds * 1_000);
    for stage in [wanted(), Stage::Claimed(claim()), placed(), up(false, None)] {
        let name = stage.name();
        assert!(matches!(unserved(stage.clone(), Some(&wants), 59), Step::Wait { .. }), "{name}");
        let failed = Step::Fail(LaunchFailure::Misconfigured);
        assert_eq!(unserved(stage.clone(), Some(&wants), 60), failed, "{name}");
        assert_eq!(unserved(stage, None, 0), Step::HandOver, "{name}");
    }
    for (health, expected) in [
        (Health::Healthy, Step::Wait { until_ms: i64::MAX }),
        (Health::Unknown, Step::Fail(LaunchFailure::Lost)),
    ] {
        let forever = LaunchRecord { due_ms: i64::MAX, ..record(up(true, None)) };
        let running = instance(JoinStatus::Joinable, Some(health));
        assert_eq!(forever.next_unserved(Some(&running), T), expected);
    }
    let day_s = 24 * 60 * 60;
    assert!(matches!(unserved(Stage::Releasing(release()), None, day_s - 1), Step::Wait { .. }));
    assert_eq!(unserved(Stage::Releasing(release()), None, day_s), Step::Forget);
}

#[test]
fn a_player_is_counted_until_the_server_is_gone_or_the_time_of_its_hard_stop() {
    let player = PlayerUuid(Uuid::from_u128(3));
    let asked = LaunchRecord { player: Some(player), ..record(placed()) };
    let (next, release) = asked.next_attempt(LaunchFailure::Exited, (T, 0.5), &rules()).unwrap();
    assert_eq!((next.player, release.unwrap().player), (Some(player), None), "the launch counts once");
    let released = asked.released(T, false, Some(&rules())).unwrap();
    let bound = Node { id: OTHER, is_bound: true, other_is_gone: false };
    let hard = Step::Release { is_hard: true };
    for (node, seconds, expected) in [
        (node(), 29, (Some(player), Step::Wait { until_ms: T + 30_000 })),
        (node(), 39, (Some(player), Step::Release { is_hard: false })),
        (node(), 40, (None, hard.clone())),
        (bound, 40, (None, Step::Wait { until_ms: T })),
    ] {
        let now_ms = T + seconds * 1_000;
        let (stored, step) = match released.next(None, node, now_ms, &rules()) {
            Step::Store(stored) => (stored.player, stored.next(None, node, now_ms, &rules())),
            step => (released.player, step),
        };
        assert_eq!((stored, step), expected, "{node:?} after {seconds} s");
    }
    let unserved = |seconds: i64| released.next_unserved(None, T + seconds * 1_000);
    assert_eq!(unserved(39), Step::Wait { until_ms: T + 40_000 });
    assert_eq!(unserved(40), Step::Store(Box::new(LaunchRecord { player: None, ..released.clone() })));
}

#[test]
fn a_release_learns_the_handle_from_a_late_answer() {
    let named = record(Stage::Releasing(release())).with_handle("h".into()).unwrap();
    assert_eq!(named.handle(), Some("h"));
    assert_eq!(named.with_handle("other".into()), None);
    assert_eq!(record(placed()).with_handle("h".into()), None);
}

#[test]
fn attempts_have_new_ids_longer_pauses_and_an_end() {
    let rules = LaunchRules { attempts_max: 4, ..rules() };
    let mut launch = record(wanted());
    let mut pauses = Vec::new();
    for id in 1..=4 {
        launch = launch.claimed(OWN, Uuid::from_u128(id), T, &rules);
        assert_eq!(launch.allocation_id(), Some(Uuid::from_u128(id).to_string().as_str()));
        launch = launch.placed(OWN, "h".into(), T, &rules).unwrap();
        match launch.next_attempt(LaunchFailure::Exited, (T, 0.5), &rules) {
            Some((next, Some(release))) => {
                assert_eq!(
                    (release.id, release.allocation_id()),
                    (Uuid::from_u128(id), launch.allocation_id()),
                    "an allocation has one release"
                );
                pauses.push(next.due_ms - T);
                launch = next;
            }
            other => assert!(other.is_none() && id == 4, "{other:?}"),
        }
    }
    assert_eq!((launch.attempt, pauses), (4, vec![1_000, 5_000, 15_000]));
    assert_eq!([0.0, 1.0].map(|random| spread_ms(1_000, random)), [800, 1_200]);
}

#[test]
fn later_waits_in_the_same_queue_and_keeps_the_attempt() {
    let claimed = record(wanted()).claimed(OWN, Uuid::from_u128(1), T + 5_000, &rules());
    let postponed =
        claimed.clone().postponed(LaunchFailure::NoCapacity, (2_000, T + 6_000), &rules()).unwrap();
    let expected =
        Stage::Wanted { since_ms: T, not_before_ms: T + 8_000, reason: Some(LaunchFailure::NoCapacity) };
    assert_eq!((postponed.attempt, postponed.stage, postponed.due_ms), (1, expected, T + 8_000));
    assert!(record(placed()).postponed(LaunchFailure::NoCapacity, (0, T), &rules()).is_none());
    let last = claimed.postponed(LaunchFailure::NoCapacity, (10_000, T + 55_000), &rules()).unwrap();
    assert_eq!(last.due_ms, T + 60_000, "the queue time-out comes before the end of the pause");
}

#[test]
fn what_is_unknown_is_asked_again_with_the_same_id() {
    let claimed = record(Stage::Claimed(claim())).repeated_after(999_999, T, &rules()).unwrap();
    assert_eq!(
        (claimed.allocation_id(), claimed.due_ms),
        (Some("a"), T + 30_000),
        "no allocator asks for long pauses"
    );
    assert!(matches!(step_after(claimed.stage.clone(), node(), 29), Step::Wait { .. }));
    assert_eq!(step_after(claimed.stage, node(), 30), Step::Repeat);
}

#[test]
fn an_exit_begins_again_until_a_server_has_spoken() {
    let retry = || Step::Retry(LaunchFailure::Exited);
    let fail = || Step::Fail(LaunchFailure::Exited);
    let silent = instance(JoinStatus::Allocated, None);
    let running = instance(JoinStatus::Pending, None);
    for (stage, expected) in [
        (Stage::Claimed(claim()), [retry(), fail(), Step::HandOver]),
        (placed(), [retry(), fail(), Step::HandOver]),
        (up(true, None), [fail(), fail(), Step::HandOver]),
        (Stage::Releasing(release()), [0; 3].map(|_| Step::Release { is_hard: true })),
    ] {
        let name = stage.name();
        let steps =
            [Some(&silent), Some(&running), None].map(|found| record(stage.clone()).after_exit(found));
        assert_eq!(steps, expected, "{name}");
    }
}

#[test]
fn a_server_that_speaks_before_its_call_is_answered_is_up() {
    let claimed = || record(Stage::Claimed(Claim { node: OTHER, ..claim() }));
    let running = instance(JoinStatus::Joinable, None);
    let bound = Node { is_bound: true, ..node() };
    let gone = Node { other_is_gone: true, ..bound };
    for (node, seconds) in [(node(), 0), (node(), 600), (bound, 0), (gone, 0)] {
        let step = claimed().next(Some(&running), node, T + seconds * 1_000, &rules());
        let Step::Store(stored) = step else { panic!("{step:?}") };
        let Stage::Up { server, was_joinable: true, .. } = &stored.stage else { panic!("{stored:?}") };
        assert_eq!((&server.allocation_id[..], server.node, &server.handle), ("a", OTHER, &None));
        assert_eq!(stored.released(T, false, None).unwrap().handle(), None);
        let named = stored.placed(OWN, "h".into(), T, &rules()).unwrap();
        assert_eq!((named.stage.name(), named.handle(), named.node()), ("up", Some("h"), Some(OWN)));
        assert_eq!(named.placed(OWN, "other".into(), T, &rules()), None);
    }
}

#[test]
fn an_outage_counts_for_no_time_out() {
    // Also if the clock was set back.
    for later in [T + 1_000_000, T - 1_000_000] {
        for (stage, due_s) in [
            (wanted(), 0),
            (Stage::Claimed(claim()), 2 * i64::try_from(rules().place_timeout_s).unwrap()),
            (placed(), 120),
            (up(false, None), 600),
            (up(true, Some(T)), 60),
            (Stage::Releasing(release()), 30),
        ] {
            let name = stage.name();
            let restarted = record(stage).restarted(later, &rules());
            assert_eq!(restarted.due_ms, later + due_s * 1_000, "{name}");
            let running = instance(JoinStatus::Joinable, Some(Health::Unknown));
            let step = restarted.next(Some(&running), node(), later, &rules());
            assert!(!matches!(step, Step::Fail(_) | Step::Retry(_)), "{name}: {step:?}");
        }
    }
    assert_eq!(record(up(true, None)).restarted(T + 1_000_000, &rules()).due_ms, T + 3_600_000);
}
