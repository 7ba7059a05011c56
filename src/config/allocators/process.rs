//! `kind = "process"`: servers are processes on this machine.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::domain::limits;

/// Settings of an allocator that starts servers as processes on this machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessSection {
    /// The program, with an absolute path, and its arguments. There is no shell: an element stays one argument.
    pub command: Vec<String>,
    /// The working directory of servers; `None`: the directory of the launch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<PathBuf>,
    /// Environment variables of servers, besides PATH, HOME, TMPDIR and LANG.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The UDP ports that servers get.
    pub ports: PortRange,
    /// How many ports each server gets: 1 to 8.
    #[serde(default = "one", deserialize_with = "limits::between::<_, _, 1, 8>")]
    pub ports_per_server: u16,
    /// The host name or address at which players reach servers.
    #[serde(default = "loopback", deserialize_with = "limits::text::<_, 253>")]
    pub public_host: String,
    /// Most servers at the same time: 1 to 10,000.
    #[serde(default = "four", deserialize_with = "limits::between::<_, _, 1, 10_000>")]
    pub servers_max: usize,
    /// Most bytes of a server's log: 4096 to a tebibyte.
    #[serde(default = "log_bytes", deserialize_with = "limits::between::<_, _, 4_096, 1_099_511_627_776>")]
    pub log_bytes_max: u64,
    /// How many directories of ended servers are kept: 0 to 10,000.
    #[serde(default = "twenty", deserialize_with = "limits::between::<_, _, 0, 10_000>")]
    pub keep_finished: usize,
    /// What a stop of this server does to the servers that it has started.
    #[serde(default)]
    pub on_stop: OnStop,
    /// The client id with which servers log in. Needed with keys of your own, because then servers log in elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The file with the secret of that client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_file: Option<PathBuf>,
}

/// What a stop does to running servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnStop {
    /// They end.
    #[default]
    End,
    /// They go on, and the next start adopts them.
    Leave,
}

/// A range of ports, as in `7777-7876`; both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    /// The first port, from 1.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.trim().parse(), last.trim().parse()) {
            (Ok(first @ 1..), Ok(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(format!("{text:?} is no range of ports, as in \"7777-7876\"")),
        }
    }
}

impl TryFrom<String> for PortRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<PortRange> for String {
    fn from(PortRange { first, last }: PortRange) -> Self {
        format!("{first}-{last}")
    }
}

impl ProcessSection {
    /// Checks what the types do not express. The error is the setting, and what is wrong with it.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if !self.command.first().is_some_and(|program| program.starts_with('/')) {
            let message =
                "needs the program first, with an absolute path, as in [\"/games/server\", \"-log\"]";
            return Err(("command", message.into()));
        }
        if self.ports_per_server > self.ports.last - self.ports.first + 1 {
            return Err(("ports_per_server", "is more than all ports of the range".into()));
        }
        if self.client_id.is_some() != self.client_secret_file.is_some() {
            return Err(("client_id", "and client_secret_file belong together: set both or neither".into()));
        }
        Ok(())
    }
}

fn one() -> u16 {
    1
}

fn four() -> usize {
    4
}

fn twenty() -> usize {
    20
}

fn log_bytes() -> u64 {
    67_108_864
}

fn loopback() -> String {
    "127.0.0.1".into()
}
