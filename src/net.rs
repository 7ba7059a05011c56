//! Listeners: accepts connections, bounds what each may cost, and lets them finish when the server stops.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::FutureExt as _;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::rt::{Sleep, Timer};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulConnection;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio_io_timeout::TimeoutStream;

use crate::api::Error;
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
    let refusals = Arc::new(Semaphore::new(REFUSALS_AT_ONCE));
    // Dropped by each connection at its end.
    let draining = watch::Sender::new(false);
    let mut http = http1::Builder::new();
    http.header_read_timeout(limits.head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        // A client that closes its side gets its answer all the same; looking out for that while a request is
        // under way would cost a buffer for each.
        .half_close(true)
        // Answers are small: to copy them together costs less than to have the system gather them.
        .writev(false);
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
            metrics.connections_refused.inc();
            if let Ok(place) = Arc::clone(&refusals).try_acquire_owned() {
                tokio::spawn(refuse(stream).map(|()| drop(place)));
            }
            continue;
        };
        let handle = handle.clone();
        let asked = Arc::new(Notify::new());
        let asking = Arc::clone(&asked);
        let service = service_fn(move |request| {
            asking.notify_one();
            handle(request, peer).map(|response| Ok::<_, Infallible>(response.map(Pieces::of)))
        });
        http.timer(ConnectionTimer::new(limits.head_timeout));
        let connection = http.serve_connection(TokioIo::new(bounded(stream, limits.write_timeout)), service);
        let (metrics, draining) = (Arc::clone(&metrics), draining.subscribe());
        tokio::spawn(async move {
            metrics.connections.inc();
            // What ends a connection early (resets, timeouts, nonsense) is its client's doing.
            if let Err(error) = until_drained(connection, draining, &asked).await {
                tracing::debug!(%error, "a connection ended early");
            }
            metrics.connections.dec();
            drop(place);
        });
    }
    drop(listener);
    draining.send_replace(true);
    if tokio::time::timeout(limits.drain_timeout, draining.closed()).await.is_err() {
        tracing::warn!("some requests did not finish in time and were cut off");
    }
}

/// A body that is handed over in pieces. hyper copies what it is handed for each connection, and waits in between until
/// the client has taken it: so a large answer is not copied whole for each client that is slow to take it.
struct Pieces {
    whole: Full<Bytes>,
    rest: Bytes,
}

impl Pieces {
    fn of(whole: Full<Bytes>) -> Self {
        Self { whole, rest: Bytes::new() }
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
    mut draining: watch::Receiver<bool>,
    asked: &Notify,
) -> Result<(), C::Error> {
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        ended = &mut connection => return ended,
        () = stopped(&mut draining) => {}
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

/// The timer of one connection. hyper asks for a new sleep with every request; here they share one entry in the
/// runtime's timer, which all connections have to lock, and that entry is moved only when it goes off.
struct ConnectionTimer(Arc<Mutex<Pin<Box<tokio::time::Sleep>>>>);

impl ConnectionTimer {
    fn new(first: Duration) -> Self {
        Self(Arc::new(Mutex::new(Box::pin(tokio::time::sleep(first)))))
    }
}

impl Timer for ConnectionTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn now(&self) -> Instant {
        // The runtime's clock, which tests hold still, and not the machine's.
        tokio::time::Instant::now().into_std()
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(ConnectionSleep { deadline, timer: Arc::clone(&self.0) })
    }
}

/// Sleeps until a deadline no earlier than those before it.
struct ConnectionSleep {
    deadline: Instant,
    timer: Arc<Mutex<Pin<Box<tokio::time::Sleep>>>>,
}

impl Sleep for ConnectionSleep {}

impl Future for ConnectionSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut timer = self.timer.lock().unwrap_or_else(PoisonError::into_inner);
        while timer.as_mut().poll(context).is_ready() {
            if timer.deadline().into_std() >= self.deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(self.deadline.into());
        }
        Poll::Pending
    }
}

fn bounded(stream: TcpStream, write_timeout: Duration) -> Pin<Box<TimeoutStream<TcpStream>>> {
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
