//! Copies a damaged store as it was at a moment before the damage.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::acknowledged::Acknowledged;
use super::inspect::{Cut, Damage, Fault, inspect};
use super::{Embedded, LOCK_FILE, refusal, sync_directory, unusable};
use crate::private_dir;
use crate::store::StoreError;

/// Folder in the target where the copy is made.
const BUILDING: &str = "store.new";

/// What was left out of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvaged {
    /// The damage.
    pub what: String,
    /// The journal that was cut.
    pub journal: PathBuf,
    /// Length of the part of that journal that was left out, in bytes, without unused bytes at its end.
    pub bytes: u64,
    /// Later journals, which were left out as a whole.
    pub later: usize,
}

/// See [`Embedded::salvage`].
///
/// # Errors
/// See [`Embedded::salvage`].
pub fn salvage(from: &Path, to: &Path) -> Result<Salvaged, StoreError> {
    let folder = Embedded::folder(from);
    let Damage { what, cut } = match inspect(&folder) {
        Ok(_) => return Err(StoreError::Failed("the store is not damaged: start a server on it".into())),
        Err(Fault::Damaged(damage)) => damage,
        Err(fault) => return Err(refusal(from, fault)),
    };
    let Some(cut) = cut else {
        return Err(refusal(from, Fault::Damaged(Damage { what, cut: None })));
    };
    let target = Embedded::folder(to);
    if target.exists() {
        let message = format!("{} exists: name a directory without a store", target.display());
        return Err(StoreError::Failed(message));
    }
    let bytes =
        super::journal::written_after(&cut.journal, cut.at).map_err(|error| unusable(from, &error))?;
    let building = to.join(BUILDING);
    private_dir::create(to).map_err(|error| unusable(to, &error))?;
    let copied = copy_before(&folder, &building, &cut).and_then(|()| fs::rename(&building, &target));
    copied.map_err(|error| unusable(to, &error))?;
    sync_directory(to)?;
    Ok(Salvaged { what, journal: cut.journal, bytes, later: cut.later.len() })
}

fn copy_before(folder: &Path, building: &Path, cut: &Cut) -> io::Result<()> {
    // What an interrupted copy left would get mixed with this one.
    match fs::remove_dir_all(building) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    copy(folder, building, &|path| {
        let is_left_out = cut.later.iter().any(|journal| journal == path)
            || path == Acknowledged::path(folder)
            || path == folder.join(LOCK_FILE);
        !is_left_out
    })?;
    let name = cut.journal.file_name().unwrap_or_default();
    let journal = OpenOptions::new().write(true).open(building.join(name))?;
    journal.set_len(cut.at)?;
    journal.sync_all()?;
    fs::File::create(building.join(LOCK_FILE))?.sync_all()?;
    fs::File::open(building)?.sync_all()
}

fn copy(from: &Path, to: &Path, is_wanted: &dyn Fn(&Path) -> bool) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target, is_wanted)?;
        } else if is_wanted(&path) {
            fs::copy(&path, &target)?;
            fs::File::open(&target)?.sync_all()?;
        }
    }
    fs::File::open(to)?.sync_all()
}
