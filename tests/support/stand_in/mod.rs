//! Services that stand in for those of others: HTTP on loopback, with TLS where the service has it, in this process.

pub mod agones;
pub mod epic;
pub mod router;
pub mod sidecar;
pub mod webhook;

use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A request as it has arrived.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    pub path: String,
    /// The path with its query, as it came.
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Asked {
    /// A header, or an empty text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// What a service does with a request.
pub enum Reply {
    /// Answers.
    Answer(Response<Bytes>),
    /// Answers 200, and sends what the channel brings, until it ends.
    Stream(mpsc::UnboundedReceiver<String>),
    /// Begins this answer, and closes the connection in the middle of its body.
    Cut(Response<Bytes>),
    /// Closes the connection without an answer.
    Drop,
}

impl Reply {
    /// An answer with this body.
    pub fn json(status: u16, body: impl ToString) -> Self {
        let response = Response::builder().status(status).header("content-type", "application/json");
        Self::Answer(response.body(body.to_string().into()).unwrap())
    }

    /// Adds a header to an answer.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Answer(response) = &mut self {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        self
    }

    /// The same answer, which breaks off in the middle of its body.
    pub fn cut(self) -> Self {
        match self {
            Self::Answer(response) => Self::Cut(response),
            other => other,
        }
    }
}

/// What a service answers.
pub trait Answers: Send + Sync + 'static {
    /// Answers a request.
    fn answer(&self, asked: Asked) -> impl Future<Output = Reply> + Send;
}

/// A running service. It ends with the test.
pub struct Listening {
    /// Where it listens.
    pub address: SocketAddr,
    accepting: JoinHandle<()>,
    connections: Arc<AtomicUsize>,
}

impl Listening {
    /// How many connections were opened so far, those that TLS has refused included.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Starts a service on a free port, or on this one.
pub async fn listen(service: Arc<impl Answers>, port: u16, tls: Option<ServerConfig>) -> Listening {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = tls.map(|tls| TlsAcceptor::from(Arc::new(tls)));
    let connections = Arc::new(AtomicUsize::new(0));
    let opened = connections.clone();
    let accepting = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            opened.fetch_add(1, Ordering::Relaxed);
            let (service, acceptor) = (service.clone(), acceptor.clone());
            tokio::spawn(async move {
                match acceptor {
                    None => serve(stream, service).await,
                    Some(acceptor) => match acceptor.accept(stream).into_fallible().await {
                        Ok(stream) => serve(stream, service).await,
                        Err((_, stream)) => linger(stream).await,
                    },
                }
            });
        }
    });
    Listening { address, accepting, connections }
}

/// Reads on until the client closes: a socket that is closed with unread bytes resets the connection, and then the
/// client may not see the alert.
async fn linger(mut stream: TcpStream) {
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await.is_ok_and(|length| length > 0) {}
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, service: Arc<impl Answers>) {
    let handle = service_fn(move |request: Request<Incoming>| {
        let service = service.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
            let (path, target) = (parts.uri.path().to_owned(), parts.uri.to_string());
            let asked = Asked { method: parts.method, path, target, headers: parts.headers, body };
            match service.answer(asked).await {
                Reply::Answer(response) => {
                    Ok(response.map(|body| Full::new(body).map_err(|never| match never {}).boxed()))
                }
                Reply::Stream(lines) => Ok(Response::new(streamed(lines))),
                Reply::Cut(response) => Ok(cut(response)),
                // An error closes the connection.
                Reply::Drop => Err(io::Error::other("dropped")),
            }
        }
    });
    // A connection that breaks is no failure of the service.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), handle).await;
}

/// An answer that announces its whole body and has the first half.
fn cut(response: Response<Bytes>) -> Response<BoxBody<Bytes, io::Error>> {
    let (mut parts, body) = response.into_parts();
    parts.headers.insert(CONTENT_LENGTH, body.len().into());
    let half = Frame::data(body.slice(..body.len() / 2));
    let end = async {
        // Until then the half is written.
        tokio::task::yield_now().await;
        Err(io::Error::other("cut"))
    };
    let frames = stream::once(async { Ok(half) }).chain(stream::once(end));
    Response::from_parts(parts, BodyExt::boxed(StreamBody::new(frames)))
}

fn streamed(lines: mpsc::UnboundedReceiver<String>) -> BoxBody<Bytes, io::Error> {
    let lines = stream::unfold(lines, |mut lines| async { lines.recv().await.map(|line| (line, lines)) });
    BodyExt::boxed(StreamBody::new(lines.map(|line| Ok(Frame::data(Bytes::from(line))))))
}

/// A file of `tests/support/tls`.
pub fn tls_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/tls").join(name)
}

/// Copies a certificate and its key to the directory, as the operator's files.
pub fn copy_certificate(from: &str, dir: &Path) -> (PathBuf, PathBuf) {
    let copy = |suffix: &str| {
        let path = dir.join(format!("client{suffix}"));
        std::fs::write(&path, std::fs::read(tls_file(&format!("{from}{suffix}"))).unwrap()).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    };
    (copy(".pem"), copy(".key"))
}

/// The TLS of a service that presents the certificate of this name, and requires one of its clients by the authority in
/// `ca.pem`.
pub fn mutual_tls(certificate: &str) -> ServerConfig {
    let chain = CertificateDer::pem_file_iter(tls_file(&format!("{certificate}.pem"))).unwrap();
    let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(tls_file(&format!("{certificate}.key"))).unwrap();
    let mut clients = rustls::RootCertStore::empty();
    clients.add(CertificateDer::from_pem_file(tls_file("ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(clients.into(), provider.clone());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(chain, key)
        .unwrap()
}
