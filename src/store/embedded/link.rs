//! The links between the batches of the store.
//!
//! Every batch writes the key [`LINK_KEY`] of the keyspace `data`. Its value names the batch before. So a start finds
//! out whether batches are missing between two others, for example because a journal file is gone. Batches that are no
//! longer in a journal are in tables, and the newest link in the tables belongs to the newest batch in the tables.

use crate::store::RESERVED_KEY;

/// The key of the link. No caller of the store may use it.
pub const LINK_KEY: &[u8] = RESERVED_KEY;

/// The value of [`LINK_KEY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// One more than the sequence number of the batch before, which changed the keyspace `data`. 0 if the batch before
    /// is unknown: the store is new, or an older server wrote it.
    pub after: u64,
    /// The epoch in which the batch was written.
    pub epoch: u64,
}

impl Link {
    /// Length of the value, in bytes.
    pub const BYTES: usize = 16;

    pub fn encode(self) -> [u8; Self::BYTES] {
        let mut value = [0; Self::BYTES];
        value[..8].copy_from_slice(&self.after.to_be_bytes());
        value[8..].copy_from_slice(&self.epoch.to_be_bytes());
        value
    }

    pub fn decode(value: &[u8; Self::BYTES]) -> Self {
        let number = |from: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&value[from..from + 8]);
            u64::from_be_bytes(bytes)
        };
        Self { after: number(0), epoch: number(8) }
    }
}
