use http::Method;
use rallypoint::store::{Memory, Store};
use serde_json::{Value, json};

use super::{NOTIFICATION, OWN, of, player, texts};
use crate::harness::{Client, Reply, Server, fits};
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
