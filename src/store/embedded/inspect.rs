//! Looks for damage in the files of the store, before the engine opens them. It changes nothing.
//!
//! The engine takes the first batch that is not whole for the end of a journal, cuts off everything after it, and opens
//! without files that are missing. After a crash that is right: only the last batch can be torn, and its commits were
//! never answered. After damage it would lose changes that were answered, or apply later changes without earlier ones.
//! The differences between the two, which this module checks:
//!
//! - after a torn batch there is no whole batch, neither in the same journal nor in a later one;
//! - each batch [links](super::link) to the batch before it; the first one in the journals links to a batch that is in
//!   the tables;
//! - the newest [acknowledged](super::acknowledged) batch is in a journal or in the tables;
//! - all files are there, and their checksums are right.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::acknowledged::Acknowledged;
use super::journal::{self, Batch, Journal};
use super::link::Secret;
use super::tables::{self, Table, TableError};

const KEYSPACES: &str = "keyspaces";
/// The keyspaces of a store: the engine's own, `data` and `meta`.
const KEYSPACES_MIN: usize = 3;
/// Size up to which a start compares tables with their checksums, in bytes. Such tables have the format number, the
/// epoch and what the engine knows of its keyspaces. The checksums of larger tables are checked when a value is read.
const VERIFIED_BYTES_MAX: u64 = 16 << 10;
/// The engine's own keyspace.
const ENGINE_KEYSPACE: u64 = 0;
const VERSION: &str = "version";
/// The content of the file `version`: the engine's format.
const VERSION_CONTENT: [u8; 4] = *b"FJL\x03";

/// What was found in files without damage.
#[derive(Debug)]
pub struct Inspection {
    /// Unfinished writes at the end of journals. Usually there are none, and after a crash one.
    pub torn: Vec<TornTail>,
    pub journals: usize,
    /// Batches in the journals.
    pub batches: u64,
    pub tables: Vec<Table>,
    /// Whether it is known which batch was acknowledged last. Otherwise the end of the newest journal may be missing.
    pub knows_newest: bool,
}

/// A write at the end of a journal that a crash interrupted. Its commits were never answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    pub journal: PathBuf,
    /// Offset of the write, in bytes.
    pub at: u64,
    /// Length of the part that was written, in bytes.
    pub bytes: u64,
}

/// Why the files cannot be opened.
#[derive(Debug)]
pub enum Fault {
    /// The operating system could not read a file.
    Io(String),
    /// The store was never used: its creation by an older server was interrupted.
    Unfinished,
    /// Another version of the engine wrote the files.
    OtherEngine,
    /// Files are damaged or missing.
    Damaged(Damage),
}

/// Damage of the files.
#[derive(Debug)]
pub struct Damage {
    /// What is damaged.
    pub what: String,
    /// Where the journals must be cut to get the store of a moment before the damage, if that is possible.
    pub cut: Option<Cut>,
}

/// A place in the journals.
#[derive(Debug)]
pub struct Cut {
    /// The journal that is cut.
    pub journal: PathBuf,
    /// The length that it keeps, in bytes.
    pub at: u64,
    /// What follows, from this offset of the journal on, is kept too: the changes in between are in the tables. `None`
    /// if they are not, so that no later change may be kept.
    pub resume: Option<u64>,
    /// Later journals. They are removed if `resume` is `None`.
    pub later: Vec<PathBuf>,
    /// The secret of the store, as far as known.
    pub secret: Option<Secret>,
}

impl Fault {
    fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(Damage { what: what.into(), cut: None })
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

impl From<TableError> for Fault {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Io(path, error) => Self::Io(format!("{}: {error}", path.display())),
            TableError::Damaged(what) => Self::damaged(what),
        }
    }
}

/// Inspects the store in `folder`. Reads the journals, the metadata of the tables, and small tables.
///
/// # Errors
/// [`Fault`] if it must not be opened.
pub fn inspect(folder: &Path) -> Result<Inspection, Fault> {
    let inspected = inspect_files(folder);
    let may_be_unused = match &inspected {
        Ok(inspection) => inspection.batches == 0 && inspection.tables.is_empty(),
        Err(Fault::Damaged(_)) => true,
        Err(_) => false,
    };
    if may_be_unused && was_never_used(folder)? { Err(Fault::Unfinished) } else { inspected }
}

/// Compares each table with its checksum. Reads all of them.
///
/// # Errors
/// [`Fault`] if a table is damaged or cannot be read.
pub fn verify_tables(tables: &[Table]) -> Result<(), Fault> {
    Ok(tables.iter().try_for_each(tables::verify)?)
}

fn inspect_files(folder: &Path) -> Result<Inspection, Fault> {
    check_version(folder)?;
    let mut flushed = BTreeMap::new();
    let mut all_tables = Vec::new();
    for (keyspace, dir) in keyspaces(folder)? {
        let tables = tables::list(&dir)?;
        tables.iter().filter(|table| table.bytes <= VERIFIED_BYTES_MAX).try_for_each(tables::verify)?;
        if keyspace != ENGINE_KEYSPACE {
            flushed.insert(keyspace, tables.iter().map(|table| table.highest_seqno).max());
            all_tables.extend(tables);
        }
    }
    let journals = journal::list(folder)?;
    let newest = Acknowledged::read(folder)?;
    let acknowledged = newest.map(|newest| newest.seqno);
    let secret = newest.and_then(|newest| newest.secret);
    let mut chain = Chain { flushed, acknowledged, secret, ..Chain::default() };
    let torn = inspect_journals(&journals, &mut chain).map_err(|fault| match fault {
        // What is before the damage is no store.
        Fault::Damaged(damage) if !chain.has_all_keyspaces() => Fault::damaged(damage.what),
        fault => fault,
    })?;
    Ok(Inspection {
        torn,
        journals: journals.len(),
        batches: chain.batches,
        tables: all_tables,
        knows_newest: newest.is_some(),
    })
}

fn check_version(folder: &Path) -> Result<(), Fault> {
    let path = folder.join(VERSION);
    match std::fs::read(&path) {
        Ok(content) if content == VERSION_CONTENT => Ok(()),
        Ok(content) if content.len() == 4 && content[..3] == VERSION_CONTENT[..3] => Err(Fault::OtherEngine),
        Ok(_) => Err(Fault::damaged(format!("{} is damaged", path.display()))),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(Fault::damaged(format!("{} is missing", path.display())))
        }
        Err(error) => Err(error.into()),
    }
}

/// The folders of the keyspaces, with their numbers.
fn keyspaces(folder: &Path) -> Result<BTreeMap<u64, PathBuf>, Fault> {
    let parent = folder.join(KEYSPACES);
    let mut found = BTreeMap::new();
    match std::fs::read_dir(&parent) {
        Ok(entries) => {
            for entry in entries {
                let entry = entry?;
                let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
                if let Some(number) = number.filter(|_| entry.path().is_dir()) {
                    found.insert(number, entry.path());
                }
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    if found.len() < KEYSPACES_MIN || !found.contains_key(&ENGINE_KEYSPACE) {
        return Err(Fault::damaged(format!("folders in {} are missing", parent.display())));
    }
    Ok(found)
}

fn inspect_journals(journals: &[Journal], chain: &mut Chain) -> Result<Vec<TornTail>, Fault> {
    let cut = |index: usize, at, resume, secret| {
        let later = journals[index + 1..].iter().map(|journal| journal.path.clone()).collect();
        Some(Cut { journal: journals[index].path.clone(), at, resume, later, secret })
    };
    let Some(last) = journals.len().checked_sub(1) else {
        return Err(Fault::damaged("all journals (*.jnl) are missing"));
    };
    let mut torn = Vec::new();
    for (index, journal) in journals.iter().enumerate() {
        let end = journal::read(&journal.path, |offset, batch| {
            chain.add(&batch).map_err(|()| {
                let what = describe_gap(journals, index, offset);
                Fault::Damaged(Damage { what, cut: cut(index, offset, None, chain.secret) })
            })
        })?;
        let bytes = journal::written_after(&journal.path, end)?;
        if bytes == 0 {
            continue;
        }
        if let Some((later, batch)) = next_batch(&journals[index..], end, chain.secret)? {
            let name = journal.name();
            let what =
                format!("{name} is damaged at byte {end}, and there are later changes after the damage");
            let resume = chain.is_next(&batch).then_some(later.unwrap_or(end + bytes));
            return Err(Fault::Damaged(Damage { what, cut: cut(index, end, resume, chain.secret) }));
        }
        torn.push(TornTail { journal: journal.path.clone(), at: end, bytes });
    }
    if !chain.has_acknowledged() {
        let journal = &journals[last];
        let what =
            format!("the newest changes are missing: they were in {}, or in a later journal", journal.name());
        let at = torn.iter().find(|torn| torn.journal == journal.path).map(|torn| torn.at);
        let at = at.map_or_else(|| journal.path.metadata().map(|file| file.len()), Ok)?;
        return Err(Fault::Damaged(Damage { what, cut: cut(last, at, None, chain.secret) }));
    }
    Ok(torn)
}

/// The first whole batch after `end` in the first journal, or in a later journal. With its offset if it is in the
/// first.
fn next_batch(
    journals: &[Journal],
    end: u64,
    secret: Option<Secret>,
) -> Result<Option<(Option<u64>, Batch)>, Fault> {
    let Some((damaged, later)) = journals.split_first() else { return Ok(None) };
    if let Some(&at) = journal::batches_after(&damaged.path, end, secret)?.last() {
        return Ok(journal::batch_at(&damaged.path, at)?.map(|batch| (Some(at), batch)));
    }
    for journal in later {
        // If the first batch of the journal is damaged, others may follow.
        if let Some(&at) = journal::batches_from(&journal.path, 0, secret)?.last()
            && let Some(batch) = journal::batch_at(&journal.path, at)?
        {
            return Ok(Some((None, batch)));
        }
    }
    Ok(None)
}

fn describe_gap(journals: &[Journal], index: usize, offset: u64) -> String {
    let name = journals[index].name();
    if offset > 0 {
        return format!("{name} is damaged in front of byte {offset}: changes before it are missing");
    }
    let before = index.checked_sub(1).map(|before| &journals[before]);
    match before {
        Some(before) if before.id + 1 == journals[index].id => {
            format!("the changes at the end of {} are missing: {name} continues after them", before.name())
        }
        _ => format!("the journal before {name} is missing: {name} continues after its changes"),
    }
}

/// Whether nothing was ever written to the store.
fn was_never_used(folder: &Path) -> Result<bool, Fault> {
    if Acknowledged::path(folder).try_exists()? {
        return Ok(false);
    }
    for journal in journal::list(folder)? {
        if !journal::batches_from(&journal.path, 0, None)?.is_empty() {
            return Ok(false);
        }
    }
    for keyspace in std::fs::read_dir(folder.join(KEYSPACES)).into_iter().flatten() {
        let keyspace = keyspace?;
        let is_engine = keyspace.file_name() == "0";
        let tables = std::fs::read_dir(keyspace.path().join("tables"));
        if !is_engine && tables.is_ok_and(|mut tables| tables.next().is_some()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The batches in the journals so far.
#[derive(Default)]
struct Chain {
    /// The highest sequence number in the tables of each keyspace.
    flushed: BTreeMap<u64, Option<u64>>,
    /// The newest batch that was acknowledged, as far as known.
    acknowledged: Option<u64>,
    found_acknowledged: bool,
    /// The secret of the store, as far as known.
    secret: Option<Secret>,
    /// The newest batch that changed each keyspace.
    newest: BTreeMap<u64, u64>,
    /// The keyspace that has the links: `data`.
    linked_keyspace: Option<u64>,
    batches: u64,
}

impl Chain {
    /// Adds the next batch. An error means that batches in front of it are missing.
    fn add(&mut self, batch: &Batch) -> Result<(), ()> {
        if let Some((keyspace, link)) = batch.link {
            if link.after != 0 && !self.is_followed_by(keyspace, link.after) {
                return Err(());
            }
            // A batch before the first one in the journals is in the tables.
            let is_first = self.linked_keyspace.is_none();
            self.found_acknowledged |=
                is_first && self.acknowledged.is_some_and(|newest| newest < link.after);
            self.linked_keyspace = Some(keyspace);
            self.secret = link.secret.or(self.secret);
        }
        self.found_acknowledged |= self.acknowledged == Some(batch.seqno);
        for keyspace in &batch.keyspaces {
            self.newest.insert(*keyspace, batch.seqno);
        }
        self.batches += 1;
        Ok(())
    }

    /// Whether `batch`, which is after damage, can follow the batches so far: the store wrote it, and the tables have
    /// all batches before it.
    fn is_next(&self, batch: &Batch) -> bool {
        let Some((keyspace, link)) = batch.link else { return false };
        let is_own = self.secret.is_some() && link.secret == self.secret;
        is_own
            && self.newest.get(&keyspace).is_none_or(|&newest| newest < link.after)
            && link.after != 0
            && self.is_flushed(keyspace, link.after)
    }

    /// Whether no batch is missing between the batches so far and one whose link has `after`. The end of a journal may
    /// be cut off although the tables have more: a journal is kept until all of its keyspaces are in tables.
    fn is_followed_by(&self, keyspace: u64, after: u64) -> bool {
        let newest = self.newest.get(&keyspace).copied();
        let is_in_order = newest.is_none_or(|newest| newest < after);
        newest.is_some_and(|newest| newest + 1 == after) || is_in_order && self.is_flushed(keyspace, after)
    }

    /// Whether the tables have all batches before one whose link has `after`.
    fn is_flushed(&self, keyspace: u64, after: u64) -> bool {
        self.flushed_of(keyspace).is_some_and(|flushed| after <= flushed + 1)
    }

    /// Whether something of each keyspace was found.
    fn has_all_keyspaces(&self) -> bool {
        self.flushed.iter().all(|(keyspace, flushed)| flushed.is_some() || self.newest.contains_key(keyspace))
    }

    fn flushed_of(&self, keyspace: u64) -> Option<u64> {
        self.flushed.get(&keyspace).copied().flatten()
    }

    /// Whether the newest acknowledged batch is in a journal or in the tables.
    fn has_acknowledged(&self) -> bool {
        let Some(acknowledged) = self.acknowledged else { return true };
        let flushed = match self.linked_keyspace {
            Some(keyspace) => self.flushed_of(keyspace),
            None => self.flushed.values().copied().max().flatten(),
        };
        self.found_acknowledged || flushed.is_some_and(|flushed| acknowledged <= flushed)
    }
}
