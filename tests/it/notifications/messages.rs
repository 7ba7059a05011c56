use serde_json::json;
use uuid::Uuid;

use super::{NOTIFICATION, OWN, of, page, player, post, texts};
use crate::api::wait::wait;
use crate::harness::{Client, Server, pairs_of_nodes};

#[tokio::test]
async fn a_message_is_read_as_it_was_posted() {
    let server = Server::new();
    let alice = player(&server);
    let whole = json!({
        "message": "hello", "rh_url": "/inventory/v2/player/order", "etag": "\"e\"", "custom_data": { "a": "b" },
    });
    let body = json!({ "notifications": [{ "message": "" }, whole] });
    let posted = alice.post(OWN, &body).await.expect(200);
    let id = posted.body["notification_id"].as_str().unwrap();
    assert_eq!(posted.body, json!({ "notification_id": id }));
    let read = alice.get(&format!("{OWN}/{id}")).await.expect(200);
    let mut expected = whole;
    (expected["notification_id"], expected["created"]) = (json!(id), json!("2026-11-23T12:00:00.000Z"));
    assert_eq!(read.body, expected);
    let all = alice.get(&of(alice.player)).await.expect(200);
    let first = json!({
        "message": "", "notification_id": all.body["notifications"][1]["notification_id"],
        "created": "2026-11-23T12:00:00.000Z",
    });
    assert_eq!(all.body, json!({ "notifications": [expected, first], "cursor": "" }));
}

#[tokio::test]
async fn an_empty_object_is_no_custom_data_and_null_is_no_value() {
    let server = Server::new();
    let alice = player(&server);
    let empty = json!({ "message": "m", "custom_data": {}, "rh_url": null, "etag": null });
    alice.post(OWN, &json!({ "notifications": [empty] })).await.expect(200);
    let read = alice.get(OWN).await.expect(200).body;
    let names: Vec<_> = read["notifications"][0].as_object().unwrap().keys().collect();
    assert_eq!(names, ["message", "notification_id", "created"]);
    let null = json!({ "notifications": [{ "message": "m", "custom_data": null }] });
    let loc = json!(["body", "notifications", 0, "custom_data"]);
    alice.post(OWN, &null).await.invalid(&[(loc, "type_error.none.not_allowed")]);
}

#[tokio::test]
async fn pages_go_from_the_newest_message_to_the_oldest() {
    let server = Server::new();
    let alice = player(&server);
    let third = post(&alice, &["1", "2", "3"]).await;
    let last = post(&alice, &["4", "5"]).await;
    let mut found = Vec::new();
    let mut start_at = String::new();
    loop {
        let reply = alice.get(&format!("{OWN}?page_size=2&start_at={start_at}")).await;
        let (messages, cursor) = page(&reply);
        found.extend(messages.iter().map(|message| (*message).to_owned()));
        start_at = cursor.to_owned();
        if start_at.is_empty() {
            break;
        }
    }
    assert_eq!(found, ["5", "4", "3", "2", "1"]);
    let get = async |query: &str| {
        let reply = alice.get(&format!("{OWN}?{query}")).await;
        let (messages, cursor) = page(&reply);
        (messages.concat(), cursor.to_owned())
    };
    let nothing = String::new;
    assert_eq!(get(&format!("start_at={third}")).await, ("321".into(), nothing()));
    assert_eq!(get(&format!("exclude_before={third}")).await, ("54".into(), nothing()));
    assert_eq!(get(&format!("exclude_before={last}")).await, (nothing(), nothing()));
    assert_eq!(get(&format!("start_at={third}&exclude_before={third}")).await, (nothing(), nothing()));
    let (newest, cursor) = get("page_size=3&exclude_before=&start_at=").await;
    assert_eq!(newest, "543");
    assert_eq!(get(&format!("start_at={cursor}")).await, ("21".into(), nothing()));
    // What is no id of ours counts as absent.
    for id in ["x", "-1", "007", "%00", &"9".repeat(8193)] {
        assert_eq!(get(&format!("start_at={id}&exclude_before={id}")).await.0, "54321", "{id}");
    }
}

#[tokio::test]
async fn ten_messages_are_on_a_page_unless_the_request_says_otherwise() {
    let server = Server::new();
    let alice = player(&server);
    let texts: Vec<_> = (0..30).map(|number| number.to_string()).collect();
    post(&alice, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(page(&alice.get(OWN).await).0.len(), 10);
    assert_eq!(page(&alice.get(&format!("{OWN}?page_size=100")).await).0.len(), 30);
    for (size, kind) in [
        ("0", "value_error.number.not_ge"),
        ("101", "value_error.number.not_le"),
        ("x", "type_error.integer"),
    ] {
        let reply = alice.get(&format!("{OWN}?page_size={size}")).await;
        reply.invalid(&[(json!(["query", "page_size"]), kind)]);
    }
}

/// A post changes nothing that has an ETag for it to compare. A header that would have no effect is never ignored.
#[tokio::test]
async fn a_post_with_if_match_is_refused() {
    let server = Server::new();
    let alice = player(&server);
    let body = texts(&["m"]).to_string();
    for tags in ["*", "\"x\"", ""] {
        let reply =
            alice.send(http::Method::POST, OWN, &[("if-match", tags)], Some(body.clone().into())).await;
        reply.refused(400, "precondition_not_supported");
    }
    assert_eq!(page(&alice.get(OWN).await).0.len(), 0);
}

#[tokio::test]
async fn a_player_without_messages_has_an_empty_page() {
    let server = Server::new();
    let alice = player(&server);
    assert_eq!(alice.get(OWN).await.expect(200).body, json!({ "notifications": [], "cursor": "" }));
}

#[tokio::test]
async fn what_is_no_notification_of_the_player_is_404() {
    let server = Server::new();
    let (alice, bob) = (player(&server), player(&server));
    let id = post(&alice, &["hello"]).await;
    for id in ["1", "none", "%00", &format!("0{id}"), &"A".repeat(66)] {
        alice.get(&format!("{OWN}/{id}")).await.refused(404, "resource_not_found");
        alice.get(&format!("{}/{id}", of(alice.player))).await.refused(404, "resource_not_found");
    }
    bob.get(&format!("{OWN}/{id}")).await.refused(404, "resource_not_found");
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_nothing_is_stored() {
    let server = Server::new();
    let alice = player(&server);
    let many = texts(&["m"; 101]);
    let text = |bytes: usize| "x".repeat(bytes);
    let large = |bytes: usize| {
        let custom_data = json!({ "a": text(4096), "b": text(4096), "c": text(4096) });
        let fill = bytes - 4096 - 3 * 4097 - 4096;
        json!({ "message": text(4096), "rh_url": text(4096), "custom_data": custom_data, "etag": text(fill) })
    };
    let at = |loc: serde_json::Value| loc;
    let list = json!(["body", "notifications"]);
    for (body, loc, kind) in [
        (json!({}), list.clone(), "value_error.missing"),
        (json!({ "notifications": [] }), list.clone(), "value_error.list.min_items"),
        (many, list, "value_error.list.max_items"),
        (
            json!({ "notifications": [{ "message": "m" }, {}] }),
            json!(["body", "notifications", 1, "message"]),
            "value_error.missing",
        ),
        (
            texts(&[&text(4097)]),
            json!(["body", "notifications", 0, "message"]),
            "value_error.any_str.max_length",
        ),
        (
            json!({ "notifications": [{ "message": "m", "rh_url": "" }] }),
            json!(["body", "notifications", 0, "rh_url"]),
            "value_error.any_str.min_length",
        ),
        (
            json!({ "notifications": [{ "message": "m", "custom_data": { "a": "" } }] }),
            json!(["body", "notifications", 0, "custom_data", "a"]),
            "value_error.any_str.min_length",
        ),
        (
            json!({ "notifications": [{ "message": "m" }, large(32_769)] }),
            json!(["body", "notifications", 1]),
            "value_error.dict.max_bytes",
        ),
    ] {
        alice.post(OWN, &body).await.invalid(&[(at(loc), kind)]);
    }
    alice
        .post(OWN, &json!({ "notifications": [vec![text(4096); 300]] }))
        .await
        .refused(413, "body_too_large");
    assert_eq!(page(&alice.get(OWN).await).0.len(), 0);
    alice.post(OWN, &json!({ "notifications": [large(32_768)] })).await.expect(200);
    let not_uuid = alice.post("/v1/player/none/notification", &texts(&["m"])).await;
    not_uuid.invalid(&[(json!(["path", "player_uuid"]), "type_error.uuid")]);
}

#[tokio::test]
async fn a_page_has_an_etag_and_can_be_waited_on() {
    let server = Server::new();
    let alice = player(&server);
    post(&alice, &["1"]).await;
    let etag = alice.get(OWN).await.expect(200).etag();
    alice.get_if_none_match(OWN, &etag).await.expect(304);
    let waiting = wait(&alice, OWN, &etag).await;
    let game_server = server.service(&["notification:player:write"]).on(NOTIFICATION);
    game_server.post(&of(alice.player), &texts(&["2"])).await.expect(200);
    let answer = waiting.await.unwrap();
    assert_eq!(page(&answer).0, ["2", "1"]);
    assert_eq!(answer.headers["preference-applied"], "wait=30");
    assert_ne!(answer.etag(), etag);
}

/// Posts at two nodes at the same moment, while a reader continues after the last message that it has seen.
#[tokio::test]
async fn a_reader_misses_no_message_of_two_nodes() {
    const POSTS: usize = 20;
    for nodes in pairs_of_nodes(|_| {}).await {
        let alice = player(&nodes[0]);
        let mut posting = tokio::task::JoinSet::new();
        for (number, node) in nodes.iter().enumerate() {
            let at_node = Client { server: node.clone(), ..alice.clone() };
            posting.spawn(async move {
                for post in 0..POSTS {
                    let message = format!("{number}-{post}");
                    // Another node may be first in every attempt. Then nothing is stored.
                    while at_node.post(OWN, &texts(&[&message, &message])).await.status != 200 {}
                }
            });
        }
        let player = rallypoint::domain::PlayerUuid(alice.player);
        let (mut seen, mut last) = (Vec::new(), Default::default());
        while seen.len() < 2 * 2 * POSTS {
            for (number, message) in nodes[1].app.inboxes.after(player, last, 3).await.unwrap() {
                assert!(number > last);
                last = number;
                seen.push(message.content.message);
            }
            while let Some(ended) = posting.try_join_next() {
                ended.unwrap();
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(nodes[0].app.inboxes.last_number(player).await.unwrap(), last);
        for number in 0..nodes.len() {
            let of_node: Vec<_> =
                seen.iter().filter(|text| text.starts_with(&format!("{number}-"))).collect();
            let expected: Vec<_> = (0..POSTS).flat_map(|post| vec![format!("{number}-{post}"); 2]).collect();
            assert_eq!(of_node, expected.iter().collect::<Vec<_>>(), "all of them, in order");
        }
        let pairs = seen.chunks(2).all(|pair| pair[0] == pair[1]);
        assert!(pairs, "the messages of a post come one after the other: {seen:?}");
    }
}

#[tokio::test]
async fn nobody_reads_the_messages_of_another_player() {
    let server = Server::new();
    let (alice, bob) = (player(&server), player(&server));
    let id = post(&alice, &["secret"]).await;
    for path in [of(alice.player), format!("{}/{id}", of(alice.player)), of(Uuid::nil())] {
        bob.get(&path).await.refused(403, "permission_denied");
    }
    bob.post(&of(alice.player), &texts(&["spam"])).await.refused(403, "permission_denied");
    assert_eq!(page(&alice.get(OWN).await).0, ["secret"]);
}
