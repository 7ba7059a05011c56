//! A server that has spoken keeps its instance: the players' state is on it. Its launch may not know that server yet.

use std::time::Duration;

use rallypoint::allocators::Found;
use rallypoint::jobs;

use super::*;

/// The server of the allocation says that players may join. The launch is not looked at.
async fn speaks(game: &Game, allocation: &str) {
    let host = game.server.service(&["session:update:any"]);
    let update = json!({"allocation_id": allocation, "join_status": "joinable"});
    host.patch(&path(&game.session), &update).await.expect(200);
}

/// Checks that the match goes on after all time-outs, and that its server is stopped in the end.
async fn keeps_its_server(game: &Game, allocation: &str) {
    for _ in 0..15 {
        game.server.passes(60).await;
        assert_eq!((game.status().await, game.allocation().await), (json!("joinable"), allocation.into()));
    }
    assert_eq!(game.allocator.taken(), 1);
    game.allocator.finds(None);
    game.host_says(allocation, "closed").await.expect(200);
    game.cleans_up().await;
}

#[tokio::test]
async fn an_allocator_that_cannot_tell_ends_no_running_match() {
    for found in [Found::CannotTell, Found::Absent] {
        let (game, allocation) = Game::with_a_lost_answer().await;
        for _ in 0..100 {
            game.allocator.answers(later(Reason::NoCapacity));
        }
        game.allocator.finds(Some(found));
        speaks(&game, &allocation).await;
        keeps_its_server(&game, &allocation).await;
    }
}

#[tokio::test]
async fn an_answer_that_there_is_no_server_comes_too_late_if_it_has_spoken() {
    let refused = Placement::Never { reason: Reason::Refused, detail: "no".into() };
    for answer in [later(Reason::NoCapacity), refused] {
        let (game, allocation) = Game::with_a_lost_answer().await;
        game.allocator.finds(Some(Found::Absent));
        game.allocator.answers(answer);
        game.allocator.opens(false);
        game.server.clock.advance(Duration::from_secs(5));
        jobs::tick(&game.server.app).await.unwrap();
        speaks(&game, &allocation).await;
        game.allocator.opens(true);
        game.server.settles().await;
        keeps_its_server(&game, &allocation).await;
    }
}

#[tokio::test]
async fn a_server_that_speaks_and_exits_at_once_is_not_replaced() {
    let game = Game::new().await;
    let allocation = game.launches().await;
    speaks(&game, &allocation).await;
    game.allocator.ends(&allocation);
    game.server.settles().await;
    assert_eq!(game.failure().await, "exited");
    assert_eq!(game.allocator.launches().len(), 1);
    game.cleans_up().await;
}

#[tokio::test]
async fn the_exit_of_a_server_whose_session_is_overdue_is_no_failure() {
    let game = Game::new().await;
    let allocation = game.launches().await;
    game.server.clock.advance(Duration::from_secs(24 * 3_600));
    game.allocator.ends(&allocation);
    // The session is not ended yet.
    game.server.app.launches.round().await.unwrap();
    game.cleans_up().await;
}
