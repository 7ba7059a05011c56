//! Settings of the allocator.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::command::CommandTemplate;
use crate::allocators::clients::ServerLogin;

/// Settings of an allocator that starts processes on this machine.
#[derive(Clone)]
pub struct ProcessSettings {
    /// The directory with the directories of all allocations. An absolute path; no other process uses it.
    pub dir: PathBuf,
    /// The name of this node, the first part of every handle.
    pub node: String,
    /// The program that runs as the shim: this one. It is called with `server-shim` and a directory.
    pub shim: PathBuf,
    /// The program and its arguments.
    pub command: CommandTemplate,
    /// The working directory of servers; `None`: the directory of the allocation.
    pub working_dir: Option<PathBuf>,
    /// Environment variables, besides `PATH`, `HOME`, `TMPDIR` and `LANG`.
    pub env: BTreeMap<String, String>,
    /// The UDP ports that servers get.
    pub ports: RangeInclusive<u16>,
    /// How many ports each server gets, from 1.
    pub ports_per_server: usize,
    /// The host name or address at which players reach servers.
    pub public_host: String,
    /// The address of the API for servers, without a path.
    pub base_url: String,
    /// Most servers at the same time, from 1.
    pub servers_max: usize,
    /// Most bytes of a server's log.
    pub log_bytes_max: u64,
    /// How many directories of ended servers are kept.
    pub keep_finished: usize,
    /// How long a call may take.
    pub place_timeout: Duration,
    /// With which client servers log in.
    pub login: ServerLogin,
}
