//! How the clients in `examples/` and the loop in `docs/PUSH.md` wait for changes: what they send after each answer of a
//! scripted server, and after none. The curl lines of that page run against a real server.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::examples::{can_run, foreign, has_new_curl, has_python, node_reads_types};
use crate::support::process::{Server, run};
use crate::support::stand_in::{Answers, Asked, Reply, listen};

const GUIDE: &str = include_str!("../../../docs/PUSH.md");

/// Watches a session until it is refused. Prints each version of it, each pause in place of pausing, and the error code.
const PYTHON: &str = "
import sys, push
push.time.sleep = lambda pause_s: print('pause as a poll' if pause_s == 5 else 'pause')
api = push.Api(sys.argv[1], 'token', poll_s=5)
try:
    for session in api.watch('/session/v1/session/party'):
        print(session['version'])
except push.Refused as refused:
    print(refused.error_code)
";
const TYPESCRIPT: &str = "
import { Api, Refused } from './push.ts';
const api = new Api(process.argv[1], 'token');
api.sleep = async (ms) => console.log(ms === 5_000 ? 'pause as a poll' : 'pause');
try {
    for await (const session of api.watch('/session/v1/session/party')) console.log(session.version);
} catch (refused) {
    console.log(refused.errorCode);
}
";

/// Changes a session that others change as well, and creates two.
const PYTHON_WRITES: &str = "
import sys, push
push.time.sleep = lambda pause_s: None
api = push.Api(sys.argv[1], 'token')
print(api.change('/session/v1/session/party', lambda session: {'mine': session['version']})['version'])
for _ in range(2):
    print(api.call('POST', '/session/v1/session', {}, push.once())[2]['version'])
";
const TYPESCRIPT_WRITES: &str = "
import { Api, once } from './push.ts';
const api = new Api(process.argv[1], 'token');
api.sleep = async () => {};
console.log((await api.change('/session/v1/session/party', (session) => ({ mine: session.version }))).version);
for (const _ of [1, 2]) console.log((await api.call('POST', '/session/v1/session', {}, once())).body.version);
";
/// Changes a session until it gives up, and prints why.
const PYTHON_CHANGES: &str = "
import sys, push
try:
    push.Api(sys.argv[1], 'token').change('/session/v1/session/party', lambda session: {})
except push.Refused as refused:
    print(refused.error_code)
";
const TYPESCRIPT_CHANGES: &str = "
import { Api } from './push.ts';
const changed = new Api(process.argv[1], 'token').change('/session/v1/session/party', () => ({}));
await changed.catch((refused) => console.log(refused.errorCode));
";

/// Listens for notifications until it is refused, and prints their messages.
const PYTHON_LISTENS: &str = "
import sys, push
push.time.sleep = lambda pause_s: None
try:
    for notification in push.Api(sys.argv[1], 'token').notifications():
        print(notification['message'])
except push.Refused as refused:
    print(refused.error_code)
";
const TYPESCRIPT_LISTENS: &str = "
import { Api } from './push.ts';
const api = new Api(process.argv[1], 'token');
api.sleep = async () => {};
try {
    for await (const notification of api.notifications()) console.log(notification.message);
} catch (refused) {
    console.log(refused.errorCode);
}
";
/// What the programs that wait print.
const PRINTED: &str = "1\npause as a poll\npause\npause\npause\npause\n2\nsession_not_found\n";

/// A service that answers the next request with the next reply.
struct Script {
    replies: Mutex<VecDeque<Reply>>,
    asked: Mutex<Vec<Asked>>,
}

impl Script {
    fn new(replies: impl IntoIterator<Item = Reply>) -> Arc<Self> {
        Arc::new(Self { replies: Mutex::new(replies.into_iter().collect()), asked: Mutex::default() })
    }
}

impl Answers for Script {
    async fn answer(&self, asked: Asked) -> Reply {
        self.asked.lock().unwrap().push(asked);
        self.replies.lock().unwrap().pop_front().expect("the client sends no further request")
    }
}

fn version(number: u32) -> Reply {
    Reply::json(200, format!("{{\"version\":{number}}}")).with("etag", &format!("\"{number}\""))
}

/// The blocks of code in this language, in a section of the guide.
fn blocks(section: &str, language: &str) -> String {
    let (_, text) = GUIDE.split_once(&format!("\n## {section}\n")).unwrap();
    let text = text.split("\n## ").next().unwrap();
    let fence = format!("\n```{language}\n");
    let blocks = text.split(&fence).skip(1);
    blocks.map(|block| block.split("\n```\n").next().unwrap().to_owned() + "\n").collect()
}

/// Runs a program, which gets the URL of a scripted server as its only argument. Checks what it prints, and returns what
/// it has sent.
async fn sends(
    program: &str,
    args: &[&str],
    replies: impl IntoIterator<Item = Reply>,
    expected: &str,
) -> Vec<Asked> {
    let script = Script::new(replies);
    let service = listen(script.clone(), 0, None).await;
    let url = format!("http://{}", service.address);
    let printed = run(foreign(program, &[args, &[&*url]].concat())).await.expect(0).stdout;
    assert_eq!(printed, expected);
    let asked = script.asked.lock().unwrap();
    asked.clone()
}

/// Checks how a client waits.
async fn waits_polls_and_comes_back(program: &str, args: &[&str], expected: &str) {
    let held = || Reply::json(304, "").with("preference-applied", "wait=25");
    let replies = [
        version(1),
        held(),
        Reply::json(304, ""), // not held: the client polls
        Reply::json(503, r#"{"auth_success":true,"error_code":"overloaded","desc":"later"}"#)
            .with("retry-after", "0"),
        Reply::json(502, "<html>a proxy without a server</html>"),
        Reply::Drop,
        // The client has no whole document, so it must ask with the ETag of before.
        version(2).with("preference-applied", "wait=25").cut(),
        version(2),
        held(),
        Reply::json(404, r#"{"auth_success":true,"error_code":"session_not_found","desc":"no session"}"#),
    ];
    let asked = sends(program, args, replies, expected).await;
    let conditions: Vec<_> =
        asked.iter().map(|asked| (asked.header("if-none-match"), asked.header("prefer"))).collect();
    let wait = |etag| (etag, "wait=25");
    let (first, second) = (wait("\"1\""), wait("\"2\""));
    assert_eq!(conditions, [("", ""), first, first, first, first, first, first, first, second, second]);
    for asked in &asked {
        assert_eq!((asked.method.as_str(), &*asked.target), ("GET", "/session/v1/session/party"));
        assert_eq!(asked.header("authorization"), "Bearer token");
    }
}

fn refused(status: u16, error_code: &str) -> Reply {
    Reply::json(status, format!(r#"{{"auth_success":true,"error_code":"{error_code}","desc":"no"}}"#))
}

/// Checks how a client makes a change on what it has read, and a change that is made once.
async fn writes_exactly(program: &str, args: &[&str]) {
    let replies = [
        version(1),
        Reply::json(
            412,
            r#"{"auth_success":true,"error_code":"precondition_failed","current":{"version":2}}"#,
        )
        .with("etag", "\"2\""),
        refused(503, "overloaded").cut(), // repeated, with the same key
        version(3).cut(),                 // the change was made
        version(3),
        Reply::Drop, // repeated, with the same key
        refused(409, "idempotency_key_in_use"),
        version(4),
        version(5),
    ];
    let asked = sends(program, args, replies, "3\n4\n5\n").await;
    let body = |asked: &Asked| serde_json::from_slice::<Value>(&asked.body).unwrap();
    let patches: Vec<_> = asked[1..5].iter().map(|asked| (asked.header("if-match"), body(asked))).collect();
    let mine = |version| json!({ "mine": version });
    let second = || ("\"2\"", mine(2));
    assert_eq!(patches, [("\"1\"", mine(1)), second(), second(), second()]);
    let keys: Vec<_> = asked[1..].iter().map(|asked| asked.header("idempotency-key")).collect();
    assert!(keys.iter().all(|key| key.starts_with('"') && key.len() > 30), "{keys:?}");
    // One for each body, and for its repeats: two of the PATCH, one of each POST.
    let changes: Vec<_> = keys.chunk_by(|one, next| one == next).map(<[_]>::len).collect();
    assert_eq!(changes, [1, 3, 3, 1], "{keys:?}");
    assert_eq!(keys.iter().collect::<HashSet<_>>().len(), 4, "{keys:?}");
}

/// Checks that a client gives up a document that others change again and again, or that it may not read any more, and a
/// change for which it would have to wait very long.
async fn gives_up(program: &str, args: &[&str]) {
    let precondition_failed = |current: &str| {
        let body =
            format!(r#"{{"auth_success":true,"error_code":"precondition_failed","desc":"no"{current}}}"#);
        Reply::json(412, body).with("etag", "\"2\"")
    };
    let changed = || precondition_failed(r#","current":{"version":2}"#);
    let replies = [version(1)].into_iter().chain((0..8).map(|_| changed()));
    let asked = sends(program, args, replies, "precondition_failed\n").await;
    assert_eq!(asked.len(), 9);
    sends(program, args, [version(1), precondition_failed("")], "precondition_failed\n").await;
    // It leaves it to the caller to come back after an hour.
    let in_an_hour = refused(503, "too_many_idempotency_keys").with("retry-after", "3600");
    sends(program, args, [version(1), in_an_hour], "too_many_idempotency_keys\n").await;
}

/// Checks how a client polls the notification service.
async fn listens(program: &str, args: &[&str]) {
    let told = |messages: &[&str], cursor: &str| {
        let notifications: Vec<_> = messages.iter().map(|message| json!({ "message": message })).collect();
        Reply::json(200, json!({ "notifications": notifications, "cursor": cursor }))
    };
    let replies = [
        told(&["a", "b"], "first"),
        told(&[], "first"),
        refused(409, "too_many_listening_to_single_client"),
        refused(503, "connection_limit_reached"),
        told(&["c"], "second").cut(),
        told(&["c"], "second"),
        refused(403, "permission_denied"),
    ];
    let asked = sends(program, args, replies, "a\nb\nc\npermission_denied\n").await;
    let cursors = asked.iter().map(|asked| {
        let path = "/notification/v1/player/me/stream/notification/lp?exclude_before=";
        let query = asked.target.strip_prefix(path).unwrap();
        query.strip_suffix("&offset_reset_strategy=earliest&deadline=25").unwrap()
    });
    assert_eq!(cursors.collect::<Vec<_>>(), ["", "first", "first", "first", "first", "first", "second"]);
}

#[tokio::test]
async fn the_python_client_listens() {
    if has_python().await {
        listens("python3", &["-c", PYTHON_LISTENS]).await;
    }
}

#[tokio::test]
async fn the_typescript_client_listens() {
    if node_reads_types().await {
        listens("node", &["--input-type=module", "--eval", TYPESCRIPT_LISTENS]).await;
    }
}

#[tokio::test]
async fn the_python_client_writes_exactly() {
    if has_python().await {
        writes_exactly("python3", &["-c", PYTHON_WRITES]).await;
        gives_up("python3", &["-c", PYTHON_CHANGES]).await;
    }
}

#[tokio::test]
async fn the_typescript_client_writes_exactly() {
    if node_reads_types().await {
        writes_exactly("node", &["--input-type=module", "--eval", TYPESCRIPT_WRITES]).await;
        gives_up("node", &["--input-type=module", "--eval", TYPESCRIPT_CHANGES]).await;
    }
}

#[tokio::test]
async fn the_python_client_waits_polls_where_it_must_and_comes_back() {
    if has_python().await {
        waits_polls_and_comes_back("python3", &["-c", PYTHON], PRINTED).await;
    }
}

#[tokio::test]
async fn the_typescript_client_waits_polls_where_it_must_and_comes_back() {
    if node_reads_types().await {
        waits_polls_and_comes_back("node", &["--input-type=module", "--eval", TYPESCRIPT], PRINTED).await;
    }
}

#[tokio::test]
async fn the_loop_for_browsers_waits_polls_where_it_must_and_comes_back() {
    if can_run("node", &["-e", "fetch"], "install Node 18 or later").await {
        let watch = blocks("Replace your poll loop in ten lines", "js");
        let pause = "setTimeout(resume, 5_000)";
        assert!(watch.contains(pause), "{watch}");
        let program = watch.replace(pause, "resume(console.log('pause'))")
            + "const url = process.argv[1] + '/session/v1/session/party';\n"
            + "console.log(await watch(url, 'token', (session) => console.log(session.version)));\n";
        let args = ["--input-type=module", "--eval", &program];
        let expected = "1\npause\npause\npause\npause\npause\n2\nsession_not_found\n";
        waits_polls_and_comes_back("node", &args, expected).await;
        // A proxy that removes the ETag leaves nothing to wait with: the loop polls.
        let without_etag = |number: u32| Reply::json(200, format!("{{\"version\":{number}}}"));
        let replies = [without_etag(1), without_etag(1), refused(403, "token_invalid")];
        let asked = sends("node", &args, replies, "1\npause\n1\npause\ntoken_invalid\n").await;
        assert!(asked.iter().all(|asked| asked.header("prefer").is_empty()));
    }
}

#[tokio::test]
async fn the_curl_lines_of_the_guide_are_answered_as_it_says() {
    if !has_new_curl().await {
        return;
    }
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path()).await;
    let lines = blocks("Try it with curl", "sh");
    assert!(lines.contains("127.0.0.1:7700"), "{lines}");
    let script = "set -eu\nrallypoint() { \"$RALLYPOINT\" \"$@\" --data-dir \"$DATA_DIR\"; }\n".to_owned()
        + &lines.replace("127.0.0.1:7700", &server.address.to_string());
    let mut command = foreign("bash", &["-c", &script]);
    command.env("RALLYPOINT", env!("CARGO_BIN_EXE_rallypoint")).env("DATA_DIR", dir.path());
    let printed = run(command).await.expect(0).stdout;
    let statuses: Vec<_> = printed.lines().filter_map(|line| line.strip_prefix("< ")).collect();
    assert_eq!(
        statuses,
        ["200", "200", "200", "200", "304", "200", "200", "200", "412", "200", "200"],
        "{printed}"
    );
    for header in ["preference-applied: wait=2", "idempotency-replayed: true"] {
        assert!(printed.contains(header), "{header}: {printed}");
    }
    server.stop().await.expect(0);
}
