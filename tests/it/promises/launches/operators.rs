//! What an operator sees of launches: the log and the metrics.

use std::time::Duration;

use rallypoint::allocators::Found;

use super::*;
use crate::harness::log::Log;

/// Checks that a metric of the allocator has this value.
#[track_caller]
fn check(game: &Game, metric: &str, value: u32) {
    let metrics = game.server.app.metrics.render();
    let line = format!("\nrallypoint_{metric} {value}\n");
    assert!(metrics.contains(&line), "{line}{metrics}");
}

#[tokio::test]
async fn an_allocator_that_is_away_has_one_line_a_minute_and_shows_in_the_metrics() {
    let game = Game::with(LaunchRules { queue_timeout_s: 600, ..LaunchRules::default() }, |_| {}).await;
    for _ in 0..100 {
        game.allocator.answers(later(Reason::Unavailable));
    }
    let bob = game.server.player();
    let other = bob.creates("party").await;
    game.requests().await;
    requests(&bob, &other).await;
    let (log, _guard) = Log::start();
    game.server.settles().await;
    for (seconds, lines) in [(0, 1), (12, 1), (12, 1), (12, 1), (12, 1), (11, 1), (1, 1), (12, 2), (12, 2)] {
        game.server.passes(seconds).await;
        assert_eq!((log.count(""), log.count("has given no server")), (lines, lines));
        check(&game, "allocator_ready{allocator=\"test\"}", 0);
    }
    assert!(game.allocator.calls().len() > 8);
}

#[tokio::test]
async fn an_attempt_counts_once_however_often_it_has_waited() {
    let game = Game::new().await;
    for reason in [Reason::NoCapacity, Reason::NoPort, Reason::Unavailable] {
        game.allocator.answers(later(reason));
    }
    game.requests().await;
    game.server.settles().await;
    check(&game, "allocator_ready{allocator=\"test\"}", 1);
    game.server.passes(12).await;
    game.server.passes(12).await;
    check(&game, "allocator_ready{allocator=\"test\"}", 0);
    let retry_after = Some(Duration::from_secs(1));
    let starting = Placement::Unknown { retry_after, is_starting: true, detail: "202".into() };
    game.allocator.answers(starting);
    game.server.passes(12).await;
    check(&game, "allocator_ready{allocator=\"test\"}", 1);
    game.server.passes(12).await;
    assert_eq!(game.status().await, "allocated");
    check(&game, "launch_attempts_total{allocator=\"test\"}", 1);
    check(&game, "launches_total{allocator=\"test\",outcome=\"placed\",reason=\"\"}", 1);
    check(&game, "launch_seconds_count{phase=\"queue\"}", 1);
    check(&game, "launch_seconds_count{phase=\"place\"}", 1);
}

#[tokio::test]
async fn an_attempt_that_gets_no_server_counts_when_it_fails() {
    let game = Game::new().await;
    game.allocator.answers(Placement::Never { reason: Reason::Refused, detail: "no".into() });
    game.requests().await;
    game.server.settles().await;
    assert_eq!(game.failure().await, "refused");
    check(&game, "launch_attempts_total{allocator=\"test\"}", 1);
    check(&game, "launches_total{allocator=\"test\",outcome=\"failed\",reason=\"refused\"}", 1);
    check(&game, "allocator_ready{allocator=\"test\"}", 1);
}

#[tokio::test]
async fn an_allocator_that_is_starting_a_server_works() {
    let game = Game::new().await;
    let (log, _guard) = Log::start();
    game.allocator.answers(Placement::Unknown { retry_after: None, is_starting: true, detail: "202".into() });
    game.requests().await;
    game.server.settles().await;
    game.allocator.finds(Some(Found::Starting));
    for _ in 0..10 {
        game.server.passes(6).await;
        check(&game, "allocator_ready{allocator=\"test\"}", 1);
    }
    assert_eq!(log.count("has given no server"), 0);
    game.allocator.finds(Some(Found::CannotTell));
    game.server.passes(6).await;
    check(&game, "allocator_ready{allocator=\"test\"}", 0);
    assert_eq!(log.count("has given no server"), 1);
}
