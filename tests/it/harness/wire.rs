//! The API behind a listener, for tests of what shows only on a connection: bytes, slow clients, and closed
//! connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use rallypoint::config::Config;
use rallypoint::http::connection::{Handled, Handler, Peer, RequestBody};
use rallypoint::http::listener::{self, ConnectionLimits};
use rallypoint::http::memory::MemoryBudget;
use rallypoint::runtime::settings;
use rallypoint::telemetry::Metrics;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Client, Reply, Server, creation};
use crate::support::connection::Connection;

/// Longest wait for anything: longer than every timeout of the server, also in tests with a paused clock.
const WAIT_MAX: Duration = Duration::from_secs(600);

/// Sends a request with these headers on a connection to a real server. A POST creates a party.
pub async fn send(
    connection: &mut Connection,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> Reply {
    let body = if method == Method::POST { creation("party").to_string() } else { String::new() };
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    connection.send(request.body(Full::from(body)).unwrap()).await.unwrap().into()
}

async fn within_limit<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(WAIT_MAX, future).await.expect("the future completes in time")
}

/// A listener on loopback. It stops when it is dropped.
pub struct Listener {
    pub address: SocketAddr,
    pub metrics: Arc<Metrics>,
    /// Requests answered by the fast path under hyper.
    fast_path: Arc<AtomicUsize>,
    stop: CancellationToken,
    _stop_when_dropped: DropGuard,
}

/// Answers with any of the server's nodes.
#[derive(Clone)]
struct AnyNode {
    server: Server,
    fast_path: Arc<AtomicUsize>,
}

impl Handler for AnyNode {
    fn handle(
        &self,
        request: Request<RequestBody>,
        peer: Peer,
    ) -> impl Future<Output = Handled> + Send + use<> {
        self.server.any_node().pipeline.handle(request, peer)
    }

    fn has_fast_path(&self) -> bool {
        true
    }

    fn fast_path(&self, request: &httparse::Request<'_, '_>, response: &mut Vec<u8>) -> bool {
        let is_answered = self.server.any_node().pipeline.fast_path(request, response);
        self.fast_path.fetch_add(is_answered.into(), Ordering::SeqCst);
        is_answered
    }

    fn memory(&self) -> Option<Arc<MemoryBudget>> {
        Some(self.server.pipeline.memory())
    }

    fn fast_path_in_service(&self, head: &Parts) -> Option<Response<Full<Bytes>>> {
        self.server.any_node().pipeline.fast_path_in_service(head)
    }
}

impl Listener {
    /// Listens with the default limits.
    pub async fn start(server: &Server) -> Self {
        Self::with(server, |_| {}).await
    }

    /// Listens with the default limits, changed. Requests on its connections may be held, so the nodes exchange messages.
    pub async fn with(server: &Server, change: impl FnOnce(&mut ConnectionLimits)) -> Self {
        server.hears_other_nodes().await;
        let mut limits = settings::connection_limits(&Config::default().http);
        change(&mut limits);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, metrics) = (listener.local_addr().unwrap(), Arc::clone(&server.app.metrics));
        let stop = CancellationToken::new();
        let fast_path = Arc::<AtomicUsize>::default();
        let handler = AnyNode { server: server.clone(), fast_path: Arc::clone(&fast_path) };
        tokio::spawn(listener::serve(listener, limits, Arc::clone(&metrics), stop.clone(), handler));
        Self { address, metrics, fast_path, _stop_when_dropped: stop.clone().drop_guard(), stop }
    }

    /// Number of requests that the fast path answered under hyper.
    pub fn fast_path(&self) -> usize {
        self.fast_path.load(Ordering::SeqCst)
    }

    /// Begins to stop, as a server does after a signal.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Connects.
    pub async fn connect(&self) -> Wire {
        Wire::over(TcpStream::connect(self.address).await.unwrap())
    }

    /// Connects with a small receive buffer.
    pub async fn connect_narrow(&self) -> Wire {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Wire::over(socket.connect(self.address).await.unwrap())
    }

    /// Waits until exactly this number of connections is open.
    pub async fn serves(&self, connections: i64) {
        let reached = async {
            while self.metrics.connections.get() != connections {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        within_limit(reached).await;
    }

    /// Asserts that a new connection is served, and that nothing panicked.
    pub async fn goes_on(&self, client: &Client) {
        let mut wire = self.connect().await;
        wire.send(get("/v1/template", client, "")).await;
        wire.answer().await.expect(200);
        let metrics = self.metrics.render();
        assert!(metrics.contains("rallypoint_panics_total 0\n"), "{metrics}");
    }
}

/// A request without a body; further header lines end in CRLF each.
pub fn get(path: &str, client: &Client, headers: &str) -> String {
    head("GET", path, client, headers)
}

/// The head of a request; further header lines end in CRLF each.
pub fn head(method: &str, path: &str, client: &Client, headers: &str) -> String {
    let token = client.token.as_deref().unwrap_or_default();
    format!(
        "{method} /session{path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n{headers}\r\n"
    )
}

/// A request to create a session.
pub fn create(client: &Client, body: &str) -> String {
    head("POST", "/v1/session", client, &format!("content-length: {}\r\n", body.len())) + body
}

/// Parses a response from its head and body.
pub fn parse_reply(head: &str, bytes: Bytes) -> Reply {
    let (status, headers) = parse_head(head);
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Reply { status, headers, bytes, body }
}

/// Status and headers of a response's head.
fn parse_head(head: &str) -> (StatusCode, HeaderMap) {
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':').unwrap();
        (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value.trim()).unwrap())
    });
    (StatusCode::from_bytes(status.as_bytes()).unwrap(), headers.collect())
}

/// A connection, byte by byte.
pub struct Wire {
    stream: TcpStream,
    /// Bytes that were received and not yet returned.
    unread: Vec<u8>,
}

impl Wire {
    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, unread: Vec::new() }
    }

    /// Sends all of these bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within_limit(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Closes the sending side.
    pub async fn finish(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Sends as many of these bytes as the server accepts before it closes the connection.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = within_limit(self.stream.write_all(bytes.as_ref())).await;
    }

    /// Sends these pieces one every ten seconds, over and over, until the server closes the connection.
    pub async fn trickle<P: AsRef<[u8]>>(&mut self, pieces: impl IntoIterator<Item = P, IntoIter: Clone>) {
        let started = Instant::now();
        for piece in pieces.into_iter().cycle() {
            tokio::select! {
                rest = self.ended() => return assert!(rest.is_empty()),
                () = tokio::time::sleep(Duration::from_secs(10)) => {}
            }
            assert!(started.elapsed() < WAIT_MAX, "the connection is still open");
            self.try_send(piece).await;
        }
    }

    /// Receives more bytes. Returns false at the end of the connection, also if it was reset.
    async fn read(&mut self) -> bool {
        let read = within_limit(self.stream.read_buf(&mut self.unread)).await;
        read.is_ok_and(|bytes| bytes > 0)
    }

    /// Receives until these bytes have arrived. Returns everything before them.
    async fn read_through(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|bytes| bytes == end) {
                let rest = self.unread.split_off(at + end.len());
                let mut before = std::mem::replace(&mut self.unread, rest);
                before.truncate(at);
                return before;
            }
            assert!(
                self.read().await,
                "the connection ended after {:?}",
                self.unread.escape_ascii().to_string()
            );
        }
    }

    /// Receives exactly this number of bytes.
    pub async fn receive(&mut self, bytes: usize) -> Vec<u8> {
        while self.unread.len() < bytes {
            assert!(self.read().await, "the connection ended before");
        }
        let rest = self.unread.split_off(bytes);
        std::mem::replace(&mut self.unread, rest)
    }

    /// The lines of the head of the next response, and its body.
    pub async fn answer_lines(&mut self) -> Vec<String> {
        let (head, bytes) = self.next_answer().await;
        let body = String::from_utf8(bytes.to_vec()).unwrap();
        head.split("\r\n").map(str::to_owned).chain([body]).collect()
    }

    /// The next response.
    pub async fn answer(&mut self) -> Reply {
        let (head, bytes) = self.next_answer().await;
        parse_reply(&head, bytes)
    }

    async fn next_answer(&mut self) -> (String, Bytes) {
        let head = String::from_utf8(self.read_through(b"\r\n\r\n").await).unwrap();
        let length = parse_head(&head).1.remove("content-length");
        let length = length.map_or(0, |length| length.to_str().unwrap().parse().unwrap());
        while self.unread.len() < length {
            assert!(self.read().await, "the connection ended in the middle of a response");
        }
        let rest = self.unread.split_off(length);
        (head, Bytes::from(std::mem::replace(&mut self.unread, rest)))
    }

    /// Waits until the server closes the connection. Returns everything received before.
    pub async fn ended(&mut self) -> Vec<u8> {
        while self.read().await {}
        std::mem::take(&mut self.unread)
    }

    /// Asserts that the server closes the connection and sends nothing more.
    pub async fn ends(&mut self) {
        let rest = self.ended().await;
        assert!(rest.is_empty(), "{:?}", rest.escape_ascii().to_string());
    }
}
