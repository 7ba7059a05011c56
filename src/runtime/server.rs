//! A whole server: store, keys, listeners and background work, started together and stopped in order.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::Either;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::api;
use crate::app::{App, AppSettings, Catalog, Limits};
use crate::auth::{DevelopmentKey, JwksSource, KeyRing, TokenSettings, Verifier, refresh_forever};
use crate::config::{Backend, Config, FriendsCheck};
use crate::env::{Clock, Entropy};
use crate::http::connection;
use crate::http::connection::Handler;
use crate::http::{Api, ApiSettings, Cors};
use crate::jobs;
use crate::runtime::admin::{Admin, Readiness};
use crate::runtime::{open_files, reload};
use crate::store::{Embedded, Memory, Postgres, Store};
use crate::telemetry::{Metrics, PostgresCollector, StoreCollector};

/// A running server.
pub struct Server {
    /// Where the API listens.
    pub api_address: SocketAddr,
    /// Where the admin listener listens, if anywhere.
    pub admin_address: Option<SocketAddr>,
    readiness: Arc<Readiness>,
    stop_api: DropGuard,
    api: JoinHandle<()>,
    stop_rest: DropGuard,
    /// What serves the API and those who watch over it: it stops after the API.
    rest: JoinSet<()>,
    store: Store,
}

/// Why a server did not start, for an operator: what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

impl StartError {
    fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// Starts a server. `expose_development_key` allows the development key on an address that others can reach.
///
/// # Errors
/// Where the configuration cannot be carried out; nothing is left running then.
pub async fn start(config: &Config, expose_development_key: bool) -> Result<Server, StartError> {
    let listen = config.http.listen;
    if !expose_development_key {
        config.check_exposure().map_err(StartError::of)?;
    }
    warn_of_few_open_files(config.http.connections_max);
    // Listeners first: what is most often wrong fails before anything is touched.
    let (api_listener, api_address) = bind(listen, "--listen").await?;
    let admin_listener = match config.http.admin_address() {
        Some(address) => Some(bind(address, "--admin-listen").await?),
        None => None,
    };
    // Keys next: where they fail, there is no store yet to be left behind.
    let (ring, source) = load_keys(config, api_address).await?;
    let (stop_api, stop_rest) = (CancellationToken::new(), CancellationToken::new());
    let (connections, metrics) = (config.http.connection_limits(), Arc::<Metrics>::default());
    let readiness = Arc::new(Readiness::starting(Arc::clone(&metrics)));
    let mut rest = JoinSet::new();
    // Before the store, which may be waited for: whoever watches over the server is told so.
    let admin_address = admin_listener.map(|(listener, address)| {
        let admin = Admin(Arc::clone(&readiness));
        rest.spawn(connection::serve(listener, connections, Arc::clone(&metrics), stop_rest.clone(), admin));
        tracing::info!("admin listener on http://{address}: /live, /ready, /metrics");
        address
    });
    let store = open_store(config).await?;
    if let Some(source) = source {
        let every = Duration::from_secs(config.auth.jwks_refresh_s.max(1));
        rest.spawn(refresh_forever(Arc::clone(&ring), source, every, stop_rest.clone()));
    }
    let app = new_app(config, store.clone(), ring, Clock::System, Entropy::System, Arc::clone(&metrics));
    let app = Arc::new(app);
    app.presence.watch_stored().await.map_err(StartError::of)?;
    readiness.set_serving(Arc::clone(&app));

    let api = Arc::new(new_api(config, Arc::clone(&app)));
    let front = Front { api, cors: Cors::new(&config.http.cors_origins).map(Arc::new) };
    tracing::info!("API on http://{api_address}");
    let api = tokio::spawn(connection::serve(api_listener, connections, metrics, stop_api.clone(), front));
    rest.spawn(reload::reload_forever(Arc::clone(&app), config.sources.clone(), stop_rest.clone()));
    let every = Duration::from_millis(config.jobs.every_ms.max(1));
    rest.spawn(jobs::run(app, every, stop_rest.clone()));
    let (stop_api, stop_rest) = (stop_api.drop_guard(), stop_rest.drop_guard());
    Ok(Server { api_address, admin_address, readiness, stop_api, api, stop_rest, rest, store })
}

/// Answers on the API's listener.
#[derive(Clone)]
struct Front {
    api: Arc<Api>,
    cors: Option<Arc<Cors>>,
}

impl Handler for Front {
    fn handle(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Response<Full<Bytes>>> + Send + use<> {
        let (api, peer) = (Arc::clone(&self.api), Some(peer.ip()));
        match self.cors.clone() {
            None => Either::Left(api.handle(request, peer)),
            // In a box, so that it costs no room where there is none of it.
            Some(cors) => Either::Right(Box::pin(async move {
                cors.around(request, |request| api.handle(request, peer)).await
            })),
        }
    }

    fn answer_at_once(&self, request: &httparse::Request<'_, '_>, answer: &mut Vec<u8>) -> bool {
        // Where pages of other origins may call, answers depend on who asks.
        self.cors.is_none() && self.api.answer_at_once(request, answer)
    }
}

impl Server {
    /// Says on `/ready` that the server is about to stop, and goes on as before.
    pub fn leave(&self) {
        self.readiness.set_leaving();
    }

    /// Stops: no new connections, requests under way finish while `/ready` says so, moved deadlines are written,
    /// the store is closed.
    ///
    /// # Errors
    /// Where the store could not be closed cleanly. What was acknowledged is on disk all the same.
    pub async fn stop(mut self) -> Result<(), StartError> {
        self.leave();
        self.stop_api.disarm().cancel();
        // A task that panicked has said so already.
        let _ = self.api.await;
        self.stop_rest.disarm().cancel();
        while self.rest.join_next().await.is_some() {}
        self.store.close().await.map_err(StartError::of)
    }
}

async fn bind(address: SocketAddr, flag: &str) -> Result<(TcpListener, SocketAddr), StartError> {
    let cannot = |error: std::io::Error| {
        StartError(format!(
            "cannot listen on {address}: {error}; choose another address with {flag}, or port 0 for a free one"
        ))
    };
    let listener = TcpListener::bind(address).await.map_err(cannot)?;
    let bound = listener.local_addr().map_err(cannot)?;
    Ok((listener, bound))
}

async fn open_store(config: &Config) -> Result<Store, StartError> {
    match config.store.backend {
        Backend::Memory => {
            tracing::warn!("[store] backend = \"memory\": everything is gone when the server stops");
            Ok(Store::Memory(Memory::default()))
        }
        Backend::Embedded => {
            let data_dir = config.store.data_dir.clone();
            // Opening reads the journal from disk: not on a thread that others wait for.
            let open = tokio::task::spawn_blocking(move || Embedded::open(&data_dir));
            let embedded = open.await.map_err(StartError::of)?.map_err(StartError::of)?;
            Ok(Store::Embedded(embedded))
        }
        Backend::Postgres => {
            let settings = config.postgres.settings().map_err(StartError)?;
            let store = Store::Postgres(Postgres::open(settings).await.map_err(StartError::of)?);
            store.check_clock(|| Clock::System.now_ms()).await.map_err(StartError::of)?;
            Ok(store)
        }
    }
}

/// Beyond `connections_max` connections are refused with an answer; beyond the limit of open files they only wait.
fn warn_of_few_open_files(connections_max: usize) {
    if let Some(open_files_max) = open_files::too_few(connections_max) {
        tracing::warn!(
            open_files_max,
            connections_max,
            "fewer files may be open than [http] connections_max and the store take; raise the limit (ulimit -n, \
             LimitNOFILE), or lower connections_max"
        );
    }
}

/// The keys to verify with, and where to read them again from.
async fn load_keys(
    config: &Config,
    address: SocketAddr,
) -> Result<(Arc<KeyRing>, Option<JwksSource>), StartError> {
    if !config.auth.has_own_keys() {
        let key = DevelopmentKey::load_or_create(&config.store.data_dir, &Entropy::System)
            .map_err(StartError::of)?;
        tracing::warn!(
            "tokens are verified with the development key; set jwks_file or jwks_url under [auth]"
        );
        if !address.ip().is_loopback() {
            tracing::warn!(
                "others reach {address}: of them, whoever has a token of the development key is taken for the player \
                 it names, and whoever has read the key file can be anyone"
            );
        }
        return Ok((Arc::new(KeyRing::new(key.key_set())), None));
    }
    if config.auth.issuer.is_none() {
        tracing::warn!("tokens of any issuer are taken; set issuer under [auth]");
    }
    if config.auth.audience.is_none() {
        tracing::warn!("tokens for any audience are taken; set audience under [auth]");
    }
    let file = config.auth.jwks_file.clone().map(JwksSource::File);
    let url = config.auth.jwks_url.clone().map(JwksSource::Url);
    let source = file.or(url).ok_or_else(|| StartError("no key source under [auth]".into()))?;
    let loading = source.clone();
    let loaded = tokio::task::spawn_blocking(move || loading.load()).await.map_err(StartError::of)?;
    let keys = loaded.map_err(StartError::of)?;
    Ok((Arc::new(KeyRing::new(keys)), Some(source)))
}

/// The application that a configuration asks for.
pub fn new_app(
    config: &Config,
    store: Store,
    ring: Arc<KeyRing>,
    clock: Clock,
    entropy: Entropy,
    metrics: Arc<Metrics>,
) -> App {
    let auth = config.auth.clone();
    let tokens = TokenSettings {
        issuer: auth.issuer,
        audience: auth.audience,
        leeway: Duration::from_secs(auth.leeway_s),
        player_claim: auth.player_claim,
        permissions_claim: auth.permissions_claim,
        player_id_claim: auth.player_id_claim,
        platform_claim: auth.platform_claim,
        cache_tokens: auth.cached_tokens,
    };
    let settings = AppSettings {
        version_check: config.sessions.version_check,
        trust_friends: config.sessions.friends_check == FriendsCheck::Trust,
        players_shown_max: config.sessions.players_shown_max,
        health: config.health,
        invite_expiry: match config.sessions.invite_expiry_s {
            0 => None,
            seconds => Some(Duration::from_secs(seconds)),
        },
        limits: Limits {
            idle_ms: i64::try_from(config.sessions.idle_s * 1000).unwrap_or(i64::MAX / 4),
            cache_bytes: config.store.cache_bytes,
            session_bytes_max: config.sessions.session_bytes_max,
            sessions_per_player_max: config.sessions.sessions_per_player_max,
            invites_per_player_max: config.sessions.invites_per_player_max,
            staleness_ms_max: config.postgres.read_consistency.staleness_ms_max(),
        },
    };
    warn_of_numberless_platforms(config);
    let verifier = Verifier::new(ring, tokens, clock.clone());
    let app = App::new(store, verifier, catalog(config), settings, clock, entropy, metrics);
    register_store_metrics(&app);
    app
}

/// What clients read and rules go by.
pub fn catalog(config: &Config) -> Catalog {
    let (regions, instance_templates) = (config.regions.clone(), config.instance_templates.clone());
    Catalog::new(config.templates.clone(), regions, instance_templates)
}

/// The API that a configuration asks for.
pub fn new_api(config: &Config, app: Arc<App>) -> Api {
    Api::new(app, vec![api::surface()], api_settings(config))
}

/// What a configuration says about requests.
pub fn api_settings(config: &Config) -> ApiSettings {
    ApiSettings {
        limits: config.http.request_limits(),
        cookie: config.auth.cookie.clone(),
        trusted_proxies: config.http.trusted_proxies.clone(),
    }
}

/// Published clients refuse a template list in which a platform has no number, and four platforms never had one.
fn warn_of_numberless_platforms(config: &Config) {
    for (name, template) in &config.templates {
        for platform in template.platform_templates.keys().filter(|platform| platform.legacy_id().is_none()) {
            tracing::warn!(template = name, %platform, "this platform has no platform_id; older clients may refuse the template");
        }
    }
}

fn register_store_metrics(app: &App) {
    match app.sessions.store() {
        Store::Memory(_) => {}
        Store::Embedded(embedded) => {
            app.metrics.register_collector(Box::new(StoreCollector::new(embedded.clone())));
        }
        Store::Postgres(postgres) => {
            app.metrics.register_collector(Box::new(PostgresCollector::new(postgres)));
        }
    }
}
