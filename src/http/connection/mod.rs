//! Listeners: accepts connections, bounds what each may cost, and lets them finish when the server stops.

mod framing;
mod state;
mod stream;
mod timer;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::FutureExt as _;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::state::{Answering, Progress};
use self::stream::Stream;
use self::timer::ConnectionTimer;
use crate::http::Error;
use crate::telemetry::Metrics;

/// Bytes of one request's head that are read at most. Heads larger than the API's own limits but smaller than
/// this get its readable errors; beyond it the connection is answered 431 and closed.
pub const HEAD_BYTES_MAX: usize = 128 * 1024;
/// Most headers of a request: hyper's own limit. Setting it, even to the same, would cost an allocation a request.
pub const HEADERS_MAX: usize = 100;
/// How long a connection's first head has to arrive once the server stops.
const FIRST_HEAD_GRACE: Duration = Duration::from_secs(1);
/// Connections beyond the limit that are told so at once; still more are closed without a word.
pub const REFUSALS_AT_ONCE: usize = 64;
/// Longest time for a connection beyond the limit to send its request and take the answer.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Most bytes of an answer that are handed to a connection at a time.
const PIECE_BYTES: usize = 65_536;
/// Pause after the system has no room for another connection, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What connections may cost; see `[http]` in `config.default.toml`.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Most connections at once.
    pub connections_max: usize,
    /// Longest time for a request's head to arrive, and for a kept connection to say nothing; up to twice as long after an
    /// answer at once.
    pub head_timeout: Duration,
    /// Longest time for a client to take anything of an answer.
    pub write_timeout: Duration,
    /// Longest time for requests under way to finish when the server stops.
    pub drain_timeout: Duration,
}

/// Who answers requests.
pub trait Handler: Clone + Send + Unpin + 'static {
    /// Answers a request from an address.
    fn handle(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Response<Full<Bytes>>> + Send + use<Self>;

    /// Answers a plain request without a body here and now, by appending all of the answer as it goes over the wire; or
    /// appends nothing, answers false, and [`Self::handle`] is asked. Nobody has looked yet whether the target is a URI.
    fn answer_at_once(&self, _request: &httparse::Request<'_, '_>, _answer: &mut Vec<u8>) -> bool {
        false
    }
}

/// Serves connections until `stop` is cancelled, then lets requests under way finish.
pub async fn serve(
    listener: TcpListener,
    limits: ConnectionLimits,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    handler: impl Handler,
) {
    let room = Arc::new(Semaphore::new(limits.connections_max));
    let refusals = Arc::new(Semaphore::new(REFUSALS_AT_ONCE));
    let connections = TaskTracker::new();
    loop {
        let (stream, peer) = tokio::select! {
            () = stop.cancelled() => break,
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
            metrics.connections_refused.inc();
            if let Ok(place) = Arc::clone(&refusals).try_acquire_owned() {
                tokio::spawn(refuse(stream).map(|()| drop(place)));
            }
            continue;
        };
        let progress = Arc::new(Progress::default());
        let stream = bounded(stream, limits.write_timeout);
        let connection =
            connection_of(stream, peer, handler.clone(), limits.head_timeout, Arc::clone(&progress));
        let (metrics, draining) = (Arc::clone(&metrics), stop.clone());
        connections.spawn(async move {
            metrics.connections.inc();
            // What ends a connection early (resets, timeouts, nonsense) is its client's doing.
            if let Err(error) = until_drained(connection, draining, &progress.asked).await {
                tracing::debug!(%error, "a connection ended early");
            }
            metrics.connections.dec();
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits.drain_timeout, connections.wait()).await.is_err() {
        tracing::warn!("some requests did not finish in time and were cut off");
    }
}

/// A connection, to be polled to its end.
fn connection_of(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    peer: SocketAddr,
    handler: impl Handler,
    head_timeout: Duration,
    progress: Arc<Progress>,
) -> impl GracefulConnection<Error = hyper::Error> {
    let timer = ConnectionTimer::new(head_timeout, Arc::clone(&progress));
    let stream = Stream::over(stream, handler.clone(), Arc::clone(&progress));
    let service = service_fn(move |request| {
        progress.asked.notify_one();
        let (answer, answering) = (handler.handle(request, peer), Answering::on(&progress));
        answer.map(|response| Ok::<_, Infallible>(response.map(|body| Pieces::of(body, answering))))
    });
    http1::Builder::new()
        .timer(timer)
        .header_read_timeout(head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        // A client that closes its side gets its answer all the same; looking out for that while a request is
        // under way would cost a buffer for each.
        .half_close(true)
        // Answers are small: to copy them together costs less than to have the system gather them.
        .writev(false)
        .serve_connection(TokioIo::new(stream), service)
}

/// A body that is handed over in pieces. hyper copies what it is handed for each connection, and waits in between until
/// the client has taken it: so a large answer is not copied whole for each client that is slow to take it.
struct Pieces {
    whole: Full<Bytes>,
    rest: Bytes,
    /// hyper drops the body once it has taken all of it.
    _answering: Answering,
}

impl Pieces {
    fn of(whole: Full<Bytes>, answering: Answering) -> Self {
        Self { whole, rest: Bytes::new(), _answering: answering }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            let frame = ready!(Pin::new(&mut self.whole).poll_frame(context));
            let Some(Ok(data)) = frame.map(|frame| frame.map(|frame| frame.into_data().unwrap_or_default()))
            else {
                return Poll::Ready(None);
            };
            self.rest = data;
        }
        let piece_bytes = self.rest.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece_bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.whole.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let whole_bytes = self.whole.size_hint().exact().unwrap_or_default();
        SizeHint::with_exact(self.rest.len() as u64 + whole_bytes)
    }
}

/// Answers the first request of a connection that there is no room for, and ends it.
async fn refuse(stream: TcpStream) {
    let service = service_fn(|_: Request<Incoming>| async {
        Ok::<Response<Full<Bytes>>, Infallible>(Error::TooManyConnections.answer().into())
    });
    let mut http = http1::Builder::new();
    let connection =
        http.keep_alive(false).header_read_timeout(None).serve_connection(TokioIo::new(stream), service);
    // A client that gets no answer sees the close, and tries again elsewhere or later.
    let _ = tokio::time::timeout(REFUSAL_TIMEOUT, connection).await;
}

/// Serves a connection to its end. Once the server drains, that is the end of the request under way, if there is one.
/// `asked` has been notified where a request ever came.
async fn until_drained<C: GracefulConnection>(
    connection: C,
    draining: CancellationToken,
    asked: &Notify,
) -> Result<(), C::Error> {
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        ended = &mut connection => return ended,
        () = draining.cancelled() => {}
    }
    // A first head that is on its way may arrive. Asked to stop now, the connection would drop what is not read yet,
    // and wait for the rest of what is.
    tokio::select! {
        biased;
        ended = &mut connection => return ended,
        () = asked.notified() => {}
        () = tokio::time::sleep(FIRST_HEAD_GRACE) => return Ok(()),
    }
    // Ends it at once where it is merely kept, else with the answer.
    connection.as_mut().graceful_shutdown();
    connection.await
}

fn bounded(stream: TcpStream, write_timeout: Duration) -> Pin<Box<TimeoutStream<TcpStream>>> {
    // Answers are small and waited for: nothing is gained by collecting them.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(write_timeout));
    Box::pin(stream)
}

#[cfg(test)]
#[path = "agreement_tests.rs"]
mod tests;
