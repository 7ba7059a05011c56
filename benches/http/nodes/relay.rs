//! A relay in front of the database that counts statements and bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// The counters.
#[derive(Default)]
pub struct Passed {
    statements: AtomicU64,
    bytes_to_server: AtomicU64,
    bytes_to_client: AtomicU64,
}

/// A relay.
pub struct Relay {
    /// The port that it listens on.
    pub port: u16,
    passed: Arc<Passed>,
}

impl Relay {
    /// Starts a relay in front of a server on a port of this machine. It runs until the process ends.
    pub async fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = Self { port: listener.local_addr().unwrap().port(), passed: Arc::default() };
        let passed = Arc::clone(&relay.passed);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                for stream in [&client, &server] {
                    stream.set_nodelay(true).unwrap();
                }
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(carry_to_server(from_client, to_server, Arc::clone(&passed)));
                tokio::spawn(carry_to_client(from_server, to_client, Arc::clone(&passed)));
            }
        });
        relay
    }

    /// Statements, bytes to the database and bytes from it, up to now.
    pub fn passed(&self) -> [f64; 3] {
        let Passed { statements, bytes_to_server, bytes_to_client } = &*self.passed;
        [statements, bytes_to_server, bytes_to_client].map(|count| count.load(Ordering::Relaxed) as f64)
    }
}

/// Forwards bytes until either side closes its connection.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut seen: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 65_536];
    while let Ok(bytes @ 1..) = from.read(&mut buffer).await {
        seen(&buffer[..bytes]);
        if to.write_all(&buffer[..bytes]).await.is_err() {
            return;
        }
    }
}

async fn carry_to_server(from: OwnedReadHalf, to: OwnedWriteHalf, passed: Arc<Passed>) {
    let mut messages = Messages::default();
    carry(from, to, |bytes| {
        passed.bytes_to_server.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        passed.statements.fetch_add(messages.statements(bytes), Ordering::Relaxed);
    })
    .await;
}

async fn carry_to_client(from: OwnedReadHalf, to: OwnedWriteHalf, passed: Arc<Passed>) {
    carry(from, to, |bytes| {
        passed.bytes_to_client.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    })
    .await;
}

/// Splits the bytes to the database into messages.
#[derive(Default)]
struct Messages {
    /// The type and the length of the current message. The first message of a connection has no type.
    head: Vec<u8>,
    /// Bytes of the current message that are still to come.
    rest: usize,
    is_started: bool,
}

impl Messages {
    /// Number of statements whose execution begins in these bytes.
    fn statements(&mut self, mut bytes: &[u8]) -> u64 {
        let mut statements = 0;
        while let Some((first, others)) = bytes.split_first() {
            if self.rest > 0 {
                let skipped = self.rest.min(bytes.len());
                (self.rest, bytes) = (self.rest - skipped, &bytes[skipped..]);
                continue;
            }
            self.head.push(*first);
            bytes = others;
            let type_bytes = usize::from(self.is_started);
            let Some(Ok(length)) = self.head.get(type_bytes..).map(<[u8; 4]>::try_from) else { continue };
            // The length includes its own four bytes.
            self.rest = u32::from_be_bytes(length) as usize - length.len();
            // `E`: execute a prepared statement. `Q`: a simple query.
            statements += u64::from(self.is_started && matches!(self.head[0], b'E' | b'Q'));
            self.head.clear();
            self.is_started = true;
        }
        statements
    }
}
