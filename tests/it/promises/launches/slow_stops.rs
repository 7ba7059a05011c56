//! Servers that are slow to stop delay no others.

use std::time::Duration;

use rallypoint::jobs;

use super::*;

#[tokio::test]
async fn slow_stops_keep_no_server_from_being_started() {
    let game = Game::with(LaunchRules { calls_max: 1, ..LaunchRules::default() }, |_| {}).await;
    let server = &game.server;
    let allocation = game.launches().await;
    game.alice.delete(&path(&game.session)).await.expect(204);
    game.allocator.opens_releases(false);
    game.allocator.calls();
    server.clock.advance(Duration::from_secs(30));
    jobs::tick(&server.app).await.unwrap();
    tokio::task::yield_now().await;
    assert_eq!(game.allocator.calls(), [Call::Release(allocation, ReleaseMode::Soft)]);

    let bob = server.player();
    let session = bob.creates("party").await;
    requests(&bob, &session).await;
    for _ in 0..10 {
        jobs::tick(&server.app).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(bob.session(&session).await.expect(200).body["instance"]["join_status"], "allocated");
    game.allocator.opens_releases(true);
    server.settles().await;
}
