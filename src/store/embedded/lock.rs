//! Locks, so that only one process uses a data directory.
//!
//! The engine locks a file. A file can be deleted and made again, and a second process would lock the new one. So the
//! directory itself is locked as well: it cannot be replaced without its content. The lock of the file stays, because
//! older servers know no other.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::Path;

use super::{Embedded, LOCK_FILE, unusable};
use crate::file_lock::lock_soon;
use crate::store::StoreError;

/// Locks the directory `data_dir` until the file is dropped. Returns `None` if there is no directory, or if its file
/// system has no locks for directories, as with NFS. Then only the lock of the file is left.
///
/// # Errors
/// [`StoreError::InUse`] if another process has the lock, [`StoreError::Failed`] if the directory cannot be opened.
pub fn lock_directory(data_dir: &Path) -> Result<Option<File>, StoreError> {
    let Some(directory) = open(data_dir, data_dir, OpenOptions::new().read(true))? else { return Ok(None) };
    match lock_soon(&directory) {
        Ok(()) => Ok(Some(directory)),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { dir: data_dir.into() }),
        Err(TryLockError::Error(error)) => {
            tracing::warn!(%error, "the data directory cannot be locked; a second server is noticed by store/lock only");
            Ok(None)
        }
    }
}

/// Takes the engine's lock of the store in `data_dir` until the file is dropped. Returns `None` if there is no such
/// file.
///
/// # Errors
/// [`StoreError::InUse`] if another process has the lock, [`StoreError::Failed`] if the file cannot be opened or
/// locked.
pub fn lock_file(data_dir: &Path, options: &OpenOptions) -> Result<Option<File>, StoreError> {
    let path = Embedded::folder(data_dir).join(LOCK_FILE);
    let Some(file) = open(data_dir, &path, options)? else { return Ok(None) };
    match lock_soon(&file) {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { dir: data_dir.into() }),
        Err(TryLockError::Error(error)) => Err(unusable(data_dir, &error)),
    }
}

/// Opens a file or a directory; `None` if it does not exist.
fn open(data_dir: &Path, path: &Path, options: &OpenOptions) -> Result<Option<File>, StoreError> {
    match options.open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(data_dir, &error)),
    }
}
