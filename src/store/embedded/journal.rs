//! Reads the engine's journal files without changing them.
//!
//! A journal is a list of batches, each written by one commit:
//!
//! ```text
//! 01 <number of items: u32> <sequence number: u64>
//! 02 <type: u8> <compression: u8> <keyspace: u64> <key length: u16> <value length: u32> <stored length: u32> <key> <value>
//! 04 <keyspace: u64>                                                            the keyspace is emptied
//! 03 <XXH3-64 of all items: u64> "FJL" 03
//! ```
//!
//! Numbers are little-endian. The engine creates a journal with zeros at its end, which it overwrites.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::link::{LINK_KEY, Link, Secret};
use super::search::search;

pub const TAG_START: u8 = 1;
pub const TAG_ITEM: u8 = 2;
pub const TAG_END: u8 = 3;
pub const TAG_CLEAR: u8 = 4;
pub const TRAILER: [u8; 4] = *b"FJL\x03";
/// Length of a batch's first entry, in bytes.
pub const START_BYTES: usize = 13;
/// Bytes that are read at once.
const CHUNK_BYTES: usize = 1 << 20;
/// Bytes that are read at once to read batches.
const BUFFER_BYTES: usize = 64 << 10;

/// A journal file.
#[derive(Clone, Debug)]
pub struct Journal {
    /// Its number. Numbers are consecutive; the highest journal is the one that is written.
    pub id: u64,
    pub path: PathBuf,
}

impl Journal {
    /// Its file name, for messages.
    pub fn name(&self) -> String {
        format!("{}.jnl", self.id)
    }
}

/// A whole batch whose checksum is right.
#[derive(Debug, Default)]
pub struct Batch {
    /// The engine's number of the batch. Later batches have higher numbers.
    pub seqno: u64,
    /// The keyspaces that the batch changes.
    pub keyspaces: Vec<u64>,
    /// The keyspace and content of the link. Batches of older servers have no link.
    pub link: Option<(u64, Link)>,
}

/// The journals in the folder of the store, oldest first.
///
/// # Errors
/// An error of the operating system.
pub fn list(folder: &Path) -> io::Result<Vec<Journal>> {
    let mut journals = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let is_journal = path.extension().is_some_and(|extension| extension == "jnl");
        let id = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let Some(id) = id.filter(|_| is_journal) {
            journals.push(Journal { id, path });
        }
    }
    journals.sort_by_key(|journal| journal.id);
    Ok(journals)
}

/// Calls `visit` with the offset of each batch and the batch, until one is not whole. Returns the offset at which no
/// whole batch begins.
///
/// # Errors
/// An error of the operating system, or the error of `visit`.
pub fn read<E: From<io::Error>>(
    path: &Path,
    mut visit: impl FnMut(u64, Batch) -> Result<(), E>,
) -> Result<u64, E> {
    let mut reader = Counted { reader: open_at(path, 0)?, bytes: 0 };
    let mut offset = 0;
    while let Some(batch) = read_batch(&mut reader)? {
        visit(offset, batch)?;
        offset = reader.bytes;
    }
    Ok(offset)
}

/// Number of bytes from `offset` to the last byte that is not zero.
///
/// # Errors
/// An error of the operating system.
pub fn written_after(path: &Path, offset: u64) -> io::Result<u64> {
    static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let (mut read, mut written) = (0_u64, 0_u64);
    loop {
        let length = file.read(&mut chunk)?;
        if length == 0 {
            return Ok(written);
        }
        let bytes = &chunk[..length];
        // Comparing slices is fast, also for the 64 MiB of zeros at the end of a new journal.
        if bytes != &ZEROS[..length] {
            let last = bytes.iter().rposition(|&byte| byte != 0).unwrap_or_default();
            written = read + last as u64 + 1;
        }
        read += length as u64;
    }
}

/// The whole batch that begins at `offset`, if there is one.
///
/// # Errors
/// An error of the operating system.
pub fn batch_at(path: &Path, offset: u64) -> io::Result<Option<Batch>> {
    read_batch(&mut open_at(path, offset)?)
}

/// Offsets of the whole batches that begin at `offset` or later, the last one first. If none begins at `offset`, see
/// [`batches_after`].
///
/// # Errors
/// An error of the operating system.
pub fn batches_from(path: &Path, offset: u64, secret: Option<Secret>) -> io::Result<Vec<u64>> {
    let mut batches = batches_after(path, offset, secret)?;
    batches.extend(batch_at(path, offset)?.map(|_| offset));
    Ok(batches)
}

/// Offsets of the whole batches that begin after `offset`, at which none begins, the last one first. See
/// [`search`](super::search).
///
/// # Errors
/// An error of the operating system.
pub fn batches_after(path: &Path, offset: u64, secret: Option<Secret>) -> io::Result<Vec<u64>> {
    let mut bytes = Vec::new();
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    file.take(written_after(path, offset)?).read_to_end(&mut bytes)?;
    Ok(search(&bytes, secret).starts.into_iter().map(|start| offset + start as u64).collect())
}

fn open_at(path: &Path, offset: u64) -> io::Result<BufReader<File>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    Ok(BufReader::with_capacity(BUFFER_BYTES, file))
}

/// Counts the bytes that were read.
struct Counted<R> {
    reader: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.reader.read(buffer)?;
        self.bytes += length as u64;
        Ok(length)
    }
}

/// Reads a batch, or returns `None` if the next bytes are not a whole batch.
fn read_batch(reader: &mut impl Read) -> io::Result<Option<Batch>> {
    match read_entries(reader) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        read => read,
    }
}

fn read_entries(reader: &mut impl Read) -> io::Result<Option<Batch>> {
    let start: [u8; START_BYTES] = take(reader)?;
    if start[0] != TAG_START {
        return Ok(None);
    }
    let items = u32_at(&start, 1);
    let mut batch = Batch { seqno: u64_at(&start, 5), ..Batch::default() };
    let mut digest = Xxh3::new();
    for _ in 0..items {
        let [tag] = take(reader)?;
        digest.update(&[tag]);
        match tag {
            TAG_ITEM => read_item(reader, &mut digest, &mut batch)?,
            TAG_CLEAR => {
                let keyspace: [u8; 8] = take(reader)?;
                digest.update(&keyspace);
                batch.changes(u64::from_le_bytes(keyspace));
            }
            _ => return Ok(None),
        }
    }
    let end: [u8; 13] = take(reader)?;
    let is_whole = end[0] == TAG_END && u64_at(&end, 1) == digest.digest() && end[9..] == TRAILER;
    Ok(is_whole.then_some(batch))
}

fn read_item(reader: &mut impl Read, digest: &mut Xxh3, batch: &mut Batch) -> io::Result<()> {
    let head: [u8; 20] = take(reader)?;
    digest.update(&head);
    let keyspace = u64_at(&head, 2);
    let key_length = usize::from(u16::from_le_bytes([head[10], head[11]]));
    let value_length = u64::from(u32_at(&head, 16));
    batch.changes(keyspace);
    let mut key = vec![0; key_length];
    reader.read_exact(&mut key)?;
    digest.update(&key);
    if key == LINK_KEY && value_length <= Link::BYTES_MAX as u64 {
        let mut value = vec![0; value_length as usize];
        reader.read_exact(&mut value)?;
        digest.update(&value);
        batch.link = Link::decode(&value).map(|link| (keyspace, link));
        return Ok(());
    }
    // In pieces: in a damaged item the length may be wrong.
    let mut left = value_length;
    let mut piece = [0; 4_096];
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        reader.read_exact(&mut piece[..length])?;
        digest.update(&piece[..length]);
        left -= length as u64;
    }
    Ok(())
}

impl Batch {
    fn changes(&mut self, keyspace: u64) {
        if !self.keyspaces.contains(&keyspace) {
            self.keyspaces.push(keyspace);
        }
    }
}

fn take<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}
