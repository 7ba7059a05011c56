//! Filling matches that have begun.

use std::time::Duration;

use futures_util::future::{join, join3};
use http::Method;
use rallypoint::config::Config;
use rallypoint::jobs;
use rallypoint::store::{Memory, Store};
use serde_json::{Value, json};

use super::match_made::match_of;
use super::matches::{is_clean, match_of_player, queued};
use super::queue::{ended, queue, ticket};
use crate::harness::{Client, Metrics, Server, pairs_of_nodes};

/// Matches of one to three against one to three. Their hosts are players, who want more of them.
const FILE: &str = r#"
    [queues.trios]
    match_making_template_group_id = "00000000-0000-4000-8000-0000000000a1"
    [queues.only_running]
    match_making_template_group_id = "00000000-0000-4000-8000-0000000000a2"
    [[match_making_template_groups.00000000-0000-4000-8000-0000000000a1.templates]]
    profiles = ["trios"]
    [[match_making_template_groups.00000000-0000-4000-8000-0000000000a2.templates]]
    profiles = ["only_running"]
    [match_making_profiles.trios]
    max_players_per_side = 3
    instance_request_template_id = "00000000-0000-4000-8000-0000000000c1"
    size_widen = { full_for_s = 0, min_after_s = 0 }
    backfill = "auto"
    [match_making_profiles.only_running]
    join_mode = "backfill"
    max_players_per_side = 3
    [instance_templates.00000000-0000-4000-8000-0000000000c1]
    default_host_type = "player"
    map_selection_list_id = "all"
    maps = [{ map_id = "1", map_name = "Dunes", map_weight = 1.0 }]
"#;

/// A change of the configuration: matches that are filled.
pub fn with_fillings(config: &mut Config) {
    let file = Config::parse(FILE, "test", &[]).unwrap();
    config.queues = file.queues;
    config.match_making_template_groups = file.match_making_template_groups;
    config.match_making_profiles = file.match_making_profiles;
    config.instance_templates = file.instance_templates;
    config.templates.get_mut("party").unwrap().can_join_matchmaking = true;
}

/// The same, for pairs instead of trios.
fn with_pairs(config: &mut Config) {
    with_fillings(config);
    config.match_making_profiles.get_mut("trios").unwrap().max_players_per_side = 2;
}

/// A match that is played.
pub struct Running {
    pub session: String,
    instance: String,
    host: Client,
    others: Vec<Client>,
}

impl Running {
    /// A match of as many players, each alone in the queue, which all of them have joined and the host has opened.
    pub async fn of(server: &Server, players: usize) -> Self {
        Self::made_by(&[server], server, players).await
    }

    /// The same, made by one of these nodes. Its players are at one of them.
    async fn made_by(nodes: &[&Server], at: &Server, players: usize) -> Self {
        let mut parties = Vec::new();
        for _ in 0..players {
            parties.push(queued(at, &["trios"]).await.0);
        }
        rounds(nodes, 2).await;
        let session = match_of_player(&parties[0]).await.expect("a match");
        for player in &parties {
            assert_eq!(match_of_player(player).await.as_ref(), Some(&session));
            player.joins(&session).await.expect(200);
        }
        let running = Self::with_host_among(parties, session).await;
        running.says("joinable").await;
        running
    }

    async fn with_host_among(players: Vec<Client>, session: String) -> Self {
        let instance = players[0].session(&session).await.expect(200).body["instance"].clone();
        let is_host = |player: &Client| instance["host_player_uuid"] == json!(player.player);
        let (mut hosts, others): (Vec<_>, _) = players.into_iter().partition(is_host);
        let instance = instance["instance_id"].as_str().unwrap().to_owned();
        Self { session, instance, host: hosts.remove(0), others }
    }

    async fn says(&self, join_status: &str) {
        let path = format!("/v1/session/{}/instance", self.session);
        self.host.patch(&path, &json!({ "join_status": join_status })).await.expect(200);
    }

    /// Its host confirms that it wants players. Returns those whom the answer names.
    pub async fn confirms(&self) -> Vec<Value> {
        let answer = self.host.post(&self.path(), &json!({ "instance_id": self.instance })).await.expect(200);
        let named = answer.body["backfilled_players"].as_array().unwrap();
        named.iter().map(|player| player["player_uuid"].clone()).collect()
    }

    /// Its host wants these numbers of players, by team, and none on other teams.
    async fn wants(&self, teams: &[(usize, usize)]) {
        let team = |(id, count): &(usize, usize)| json!({ "team_id": id, "players_required": count });
        let teams: Vec<_> = teams.iter().map(team).collect();
        let body = json!({ "instance_id": self.instance, "teams": teams });
        self.host.patch(&self.path(), &body).await.expect(204);
    }

    /// Its host wants no more players at all.
    pub async fn deletes_backfill(&self) {
        let body = json!({ "instance_id": self.instance }).to_string();
        self.host.send(Method::DELETE, &self.path(), &[], Some(body.into())).await.expect(204);
    }

    fn path(&self) -> String {
        format!("/v1/backfill/session/{}", self.session)
    }

    /// Number of players by team, those included who have not answered yet.
    async fn sizes(&self) -> Vec<usize> {
        let seen = self.host.session(&self.session).await.expect(200).body;
        let teams = seen["teams"].as_array().unwrap();
        teams.iter().map(|team| team["players"].as_array().unwrap().len()).collect()
    }

    /// The same match, asked at another node.
    pub fn at(&self, node: &Server) -> Self {
        let on_it = |client: &Client| Client { server: node.clone(), ..client.clone() };
        Self {
            session: self.session.clone(),
            instance: self.instance.clone(),
            host: on_it(&self.host),
            others: self.others.iter().map(on_it).collect(),
        }
    }
}

/// Lets each of these nodes make matches, in turn, as many times.
async fn rounds(nodes: &[&Server], count: usize) {
    for _ in 0..count {
        for node in nodes {
            node.clock.advance(Duration::from_secs(1));
            for each in node.nodes() {
                jobs::tick(&each.app).await.unwrap();
            }
        }
    }
}

/// As many races as `RALLYPOINT_ROUNDS` says.
fn races() -> usize {
    std::env::var("RALLYPOINT_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(20)
}

#[tokio::test]
async fn the_next_player_who_fits_joins_the_running_match_before_others_form_a_new_one() {
    let server = Server::with(with_pairs);
    let running = Running::of(&server, 3).await;
    assert!(running.confirms().await.is_empty());
    let mut newcomers = Vec::new();
    for _ in 0..3 {
        newcomers.push(queued(&server, &["trios"]).await);
        server.clock.advance(Duration::from_millis(1));
    }
    rounds(&[&server], 1).await;
    let invited = match_of_player(&newcomers[0].0).await;
    assert_eq!(invited.as_ref(), Some(&running.session));
    let other = match_of_player(&newcomers[1].0).await.expect("a new match");
    assert!(other != running.session && match_of_player(&newcomers[2].0).await == Some(other));
    assert_eq!(running.sizes().await, [2, 2]);
    assert_eq!((ended(&server, "backfilled").await, ended(&server, "assigned").await), (1, 5));
    for (player, party, _) in &newcomers {
        assert_eq!(ticket(player, party).await, Value::Null);
    }
    let entry = running.host.sees(&running.session, &newcomers[0].0).await;
    assert_eq!(entry["status"], "invited");
    // The next confirmation names the player, once.
    assert_eq!(running.confirms().await, [json!(newcomers[0].0.player)]);
    assert!(running.confirms().await.is_empty());
    newcomers[0].0.joins(&running.session).await.expect(200);
    let reader = server.service(&["session-audit:read:all"]);
    let page = reader.get(&format!("/v1/audit?session_id={}", running.session)).await.expect(200);
    let events = page.body["events"].as_array().unwrap();
    let sources: Vec<_> = events.iter().filter_map(|event| event.get("source")).collect();
    assert_eq!(sources, ["MATCHMAKING", "MATCHMAKING", "MATCHMAKING", "BACKFILL"]);
    let metrics = Metrics::of(&server).await;
    let counted = ["matches_made_total", "matches_filled_total", "matcher_conflicts_total"];
    assert_eq!(counted.map(|name| metrics.get(name)), [2, 1, 0]);
    is_clean(&server).await;
}

#[tokio::test]
async fn a_match_has_its_backfill_from_the_start_full_or_not() {
    let server = Server::with(with_pairs);
    let running = Running::of(&server, 4).await;
    let seen = running.host.session(&running.session).await.expect(200).body;
    assert!(seen["backfill"]["backfill_id"].is_string(), "{seen}");
    is_clean(&server).await;
    running.confirms().await;
    let newcomer = queued(&server, &["trios"]).await;
    rounds(&[&server], 2).await;
    assert_eq!(match_of_player(&newcomer.0).await, None);
    // Somebody leaves, so that a place is free.
    running.others[0].leaves(&running.session).await.expect(204);
    rounds(&[&server], 1).await;
    assert_eq!(match_of_player(&newcomer.0).await, Some(running.session.clone()));
    is_clean(&server).await;
}

#[tokio::test]
async fn players_are_sent_to_the_teams_that_the_host_names() {
    let server = Server::with(with_fillings);
    let running = Running::of(&server, 2).await;
    running.confirms().await;
    running.wants(&[]).await;
    let first = queued(&server, &["trios"]).await;
    rounds(&[&server], 2).await;
    assert_eq!(match_of_player(&first.0).await, None, "nobody is wanted");
    running.wants(&[(1, 2)]).await;
    rounds(&[&server], 1).await;
    assert_eq!(match_of_player(&first.0).await, Some(running.session.clone()));
    let second = queued(&server, &["trios"]).await;
    rounds(&[&server], 1).await;
    assert_eq!(match_of_player(&second.0).await, Some(running.session.clone()));
    assert_eq!(running.sizes().await, [1, 3]);
    let third = queued(&server, &["trios"]).await;
    rounds(&[&server], 2).await;
    assert_eq!(match_of_player(&third.0).await, None, "the other team has free places, and wants nobody");
    running.host.delete(&queue(&third.1)).await;
    is_clean(&server).await;
}

#[tokio::test]
async fn nobody_is_sent_unless_the_host_has_confirmed_it_lately() {
    let server = Server::over(Store::Memory(Memory::default()), with_fillings);
    let running = Running::of(&server, 2).await;
    let newcomer = queued(&server, &["trios"]).await;
    rounds(&[&server], 3).await;
    assert_eq!(match_of_player(&newcomer.0).await, None, "the host has not confirmed it yet");
    running.confirms().await;
    rounds(&[&server], 1).await;
    assert_eq!(match_of_player(&newcomer.0).await, Some(running.session.clone()), "the confirmation wakes");
    server.clock.advance(Duration::from_secs(45));
    let late = queued(&server, &["trios"]).await;
    rounds(&[&server], 3).await;
    assert_eq!(match_of_player(&late.0).await, None, "it counts for 45 seconds");
    running.confirms().await;
    running.says("unjoinable").await;
    rounds(&[&server], 2).await;
    assert_eq!(match_of_player(&late.0).await, None, "nobody can join now");
    running.says("joinable").await;
    rounds(&[&server], 1).await;
    assert_eq!(match_of_player(&late.0).await, Some(running.session.clone()));
    is_clean(&server).await;
}

#[tokio::test]
async fn a_start_finds_the_matches_that_want_players() {
    let store = Store::Memory(Memory::default());
    let server = Server::over(store.clone(), with_fillings);
    let running = Running::of(&server, 2).await;
    let newcomer = queued(&server, &["trios"]).await;
    let started = server.another_node(store);
    running.at(&started).confirms().await;
    rounds(&[&started], 1).await;
    let there = Client { server: started.clone(), ..newcomer.0 };
    assert_eq!(match_of_player(&there).await, Some(running.session.clone()));
    is_clean(&started).await;
}

#[tokio::test]
async fn a_reload_and_the_end_of_a_backfill_are_heeded() {
    let server = Server::over(Store::Memory(Memory::default()), with_fillings);
    let running = Running::of(&server, 2).await;
    running.confirms().await;
    let body = json!({ "instance_id": running.instance });
    running
        .host
        .send(http::Method::DELETE, &running.path(), &[], Some(body.to_string().into()))
        .await
        .expect(204);
    let newcomer = queued(&server, &["trios"]).await;
    rounds(&[&server], 2).await;
    assert_eq!(match_of_player(&newcomer.0).await, None);
    assert_eq!(Metrics::of(&server).await.get("matcher_conflicts_total"), 0);
    is_clean(&server).await;
}

#[tokio::test]
async fn whoever_was_kicked_or_is_there_is_not_sent_and_keeps_nobody_else_out() {
    let server = Server::over(Store::Memory(Memory::default()), with_fillings);
    let running = Running::of(&server, 3).await;
    running.confirms().await;
    let leader = running.host.session(&running.session).await.expect(200).body;
    let leads =
        leader["teams"].as_array().unwrap().iter().flat_map(|team| team["players"].as_array().unwrap());
    let leader = leads.clone().find(|player| player["status"] == "leader").unwrap()["player_uuid"].clone();
    let all = running.others.iter().chain([&running.host]);
    let leader = all.clone().find(|player| json!(player.player) == leader).unwrap();
    let mut not_host = running.others.iter().filter(|player| player.player != leader.player);
    let kicked = not_host.next().unwrap();
    leader.kicks(&running.session, kicked).await.expect(204);
    // One who was kicked, and one who plays in the match already.
    for player in
        [kicked, running.others.iter().find(|player| player.player != kicked.player).unwrap_or(leader)]
    {
        let party = player.creates("party").await;
        super::queue::joins(player, &party, &["trios"]).await.expect(200);
    }
    running.wants(&[(0, 3), (1, 3)]).await;
    rounds(&[&server], 4).await;
    assert_eq!(running.sizes().await.iter().sum::<usize>(), 2);
    let newcomer = queued(&server, &["trios"]).await;
    rounds(&[&server], 2).await;
    let sent = running.host.sees(&running.session, &newcomer.0).await;
    assert!(sent["status"] == "invited" || match_of_player(&newcomer.0).await.is_some(), "{sent}");
    is_clean(&server).await;
}

#[tokio::test]
async fn a_profile_that_only_fills_makes_no_match_of_its_own() {
    let server = Server::with(with_fillings);
    let running = Running::of(&server, 2).await;
    running.confirms().await;
    let waiting = [queued(&server, &["only_running"]).await, queued(&server, &["only_running"]).await];
    rounds(&[&server], 2).await;
    for (player, ..) in &waiting {
        assert_eq!(match_of_player(player).await, None, "the running match is one of another profile");
    }
}

#[tokio::test]
async fn a_matcher_of_the_studio_can_have_a_match_filled() {
    let server = Server::with(with_fillings);
    let parties = [queued(&server, &["only_running"]).await, queued(&server, &["only_running"]).await];
    let mut body = match_of("m", &[&parties[0], &parties[1]]);
    body["region_id"] = json!("default");
    body["match_making_profile_id"] = json!("only_running");
    body["backfill_id"] = json!("from the matcher");
    body["instance_request_template_id"] = json!("00000000-0000-4000-8000-0000000000c1");
    let matcher = server.service(&["session:create:matchmade"]);
    let session = matcher.post("/v1/match-made-session", &body).await.expect(200).body["session_id"].clone();
    let session = session.as_str().unwrap().to_owned();
    for (player, ..) in &parties {
        player.joins(&session).await.expect(200);
    }
    let seen = parties[0].0.session(&session).await.expect(200).body;
    assert_eq!(seen["backfill"]["backfill_id"], "from the matcher");
    let players = parties.into_iter().map(|(player, ..)| player).collect();
    let running = Running::with_host_among(players, session).await;
    running.says("joinable").await;
    running.confirms().await;
    let newcomer = queued(&server, &["only_running"]).await;
    rounds(&[&server], 1).await;
    assert_eq!(match_of_player(&newcomer.0).await, Some(running.session.clone()));
    is_clean(&server).await;
}

#[tokio::test]
async fn of_two_running_matches_one_gets_the_only_ticket() {
    let server = Server::with(with_fillings);
    let older = Running::of(&server, 2).await;
    let newer = Running::of(&server, 2).await;
    for running in [&newer, &older] {
        running.confirms().await;
    }
    let newcomer = queued(&server, &["trios"]).await;
    rounds(&[&server], 1).await;
    assert_eq!(match_of_player(&newcomer.0).await, Some(older.session.clone()));
    assert_eq!(newer.sizes().await, [1, 1]);
}

#[tokio::test]
async fn the_last_place_is_given_once() {
    for [one, other] in pairs_of_nodes(with_pairs).await {
        for round in 0..races() {
            let running = Running::of(&one, 3).await;
            running.confirms().await;
            let (newcomer, friend) = (queued(&other, &["trios"]).await, other.lasting_player());
            let second = queued(&one, &["trios"]).await;
            let at_other = running.at(&other);
            one.clock.advance(Duration::from_secs(2));
            // Each node may fill the match, while its host invites a friend.
            let (invited, ..) =
                join3(at_other.host.invites(&running.session, &friend), tick(&one), tick(&other)).await;
            rounds(&[&one, &other], 2).await;
            let sent = [&newcomer.0, &second.0];
            let mut inside = 0;
            for player in sent {
                inside += usize::from(match_of_player(player).await.as_ref() == Some(&running.session));
            }
            assert_eq!(running.sizes().await, [2, 2], "round {round}");
            let is_friend = usize::from(invited.status == 200);
            assert_eq!(inside + is_friend, 1, "round {round}: {}", invited.status);
            for (player, party, _) in [&newcomer, &second] {
                let _ = player.delete(&queue(party)).await;
            }
            one.service(&["session:*"]).delete(&format!("/v1/session/{}", running.session)).await.expect(204);
        }
        is_clean(&one).await;
    }
}

async fn tick(node: &Server) {
    jobs::tick(&node.app).await.unwrap();
}

#[tokio::test]
async fn a_party_leaves_its_queue_or_is_sent() {
    for [one, other] in pairs_of_nodes(with_fillings).await {
        for round in 0..races() {
            let running = Running::of(&one, 2).await;
            running.confirms().await;
            let parties = [queued(&other, &["trios"]).await, queued(&one, &["trios"]).await];
            let [leaver, stays] = &parties;
            one.clock.advance(Duration::from_secs(2));
            let at = Client {
                server: if round % 2 == 0 { one.clone() } else { other.clone() },
                ..leaver.0.clone()
            };
            let (left, _) = join(at.delete(&queue(&leaver.1)), join(tick(&one), tick(&other))).await;
            rounds(&[&one, &other], 2).await;
            match (left.status.as_u16(), match_of_player(&leaver.0).await) {
                (204, None) => {}
                (404, Some(session)) => assert_eq!(session, running.session),
                both => panic!("round {round}: {both:?}"),
            }
            assert_eq!(match_of_player(&stays.0).await, Some(running.session.clone()), "round {round}");
            one.service(&["session:*"]).delete(&format!("/v1/session/{}", running.session)).await.expect(204);
        }
        is_clean(&one).await;
    }
}

#[tokio::test]
async fn a_confirmation_at_one_node_lets_another_one_fill() {
    for [one, other] in pairs_of_nodes(with_fillings).await {
        for node in [&one, &other, &one, &other] {
            rounds(&[node], 1).await;
        }
        // Whichever node makes the matches of the profile: the host and the newcomer are at either of them.
        for (host, newcomer) in [(&one, &other), (&other, &one), (&one, &one), (&other, &other)] {
            let running = Running::made_by(&[&one, &other], host, 2).await;
            let newcomer = queued(newcomer, &["trios"]).await;
            running.confirms().await;
            // The confirmation arrives after an eighth of the time in which one must come.
            rounds(&[&one, &other], 10).await;
            assert_eq!(match_of_player(&newcomer.0).await, Some(running.session.clone()));
            one.service(&["session:*"]).delete(&format!("/v1/session/{}", running.session)).await.expect(204);
        }
        assert_eq!(conflicts(&[&one, &other]).await, 0);
        is_clean(&one).await;
    }
}

async fn conflicts(nodes: &[&Server]) -> u64 {
    let mut sum = 0;
    for node in nodes {
        sum += Metrics::of(node).await.get("matcher_conflicts_total");
    }
    sum
}
