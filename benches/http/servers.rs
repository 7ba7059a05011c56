//! The servers under test: Rallypoint, and a bare hyper server as the baseline.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use clap::Args;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rallypoint::config::{Config, Hints, LogFormat, ReadConsistency, StoreKind};
use rallypoint::records::keys::KEY_UPGRADE;
use rallypoint::runtime::server::{self, Server};
use rallypoint::runtime::settings::postgres_settings;
use rallypoint::store::{Embedded, Postgres, Store};
use rallypoint::telemetry;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};

use crate::requests;
use crate::sessions;

pub const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Connections beside those of waits.
const OTHER_CONNECTIONS: usize = 300;

/// Settings of one server, on top of those of all servers.
#[derive(Args)]
pub struct Options {
    /// URL of the database with the sessions. Without it, the data directory has them.
    #[arg(long)]
    database: Option<String>,
    /// `[store] cache_bytes`.
    #[arg(long)]
    cache_bytes: Option<u64>,
    /// Bounded reads, in milliseconds. Without it, reads are linearizable.
    #[arg(long)]
    bounded_ms: Option<u64>,
    /// `[postgres] hints = "off"`.
    #[arg(long)]
    no_hints: bool,
    /// `[http] fast_path = false`.
    #[arg(long)]
    no_fast_path: bool,
    /// `[http] cors_origins = ["*"]`.
    #[arg(long)]
    cors: bool,
    /// `[audit] enabled = false`.
    #[arg(long)]
    no_audit: bool,
    /// Room for this many waits and as many connections.
    #[arg(long)]
    waits_max: Option<usize>,
    /// The development key and the login for development, in place of keys of its own.
    #[arg(long)]
    login: bool,
}

impl Options {
    fn config(&self, dir: &Path) -> Config {
        let mut config = sessions::config();
        config.http.listen = ANY_PORT;
        config.store.data_dir = dir.to_path_buf();
        if let Some(url) = &self.database {
            config.store.backend = StoreKind::Postgres;
            config.postgres.url = Some(url.clone());
        }
        if self.no_hints {
            config.postgres.hints = Hints::Off;
        }
        // Each caller sends more keys than any client.
        config.idempotency.keys_per_caller_max = 1_000_000;
        config.http.fast_path = !self.no_fast_path;
        config.audit.enabled = !self.no_audit;
        if self.cors {
            config.http.cors_origins = vec!["*".to_owned()];
        }
        if let Some(bounded_ms) = self.bounded_ms {
            config.postgres.read_consistency = ReadConsistency::BoundedMs(bounded_ms);
        }
        if let Some(waits_max) = self.waits_max {
            config.wait.waits_max = Some(waits_max);
            config.wait.per_service_max = waits_max;
            config.http.connections_max = waits_max + OTHER_CONNECTIONS;
        }
        if let Some(cache_bytes) = self.cache_bytes {
            config.store.cache_bytes = cache_bytes;
        }
        config
    }
}

/// Opens the store of a server with these options.
pub async fn open_store(dir: &Path, options: &Options) -> Store {
    if options.database.is_none() {
        return Store::Embedded(Embedded::open(dir, KEY_UPGRADE).unwrap());
    }
    let settings = postgres_settings(&options.config(dir).postgres).unwrap();
    Store::Postgres(Postgres::open(settings).await.unwrap())
}

/// Starts a server on the sessions of a directory or a database, as an operator would.
pub async fn start(dir: &Path, options: Options) -> Server {
    let jwks_file = dir.join("jwks.json");
    std::fs::write(&jwks_file, requests::jwks()).unwrap();
    let mut config = options.config(dir);
    if options.login {
        // Each player creates many sessions.
        config.sessions.sessions_per_player_max = 1_000;
    } else {
        config.auth.jwks_file = Some(jwks_file);
    }
    telemetry::start_logs(&config.telemetry.log, config.telemetry.log_format == LogFormat::Json).unwrap();
    server::start(&config, false).await.unwrap()
}

/// The response of a bare server.
#[derive(Clone, Serialize, Deserialize)]
pub struct Answer {
    pub status: u16,
    pub etag: String,
    pub body: String,
}

impl Answer {
    /// The response, as a bare server sends it.
    pub fn response(&self) -> Response<Full<Bytes>> {
        let body = Bytes::from(self.body.clone());
        let is_empty = body.is_empty();
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap();
        response.headers_mut().insert(header::ETAG, HeaderValue::from_str(&self.etag).unwrap());
        if !is_empty {
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        response
    }
}

/// Starts a server that sends the same response to every request.
pub async fn start_bare(answer: &Answer) -> SocketAddr {
    let response = answer.response();
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve_bare(stream, response.clone()));
        }
    });
    address
}

async fn serve_bare(stream: TcpStream, response: Response<Full<Bytes>>) {
    stream.set_nodelay(true).unwrap();
    let service = service_fn(move |_: Request<Incoming>| {
        let response = response.clone();
        async { Ok::<_, Infallible>(response) }
    });
    // It fails when the client closes the connection.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
