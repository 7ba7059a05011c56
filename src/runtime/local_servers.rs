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

/// A server and its allocator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalServer {
    /// The name of the allocator.
    pub allocator: String,
    /// The server.
    #[serde(flatten)]
    pub server: ServerInfo,
}

impl LocalServers {
    /// All servers: of each allocator first those that run.
    pub fn list(&self) -> Vec<LocalServer> {
        let of = |local: &LocalAllocator| {
            let name = local.name.clone();
            let servers = local.allocator.servers().into_iter();
            servers.map(move |server| LocalServer { allocator: name.clone(), server })
        };
        self.0.iter().flat_map(of).collect()
    }

    /// The last lines of the log of a server.
    ///
    /// # Errors
    /// If there is no such server, or more than one, or no log.
    pub fn log(&self, allocation: &str, lines: usize) -> Result<Vec<String>, String> {
        let (local, server) = self.find(allocation)?;
        let id = &server.server.allocation_id;
        local.allocator.log(id, lines).map_err(|error| format!("the log of {id} cannot be read: {error}"))
    }

    /// Kills a server. Returns what was known about it.
    ///
    /// # Errors
    /// If there is no such server, or more than one, or if it has ended or does not end.
    pub async fn kill(&self, allocation: &str) -> Result<LocalServer, String> {
        let (local, server) = self.find(allocation)?;
        let ServerInfo { allocation_id: id, state, .. } = &server.server;
        if *state == ServerState::Ended {
            return Err(format!("the server {id} has ended already"));
        }
        tracing::info!(allocation_id = id, "a server is killed by a command");
        match local.allocator.kill(id).await {
            true => Ok(server),
            false => Err(format!("the server {id} has not ended yet; try again")),
        }
    }

    /// Ends the servers of the allocators that say so.
    pub async fn stop(&self) {
        for local in self.0.iter().filter(|local| local.on_stop == OnStop::End) {
            local.allocator.kill_all().await;
        }
    }

    /// The server with this allocation, or with the only one that starts like this.
    fn find(&self, allocation: &str) -> Result<(&LocalAllocator, LocalServer), String> {
        let mut found = self
            .list()
            .into_iter()
            .filter(|server| !allocation.is_empty() && server.server.allocation_id.starts_with(allocation));
        match (found.next(), found.next()) {
            (Some(server), None) => {
                let local = self.0.iter().find(|local| local.name == server.allocator);
                Ok((local.expect("the list names its allocators"), server))
            }
            (None, _) => Err(format!("no server has the allocation {allocation:?}")),
            (Some(_), Some(_)) => {
                Err(format!("several servers have an allocation that starts with {allocation:?}"))
            }
        }
    }
}
