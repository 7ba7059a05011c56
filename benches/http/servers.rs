//! Those who answer: the server itself, and the least that an HTTP server can do.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rallypoint::config::Config;
use rallypoint::document::Document;
use rallypoint::server::{self, Server};
use rallypoint::telemetry;
use tokio::net::{TcpListener, TcpStream};

use crate::requests;

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Starts a server as an operator would, on the sessions of a directory.
pub async fn start(dir: &Path) -> Server {
    let jwks_file = dir.join("jwks.json");
    std::fs::write(&jwks_file, requests::jwks()).unwrap();
    let mut config = Config::default();
    config.http.listen = ANY_PORT;
    config.auth.jwks_file = Some(jwks_file);
    config.store.data_dir = dir.to_path_buf();
    telemetry::start_logs(&config.telemetry.log, config.telemetry.log_format).unwrap();
    server::start(&config, false).await.unwrap()
}

/// Starts a server that answers the same to every request: a document, or that it has not changed.
pub async fn start_bare(document: Document, status: StatusCode) -> SocketAddr {
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve_bare(stream, document.clone(), status));
        }
    });
    address
}

async fn serve_bare(stream: TcpStream, document: Document, status: StatusCode) {
    stream.set_nodelay(true).unwrap();
    let service = service_fn(move |_: Request<Incoming>| {
        let response = answer(&document, status);
        async { Ok::<_, Infallible>(response) }
    });
    // A client that goes away ends it.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn answer(document: &Document, status: StatusCode) -> Response<Full<Bytes>> {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let unchanged = status == StatusCode::NOT_MODIFIED;
    let body = if unchanged { Bytes::new() } else { document.body.clone() };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::ETAG, document.etag.clone());
    if !unchanged {
        response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    }
    response
}
