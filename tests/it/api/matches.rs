//! Matches that the server makes of parties in queues.

use std::time::Duration;

use futures_util::future::join;
use http::Method;
use rallypoint::config::Config;
use rallypoint::domain::matchmaking::matcher::Explanation;
use rallypoint::domain::matchmaking::profile::{InviteTime, MatcherKind};
use rallypoint::jobs;
use rallypoint::records::keys;
use rallypoint::runtime::settings::catalog;
use rallypoint::store::{Batch, Memory, Store};
use serde_json::{Value, json};
use uuid::Uuid;

use super::match_made::match_of;
use super::queue::{ended, joins, queue, ticket};
use crate::harness::{Client, Metrics, Server, contents, keys_of_sessions, pairs_of_nodes};

/// Duels, and matches of two against two, whose hosts are players. A match with free places is made after a minute.
pub const FILE: &str = r#"
    [queues.duel]
    match_making_template_group_id = "00000000-0000-4000-8000-0000000000a1"
    [queues.teams]
    match_making_template_group_id = "00000000-0000-4000-8000-0000000000a2"
    [[match_making_template_groups.00000000-0000-4000-8000-0000000000a1.templates]]
    profiles = ["duel"]
    [[match_making_template_groups.00000000-0000-4000-8000-0000000000a2.templates]]
    profiles = ["teams"]
    [match_making_profiles.duel]
    [match_making_profiles.teams]
    max_players_per_side = 2
    instance_request_template_id = "00000000-0000-4000-8000-0000000000c1"
    size_widen = { full_for_s = 20, min_after_s = 60 }
    [instance_templates.00000000-0000-4000-8000-0000000000c1]
    default_host_type = "player"
    map_selection_list_id = "all"
    maps = [{ map_id = "1", map_name = "Dunes", map_weight = 1.0 }, { map_id = "2", map_name = "Pier", map_weight = 1.0 }]
"#;

/// A change of the configuration: queues whose matches the server makes.
pub fn with_matches(config: &mut Config) {
    let file = Config::parse(FILE, "test", &[]).unwrap();
    config.queues = file.queues;
    config.match_making_template_groups = file.match_making_template_groups;
    config.match_making_profiles = file.match_making_profiles;
    config.instance_templates = file.instance_templates;
    config.templates.get_mut("party").unwrap().can_join_matchmaking = true;
}

/// A party of one in these queues.
pub async fn queued(server: &Server, queues: &[&str]) -> (Client, String, String) {
    let player = server.player();
    let session = player.creates("party").await;
    let joined = joins(&player, &session, queues).await.expect(200);
    (player, session, joined.body["ticket_id"].as_str().unwrap().to_owned())
}

/// The match that a player is invited to.
pub async fn match_of_player(player: &Client) -> Option<String> {
    let list = player.own_list("game").await;
    let invites = list["pending_invites"].as_object().cloned().unwrap_or_default();
    assert!(invites.len() < 2, "a player is in two matches: {list}");
    invites.keys().next().cloned()
}

/// Asserts that the store has the keys of its sessions, and no others.
pub async fn is_clean(server: &Server) {
    let stored = contents(server).await;
    let expected = keys_of_sessions(&stored);
    let extra = |key: &Vec<u8>| !expected.contains(key) && keys::parse_list_changed(key).is_none();
    let left: Vec<_> = stored.keys().filter(|key| extra(key)).collect();
    assert!(left.is_empty(), "{left:?}");
    let lacking: Vec<_> = expected.iter().filter(|key| !stored.contains_key(*key)).collect();
    assert!(lacking.is_empty(), "{lacking:?}");
}

/// Lets the nodes forget each other: each one is alone until it looks again, a second later.
pub async fn forget_nodes(nodes: &[&Server]) {
    for node in nodes {
        let store = node.app.sessions.store();
        let (start, end) = keys::all_nodes();
        for (key, _) in store.scan(&start, &end, 100).await.unwrap() {
            store.commit(Batch::default().delete(key)).await.unwrap();
        }
        node.app.matchmaker.meet(&node.app).await.unwrap();
    }
}

/// Runs the jobs of one node.
pub async fn tick(node: &Server) {
    jobs::tick(&node.app).await.unwrap();
}

/// Runs both at the same moment, each on a thread of its own.
async fn at_once<A: Send + 'static, B: Send + 'static>(
    one: impl Future<Output = A> + Send + 'static,
    other: impl Future<Output = B> + Send + 'static,
) -> (A, B) {
    let (one, other) = join(tokio::spawn(one), tokio::spawn(other)).await;
    (one.unwrap(), other.unwrap())
}

/// Runs the jobs of both nodes at the same moment.
async fn tick_both(one: &Server, other: &Server) {
    let (one, other) = (one.clone(), other.clone());
    at_once(async move { tick(&one).await }, async move { tick(&other).await }).await;
}

/// As many rounds as `RALLYPOINT_ROUNDS` says.
pub fn rounds() -> usize {
    std::env::var("RALLYPOINT_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(20)
}

#[tokio::test]
async fn two_parties_meet() {
    let server = Server::with(with_matches);
    let one = queued(&server, &["duel"]).await;
    server.advance(Duration::from_secs(5)).await;
    assert_eq!(match_of_player(&one.0).await, None);
    let other = queued(&server, &["duel"]).await;
    server.advance(Duration::from_secs(1)).await;
    let session = match_of_player(&one.0).await.expect("a match");
    assert_eq!(match_of_player(&other.0).await.as_ref(), Some(&session));
    for (player, party, _) in [&one, &other] {
        assert_eq!(ticket(player, party).await, Value::Null);
    }
    assert_eq!(ended(&server, "assigned").await, 2);
    let seen = server.service(&["session:read:any"]).session(&session).await.expect(200).body;
    assert_eq!((&seen["created_by_matchmaking"], &seen["region_id"]), (&json!(true), &json!("default")));
    let results = &seen["matchmaking_results"];
    assert_eq!(results["ticket_ids"], json!([one.2, other.2]), "the longest wait first");
    assert_eq!(results["ticket_wait_seconds"], json!({ (one.2.clone()): 6, (other.2.clone()): 1 }));
    for team in [0, 1] {
        assert_eq!(seen["teams"][team]["max_size"], 1);
        assert_eq!(seen["teams"][team]["players"].as_array().unwrap().len(), 1);
    }
    // Each joins as published clients do, and is on the side that the match gave.
    for (player, ..) in [&one, &other] {
        let before = server.service(&["session:read:any"]).sees(&session, player).await["team_id"].clone();
        player.joins(&session).await.expect(200);
        assert_eq!(player.sees_status_and_team(&session, player).await.1, before);
    }
    is_clean(&server).await;
}

#[tokio::test]
async fn parties_stay_together_and_the_one_that_waits_longest_hosts() {
    let server = Server::with(with_matches);
    let (alice, bob) = (server.player(), server.player());
    let party = alice.creates("party").await;
    alice.invites(&party, &bob).await.expect(200);
    bob.joins(&party).await.expect(200);
    joins(&alice, &party, &["teams"]).await.expect(200);
    server.clock.advance(Duration::from_secs(1));
    let solos = [queued(&server, &["teams"]).await, queued(&server, &["teams", "duel"]).await];
    server.advance(Duration::from_secs(1)).await;
    let session = match_of_player(&bob).await.expect("a match");
    let reader = server.service(&["session:read:any"]);
    let sides = async |players: [&Client; 2]| {
        let [one, other] = players.map(|player| reader.sees(&session, player));
        [one.await["team_id"].clone(), other.await["team_id"].clone()]
    };
    let [of_alice, of_bob] = sides([&alice, &bob]).await;
    assert_eq!(of_alice, of_bob);
    let [one, other] = sides([&solos[0].0, &solos[1].0]).await;
    assert!(one == other && one != of_alice);
    let instance = reader.session(&session).await.body["instance"].clone();
    assert_eq!(
        (&instance["host_player_uuid"], &instance["join_status"], &instance["match_making_profile_id"]),
        (&json!(alice.player), &json!("pending"), &json!("teams"))
    );
    // The host does not come: the next by the age of tickets hosts.
    alice.leaves(&session).await.expect(204);
    assert_eq!(reader.session(&session).await.body["instance"]["host_player_uuid"], json!(bob.player));
    bob.joins(&session).await.expect(200);
    let update = json!({ "join_status": "joinable" });
    bob.patch(&format!("/v1/session/{session}/instance"), &update).await.expect(200);
    is_clean(&server).await;
}

#[tokio::test]
async fn a_match_with_free_places_is_made_when_its_time_has_come() {
    let server = Server::with(with_matches);
    let parties = [queued(&server, &["teams"]).await, queued(&server, &["teams"]).await];
    server.advance(Duration::from_secs(59)).await;
    assert_eq!(match_of_player(&parties[0].0).await, None);
    server.advance(Duration::from_secs(1)).await;
    assert!(match_of_player(&parties[0].0).await.is_some());
}

#[tokio::test]
async fn places_wait_for_the_instance_if_the_profile_says_so() {
    let server = Server::with(|config| {
        with_matches(config);
        config.sessions.invite_expiry_s = 2;
        config.match_making_profiles.get_mut("duel").unwrap().invite = InviteTime::WhenJoinable;
    });
    let parties = [queued(&server, &["duel"]).await, queued(&server, &["duel"]).await];
    server.advance(Duration::from_secs(1)).await;
    server.advance(Duration::from_secs(60)).await;
    for (player, ..) in &parties {
        assert_eq!(match_of_player(player).await, None, "not invited yet");
        let list = player.own_list("game").await;
        assert_eq!(list["reserved_sessions"].as_array().unwrap().len(), 1, "{list}");
    }
}

#[tokio::test]
async fn a_match_finds_a_host_although_places_are_reserved() {
    let server = Server::with(|config| {
        with_matches(config);
        let profile = config.match_making_profiles.get_mut("teams").unwrap();
        (profile.invite, profile.accept_timeout_s) = (InviteTime::WhenJoinable, 10);
        profile.max_players_per_side = 1;
    });
    let one = queued(&server, &["teams"]).await;
    server.clock.advance(Duration::from_secs(1));
    let other = queued(&server, &["teams"]).await;
    server.advance(Duration::from_secs(1)).await;
    let reader = server.service(&["session:read:any"]);
    let session = match_of_player(&one.0).await.expect("the host is invited");
    assert_eq!(reader.sees(&session, &other.0).await["status"], "reserved");
    // The host does not come, so the other one hosts, and is invited for that.
    server.advance(Duration::from_secs(10)).await;
    assert_eq!(match_of_player(&one.0).await, None);
    assert_eq!(match_of_player(&other.0).await.as_ref(), Some(&session));
    other.0.joins(&session).await.expect(200);
    let joinable = json!({ "join_status": "joinable" });
    other.0.patch(&format!("/v1/session/{session}/instance"), &joinable).await.expect(200);
}

#[tokio::test]
async fn a_start_finds_the_tickets_that_wait() {
    let store = Store::Memory(Memory::default());
    let server = Server::over(store.clone(), with_matches);
    let parties = [queued(&server, &["duel"]).await, queued(&server, &["duel"]).await];
    let started = server.another_node(store);
    tick(&started).await;
    let there = Client { server: started, ..parties[0].0.clone() };
    let session = match_of_player(&there).await.expect("a match");
    // The first one does not know it: its tickets are gone, which costs a conflict.
    tick(&server).await;
    assert_eq!(match_of_player(&there).await, Some(session));
    assert_eq!(Metrics::of(&server).await.get("matcher_conflicts_total"), 1);
    is_clean(&server).await;
}

#[tokio::test]
async fn a_party_that_leaves_is_not_matched() {
    let server = Server::with(with_matches);
    let (one, other) = (queued(&server, &["duel"]).await, queued(&server, &["duel"]).await);
    one.0.delete(&queue(&one.1)).await.expect(204);
    server.advance(Duration::from_secs(1)).await;
    assert_eq!(match_of_player(&other.0).await, None);
    let third = queued(&server, &["duel"]).await;
    server.advance(Duration::from_secs(1)).await;
    assert!(match_of_player(&other.0).await.is_some() && match_of_player(&third.0).await.is_some());
    assert_eq!(match_of_player(&one.0).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_party_leaves_its_queue_or_is_in_the_match() {
    for [one, other] in pairs_of_nodes(with_matches).await {
        for round in 0..rounds() {
            let parties = [queued(&one, &["duel"]).await, queued(&other, &["duel"]).await];
            let path = queue(&parties[0].1);
            one.clock.advance(Duration::from_secs(2));
            // Each node may make the match, while the party leaves at one of them.
            let leaver = Client {
                server: if round % 2 == 0 { one.clone() } else { other.clone() },
                ..parties[0].0.clone()
            };
            let (here, there) = (one.clone(), other.clone());
            let ticks = async move { tick_both(&here, &there).await };
            let (left, ()) = at_once(async move { leaver.delete(&path).await }, ticks).await;
            match (left.status.as_u16(), match_of_player(&parties[0].0).await) {
                (204, None) => {
                    parties[1].0.delete(&queue(&parties[1].1)).await.expect(204);
                }
                (404, Some(session)) => {
                    left.refused(404, "not_in_queue");
                    assert_eq!(match_of_player(&parties[1].0).await, Some(session));
                }
                both => panic!("round {round}: {both:?}"),
            }
        }
        is_clean(&one).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_ticket_in_two_profiles_is_in_one_match() {
    for [one, other] in pairs_of_nodes(with_matches).await {
        for round in 0..rounds() {
            // Three can duel, and all four can play in teams.
            let parties = [
                queued(&one, &["duel", "teams"]).await,
                queued(&other, &["teams", "duel"]).await,
                queued(&one, &["duel", "teams"]).await,
                queued(&other, &["teams"]).await,
            ];
            one.clock.advance(Duration::from_secs(2));
            tick_both(&one, &other).await;
            tick_both(&one, &other).await;
            let reader = one.service(&["session:read:any"]);
            let mut sizes = Vec::new();
            for (player, ..) in &parties {
                // Panics if the player is in two.
                let Some(session) = match_of_player(player).await else { continue };
                let teams = reader.session(&session).await.expect(200).body["teams"].clone();
                let players =
                    teams.as_array().unwrap().iter().map(|team| team["players"].as_array().unwrap().len());
                sizes.push(players.sum::<usize>());
            }
            assert!(sizes == [4; 4] || sizes == [2; 2], "round {round}: no half-made match: {sizes:?}");
            for (player, party, _) in &parties {
                let _ = player.delete(&queue(party)).await;
                if let Some(session) = match_of_player(player).await {
                    player.leaves(&session).await.expect(204);
                }
            }
        }
        is_clean(&one).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn one_of_two_matchers_gets_a_ticket() {
    for [one, other] in pairs_of_nodes(with_matches).await {
        for round in 0..rounds() {
            let parties = [queued(&one, &["duel"]).await, queued(&one, &["duel"]).await];
            let mut body = match_of(&one.app.entropy.uuid().to_string(), &[&parties[0]]);
            body["match_making_profile_id"] = json!("duel");
            let matcher = other.service(&["session:create:matchmade"]);
            let here = one.clone();
            let post = async move { matcher.post("/v1/match-made-session", &body).await };
            let (posted, ()) = at_once(post, async move { tick(&here).await }).await;
            let session = match_of_player(&parties[0].0).await.expect("a match");
            match posted.status.as_u16() {
                200 => assert_eq!(posted.body["session_id"], json!(session)),
                404 => assert_eq!(match_of_player(&parties[1].0).await, Some(session)),
                status => panic!("round {round}: {status}"),
            }
            let _ = parties[1].0.delete(&queue(&parties[1].1)).await;
        }
        is_clean(&one).await;
    }
}

#[tokio::test]
async fn a_session_that_expires_is_not_matched() {
    let server = Server::with(|config| {
        with_matches(config);
        config.matchmaking.ticket_timeout_s = 0;
    });
    let one = queued(&server, &["duel"]).await;
    let idle_s = Config::default().sessions.idle_s;
    server.advance(Duration::from_secs(2 * idle_s)).await;
    server.bearer(server.player().token.unwrap()).session(&one.1).await.refused(404, "session_not_found");
    let other = queued(&server, &["duel"]).await;
    server.advance(Duration::from_secs(1)).await;
    assert_eq!(ticket(&other.0, &other.1).await["queue_id"], "duel", "nobody to play with");
    assert_eq!(other.0.own_list("game").await, Value::Null);
    is_clean(&server).await;
}

#[tokio::test]
async fn a_reload_takes_tickets_out_of_profiles() {
    let server = Server::over(Store::Memory(Memory::default()), with_matches);
    let reload = |change: &dyn Fn(&mut Config)| {
        let mut config = Config::default();
        with_matches(&mut config);
        change(&mut config);
        server.app.replace_catalog(catalog(&config));
    };
    let one = queued(&server, &["duel", "teams"]).await;
    reload(&|config| config.match_making_profiles.get_mut("duel").unwrap().matcher = MatcherKind::External);
    let other = queued(&server, &["duel"]).await;
    server.advance(Duration::from_secs(1)).await;
    assert_eq!(match_of_player(&one.0).await, None, "the matcher of the studio makes these");
    reload(&|config| drop(config.match_making_profiles.remove("duel")));
    server.advance(Duration::from_secs(1)).await;
    assert_eq!(ticket(&other.0, &other.1).await, Value::Null, "no profile is left");
    assert_eq!(ticket(&one.0, &one.1).await["ticket_id"], json!(one.2), "one is left");
    assert_eq!(ended(&server, "timeout").await, 1);
    reload(&|_| {});
    let third = queued(&server, &["duel"]).await;
    server.advance(Duration::from_secs(1)).await;
    let session = match_of_player(&one.0).await.expect("a match");
    assert_eq!(match_of_player(&third.0).await, Some(session));
}

#[tokio::test]
async fn the_matcher_can_be_switched_off() {
    let server = Server::with(|config| {
        with_matches(config);
        config.matchmaking.enabled = false;
    });
    let parties = [queued(&server, &["duel"]).await, queued(&server, &["duel"]).await];
    server.advance(Duration::from_secs(60)).await;
    assert_eq!(match_of_player(&parties[0].0).await, None);
    assert!(explained(&server, &parties[0].2).await.is_empty());
}

/// Why a ticket waits, by profile.
async fn explained(server: &Server, ticket: &str) -> Vec<(String, Explanation)> {
    let explained = server.app.matchmaker.explain(&server.app, ticket.parse().unwrap()).await;
    explained.unwrap().1.into_iter().collect()
}

#[tokio::test]
async fn a_ticket_that_waits_can_be_explained() {
    let server = Server::over(Store::Memory(Memory::default()), with_matches);
    let parties = [queued(&server, &["teams"]).await, queued(&server, &["teams"]).await];
    server.advance(Duration::from_secs(10)).await;
    let now_ms = server.clock.now_ms();
    let all = explained(&server, &parties[0].2).await;
    let [(profile, why)] = &all[..] else { panic!("{all:?}") };
    assert_eq!((profile.as_str(), why.age_ms, why.players_needed, why.fit.all), ("teams", 10_000, 4, 1));
    assert_eq!(why.next_step_ms, Some(now_ms + 30_000));
    assert!(explained(&server, &Uuid::nil().to_string()).await.is_empty());
    // What is stored counts, also before the next round.
    let (player, session, new) = queued(&server, &["teams"]).await;
    assert_eq!(explained(&server, &new).await[0].1.fit.all, 2);
    player.send(Method::DELETE, &queue(&session), &[], None).await.expect(204);
    assert!(explained(&server, &new).await.is_empty());
}
