//! The programs in `examples/` against the real binary. A test is skipped if this machine lacks the program's
//! interpreter; in CI it fails then.

use std::io::Write as _;
use std::process::Stdio;

use http::Method;
use tempfile::TempDir;
use tokio::process::Command;

use crate::harness::{Reply, creation};
use crate::support::connection::Connection;
use crate::support::process::{Finished, Server, rallypoint, run, soon};

const PLAYERS: [&str; 2] = ["11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"];

/// Another program, in the folder of the examples.
pub(super) fn foreign(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples"));
    // The server is on this machine: ignore a proxy that the environment names.
    command.env("no_proxy", "*").env("NO_PROXY", "*");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// The command of a process allocator that starts `dedicated_server.py`, with further options.
pub(super) fn allocated_server(options: &[&'static str]) -> Vec<&'static str> {
    let command = [
        "/usr/bin/env",
        "python3",
        concat!(env!("CARGO_MANIFEST_DIR"), "/examples/dedicated_server.py"),
        "-Port={port}",
        "-rhbootstrapmode=Allocated",
        "-ghaprovider=Multiplay",
        "-rhmultiplayfile={allocation_file}",
        "-rh.url={base_url}",
        "-rh.clientid={client_id}",
        "-rh.clientsecret=@{client_secret_file}",
    ];
    [&command[..], options].concat()
}

/// Whether a program runs here. `remedy` says how to get it.
pub(super) async fn can_run(program: &str, args: &[&str], remedy: &str) -> bool {
    let output = soon("the program ends", foreign(program, args).output()).await;
    let can = output.is_ok_and(|output| output.status.success());
    if !can {
        // Written directly to stderr, because the captured output of a successful test is not shown.
        let note = format!("a test is skipped: `{program} {}` fails: {remedy}\n", args.join(" "));
        let _ = std::io::stderr().write_all(note.as_bytes());
    }
    can
}

/// Like [`can_run`]. In CI, where nobody would notice, a skipped test is a failure: `.ci/programs` gets the program.
async fn must_run(program: &str, args: &[&str], remedy: &str) -> bool {
    let can = can_run(program, args, remedy).await;
    let is_ci = std::env::var("CI").is_ok_and(|value| !["", "0", "false"].contains(&&*value));
    assert!(
        can || !is_ci,
        "this test must not be skipped in CI (the environment variable CI is set): {remedy}"
    );
    can
}

pub(super) async fn has_python() -> bool {
    must_run("python3", &["--version"], "install Python 3: apt-get install python3").await
}

pub(super) async fn has_cryptography() -> bool {
    let remedy = "install the Python package `cryptography`: pip install cryptography, \
                  or apt-get install python3-cryptography";
    must_run("python3", &["-c", "import cryptography"], remedy).await
}

/// Whether bash and a curl are here that prints a header of the answer, as it can from version 7.84.
pub(super) async fn has_new_curl() -> bool {
    const IS_NEW: &str =
        "curl --version | awk 'NR == 1 { split($2, v, \".\"); exit v[1] * 1000 + v[2] < 7084 }'";
    must_run("bash", &["-o", "pipefail", "-c", IS_NEW], "install curl 7.84 or later").await
}

/// An example client: its interpreter and its file.
type Client = (&'static str, &'static str);

const PYTHON: Client = ("python3", "party.py");
const NODE: Client = ("node", "party.ts");

/// Whether Node runs TypeScript, as it does from version 22.18. CI has one only where it can fetch it by npm.
pub(super) async fn node_reads_types() -> bool {
    let remedy = "install Node 22.18 or later";
    can_run("node", &["-e", "process.exit(process.features.typescript ? 0 : 1)"], remedy).await
}

#[tokio::test]
async fn the_python_client_prints_its_usage() {
    if has_python().await {
        let usage = run(foreign("python3", &["party.py"])).await.expect(1).stderr;
        assert!(usage.contains("\n    python3 examples/party.py http://127.0.0.1:7700 \\\n"), "{usage}");
    }
}

#[tokio::test]
async fn tokens_of_the_operators_own_key_are_accepted() {
    if !has_cryptography().await {
        return;
    }
    let dir = TempDir::new().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/own_tokens.py");
    let signed = async |player: &str| {
        let mut command = foreign("python3", &[script, player]);
        command.current_dir(dir.path());
        run(command).await.expect(0).stdout.trim_end().to_owned()
    };
    let first = signed(PLAYERS[0]).await;
    let config = "[auth]\njwks_file = \"jwks.json\"\nissuer = \"own-tokens\"\naudience = \"rallypoint\"\n";
    std::fs::write(dir.path().join("rallypoint.toml"), config).unwrap();
    let mut serve = rallypoint(&["serve", "--listen", "127.0.0.1:0", "--config", "rallypoint.toml"]);
    serve.current_dir(dir.path());
    let server = Server::spawn(serve).await;
    // The second run reuses the key, so the server accepts its token without a restart.
    for token in [&first, &signed(PLAYERS[1]).await] {
        let mut player = Connection::open(server.address, Some(token)).await.unwrap();
        let path = "/v1/player/me/session";
        Reply::from(player.call(&Method::GET, path, None).await.unwrap()).expect(200);
        let made = player.call(&Method::POST, "/v1/session", Some(&creation("party"))).await.unwrap();
        Reply::from(made).expect(200);
    }
    server.stop().await.expect(0);
}

/// Runs a client to its end, and checks its output.
async fn forms_a_party((program, file): Client, statuses: &str) {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path()).await;
    let mut args = vec![file.to_owned(), format!("http://{}", server.address)];
    for player in PLAYERS {
        let data_dir = dir.path().to_str().unwrap();
        let token = run(rallypoint(&["token", "--player", player, "--data-dir", data_dir])).await.expect(0);
        args.push(token.stdout.trim_end().to_owned());
    }
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let Finished { stdout, .. } = run(foreign(program, &args)).await.expect(0);
    let expected = format!(
        "alice made a party\nbob waits for an invite; he has 0\nalice waits for bob; her party has 1\n\
         bob was invited by: {}\nbob was told: session_added\nalice sees the change: {statuses}\n\
         alice chooses the map: Dunes\nthe party is over: session_not_found\n",
        PLAYERS[0]
    );
    assert_eq!(stdout, expected);
    server.stop().await.expect(0);
}

/// Checks that a client prints one line if it is refused or gets no answer.
async fn prints_one_line_of_error((program, file): Client) {
    let (dir, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let token = ["token", "--player", PLAYERS[0], "--data-dir", elsewhere.path().to_str().unwrap()];
    let token = run(rallypoint(&token)).await.expect(0).stdout;
    let party =
        |url: &str, token: &str| run(foreign(program, &[file, url, token.trim_end(), token.trim_end()]));
    let server = Server::start(dir.path()).await;
    let url = format!("http://{}", server.address);
    for (token, expected) in [
        (
            &token[..],
            "POST /session/v1/session: 403 the token was refused: its signature is wrong (token_invalid); get",
        ),
        ("forged", "this is no player's token"),
    ] {
        let refused = party(&url, token).await.expect(1);
        assert!(refused.stderr.starts_with(expected) && refused.stderr.lines().count() == 1, "{refused:#?}");
    }
    server.stop().await.expect(0);
    let alone = party(&url, &token).await.expect(1);
    let expected = format!("{url} does not answer: ");
    assert!(alone.stderr.starts_with(&expected) && alone.stderr.lines().count() == 1, "{alone:#?}");
}

#[tokio::test]
async fn the_python_client_forms_a_party_and_waits() {
    if has_python().await {
        forms_a_party(PYTHON, "['leader', 'member']").await;
    }
}

#[tokio::test]
async fn the_python_client_prints_errors() {
    if has_python().await {
        prints_one_line_of_error(PYTHON).await;
    }
}

#[tokio::test]
async fn the_typescript_client_forms_a_party_and_waits() {
    if node_reads_types().await {
        forms_a_party(NODE, "[ 'leader', 'member' ]").await;
    }
}

#[tokio::test]
async fn the_typescript_client_prints_errors() {
    if node_reads_types().await {
        prints_one_line_of_error(NODE).await;
    }
}

#[tokio::test]
async fn the_walk_through_prints_errors() {
    if !must_run("bash", &["-c", "curl --version"], "install curl").await {
        return;
    }
    let (dir, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let walk = |url: &str| {
        let mut command = foreign("bash", &["walk-through.sh", url, elsewhere.path().to_str().unwrap()]);
        command.env("RALLYPOINT", env!("CARGO_BIN_EXE_rallypoint"));
        run(command)
    };
    let server = Server::start(dir.path()).await;
    let url = format!("http://{}", server.address);
    let refused = walk(&url).await.expect(1);
    let expected = "error: POST /v1/session: 403 {";
    assert!(refused.stderr.contains(expected) && refused.stderr.contains("token_invalid"), "{refused:#?}");
    server.stop().await.expect(0);
    let alone = walk(&url).await.expect(1);
    let expected = format!("error: {url}/session does not answer; is the server running?\n");
    assert!(alone.stderr.ends_with(&expected), "{alone:#?}");
}

#[tokio::test]
async fn the_walk_through_in_curl_runs_to_its_end() {
    if !has_new_curl().await {
        return;
    }
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path()).await;
    let url = format!("http://{}", server.address);
    let mut command = foreign("bash", &["walk-through.sh", &url, dir.path().to_str().unwrap()]);
    command.env("RALLYPOINT", env!("CARGO_BIN_EXE_rallypoint"));
    let Finished { stdout, stderr, .. } = run(command).await.expect(0);
    let answers = stdout.lines().filter_map(|line| line.strip_prefix("< "));
    let statuses: Vec<_> = answers.map(|answer| answer.split(' ').next().unwrap()).collect();
    assert_eq!(statuses, ["200", "200", "200", "200", "304", "200", "204", "204"], "{stdout}{stderr}");
    server.stop().await.expect(0);
}
