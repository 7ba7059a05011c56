//! An allocator that gives no answer: it delays its own launches alone, and those not for ever.

use super::*;
use crate::support::process::soon;

/// Advances the clock until each call has ended.
async fn passes(game: &Game, seconds: u64) {
    // The future is large, and `soon` would move it.
    soon("the calls end", Box::pin(game.server.passes(seconds))).await;
}

#[tokio::test]
async fn a_call_without_an_answer_ends_and_gives_its_permit_back() {
    // As soon as a call has to wait, its time is over.
    let rules = LaunchRules { place_timeout_s: 0, calls_max: 1, ..LaunchRules::default() };
    let game = Game::with(rules, |_| {}).await;
    game.allocator.opens(false);
    game.requests().await;
    passes(&game, 0).await;
    let allocation = game.allocation().await;
    assert_eq!(game.status().await, "requested");
    passes(&game, 5).await;
    assert_eq!(game.allocator.calls(), [Call::Place(allocation.clone()), Call::Find(allocation.clone())]);
    let bob = game.server.player();
    let other = bob.creates("party").await;
    requests(&bob, &other).await;
    passes(&game, 0).await;
    let [Call::Place(others)] = &game.allocator.calls()[..] else { panic!("the only permit is free again") };
    assert_ne!(*others, allocation);

    game.allocator.opens(true);
    game.server.passes(10).await;
    assert_eq!((game.status().await, game.allocation().await), (json!("allocated"), allocation.clone()));
    assert_eq!(bob.session(&other).await.expect(200).body["instance"]["join_status"], "allocated");
    assert_eq!(game.allocator.taken(), 2);

    game.allocator.opens(false);
    game.alice.delete(&path(&game.session)).await.expect(204);
    passes(&game, 30).await;
    assert_eq!(game.allocator.servers().len(), 2, "the call to stop it has no answer");
    game.allocator.opens(true);
    game.server.passes(10).await;
    assert_eq!(game.allocator.servers(), std::slice::from_ref(others));
}

#[tokio::test]
async fn while_all_calls_of_an_allocator_hang_everything_else_goes_on() {
    let (silent, other) = (Arc::new(Scripted::default()), Arc::new(Scripted::default()));
    let rules = LaunchRules { calls_max: 2, place_timeout_s: 600, ..LaunchRules::default() };
    let mut settings = serving(1, &silent, &rules);
    settings.allocators.extend([("other".to_owned(), serving(1, &other, &rules).allocators["test"].clone())]);
    let server = Server::launching(Store::Memory(Memory::default()), settings, |config| {
        for (session_type, allocator) in [("party", "test"), ("game", "other")] {
            config.templates.get_mut(session_type).unwrap().allocator = Some(allocator.into());
        }
    });
    silent.opens(false);
    let asks = async |session_type| {
        let player = server.player();
        let session = player.creates(session_type).await;
        requests(&player, &session).await;
        rallypoint::jobs::tick(&server.app).await.unwrap();
        (player, session)
    };
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(asks("party").await);
    }
    let launched = asks("game").await;
    let instance = async |(player, session): &(Client, String)| {
        player.session(session).await.expect(200).body["instance"].clone()
    };
    // The calls that hang have not ended, so there is no moment at which all have.
    let launching = async {
        while instance(&launched).await["join_status"] != "allocated" {
            rallypoint::jobs::tick(&server.app).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    soon("the other launch goes on", launching).await;
    let (bob, session) = &launched;
    bob.delete(&path(session)).await.expect(204);
    bob.leaves(session).await.expect(204);
    assert_eq!((silent.calls().len(), silent.taken()), (2, 0), "the third waits for a permit");
    for party in &waiting {
        assert_eq!(instance(party).await["join_status"], "requested");
    }
    silent.opens(true);
    server.settles().await;
    for party in &waiting {
        assert_eq!(instance(party).await["join_status"], "allocated");
    }
}
