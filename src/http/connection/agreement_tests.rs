//! Whatever comes on a connection, in whatever pieces: what goes back is, to the byte, what the HTTP library alone
//! would send.

use http::{HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);
const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// Answers with what it was asked, some of it at once where that is wanted.
#[derive(Clone)]
struct Echo {
    at_once: bool,
}

impl Handler for Echo {
    fn handle(
        &self,
        request: Request<Incoming>,
        _: SocketAddr,
    ) -> impl Future<Output = Response<Full<Bytes>>> + Send + use<> {
        async move {
            let (parts, body) = request.into_parts();
            if parts.uri.path() == "/slow" {
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
            }
            let body = body.collect().await.map(|body| body.to_bytes());
            let text = match &body {
                Ok(_) if parts.uri.path() == "/long" => "x".repeat(3000),
                Ok(body) => format!("{} {} {}", parts.method, parts.uri, body.escape_ascii()),
                Err(_) => "broken".to_owned(),
            };
            let mut response = Response::new(Full::from(text));
            let headers = response.headers_mut();
            headers.insert(header::DATE, HeaderValue::from_static(DATE));
            if body.is_err() {
                *response.status_mut() = StatusCode::BAD_REQUEST;
            }
            response
        }
    }

    fn answer_at_once(&self, request: &httparse::Request<'_, '_>, answer: &mut Vec<u8>) -> bool {
        let is_quick = |path: &&str| {
            let number = path.strip_prefix("/quick/");
            number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        };
        let path = request.path.filter(is_quick).filter(|_| self.at_once);
        let (Some(path), Some("GET")) = (path, request.method) else { return false };
        let text = format!("GET {path} ");
        let head = format!("HTTP/1.1 200 OK\r\ndate: {DATE}\r\ncontent-length: {}\r\n\r\n", text.len());
        answer.extend([head.as_bytes(), text.as_bytes()].concat());
        true
    }
}

/// All that goes back on a connection on which these pieces come, one after the other.
fn answers(at_once: bool, room: usize, pieces: &[&[u8]]) -> (String, bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let (client, server) = tokio::io::duplex(room);
        let progress = Arc::<Progress>::default();
        let connection =
            connection_of(server, PEER, Echo { at_once }, Duration::from_secs(75), Arc::clone(&progress));
        let (mut takes, mut sends) = tokio::io::split(client);
        let sending = async {
            for piece in pieces {
                // A server that has ended the connection takes no more.
                if sends.write_all(piece).await.is_err() {
                    break;
                }
                for _ in 0..4 {
                    tokio::task::yield_now().await;
                }
            }
            let _ = sends.shutdown().await;
        };
        let taking = async {
            let mut taken = Vec::new();
            takes.read_to_end(&mut taken).await.unwrap();
            let text = taken.escape_ascii().to_string().replace("\\r\\n", "\n");
            // The library's own answers say the machine's time.
            let lines = text.lines().map(|line| if line.starts_with("date: ") { "date" } else { line });
            lines.collect::<Vec<_>>().join("\n")
        };
        let (_, (), taken) = tokio::join!(connection, sending, taking);
        (taken, progress.was_served_here())
    })
}

/// What may come: whole requests, and what is none.
const REQUESTS: [&str; 20] = [
    "GET /quick/1 HTTP/1.1\r\n\r\n",
    "GET /quick/2 HTTP/1.1\r\nhost: a\r\nconnection: keep-alive\r\n\r\n",
    "GET /quick/3 HTTP/1.1\r\ncontent-length: 0\r\n\r\n",
    "GET /quick/4 HTTP/1.1\r\ncontent-length: 27\r\n\r\nGET /quick/5 HTTP/1.1\r\n\r\n..",
    "GET /quick/6 HTTP/1.1\nhost: a\n\n",
    "\r\n\r\nGET /quick/7 HTTP/1.1\r\n\r\n",
    "GET /other HTTP/1.1\r\n\r\n",
    "GET /slow HTTP/1.1\r\n\r\n",
    "GET /long HTTP/1.1\r\n\r\n",
    "HEAD /long HTTP/1.1\r\n\r\n",
    "POST /slow HTTP/1.1\r\ncontent-length: 25\r\n\r\nGET /quick/8 HTTP/1.1\r\n\r\n",
    "POST /other HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n     19\r\nGET /quick/9 HTTP/1.1\r\n\r\n\r\n0\r\n\r\n",
    "POST /slow HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\nab",
    "GET /quick/10 HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
    "GET /quick/11 HTTP/1.1\r\nconnection: close\r\n\r\n",
    "GET /quick/12 HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\na",
    "GET /quick/13 HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    "GET /quick/14 HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n",
    "GET /quick/15 HTTP/1.1\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
    "nonsense\r\n\r\n",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_goes_back_is_what_the_library_alone_would_send(
        // Those that keep the connection come more often, so that there is something behind them.
        requests in prop::collection::vec(prop_oneof![4 => select(&REQUESTS[..11]), 1 => select(&REQUESTS[..])], 1..10),
        flips in prop::collection::vec((any::<Index>(), any::<u8>()), 0..2),
        cuts in prop::collection::vec(any::<Index>(), 0..8),
        cuts_between in prop::bool::weighted(0.8),
        room in 1..400_usize,
    ) {
        let (mut all, mut ends) = (Vec::new(), vec![0]);
        for request in requests {
            all.extend(request.as_bytes());
            ends.push(all.len());
        }
        for (flip, byte) in flips {
            let at = flip.index(all.len());
            all[at] = byte;
        }
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(all.len())).collect();
        cuts.extend(if cuts_between { ends } else { vec![0, all.len()] });
        cuts.sort_unstable();
        let pieces: Vec<_> = cuts.windows(2).map(|ends| &all[ends[0]..ends[1]]).collect();
        let (alone, _) = answers(false, room, &pieces);
        let (both, _) = answers(true, room, &pieces);
        prop_assert_eq!(both, alone, "{}", all.escape_ascii());
    }
}

#[test]
fn some_of_it_is_answered_at_once() {
    let pieces = [REQUESTS[0], REQUESTS[6], REQUESTS[1]].map(str::as_bytes);
    let (alone, none) = answers(false, 100, &pieces);
    let (both, some) = answers(true, 100, &pieces);
    assert_eq!((both.matches("GET /quick").count(), none, some), (2, false, true), "{both}");
    assert_eq!(both, alone);
}
