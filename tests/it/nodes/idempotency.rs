//! Equal requests with one idempotency key, at several nodes at the same moment: one is made, and all get its answer.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use rallypoint::records::keys;
use rallypoint::store::Store;
use serde_json::Value;

use crate::harness::{
    Client, Reply, Server, XBOX_ID, creation, joining, link_path, player_path, shared_stores,
};

/// Environment variable with the number of equal requests.
const REQUESTS_VARIABLE: &str = "RALLYPOINT_TEST_EQUAL_REQUESTS";
/// Its default value. The whole test has 100.
const REQUESTS: usize = 9;
/// How often a request is repeated that was told to come again.
const REPEATS_MAX: usize = 50;

/// Three nodes on one store.
struct Nodes([Server; 3]);

/// A write.
#[derive(Clone)]
struct Write {
    method: Method,
    path: String,
    body: Value,
}

impl Write {
    fn new(method: Method, path: impl Into<String>, body: Value) -> Self {
        Self { method, path: path.into(), body }
    }

    async fn send(&self, caller: &Client) -> Reply {
        let body = (!self.body.is_null()).then(|| self.body.to_string().into());
        caller.send(self.method.clone(), &self.path, &[("idempotency-key", "k")], body).await
    }

    /// Sends it until the server does not say that it should be repeated.
    async fn succeeds(&self, caller: &Client) -> Reply {
        for _ in 0..REPEATS_MAX {
            let reply = self.send(caller).await;
            if !matches!(reply.status.as_u16(), 409 | 503) {
                return reply;
            }
            assert!(reply.headers.contains_key("retry-after"), "{}", reply.body);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("it was never answered");
    }
}

impl Nodes {
    fn on(stores: [Store; 3]) -> Self {
        let [first, second, third] = stores;
        let one = Server::over(first, |_| {});
        let others = (one.another_node(second), one.another_node(third));
        Self([one, others.0, others.1])
    }

    fn at(&self, node: usize, caller: &Client) -> Client {
        Client { server: self.0[node % 3].clone(), ..caller.clone() }
    }

    /// Sends equal requests to all nodes at once. Exactly one is made, and the others are answered like it.
    async fn all_agree(&self, caller: &Client, write: &Write) -> Reply {
        let requests =
            std::env::var(REQUESTS_VARIABLE).map_or(REQUESTS, |requests| requests.parse().unwrap());
        let sent = (0..requests).map(|node| {
            let (caller, write) = (self.at(node, caller), write.clone());
            tokio::spawn(async move { write.succeeds(&caller).await })
        });
        let replies: Vec<Reply> = join_all(sent).await.into_iter().map(Result::unwrap).collect();
        let is_first = |reply: &&Reply| !reply.headers.contains_key("idempotency-replayed");
        let first: Vec<_> = replies.iter().filter(is_first).collect();
        assert_eq!(first.len(), 1, "{write:?}");
        for reply in &replies {
            assert!(reply.status.is_success(), "{write:?}: {}", reply.body);
            assert_eq!((reply.status, &reply.bytes), (first[0].status, &first[0].bytes), "{write:?}");
            assert_eq!(reply.headers.get("etag"), first[0].headers.get("etag"), "{write:?}");
        }
        first[0].clone()
    }
}

impl std::fmt::Debug for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_requests_at_all_nodes_have_one_effect() {
    for stores in shared_stores().await {
        let nodes = Nodes::on(stores);
        let server = &nodes.0[0];
        // A creation by itself, and one after a search, which could find the session of an equal request.
        for session_type in ["party", "game"] {
            let alice = server.player();
            nodes.all_agree(&alice, &Write::new(Method::POST, "/v1/session", creation(session_type))).await;
            let ids = alice.own_list(session_type).await["session_ids"].clone();
            assert_eq!(ids.as_array().unwrap().len(), 1, "{session_type}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_changes_at_all_nodes_have_one_effect() {
    for stores in shared_stores().await {
        let nodes = Nodes::on(stores);
        let server = &nodes.0[0];
        let (alice, bob, carol) = (server.player(), server.player(), server.player());
        let game = alice.creates("game").await;
        alice.opens(&game).await;
        let session = format!("/v1/session/{game}");
        let me = format!("{session}/player/me");
        let link = link_path("XboxLive", XBOX_ID, &game);

        nodes.all_agree(&bob, &Write::new(Method::POST, &me, joining())).await;
        carol.joins(&game).await.expect(200);
        nodes.all_agree(&alice, &Write::new(Method::POST, &link, Value::Null)).await;
        nodes.all_agree(&alice, &Write::new(Method::DELETE, &link, Value::Null)).await;
        let code = format!("{session}:generate-short-code");
        let code = nodes.all_agree(&alice, &Write::new(Method::POST, &code, Value::Null)).await;
        let kick = Write::new(Method::DELETE, player_path(&game, carol.player), Value::Null);
        nodes.all_agree(&alice, &kick).await;
        nodes.all_agree(&bob, &Write::new(Method::DELETE, &me, Value::Null)).await;
        let teams = alice.session(&game).await.expect(200).body["teams"].clone();
        let players = teams.as_array().unwrap().iter().flat_map(|team| team["players"].as_array().unwrap());
        assert_eq!(players.count(), 1, "{teams}");

        // The last leave, by short code: afterwards the code names nothing.
        let by_code = format!("/v1/session/{}/player/me", code.body["short_code"].as_str().unwrap());
        let leave = Write::new(Method::DELETE, by_code, Value::Null);
        nodes.all_agree(&alice, &leave).await.expect(204);
        alice.session(&game).await.refused(404, "session_not_found");
        let stored =
            server.app.sessions.store().scan(&keys::all_answers().0, &keys::all_answers().1, 99).await;
        assert_eq!(stored.unwrap().len(), 7, "one answer for each write");
    }
}
