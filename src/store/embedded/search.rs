//! Finds whole batches in the bytes after the place where a journal breaks off.
//!
//! The bytes may be anything: a part of a batch with values that players wrote, a hole that a power failure left, or
//! whole batches after damage. Only whole batches say that the journal is damaged. A player can write a value that
//! looks like a whole batch, or like the start of very many. So:
//!
//! - if the [secret](super::link::Secret) of the store is known, only a batch with the secret counts;
//! - otherwise the search leaves out the values of the batch that broke off, as far as its entries can be followed;
//! - the time of a search is linear in the number of bytes.

use std::collections::HashMap;

use xxhash_rust::xxh3::xxh3_64;

use super::journal::{START_BYTES, TAG_CLEAR, TAG_END, TAG_ITEM, TAG_START, TRAILER};
use super::link::Secret;

/// Length of a batch's last entry, in bytes.
const END_BYTES: usize = 13;
/// Length of an item without its key and value, in bytes.
const ITEM_HEAD_BYTES: usize = 21;
/// Length of an entry that empties a keyspace, in bytes.
const CLEAR_BYTES: usize = 9;
/// How often a search may hash its bytes. Each byte of a whole batch is hashed once. More is needed only for values
/// that were made to look like batches.
const HASHES_MAX: usize = 4;

/// What a search found.
#[derive(Debug, Default)]
pub struct Found {
    /// Where the batches begin, the last one first.
    pub starts: Vec<usize>,
    /// Number of bytes that were hashed.
    pub hashed: usize,
}

/// Entries that follow one another up to the end of a batch.
#[derive(Clone, Copy)]
struct Entries {
    count: u32,
    /// Where the batch's last entry begins.
    end: usize,
}

/// Finds the whole batches that begin after the first byte, at which no whole batch begins.
pub fn search(bytes: &[u8], secret: Option<Secret>) -> Found {
    let first = if secret.is_some() { 1 } else { end_of_first(bytes) };
    let mut found = Found::default();
    let mut entries: HashMap<usize, Entries> = HashMap::new();
    // Backwards, so that what follows an entry is known already.
    for at in (first..bytes.len()).rev() {
        let known = match bytes[at] {
            TAG_END => is_end(bytes, at, secret).then_some(Entries { count: 0, end: at }),
            TAG_ITEM | TAG_CLEAR => after_entry(bytes, at)
                .and_then(|next| entries.get(&next))
                .map(|next| Entries { count: next.count.saturating_add(1), end: next.end }),
            TAG_START => {
                let Some(rest) = entries.get(&(at + START_BYTES)) else { continue };
                if rest.count == 0 || u32_at(bytes, at + 1) != Some(rest.count) {
                    continue;
                }
                let content = &bytes[at + START_BYTES..rest.end];
                if found.hashed + content.len() > bytes.len() * HASHES_MAX {
                    break;
                }
                found.hashed += content.len();
                if bytes[rest.end + 1..].starts_with(&xxh3_64(content).to_le_bytes()) {
                    found.starts.push(at);
                }
                continue;
            }
            _ => continue,
        };
        entries.extend(known.map(|known| (at, known)));
    }
    found
}

/// Where the first batch, which is not whole, stops to look like one.
fn end_of_first(bytes: &[u8]) -> usize {
    let Some(count) = u32_at(bytes, 1).filter(|_| bytes[0] == TAG_START) else { return 1 };
    let mut at = START_BYTES;
    for _ in 0..count {
        match bytes.get(at) {
            Some(&(TAG_ITEM | TAG_CLEAR)) => at = after_entry(bytes, at).unwrap_or(bytes.len()),
            _ => break,
        }
    }
    at
}

/// Whether the last entry of a batch begins at `at`. The link, with the secret, is the item before it.
fn is_end(bytes: &[u8], at: usize, secret: Option<Secret>) -> bool {
    let is_trailer = bytes.get(at + END_BYTES - TRAILER.len()..at + END_BYTES) == Some(&TRAILER);
    is_trailer && secret.is_none_or(|secret| bytes[..at].ends_with(secret.as_bytes()))
}

/// Where the entry at `at` ends. `None` if its head is not whole.
fn after_entry(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes[at] == TAG_CLEAR {
        return Some(at + CLEAR_BYTES);
    }
    let key = u16::from_le_bytes(*bytes.get(at + 11..)?.first_chunk()?);
    let value = usize::try_from(u32_at(bytes, at + 17)?).ok()?;
    (at + ITEM_HEAD_BYTES).checked_add(usize::from(key))?.checked_add(value)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(key: &[u8], value: &[u8]) -> Vec<u8> {
        let mut item = vec![TAG_ITEM, 0, 0];
        item.extend(1_u64.to_le_bytes());
        item.extend((key.len() as u16).to_le_bytes());
        item.extend([(value.len() as u32).to_le_bytes(); 2].concat());
        [&item, key, value].concat()
    }

    fn batch(items: &[Vec<u8>]) -> Vec<u8> {
        let content = items.concat();
        let mut batch = vec![TAG_START];
        batch.extend((items.len() as u32).to_le_bytes());
        batch.extend(5_u64.to_le_bytes());
        batch.extend(&content);
        batch.push(TAG_END);
        batch.extend(xxh3_64(&content).to_le_bytes());
        batch.extend(TRAILER);
        batch
    }

    fn linked(value: &[u8], secret: Secret) -> Vec<u8> {
        batch(&[item(b"key", value), item(b"link", &[&[0; 16], &secret.as_bytes()[..]].concat())])
    }

    #[test]
    fn batches_after_damage_are_found() {
        let secret = Secret::new();
        let one = linked(b"a value", secret);
        for at in 0..one.len() {
            let mut bytes = [&one[..], &one, &one].concat();
            bytes[at] ^= 0x10;
            let found = search(&bytes, Some(secret)).starts;
            assert_eq!(found, [2 * one.len(), one.len()], "damage at {at}");
        }
        // Without the secret too, if only values are damaged.
        let mut bytes = [&one[..], &one].concat();
        bytes[START_BYTES + ITEM_HEAD_BYTES + 4] ^= 1;
        assert_eq!(search(&bytes, None).starts, [one.len()]);
    }

    #[test]
    fn a_value_that_looks_like_a_batch_does_not_count() {
        let (secret, other) = (Secret::new(), Secret::new());
        let value = [batch(&[item(b"key", b"value")]), linked(b"a value", other), vec![7; 50]].concat();
        let torn = linked(&value, secret);
        for length in START_BYTES..torn.len() {
            assert_eq!(search(&torn[..length], Some(secret)).starts, [0; 0], "cut at {length}");
            assert_eq!(search(&torn[..length], None).starts, [0; 0], "cut at {length}");
        }
        // A power failure can leave a hole.
        let mut hole = torn.clone();
        hole[START_BYTES..START_BYTES + 10].fill(0);
        assert_eq!(search(&hole, Some(secret)).starts, [0; 0]);
    }

    #[test]
    fn a_search_hashes_a_limited_number_of_bytes() {
        // Very many starts that lead to the same end: the value of each item is the start after it.
        let secret = Secret::new();
        let mut bytes = Vec::new();
        for items in (3..2_000_u32).rev() {
            let head = item(b"key", if items == 3 { &[] } else { &[0; START_BYTES] });
            bytes.push(TAG_START);
            bytes.extend(items.to_le_bytes());
            bytes.extend([0; 8]);
            bytes.extend(&head[..ITEM_HEAD_BYTES + 3]);
        }
        bytes.extend(linked(b"a value", secret).split_off(START_BYTES));
        let found = search(&bytes, Some(secret));
        assert_eq!(found.starts, [0; 0]);
        assert!((bytes.len()..=HASHES_MAX * bytes.len()).contains(&found.hashed), "{}", found.hashed);
    }
}
