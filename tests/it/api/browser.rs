//! The session browser: listing sessions, and reading the listings in pages.

use rallypoint::domain::{CustomData, SessionId};
use rallypoint::records::Listed;
use rallypoint::records::keys;
use rallypoint::store::Batch;
use serde_json::{Value, json};

use crate::harness::{Client, Reply, Server, contents};

fn listing_path(session: &str) -> String {
    format!("/v1/session/{session}/browser")
}

async fn list(caller: &Client, session: &str, data: Value) -> Reply {
    caller.post(&listing_path(session), &json!({ "custom_data": data })).await
}

/// Reads a page of games. Returns its session ids and the cursor of the next page.
async fn page(reader: &Client, query: &str) -> (Vec<String>, Value) {
    let page = reader.get(&format!("/v1/browser?session_type=game{query}")).await.expect(200).body;
    let ids = page["browser_sessions"].as_array().unwrap().iter();
    (ids.map(|listed| listed["session_id"].as_str().unwrap().to_owned()).collect(), page["cursor"].clone())
}

/// The listing of a game in the browser; null if it is not listed.
async fn listed(reader: &Client, session: &str) -> Value {
    let page = reader.get("/v1/browser?session_type=game").await.expect(200).body;
    let mut sessions = page["browser_sessions"].as_array().unwrap().iter();
    sessions.find(|listed| listed["session_id"] == json!(session)).cloned().unwrap_or_default()
}

/// A server where create-or-join always creates a session, and N games, listed in this order.
async fn games<const N: usize>() -> (Server, [(Client, String); N]) {
    let server = Server::with(|config| config.templates.get_mut("game").unwrap().attempt_auto_join = false);
    let mut games = Vec::new();
    for _ in 0..N {
        let leader = server.player();
        let session = leader.creates("game").await;
        list(&leader, &session, json!({})).await.expect(200);
        games.push((leader, session));
    }
    (server, games.try_into().ok().unwrap())
}

#[tokio::test]
async fn a_leader_lists_changes_and_unlists_a_session() {
    let server = Server::new();
    let (alice, stranger) = (server.player(), server.player());
    let session = alice.creates("game").await;
    let unlisted = alice.session(&session).await.expect(200);
    assert!(unlisted.body.get("browser").is_none());
    let posted = list(&alice, &session, json!({"map": "dunes"})).await.expect(200);
    let info = json!({"custom_data": {"map": "dunes"}, "created_timestamp": "2026-11-23T12:00:00Z"});
    assert_eq!(posted.body, info);
    for reader in [&alice, &stranger] {
        assert_eq!(reader.session(&session).await.expect(200).body["browser"], info);
    }
    let expected = json!({
        "session_id": session, "player_count": 1, "max_player_count": 16, "custom_data": {"map": "dunes"},
    });
    assert_eq!(listed(&stranger, &session).await, expected);

    server.clock.advance(std::time::Duration::from_secs(60));
    let patched = alice.patch(&listing_path(&session), &json!({"custom_data": {"map": "hills"}})).await;
    let info = json!({"custom_data": {"map": "hills"}, "created_timestamp": "2026-11-23T12:00:00Z"});
    assert_eq!(patched.expect(200).body, info);
    assert_eq!(listed(&stranger, &session).await["custom_data"], json!({"map": "hills"}));
    alice.delete(&listing_path(&session)).await.expect(204);
    assert_eq!(listed(&stranger, &session).await, Value::Null);
    assert_eq!(alice.session(&session).await.etag(), unlisted.etag());
    alice.delete(&listing_path(&session)).await.refused(404, "browser_info_not_found");
    alice.patch(&listing_path(&session), &json!({})).await.refused(404, "browser_info_not_found");
}

#[tokio::test]
async fn listing_again_replaces_the_data_and_keeps_the_position() {
    let (server, [(alice, first), (_, second)]) = games().await;
    let before = contents(&server).await;
    list(&alice, &first, json!({})).await.expect(200);
    assert_eq!(contents(&server).await, before, "a repeated request changes nothing");
    list(&alice, &first, json!({"a": "b"})).await.expect(200);
    assert_eq!(page(&alice, "").await.0, [first.clone(), second.clone()]);
    // A session that is unlisted and listed again comes last.
    alice.delete(&listing_path(&first)).await.expect(204);
    list(&alice, &first, json!({})).await.expect(200);
    assert_eq!(page(&alice, "").await.0, [second, first]);
}

#[tokio::test]
async fn only_the_leader_lists_and_only_types_that_allow_it() {
    let server = Server::new();
    let (alice, bob, stranger) = (server.player(), server.player(), server.player());
    let game = alice.creates("game").await;
    let party = alice.creates("party").await;
    bob.joins(&game).await.expect(200);
    list(&bob, &game, json!({})).await.refused(403, "not_session_leader");
    list(&stranger, &game, json!({})).await.refused(403, "not_active_in_session");
    list(&alice, &party, json!({})).await.refused(403, "not_for_browser");
    list(&alice, "none", json!({})).await.refused(404, "session_not_found");
    list(&alice, &game, json!({"a": ""})).await.expect(422);
    list(&server.service(&["session:update:browser"]), &game, json!({}))
        .await
        .refused(403, "player_required");
    list(&server.service(&["session:*"]), &game, json!({})).await.expect(200);
    for (caller, code) in [(&bob, "not_session_leader"), (&stranger, "not_active_in_session")] {
        caller.patch(&listing_path(&game), &json!({})).await.refused(403, code);
        caller.delete(&listing_path(&game)).await.refused(403, code);
    }
    alice.patch(&listing_path("none"), &json!({})).await.refused(404, "session_not_found");
    alice.delete(&listing_path("none")).await.refused(404, "session_not_found");
    server.service(&["session:*"]).delete(&listing_path(&game)).await.expect(204);
}

#[tokio::test]
async fn a_template_can_list_every_new_session() {
    let server = Server::with(|config| {
        let game = config.templates.get_mut("game").unwrap();
        game.auto_add_to_browser = true;
        game.can_be_added_to_server_browser = false;
        game.auto_browser_params.insert("mode".into(), "casual".into());
    });
    let alice = server.player();
    let session = alice.creates("game").await;
    assert_eq!(listed(&alice, &session).await["custom_data"], json!({"mode": "casual"}));
    assert_eq!(
        alice.session(&session).await.body["browser"],
        json!({"custom_data": {"mode": "casual"}, "created_timestamp": "2026-11-23T12:00:00Z"})
    );
    list(&alice, &session, json!({})).await.refused(403, "not_for_browser");
    alice.leaves(&session).await.expect(204);
    assert_eq!(listed(&alice, &session).await, Value::Null);
}

#[tokio::test]
async fn player_counts_in_the_browser_are_current() {
    let (server, [(alice, session)]) = games().await;
    let (bob, carol) = (server.player(), server.player());
    let count = async || listed(&carol, &session).await["player_count"].clone();
    bob.joins(&session).await.expect(200);
    assert_eq!(count().await, json!(2));
    alice.invites(&session, &carol).await.expect(200);
    assert_eq!(count().await, json!(2), "invited players do not count");
    carol.joins(&session).await.expect(200);
    assert_eq!(count().await, json!(3));
    alice.kicks(&session, &bob).await.expect(204);
    carol.leaves(&session).await.expect(204);
    assert_eq!(count().await, json!(1));
    let change = async |teams: Value| {
        alice.patch(&format!("/v1/session/{session}"), &json!({ "teams": teams })).await.expect(200);
        listed(&carol, &session).await["max_player_count"].clone()
    };
    assert_eq!(change(json!([{"max_size": 3}])).await, json!(3));
    // The contract limits the count to 100.
    assert_eq!(change(json!([{"max_size": 100}, {"max_size": 100}])).await, json!(100));
    alice.delete(&format!("/v1/session/{session}")).await.expect(204);
    assert_eq!(listed(&carol, &session).await, Value::Null);
}

#[tokio::test]
async fn the_browser_shows_the_health_of_the_instance() {
    let (server, [(alice, session)]) = games().await;
    alice.post(&format!("/v1/session/{session}/instance"), &json!({"instance_id": "i"})).await.expect(200);
    assert!(listed(&alice, &session).await.get("instance_health").is_none());
    let report = json!({"instance_health": "degraded", "instance_id": "i"});
    let host = server.service(&["session:instance:health"]);
    host.post(&format!("/v1/session/{session}/instance/health"), &report).await.expect(200);
    assert_eq!(listed(&alice, &session).await["instance_health"], json!("degraded"));
}

#[tokio::test]
async fn a_page_starts_after_the_last_listing_of_the_page_before() {
    let (server, games) = games::<5>().await;
    let reader = server.player();
    let ids: Vec<_> = games.iter().map(|(_, session)| session.clone()).collect();
    assert_eq!(page(&reader, "").await, (ids.clone(), json!(0)));
    assert_eq!(page(&reader, "&page_size=5").await, (ids.clone(), json!(0)));
    let (first, cursor) = page(&reader, "&page_size=2").await;
    assert_eq!(first, ids[..2]);
    // One listing of the first page is removed, one of a later page is removed, and one is new.
    for gone in [0, 2] {
        games[gone].0.delete(&listing_path(&ids[gone])).await.expect(204);
    }
    let newest = games[0].0.creates("game").await;
    list(&games[0].0, &newest, json!({})).await.expect(200);
    let (second, cursor) = page(&reader, &format!("&page_size=2&cursor={cursor}")).await;
    assert_eq!(second, ids[3..]);
    let (third, cursor) = page(&reader, &format!("&page_size=2&cursor={cursor}")).await;
    assert_eq!((third, cursor), (vec![newest], json!(0)));
    assert_eq!(page(&reader, "&cursor=9223372036854775807").await, (Vec::new(), json!(0)));
}

#[tokio::test]
async fn the_browser_filters_by_type_and_region() {
    let (server, [(alice, first), (bob, second), (_, third)]) = games().await;
    let reader = server.player();
    for (leader, session, region) in [(&alice, &first, "eu"), (&bob, &second, "us")] {
        leader.patch(&format!("/v1/session/{session}"), &json!({"region_id": region})).await.expect(200);
    }
    assert_eq!(page(&reader, "").await.0.len(), 3);
    assert_eq!(page(&reader, "&region_id=eu").await, (vec![first.clone()], json!(0)));
    assert_eq!(page(&reader, "&region_id=as").await, (Vec::new(), json!(0)));
    bob.patch(&format!("/v1/session/{second}"), &json!({"region_id": "eu"})).await.expect(200);
    let (found, cursor) = page(&reader, "&region_id=eu&page_size=1").await;
    assert_eq!(found, [first]);
    let rest = page(&reader, &format!("&region_id=eu&page_size=1&cursor={cursor}")).await;
    assert_eq!(rest, (vec![second], json!(0)));
    for other in ["party", "gam", "game2", "none"] {
        let empty = reader.get(&format!("/v1/browser?session_type={other}")).await.expect(200);
        assert_eq!(
            empty.body,
            json!({"cursor": 0, "browser_sessions": []}),
            "{third} is not of type {other}"
        );
    }
}

/// Puts a listing of a game into the store. Its session id is its number.
fn put_listing(batch: Batch, number: u64, region: &str, custom_data: CustomData) -> Batch {
    let listed = Listed {
        session_id: SessionId::parse(&number.to_string()).unwrap(),
        region_id: Some(region.into()),
        players: 1,
        slots: 2,
        health: None,
        custom_data,
    };
    batch.put(keys::listing("game", number), serde_json::to_vec(&listed).unwrap())
}

/// The session ids on each page.
async fn all_pages(reader: &Client, query: &str) -> Vec<Vec<String>> {
    let (mut pages, mut cursor) = (Vec::new(), json!(0));
    loop {
        let (ids, next) = page(reader, &format!("{query}&cursor={cursor}")).await;
        pages.push(ids);
        cursor = next;
        if cursor == json!(0) {
            return pages;
        }
    }
}

#[tokio::test]
async fn pages_of_large_listings_hold_fewer_entries() {
    let server = Server::new();
    let reader = server.player();
    // Each listing has the largest allowed data. The seventh has more: alone it exceeds the scan limit of a page.
    let full: CustomData = (0..31).map(|entry| (entry.to_string(), "x".repeat(4096))).collect();
    let larger = CustomData::from([("x".repeat(5 << 20), "x".into())]);
    let data = |number| if number == 7 { larger.clone() } else { full.clone() };
    let batch =
        (1..=20).fold(Batch::default(), |batch, number| put_listing(batch, number, "eu", data(number)));
    server.app.sessions.store().commit(batch).await.unwrap();
    let numbers: Vec<_> = (1..=20).map(|number: u64| number.to_string()).collect();
    for query in ["", "&region_id=eu"] {
        let pages = all_pages(&reader, query).await;
        let sizes: Vec<_> = pages.iter().map(Vec::len).collect();
        assert_eq!((sizes, pages.concat()), (vec![2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1], numbers.clone()));
    }
    // Listings of another region count toward the scan limit too.
    let pages = all_pages(&reader, "&region_id=us").await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [0; 11]);
    let pages = all_pages(&reader, "&page_size=1").await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [1; 20]);
}

#[tokio::test]
async fn the_scan_limit_of_a_page_is_exact() {
    let server = Server::new();
    let reader = server.player();
    let batch = (1..=1_001)
        .fold(Batch::default(), |batch, number| put_listing(batch, number, "us", CustomData::new()));
    server.app.sessions.store().commit(batch).await.unwrap();
    assert_eq!(page(&reader, "&region_id=eu").await, (Vec::new(), json!(1_000)));
    assert_eq!(page(&reader, "&region_id=eu&cursor=1").await, (Vec::new(), json!(0)));
    assert_eq!(page(&reader, "&cursor=951").await.1, json!(0));
    assert_eq!(page(&reader, "&cursor=950").await.1, json!(1_000));
}

#[tokio::test]
async fn rare_matches_are_found_on_later_pages() {
    let server = Server::new();
    let reader = server.player();
    let region = |number| if [1_700, 2_400].contains(&number) { "eu" } else { "us" };
    let batch = (1..=2_500).fold(Batch::default(), |batch, number| {
        put_listing(batch, number, region(number), CustomData::new())
    });
    server.app.sessions.store().commit(batch).await.unwrap();
    let pages = all_pages(&reader, "&region_id=eu").await;
    assert_eq!(pages.concat(), ["1700", "2400"]);
    assert!(pages.len() > 1, "one request does not scan all listings");
}

#[tokio::test]
async fn the_etag_of_a_page_covers_that_page_only() {
    let (server, [(alice, first), (bob, _)]) = games().await;
    let reader = server.player();
    let (all, one) = ("/v1/browser?session_type=game", "/v1/browser?session_type=game&page_size=1");
    let whole = reader.get(all).await.expect(200);
    let part = reader.get(one).await.expect(200);
    reader.get_if_none_match(all, &whole.etag()).await.expect(304);
    reader.get_if_none_match(one, &whole.etag()).await.expect(200);
    // A change that the page does not show keeps its ETag.
    alice.patch(&format!("/v1/session/{first}"), &json!({"custom_data": {"a": "b"}})).await.expect(200);
    reader.get_if_none_match(all, &whole.etag()).await.expect(304);
    let game = bob.own_list("game").await["session_ids"][0].clone();
    server.player().joins(game.as_str().unwrap()).await.expect(200);
    reader.get_if_none_match(one, &part.etag()).await.expect(304);
    assert_ne!(reader.get_if_none_match(all, &whole.etag()).await.expect(200).etag(), whole.etag());
}

#[tokio::test]
async fn page_parameters_are_validated() {
    let server = Server::new();
    let reader = server.player();
    let missing = (json!(["query", "session_type"]), "value_error.missing");
    reader.get("/v1/browser").await.invalid(&[missing]);
    for (query, field, kind) in [
        ("page_size=0", "page_size", "value_error.number.not_ge"),
        ("page_size=51", "page_size", "value_error.number.not_le"),
        ("cursor=-1", "cursor", "value_error.number.not_ge"),
        ("region_id=", "region_id", "value_error.any_str.min_length"),
    ] {
        let found = [(json!(["query", field]), kind)];
        reader.get(&format!("/v1/browser?session_type=game&{query}")).await.invalid(&found);
    }
    let long = format!("/v1/browser?session_type=game&region_id={}", "x".repeat(129));
    reader.get(&long).await.invalid(&[(json!(["query", "region_id"]), "value_error.any_str.max_length")]);
}
