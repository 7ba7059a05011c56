//! The sidecar of Agones, which represents the game server in the pod.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::watch;

use super::allocation::Assignment;
use crate::allocators::agones::LabelNames;

/// The last message.
pub const SHUTDOWN: &str = "shutdown";
/// Longest time of a call.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest description of a game server, in bytes. Kubernetes allows 256 KiB of annotations.
const BYTES_MAX: u64 = 1 << 20;

/// A client of the sidecar.
#[derive(Clone)]
pub struct Sidecar(Arc<Shared>);

struct Shared {
    base: String,
    agent: ureq::Agent,
    names: LabelNames,
    port_name: Option<String>,
    /// Whether the sidecar was told to shut down. Locked during each message.
    is_shut_down: Mutex<bool>,
}

/// The game server, as the sidecar describes it.
#[derive(Debug, Deserialize)]
pub struct GameServer {
    #[serde(default)]
    object_meta: ObjectMeta,
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
struct ObjectMeta {
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
struct Status {
    #[serde(default)]
    state: String,
    #[serde(default)]
    address: String,
    #[serde(default)]
    ports: Vec<Port>,
}

#[derive(Debug, Deserialize)]
struct Port {
    #[serde(default)]
    name: String,
    port: u16,
}

/// A line of the watch.
#[derive(Deserialize)]
struct Update {
    result: GameServer,
}

impl Sidecar {
    /// A client of the sidecar at this port. `port_name` is the port that players use, or `None` for the first one.
    pub fn new(port: u16, names: LabelNames, port_name: Option<String>) -> Self {
        // The sidecar is in the same pod: a proxy from the environment is for other hosts.
        let agent = ureq::Agent::config_builder().proxy(None).max_redirects(0).build().into();
        Self(Arc::new(Shared {
            base: format!("http://127.0.0.1:{port}"),
            agent,
            names,
            port_name,
            is_shut_down: Mutex::default(),
        }))
    }

    /// Sends an empty message: `ready`, `health` or `shutdown`. After `shutdown`, the others fail: a call goes on in
    /// its thread if its caller stops to wait for it, and a `ready` that arrived late would offer a pod whose server
    /// has ended.
    pub async fn tell(&self, what: &'static str) -> Result<(), String> {
        self.blocking(move |shared| {
            let mut is_shut_down = shared.is_shut_down.lock().unwrap_or_else(PoisonError::into_inner);
            *is_shut_down |= what == SHUTDOWN;
            if *is_shut_down && what != SHUTDOWN {
                return Err("the sidecar was told to shut down".into());
            }
            let request = shared.agent.post(format!("{}/{what}", shared.base));
            let request = request.config().timeout_global(Some(TIMEOUT)).build();
            let sent = request.header("content-type", "application/json").send("{}");
            sent.map(drop).map_err(|error| error.to_string())
        })
        .await
    }

    /// Reads the game server.
    pub async fn game_server(&self) -> Result<GameServer, String> {
        self.blocking(|shared| {
            let request = shared.agent.get(format!("{}/gameserver", shared.base));
            let request = request.config().timeout_global(Some(TIMEOUT)).build();
            let mut answer = request.call().map_err(|error| error.to_string())?;
            let text = answer.body_mut().with_config().limit(BYTES_MAX).read_to_vec();
            serde_json::from_slice(&text.map_err(|error| error.to_string())?)
                .map_err(|error| error.to_string())
        })
        .await
    }

    /// Passes the game server on whenever it changes, until the connection ends or nobody listens.
    pub async fn watch(&self, changes: watch::Sender<Option<GameServer>>) -> Result<(), String> {
        self.blocking(move |shared| {
            let answer = shared.agent.get(format!("{}/watch/gameserver", shared.base)).call();
            let mut lines =
                BufReader::new(answer.map_err(|error| error.to_string())?.into_body().into_reader());
            loop {
                let mut line = Vec::new();
                lines
                    .by_ref()
                    .take(BYTES_MAX)
                    .read_until(b'\n', &mut line)
                    .map_err(|error| error.to_string())?;
                if line.is_empty() {
                    return Ok(());
                }
                let update: Update = serde_json::from_slice(&line).map_err(|error| error.to_string())?;
                if changes.send(Some(update.result)).is_err() {
                    return Ok(());
                }
            }
        })
        .await
    }

    /// The allocation that the game server has; `None`: it is not allocated yet.
    pub fn allocation_id<'a>(&self, game_server: &'a GameServer) -> Option<&'a String> {
        let label = game_server.object_meta.labels.get(&self.0.names.allocation);
        label.filter(|_| game_server.status.state == "Allocated")
    }

    /// What a server needs to know of its session.
    ///
    /// # Errors
    /// If the game server is not allocated, or if something is missing.
    pub fn assignment(&self, game_server: &GameServer) -> Result<Assignment, String> {
        let (names, meta, status) = (&self.0.names, &game_server.object_meta, &game_server.status);
        let allocation_id = self.allocation_id(game_server).ok_or("it is not allocated")?;
        let session_id = meta.annotations.get(&names.session);
        let session_id = session_id.ok_or_else(|| format!("there is no annotation {}", names.session))?;
        let wanted = self.0.port_name.as_deref();
        let port = status.ports.iter().find(|port| wanted.is_none_or(|wanted| port.name == wanted));
        let port = port.ok_or_else(|| match wanted {
            Some(wanted) => format!("there is no port named {wanted:?}"),
            None => "there is no port".to_owned(),
        })?;
        if status.address.is_empty() {
            return Err("there is no address".into());
        }
        Ok(Assignment {
            allocation_id: allocation_id.clone(),
            session_id: session_id.clone(),
            host: status.address.clone(),
            port: port.port,
        })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Shared) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let shared = self.0.clone();
        tokio::task::spawn_blocking(move || call(&shared))
            .await
            .unwrap_or_else(|error| Err(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(port_name: Option<&str>, state: &str, change: &[(&str, &str)]) -> Result<Assignment, String> {
        let mut text = format!(
            r#"{{"object_meta":{{"name":"fleet-1","generation":"1","labels":{{"rallypoint.dev/allocation":"a1"}},
            "annotations":{{"rallypoint.dev/session":"s1"}}}},"status":{{"state":"{state}","address":"198.51.100.7",
            "ports":[{{"name":"game","port":7000}},{{"name":"query","port":7001}}],"players":null}}}}"#
        );
        for (from, to) in change {
            text = text.replace(from, to);
        }
        let sidecar = Sidecar::new(1, LabelNames::new(LABEL_PREFIX).unwrap(), port_name.map(str::to_owned));
        sidecar.assignment(&serde_json::from_str(&text).unwrap())
    }

    use crate::allocators::agones::LABEL_PREFIX;

    #[test]
    fn a_game_server_with_a_label_has_a_session_once_it_is_allocated() {
        let assignment = |port| Assignment {
            allocation_id: "a1".into(),
            session_id: "s1".into(),
            host: "198.51.100.7".into(),
            port,
        };
        assert_eq!(read(None, "Allocated", &[]), Ok(assignment(7000)));
        assert_eq!(read(Some("query"), "Allocated", &[]), Ok(assignment(7001)));
        let not_yet = || Err("it is not allocated".to_owned());
        for state in ["Ready", "Shutdown", "allocated", ""] {
            assert_eq!(read(None, state, &[]), not_yet());
        }
        assert_eq!(read(None, "Allocated", &[("rallypoint.dev/allocation", "another")]), not_yet());
        for (port_name, change, expected) in [
            (None, ("rallypoint.dev/session", "another"), "there is no annotation rallypoint.dev/session"),
            (Some("voice"), ("", ""), "there is no port named \"voice\""),
            (None, ("198.51.100.7", ""), "there is no address"),
        ] {
            let change: &[_] = if change.0.is_empty() { &[] } else { &[change] };
            assert_eq!(read(port_name, "Allocated", change), Err(expected.to_owned()));
        }
    }
}
