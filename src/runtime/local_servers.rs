//! The dedicated servers that are processes on this machine, as the operator sees them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::allocators::process::{ProcessAllocator, ServerInfo, ServerState};
use crate::config::OnStop;

/// The allocators that start processes on this machine.
#[derive(Default)]
pub struct LocalServers(pub Vec<LocalAllocator>);

/// One of them.
pub struct LocalAllocator {
    /// Its name in the configuration.
    pub name: String,
    /// The allocator.
    pub allocator: Arc<ProcessAllocator>,
    /// What happens to its servers when this server stops.
    pub on_stop: OnStop,
}

/// A server that a command names.
pub struct NamedServer {
    allocator: Arc<ProcessAllocator>,
    server: LocalServer,
}

/// A server and its allocator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalServer {
    /// The name of the allocator.
    pub allocator: String,
    /// The server.
    #[serde(flatten)]
    pub server: ServerInfo,
}

impl NamedServer {
    /// The last lines of the log of the server. Reads a file, so it blocks.
    ///
    /// # Errors
    /// If there is no log.
    pub fn log(&self, lines: usize) -> Result<Vec<String>, String> {
        let id = &self.server.server.allocation_id;
        self.allocator.log(id, lines).map_err(|error| format!("the log of {id} cannot be read: {error}"))
    }

    /// Kills the server. Returns what was known about it.
    ///
    /// # Errors
    /// If the server has ended, or does not end.
    pub async fn kill(self) -> Result<LocalServer, String> {
        let ServerInfo { allocation_id: id, state, .. } = &self.server.server;
        if *state == ServerState::Ended {
            return Err(format!("the server {id} has ended already"));
        }
        tracing::info!(allocation_id = id, "a server is killed by a command");
        match self.allocator.kill(id).await {
            true => Ok(self.server),
            false => Err(format!("the server {id} has not ended yet; try again")),
        }
    }
}

impl LocalServers {
    /// All servers: of each allocator first those that run. Reads files, so it blocks.
    pub fn list(&self) -> Vec<LocalServer> {
        let of = |local: &LocalAllocator| {
            let name = local.name.clone();
            let servers = local.allocator.servers().into_iter();
            servers.map(move |server| LocalServer { allocator: name.clone(), server })
        };
        self.0.iter().flat_map(of).collect()
    }

    /// Ends the servers of the allocators that say so.
    pub async fn stop(&self) {
        for local in self.0.iter().filter(|local| local.on_stop == OnStop::End) {
            local.allocator.kill_all().await;
        }
    }

    /// The server with this allocation, or with the only one that starts like this. Reads files, so it blocks.
    ///
    /// # Errors
    /// If there is no such server, or more than one.
    pub fn find(&self, allocation: &str) -> Result<NamedServer, String> {
        let mut found = self
            .list()
            .into_iter()
            .filter(|server| !allocation.is_empty() && server.server.allocation_id.starts_with(allocation));
        match (found.next(), found.next()) {
            (Some(server), None) => {
                let local = self.0.iter().find(|local| local.name == server.allocator);
                let allocator = Arc::clone(&local.expect("the list names its allocators").allocator);
                Ok(NamedServer { allocator, server })
            }
            (None, _) => Err(format!("no server has the allocation {allocation:?}")),
            (Some(_), Some(_)) => {
                Err(format!("several servers have an allocation that starts with {allocation:?}"))
            }
        }
    }
}
