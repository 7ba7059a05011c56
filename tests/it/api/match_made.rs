//! Matches that a matcher of the studio makes of parties in queues.

use std::time::Duration;

use futures_util::future::join_all;
use rallypoint::config::Config;
use rallypoint::domain::matchmaking::profile::{InviteTime, MatcherKind};
use rallypoint::domain::region::Region;
use rallypoint::records::keys;
use serde_json::{Value, json};
use uuid::Uuid;

use super::matches::match_of_player;
use super::queue::{ended, joins, ticket, with_queues};
use crate::harness::{
    Client, Metrics, Reply, Server, contents, fits, joining, keys_of_sessions, pairs_of_nodes,
};
use crate::promises::published::published_contracts;

/// An instance template whose host is a player.
const HOSTED: &str = "00000000-0000-4000-8000-0000000000c1";

/// Queues whose tickets wait for a matcher of the studio.
pub fn with_external_matcher(config: &mut Config) {
    with_queues(config);
    let file = format!(
        "[instance_templates.{HOSTED}]\ndefault_host_type = \"player\"\nmap_selection_list_id = \"all\"\n\
         maps = [{{ map_id = \"1\", map_name = \"Dunes\", map_weight = 1.0 }}]\n"
    );
    config.instance_templates = Config::parse(&file, "test", &[]).unwrap().instance_templates;
    config.regions.insert("eu".into(), Region::default());
    for profile in config.match_making_profiles.values_mut() {
        profile.matcher = MatcherKind::External;
    }
    config.templates.get_mut("game").unwrap().num_teams = 1;
}

fn server() -> Server {
    Server::with(with_external_matcher)
}

/// A party of one in a queue: its player, its session and its ticket.
pub async fn queued(server: &Server) -> (Client, String, String) {
    let player = server.player();
    let session = player.creates("party").await;
    let joined = joins(&player, &session, &["casual"]).await.expect(200);
    (player, session, joined.body["ticket_id"].as_str().unwrap().to_owned())
}

/// The body of a match with a team for each of these players.
pub fn match_of(match_id: &str, parties: &[&(Client, String, String)]) -> Value {
    let team = |(player, _, ticket): &(Client, String, String)| json!({ "players": [{ "player_uuid": player.player, "status": "invited" }], "max_size": 2, "ticket_ids": [ticket] });
    let tickets: serde_json::Map<_, _> =
        parties.iter().map(|(_, session, ticket)| (session.clone(), json!(ticket))).collect();
    json!({
        "teams": parties.iter().map(|party| team(party)).collect::<Vec<_>>(), "session_tickets": tickets,
        "region_id": "eu", "match_id": match_id, "match_create_request_time": "2026-11-23T12:00:30Z",
        "match_making_profile_id": "4v4",
    })
}

fn matcher(server: &Server) -> Client {
    server.service(&["session:create:matchmade", "session:read:any"])
}

async fn posts(matcher: &Client, body: &Value) -> Reply {
    matcher.post("/v1/match-made-session", body).await
}

/// The session in an answer.
fn session_in(reply: Reply) -> String {
    reply.expect(200).body["session_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_match_takes_the_tickets_and_invites_the_players() {
    let server = server();
    let (one, other) = (queued(&server).await, queued(&server).await);
    server.clock.advance(Duration::from_secs(20));
    let mut body = match_of("m1", &[&one, &other]);
    body["custom_data"] = json!({ "score": "0.9" });
    body["teams"][1]["custom_data"] = json!({ "name": "blue" });
    body["teams"][1]["players"][0]["custom_data"] = json!({ "role": "tank" });
    body["ticket_added_unix_time"] =
        json!({ (one.2.clone()): 1_795_435_220.0, (other.2.clone()): 1_795_435_300.0 });
    let matcher = matcher(&server);
    let session = session_in(posts(&matcher, &body).await);
    for (player, party, _) in [&one, &other] {
        assert_eq!(ticket(player, party).await, Value::Null);
    }
    assert_eq!(ended(&server, "assigned").await, 2);
    let made = matcher.session(&session).await.expect(200).body;
    assert_eq!(
        (&made["type"], &made["created_by_matchmaking"], &made["region_id"]),
        (&json!("game"), &json!(true), &json!("eu"))
    );
    assert_eq!(made["teams"][1]["custom_data"], json!({ "name": "blue" }));
    assert_eq!(made["teams"][1]["ticket_ids"], json!([other.2]));
    let entry = &made["teams"][1]["players"][0];
    assert_eq!(
        (
            &entry["status"],
            &entry["source_session_id"],
            &entry["custom_data"]["role"],
            &entry["inviting_player_uuid"]
        ),
        (&json!("invited"), &json!(other.1), &json!("tank"), &Value::Null)
    );
    let results = &made["matchmaking_results"];
    assert_eq!((&results["match_making_id"], &results["tickets_assigned"]), (&json!("m1"), &json!(true)));
    assert_eq!(results["custom_data"], json!({ "score": "0.9" }));
    assert_eq!(results["profile"]["match_making_profile_id"], "4v4");
    // The matcher asks at 12:00:30 by its clock: 10 s after the first time; the second is in its future.
    assert_eq!(results["ticket_wait_seconds"], json!({ (one.2.clone()): 10, (other.2.clone()): 0 }));
    let data = results["ticket_data"].as_array().unwrap();
    let of_one = data.iter().find(|data| data["ticket_id"] == json!(one.2)).unwrap();
    assert_eq!(of_one["player_uuids"], json!([one.0.player]));
    assert_eq!((&of_one["region_id"], &of_one["queued_session_id"]), (&json!("eu"), &json!(one.1)));
    check(&made);
    // A published client joins with team 0, whatever its side is.
    other.0.joins(&session).await.expect(200);
    assert_eq!(other.0.sees_status_and_team(&session, &other.0).await, (json!("leader"), json!(1)));
    let outline = server.player().session(&session).await.expect(200).body;
    assert_eq!(
        (&outline["matchmaking_results"], &outline["created_by_matchmaking"]),
        (&Value::Null, &json!(true))
    );
    let stored = contents(&server).await;
    let expected = keys_of_sessions(&stored);
    assert_eq!(stored.into_keys().filter(|key| !expected.contains(key)).count(), 0);
    assert_eq!(Metrics::total(&server, "matches_made_total").await, 1);
}

/// Asserts that the published contract allows a session.
fn check(session: &Value) {
    let Some(contracts) = published_contracts() else { return };
    let contract = contracts.iter().find(|contract| contract["servers"][0]["url"] == "/session").unwrap();
    fits(contract, &json!({ "$ref": "#/components/schemas/Session" }), session, "a match-made session");
}

#[tokio::test]
async fn a_wrong_ticket_refuses_the_whole_match() {
    let server = server();
    let (one, other) = (queued(&server).await, queued(&server).await);
    let matcher = matcher(&server);
    for wrong in [json!(Uuid::nil().to_string()), json!(one.2), json!("no ticket")] {
        let mut body = match_of("m1", &[&one, &other]);
        body["session_tickets"][&other.1] = wrong;
        posts(&matcher, &body).await.refused(404, "ticket_not_found");
    }
    let mut unknown = match_of("m1", &[&one, &other]);
    unknown["session_tickets"]["none"] = json!(one.2);
    posts(&matcher, &unknown).await.refused(404, "ticket_not_found");
    for (player, party, id) in [&one, &other] {
        assert_eq!(ticket(player, party).await["ticket_id"], json!(id), "still queued");
    }
    assert_eq!(one.0.own_list("game").await, Value::Null, "no session");
    session_in(posts(&matcher, &match_of("m1", &[&one, &other])).await);
}

#[tokio::test]
async fn the_same_match_is_made_once() {
    for [here, there] in pairs_of_nodes(with_external_matcher).await {
        let (one, other) = (queued(&here).await, queued(&here).await);
        let body = match_of("m1", &[&one, &other]);
        let matchers = [matcher(&here), matcher(&there)];
        let posted = join_all((0..8).map(|at| posts(&matchers[at % 2], &body))).await;
        let sessions: std::collections::BTreeSet<_> = posted.into_iter().map(session_in).collect();
        assert_eq!(sessions.len(), 1, "{sessions:?}");
        assert!(sessions.contains(&match_of_player(&one.0).await.unwrap()));
        // With other sessions, too: the id says which match it is.
        let third = queued(&here).await;
        let again = session_in(posts(&matchers[1], &match_of("m1", &[&third])).await);
        assert!(sessions.contains(&again));
        assert_eq!(ticket(&third.0, &third.1).await["ticket_id"], json!(third.2));
    }
}

#[tokio::test]
async fn of_two_matches_with_one_ticket_one_is_made() {
    for [here, there] in pairs_of_nodes(with_external_matcher).await {
        for _ in 0..10 {
            let (one, shared, other) = (queued(&here).await, queued(&here).await, queued(&here).await);
            let [first, second] = [(); 2].map(|()| here.app.entropy.uuid().to_string());
            let bodies = [match_of(&first, &[&one, &shared]), match_of(&second, &[&shared, &other])];
            let matchers = [matcher(&here), matcher(&there)];
            let posted = join_all([0, 1].map(|at| posts(&matchers[at], &bodies[at]))).await;
            let made = posted.iter().position(|reply| reply.status == 200).expect("one is made");
            posted[1 - made].clone().refused(404, "ticket_not_found");
            let left = if made == 0 { &other } else { &one };
            assert_eq!(ticket(&left.0, &left.1).await["ticket_id"], json!(left.2));
        }
    }
}

#[tokio::test]
async fn sessions_without_tickets_are_named_alone() {
    let server = server();
    let (one, other) = (queued(&server).await, queued(&server).await);
    let (guest, matcher) = (server.player(), matcher(&server));
    let mut body = match_of("m1", &[&one]);
    body["session_tickets"] = json!({});
    body["sessions"] = json!([one.1, "none"]);
    posts(&matcher, &body).await.refused(404, "session_not_found");
    body["sessions"] = json!([one.1, one.1]);
    body["teams"][0]["players"] = json!([
        { "player_uuid": one.0.player, "status": "leader" }, { "player_uuid": guest.player, "status": "reserved" },
    ]);
    let session = session_in(posts(&matcher, &body).await);
    assert_eq!(ticket(&one.0, &one.1).await, Value::Null);
    assert_eq!(ticket(&other.0, &other.1).await["ticket_id"], json!(other.2));
    assert_eq!(matcher.sees(&session, &one.0).await["source_session_id"], json!(one.1));
    let of_guest = matcher.sees(&session, &guest).await;
    assert_eq!((&of_guest["status"], &of_guest["source_session_id"]), (&json!("reserved"), &Value::Null));
}

#[tokio::test]
async fn a_match_is_checked_in_order() {
    let server = server();
    let party = queued(&server).await;
    let good = match_of("m1", &[&party]);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut body = good.clone();
        change(&mut body);
        body
    };
    posts(&server.player(), &json!({})).await.refused(403, "permission_denied");
    posts(&server.service(&["session:read:any"]), &good).await.refused(403, "permission_denied");
    let matcher = matcher(&server);
    let missing = "value_error.missing";
    posts(&matcher, &json!({})).await.invalid(&[
        (json!(["body", "teams"]), missing),
        (json!(["body", "region_id"]), missing),
        (json!(["body", "match_id"]), missing),
        (json!(["body", "match_create_request_time"]), missing),
        (json!(["body", "match_making_profile_id"]), missing),
    ]);
    let neither = with(&|body| body["session_tickets"] = json!({}));
    posts(&matcher, &neither).await.invalid(&[(json!(["body", "session_tickets"]), missing)]);
    let twice = with(&|body| {
        let team = body["teams"][0].clone();
        body["teams"].as_array_mut().unwrap().push(team);
    });
    let at = json!(["body", "teams", 1, "players", 0, "player_uuid"]);
    posts(&matcher, &twice).await.invalid(&[(at, "value_error.list.unique_items")]);
    let zoneless = with(&|body| body["match_create_request_time"] = json!("2026-11-23T12:00:00"));
    posts(&matcher, &zoneless)
        .await
        .invalid(&[(json!(["body", "match_create_request_time"]), "value_error.datetime")]);
    let teams = with(&|body| body["teams"] = json!([]));
    posts(&matcher, &teams).await.invalid(&[(json!(["body", "teams"]), "value_error.list.min_items")]);
    for (field, status, code) in [
        ("match_making_profile_id", 404, "match_making_profile_not_found"),
        ("region_id", 404, "region_not_found"),
    ] {
        posts(&matcher, &with(&|body| body[field] = json!("none"))).await.refused(status, code);
    }
    let template = with(&|body| body["instance_launch_template_id"] = json!(Uuid::nil()));
    posts(&matcher, &template).await.refused(404, "instance_template_not_found");
    assert_eq!(ticket(&party.0, &party.1).await["ticket_id"], json!(party.2), "nothing has happened");
}

#[tokio::test]
async fn what_a_match_refers_to_comes_before_what_it_may_not_be() {
    let server = server();
    let party = queued(&server).await;
    let good = match_of("m1", &[&party]);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut body = good.clone();
        change(&mut body);
        body
    };
    let matcher = matcher(&server);
    let crowd = |count: usize| -> Vec<Value> {
        (0..count).map(|_| json!({ "player_uuid": server.app.entropy.uuid(), "status": "invited" })).collect()
    };
    // What does not exist comes before what is forbidden.
    let full = with(&|body| body["teams"][0]["players"] = json!(crowd(3)));
    posts(&matcher, &full).await.refused(404, "player_not_found");
    let by_sessions = |mut body: Value| {
        body["session_tickets"] = json!({});
        body["sessions"] = json!([party.1]);
        body
    };
    posts(&matcher, &by_sessions(full.clone())).await.refused(403, "team_too_full");
    let mut gone = full;
    gone["session_tickets"][&party.1] = json!(Uuid::nil());
    posts(&matcher, &gone).await.refused(404, "ticket_not_found");
    let large = by_sessions(with(&|body| {
        body["teams"] = (0..3).map(|_| json!({ "players": crowd(67), "max_size": 100 })).collect();
    }));
    posts(&matcher, &large).await.refused(403, "match_too_large");
    for (field, value) in [("backfill_id", json!("")), ("evaluation_score", json!("good"))] {
        assert_eq!(posts(&matcher, &with(&|body| body[field] = value.clone())).await.status, 422, "{field}");
    }
    let stranger = with(&|body| body["teams"][0]["players"] = json!(crowd(1)));
    posts(&matcher, &stranger).await.refused(404, "player_not_found");
    let host = with(&|body| body["host_player_uuid"] = json!(server.app.entropy.uuid()));
    posts(&matcher, &host).await.refused(404, "player_not_found");
    assert_eq!(ticket(&party.0, &party.1).await["ticket_id"], json!(party.2), "nothing has happened");
    session_in(posts(&matcher, &good).await);
}

#[tokio::test]
async fn a_match_begins_with_the_backfill_of_its_matcher() {
    let server = server();
    let (one, other) = (queued(&server).await, queued(&server).await);
    let mut body = match_of("m1", &[&one, &other]);
    body["backfill_id"] = json!("b1");
    (body["evaluation_score"], body["rank_quality"]) = (json!(0.75), json!(2));
    let session = session_in(posts(&matcher(&server), &body).await);
    let seen = one.0.session(&session).await.expect(200).body;
    assert_eq!(seen["backfill"], json!({ "backfill_id": "b1" }));
}

#[tokio::test]
async fn the_id_of_an_overdue_match_is_free() {
    let server = server();
    let first = session_in(posts(&matcher(&server), &match_of("m1", &[&queued(&server).await])).await);
    server.clock.advance(Duration::from_secs(2 * Config::default().sessions.idle_s));
    let matcher = matcher(&server);
    matcher.session(&first).await.refused(404, "session_not_found");
    let second = session_in(posts(&matcher, &match_of("m1", &[&queued(&server).await])).await);
    assert_ne!(first, second);
    matcher.session(&second).await.expect(200);
}

#[tokio::test]
async fn players_who_do_not_come_lose_their_places() {
    let server = Server::with(|config| {
        with_external_matcher(config);
        config.match_making_profiles.get_mut("4v4").unwrap().accept_timeout_s = 30;
    });
    let (one, other) = (queued(&server).await, queued(&server).await);
    let session = session_in(posts(&matcher(&server), &match_of("m1", &[&one, &other])).await);
    one.0.joins(&session).await.expect(200);
    server.advance(Duration::from_secs(29)).await;
    assert_eq!(one.0.sees(&session, &other.0).await["status"], "invited");
    server.advance(Duration::from_secs(1)).await;
    assert_eq!(one.0.sees(&session, &other.0).await, Value::Null);
    // A match in which nobody was ends with its last invite.
    let (one, other) = (queued(&server).await, queued(&server).await);
    let session = session_in(posts(&matcher(&server), &match_of("m2", &[&one, &other])).await);
    one.0.leaves(&session).await.expect(204);
    server.advance(Duration::from_secs(30)).await;
    other.0.session(&session).await.refused(404, "session_not_found");
    let stored = contents(&server).await;
    let expected = keys_of_sessions(&stored);
    assert_eq!(
        stored
            .into_keys()
            .filter(|key| !expected.contains(key) && keys::parse_list_changed(key).is_none())
            .count(),
        0
    );
    // Both may queue again.
    joins(&one.0, &one.1, &["casual"]).await.expect(200);
}

#[tokio::test]
async fn players_are_told_when_the_instance_can_be_joined() {
    let server = Server::with(|config| {
        with_external_matcher(config);
        let profile = config.match_making_profiles.get_mut("4v4").unwrap();
        profile.invite = InviteTime::WhenJoinable;
        profile.instance_request_template_id = Some(HOSTED.parse().unwrap());
        profile.accept_timeout_s = 10;
    });
    let one = queued(&server).await;
    server.clock.advance(Duration::from_secs(1));
    let other = queued(&server).await;
    let matcher = server.service(&["session:*"]);
    let mut body = match_of("m1", &[&one, &other]);
    for team in [0, 1] {
        body["teams"][team]["players"][0]["status"] = json!("reserved");
    }
    let session = session_in(posts(&matcher, &body).await);
    let instance = matcher.session(&session).await.body["instance"].clone();
    assert_eq!(
        (
            &instance["host_type"],
            &instance["join_status"],
            &instance["match_id"],
            &instance["match_making_profile_id"]
        ),
        (&json!("player"), &json!("pending"), &json!("m1"), &json!("4v4"))
    );
    assert_eq!(instance["instance_startup_params"]["map"], "Dunes");
    assert_eq!(matcher.sees(&session, &one.0).await["status"], "invited", "the host opens the instance");
    one.0.joins(&session).await.expect(200);
    server.advance(Duration::from_secs(20)).await;
    assert_eq!(matcher.sees(&session, &other.0).await["status"], "reserved", "it waits for the instance");
    let path = format!("/v1/session/{session}/instance");
    let joinable = json!({ "join_status": "joinable" });
    let etag = matcher.session(&session).await.etag();
    one.0.patch(&path, &joinable).await.expect(200);
    assert_ne!(matcher.session(&session).await.etag(), etag);
    assert_eq!(matcher.sees(&session, &other.0).await["status"], "invited");
    server.advance(Duration::from_secs(9)).await;
    assert_eq!(matcher.sees(&session, &other.0).await["status"], "invited");
    // The deprecated join sends a team, too.
    let mut join = joining();
    join["team_id"] = json!(0);
    other.0.post(&format!("/v1/session/{session}/player/me"), &join).await.expect(200);
    assert_eq!(matcher.sees_status_and_team(&session, &other.0).await, (json!("member"), json!(1)));
}

#[tokio::test]
async fn a_player_with_many_invites_is_matched_all_the_same() {
    let server = Server::with(|config| {
        with_external_matcher(config);
        config.sessions.invites_per_player_max = 2;
    });
    let party = queued(&server).await;
    for _ in 0..2 {
        let host = server.player();
        let session = host.creates("party").await;
        host.invites(&session, &party.0).await.expect(200);
    }
    let host = server.player();
    let crowded = host.creates("party").await;
    host.invites(&crowded, &party.0).await.refused(403, "too_many_invites");
    session_in(posts(&matcher(&server), &match_of("m1", &[&party])).await);
}

#[tokio::test]
async fn hidden_players_stay_hidden_in_the_results() {
    let server = Server::with(|config| {
        with_external_matcher(config);
        config.templates.get_mut("game").unwrap().player_visibility =
            rallypoint::domain::template::Visibility::Team;
    });
    let (one, other) = (queued(&server).await, queued(&server).await);
    let session = session_in(posts(&matcher(&server), &match_of("m1", &[&one, &other])).await);
    one.0.joins(&session).await.expect(200);
    other.0.joins(&session).await.expect(200);
    let seen = other.0.session(&session).await.expect(200);
    let data = seen.body["matchmaking_results"]["ticket_data"].as_array().unwrap().clone();
    assert_eq!(data.iter().map(|data| data["ticket_id"].clone()).collect::<Vec<_>>(), [json!(other.2)]);
    let results = seen.body["matchmaking_results"].to_string();
    assert!(!results.contains(&one.0.player.to_string()), "{results}");
}
