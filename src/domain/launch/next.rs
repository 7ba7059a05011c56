//! What has to be done for a launch next.

use uuid::Uuid;

use super::stage::{SOFT_MS, ms};
use super::{Claim, LaunchFailure, LaunchRecord, LaunchRules, LaunchServer, Release, Stage};
use crate::domain::instance::{Health, Instance, JoinStatus};

/// How long after it was due a launch goes on that no node serves, in milliseconds: its nodes may be restarting.
const UNSERVED_MS: i64 = 60_000;
/// How long a server is kept in mind that no node can stop, in milliseconds: its allocator may come back with the next
/// configuration.
const ABANDONED_MS: i64 = 86_400_000;

/// What the node that looks at a launch may do. It serves the allocator of the launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// The id of the node.
    pub id: Uuid,
    /// Whether servers run on the node that was given them, so that no other node can find or stop them.
    pub is_bound: bool,
    /// Whether the node in the record is gone.
    pub other_is_gone: bool,
}

/// What has to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nothing, on this node, before news or the given time.
    Wait {
        /// The time, in milliseconds since the epoch.
        until_ms: i64,
    },
    /// Claim the attempt when its turn comes, and call the allocator.
    Claim {
        /// The end of the queue time-out, in milliseconds since the epoch.
        until_ms: i64,
    },
    /// Renew the claim, and repeat the call.
    Repeat,
    /// Store this record.
    Store(Box<LaunchRecord>),
    /// The attempt has failed: make the next one, if there is one left.
    Retry(LaunchFailure),
    /// The launch has failed: close the instance.
    Fail(LaunchFailure),
    /// The session has no use for the launch any more: release its server.
    HandOver,
    /// Call the allocator to stop the server, in the hard way or not.
    Release {
        /// Whether in the hard way.
        is_hard: bool,
    },
    /// Delete the record: nothing is left to do, or nobody can do it.
    Forget,
}

impl LaunchRecord {
    /// What a node has to do that serves the allocator of the launch. `instance` is the instance of the launch as the
    /// session has it; `None` if the session, or the instance, has ended or was closed or replaced.
    pub fn next(&self, instance: Option<&Instance>, node: Node, now_ms: i64, rules: &LaunchRules) -> Step {
        let Some(instance) = instance else {
            return match &self.stage {
                Stage::Releasing(release) => self.next_of_release(release, node, now_ms, rules),
                _ => Step::HandOver,
            };
        };
        match &self.stage {
            Stage::Wanted { since_ms, not_before_ms, reason } => {
                let deadline_ms = since_ms.saturating_add(ms(rules.queue_timeout_s));
                if now_ms >= deadline_ms {
                    return Step::Fail(reason.unwrap_or(LaunchFailure::NoCapacity));
                }
                if now_ms < *not_before_ms {
                    return Step::Wait { until_ms: *not_before_ms };
                }
                Step::Claim { until_ms: deadline_ms }
            }
            // Whatever the allocator says: the server of the attempt runs.
            Stage::Claimed(claim) if instance.has_host_spoken() => {
                let (allocation_id, node) = (claim.allocation_id.clone(), claim.node);
                self.up(LaunchServer { allocation_id, node, handle: None }, instance, now_ms, rules)
            }
            Stage::Claimed(claim) => next_of_claim(claim, node, now_ms, rules),
            Stage::Placed { server, since_ms } => {
                self.next_of_placed(server, *since_ms, instance, now_ms, rules)
            }
            Stage::Up { .. } => self.next_of_up(instance, now_ms, rules),
            // A release has a record of its own if the launch goes on.
            Stage::Releasing(release) => self.next_of_release(release, node, now_ms, rules),
        }
    }

    /// What a node has to do if no node serves the allocator of the launch. It knows none of its rules. `instance` is
    /// as for [`next`](Self::next).
    pub fn next_unserved(&self, instance: Option<&Instance>, now_ms: i64) -> Step {
        let (end, until_ms) = match (&self.stage, instance) {
            (Stage::Releasing(release), _) => match self.counted_until_ms(release, &LaunchRules::default()) {
                Some(until_ms) => (self.uncounted(), until_ms),
                None => (Step::Forget, release.since_ms.saturating_add(ABANDONED_MS)),
            },
            (_, None) => return Step::HandOver,
            // It has been silent for long already, and its record is due at no time.
            (Stage::Up { .. }, Some(instance)) if instance.health == Some(Health::Unknown) => {
                return Step::Fail(LaunchFailure::Lost);
            }
            (_, Some(_)) => {
                (Step::Fail(LaunchFailure::Misconfigured), self.due_ms.saturating_add(UNSERVED_MS))
            }
        };
        if now_ms >= until_ms { end } else { Step::Wait { until_ms } }
    }

    fn next_of_placed(
        &self,
        server: &LaunchServer,
        since_ms: i64,
        instance: &Instance,
        now_ms: i64,
        rules: &LaunchRules,
    ) -> Step {
        if instance.has_host_spoken() {
            return self.up(server.clone(), instance, now_ms, rules);
        }
        let deadline_ms = since_ms.saturating_add(ms(rules.start_timeout_s));
        if now_ms >= deadline_ms {
            return Step::Retry(LaunchFailure::StartTimeout);
        }
        Step::Wait { until_ms: deadline_ms }
    }

    fn up(&self, server: LaunchServer, instance: &Instance, now_ms: i64, rules: &LaunchRules) -> Step {
        let was_joinable = is_running(instance);
        self.stored(Stage::Up { server, since_ms: now_ms, was_joinable, unknown_since_ms: None }, rules)
    }

    fn next_of_up(&self, instance: &Instance, now_ms: i64, rules: &LaunchRules) -> Step {
        let Stage::Up { server, since_ms, was_joinable, unknown_since_ms } = &self.stage else {
            return Step::Wait { until_ms: i64::MAX };
        };
        let since_unknown =
            (instance.health == Some(Health::Unknown)).then(|| unknown_since_ms.unwrap_or(now_ms));
        let is_joinable = *was_joinable || is_running(instance);
        if since_unknown != *unknown_since_ms || is_joinable != *was_joinable {
            let stage = Stage::Up {
                server: server.clone(),
                since_ms: *since_ms,
                was_joinable: is_joinable,
                unknown_since_ms: since_unknown,
            };
            return self.stored(stage, rules);
        }
        let is_over = |since_ms: i64, seconds: u64| now_ms >= since_ms.saturating_add(ms(seconds));
        if !was_joinable && is_over(*since_ms, rules.joinable_timeout_s) {
            return Step::Fail(LaunchFailure::NeverJoinable);
        }
        if rules.lost_after_s > 0 && unknown_since_ms.is_some_and(|at_ms| is_over(at_ms, rules.lost_after_s))
        {
            return Step::Fail(LaunchFailure::Lost);
        }
        if rules.max_lifetime_s > 0 && is_over(*since_ms, rules.max_lifetime_s) {
            return Step::Fail(LaunchFailure::MaxLifetime);
        }
        Step::Wait { until_ms: self.next_due_ms(rules) }
    }

    fn stored(&self, stage: Stage, rules: &LaunchRules) -> Step {
        let mut record = Self { stage, ..self.clone() };
        record.due_ms = record.next_due_ms(rules);
        Step::Store(Box::new(record))
    }

    /// What has to be done after the server of the launch has ended by itself. `instance` is as for
    /// [`next`](Self::next).
    pub fn after_exit(&self, instance: Option<&Instance>) -> Step {
        match (&self.stage, instance) {
            (Stage::Wanted { .. }, _) => Step::Wait { until_ms: self.due_ms },
            (Stage::Releasing(_), _) => Step::Release { is_hard: true },
            (_, None) => Step::HandOver,
            (Stage::Claimed(_) | Stage::Placed { .. }, Some(instance)) if !instance.has_host_spoken() => {
                Step::Retry(LaunchFailure::Exited)
            }
            // The players' state is gone with the server: another one is of no use.
            (_, Some(_)) => Step::Fail(LaunchFailure::Exited),
        }
    }

    fn next_of_release(&self, release: &Release, node: Node, now_ms: i64, rules: &LaunchRules) -> Step {
        let counted_until_ms = self.counted_until_ms(release, rules);
        if counted_until_ms.is_some_and(|until_ms| now_ms >= until_ms) {
            return self.uncounted();
        }
        match next_of_release(release, node, now_ms, rules) {
            Step::Wait { until_ms } => Step::Wait {
                until_ms: counted_until_ms.map_or(until_ms, |counted_ms| until_ms.min(counted_ms)),
            },
            step => step,
        }
    }

    /// Until when a server that is stopped counts for its player, if it does: until the hard stop at the latest. A
    /// player who asks for servers and ends their instances in a loop would otherwise hold every server; and one whose
    /// server cannot be stopped may ask again.
    fn counted_until_ms(&self, release: &Release, rules: &LaunchRules) -> Option<i64> {
        let until_ms = release.since_ms.saturating_add(ms(rules.closing_timeout_s)).saturating_add(SOFT_MS);
        self.player.map(|_| until_ms)
    }

    fn uncounted(&self) -> Step {
        Step::Store(Box::new(Self { player: None, ..self.clone() }))
    }
}

/// Whether players can join, or could join before: a server that has closed its doors runs a match.
fn is_running(instance: &Instance) -> bool {
    matches!(instance.join_status, JoinStatus::Joinable | JoinStatus::Unjoinable)
}

fn next_of_claim(claim: &Claim, node: Node, now_ms: i64, rules: &LaunchRules) -> Step {
    let is_own = claim.node == node.id;
    if !is_own && node.is_bound {
        // Only the other node can tell whether it has started a server. A server that it has started is overtaken by
        // the next attempt, and is stopped when the node comes back.
        return if node.other_is_gone {
            Step::Retry(LaunchFailure::Unavailable)
        } else {
            Step::Wait { until_ms: claim.until_ms }
        };
    }
    if now_ms >= claim.since_ms.saturating_add(ms(rules.start_timeout_s)) {
        return Step::Retry(LaunchFailure::Unavailable);
    }
    let from_ms = if is_own { claim.not_before_ms } else { claim.until_ms };
    if now_ms >= from_ms { Step::Repeat } else { Step::Wait { until_ms: from_ms } }
}

fn next_of_release(release: &Release, node: Node, now_ms: i64, rules: &LaunchRules) -> Step {
    let is_own = release.node == node.id;
    if !is_own && node.is_bound {
        // When the node comes back, it stops every server that has no record.
        return if node.other_is_gone { Step::Forget } else { Step::Wait { until_ms: release.until_ms } };
    }
    let from_ms = if is_own { release.since_ms } else { release.until_ms };
    let soft_ms = release.since_ms.saturating_add(ms(rules.closing_timeout_s));
    let from_ms = if release.is_urgent { from_ms } else { from_ms.max(soft_ms) }.max(release.not_before_ms);
    if now_ms < from_ms {
        return Step::Wait { until_ms: from_ms };
    }
    let is_hard = release.is_urgent || now_ms >= soft_ms.saturating_add(SOFT_MS);
    Step::Release { is_hard }
}
