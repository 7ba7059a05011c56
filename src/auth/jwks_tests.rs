//! Loading JWK Sets from files and from a token service on this machine, and reloading them.

use std::io::Write as _;
use std::net::TcpListener;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::json;

use tokio_util::sync::DropGuard;

use super::*;
use crate::auth::test_keys::{TestKey, jwks};
use crate::auth::test_service::{TokenService, tls_file};
use crate::auth::{TokenError, TokenSettings, Verifier};
use crate::env::Clock;

fn answer(status: &str, headers: &str, body: &str) -> String {
    let bytes = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {bytes}\r\nconnection: close\r\n{headers}\r\n{body}")
}

fn ok(keys: &[&TestKey]) -> String {
    answer("200 OK", "content-type: application/json\r\n", &jwks(keys))
}

/// A set padded with spaces to this number of bytes.
fn padded(bytes: u64) -> String {
    let set = jwks(&[&TestKey::ed25519(1)]);
    let padding = usize::try_from(bytes).unwrap() - set.len();
    set + &" ".repeat(padding)
}

fn at(url: &str) -> JwksSource {
    JwksSource::Url { url: url.into(), ca_file: None }
}

fn from_url(url: &str) -> Result<KeySet, String> {
    at(url).load().map_err(|error| error.to_string())
}

fn kids(keys: &KeySet) -> String {
    format!("{keys:?}")
}

#[test]
fn a_file_is_read_whole_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    let load = || JwksSource::File(path.clone()).load().map_err(|error| error.to_string());
    assert!(load().unwrap_err().contains("jwks.json"), "the file does not exist");
    std::fs::write(&path, jwks(&[&TestKey::ed25519(1), &TestKey::secret("shared", &[1; 32])])).unwrap();
    set_mode(&path, 0o600);
    let keys = kids(&load().unwrap());
    assert!(keys.contains("ed25519-1") && keys.contains("shared"), "{keys}");
    std::fs::write(&path, padded(JWKS_BYTES_MAX)).unwrap();
    load().unwrap();
    std::fs::write(&path, padded(JWKS_BYTES_MAX + 1)).unwrap();
    let refused = load().unwrap_err();
    assert!(refused.contains("at most 262144 bytes"), "{refused}");
    std::fs::write(&path, [0xFF]).unwrap();
    assert!(load().unwrap_err().contains("UTF-8"));
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_file_with_a_shared_secret_must_not_be_open_to_everyone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    let load = || JwksSource::File(path.clone()).load().map_err(|error| error.to_string());
    std::fs::write(&path, jwks(&[&TestKey::ed25519(1), &TestKey::secret("shared", &[1; 32])])).unwrap();
    for mode in [0o604, 0o644, 0o602, 0o666] {
        set_mode(&path, mode);
        let refused = load().unwrap_err();
        assert!(refused.contains("jwks.json") && refused.contains("chmod 640"), "{refused}");
    }
    for mode in [0o400, 0o600, 0o440, 0o640, 0o660] {
        set_mode(&path, mode);
        load().unwrap();
    }
    // Public keys may be open to everyone.
    std::fs::write(&path, jwks(&[&TestKey::ed25519(1)])).unwrap();
    set_mode(&path, 0o644);
    load().unwrap();
}

#[test]
fn errors_name_the_setting_of_the_source() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    let load = || JwksSource::File(path.clone()).load().unwrap_err().to_string();
    let named = format!("[auth] jwks_file {}: ", path.display());
    assert!(load().starts_with(&format!("{named}No such file")), "{}", load());
    std::fs::write(&path, "{}").unwrap();
    assert!(
        load().starts_with(&format!("{named}the JWK Set cannot be used: it is not a JWK Set")),
        "{}",
        load()
    );

    let service = TokenService::answering(answer("404 Not Found", "", ""));
    let (_, address) = service.url.split_once("://").unwrap();
    let refused = from_url(&format!("http://me:secret@{address}?key=secret")).unwrap_err();
    let named =
        format!("[auth] jwks_url http://***@{address}?***: the JWK Set could not be fetched: the status was");
    assert!(refused.starts_with(&named), "{refused}");
}

#[test]
fn secret_parts_of_a_url_are_masked() {
    for (url, masked) in [
        ("https://me:secret@keys.example/jwks?token=secret", "https://***@keys.example/jwks?***"),
        ("keys", "keys"),
        ("me:secret@keys/jwks", "***@keys/jwks"),
        ("https://keys", "https://keys"),
    ] {
        assert_eq!(mask_url(url), masked);
    }
}

#[test]
fn a_url_is_fetched() {
    let service = TokenService::answering(ok(&[&TestKey::rsa(), &TestKey::secret("shared", &[1; 32])]));
    for host in ["127.0.0.1", "localhost", "LOCALHOST"] {
        let keys = kids(&from_url(&service.url.replace("127.0.0.1", host)).unwrap());
        assert!(keys.contains("rsa") && !keys.contains("shared"), "{keys}");
    }
    assert_eq!(service.requests(), 3);
    service.answers(answer("200 OK", "", &format!("\u{feff}{}", jwks(&[&TestKey::rsa()]))));
    from_url(&service.url).unwrap();
    service.answers(answer("200 OK", "", &padded(JWKS_BYTES_MAX)));
    from_url(&service.url).unwrap();
    service.answers(answer("200 OK", "", &padded(JWKS_BYTES_MAX + 1)));
    let refused = from_url(&service.url).unwrap_err();
    assert!(refused.contains("262144"), "{refused}");
    service.answers(format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", padded(JWKS_BYTES_MAX + 1)));
    from_url(&service.url).unwrap_err();
    service.answers("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"keys\":");
    from_url(&service.url).unwrap_err();
    service.answers("not HTTP at all\r\n\r\n");
    from_url(&service.url).unwrap_err();
}

/// The JWK Set `{"keys":[…]}` of one P-256 key, compressed by gzip.
const GZIP_SET: &str = "\
    H4sIAAAAAAACA6tWyk6tLFayiq5Wyi6pVLJScnVW0lFKLioDMgN0jUzNgLwKIDsp3tE8x8vLqSrDqMTQJTTKtCDS3zk/3MA9Nzc9wsXbydEs\
    v6gqIzy0MiMSqANkUICrpaF/Tni8Y0pFiGWxc3mFrnlepoGLe7yxQU5huElmelGuV1VZcrKbaz5QR3ZmClBPAdBCXUOl2thaAK9ojZaYAAAA";

/// 300,000 spaces, compressed by gzip.
const GZIP_BOMB: &str = "\
    H4sIAAAAAAACA+3BAQ0AAADCoCrvn9IeDigAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\
    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\
    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\
    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAPgx3yofVOCT\
    BAA=";

#[test]
fn an_answer_may_be_compressed() {
    let service = TokenService::answering("");
    let compressed = |body: &[u8]| {
        let bytes = body.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {bytes}\r\nconnection: close\r\n\r\n"
        );
        [head.as_bytes(), body].concat()
    };
    service.answers(compressed(&STANDARD.decode(GZIP_SET).unwrap()));
    let keys = kids(&from_url(&service.url).unwrap());
    assert!(keys.contains("p256-1"), "{keys}");
    // The limit applies to the text, not to what is sent.
    service.answers(compressed(&STANDARD.decode(GZIP_BOMB).unwrap()));
    let refused = from_url(&service.url).unwrap_err();
    assert!(refused.contains("262144"), "{refused}");
}

#[test]
fn a_private_authority_is_trusted_if_its_file_is_named() {
    let service = TokenService::over_tls("127.0.0.1", ok(&[&TestKey::rsa()]));
    let load = |url: &str, ca_file: Option<PathBuf>| {
        let source = JwksSource::Url { url: url.into(), ca_file };
        source.load().map(|keys| kids(&keys)).map_err(|error| error.to_string())
    };
    for url in [service.url.clone(), service.url.replace("127.0.0.1", "localhost")] {
        assert!(load(&url, Some(tls_file("ca.pem"))).unwrap().contains("rsa"));
    }
    let refused = load(&service.url, None).unwrap_err();
    assert!(
        refused.contains("an authority that is not trusted here; set [auth] jwks_ca_file to"),
        "{refused}"
    );
    // The file names the only authorities that are trusted.
    let refused = load(&service.url, Some(tls_file("server.pem"))).unwrap_err();
    assert!(refused.contains("set [auth] jwks_ca_file"), "{refused}");
    for (file, cause) in [("server.key", "no certificate in PEM format"), ("absent.pem", "absent.pem: ")] {
        let refused = load(&service.url, Some(tls_file(file))).unwrap_err();
        assert!(refused.contains(cause) && refused.contains(file), "{refused}");
    }
    let elsewhere = TokenService::over_tls("127.0.0.2", ok(&[&TestKey::rsa()]));
    let refused = load(&elsewhere.url, Some(tls_file("ca.pem"))).unwrap_err();
    assert!(refused.contains("certificate is for another host"), "{refused}");
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/jwks", plain.local_addr().unwrap());
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = plain.accept().unwrap();
        stream.read_exact(&mut [0]).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let refused = load(&url, Some(tls_file("ca.pem"))).unwrap_err();
    assert!(refused.contains("does not speak TLS here"), "{refused}");
    answering.join().unwrap();
}

#[test]
fn this_machine_has_many_names_and_addresses() {
    for host in ["localhost", "LOCALHOST", "LocalHost", "127.0.0.1", "127.0.0.2", "127.255.255.254", "[::1]"]
    {
        check_jwks_url(&format!("http://{host}:1/jwks")).unwrap();
    }
}

#[test]
fn only_success_is_read_and_redirects_are_not_followed() {
    let keys = [&TestKey::ed25519(1)];
    let elsewhere = TokenService::answering(ok(&keys));
    let location = format!("location: {}\r\n", elsewhere.url);
    let service = TokenService::answering("");
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        // The body of a redirect is not used either.
        service.answers(answer(status, &location, &jwks(&keys)));
        let refused = from_url(&service.url).unwrap_err();
        assert!(refused.contains(status) && refused.contains("redirects are not followed"), "{refused}");
    }
    for status in ["202 Accepted", "404 Not Found", "500 Internal Server Error"] {
        service.answers(answer(status, "", &jwks(&keys)));
        let refused = from_url(&service.url).unwrap_err();
        assert!(refused.contains(status), "{refused}");
    }
    assert_eq!((service.requests(), elsewhere.requests()), (7, 0));
}

#[test]
fn a_service_that_does_not_respond_times_out() {
    let service = TokenService::answering("");
    let refused = fetch(&service.url, None, Duration::from_millis(100)).unwrap_err();
    assert!(refused.to_string().contains("timeout"), "{refused}");
    service.answers("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n");
    fetch(&service.url, None, Duration::from_millis(100)).unwrap_err();
}

#[test]
fn without_tls_no_request_leaves_this_machine() {
    let refused_urls = [
        "http://tokens.example/jwks",
        "http://10.0.0.1/jwks",
        "http://127.0.0.1.tokens.example/jwks",
        "http://localhost.tokens.example/jwks",
        "http://localhost@tokens.example/jwks",
        "http://127.0.0.1:80@tokens.example/jwks",
        "http://[::2]/jwks",
        "http://128.0.0.1/jwks",
        "http://0.0.0.0/jwks",
        "http://localhost./jwks",
        "http://127.1/jwks",
        "ftp://localhost/jwks",
        "file:///etc/passwd",
        "localhost/jwks",
        "/jwks",
        "",
        "http://",
    ];
    for url in refused_urls {
        let refused = from_url(url).unwrap_err();
        assert!(refused.contains("https://") || refused.contains("is not a URL"), "{url}: {refused}");
    }
}

#[test]
fn errors_do_not_show_secret_parts_of_a_url() {
    let service = TokenService::answering("nonsense");
    let url = service.url.replace("http://", "http://me:secret@") + "?token=secret";
    let source = at(&url);
    let shown = format!("{source:?} {} {:?}", from_url(&url).unwrap_err(), source.load().unwrap_err());
    assert!(!shown.contains("secret"), "{shown}");
    assert_eq!(format!("{:?}", JwksSource::File("jwks.json".into())), "File(\"jwks.json\")");
}

/// A key ring, and the task that reloads it every five minutes of paused time.
struct Refreshed {
    ring: Arc<KeyRing>,
    verifier: Verifier,
    stop: DropGuard,
    task: tokio::task::JoinHandle<()>,
}

const EVERY: Duration = Duration::from_secs(300);

impl Refreshed {
    fn start(source: JwksSource) -> Self {
        let ring = Arc::new(KeyRing::new(source.load().unwrap()));
        let settings = TokenSettings {
            issuer: None,
            audience: None,
            leeway: Duration::ZERO,
            player_claim: "sub".into(),
            permissions_claim: "permissions".into(),
            player_id_claim: "player_id".into(),
            platform_claim: "platform".into(),
            product_user_id_claim: None,
            number_claims: Vec::new(),
            cache_tokens: 100,
        };
        let verifier = Verifier::new(Arc::clone(&ring), settings, Clock::manual(Timestamp::UNIX_EPOCH));
        let stop = CancellationToken::new();
        let task = tokio::spawn(refresh_forever(Arc::clone(&ring), source, EVERY, stop.clone()));
        Self { ring, verifier, stop: stop.drop_guard(), task }
    }

    /// Whether a token of this key is accepted.
    fn knows(&self, key: &TestKey) -> bool {
        match self.verifier.verify(&key.token(&json!({ "exp": 60 }))) {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error, TokenError::UnknownKey);
                false
            }
        }
    }

    /// Waits until the keys were replaced this number of times. Returns how long it took.
    async fn replaced(&self, generation: u64) -> Duration {
        let started = tokio::time::Instant::now();
        while self.ring.generation() < generation {
            assert!(started.elapsed() < EVERY * 10, "the keys were not read again");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        started.elapsed()
    }

    async fn stop(self) {
        self.stop.disarm().cancel();
        self.task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_rotated_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    let (old, new) = (TestKey::ed25519(1), TestKey::ed25519(2));
    std::fs::write(&path, jwks(&[&old])).unwrap();
    let refreshed = Refreshed::start(JwksSource::File(path.clone()));
    assert!(refreshed.knows(&old));
    // First both keys, then only the new one.
    std::fs::write(&path, jwks(&[&old, &new])).unwrap();
    refreshed.replaced(1).await;
    assert!(refreshed.knows(&old) && refreshed.knows(&new));
    std::fs::write(&path, jwks(&[&new])).unwrap();
    refreshed.replaced(2).await;
    assert!(!refreshed.knows(&old) && refreshed.knows(&new));
    refreshed.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_triggers_an_early_reload() {
    let (old, new) = (TestKey::ed25519(1), TestKey::ed25519(2));
    let service = TokenService::answering(ok(&[&old]));
    let refreshed = Refreshed::start(at(&service.url));
    service.answers(ok(&[&old, &new]));
    assert!(!refreshed.knows(&new));
    let took = refreshed.replaced(1).await;
    assert!((PAUSE_MIN..EVERY).contains(&took), "{took:?}");
    assert!(refreshed.knows(&new));
    refreshed.stop().await;
}

#[tokio::test(start_paused = true)]
async fn unknown_keys_cannot_flood_the_token_service() {
    let service = TokenService::answering(ok(&[&TestKey::ed25519(1)]));
    let refreshed = Refreshed::start(at(&service.url));
    let made_up = TestKey::ed25519(2);
    let (started, before) = (tokio::time::Instant::now(), service.requests());
    while started.elapsed() < PAUSE_MIN * 20 {
        assert!(!refreshed.knows(&made_up));
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let requests = service.requests() - before;
    assert!((2..=20).contains(&requests), "{requests} requests");
    refreshed.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_reload_keeps_the_current_keys() {
    let (old, new) = (TestKey::ed25519(1), TestKey::ed25519(2));
    let service = TokenService::answering(ok(&[&old]));
    let refreshed = Refreshed::start(at(&service.url));
    for broken in [
        answer("500 Internal Server Error", "", ""),
        answer("200 OK", "", "{\"keys\":[]}"),
        answer("200 OK", "", "nonsense"),
        "nonsense\r\n\r\n".into(),
    ] {
        service.answers(broken);
        // The second request comes after the response to the first one was used.
        service.asked(2).await;
        assert!(refreshed.knows(&old));
        assert_eq!(refreshed.ring.generation(), 0);
    }
    service.answers(ok(&[&new]));
    refreshed.replaced(1).await;
    assert!(refreshed.knows(&new) && !refreshed.knows(&old));
    refreshed.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_a_slow_service() {
    let service = TokenService::answering(ok(&[&TestKey::ed25519(1)]));
    let refreshed = Refreshed::start(at(&service.url));
    service.answers("");
    service.asked(1).await;
    // The service holds its answer back until it is dropped, after this.
    refreshed.stop().await;
    drop(service);
}
