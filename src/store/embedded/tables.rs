//! Reads the engine's tables without changing them: which tables a keyspace has, and up to which batch.
//!
//! The folder of a keyspace has the file `current`, which names a version: the file `v<number>`, with its checksum. The
//! version lists the tables in the folder `tables`, each with its checksum. Versions and tables are archives: sections
//! one after the other, then their list, then a trailer.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// File of a keyspace that names its version.
pub const CURRENT: &str = "current";
const TABLES: &str = "tables";
const TRAILER_BYTES: u64 = 38;
const TRAILER_START: [u8; 6] = *b"SFA!\x01\x00";
const LIST_START: [u8; 4] = *b"TOC!";
const BLOCK_START: [u8; 4] = *b"LSM\x03";
/// Length of the header of a block: magic bytes, type, checksum, two lengths, checksum of the header.
const BLOCK_HEADER_BYTES: usize = 33;
/// The entry of a table's metadata that has the highest sequence number: length and bytes of the name, length of the
/// value.
const HIGHEST_SEQNO: &[u8] = b"\x09seqno#max\x08";
/// Largest list of sections or metadata, in bytes. They are a few kilobytes; a larger one is damaged.
const READ_BYTES_MAX: u64 = 64 << 20;

/// A table of a keyspace.
#[derive(Debug)]
pub struct Table {
    pub path: PathBuf,
    /// XXH3-128 of the file.
    pub checksum: u128,
    /// Its size, in bytes.
    pub bytes: u64,
    /// The highest sequence number in it.
    pub highest_seqno: u64,
}

/// Why tables cannot be used.
#[derive(Debug)]
pub enum TableError {
    /// The operating system could not read a file.
    Io(PathBuf, io::Error),
    /// A file is damaged or missing: what is wrong, with the file's name.
    Damaged(String),
}

/// Lists the tables of the keyspace in `dir`.
///
/// # Errors
/// [`TableError`] if a file is missing, damaged, or cannot be read. Only lists and metadata are read, not the values.
pub fn list(dir: &Path) -> Result<Vec<Table>, TableError> {
    let current = read_file(&dir.join(CURRENT))?;
    let damaged = || TableError::Damaged(format!("{} is damaged", dir.join(CURRENT).display()));
    let mut fields = Fields(&current);
    let number = fields.u64().ok_or_else(damaged)?;
    let checksum = fields.u128().ok_or_else(damaged)?;
    let version = dir.join(format!("v{number}"));
    let content = read_file(&version)?;
    let damaged = || TableError::Damaged(format!("{} is damaged", version.display()));
    if xxh3_128(&content) != checksum {
        return Err(damaged());
    }
    let section = section(&content, b"tables").ok_or_else(damaged)?;
    let listed = tables_of(section).ok_or_else(damaged)?;
    let tables = listed.into_iter().map(|(number, checksum, added)| {
        let path = dir.join(TABLES).join(number.to_string());
        let (bytes, highest) = size_and_highest_seqno(&path)?;
        Ok(Table { path, checksum, bytes, highest_seqno: highest.saturating_add(added) })
    });
    tables.collect()
}

/// Compares a table with its checksum. Reads the whole file.
///
/// # Errors
/// [`TableError`] if the table is damaged or cannot be read.
pub fn verify(table: &Table) -> Result<(), TableError> {
    let failed = |error| failed(&table.path, error);
    let mut file = File::open(&table.path).map_err(failed)?;
    let (mut digest, mut chunk) = (Xxh3::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut chunk).map_err(failed)? {
            0 => break,
            length => digest.update(&chunk[..length]),
        }
    }
    if digest.digest128() == table.checksum {
        return Ok(());
    }
    Err(TableError::Damaged(format!("the table {} is damaged", table.path.display())))
}

/// Number, checksum and added sequence number of each table in the section of a version.
fn tables_of(section: &[u8]) -> Option<Vec<(u64, u128, u64)>> {
    let mut fields = Fields(section);
    let mut tables = Vec::new();
    for _level in 0..fields.u8()? {
        for _run in 0..fields.u8()? {
            for _table in 0..fields.u32()? {
                let number = fields.u64()?;
                let _checksum_type = fields.u8()?;
                tables.push((number, fields.u128()?, fields.u64()?));
            }
        }
    }
    Some(tables)
}

/// The size of a table in bytes, and the highest sequence number in it, from its metadata.
fn size_and_highest_seqno(path: &Path) -> Result<(u64, u64), TableError> {
    let failed = |error| failed(path, error);
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let found = read_metadata(&file, length).map_err(failed)?.map(|highest| (length, highest));
    found.ok_or_else(|| TableError::Damaged(format!("the table {} is damaged", path.display())))
}

fn read_metadata(file: &File, length: u64) -> io::Result<Option<u64>> {
    let Some(trailer_at) = length.checked_sub(TRAILER_BYTES) else { return Ok(None) };
    let Some(trailer) = read_at(file, trailer_at, TRAILER_BYTES)? else { return Ok(None) };
    let Some((checksum, list_at)) = parse_trailer(&trailer) else { return Ok(None) };
    let Some(list_bytes) = trailer_at.checked_sub(list_at) else { return Ok(None) };
    let Some(list) = read_at(file, list_at, list_bytes)? else { return Ok(None) };
    if xxh3_128(&list) != checksum {
        return Ok(None);
    }
    let Some((at, bytes)) = find_section(&list, b"meta") else { return Ok(None) };
    let Some(block) = read_at(file, at, bytes)? else { return Ok(None) };
    Ok(highest_seqno_of(&block))
}

/// The entry [`HIGHEST_SEQNO`] of a block of metadata.
fn highest_seqno_of(block: &[u8]) -> Option<u64> {
    let (header, content) = block.split_at_checked(BLOCK_HEADER_BYTES)?;
    let mut fields = Fields(header.strip_prefix(&BLOCK_START)?);
    let _type = fields.u8()?;
    if fields.u128()? != xxh3_128(content) {
        return None;
    }
    // The last occurrence: keys of the table, which can be any bytes, come before it.
    let at = content.windows(HIGHEST_SEQNO.len()).rposition(|bytes| bytes == HIGHEST_SEQNO)?;
    Fields(&content[at + HIGHEST_SEQNO.len()..]).u64()
}

/// The checksum and the offset of the list of sections.
fn parse_trailer(trailer: &[u8]) -> Option<(u128, u64)> {
    let mut fields = Fields(trailer.strip_prefix(&TRAILER_START)?);
    Some((fields.u128()?, fields.u64()?))
}

/// Offset and length of a section.
fn find_section(list: &[u8], name: &[u8]) -> Option<(u64, u64)> {
    let mut fields = Fields(list.strip_prefix(&LIST_START)?);
    for _ in 0..fields.u32()? {
        let (at, bytes, length) = (fields.u64()?, fields.u64()?, fields.u16()?);
        if fields.bytes(usize::from(length))? == name {
            return Some((at, bytes));
        }
    }
    None
}

/// The content of a section of an archive.
fn section<'a>(archive: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let trailer_at = archive.len().checked_sub(TRAILER_BYTES as usize)?;
    let (_, list_at) = parse_trailer(&archive[trailer_at..])?;
    let list = archive.get(usize::try_from(list_at).ok()?..trailer_at)?;
    let (at, bytes) = find_section(list, name)?;
    let at = usize::try_from(at).ok()?;
    archive.get(at..at.checked_add(usize::try_from(bytes).ok()?)?)
}

/// Reads `bytes` bytes; `None` if the file ends before, or if they are too many.
fn read_at(file: &File, offset: u64, bytes: u64) -> io::Result<Option<Vec<u8>>> {
    if bytes > READ_BYTES_MAX {
        return Ok(None);
    }
    let mut content = vec![0; bytes as usize];
    match file.read_exact_at(&mut content, offset) {
        Ok(()) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, TableError> {
    std::fs::read(path).map_err(|error| failed(path, error))
}

fn failed(path: &Path, error: io::Error) -> TableError {
    match error.kind() {
        ErrorKind::NotFound => TableError::Damaged(format!("{} is missing", path.display())),
        _ => TableError::Io(path.into(), error),
    }
}

/// Little-endian numbers, one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }
}
