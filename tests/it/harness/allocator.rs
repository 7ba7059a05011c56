//! An allocator whose answers a test writes, and a server with it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rallypoint::allocators::{
    Allocator, Event, Found, Held, Launch, Placed, Placement, Reason, ReleaseMode, Released, Scope,
};
use rallypoint::app::launches::{LaunchSettings, Served};
use rallypoint::domain::launch::LaunchRules;
use rallypoint::jobs;
use tokio::sync::Notify;
use uuid::Uuid;

use super::Server;

/// A call of an allocator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// With the id of the allocation.
    Place(String),
    Find(String),
    Release(String, ReleaseMode),
}

/// An allocator in memory. Without further words it gives a server to each allocation, and stops it when asked.
pub struct Scripted {
    scope: Scope,
    state: Mutex<State>,
    events: Notify,
    /// Calls wait here while it is closed.
    gate: tokio::sync::watch::Sender<bool>,
    /// Calls of `release` wait here too.
    release_gate: tokio::sync::watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    servers: BTreeMap<String, String>,
    /// Answers to the next calls of `place`, before the usual one.
    answers: VecDeque<Placement>,
    /// Answers of the next calls of `place` that take a server and are lost.
    lost: usize,
    /// The answer of `find`, instead of the true one.
    found: Option<Found>,
    capacity: Option<usize>,
    /// Servers that stop only in the hard way.
    is_stubborn: bool,
    /// Servers that never stop.
    is_stuck: bool,
    events: VecDeque<Event>,
    calls: Vec<Call>,
    launches: Vec<Launch>,
    /// The handles that calls of `release` named.
    released: Vec<Option<String>>,
    taken: usize,
}

impl Default for Scripted {
    fn default() -> Self {
        Self::new(Scope::Cluster)
    }
}

impl Scripted {
    pub fn new(scope: Scope) -> Self {
        Self {
            scope,
            state: Mutex::default(),
            events: Notify::new(),
            gate: tokio::sync::watch::Sender::new(true),
            release_gate: tokio::sync::watch::Sender::new(true),
        }
    }

    /// Answers the next call of `place` with this.
    pub fn answers(&self, placement: Placement) {
        self.state.lock().unwrap().answers.push_back(placement);
    }

    /// Takes a server for each of the next calls of `place`, and loses the answer.
    pub fn loses(&self, answers: usize) {
        self.state.lock().unwrap().lost = answers;
    }

    /// Answers `find` with this from now on; `None`: with the truth.
    pub fn finds(&self, found: Option<Found>) {
        self.state.lock().unwrap().found = found;
    }

    pub fn holds_at_most(&self, servers: usize) {
        self.state.lock().unwrap().capacity = Some(servers);
    }

    pub fn is_stubborn(&self) {
        self.state.lock().unwrap().is_stubborn = true;
    }

    /// Servers never stop from now on.
    pub fn is_stuck(&self) {
        self.state.lock().unwrap().is_stuck = true;
    }

    /// Lets calls of `release` wait, or go on.
    pub fn opens_releases(&self, is_open: bool) {
        self.release_gate.send_replace(is_open);
    }

    /// Lets calls wait, or go on.
    pub fn opens(&self, is_open: bool) {
        self.gate.send_replace(is_open);
    }

    /// The server of an allocation ends by itself.
    pub fn ends(&self, allocation_id: &str) {
        let mut state = self.state.lock().unwrap();
        assert!(state.servers.remove(allocation_id).is_some(), "{allocation_id} has no server");
        state
            .events
            .push_back(Event::Exited { allocation_id: allocation_id.into(), status: "status 5".into() });
        self.events.notify_one();
    }

    /// The server of an allocation is gone, and nothing tells it.
    pub fn forgets(&self, allocation_id: &str) {
        self.state.lock().unwrap().servers.remove(allocation_id);
    }

    /// A call has taken a server, and its caller is gone.
    pub fn takes(&self, allocation_id: &str) {
        self.state.lock().unwrap().servers.insert(allocation_id.into(), "taken".into());
    }

    /// The allocations that have a server.
    pub fn servers(&self) -> Vec<String> {
        self.state.lock().unwrap().servers.keys().cloned().collect()
    }

    /// The calls since the last time that this was asked.
    pub fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.state.lock().unwrap().calls)
    }

    /// What the calls of `place` were told, all of them.
    pub fn launches(&self) -> Vec<Launch> {
        self.state.lock().unwrap().launches.clone()
    }

    /// The handles that calls of `release` named, all of them.
    pub fn released(&self) -> Vec<Option<String>> {
        self.state.lock().unwrap().released.clone()
    }

    /// How many servers were taken, all in all.
    pub fn taken(&self) -> usize {
        self.state.lock().unwrap().taken
    }

    async fn passes(&self, call: Call) {
        self.state.lock().unwrap().calls.push(call);
        let _ = self.gate.subscribe().wait_for(|is_open| *is_open).await;
    }

    fn placed(handle: &str) -> Placed {
        Placed { handle: handle.into(), host: Some("127.0.0.1".into()), port: Some(7777) }
    }

    fn take(&self, launch: &Launch) -> Placement {
        let mut state = self.state.lock().unwrap();
        state.launches.push(launch.clone());
        if let Some(answer) = state.answers.pop_front() {
            return answer;
        }
        if let Some(handle) = state.servers.get(&launch.allocation_id) {
            return Placement::Placed(Self::placed(handle));
        }
        if state.capacity.is_some_and(|capacity| state.servers.len() >= capacity) {
            return later(Reason::NoCapacity);
        }
        state.taken += 1;
        let handle = format!("node/{}", state.taken);
        state.servers.insert(launch.allocation_id.clone(), handle.clone());
        if state.lost > 0 {
            state.lost -= 1;
            return Placement::Unknown { retry_after: None, is_starting: false, detail: "lost".into() };
        }
        Placement::Placed(Self::placed(&handle))
    }
}

/// The answer that there is no server now.
pub fn later(reason: Reason) -> Placement {
    Placement::Later { retry_after: None, reason, detail: "all in use".into() }
}

impl Allocator for Scripted {
    fn scope(&self) -> Scope {
        self.scope
    }

    fn place<'a>(&'a self, launch: &'a Launch) -> BoxFuture<'a, Placement> {
        async move {
            self.passes(Call::Place(launch.allocation_id.clone())).await;
            self.take(launch)
        }
        .boxed()
    }

    fn find<'a>(&'a self, allocation_id: &'a str) -> BoxFuture<'a, Found> {
        async move {
            self.passes(Call::Find(allocation_id.into())).await;
            let state = self.state.lock().unwrap();
            if let Some(found) = &state.found {
                return found.clone();
            }
            let handle = state.servers.get(allocation_id).cloned();
            handle.map_or(Found::Absent, |handle| Found::Placed(Self::placed(&handle)))
        }
        .boxed()
    }

    fn release<'a>(
        &'a self,
        id: &'a str,
        handle: Option<&'a str>,
        mode: ReleaseMode,
    ) -> BoxFuture<'a, Released> {
        async move {
            self.passes(Call::Release(id.into(), mode)).await;
            let _ = self.release_gate.subscribe().wait_for(|is_open| *is_open).await;
            let mut state = self.state.lock().unwrap();
            state.released.push(handle.map(str::to_owned));
            if state.is_stuck {
                return Released::Later;
            }
            if state.is_stubborn && mode == ReleaseMode::Soft && state.servers.contains_key(id) {
                return Released::Later;
            }
            state.servers.remove(id);
            Released::Gone
        }
        .boxed()
    }

    fn list(&self) -> BoxFuture<'_, Option<Vec<Held>>> {
        let state = self.state.lock().unwrap();
        let held = |(allocation_id, handle): (&String, &String)| Held {
            allocation_id: allocation_id.clone(),
            handle: handle.clone(),
            age: Duration::from_secs(3_600),
        };
        let list = state.servers.iter().map(held).collect();
        async move { Some(list) }.boxed()
    }

    fn next_event(&self) -> BoxFuture<'_, Event> {
        async move {
            loop {
                if let Some(event) = self.state.lock().unwrap().events.pop_front() {
                    return event;
                }
                self.events.notified().await;
            }
        }
        .boxed()
    }
}

/// The settings of a node that serves this allocator, under the name `test`.
pub fn serving<A: Allocator + 'static>(
    node: u128,
    allocator: &Arc<A>,
    rules: &LaunchRules,
) -> LaunchSettings {
    let served = Served {
        allocator: Arc::clone(allocator) as Arc<dyn Allocator>,
        rules: rules.clone(),
        ends_on_stop: true,
    };
    let allocators = [("test".to_owned(), served)].into();
    LaunchSettings { node: Uuid::from_u128(node), allocators, ..LaunchSettings::default() }
}

impl Server {
    /// Runs the jobs until no launch needs attention and no call is under way.
    pub async fn settles(&self) {
        for _ in 0..100 {
            jobs::tick(&self.app).await.unwrap();
            self.app.launches.calls_ended().await;
            if !self.app.launches.has_news() {
                return;
            }
        }
        panic!("the launches do not settle");
    }

    /// Advances the clock, and lets launches act on it.
    pub async fn passes(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        self.settles().await;
    }
}
