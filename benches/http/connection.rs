//! Connections that send one request at a time.

use std::io::ErrorKind;
use std::net::SocketAddr;

use tokio::net::TcpStream;

use crate::load::Caller;
use crate::requests::Request;

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
}

impl Client {
    /// Opens a client for each list of requests, spread evenly over the servers.
    pub async fn open_all(addresses: &[SocketAddr], requests: Vec<Vec<Request>>, steps: usize) -> Vec<Self> {
        let mut clients = Vec::new();
        for (requests, address) in requests.into_iter().zip(addresses.iter().cycle()) {
            let connection = Connection::open(*address).await;
            clients.push(Self { connection, requests, steps, next: 0 });
        }
        clients
    }
}

impl Caller for Client {
    async fn call(&mut self) {
        let request = &self.requests[self.next];
        self.next = (self.next + 1) % self.requests.len();
        self.connection.send(request).await;
    }

    fn calls_per_cycle(&self) -> usize {
        self.requests.len()
    }

    fn is_between(&self) -> bool {
        !self.next.is_multiple_of(self.steps)
    }
}
