//! Limits of requests: for each limit, the largest accepted value, the smallest refused value and its error. After
//! each refusal the server still works.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::harness::{Client, Server, XBOX_ID, creation, joining, link_path, platform_path};

const TOO_LONG: &str = "value_error.any_str.max_length";
const TOO_SHORT: &str = "value_error.any_str.min_length";
const TOO_MANY_ENTRIES: &str = "value_error.dict.max_items";

/// Asserts that the server still works after refusals.
async fn serves(client: &Client) {
    let session = client.creates("party").await;
    client.session(&session).await.expect(200);
    client.leaves(&session).await.expect(204);
}

/// The location of a violation in the body.
fn in_body<const N: usize>(steps: [&str; N]) -> Value {
    json!([&["body"][..], &steps].concat())
}

#[tokio::test]
async fn body_size_is_limited() {
    let server = Server::with(|config| config.http.body_bytes_max = 1000);
    let alice = server.player();
    let body = creation("party").to_string();
    let padded = |bytes: usize| Bytes::from(" ".repeat(bytes - body.len()) + &body);
    alice.send(Method::POST, "/v1/session", &[], Some(padded(1000))).await.expect(200);
    let refused = alice.send(Method::POST, "/v1/session", &[], Some(padded(1001))).await;
    let refused = refused.refused(413, "body_too_large");
    assert_eq!(refused.body["desc"], "the body is larger than 1000 bytes");
    // Callers without a token are refused before the body is read. Operations without a body ignore it.
    let stranger = server.anonymous();
    let refused = stranger.send(Method::POST, "/v1/session", &[], Some(padded(1001))).await.expect(403);
    assert_eq!(refused.body["error_code"], "token_missing");
    alice.send(Method::GET, "/v1/player/me/session", &[], Some(padded(1001))).await.expect(200);
    serves(&alice).await;
}

#[tokio::test]
async fn header_size_is_limited() {
    let server = Server::new();
    let alice = server.player();
    // The limit counts names and values together.
    let bytes = "authorization".len() + "Bearer ".len() + alice.token.as_ref().unwrap().len();
    for (fits, padding) in [(true, 32_768 - bytes - 2), (false, 32_768 - bytes - 1)] {
        let (half, rest) = (padding / 2, padding - padding / 2);
        let headers = [("a", &*"x".repeat(half)), ("b", &*"x".repeat(rest))];
        let reply = alice.send(Method::GET, "/v1/template", &headers, None).await;
        if fits {
            reply.expect(200);
        } else {
            let refused = reply.refused(431, "headers_too_large");
            assert_eq!(refused.body["desc"], "the headers are larger than 32768 bytes");
        }
    }
    serves(&alice).await;
}

#[tokio::test]
async fn path_and_query_size_is_limited() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("party").await;
    let path = format!("/v1/session/{session}?x=");
    let padding = 57_344 - "/session".len() - path.len();
    alice.get(&format!("{path}{}", "x".repeat(padding))).await.expect(200);
    let refused =
        alice.get(&format!("{path}{}", "x".repeat(padding + 1))).await.refused(414, "path_too_long");
    assert_eq!(refused.body["desc"], "the path and query are longer than 57344 bytes");
    let unknown = format!("/nowhere/{}", "x".repeat(57_344));
    let request = Request::get(unknown).body(Full::default()).unwrap();
    alice.send_raw(request).await.refused(414, "path_too_long");
    serves(&alice).await;
}

#[tokio::test]
async fn a_platform_session_id_may_be_long_and_fully_percent_encoded() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("party").await;
    // Each character takes three bytes in the path, 12288 in all.
    let id = "+/=?#%\"<>\\^`{|} ".repeat(256);
    let encoded: String = id.bytes().map(|byte| format!("%{byte:02X}")).collect();
    assert_eq!((id.chars().count(), encoded.len()), (4096, 12_288));
    let linked = alice.post(&link_path("XboxLive", &encoded, &session), &Value::Null).await.expect(200);
    assert_eq!(linked.body["platform_session_id_base64"], id);
    let found = alice.get(&platform_path("XboxLive", &encoded)).await.expect(200);
    assert_eq!(found.bytes, linked.bytes);
    assert_eq!(alice.session(&session).await.body["platform_session"][0], found.body);

    let too_long = [(json!(["path", "platform_session_id_base64"]), TOO_LONG)];
    alice.get(&platform_path("XboxLive", &format!("{encoded}%20"))).await.invalid(&too_long);
    // The limit counts characters, not bytes.
    let wide = "%C3%A9";
    alice.get(&platform_path("PSN", &wide.repeat(2700))).await.refused(404, "platform_session_not_found");
    let too_short = [(json!(["path", "platform_session_id_base64"]), TOO_SHORT)];
    alice.get(&platform_path("XboxLive", "")).await.invalid(&too_short);
    serves(&alice).await;
}

#[tokio::test]
async fn paths_accept_any_utf8_text_and_nothing_else() {
    let server = Server::new();
    let alice = server.player();
    for id in [
        "%00",
        "a%00b",
        "%01",
        "%0A",
        "%2F",
        "%2e%2e",
        "%25",
        "..",
        "%F0%9F%8E%AE",
        "%E2%80%AE",
        "%",
        "%zz",
        "+",
    ] {
        alice.session(id).await.refused(404, "session_not_found");
        alice.get(&platform_path("PSN", id)).await.refused(404, "platform_session_not_found");
        let session = alice.creates("party").await;
        let linked = alice.post(&link_path("XboxLive", id, &session), &Value::Null).await.expect(200);
        let found = alice.get(&platform_path("XboxLive", id)).await.expect(200);
        assert_eq!(linked.body, found.body);
        alice.leaves(&session).await.expect(204);
        alice.get(&platform_path("XboxLive", id)).await.refused(404, "platform_session_not_found");
    }
    for id in ["%FF", "%C3", "a%80b", "%ED%A0%80", "%C0%AF"] {
        let no_text = [(json!(["path", "session_id"]), "value_error.unicodedecode")];
        alice.session(id).await.invalid(&no_text);
    }
    alice.session(&"x".repeat(128)).await.refused(404, "session_not_found");
    alice.session(&"x".repeat(129)).await.invalid(&[(json!(["path", "session_id"]), TOO_LONG)]);
    serves(&alice).await;
}

#[tokio::test]
async fn json_depth_is_limited() {
    let server = Server::new();
    let alice = server.player();
    let nested = |depth: usize| {
        let mut body = creation("party").to_string();
        body.pop();
        body + &format!(",\"deep\":{}{}}}", "[".repeat(depth), "]".repeat(depth))
    };
    let send = |body: String| alice.send(Method::POST, "/v1/session", &[], Some(body.into()));
    send(nested(100)).await.expect(200);
    for body in [nested(128), nested(100_000), "[".repeat(1024 * 1024), "{\"a\":".repeat(200_000)] {
        let refused = send(body).await.expect(422);
        assert_eq!(refused.body["detail"][0]["type"], "value_error.jsondecode");
        assert_eq!(refused.body["detail"].as_array().unwrap().len(), 1);
    }
    serves(&alice).await;
}

#[tokio::test]
async fn custom_data_is_limited_in_every_body() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("party").await;
    let entries = |count: usize, value: &str| -> Value {
        (0..count)
            .map(|entry| (format!("key-{entry}"), json!(value)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let (most, longest) = (entries(128, "x"), entries(1, &"\u{1F3AE}".repeat(4096)));
    let (too_many, too_long, empty) = (entries(129, "x"), entries(1, &"x".repeat(4097)), entries(1, ""));

    let change = |data: &Value| json!({ "custom_data": data });
    let team = |data: &Value| json!({ "teams": [{ "custom_data": data }] });
    let path = format!("/v1/session/{session}");
    for data in [&most, &longest] {
        let changed = alice.patch(&path, &change(data)).await.expect(200);
        assert_eq!(changed.body["custom_data"], *data);
        alice.patch(&path, &team(data)).await.expect(200);
    }
    let wrong = [
        (&too_many, &[][..], TOO_MANY_ENTRIES),
        (&too_long, &["key-0"], TOO_LONG),
        (&empty, &["key-0"], TOO_SHORT),
    ];
    for (data, steps, kind) in wrong {
        let loc = |before: &[Value]| {
            Value::from([before, &steps.iter().map(|step| json!(step)).collect::<Vec<_>>()].concat())
        };
        let at = loc(&[json!("body"), json!("custom_data")]);
        alice.patch(&path, &change(data)).await.invalid(&[(at.clone(), kind)]);
        let in_team = loc(&[json!("body"), json!("teams"), json!(0), json!("custom_data")]);
        alice.patch(&path, &team(data)).await.invalid(&[(in_team, kind)]);
        let mut join = joining();
        join["custom_data"] = data.clone();
        alice.post(&format!("{path}/player/me"), &join).await.invalid(&[(at.clone(), kind)]);
        let join_path = format!("{}/player/me", platform_path("XboxLive", XBOX_ID));
        alice.post(&join_path, &join).await.invalid(&[(at, kind)]);
        let mut create = creation("party");
        create["player"] = join;
        let in_player = loc(&[json!("body"), json!("player"), json!("custom_data")]);
        alice.post("/v1/session", &create).await.invalid(&[(in_player, kind)]);
    }
    serves(&alice).await;
}

#[tokio::test]
async fn texts_and_lists_have_length_limits() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("party").await;
    let path = format!("/v1/session/{session}");
    let teams = |count: usize| json!({ "teams": vec![json!({}); count] });
    alice.patch(&path, &teams(50)).await.expect(200);
    alice.patch(&path, &teams(51)).await.invalid(&[(in_body(["teams"]), "value_error.list.max_items")]);
    for field in ["password", "region_id"] {
        let change = |chars: usize| json!({ field: "\u{e9}".repeat(chars) });
        alice.patch(&path, &change(128)).await.expect(200);
        alice.patch(&path, &change(129)).await.invalid(&[(in_body([field]), TOO_LONG)]);
        alice.patch(&path, &change(0)).await.invalid(&[(in_body([field]), TOO_SHORT)]);
    }
    let leave = |chars: usize| format!("{path}/player/me?reason={}", "x".repeat(chars));
    alice.delete(&leave(129)).await.invalid(&[(json!(["query", "reason"]), TOO_LONG)]);
    alice.delete(&leave(0)).await.invalid(&[(json!(["query", "reason"]), TOO_SHORT)]);
    alice.delete(&leave(128)).await.expect(204);
    serves(&alice).await;
}
