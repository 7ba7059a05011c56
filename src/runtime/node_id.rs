//! The id of this node. It stays the same after a restart, so that the node finds the servers that it has started.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use uuid::Uuid;

use crate::app::App;
use crate::env::Entropy;
use crate::file_lock::lock_soon;
use crate::private_dir;

/// The name of the file in the data directory.
const FILE: &str = "node-id";
/// The file that tells one start of this machine from all others, where there is `/proc`.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// How often a start looks whether the id is free.
const HOLD_PAUSE: Duration = Duration::from_secs(1);

/// The id of a node. While it exists, no other process of this machine has the file.
pub struct NodeId {
    /// The id.
    pub id: Uuid,
    /// Tells the file from its copies: the start of this machine, and the numbers of the file. A process that starts
    /// with the same text comes after the earlier one, because that one has the lock until its end. A copy, on this
    /// machine or on a clone of it, has another text; so has the same file after a restart of the machine.
    pub directory: String,
    /// Holds the lock.
    _file: File,
}

impl NodeId {
    /// Reads the id from the data directory, or makes one.
    ///
    /// # Errors
    /// If another process has it, or if the file cannot be used. The message says what to do.
    pub fn load_or_create(data_dir: &Path, entropy: &Entropy) -> Result<Self, String> {
        let path = data_dir.join(FILE);
        let unusable = |error: std::io::Error| format!("{}: {error}", path.display());
        private_dir::create(data_dir).map_err(unusable)?;
        let options =
            || OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).to_owned();
        let mut file = options().open(&path).map_err(unusable)?;
        match lock_soon(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(format!(
                    "{} belongs to another server that runs: servers that launch game servers need a data_dir each",
                    path.display()
                ));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(unusable)?;
        let directory = directory(&file, entropy).map_err(unusable)?;
        if let Ok(id) = text.trim().parse() {
            return Ok(Self { id, directory, _file: file });
        }
        // Empty after a crash during the first start: nothing can have the id that was to be written.
        if !text.is_empty() {
            return Err(format!(
                "{}: this is no id; delete the file if no game server of this node runs",
                path.display()
            ));
        }
        let id = entropy.uuid();
        file.rewind()
            .and_then(|()| writeln!(file, "{id}"))
            .and_then(|()| file.sync_all())
            .map_err(unusable)?;
        Ok(Self { id, directory, _file: file })
    }
}

/// See [`NodeId::directory`].
fn directory(file: &File, entropy: &Entropy) -> std::io::Result<String> {
    let metadata = file.metadata()?;
    // Elsewhere each process has another text: a file and its copy on another machine cannot be told apart.
    let boot = std::fs::read_to_string(BOOT_ID).unwrap_or_else(|_| entropy.uuid().to_string());
    Ok(format!("{}/{}/{}", boot.trim(), metadata.dev(), metadata.ino()))
}

/// Takes the id of this node for this process, among all nodes on the store. A process with the same id and another
/// data directory may have ended; then its record grows old. If that process lives, it renews the record.
///
/// # Errors
/// If it lives, or if the store fails. The message says what to do.
pub async fn hold(app: &App, data_dir: &Path) -> Result<(), String> {
    let path = data_dir.join(FILE);
    let mut first = None;
    while let Some(other) = app.launches.hold_id().await.map_err(|error| error.to_string())? {
        match first {
            None => tracing::warn!(
                "{}: a server with this id was alive within the last 40 s, with another data directory or before a restart \
                 of this machine; this start waits until that server counts as lost",
                path.display()
            ),
            Some(first) if first != other => {
                return Err(format!(
                    "{}: another server that runs has this id, because one of the two data directories is a copy; in the \
                     copy, delete this file and the folder servers beside it",
                    path.display()
                ));
            }
            Some(_) => {}
        }
        first = Some(other);
        tokio::time::sleep(HOLD_PAUSE).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_and_belongs_to_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let entropy = Entropy::seeded(1);
        let load = || NodeId::load_or_create(dir.path(), &entropy);
        let first = load().unwrap();
        assert!(load().err().unwrap().contains("another server"));
        let (id, directory) = (first.id, first.directory.clone());
        drop(first);
        let again = load().unwrap();
        assert_eq!(again.id, id);
        if Path::new(BOOT_ID).exists() {
            assert_eq!(again.directory, directory);
        }
        let copy = tempfile::tempdir().unwrap();
        std::fs::copy(dir.path().join(FILE), copy.path().join(FILE)).unwrap();
        let copy = NodeId::load_or_create(copy.path(), &entropy).unwrap();
        assert_eq!(copy.id, id);
        assert_ne!(copy.directory, directory);
        drop(again);
        std::fs::write(dir.path().join(FILE), "none").unwrap();
        assert!(load().err().unwrap().contains("this is no id"));
        std::fs::write(dir.path().join(FILE), "").unwrap();
        assert_ne!(load().unwrap().id, id);
    }
}
