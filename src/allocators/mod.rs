//! Allocators: they start dedicated servers, and stop them. An allocator knows nothing of stores, of HTTP operations
//! and of the rules of sessions. The launches service (`app/launches/`) calls it, and knows nothing of processes or
//! clusters.
//!
//! Every call names an allocation: one attempt to give an instance a server. Its id is stored in the instance before
//! the first call, so whatever a call does, the store already knows about it. All calls can be repeated: an allocator
//! gives one server at most to an allocation, however often it is asked, and also after a crash between two calls.

pub mod agones;
pub mod clients;
mod http_client;
pub mod process;
pub mod webhook;

use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::domain::instance::StartupParams;
use crate::domain::{CustomData, SessionId};

pub use self::http_client::CallLimits;

/// Longest handle, in bytes.
pub const HANDLE_BYTES_MAX: usize = 256;

/// What an allocator knows of the instance that needs a server.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// The id of the allocation, a uuid: another one for each attempt.
    pub allocation_id: String,
    /// The session of the instance.
    pub session_id: SessionId,
    /// The instance; the same for each attempt.
    pub instance_id: String,
    /// The type of the session.
    pub session_type: String,
    /// The region of the session. A player may have written it.
    pub region_id: Option<String>,
    /// The same, if it was a region of the configuration when the instance was requested.
    pub region: Option<String>,
    /// Startup parameters of the instance. A player may have written them: they must not become part of a command line.
    pub startup_params: Option<StartupParams>,
    /// The product's data about the instance. A player may have written it.
    pub custom_data: CustomData,
    /// The client version of the session's leader. A player has written it.
    pub version: Option<String>,
    /// When the instance was requested.
    pub requested_at: Timestamp,
    /// The number of this attempt, from 1.
    pub attempt: u32,
}

/// A server that an allocator has given to an allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The allocator's name for the server: 1 to [`HANDLE_BYTES_MAX`] bytes.
    pub handle: String,
    /// The host name or address at which players reach the server, if the allocator knows it.
    pub host: Option<String>,
    /// The port at which players reach the server, if the allocator knows it.
    pub port: Option<u16>,
}

/// Why no server was taken, or can be taken. It is a label of metrics and part of the answer to players.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// All servers are in use.
    NoCapacity,
    /// All ports are in use.
    NoPort,
    /// The allocator does not answer, or asks for fewer calls.
    Unavailable,
    /// The allocator refuses this launch.
    Refused,
    /// The configuration of the allocator is wrong, on this side or on its own.
    Misconfigured,
}

/// The answer to [`Allocator::place`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// The allocation has a server.
    Placed(Placed),
    /// The allocation has no server, and nothing was taken. A later call may succeed.
    Later {
        /// How long the allocator wants to be left alone; `None`: the caller chooses.
        retry_after: Option<Duration>,
        /// Why there is no server.
        reason: Reason,
        /// What happened, for the log. Without secrets.
        detail: String,
    },
    /// The allocation has no server, and repeating the call cannot help.
    Never {
        /// Why not.
        reason: Reason,
        /// What happened, for the log. Without secrets.
        detail: String,
    },
    /// A server may have been taken, or is being taken. To repeat the call with the same allocation id is safe.
    Unknown {
        /// How long to wait before the next call; `None`: the caller chooses.
        retry_after: Option<Duration>,
        /// Whether the allocator has said that it is starting one: then it works.
        is_starting: bool,
        /// What happened, for the log. Without secrets.
        detail: String,
    },
}

/// The answer to [`Allocator::find`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The allocation has this server.
    Placed(Placed),
    /// The allocation has no server, and no earlier call can still give it one.
    Absent,
    /// The allocator has said that it is starting the server: it works.
    Starting,
    /// The allocator cannot tell now.
    CannotTell,
}

/// How a server is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseMode {
    /// The server is asked to stop.
    Soft,
    /// The server is stopped, whatever it does.
    Hard,
}

/// The answer to [`Allocator::release`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// The allocation has no server any more. Also the answer for an unknown allocation.
    Gone,
    /// The server has not stopped yet, or the allocator did not answer. Ask again.
    Later,
}

/// A server that an allocator holds, in the answer to [`Allocator::list`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The allocation that the server belongs to.
    pub allocation_id: String,
    /// The allocator's name for the server.
    pub handle: String,
    /// For how long the allocator has held it.
    pub age: Duration,
}

/// What an allocator reports by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The server of this allocation has ended.
    Exited {
        /// The allocation.
        allocation_id: String,
        /// How it ended, for the log: an exit status or a signal.
        status: String,
    },
}

/// Which nodes can reach the servers of an allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every node reaches the same servers, and every node may repeat a call for an allocation.
    Cluster,
    /// The servers run on this node. Only this node can find and stop them.
    Node,
}

/// Starts dedicated servers and stops them. Every call ends by itself within the time that the settings of the
/// allocator allow; dropping a call undoes nothing.
pub trait Allocator: Send + Sync {
    /// Which nodes can reach the servers.
    fn scope(&self) -> Scope;

    /// Gives the allocation a server. If it has one already, the answer is that server.
    fn place<'a>(&'a self, launch: &'a Launch) -> BoxFuture<'a, Placement>;

    /// Says whether the allocation has a server, and takes none.
    fn find<'a>(&'a self, allocation_id: &'a str) -> BoxFuture<'a, Found>;

    /// Stops the server of an allocation. `handle` is `None` if no call has told it.
    fn release<'a>(
        &'a self,
        allocation_id: &'a str,
        handle: Option<&'a str>,
        mode: ReleaseMode,
    ) -> BoxFuture<'a, Released>;

    /// All servers that the allocator holds; `None` if it cannot list them. The launches service stops those of which
    /// the store knows nothing.
    fn list(&self) -> BoxFuture<'_, Option<Vec<Held>>> {
        Box::pin(std::future::ready(None))
    }

    /// Waits for the next event. An allocator that reports nothing waits for ever. Dropping the future loses no event.
    fn next_event(&self) -> BoxFuture<'_, Event> {
        Box::pin(std::future::pending())
    }
}
