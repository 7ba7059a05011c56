//! A whole server: listeners, keys, store, application and background tasks. They start together and stop in order.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::Either;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::Full;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::allocators::clients::LaunchClients;
use crate::api;
use crate::app::launches::LaunchSettings;
use crate::app::{App, AppSettings, LoginSettings};
use crate::auth::{DevelopmentKey, JwksSource, KeyRing, LoginKey, Verifier, refresh_forever};
use crate::config::{Config, LeaveDelay, StoreKind};
use crate::env::{Clock, Entropy};
use crate::http::connection::{Handled, Handler, Peer, RequestBody};
use crate::http::listener;
use crate::http::memory::MemoryBudget;
use crate::http::surface::Surface;
use crate::http::{Cors, Pipeline};
use crate::jobs;
use crate::notifications;
use crate::records::keys::KEY_UPGRADE;
use crate::runtime::admin::{Admin, Readiness};
use crate::runtime::allocators::StartedAllocators;
use crate::runtime::control::{Commanded, ControlSocket};
use crate::runtime::launch_clients::EarlyLaunchClients;
use crate::runtime::local_servers::LocalServers;
use crate::runtime::node_id::{self, NodeId};
use crate::runtime::{allocators, control, open_files, reload, server_credentials, settings, voice};
use crate::store::{Embedded, Memory, Postgres, Store};
use crate::stubs;
use crate::telemetry::Metrics;
use crate::users;
use crate::voice::Voice;

/// How long a server goes on that a load balancer watches, unless the operator sets a time: two or three health checks.
const LEAVE_DELAY_WATCHED: Duration = Duration::from_secs(5);

/// A running server. Dropping it stops its tasks without waiting for them; [`Server::stop`] is the orderly way.
pub struct Server {
    /// Address of the API.
    pub api_address: SocketAddr,
    /// Address of the admin listener, or `None` if it is off.
    pub admin_address: Option<SocketAddr>,
    readiness: Arc<Readiness>,
    api: TaskGroup,
    /// The admin listener, jobs and reloads. They stop after the API.
    background: TaskGroup,
    /// The dedicated servers on this machine.
    local: Arc<LocalServers>,
    store: Store,
    app: Arc<App>,
    /// Holds the id of the node.
    _node: Option<NodeId>,
}

/// Why a server did not start: what is wrong, and what the operator can do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

impl StartError {
    fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// Starts a server. `expose_development_key` allows the development key on an address that other machines can reach.
///
/// # Errors
/// If a step fails; then nothing is left running.
pub async fn start(config: &Config, expose_development_key: bool) -> Result<Server, StartError> {
    config.check_exposure(expose_development_key).map_err(StartError::of)?;
    warn_of_low_open_file_limit(config.http.connections_max);

    // An address in use is the most common error. It is found before any file is created.
    let api_listener = BoundListener::bind(config.http.listen, "--listen").await?;
    let admin_listener = match config.http.admin_address() {
        Some(address) => Some(BoundListener::bind(address, "--admin-listen").await?),
        None => None,
    };

    // If an allocator cannot start, or the keys cannot be loaded, no store is created.
    let launch_clients = Arc::<EarlyLaunchClients>::default();
    let clients = Arc::clone(&launch_clients) as Arc<dyn LaunchClients>;
    let StartedAllocators { launches, node, local } =
        allocators::start(config, api_listener.address, clients, &Clock::System).await?;
    let (keys, jwks_source) = load_keys(config, api_listener.address).await?;
    let keys = Keys { voice: voice::open(config, &Clock::System, &Entropy::System)?, ..keys };
    let ring = Arc::clone(&keys.ring);

    // A store may take long to open. Meanwhile `/live` answers 200 and `/ready` 503.
    let metrics = Arc::<Metrics>::default();
    let readiness = Arc::new(Readiness::starting(Arc::clone(&metrics), Clock::System));
    let (api, background) = (TaskGroup::default(), TaskGroup::default());
    let (api_address, admin_address) =
        (api_listener.address, admin_listener.as_ref().map(|listener| listener.address));
    if let Some(listener) = admin_listener {
        serve_admin(&background, listener, config, Arc::clone(&readiness), Arc::clone(&metrics));
    }

    let store = open_store(config).await?;
    let time_and_randomness = (Clock::System, Entropy::System);
    let app = new_app(config, store.clone(), keys, launches, time_and_randomness, Arc::clone(&metrics));
    let app = Arc::new(app);
    // Before the API serves: a server that goes on after a restart may log in at any time.
    launch_clients.connect(Arc::clone(&app.launch_clients));
    node_id::hold(&app, &config.store.data_dir).await.map_err(StartError)?;
    app.sessions.resume_clock_steps().await.map_err(StartError::of)?;
    app.presence.watch_stored().await.map_err(StartError::of)?;
    if let Err(error) = app.keep_used_templates().await {
        tracing::error!(%error, "the templates could not be stored; a background job tries again");
    }

    readiness.set_ready(Arc::clone(&app));
    serve_api(&api, api_listener, (config, expose_development_key), Arc::clone(&app), metrics);
    start_background_tasks(&background, config, Arc::clone(&app), ring, jwks_source);
    let local = Arc::new(local);
    let commanded = Commanded { servers: Arc::clone(&local), app: Arc::clone(&app) };
    serve_control(&background, config, commanded);
    Ok(Server { api_address, admin_address, readiness, api, background, local, store, app, _node: node })
}

/// Tasks that stop together. Dropping the group tells them to stop, and does not wait.
#[derive(Default)]
struct TaskGroup {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl TaskGroup {
    /// Starts a task. It has to end after its token is cancelled.
    fn spawn<F>(&self, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(task(self.stop.clone()));
    }

    /// Tells the tasks to stop, and waits until they have ended. A task that panics counts as ended.
    async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for TaskGroup {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A socket that listens, and its address.
struct BoundListener {
    socket: TcpListener,
    address: SocketAddr,
}

impl BoundListener {
    /// Listens on an address. `flag` sets that address; the error names it.
    async fn bind(address: SocketAddr, flag: &str) -> Result<Self, StartError> {
        let cannot = |error: std::io::Error| {
            StartError(format!(
                "cannot listen on {address}: {error}; choose another address with {flag}, or port 0 for a free one"
            ))
        };
        let socket = TcpListener::bind(address).await.map_err(cannot)?;
        let address = socket.local_addr().map_err(cannot)?;
        Ok(Self { socket, address })
    }
}

fn serve_admin(
    tasks: &TaskGroup,
    listener: BoundListener,
    config: &Config,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
) {
    tracing::info!("admin listener on http://{}: /live, /ready, /metrics", listener.address);
    let limits = settings::connection_limits(&config.http);
    tasks.spawn(|stop| listener::serve(listener.socket, limits, metrics, stop, Admin(readiness)));
}

/// Opens the control socket, if the server has a data directory. The server does its work without it, too.
fn serve_control(tasks: &TaskGroup, config: &Config, commanded: Commanded) {
    let data_dir = &config.store.data_dir;
    if !data_dir.is_dir() {
        return;
    }
    match ControlSocket::open(data_dir) {
        Ok(socket) => tasks.spawn(|stop| socket.serve(commanded, stop)),
        Err(error) => tracing::warn!(
            "no control socket at {}: {error}; commands such as `rallypoint server` do not work",
            control::socket_path(data_dir).display()
        ),
    }
}

fn serve_api(
    tasks: &TaskGroup,
    listener: BoundListener,
    (config, is_exposed): (&Config, bool),
    app: Arc<App>,
    metrics: Arc<Metrics>,
) {
    tracing::info!("API on http://{}", listener.address);
    let limits = settings::connection_limits(&config.http);
    let pipeline = Arc::new(new_pipeline(config, app, is_exposed));
    let cors = Cors::new(&config.http.cors_origins).map(Arc::new);
    let front = Front { pipeline, cors, fast_path: config.http.fast_path };
    tasks.spawn(|stop| listener::serve(listener.socket, limits, metrics, stop, front));
}

/// Starts the refresh of keys, the reload of templates, and the jobs.
fn start_background_tasks(
    tasks: &TaskGroup,
    config: &Config,
    app: Arc<App>,
    ring: Arc<KeyRing>,
    jwks_source: Option<JwksSource>,
) {
    if let Some(source) = jwks_source {
        let every = Duration::from_secs(config.auth.jwks_refresh_s.max(1));
        tasks.spawn(|stop| refresh_forever(ring, source, every, stop));
    }
    let reloaded = Arc::clone(&app);
    tasks.spawn(|stop| reload::reload_forever(reloaded, config.clone(), stop));
    let every = Duration::from_millis(config.jobs.every_ms.max(1));
    tasks.spawn(|stop| jobs::run(app, every, stop));
}

/// Answers on the API's listener.
#[derive(Clone)]
struct Front {
    pipeline: Arc<Pipeline>,
    cors: Option<Arc<Cors>>,
    /// `[http] fast_path`.
    fast_path: bool,
}

impl Handler for Front {
    fn handle(
        &self,
        request: Request<RequestBody>,
        peer: Peer,
    ) -> impl Future<Output = Handled> + Send + use<> {
        let pipeline = Arc::clone(&self.pipeline);
        match self.cors.clone() {
            None => Either::Left(pipeline.handle(request, peer)),
            // In a box, so that it costs no room where there is none of it.
            Some(cors) => Either::Right(Box::pin(async move {
                cors.around(request, |request| pipeline.handle(request, peer)).await
            })),
        }
    }

    fn has_fast_path(&self) -> bool {
        // With CORS, a response depends on the origin of the page that asks.
        self.fast_path && self.cors.is_none()
    }

    fn fast_path(&self, request: &httparse::Request<'_, '_>, response: &mut Vec<u8>) -> bool {
        self.pipeline.fast_path(request, response)
    }

    fn memory(&self) -> Option<Arc<MemoryBudget>> {
        Some(self.pipeline.memory())
    }

    fn fast_path_in_service(&self, head: &Parts) -> Option<Response<Full<Bytes>>> {
        let mut response = self.pipeline.fast_path_in_service(head)?;
        if let Some(cors) = &self.cors {
            cors.add_headers(&head.headers, &mut response);
        }
        Some(response)
    }
}

impl Server {
    /// How long the server should go on after a signal to stop, while `/ready` answers 503.
    pub fn leave_delay(&self, setting: LeaveDelay) -> Duration {
        match setting {
            LeaveDelay::Seconds(seconds) => Duration::from_secs(seconds),
            LeaveDelay::Auto if self.readiness.is_watched() => LEAVE_DELAY_WATCHED,
            LeaveDelay::Auto => Duration::ZERO,
        }
    }

    /// The dedicated servers on this machine.
    pub fn local_servers(&self) -> &LocalServers {
        &self.local
    }

    /// The number of requests that wait for a change.
    pub fn waits(&self) -> usize {
        self.app.waits.count()
    }

    /// Makes `/ready` answer 503, so that load balancers send no more requests here. The API still serves them.
    pub fn start_draining(&self) {
        self.readiness.set_draining();
    }

    /// Stops in order: no new connections; requests in flight finish; dedicated servers on this machine end, unless
    /// they are to go on; pending deadlines are written; the store is closed.
    ///
    /// # Errors
    /// If the store was not closed cleanly. Changes that were answered with success are on disk nevertheless.
    pub async fn stop(self) -> Result<(), StartError> {
        self.start_draining();
        self.app.launches.close_all().await;
        self.app.waits.drain();
        self.api.stop().await;
        self.app.launches.end_all().await;
        self.background.stop().await;
        self.local.stop().await;
        self.store.close().await.map_err(StartError::of)
    }
}

async fn open_store(config: &Config) -> Result<Store, StartError> {
    match config.store.backend {
        StoreKind::Memory => {
            tracing::warn!("[store] backend = \"memory\": all sessions are lost when the server stops");
            Ok(Store::Memory(Memory::default()))
        }
        StoreKind::Embedded => {
            let data_dir = config.store.data_dir.clone();
            // Opening reads the journal from disk, which would block other tasks.
            let open = tokio::task::spawn_blocking(move || Embedded::open(&data_dir, KEY_UPGRADE));
            let embedded = open.await.map_err(StartError::of)?.map_err(StartError::of)?;
            Ok(Store::Embedded(embedded))
        }
        StoreKind::Postgres => {
            let settings = settings::postgres_settings(&config.postgres).map_err(StartError)?;
            let store = Store::Postgres(Postgres::open(settings).await.map_err(StartError::of)?);
            store.check_clock(|| Clock::System.now_ms()).await.map_err(StartError::of)?;
            Ok(store)
        }
    }
}

/// Warns if this process may not open as many files as `connections_max` connections and the store need. A connection
/// beyond `connections_max` gets an error; one beyond the limit of open files waits without an answer.
fn warn_of_low_open_file_limit(connections_max: usize) {
    if let Some(open_files_max) = open_files::too_few(connections_max) {
        tracing::warn!(
            open_files_max,
            connections_max,
            "the limit of open files is too low for [http] connections_max and the store; raise it (ulimit -n, \
             LimitNOFILE), or lower connections_max"
        );
    }
}

/// The keys of a server.
pub struct Keys {
    /// The keys that verify tokens.
    pub ring: Arc<KeyRing>,
    /// The login for development, with the key that signs tokens; `None` if the server has none.
    pub login: Option<LoginSettings>,
    /// The voice services, with their secrets.
    pub voice: Voice,
}

impl From<Arc<KeyRing>> for Keys {
    /// The keys of a server without a login.
    fn from(ring: Arc<KeyRing>) -> Self {
        Self { ring, login: None, voice: Voice::default() }
    }
}

/// Loads the keys. The source is `None` for keys of the data directory, which never change.
async fn load_keys(config: &Config, address: SocketAddr) -> Result<(Keys, Option<JwksSource>), StartError> {
    let Some(source) = settings::jwks_source(&config.auth) else {
        let config = config.clone();
        // The creation of a key takes long.
        let load = tokio::task::spawn_blocking(move || load_development_keys(&config, address));
        return Ok((load.await.map_err(StartError::of)??, None));
    };
    if config.auth.issuer.is_none() {
        tracing::warn!("tokens of any issuer are accepted; set issuer under [auth]");
    }
    if config.auth.audience.is_none() {
        tracing::warn!("tokens for any audience are accepted; set audience under [auth]");
    }
    let loading = source.clone();
    let loaded = tokio::task::spawn_blocking(move || loading.load()).await.map_err(StartError::of)?;
    let keys = loaded.map_err(StartError::of)?;
    Ok((Arc::new(KeyRing::new(keys)).into(), Some(source)))
}

/// Loads the development key, and what the login for development needs. Creates what is missing.
fn load_development_keys(config: &Config, address: SocketAddr) -> Result<Keys, StartError> {
    let data_dir = &config.store.data_dir;
    let development =
        DevelopmentKey::load_or_create(data_dir, &Entropy::System).map_err(StartError::of)?.key_set();
    tracing::warn!("tokens are verified with the development key; set jwks_file or jwks_url under [auth]");
    if !address.ip().is_loopback() {
        tracing::warn!(
            "other machines can reach {address}: a player with a development token can use it from there, and anyone \
             who can read the key file can sign a token for any player"
        );
    }
    if !config.has_login() {
        return Ok(Arc::new(KeyRing::new(development)).into());
    }
    let key = Arc::new(LoginKey::load_or_create(data_dir, &Entropy::System).map_err(StartError::of)?);
    let generated = match config.login.clients.is_empty() {
        true => Some(server_credentials::load_or_create(data_dir, &Entropy::System).map_err(StartError)?),
        false => None,
    };
    let generated = generated.map(|secret| (server_credentials::CLIENT_ID, secret));
    let login = settings::login_settings(&config.login, Arc::clone(&key), generated).map_err(StartError)?;
    if config.is_exposed() {
        tracing::warn!(
            anon = login.anon,
            "the login for development is exposed: other machines can reach it. With anon, anybody can be anybody"
        );
    }
    let ring = Arc::new(KeyRing::new(development.and(key.key_set())));
    Ok(Keys { ring, login: Some(login), voice: Voice::default() })
}

/// The application, as configured. Registers the metrics of its store.
pub fn new_app(
    config: &Config,
    store: Store,
    keys: impl Into<Keys>,
    launches: LaunchSettings,
    (clock, entropy): (Clock, Entropy),
    metrics: Arc<Metrics>,
) -> App {
    settings::log_warnings(config);
    let Keys { ring, login, voice } = keys.into();
    if login.is_some() {
        metrics.has_development_login(config.is_exposed());
    }
    let verifier = Verifier::new(ring, settings::token_settings(config), clock.clone());
    let (catalog, settings) = (settings::catalog(config), settings::app_settings(config));
    let settings = AppSettings { login, ..settings };
    let app = App::new(store, verifier, catalog, settings, launches, (clock, entropy), metrics);
    app.metrics.register_store(app.sessions.store());
    app.with_voice(voice)
}

/// Every surface of this build, in the order of the list in `/docs`, and whether the configuration serves it.
fn each_surface(config: &Config) -> Vec<(Surface, bool)> {
    let on = &config.stubs;
    let or_default = |setting: Option<bool>| setting.unwrap_or(!config.auth.has_own_keys());
    vec![
        (api::surface(), true),
        (users::surface(), config.has_login()),
        (notifications::surface(config.notifications.self_read_for_all), config.notifications.enabled),
        (stubs::config::surface(), or_default(on.config)),
        (stubs::presence::surface(), or_default(on.presence)),
        (stubs::friends::surface(), or_default(on.friends)),
        (stubs::inventory::surface(), on.inventory_session),
        (stubs::matches::surface(), on.matches),
    ]
}

/// Every surface of this build, also those that the configuration does not serve. The session API is the first.
pub fn all_surfaces() -> Vec<Surface> {
    each_surface(&Config::default()).into_iter().map(|(surface, _)| surface).collect()
}

/// The surfaces on the listener of the API. The document of the first one is at `/openapi.json`.
fn surfaces(config: &Config) -> Vec<Surface> {
    each_surface(config).into_iter().filter_map(|(surface, is_on)| is_on.then_some(surface)).collect()
}

/// The request pipeline, as configured. `is_exposed`: the operator has allowed other machines to log in.
pub fn new_pipeline(config: &Config, app: Arc<App>, is_exposed: bool) -> Pipeline {
    Pipeline::new(app, surfaces(config), settings::pipeline_settings(config, is_exposed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_takes_less_than_ten_seconds_by_default() {
        let drain = Duration::from_secs(Config::default().http.drain_timeout_s);
        assert!(drain + LEAVE_DELAY_WATCHED < Duration::from_secs(10), "container runtimes kill after 10 s");
    }
}
