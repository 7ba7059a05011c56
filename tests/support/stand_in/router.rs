//! A proxy that gives a login of a studio's own and the API one address: it sends `/users` to the login, and everything
//! else to the API, to each of its nodes in turn.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use http::header::{CONNECTION, TRANSFER_ENCODING};
use http::{Request, Response};
use http_body_util::Full;

use super::super::connection::Connection;
use super::{Answers, Asked, Listening, Reply, listen};

/// A running proxy.
pub struct Router {
    /// Where it listens.
    pub address: SocketAddr,
    /// The addresses of the API's nodes, once they are known. Until then requests to the API get no answer.
    pub api: Arc<OnceLock<Vec<SocketAddr>>>,
    _listening: Listening,
}

struct Service {
    login: SocketAddr,
    api: Arc<OnceLock<Vec<SocketAddr>>>,
    /// Number of requests to the API so far.
    asked: AtomicUsize,
}

impl Service {
    fn node(&self) -> Option<&SocketAddr> {
        let nodes = self.api.get()?;
        nodes.get(self.asked.fetch_add(1, Ordering::Relaxed) % nodes.len())
    }
}

impl Router {
    /// Starts a proxy before this login.
    pub async fn start(login: SocketAddr) -> Self {
        let api = Arc::new(OnceLock::new());
        let listening =
            listen(Arc::new(Service { login, api: api.clone(), asked: AtomicUsize::new(0) }), 0, None).await;
        Self { address: listening.address, api, _listening: listening }
    }
}

impl Answers for Service {
    async fn answer(&self, asked: Asked) -> Reply {
        let is_login = asked.path.starts_with("/users/");
        let Some(address) = (if is_login { Some(&self.login) } else { self.node() }) else {
            return Reply::Drop;
        };
        let Ok(mut connection) = Connection::open(*address, None).await else { return Reply::Drop };
        let mut request = Request::builder().method(asked.method).uri(asked.target);
        *request.headers_mut().unwrap() = asked.headers;
        let mut request = request.body(Full::from(asked.body)).unwrap();
        request.headers_mut().remove(CONNECTION);
        let Ok(answer) = connection.send(request).await else { return Reply::Drop };
        let (mut parts, body) = answer.into_parts();
        // These are about the connection to the other service.
        for name in [CONNECTION, TRANSFER_ENCODING] {
            parts.headers.remove(name);
        }
        Reply::Answer(Response::from_parts(parts, body))
    }
}
