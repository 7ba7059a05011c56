//! The order of the events of a session that several nodes have written, whose clocks differ.

use std::time::Duration;

use rallypoint::env::Clock;
use serde_json::json;

use crate::harness::{Client, Server, pairs_of_nodes};

/// Milliseconds by which the clock of one node is behind: little enough to be allowed.
const BEHIND_MS: i64 = 3_000;

fn at(node: &Server, client: &Client) -> Client {
    Client { server: node.clone(), ..client.clone() }
}

/// Names and times of the events of a session, in the order in which they are read.
async fn events(reader: &Client, session: &str) -> (Vec<String>, Vec<String>) {
    let page = reader.get(&format!("/v1/audit?session_id={session}")).await.expect(200).body;
    let of = |field: &str| {
        let events = page["events"].as_array().unwrap().iter();
        events.map(|event| event[field].as_str().unwrap().to_owned()).collect()
    };
    (of("event_name"), of("event_datetime"))
}

#[tokio::test]
async fn an_event_never_sorts_before_one_that_was_committed_earlier() {
    for [ahead, other] in pairs_of_nodes(|_| {}).await {
        let behind_ms = ahead.clock.now_ms() - BEHIND_MS;
        let behind = other.with_clock(Clock::manual(jiff::Timestamp::from_millisecond(behind_ms).unwrap()));
        let (alice, bob) = (ahead.lasting_player(), ahead.lasting_player());
        let session = alice.creates("party").await;
        let report = json!({ "event_name": "reported", "session_id": session });
        at(&behind, &alice).invites(&session, &bob).await.expect(200);
        bob.joins(&session).await.expect(200);
        at(&behind, &alice).post("/v1/audit", &report).await.expect(200);
        at(&behind, &alice).promotes(&session, &bob).await.expect(200);
        // The clock that was ahead is set back, further than the other one.
        ahead.clock.step(-2 * BEHIND_MS);
        bob.promotes(&session, &alice).await.expect(200);
        alice.post("/v1/audit", &report).await.expect(200);
        behind.clock.advance(Duration::from_millis(1));
        at(&behind, &alice).post("/v1/audit", &report).await.expect(200);
        let (names, times) = events(&at(&behind, &alice), &session).await;
        let expected = [
            "session.created",
            "player.joined",
            "player.invited",
            "player.joined",
            "customer.reported",
            "player.promoted",
            "player.promoted",
            "customer.reported",
            "customer.reported",
        ];
        assert_eq!(names, expected);
        assert!(times.is_sorted(), "{times:?}");
    }
}
