//! Those who ask: many connections that each send a request once the one before is answered, and callers of the
//! bare store that do the same without HTTP.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use rallypoint::store::{Backend, Batch, Embedded, Version};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::requests::{CALLERS, Request, SESSIONS_EACH, asked_for};
use crate::sessions::Sessions;

/// Units of time in `/proc/PID/stat`: Linux shows hundredths of seconds there, whatever it counts in.
const TICKS_PER_SECOND: f64 = 100.0;
/// Largest answer to any request, bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// What a cell of the measurement came to.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sample {
    pub per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// Processor time of the process that answers, of all its threads, in and out of the kernel.
    pub cpu_us: f64,
}

/// One who asks, again and again.
pub trait Caller: Send + 'static {
    /// Asks once, and waits for the answer.
    fn call(&mut self) -> impl Future<Output = ()> + Send;
}

/// Lets all callers ask for a while; `pid` is the process that answers.
pub async fn measure<C: Caller>(callers: &mut Vec<C>, pid: u32, time: Duration) -> Sample {
    let (start, cpu_before) = (Instant::now(), cpu_time(pid));
    let mut tasks = JoinSet::new();
    for mut caller in callers.drain(..) {
        tasks.spawn(async move {
            let (mut took, mut now) = (Vec::new(), start);
            while now.duration_since(start) < time {
                caller.call().await;
                let answered = Instant::now();
                took.push(answered.duration_since(now));
                now = answered;
            }
            (caller, took)
        });
    }
    let mut took = Vec::new();
    for (caller, its) in tasks.join_all().await {
        callers.push(caller);
        took.extend(its);
    }
    let (elapsed, cpu) = (start.elapsed(), cpu_time(pid) - cpu_before);
    took.sort_unstable();
    let us = |part: f64| took[(took.len() as f64 * part) as usize].as_secs_f64() * 1e6;
    Sample {
        per_second: took.len() as f64 / elapsed.as_secs_f64(),
        p50_us: us(0.5),
        p99_us: us(0.99),
        cpu_us: cpu * 1e6 / took.len() as f64,
    }
}

/// Processor time that a process has used, in seconds.
fn cpu_time(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name in parentheses may hold anything; user and system time are the 12th and 13th field after it.
    let fields = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    ticks as f64 / TICKS_PER_SECOND
}

/// A kept connection and its requests.
pub struct Connection {
    stream: TcpStream,
    requests: Vec<Request>,
    next: usize,
    answer: Vec<u8>,
    answer_bytes: usize,
}

impl Connection {
    pub async fn open(address: SocketAddr, requests: &[Request]) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (requests, answer) = (requests.to_vec(), vec![0; ANSWER_BYTES_MAX]);
        Self { stream, requests, next: 0, answer, answer_bytes: 0 }
    }

    /// Connections that share these requests out among them, each warm: it has sent all of its own once.
    pub async fn open_all(address: SocketAddr, requests: &Path) -> Vec<Self> {
        let requests: Vec<Request> = serde_json::from_slice(&std::fs::read(requests).unwrap()).unwrap();
        let mut connections = Vec::new();
        for share in requests.chunks(requests.len() / CALLERS as usize) {
            let mut connection = Self::open(address, share).await;
            for _ in share {
                connection.call().await;
            }
            connections.push(connection);
        }
        connections
    }

    /// The last answer.
    pub fn answer(&self) -> &[u8] {
        &self.answer[..self.answer_bytes]
    }
}

impl Caller for Connection {
    async fn call(&mut self) {
        let request = &self.requests[self.next];
        self.next = (self.next + 1) % self.requests.len();
        // A kept connection whose last request is answered takes a small one whole.
        let sent = self.stream.try_write(request.text.as_bytes()).unwrap();
        assert_eq!(sent, request.text.len());
        self.answer_bytes = 0;
        let status = loop {
            self.stream.readable().await.unwrap();
            match self.stream.try_read(&mut self.answer[self.answer_bytes..]) {
                Ok(0) => panic!("the server closed a connection"),
                Ok(bytes) => self.answer_bytes += bytes,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
            if let Some(status) = status_of_whole(self.answer()) {
                break status;
            }
        };
        assert_eq!(status, request.status, "{}", String::from_utf8_lossy(self.answer()));
    }
}

/// The status of an answer, once all of it is there.
fn status_of_whole(answer: &[u8]) -> Option<u16> {
    let head_bytes = answer.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..head_bytes]).unwrap();
    let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length: "));
    let body_bytes = length.map_or(0, |length| length.parse().unwrap());
    (answer.len() >= head_bytes + body_bytes).then(|| head[9..12].parse().unwrap())
}

/// A caller of the bare store: commits what the server would for the same requests.
pub struct Committer {
    store: Embedded,
    /// Per session: its version, and the commits of the newcomer's coming and going.
    sessions: Vec<(Version, [Batch; 2])>,
    next: usize,
}

impl Committer {
    /// Callers of a store that holds so many sessions, each warm.
    pub async fn open_all(dir: &Path, stored: u64) -> Vec<Self> {
        let (store, sessions) = (Embedded::open(dir).unwrap(), Sessions::new());
        let mut committers = Vec::new();
        for caller in 0..CALLERS {
            let mut its = Vec::new();
            for turn in 0..SESSIONS_EACH {
                let batches = sessions.join_and_leave(asked_for(caller, turn, stored));
                let entry = store.get(&batches[0].expect[0].0).await.unwrap().unwrap();
                its.push((entry.version, batches));
            }
            let mut committer = Self { store: store.clone(), sessions: its, next: 0 };
            for _ in 0..2 * SESSIONS_EACH {
                committer.call().await;
            }
            committers.push(committer);
        }
        committers
    }
}

impl Caller for Committer {
    async fn call(&mut self) {
        let turn = self.next;
        self.next = (turn + 1) % (2 * self.sessions.len());
        let (version, batches) = &mut self.sessions[turn / 2];
        let mut batch = batches[turn % 2].clone();
        batch.expect[0].1 = Some(*version);
        *version = self.store.commit(batch).await.unwrap();
    }
}
