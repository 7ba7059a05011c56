//! A value that looks like a batch does not make an unfinished write look like damage.

use xxhash_rust::xxh3::xxh3_64;

use super::*;

/// The bytes of a whole batch with one item, as the engine writes it.
fn forged_batch() -> Vec<u8> {
    let mut item = vec![2, 0, 0];
    item.extend(1_u64.to_le_bytes());
    item.extend(3_u16.to_le_bytes());
    item.extend([5_u32.to_le_bytes(); 2].concat());
    item.extend(b"keyvalue");
    let mut batch = vec![1, 1, 0, 0, 0];
    batch.extend(9_000_u64.to_le_bytes());
    batch.extend(&item);
    batch.push(3);
    batch.extend(xxh3_64(&item).to_le_bytes());
    batch.extend(b"FJL\x03");
    batch
}

/// A store whose newest write holds the bytes of a batch, with the range of that write in the journal.
async fn store_with_forged_batch() -> (TempDir, std::ops::Range<u64>) {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).unwrap();
    commit(&store, 0).await;
    store.close().await.unwrap();
    let length = || journal(dir.path(), 0).metadata().unwrap().len();
    let store = open(dir.path()).unwrap();
    let start = length();
    let acknowledged = fs::read(dir.path().join("store/acknowledged")).unwrap();
    let forged = [vec![b'.'; 500], forged_batch(), vec![b'.'; 500]].concat();
    store.commit(Batch::default().put("forged", Bytes::from(forged))).await.unwrap();
    store.close().await.unwrap();
    let end = length();
    fs::write(dir.path().join("store/acknowledged"), acknowledged).unwrap();
    (dir, start..end)
}

#[tokio::test]
async fn a_forged_batch_in_an_unfinished_write_is_no_damage() {
    let (dir, written) = store_with_forged_batch().await;
    let bytes = fs::read(journal(dir.path(), 0)).unwrap();
    let forged = forged_batch();
    let at = bytes.windows(forged.len()).position(|bytes| bytes == forged).unwrap() as u64;
    assert!(written.contains(&at), "the engine stored the value as it is");
    let after_forged = at + forged.len() as u64;
    // The first is a killed server. The others are power failures that left holes.
    for damage in [
        Damage::Truncate(after_forged + 1),
        Damage::Zero(written.start + 13, 100),
        Damage::Zero(written.start, 100),
        Damage::Zero(written.end - 40, 40),
    ] {
        // The file with the newest change may be gone too.
        for is_newest_known in [true, false] {
            let torn = copied(&dir);
            damage.apply(&journal(torn.path(), 0));
            if !is_newest_known {
                fs::remove_file(torn.path().join("store/acknowledged")).unwrap();
            }
            let store = open(torn.path()).unwrap_or_else(|error| panic!("{damage:?}: {error}"));
            assert_eq!(contents(&store).await, Ok(state(1)), "{damage:?}");
            store.close().await.unwrap();
        }
    }
}
