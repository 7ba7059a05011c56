//! Matches at several nodes: which of them makes those of a profile, and what happens if it is gone.

use std::fmt::Write as _;
use std::time::Duration;

use futures_util::future::join_all;
use rallypoint::config::Config;
use rallypoint::domain::matchmaking::profile::MatcherKind;
use rallypoint::jobs;
use rallypoint::runtime::settings::catalog;
use serde_json::json;

use crate::api::matches::{forget_nodes, is_clean, match_of_player, queued, with_matches};
use crate::harness::{Client, Metrics, Server, shared_stores};

/// Number of profiles: enough for every node to have some.
const PROFILES: usize = 8;

/// A queue for each of the profiles, all for two players.
fn with_profiles(config: &mut Config) {
    with_matches(config);
    let mut file = String::new();
    for number in 0..PROFILES {
        let group = format!("00000000-0000-4000-8000-0000000000b{number}");
        writeln!(
            file,
            "[queues.q{number}]\nmatch_making_template_group_id = \"{group}\"\n\
             [[match_making_template_groups.{group}.templates]]\nprofiles = [\"p{number}\"]\n\
             [match_making_profiles.p{number}]"
        )
        .unwrap();
    }
    let file = Config::parse(&file, "test", &[]).unwrap();
    config.queues = file.queues;
    config.match_making_template_groups = file.match_making_template_groups;
    config.match_making_profiles = file.match_making_profiles;
    // Sooner than a node says again that it is there.
    config.matchmaking.poll_ms = 500;
}

/// Three nodes, on each kind of store.
async fn threes_of_nodes() -> [[Server; 3]; 2] {
    shared_stores().await.map(|[first, second, third]| {
        let first = Server::over(first, with_profiles);
        let (second, third) = (first.another_node(second), first.another_node(third));
        [first, second, third]
    })
}

async fn tick(nodes: &[&Server]) {
    for node in nodes {
        jobs::tick(&node.app).await.unwrap();
    }
}

/// Two players in each queue. They have come at these nodes, in turn.
async fn two_in_each_queue(nodes: &[&Server]) -> Vec<[Client; 2]> {
    let mut pairs = Vec::new();
    for number in 0..PROFILES {
        let queue = format!("q{number}");
        let (one, other) = (nodes[number % nodes.len()], nodes[(number + 1) % nodes.len()]);
        pairs.push([queued(one, &[&queue]).await.0, queued(other, &[&queue]).await.0]);
    }
    pairs
}

/// How many of these pairs are in a match. Panics if a player is in two, or alone in one.
async fn matched(pairs: &[[Client; 2]]) -> usize {
    let mut matched = 0;
    for [one, other] in pairs {
        let (session, with) = (match_of_player(one).await, match_of_player(other).await);
        assert_eq!(session, with);
        matched += usize::from(session.is_some());
    }
    matched
}

async fn conflicts(nodes: &[Server]) -> u64 {
    let counted = nodes.iter().map(async |node| Metrics::of(node).await.get("matcher_conflicts_total"));
    join_all(counted).await.into_iter().sum()
}

#[tokio::test]
async fn each_profile_has_a_node_and_another_one_if_that_is_gone() {
    for nodes in threes_of_nodes().await {
        let [first, second, third] = &nodes;
        let all = [first, second, third];
        // They meet.
        for _ in 0..2 {
            tick(&all).await;
            first.clock.advance(Duration::from_secs(1));
        }
        let pairs = two_in_each_queue(&all).await;
        first.clock.advance(Duration::from_secs(1));
        tick(&all).await;
        assert_eq!(matched(&pairs).await, PROFILES, "whichever nodes the parties have come to");
        assert_eq!(conflicts(&nodes).await, 0, "nodes that agree do not meet");

        // The first one is killed: it says nothing any more.
        let pairs = two_in_each_queue(&[second, third]).await;
        first.clock.advance(Duration::from_secs(1));
        tick(&[second, third]).await;
        let before = matched(&pairs).await;
        assert!(before < PROFILES, "nobody makes the matches of the first one yet");
        // Its record ends after `node_timeout_s`.
        for _ in 0..3 {
            first.clock.advance(Duration::from_secs(1));
            tick(&[second, third]).await;
        }
        assert_eq!(matched(&pairs).await, PROFILES);
        is_clean(second).await;

        // It comes back, with all that it has in memory.
        tick(&all).await;
        let pairs = two_in_each_queue(&all).await;
        for _ in 0..2 {
            first.clock.advance(Duration::from_secs(1));
            tick(&all).await;
        }
        assert_eq!(matched(&pairs).await, PROFILES);
        is_clean(first).await;
    }
}

#[tokio::test]
async fn a_node_is_there_however_long_its_round_takes() {
    for nodes in threes_of_nodes().await {
        let [first, second, third] = &nodes;
        for _ in 0..2 {
            tick(&[first, second, third]).await;
            first.clock.advance(Duration::from_secs(1));
        }
        let pairs = two_in_each_queue(&[second, third]).await;
        // A round of the first one takes so long that it begins no other one. The job that says that it is there goes on.
        for _ in 0..6 {
            first.clock.advance(Duration::from_secs(1));
            first.app.matchmaker.meet(&first.app).await.unwrap();
            tick(&[second, third]).await;
        }
        assert!(matched(&pairs).await < PROFILES, "nobody takes its profiles over");
        tick(&[first]).await;
        assert_eq!(matched(&pairs).await, PROFILES);
        assert_eq!(conflicts(&nodes).await, 0);
    }
}

#[tokio::test]
async fn a_profile_that_one_node_does_not_have_is_matched_by_another() {
    for nodes in threes_of_nodes().await {
        let [first, second, third] = &nodes;
        let mut config = Config::default();
        with_profiles(&mut config);
        for number in 0..PROFILES / 2 {
            let profile = config.match_making_profiles.get_mut(&format!("p{number}")).unwrap();
            profile.matcher = MatcherKind::External;
        }
        // As in a rolling change of the configuration.
        first.app.replace_catalog(catalog(&config));
        for _ in 0..3 {
            tick(&[first, second, third]).await;
            first.clock.advance(Duration::from_secs(1));
        }
        let pairs = two_in_each_queue(&[first, second, third]).await;
        first.clock.advance(Duration::from_secs(1));
        tick(&[first, second, third]).await;
        assert_eq!(matched(&pairs).await, PROFILES);
        assert_eq!(conflicts(&nodes).await, 0);
    }
}

#[tokio::test]
async fn of_two_nodes_that_match_the_same_profiles_one_has_conflicts() {
    for nodes in threes_of_nodes().await {
        let [first, second, _] = &nodes;
        tick(&[first, second]).await;
        first.clock.advance(Duration::from_secs(1));
        forget_nodes(&[first, second]).await;
        // Each one has all profiles now.
        tick(&[first, second]).await;
        // The second node took all of them in; the first one reads them.
        let pairs = two_in_each_queue(&[second]).await;
        first.clock.advance(Duration::from_millis(500));
        tick(&[first]).await;
        assert_eq!(matched(&pairs).await, PROFILES);
        assert_eq!(conflicts(&nodes).await, 0);
        tick(&[second]).await;
        assert_eq!(conflicts(&nodes).await, PROFILES as u64, "it wanted each of these matches, too");
        assert_eq!(matched(&pairs).await, PROFILES);
        is_clean(second).await;
    }
}

#[tokio::test]
async fn nodes_that_do_not_know_each_other_make_no_match_twice() {
    for nodes in threes_of_nodes().await {
        let all: Vec<_> = nodes.iter().collect();
        tick(&all).await;
        nodes[0].clock.advance(Duration::from_secs(1));
        forget_nodes(&all).await;
        let pairs = two_in_each_queue(&all).await;
        nodes[0].clock.advance(Duration::from_millis(500));
        // Each one takes all profiles for its own, and reads all tickets.
        join_all(nodes.iter().map(|node| async { jobs::tick(&node.app).await.unwrap() })).await;
        assert_eq!(matched(&pairs).await, PROFILES);
        let mut made = 0;
        for node in &nodes {
            made += Metrics::of(node).await.get("matches_made_total");
        }
        assert_eq!(made, PROFILES as u64);
        is_clean(&nodes[0]).await;
    }
}

#[tokio::test]
async fn a_node_that_stops_hands_its_profiles_over() {
    for nodes in threes_of_nodes().await {
        let [first, second, third] = &nodes;
        for _ in 0..2 {
            tick(&[first, second, third]).await;
            first.clock.advance(Duration::from_secs(1));
        }
        first.app.matchmaker.leave(&first.app).await.unwrap();
        let pairs = two_in_each_queue(&[second, third]).await;
        first.clock.advance(Duration::from_secs(1));
        tick(&[second, third]).await;
        assert_eq!(matched(&pairs).await, PROFILES);
    }
}

#[tokio::test]
async fn a_ticket_that_has_ended_elsewhere_leaves_the_pool() {
    for nodes in threes_of_nodes().await {
        let [first, second, third] = &nodes;
        let all = [first, second, third];
        let (player, session, _) = queued(first, &["q0"]).await;
        for _ in 0..3 {
            first.clock.advance(Duration::from_secs(1));
            tick(&all).await;
        }
        let there = Client { server: third.clone(), ..player };
        there.delete(&format!("/v1/session/{session}/queue")).await.expect(204);
        for _ in 0..3 {
            first.clock.advance(Duration::from_secs(1));
            tick(&all).await;
        }
        for node in all {
            let metrics = Metrics::of(node).await.0;
            assert!(!metrics.contains("rallypoint_tickets_waiting{profile=\"p0\"} 1"), "{metrics}");
        }
        let other = queued(second, &["q0"]).await;
        first.clock.advance(Duration::from_secs(1));
        tick(&all).await;
        assert_eq!(match_of_player(&other.0).await, None);
        assert_eq!(conflicts(&nodes).await, 0);
        let seen = other.0.session(&other.1).await.expect(200).body;
        assert_eq!(seen["matchmaking"]["queue_ids"], json!(["q0"]));
    }
}
