//! Long polls: what a player was not told yet, as soon as there is something.

/// Stored things that cannot be read.
mod broken;
/// The loop of the published client, on random changes.
mod client_loop;
/// What a player is told of a change.
mod changes;
/// Cursors: pages, restarts, texts that are no cursors.
mod cursors;
/// Limits, the end of the node, and clients that go away.
mod limits;
/// Long polls without a cursor.
mod lookback;
/// Several nodes, and messages that are lost between them.
mod nodes;
/// Players who listen are present.
mod presence;
/// When a long poll ends.
mod waiting;

use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;

use super::NOTIFICATION;
use crate::harness::{Client, Reply, Server};

/// A long poll that a client has sent.
struct Poll {
    reply: JoinHandle<Reply>,
    server: Server,
}

/// The path of the player's long poll, with a query.
fn path(caller: &Client, query: &str) -> String {
    format!("/v1/player/{}/stream/notification/lp?{query}", caller.player)
}

/// Sends a long poll and does not wait for the answer.
fn send(caller: &Client, query: &str) -> Poll {
    let (caller, path) = (caller.on(NOTIFICATION), path(caller, query));
    let server = caller.server.clone();
    Poll { server, reply: tokio::spawn(async move { caller.get(&path).await }) }
}

/// Sends a long poll that is answered at once.
async fn poll(caller: &Client, query: &str) -> Reply {
    caller.on(NOTIFICATION).get(&path(caller, query)).await
}

/// Sends a long poll, and returns once it is held.
async fn hold(caller: &Client, query: &str) -> Poll {
    caller.server.hears_other_nodes().await;
    let before = caller.server.held();
    let sent = send(caller, query);
    while caller.server.held() == before {
        assert!(!sent.reply.is_finished(), "{query} was not held: {:?}", sent.reply.await);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    caller.server.waits_settle().await;
    sent
}

impl Poll {
    fn is_finished(&self) -> bool {
        self.reply.is_finished()
    }

    /// Closes the connection of the client.
    async fn abort(self) {
        self.reply.abort();
        assert!(self.reply.await.unwrap_err().is_cancelled());
    }

    /// The answer, which needs no more time on the test's clock. Wakes what is due, as the job of a server does all the
    /// time: a look that takes long on a database may have gone back to sleep after the last time the test did so.
    async fn answer(mut self) -> Reply {
        loop {
            tokio::select! {
                reply = &mut self.reply => return reply.unwrap().expect(200),
                () = tokio::time::sleep(Duration::from_millis(5)) => {
                    for node in self.server.nodes() {
                        node.app.waits.wake_due();
                    }
                }
            }
        }
    }
}

/// The notifications of an answer.
fn notifications(reply: &Reply) -> &Vec<Value> {
    assert_eq!(reply.status.as_u16(), 200, "{}", reply.body);
    reply.body["notifications"].as_array().unwrap()
}

/// The cursor of an answer.
fn cursor(reply: &Reply) -> &str {
    reply.body["cursor"].as_str().unwrap()
}

/// What an answer tells: each message, and the session that it is about.
fn told(reply: &Reply) -> Vec<(&str, &str)> {
    let of = |notification: &'_ Value| {
        // As the published client does: the first segment names the API, and the rest is split at slashes.
        let url = notification["rh_url"].as_str().unwrap();
        let segments: Vec<_> = url.strip_prefix('/').unwrap().split('/').collect();
        assert_eq!(segments[..3], ["session", "v1", "session"], "{url}");
        assert_eq!(segments.len(), 4, "{url}");
    };
    let all = notifications(reply).iter().inspect(|notification| of(notification));
    all.map(|notification| {
        let url = notification["rh_url"].as_str().unwrap();
        (notification["message"].as_str().unwrap(), url.rsplit('/').next().unwrap())
    })
    .collect()
}

/// Everything there is for a player, and the query with which the next long poll continues.
async fn begin(caller: &Client) -> (Reply, String) {
    let all = poll(caller, "offset_reset_strategy=earliest&max_page_size=100&deadline=0").await.expect(200);
    let next = after(cursor(&all));
    (all, next)
}

/// The query of a long poll that continues after a cursor.
fn after(cursor: &str) -> String {
    format!("exclude_before={cursor}&deadline=25")
}

/// The same query for a long poll that is answered at once.
fn at_once(query: &str) -> String {
    query.replace("deadline=25", "deadline=0")
}
