//! The order of launches where servers are scarce.

use rallypoint::store::Batch;
use uuid::Uuid;

use super::*;

#[tokio::test]
async fn a_launch_waits_for_capacity_and_fails_after_the_queue_time_out() {
    let game = Game::new().await;
    game.allocator.holds_at_most(0);
    game.requests().await;
    game.server.settles().await;
    for _ in 0..5 {
        assert_eq!(game.status().await, "requested");
        assert!(game.instance().await.get("allocation_id").is_none(), "nothing was taken");
        game.server.passes(11).await;
    }
    game.server.passes(5).await;
    assert_eq!(game.failure().await, "no_capacity");
    assert_eq!(game.allocator.taken(), 0);
    game.cleans_up().await;
}

#[tokio::test]
async fn who_asked_first_is_served_first() {
    let game = Game::new().await;
    let first = game.launches().await;
    game.allocator.holds_at_most(1);
    let (bob, carol) = (game.server.player(), game.server.player());
    let mut sessions = Vec::new();
    for player in [&bob, &carol] {
        let session = player.creates("party").await;
        requests(player, &session).await;
        game.server.passes(1).await;
        sessions.push(session);
    }
    let statuses = async || {
        let (bobs, carols) = (bob.session(&sessions[0]).await, carol.session(&sessions[1]).await);
        [bobs, carols].map(|reply| reply.expect(200).body["instance"]["join_status"].clone())
    };
    game.allocator.ends(&first);
    game.allocator.holds_at_most(1);
    game.alice.delete(&path(&game.session)).await.expect(204);
    game.server.settles().await;
    game.server.passes(11).await;
    assert_eq!(statuses().await, ["allocated", "requested"]);
    bob.delete(&path(&sessions[0])).await.expect(204);
    game.server.passes(30).await;
    game.server.passes(1).await;
    assert_eq!(statuses().await[1], "allocated");
}

#[tokio::test]
async fn a_leader_who_changes_the_region_while_waiting_stops_no_line() {
    let game = Game::new().await;
    game.allocator.holds_at_most(0);
    game.requests().await;
    game.server.settles().await;
    let region = json!({"region_id": "us"});
    game.alice.patch(&format!("/v1/session/{}", game.session), &region).await.expect(200);
    game.server.passes(2).await;
    assert_eq!(game.status().await, "requested");
    game.alice.delete(&path(&game.session)).await.expect(204);

    game.allocator.holds_at_most(1);
    let bob = game.server.player();
    let session = bob.creates("party").await;
    requests(&bob, &session).await;
    game.server.passes(11).await;
    assert_eq!(bob.session(&session).await.expect(200).body["instance"]["join_status"], "allocated");
}

#[tokio::test]
async fn launches_that_end_while_they_wait_use_up_no_turns() {
    let game = Game::new().await;
    game.allocator.holds_at_most(0);
    for _ in 0..5 {
        let player = game.server.player();
        let session = player.creates("party").await;
        requests(&player, &session).await;
        game.server.settles().await;
        player.delete(&path(&session)).await.expect(204);
    }
    game.requests().await;
    game.allocator.holds_at_most(1);
    game.server.passes(11).await;
    assert_eq!(game.status().await, "allocated");
}

#[tokio::test]
async fn regions_that_are_not_configured_share_one_line() {
    for is_configured in [false, true] {
        let game = Game::with(LaunchRules::default(), |config| {
            if is_configured {
                config.regions = ["r0", "r1"].map(|region| (region.into(), Default::default())).into();
            }
        })
        .await;
        game.allocator.holds_at_most(0);
        for index in 0..4 {
            let player = game.server.player();
            let session = player.creates("party").await;
            let region = json!({"region_id": format!("r{}", if is_configured { index % 2 } else { index })});
            player.patch(&format!("/v1/session/{session}"), &region).await.expect(200);
            requests(&player, &session).await;
        }
        game.server.settles().await;
        game.allocator.calls();
        game.server.passes(11).await;
        let lines = if is_configured { 2 } else { 1 };
        assert_eq!(game.allocator.calls().len(), lines, "the first launch of each line tries alone");
    }
}

#[tokio::test]
async fn a_round_reads_a_part_of_a_long_queue_and_the_next_one_goes_on() {
    let game = Game::new().await;
    let store = game.server.app.sessions.store();
    for launch in 0..1_500 {
        let entry = keys::launch_due(1_000, Uuid::from_u128(launch));
        store.commit(Batch::default().put(entry, "")).await.unwrap();
    }
    let (start, end) = keys::launches_due_until(i64::MAX - 1);
    for left in [500, 0] {
        rallypoint::jobs::tick(&game.server.app).await.unwrap();
        assert_eq!(store.scan(&start, &end, usize::MAX).await.unwrap().len(), left);
    }
}
