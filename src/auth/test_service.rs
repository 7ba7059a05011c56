//! A token service for tests, with or without TLS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A token service on this machine that answers every request with the same bytes until it is dropped. It has its own
/// thread, so that it works in tests with paused tokio time.
pub struct TokenService {
    pub url: String,
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// The response. If it is empty, the service does not respond.
    answer: Mutex<Vec<u8>>,
    /// Set if the service speaks TLS.
    tls: Option<Arc<ServerConfig>>,
    requests: AtomicUsize,
    asked: tokio::sync::Notify,
    stopped: AtomicBool,
}

/// A connection, with or without TLS.
trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// A file of the test certificates.
pub fn tls_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/tls").join(name)
}

impl TokenService {
    pub fn answering(answer: impl Into<Vec<u8>>) -> Self {
        Self::start("127.0.0.1", Shared { answer: Mutex::new(answer.into()), ..Shared::default() })
    }

    /// A service with TLS. Its certificate is for 127.0.0.1 and localhost.
    pub fn over_tls(host: &str, answer: impl Into<Vec<u8>>) -> Self {
        let chain =
            CertificateDer::pem_file_iter(tls_file("server.pem")).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(tls_file("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let answer = Mutex::new(answer.into());
        Self::start(host, Shared { answer, tls: Some(Arc::new(config)), ..Shared::default() })
    }

    fn start(host: &str, shared: Shared) -> Self {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if shared.tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(shared);
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let mut unanswered = Vec::new();
            for stream in listener.incoming().map(Result::unwrap) {
                if serving.stopped.load(Ordering::Acquire) {
                    break;
                }
                unanswered.extend(serving.answer(stream));
            }
        });
        Self { url: format!("{scheme}://{address}/jwks"), address, shared, thread: Some(thread) }
    }

    pub fn answers(&self, answer: impl Into<Vec<u8>>) {
        *self.shared.answer.lock().unwrap() = answer.into();
    }

    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::Acquire)
    }

    /// Waits for this number of further requests.
    pub async fn asked(&self, times: usize) {
        let until = self.requests() + times;
        while self.requests() < until {
            self.shared.asked.notified().await;
        }
    }
}

impl Shared {
    /// Answers, or returns the connection if there is no response, so that it stays open.
    fn answer(&self, stream: TcpStream) -> Option<Box<dyn Stream>> {
        let mut stream: Box<dyn Stream> = match &self.tls {
            Some(tls) => Box::new(StreamOwned::new(ServerConnection::new(Arc::clone(tls)).unwrap(), stream)),
            None => Box::new(stream),
        };
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            head.extend(byte);
        }
        self.requests.fetch_add(1, Ordering::AcqRel);
        self.asked.notify_one();
        let answer = self.answer.lock().unwrap();
        // A client closes the connection if the response is too long.
        let _ = stream.write_all(&answer);
        answer.is_empty().then_some(stream)
    }
}

impl Drop for TokenService {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        // Wakes the thread. If the connection fails, the thread has ended already.
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}
