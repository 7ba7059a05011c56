//! A persistent connection of a client. It sends each request once and never repeats it.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rallypoint::api::PREFIX;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::process::soon;

/// A connection to an API, on behalf of one caller.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<hyper::Result<()>>,
    token: Option<String>,
}

impl Connection {
    /// Opens a connection that sends this token with each request.
    pub async fn open(address: SocketAddr, token: Option<&str>) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, driver) = handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        Ok(Self { sender, driver: tokio::spawn(driver), token: token.map(str::to_owned) })
    }

    /// Sends a request to a path below the API's prefix. An error means that no complete answer was received.
    pub async fn call(
        &mut self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> hyper::Result<Response<Bytes>> {
        let request = Request::builder().method(method).uri(format!("{PREFIX}{path}"));
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        self.send(request.body(Full::new(body)).unwrap()).await
    }

    /// Sends a request, with the caller's token.
    pub async fn send(&mut self, mut request: Request<Full<Bytes>>) -> hyper::Result<Response<Bytes>> {
        let headers = request.headers_mut();
        headers.insert("host", "localhost".parse().unwrap());
        if let Some(token) = &self.token {
            headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let what = format!("{} {} is answered", request.method(), request.uri());
        let answering = async {
            self.sender.ready().await?;
            let (parts, body) = self.sender.send_request(request).await?.into_parts();
            Ok(Response::from_parts(parts, body.collect().await?.to_bytes()))
        };
        soon(&what, answering).await
    }

    /// Waits until the server closes the connection.
    pub async fn closed(mut self) {
        // The result does not matter: only a closed connection ends the driver.
        let _ = soon("the server closes the connection", &mut self.driver).await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
