//! Tests of held requests. The agreement test compares their responses with those of hyper alone.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, yield_now};

use super::*;
use crate::telemetry::Metrics;

const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// Holds every request until it is released, or until the client closes its side.
#[derive(Clone, Default)]
struct Holds {
    held: Arc<AtomicUsize>,
    release: Arc<Notify>,
    memory: Option<Arc<MemoryBudget>>,
}

impl Handler for Holds {
    fn handle(&self, _: Request<RequestBody>, peer: Peer) -> impl Future<Output = Handled> + Send + use<> {
        let Self { held, release, .. } = self.clone();
        held.fetch_add(1, Ordering::SeqCst);
        ready(Handled::Held(Box::pin(async move {
            let text = tokio::select! {
                () = release.notified() => "released",
                () = peer.closed() => "closed",
            };
            Response::new(Full::from(text))
        })))
    }

    fn memory(&self) -> Option<Arc<MemoryBudget>> {
        self.memory.clone()
    }
}

/// A connection with a request that is held.
async fn with_held_request(stop: &CancellationToken) -> (DuplexStream, Holds, JoinHandle<()>) {
    with_held(REQUEST, Holds::default(), stop).await
}

/// A connection with this request, which the handler holds.
async fn with_held(
    request: &[u8],
    handler: Holds,
    stop: &CancellationToken,
) -> (DuplexStream, Holds, JoinHandle<()>) {
    let (mut client, server) = tokio::io::duplex(65_536);
    let state = Arc::default();
    let timeout = Duration::from_secs(75);
    let connection = serve_connection(server, PEER, handler.clone(), timeout, state, stop.clone());
    let serving = tokio::spawn(async { connection.await.unwrap() });
    client.write_all(request).await.unwrap();
    while handler.held.load(Ordering::SeqCst) == 0 {
        yield_now().await;
    }
    (client, handler, serving)
}

async fn rest_of(client: &mut DuplexStream) -> String {
    let mut received = String::new();
    client.read_to_string(&mut received).await.unwrap();
    received
}

#[tokio::test(start_paused = true)]
async fn a_held_request_outlasts_the_idle_timer() {
    let (mut client, handler, _) = with_held_request(&CancellationToken::new()).await;
    tokio::time::sleep(Duration::from_secs(900)).await;
    handler.release.notify_one();
    let mut bytes = [0; 1_024];
    let count = client.read(&mut bytes).await.unwrap();
    assert!(bytes[..count].starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert!(bytes[..count].ends_with(b"\r\n\r\nreleased"));
}

#[tokio::test(start_paused = true)]
async fn when_the_server_stops_the_response_closes_the_connection() {
    let stop = CancellationToken::new();
    let (mut client, handler, serving) = with_held_request(&stop).await;
    stop.cancel();
    tokio::time::sleep(FIRST_HEAD_GRACE * 2).await;
    assert!(!serving.is_finished(), "the request is still held");
    let released = tokio::time::Instant::now();
    handler.release.notify_one();
    let received = rest_of(&mut client).await;
    assert!(received.contains("\r\nconnection: close\r\n"), "{received}");
    assert!(received.ends_with("released"), "{received}");
    serving.await.unwrap();
    assert_eq!(released.elapsed(), Duration::ZERO, "the close does not linger: the client owes no bytes");
}

#[tokio::test]
async fn a_client_that_closes_its_side_ends_the_wait() {
    let (mut client, _, serving) = with_held_request(&CancellationToken::new()).await;
    client.shutdown().await.unwrap();
    assert!(rest_of(&mut client).await.ends_with("closed"));
    serving.await.unwrap();
}

#[tokio::test]
async fn a_request_behind_a_held_one_is_answered_after_it() {
    let (mut client, handler, serving) = with_held_request(&CancellationToken::new()).await;
    client.write_all(&[REQUEST, REQUEST].concat()).await.unwrap();
    for expected in 1..=3 {
        assert_eq!(handler.held.load(Ordering::SeqCst), expected);
        handler.release.notify_one();
        let mut received = Vec::new();
        while !received.ends_with(b"released") {
            received.push(client.read_u8().await.unwrap());
        }
        while expected < 3 && handler.held.load(Ordering::SeqCst) == expected {
            yield_now().await;
        }
    }
    drop(client);
    serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_response_at_the_moment_of_the_stop_closes_the_connection() {
    let stop = CancellationToken::new();
    let (mut client, handler, serving) = with_held_request(&stop).await;
    yield_now().await;
    // The connection finds both when it runs next.
    handler.release.notify_one();
    stop.cancel();
    let received = rest_of(&mut client).await;
    assert!(received.contains("\r\nconnection: close\r\n"), "{received}");
    serving.await.unwrap();
}

/// A GET with a head of about this size.
fn long_request(bytes: usize) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(bytes)).into_bytes()
}

#[tokio::test]
async fn a_held_request_counts_only_the_memory_that_it_keeps() {
    let metrics = Arc::<Metrics>::default();
    let memory = MemoryBudget::new(100_000, Arc::clone(&metrics));
    let (head, next) = (long_request(17_000), long_request(16_000));
    for (request, kept) in [(head.clone(), 0..=0), ([head, next].concat(), 4_097..=16_100)] {
        let handler = Holds { memory: Some(Arc::clone(&memory)), ..Holds::default() };
        let (mut client, handler, serving) = with_held(&request, handler, &CancellationToken::new()).await;
        for _ in 0..10 {
            yield_now().await;
        }
        let counted = metrics.memory_in_flight.get();
        assert!(kept.contains(&counted), "{counted} of {kept:?}");
        // The request that was read ahead is held next.
        for _ in 0..1 + usize::from(counted > 0) {
            handler.release.notify_one();
            let mut received = Vec::new();
            while !received.ends_with(b"released") {
                received.push(client.read_u8().await.unwrap());
            }
        }
        drop(client);
        serving.await.unwrap();
        assert_eq!(metrics.memory_in_flight.get(), 0);
    }
}
