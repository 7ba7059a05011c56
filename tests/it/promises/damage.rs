//! Damage of the embedded store's files is found before anything is written: a store opens with every change that was
//! answered, or it is refused and keeps its files.

mod kept;
mod torn;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bytes::Bytes;
use rallypoint::env::Entropy;
use rallypoint::records::keys::KEY_UPGRADE;
use rallypoint::store::{Backend as _, Batch, Embedded, Key, StoreError};
use tempfile::TempDir;

/// Commits of each run that makes a store. Each run has a journal of its own.
const COMMITS: u32 = 40;
const RUNS: u32 = 3;
/// Keys that the commits overwrite in turn.
const KEYS: u32 = 7;
/// Names the number of random faults that are tried with each store.
const CASES_VARIABLE: &str = "RALLYPOINT_DAMAGE_CASES";
const CASES: u32 = 40;

type State = BTreeMap<Key, Bytes>;

/// What the store holds after the first `commits` commits. Each commit changes two keys.
fn state(commits: u32) -> State {
    let mut state = State::new();
    for n in 0..commits {
        state.insert("newest".into(), value(n));
        state.insert(format!("key {}", n % KEYS).into(), value(n));
    }
    state
}

/// The value of a commit: its number, and bytes that no compression makes shorter. Some are long enough to be
/// compressed.
fn value(n: u32) -> Bytes {
    let entropy = Entropy::seeded(u64::from(n));
    let length = if n.is_multiple_of(10) { 16_000 } else { 200 + 40 * n as usize };
    let random = (0..length.div_ceil(16)).flat_map(|_| entropy.bytes::<16>());
    n.to_be_bytes().into_iter().chain(random).collect()
}

fn open(dir: &Path) -> Result<Embedded, StoreError> {
    Embedded::open(dir, KEY_UPGRADE)
}

async fn commit(store: &Embedded, n: u32) {
    let batch = Batch::default().put("newest", value(n)).put(format!("key {}", n % KEYS), value(n));
    store.commit(batch).await.unwrap();
}

/// Everything that a store holds, or why it cannot be read.
async fn contents(store: &Embedded) -> Result<State, StoreError> {
    let entries = store.scan(&[0], &[], usize::MAX).await?;
    Ok(entries.into_iter().map(|(key, entry)| (key, entry.value)).collect())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// All files below a directory with their contents.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

fn journal(dir: &Path, id: u32) -> PathBuf {
    dir.join(format!("store/{id}.jnl"))
}

/// Stores of three runs, in the states that a killed server can leave.
struct Stores {
    /// All changes are in three journals.
    unflushed: TempDir,
    /// The changes of the first runs are in tables, and the rest in the last journal.
    flushed: TempDir,
}

/// Makes the stores once for all tests.
fn stores() -> &'static Stores {
    static STORES: OnceLock<Stores> = OnceLock::new();
    STORES.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        std::thread::spawn(move || runtime.block_on(make_stores())).join().unwrap()
    })
}

async fn make_stores() -> Stores {
    let (flushed, unflushed) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for run in 0..RUNS {
        if run > 0 {
            // An empty journal: the engine takes the one before for full, and moves its changes to tables.
            fs::write(journal(flushed.path(), run), []).unwrap();
        }
        let store = open(flushed.path()).unwrap();
        for n in run * COMMITS..(run + 1) * COMMITS {
            commit(&store, n).await;
        }
        while run > 0 && journal(flushed.path(), run - 1).exists() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        store.close().await.unwrap();
        if run == 0 {
            copy(flushed.path(), unflushed.path());
        } else {
            fs::copy(journal(flushed.path(), run), journal(unflushed.path(), run)).unwrap();
        }
    }
    let acknowledged = "store/acknowledged";
    fs::copy(flushed.path().join(acknowledged), unflushed.path().join(acknowledged)).unwrap();
    Stores { unflushed, flushed }
}

/// A copy of a store that a test may damage.
fn copied(store: &TempDir) -> TempDir {
    let dir = TempDir::new().unwrap();
    copy(store.path(), dir.path());
    dir
}

/// Damage of a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Flip(u64),
    Zero(u64, u64),
    Truncate(u64),
    Delete,
}

impl Damage {
    fn random(entropy: &Entropy, length: u64) -> Self {
        let below = |bound: u64| u64::from_le_bytes(entropy.bytes()) % bound.max(1);
        match below(8) {
            0..=3 => Self::Flip(below(length)),
            4 => Self::Zero(below(length), 1 + below(400)),
            5 => Self::Zero(below(length), length),
            6 => Self::Truncate(below(length)),
            _ => Self::Delete,
        }
    }

    fn apply(self, path: &Path) {
        let open = || OpenOptions::new().read(true).write(true).open(path).unwrap();
        match self {
            Self::Flip(at) => {
                let mut byte = [0];
                open().read_exact_at(&mut byte, at).unwrap();
                open().write_all_at(&[byte[0] ^ 0x10], at).unwrap();
            }
            Self::Zero(at, bytes) => {
                let length = bytes.min(open().metadata().unwrap().len().saturating_sub(at));
                open().write_all_at(&vec![0; length as usize], at).unwrap();
            }
            Self::Truncate(length) => open().set_len(length).unwrap(),
            Self::Delete => fs::remove_file(path).unwrap(),
        }
    }
}

/// Opens a store with damage. It must hold one of the states, or be refused with advice and unchanged. Returns the
/// number of commits that it holds, or the refusal.
async fn opens_or_refuses(dir: &TempDir, states: &[State], context: &str) -> Result<usize, String> {
    let before = files(dir.path());
    let verified = Embedded::verify(dir.path());
    assert!(files(dir.path()) == before, "{context}: verify changed a file");
    let refused = match open(dir.path()) {
        Ok(store) => {
            let read = contents(&store).await;
            let is_shown = store.check_writable().is_err();
            assert_eq!(is_shown, read.is_err(), "{context}: /ready shows damage that a read finds");
            store.close().await.unwrap();
            match read {
                Ok(read) => {
                    let commits = states.iter().position(|state| *state == read);
                    return Ok(commits.unwrap_or_else(|| panic!("{context}: a state that never was")));
                }
                // A damaged value in a table is found when it is read, or by `verify`.
                Err(StoreError::Corrupt(error)) => {
                    assert!(verified.is_err(), "{context}: verify found nothing");
                    return Err(error);
                }
                Err(error) => panic!("{context}: {error}"),
            }
        }
        Err(error) => error.to_string(),
    };
    assert!(files(dir.path()) == before, "{context}: a refusal changed a file: {refused}");
    let Err(verified) = verified else { panic!("{context}: verify found nothing, but: {refused}") };
    let verified = verified.to_string();
    // The engine can find damage of a table that a start does not look for.
    assert!(refused == verified || refused.starts_with("the store is damaged: "), "{refused}; {verified}");
    let advice = ["backup", "run the server version that wrote them"];
    assert!(advice.iter().any(|advice| refused.contains(advice)), "{context}: {refused}");
    Err(refused)
}

fn cases() -> u32 {
    std::env::var(CASES_VARIABLE).map_or(CASES, |cases| cases.parse().unwrap())
}

/// Tries random damage of random files of a store.
async fn try_random_damage(store: &TempDir, seed: u64, is_newest_known: bool) {
    let states: Vec<_> = (0..=RUNS * COMMITS).map(state).collect();
    let all = states.len() - 1;
    let entropy = Entropy::seeded(seed);
    let (mut whole, mut shorter, mut refused) = (0, 0, 0);
    for _ in 0..cases() {
        let dir = copied(store);
        if !is_newest_known {
            fs::remove_file(dir.path().join("store/acknowledged")).unwrap();
        }
        let names: Vec<_> = files(dir.path()).into_keys().collect();
        let below =
            |bound: usize| usize::try_from(u64::from_le_bytes(entropy.bytes()) % bound as u64).unwrap();
        // Most of the damage is in journals.
        let journals: Vec<_> = names.iter().filter(|name| name.extension().is_some()).cloned().collect();
        let path = if below(2) == 0 { &journals[below(journals.len())] } else { &names[below(names.len())] };
        let damage = Damage::random(&entropy, path.metadata().unwrap().len());
        let is_empty = path.metadata().unwrap().len() == 0;
        if is_empty && !matches!(damage, Damage::Delete) {
            continue;
        }
        damage.apply(path);
        let context = format!("{damage:?} of {}", path.strip_prefix(dir.path()).unwrap().display());
        match opens_or_refuses(&dir, &states, &context).await {
            Ok(commits) if commits == all => whole += 1,
            Ok(_) => {
                assert!(!is_newest_known, "{context}: acknowledged changes are gone");
                assert_eq!(path.file_name().unwrap(), "2.jnl", "{context}: changes are gone");
                shorter += 1;
            }
            Err(_) => refused += 1,
        }
    }
    println!("{whole} opened whole, {shorter} without changes at the end, {refused} refused");
    assert!(refused > 0);
}

#[tokio::test]
async fn random_damage_of_journals_loses_nothing_silently() {
    try_random_damage(&stores().unflushed, 1, true).await;
}

#[tokio::test]
async fn random_damage_of_tables_and_a_journal_loses_nothing_silently() {
    try_random_damage(&stores().flushed, 2, true).await;
}

/// As after a power failure, when the number of the newest change may be old.
#[tokio::test]
async fn random_damage_loses_at_most_the_end_if_the_newest_change_is_unknown() {
    try_random_damage(&stores().unflushed, 3, false).await;
}

/// A store with damage, and what the refusal must say.
#[track_caller]
fn refused(dir: &TempDir, what: &str) -> StoreError {
    let before = files(dir.path());
    let verified = Embedded::verify(dir.path()).unwrap_err();
    let refused = open(dir.path()).err().expect("the store does not open");
    assert_eq!(refused, verified);
    assert!(files(dir.path()) == before, "a file was changed");
    assert!(refused.to_string().contains(what), "{refused}");
    refused
}

/// A place in the last third of a journal.
fn late_in(path: &Path) -> u64 {
    path.metadata().unwrap().len() * 3 / 4
}

#[tokio::test]
async fn each_kind_of_damage_has_its_words() {
    let stores = stores();
    type Case = (&'static str, fn(&Path), &'static str, bool);
    let cases: [Case; 8] = [
        (
            "store/1.jnl",
            |path| Damage::Flip(late_in(path)).apply(path),
            "there are later changes after the damage",
            true,
        ),
        (
            "store/2.jnl",
            |path| Damage::Flip(late_in(path)).apply(path),
            "there are later changes after the damage",
            true,
        ),
        (
            "store/1.jnl",
            |path| Damage::Zero(late_in(path), u64::MAX).apply(path),
            "1.jnl is damaged at byte",
            true,
        ),
        (
            "store/2.jnl",
            |path| Damage::Zero(late_in(path), u64::MAX).apply(path),
            "newest changes are missing",
            true,
        ),
        ("store/1.jnl", |path| Damage::Delete.apply(path), "the journal before 2.jnl is missing", true),
        ("store/2.jnl", |path| Damage::Delete.apply(path), "newest changes are missing", true),
        ("store/version", |path| Damage::Delete.apply(path), "version is missing", false),
        ("store/keyspaces/1/current", |path| Damage::Delete.apply(path), "current is missing", false),
    ];
    for (file, damage, what, can_salvage) in cases {
        let dir = copied(&stores.unflushed);
        damage(&dir.path().join(file));
        let refused = refused(&dir, what).to_string();
        assert!(refused.contains("restore the data directory from a backup"), "{refused}");
        assert!(refused.contains("no file was changed"), "{refused}");
        assert_eq!(refused.contains("rallypoint store salvage --from "), can_salvage, "{refused}");
    }
    // The oldest journal: its changes are neither in tables nor in a journal.
    let dir = copied(&stores.unflushed);
    fs::remove_file(journal(dir.path(), 0)).unwrap();
    refused(&dir, "the journal before 1.jnl is missing");
}

/// Only the last write can be unfinished after a crash: its commits were not answered.
#[tokio::test]
async fn an_unfinished_write_is_cut_off_and_the_rest_is_there() {
    let all = RUNS * COMMITS;
    let dir = copied(&stores().flushed);
    let path = journal(dir.path(), RUNS - 1);
    let whole = path.metadata().unwrap().len();
    let store = open(dir.path()).unwrap();
    let after_start = path.metadata().unwrap().len();
    let acknowledged = fs::read(dir.path().join("store/acknowledged")).unwrap();
    commit(&store, all).await;
    store.close().await.unwrap();
    let written = path.metadata().unwrap().len();
    assert!(whole < after_start && after_start < written);
    for length in [after_start + 1, after_start + 1_000, written - 1] {
        let torn = copied(&dir);
        let path = journal(torn.path(), RUNS - 1);
        Damage::Truncate(length).apply(&path);
        fs::write(torn.path().join("store/acknowledged"), &acknowledged).unwrap();
        assert_eq!(Embedded::verify(torn.path()).unwrap().torn_bytes, length - after_start);
        let store = open(torn.path()).unwrap();
        assert_eq!(contents(&store).await, Ok(state(all)));
        store.close().await.unwrap();
        assert_eq!(Embedded::verify(torn.path()).unwrap().torn_bytes, 0);
    }
}

#[tokio::test]
async fn salvage_copies_the_changes_before_the_damage() {
    let states: Vec<_> = (0..=RUNS * COMMITS).map(state).collect();
    for run in 0..RUNS {
        let dir = copied(&stores().unflushed);
        let path = journal(dir.path(), run);
        Damage::Flip(late_in(&path)).apply(&path);
        let before = files(dir.path());
        let target = TempDir::new().unwrap();
        // An earlier attempt may have been interrupted.
        copy(stores().unflushed.path(), target.path());
        fs::rename(target.path().join("store"), target.path().join("store.new")).unwrap();
        let salvaged = Embedded::salvage(dir.path(), target.path()).unwrap();
        let [left_out] = &salvaged.left_out[..] else { panic!("{salvaged:?}") };
        assert_eq!((left_out.later, &left_out.journal), ((RUNS - run - 1) as usize, &path));
        assert!(!left_out.is_in_tables && left_out.batches > left_out.later * COMMITS as usize);
        assert!(files(dir.path()) == before, "salvage changed the source");
        assert_eq!(Embedded::verify(target.path()).unwrap().torn_bytes, 0);
        for round in 0..2 {
            let store = open(target.path()).unwrap();
            let found = contents(&store).await.unwrap();
            let commits = states.iter().position(|state| *state == found).unwrap();
            assert!(
                (run * COMMITS..(run + 1) * COMMITS).contains(&(commits as u32 - round)),
                "{commits} in {run}"
            );
            commit(&store, commits as u32).await;
            store.close().await.unwrap();
        }
        let again = Embedded::salvage(dir.path(), target.path()).unwrap_err();
        assert!(again.to_string().contains("name a directory without a store"), "{again}");
    }
    let whole = Embedded::salvage(stores().flushed.path(), TempDir::new().unwrap().path()).unwrap_err();
    assert!(whole.to_string().contains("is not damaged"), "{whole}");
}

/// An older server wrote neither links nor the number of the newest change.
#[tokio::test]
async fn a_store_of_an_older_server_opens_and_is_linked_from_then_on() {
    let dir = TempDir::new().unwrap();
    let db = fjall::Database::builder(dir.path().join("store")).open().unwrap();
    let data = db.keyspace("data", Default::default).unwrap();
    let meta = db.keyspace("meta", Default::default).unwrap();
    meta.insert("format", 2_u32.to_be_bytes()).unwrap();
    meta.insert("epoch", 1_u64.to_be_bytes()).unwrap();
    for n in 0..COMMITS {
        for key in ["newest".into(), format!("key {}", n % KEYS)] {
            data.insert(key, [&(1_u64 << 40).to_be_bytes()[..], &value(n)].concat()).unwrap();
        }
    }
    db.persist(fjall::PersistMode::SyncAll).unwrap();
    drop((data, meta, db));

    let damaged = copied(&dir);
    let path = journal(damaged.path(), 0);
    Damage::Flip(50_000).apply(&path);
    refused(&damaged, "there are later changes after the damage");
    for n in COMMITS..COMMITS + 3 {
        let store = open(dir.path()).unwrap();
        assert_eq!(contents(&store).await, Ok(state(n)));
        commit(&store, n).await;
        store.close().await.unwrap();
    }
    let length = journal(dir.path(), 0).metadata().unwrap().len();
    Damage::Truncate(length - 200).apply(&journal(dir.path(), 0));
    refused(&dir, "newest changes are missing");
}

#[tokio::test]
async fn an_interrupted_creation_does_not_prevent_a_start() {
    let whole = TempDir::new().unwrap();
    drop(open(whole.path()).unwrap());
    // Any part of a creation may be left.
    let names: Vec<_> = files(whole.path()).into_keys().collect();
    for kept in 0..names.len() {
        let dir = TempDir::new().unwrap();
        copy(&whole.path().join("store"), &dir.path().join("store.new"));
        for name in &names[kept..] {
            let name = name.strip_prefix(whole.path().join("store")).unwrap();
            fs::remove_file(dir.path().join("store.new").join(name)).unwrap();
        }
        let store = open(dir.path()).unwrap();
        commit(&store, 0).await;
        assert_eq!(contents(&store).await, Ok(state(1)));
        store.close().await.unwrap();
        assert!(!dir.path().join("store.new").exists());
    }
}

/// Older servers created the store under its final name.
#[test]
fn what_an_older_server_left_of_a_creation_is_named() {
    let whole = TempDir::new().unwrap();
    drop(fjall::Database::builder(whole.path().join("store")).open().unwrap());
    for missing in
        [&["store/version"][..], &["store/version", "store/0.jnl"], &["store/keyspaces/0/current"], &[]]
    {
        let dir = copied(&whole);
        for file in missing {
            fs::remove_file(dir.path().join(file)).unwrap();
        }
        let refused = open(dir.path()).err().unwrap().to_string();
        let folder = dir.path().join("store");
        assert!(refused.contains("its creation was interrupted"), "{refused}");
        assert!(refused.contains(&format!("rm -r '{}'", folder.display())), "{refused}");
        fs::remove_dir_all(folder).unwrap();
        open(dir.path()).unwrap();
    }
}
