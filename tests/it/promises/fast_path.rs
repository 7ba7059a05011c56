//! The short cut to Get Platform Session Info and Get Session: it is taken where it may be, left where it must be, and
//! answers as the long way does.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use http_body_util::Full;
use rallypoint::config::{Config, ReadConsistency};
use rallypoint::domain::template::Visibility;
use rallypoint::domain::{Platform, SessionId};
use rallypoint::http::Api;
use rallypoint::jobs;
use rallypoint::runtime::settings;

use crate::harness::{Client, Reply, Server, XBOX_ID, at_once, grant, pairs_of_nodes, platform_path};

/// What a caller is answered, and whether that came at once.
async fn ask(caller: &Client, method: Method, path: &str, known: Option<&str>) -> (bool, Reply) {
    let mut request = Request::builder().method(method).uri(format!("/session{path}"));
    if let Some(token) = &caller.token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    if let Some(etag) = known {
        request = request.header("if-none-match", etag);
    }
    let request = request.body(Full::default()).unwrap();
    match at_once::ask(&caller.server.api, &request) {
        Some(reply) => (true, reply),
        None => (false, caller.send_raw(request).await),
    }
}

/// Whether the read that everyone polls with comes at once.
async fn comes_at_once(caller: &Client) -> bool {
    ask(caller, Method::GET, &platform_path("XboxLive", XBOX_ID), None).await.0
}

/// Whether a read of a session comes at once.
async fn session_comes_at_once(caller: &Client, session: &str, query: &str) -> bool {
    let (at_once, reply) = ask(caller, Method::GET, &format!("/v1/session/{session}{query}"), None).await;
    assert!(!at_once || reply.status == 200, "{}", reply.body);
    at_once
}

/// The same answer by both ways; a query that nothing is asked with leads to the long one.
async fn check_both_ways(caller: &Client) {
    let path = platform_path("XboxLive", XBOX_ID);
    let etag = caller.xbox().await.headers.get("etag").map(|etag| etag.to_str().unwrap().to_owned());
    for known in [None, Some("\"other\""), Some("*"), etag.as_deref()] {
        let (came_at_once, by_either) = ask(caller, Method::GET, &path, known).await;
        let (at_once, by_long) = ask(caller, Method::GET, &format!("{path}?"), known).await;
        assert!(!at_once);
        if came_at_once {
            at_once::check(&by_either, &by_long);
        } else {
            assert_eq!(
                (by_either.status, &by_either.headers, &by_either.bytes),
                (by_long.status, &by_long.headers, &by_long.bytes),
            );
        }
    }
}

#[tokio::test]
async fn what_was_asked_before_is_answered_at_once() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("game").await;
    alice.links(&session).await.expect(200);
    let path = platform_path("XboxLive", XBOX_ID);
    let first = alice.xbox().await.expect(200);
    let (at_once, second) = ask(&alice, Method::GET, &path, None).await;
    assert!(at_once && second.status == 200 && second.bytes == first.bytes);
    let (at_once, unchanged) = ask(&alice, Method::GET, &path, Some(&first.etag())).await;
    assert!(at_once && unchanged.status == 304 && unchanged.bytes.is_empty());
    assert_eq!(unchanged.etag(), first.etag());
}

#[tokio::test]
async fn only_a_plain_success_is_answered_at_once() {
    let server = Server::new();
    let (alice, bob, stranger) = (server.player(), server.player(), server.player());
    let session = alice.creates("party").await;
    alice.links(&session).await.expect(200);
    alice.invites(&session, &bob).await.expect(200);
    let path = platform_path("XboxLive", XBOX_ID);
    // Everyone's token is known by now, and so is the session.
    for caller in [&alice, &bob, &stranger] {
        caller.xbox().await;
    }
    assert!(comes_at_once(&alice).await);
    let nobody = server.anonymous();
    let unknown = server.bearer("no.token.at-all");
    let no_permission = server.player_with(Some(Platform::XboxLive), &["session:read:self"]);
    for caller in [&bob, &stranger, &nobody, &unknown, &no_permission] {
        for _ in 0..2 {
            let (at_once, reply) = ask(caller, Method::GET, &path, None).await;
            assert!(!at_once && reply.status == 403, "{}", reply.body);
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
        assert!(!ask(&alice, method.clone(), &path, None).await.0, "{method} {path}");
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
        assert!(!comes_at_once(&alice).await, "what was there before the change is not known to be current");
        assert!(comes_at_once(&alice).await);
        for caller in [&alice, &bob] {
            check_both_ways(caller).await;
        }
        seen.push(alice.xbox().await.expect(200).etag());
    }
    assert!(seen[0] != seen[1] && seen[0] == seen[2] && seen[1] == seen[3], "{seen:?}");
}

#[tokio::test]
async fn who_left_and_what_ended_is_not_answered_at_once() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let first = alice.creates("game").await;
    alice.links(&first).await.expect(200);
    alice.xbox().await.expect(200);
    assert!(comes_at_once(&alice).await);
    alice.leaves(&first).await.expect(204);
    alice.xbox().await.refused(404, "platform_session_not_found");
    // The same platform session, linked to another session by another player.
    let second = bob.creates("game").await;
    bob.links(&second).await.expect(200);
    bob.xbox().await.expect(200);
    assert!(comes_at_once(&bob).await);
    assert!(!comes_at_once(&alice).await);
    alice.xbox().await.refused(403, "not_active_in_session");
    check_both_ways(&bob).await;
}

#[tokio::test]
async fn nothing_is_answered_at_once_after_its_time() {
    let server = Server::with(|config| config.sessions.idle_s = 600);
    let lasting = server.lasting_player();
    let session = lasting.creates("game").await;
    lasting.links(&session).await.expect(200);
    lasting.xbox().await.expect(200);
    assert!(comes_at_once(&lasting).await);
    let service = server.bearer(server.token(&{
        let mut grant = grant(None, None, &["session:*"]);
        grant.ttl = Duration::from_secs(60);
        grant
    }));
    service.xbox().await.expect(200);
    assert!(comes_at_once(&service).await);
    server.clock.advance(Duration::from_secs(120));
    assert!(!comes_at_once(&service).await, "its token has ended");
    assert_eq!(service.xbox().await.body["auth_success"], false);
    assert!(comes_at_once(&lasting).await);
    server.clock.advance(Duration::from_secs(600));
    assert!(!comes_at_once(&lasting).await, "the session's time is over");
    lasting.xbox().await.refused(404, "platform_session_not_found");
}

#[tokio::test]
async fn sessions_are_polled_at_once_too() {
    let server = Server::new();
    let (alice, bob, stranger) = (server.player(), server.player(), server.player());
    let session = alice.creates("party").await;
    alice.invites(&session, &bob).await.expect(200);
    let whole = alice.session(&session).await.expect(200);
    for query in ["", "?refresh_ttl=true", "?refresh_ttl=false"] {
        assert!(session_comes_at_once(&alice, &session, query).await, "{query}");
        let path = format!("/v1/session/{session}{query}");
        let (at_once, unchanged) = ask(&alice, Method::GET, &path, Some(&whole.etag())).await;
        assert!(at_once && unchanged.status == 304 && unchanged.bytes.is_empty());
        assert_eq!(unchanged.etag(), whole.etag());
    }
    for query in
        ["?", "?refresh_ttl", "?refresh_ttl=1", "?refresh_ttl=true&a=b", "?a=b", "?refresh_ttl=true?"]
    {
        assert!(!session_comes_at_once(&alice, &session, query).await, "{query}");
    }
    // Who sees an outline goes the long way, and so does who is refused.
    let no_permission = server.player_with(Some(Platform::XboxLive), &["session:read:platform"]);
    for caller in [&bob, &stranger, &no_permission, &server.anonymous()] {
        caller.session(&session).await;
        assert!(!session_comes_at_once(caller, &session, "").await);
    }
    bob.joins(&session).await.expect(200);
    bob.session(&session).await.expect(200);
    assert!(session_comes_at_once(&bob, &session, "").await);
    bob.leaves(&session).await.expect(204);
    bob.session(&session).await.expect(200);
    assert!(!session_comes_at_once(&bob, &session, "").await);
}

#[tokio::test]
async fn who_is_not_shown_everyone_goes_the_long_way() {
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
            assert!(comes_at_once(caller).await, "of a platform session everyone sees the same");
        }
        assert!(!session_comes_at_once(&alice, &session, "").await);
        assert!(session_comes_at_once(&service, &session, "").await);
    }
}

#[tokio::test]
async fn a_session_that_is_polled_at_once_lives_on() {
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
    assert!(session_comes_at_once(&alice, &session, "?refresh_ttl=false").await);
    assert_eq!(left_s().await, 700);
    assert!(session_comes_at_once(&alice, &session, "").await);
    assert_eq!(left_s().await, 900);
    // What is about to fall due is stored before the answer, which takes the long way.
    server.advance(Duration::from_secs(810)).await;
    assert!(!session_comes_at_once(&alice, &session, "?refresh_ttl=true").await);
    assert_eq!(left_s().await, 900);
    assert!(session_comes_at_once(&alice, &session, "?refresh_ttl=true").await);
    server.clock.advance(Duration::from_secs(900));
    assert!(!session_comes_at_once(&alice, &session, "").await, "its time is over");
    alice.session(&session).await.refused(404, "session_not_found");
}

#[tokio::test]
async fn who_polls_at_once_is_present_and_counted() {
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
        // Carol is taken out in between, and what she leaves behind is not known to be current once.
        if round == 2 {
            alice.session(&session).await.expect(200);
            alice.xbox().await.expect(200);
        }
        assert!(session_comes_at_once(&alice, &session, "?refresh_ttl=false").await, "{round}");
        assert!(comes_at_once(&bob).await, "{round}");
    }
    let after = operations.map(counted);
    // Alice's two reads the long way, and whatever else they were asked by, count as well.
    assert!(after[0] >= before[0] + 5 && after[1] >= before[1] + 5, "{before:?} {after:?}");
    let left = alice.session(&session).await.expect(200).body["teams"].to_string();
    let is_in = |player: &Client| left.contains(&player.player.to_string());
    assert!(is_in(&alice) && is_in(&bob) && !is_in(&carol), "{left}");
}

#[tokio::test]
async fn what_is_too_large_does_not_come_at_once() {
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
    for (path_bytes_max, header_bytes_max, comes_at_once) in [
        (path.len(), header_bytes, true),
        (path.len() - 1, header_bytes, false),
        (path.len(), header_bytes - 1, false),
    ] {
        let mut settings = settings::api_settings(&Config::default());
        settings.limits.path_bytes_max = path_bytes_max;
        settings.limits.header_bytes_max = header_bytes_max;
        let api = Api::new(Arc::clone(&server.app), vec![rallypoint::api::surface()], settings);
        assert_eq!(at_once::ask(&api, &request()).is_some(), comes_at_once);
    }
}

#[tokio::test]
async fn nodes_that_share_a_store_take_no_short_cut() {
    for [one, other] in pairs_of_nodes(|_| {}).await {
        take_no_short_cut(&one, &other).await;
    }
}

async fn take_no_short_cut(one: &Server, other: &Server) {
    let alice = one.player();
    let session = alice.creates("game").await;
    alice.links(&session).await.expect(200);
    for node in [one, other, one, other] {
        let alice = node.bearer(alice.token.clone().unwrap());
        assert!(!comes_at_once(&alice).await);
        assert!(!session_comes_at_once(&alice, &session, "").await);
        alice.xbox().await.expect(200);
    }
}

#[tokio::test]
async fn nodes_that_may_be_behind_take_it_for_so_long() {
    let bounded = |config: &mut Config| config.postgres.read_consistency = ReadConsistency::BoundedMs(500);
    for [one, other] in pairs_of_nodes(bounded).await {
        let alice = one.player();
        let session = alice.creates("game").await;
        alice.links(&session).await.expect(200);
        for node in [&one, &other] {
            let alice = node.bearer(alice.token.clone().unwrap());
            alice.xbox().await.expect(200);
            assert!(comes_at_once(&alice).await);
            check_both_ways(&alice).await;
        }
        one.clock.advance(Duration::from_millis(500));
        assert!(!comes_at_once(&alice).await);
        alice.xbox().await.expect(200);
        assert!(comes_at_once(&alice).await);
    }
}
