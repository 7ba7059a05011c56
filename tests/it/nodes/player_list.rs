//! The time of a player's list: the same on each node, and another one for each change on any node.

use std::collections::BTreeSet;
use std::time::Duration;

use rallypoint::env::Clock;

use crate::harness::{Client, Server, pairs_of_nodes};

const LIST: &str = "/v1/player/me/session";

fn at(node: &Server, client: &Client) -> Client {
    Client { server: node.clone(), ..client.clone() }
}

#[tokio::test]
async fn a_second_invite_through_another_node_changes_the_list_on_all_nodes() {
    for [one, other] in pairs_of_nodes(|_| {}).await {
        let (alice, bob) = (one.player(), one.player());
        let (alice_there, bob_there) = (at(&other, &alice), at(&other, &bob));
        let session = alice.creates("party").await;
        let mut tags = BTreeSet::new();
        for _ in 0..3 {
            for (inviting, declining) in [(&alice, &bob_there), (&alice_there, &bob)] {
                inviting.invites(&session, &bob).await.expect(200);
                let list = bob.get(LIST).await.expect(200);
                assert_eq!(bob_there.get(LIST).await.expect(200).bytes, list.bytes);
                assert!(tags.insert(list.etag()), "{}", list.body);
                declining.leaves(&session).await.expect(204);
            }
        }
    }
}

#[tokio::test]
async fn a_list_changes_although_the_clock_of_the_other_node_is_behind() {
    for [one, other] in pairs_of_nodes(|_| {}).await {
        let (alice, bob) = (one.lasting_player(), one.lasting_player());
        let behind = other.with_clock(Clock::manual(one.clock.now()));
        one.clock.advance(Duration::from_secs(60));
        let session = alice.creates("party").await;
        alice.invites(&session, &bob).await.expect(200);
        let invited = bob.get(LIST).await.expect(200);
        let alice_there = at(&behind, &alice);
        alice_there.kicks(&session, &bob).await.expect(204);
        alice_there.invites(&session, &bob).await.expect(200);
        let again = bob.get_if_none_match(LIST, &invited.etag()).await.expect(200);
        assert_eq!(again.body["sessions"], invited.body["sessions"]);
    }
}
