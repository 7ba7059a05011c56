//! Cross-site request forgery: a browser sends the cookie with the token also for pages of other sites. These must not
//! change anything.

use http::Method;

use crate::harness::{Client, Reply, Server, creation};

const LISTED: &str = "https://tools.example.com";

fn server() -> Server {
    Server::with(|config| config.http.cors_origins = vec!["*".into(), LISTED.into()])
}

/// Creates a session with the token in the cookie, as the form of a web page would.
async fn creates_by_cookie(player: &Client, headers: &[(&str, &str)]) -> Reply {
    let cookie = format!("access_token={}", player.token.as_deref().unwrap());
    let all = [&[("cookie", &*cookie), ("content-type", "text/plain")], headers].concat();
    let body = creation("party").to_string().into();
    player.server.anonymous().send(Method::POST, "/v1/session", &all, Some(body)).await
}

#[tokio::test]
async fn a_change_by_cookie_comes_from_the_same_origin_or_a_listed_one() {
    let server = server();
    let player = server.player();
    let host = ("host", "play.example.com");
    for (accepted, headers) in [
        // Sec-Fetch-Site decides where it is sent.
        (true, &[host, ("sec-fetch-site", "same-origin"), ("origin", "https://play.example.com")][..]),
        (true, &[("sec-fetch-site", "same-origin")]),
        (false, &[host, ("sec-fetch-site", "same-site"), ("origin", "https://forum.example.com")]),
        (false, &[host, ("sec-fetch-site", "cross-site"), ("origin", "https://evil.test")]),
        (false, &[host, ("sec-fetch-site", "cross-site"), ("origin", "https://play.example.com")]),
        (false, &[host, ("sec-fetch-site", "none")]),
        (false, &[host, ("sec-fetch-site", "")]),
        // Otherwise Origin must name the host of the request.
        (true, &[host, ("origin", "https://play.example.com")]),
        (true, &[("host", "PLAY.example.com:443"), ("origin", "https://play.example.com")]),
        (true, &[("host", "127.0.0.1:7700"), ("origin", "http://127.0.0.1:7700")]),
        (true, &[("host", "[::1]:7700"), ("origin", "http://[::1]:7700")]),
        (false, &[host, ("origin", "https://play.example.com:8443")]),
        (false, &[("host", "play.example.com:443"), ("origin", "http://play.example.com")]),
        (false, &[("host", "play.example.com:8080"), ("origin", "https://play.example.com")]),
        (false, &[host, ("origin", "https://evil.test")]),
        (false, &[host, ("origin", "https://play.example.com.evil.test")]),
        (false, &[host, ("origin", "null")]),
        (false, &[host, ("origin", "")]),
        (false, &[("origin", "https://play.example.com")]),
        // A listed origin may change things, whatever the other headers say; "*" lists none.
        (true, &[host, ("sec-fetch-site", "cross-site"), ("origin", LISTED)]),
        (true, &[host, ("origin", LISTED)]),
        (false, &[host, ("origin", "*")]),
        (false, &[host, ("origin", "http://tools.example.com")]),
        // A client that is no browser sends neither header.
        (true, &[host]),
        (true, &[]),
    ] {
        let reply = creates_by_cookie(&player, headers).await;
        if accepted {
            assert_eq!(reply.status, 200, "{headers:?} {}", reply.body);
            player.leaves(reply.body["session_id"].as_str().unwrap()).await.expect(204);
        } else {
            assert_eq!(reply.status, 403, "{headers:?}");
            reply.refused(403, "cross_site");
        }
    }
}

#[tokio::test]
async fn only_changes_with_the_token_in_the_cookie_are_checked() {
    let server = server();
    let player = server.player();
    let session = player.creates("party").await;
    let elsewhere = [("sec-fetch-site", "cross-site"), ("origin", "https://evil.test")];
    let path = format!("/v1/session/{session}");
    let token = player.token.clone().unwrap();
    let cookie = format!("access_token={token}");
    let by_cookie = [&[("cookie", &*cookie)], &elsewhere[..]].concat();
    let anonymous = server.anonymous();

    // Reads: a page of another site cannot see the answer.
    for method in [Method::GET, Method::HEAD] {
        anonymous.send(method, &path, &by_cookie, None).await.expect(200);
    }
    // Every method that changes something.
    for (method, path) in [
        (Method::PATCH, path.clone()),
        (Method::DELETE, path.clone()),
        (Method::POST, format!("{path}/player/me")),
        (Method::POST, format!("/v2/session/{session}/player/{}:promote", player.player)),
    ] {
        let body = Some("{}".into());
        anonymous.send(method, &path, &by_cookie, body).await.refused(403, "cross_site");
    }
    // A token in the header comes from a page that knows it. The cookie beside it does not count.
    player.send(Method::PATCH, &path, &by_cookie, Some("{}".into())).await.expect(200);
    // An invalid token stays the first thing to mend: clients log in again then.
    let forged = [&[("cookie", "access_token=forged")], &elsewhere[..]].concat();
    let refused = anonymous.send(Method::DELETE, &path, &forged, None).await.expect(403);
    assert_eq!(refused.body["error_code"], "token_invalid");
    player.session(&session).await.expect(200);
}
