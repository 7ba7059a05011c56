//! The baseline of waits: a bare hyper server that holds every GET with `Prefer` until the next POST.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::servers::{ANY_PORT, Answer};

/// Starts a server that sends the same response to every request.
pub async fn start(answer: &Answer) -> SocketAddr {
    let response = answer.response();
    let changes = watch::Sender::new(());
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, response.clone(), changes.clone()));
        }
    });
    address
}

async fn serve(stream: TcpStream, response: Response<Full<Bytes>>, changes: watch::Sender<()>) {
    stream.set_nodelay(true).unwrap();
    let service = service_fn(move |request: Request<Incoming>| {
        let (response, changes) = (response.clone(), changes.clone());
        async move {
            if request.method() == Method::POST {
                changes.send_replace(());
            } else if request.headers().contains_key("prefer") {
                changes.subscribe().changed().await.unwrap();
            }
            Ok::<_, Infallible>(response)
        }
    });
    // It fails when the client closes the connection.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
