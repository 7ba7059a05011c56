//! Reading a session's players: one by one, and in pages while players join and leave.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Client, Server, contents, player_path};

/// Reads a page. Returns its players, each at most once, and the cursor of the next page.
async fn page(reader: &Client, session: &str, cursor: &Value, size: usize) -> (BTreeSet<Uuid>, Value) {
    let path = format!("/v1/session/{session}/player?cursor={cursor}&page_size={size}");
    let page = reader.get(&path).await.expect(200);
    let teams = page.body["teams"].as_array().unwrap();
    let mut players = BTreeSet::new();
    for player in teams.iter().flat_map(|team| team["players"].as_array().unwrap()) {
        let uuid = player["player_uuid"].as_str().unwrap().parse().unwrap();
        assert!(players.insert(uuid), "{uuid} is on the page twice");
    }
    (players, page.body["cursor"].clone())
}

async fn members(server: &Server, session: &str, count: usize) -> Vec<Client> {
    let mut members = Vec::new();
    for _ in 0..count {
        let member = server.player();
        member.joins(session).await.expect(200);
        members.push(member);
    }
    members
}

#[tokio::test]
async fn a_page_shows_only_its_players_and_their_teams() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("game").await;
    bob.joins_team(&session, 1).await.expect(200);
    let path = format!("/v1/session/{session}/player");
    let all = alice.get(&path).await.expect(200);
    let seen = alice.session(&session).await.expect(200).body["teams"].clone();
    assert_eq!(all.body, json!({"teams": seen, "cursor": 0}));
    alice.get_if_none_match(&path, &all.etag()).await.expect(304);

    let first = alice.get(&format!("{path}?page_size=1")).await.expect(200).body;
    assert_eq!(first["teams"], json!([seen[0]]));
    assert_ne!(first["cursor"], json!(0));
    let second = alice.get(&format!("{path}?page_size=1&cursor={}", first["cursor"])).await.expect(200);
    assert_eq!(second.body, json!({"teams": [seen[1]], "cursor": 0}));
    let behind = alice.get(&format!("{path}?cursor=1000")).await.expect(200);
    assert_eq!(behind.body, json!({"teams": [], "cursor": 0}));
}

#[tokio::test]
async fn pages_name_every_player_once_including_invited_players() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("game").await;
    let mut expected = vec![alice.player];
    expected.extend(members(&server, &session, 6).await.iter().map(|member| member.player));
    let invited = server.player();
    alice.invites(&session, &invited).await.expect(200);
    expected.push(invited.player);
    for size in [1, 3, 4, 8, 50] {
        let (mut found, mut cursor) = (Vec::new(), json!(0));
        loop {
            let (players, next) = page(&alice, &session, &cursor, size).await;
            assert!(!players.is_empty() && players.len() <= size);
            found.extend(players);
            cursor = next;
            if cursor == json!(0) {
                break;
            }
        }
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "pages of {size}");
    }
}

#[tokio::test]
async fn joins_and_leaves_between_pages_neither_repeat_nor_hide_players() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("game").await;
    let members = members(&server, &session, 6).await;
    let (first, cursor) = page(&alice, &session, &json!(0), 3).await;
    assert_eq!(first, BTreeSet::from([alice.player, members[0].player, members[1].player]));
    // One player of the first page leaves, one of a later page leaves, one of the first page leaves and joins again,
    // one is new and one is promoted.
    members[0].leaves(&session).await.expect(204);
    members[2].leaves(&session).await.expect(204);
    members[1].leaves(&session).await.expect(204);
    members[1].joins(&session).await.expect(200);
    let late = server.player();
    late.joins(&session).await.expect(200);
    alice.promotes(&session, &members[3]).await.expect(200);
    alice.moves(&session, &alice, 1).await.expect(200);
    let (second, cursor) = page(&alice, &session, &cursor, 3).await;
    assert_eq!(second, BTreeSet::from([members[3].player, members[4].player, members[5].player]));
    let (third, cursor) = page(&alice, &session, &cursor, 3).await;
    // The player who joined again has a new entry. No player who stayed was hidden or repeated.
    assert_eq!(third, BTreeSet::from([members[1].player, late.player]));
    assert_eq!(cursor, json!(0));
}

#[tokio::test]
async fn accepting_an_invite_keeps_the_position_in_the_pages() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("game").await;
    alice.invites(&session, &bob).await.expect(200);
    let late = server.player();
    late.joins(&session).await.expect(200);
    let (first, cursor) = page(&alice, &session, &json!(0), 2).await;
    assert!(first.contains(&bob.player));
    bob.joins(&session).await.expect(200);
    assert_eq!(page(&alice, &session, &cursor, 2).await, (BTreeSet::from([late.player]), json!(0)));
}

#[tokio::test]
async fn outsiders_read_pages_of_the_public_view() {
    let server = Server::new();
    let (alice, stranger) = (server.player(), server.player());
    let session = alice.creates("party").await;
    let path = format!("/v1/session/{session}/player");
    let seen = stranger.get(&path).await.expect(200);
    let outline = json!([{"player_uuid": alice.player, "status": "leader"}]);
    assert_eq!(seen.body["teams"][0]["players"], outline);
    let whole = server.service(&["session:read:any"]).get(&path).await.expect(200);
    assert_eq!(whole.bytes, alice.get(&path).await.expect(200).bytes);
    alice.get("/v1/session/none/player").await.refused(404, "session_not_found");
}

#[tokio::test]
async fn page_parameters_are_validated() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("party").await;
    let path = format!("/v1/session/{session}/player");
    for (query, field, kind) in [
        ("page_size=0", "page_size", "value_error.number.not_ge"),
        ("page_size=51", "page_size", "value_error.number.not_le"),
        ("page_size=many", "page_size", "type_error.integer"),
        ("cursor=-1", "cursor", "value_error.number.not_ge"),
        ("cursor=first", "cursor", "type_error.integer"),
        ("refresh_ttl=maybe", "refresh_ttl", "type_error.bool"),
    ] {
        alice.get(&format!("{path}?{query}")).await.invalid(&[(json!(["query", field]), kind)]);
    }
}

#[tokio::test]
async fn reading_a_player_shows_what_the_session_shows() {
    let server = Server::new();
    let (alice, bob, stranger) = (server.player(), server.player(), server.player());
    let session = alice.creates("game").await;
    bob.joins(&session).await.expect(200);
    let path = player_path(&session, bob.player);
    let before = contents(&server).await;
    let read = alice.get(&path).await.expect(200);
    let mut shown = alice.sees(&session, &bob).await;
    shown.as_object_mut().unwrap().remove("team_id");
    assert_eq!(read.body, shown);
    alice.get_if_none_match(&path, &read.etag()).await.expect(304);
    // Changes of other things keep the ETag of this player.
    alice.patch(&format!("/v1/session/{session}"), &json!({"custom_data": {"a": "b"}})).await.expect(200);
    alice.get_if_none_match(&path, &read.etag()).await.expect(304);
    let outline = stranger.get(&path).await.expect(200);
    assert_eq!(outline.body, json!({"player_uuid": bob.player, "status": "member"}));
    assert_ne!(outline.etag(), read.etag());
    assert_eq!(contents(&server).await.len(), before.len());

    alice.get(&player_path(&session, stranger.player)).await.refused(404, "player_not_found");
    alice.get(&player_path("none", bob.player)).await.refused(404, "session_not_found");
    let uuid = (json!(["path", "player_uuid"]), "type_error.uuid");
    alice.get(&format!("/v1/session/{session}/player/bob")).await.invalid(&[uuid]);
}
