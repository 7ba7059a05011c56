//! Copies a damaged store as it was at a moment before the damage.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::acknowledged::Acknowledged;
use super::inspect::{Cut, Damage, Fault, inspect};
use super::{Embedded, LOCK_FILE, journal, refusal, sync_directory, unusable};
use crate::private_dir;
use crate::store::StoreError;

/// Folder in the target where the copy is made.
const BUILDING: &str = "store.new";

/// A copy of a damaged store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvaged {
    /// The damage.
    pub what: String,
    /// What was left out of the copy.
    pub left_out: Vec<LeftOut>,
}

/// A part of the journals that was left out of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The journal that was cut.
    pub journal: PathBuf,
    /// Number of bytes of that journal that were left out, without unused bytes at its end.
    pub bytes: u64,
    /// Whether the tables have the changes that were in these bytes, so that nothing is lost.
    pub is_in_tables: bool,
    /// Later journals, which were left out as a whole.
    pub later: usize,
    /// Whole batches, each with the changes of one or more commits, that were left out although they can be read. They
    /// belong to a state of which a part is missing.
    pub batches: usize,
}

/// See [`Embedded::salvage`].
///
/// # Errors
/// See [`Embedded::salvage`].
pub fn salvage(from: &Path, to: &Path) -> Result<Salvaged, StoreError> {
    let folder = Embedded::folder(from);
    let what = match inspect(&folder) {
        Ok(_) => return Err(StoreError::Failed("the store is not damaged: start a server on it".into())),
        Err(Fault::Damaged(Damage { what, cut: Some(_) })) => what,
        Err(fault) => return Err(refusal(from, fault)),
    };
    let target = Embedded::folder(to);
    if target.exists() {
        let message = format!("{} exists: name a directory without a store", target.display());
        return Err(StoreError::Failed(message));
    }
    let building = to.join(BUILDING);
    private_dir::create(to).map_err(|error| unusable(to, &error))?;
    copy_whole(&folder, &building).map_err(|error| unusable(to, &error))?;
    let mut left_out = mend(&building).map_err(|fault| refusal(from, fault))?;
    finish(&building, &target).map_err(|error| unusable(to, &error))?;
    sync_directory(to)?;
    for part in &mut left_out {
        part.journal = folder.join(part.journal.file_name().unwrap_or_default());
    }
    Ok(Salvaged { what, left_out })
}

fn copy_whole(folder: &Path, building: &Path) -> io::Result<()> {
    // What an interrupted copy left would get mixed with this one.
    match fs::remove_dir_all(building) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    copy(folder, building, &|path| path != folder.join(LOCK_FILE))
}

/// Removes damaged parts until a part is lost, or no damage is left.
fn mend(building: &Path) -> Result<Vec<LeftOut>, Fault> {
    let mut left_out: Vec<LeftOut> = Vec::new();
    while left_out.last().is_none_or(|part| part.is_in_tables) {
        match inspect(building) {
            Ok(_) => break,
            Err(Fault::Damaged(Damage { cut: Some(cut), .. })) => left_out.push(remove(&cut)?),
            Err(fault) => return Err(fault),
        }
    }
    Ok(left_out)
}

/// Removes the part of the journals that a cut names.
fn remove(cut: &Cut) -> io::Result<LeftOut> {
    let Cut { journal, at, resume, later, secret } = cut;
    let mut left_out = LeftOut {
        journal: journal.clone(),
        bytes: journal::written_after(journal, *at)?,
        is_in_tables: resume.is_some(),
        later: 0,
        batches: 0,
    };
    let mut file = OpenOptions::new().read(true).write(true).open(journal)?;
    let mut kept = Vec::new();
    if let Some(resume) = resume {
        let written = at + left_out.bytes;
        left_out.bytes = resume - at;
        file.seek(SeekFrom::Start(*resume))?;
        (&file).take(written.saturating_sub(*resume)).read_to_end(&mut kept)?;
    } else {
        left_out.batches = journal::batches_from(journal, *at, *secret)?.len();
        for journal in later {
            left_out.batches += journal::batches_from(journal, 0, *secret)?.len();
            left_out.later += 1;
            fs::remove_file(journal)?;
        }
    }
    file.set_len(*at)?;
    file.seek(SeekFrom::End(0))?;
    file.write_all(&kept)?;
    file.sync_all()?;
    Ok(left_out)
}

/// Gives the copy its name. It gets a new file with the newest change, which may be among those left out.
fn finish(building: &Path, target: &Path) -> io::Result<()> {
    match fs::remove_file(Acknowledged::path(building)) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::File::create(building.join(LOCK_FILE))?.sync_all()?;
    fs::File::open(building)?.sync_all()?;
    fs::rename(building, target)
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
