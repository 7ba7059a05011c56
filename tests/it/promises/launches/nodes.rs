//! Several nodes launch servers, and one of them is killed: no instance gets two servers, and no server is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rallypoint::allocators::{Found, Scope};
use rallypoint::app::Failure;
use rallypoint::app::launches::LaunchSettings;
use rallypoint::domain::launch::LaunchRules;
use rallypoint::env::Entropy;
use rallypoint::jobs;
use rallypoint::records::keys;
use rallypoint::store::{Memory, Store};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::{path, requests};
use crate::harness::allocator::{Call, Scripted, serving};
use crate::harness::{Client, Server, seeded, shared_stores};

/// Environment variable with the number of instances that are requested at once.
const INSTANCES_VARIABLE: &str = "RALLYPOINT_TEST_LAUNCHES";
const INSTANCES: usize = 50;
/// Random steps while the launches are under way. One node is killed in the middle.
const STEPS: usize = 40;

/// A node whose background work runs on a runtime of its own, so that a test can kill it.
struct Node {
    server: Server,
    runtime: Option<Runtime>,
}

impl Node {
    fn new(server: Server) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { server, runtime: Some(runtime) }
    }

    /// One round of the jobs, if the node lives.
    async fn tick(&self) {
        let Some(runtime) = &self.runtime else { return };
        let app = Arc::clone(&self.server.app);
        match runtime.spawn(async move { jobs::tick(&app).await }).await.unwrap() {
            Ok(_) | Err(Failure::Contended) => {}
            Err(failure) => panic!("{failure}"),
        }
    }

    async fn settles(&self) {
        for _ in 0..100 {
            self.tick().await;
            self.server.app.launches.calls_ended().await;
            if !self.server.app.launches.has_news() {
                return;
            }
        }
        panic!("the launches do not settle");
    }

    async fn passes(&self, seconds: u64) {
        self.server.clock.advance(Duration::from_secs(seconds));
        self.settles().await;
    }

    /// Ends whatever the node is doing, at once.
    async fn is_killed(&mut self) {
        let runtime = self.runtime.take().unwrap();
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(10))).await.unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Two nodes, and what the second one needs to start again.
struct World {
    scope: Scope,
    rules: LaunchRules,
    /// The allocator of each node.
    allocators: [Arc<Scripted>; 2],
    nodes: [Node; 2],
    spare: Store,
    /// Sessions with a launched instance.
    sessions: Vec<(Client, String)>,
    /// The allocation of each instance that was shown with a server.
    effective: BTreeMap<String, String>,
}

impl World {
    async fn each(scope: Scope) -> Vec<Self> {
        let new = |[one, other, spare]: [Store; 3]| Self::new(scope, one, other, spare);
        shared_stores().await.map(new).into()
    }

    fn new(scope: Scope, one: Store, other: Store, spare: Store) -> Self {
        let rules = LaunchRules {
            queue_timeout_s: 3_000,
            start_timeout_s: 3_000,
            closing_timeout_s: 5,
            ..LaunchRules::default()
        };
        let first = Arc::new(Scripted::new(scope));
        let second =
            if scope == Scope::Cluster { Arc::clone(&first) } else { Arc::new(Scripted::new(scope)) };
        let one = Server::launching(one, serving(1, &first, &rules), |_| {});
        let other = one.another_launching_node(other, serving(2, &second, &rules));
        Self {
            scope,
            rules,
            allocators: [first, second],
            nodes: [Node::new(one), Node::new(other)],
            spare,
            sessions: Vec::new(),
            effective: BTreeMap::new(),
        }
    }

    async fn tick(&self) {
        join_all(self.nodes.iter().map(Node::tick)).await;
    }

    fn opens(&self, is_open: bool) {
        self.allocators.iter().for_each(|allocator| allocator.opens(is_open));
    }

    fn loses(&self, answers: usize) {
        self.allocators.iter().for_each(|allocator| allocator.loses(answers));
    }

    /// The second node starts again, after it was killed.
    fn restarts(&mut self) {
        let settings = serving(2, &self.allocators[1], &self.rules);
        let server = self.nodes[0].server.another_launching_node(self.spare.clone(), settings);
        self.nodes[1] = Node::new(server);
    }

    /// A session by way of a node.
    async fn creates(&mut self, node: usize) {
        let player = self.nodes[node].server.lasting_player();
        let session = player.creates("party").await;
        self.sessions.push((player, session));
    }

    async fn request_all(&self) {
        join_all(self.sessions.iter().map(|(player, session)| requests(player, session))).await;
    }

    /// The instance of a session, as the first node shows it.
    async fn instance(&self, index: usize) -> Value {
        let (player, session) = &self.sessions[index];
        let player = Client { server: self.nodes[0].server.clone(), ..player.clone() };
        player.session(session).await.expect(200).body["instance"].clone()
    }

    /// Ends the instance of a random session, which needs no server any more.
    async fn ends_one(&mut self, entropy: &Entropy) {
        if self.sessions.len() <= 1 {
            return;
        }
        let (player, session) = self.sessions.swap_remove(below(entropy, self.sessions.len()));
        let player = Client { server: self.nodes[0].server.clone(), ..player };
        player.delete(&path(&session)).await.expect(204);
    }

    /// Checks that an instance that has a server keeps it. Returns how many have one.
    async fn check(&mut self) -> usize {
        let mut with_server = 0;
        for index in 0..self.sessions.len() {
            let instance = self.instance(index).await;
            if instance["join_status"] == "requested" {
                assert!(!self.effective.contains_key(&self.sessions[index].1), "it had a server: {instance}");
                continue;
            }
            assert_eq!(instance["join_status"], "allocated", "{instance}");
            let allocation = instance["allocation_id"].as_str().unwrap();
            let first = self.effective.entry(self.sessions[index].1.clone()).or_insert(allocation.into());
            assert_eq!(first, allocation, "the instance has another server now");
            with_server += 1;
        }
        with_server
    }

    async fn step(&mut self, entropy: &Entropy) {
        match below(entropy, 8) {
            0 => self.opens(false),
            1 | 2 => self.opens(true),
            3 => self.loses(below(entropy, 6)),
            4 => self.ends_one(entropy).await,
            _ => {
                let seconds = 1 + below(entropy, 12) as u64;
                self.nodes[0].server.clock.advance(Duration::from_secs(seconds));
            }
        }
        self.tick().await;
    }

    /// Nothing goes wrong any more: what was begun comes to its end.
    async fn recovers(&mut self) {
        self.opens(true);
        self.loses(0);
        self.restarts();
        for _ in 0..40 {
            self.nodes[0].passes(5).await;
            self.nodes[1].settles().await;
        }
    }

    /// Every instance has the server that it was given, no other server runs, and no other launch is stored.
    async fn check_end(&mut self) {
        assert_eq!(self.check().await, self.sessions.len(), "each instance has a server");
        let live = self.sessions.iter().map(|(_, session)| self.effective[session].clone());
        let live: BTreeSet<_> = live.collect();
        let running: BTreeSet<_> = self.allocators.iter().flat_map(|allocator| allocator.servers()).collect();
        assert_eq!(running, live);
        let store = self.nodes[0].server.app.sessions.store();
        for (start, end) in [keys::all_launches(), keys::launches_due_until(i64::MAX - 1)] {
            assert_eq!(store.scan(&start, &end, usize::MAX).await.unwrap().len(), live.len());
        }
    }

    /// The allocations of each instance for which an allocator was called.
    fn allocations(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut allocations: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for launch in self.allocators.iter().flat_map(|allocator| allocator.launches()) {
            allocations.entry(launch.instance_id).or_default().insert(launch.allocation_id);
        }
        allocations
    }
}

fn below(entropy: &Entropy, bound: usize) -> usize {
    usize::try_from(u64::from_le_bytes(entropy.bytes()) % bound as u64).unwrap()
}

async fn many_instances_at_once(scope: Scope) {
    let instances = std::env::var(INSTANCES_VARIABLE).map_or(INSTANCES, |size| size.parse().unwrap());
    let entropy = seeded();
    for mut world in World::each(scope).await {
        for index in 0..instances {
            world.creates(index % 2).await;
        }
        world.loses(instances / 10);
        tokio::join!(world.request_all(), world.tick());
        for step in 0..STEPS {
            if step == STEPS / 2 {
                world.nodes[1].is_killed().await;
            }
            world.step(&entropy).await;
            world.check().await;
        }
        world.recovers().await;
        world.check_end().await;
        if world.scope == Scope::Cluster {
            let most = world.allocations().values().map(BTreeSet::len).max();
            assert_eq!(most, Some(1), "each node repeats the calls of the other one");
        }
    }
}

#[tokio::test]
async fn many_launches_on_two_nodes_survive_lost_answers_and_a_lost_node() {
    many_instances_at_once(Scope::Cluster).await;
}

#[tokio::test]
async fn many_launches_on_two_nodes_with_servers_of_their_own_survive_a_lost_node() {
    many_instances_at_once(Scope::Node).await;
}

/// The second node claims an attempt, and is killed during the call. Returns the id of the allocation.
async fn is_killed_during_a_call(world: &mut World) -> String {
    world.creates(1).await;
    world.opens(false);
    world.request_all().await;
    while world.allocators[1].calls().is_empty() {
        world.nodes[1].tick().await;
    }
    world.nodes[1].is_killed().await;
    world.opens(true);
    let instance = world.instance(0).await;
    assert_eq!(instance["join_status"], "requested");
    instance["allocation_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn after_a_lost_lease_another_node_repeats_the_call() {
    for is_taken in [true, false] {
        for mut world in World::each(Scope::Cluster).await {
            let allocation = is_killed_during_a_call(&mut world).await;
            if is_taken {
                world.allocators[0].takes(&allocation);
            }
            world.nodes[0].passes(29).await;
            assert_eq!(world.allocators[0].calls(), [], "the call may still be under way");
            world.nodes[0].passes(1).await;
            let mut expected = vec![Call::Find(allocation.clone())];
            expected.extend((!is_taken).then(|| Call::Place(allocation.clone())));
            assert_eq!(world.allocators[0].calls(), expected);
            world.restarts();
            world.nodes[1].settles().await;
            world.check_end().await;
            assert_eq!(world.allocators[0].servers(), [allocation]);
        }
    }
}

#[tokio::test]
async fn a_server_that_has_spoken_is_kept_also_if_the_node_that_called_for_it_is_killed() {
    for scope in [Scope::Cluster, Scope::Node] {
        for mut world in World::each(scope).await {
            let allocation = is_killed_during_a_call(&mut world).await;
            world.allocators[1].takes(&allocation);
            world.allocators[0].finds(Some(Found::CannotTell));
            let node = &world.nodes[0];
            let host = node.server.service(&["session:update:any"]);
            let update = json!({"allocation_id": allocation, "join_status": "joinable"});
            host.patch(&path(&world.sessions[0].1), &update).await.expect(200);
            for seconds in [1, 40, 2, 3_000, 2] {
                node.passes(seconds).await;
                let instance = world.instance(0).await;
                let shown = (&instance["join_status"], &instance["allocation_id"]);
                assert_eq!(shown, (&json!("joinable"), &json!(allocation)), "{scope:?}");
            }
        }
    }
}

#[tokio::test]
async fn only_after_a_node_is_gone_another_one_makes_the_next_attempt() {
    for is_taken in [true, false] {
        for mut world in World::each(Scope::Node).await {
            let allocation = is_killed_during_a_call(&mut world).await;
            if is_taken {
                world.allocators[1].takes(&allocation);
            }
            world.nodes[0].passes(40).await;
            assert_eq!(world.instance(0).await["allocation_id"], allocation, "the node may come back");
            world.nodes[0].passes(1).await;
            world.nodes[0].passes(2).await;
            assert_eq!(world.check().await, 1);
            let launches = world.allocators[0].launches();
            let [launch] = &launches[..] else { panic!("{launches:?}") };
            assert_eq!(launch.attempt, 2);
            assert_ne!(launch.allocation_id, allocation);
            world.restarts();
            world.nodes[1].settles().await;
            world.check_end().await;
            assert_eq!(world.allocators[1].servers(), [""; 0], "the overtaken server is stopped");
        }
    }
}

#[tokio::test]
async fn a_server_that_falls_silent_is_lost_also_if_the_node_that_noticed_is_killed() {
    let (allocator, store) = (Arc::new(Scripted::default()), Memory::shared());
    let rules = LaunchRules::default();
    let node = |number| serving(number, &allocator, &rules);
    let one = Server::launching(Store::Memory(store.clone()), node(1), |_| {});
    let alice = one.lasting_player();
    let session = alice.creates("party").await;
    requests(&alice, &session).await;
    one.settles().await;
    let instance = alice.session(&session).await.expect(200).body["instance"].clone();
    let other = one.another_launching_node(Store::Memory(store.clone()), node(2));
    let host = other.service(&["session:update:any", "session:instance:health"]);
    let update = json!({"allocation_id": instance["allocation_id"], "join_status": "joinable"});
    host.patch(&path(&session), &update).await.expect(200);
    one.settles().await;
    let report = json!({"instance_id": instance["instance_id"], "instance_health": "unknown"});
    host.post(&format!("{}/health", path(&session)), &report).await.expect(200);
    // Both nodes are killed.
    let third = one.another_launching_node(Store::Memory(store), node(3));
    third.settles().await;
    third.passes(59).await;
    let alice = Client { server: third.clone(), ..alice };
    assert_eq!(alice.session(&session).await.expect(200).body["instance"]["join_status"], "joinable");
    third.passes(1).await;
    let instance = alice.session(&session).await.expect(200).body["instance"].clone();
    assert_eq!(instance["custom_data"]["rallypoint.launch"], "lost");
}

#[tokio::test]
async fn the_record_of_a_node_that_is_lost_for_good_is_deleted() {
    let (allocator, store) = (Arc::new(Scripted::default()), Memory::shared());
    let rules = LaunchRules::default();
    let one = Server::launching(Store::Memory(store.clone()), serving(1, &allocator, &rules), |_| {});
    let lost = one.another_launching_node(Store::Memory(store), serving(2, &allocator, &rules));
    lost.settles().await;
    drop(lost);
    let nodes = async || {
        let (start, end) = keys::all_nodes();
        let found = one.app.sessions.store().scan(&start, &end, 10).await.unwrap();
        found.iter().filter_map(|(key, _)| keys::parse_node(key)).collect::<Vec<_>>()
    };
    one.passes(40 + 3_600).await;
    assert_eq!(nodes().await.len(), 2);
    one.passes(60).await;
    assert_eq!(nodes().await, [uuid::Uuid::from_u128(1)]);
}

#[tokio::test]
async fn a_copied_node_id_has_one_node_only() {
    let (allocator, store) = (Arc::new(Scripted::new(Scope::Node)), Memory::shared());
    let rules = LaunchRules::default();
    let one = Server::launching(Store::Memory(store.clone()), serving(1, &allocator, &rules), |_| {});
    let alice = one.lasting_player();
    let session = alice.creates("party").await;
    requests(&alice, &session).await;
    one.settles().await;
    let copy = LaunchSettings {
        directory: "copy".into(),
        ..serving(1, &Arc::new(Scripted::new(Scope::Node)), &rules)
    };
    let copy = one.another_launching_node(Store::Memory(store), copy);
    let held = async || copy.app.launches.hold_id().await.unwrap();
    let first = held().await;
    assert!(first.is_some() && held().await == first, "no news of the other node");
    one.passes(10).await;
    assert!(held().await.is_some_and(|version| Some(version) != first), "the other node lives");
    copy.settles().await;
    let status = async || alice.session(&session).await.expect(200).body["instance"]["join_status"].clone();
    assert_eq!(status().await, "allocated", "the copy has ended the server of the other node");
    // The first one ends without a word.
    one.clock.advance(Duration::from_secs(40));
    assert!(held().await.is_some());
    one.clock.advance(Duration::from_millis(1));
    assert_eq!(held().await, None);
    // It comes back, and the other one has its id now.
    one.app.launches.end_all().await;
    assert!(one.app.launches.hold_id().await.unwrap().is_some());
    assert_eq!(held().await, None);
}
