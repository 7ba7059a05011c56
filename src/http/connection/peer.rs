//! The other end of a connection.

use std::net::IpAddr;
use std::sync::Arc;

use super::state::ConnectionState;

/// The other end of the connection that a request came on.
#[derive(Clone)]
pub struct Peer {
    address: Option<IpAddr>,
    /// `None` if the request came on no connection, as in tests.
    connection: Option<Arc<ConnectionState>>,
}

impl From<Option<IpAddr>> for Peer {
    /// An end at this address, if it is known, that stays.
    fn from(address: Option<IpAddr>) -> Self {
        Self { address, connection: None }
    }
}

impl Peer {
    pub(super) fn new(address: IpAddr, connection: Arc<ConnectionState>) -> Self {
        Self { address: Some(address), connection: Some(connection) }
    }

    /// Its address, if it is known.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Waits until the client has closed its side of the connection. A close behind further requests is not seen before
    /// these are read.
    pub async fn closed(&self) {
        match &self.connection {
            Some(connection) => connection.client_closed().await,
            None => std::future::pending().await,
        }
    }
}
