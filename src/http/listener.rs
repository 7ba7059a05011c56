//! The listener: accepts connections, limits their number, refuses those beyond the limit, and drains the open ones
//! when the server stops.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::FutureExt as _;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{self, ClientStream, Handler};
use crate::telemetry::Metrics;

/// Connections beyond the limit that get a 503 at the same time. Further ones are closed without a response.
pub const REFUSALS_AT_ONCE: usize = 64;
/// Longest time for a connection beyond the limit to send its request and to read the 503.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Finds a client that vanished without closing its connection (its machine or its network is down) within 30 seconds.
/// Otherwise a held request would count its player as present until the request ends.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(15))
    .with_interval(Duration::from_secs(5))
    .with_retries(3);
/// Pause after an accept failed for a reason that stays, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Errors of the system for the limits of open files: ENFILE (of the machine) and EMFILE (of the process), the same
/// on all Unix systems.
const OUT_OF_FILES: [i32; 2] = [23, 24];
/// Failed accepts in a row after which their reason counts as one that stays.
const FAILURES_IN_A_ROW_MAX: u32 = 100;
/// The body of the 503. A test holds it equal to the one of `Error::TooManyConnections`.
const REFUSAL_BODY: &str = r#"{"auth_success":true,"error_code":"too_many_connections","desc":"the server has its maximum number of connections; try again"}"#;

/// Limits of a listener's connections; see `[http]` in `config.default.toml`.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Most open connections.
    pub connections_max: usize,
    /// Longest time for the head of a request to arrive, and for a kept connection to stay idle. After a response of
    /// the fast path the time can be up to twice as long.
    pub head_timeout: Duration,
    /// Longest time in which a client reads nothing of a response that is being sent.
    pub write_timeout: Duration,
    /// Longest time for requests under way to finish when the server stops.
    pub drain_timeout: Duration,
}

/// Serves connections until `stop` is cancelled, then drains them for up to `limits.drain_timeout`.
pub async fn serve(
    listener: TcpListener,
    limits: ConnectionLimits,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    handler: impl Handler,
) {
    let permits = Arc::new(Semaphore::new(limits.connections_max));
    let refusal_permits = Arc::new(Semaphore::new(REFUSALS_AT_ONCE));
    let connections = TaskTracker::new();
    while let Some((stream, peer)) = accept(|| listener.accept(), &stop).await {
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            metrics.connections_refused.inc();
            if let Ok(permit) = Arc::clone(&refusal_permits).try_acquire_owned() {
                tokio::spawn(refuse(stream).map(|()| drop(permit)));
            }
            continue;
        };
        let stream = with_write_timeout(stream, limits.write_timeout);
        let connection = connection::serve_connection(
            stream,
            peer,
            handler.clone(),
            limits.head_timeout,
            Arc::default(),
            stop.child_token(),
        );
        connections.spawn(count(connection, Arc::clone(&metrics), permit));
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits.drain_timeout, connections.wait()).await.is_err() {
        tracing::warn!("some requests did not finish in time and were cut off");
    }
}

/// The next connection; `None` once `stop` is cancelled.
async fn accept<T, F>(mut accept: impl FnMut() -> F, stop: &CancellationToken) -> Option<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut failures_in_a_row = 0;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            accepted = accept() => accepted,
        };
        match accepted {
            Ok(accepted) => return Some(accepted),
            Err(error) if error.raw_os_error().is_some_and(|code| OUT_OF_FILES.contains(&code)) => {
                tracing::warn!(%error, "a connection could not be accepted; raise the limit of open files");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            Err(error) if failures_in_a_row == FAILURES_IN_A_ROW_MAX => {
                failures_in_a_row = 0;
                tracing::warn!(%error, "connections cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            // Such an error is usually of one connection, for example one that its client has closed meanwhile.
            Err(error) => {
                failures_in_a_row += 1;
                tracing::debug!(%error, "a connection ended before it was accepted");
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Runs a connection, counts it in the metrics while it is open, and returns its permit.
async fn count(
    connection: impl Future<Output = Result<(), hyper::Error>>,
    metrics: Arc<Metrics>,
    permit: OwnedSemaphorePermit,
) {
    metrics.connections.inc();
    // The client causes an early end: a reset, a timeout, or bytes that are not HTTP.
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection ended early");
    }
    metrics.connections.dec();
    drop(permit);
}

/// Answers the first request of a connection beyond the limit with a 503, and closes the connection.
async fn refuse(stream: TcpStream) {
    let service = service_fn(|_: Request<Incoming>| async { Ok::<_, Infallible>(too_many_connections()) });
    let mut http = http1::Builder::new();
    let stream = ClientStream::always(stream);
    let connection =
        http.keep_alive(false).header_read_timeout(None).serve_connection(TokioIo::new(stream), service);
    // After the timeout the client sees the close without a response.
    let _ = tokio::time::timeout(REFUSAL_TIMEOUT, connection).await;
}

/// 503 `too_many_connections`. The listener does not depend on the API's errors, so it renders its only error itself.
fn too_many_connections() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(REFUSAL_BODY));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    connection::add_fixed_headers(&mut response);
    response
}

fn with_write_timeout(stream: TcpStream, write_timeout: Duration) -> Pin<Box<TimeoutStream<TcpStream>>> {
    // Responses are small and clients wait for them: delaying them to fill packets gains nothing.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(write_timeout));
    Box::pin(stream)
}

#[cfg(test)]
mod tests {

    use http_body_util::BodyExt as _;
    use tokio::io::AsyncWriteExt as _;

    use super::*;
    use crate::config::Config;
    use crate::http::Error;
    use crate::http::connection::RequestBody;
    use crate::http::connection::{Handled, Peer};
    use crate::runtime::settings;

    #[tokio::test]
    async fn a_client_that_vanishes_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let stream = with_write_timeout(listener.accept().await.unwrap().0, Duration::from_secs(1));
        let socket = SockRef::from(stream.get_ref());
        assert!(socket.keepalive().unwrap());
        let (time, interval) =
            (socket.tcp_keepalive_time().unwrap(), socket.tcp_keepalive_interval().unwrap());
        assert_eq!(time + interval * socket.tcp_keepalive_retries().unwrap(), Duration::from_secs(30));
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_lack_of_open_files_pauses_the_accepting() {
        let stop = CancellationToken::new();
        for (error, pauses) in [
            (io::Error::from_raw_os_error(OUT_OF_FILES[0]), 1),
            (io::Error::from_raw_os_error(OUT_OF_FILES[1]), 1),
            (io::ErrorKind::ConnectionAborted.into(), 0),
            (io::ErrorKind::ConnectionReset.into(), 0),
            (io::ErrorKind::PermissionDenied.into(), 0),
        ] {
            let started = tokio::time::Instant::now();
            let mut results = vec![Ok("next"), Err(error)];
            let accepted = accept(|| std::future::ready(results.pop().unwrap()), &stop).await;
            assert_eq!((accepted, started.elapsed()), (Some("next"), ACCEPT_PAUSE * pauses), "{results:?}");
        }
        stop.cancel();
        assert_eq!(accept(std::future::pending::<io::Result<()>>, &stop).await, None);
    }

    /// Reads the body of each request before it answers.
    #[derive(Clone)]
    struct ReadsBodies;

    impl Handler for ReadsBodies {
        fn handle(
            &self,
            request: Request<RequestBody>,
            _: Peer,
        ) -> impl Future<Output = Handled> + Send + use<> {
            async {
                request.into_body().collect().await.map(|_| Response::default()).unwrap_or_default().into()
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_takes_no_longer_than_the_drain_time() {
        let limits = settings::connection_limits(&Config::default().http);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (metrics, stop) = (Arc::<Metrics>::default(), CancellationToken::new());
        let serving = serve(listener, limits, Arc::clone(&metrics), stop.clone(), ReadsBodies);
        let stopping = async {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf ").await.unwrap();
            while metrics.connections.get() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // The request arrives.
            tokio::time::sleep(Duration::from_millis(100)).await;
            stop.cancel();
            (tokio::time::Instant::now(), client)
        };
        let ((), (stopped, _client)) = tokio::join!(serving, stopping);
        assert_eq!(stopped.elapsed().as_secs(), limits.drain_timeout.as_secs());
    }

    #[tokio::test]
    async fn the_refusal_equals_the_error_of_the_api() {
        let mut by_api: Response<Full<Bytes>> = Error::TooManyConnections.answer().into();
        connection::add_fixed_headers(&mut by_api);
        let (own, own_body) = too_many_connections().into_parts();
        let (by_api, api_body) = by_api.into_parts();
        assert_eq!((own.status, &own.headers), (by_api.status, &by_api.headers));
        let own_body = own_body.collect().await.unwrap().to_bytes();
        assert_eq!(own_body, api_body.collect().await.unwrap().to_bytes());
    }
}
