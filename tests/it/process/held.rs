//! Requests that are held while the server is killed.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Request, header};
use http_body_util::Full;
use rallypoint::auth::DevelopmentKey;
use rallypoint::env::Entropy;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::serve::{call, creates, get, token};
use super::store_command::player_token;
use crate::harness::{Reply, action_path, joining, until};
use crate::support::connection::Connection;
use crate::support::postgres::Database;
use crate::support::process::{Server, rallypoint, run, serve};

const BOB: Uuid = Uuid::from_u128(2);
/// Environment variable with the number of players who wait when one of two servers is killed.
const PLAYERS_VARIABLE: &str = "RALLYPOINT_TEST_HELD_PLAYERS";
/// A fiftieth of the whole test.
const PLAYERS: usize = 200;
const PARTY_SIZE: usize = 4;
const LIST: &str = "/session/v1/player/me/session";

fn list(etag: &str) -> Request<Full<Bytes>> {
    let request = Request::get(LIST).header(header::IF_NONE_MATCH, etag).header("prefer", "wait=30");
    request.body(Full::default()).unwrap()
}

fn long_poll(cursor: &str, deadline_s: u32) -> Request<Full<Bytes>> {
    let path = "/notification/v1/player/me/stream/notification/lp";
    let query = format!("offset_reset_strategy=earliest&exclude_before={cursor}&deadline={deadline_s}");
    Request::get(format!("{path}?{query}")).body(Full::default()).unwrap()
}

/// Waits until a server holds as many requests of a kind.
async fn holds(admin: SocketAddr, kind: &str, number: usize) {
    let sample = format!("waiters{{kind=\"{kind}\"}} {number}\n");
    until(async || std::str::from_utf8(&get(admin, "/metrics").await.bytes).unwrap().contains(&sample)).await;
}

/// What an answer of a long poll tells, and its cursor.
fn told(reply: &Reply) -> (Vec<&str>, &str) {
    let notifications = reply.body["notifications"].as_array().unwrap().iter();
    (
        notifications.map(|told| told["message"].as_str().unwrap()).collect(),
        reply.body["cursor"].as_str().unwrap(),
    )
}

#[tokio::test]
async fn players_whose_server_is_killed_while_they_wait_come_back_and_miss_nothing() {
    let dir = TempDir::new().unwrap();
    let start = async || {
        let mut server = Server::spawn(serve(dir.path(), &["--admin-listen", "127.0.0.1:0"])).await;
        let admin = server.admin_address().await;
        (server, admin)
    };
    let (server, admin) = start().await;
    let data_dir = dir.path().to_str().unwrap();
    let of_bob = rallypoint(&["token", "--player", &BOB.to_string(), "--data-dir", data_dir]);
    let (of_alice, of_bob) = (token(dir.path(), &[]).await, run(of_bob).await.expect(0).stdout);
    let of_bob = of_bob.trim_end();
    let open =
        async |server: &Server, token: &str| Connection::open(server.address, Some(token)).await.unwrap();
    let mut alice = open(&server, &of_alice).await;
    let party = creates(&mut alice).await;
    let invite = action_path(&party, BOB, "invite");
    call(&mut alice, Method::POST, &invite, Some(json!({}))).await.expect(200);

    let (mut on_list, mut listens) = (open(&server, of_bob).await, open(&server, of_bob).await);
    let known: Reply = on_list.send(list("\"none\"")).await.unwrap().into();
    let known = known.expect(200).etag();
    let all: Reply = listens.send(long_poll("", 0)).await.unwrap().into();
    let (added, cursor) = told(&all);
    assert_eq!(added, ["session_added"]);
    let held = tokio::spawn({
        let (list, long_poll) = (list(&known), long_poll(cursor, 25));
        async move { tokio::join!(on_list.send(list), listens.send(long_poll)) }
    });
    holds(admin, "list", 1).await;
    holds(admin, "long_poll", 1).await;
    server.kill().await;
    let (broken_list, broken_poll) = held.await.unwrap();
    assert!(broken_list.is_err() && broken_poll.is_err());

    let (server, _) = start().await;
    // Before they are back.
    let mut alice = open(&server, &of_alice).await;
    call(&mut alice, Method::DELETE, &format!("/v1/session/{party}/player/{BOB}"), None).await.expect(204);
    let (mut on_list, mut listens) = (open(&server, of_bob).await, open(&server, of_bob).await);
    let now: Reply = on_list.send(list(&known)).await.unwrap().into();
    assert_eq!(now.expect(200).body["sessions"], json!({}));
    let news: Reply = listens.send(long_poll(cursor, 25)).await.unwrap().into();
    let (removed, cursor) = told(&news);
    assert_eq!(removed, ["session_removed"]);
    // And they wait again.
    let (news, _) = tokio::join!(
        listens.send(long_poll(cursor, 25)),
        call(&mut alice, Method::POST, &invite, Some(json!({})))
    );
    let news: Reply = news.unwrap().into();
    assert_eq!(told(&news).0, ["session_added"]);
    server.stop().await.expect(0);
}

/// Two servers on one database, which take the tokens of one key.
struct Nodes {
    dir: TempDir,
    config: PathBuf,
    key: DevelopmentKey,
}

impl Nodes {
    fn new(database: &Database, players: usize) -> Self {
        let dir = TempDir::new().unwrap();
        let key = DevelopmentKey::load_or_create(dir.path(), &Entropy::System).unwrap();
        let secret = std::fs::read_to_string(DevelopmentKey::path(dir.path())).unwrap();
        let keys = dir.path().join("jwks.json");
        let public = json!({"kty": "oct", "alg": "HS256", "kid": "development", "k": secret.trim()});
        std::fs::write(&keys, json!({"keys": [public]}).to_string()).unwrap();
        std::fs::set_permissions(&keys, Permissions::from_mode(0o600)).unwrap();
        let config = dir.path().join("rallypoint.toml");
        let text = format!(
            "[auth]\njwks_file = {keys:?}\n[store]\nbackend = \"postgres\"\n[postgres]\nurl = {:?}\n[http]\nconnections_max = {}\n",
            database.url,
            2 * players + 100
        );
        std::fs::write(&config, text).unwrap();
        Self { dir, config, key }
    }

    /// A running server, and the address of its admin listener.
    async fn start(&self, name: &str) -> (Server, SocketAddr) {
        let data_dir = self.dir.path().join(name);
        std::fs::create_dir(&data_dir).unwrap();
        let args = ["--config", self.config.to_str().unwrap(), "--admin-listen", "127.0.0.1:0"];
        let mut server = Server::spawn(serve(&data_dir, &args)).await;
        let admin = server.admin_address().await;
        (server, admin)
    }
}

/// A player who listens.
struct Listener {
    token: String,
    connection: Connection,
    cursor: String,
}

impl Listener {
    async fn new(address: SocketAddr, key: &DevelopmentKey) -> Self {
        let token = player_token(key);
        let connection = Connection::open(address, Some(&token)).await.unwrap();
        Self { token, connection, cursor: String::new() }
    }

    async fn comes_back_to(&mut self, address: SocketAddr) {
        self.connection = Connection::open(address, Some(&self.token)).await.unwrap();
    }

    /// Listens until there is something to tell; `None` if the connection breaks before.
    async fn listens(&mut self) -> Option<Vec<String>> {
        loop {
            let answer: Reply = self.connection.send(long_poll(&self.cursor, 25)).await.ok()?.into();
            let answer = answer.expect(200);
            let (messages, cursor) = told(&answer);
            cursor.clone_into(&mut self.cursor);
            if !messages.is_empty() {
                return Some(messages.into_iter().map(str::to_owned).collect());
            }
        }
    }
}

/// Lets all players listen at the same moment.
async fn all_listen(listeners: &mut [Listener]) -> Vec<Option<Vec<String>>> {
    join_all(listeners.iter_mut().map(Listener::listens)).await
}

/// Parties of players who are all connected to a server. The first player of each one is its leader.
async fn parties(players: usize, address: SocketAddr, key: &DevelopmentKey) -> (Vec<String>, Vec<Listener>) {
    let mut listeners = join_all((0..players).map(|_| Listener::new(address, key))).await;
    let mut ids = Vec::new();
    for party in listeners.chunks_mut(PARTY_SIZE) {
        let [leader, others @ ..] = party else { continue };
        let id = creates(&mut leader.connection).await;
        let open = json!({"joinability": {"open": true}});
        let session = format!("/v1/session/{id}");
        call(&mut leader.connection, Method::PATCH, &session, Some(open)).await.expect(200);
        for other in others {
            let join = format!("{session}/player/me");
            call(&mut other.connection, Method::POST, &join, Some(joining())).await.expect(200);
        }
        ids.push(id);
    }
    (ids, listeners)
}

/// The number of players in a session.
fn players_in(session: &Value) -> usize {
    let teams = session["teams"].as_array().unwrap().iter();
    teams.map(|team| team["players"].as_array().unwrap().len()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_players_of_a_killed_node_come_back_to_another_and_miss_nothing() {
    let players = std::env::var(PLAYERS_VARIABLE).map_or(PLAYERS, |players| players.parse().unwrap());
    let nodes = Nodes::new(&Database::new().await, players);
    let (killed, killed_admin) = nodes.start("killed").await;
    let (other, admin) = nodes.start("other").await;
    let (parties, mut listeners) = parties(players, killed.address, &nodes.key).await;
    for told in all_listen(&mut listeners).await {
        assert_eq!(told.unwrap(), ["session_added"]);
    }
    let held: JoinHandle<_> = tokio::spawn(async move {
        let told = all_listen(&mut listeners).await;
        (listeners, told)
    });
    holds(killed_admin, "long_poll", players).await;
    killed.kill().await;
    let (mut listeners, told) = held.await.unwrap();
    assert!(told.iter().all(Option::is_none), "{told:?}");

    // The parties change at the other node, some before their players are back and some after.
    let leaders: Vec<_> = listeners.iter().step_by(PARTY_SIZE).map(|leader| leader.token.clone()).collect();
    let address = other.address;
    let change = async |party: &str, leader: &str| {
        let mut leader = Connection::open(address, Some(leader)).await.unwrap();
        let body = json!({"custom_data": {"changed": "meanwhile"}});
        call(&mut leader, Method::PATCH, &format!("/v1/session/{party}"), Some(body)).await.expect(200);
    };
    let changes = async {
        for (party, leader) in parties.iter().zip(&leaders) {
            change(party, leader).await;
        }
    };
    let come_back = join_all(listeners.iter_mut().map(async |listener| {
        listener.comes_back_to(address).await;
        listener.listens().await
    }));
    let ((), told) = tokio::join!(changes, come_back);
    for told in told {
        assert_eq!(told.unwrap(), ["session_changed"]);
    }
    let held = tokio::spawn(async move { all_listen(&mut listeners).await });
    holds(admin, "long_poll", players).await;
    for (party, leader) in parties.iter().zip(&leaders) {
        let mut leader = Connection::open(address, Some(leader)).await.unwrap();
        let session = call(&mut leader, Method::GET, &format!("/v1/session/{party}"), None).await.expect(200);
        assert_eq!(players_in(&session.body), PARTY_SIZE, "nobody was removed");
    }
    other.kill().await;
    let told = held.await.unwrap();
    assert!(told.iter().all(Option::is_none), "there was nothing else to tell: {told:?}");
}
