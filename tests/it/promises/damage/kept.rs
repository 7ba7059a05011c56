//! Journals are kept until all of their keyspaces are in tables. Damage of a part that is in tables loses nothing.

use super::*;

/// A store whose first commits are in tables and in a journal, and the later ones in `0.jnl` or in `1.jnl`.
async fn kept_store(later: u32) -> TempDir {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).unwrap();
    for n in 0..COMMITS {
        commit(&store, n).await;
    }
    store.close().await.unwrap();
    let db = fjall::Database::builder(dir.path().join("store")).open().unwrap();
    let data = db.keyspace("data", Default::default).unwrap();
    data.rotate_memtable_and_wait().unwrap();
    drop((data, db));
    let next = copied(&dir);
    if later > 0 {
        fs::write(journal(next.path(), later), []).unwrap();
    }
    let store = open(next.path()).unwrap();
    for n in COMMITS..2 * COMMITS {
        commit(&store, n).await;
    }
    store.close().await.unwrap();
    for file in [journal(Path::new(""), later), "store/acknowledged".into()] {
        fs::copy(next.path().join(&file), dir.path().join(&file)).unwrap();
    }
    dir
}

/// Opens a store several times, and commits.
async fn opens_and_continues(dir: &TempDir, commits: u32, context: &str) {
    for n in commits..commits + 3 {
        let store = open(dir.path()).unwrap_or_else(|error| panic!("{context}: {error}"));
        assert!(contents(&store).await == Ok(state(n)), "{context}: {n}");
        commit(&store, n).await;
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_store_whose_journal_ends_before_its_tables_opens_again_and_again() {
    let dir = kept_store(1).await;
    fs::remove_file(journal(dir.path(), 1)).unwrap();
    fs::remove_file(dir.path().join("store/acknowledged")).unwrap();
    opens_and_continues(&copied(&dir), COMMITS, "whole").await;
    let path = journal(dir.path(), 0);
    for length in [late_in(&path), late_in(&path) / 2] {
        let cut = copied(&dir);
        Damage::Truncate(length).apply(&journal(cut.path(), 0));
        opens_and_continues(&cut, COMMITS, &format!("cut at {length}")).await;
    }
}
