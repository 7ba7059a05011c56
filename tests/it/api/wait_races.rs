//! Changes at the same moment as a wait begins, looks or sleeps. No clock advances here: neither an alarm nor the search
//! for changes by other nodes can help, so a wait that misses its wake-up never ends.

use std::time::Duration;

use serde_json::json;
use tokio::task::yield_now;

use super::wait::{game, send, session_path};
use crate::harness::{Server, seeded};

/// Environment variable with the number of rounds.
const ROUNDS_VARIABLE: &str = "RALLYPOINT_TEST_WAIT_ROUNDS";
const ROUNDS: usize = 2_000;
/// A wait that misses a change would hang for ever.
const HANGS_AFTER: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wait_misses_a_change() {
    let rounds = std::env::var(ROUNDS_VARIABLE)
        .map_or(ROUNDS, |rounds| rounds.parse().expect("a number of rounds is a number"));
    let server = Server::new();
    let ((alice, _, game), chance) = (game(&server).await, seeded());
    let path = session_path(&game);
    let mut known = alice.get(&path).await.etag();
    for round in 0..rounds {
        let waiting = send(&alice, &path, &[("if-none-match", &known), ("prefer", "wait=30")]);
        // The change falls anywhere between the request and the sleep.
        for _ in 0..(chance.fraction() * 12.0) as usize {
            yield_now().await;
        }
        let is_open = round % 2 == 1;
        alice.patch(&path, &json!({"joinability": {"open": is_open}})).await.expect(200);
        let answer = tokio::time::timeout(HANGS_AFTER, waiting).await;
        let answer =
            answer.unwrap_or_else(|_| panic!("round {round} missed its change")).unwrap().expect(200);
        assert_ne!(answer.etag(), known);
        known = answer.etag();
        assert_eq!(known, alice.get(&path).await.etag());
    }
    assert_eq!(server.app.waits.count(), 0, "nothing is left behind");
}
