//! Runs the real binary, `rallypoint serve`, as several nodes on one database.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, Request};
use http_body_util::Full;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rallypoint::auth::DEFAULT_PLAYER_PERMISSIONS;
use rallypoint::env::Clock;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use crate::harness::{Reply, creation, joining};
use crate::support::connection::Connection;
use crate::support::postgres::Database;
use crate::support::process::{Server, rallypoint, run, soon};

const SECRET: [u8; 32] = *b"a secret that all the nodes know";

/// A configuration file for any number of nodes.
struct Shared {
    dir: TempDir,
    database: Database,
}

impl Shared {
    async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let database = Database::new().await;
        let keys = dir.path().join("jwks.json");
        let key = json!({"kty": "oct", "alg": "HS256", "kid": "1", "k": URL_SAFE_NO_PAD.encode(SECRET)});
        std::fs::write(&keys, json!({"keys": [key]}).to_string()).unwrap();
        std::fs::set_permissions(&keys, PermissionsExt::from_mode(0o600)).unwrap();
        let config = format!(
            "[auth]\njwks_file = {keys:?}\n[store]\nbackend = \"postgres\"\n[postgres]\nurl = {:?}\n",
            database.url
        );
        std::fs::write(dir.path().join("rallypoint.toml"), config).unwrap();
        Self { dir, database }
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("rallypoint.toml")
    }

    fn serve(&self) -> Command {
        let config = self.config();
        rallypoint(&["serve", "--listen", "127.0.0.1:0", "--config", config.to_str().unwrap()])
    }

    async fn start(&self) -> Server {
        Server::spawn(self.serve()).await
    }
}

/// A token for a new player.
fn token() -> String {
    let permissions: Vec<_> = DEFAULT_PLAYER_PERMISSIONS.iter().map(|permission| permission.name()).collect();
    let player = uuid::Uuid::from_bytes(rallypoint::env::Entropy::System.bytes());
    let claims = json!({
        "sub": player, "permissions": permissions, "platform": "XboxLive",
        "exp": Clock::System.now_ms() / 1000 + 3600,
    });
    let header = Header { kid: Some("1".into()), ..Header::new(Algorithm::HS256) };
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&SECRET)).unwrap()
}

async fn ask_admin(address: SocketAddr, path: &str) -> Reply {
    let mut admin = Connection::open(address, None).await.unwrap();
    admin.send(Request::get(path).body(Full::default()).unwrap()).await.unwrap().into()
}

async fn ready(node: &mut Server) -> Reply {
    ask_admin(node.admin_address().await, "/ready").await
}

#[tokio::test]
async fn nodes_share_data_and_survive_each_other() {
    let shared = Shared::new().await;
    let (mut one, mut other) = tokio::join!(shared.start(), shared.start());
    ready(&mut one).await.expect(200);
    let admin = other.admin_address().await;
    ask_admin(admin, "/ready").await.expect(200);
    let (alice, bob) = (token(), token());
    let mut here = Connection::open(one.address, Some(&alice)).await.unwrap();
    let mut there = Connection::open(other.address, Some(&bob)).await.unwrap();
    let created: Reply =
        here.call(&Method::POST, "/v1/session", Some(&creation("game"))).await.unwrap().into();
    let session = created.expect(200).body["session_id"].as_str().unwrap().to_owned();
    let me = format!("/v1/session/{session}/player/me");
    let joined: Reply = there.call(&Method::POST, &me, Some(&joining())).await.unwrap().into();
    joined.expect(200);

    let path = format!("/v1/session/{session}");
    let seen: Reply = here.call(&Method::GET, &path, None).await.unwrap().into();
    assert_eq!(seen.expect(200).body["teams"][0]["players"].as_array().unwrap().len(), 2);
    let metrics = ask_admin(admin, "/metrics").await.expect(200);
    let metrics = std::str::from_utf8(&metrics.bytes).unwrap();
    let sample =
        |name: &str| metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    assert_eq!(sample("rallypoint_store_reachable "), Some(1), "{metrics}");
    // The join, and the templates unless the other node has stored them.
    assert!(sample("rallypoint_store_commits_total ").is_some_and(|commits| commits > 0), "{metrics}");
    one.signal(Signal::KILL);
    soon("the node closes its connections", here.closed()).await;
    let seen: Reply = there.call(&Method::GET, &path, None).await.unwrap().into();
    assert_eq!(seen.expect(200).body["teams"][0]["players"].as_array().unwrap().len(), 2);
    other.stop().await.expect(0);
}

#[tokio::test]
async fn a_node_that_waits_for_the_tables_is_live_not_ready_and_stoppable() {
    let shared = Shared::new().await;
    shared.database.open().await;
    let client = shared.database.client().await;
    // Two batches: all statements of one are in the same transaction, and the nodes must see the old number.
    client.batch_execute("UPDATE rallypoint_schema SET number = 0").await.unwrap();
    client.batch_execute("BEGIN; SELECT number FROM rallypoint_schema FOR UPDATE").await.unwrap();
    let (mut one, mut other) = (Server::begin(shared.serve()), Server::begin(shared.serve()));
    let admins = [one.admin_address().await, other.admin_address().await];
    for admin in admins {
        ask_admin(admin, "/live").await.expect(200);
        let readiness = ask_admin(admin, "/ready").await.expect(503);
        assert_eq!(readiness.bytes, "starting: the store is being opened and brought up to date\n");
        ask_admin(admin, "/metrics").await.expect(200);
    }
    let stopped = one.stop().await.expect(0);
    assert_eq!(stopped.stdout, "", "it never opened its API listener");

    client.batch_execute("UPDATE rallypoint_schema SET number = 1; COMMIT").await.unwrap();
    assert!(other.said().await.starts_with("listening on "));
    ask_admin(admins[1], "/ready").await.expect(200);
    other.stop().await.expect(0);
}

#[tokio::test]
async fn a_node_without_shared_keys_is_refused() {
    let shared = Shared::new().await;
    let text = std::fs::read_to_string(shared.config()).unwrap();
    let mut without_keys = String::new();
    for line in text.lines().filter(|line| !line.starts_with("jwks_file")) {
        without_keys += line;
        without_keys += "\n";
    }
    std::fs::write(shared.config(), without_keys).unwrap();
    let refused = run(rallypoint(&["serve", "--config", shared.config().to_str().unwrap()])).await.expect(1);
    assert!(
        refused.stderr.contains("line 3: [store] backend = \"postgres\" needs jwks_file or jwks_url"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn an_unusable_database_is_named_in_the_error() {
    let shared = Shared::new().await;
    let nobody_listens = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command =
        rallypoint(&["serve", "--listen", "127.0.0.1:0", "--config", shared.config().to_str().unwrap()]);
    command.env("RALLYPOINT_POSTGRES__URL", format!("postgresql://me@{nobody_listens}/games"));
    command.env("RALLYPOINT_POSTGRES__PASSWORD", "secret");
    let refused = run(command).await.expect(1);
    assert!(
        refused.stderr.contains("error: the store failed: cannot use the database games at 127.0.0.1"),
        "{refused:?}"
    );
    assert!(!refused.stderr.contains("secret"), "{refused:?}");
}

/// A node that was killed goes on at once, because its directory is the same one. A copy is another node with the same id.
#[tokio::test]
async fn a_killed_node_starts_again_and_its_copy_does_not() {
    let shared = Shared::new().await;
    let config = std::fs::read_to_string(shared.config()).unwrap();
    let allocator = "[allocators.local]\nkind = \"process\"\ncommand = [\"/bin/sh\"]\nports = \"7777\"\n";
    std::fs::write(shared.config(), config + allocator).unwrap();
    let [own, copy] = ["own", "copy"].map(|name| shared.dir.path().join(name));
    let serve = |data_dir: &PathBuf| {
        let mut command = shared.serve();
        command.arg("--data-dir").arg(data_dir);
        command
    };
    let killed = Server::spawn(serve(&own)).await;
    killed.signal(Signal::KILL);
    killed.finished().await;
    let mut again = Server::spawn(serve(&own)).await;
    ready(&mut again).await.expect(200);

    std::fs::create_dir(&copy).unwrap();
    std::fs::copy(own.join("node-id"), copy.join("node-id")).unwrap();
    let refused = run(serve(&copy)).await.expect(1);
    assert!(refused.stderr.contains("node-id: another server that runs has this id"), "{refused:?}");
    let stopped = again.stop().await.expect(0);
    assert!(!stopped.stderr.contains("this start waits"), "{stopped:?}");
}
