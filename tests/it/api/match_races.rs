//! Changes of parties and of running matches in the moment in which the matcher commits what it has decided.

use std::time::Duration;

use futures_util::future::join;
use serde_json::{Value, json};

use super::fillings::{Running, with_fillings};
use super::matches::{is_clean, match_of_player, queued, rounds, tick, with_matches};
use super::queue::{joins, ticket};
use crate::harness::{Client, Metrics, Server, pairs_of_nodes};

fn at(node: &Server, client: &Client) -> Client {
    Client { server: node.clone(), ..client.clone() }
}

/// A leader changes the data of the party, and another player leads it: too few changes for a match to give up.
async fn changes(leader: Client, member: Client, session: String) {
    for number in 0..3 {
        let body = json!({ "custom_data": { "number": number.to_string() } });
        leader.patch(&format!("/v1/session/{session}"), &body).await.expect(200);
    }
    leader.promotes(&session, &member).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn new_data_and_a_new_leader_do_not_stop_a_match() {
    for [matching, other] in pairs_of_nodes(with_matches).await {
        for round in 0..rounds() {
            let (alice, bob) = (matching.player(), matching.player());
            let party = alice.creates("party").await;
            alice.invites(&party, &bob).await.expect(200);
            bob.joins(&party).await.expect(200);
            joins(&alice, &party, &["teams"]).await.expect(200);
            let solos = [queued(&matching, &["teams"]).await, queued(&matching, &["teams"]).await];
            matching.clock.advance(Duration::from_secs(1));
            let changing = changes(at(&other, &alice), at(&other, &bob), party.clone());
            let here = matching.clone();
            let round_of_matcher = tokio::spawn(async move { tick(&here).await });
            let (ended, ()) = join(round_of_matcher, changing).await;
            ended.unwrap();
            let session = match_of_player(&bob).await.unwrap_or_else(|| panic!("round {round}: a match"));
            for player in [&alice, &solos[0].0, &solos[1].0] {
                assert_eq!(match_of_player(player).await.as_ref(), Some(&session), "round {round}");
            }
            let seen = bob.session(&party).await.expect(200).body;
            assert_eq!((&seen["custom_data"]["number"], &seen["matchmaking"]), (&json!("2"), &Value::Null));
            assert_eq!(bob.sees_status_and_team(&party, &bob).await.0, "leader");
        }
        assert_eq!(Metrics::of(&matching).await.get("matcher_conflicts_total"), 0, "none was given up");
        is_clean(&matching).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_party_that_is_deleted_is_matched_before_or_not_at_all() {
    for [matching, other] in pairs_of_nodes(with_matches).await {
        for round in 0..rounds() {
            let [gone, stays] = [queued(&matching, &["duel"]).await, queued(&matching, &["duel"]).await];
            matching.clock.advance(Duration::from_secs(1));
            let (leader, path) = (at(&other, &gone.0), format!("/v1/session/{}", gone.1));
            let here = matching.clone();
            let round_of_matcher = tokio::spawn(async move { tick(&here).await });
            let (ended, deleted) = join(round_of_matcher, leader.delete(&path)).await;
            ended.unwrap();
            deleted.expect(204);
            let session = match_of_player(&gone.0).await;
            assert_eq!(match_of_player(&stays.0).await, session, "round {round}");
            let waits = ticket(&stays.0, &stays.1).await;
            match session {
                Some(_) => assert_eq!(waits, Value::Null, "round {round}"),
                None => {
                    assert_eq!(waits["ticket_id"], json!(stays.2), "round {round}");
                    stays.0.delete(&format!("/v1/session/{}", stays.1)).await.expect(204);
                }
            }
        }
        tick(&matching).await;
        is_clean(&matching).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_backfill_that_is_deleted_is_filled_before_or_not_at_all() {
    for [matching, other] in pairs_of_nodes(with_fillings).await {
        for round in 0..rounds() {
            let running = Running::of(&matching, 2).await;
            running.confirms().await;
            let newcomer = queued(&matching, &["trios"]).await;
            matching.clock.advance(Duration::from_secs(2));
            let deleting = running.at(&other);
            let here = matching.clone();
            let round_of_matcher = tokio::spawn(async move { tick(&here).await });
            let (ended, ()) = join(round_of_matcher, deleting.deletes_backfill()).await;
            ended.unwrap();
            let is_sent = match_of_player(&newcomer.0).await.as_ref() == Some(&running.session);
            let waits = ticket(&newcomer.0, &newcomer.1).await != Value::Null;
            assert_ne!(is_sent, waits, "round {round}");
            // Nobody comes afterwards.
            tick(&matching).await;
            let later = match_of_player(&newcomer.0).await.as_ref() == Some(&running.session);
            assert_eq!(later, is_sent, "round {round}");
            let service = matching.service(&["session:*"]);
            for session in [&running.session, &newcomer.1] {
                service.delete(&format!("/v1/session/{session}")).await.expect(204);
            }
        }
        tick(&matching).await;
        is_clean(&matching).await;
    }
}
