//! Creates a store under another name and renames it once it is whole. So a creation that is interrupted leaves nothing
//! that a later start would have to understand.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::Path;

use super::{Embedded, FORMAT, FORMAT_KEY, Fjall, LOCK_FILE, sync_directory, unusable};
use crate::store::{Engine as _, StoreError};

/// Folder in the data directory where a new store is built.
const BUILDING: &str = "store.new";

/// Whether there is no store in `data_dir` yet. An empty folder is no store.
///
/// # Errors
/// [`StoreError::Failed`] if the folder cannot be read.
pub fn is_needed(data_dir: &Path) -> Result<bool, StoreError> {
    match std::fs::read_dir(Embedded::folder(data_dir)) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(unusable(data_dir, &error)),
    }
}

/// Creates the store in `data_dir`.
///
/// # Errors
/// [`StoreError::InUse`] if another server creates it at this moment, [`StoreError::Failed`] if it cannot be written.
/// Then nothing is left.
pub fn create(data_dir: &Path) -> Result<(), StoreError> {
    let building = data_dir.join(BUILDING);
    remove_leftover(data_dir, &building)?;
    let created = build(data_dir, &building).and_then(|()| {
        match std::fs::rename(&building, Embedded::folder(data_dir)) {
            Ok(()) => sync_directory(data_dir),
            // Another server was faster.
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
                Err(StoreError::InUse { dir: data_dir.into() })
            }
            Err(error) => Err(unusable(data_dir, &error)),
        }
    });
    created.inspect_err(|_| {
        // If that fails too, the next start removes it.
        let _ = std::fs::remove_dir_all(&building);
    })
}

/// Removes what an interrupted creation left.
fn remove_leftover(data_dir: &Path, building: &Path) -> Result<(), StoreError> {
    if let Ok(lock) = OpenOptions::new().read(true).open(building.join(LOCK_FILE)) {
        lock.try_lock().map_err(|_| StoreError::InUse { dir: data_dir.into() })?;
    }
    match std::fs::remove_dir_all(building) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(unusable(data_dir, &error)),
        _ => Ok(()),
    }
}

fn build(data_dir: &Path, building: &Path) -> Result<(), StoreError> {
    let engine = Fjall::open_folder(data_dir, building)?;
    engine.put_meta(FORMAT_KEY, &FORMAT.to_be_bytes())?;
    engine.flush()?;
    drop(engine);
    sync_directory(building)
}
