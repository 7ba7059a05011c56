//! The configurations of nginx and HAProxy in `docs/PROXIES.md`, with the real proxies: requests that wait pass through
//! them, and are given up with their clients. A test is skipped if this machine lacks the proxy.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::examples::{can_run, foreign};
use crate::harness::{Reply, creation};
use crate::support::connection::Connection;
use crate::support::process::{Server, lasting_address, rallypoint, run, serve, soon};

const GUIDE: &str = include_str!("../../../docs/PROXIES.md");
const PLAYER: &str = "11111111-1111-4111-8111-111111111111";

/// The configuration of a proxy in the guide, with these texts replaced, and written to a file.
fn configuration(language: &str, replaced: &[(&str, &str)], dir: &Path) -> String {
    let (_, rest) = GUIDE.split_once(&format!("\n```{language}\n")).unwrap();
    let (text, _) = rest.split_once("\n```\n").unwrap();
    let text = replaced.iter().fold(format!("{text}\n"), |text, (old, new)| {
        assert!(text.contains(old), "{old} is not in the configuration of the guide:\n{text}");
        text.replace(old, new)
    });
    let file = dir.join(language);
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

/// The command of nginx before a server, with its files in a directory.
fn nginx(address: &str, server: &Server, dir: &Path) -> Command {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = temporary.map(|name| format!("{name}_temp_path {};", dir.join(name).display())).concat();
    let replaced = [
        ("http {\n", &*format!("http {{ access_log off; {temporary}\n")),
        ("listen 443 ssl;", &format!("listen {address};")),
        ("ssl_certificate /etc/ssl/play.example.com.pem;\n", ""),
        ("ssl_certificate_key /etc/ssl/play.example.com.key;\n", ""),
        ("server 10.0.0.5:7700 fail_timeout=10s;", &format!("server {};", server.address)),
        ("server 10.0.0.6:7700 fail_timeout=10s;", ""),
    ];
    let file = configuration("nginx", &replaced, dir);
    let globals = format!("daemon off; master_process off; pid {};", dir.join("pid").display());
    foreign("nginx", &["-p", dir.to_str().unwrap(), "-e", "stderr", "-c", &file, "-g", &globals])
}

/// The command of HAProxy before a server, with its files in a directory.
fn haproxy(address: &str, (server, admin): (&Server, SocketAddr), dir: &Path) -> Command {
    let replaced = [
        // The machine may not allow so many open files.
        ("maxconn 20000", "maxconn 100"),
        ("bind :443 ssl crt /etc/ssl/play.example.com.pem", &*format!("bind {address}")),
        ("check port 7701 inter 1s", &format!("check port {} inter 100ms", admin.port())),
        ("server a 10.0.0.5:7700", &format!("server a {}", server.address)),
        ("    server b 10.0.0.6:7700\n", ""),
    ];
    foreign("haproxy", &["-db", "-f", &configuration("haproxy", &replaced, dir)])
}

/// A GET that waits for another version than this one.
fn waiting(path: &str, etag: &str, seconds: u32) -> Request<Full<Bytes>> {
    Request::get(path)
        .header("if-none-match", etag)
        .header("prefer", format!("wait={seconds}"))
        .header("accept-encoding", "gzip")
        .body(Full::default())
        .unwrap()
}

/// A header of an answer.
fn header<'a>(reply: &'a Reply, name: &str) -> &'a str {
    reply.headers[name].to_str().unwrap()
}

/// A server behind a proxy.
struct Proxied {
    proxy: SocketAddr,
    server: Server,
    admin: SocketAddr,
    token: String,
    /// The process of the proxy, which ends with the test.
    _process: Child,
}

impl Proxied {
    async fn connect(&self) -> Connection {
        Connection::open(self.proxy, Some(&self.token)).await.unwrap()
    }

    /// Begins to wait through the proxy, with a connection of its own.
    fn wait(&self, path: &str, etag: &str, seconds: u32) -> tokio::task::JoinHandle<Reply> {
        let (proxy, token, request) = (self.proxy, self.token.clone(), waiting(path, etag, seconds));
        tokio::spawn(async move {
            let mut connection = Connection::open(proxy, Some(&token)).await.unwrap();
            Reply::from(connection.send(request).await.unwrap())
        })
    }

    /// Waits until the server holds this many requests.
    async fn holds(&self, number: u32) {
        let mut admin = Connection::open(self.admin, None).await.unwrap();
        let holding = async {
            loop {
                let request = Request::get("/metrics").body(Full::default()).unwrap();
                let metrics = admin.send(request).await.unwrap().into_body();
                let metrics = String::from_utf8(metrics.to_vec()).unwrap();
                let waiters = metrics.lines().filter(|line| line.starts_with("rallypoint_waiters{"));
                let waiters: Vec<_> = waiters.map(|line| line.rsplit(' ').next().unwrap()).collect();
                assert!(!waiters.is_empty(), "{metrics}");
                if waiters.iter().map(|number| number.parse::<u32>().unwrap()).sum::<u32>() == number {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        soon(&format!("the server holds {number} requests"), holding).await;
    }

    /// Checks what these tests are about.
    async fn passes_waits_on(self) {
        let mut caller = self.connect().await;
        let made = caller.call(&Method::POST, "/v1/session", Some(&creation("party"))).await.unwrap();
        let session = Reply::from(made).expect(200).body["session_id"].as_str().unwrap().to_owned();
        let path = format!("/session/v1/session/{session}");
        let etag = self.same_etag_on_both_ways(&mut caller, &path).await;

        let ended = Reply::from(caller.send(waiting(&path, &etag, 1)).await.unwrap()).expect(304);
        assert_eq!((header(&ended, "preference-applied"), header(&ended, "etag")), ("wait=1", &*etag));

        // The longer of two waits ends first, because its client goes.
        let (stays, goes) = (self.wait(&path, &etag, 30), self.wait(&path, &etag, 55));
        self.holds(2).await;
        goes.abort();
        self.holds(1).await;
        let patch = json!({ "custom_data": { "map": "Dunes" } });
        let changed = caller.call(&Method::PATCH, &path["/session".len()..], Some(&patch)).await.unwrap();
        let changed = Reply::from(changed).expect(200);
        let answer = stays.await.unwrap().expect(200);
        let (applied, etag) = (header(&answer, "preference-applied"), header(&answer, "etag"));
        assert_eq!((applied, etag), ("wait=30", header(&changed, "etag")));
        assert_eq!(answer.body["custom_data"]["map"], "Dunes");
        self.server.kill().await;
    }

    /// The strong ETag of a document, the same through the proxy and without it.
    async fn same_etag_on_both_ways(&self, through_proxy: &mut Connection, path: &str) -> String {
        let get = || waiting(path, "\"none\"", 0);
        let there = Reply::from(through_proxy.send(get()).await.unwrap()).expect(200);
        let mut direct = Connection::open(self.server.address, Some(&self.token)).await.unwrap();
        let here = Reply::from(direct.send(get()).await.unwrap()).expect(200);
        assert_eq!((header(&there, "etag"), &there.body), (header(&here, "etag"), &here.body));
        let etag = header(&here, "etag").to_owned();
        assert!(etag.starts_with('"'), "{etag}");
        etag
    }
}

/// Starts a server, and a proxy before it.
async fn behind(dir: &TempDir, proxy: impl FnOnce(&str, (&Server, SocketAddr), &Path) -> Command) -> Proxied {
    let mut server = Server::spawn(serve(dir.path(), &["--admin-listen", "127.0.0.1:0"])).await;
    let admin = server.admin_address().await;
    let address = lasting_address();
    let mut process = proxy(&address, (&server, admin), dir.path()).spawn().unwrap();
    let data_dir = dir.path().to_str().unwrap();
    let token = run(rallypoint(&["token", "--player", PLAYER, "--data-dir", data_dir])).await.expect(0);
    let (address, token) = (address.parse().unwrap(), token.stdout.trim_end().to_owned());
    let passing = async {
        while !passes_on(address, &token).await {
            if process.try_wait().unwrap().is_some() {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        true
    };
    if !soon("the proxy passes requests on", passing).await {
        panic!("the proxy has ended: {:?}", process.wait_with_output().await);
    }
    Proxied { proxy: address, server, admin, token, _process: process }
}

/// Whether the proxy listens, and has found its server.
async fn passes_on(proxy: SocketAddr, token: &str) -> bool {
    let Ok(mut connection) = Connection::open(proxy, Some(token)).await else { return false };
    let answer = connection.call(&Method::GET, "/v1/player/me/session", None).await;
    answer.is_ok_and(|answer| answer.status() == 200)
}

#[tokio::test]
async fn waits_pass_through_nginx_as_the_guide_configures_it() {
    if can_run("nginx", &["-v"], "install nginx").await {
        let dir = TempDir::new().unwrap();
        behind(&dir, |address, (server, _), dir| nginx(address, server, dir)).await.passes_waits_on().await;
    }
}

#[tokio::test]
async fn waits_pass_through_haproxy_as_the_guide_configures_it() {
    if can_run("haproxy", &["-v"], "install HAProxy").await {
        let dir = TempDir::new().unwrap();
        behind(&dir, haproxy).await.passes_waits_on().await;
    }
}
