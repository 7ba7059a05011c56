//! The servers that a player may have asked for.

use super::*;
use crate::harness::creation;

#[tokio::test]
async fn a_player_may_ask_for_two_servers_only() {
    let game = Game::with(LaunchRules::default(), launches_dedicated).await;
    let second = game.alice.creates("party").await;
    requests(&game.alice, &second).await;
    let third = game.alice.creates("party").await;
    game.alice.post(&path(&third), &json!({})).await.refused(403, "too_many_servers");
    let service = game.server.service(&["session:update:any"]);
    service.post(&path(&third), &json!({})).await.expect(200);
}

#[tokio::test]
async fn a_player_is_counted_for_each_allocator_until_the_server_has_stopped() {
    let (allocator, other) = (Arc::new(Scripted::default()), Arc::new(Scripted::default()));
    let rules = LaunchRules { servers_per_player_max: 1, ..LaunchRules::default() };
    let mut settings = serving(1, &allocator, &rules);
    settings.allocators.extend([("other".to_owned(), serving(1, &other, &rules).allocators["test"].clone())]);
    let server = Server::launching(Store::Memory(Memory::default()), settings, |config| {
        for (session_type, allocator) in [("game", "test"), ("party", "other")] {
            config.templates.get_mut(session_type).unwrap().allocator = Some(allocator.into());
        }
    });
    let alice = server.player();
    let sessions = [alice.creates("game").await, alice.creates("party").await, alice.creates("party").await];
    requests(&alice, &sessions[0]).await;
    requests(&alice, &sessions[1]).await;
    server.settles().await;
    alice.post(&path(&sessions[2]), &json!({})).await.refused(403, "too_many_servers");
    alice.delete(&path(&sessions[1])).await.expect(204);
    assert_eq!(other.servers().len(), 1, "it still runs");
    alice.post(&path(&sessions[2]), &json!({})).await.refused(403, "too_many_servers");
    server.passes(30).await;
    assert_eq!(other.servers(), [""; 0]);
    requests(&alice, &sessions[2]).await;
}

#[tokio::test]
async fn a_player_who_asks_and_ends_in_a_loop_does_not_hold_every_server() {
    let game = Game::new().await;
    for _ in 0..2 {
        game.launches().await;
        game.alice.delete(&path(&game.session)).await.expect(204);
    }
    game.alice.post(&path(&game.session), &json!({})).await.refused(403, "too_many_servers");
    assert_eq!(game.allocator.servers().len(), 2);
    game.server.passes(30).await;
    game.launches().await;
}

#[tokio::test]
async fn a_server_that_never_stops_does_not_block_its_player_for_ever() {
    let rules = LaunchRules { servers_per_player_max: 1, ..LaunchRules::default() };
    let game = Game::with(rules, |_| {}).await;
    game.launches().await;
    game.allocator.is_stuck();
    game.alice.delete(&path(&game.session)).await.expect(204);
    for seconds in [30, 9] {
        game.server.passes(seconds).await;
        game.alice.post(&path(&game.session), &json!({})).await.refused(403, "too_many_servers");
    }
    // The stop is asked for every two seconds.
    game.server.passes(2).await;
    game.launches().await;
    assert_eq!(game.allocator.servers().len(), 2, "the first one still runs");
}

#[tokio::test]
async fn a_creation_that_would_exceed_the_servers_of_a_player_creates_nothing() {
    let rules = LaunchRules { servers_per_player_max: 1, ..LaunchRules::default() };
    let game = Game::with(rules, |config| {
        launches_dedicated(config);
        config.templates.get_mut("game").unwrap().attempt_auto_join = false;
    })
    .await;
    let before = leftovers(&game.server).await;
    game.alice.post("/v1/session", &creation("game")).await.refused(403, "too_many_servers");
    assert_eq!(leftovers(&game.server).await, before);
}
