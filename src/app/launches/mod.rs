//! Launches: gives requested instances their dedicated servers, by way of the allocators of this node.
//!
//! A launch begins and ends with the commits of its session (`app/sessions/launch_writes.rs`). In between, this service
//! looks at it: when it is woken by a commit on this node, when the end of a call or an event of an allocator wakes it,
//! and when it is due by the queue of launches. A look reads the launch and its session, asks the rules what to do
//! (`domain/launch/`), and does it: it stores the next stage, or calls the allocator in a task of its own. So a slow
//! allocator delays neither other launches nor callers.
//!
//! - `look`: looks at a launch, and does what the rules say. `store`: commits what comes out of it.
//! - `calls`: calls allocators, and takes their answers. `lines`: who is next where servers are scarce.
//!   `waits`: which due launches can only wait.
//! - `adopt`: finds the servers of an earlier start, and stops servers that no launch knows.
//! - `stop`: the end of this node. `nodes`: which nodes are alive, and what they serve. `wake_ups`: the launches that
//!   need attention.

mod adopt;
mod calls;
mod in_flight;
mod lines;
mod look;
mod nodes;
mod served;
mod stop;
mod store;
mod waits;
mod wake_ups;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{FutureExt as _, select_all};
use futures_util::stream::{self, StreamExt as _};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use self::in_flight::InFlight;
use self::lines::Lines;
pub use self::served::{Allocators, LaunchSettings, Served};
use self::waits::Waits;
pub use self::wake_ups::WakeUps;
use super::{Catalog, Failure, Sessions};
use crate::allocators::Event;
use crate::domain::Session;
use crate::domain::instance::{HostType, Instance};
use crate::domain::launch::{LaunchLink, LaunchRecord};
use crate::env::{Clock, Entropy};
use crate::records::keys;
use crate::telemetry::Metrics;

/// Launches looked at at once: enough to share an fsync.
const LOOKS_AT_ONCE: usize = 32;
/// Most entries that one round reads from the queue of launches. The next round goes on behind them.
const DUE_IN_A_ROUND: usize = 1_000;

/// The service that launches servers.
pub struct Launches {
    sessions: Arc<Sessions>,
    /// The id of this node; the same after a restart.
    node: Uuid,
    /// Tells the directory that holds this id from its copies.
    directory: String,
    /// Whether this node has its id for itself.
    has_id: AtomicBool,
    served: BTreeMap<String, Arc<served::Allocating>>,
    wake_ups: Arc<WakeUps>,
    in_flight: InFlight,
    /// The launch of each allocation that this node knows.
    by_allocation: Mutex<HashMap<String, Uuid>>,
    /// The allocations whose servers have ended, and how.
    exited: Mutex<HashMap<String, String>>,
    lines: Mutex<Lines>,
    waits: Mutex<Waits>,
    /// Releases of servers that came too late for their launches, until they are stored.
    given_back: Mutex<Vec<LaunchRecord>>,
    /// Whether the servers of an earlier start were looked for.
    is_adopted: AtomicBool,
    /// The wall clock minus the monotonic clock, in milliseconds. It changes if the wall clock is set.
    offset_ms: AtomicI64,
    /// When this node last said that it is alive, forgot lost nodes, surveyed all launches, and swept, by
    /// [`Clock::up_ms`].
    said_alive_up_ms: AtomicI64,
    forgot_nodes_up_ms: AtomicI64,
    surveyed_up_ms: AtomicI64,
    swept_up_ms: AtomicI64,
    calls: TaskTracker,
    /// Whether this node stops: then it starts no servers any more.
    is_stopping: AtomicBool,
    clock: Clock,
    entropy: Entropy,
    metrics: Arc<Metrics>,
}

impl Launches {
    /// The service, with the allocators that this node serves.
    pub fn new(
        sessions: Arc<Sessions>,
        settings: LaunchSettings,
        wake_ups: Arc<WakeUps>,
        ((clock, entropy), metrics): ((Clock, Entropy), Arc<Metrics>),
    ) -> Self {
        let LaunchSettings { node, directory, allocators } = settings;
        let offset_ms = clock.now_ms() - clock.up_ms();
        let never = || AtomicI64::new(i64::MIN);
        let served = allocators.into_iter().map(|(name, served)| (name, Arc::new(served.into())));
        Self {
            sessions,
            node,
            directory,
            has_id: AtomicBool::new(true),
            served: served.collect(),
            wake_ups,
            in_flight: InFlight::default(),
            by_allocation: Mutex::default(),
            exited: Mutex::default(),
            lines: Mutex::default(),
            waits: Mutex::default(),
            given_back: Mutex::default(),
            is_adopted: AtomicBool::new(false),
            offset_ms: AtomicI64::new(offset_ms),
            said_alive_up_ms: never(),
            forgot_nodes_up_ms: never(),
            surveyed_up_ms: never(),
            swept_up_ms: never(),
            calls: TaskTracker::new(),
            is_stopping: AtomicBool::new(false),
            clock,
            entropy,
            metrics,
        }
    }

    /// Links an instance of a session to a new launch, if an allocator starts the dedicated servers of its type.
    pub fn link(&self, catalog: &Catalog, session: &Session, instance: &mut Instance) {
        if instance.host_type != HostType::Dedicated {
            return;
        }
        let template = catalog.template(&session.session_type).ok();
        let named = template.and_then(|template| template.allocator.clone());
        let only = || self.served.keys().next().filter(|_| self.served.len() == 1).cloned();
        let Some(allocator) = named.or_else(only) else { return };
        // Without configured regions a region is any text. Lines by such texts would have no order and no limit.
        let region = session.region_id.clone().filter(|region| catalog.regions.contains_key(region));
        instance.launch = Some(LaunchLink { id: self.entropy.uuid(), allocator, region });
    }

    /// Whether this node has an allocator of this name.
    pub fn serves(&self, allocator: &str) -> bool {
        self.served.contains_key(allocator)
    }

    /// Waits until a launch needs attention before its time.
    pub async fn wait_for_news(&self) {
        let events = self.served.values().map(|served| Box::pin(served.allocator.next_event()));
        let events: Vec<_> = events.collect();
        if events.is_empty() {
            return self.wake_ups.wait().await;
        }
        tokio::select! {
            () = self.wake_ups.wait() => {}
            (event, ..) = select_all(events) => self.note(event),
        }
    }

    /// Runs one round: looks at every launch that was woken or is due. Returns whether more is to be done at once.
    ///
    /// # Errors
    /// Errors of the store; otherwise the first failure of a single launch. The other launches go on, and a later round
    /// tries again.
    pub async fn round(self: &Arc<Self>) -> Result<bool, Failure> {
        self.sessions.check_clock().await.map_err(Failure::Store)?;
        if !self.say_alive().await? {
            return Ok(false);
        }
        self.forget_nodes().await?;
        let adopted = Box::pin(self.adopt()).await?;
        self.note_events();
        let given_back = Box::pin(self.store_given_back()).await;
        let due = self.due().await?;
        let woken = self.wake_ups.take().into_iter().map(|id| (id, None));
        let launches: BTreeMap<_, _> = woken.chain(due.into_iter().map(|(at, id)| (id, Some(at)))).collect();
        // On the heap, as the other parts of a round: one in the other, they would need much of a thread's stack.
        let looks = stream::iter(launches)
            .map(|(id, due_ms)| Box::pin(self.look(id, due_ms).map(move |looked| (id, looked))));
        let looked: Vec<_> = looks.buffer_unordered(LOOKS_AT_ONCE).collect().await;
        let failed = looked.iter().filter(|(_, looked)| looked.is_err()).map(|(id, _)| *id);
        self.wake_ups.put_back(failed);
        let started = Box::pin(self.start_waiting()).await;
        Box::pin(self.survey()).await?;
        let looked = looked.into_iter().map(|(_, looked)| looked);
        let outcome = looked.chain([adopted, given_back, started]).fold(Ok(()), Failure::worse);
        outcome.map(|()| !self.wake_ups.is_empty())
    }

    /// Whether a launch needs attention at once.
    pub fn has_news(&self) -> bool {
        !self.wake_ups.is_empty()
    }

    /// Waits until no call is under way.
    pub async fn calls_ended(&self) {
        self.calls.close();
        self.calls.wait().await;
        self.calls.reopen();
    }

    /// Launches that are due and need a look, and since when, in the order of the queue.
    async fn due(&self) -> Result<Vec<(i64, Uuid)>, Failure> {
        let now_ms = self.clock.now_ms();
        let (start, end) = keys::launches_due_until(now_ms);
        let start = lock(&self.waits).begin(start);
        let found = self.sessions.store().scan(&start, &end, DUE_IN_A_ROUND).await?;
        let mut waits = lock(&self.waits);
        waits.end(found.last().map(|(key, _)| key).filter(|_| found.len() == DUE_IN_A_ROUND));
        let due = found.iter().filter_map(|(key, _)| keys::parse_launch_due(key));
        Ok(due.filter(|(due_ms, id)| waits.is_over(*id, *due_ms, now_ms)).collect())
    }

    /// Takes the events that are there already.
    fn note_events(&self) {
        for served in self.served.values() {
            while let Some(event) = served.allocator.next_event().now_or_never() {
                self.note(event);
            }
        }
    }

    fn note(&self, event: Event) {
        let Event::Exited { allocation_id, status } = event;
        let launch = lock(&self.by_allocation).get(&allocation_id).copied();
        let Some(launch) = launch else {
            tracing::info!(allocation_id, status, "a server has ended that no launch knows");
            return;
        };
        lock(&self.exited).insert(allocation_id, status);
        self.wake_ups.wake([launch]);
    }

    /// Whether a time of [`Clock::up_ms`] lies this far back. Notes the present time if so.
    fn is_time(&self, last_up_ms: &AtomicI64, every: Duration) -> bool {
        let (up_ms, every_ms) = (self.clock.up_ms(), i64::try_from(every.as_millis()).unwrap_or(i64::MAX));
        let last = last_up_ms.load(std::sync::atomic::Ordering::Relaxed);
        let is_due = last == i64::MIN || up_ms.saturating_sub(last) >= every_ms;
        if is_due {
            last_up_ms.store(up_ms, std::sync::atomic::Ordering::Relaxed);
        }
        is_due
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod memory_tests;
