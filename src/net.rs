//! Listeners: accepts connections, bounds what each may cost, and lets them finish when the server stops.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_io_timeout::TimeoutStream;

use crate::telemetry::Metrics;

/// Bytes of one request's head that are read at most. Heads larger than the API's own limits but smaller than
/// this get its readable errors; beyond it the connection is answered 431 and closed.
pub const HEAD_BYTES_MAX: usize = 128 * 1024;
/// Most headers of a request.
pub const HEADERS_MAX: usize = 128;
/// Pause after the system has no room for another connection, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What connections may cost; see `[http]` in `config.default.toml`.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Most connections at once.
    pub connections_max: usize,
    /// Longest time for a request's head to arrive, and for a kept connection to say nothing.
    pub head_timeout: Duration,
    /// Longest time for a client to take anything of an answer.
    pub write_timeout: Duration,
    /// Longest time for requests under way to finish when the server stops.
    pub drain_timeout: Duration,
}

/// Serves connections until `stop` turns true, then lets requests under way finish.
pub async fn serve<F, Fut>(
    listener: TcpListener,
    limits: ConnectionLimits,
    metrics: Arc<Metrics>,
    mut stop: watch::Receiver<bool>,
    handle: F,
) where
    F: Fn(Request<Incoming>, SocketAddr) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(limits.connections_max));
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .half_close(false);
    let mut stopped = pin!(stopped(&mut stop));
    loop {
        let (stream, peer) = tokio::select! {
            () = &mut stopped => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted; is the open files limit too low?");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            // Dropped at once: a client that sees the close tries again elsewhere or later.
            metrics.connections_refused.inc();
            continue;
        };
        let handle = handle.clone();
        let service = service_fn(move |request| {
            let answer = handle(request, peer);
            async move { Ok::<_, std::convert::Infallible>(answer.await) }
        });
        let connection = http.serve_connection(TokioIo::new(bounded(stream, limits.write_timeout)), service);
        let connection = graceful.watch(connection);
        let metrics = Arc::clone(&metrics);
        tokio::spawn(async move {
            metrics.connections.inc();
            // What ends a connection early (resets, timeouts, nonsense) is its client's doing.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            metrics.connections.dec();
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.drain_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not finish in time and were cut off");
    }
}

fn bounded(stream: TcpStream, write_timeout: Duration) -> std::pin::Pin<Box<TimeoutStream<TcpStream>>> {
    // Answers are small and waited for: nothing is gained by collecting them.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(write_timeout));
    Box::pin(stream)
}

/// Resolves when `stop` turns true, or nobody is left to turn it.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
