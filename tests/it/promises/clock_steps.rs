//! The wall clock is set while sessions live: forward, back, or right at last. That ends no session early and removes
//! no player early. Tokens follow the wall clock all the same.

use std::time::Duration;

use rallypoint::app::rate_limit::{WINDOW, WRONG_MAX};
use rallypoint::config::Config;
use rallypoint::jobs;
use rallypoint::store::{Memory, Store};
use serde_json::{Value, json};

use crate::harness::{Client, Server, grant, status_and_team};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR_MS: i64 = 3_600_000;
/// Lifetime of a session that nobody uses: the idle time and an eighth of it.
const LIFE: Duration = Duration::from_secs(3600 + 3600 / 8);

/// Every timeout in use: a minute for players, five for invites.
fn timeouts(config: &mut Config) {
    let game = config.templates.get_mut("game").unwrap();
    game.player_culling_timeout = Some(60);
    game.attempt_auto_join = false;
    config.sessions.invite_expiry_s = 300;
}

/// A service that reads sessions without keeping them alive.
async fn read(server: &Server, session: &str) -> crate::harness::Reply {
    let mut reader = grant(None, None, &["session:read:any"]);
    reader.ttl = 1_000_000 * SECOND;
    server.bearer(server.token(&reader)).get(&format!("/v1/session/{session}?refresh_ttl=false")).await
}

/// A game with two players and an invited one, whose host has reported its health, and a session that nobody polls.
struct Stage {
    server: Server,
    alice: Client,
    bob: Client,
    game: String,
    idle: String,
}

impl Stage {
    async fn new() -> Self {
        let server = Server::with(timeouts);
        let [alice, bob, invited, other] = [(); 4].map(|()| server.lasting_player());
        let [game, idle] = [alice.creates("game").await, other.creates("party").await];
        bob.joins(&game).await.expect(200);
        alice.invites(&game, &invited).await.expect(200);
        alice.post(&format!("/v1/session/{game}/instance"), &json!({"instance_id": "i"})).await.expect(200);
        let stage = Self { server, alice, bob, game, idle };
        stage.report().await;
        stage.round().await;
        stage
    }

    async fn report(&self) {
        let mut host = grant(None, None, &["session:instance:health"]);
        host.ttl = 1_000_000 * SECOND;
        let body = json!({"instance_health": "healthy", "instance_id": "i"});
        let host = self.server.bearer(self.server.token(&host));
        host.post(&format!("/v1/session/{}/instance/health", self.game), &body).await.expect(200);
    }

    /// One round of the background jobs on each node.
    async fn round(&self) {
        self.server.advance(Duration::ZERO).await;
    }

    /// The players of the game, and the health of its instance.
    async fn seen(&self) -> (usize, Value) {
        let body = read(&self.server, &self.game).await.expect(200).body;
        let players = body["teams"][0]["players"].as_array().unwrap().len();
        (players, body["instance"]["instance_health"].clone())
    }
}

#[tokio::test]
async fn a_step_forward_ends_nothing_and_removes_nobody() {
    let stage = Stage::new().await;
    stage.server.clock.step(2 * HOUR_MS);
    // A read comes before the first round of the jobs.
    read(&stage.server, &stage.idle).await.expect(200);
    stage.round().await;
    assert_eq!(stage.seen().await, (3, json!("healthy")));
    read(&stage.server, &stage.idle).await.expect(200);

    // From here on time passes as usual. Half of the timeout of players:
    stage.server.advance(30 * SECOND).await;
    stage.alice.session(&stage.game).await.expect(200);
    stage.report().await;
    // More than that timeout, and the sync lag of several nodes:
    stage.server.advance(59 * SECOND).await;
    assert_eq!(stage.seen().await.0, 2, "bob has sent no heartbeat since the step");
    for _ in 0..8 {
        stage.alice.session(&stage.game).await.expect(200);
        stage.server.advance(30 * SECOND).await;
    }
    assert_eq!(stage.seen().await, (1, json!("unknown")), "the invite and the host have timed out");
    stage.server.advance(LIFE).await;
    read(&stage.server, &stage.idle).await.refused(404, "session_not_found");
}

#[tokio::test]
async fn a_session_that_is_polled_outlives_a_step_forward() {
    let stage = Stage::new().await;
    stage.server.clock.step(2 * HOUR_MS);
    for _ in 0..3 {
        for _ in 0..60 {
            stage.alice.session(&stage.game).await.expect(200);
            stage.server.advance(30 * SECOND).await;
        }
        stage.server.clock.step(24 * HOUR_MS);
    }
    stage.alice.session(&stage.game).await.expect(200);
}

#[tokio::test]
async fn after_a_step_back_timeouts_take_their_usual_time() {
    let stage = Stage::new().await;
    stage.server.clock.step(-2 * HOUR_MS);
    stage.round().await;
    assert_eq!(stage.seen().await, (3, json!("healthy")));
    for _ in 0..3 {
        stage.alice.session(&stage.game).await.expect(200);
        stage.server.advance(30 * SECOND).await;
    }
    assert_eq!(stage.seen().await, (2, json!("unknown")), "bob and the host are silent");
    for _ in 0..8 {
        stage.alice.session(&stage.game).await.expect(200);
        stage.server.advance(30 * SECOND).await;
    }
    assert_eq!(stage.seen().await.0, 1, "the invite has expired");
    assert_eq!(
        stage.alice.sees_status_and_team(&stage.game, &stage.alice).await,
        status_and_team("leader", 0)
    );
    let lives = &stage.bob;
    lives.joins(&stage.game).await.expect(200);
}

#[tokio::test]
async fn a_wrong_clock_does_not_make_a_link_end_the_session_of_another_player() {
    let stage = Stage::new().await;
    stage.alice.links(&stage.game).await.expect(200);
    let carol = stage.server.lasting_player();
    let other = carol.creates("game").await;
    stage.server.clock.step(2 * HOUR_MS);
    carol.links(&other).await.refused(403, "platform_session_in_use");
    stage.alice.session(&stage.game).await.expect(200);
}

#[tokio::test]
async fn sessions_outlive_a_clock_that_was_behind_and_is_corrected() {
    let stage = Stage::new().await;
    stage.server.clock.step(-5 * HOUR_MS);
    let meanwhile = stage.alice.creates("party").await;
    stage.round().await;
    stage.server.clock.step(5 * HOUR_MS);
    stage.round().await;
    stage.alice.session(&meanwhile).await.expect(200);
    assert_eq!(stage.seen().await.0, 3);
}

/// A server that starts on the store of an earlier one.
async fn restarted(server: &Server, store: &Memory) -> Server {
    let server = server.another_node(Store::Memory(store.clone()));
    server.app.sessions.resume_clock_steps().await.unwrap();
    server.app.presence.watch_stored().await.unwrap();
    server
}

#[tokio::test]
async fn a_restart_does_not_forget_a_step() {
    let store = Memory::default();
    let server = Server::over(Store::Memory(store.clone()), timeouts);
    let [alice, bob] = [server.lasting_player(), server.lasting_player()];
    let session = alice.creates("party").await;
    alice.invites(&session, &bob).await.expect(200);
    server.clock.step(2 * HOUR_MS);
    jobs::tick(&server.app).await.unwrap();
    let server = restarted(&server, &store).await;
    server.advance(MINUTE).await;
    let players = read(&server, &session).await.expect(200).body["teams"][0]["players"].clone();
    assert_eq!(players.as_array().unwrap().len(), 2);
    server.advance(LIFE).await;
    read(&server, &session).await.refused(404, "session_not_found");
}

#[tokio::test]
async fn a_clock_that_is_corrected_between_two_starts_ends_nothing() {
    let store = Memory::default();
    let server = Server::over(Store::Memory(store.clone()), timeouts);
    let alice = server.lasting_player();
    alice.creates("party").await;
    // The machine starts before its clock is set.
    server.clock.step(-5 * HOUR_MS);
    let server = restarted(&server, &store).await;
    let alice = Client { server: server.clone(), ..alice };
    let session = alice.creates("party").await;
    jobs::tick(&server.app).await.unwrap();
    server.clock.step(5 * HOUR_MS);
    let server = restarted(&server, &store).await;
    jobs::tick(&server.app).await.unwrap();
    read(&server, &session).await.expect(200);
    server.advance(LIFE).await;
    read(&server, &session).await.refused(404, "session_not_found");
}

#[tokio::test]
async fn a_long_stop_is_no_step() {
    let store = Memory::default();
    let server = Server::over(Store::Memory(store.clone()), timeouts);
    let session = server.lasting_player().creates("party").await;
    server.clock.advance(2 * LIFE);
    let server = restarted(&server, &store).await;
    read(&server, &session).await.refused(404, "session_not_found");
}

#[tokio::test]
async fn tokens_follow_the_wall_clock() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("party").await;
    server.clock.step(2 * HOUR_MS);
    assert_eq!(alice.session(&session).await.expect(403).body["auth_success"], false);
}

#[tokio::test]
async fn a_step_of_the_clock_neither_frees_nor_locks_out_who_guesses_codes() {
    let server = Server::over(Store::Memory(Memory::default()), |_| {});
    let guesser = server.lasting_player();
    let guess = "/v1/session/ZZZZZZ";
    for _ in 0..WRONG_MAX {
        guesser.get(guess).await;
    }
    for step_ms in [2 * HOUR_MS, -4 * HOUR_MS] {
        guesser.get(guess).await.refused(403, "too_many_guesses");
        server.clock.step(step_ms);
    }
    server.clock.advance(WINDOW);
    guesser.get(guess).await.refused(404, "session_not_found");
}
