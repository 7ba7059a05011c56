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

#[tokio::test]
async fn salvage_keeps_later_changes_if_the_damaged_ones_are_in_tables() {
    for later in [0, 1] {
        let dir = kept_store(later).await;
        opens_and_continues(&copied(&dir), 2 * COMMITS, "whole").await;
        let whole = journal(dir.path(), 0).metadata().unwrap().len();
        // With journals of about the same length, these are in the part that is in tables.
        for (first, second) in [(whole / 5, None), (whole / 3, None), (whole / 10, Some(whole / 3))] {
            let context = format!("{first}, {second:?}, {later}");
            let (damaged, target) = (copied(&dir), TempDir::new().unwrap());
            for at in [Some(first), second].into_iter().flatten() {
                Damage::Zero(at, 30).apply(&journal(damaged.path(), 0));
            }
            refused(&damaged, "0.jnl is damaged at byte");
            let salvaged = Embedded::salvage(damaged.path(), target.path()).unwrap();
            assert!(salvaged.left_out.iter().all(|part| part.is_in_tables), "{context}: {salvaged:?}");
            assert_eq!(salvaged.left_out.len(), 1 + usize::from(second.is_some()), "{context}");
            opens_and_continues(&target, 2 * COMMITS, &context).await;
        }
    }
}

/// The first change of a store has its format number, which is not in `data`.
#[tokio::test]
async fn nothing_can_be_salvaged_without_the_first_change() {
    let dir = kept_store(1).await;
    Damage::Flip(0).apply(&journal(dir.path(), 0));
    let refused = refused(&dir, "0.jnl is damaged at byte 0").to_string();
    assert!(!refused.contains("rallypoint store salvage"), "{refused}");
    Embedded::salvage(dir.path(), TempDir::new().unwrap().path()).unwrap_err();
}

#[tokio::test]
async fn salvage_says_what_it_drops_after_lost_changes() {
    let dir = kept_store(0).await;
    let path = journal(dir.path(), 0);
    let whole = path.metadata().unwrap().len();
    // The first is in tables, the second is not.
    Damage::Zero(whole / 5, 30).apply(&path);
    Damage::Zero(whole * 4 / 5, 30).apply(&path);
    let target = TempDir::new().unwrap();
    let salvaged = Embedded::salvage(dir.path(), target.path()).unwrap();
    let [first, second] = &salvaged.left_out[..] else { panic!("{salvaged:?}") };
    assert!(first.is_in_tables && first.batches == 0, "{salvaged:?}");
    assert!(!second.is_in_tables && second.batches > 0 && second.later == 0, "{salvaged:?}");
    let found = contents(&open(target.path()).unwrap()).await.unwrap();
    let states: Vec<_> = (0..=2 * COMMITS).map(state).collect();
    let commits = states.iter().position(|state| *state == found).unwrap() as u32;
    assert!((COMMITS..2 * COMMITS).contains(&commits), "{commits}");
}
