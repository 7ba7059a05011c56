//! A relay before the database that counts what passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// What has passed.
#[derive(Default)]
pub struct Passed {
    statements: AtomicU64,
    bytes_there: AtomicU64,
    bytes_back: AtomicU64,
}

/// See the module.
pub struct Relay {
    /// Where it listens.
    pub port: u16,
    passed: Arc<Passed>,
}

impl Relay {
    /// Starts one before a server on a port of this machine. It ends with the process.
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
                let ((asked, answer), (answered, ask)) = (client.into_split(), server.into_split());
                tokio::spawn(carry_there(asked, ask, Arc::clone(&passed)));
                tokio::spawn(carry_back(answered, answer, Arc::clone(&passed)));
            }
        });
        relay
    }

    /// Statements, bytes to the database and bytes from it, up to now.
    pub fn passed(&self) -> [f64; 3] {
        let Passed { statements, bytes_there, bytes_back } = &*self.passed;
        [statements, bytes_there, bytes_back].map(|count| count.load(Ordering::Relaxed) as f64)
    }
}

/// Carries bytes until either side goes away, each time as many as there are.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut seen: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 65_536];
    while let Ok(bytes @ 1..) = from.read(&mut buffer).await {
        seen(&buffer[..bytes]);
        if to.write_all(&buffer[..bytes]).await.is_err() {
            return;
        }
    }
}

async fn carry_there(from: OwnedReadHalf, to: OwnedWriteHalf, passed: Arc<Passed>) {
    let mut messages = Messages::default();
    carry(from, to, |bytes| {
        passed.bytes_there.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        passed.statements.fetch_add(messages.statements(bytes), Ordering::Relaxed);
    })
    .await;
}

async fn carry_back(from: OwnedReadHalf, to: OwnedWriteHalf, passed: Arc<Passed>) {
    carry(from, to, |bytes| {
        passed.bytes_back.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    })
    .await;
}

/// Where one message to the database ends and the next begins.
#[derive(Default)]
struct Messages {
    /// Of the message that has begun: its type, which the first one does not have, and its length.
    head: Vec<u8>,
    /// Bytes of the message that are yet to come.
    rest: usize,
    is_started: bool,
}

impl Messages {
    /// How many statements are carried out by what begins in these bytes.
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
            // The length counts itself.
            self.rest = u32::from_be_bytes(length) as usize - length.len();
            // Execute, or a query in one message.
            statements += u64::from(self.is_started && matches!(self.head[0], b'E' | b'Q'));
            self.head.clear();
            self.is_started = true;
        }
        statements
    }
}
