//! `rallypoint store`: a copy holds the same data and behaves the same; damage is reported, and what is before it can be
//! salvaged.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use http::Method;
use rallypoint::auth::{DEFAULT_PLAYER_PERMISSIONS, DevelopmentKey, Grant};
use rallypoint::domain::{PlayerUuid, SessionId};
use rallypoint::env::{Clock, Entropy};
use rallypoint::records::keys::{self, KEY_UPGRADE};
use rallypoint::store::copy::copy;
use rallypoint::store::{Backend as _, Batch, Embedded, Memory, Postgres, Store};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::mpsc;

use crate::harness::{Client, Reply, Server as Node, XBOX_ID, contents, creation, leftovers, platform_path};
use crate::support::connection::Connection;
use crate::support::postgres::Database;
use crate::support::process::{Finished, Server, rallypoint, run, serve, soon};

fn text(dir: &Path) -> &str {
    dir.to_str().expect("the paths of temporary directories are UTF-8")
}

/// Runs `rallypoint store copy`.
async fn copies(from: &str, to: &str) -> Finished {
    run(rallypoint(&["store", "copy", "--from", from, "--to", to])).await
}

/// Checks that a command failed, and printed one line of error that starts with `why`, and nothing else. Returns the
/// line.
#[track_caller]
fn refused(finished: Finished, why: &str) -> String {
    let Finished { stdout, stderr, .. } = finished.expect(1);
    assert_eq!(stdout, "");
    assert!(stderr.starts_with(&format!("error: {why}")) && stderr.lines().count() == 1, "{stderr}");
    stderr
}

fn open(dir: &Path) -> Store {
    Store::Embedded(Embedded::open(dir, KEY_UPGRADE).unwrap())
}

/// Opens the store of a database under another connection name, so that it is not taken for a server's.
async fn open_unseen(database: &Database) -> Postgres {
    let mut settings = database.settings();
    settings.address.application_name("tests");
    Postgres::open(settings).await.unwrap()
}

async fn put(store: &Store, key: &str, value: &'static str) {
    store.commit(Batch::default().put(key, value)).await.unwrap();
}

/// Creates a game that has an entry in every index.
async fn creates_indexed_game(alice: &Client, invited: &Client) -> String {
    let game = alice.creates("game").await;
    alice.links(&game).await.expect(200);
    alice.invites(&game, invited).await.expect(200);
    let path = format!("/v1/session/{game}");
    alice.post(&format!("{path}/browser"), &json!({})).await.expect(200);
    alice.post(&format!("{path}/instance"), &json!({"instance_id": "i"})).await.expect(200);
    alice.patch(&format!("{path}/instance"), &json!({"allocation_id": "a1"})).await.expect(200);
    alice.post(&format!("{path}:generate-short-code"), &Value::Null).await.expect(200);
    game
}

/// The same client, at a server on another store.
async fn at(server: &Node, store: Store, caller: &Client) -> Client {
    Client { server: server.another_node(store), ..caller.clone() }
}

#[tokio::test]
async fn a_copy_to_a_database_and_back_is_the_same() {
    let here = TempDir::new().unwrap();
    let back = TempDir::new().unwrap();
    let database = Database::new().await;
    let server = Node::over(open(here.path()), |_| {});
    let (alice, invited) = (server.lasting_player(), server.lasting_player());
    let game = creates_indexed_game(&alice, &invited).await;
    for _ in 0..20 {
        server.lasting_player().creates("party").await;
    }
    let seen = alice.xbox().await.expect(200);
    let session = alice.session(&game).await.expect(200);
    let all = contents(&server).await;
    let count = server.app.sessions.store().scan(&[0], &[], usize::MAX).await.unwrap().len();
    server.app.sessions.store().close().await.unwrap();

    let to_database = copies(text(here.path()), &database.url).await.expect(0);
    assert!(to_database.stdout.starts_with(&format!("copied {count} keys of ")), "{to_database:?}");
    assert_eq!(to_database.stderr, "", "such a short copy reports no progress");
    let to_directory = copies(&database.url, &format!("file:{}", text(back.path()))).await.expect(0);
    assert_eq!(to_directory.stdout, to_database.stdout);

    for store in [Store::Postgres(database.open().await), open(back.path())] {
        let alice = at(&server, store, &alice).await;
        assert_eq!(contents(&alice.server).await, all);
        let again = alice.xbox().await.expect(200);
        assert_eq!((again.etag(), &again.bytes), (seen.etag(), &seen.bytes));
        alice.get_if_none_match(&platform_path("XboxLive", XBOX_ID), &seen.etag()).await.expect(304);
        assert_eq!(alice.session(&game).await.expect(200).etag(), session.etag());
        alice.leaves(&game).await.expect(204);
        alice.xbox().await.refused(404, "platform_session_not_found");
        let parties = "/v1/browser?session_type=game";
        let listed = alice.server.service(&["session:*"]).get(parties).await.expect(200);
        assert_eq!(listed.body["browser_sessions"], json!([]));
        alice.server.app.sessions.store().close().await.unwrap();
    }
}

#[tokio::test]
async fn copied_deadlines_end_sessions() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let server = Node::over(open(here.path()), |_| {});
    let (alice, invited) = (server.lasting_player(), server.lasting_player());
    let game = creates_indexed_game(&alice, &invited).await;
    server.app.sessions.store().close().await.unwrap();
    copies(text(here.path()), text(there.path())).await.expect(0);

    let alice = at(&server, open(there.path()), &alice).await;
    assert!(contents(&alice.server).await.len() > 8);
    alice.server.advance(Duration::from_secs(2 * 3600)).await;
    alice.session(&game).await.refused(404, "session_not_found");
    // Only the number of the next listing stays.
    assert_eq!(leftovers(&alice.server).await.len(), 1);
}

#[tokio::test]
async fn a_directory_in_use_is_refused_as_source_and_target() {
    let (used, free) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let server = Server::start(used.path()).await;
    let args = ["token", "--player", "11111111-1111-4111-8111-111111111111", "--data-dir", text(used.path())];
    let token = run(rallypoint(&args)).await.expect(0).stdout;
    let mut player = Connection::open(server.address, Some(token.trim_end())).await.unwrap();
    let created = player.call(&Method::POST, "/v1/session", Some(&creation("party"))).await.unwrap();
    Reply::from(created).expect(200);

    let in_use = |flag: &str| format!("{flag}: a server uses the data directory {}", used.path().display());
    refused(copies(text(used.path()), text(free.path())).await, &in_use("--from"));
    let other = TempDir::new().unwrap();
    put(&open(other.path()), "key", "value").await;
    refused(copies(text(other.path()), text(used.path())).await, &in_use("--to"));
    server.stop().await.expect(0);
    copies(text(used.path()), text(free.path())).await.expect(0);
}

#[tokio::test]
async fn a_database_in_use_is_refused_as_source_and_target() {
    let dir = TempDir::new().unwrap();
    let database = Database::new().await;
    put(&open(dir.path()), "key", "value").await;
    let server = Store::Postgres(database.open().await);
    put(&server, "key", "value").await;
    for (from, to, flag) in
        [(text(dir.path()), &*database.url, "--to"), (&*database.url, text(dir.path()), "--from")]
    {
        let error =
            refused(copies(from, to).await, &format!("{flag}: a server uses the database postgres at "));
        assert!(
            error.contains(" connections with the application_name test_")
                && error.contains("; stop the server, or, "),
            "{error}"
        );
    }
    server.close().await.unwrap();
    let free = TempDir::new().unwrap();
    copies(&database.url, text(free.path())).await.expect(0);
}

#[tokio::test]
async fn a_target_with_data_is_refused_until_emptied_as_the_error_says() {
    let source = TempDir::new().unwrap();
    let other = TempDir::new().unwrap();
    let database = Database::new().await;
    put(&open(source.path()), "key", "value").await;
    let there = open_unseen(&database).await;
    for store in [open(other.path()), Store::Postgres(there.clone())] {
        put(&store, "other", "kept").await;
    }
    for to in [text(other.path()), &database.url] {
        refused(copies(text(source.path()), to).await, "the target is not empty");
    }
    assert_eq!(there.get(b"other").await.unwrap().unwrap().value, "kept");
    assert_eq!(open(other.path()).get(b"other").await.unwrap().unwrap().value, "kept");

    let error = refused(copies(text(source.path()), text(other.path())).await, "the target is not empty");
    let store = error.split('\'').nth(1).unwrap();
    assert!(error.trim_end().ends_with(&format!("empty it with rm -r '{store}'")), "{error}");
    std::fs::remove_dir_all(store).unwrap();
    copies(text(source.path()), text(other.path())).await.expect(0);
    let error = refused(copies(text(source.path()), &database.url).await, "the target is not empty");
    let statement = error.rsplit('\'').nth(1).unwrap();
    database.client().await.batch_execute(statement).await.unwrap();
    copies(text(source.path()), &database.url).await.expect(0);
    assert_eq!(there.get(b"key").await.unwrap().unwrap().value, "value");
    assert_eq!(there.get(b"other").await.unwrap(), None);
}

#[tokio::test]
async fn wrong_sources_and_targets_are_refused() {
    let empty = TempDir::new().unwrap();
    let database = Database::new().await;
    let nowhere = empty.path().join("rallypoint-dada");
    refused(copies(text(&nowhere), &database.url).await, "--from: there is no store in ");
    assert!(!nowhere.exists());
    refused(copies(&database.url, text(empty.path())).await, "the source holds nothing");
    put(&Store::Postgres(open_unseen(&database).await), "key", "value").await;
    let error = refused(copies(&database.url, &database.url).await, "source and target are the same store");
    assert!(!error.contains("TRUNCATE"), "{error}");
    let dir = empty.path().join("data");
    drop(open(&dir));
    let same = format!("file:{}/../data", dir.display());
    refused(copies(text(&dir), &same).await, "--from and --to are the same directory");

    let with_password = "postgresql://me:secret@127.0.0.1/games";
    let error = refused(copies(&database.url, with_password).await, "--to: url takes no password");
    assert!(error.contains("RALLYPOINT_POSTGRES__PASSWORD") && !error.contains("secret"), "{error}");
    for args in [
        &["store", "copy", "--from", "here"][..],
        &["store", "copy", "--from", "here", "--to", "redis://cache"],
    ] {
        assert!(run(rallypoint(args)).await.expect(2).stderr.contains("--help"));
    }
    let help = run(rallypoint(&["store", "copy", "--help"])).await.expect(0).stdout;
    for part in ["Stop every server", "RALLYPOINT_POSTGRES__PASSWORD", "--to postgresql://me@db1/games"] {
        assert!(help.contains(part), "{help}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_complete_although_connections_break() {
    const KEYS: usize = 5_000;
    let database = Database::new().await;
    let source = Store::Memory(Memory::default());
    let mut batch = Batch::default();
    for n in 0..KEYS {
        batch = batch.put(format!("key-{n:05}"), format!("value {n}"));
    }
    source.commit(batch).await.unwrap();
    let target = Store::Postgres(database.open().await);
    let client = database.client().await;
    // At each report of progress, which comes while the next page is copied.
    let (report, mut reports) = mpsc::unbounded_channel();
    let cutting = tokio::spawn(async move {
        let mut cut = 0;
        while reports.recv().await.is_some() {
            cut += database.cut(&client).await;
        }
        cut
    });
    let copied = copy(&source, &target, |progress| report.send(progress).unwrap());
    let copied = soon("the copy is made", copied).await;
    drop(report);
    let cut = cutting.await.unwrap();
    assert_eq!(copied.unwrap().keys, KEYS as u64);
    assert!(cut > 0, "{cut} connections were broken");
    let held = target.scan(b"key-", b"key.", usize::MAX).await.unwrap();
    let expected = source.scan(b"key-", b"key.", usize::MAX).await.unwrap();
    let values = |all: Vec<(Vec<u8>, rallypoint::store::Entry)>| -> Vec<_> {
        all.into_iter().map(|(key, entry)| (key, entry.value)).collect()
    };
    assert_eq!(values(held), values(expected));
}

/// Starts a server, creates sessions, and stops it. Returns the sessions and the newest journal.
async fn fill(dir: &Path, sessions: usize) -> (Vec<String>, PathBuf) {
    let server = Server::start(dir).await;
    let key = DevelopmentKey::load(dir).unwrap();
    let mut created = Vec::new();
    for _ in 0..sessions {
        let mut player = Connection::open(server.address, Some(&player_token(&key))).await.unwrap();
        let reply: Reply =
            player.call(&Method::POST, "/v1/session", Some(&creation("party"))).await.unwrap().into();
        created.push(reply.expect(200).body["session_id"].as_str().unwrap().to_owned());
    }
    server.stop().await.expect(0);
    let journals = std::fs::read_dir(Embedded::folder(dir)).unwrap().map(|entry| entry.unwrap().path());
    let journal = journals.filter(|path| path.extension().is_some_and(|extension| extension == "jnl")).max();
    (created, journal.unwrap())
}

/// A token of a new player.
pub(super) fn player_token(key: &DevelopmentKey) -> String {
    let permissions =
        DEFAULT_PLAYER_PERMISSIONS.iter().map(|permission| permission.name().to_owned()).collect();
    let player = Some(PlayerUuid(Entropy::System.uuid()));
    let grant =
        Grant { player, permissions, platform: None, player_id: None, ttl: Duration::from_secs(3_600) };
    key.sign(&grant, Clock::System.now())
}

fn flip_byte(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[!byte[0]], at).unwrap();
}

#[tokio::test]
async fn a_damaged_store_is_refused_and_can_be_salvaged() {
    let (dir, target) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (sessions, journal) = fill(dir.path(), 20).await;
    let verify = || rallypoint(&["store", "verify", "--data-dir", text(dir.path())]);
    let verified = run(verify()).await.expect(0);
    assert!(verified.stdout.contains(" is OK: 1 journals with "), "{verified:?}");
    let (acknowledged, aside) = (dir.path().join("store/acknowledged"), dir.path().join("aside"));
    std::fs::rename(&acknowledged, &aside).unwrap();
    let unsure = run(verify()).await.expect(0);
    assert!(unsure.stdout.contains("but store/acknowledged is missing or damaged"), "{unsure:?}");
    assert!(!verified.stdout.contains("acknowledged"), "{verified:?}");
    std::fs::rename(&aside, &acknowledged).unwrap();

    let length = journal.metadata().unwrap().len();
    flip_byte(&journal, length / 2);
    let before = std::fs::read(&journal).unwrap();
    let what = format!("the store in {} is damaged: 0.jnl is damaged at byte ", dir.path().display());
    let reported = refused(run(verify()).await, &what);
    let start = run(serve(dir.path(), &[])).await.expect(1);
    assert!(start.stderr.contains(reported.trim()), "{start:?}");
    assert!(reported.contains("rallypoint store salvage --from "), "{reported}");
    assert!(std::fs::read(&journal).unwrap() == before, "the journal was changed");

    let salvage = ["store", "salvage", "--from", text(dir.path()), "--to", text(target.path())];
    let salvaged = run(rallypoint(&salvage)).await.expect(0);
    assert!(salvaged.stdout.contains("copied the changes before the damage to "), "{salvaged:?}");
    let store = open(target.path());
    let mut kept = Vec::new();
    for session in &sessions {
        kept.push(store.get(&keys::session(&SessionId::parse(session).unwrap())).await.unwrap().is_some());
    }
    store.close().await.unwrap();
    assert!(
        kept.is_sorted_by(|before, after| before >= after),
        "only the newest sessions are lost: {kept:?}"
    );
    assert!(kept[0] && !kept[sessions.len() - 1], "{kept:?}");
    Server::start(target.path()).await.stop().await.expect(0);
}

#[tokio::test]
async fn an_unfinished_write_is_logged_and_removed() {
    let dir = TempDir::new().unwrap();
    let (_, journal) = fill(dir.path(), 3).await;
    let mut file = OpenOptions::new().append(true).open(&journal).unwrap();
    // The head of a batch and the begin of an item.
    file.write_all(&[1, 1, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 1]).unwrap();
    let verified = run(rallypoint(&["store", "verify", "--data-dir", text(dir.path())])).await.expect(0);
    assert!(verified.stdout.contains("a crash left 17 bytes of an unfinished write"), "{verified:?}");
    let finished = Server::start(dir.path()).await.stop().await.expect(0);
    assert!(finished.stderr.contains("a crash interrupted the last write"), "{}", finished.stderr);
    assert!(finished.stderr.contains("bytes=17"), "{}", finished.stderr);
    let finished = Server::start(dir.path()).await.stop().await.expect(0);
    assert!(!finished.stderr.contains("a crash interrupted the last write"), "{}", finished.stderr);
}

#[tokio::test]
async fn verify_and_salvage_need_a_store_that_no_server_uses() {
    let (dir, empty) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let server = Server::start(dir.path()).await;
    for (data_dir, why) in
        [(&dir, "another server uses the data directory "), (&empty, "there is no store in ")]
    {
        let verify = rallypoint(&["store", "verify", "--data-dir", text(data_dir.path())]);
        refused(run(verify).await, why);
        let salvage = ["store", "salvage", "--from", text(data_dir.path()), "--to", text(empty.path())];
        refused(run(rallypoint(&salvage)).await, why);
    }
    assert!(std::fs::read_dir(empty.path()).unwrap().next().is_none(), "nothing was created");
    server.stop().await.expect(0);
}

/// A creation that ends at any moment leaves a directory that the next start opens.
#[tokio::test]
async fn a_first_start_that_is_killed_does_not_prevent_the_next() {
    const ROUNDS: u64 = 20;
    for round in 0..ROUNDS {
        let dir = TempDir::new().unwrap();
        let mut starting = serve(dir.path(), &[]).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(2 * round)).await;
        soon("the server ends", starting.kill()).await.unwrap();
        Server::start(dir.path()).await.stop().await.expect(0);
    }
}

/// A limit on the size of files stands for a full disk: the first file of the engine exceeds it.
#[tokio::test]
async fn a_first_start_on_a_full_disk_does_not_prevent_the_next() {
    let dir = TempDir::new().unwrap();
    let binary = env!("CARGO_BIN_EXE_rallypoint");
    let limited = "trap '' XFSZ; ulimit -f 8; exec \"$0\" serve --listen 127.0.0.1:0 --data-dir \"$1\"";
    let mut command = Command::new("sh");
    command.args(["-c", limited, binary, text(dir.path())]).stdin(Stdio::null()).kill_on_drop(true);
    let failed = run(command).await.expect(1);
    let what = format!("cannot use the data directory {}: ", dir.path().display());
    assert!(failed.stderr.contains(&what), "{failed:?}");
    assert!(!Embedded::folder(dir.path()).exists() && !dir.path().join("store.new").exists());
    Server::start(dir.path()).await.stop().await.expect(0);
}
