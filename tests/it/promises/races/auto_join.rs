//! Players who ask for a session at the same moment share one, on one node and on several: of two creations, of which
//! one creator could have joined the other's session, one comes first, and the other one joins.

use std::collections::BTreeMap;

use rallypoint::domain::Platform;
use rallypoint::domain::client::VersionCheck;
use rallypoint::records::keys;

use super::*;

/// Repetitions of the race between two players.
const PAIRS: usize = 25;

/// Runs a race on one node with each store, and on several nodes with each store that nodes can share.
async fn on_all_nodes(change: impl Fn(&mut Config), race: impl AsyncFn(&[Server])) {
    let dir = tempfile::tempdir().unwrap();
    let embedded = Store::Embedded(Embedded::open(dir.path(), KEY_UPGRADE).unwrap());
    let (one, database) = (Database::new().await, Database::new().await);
    let shared = Memory::shared();
    let stores = [
        vec![Store::Memory(Memory::default())],
        vec![embedded],
        vec![Store::Postgres(one.open().await)],
        vec![Store::Memory(shared.clone()), Store::Memory(shared.clone()), Store::Memory(shared)],
        vec![
            Store::Postgres(database.open().await),
            Store::Postgres(database.open().await),
            Store::Postgres(database.open().await),
        ],
    ];
    for mut stores in stores {
        let first = Server::over(stores.remove(0), &change);
        let others: Vec<_> = stores.into_iter().map(|store| first.another_node(store)).collect();
        let nodes = [vec![first], others].concat();
        race(&nodes).await;
        for node in nodes {
            node.app.sessions.store().close().await.unwrap();
        }
    }
}

/// These players, each at one of the nodes in turn.
fn at(nodes: &[Server], players: &[Client]) -> Vec<Client> {
    let node_of = |index: usize| nodes[index % nodes.len()].clone();
    let players = players.iter().enumerate();
    players.map(|(index, player)| Client { server: node_of(index), ..player.clone() }).collect()
}

fn players(nodes: &[Server], count: usize) -> Vec<Client> {
    at(nodes, &(0..count).map(|_| nodes[0].player()).collect::<Vec<_>>())
}

/// All players ask for a session at the same moment. Returns the session of each.
async fn ask_together(requests: impl IntoIterator<Item = (Client, Value)>) -> Vec<String> {
    let requests = requests.into_iter().map(|(player, body)| post(&player, "/v1/session", body));
    let id = |reply: Reply| reply.expect(200).body["session_id"].as_str().unwrap().to_owned();
    concurrently(requests).await.into_iter().map(id).collect()
}

async fn ask_for_games(players: &[Client]) -> Vec<String> {
    ask_together(players.iter().map(|player| (player.clone(), creation("game")))).await
}

/// How many players each of these sessions has, in ascending order, once everything is checked to be consistent.
async fn sizes(nodes: &[Server], sessions: &[String], players: &[Client]) -> Vec<usize> {
    let distinct: BTreeSet<_> = sessions.iter().cloned().collect();
    let seen = check_consistency(&nodes[0], &distinct.into_iter().collect::<Vec<_>>(), players).await;
    let mut sizes: Vec<_> = seen.iter().flatten().map(player_count).collect();
    sizes.sort_unstable();
    sizes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_players_who_ask_together_share_a_session() {
    on_all_nodes(of_size(2), async |nodes| {
        for round in 0..PAIRS {
            // Each session is full after its round.
            let two = players(nodes, 2);
            let sessions = ask_for_games(&two).await;
            assert_eq!(sessions[0], sessions[1], "round {round}, {} nodes", nodes.len());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_players_who_ask_together_share_a_session() {
    on_all_nodes(of_size(16), async |nodes| {
        for _ in 0..3 {
            let all = players(nodes, 16);
            let sessions = ask_for_games(&all).await;
            assert_eq!(sizes(nodes, &sessions, &all).await, [16], "{} nodes", nodes.len());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn equal_requests_of_one_player_lead_to_one_session() {
    on_all_nodes(of_size(16), async |nodes| {
        let player = nodes[0].player();
        let requests = at(nodes, &vec![player.clone(); 20]);
        let sessions = ask_for_games(&requests).await;
        assert_eq!(sizes(nodes, &sessions, &[player]).await, [1], "{} nodes", nodes.len());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn players_who_ask_together_fill_as_few_sessions_as_possible() {
    on_all_nodes(of_size(16), async |nodes| {
        let all = players(nodes, 40);
        let sessions = ask_for_games(&all).await;
        assert_eq!(sizes(nodes, &sessions, &all).await, [8, 16, 16], "{} nodes", nodes.len());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn players_with_room_in_an_open_session_do_not_create_another() {
    on_all_nodes(of_size(16), async |nodes| {
        let first = nodes[0].player();
        let session = first.creates("game").await;
        let all = players(nodes, 20);
        let sessions = ask_for_games(&all).await;
        let joined = sessions.iter().filter(|id| **id == session).count();
        assert_eq!(joined, 15, "{} nodes", nodes.len());
        assert_eq!(sizes(nodes, &sessions, &all).await, [5, 16], "{} nodes", nodes.len());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sessions_that_nobody_else_can_join_are_created_at_once() {
    on_all_nodes(of_size(1), async |nodes| {
        let all = players(nodes, 12);
        let sessions = ask_for_games(&all).await;
        assert_eq!(sizes(nodes, &sessions, &all).await, [1; 12], "{} nodes", nodes.len());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crowd_creates_many_small_sessions() {
    on_all_nodes(of_size(2), async |nodes| {
        let all = players(nodes, 60);
        let sessions = ask_for_games(&all).await;
        assert_eq!(sizes(nodes, &sessions, &all).await, [2; 30], "{} nodes", nodes.len());
    })
    .await;
}

/// A request for a game by a player of one of several kinds, none of which can play with another.
fn request_of_kind(server: &Server, kind: usize) -> (Client, Value) {
    let mut body = creation("game");
    body["region_id"] = json!(["eu", "us", "eu", "eu"][kind]);
    if kind == 2 {
        body["client_version"] = json!("2.0.0");
    }
    if kind == 3 {
        body["crossplay_preferences"] = json!({
            "permitted_platform": "desired_platforms_playstationlike", "permitted_input": "desired_inputs_any",
        });
        return (server.player_on(Platform::PSN), body);
    }
    (server.player(), body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn players_who_cannot_play_together_get_a_session_for_each_kind() {
    let change = |config: &mut Config| {
        of_size(16)(config);
        config.sessions.version_check = VersionCheck::Exact;
    };
    on_all_nodes(change, async |nodes| {
        let requests: Vec<_> = (0..32)
            .map(|index| {
                let (player, body) = request_of_kind(&nodes[0], index % 4);
                (Client { server: nodes[index / 4 % nodes.len()].clone(), ..player }, body)
            })
            .collect();
        let sessions = ask_together(requests.clone()).await;
        let mut kinds = BTreeMap::<_, BTreeSet<_>>::new();
        for (index, session) in sessions.iter().enumerate() {
            kinds.entry(index % 4).or_default().insert(session);
        }
        assert!(kinds.values().all(|sessions| sessions.len() == 1), "{} nodes: {kinds:?}", nodes.len());
        let all: Vec<_> = requests.into_iter().map(|(player, _)| player).collect();
        assert_eq!(sizes(nodes, &sessions, &all).await, [8; 4], "{} nodes", nodes.len());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn players_with_passwords_share_a_session_with_those_who_know_it() {
    on_all_nodes(of_size(16), async |nodes| {
        let all = players(nodes, 24);
        let requests = all.iter().enumerate().map(|(index, player)| {
            let mut body = creation("game");
            body["password"] = json!(["red", "green", "blue"][index / 8]);
            (player.clone(), body)
        });
        let sessions = ask_together(requests).await;
        assert_eq!(sizes(nodes, &sessions, &all).await, [8; 3], "{} nodes", nodes.len());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn players_with_and_without_a_region_end_in_sessions_of_their_region() {
    on_all_nodes(of_size(32), async |nodes| {
        let all = players(nodes, 24);
        let requests = all.iter().enumerate().map(|(index, player)| {
            let mut body = creation("game");
            if index % 2 == 0 {
                body["region_id"] = json!("eu");
            }
            (player.clone(), body)
        });
        let sessions = ask_together(requests).await;
        // Players without a region may join a session of any region. Those with one may not join a session without.
        let with_region: BTreeSet<_> = sessions.iter().step_by(2).collect();
        let without: BTreeSet<_> = sessions.iter().skip(1).step_by(2).collect();
        assert_eq!(with_region.len(), 1, "{} nodes: {sessions:?}", nodes.len());
        assert!(without.len() <= 2, "{} nodes: {sessions:?}", nodes.len());
        assert!(sizes(nodes, &sessions, &all).await.len() <= 2, "{} nodes", nodes.len());
    })
    .await;
}

/// A request for a session of a type in a region.
fn request_in(session_type: &str, region: &str) -> Value {
    let mut body = creation(session_type);
    body["region_id"] = json!(region);
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn only_players_whom_the_session_would_take_wait_for_a_creation() {
    let database = Database::new().await;
    let server = Server::over(Store::Postgres(database.open().await), of_size(2));
    let other_node = server.another_node(Store::Postgres(database.open().await));
    // From now on the gates of both regions exist. The first creation in a region waits for every other first one.
    for body in [request_in("game", "eu"), request_in("game", "us")] {
        let full = ask_together(
            players(std::slice::from_ref(&server), 2).into_iter().map(|one| (one, body.clone())),
        );
        assert_eq!(full.await.len(), 2);
    }
    // The creation also stores the player's numeric id. Another transaction holds that key.
    let (holder, watcher) = (database.client().await, database.client().await);
    holder.batch_execute("BEGIN").await.unwrap();
    let hold = "INSERT INTO rallypoint_entries (key, value, version) VALUES ($1, '', 1)";
    holder.execute(hold, &[&keys::player_of_id(7)]).await.unwrap();
    let first = tokio::spawn(post(&server.player_numbered(7), "/v1/session", request_in("game", "eu")));
    while database.waiting(&watcher).await == 0 {
        tokio::task::yield_now().await;
    }
    for node in [&server, &other_node] {
        for body in [request_in("game", "us"), request_in("party", "eu")] {
            let player = Client { server: node.clone(), ..server.player() };
            player.post("/v1/session", &body).await.expect(200);
        }
    }
    assert!(!first.is_finished(), "the creation is still held up");
    let second = tokio::spawn(post(&server.player(), "/v1/session", request_in("game", "eu")));
    holder.batch_execute("ROLLBACK").await.unwrap();
    let ids = [first.await.unwrap().expect(200), second.await.unwrap().expect(200)];
    assert_eq!(ids[0].body, ids[1].body, "the second player joins the first one");
}
