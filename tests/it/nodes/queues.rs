//! Queues at several nodes: a player is in one ticket, whoever asks where.

use futures_util::future::join;
use rallypoint::records::keys;
use serde_json::{Value, json};

use crate::api::queue::with_queues;
use crate::harness::{Client, Server, keys_of_sessions, pairs_of_nodes};

fn at(node: &Server, client: &Client) -> Client {
    Client { server: node.clone(), ..client.clone() }
}

/// As many rounds as `RALLYPOINT_ROUNDS` says.
fn rounds() -> usize {
    std::env::var("RALLYPOINT_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(20)
}

#[tokio::test]
async fn of_two_leaders_with_one_player_one_queues() {
    for [one, other] in pairs_of_nodes(with_queues).await {
        let (alice, bob, carol) = (one.player(), one.player(), one.player());
        let mut parties = Vec::new();
        for leader in [&alice, &bob] {
            let session = leader.creates("party").await;
            leader.invites(&session, &carol).await.expect(200);
            carol.joins(&session).await.expect(200);
            parties.push(session);
        }
        let bob_there = at(&other, &bob);
        for round in 0..rounds() {
            let body = json!({ "queue_ids": ["casual"] });
            let paths: Vec<_> =
                parties.iter().map(|session| format!("/v1/session/{session}/queue")).collect();
            let (first, second) = join(alice.post(&paths[0], &body), bob_there.post(&paths[1], &body)).await;
            let statuses = [first.status.as_u16(), second.status.as_u16()];
            let winner =
                statuses.iter().position(|status| *status == 200).unwrap_or_else(|| panic!("{statuses:?}"));
            let refused = if winner == 0 { second } else { first };
            refused.refused(403, "player_already_queued");
            let leaders = [&alice, &bob];
            for (index, session) in parties.iter().enumerate() {
                let shown = leaders[index].session(session).await.expect(200).body["matchmaking"].clone();
                assert_eq!(shown == Value::Null, index != winner, "round {round}: {shown}");
            }
            let stored = crate::harness::contents(&one).await;
            let expected = keys_of_sessions(&stored);
            let (from, to) = keys::queued_since("4v4", i64::MIN);
            assert_eq!(stored.range(from.clone()..to.clone()).count(), 1, "one ticket");
            assert!(stored.range(from..to).all(|(key, _)| expected.contains(key)));
            // The winner leaves, at the other node.
            let node = if winner == 0 { &other } else { &one };
            at(node, leaders[winner]).delete(&paths[winner]).await.expect(204);
        }
    }
}

#[tokio::test]
async fn a_party_that_changes_at_another_node_loses_its_ticket() {
    for [one, other] in pairs_of_nodes(with_queues).await {
        let (alice, bob) = (one.player(), one.player());
        let session = alice.creates("party").await;
        alice.invites(&session, &bob).await.expect(200);
        bob.joins(&session).await.expect(200);
        let body = json!({ "queue_ids": ["casual"] });
        alice.post(&format!("/v1/session/{session}/queue"), &body).await.expect(200);
        at(&other, &bob).leaves(&session).await.expect(204);
        assert_eq!(alice.session(&session).await.expect(200).body["matchmaking"], Value::Null);
        let own = bob.creates("party").await;
        bob.post(&format!("/v1/session/{own}/queue"), &body).await.expect(200);
    }
}
