//! The fast path of Get Platform Session Info and Get Session: when it answers, when it must decline, and that it
//! answers as the normal path does. Every request is tried in both places of the fast path, which must agree.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use http_body_util::Full;
use rallypoint::config::{Config, ReadConsistency};
use rallypoint::domain::template::Visibility;
use rallypoint::domain::{Platform, SessionId};
use rallypoint::http::Pipeline;
use rallypoint::jobs;
use rallypoint::runtime::settings;

use crate::harness::{Client, Reply, Server, XBOX_ID, fast_path, grant, pairs_of_nodes, platform_path};

/// Sends a request: whether the fast path answered, and the reply.
async fn send(caller: &Client, method: Method, path: &str, known: Option<&str>) -> (bool, Reply) {
    let mut request = Request::builder().method(method).uri(format!("/session{path}"));
    if let Some(token) = &caller.token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    if let Some(etag) = known {
        request = request.header("if-none-match", etag);
    }
    let request = request.body(Full::default()).unwrap();
    match fast_path::send(&caller.server.pipeline, &request).await.agreed() {
        Some(reply) => (true, reply),
        None => (false, caller.send_raw(request).await),
    }
}

/// Whether a poll of the platform session takes the fast path.
async fn is_fast(caller: &Client) -> bool {
    send(caller, Method::GET, &platform_path("XboxLive", XBOX_ID), None).await.0
}

/// Whether a read of a session takes the fast path.
async fn session_is_fast(caller: &Client, session: &str, query: &str) -> bool {
    let (is_fast, reply) = send(caller, Method::GET, &format!("/v1/session/{session}{query}"), None).await;
    assert!(!is_fast || reply.status == 200, "{}", reply.body);
    is_fast
}

/// Asserts that both paths give the same reply. An empty query leads to the normal path.
async fn check_both_paths(caller: &Client) {
    let path = platform_path("XboxLive", XBOX_ID);
    let etag = caller.xbox().await.headers.get("etag").map(|etag| etag.to_str().unwrap().to_owned());
    for known in [None, Some("\"other\""), Some("*"), etag.as_deref()] {
        let (is_fast, by_either) = send(caller, Method::GET, &path, known).await;
        let (is_fast_with_query, by_normal) = send(caller, Method::GET, &format!("{path}?"), known).await;
        assert!(!is_fast_with_query);
        if is_fast {
            fast_path::check(&by_either, &by_normal);
        } else {
            assert_eq!(
                (by_either.status, &by_either.headers, &by_either.bytes),
                (by_normal.status, &by_normal.headers, &by_normal.bytes),
            );
        }
    }
}

#[tokio::test]
async fn a_repeated_poll_takes_the_fast_path() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("game").await;
    alice.links(&session).await.expect(200);
    let path = platform_path("XboxLive", XBOX_ID);
    let first = alice.xbox().await.expect(200);
    let (is_fast, second) = send(&alice, Method::GET, &path, None).await;
    assert!(is_fast && second.status == 200 && second.bytes == first.bytes);
    let (is_fast, unchanged) = send(&alice, Method::GET, &path, Some(&first.etag())).await;
    assert!(is_fast && unchanged.status == 304 && unchanged.bytes.is_empty());
    assert_eq!(unchanged.etag(), first.etag());
}

#[tokio::test]
async fn only_a_plain_success_takes_the_fast_path() {
    let server = Server::new();
    let (alice, bob, stranger) = (server.player(), server.player(), server.player());
    let session = alice.creates("party").await;
    alice.links(&session).await.expect(200);
    alice.invites(&session, &bob).await.expect(200);
    let path = platform_path("XboxLive", XBOX_ID);
    // After this every token is verified, and the session is in memory.
    for caller in [&alice, &bob, &stranger] {
        caller.xbox().await;
    }
    assert!(is_fast(&alice).await);
    let nobody = server.anonymous();
    let unknown = server.bearer("no.token.at-all");
    let no_permission = server.player_with(Some(Platform::XboxLive), &["session:read:self"]);
    for caller in [&bob, &stranger, &nobody, &unknown, &no_permission] {
        for _ in 0..2 {
            let (is_fast, reply) = send(caller, Method::GET, &path, None).await;
            assert!(!is_fast && reply.status == 403, "{}", reply.body);
        }
    }
    for (method, path) in [
        (Method::HEAD, path.clone()),
        (Method::POST, path.clone()),
        (Method::GET, format!("{path}?refresh_ttl=true")),
        (Method::GET, format!("{path}/")),
        (Method::GET, format!("{path}/player/me")),
        (Method::GET, path.replace('=', "%3D")),
        (Method::GET, path.replace("XboxLive", "xboxlive")),
        (Method::GET, path.replace("XboxLive", "PSN")),
        (Method::GET, platform_path("XboxLive", "b3RoZXI=")),
        (Method::GET, platform_path("XboxLive", "")),
    ] {
        assert!(!send(&alice, method.clone(), &path, None).await.0, "{method} {path}");
    }
}

#[tokio::test]
async fn a_change_is_seen_by_the_next_read() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("game").await;
    alice.opens(&session).await;
    alice.links(&session).await.expect(200);
    let mut seen = Vec::new();
    for round in 0..4 {
        if round % 2 == 0 {
            bob.joins(&session).await.expect(200);
        } else {
            bob.leaves(&session).await.expect(204);
        }
        assert!(!is_fast(&alice).await, "the cached session before the change is stale");
        assert!(is_fast(&alice).await);
        for caller in [&alice, &bob] {
            check_both_paths(caller).await;
        }
        seen.push(alice.xbox().await.expect(200).etag());
    }
    assert!(seen[0] != seen[1] && seen[0] == seen[2] && seen[1] == seen[3], "{seen:?}");
}

#[tokio::test]
async fn a_player_who_left_and_a_session_that_ended_take_the_normal_path() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let first = alice.creates("game").await;
    alice.links(&first).await.expect(200);
    alice.xbox().await.expect(200);
    assert!(is_fast(&alice).await);
    alice.leaves(&first).await.expect(204);
    alice.xbox().await.refused(404, "platform_session_not_found");
    // The same platform session, linked to another session by another player.
    let second = bob.creates("game").await;
    bob.links(&second).await.expect(200);
    bob.xbox().await.expect(200);
    assert!(is_fast(&bob).await);
    assert!(!is_fast(&alice).await);
    alice.xbox().await.refused(403, "not_active_in_session");
    check_both_paths(&bob).await;
}

#[tokio::test]
async fn an_expired_token_or_session_takes_the_normal_path() {
    let server = Server::with(|config| config.sessions.idle_s = 600);
    let lasting = server.lasting_player();
    let session = lasting.creates("game").await;
    lasting.links(&session).await.expect(200);
    lasting.xbox().await.expect(200);
    assert!(is_fast(&lasting).await);
    let service = server.bearer(server.token(&{
        let mut grant = grant(None, None, &["session:*"]);
        grant.ttl = Duration::from_secs(60);
        grant
    }));
    service.xbox().await.expect(200);
    assert!(is_fast(&service).await);
    server.clock.advance(Duration::from_secs(120));
    assert!(!is_fast(&service).await, "the token has expired");
    assert_eq!(service.xbox().await.body["auth_success"], false);
    assert!(is_fast(&lasting).await);
    server.clock.advance(Duration::from_secs(600));
    assert!(!is_fast(&lasting).await, "the session has expired");
    lasting.xbox().await.refused(404, "platform_session_not_found");
}

#[tokio::test]
async fn polls_of_sessions_take_the_fast_path_too() {
    let server = Server::new();
    let (alice, bob, stranger) = (server.player(), server.player(), server.player());
    let session = alice.creates("party").await;
    alice.invites(&session, &bob).await.expect(200);
    let whole = alice.session(&session).await.expect(200);
    for query in ["", "?refresh_ttl=true", "?refresh_ttl=false"] {
        assert!(session_is_fast(&alice, &session, query).await, "{query}");
        let path = format!("/v1/session/{session}{query}");
        let (is_fast, unchanged) = send(&alice, Method::GET, &path, Some(&whole.etag())).await;
        assert!(is_fast && unchanged.status == 304 && unchanged.bytes.is_empty());
        assert_eq!(unchanged.etag(), whole.etag());
    }
    for query in
        ["?", "?refresh_ttl", "?refresh_ttl=1", "?refresh_ttl=true&a=b", "?a=b", "?refresh_ttl=true?"]
    {
        assert!(!session_is_fast(&alice, &session, query).await, "{query}");
    }
    // A caller who sees an outline, or who is refused, takes the normal path.
    let no_permission = server.player_with(Some(Platform::XboxLive), &["session:read:platform"]);
    for caller in [&bob, &stranger, &no_permission, &server.anonymous()] {
        caller.session(&session).await;
        assert!(!session_is_fast(caller, &session, "").await);
    }
    bob.joins(&session).await.expect(200);
    bob.session(&session).await.expect(200);
    assert!(session_is_fast(&bob, &session, "").await);
    bob.leaves(&session).await.expect(204);
    bob.session(&session).await.expect(200);
    assert!(!session_is_fast(&bob, &session, "").await);
}

#[tokio::test]
async fn a_caller_who_does_not_see_everyone_takes_the_normal_path() {
    for (members_see, leader_sees) in
        [(Visibility::Team, Visibility::All), (Visibility::All, Visibility::Oneself)]
    {
        let server = Server::with(|config| {
            let game = config.templates.get_mut("game").unwrap();
            (game.player_visibility, game.admin_player_visibility) = (members_see, leader_sees);
        });
        let (alice, service) = (server.player(), server.service(&["session:*"]));
        let session = alice.creates("game").await;
        alice.links(&session).await.expect(200);
        for caller in [&alice, &service] {
            caller.session(&session).await.expect(200);
            caller.xbox().await.expect(200);
            assert!(is_fast(caller).await, "a platform session looks the same to every member");
        }
        assert!(!session_is_fast(&alice, &session, "").await);
        assert!(session_is_fast(&service, &session, "").await);
    }
}

#[tokio::test]
async fn polls_on_the_fast_path_keep_a_session_alive() {
    let server = Server::with(|config| config.sessions.idle_s = 800);
    let alice = server.lasting_player();
    let session = alice.creates("game").await;
    alice.session(&session).await.expect(200);
    let id = SessionId::parse(&session).unwrap();
    let left_s = async || {
        let live = server.app.sessions.find(&id).await.unwrap().unwrap();
        (live.deadline_ms() - server.clock.now_ms()) / 1000
    };
    assert_eq!(left_s().await, 900);
    server.clock.advance(Duration::from_secs(200));
    assert!(session_is_fast(&alice, &session, "?refresh_ttl=false").await);
    assert_eq!(left_s().await, 700);
    assert!(session_is_fast(&alice, &session, "").await);
    assert_eq!(left_s().await, 900);
    // A deadline that is near is stored before the response: that takes the normal path.
    server.advance(Duration::from_secs(810)).await;
    assert!(!session_is_fast(&alice, &session, "?refresh_ttl=true").await);
    assert_eq!(left_s().await, 900);
    assert!(session_is_fast(&alice, &session, "?refresh_ttl=true").await);
    server.clock.advance(Duration::from_secs(900));
    assert!(!session_is_fast(&alice, &session, "").await, "the session has expired");
    alice.session(&session).await.refused(404, "session_not_found");
}

#[tokio::test]
async fn polls_on_the_fast_path_count_as_heartbeats_and_requests() {
    let culling = |config: &mut Config| {
        config.templates.get_mut("game").unwrap().player_culling_timeout = Some(60);
    };
    let server = Server::with(culling);
    let (alice, bob, carol) = (server.lasting_player(), server.lasting_player(), server.lasting_player());
    let session = alice.creates("game").await;
    alice.links(&session).await.expect(200);
    for player in [&bob, &carol] {
        player.joins(&session).await.expect(200);
    }
    for player in [&alice, &bob, &carol] {
        player.xbox().await.expect(200);
    }
    let counted = |operation: &str| {
        let of = format!("rallypoint_requests_total{{operation=\"{operation}\",status=\"200\"}} ");
        let metrics = server.app.metrics.render();
        let line = metrics.lines().find_map(|line| line.strip_prefix(&of)).unwrap_or("0");
        line.parse::<u64>().unwrap()
    };
    let operations = ["get_platform_session_info", "get_session_by_id"];
    let before = operations.map(counted);
    for round in 1..=5 {
        server.clock.advance(Duration::from_secs(40));
        jobs::tick(&server.app).await.unwrap();
        // Carol is removed in between, which makes the cached session stale once.
        if round == 2 {
            alice.session(&session).await.expect(200);
            alice.xbox().await.expect(200);
        }
        assert!(session_is_fast(&alice, &session, "?refresh_ttl=false").await, "{round}");
        assert!(is_fast(&bob).await, "{round}");
    }
    let after = operations.map(counted);
    // Alice's two reads on the normal path count as well.
    assert!(after[0] >= before[0] + 5 && after[1] >= before[1] + 5, "{before:?} {after:?}");
    let left = alice.session(&session).await.expect(200).body["teams"].to_string();
    let is_in = |player: &Client| left.contains(&player.player.to_string());
    assert!(is_in(&alice) && is_in(&bob) && !is_in(&carol), "{left}");
}

#[tokio::test]
async fn a_head_above_the_limits_takes_the_normal_path() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("game").await;
    alice.session(&session).await.expect(200);
    let path = format!("/session/v1/session/{session}");
    let authorization = format!("Bearer {}", alice.token.as_deref().unwrap());
    let request = || {
        let request = Request::builder().uri(&path).header("authorization", &authorization);
        request.body(Full::default()).unwrap()
    };
    let header_bytes = "authorization".len() + authorization.len();
    for (path_bytes_max, header_bytes_max, is_fast) in [
        (path.len(), header_bytes, true),
        (path.len() - 1, header_bytes, false),
        (path.len(), header_bytes - 1, false),
    ] {
        let mut settings = settings::pipeline_settings(&Config::default(), false);
        settings.limits.path_bytes_max = path_bytes_max;
        settings.limits.header_bytes_max = header_bytes_max;
        let pipeline = Pipeline::new(Arc::clone(&server.app), vec![rallypoint::api::surface()], settings);
        let reply = fast_path::send(&pipeline, &request()).await.agreed();
        assert_eq!(reply.is_some(), is_fast);
    }
}

#[tokio::test]
async fn nodes_that_share_a_store_take_the_normal_path() {
    for [one, other] in pairs_of_nodes(|_| {}).await {
        take_the_normal_path(&one, &other).await;
    }
}

async fn take_the_normal_path(one: &Server, other: &Server) {
    let alice = one.player();
    let session = alice.creates("game").await;
    alice.links(&session).await.expect(200);
    for node in [one, other, one, other] {
        let alice = node.bearer(alice.token.clone().unwrap());
        assert!(!is_fast(&alice).await);
        assert!(!session_is_fast(&alice, &session, "").await);
        alice.xbox().await.expect(200);
    }
}

#[tokio::test]
async fn nodes_with_bounded_reads_take_the_fast_path_for_that_time() {
    let bounded = |config: &mut Config| config.postgres.read_consistency = ReadConsistency::BoundedMs(500);
    for [one, other] in pairs_of_nodes(bounded).await {
        let alice = one.player();
        let session = alice.creates("game").await;
        alice.links(&session).await.expect(200);
        for node in [&one, &other] {
            let alice = node.bearer(alice.token.clone().unwrap());
            alice.xbox().await.expect(200);
            assert!(is_fast(&alice).await);
            check_both_paths(&alice).await;
        }
        one.clock.advance(Duration::from_millis(500));
        assert!(!is_fast(&alice).await);
        alice.xbox().await.expect(200);
        assert!(is_fast(&alice).await);
    }
}
