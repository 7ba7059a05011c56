//! The published client in short: it holds the ETags that it has read, polls what a notification names if the ETag is
//! another one, and reads its list of sessions if it does not know the session. After each write it reads the session.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rallypoint::env::Entropy;
use serde_json::json;

use super::*;
use crate::harness::seeded;

/// Environment variable with the number of random changes; the default is a fiftieth of what a long run takes.
const CHANGES_VARIABLE: &str = "RALLYPOINT_TEST_CHANGES";
const CHANGES: usize = 200;
const PLAYERS: usize = 5;

struct Published {
    client: Client,
    waiting: Option<Poll>,
    /// The id of the last notification.
    cursor: String,
    /// The ETag of each session that the client shows.
    held: BTreeMap<String, String>,
    /// The sessions that the client has made or joined, and is still in.
    own: BTreeSet<String>,
    /// Lists that it has read because of such a session.
    needless_list_polls: usize,
}

impl Published {
    fn new(client: Client) -> Self {
        Self {
            client,
            waiting: None,
            cursor: String::new(),
            held: BTreeMap::new(),
            own: BTreeSet::new(),
            needless_list_polls: 0,
        }
    }

    async fn reads(&mut self, session: &str) {
        let path = format!("/v1/session/{session}");
        let read = match self.held.get(session) {
            Some(etag) => self.client.get_if_none_match(&path, etag).await,
            None => self.client.get(&path).await,
        };
        match read.status.as_u16() {
            304 => {}
            200 if read.body["teams"].to_string().contains(&self.client.player.to_string()) => {
                drop(self.held.insert(session.to_owned(), read.etag()));
            }
            200 | 404 => {
                self.held.remove(session);
                self.own.remove(session);
            }
            status => panic!("{status}: {}", read.body),
        }
    }

    async fn reads_list(&mut self) {
        let list = self.client.get("/v1/player/me/session").await.expect(200);
        for of_type in list.body["sessions"].as_object().unwrap().values() {
            let invites = of_type["pending_invites"].as_object().unwrap().keys().cloned();
            let ids =
                of_type["session_ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned());
            for session in ids.chain(invites).collect::<Vec<_>>() {
                if !self.held.contains_key(&session) {
                    self.reads(&session).await;
                }
            }
        }
    }

    /// Handles the answer of the long poll, if there is one, and sends the next one. Returns whether there was one.
    async fn goes_on(&mut self) -> bool {
        if self.waiting.as_ref().is_some_and(|waiting| !waiting.is_finished()) {
            return false;
        }
        if let Some(waiting) = self.waiting.take() {
            let answer = waiting.answer().await;
            let entries = told(&answer);
            let etags = notifications(&answer).iter().map(|one| one["etag"].as_str());
            for ((_, session), etag) in entries.into_iter().zip(etags) {
                match (self.held.get(session), etag) {
                    (Some(held), Some(etag)) if held == etag => {}
                    (Some(_), etag) => {
                        if etag.is_none() {
                            self.held.insert(session.to_owned(), "\"forgotten\"".into());
                        }
                        self.reads(session).await;
                    }
                    (None, _) => {
                        self.needless_list_polls += usize::from(self.own.contains(session));
                        self.reads_list().await;
                    }
                }
            }
            if let Some(last) = notifications(&answer).last() {
                self.cursor = last["notification_id"].as_str().unwrap().to_owned();
            }
        }
        let query = format!("exclude_before={}&offset_reset_strategy=latest&deadline=25", self.cursor);
        self.waiting = Some(send(&self.client, &query));
        true
    }
}

fn drawn(entropy: &Entropy, below: usize) -> usize {
    usize::try_from(u64::from_le_bytes(entropy.bytes()) % below as u64).unwrap()
}

/// Lets all clients handle their answers until every long poll is held.
async fn all_go_on(server: &Server, clients: &mut [Published]) {
    let has_others = server.nodes().count() > 1;
    let is_shared = !server.app.sessions.store().sole_writer();
    for _ in 0..1_000 {
        let mut had_answers = false;
        for client in clients.iter_mut() {
            had_answers |= client.goes_on().await;
        }
        server.waits_settle().await;
        if is_shared {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if !had_answers && (has_others || server.held() == clients.len()) {
            return;
        }
    }
    panic!("the clients do not come to rest");
}

/// A random change by one of the clients, who reads the session after it, as the published client does.
async fn changes(clients: &mut [Published], sessions: &mut Vec<String>, entropy: &Entropy) {
    let [actor, other, which, what] =
        [PLAYERS, PLAYERS, sessions.len().max(1), 8].map(|below| drawn(entropy, below));
    let other = clients[other].client.clone();
    let actor = &mut clients[actor];
    let client = actor.client.clone();
    let (Some(session), true) = (sessions.get(which).cloned(), what > 0) else {
        let session = client.post("/v1/session", &crate::harness::creation("party")).await;
        if session.status == 200 {
            let session = session.body["session_id"].as_str().unwrap().to_owned();
            client.opens(&session).await;
            actor.reads(&session).await;
            actor.own.insert(session.clone());
            sessions.push(session);
        }
        return;
    };
    let reply = match what {
        1 | 2 => client.joins(&session).await,
        3 => client.leaves(&session).await,
        4 => client.invites(&session, &other).await,
        5 => client.kicks(&session, &other).await,
        6 => client.promotes(&session, &other).await,
        _ => {
            let data = json!({"custom_data": {"drawn": drawn(entropy, 9).to_string()}});
            client.updates(&session, &client, data).await
        }
    };
    // A rule may refuse the change; but each of them is an operation.
    let status = reply.status.as_u16();
    assert!(status != 405 && reply.body["error_code"] != "path_not_found", "{status}: {}", reply.body);
    if reply.status.is_success() {
        actor.reads(&session).await;
        if (1..=2).contains(&what) {
            actor.own.insert(session);
        }
    }
}

#[tokio::test]
async fn the_published_client_knows_every_session_in_the_end() {
    let changes_made = std::env::var(CHANGES_VARIABLE).map_or(CHANGES, |changes| changes.parse().unwrap());
    let server = Server::new();
    let entropy = seeded();
    let mut clients: Vec<_> = (0..PLAYERS).map(|_| Published::new(server.lasting_player())).collect();
    let mut sessions = Vec::new();
    all_go_on(&server, &mut clients).await;
    for _ in 0..changes_made {
        changes(&mut clients, &mut sessions, &entropy).await;
        all_go_on(&server, &mut clients).await;
        server.advance(Duration::from_millis(drawn(&entropy, 600) as u64)).await;
        all_go_on(&server, &mut clients).await;
    }
    for _ in 0..20 {
        server.advance(Duration::from_millis(500)).await;
        all_go_on(&server, &mut clients).await;
    }
    for published in &clients {
        let list =
            published.client.get("/v1/player/me/session").await.expect(200).body["sessions"].to_string();
        let on_list: Vec<_> = sessions.iter().filter(|session| list.contains(session.as_str())).collect();
        assert_eq!(published.held.keys().collect::<Vec<_>>().len(), on_list.len());
        for session in on_list {
            assert_eq!(published.held[session], published.client.session(session).await.etag());
        }
    }
    if server.nodes().count() == 1 {
        let needless: usize = clients.iter().map(|client| client.needless_list_polls).sum();
        assert_eq!(needless, 0, "a client knows its sessions before it is told of its own changes");
    }
}
