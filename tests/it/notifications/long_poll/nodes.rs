//! Several nodes tell each other who has changed what, and a node that has missed something tells everything.

use rallypoint::store::{Memory, Store};

use super::*;
use crate::api::wait::wait;
use crate::harness::{Metrics, exchange, until};
use crate::nodes::invalidations::at;
use crate::notifications::{OWN, texts};

const WITHOUT_CURSOR: &str = "exclude_before=&offset_reset_strategy=latest&deadline=0";
const RECEIVED: &str = "invalidations_total{event=\"received\"}";

struct Nodes {
    memory: Memory,
    nodes: [Server; 3],
    alice: Client,
    bob: Client,
    /// Parties of alice, to which bob is invited.
    parties: Vec<String>,
}

impl Nodes {
    /// Three nodes. The last one knows every change since the start.
    async fn new() -> Self {
        let memory = Memory::shared();
        let first = Server::over(Store::Memory(memory.clone()), |_| {});
        let [second, third] = [(); 2].map(|()| first.another_node(Store::Memory(memory.clone())));
        let (alice, bob) = (first.player(), first.player());
        let mut parties = Vec::new();
        for _ in 0..3 {
            let party = alice.creates("party").await;
            alice.invites(&party, &bob).await.expect(200);
            parties.push(party);
        }
        parties.sort();
        exchange([&first, &second, &third]).await;
        let nodes = [first, second, third];
        // Each node begins with the message that anything may have changed.
        for node in &nodes {
            until(async || Metrics::of(node).await.get("invalidations_total{event=\"all\"}") == 2).await;
        }
        let all = Self { memory, nodes, alice, bob, parties };
        all.listens_for_long().await;
        all
    }

    /// Lets the time pass for which the last node looks back.
    async fn listens_for_long(&self) {
        for _ in 0..2 {
            poll(&self.bob_there(), WITHOUT_CURSOR).await.expect(200);
            self.nodes[0].clock.advance(Duration::from_secs(31));
        }
    }

    /// Alice at one of the nodes.
    fn alice_at(&self, node: usize) -> Client {
        at(&self.nodes[node], &self.alice)
    }

    /// Bob at the last node.
    fn bob_there(&self) -> Client {
        at(&self.nodes[2], &self.bob)
    }

    /// What the last node tells bob, who has no cursor.
    async fn bob_is_told(&self) -> Vec<(String, String)> {
        let answer = poll(&self.bob_there(), WITHOUT_CURSOR).await;
        told(&answer).into_iter().map(|(message, session)| (message.to_owned(), session.to_owned())).collect()
    }

    async fn settle(&self) {
        for node in &self.nodes {
            node.waits_settle().await;
        }
    }

    /// How many messages the last node has received.
    async fn received(&self) -> u64 {
        Metrics::of(&self.nodes[2]).await.get(RECEIVED)
    }

    /// Alice opens a party at a node, and the last node learns of it.
    async fn opens(&self, node: usize, party: usize) {
        let before = self.received().await;
        self.alice_at(node).opens(&self.parties[party]).await;
        until(async || self.received().await > before).await;
    }

    /// All parties, as they are told to somebody who knows none.
    fn all(&self) -> Vec<(String, String)> {
        self.parties.iter().map(|party| ("session_added".to_owned(), party.clone())).collect()
    }
}

#[tokio::test]
async fn changes_and_departures_at_other_nodes_are_told_without_a_cursor() {
    let nodes = Nodes::new().await;
    assert_eq!(nodes.bob_is_told().await, [], "nothing has changed for long");
    nodes.opens(0, 1).await;
    assert_eq!(nodes.bob_is_told().await, [("session_added".to_owned(), nodes.parties[1].clone())]);
    nodes.listens_for_long().await;
    let before = nodes.received().await;
    nodes.alice_at(1).kicks(&nodes.parties[2], &nodes.bob).await.expect(204);
    until(async || nodes.received().await > before).await;
    assert_eq!(nodes.bob_is_told().await, [("session_removed".to_owned(), nodes.parties[2].clone())]);
}

#[tokio::test]
async fn players_are_told_a_moment_later_of_their_own_changes_at_another_node() {
    let nodes = Nodes::new().await;
    let (alice, bob) = (nodes.alice_at(2), nodes.bob_there());
    let (_, of_alice) = begin(&alice).await;
    let (_, of_bob) = begin(&bob).await;
    let (by_alice, by_bob) = (hold(&alice, &of_alice).await, hold(&bob, &of_bob).await);
    nodes.alice_at(0).opens(&nodes.parties[0]).await;
    assert_eq!(told(&by_bob.answer().await), [("session_changed", &*nodes.parties[0])]);
    nodes.settle().await;
    assert!(!by_alice.is_finished());
    nodes.nodes[2].clock.advance(Duration::from_millis(300));
    nodes.nodes[2].app.waits.wake_due();
    assert_eq!(told(&by_alice.answer().await), [("session_changed", &*nodes.parties[0])]);
}

#[tokio::test]
async fn after_a_lost_message_everything_is_told() {
    let nodes = Nodes::new().await;
    let sent = async || Metrics::of(&nodes.nodes[0]).await.get("invalidations_total{event=\"sent\"}");
    let before = sent().await;
    nodes.memory.lose_messages(1.0);
    nodes.alice_at(0).opens(&nodes.parties[0]).await;
    until(async || sent().await > before).await;
    nodes.alice_at(0).opens(&nodes.parties[1]).await;
    until(async || sent().await > before + 1).await;
    nodes.settle().await;
    nodes.memory.lose_messages(0.0);
    // Another node has lost nothing.
    nodes.opens(1, 2).await;
    assert_eq!(nodes.bob_is_told().await, [("session_added".to_owned(), nodes.parties[2].clone())]);
    nodes.nodes[0].clock.advance(Duration::from_secs(1));
    let before = nodes.received().await;
    nodes.alice_at(0).patch(&format!("/v1/session/{}", nodes.parties[2]), &close()).await.expect(200);
    until(async || nodes.received().await > before).await;
    assert_eq!(nodes.bob_is_told().await, nodes.all());
    nodes.listens_for_long().await;
    assert_eq!(nodes.bob_is_told().await, [], "once");
}

fn close() -> Value {
    serde_json::json!({"joinability": {"open": false}})
}

#[tokio::test]
async fn after_an_interruption_everything_is_told() {
    let nodes = Nodes::new().await;
    let is_connected = || nodes.nodes[2].app.invalidations.is_connected();
    for is_up in [false, true] {
        nodes.memory.set_messages_up(is_up);
        until(async || is_connected() == is_up).await;
        assert_eq!(nodes.bob_is_told().await, nodes.all());
        nodes.nodes[0].clock.advance(Duration::from_secs(1));
    }
}

/// A node of an earlier build does not say who has changed a session, nor who has left.
#[tokio::test]
async fn a_message_of_an_earlier_build_is_understood_and_everything_is_told() {
    let nodes = Nodes::new().await;
    let mut earlier = Store::Memory(nodes.memory.clone()).messages().unwrap();
    let (_, next) = begin(&nodes.bob_there()).await;
    let waiting = hold(&nodes.bob_there(), &next).await;
    nodes.memory.lose_messages(1.0);
    nodes.alice_at(0).opens(&nodes.parties[1]).await;
    nodes.settle().await;
    nodes.memory.lose_messages(0.0);
    let party: uuid::Uuid = nodes.parties[1].parse().unwrap();
    // The format 1, a node, and a topic.
    let bytes = [&[1; 9][..], b"ts", party.as_bytes()].concat();
    while earlier.incoming.try_recv().is_ok() {}
    earlier.outgoing.send(base64_of(&bytes)).await.unwrap();
    assert_eq!(told(&waiting.answer().await), [("session_changed", &*nodes.parties[1])]);
    // A long poll without a cursor is answered at once a second after the last one.
    nodes.nodes[0].clock.advance(Duration::from_secs(1));
    assert_eq!(nodes.bob_is_told().await, nodes.all());
}

/// A long poll without a cursor pauses, since messages about what it has read may be under way.
#[tokio::test(start_paused = true)]
async fn what_changes_while_a_long_poll_waits_for_messages_is_told_as_it_is_then() {
    let nodes = Nodes::new().await;
    let polling = send(&nodes.bob_there(), WITHOUT_CURSOR);
    nodes.settle().await;
    nodes.opens(0, 1).await;
    let before = nodes.received().await;
    nodes.alice_at(1).kicks(&nodes.parties[2], &nodes.bob).await.expect(204);
    until(async || nodes.received().await > before).await;
    assert!(!polling.is_finished(), "it pauses");
    let answer = polling.answer().await;
    let expected = [("session_added", &*nodes.parties[1]), ("session_removed", &*nodes.parties[2])];
    assert_eq!(told(&answer), expected);
    let etag = nodes.bob_there().session(&nodes.parties[1]).await.etag();
    assert_eq!(notifications(&answer)[0]["etag"], serde_json::json!(etag));
}

#[tokio::test]
async fn the_sweep_wakes_nobody_who_has_seen_what_there_is() {
    let memory = Memory::shared();
    let node = Server::over(Store::Memory(memory.clone()), |_| {});
    let other = node.another_node(Store::Memory(memory.clone()));
    let (alice, bob) = (node.player(), node.player());
    let party = alice.creates("party").await;
    alice.invites(&party, &bob).await.expect(200);
    exchange([&node, &other]).await;
    let counted = async |sample: &str| Metrics::of(&node).await.get(sample);
    // The other node begins with the message that anything may have changed.
    until(async || counted("invalidations_total{event=\"all\"}").await == 1).await;
    let (list, inbox) = ("/v1/player/me/session", bob.on(NOTIFICATION));
    let (_, next) = begin(&bob).await;
    let on_list = wait(&bob, list, &bob.get(list).await.etag()).await;
    let on_inbox = wait(&inbox, OWN, &inbox.get(OWN).await.etag()).await;
    let on_all = hold(&bob, &next).await;
    let sweeps_for = async |seconds: u32| {
        for _ in 0..10 * seconds {
            node.clock.advance(Duration::from_millis(100));
            node.app.waits.wake_due();
            node.app.invalidations.sweep().await.unwrap();
        }
        node.waits_settle().await;
    };
    // More than three rounds: in every third one, everything is looked at.
    sweeps_for(16).await;
    assert_eq!((counted("wakes_unchanged_total").await, counted("sweep_found_total").await), (0, 0));

    memory.set_messages_up(false);
    until(async || !node.app.invalidations.is_connected()).await;
    let (alice_there, bob_there) = (at(&other, &alice), at(&other, &inbox));
    alice_there.kicks(&party, &bob).await.expect(204);
    bob_there.post(OWN, &texts(&["m"])).await.expect(200);
    sweeps_for(4).await;
    assert_eq!(on_list.await.unwrap().expect(200).body["sessions"], serde_json::json!({}));
    assert_eq!(on_inbox.await.unwrap().expect(200).body["notifications"][0]["message"], "m");
    assert!(!notifications(&on_all.answer().await).is_empty());
    assert!(counted("sweep_found_total").await >= 2, "the list and the inbox");
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD_NO_PAD.encode(bytes)
}
