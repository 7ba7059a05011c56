//! The directory of an allocation. What is known about a server is in its files, so that it outlives a crash.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `launch.json` | [`LaunchFile`]: what is to be started; written and synced before anything is started |
//! | `allocation.json` | what the published game server library reads with `-rhmultiplayfile` |
//! | `client-id`, `client-secret`, `credentials` | how the server logs in; deleted when it has ended |
//! | `alive` | an empty file with the lock of the allocation. A start takes it before it writes the other files; the shim, the server and its children inherit it |
//! | `pid` | [`PidFile`]: the server and its shim |
//! | `server.log` | standard output and standard error of the server |
//! | `exit` | [`ExitFile`]: how the server has ended. With it, no shim starts a server here any more |
//! | `released` | an empty file: the allocation was given up, so it gets no server any more |

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::identity::ProcessId;
use crate::domain::SessionId;

/// The name of the log.
pub const LOG: &str = "server.log";
/// The name of the file that the published game server library reads.
pub const ALLOCATION: &str = "allocation.json";
/// The names of the files with the client that the server logs in with.
pub const CLIENT_ID: &str = "client-id";
/// See [`CLIENT_ID`].
pub const CLIENT_SECRET: &str = "client-secret";
/// Both in one file, one in a line.
pub const CREDENTIALS: &str = "credentials";
/// The name of the mark of a released allocation.
pub const RELEASED: &str = "released";

/// Largest file that is read, in bytes. The longest has the command line, which the operating system limits.
const FILE_BYTES_MAX: u64 = 1 << 24;

const LAUNCH: &str = "launch.json";
const ALIVE: &str = "alive";
const PID: &str = "pid";
const EXIT: &str = "exit";

/// What is to be started, and for whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LaunchFile {
    /// The allocation.
    pub allocation_id: String,
    /// The session that needs the server.
    pub session_id: SessionId,
    /// The instance of that session.
    pub instance_id: String,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// When the server was started.
    pub launched_at: Timestamp,
    /// The UDP ports of the server.
    pub ports: Vec<u16>,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The working directory; `None`: the directory of the allocation.
    pub working_dir: Option<PathBuf>,
    /// Most bytes of the log.
    pub log_bytes_max: u64,
}

/// The processes of an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PidFile {
    /// The server. It leads a group of processes.
    pub server: ProcessId,
    /// The process that started the server and writes its log.
    pub shim: ProcessId,
}

/// How a server has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitFile {
    /// The exit status; `None` if a signal ended the server, or if nobody has seen its end.
    pub code: Option<i32>,
    /// The signal that ended the server.
    pub signal: Option<i32>,
    /// When it has ended, or when its end was noticed.
    pub at: Timestamp,
}

impl ExitFile {
    /// The end of a server with this status.
    pub fn new(status: ExitStatus, at: Timestamp) -> Self {
        Self { code: status.code(), signal: status.signal(), at }
    }

    /// The end of a server that nobody has seen.
    pub fn unseen(at: Timestamp) -> Self {
        Self { code: None, signal: None, at }
    }

    /// How the server has ended, in words.
    pub fn status(&self) -> String {
        match (self.code, self.signal) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "killed together with its shim".into(),
        }
    }

    /// Whether the server has ended without an error.
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }
}

/// The content of [`ALLOCATION`]: all values are text.
#[derive(Serialize)]
struct AllocationFile<'a> {
    #[serde(rename = "AllocationUUID")]
    allocation_id: &'a str,
    #[serde(rename = "SessionId")]
    session_id: String,
    #[serde(rename = "ConnectionIP")]
    host: &'a str,
    #[serde(rename = "ConnectionPort")]
    port: String,
}

/// The directory of one allocation.
#[derive(Clone, Debug)]
pub struct AllocationDir(PathBuf);

impl AllocationDir {
    /// The directory of an allocation under the directory of the allocator. `None` if the id is no UUID, so that no id
    /// leads to another place.
    pub fn of(servers: &Path, allocation_id: &str) -> Option<Self> {
        let id: uuid::Uuid = allocation_id.parse().ok()?;
        (id.to_string() == allocation_id).then(|| Self(servers.join(allocation_id)))
    }

    /// The directory at a path that a shim was given.
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Creates the directory with mode 0700. It may exist: then an earlier attempt to start this server was broken off.
    pub fn create(&self) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(&self.0) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            created => created,
        }
    }

    /// Whether the directory exists.
    pub fn exists(&self) -> bool {
        self.0.is_dir()
    }

    /// Deletes the directory.
    pub fn delete(&self) -> io::Result<()> {
        std::fs::remove_dir_all(&self.0)
    }

    /// Writes a file that only its owner can read. A reader sees all of it or nothing.
    pub fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let temporary = self.0.join(format!(".{name}.{}", std::process::id()));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        if name == LAUNCH {
            file.sync_all()?;
        }
        std::fs::rename(&temporary, self.file(name))
    }

    /// Deletes a file; it may be missing.
    pub fn delete_file(&self, name: &str) -> io::Result<()> {
        match std::fs::remove_file(self.file(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            deleted => deleted,
        }
    }

    /// Writes what is to be started, and syncs it.
    pub fn write_launch(&self, launch: &LaunchFile) -> io::Result<()> {
        self.write(LAUNCH, &serde_json::to_string_pretty(launch)?)?;
        File::open(&self.0)?.sync_all()
    }

    /// Writes the file that the published game server library reads.
    pub fn write_allocation(&self, launch: &LaunchFile, host: &str) -> io::Result<()> {
        let allocation = AllocationFile {
            allocation_id: &launch.allocation_id,
            session_id: launch.session_id.to_string(),
            host,
            port: launch.ports.first().map_or_else(String::new, u16::to_string),
        };
        self.write(ALLOCATION, &serde_json::to_string(&allocation)?)
    }

    /// Writes the processes.
    pub fn write_pid(&self, pid: &PidFile) -> io::Result<()> {
        self.write(PID, &serde_json::to_string(pid)?)
    }

    /// Writes how the server has ended.
    pub fn write_exit(&self, exit: &ExitFile) -> io::Result<()> {
        self.write(EXIT, &serde_json::to_string(exit)?)
    }

    /// What was to be started, if the file is there and whole.
    pub fn launch(&self) -> Option<LaunchFile> {
        self.read(LAUNCH)
    }

    /// The processes, if they were started.
    pub fn pid(&self) -> Option<PidFile> {
        self.read(PID)
    }

    /// How the server has ended, if it has.
    pub fn exit(&self) -> Option<ExitFile> {
        self.read(EXIT)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(&self.text(name).ok()?).ok()
    }

    /// Reads a file that Rallypoint or a shim has written. The server could write one as well, and a larger one.
    ///
    /// # Errors
    /// If the file cannot be read, or is too large.
    pub fn text(&self, name: &str) -> io::Result<String> {
        let mut text = String::new();
        let read = File::open(self.file(name))?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
        if read as u64 > FILE_BYTES_MAX {
            return Err(ErrorKind::FileTooLarge.into());
        }
        Ok(text)
    }

    /// The path of the file whose lock says that the server lives.
    pub fn alive(&self) -> PathBuf {
        self.file(ALIVE)
    }

    /// Whether an open file is the one at [`Self::alive`].
    pub fn is_alive_file(&self, open: &File) -> io::Result<bool> {
        let (open, alive) = (open.metadata()?, std::fs::metadata(self.alive())?);
        Ok((open.dev(), open.ino()) == (alive.dev(), alive.ino()))
    }

    /// Takes the lock that says that the server lives; `None` if a server, or its shim, has it.
    pub fn try_lock(&self) -> io::Result<Option<File>> {
        let mut options = OpenOptions::new();
        let file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(self.alive())?;
        try_lock(&file).map(|is_locked| is_locked.then_some(file))
    }
}

/// Takes the lock of an open file, if nobody has it.
pub fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
