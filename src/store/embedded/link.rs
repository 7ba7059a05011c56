//! The links between the batches of the store.
//!
//! Every batch writes the key [`LINK_KEY`] of the keyspace `data`. Its value names the batch before. So a start finds
//! out whether batches are missing between two others, for example because a journal file is gone. Batches that are no
//! longer in a journal are in tables, and the newest link in the tables belongs to the newest batch in the tables.
//!
//! Links also have the [secret](Secret) of the store. Values are written by players, who can give a value the bytes of
//! a batch. They do not know the secret, so a batch with the secret was written by the store.

use std::fmt;

use crate::env::Entropy;
use crate::store::RESERVED_KEY;

/// The key of the link. No caller of the store may use it.
pub const LINK_KEY: &[u8] = RESERVED_KEY;

/// A random number of the store, which must not leave it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret([u8; Self::BYTES]);

/// The value of [`LINK_KEY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// One more than the sequence number of the batch before, which changed the keyspace `data`. 0 if the batch before
    /// is unknown: the store is new, or an older server wrote it.
    pub after: u64,
    /// The epoch in which the batch was written.
    pub epoch: u64,
    /// The secret of the store. Links of older servers have none.
    pub secret: Option<Secret>,
}

impl Secret {
    /// Its length, in bytes.
    pub const BYTES: usize = 16;

    /// A secret for a store that has none.
    pub fn new() -> Self {
        Self(Entropy::System.bytes())
    }

    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

/// Does not show it.
impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

impl Link {
    /// Largest length of the value, in bytes.
    pub const BYTES_MAX: usize = Self::BYTES_WITHOUT_SECRET + Secret::BYTES;
    /// Length of the value that older servers wrote, in bytes.
    const BYTES_WITHOUT_SECRET: usize = 16;

    pub fn encode(self) -> Vec<u8> {
        let mut value = [self.after.to_be_bytes(), self.epoch.to_be_bytes()].concat();
        value.extend(self.secret.iter().flat_map(Secret::as_bytes));
        value
    }

    /// Returns `None` if `value` is not a link.
    pub fn decode(value: &[u8]) -> Option<Self> {
        let (after, rest) = value.split_first_chunk()?;
        let (epoch, secret) = rest.split_first_chunk()?;
        let secret = if secret.is_empty() { None } else { Some(Secret(secret.try_into().ok()?)) };
        Some(Self { after: u64::from_be_bytes(*after), epoch: u64::from_be_bytes(*epoch), secret })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_read_as_written_also_without_a_secret() {
        for secret in [None, Some(Secret::new())] {
            let link = Link { after: 7, epoch: 1 << 40, secret };
            let value = link.encode();
            assert_eq!(Link::decode(&value), Some(link));
            assert_eq!(Link::decode(&value[1..]), None);
        }
        assert_ne!(Secret::new(), Secret::new());
    }
}
