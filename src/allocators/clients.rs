//! How launched servers log in.

use std::path::PathBuf;
use std::sync::Arc;

/// The clients of launched servers, in the login of this server. Each server has a client of its own, so that it can be
/// shut out alone. The login stores nothing: the allocator keeps the secret, and registers it again after a restart.
pub trait LaunchClients: Send + Sync {
    /// Lets the client of an allocation log in with this secret. Returns the client's id.
    fn register(&self, allocation_id: &str, secret: &str) -> String;

    /// Shuts the client of an allocation out.
    fn remove(&self, allocation_id: &str);
}

/// With which client launched servers log in.
#[derive(Clone)]
pub enum ServerLogin {
    /// Each server has a client of its own at the login of this server.
    PerLaunch(Arc<dyn LaunchClients>),
    /// The operator's client, at a login elsewhere.
    Own {
        /// The id of the client.
        client_id: String,
        /// The file with its secret. It is read for each launch.
        secret_file: PathBuf,
    },
    /// Servers get no client.
    None,
}
