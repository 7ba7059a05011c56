//! The record of a launch, and its moves from stage to stage.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{LaunchFailure, LaunchLink, LaunchRules, spread_ms};
use crate::domain::instance::Instance;
use crate::domain::{PlayerUuid, SessionId};

/// Pauses before the second attempt, the third one, and all further ones, in milliseconds.
const ATTEMPT_PAUSES_MS: [i64; 3] = [1_000, 5_000, 15_000];
/// The shortest and the longest pause before a call is repeated, in milliseconds, whatever an allocator asks for.
const PAUSE_MS: (i64, i64) = (100, 30_000);
/// How many call time-outs the lease of a claim lasts.
const LEASE_CALLS: i64 = 2;
/// From the soft release of a server to the hard one, in milliseconds.
pub(super) const SOFT_MS: i64 = 10_000;

/// What is stored about a launch. Times are in milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LaunchRecord {
    /// The id of the launch.
    pub id: Uuid,
    /// The session of the instance.
    pub session_id: SessionId,
    /// The instance.
    pub instance_id: String,
    /// The name of the allocator.
    pub allocator: String,
    /// The configured region that the session had when the instance was requested. Launches of one allocator and region
    /// wait in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The player for whom the launch counts: who asked for the instance, if a player did. After the instance has
    /// ended, the server counts until it is gone, but not after the time of its hard stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub player: Option<PlayerUuid>,
    /// When the instance was requested.
    pub requested_ms: i64,
    /// The number of the current attempt, from 1.
    pub attempt: u32,
    /// How far the launch is.
    pub stage: Stage,
    /// When the launch needs attention next, without any news.
    pub due_ms: i64,
}

/// How far a launch is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum Stage {
    /// An attempt waits to be made.
    Wanted {
        /// Since when.
        since_ms: i64,
        /// The allocator is not called before this time.
        not_before_ms: i64,
        /// Why the last call gave no server.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<LaunchFailure>,
    },
    /// A node calls the allocator. The instance has the id of the allocation.
    Claimed(Claim),
    /// The allocation has a server, which has given no sign of life yet.
    Placed {
        /// The server.
        server: LaunchServer,
        /// Since when.
        since_ms: i64,
    },
    /// The server has updated its instance, or reported its health.
    Up {
        /// The server.
        server: LaunchServer,
        /// Since when.
        since_ms: i64,
        /// Whether players could join at some time.
        was_joinable: bool,
        /// Since when the health has been unknown, if it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unknown_since_ms: Option<i64>,
    },
    /// The instance has no use for the server any more: it is stopped.
    Releasing(Release),
}

/// A claim: one node calls the allocator for an attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// The id of the allocation.
    pub allocation_id: String,
    /// The node that calls.
    pub node: Uuid,
    /// The end of the lease. Afterwards another node may repeat the call.
    pub until_ms: i64,
    /// Since when there has been an attempt with this id.
    pub since_ms: i64,
    /// Since when the attempt has been wanted.
    pub wanted_since_ms: i64,
    /// The allocator is not called again before this time.
    pub not_before_ms: i64,
}

/// A server that was given to an allocation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LaunchServer {
    /// The id of the allocation.
    pub allocation_id: String,
    /// The node that was given the server.
    pub node: Uuid,
    /// The allocator's name for the server. `None` if the server has updated its instance, and no call has told its
    /// name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<String>,
}

/// A server that is stopped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// The id of the allocation.
    pub allocation_id: String,
    /// The node that was given the server, or called for it.
    pub node: Uuid,
    /// The allocator's name for the server, if a call has told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<String>,
    /// Since when.
    pub since_ms: i64,
    /// The end of the lease of a call that may still be under way. Other nodes wait for it.
    pub until_ms: i64,
    /// The allocator is not called again before this time.
    pub not_before_ms: i64,
    /// Whether the server is stopped the hard way at once.
    pub is_urgent: bool,
}

/// Seconds in milliseconds.
pub(super) fn ms(seconds: u64) -> i64 {
    i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX)
}

impl Stage {
    /// The name in the log and in metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Wanted { .. } => "wanted",
            Self::Claimed(_) => "claimed",
            Self::Placed { .. } => "placed",
            Self::Up { .. } => "up",
            Self::Releasing(_) => "releasing",
        }
    }
}

impl LaunchRecord {
    /// The launch of an instance that was requested just now.
    pub fn wanted(link: &LaunchLink, session_id: &SessionId, instance: &Instance) -> Self {
        let requested_ms = instance.created.as_millisecond();
        Self {
            id: link.id,
            session_id: session_id.clone(),
            instance_id: instance.instance_id.clone(),
            allocator: link.allocator.clone(),
            region: link.region.clone(),
            player: instance.registrar,
            requested_ms,
            attempt: 1,
            stage: Stage::Wanted { since_ms: requested_ms, not_before_ms: requested_ms, reason: None },
            due_ms: requested_ms,
        }
    }

    /// The id of the allocation, if the attempt was claimed.
    pub fn allocation_id(&self) -> Option<&str> {
        match &self.stage {
            Stage::Wanted { .. } => None,
            Stage::Claimed(claim) => Some(&claim.allocation_id),
            Stage::Placed { server, .. } | Stage::Up { server, .. } => Some(&server.allocation_id),
            Stage::Releasing(release) => Some(&release.allocation_id),
        }
    }

    /// The node that has called the allocator for the attempt, or was given its server.
    pub fn node(&self) -> Option<Uuid> {
        match &self.stage {
            Stage::Wanted { .. } => None,
            Stage::Claimed(claim) => Some(claim.node),
            Stage::Placed { server, .. } | Stage::Up { server, .. } => Some(server.node),
            Stage::Releasing(release) => Some(release.node),
        }
    }

    /// The allocator's name for the server, if it is known.
    pub fn handle(&self) -> Option<&str> {
        match &self.stage {
            Stage::Wanted { .. } | Stage::Claimed(_) => None,
            Stage::Placed { server, .. } | Stage::Up { server, .. } => server.handle.as_deref(),
            Stage::Releasing(release) => release.handle.as_deref(),
        }
    }

    /// A node claims the attempt, with a new allocation id. If the attempt has a claim already, the id stays, and the
    /// lease begins again.
    #[must_use]
    pub fn claimed(mut self, node: Uuid, new_id: Uuid, now_ms: i64, rules: &LaunchRules) -> Self {
        let until_ms = now_ms + LEASE_CALLS * ms(rules.place_timeout_s);
        self.stage = match self.stage {
            Stage::Claimed(claim) => Stage::Claimed(Claim { node, until_ms, not_before_ms: now_ms, ..claim }),
            Stage::Wanted { since_ms, .. } => Stage::Claimed(Claim {
                allocation_id: new_id.to_string(),
                node,
                until_ms,
                since_ms: now_ms,
                wanted_since_ms: since_ms,
                not_before_ms: now_ms,
            }),
            other => other,
        };
        self.due_ms = until_ms;
        self
    }

    /// The allocation has a server. `None` without a claim, unless the server was up before the answer came.
    pub fn placed(mut self, node: Uuid, handle: String, now_ms: i64, rules: &LaunchRules) -> Option<Self> {
        match &mut self.stage {
            Stage::Claimed(claim) => {
                let allocation_id = std::mem::take(&mut claim.allocation_id);
                let server = LaunchServer { allocation_id, node, handle: Some(handle) };
                self.stage = Stage::Placed { server, since_ms: now_ms };
                self.due_ms = now_ms + ms(rules.start_timeout_s);
            }
            Stage::Up { server, .. } if server.handle.is_none() => {
                (server.node, server.handle) = (node, Some(handle));
            }
            _ => return None,
        }
        Some(self)
    }

    /// The allocation has no server, and a call after the pause may get one. The attempt is wanted again, and loses its
    /// allocation id. `None` without a claim.
    pub fn postponed(
        mut self,
        reason: LaunchFailure,
        (pause_ms, now_ms): (i64, i64),
        rules: &LaunchRules,
    ) -> Option<Self> {
        let Stage::Claimed(claim) = self.stage else { return None };
        let not_before_ms = now_ms + bounded(pause_ms);
        self.stage = Stage::Wanted { since_ms: claim.wanted_since_ms, not_before_ms, reason: Some(reason) };
        self.due_ms = self.next_due_ms(rules);
        Some(self)
    }

    /// Nobody knows whether the allocation has a server: the call is repeated after the pause, with the same id. `None`
    /// without a claim.
    pub fn repeated_after(mut self, pause_ms: i64, now_ms: i64, rules: &LaunchRules) -> Option<Self> {
        let Stage::Claimed(claim) = &mut self.stage else { return None };
        claim.not_before_ms = now_ms + bounded(pause_ms);
        claim.until_ms = claim.not_before_ms + LEASE_CALLS * ms(rules.place_timeout_s);
        self.due_ms = claim.not_before_ms;
        Some(self)
    }

    /// The server has not stopped yet: the call is repeated after the pause. `None` if it is not being released.
    pub fn still_there(mut self, pause_ms: i64, now_ms: i64) -> Option<Self> {
        let Stage::Releasing(release) = &mut self.stage else { return None };
        release.not_before_ms = now_ms + bounded(pause_ms);
        self.due_ms = release.not_before_ms;
        Some(self)
    }

    /// The record with its time-outs and pauses begun again: after an outage in which servers could not reach the API,
    /// or after the clock was set. A time in the future would otherwise hold the launch until then.
    #[must_use]
    pub fn restarted(mut self, now_ms: i64, rules: &LaunchRules) -> Self {
        match &mut self.stage {
            Stage::Wanted { since_ms, not_before_ms, .. } => (*since_ms, *not_before_ms) = (now_ms, now_ms),
            Stage::Claimed(claim) => {
                (claim.since_ms, claim.wanted_since_ms, claim.not_before_ms) = (now_ms, now_ms, now_ms);
                claim.until_ms = now_ms + LEASE_CALLS * ms(rules.place_timeout_s);
            }
            Stage::Placed { since_ms, .. } => *since_ms = now_ms,
            Stage::Up { since_ms, was_joinable, unknown_since_ms, .. } => {
                // A server that was joinable is as old as it is; only its lifetime counts.
                *since_ms = if *was_joinable { now_ms.min(*since_ms) } else { now_ms };
                *unknown_since_ms = unknown_since_ms.map(|_| now_ms);
            }
            Stage::Releasing(release) => {
                (release.since_ms, release.until_ms, release.not_before_ms) = (now_ms, now_ms, now_ms);
            }
        }
        self.due_ms = self.next_due_ms(rules);
        self
    }

    /// The next attempt, after the current one has failed; and the release of the server that the failed one may have.
    /// `None` if there are no attempts left. `random` is a random number from 0 to 1.
    pub fn next_attempt(
        &self,
        reason: LaunchFailure,
        (now_ms, random): (i64, f64),
        rules: &LaunchRules,
    ) -> Option<(Self, Option<Self>)> {
        if self.attempt >= rules.attempts_max {
            return None;
        }
        let pause = ATTEMPT_PAUSES_MS.get(self.attempt.saturating_sub(1) as usize);
        let pause_ms = spread_ms(*pause.unwrap_or(&ATTEMPT_PAUSES_MS[2]), random);
        let not_before_ms = now_ms + pause_ms;
        let next = Self {
            attempt: self.attempt + 1,
            // The queue time-out begins after the pause.
            stage: Stage::Wanted { since_ms: not_before_ms, not_before_ms, reason: Some(reason) },
            due_ms: not_before_ms,
            ..self.clone()
        };
        Some((next, self.released_apart(now_ms)))
    }

    /// The release of the launch's server with a record of its own, because the launch goes on without it. The server
    /// is stopped at once. An allocation has one such record at most: the id is that of the allocation.
    pub fn released_apart(&self, now_ms: i64) -> Option<Self> {
        let released = self.released(now_ms, true, None)?;
        let allocation_id = released.allocation_id()?;
        let by_name = || Uuid::new_v5(&Uuid::NAMESPACE_OID, allocation_id.as_bytes());
        let id = Uuid::parse_str(allocation_id).unwrap_or_else(|_| by_name());
        // The launch itself counts for the player.
        Some(Self { id, player: None, ..released })
    }

    /// The release with the allocator's name for the server, which a late answer has told. `None` if it is known, or if
    /// the server is not being released.
    pub fn with_handle(mut self, handle: String) -> Option<Self> {
        let Stage::Releasing(release) = &mut self.stage else { return None };
        if release.handle.is_some() {
            return None;
        }
        release.handle = Some(handle);
        Some(self)
    }

    /// The release of the launch's server, after the instance has ended. `None` if there was never a call that could
    /// have taken one: then nothing is left to do. Without rules the release is due at once, and a node that knows them
    /// lets it wait.
    pub fn released(&self, now_ms: i64, is_urgent: bool, rules: Option<&LaunchRules>) -> Option<Self> {
        let (allocation_id, node, handle, until_ms) = match &self.stage {
            Stage::Wanted { .. } => return None,
            Stage::Claimed(claim) => (&claim.allocation_id, claim.node, None, claim.until_ms),
            Stage::Placed { server, .. } | Stage::Up { server, .. } => {
                (&server.allocation_id, server.node, server.handle.clone(), now_ms)
            }
            Stage::Releasing(_) => return Some(self.clone()),
        };
        let allocation_id = allocation_id.clone();
        let release = Release {
            allocation_id,
            node,
            handle,
            since_ms: now_ms,
            until_ms,
            not_before_ms: now_ms,
            is_urgent,
        };
        let stage = Stage::Releasing(release);
        let mut released = Self { stage, due_ms: now_ms, ..self.clone() };
        released.due_ms = rules.map_or(now_ms, |rules| released.next_due_ms(rules));
        Some(released)
    }

    /// When the launch needs attention next.
    pub fn next_due_ms(&self, rules: &LaunchRules) -> i64 {
        match &self.stage {
            Stage::Wanted { since_ms, not_before_ms, .. } => {
                (*not_before_ms).min(since_ms + ms(rules.queue_timeout_s))
            }
            Stage::Claimed(claim) => claim.until_ms,
            Stage::Placed { since_ms, .. } => since_ms + ms(rules.start_timeout_s),
            Stage::Up { since_ms, was_joinable, unknown_since_ms, .. } => {
                let joinable = (!was_joinable).then(|| since_ms + ms(rules.joinable_timeout_s));
                let lost =
                    unknown_since_ms.filter(|_| rules.lost_after_s > 0).map(|at| at + ms(rules.lost_after_s));
                let old = (rules.max_lifetime_s > 0).then(|| since_ms + ms(rules.max_lifetime_s));
                [joinable, lost, old].into_iter().flatten().min().unwrap_or(i64::MAX)
            }
            Stage::Releasing(release) if release.is_urgent => release.since_ms,
            Stage::Releasing(release) => release.since_ms + ms(rules.closing_timeout_s),
        }
    }
}

fn bounded(pause_ms: i64) -> i64 {
    pause_ms.clamp(PAUSE_MS.0, PAUSE_MS.1)
}
