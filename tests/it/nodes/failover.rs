//! The database fails over while a node holds waits and long polls.

use std::collections::BTreeSet;
use std::time::Duration;

use rallypoint::store::{Postgres, PostgresSettings, Store};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::invalidations::{answer, at};
use crate::api::wait::{send, session_path, wait};
use crate::harness::{Client, Reply, Server, exchange, until};
use crate::notifications::NOTIFICATION;
use crate::support::postgres::Database;
use crate::support::postgres::pair::Pair;

/// Environment variable with the number of held requests. The whole test has 1,000.
const HELD_VARIABLE: &str = "RALLYPOINT_TEST_HELD";
/// Its default value.
const HELD: usize = 20;

/// Two nodes that exchange messages, on a database with a standby.
struct Stage {
    pair: Pair,
    node: Server,
    other: Server,
    /// The leader of the game.
    alice: Client,
    /// A player in the game, who sends the long polls.
    bob: Client,
    game: String,
    /// Its ETag for alice.
    known: String,
    /// What bob was told.
    cursor: String,
}

/// Waits and long polls.
#[derive(Default)]
struct Held {
    waits: Vec<JoinHandle<Reply>>,
    long_polls: Vec<JoinHandle<Reply>>,
}

impl Stage {
    async fn start(held: usize) -> Self {
        let pair = Pair::start().await;
        let database = Database::on(&pair.url).await;
        let settings = PostgresSettings {
            statement_timeout: Duration::from_millis(500),
            retry_deadline: Duration::ZERO,
            ..database.settings()
        };
        let open = async || Store::Postgres(Postgres::open(settings.clone()).await.unwrap());
        let node = Server::over(open().await, |config| {
            config.wait.per_player_max = usize::MAX;
            config.notifications.listeners_per_player_max = held;
        });
        let other = node.another_node(open().await);
        exchange([&node, &other]).await;
        let (alice, bob) = (node.player(), node.player());
        let game = alice.creates("game").await;
        alice.opens(&game).await;
        bob.joins(&game).await.expect(200);
        let known = alice.session(&game).await.etag();
        let listener = bob.on(NOTIFICATION);
        let all = listener.get(&long_poll("offset_reset_strategy=earliest&deadline=0")).await.expect(200);
        let cursor = all.body["cursor"].as_str().unwrap().to_owned();
        Self { pair, node, other, alice, bob, game, known, cursor }
    }

    /// Holds this many waits and long polls, a half each.
    async fn hold(&self, requests: usize) -> Held {
        let mut held = Held::default();
        let before = self.node.held();
        for _ in 0..requests / 2 {
            held.waits.push(wait(&self.alice, &session_path(&self.game), &self.known).await);
            let query = format!("exclude_before={}&deadline=25", self.cursor);
            held.long_polls.push(send(&self.bob.on(NOTIFICATION), &long_poll(&query), &[]));
        }
        until(async || self.node.held() == before + requests / 2 * 2).await;
        self.node.waits_settle().await;
        held
    }

    /// Changes the game at the other node, as soon as the database takes changes again.
    async fn change(&self) {
        let there = at(&self.other, &self.alice);
        let body = json!({"joinability": {"open": false}});
        until(async || there.patch(&session_path(&self.game), &body).await.status == 200).await;
    }
}

impl Held {
    fn is_finished(&self) -> bool {
        self.waits.iter().chain(&self.long_polls).all(JoinHandle::is_finished)
    }

    fn sleeps(&self) -> bool {
        !self.waits.iter().chain(&self.long_polls).any(JoinHandle::is_finished)
    }
}

fn long_poll(query: &str) -> String {
    format!("/v1/player/me/stream/notification/lp?{query}")
}

/// A 304 says that nothing has changed. An empty list only says that nothing is told yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_ends_no_wait_with_a_304_that_nobody_has_checked_and_loses_no_news() {
    let held = std::env::var(HELD_VARIABLE).map_or(HELD, |held| held.parse().expect("a number"));
    let mut stage = Stage::start(held).await;
    let due_meanwhile = stage.hold(held / 2).await;
    stage.node.clock.advance(Duration::from_secs(20));
    assert!(due_meanwhile.sleeps());
    let due_later = stage.hold(held / 2).await;
    stage.pair.kill_primary().await;
    stage.node.clock.advance(Duration::from_secs(10));
    stage.node.app.waits.wake_due();
    for waiting in due_meanwhile.waits {
        answer(waiting).await.refused(503, "store_unavailable");
    }
    let mut cursors = BTreeSet::new();
    for polling in due_meanwhile.long_polls {
        let told = answer(polling).await.expect(200).body;
        assert_eq!(told["notifications"], json!([]));
        cursors.insert(told["cursor"].as_str().unwrap().to_owned());
    }
    assert!(due_later.sleeps(), "they sleep on");
    stage.pair.promote_standby().await;
    stage.change().await;
    // By a message or, if its connection is not back yet, by the sweep.
    until(async || {
        stage.node.clock.advance(Duration::from_millis(50));
        stage.node.app.waits.wake_due();
        let _ = stage.node.app.invalidations.sweep().await;
        due_later.is_finished()
    })
    .await;
    let etag_of = async |player: &Client| at(&stage.other, player).session(&stage.game).await.etag();
    let (of_alice, of_bob) = (etag_of(&stage.alice).await, etag_of(&stage.bob).await);
    for waiting in due_later.waits {
        assert_eq!(answer(waiting).await.expect(200).etag(), of_alice);
    }
    // A long poll always ends at the deadline of its client. Who goes on from its cursor misses nothing.
    let continued = cursors.iter().map(|cursor| {
        let query = format!("exclude_before={cursor}&deadline=0");
        send(&stage.bob.on(NOTIFICATION), &long_poll(&query), &[])
    });
    for polling in due_later.long_polls.into_iter().chain(continued) {
        let told = answer(polling).await.expect(200).body["notifications"].take();
        assert_eq!(told.as_array().map(Vec::len), Some(1));
        let expected = [json!("session_changed"), Value::String(of_bob.clone())];
        assert_eq!([&told[0]["message"], &told[0]["etag"]], [&expected[0], &expected[1]]);
    }
}
