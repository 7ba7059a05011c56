//! How the clients in `examples/` wait for changes: what they send after each answer of a scripted server, and after
//! none.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::examples::{foreign, has_python, node_reads_types};
use crate::support::process::run;
use crate::support::stand_in::{Answers, Asked, Reply, listen};

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

/// Checks what a client sends, whose program gets the URL of the server as its only argument.
async fn waits_polls_and_comes_back(program: &str, args: &[&str]) {
    let held = || Reply::json(304, "").with("preference-applied", "wait=25");
    let script = Script::new([
        version(1),
        held(),
        Reply::json(304, ""), // not held: the client polls
        Reply::json(503, r#"{"auth_success":true,"error_code":"overloaded","desc":"later"}"#)
            .with("retry-after", "0"),
        Reply::json(502, "<html>a proxy without a server</html>"),
        Reply::Drop,
        version(2),
        held(),
        Reply::json(404, r#"{"auth_success":true,"error_code":"session_not_found","desc":"no session"}"#),
    ]);
    let service = listen(script.clone(), 0, None).await;
    let url = format!("http://{}", service.address);
    let printed = run(foreign(program, &[args, &[&*url]].concat())).await.expect(0).stdout;
    assert_eq!(printed, "1\npause as a poll\npause\npause\npause\n2\nsession_not_found\n");

    let asked = script.asked.lock().unwrap();
    let conditions: Vec<_> =
        asked.iter().map(|asked| (asked.header("if-none-match"), asked.header("prefer"))).collect();
    let wait = |etag| (etag, "wait=25");
    let (first, second) = (wait("\"1\""), wait("\"2\""));
    assert_eq!(conditions, [("", ""), first, first, first, first, first, first, second, second]);
    for asked in asked.iter() {
        assert_eq!((asked.method.as_str(), &*asked.target), ("GET", "/session/v1/session/party"));
        assert_eq!(asked.header("authorization"), "Bearer token");
    }
}

#[tokio::test]
async fn the_python_client_waits_polls_where_it_must_and_comes_back() {
    if has_python().await {
        waits_polls_and_comes_back("python3", &["-c", PYTHON]).await;
    }
}

#[tokio::test]
async fn the_typescript_client_waits_polls_where_it_must_and_comes_back() {
    if node_reads_types().await {
        waits_polls_and_comes_back("node", &["--input-type=module", "--eval", TYPESCRIPT]).await;
    }
}
