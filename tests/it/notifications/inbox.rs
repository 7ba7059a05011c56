use std::fs;
use std::sync::Arc;
use std::time::Duration;

use rallypoint::app::notifications::inbox::MessagesPage;
use rallypoint::domain::PlayerUuid;
use rallypoint::domain::inbox::MessageNumber;
use rallypoint::env::Clock;
use rallypoint::records::keys::{self, KEY_UPGRADE};
use rallypoint::store::{Batch, Embedded, Memory, Store};

use super::{OWN, content, page, player, post};
use crate::harness::{Client, Server, contents};

const HOUR: Duration = Duration::from_secs(3_600);
/// Longer than the time from one pass over all inboxes to the next one.
const PASS: Duration = Duration::from_secs(600);
/// For so long the record of an inbox stays after its last message, at least.
const DAY: Duration = Duration::from_secs(86_400);

/// A server that keeps three messages of a player, for an hour.
fn small_inboxes() -> Server {
    Server::with(|config| {
        (config.notifications.messages_per_player_max, config.notifications.message_keep_s) = (3, 3_600);
    })
}

/// A player whose token outlives the test's clock.
fn lasting(server: &Server) -> Client {
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
    assert_eq!(stored(&server).await, (1, 0));
    server.advance(DAY).await;
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
    server.advance(2 * DAY).await;
    assert_eq!(stored(&server).await, (0, 0));
    post(&alice, &["4"]).await;
    let after = server.app.inboxes.after(id, seen, 9).await.unwrap();
    assert_eq!(after.len(), 1);
    assert_eq!(after[0].1.content.message, "4");
}

/// Clocks of nodes differ a little. A message that one node has just deleted is young by the clock of the other.
#[tokio::test]
async fn numbers_rise_also_at_a_node_whose_clock_is_behind() {
    let server = Server::over(Store::Memory(Memory::shared()), |config| {
        config.notifications.message_keep_s = 60;
    });
    let behind = server.with_clock(Clock::manual(server.clock.now()));
    let alice = lasting(&server);
    let id: u64 = post(&alice, &["1"]).await.parse().unwrap();
    server.clock.advance(PASS);
    server.app.inboxes.expire().await.unwrap();
    assert_eq!(stored(&server).await.1, 0);
    behind.clock.step(-i64::try_from(HOUR.as_millis()).unwrap());
    let next = post(&Client { server: behind, ..alice }, &["2"]).await;
    assert!(next.parse::<u64>().unwrap() > id, "{next} comes after {id}");
}

/// A page is read in two steps. A post between them deletes messages that the first step has found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_tears_no_page() {
    let server = small_inboxes();
    let (inboxes, player) = (&server.app.inboxes, PlayerUuid(player(&server).player));
    let texts = |round: usize| (0..3).map(move |n| content(&format!("{}", 3 * round + n))).collect();
    inboxes.append(player, texts(0), |_| Batch::default()).await.unwrap();
    for round in 1..500 {
        let posting = Arc::clone(inboxes);
        let posted =
            tokio::spawn(async move { posting.append(player, texts(round), |_| Batch::default()).await });
        let whole = |round: usize| [2, 1, 0].map(|n| (3 * round + n).to_string());
        loop {
            let is_last = posted.is_finished();
            let MessagesPage { messages, older, .. } = inboxes.page(player, None, None, 9).await.unwrap();
            let found: Vec<_> =
                messages.iter().map(|(_, message)| message.content.message.as_str()).collect();
            assert!(found == whole(round) || found == whole(round - 1), "{found:?} in round {round}");
            assert_eq!(older, None);
            if is_last {
                break;
            }
        }
        posted.await.unwrap().unwrap();
    }
}

/// A store that was repaired by hand can lack messages. Such a page is read, and lacks them too.
#[tokio::test]
async fn a_page_ends_also_if_a_message_is_lost() {
    let server = small_inboxes();
    let alice = player(&server);
    let lost = post(&alice, &["1", "2"]).await.parse().unwrap();
    let key = keys::message(PlayerUuid(alice.player), MessageNumber(lost));
    server.app.sessions.store().commit(Batch::default().delete(key)).await.unwrap();
    post(&alice, &["3"]).await;
    assert_eq!(page(&alice.get(OWN).await).0, ["3", "1"]);
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
    server.clock.advance(2 * DAY);
    assert!(rallypoint::jobs::tick(&server.app).await.is_err(), "the damage is said");
    for _ in 0..3 {
        let _ = rallypoint::jobs::tick(&server.app).await;
    }
    assert_eq!(stored(&server).await, (1, 1), "those of the damaged inbox");
    players[0].get(OWN).await.refused(503, "store_unavailable");
}

/// A killed server can leave a part of its last write. That post was not answered, and is gone as a whole.
#[tokio::test]
async fn answered_posts_outlive_a_torn_write() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Store::Embedded(Embedded::open(dir.path(), KEY_UPGRADE).unwrap());
    let (journal, acknowledged) = (dir.path().join("store/0.jnl"), dir.path().join("store/acknowledged"));
    let server = Server::over(open(), |config| config.notifications.messages_per_player_max = 3);
    let alice = player(&server);
    post(&alice, &["1", "2"]).await;
    let id = post(&alice, &["3"]).await.parse::<u64>().unwrap();
    server.app.sessions.store().close().await.unwrap();
    let restarted = server.another_node(open());
    let (length, newest) = (journal.metadata().unwrap().len(), fs::read(&acknowledged).unwrap());
    let alice = Client { server: restarted.clone(), ..alice };
    // It also deletes the first two.
    post(&alice, &["4", "5"]).await;
    restarted.app.sessions.store().close().await.unwrap();
    let written = journal.metadata().unwrap().len();
    for torn in [length + 1, (length + written) / 2, written - 1] {
        fs::OpenOptions::new().write(true).open(&journal).unwrap().set_len(torn).unwrap();
        fs::write(&acknowledged, &newest).unwrap();
        let restarted = server.another_node(open());
        let alice = Client { server: restarted.clone(), ..alice.clone() };
        assert_eq!(page(&alice.get(OWN).await).0, ["3", "2", "1"]);
        assert_eq!(stored(&restarted).await, (1, 3));
        assert!(post(&alice, &["4", "5"]).await.parse::<u64>().unwrap() > id);
        assert_eq!(page(&alice.get(OWN).await).0, ["5", "4", "3"]);
        restarted.app.sessions.store().close().await.unwrap();
    }
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
    let alice = Client { server: restarted, ..alice };
    let after = alice.get(OWN).await.expect(200);
    assert_eq!((&after.body, after.etag()), (&before.body, before.etag()));
    assert_eq!(page(&after).0, ["2", "1"]);
    assert!(post(&alice, &["3"]).await.parse::<u64>().unwrap() > id.parse().unwrap());
}

#[tokio::test]
async fn a_clock_that_is_set_forward_for_a_moment_deletes_no_message() {
    let server = Server::new();
    let alice = player(&server);
    post(&alice, &["kept"]).await;
    let year_ms = 365 * 86_400_000;
    server.clock.step(year_ms);
    server.advance(Duration::from_secs(1)).await;
    server.clock.step(-year_ms);
    assert_eq!(page(&alice.get(OWN).await).0, ["kept"]);
}
