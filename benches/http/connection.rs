//! Connections that send one request at a time.

use std::io::ErrorKind;
use std::net::SocketAddr;

use tokio::net::TcpStream;

use crate::load::Caller;
use crate::requests::{ETAG_PLACEHOLDER, KEY_PLACEHOLDER, Request};

/// Largest response, in bytes.
const ANSWER_BYTES_MAX: usize = 128 * 1024;

/// A kept connection.
pub struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
    answer_bytes: usize,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, answer: vec![0; ANSWER_BYTES_MAX], answer_bytes: 0 }
    }

    /// Sends a request, and waits for the whole response.
    pub async fn send(&mut self, request: &Request) {
        self.begin(&request.text);
        let status = self.finish().await;
        assert_eq!(status, request.status, "{}", self.answer());
    }

    /// Sends a request.
    pub fn begin(&mut self, request: &str) {
        // The send buffer is empty, so a small request fits whole.
        let sent = self.stream.try_write(request.as_bytes()).unwrap();
        assert_eq!(sent, request.len());
        self.answer_bytes = 0;
    }

    /// Waits for the whole response to the request that was sent. Returns its status.
    pub async fn finish(&mut self) -> u16 {
        loop {
            self.stream.readable().await.unwrap();
            match self.stream.try_read(&mut self.answer[self.answer_bytes..]) {
                Ok(0) => panic!("the server closed a connection"),
                Ok(bytes) => self.answer_bytes += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
            if let Some(status) = status_of_whole(&self.answer[..self.answer_bytes]) {
                return status;
            }
        }
    }

    /// The last response.
    pub fn answer(&self) -> &str {
        std::str::from_utf8(&self.answer[..self.answer_bytes]).unwrap()
    }

    /// A header of the last response.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(self.answer().split_once("\r\n\r\n").unwrap().0, name)
    }

    /// The body of the last response.
    pub fn body(&self) -> &str {
        self.answer().split_once("\r\n\r\n").unwrap().1
    }
}

/// The status of a response; `None` until all of it has arrived.
fn status_of_whole(answer: &[u8]) -> Option<u16> {
    let head_bytes = answer.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..head_bytes]).unwrap();
    let body_bytes = header(head, "content-length").map_or(0, |length| length.parse().unwrap());
    (answer.len() >= head_bytes + body_bytes).then(|| head[9..12].parse().unwrap())
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.split("\r\n");
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// A caller with a connection and a list of requests.
pub struct Client {
    connection: Connection,
    requests: Vec<Request>,
    /// Number of requests that belong together.
    steps: usize,
    next: usize,
    /// The ETag of the last answer to each group of requests, if any of them needs it.
    etags: Vec<String>,
    /// Number of the next key.
    next_key: u128,
}

impl Client {
    /// Opens a client for each list of requests, spread evenly over the servers.
    pub async fn open_all(addresses: &[SocketAddr], requests: Vec<Vec<Request>>, steps: usize) -> Vec<Self> {
        let mut clients = Vec::new();
        for (requests, address) in requests.into_iter().zip(addresses.iter().cycle()) {
            let connection = Connection::open(*address).await;
            // Any ETag matches the first time.
            let etags = vec!["*".to_owned(); requests.len() / steps];
            let next_key = rallypoint::env::Entropy::System.uuid().as_u128();
            clients.push(Self { connection, requests, steps, next: 0, etags, next_key });
        }
        clients
    }

    /// Sends a request whose text has a placeholder.
    async fn send_template(&mut self, number: usize) {
        let Request { text, status, .. } = &self.requests[number];
        let etag = &mut self.etags[number / self.steps];
        let needs_etag = text.contains(ETAG_PLACEHOLDER);
        let text = if needs_etag {
            text.replacen(ETAG_PLACEHOLDER, etag, 1)
        } else {
            self.next_key = self.next_key.wrapping_add(1);
            text.replacen(KEY_PLACEHOLDER, &format!("{:032x}", self.next_key), 1)
        };
        self.connection.send(&Request { text, status: *status, is_template: false }).await;
        if needs_etag {
            self.connection.header("etag").unwrap().clone_into(etag);
        }
    }
}

impl Caller for Client {
    async fn call(&mut self) {
        let number = self.next;
        self.next = (self.next + 1) % self.requests.len();
        if self.requests[number].is_template {
            self.send_template(number).await;
        } else {
            self.connection.send(&self.requests[number]).await;
        }
    }

    fn calls_per_cycle(&self) -> usize {
        self.requests.len()
    }

    fn is_between(&self) -> bool {
        !self.next.is_multiple_of(self.steps)
    }
}
