//! The id of this node. It stays the same after a restart, so that the node finds the servers that it has started.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use uuid::Uuid;

use crate::env::Entropy;
use crate::file_lock::lock_soon;
use crate::private_dir;

/// The name of the file in the data directory.
const FILE: &str = "node-id";

/// The id of a node. While it exists, no other process has it.
pub struct NodeId {
    /// The id.
    pub id: Uuid,
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
        if let Ok(id) = text.trim().parse() {
            return Ok(Self { id, _file: file });
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
        Ok(Self { id, _file: file })
    }
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
        let id = first.id;
        drop(first);
        assert_eq!(load().unwrap().id, id);
        std::fs::write(dir.path().join(FILE), "none").unwrap();
        assert!(load().err().unwrap().contains("this is no id"));
        std::fs::write(dir.path().join(FILE), "").unwrap();
        assert_ne!(load().unwrap().id, id);
    }
}
