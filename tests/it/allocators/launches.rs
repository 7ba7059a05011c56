//! Launches by way of services that are busy, lose answers or refuse: the whole server, on the test clock.

use std::sync::Arc;
use std::time::Duration;

use rallypoint::allocators::{Allocator, CallLimits, Found, Placement, ReleaseMode, Released};
use rallypoint::domain::launch::LaunchRules;
use rallypoint::store::{Memory, Store};
use serde_json::{Value, json};

use super::{agones, launch, webhook};
use crate::harness::allocator::serving;
use crate::harness::{Client, Metrics, Server};
use crate::support::process::soon;
use crate::support::stand_in::Reply;
use crate::support::stand_in::agones::{Agones, Fault, GameServer, failure};
use crate::support::stand_in::webhook::{Fault as StudioFault, Webhook};

/// The resolution of the times that a test sees, in milliseconds.
const STEP_MS: u64 = 100;

/// A server with an allocator, and a player whose session needs a dedicated server.
struct Game {
    server: Server,
    alice: Client,
    session: String,
}

impl Game {
    async fn new(allocator: impl Allocator + 'static) -> Self {
        let launches = serving(1, &Arc::new(allocator), &LaunchRules::default());
        let server = Server::launching(Store::Memory(Memory::default()), launches, |_| {});
        let alice = server.lasting_player();
        let session = alice.creates("game").await;
        Self { server, alice, session }
    }

    /// Asks for a dedicated server. The allocator has been called when this returns.
    async fn requests(&self) {
        let path = format!("/v1/session/{}/instance", self.session);
        self.alice.post(&path, &json!({ "host_type": "dedicated" })).await.expect(200);
        self.server.settles().await;
    }

    async fn instance(&self) -> Value {
        self.alice.session(&self.session).await.expect(200).body["instance"].clone()
    }

    /// Lets time pass until the allocator is called again. Returns how long that took, in milliseconds.
    async fn next_call(&self, calls: impl Fn() -> usize) -> u64 {
        let (before, mut waited_ms) = (calls(), 0);
        while calls() == before {
            assert!(waited_ms < 60_000, "there are no further calls");
            self.server.clock.advance(Duration::from_millis(STEP_MS));
            self.server.settles().await;
            waited_ms += STEP_MS;
        }
        waited_ms
    }

    /// The pauses before each of the next four calls. All the time the launch waits, and has taken nothing.
    async fn pauses(&self, calls: impl Fn() -> usize) -> Vec<u64> {
        let mut pauses = Vec::new();
        for _ in 0..4 {
            let instance = self.instance().await;
            assert_eq!(instance["join_status"], "requested");
            assert!(instance.get("allocation_id").is_none(), "{instance}");
            let before = calls();
            pauses.push(self.next_call(&calls).await);
            assert_eq!(calls(), before + 1, "a busy service gets one call at a time");
        }
        pauses
    }
}

/// Each pause is longer than the one before.
#[track_caller]
fn grow(pauses: &[u64]) {
    assert!(pauses.windows(2).all(|pair| pair[0] < pair[1]), "{pauses:?}");
}

/// The calls of an Agones service: of which allocation each is, and whether it may take a ready server.
fn calls(service: &Agones) -> Vec<(String, bool)> {
    let call = |body: &String| {
        let body: Value = serde_json::from_str(body).unwrap();
        let selectors = body["gameServerSelectors"].as_array().unwrap();
        let allocation = selectors[0]["matchLabels"]["rallypoint.dev/allocation"].as_str().unwrap();
        (allocation.to_owned(), selectors.len() > 1)
    };
    service.state.lock().unwrap().asked.iter().map(call).collect()
}

/// The only game server that is allocated.
fn the_allocated(service: &Agones) -> GameServer {
    let servers = service.state.lock().unwrap().servers.clone();
    let [server] = servers.iter().filter(|server| server.allocated).collect::<Vec<_>>()[..] else {
        panic!("{servers:?}")
    };
    server.clone()
}

#[tokio::test]
async fn while_a_fleet_is_busy_it_is_asked_again_after_pauses_that_grow() {
    let service = Agones::start(0).await;
    let made = agones::made(&service.url);
    let game = Game::new(made.allocator).await;
    game.requests().await;
    let count = || service.state.lock().unwrap().asked.len();
    assert_eq!(count(), 1);
    grow(&game.pauses(count).await);
    service.add(&[("default", 7000)]);
    game.next_call(count).await;
    let instance = game.instance().await;
    assert_eq!(instance["join_status"], "allocated");
    assert_eq!(the_allocated(&service).labels["rallypoint.dev/allocation"], instance["allocation_id"]);
    assert!(calls(&service).iter().all(|(_, takes)| *takes), "nothing was lost, so nothing is looked for");
}

#[tokio::test]
async fn whatever_happens_to_the_answer_one_server_is_taken() {
    // What the service does, whether its call may have taken a server, and whether it has.
    for (fault, is_unknown, has_taken) in [
        (Fault::Answer(failure(409, 10)), false, false),
        (Fault::Answer(failure(503, 14)), true, false),
        (Fault::Drop, true, false),
        (Fault::TakeAndDrop, true, true),
        (Fault::TakeAndAnswer(failure(503, 14)), true, true),
    ] {
        let service = Agones::start(2).await;
        let made = agones::made(&service.url);
        let game = Game::new(made.allocator).await;
        service.will(fault);
        game.requests().await;
        let first = game.instance().await;
        assert_eq!(first["join_status"], "requested");
        let pause_ms = game.next_call(|| service.state.lock().unwrap().asked.len()).await;
        let instance = game.instance().await;
        assert_eq!(instance["join_status"], "allocated");
        let allocation = instance["allocation_id"].as_str().unwrap();
        let server = the_allocated(&service);
        assert_eq!(server.labels["rallypoint.dev/allocation"], allocation);
        assert_eq!(instance["host_dedicated_server_id"], server.name);
        let mut expected = vec![(allocation.to_owned(), true)];
        if is_unknown {
            assert_eq!(first["allocation_id"], allocation, "the repeat is of the same allocation");
            assert!(pause_ms >= 3_000, "the service may not see its own label before");
            expected.push((allocation.to_owned(), false));
            expected.extend((!has_taken).then(|| (allocation.to_owned(), true)));
            assert_eq!(calls(&service), expected);
        } else {
            assert!(first.get("allocation_id").is_none());
            assert_eq!(calls(&service)[1..], expected, "nothing was taken, so this is another allocation");
        }
    }
}

#[tokio::test]
async fn a_refused_certificate_fails_the_launch_at_once_and_is_not_tried_again() {
    let service = Agones::start(1).await;
    let agones::Made { allocator, dir: _dir } = agones::made_as_stranger(&service.url);
    let game = Game::new(allocator).await;
    for launch in 1..=2 {
        game.requests().await;
        let instance = game.instance().await;
        assert_eq!(instance["join_status"], "closed");
        assert_eq!(instance["custom_data"]["rallypoint.launch"], "misconfigured");
        for _ in 0..100 {
            game.server.passes(6).await;
        }
        assert_eq!(service.connections(), launch, "one for each request of a player");
    }
    assert_eq!(Metrics::of(&game.server).await.get("allocator_ready{allocator=\"test\"}"), 0);
    assert!(service.state.lock().unwrap().asked.is_empty());
}

/// Agones cannot be told to stop a game server: it ends by itself, or does not.
#[tokio::test]
async fn a_game_server_that_outstays_its_session_is_counted_until_it_ends() {
    let service = Agones::start(1).await;
    let made = agones::made(&service.url);
    let game = Game::new(made.allocator).await;
    game.requests().await;
    let instance = game.instance().await;
    game.alice.delete(&format!("/v1/session/{}", game.session)).await.expect(204);
    for (seconds, ends, expected) in [(50, false, [1, 0]), (20, false, [1, 1]), (20, true, [0, 0])] {
        if ends {
            service.shut_down(instance["allocation_id"].as_str().unwrap());
        }
        // The gauges are counted every ten seconds.
        for _ in 0..seconds / 10 {
            game.server.passes(10).await;
        }
        let metrics = Metrics::of(&game.server).await;
        let releasing = metrics.get("servers{allocator=\"test\",state=\"releasing\"}");
        let unreleased = metrics.get("servers_unreleased{allocator=\"test\"}");
        assert_eq!([releasing, unreleased], expected, "{seconds} s later");
    }
}

#[tokio::test]
async fn while_a_studios_service_is_busy_it_is_asked_again_after_pauses_that_grow_or_that_it_wishes() {
    let service = Webhook::start(&[webhook::SECRET]).await;
    let made = webhook::made(&service.url, webhook::SECRET);
    let game = Game::new(made.allocator).await;
    let count = || service.state.lock().unwrap().asked.len();
    for status in [429, 503, 429, 503, 429] {
        service.will(StudioFault::Answer(Reply::json(status, "{}")));
    }
    service.will(StudioFault::Answer(Reply::json(429, "{}").with("retry-after", "3")));
    game.requests().await;
    grow(&game.pauses(count).await);
    // The pause after the fifth busy answer, and the one that the sixth asks for, each give or take a fifth.
    let pauses_ms = [game.next_call(count).await, game.next_call(count).await];
    assert!(pauses_ms[0] >= 8_000 && (2_400..=3_700).contains(&pauses_ms[1]), "{pauses_ms:?}");
    let instance = game.instance().await;
    assert_eq!((&instance["join_status"], service.state.lock().unwrap().started), (&json!("allocated"), 1));
}

#[tokio::test]
async fn a_lost_or_late_answer_of_a_studios_service_leads_to_the_same_server() {
    for fault in [
        StudioFault::LoseAnswer,
        StudioFault::AnswerInstead(Reply::json(502, "a proxy lost it")),
        StudioFault::TakesLonger(json!({ "retry_after_s": 2 })),
    ] {
        let service = Webhook::start(&[webhook::SECRET]).await;
        let made = webhook::made(&service.url, webhook::SECRET);
        let game = Game::new(made.allocator).await;
        service.will(fault);
        game.requests().await;
        let first = game.instance().await;
        assert_eq!(first["join_status"], "requested");
        while game.instance().await["join_status"] == "requested" {
            // The allocator has a clock of its own. A service that still starts the server asks for a second.
            made.clock.advance(Duration::from_secs(1));
            game.next_call(|| service.state.lock().unwrap().asked.len()).await;
        }
        let instance = game.instance().await;
        assert_eq!(instance["allocation_id"], first["allocation_id"]);
        let state = service.state.lock().unwrap();
        let events: Vec<_> = state.asked.iter().map(|(_, body)| body["event"].as_str().unwrap()).collect();
        assert!(events[0] == "place" && events[1..].iter().all(|event| *event == "find"), "{events:?}");
        assert_eq!(state.started, 1);
        let server = &state.servers[instance["allocation_id"].as_str().unwrap()];
        assert_eq!(instance["host_dedicated_server_id"], server.handle);
    }
}

/// One call at a time, and a short one.
const SHORT: CallLimits = CallLimits { calls_max: 1, timeout: Duration::from_millis(400) };

#[tokio::test]
async fn a_service_that_accepts_and_is_silent_holds_no_call_for_ever() {
    // The kernel accepts for it, and nobody reads.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let agones = agones::made_with(&format!("https://localhost:{port}"), |settings| settings.calls = SHORT);
    let url = format!("http://127.0.0.1:{port}/rallypoint");
    let studio = webhook::made_with(&url, webhook::SECRET, |settings| settings.calls = SHORT);
    let allocators: [&dyn Allocator; 2] = [&agones.allocator, &studio.allocator];
    for allocator in allocators {
        for _ in 0..2 {
            let launch = launch("a1");
            match soon("the call ends", allocator.place(&launch)).await {
                Placement::Unknown { detail, .. } | Placement::Later { detail, .. } => {
                    assert!(!detail.contains("under way"), "no earlier call is left: {detail}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(soon("the call ends", allocator.find("a1")).await, Found::CannotTell);
        let releasing = allocator.release("a1", None, ReleaseMode::Hard);
        assert_eq!(soon("the call ends", releasing).await, Released::Later);
    }
}

#[tokio::test]
async fn a_launch_goes_on_once_a_silent_service_speaks_again() {
    let service = Webhook::start(&[webhook::SECRET]).await;
    let made = webhook::made_with(&service.url, webhook::SECRET, |settings| settings.calls = SHORT);
    let game = Game::new(made.allocator).await;
    let is_silent = service.gate.acquire_many(10_000).await.unwrap();
    game.requests().await;
    game.server.passes(5).await;
    let first = game.instance().await;
    assert_eq!((&first["join_status"], service.state.lock().unwrap().started), (&json!("requested"), 0));
    drop(is_silent);
    // An earlier request may be answered late, so the launch has one server however many calls it takes.
    while game.instance().await["join_status"] == "requested" {
        game.server.passes(1).await;
    }
    let instance = game.instance().await;
    assert_eq!(
        (&instance["join_status"], &instance["allocation_id"]),
        (&json!("allocated"), &first["allocation_id"])
    );
    assert_eq!(service.state.lock().unwrap().started, 1);
}
