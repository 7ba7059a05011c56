//! What an operator sees of a server.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::directory::AllocationDir;
use super::settings::ProcessSettings;
use super::table::Entry;
use crate::domain::SessionId;

/// A server that runs, or that has ended and whose directory is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerInfo {
    /// The allocation.
    pub allocation_id: String,
    /// The session that needed the server.
    pub session_id: SessionId,
    /// The instance of that session.
    pub instance_id: String,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// What the server does.
    pub state: ServerState,
    /// The number of its process, once it was started.
    pub pid: Option<i32>,
    /// Its UDP ports.
    pub ports: Vec<u16>,
    /// When it was started.
    pub launched_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How it ended, in words.
    pub exit: Option<String>,
    /// Its directory.
    pub dir: PathBuf,
}

/// What a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerState {
    /// It is being started.
    Starting,
    /// It runs.
    Running,
    /// Its session needs it no more, and it has not stopped yet.
    Stopping,
    /// It has ended.
    Ended,
}

impl Entry {
    /// What the server does.
    pub(super) fn state(&self) -> ServerState {
        match (&self.running, self.released) {
            (None, _) => ServerState::Starting,
            (Some(_), false) => ServerState::Running,
            (Some(_), true) => ServerState::Stopping,
        }
    }
}

impl ServerInfo {
    /// Reads what is known about a server; `None` if its directory is not whole.
    pub(super) fn read(
        settings: &ProcessSettings,
        allocation_id: String,
        state: ServerState,
    ) -> Option<Self> {
        let dir = AllocationDir::of(&settings.dir, &allocation_id)?;
        let (launch, exit) = (dir.launch()?, dir.exit());
        Some(Self {
            allocation_id,
            session_id: launch.session_id,
            instance_id: launch.instance_id,
            attempt: launch.attempt,
            state,
            pid: dir.pid().map(|pid| pid.server.pid),
            ports: launch.ports,
            launched_at: launch.launched_at,
            ended_at: exit.as_ref().map(|exit| exit.at),
            exit: exit.map(|exit| exit.status()),
            dir: dir.path().to_owned(),
        })
    }
}
