use std::time::Duration;

use http::Method;
use rallypoint::store::{Memory, Store};
use serde_json::{Value, json};

use super::{NOTIFICATION, OWN, of, player, texts};
use crate::harness::{Client, Reply, Server, fits, until};
use crate::promises::published::published_contracts;

/// Asserts the status of an answer, and that the published contract allows it. `path` is that of the operation.
#[track_caller]
fn check(contract: Option<&Value>, (method, path): (&str, &str), status: u16, reply: &Reply) {
    assert_eq!(reply.status.as_u16(), status, "{method} {path}: {}", reply.body);
    let Some(contract) = contract else { return };
    let response = &contract["paths"][path][method]["responses"][status.to_string()];
    assert!(response.is_object(), "{method} {path} {status} is not published");
    match response["content"]["application/json"].get("schema") {
        Some(schema) => fits(contract, schema, &reply.body, &format!("{method} {path} {status}")),
        None => assert!(reply.bytes.is_empty(), "{method} {path} {status}"),
    }
}

/// The operations on messages: at `me`, and at the player's UUID.
fn places(caller: &Client) -> [(String, &'static str); 2] {
    [(OWN.into(), "/v1/player/me/notification"), (of(caller.player), "/v1/player/{player_uuid}/notification")]
}

#[tokio::test]
async fn every_answer_about_messages_fits_the_published_contract() {
    let contracts = published_contracts();
    if contracts.is_none() {
        println!(
            "only the statuses are checked: RALLYPOINT_CONTRACT names no copies of the published contracts"
        );
    }
    let contract = contracts.iter().flatten().find(|contract| contract["servers"][0]["url"] == NOTIFICATION);
    let memory = Memory::default();
    let server = Server::over(Store::Memory(memory.clone()), |_| {});
    let (alice, nobody) = (player(&server), server.player_with(None, &[]).on(NOTIFICATION));
    let whole = json!({ "message": "m", "rh_url": "/u", "etag": "\"e\"", "custom_data": { "a": "b" } });
    let body = json!({ "notifications": [{ "message": "" }, whole] });
    for (at, published) in places(&alice) {
        let (post, page) = (("post", published), ("get", published));
        let by_id = format!("{published}/{{notification_id}}");
        let by_id = ("get", by_id.as_str());
        let posted = alice.post(&at, &body).await;
        check(contract, post, 200, &posted);
        check(contract, post, 403, &nobody.post(&at, &body).await);
        check(contract, post, 403, &server.anonymous().on(NOTIFICATION).post(&at, &body).await);
        check(contract, post, 422, &alice.post(&at, &json!({})).await);
        memory.fail_next_commits(1);
        let failed = alice.post(&at, &texts(&["lost"])).await;
        check(contract, post, 503, &failed);
        assert_eq!(failed.headers["retry-after"], "1");

        let read = alice.get(&at).await;
        check(contract, page, 200, &read);
        assert_eq!(
            read.body["notifications"][1]["message"], "",
            "the message of the failed post is not stored"
        );
        check(contract, page, 304, &alice.get_if_none_match(&at, &read.etag()).await);
        check(contract, page, 403, &nobody.get(&at).await);
        check(contract, page, 422, &alice.get(&format!("{at}?page_size=0")).await);

        let id = posted.body["notification_id"].as_str().unwrap();
        check(contract, by_id, 200, &alice.get(&format!("{at}/{id}")).await);
        check(contract, by_id, 403, &nobody.get(&format!("{at}/{id}")).await);
        check(contract, by_id, 404, &alice.get(&format!("{at}/none")).await);
    }
    let not_uuid = alice.send(Method::GET, "/v1/player/none/notification/1", &[], None).await;
    check(contract, ("get", "/v1/player/{player_uuid}/notification/{notification_id}"), 422, &not_uuid);
}

/// The paths of a player's long poll: as it is called, and as the contract names it.
fn long_polls(caller: &Client, query: &str) -> [(String, &'static str); 2] {
    let at = |player: &str| format!("/v1/player/{player}/stream/notification/lp?{query}");
    [
        (at("me"), "/v1/player/me/stream/notification/lp"),
        (at(&caller.player.to_string()), "/v1/player/{player_uuid}/stream/notification/lp"),
    ]
}

#[tokio::test]
async fn every_answer_of_a_long_poll_fits_the_published_contract() {
    let contracts = published_contracts();
    let contract = contracts.iter().flatten().find(|contract| contract["servers"][0]["url"] == NOTIFICATION);
    let server = Server::with(|config| {
        (config.wait.waits_max, config.notifications.listeners_per_player_max) = (Some(2), 1);
    });
    let (alice, bob) = (server.player(), server.player());
    let [party, former] = [alice.creates("party").await, alice.creates("party").await];
    let whole = json!({ "message": "m", "rh_url": "/u", "etag": "\"e\"", "custom_data": { "a": "b" } });
    bob.on(NOTIFICATION).post(OWN, &json!({ "notifications": [whole] })).await.expect(200);
    alice.invites(&former, &bob).await.expect(200);
    let all = "offset_reset_strategy=earliest&deadline=0";
    for form in [0, 1] {
        let get = async |caller: &Client, query: &str, status| {
            let (at, published) = &long_polls(caller, query)[form];
            let reply = caller.on(NOTIFICATION).get(at).await;
            check(contract, ("get", published), status, &reply);
            reply
        };
        server.advance(Duration::from_secs(1)).await;
        let before = get(&bob, all, 200).await;
        let cursor = before.body["cursor"].as_str().unwrap();
        match form {
            0 => alice.invites(&party, &bob).await.expect(200),
            _ => alice.kicks(&former, &bob).await.expect(204),
        };
        let news = get(&bob, &format!("exclude_before={cursor}&deadline=0"), 200).await;
        let told = &news.body["notifications"][0];
        assert_eq!(told["message"], ["session_added", "session_removed"][form]);
        assert_eq!(told.get("etag").is_none(), form == 1);
        let cursor = news.body["cursor"].as_str().unwrap();
        let none = get(&bob, &format!("exclude_before={cursor}&deadline=0"), 200).await;
        assert_eq!(none.body["notifications"], json!([]));

        get(&bob, "deadline=901", 422).await;
        get(&server.player_with(None, &[]), all, 403).await;
        get(&server.anonymous(), all, 403).await;
        let query = format!("exclude_before={cursor}&deadline=25");
        let mut held = Vec::new();
        for (caller, held_now) in [(&bob, 1), (&server.player(), 2)] {
            let (at, _) = long_polls(caller, &query)[1].clone();
            let caller = caller.on(NOTIFICATION);
            held.push(tokio::spawn(async move { caller.get(&at).await }));
            until(async || server.held() == held_now).await;
            if held_now == 1 {
                get(&bob, &query, 409).await;
            }
        }
        let refused = get(&server.player(), &query, 503).await;
        assert!(refused.headers.contains_key("retry-after"));
        for held in held {
            held.abort();
            assert!(held.await.unwrap_err().is_cancelled());
        }
    }
}
