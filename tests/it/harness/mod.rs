//! The API in process, without ports and without sleeping: a server on a chosen store, a clock that tests advance,
//! and one client per caller. Every reply is validated against the API document of its surface.

pub mod allocator;
pub mod consistency;
mod contract;
pub mod fast_path;
pub mod log;
pub mod wire;
mod actions;
mod keys;
mod metrics;
mod nodes;
mod stored;

use std::iter;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use rallypoint::api;
use rallypoint::app::App;
use rallypoint::app::launches::LaunchSettings;
use rallypoint::auth::{DEFAULT_PLAYER_PERMISSIONS, DevelopmentKey, Grant, KeyRing};
use rallypoint::config::Config;
use rallypoint::domain::matchmaking::DeserterKind;
use rallypoint::domain::{Platform, PlayerUuid};
use rallypoint::env::{Clock, Entropy};
use rallypoint::http::Pipeline;
use rallypoint::jobs;
use rallypoint::runtime::admin::Readiness;
use rallypoint::runtime::server;
use rallypoint::store::{Memory, Store};
use serde_json::{Value, json};
use uuid::Uuid;

use nodes::OtherNodes;

pub use actions::{action_path, player_path, right_path, status_and_team};
pub use contract::{document, fits};
pub use log::Log;
pub use metrics::Metrics;
pub use nodes::{STORE_VARIABLE, exchange, pairs_of_nodes, seeded, shared_stores, until};
pub use stored::{contents, keys_of_sessions, leftovers, set_meta, without_deadlines};

/// The login key of servers under test. It is public.
pub const LOGIN_KEY: &str = include_str!("../../support/login-key.pem");
/// The secret of the client that a server under test has made.
pub const SERVER_SECRET: &str = "secret-of-game-server";

/// URL-safe base64 with padding, as clients send it.
pub const XBOX_ID: &str = "bXlnYW1lfnBhcnR5fjE=";

/// An API under test.
#[derive(Clone)]
pub struct Server {
    pub pipeline: Arc<Pipeline>,
    pub app: Arc<App>,
    pub clock: Clock,
    config: Arc<Config>,
    key: Arc<DevelopmentKey>,
    /// The keys that verify tokens. A test may replace them.
    pub ring: Arc<KeyRing>,
    entropy: Entropy,
    /// Other nodes on the same store. Requests are distributed over all nodes.
    others: OtherNodes,
    /// Counts the requests to all nodes.
    requests: fast_path::Requests,
}

impl Server {
    /// A server with the default configuration on the default store.
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// A server with every surface on the default store, which holds no request.
    pub fn with_every_surface() -> Self {
        Self::with(|config| {
            (config.stubs.inventory_session, config.stubs.matches) = (true, true);
            config.deserters.insert(Uuid::from_u128(0xd1), DeserterKind {});
            config.wait.max_s = 0;
        })
    }

    /// A server with a changed default configuration on the default store: in memory, unless [`STORE_VARIABLE`] names
    /// another one.
    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::with_launches(|_| LaunchSettings::default(), change)
    }

    /// Like [`with`](Self::with), with the allocators of each node, by the number of the node.
    pub fn with_launches(
        launches: impl Fn(u128) -> LaunchSettings,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let (store, others) = nodes::default_stores();
        let server = Self::launching(store, launches(1), change);
        let others =
            (2..).zip(others).map(|(node, store)| server.another_launching_node(store, launches(node)));
        Self { others: OtherNodes::new(others.collect()), ..server }
    }

    /// A server with a changed default configuration on the given store. Players have no timeout unless the change sets
    /// one: tests advance the clock without polls.
    pub fn over(store: Store, change: impl FnOnce(&mut Config)) -> Self {
        Self::launching(store, LaunchSettings::default(), change)
    }

    /// Like [`over`](Self::over), with allocators.
    pub fn launching(store: Store, launches: LaunchSettings, change: impl FnOnce(&mut Config)) -> Self {
        Self::with_secret(store, Some(SERVER_SECRET), launches, change)
    }

    /// A server whose login has no client.
    pub fn without_server_credentials() -> Self {
        Self::with_secret(Store::Memory(Memory::default()), None, LaunchSettings::default(), |_| {})
    }

    /// A server on the given store that has made a client with this secret for game servers, if there is one.
    fn with_secret(
        store: Store,
        secret: Option<&str>,
        launches: LaunchSettings,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = Config::default();
        for template in config.templates.values_mut() {
            template.player_culling_timeout = None;
        }
        change(&mut config);
        let (clock, entropy) = (Clock::manual("2026-11-23T12:00:00Z".parse().unwrap()), Entropy::seeded(1));
        let dir = tempfile::tempdir().unwrap();
        let key = DevelopmentKey::load_or_create(dir.path(), &entropy).unwrap();
        let keys = keys::of(&config, &key, secret, (&clock, &entropy));
        let ring = Arc::clone(&keys.ring);
        let app =
            server::new_app(&config, store, keys, launches, (clock.clone(), entropy.clone()), Arc::default());
        let app = Arc::new(app);
        let pipeline = server::new_pipeline(&config, Arc::clone(&app), false);
        let (config, key) = (Arc::new(config), Arc::new(key));
        let (others, requests) = (OtherNodes::default(), fast_path::Requests::default());
        Self { pipeline: Arc::new(pipeline), app, clock, config, key, ring, entropy, others, requests }
    }

    /// This server, started with `--insecure-expose-development-key`.
    pub fn exposed(self) -> Self {
        let pipeline = server::new_pipeline(&self.config, Arc::clone(&self.app), true);
        Self { pipeline: Arc::new(pipeline), ..self }
    }

    /// Another node on the same store, with the same configuration, clock and key.
    pub fn another_node(&self, store: Store) -> Self {
        self.another_launching_node(store, LaunchSettings::default())
    }

    /// Like [`another_node`](Self::another_node), with allocators.
    pub fn another_launching_node(&self, store: Store, launches: LaunchSettings) -> Self {
        let config = &*self.config;
        let time_and_randomness = (self.clock.clone(), self.entropy.clone());
        let keys = keys::of(config, &self.key, Some(SERVER_SECRET), (&self.clock, &self.entropy));
        let ring = Arc::clone(&keys.ring);
        let app = server::new_app(config, store, keys, launches, time_and_randomness, Arc::default());
        let app = Arc::new(app);
        let pipeline = server::new_pipeline(config, Arc::clone(&app), false);
        Self { pipeline: Arc::new(pipeline), app, ring, others: OtherNodes::default(), ..self.clone() }
    }

    /// Another node on the same store, with a clock of its own.
    pub fn with_clock(&self, clock: Clock) -> Self {
        let store = self.app.sessions.store().clone();
        Self { clock, ..self.clone() }.another_node(store)
    }

    /// The readiness that the admin listener of this server reports.
    pub fn readiness(&self) -> Readiness {
        let readiness = Readiness::starting(Arc::clone(&self.app.metrics), self.clock.clone());
        readiness.set_ready(Arc::clone(&self.app));
        readiness
    }

    /// A random node, this one included.
    pub fn any_node(&self) -> &Self {
        self.others.any().unwrap_or(self)
    }

    /// Advances the clock and runs one round of the background jobs on each node.
    pub async fn advance(&self, by: Duration) {
        if !self.others.is_empty() {
            // A node stores its heartbeats within a second. Store them before the clock advances further than that.
            self.tick().await;
        }
        self.clock.advance(by);
        self.tick().await;
    }

    async fn tick(&self) {
        for node in self.nodes() {
            jobs::tick(&node.app).await.unwrap();
        }
    }

    /// Each node.
    pub fn nodes(&self) -> impl Iterator<Item = &Self> {
        iter::once(self).chain(self.others.iter())
    }

    /// A caller without a token.
    pub fn anonymous(&self) -> Client {
        Client { server: self.clone(), player: Uuid::nil(), token: None, prefix: api::PREFIX }
    }

    /// A caller with this token.
    pub fn bearer(&self, token: impl Into<String>) -> Client {
        Client { token: Some(token.into()), ..self.anonymous() }
    }

    /// Signs a token for a grant.
    pub fn token(&self, grant: &Grant) -> String {
        self.key.sign(grant, self.clock.now())
    }

    /// A new player on a platform, with a player's permissions.
    pub fn player_on(&self, platform: Platform) -> Client {
        self.player_with(Some(platform), &player_permissions())
    }

    /// A new player on an Xbox.
    pub fn player(&self) -> Client {
        self.player_on(Platform::XboxLive)
    }

    /// A new player with these permissions.
    pub fn player_with(&self, platform: Option<Platform>, permissions: &[&str]) -> Client {
        let player = self.entropy.uuid();
        Client { player, ..self.bearer(self.token(&grant(Some(player), platform, permissions))) }
    }

    /// A new player whose token outlives the test's clock.
    pub fn lasting_player(&self) -> Client {
        let player = self.entropy.uuid();
        let mut grant = grant(Some(player), Some(Platform::XboxLive), &player_permissions());
        grant.ttl = Duration::from_secs(1_000_000);
        Client { player, ..self.bearer(self.token(&grant)) }
    }

    /// A new player whose token names their numeric id.
    pub fn player_numbered(&self, player_id: i64) -> Client {
        let player = self.entropy.uuid();
        let mut grant = grant(Some(player), Some(Platform::XboxLive), &player_permissions());
        grant.player_id = Some(player_id);
        Client { player, ..self.bearer(self.token(&grant)) }
    }

    /// A service: a token without a player, with these permissions.
    pub fn service(&self, permissions: &[&str]) -> Client {
        self.bearer(self.token(&grant(None, None, permissions)))
    }
}

/// The default permissions of a player.
pub fn player_permissions() -> Vec<&'static str> {
    DEFAULT_PLAYER_PERMISSIONS.iter().map(|permission| permission.name()).collect()
}

/// A grant that is valid for an hour.
pub fn grant(player: Option<Uuid>, platform: Option<Platform>, permissions: &[&str]) -> Grant {
    Grant {
        player: player.map(PlayerUuid),
        permissions: permissions.iter().map(|name| (*name).to_owned()).collect(),
        platform,
        player_id: None,
        ttl: Duration::from_secs(3600),
    }
}

/// A caller of the API: a player, a service or an anonymous caller.
#[derive(Clone)]
pub struct Client {
    pub server: Server,
    pub player: Uuid,
    pub token: Option<String>,
    /// Prefix of the surface that the paths are below.
    pub prefix: &'static str,
}

/// A reply to a request. `body` is null if the reply has no JSON body.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Bytes,
    pub body: Value,
}

impl From<Response<Bytes>> for Reply {
    fn from(response: Response<Bytes>) -> Self {
        let (parts, bytes) = response.into_parts();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Self { status: parts.status, headers: parts.headers, bytes, body }
    }
}

impl Reply {
    /// The ETag. Panics if the reply has none.
    #[track_caller]
    pub fn etag(&self) -> String {
        self.headers["etag"].to_str().unwrap().to_owned()
    }

    /// Asserts the status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self
    }

    /// Asserts a refusal with this status and error code, for a caller with a valid token.
    #[track_caller]
    pub fn refused(self, status: u16, error_code: &str) -> Self {
        assert_eq!(
            (self.status.as_u16(), &self.body["error_code"]),
            (status, &json!(error_code)),
            "{}",
            self.body
        );
        assert_eq!(self.body["auth_success"], json!(true), "{}", self.body);
        self
    }

    /// Asserts a 422 that lists exactly these violations, each with its location and its type.
    #[track_caller]
    pub fn invalid(self, expected: &[(Value, &str)]) -> Self {
        assert_eq!(self.status.as_u16(), 422, "{}", self.body);
        let found: Vec<_> = self.body["detail"]
            .as_array()
            .unwrap()
            .iter()
            .map(|found| (found["loc"].clone(), found["type"].as_str().unwrap()))
            .collect();
        assert_eq!(found, expected, "{}", self.body);
        self
    }
}

impl Client {
    /// The same caller, with paths below the prefix of another surface.
    pub fn on(&self, prefix: &'static str) -> Self {
        Self { prefix, ..self.clone() }
    }

    /// Sends a request to a path below the prefix and validates the reply against the API document of the surface.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Bytes>,
    ) -> Reply {
        let mut request = Request::builder().method(&method).uri(format!("{}{path}", self.prefix));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send_checked(request.body(Full::new(body.unwrap_or_default())).unwrap()).await
    }

    /// Sends a request unchanged and validates the reply against the API document of the surface.
    pub async fn send_checked(&self, request: Request<Full<Bytes>>) -> Reply {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let reply = self.send_raw(request).await;
        contract::check(&method, &path, &reply);
        reply
    }

    /// Sends a request unchanged.
    pub async fn send_raw(&self, request: Request<Full<Bytes>>) -> Reply {
        self.send_from(None, request).await
    }

    /// Sends a request unchanged, from an address. If the fast path answers it too, both answers must be equal.
    pub async fn send_from(&self, peer: Option<IpAddr>, request: Request<Full<Bytes>>) -> Reply {
        let node = self.server.any_node();
        let in_flight = node.requests.begin();
        let by_fast_path = fast_path::send(&node.pipeline, &request).await;
        let (parts, body) = node.pipeline.handle(request, peer).await.response().await.into_parts();
        let reply: Reply = Response::from_parts(parts, body.collect().await.unwrap().to_bytes()).into();
        if in_flight.was_alone()
            && let Some(by_fast_path) = by_fast_path.agreed()
        {
            fast_path::check(&by_fast_path, &reply);
        }
        reply
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], None).await
    }

    pub async fn get_if_none_match(&self, path: &str, etag: &str) -> Reply {
        self.send(Method::GET, path, &[("if-none-match", etag)], None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(Method::POST, path, &[], Some(body.to_string().into())).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Reply {
        self.send(Method::PATCH, path, &[], Some(body.to_string().into())).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, &[], None).await
    }

    /// Creates a session of a type; returns its id.
    pub async fn creates(&self, session_type: &str) -> String {
        let created = self.post("/v1/session", &creation(session_type)).await.expect(200);
        created.body["session_id"].as_str().unwrap().to_owned()
    }

    /// Joins a session that is open to all.
    pub async fn joins(&self, session_id: &str) -> Reply {
        self.post(&format!("/v1/session/{session_id}/player/me"), &joining()).await
    }

    /// Leaves a session.
    pub async fn leaves(&self, session_id: &str) -> Reply {
        self.delete(&format!("/v1/session/{session_id}/player/me")).await
    }

    /// Reads a session.
    pub async fn session(&self, session_id: &str) -> Reply {
        self.get(&format!("/v1/session/{session_id}")).await
    }

    /// Links the platform session [`XBOX_ID`] to a session.
    pub async fn links(&self, session_id: &str) -> Reply {
        self.post(&link_path("XboxLive", XBOX_ID, session_id), &Value::Null).await
    }

    /// Reads the platform session [`XBOX_ID`].
    pub async fn xbox(&self) -> Reply {
        self.get(&platform_path("XboxLive", XBOX_ID)).await
    }

    /// Opens a session to everyone.
    pub async fn opens(&self, session_id: &str) -> Reply {
        self.patch(&format!("/v1/session/{session_id}"), &json!({"joinability": {"open": true}}))
            .await
            .expect(200)
    }
}

/// The body of a request to create or join a session.
pub fn creation(session_type: &str) -> Value {
    json!({
        "session_type": session_type, "client_version": "1.0.0",
        "client_settings": { "platform": "XboxLive", "input": "gamepad" },
    })
}

/// The body of a request to join a session.
pub fn joining() -> Value {
    json!({
        "client_version": "1.0.0", "client_settings": { "platform": "XboxLive", "input": "gamepad" }, "team_id": 0,
    })
}

/// The path of a platform session.
pub fn platform_path(platform: &str, id: &str) -> String {
    format!("/v1/platform/{platform}/platform-session/{id}")
}

/// The path of a link between a platform session and a session.
pub fn link_path(platform: &str, id: &str, session_id: &str) -> String {
    format!("{}/session/{session_id}", platform_path(platform, id))
}
