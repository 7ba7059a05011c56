//! The control socket: commands of the operator to the server on this machine. It is a Unix socket in the data
//! directory that only the owner of the server can use, so it needs no token.
//!
//! A connection carries one request and one answer, each a line of JSON: [`ControlRequest`], and either `{"ok": …}` or
//! `{"error": "…"}`.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::App;
use crate::runtime::local_servers::LocalServers;

/// The name of the socket in the data directory.
const SOCKET: &str = "control.sock";
/// Its name until it has its mode. Not longer, because the length of a socket's path is limited.
const NEW_SOCKET: &str = "control.new";
/// Most connections at the same time. Further ones wait.
const CONNECTIONS_MAX: usize = 8;
/// Longest request, in bytes.
const REQUEST_BYTES_MAX: u64 = 65_536;
/// Longest time for a request to arrive, and for its answer to be taken.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after an error of the socket, such as too many open files.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// A command to a running server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum ControlRequest {
    /// The dedicated servers that run as processes on this machine, and those that have ended.
    ServerList,
    /// The last lines of the log of such a server.
    ServerLog {
        /// The allocation of the server, or the start of its id.
        allocation: String,
        /// Most lines.
        lines: usize,
    },
    /// Kills such a server.
    ServerKill {
        /// The allocation of the server, or the start of its id.
        allocation: String,
    },
    /// The next events of the audit, in the order of sessions.
    AuditExport {
        /// First time, in milliseconds since the epoch.
        from_ms: i64,
        /// End of the time (excluded), in milliseconds since the epoch.
        to_ms: i64,
        /// Where the answer before has ended.
        after: Option<String>,
    },
    /// Why a ticket waits, in each profile whose matches this server makes. The answer has the time (`now_ms`), and
    /// the explanations by profile (`profiles`).
    MatchmakingExplain {
        /// The ticket.
        ticket: Uuid,
    },
}

/// What commands work on.
#[derive(Clone)]
pub struct Commanded {
    /// The dedicated servers on this machine.
    pub servers: Arc<LocalServers>,
    /// The application.
    pub app: Arc<App>,
}

/// The path of the socket of a server with this data directory.
pub fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join(SOCKET)
}

/// A socket that accepts commands. It is removed on drop.
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Opens the socket in a data directory. Replaces the socket of a server that has ended.
    ///
    /// # Errors
    /// If another server answers there, or if the path is too long or cannot be used.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let (path, new_path) = (socket_path(data_dir), data_dir.join(NEW_SOCKET));
        if std::os::unix::net::UnixStream::connect(&path).is_ok() {
            return Err(io::Error::other("another server uses it"));
        }
        // From a server that was killed while it started.
        if let Err(error) = std::fs::remove_file(&new_path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let listener = UnixListener::bind(&new_path)?;
        std::fs::set_permissions(&new_path, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&new_path, &path)?;
        Ok(Self { listener, path })
    }

    /// Answers commands until the token is cancelled.
    pub async fn serve(self, commanded: Commanded, stop: CancellationToken) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accept = async {
                let permit = Arc::clone(&connections).acquire_owned().await.map_err(io::Error::other)?;
                Ok::<_, io::Error>((self.listener.accept().await?.0, permit))
            };
            let accepted = tokio::select! {
                accepted = accept => accepted,
                () = stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, permit)) => {
                    let commanded = commanded.clone();
                    tokio::spawn(async move {
                        if let Err(error) = answer(stream, commanded).await {
                            tracing::debug!(%error, "a control connection has failed");
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the control socket cannot accept a connection");
                    tokio::time::sleep(ERROR_PAUSE).await;
                }
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // The next start replaces a socket that stays.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Reads one request and answers it.
async fn answer(mut stream: UnixStream, commanded: Commanded) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(REQUEST_BYTES_MAX));
    tokio::time::timeout(TRANSFER_TIMEOUT, reader.read_line(&mut line)).await??;
    let result = match serde_json::from_str(&line) {
        Ok(request) => carry_out(request, commanded).await,
        Err(error) => Err(format!("this server does not know the command: {error}")),
    };
    let answer = match result {
        Ok(value) => json!({ "ok": value }),
        Err(message) => json!({ "error": message }),
    };
    tokio::time::timeout(TRANSFER_TIMEOUT, writer.write_all(format!("{answer}\n").as_bytes())).await?
}

async fn carry_out(request: ControlRequest, commanded: Commanded) -> Result<Value, String> {
    let Commanded { servers, app } = commanded;
    let value = match request {
        ControlRequest::ServerList => blocking(move || serde_json::to_value(servers.list())).await?,
        ControlRequest::ServerLog { allocation, lines } => {
            serde_json::to_value(blocking(move || servers.find(&allocation)?.log(lines)).await??)
        }
        ControlRequest::ServerKill { allocation } => {
            let server = blocking(move || servers.find(&allocation)).await??;
            serde_json::to_value(server.kill().await?)
        }
        ControlRequest::AuditExport { from_ms, to_ms, after } => {
            let exported = app.audit.export(from_ms, to_ms, after.as_deref()).await;
            serde_json::to_value(exported.map_err(|error| error.to_string())?)
        }
        ControlRequest::MatchmakingExplain { ticket } => {
            let explained = app.matchmaker.explain(&app, ticket).await;
            let (now_ms, profiles) = explained.map_err(|failure| failure.to_string())?;
            Ok(json!({ "now_ms": now_ms, "profiles": profiles }))
        }
    };
    value.map_err(|error| error.to_string())
}

/// Reads files on a thread for work that blocks: a slow disk must not delay the API.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::launches::LaunchSettings;
    use crate::auth::{DevelopmentKey, KeyRing};
    use crate::config::Config;
    use crate::env::{Clock, Entropy};
    use crate::runtime::server::new_app;
    use crate::store::{Memory, Store};

    fn commanded(dir: &Path) -> Commanded {
        let key = DevelopmentKey::load_or_create(dir, &Entropy::seeded(1)).unwrap();
        let ring = Arc::new(KeyRing::new(key.key_set()));
        let (store, environment) = (Store::Memory(Memory::default()), (Clock::System, Entropy::seeded(1)));
        let app =
            new_app(&Config::default(), store, ring, LaunchSettings::default(), environment, Arc::default());
        Commanded { servers: Arc::default(), app: Arc::new(app) }
    }

    /// Time passes only while every task waits.
    #[tokio::test(start_paused = true)]
    async fn a_stop_does_not_wait_for_idle_connections() {
        let dir = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        let socket = ControlSocket::open(dir.path()).unwrap();
        let path = socket.path.clone();
        let serving = tokio::spawn(socket.serve(commanded(dir.path()), stop.clone()));
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            idle.push(UnixStream::connect(&path).await.unwrap());
        }
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        serving.await.unwrap();
        for connection in idle {
            let error = connection.try_read(&mut [0]).unwrap_err();
            assert_eq!(
                error.kind(),
                io::ErrorKind::WouldBlock,
                "the stop has waited for the end of this one"
            );
        }
    }
}
