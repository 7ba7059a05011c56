//! Launches: a requested instance gets a server, whatever the allocator does.

mod damage;
mod lines;
mod metrics;
mod nodes;
mod operators;
mod quota;
mod signs_of_life;
mod silent;
mod slow_stops;
mod stop;
mod unserved;

use std::sync::Arc;

use rallypoint::allocators::{Placement, Reason, ReleaseMode, Scope};
use rallypoint::config::Config;
use rallypoint::domain::launch::LaunchRules;
use rallypoint::domain::template::AutoStartup;
use rallypoint::records::keys;
use rallypoint::records::launch;
use rallypoint::store::{Batch, Memory, Store};
use serde_json::{Value, json};

use crate::harness::allocator::{Call, Scripted, later, serving};
use crate::harness::{Client, Server, leftovers};

/// A server with an allocator, and a player who leads a session.
struct Game {
    server: Server,
    allocator: Arc<Scripted>,
    alice: Client,
    session: String,
}

impl Game {
    async fn new() -> Self {
        Self::with(LaunchRules::default(), |_| {}).await
    }

    async fn with(rules: LaunchRules, change: impl FnOnce(&mut Config)) -> Self {
        let allocator = Arc::new(Scripted::default());
        let server =
            Server::launching(Store::Memory(Memory::default()), serving(1, &allocator, &rules), change);
        let alice = server.player();
        let session = alice.creates("game").await;
        Self { server, allocator, alice, session }
    }

    /// A game whose call was answered by nobody, although it has started a server. Returns the allocation too.
    async fn with_a_lost_answer() -> (Self, String) {
        let game = Self::new().await;
        game.allocator.loses(1);
        game.requests().await;
        game.server.settles().await;
        let allocation = game.allocation().await;
        assert_eq!(game.status().await, "requested");
        (game, allocation)
    }

    async fn requests(&self) -> Value {
        requests(&self.alice, &self.session).await
    }

    async fn instance(&self) -> Value {
        self.alice.session(&self.session).await.expect(200).body["instance"].clone()
    }

    async fn status(&self) -> Value {
        self.instance().await["join_status"].clone()
    }

    /// A request, and the launch of its server.
    async fn launches(&self) -> String {
        self.requests().await;
        self.server.settles().await;
        assert_eq!(self.status().await, "allocated");
        self.allocation().await
    }

    async fn allocation(&self) -> String {
        self.instance().await["allocation_id"].as_str().expect("an allocation").to_owned()
    }

    /// The server of the allocation updates the instance.
    async fn host_says(&self, allocation: &str, join_status: &str) -> crate::harness::Reply {
        let host = self.server.service(&["session:update:any"]);
        let body = json!({"allocation_id": allocation, "join_status": join_status});
        let reply = host.patch(&path(&self.session), &body).await;
        self.server.settles().await;
        reply
    }

    async fn reports_health(&self, health: &str) {
        let host = self.server.service(&["session:instance:health"]);
        let instance_id = self.instance().await["instance_id"].clone();
        let body = json!({"instance_id": instance_id, "instance_health": health});
        host.post(&format!("{}/health", path(&self.session)), &body).await.expect(200);
        self.server.settles().await;
    }

    async fn failure(&self) -> Value {
        let instance = self.instance().await;
        assert_eq!(instance["join_status"], "closed");
        instance["custom_data"]["rallypoint.launch"].clone()
    }

    /// Lets the server of an ended instance be stopped, and checks that nothing is left.
    async fn cleans_up(&self) {
        self.server.passes(30).await;
        self.server.passes(10).await;
        assert_eq!(self.allocator.servers(), [""; 0]);
        let (start, end) = keys::all_launches();
        let left = self.server.app.sessions.store().scan(&start, &end, 10).await.unwrap();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn path(session: &str) -> String {
    format!("/v1/session/{session}/instance")
}

async fn requests(player: &Client, session: &str) -> Value {
    player.post(&path(session), &json!({})).await.expect(200).body
}

fn launches_dedicated(config: &mut Config) {
    let startup = AutoStartup {
        map: "Dunes".into(),
        mode: None,
        misc_params: String::new(),
        custom_data: Default::default(),
    };
    config.templates.get_mut("game").unwrap().auto_startup_params = Some(startup);
}

#[tokio::test]
async fn a_requested_instance_is_given_a_server() {
    let game = Game::new().await;
    let requested = game.requests().await;
    assert_eq!(requested["join_status"], "requested", "callers never wait");
    assert!(requested.get("allocation_id").is_none());
    game.server.settles().await;
    let instance = game.instance().await;
    let allocation = instance["allocation_id"].as_str().unwrap();
    assert_eq!(instance["join_status"], "allocated");
    assert_eq!(instance["instance_id"], requested["instance_id"]);
    assert_eq!(
        (&instance["host_dedicated_server_id"], &instance["host_dedicated_process_id"]),
        (&json!("node"), &json!("1"))
    );
    assert_eq!(game.allocator.calls(), [Call::Place(allocation.into())]);
    let launch = &game.allocator.launches()[0];
    assert_eq!(
        (launch.session_id.as_str(), &launch.session_type[..], launch.attempt),
        (&game.session[..], "game", 1)
    );
    let host = game.server.service(&["session:read:allocation"]);
    host.get(&format!("/v1/session/allocation/{allocation}")).await.expect(200);
    game.host_says("another", "pending").await.refused(403, "allocation_mismatch");
    for join_status in ["pending", "joinable", "unjoinable"] {
        game.host_says(allocation, join_status).await.expect(200);
        game.server.passes(500).await;
        assert_eq!(game.status().await, join_status);
    }
    game.host_says(allocation, "closed").await.expect(200);
    game.server.settles().await;
    assert_eq!(game.allocator.servers().len(), 1, "the server stops by itself first");
    game.cleans_up().await;
}

#[tokio::test]
async fn who_may_not_see_a_session_whole_does_not_see_which_process_on_which_machine_hosts_it() {
    let game = Game::new().await;
    let allocation = game.launches().await;
    let session = format!("/v1/session/{}", game.session);
    let host_of = |reply: crate::harness::Reply| {
        let instance = &reply.expect(200).body["instance"];
        assert_eq!(instance["allocation_id"], allocation);
        ["host_dedicated_server_id", "host_dedicated_process_id"].map(|name| instance.get(name).cloned())
    };
    let whole = [Some(json!("node")), Some(json!("1"))];
    assert_eq!(host_of(game.alice.get(&session).await), whole);
    assert_eq!(host_of(game.server.service(&["session:read:any"]).get(&session).await), whole);
    let outsider = game.server.player_with(None, &["session:read:self"]);
    assert_eq!(host_of(outsider.get(&session).await), [None, None]);
    let launched = game.server.service(&["session:read:allocation", "session:read:self"]);
    for path in [format!("/v1/session/allocation/{allocation}"), session] {
        assert_eq!(host_of(launched.get(&path).await), [None, None], "{path}");
    }
}

#[tokio::test]
async fn only_dedicated_instances_are_launched() {
    let game = Game::new().await;
    for host_type in ["player", "standalone", "preallocated"] {
        game.alice.post(&path(&game.session), &json!({"host_type": host_type})).await.expect(200);
        game.server.passes(200).await;
        assert_ne!(game.status().await, "closed", "{host_type}");
        game.alice.delete(&path(&game.session)).await.expect(204);
    }
    assert_eq!(game.allocator.calls(), []);
}

#[tokio::test]
async fn a_session_that_starts_with_a_server_launches_it() {
    let game = Game::with(LaunchRules::default(), launches_dedicated).await;
    game.server.settles().await;
    assert_eq!(game.status().await, "allocated");
    assert_eq!(game.allocator.launches()[0].startup_params.as_ref().unwrap().map, "Dunes");
}

#[tokio::test]
async fn no_host_takes_an_instance_before_its_server_is_known() {
    let game = Game::new().await;
    game.requests().await;
    let update = json!({"join_status": "joinable"});
    game.alice.patch(&path(&game.session), &update).await.refused(403, "allocation_mismatch");
    game.host_says("mine", "joinable").await.refused(403, "allocation_mismatch");
    game.server.settles().await;
    assert_eq!(game.status().await, "allocated");
}

#[tokio::test]
async fn a_report_by_the_server_of_an_earlier_attempt_does_not_count() {
    let game = Game::new().await;
    let first = game.launches().await;
    game.server.passes(120).await;
    game.server.passes(2).await;
    assert_eq!(game.status().await, "allocated", "the first server is overtaken");
    let host = game.server.service(&["session:instance:health"]);
    let instance_id = game.instance().await["instance_id"].clone();
    let report = json!({"instance_id": instance_id, "instance_health": "healthy"});
    let health = format!("{}/health", path(&game.session));
    host.post(&health, &report).await.refused(404, "instance_not_found");
    game.server.passes(120).await;
    assert_eq!(game.status().await, "requested", "the second server has given no sign of life");
    game.server.passes(6).await;
    let third = game.allocation().await;
    assert_ne!(first, third);
    game.host_says(&third, "pending").await.expect(200);
    host.post(&health, &report).await.expect(200);
}

#[tokio::test]
async fn whatever_ends_an_instance_stops_its_server_softly_first() {
    for end in ["delete instance", "close", "leave", "idle"] {
        let game = Game::new().await;
        let allocation = game.launches().await;
        game.allocator.is_stubborn();
        game.allocator.calls();
        match end {
            "delete instance" => drop(game.alice.delete(&path(&game.session)).await.expect(204)),
            "close" => drop(game.host_says(&allocation, "closed").await.expect(200)),
            "leave" => drop(game.alice.leaves(&game.session).await.expect(204)),
            _ => {
                game.host_says(&allocation, "joinable").await.expect(200);
                game.server.passes(3_600 + 600).await;
            }
        }
        game.server.settles().await;
        if end != "idle" {
            game.server.passes(29).await;
        }
        let (soft, hard) = (ReleaseMode::Soft, ReleaseMode::Hard);
        let releases = |mode| vec![Call::Release(allocation.clone(), mode)];
        assert_eq!(game.allocator.calls(), [], "{end}: the server has time to stop by itself");
        game.server.passes(if end == "idle" { 30 } else { 1 }).await;
        assert_eq!(game.allocator.calls(), releases(soft), "{end}");
        game.server.passes(10).await;
        assert_eq!(game.allocator.calls(), releases(hard), "{end}");
        assert_eq!(game.allocator.servers(), [""; 0], "{end}");
        game.server.passes(60).await;
        assert_eq!(game.allocator.calls(), [], "{end}");
    }
}

#[tokio::test]
async fn a_replaced_instance_has_another_server() {
    let game = Game::new().await;
    let first = game.launches().await;
    game.host_says(&first, "closed").await.expect(200);
    let second = game.launches().await;
    assert_ne!(first, second);
    game.server.passes(30).await;
    assert_eq!(game.allocator.servers(), [second]);
}

#[tokio::test]
async fn a_server_that_exits_before_it_is_up_is_replaced_three_times() {
    let game = Game::new().await;
    game.requests().await;
    let mut allocations = Vec::new();
    for pause_s in [2, 6, 0] {
        game.server.settles().await;
        allocations.push(game.allocation().await);
        game.allocator.ends(allocations.last().unwrap());
        game.server.settles().await;
        game.server.passes(pause_s).await;
    }
    assert_eq!(game.failure().await, "exited");
    allocations.dedup();
    assert_eq!(allocations.len(), 3, "each attempt has an id of its own");
    assert_eq!(game.allocator.launches().iter().map(|launch| launch.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    game.cleans_up().await;
}

#[tokio::test]
async fn a_server_that_exits_once_it_was_up_closes_its_instance_at_once() {
    let game = Game::new().await;
    let allocation = game.launches().await;
    game.host_says(&allocation, "joinable").await.expect(200);
    game.server.settles().await;
    game.allocator.ends(&allocation);
    game.server.settles().await;
    assert_eq!(game.failure().await, "exited");
    assert_eq!(game.allocator.launches().len(), 1);
    game.requests().await;
    game.server.settles().await;
    assert_eq!(game.status().await, "allocated", "a new request replaces it");
}

#[tokio::test]
async fn servers_that_hang_run_into_their_time_outs() {
    let game = Game::new().await;
    let first = game.launches().await;
    game.server.passes(119).await;
    assert_eq!(game.allocation().await, first);
    game.server.passes(1).await;
    assert_eq!(game.status().await, "requested");
    assert_eq!(game.allocator.servers(), [""; 0], "the server of the failed attempt is stopped at once");
    game.host_says(&first, "pending").await.refused(403, "allocation_mismatch");
    game.server.passes(2).await;
    let second = game.allocation().await;
    assert_ne!(first, second);
    game.host_says(&second, "pending").await.expect(200);
    game.server.passes(599).await;
    assert_eq!(game.status().await, "pending");
    game.server.passes(1).await;
    assert_eq!(game.failure().await, "never_joinable");
    game.cleans_up().await;
}

#[tokio::test]
async fn a_server_whose_health_is_unknown_is_lost_after_a_time() {
    let game = Game::new().await;
    let allocation = game.launches().await;
    game.host_says(&allocation, "joinable").await.expect(200);
    game.server.passes(600).await;
    assert_eq!(game.status().await, "joinable", "a server that never reported is not lost");
    game.reports_health("healthy").await;
    game.server.passes(60).await;
    assert_eq!(game.instance().await["instance_health"], "unknown");
    game.server.passes(59).await;
    assert_eq!(game.status().await, "joinable");
    game.reports_health("healthy").await;
    game.server.passes(60).await;
    game.server.passes(59).await;
    assert_eq!(game.status().await, "joinable", "a report begins it again");
    game.server.passes(1).await;
    assert_eq!(game.failure().await, "lost");
    game.cleans_up().await;
}

#[tokio::test]
async fn an_allocator_that_is_away_or_refuses_closes_the_instance_with_the_reason() {
    let game = Game::new().await;
    let refused = |reason| Placement::Never { reason, detail: "no".into() };
    for (reason, expected) in [(Reason::Refused, "refused"), (Reason::Misconfigured, "misconfigured")] {
        game.allocator.answers(refused(reason));
        game.requests().await;
        game.server.settles().await;
        assert_eq!(game.failure().await, expected);
    }
    for _ in 0..30 {
        game.allocator.answers(later(Reason::Unavailable));
    }
    game.requests().await;
    game.server.settles().await;
    assert_eq!(game.status().await, "requested");
    for _ in 0..8 {
        game.server.passes(8).await;
    }
    assert_eq!(game.failure().await, "unavailable");
    assert_eq!(game.allocator.servers(), [""; 0]);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_with_the_same_id() {
    let (game, allocation) = Game::with_a_lost_answer().await;
    game.server.passes(5).await;
    assert_eq!(game.status().await, "allocated");
    assert_eq!(game.allocator.calls(), [Call::Place(allocation.clone()), Call::Find(allocation.clone())]);
    assert_eq!((game.allocator.servers(), game.allocator.taken()), (vec![allocation], 1));
}

#[tokio::test]
async fn a_slow_call_delays_nobody_and_its_late_server_goes_back() {
    let game = Game::new().await;
    game.allocator.opens(false);
    game.requests().await;
    rallypoint::jobs::tick(&game.server.app).await.unwrap();
    let allocation = game.allocation().await;
    assert_eq!(game.status().await, "requested");
    game.alice.delete(&path(&game.session)).await.expect(204);
    rallypoint::jobs::tick(&game.server.app).await.unwrap();
    game.allocator.opens(true);
    game.server.settles().await;
    assert_eq!(game.allocator.servers(), [allocation], "the answer came too late");
    game.cleans_up().await;
    assert_eq!(game.allocator.released(), [Some("node/1".to_owned())], "the late answer has told the handle");
}

#[tokio::test]
async fn a_server_for_a_launch_that_is_gone_is_released_also_if_the_store_fails_at_first() {
    let (allocator, memory) = (Arc::new(Scripted::default()), Memory::default());
    let settings = serving(1, &allocator, &LaunchRules::default());
    let server = Server::launching(Store::Memory(memory.clone()), settings, |_| {});
    let alice = server.player();
    let session = alice.creates("game").await;
    requests(&alice, &session).await;
    allocator.opens(false);
    rallypoint::jobs::tick(&server.app).await.unwrap();
    // As after a lease that has ended while this node was suspended: others have gone on, and are done.
    let (start, end) = keys::all_launches();
    let (launch, _) = server.app.sessions.store().scan(&start, &end, 1).await.unwrap().remove(0);
    server.app.sessions.store().commit(Batch::default().delete(launch)).await.unwrap();
    memory.fail_next_commits(1);
    allocator.opens(true);
    server.app.launches.calls_ended().await;
    rallypoint::jobs::tick(&server.app).await.unwrap_err();
    assert_eq!(allocator.servers().len(), 1);
    server.settles().await;
    assert_eq!(allocator.servers(), [""; 0]);
    assert_eq!(allocator.released(), [Some("node/1".to_owned())]);
}

#[tokio::test]
async fn after_a_restart_servers_are_found_again_and_orphans_stopped() {
    let (allocator, store) = (Arc::new(Scripted::new(Scope::Node)), Memory::default());
    let rules = LaunchRules::default();
    let server = Server::launching(Store::Memory(store.clone()), serving(1, &allocator, &rules), |_| {});
    let (alice, bob) = (server.player(), server.player());
    let sessions = [alice.creates("party").await, bob.creates("party").await];
    for (player, session) in [(&alice, &sessions[0]), (&bob, &sessions[1])] {
        requests(player, session).await;
    }
    server.settles().await;
    let servers = allocator.servers();
    assert_eq!(servers.len(), 2);
    let lost =
        alice.session(&sessions[0]).await.body["instance"]["allocation_id"].as_str().unwrap().to_owned();
    allocator.forgets(&lost);
    allocator.takes("orphan");
    server.clock.advance(std::time::Duration::from_secs(119));
    let restarted = server.another_launching_node(Store::Memory(store), serving(1, &allocator, &rules));
    restarted.settles().await;
    let kept = servers.iter().find(|id| **id != lost).unwrap();
    assert_eq!(
        allocator.servers(),
        std::slice::from_ref(kept),
        "the orphan is stopped, the other server goes on"
    );
    restarted.passes(2).await;
    assert_eq!(allocator.servers().len(), 2, "the lost server is replaced");
    restarted.passes(100).await;
    assert!(allocator.servers().contains(kept), "its time-outs have begun again");
}

#[tokio::test]
async fn a_launch_is_never_without_its_record_nor_its_record_without_its_launch() {
    let game = Game::new().await;
    game.requests().await;
    let (start, end) = keys::all_launches();
    let found = game.server.app.sessions.store().scan(&start, &end, 10).await.unwrap();
    let [(key, entry)] = &found[..] else { panic!("{found:?}") };
    let record = launch::decode(keys::parse_launch(key).unwrap(), &entry.value).unwrap();
    assert_eq!(record.session_id.as_str(), game.session);
    game.alice.delete(&path(&game.session)).await.expect(204);
    assert!(
        leftovers(&game.server).await.keys().all(|key| !matches!(key[0], b'l' | b'L')),
        "nothing was called"
    );
    game.server.settles().await;
    assert_eq!(game.allocator.calls(), []);
}
