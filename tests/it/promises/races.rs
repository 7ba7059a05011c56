//! Many concurrent requests, on every store: each is done completely or refused by a rule, and afterwards everything
//! is consistent.

mod auto_join;
mod limits;
mod parties;
mod session_lock;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rallypoint::config::Config;
use rallypoint::domain::{Session, SessionId};
use rallypoint::jobs;
use rallypoint::records::keys::KEY_UPGRADE;
use rallypoint::store::{Embedded, Memory, Store};
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::harness::{
    Client, Reply, Server, XBOX_ID, action_path, consistency, creation, joining, leftovers, link_path,
    pairs_of_nodes, platform_path,
};
use crate::support::postgres::Database;

/// Repetitions of a race between few requests.
const ROUNDS: usize = 12;

/// Runs a race on each store.
async fn on_each_store(change: impl Fn(&mut Config), race: impl AsyncFn(&Server)) {
    let dir = tempfile::tempdir().unwrap();
    let embedded = Store::Embedded(Embedded::open(dir.path(), KEY_UPGRADE).unwrap());
    let postgres = Store::Postgres(Database::new().await.open().await);
    for store in [Store::Memory(Memory::default()), embedded, postgres] {
        let server = Server::over(store, &change);
        race(&server).await;
        server.app.sessions.store().close().await.unwrap();
    }
}

/// All players fit into a game, and the session shows them.
fn large_teams(config: &mut Config) {
    config.templates.get_mut("game").unwrap().players_per_team = 100;
    config.sessions.players_shown_max = 1000;
}

/// A game has one team with this many slots.
fn of_size(slots: usize) -> impl Fn(&mut Config) {
    move |config| {
        let game = config.templates.get_mut("game").unwrap();
        (game.num_teams, game.players_per_team) = (1, slots);
    }
}

/// Runs futures concurrently, each in its own task. They start together. Returns their results in order.
async fn concurrently<T, F>(futures: impl IntoIterator<Item = F>) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let futures: Vec<_> = futures.into_iter().collect();
    let start = Arc::new(Barrier::new(futures.len()));
    let tasks = futures.into_iter().map(|future| {
        let start = Arc::clone(&start);
        tokio::spawn(async move {
            start.wait().await;
            future.await
        })
    });
    let mut done = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        done.push(task.await.unwrap());
    }
    done
}

fn players(server: &Server, count: usize) -> Vec<Client> {
    (0..count).map(|_| server.player()).collect()
}

/// A request that is not sent yet.
type Request = Pin<Box<dyn Future<Output = Reply> + Send>>;

fn post(client: &Client, path: &str, body: Value) -> Request {
    let (client, path) = (client.clone(), path.to_owned());
    Box::pin(async move { client.post(&path, &body).await })
}

fn delete(client: &Client, path: &str) -> Request {
    let (client, path) = (client.clone(), path.to_owned());
    Box::pin(async move { client.delete(&path).await })
}

fn me(session: &str) -> String {
    format!("/v1/session/{session}/player/me")
}

/// The number of successes and the error codes of the refusals. Every failure must be a refusal by a rule.
fn outcome(replies: &[Reply]) -> (usize, BTreeSet<String>) {
    let (done, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status.is_success());
    for reply in &refused {
        assert!(matches!(reply.status.as_u16(), 403 | 404 | 409), "{} {}", reply.status, reply.body);
    }
    (done.len(), refused.iter().map(|reply| reply.body["error_code"].as_str().unwrap().to_owned()).collect())
}

fn codes<const N: usize>(codes: [&str; N]) -> BTreeSet<String> {
    codes.map(str::to_owned).into()
}

/// Checks that everything about the sessions is consistent. Returns each session, or `None` if it has ended.
async fn check_consistency(server: &Server, sessions: &[String], players: &[Client]) -> Vec<Option<Value>> {
    let players: Vec<_> = players.iter().map(|client| client.player).collect();
    let reader = server.service(&["session:*"]);
    let seen = consistency::check(&reader, sessions, &players, &BTreeSet::new()).await;
    sessions.iter().map(|id| seen.sessions.get(id).map(|reply| reply.body.clone())).collect()
}

/// The number of players in a session, of any status.
fn player_count(session: &Value) -> usize {
    let teams = session["teams"].as_array().unwrap().iter();
    teams.map(|team| team["players"].as_array().unwrap().len()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_concurrent_joins_all_succeed() {
    on_each_store(large_teams, async |server| {
        let (alice, joiners) = (server.player(), players(server, 100));
        let session = alice.creates("game").await;
        let joins = joiners.iter().enumerate().map(|(index, joiner)| {
            let mut body = joining();
            body["team_id"] = json!(index % 2);
            post(joiner, &me(&session), body)
        });
        assert_eq!(outcome(&concurrently(joins).await), (100, codes([])));
        let seen = check_consistency(server, std::slice::from_ref(&session), &joiners).await;
        assert_eq!(player_count(seen[0].as_ref().unwrap()), 101);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_joins_fill_the_free_slots_and_no_more() {
    on_each_store(of_size(16), async |server| {
        let (alice, joiners) = (server.player(), players(server, 40));
        let session = alice.creates("game").await;
        let joins = joiners.iter().map(|joiner| post(joiner, &me(&session), joining()));
        assert_eq!(outcome(&concurrently(joins).await), (15, codes(["session_full"])));
        check_consistency(server, std::slice::from_ref(&session), &joiners).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_create_or_join_requests_all_succeed() {
    on_each_store(of_size(4), async |server| {
        let all = players(server, 40);
        let created =
            concurrently(all.iter().map(|player| post(player, "/v1/session", creation("game")))).await;
        assert_eq!(outcome(&created), (40, codes([])));
        let ids: BTreeSet<_> =
            created.iter().map(|reply| reply.body["session_id"].as_str().unwrap().to_owned()).collect();
        let seen = check_consistency(server, &ids.into_iter().collect::<Vec<_>>(), &all).await;
        assert_eq!(seen.iter().flatten().map(player_count).sum::<usize>(), 40);
    })
    .await;
}

/// Joins and leaves alternately, by the session itself or through its platform session. Returns the number of joins
/// minus the number of leaves.
async fn joins_and_leaves(player: Client, join_paths: [String; 2], times: usize) -> usize {
    let mut balance = 0;
    for time in 0..times {
        let join_path = &join_paths[time / 2 % 2];
        if time % 2 == 0 {
            player.post(join_path, &joining()).await.expect(200);
            balance += 1;
        } else {
            player.delete(join_path).await.expect(204);
            balance -= 1;
        }
    }
    balance
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_joins_and_leaves_add_up() {
    on_each_store(large_teams, async |server| {
        let (alice, all) = (server.player(), players(server, 30));
        let session = alice.creates("game").await;
        alice.links(&session).await.expect(200);
        let join_paths = [me(&session), format!("{}/player/me", platform_path("XboxLive", XBOX_ID))];
        let visits = all.iter().enumerate();
        let visits =
            visits.map(|(index, player)| joins_and_leaves(player.clone(), join_paths.clone(), 4 + index % 3));
        let balance: usize = concurrently(visits).await.into_iter().sum();
        let seen = check_consistency(server, std::slice::from_ref(&session), &all).await;
        assert_eq!((balance, player_count(seen[0].as_ref().unwrap())), (10, 11));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_many_concurrent_links_of_a_platform_session_succeeds() {
    on_each_store(
        |_| {},
        async |server| {
            let all = players(server, 20);
            let mut sessions = Vec::new();
            for player in &all {
                sessions.push(player.creates("party").await);
            }
            let links = all.iter().zip(&sessions);
            let links = links
                .map(|(player, session)| post(player, &link_path("XboxLive", XBOX_ID, session), Value::Null));
            assert_eq!(outcome(&concurrently(links).await), (1, codes(["platform_session_in_use"])));
            check_consistency(server, &sessions, &all).await;
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_many_platform_sessions_is_linked_to_a_session() {
    on_each_store(
        |_| {},
        async |server| {
            let alice = server.player();
            let session = alice.creates("party").await;
            let links = (0..20)
                .map(|index| post(&alice, &link_path("PSN", &index.to_string(), &session), Value::Null));
            assert_eq!(outcome(&concurrently(links).await), (1, codes(["platform_already_linked"])));
            check_consistency(server, &[session], &[alice]).await;
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_last_slot_goes_to_one_join_or_one_invite() {
    on_each_store(of_size(2), async |server| {
        for _ in 0..ROUNDS {
            let (alice, others) = (server.player(), players(server, 8));
            let created = alice.post("/v1/session", &creation("game")).await.expect(200);
            let session = created.body["session_id"].as_str().unwrap().to_owned();
            let (joiners, invited) = others.split_at(4);
            let joins = joiners.iter().map(|joiner| post(joiner, &me(&session), joining()));
            let invites = invited
                .iter()
                .map(|player| post(&alice, &action_path(&session, player.player, "invite"), json!({})));
            let requests = joins.zip(invites).flat_map(|(join, invite)| [join, invite]);
            assert_eq!(outcome(&concurrently(requests).await), (1, codes(["session_full"])));
            check_consistency(server, &[session], &others).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exactly_one_player_leads_after_promotions_race_with_leaves() {
    on_each_store(
        |_| {},
        async |server| {
            for _ in 0..ROUNDS {
                let all = players(server, 4);
                let session = all[0].creates("party").await;
                all[0].opens(&session).await;
                for joiner in &all[1..] {
                    joiner.joins(&session).await.expect(200);
                }
                let mut requests = vec![
                    post(&all[0], &action_path(&session, all[1].player, "promote"), Value::Null),
                    delete(&all[1], &me(&session)),
                ];
                requests.push(post(&all[0], &action_path(&session, all[2].player, "promote"), Value::Null));
                requests.push(delete(&all[0], &me(&session)));
                outcome(&concurrently(requests).await);
                // Two players have left, and one of the other two leads.
                let seen = check_consistency(server, &[session], &all).await;
                assert_eq!(player_count(seen[0].as_ref().unwrap()), 2);
            }
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ending_a_session_removes_earlier_joins_and_refuses_later_ones() {
    on_each_store(large_teams, async |server| {
        for _ in 0..ROUNDS {
            let (alice, joiners) = (server.player(), players(server, 10));
            let session = alice.creates("game").await;
            alice.links(&session).await.expect(200);
            let mut requests: Vec<_> =
                joiners.iter().map(|joiner| post(joiner, &me(&session), joining())).collect();
            requests.insert(5, delete(&alice, &format!("/v1/session/{session}")));
            let (_, refused) = outcome(&concurrently(requests).await);
            assert!(refused.is_subset(&codes(["session_not_found"])), "{refused:?}");
            assert_eq!(check_consistency(server, &[session], &joiners).await, [None]);
            assert!(leftovers(server).await.is_empty(), "the store is empty");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_join_that_races_with_the_last_leave_leads_or_is_refused() {
    on_each_store(
        |_| {},
        async |server| {
            for _ in 0..ROUNDS {
                let (alice, bob) = (server.player(), server.player());
                let session = alice.creates("party").await;
                alice.opens(&session).await;
                let requests = [delete(&alice, &me(&session)), post(&bob, &me(&session), joining())];
                let replies = concurrently(requests).await;
                assert_eq!(replies[0].status, 204);
                let seen = check_consistency(server, &[session], &[alice, bob]).await;
                match &seen[0] {
                    Some(session) => {
                        assert_eq!((replies[1].status.as_u16(), player_count(session)), (200, 1))
                    }
                    None => drop(replies[1].clone().refused(404, "session_not_found")),
                }
            }
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_short_codes_are_distinct() {
    on_each_store(
        |_| {},
        async |server| {
            let all = players(server, 40);
            let mut sessions = Vec::new();
            for player in &all {
                sessions.push(player.creates("party").await);
            }
            let path = |session: &str| format!("/v1/session/{session}:generate-short-code");
            // Two requests for each session; one of them is refused.
            let requests = all.iter().zip(&sessions).flat_map(|(player, session)| {
                [post(player, &path(session), Value::Null), post(player, &path(session), Value::Null)]
            });
            assert_eq!(outcome(&concurrently(requests).await), (40, codes(["short_code_exists"])));
            // The check fails if two sessions have the same code.
            let seen = check_consistency(server, &sessions, &all).await;
            assert!(seen.iter().flatten().all(|session| session["short_code"].is_string()));
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_listings_list_each_session_once() {
    let without_auto_join =
        |config: &mut Config| config.templates.get_mut("game").unwrap().attempt_auto_join = false;
    on_each_store(without_auto_join, async |server| {
        let all = players(server, 40);
        let mut sessions = Vec::new();
        for player in &all {
            sessions.push(player.creates("game").await);
        }
        let path = |session: &str| format!("/v1/session/{session}/browser");
        let requests = all.iter().zip(&sessions).flat_map(|(player, session)| {
            [post(player, &path(session), json!({})), post(player, &path(session), json!({}))]
        });
        assert_eq!(outcome(&concurrently(requests).await), (80, codes([])));
        let seen = check_consistency(server, &sessions, &all).await;
        assert!(seen.iter().flatten().all(|session| session["browser"].is_object()));
    })
    .await;
}

/// Reads a session until it shows the last version. It must never show an older version than before.
async fn reads_until(reader: Client, path: String, last: u64) {
    let mut seen = 0;
    while seen < last {
        let body = reader.get(&path).await.expect(200).body;
        let version = body["custom_data"]["version"].as_str().map_or(0, |version| version.parse().unwrap());
        assert!(version >= seen, "{version} after {seen}");
        seen = version;
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_never_see_an_older_version() {
    on_each_store(
        |_| {},
        async |server| {
            let alice = server.player();
            let path = format!("/v1/session/{}", alice.creates("party").await);
            let service = server.service(&["session:*"]);
            let readers = (0..3).map(|_| tokio::spawn(reads_until(service.clone(), path.clone(), 50)));
            let readers: Vec<_> = readers.collect();
            for version in 1..=50_u64 {
                let change = json!({"custom_data": {"version": version.to_string()}});
                let changed = alice.patch(&path, &change).await.expect(200);
                assert_eq!(alice.get(&path).await.expect(200).etag(), changed.etag());
            }
            for reader in readers {
                reader.await.unwrap();
            }
        },
    )
    .await;
}

fn with_short_invites(config: &mut Config) {
    config.sessions.invite_expiry_s = 60;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_expiring_invite_is_accepted_or_refused() {
    on_each_store(with_short_invites, async |server| {
        for _ in 0..ROUNDS {
            let (alice, bob) = (server.player(), server.player());
            let session = alice.creates("party").await;
            alice.post(&action_path(&session, bob.player, "invite"), &json!({})).await.expect(200);
            server.clock.advance(Duration::from_secs(60));
            let tick: Pin<Box<dyn Future<Output = Option<Reply>> + Send>> = {
                let app = Arc::clone(&server.app);
                Box::pin(async move {
                    jobs::tick(&app).await.unwrap();
                    None
                })
            };
            let join = post(&bob, &me(&session), joining());
            let replies = concurrently([tick, Box::pin(async { Some(join.await) })]).await;
            let joined = replies[1].as_ref().unwrap();
            let seen = check_consistency(server, &[session], &[alice, bob]).await;
            let player_count = player_count(seen[0].as_ref().unwrap());
            match joined.status.as_u16() {
                200 => assert_eq!(player_count, 2),
                _ => {
                    joined.clone().refused(403, "session_not_joinable");
                    assert_eq!(player_count, 1);
                }
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_on_one_store_lose_no_join() {
    for nodes in pairs_of_nodes(large_teams).await {
        race_to_join(&nodes).await;
    }
}

async fn race_to_join(nodes: &[Server; 2]) {
    let one = &nodes[0];
    let (alice, joiners) = (one.player(), players(one, 60));
    let session = alice.creates("game").await;
    let joins = joiners.iter().enumerate().map(|(index, joiner)| {
        let node = nodes[index % nodes.len()].bearer(joiner.token.clone().unwrap());
        post(&node, &me(&session), joining())
    });
    let replies = concurrently(joins).await;
    // Nodes race in the store. After a limited number of lost races a request fails with 503, which is no refusal.
    assert!(replies.iter().all(|reply| [200, 503].contains(&reply.status.as_u16())));
    let joined = replies.iter().filter(|reply| reply.status == 200).count();
    let seen = check_consistency(one, &[session], &joiners).await;
    assert_eq!(player_count(seen[0].as_ref().unwrap()), joined + 1);
}
