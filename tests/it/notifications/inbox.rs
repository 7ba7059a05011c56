use std::time::Duration;

use rallypoint::domain::PlayerUuid;
use rallypoint::records::keys::{self, KEY_UPGRADE};
use rallypoint::store::{Batch, Embedded, Store};

use super::{OWN, page, player, post};
use crate::harness::{Server, contents};

const HOUR: Duration = Duration::from_secs(3_600);
/// Longer than the time from one pass over all inboxes to the next one.
const PASS: Duration = Duration::from_secs(600);

/// A server that keeps three messages of a player, for an hour.
fn small_inboxes() -> Server {
    Server::with(|config| {
        (config.notifications.messages_per_player_max, config.notifications.message_keep_s) = (3, 3_600);
    })
}

/// A player whose token outlives the test's clock.
fn lasting(server: &Server) -> crate::harness::Client {
    server.lasting_player().on(super::NOTIFICATION)
}

/// The number of stored entries of all inboxes: records, and messages.
async fn stored(server: &Server) -> (usize, usize) {
    let stored = contents(server).await;
    let records = stored.keys().filter(|key| keys::parse_inbox(key).is_some()).count();
    (records, stored.keys().filter(|key| keys::parse_message(key).is_some()).count())
}

#[tokio::test]
async fn a_full_inbox_loses_its_oldest_messages() {
    let server = small_inboxes();
    let alice = player(&server);
    let first = post(&alice, &["1", "2"]).await;
    post(&alice, &["3", "4"]).await;
    assert_eq!(page(&alice.get(OWN).await).0, ["4", "3", "2"]);
    assert_eq!(stored(&server).await, (1, 3));
    let last = post(&alice, &["5", "6", "7", "8", "9"]).await;
    assert_eq!(page(&alice.get(OWN).await).0, ["9", "8", "7"]);
    assert_eq!(stored(&server).await, (1, 3));
    alice.get(&format!("{OWN}/{first}")).await.refused(404, "resource_not_found");
    alice.get(&format!("{OWN}/{last}")).await.expect(200);
}

#[tokio::test]
async fn old_messages_go() {
    let server = small_inboxes();
    let alice = lasting(&server);
    post(&alice, &["1"]).await;
    server.advance(HOUR / 2).await;
    post(&alice, &["2"]).await;
    server.advance(HOUR / 2).await;
    assert_eq!(page(&alice.get(OWN).await).0, ["2", "1"]);
    server.advance(PASS).await;
    assert_eq!(page(&alice.get(OWN).await).0, ["2"]);
    assert_eq!(stored(&server).await, (1, 1));
    server.advance(HOUR / 2).await;
    assert_eq!(page(&alice.get(OWN).await).0, [""; 0]);
    assert_eq!(stored(&server).await, (0, 0));
}

/// A client that comes back after a long time continues after the last message that it has seen.
#[tokio::test]
async fn numbers_go_on_after_an_inbox_was_forgotten() {
    let server = small_inboxes();
    let alice = lasting(&server);
    post(&alice, &["1", "2", "3"]).await;
    let id = PlayerUuid(alice.player);
    let seen = server.app.inboxes.last_number(id).await.unwrap();
    server.advance(2 * HOUR).await;
    assert_eq!(stored(&server).await, (0, 0));
    post(&alice, &["4"]).await;
    let after = server.app.inboxes.after(id, seen, 9).await.unwrap();
    assert_eq!(after.len(), 1);
    assert_eq!(after[0].1.content.message, "4");
}

#[tokio::test]
async fn many_inboxes_are_looked_at_in_one_pass_also_if_one_cannot_be_read() {
    let server = small_inboxes();
    let players: Vec<_> = (0..300).map(|_| lasting(&server)).collect();
    for player in &players {
        post(player, &["1"]).await;
    }
    let damaged = Batch::default().put(keys::inbox(PlayerUuid(players[0].player)), "no JSON");
    server.app.sessions.store().commit(damaged).await.unwrap();
    server.clock.advance(2 * HOUR);
    assert!(rallypoint::jobs::tick(&server.app).await.is_err(), "the damage is said");
    for _ in 0..3 {
        let _ = rallypoint::jobs::tick(&server.app).await;
    }
    assert_eq!(stored(&server).await, (1, 1), "those of the damaged inbox");
    players[0].get(OWN).await.refused(503, "store_unavailable");
}

#[tokio::test]
async fn messages_outlive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Store::Embedded(Embedded::open(dir.path(), KEY_UPGRADE).unwrap());
    let server = Server::over(open(), |_| {});
    let alice = player(&server);
    let id = post(&alice, &["1", "2"]).await;
    let before = alice.get(OWN).await.expect(200);
    server.app.sessions.store().close().await.unwrap();
    let restarted = server.another_node(open());
    let alice = crate::harness::Client { server: restarted, ..alice };
    let after = alice.get(OWN).await.expect(200);
    assert_eq!((&after.body, after.etag()), (&before.body, before.etag()));
    assert_eq!(page(&after).0, ["2", "1"]);
    assert!(post(&alice, &["3"]).await.parse::<u64>().unwrap() > id.parse().unwrap());
}
