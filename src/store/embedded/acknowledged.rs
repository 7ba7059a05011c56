//! The file `acknowledged`: the sequence number of the newest batch that is durable, and whose commits may have been
//! answered. A start compares it with the journals, and so finds out if the end of the newest journal, or the whole
//! journal, is gone.
//!
//! The number is written after the batch is durable, and without an fsync. So it is never too high. It survives the end
//! of the process; after a power failure it may be some seconds old.
//!
//! The file also has the secret of the [links](super::link), because the batches with links may be in tables.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::xxh3_64;

use super::link::Secret;

const FILE: &str = "acknowledged";
/// The number is written to two slots in turn, so that one of them is always whole. They lie in two disk sectors.
const SLOT_BYTES: usize = 512;
const SLOTS: u64 = 2;

/// Length of the number and its checksum in a slot. The secret and a checksum of everything follow.
const SEQNO_BYTES: usize = 16;

/// The content of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest {
    /// Sequence number of the newest batch.
    pub seqno: u64,
    /// The secret of the store. Older servers wrote none.
    pub secret: Option<Secret>,
}

/// The open file.
#[derive(Debug)]
pub struct Acknowledged {
    file: File,
    writes: AtomicU64,
}

impl Acknowledged {
    /// The file in the folder of the store.
    pub fn path(folder: &Path) -> PathBuf {
        folder.join(FILE)
    }

    /// Reads the file. `None` if there is no file, or no whole number in it.
    ///
    /// # Errors
    /// An error of the operating system.
    pub fn read(folder: &Path) -> io::Result<Option<Newest>> {
        let mut content = Vec::new();
        match File::open(Self::path(folder)) {
            Ok(mut file) => file.read_to_end(&mut content)?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(content.chunks(SLOT_BYTES).filter_map(decode).max_by_key(|newest| newest.seqno))
    }

    /// Opens the file for writing, or creates it.
    ///
    /// # Errors
    /// An error of the operating system.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let path = Self::path(folder);
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        let length = SLOT_BYTES as u64 * SLOTS;
        if file.metadata()?.len() != length {
            // Written and not only reserved, so that a full disk is found now.
            file.write_all_at(&[0; SLOT_BYTES * SLOTS as usize], 0)?;
            file.set_len(length)?;
            file.sync_all()?;
        }
        Ok(Self { file, writes: AtomicU64::new(0) })
    }

    /// Writes the number of a batch that is durable.
    ///
    /// # Errors
    /// An error of the operating system. Then the file has an older number, which does no harm.
    pub fn write(&self, seqno: u64, secret: Secret) -> io::Result<()> {
        let slot = self.writes.fetch_add(1, Ordering::Relaxed) % SLOTS;
        self.file.write_all_at(&encode(seqno, secret), slot * SLOT_BYTES as u64)
    }

    /// Makes the number durable.
    ///
    /// # Errors
    /// An error of the operating system.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

fn encode(seqno: u64, secret: Secret) -> Vec<u8> {
    let mut slot = with_checksum(&seqno.to_le_bytes());
    slot.extend_from_slice(secret.as_bytes());
    with_checksum(&slot)
}

fn decode(slot: &[u8]) -> Option<Newest> {
    let whole = |bytes: usize| slot.get(..bytes).filter(|slot| with_checksum(&slot[..bytes - 8]) == *slot);
    let (seqno, _) = whole(SEQNO_BYTES)?.split_first_chunk()?;
    let with_secret = whole(SEQNO_BYTES + Secret::BYTES + 8);
    let secret = with_secret.and_then(|slot| slot[SEQNO_BYTES..].first_chunk());
    Some(Newest { seqno: u64::from_le_bytes(*seqno), secret: secret.copied().map(Secret::from_bytes) })
}

fn with_checksum(bytes: &[u8]) -> Vec<u8> {
    [bytes, &xxh3_64(bytes).to_le_bytes()].concat()
}
