//! Finds the servers of an earlier start, and stops servers that no launch knows.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use uuid::Uuid;

use super::calls::find;
use super::served::Allocating;
use super::waits::Waits;
use super::{Launches, lock};
use crate::allocators::{Held, ReleaseMode};
use crate::app::Failure;
use crate::app::isolate::isolate;
use crate::domain::launch::{LaunchRecord, Stage};
use crate::records::keys;
use crate::records::launch::{self, StoredLaunch};
use crate::store::next_key;

/// How often the launches are counted for the metrics.
const SURVEY_EVERY: Duration = Duration::from_secs(10);
/// How often allocators are searched for servers that no launch knows.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Launches read at once.
const PAGE: usize = 1_000;
/// From this difference on, in milliseconds, the wall clock was set.
const CLOCK_STEP_MS: i64 = 5_000;

impl Launches {
    /// After a start, and after the wall clock was set: takes over the launches of this node, and those that wait.
    /// Servers that run on this node and are gone have ended. The time-outs of the others start again, because servers
    /// could not reach the API. Returns the first failure of a single launch; the others were adopted all the same.
    pub(super) async fn adopt(self: &Arc<Self>) -> Result<Result<(), Failure>, Failure> {
        let offset_ms = self.clock.now_ms() - self.clock.up_ms();
        if (offset_ms - self.offset_ms.load(Ordering::Relaxed)).abs() >= CLOCK_STEP_MS {
            self.is_adopted.store(false, Ordering::Relaxed);
            self.offset_ms.store(offset_ms, Ordering::Relaxed);
            *lock(&self.waits) = Waits::default();
        }
        let mut outcome = Ok(());
        if !self.is_adopted.load(Ordering::Relaxed) && !self.served.is_empty() {
            for stored in self.all().await? {
                if stored.record.node().is_none_or(|node| node == self.node) {
                    let session_id = &stored.record.session_id;
                    let adopted = isolate(&self.metrics, session_id, self.adopt_one(&stored)).await;
                    match adopted {
                        Err(failure) if !failure.is_of_one_session() => return Err(failure),
                        adopted => outcome = Failure::worse(outcome, adopted),
                    }
                }
            }
        }
        self.is_adopted.store(true, Ordering::Relaxed);
        Ok(outcome)
    }

    async fn adopt_one(&self, stored: &StoredLaunch) -> Result<(), Failure> {
        let record = &stored.record;
        self.wake_ups.wake([record.id]);
        let Some(served) = self.served.get(&record.allocator) else { return Ok(()) };
        if let Some(allocation_id) = record.allocation_id() {
            lock(&self.by_allocation).insert(allocation_id.to_owned(), record.id);
        }
        let is_running = matches!(record.stage, Stage::Placed { .. } | Stage::Up { .. });
        let allocation_id = record.allocation_id().unwrap_or_default();
        if is_running && served.is_bound() && find(served, allocation_id).await == Some(None) {
            let how = "it was gone when this node looked for it".to_owned();
            lock(&self.exited).insert(allocation_id.to_owned(), how);
            return Ok(());
        }
        let restarted = record.clone().restarted(self.clock.now_ms(), &served.rules);
        if restarted != *record {
            self.commit(launch::replace(stored, Some(&restarted))).await?;
        }
        Ok(())
    }

    /// All launches that can be read. The others are logged.
    pub(super) async fn all(&self) -> Result<Vec<StoredLaunch>, Failure> {
        let (mut start, end) = keys::all_launches();
        let mut all = Vec::new();
        loop {
            let page = self.sessions.store().scan(&start, &end, PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(all) };
            start = next_key(last);
            for (key, entry) in page {
                match launch::decode(keys::parse_launch(&key).unwrap_or_default(), &entry.value) {
                    Ok(record) => all.push(StoredLaunch { record, version: entry.version }),
                    Err(damage) => tracing::error!(%damage, "a launch cannot be read; the others go on"),
                }
            }
        }
    }

    /// Counts the launches for the metrics, and begins the search for servers that no launch knows, each at its times.
    pub(super) async fn survey(self: &Arc<Self>) -> Result<(), Failure> {
        if !self.is_time(&self.surveyed_up_ms, SURVEY_EVERY) {
            return Ok(());
        }
        lock(&self.lines).forget_old(self.clock.up_ms());
        lock(&self.waits).forget_old(self.clock.now_ms());
        if self.served.is_empty() {
            return Ok(());
        }
        let all = self.all().await?;
        self.count(&all);
        self.forget_allocations(&all);
        if self.is_time(&self.swept_up_ms, SWEEP_EVERY) {
            // An allocator may take long to list its servers.
            let launches = Arc::clone(self);
            self.calls.spawn(async move {
                if let Err(failure) = launches.sweep().await {
                    tracing::error!(%failure, "the search for servers without a launch failed; it is made again");
                }
            });
        }
        Ok(())
    }

    /// Forgets what is known of allocations that no launch has any more.
    fn forget_allocations(&self, all: &[StoredLaunch]) {
        let known: HashSet<_> = all.iter().filter_map(|stored| stored.record.allocation_id()).collect();
        let live: HashSet<Uuid> = all.iter().map(|stored| stored.record.id).collect();
        lock(&self.by_allocation)
            .retain(|_, launch| live.contains(launch) || self.in_flight.contains(*launch));
        lock(&self.exited).retain(|allocation_id, _| known.contains(allocation_id.as_str()));
    }

    /// Stops the servers that no launch knows.
    async fn sweep(self: &Arc<Self>) -> Result<(), Failure> {
        // The allocators first: a server of a launch that begins meanwhile is not in their lists.
        let held = self.held().await;
        let all = self.all().await?;
        let known: HashSet<_> = all.iter().filter_map(|stored| stored.record.allocation_id()).collect();
        for (name, servers) in held {
            let Some(served) = self.served.get(&name) else { continue };
            // A younger server may belong to a call that is under way.
            let age_min = served.timeout() * 3;
            let is_orphan = |held: &Held| held.age >= age_min && !known.contains(held.allocation_id.as_str());
            for orphan in servers.into_iter().filter(is_orphan) {
                // Players may be on the server of an instance whose launch cannot be read.
                let instance = keys::allocation(&orphan.allocation_id);
                if self.sessions.store().get(&instance).await?.is_none() {
                    self.stop_orphan(&name, served, orphan);
                }
            }
        }
        Ok(())
    }

    /// What each allocator holds, if it can tell.
    async fn held(&self) -> BTreeMap<String, Vec<Held>> {
        let mut held = BTreeMap::new();
        for (name, served) in &self.served {
            if let Ok(Some(servers)) = tokio::time::timeout(served.timeout(), served.allocator.list()).await {
                held.insert(name.clone(), servers);
            }
        }
        held
    }

    fn stop_orphan(self: &Arc<Self>, name: &str, served: &Arc<Allocating>, orphan: Held) {
        tracing::warn!(
            allocator = name,
            allocation_id = orphan.allocation_id,
            handle = orphan.handle,
            "no launch knows this server; it is stopped"
        );
        self.metrics.launches.orphan_released(name);
        let served = Arc::clone(served);
        self.calls.spawn(async move {
            let Held { allocation_id, handle, .. } = &orphan;
            let call = served.allocator.release(allocation_id, Some(handle), ReleaseMode::Hard);
            // If this fails, the next sweep finds the server again.
            let _ = tokio::time::timeout(served.timeout(), call).await;
        });
    }

    fn count(&self, all: &[StoredLaunch]) {
        let records: Vec<&LaunchRecord> = all.iter().map(|stored| &stored.record).collect();
        let names = self.served.keys().map(String::as_str);
        self.metrics.launches.count(names, &records, self.clock.now_ms());
    }
}
