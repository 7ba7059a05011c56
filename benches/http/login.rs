//! Measures what a login costs, compared with the creation of a session.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rallypoint::auth::{DEFAULT_PLAYER_PERMISSIONS, DevelopmentKey, Grant};
use rallypoint::domain::{Identity, Platform};
use rallypoint::env::Clock;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::cases::{CALLERS, SESSIONS_EACH};
use crate::compare::{Server, Size, print, print_head};
use crate::connection::{Client, Connection};
use crate::load::{self, Pace};
use crate::requests::Request;

/// Measures each kind of login and prints a table. The baseline is the creation of a session.
pub fn measure(runtime: &Runtime, size: &Size) {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let server = Server::start(&["serve", dir.path().to_str().unwrap(), "--login"], Stdio::null());
    let mut variants = runtime.block_on(variants(&server, dir.path()));
    let mut rounds = Vec::new();
    for round in 0..size.rounds {
        let count = variants.len();
        let mut samples = vec![None; count];
        for index in (0..count).map(|turn| (round + turn) % count) {
            let (_, clients) = &mut variants[index];
            let pids = [server.process.id()];
            let sample = runtime.block_on(load::measure(clients, Pace::Freely, &pids, size.time));
            samples[index] = Some(sample);
        }
        rounds.push(samples.into_iter().map(Option::unwrap).collect());
    }
    let names: Vec<_> = variants.iter().map(|(name, _)| *name).collect();
    print_head();
    print("login", &names, &rounds);
}

/// The requests of each variant, with a connection for each caller.
async fn variants(server: &Server, dir: &Path) -> Vec<(&'static str, Vec<Client>)> {
    let key = DevelopmentKey::load(dir).unwrap();
    let secret = std::fs::read_to_string(dir.join("client-secret")).unwrap();
    let basic = format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("game-server:{secret}")));
    let anon = |name: &str, include_refresh: bool| {
        let body = json!({
            "grant_type": "anon", "portal_access_token": name, "portal_display_name": name,
            "include_refresh": include_refresh,
        });
        post("/users/v1/login", "", &body)
    };
    let refresh_tokens = refresh_tokens(server, |name| anon(name, true)).await;
    let open = async |request: &dyn Fn(u64, u64) -> Request| {
        let of_caller = |caller| (0..SESSIONS_EACH).map(|each| request(caller, each)).collect();
        let mut clients = Client::open_all(&[server.address], (0..CALLERS).map(of_caller).collect(), 1).await;
        load::warm(&mut clients).await;
        clients
    };
    let service = json!({ "grant_type": "client_credentials" });
    let refresh = |caller: u64| json!({ "grant_type": "refresh", "portal_access_token": refresh_tokens[caller as usize] });
    vec![
        ("create a session", open(&|caller, each| create(&key, &name(caller, each))).await),
        ("anon", open(&|caller, each| anon(&name(caller, each), false)).await),
        ("anon, with refresh", open(&|caller, each| anon(&name(caller, each), true)).await),
        ("refresh", open(&|caller, _| post("/users/v1/login", "", &refresh(caller))).await),
        ("client credentials", open(&|_, _| post("/users/v1/login", &basic, &service)).await),
    ]
}

/// The name of a caller's player.
fn name(caller: u64, each: u64) -> String {
    format!("player-{caller}-{each}")
}

/// A refresh token for each caller. Its player has no others, so that it stays valid.
async fn refresh_tokens(server: &Server, login: impl Fn(&str) -> Request) -> Vec<String> {
    let mut connection = Connection::open(server.address).await;
    let mut tokens = Vec::new();
    for caller in 0..CALLERS {
        connection.send(&login(&format!("refreshing-{caller}"))).await;
        let answer: Value = serde_json::from_str(connection.body()).unwrap();
        tokens.push(answer["refresh_token"].as_str().unwrap().to_owned());
    }
    tokens
}

/// The creation of a party by a player.
fn create(key: &DevelopmentKey, name: &str) -> Request {
    let grant = Grant {
        player: Some(Identity::new(Platform::Anon, name).player()),
        permissions: DEFAULT_PLAYER_PERMISSIONS.iter().map(|one| one.name().to_owned()).collect(),
        platform: Some(Platform::Anon),
        player_id: None,
        ttl: Duration::from_secs(24 * 3600),
    };
    let token = format!("Authorization: Bearer {}\r\n", key.sign(&grant, Clock::System.now()));
    let body = json!({
        "session_type": "party", "client_version": "1.0.0",
        "client_settings": { "platform": "Anon", "input": "gamepad" },
    });
    post("/session/v1/session", &token, &body)
}

fn post(path: &str, header: &str, body: &Value) -> Request {
    let body = body.to_string();
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{header}Content-Length: {length}\r\n\r\n");
    Request::new(head + &body, 200)
}
