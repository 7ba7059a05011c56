//! The same API behind a listener, for what only shows on a connection: bytes, slowness, and their ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use rallypoint::config::Config;
use rallypoint::net::{self, ConnectionLimits};
use rallypoint::telemetry::Metrics;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

use super::{Client, Reply, Server};

/// Longest wait for anything: longer than every timeout of the server, also in tests whose clock stands still.
const PATIENCE: Duration = Duration::from_secs(600);

async fn patiently<T>(awaited: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, awaited).await.expect("what was waited for happens")
}

/// A listener on this machine; it stops when it is dropped.
pub struct Listener {
    pub address: SocketAddr,
    pub metrics: Arc<Metrics>,
    stop: watch::Sender<bool>,
}

impl Listener {
    /// Listens with the default limits.
    pub async fn start(server: &Server) -> Self {
        Self::with(server, |_| {}).await
    }

    /// Listens with the default limits, changed.
    pub async fn with(server: &Server, change: impl FnOnce(&mut ConnectionLimits)) -> Self {
        let mut limits = Config::default().http.connection_limits();
        change(&mut limits);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, metrics) = (listener.local_addr().unwrap(), Arc::clone(&server.app.metrics));
        let (stop, stopping) = watch::channel(false);
        let server = server.clone();
        let handle = move |request, peer: SocketAddr| server.any_node().api.handle(request, Some(peer.ip()));
        tokio::spawn(net::serve(listener, limits, Arc::clone(&metrics), stopping, handle));
        Self { address, metrics, stop }
    }

    /// Begins to stop, as a server does that is told to.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Connects.
    pub async fn connect(&self) -> Wire {
        Wire::over(TcpStream::connect(self.address).await.unwrap())
    }

    /// Connects with little room for what comes back.
    pub async fn connect_narrow(&self) -> Wire {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Wire::over(socket.connect(self.address).await.unwrap())
    }

    /// Waits until exactly so many connections are served.
    pub async fn serves(&self, connections: i64) {
        let settled = async {
            while self.metrics.connections.get() != connections {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        patiently(settled).await;
    }

    /// Insists that a new connection is served, and that nothing went wrong inside.
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

/// A connection, byte by byte.
pub struct Wire {
    stream: TcpStream,
    /// What was read and not yet asked for.
    unread: Vec<u8>,
}

impl Wire {
    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, unread: Vec::new() }
    }

    /// Sends all of these bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        patiently(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Sends as many of these bytes as the server takes before it goes away.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = patiently(self.stream.write_all(bytes.as_ref())).await;
    }

    /// Reads more; whether there was any. A connection that was cut is at its end as well.
    async fn read(&mut self) -> bool {
        let read = patiently(self.stream.read_buf(&mut self.unread)).await;
        read.is_ok_and(|bytes| bytes > 0)
    }

    /// Reads through these bytes, and answers everything before them.
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

    /// The next answer.
    pub async fn answer(&mut self) -> Reply {
        let head = String::from_utf8(self.read_through(b"\r\n\r\n").await).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let status = StatusCode::from_bytes(status.as_bytes()).unwrap();
        let headers: HeaderMap = lines
            .map(|line| {
                let (name, value) = line.split_once(':').unwrap();
                (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value.trim()).unwrap())
            })
            .collect();
        let length = headers.get("content-length").map_or("0", |length| length.to_str().unwrap());
        let length: usize = length.parse().unwrap();
        while self.unread.len() < length {
            assert!(self.read().await, "the connection ended in the middle of an answer");
        }
        let rest = self.unread.split_off(length);
        let bytes = Bytes::from(std::mem::replace(&mut self.unread, rest));
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Reply { status, headers, bytes, body }
    }

    /// Waits until the server ends the connection; everything that came before.
    pub async fn ended(&mut self) -> Vec<u8> {
        while self.read().await {}
        std::mem::take(&mut self.unread)
    }

    /// Insists that the server ends the connection and says nothing more.
    pub async fn ends(&mut self) {
        let rest = self.ended().await;
        assert!(rest.is_empty(), "{:?}", rest.escape_ascii().to_string());
    }
}
