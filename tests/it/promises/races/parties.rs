//! Sessions that are invited or kicked as a whole while their players join and leave.

use std::sync::mpsc;

use futures_util::FutureExt as _;
use rallypoint::app::Update;
use tokio::task::JoinHandle;

use super::*;

/// Attempts until the request takes its locks in the order that the test needs. Every second attempt does.
const TRIES_MAX: usize = 64;

/// A session whose lock is held until it is released.
struct HeldLock {
    release: mpsc::Sender<()>,
    change: JoinHandle<()>,
}

impl HeldLock {
    /// Takes the lock of a session, by a change that waits.
    async fn of_session(server: &Server, session: &str) -> Self {
        let (entered, is_held) = tokio::sync::oneshot::channel();
        let (release, wait) = mpsc::channel();
        let (app, id, mut entered) =
            (Arc::clone(&server.app), SessionId::parse(session).unwrap(), Some(entered));
        let rule = move |_: &mut Session| {
            entered.take().unwrap().send(()).unwrap();
            // The wait also ends if the test has failed and dropped the sender.
            let _ = wait.recv();
            Ok(())
        };
        let change = tokio::spawn(async move {
            app.sessions.update(&id, Update::by_caller(false), rule).await.map(drop).unwrap()
        });
        is_held.await.unwrap();
        Self { release, change }
    }

    async fn release(self) {
        self.release.send(()).unwrap();
        self.change.await.unwrap();
    }
}

/// Sends a request about a game and a party, and runs an action on the party while the request waits for the lock of
/// the game. Returns the server, the players, the game and the reply. The first player leads both sessions; all five
/// are in the party, and the last one is in the game too.
async fn while_request_waits(
    request: impl Fn(&Client, &str, &str) -> Request,
    action: impl AsyncFn(&[Client], &str) -> Reply,
) -> (Server, Vec<Client>, String, Reply) {
    for _ in 0..TRIES_MAX {
        let server = Server::with(|config| {
            large_teams(config);
            config.templates.get_mut("party").unwrap().players_per_team = 8;
        });
        let all = players(&server, 5);
        let party = all[0].creates("party").await;
        let game = all[0].creates("game").await;
        all[0].opens(&party).await;
        for member in &all[1..] {
            member.joins(&party).await.expect(200);
        }
        all[4].joins(&game).await.expect(200);
        let held = HeldLock::of_session(&server, &game).await;
        let mut request = request(&all[0], &game, &party);
        assert!((&mut request).now_or_never().is_none(), "the request waits for the lock of the game");
        // If the request already holds the lock of the party, the action cannot complete here.
        let done = action(&all, &party).now_or_never();
        held.release().await;
        let reply = request.await;
        if let Some(done) = done {
            assert!(done.status.is_success(), "{}", done.body);
            return (server, all, game, reply);
        }
    }
    panic!("the request never took its locks in the order that the test needs");
}

fn invite(caller: &Client, game: &str, party: &str) -> Request {
    post(caller, &format!("/v1/session/{game}/invited-session/{party}:invite"), json!({}))
}

fn kick(caller: &Client, game: &str, party: &str) -> Request {
    delete(caller, &format!("/v1/session/{game}/kicked-session/{party}"))
}

fn uuids(reply: &Reply) -> BTreeSet<String> {
    let players = reply.body["players"].as_array().unwrap().iter();
    players.map(|player| player["player_uuid"].as_str().unwrap().to_owned()).collect()
}

fn uuids_of(players: &[Client]) -> BTreeSet<String> {
    players.iter().map(|client| client.player.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_player_who_left_the_party_is_not_invited_with_it() {
    let leaves = async |all: &[Client], party: &str| all[1].leaves(party).await;
    let (server, all, game, invited) = while_request_waits(invite, leaves).await;
    assert_eq!(uuids(&invited.expect(200)), uuids_of(&all[2..4]));
    check_consistency(&server, &[game], &all[1..2]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_player_who_joined_the_party_is_invited_with_it() {
    let comes = async |all: &[Client], party: &str| all[0].server.player().joins(party).await;
    let (_, all, _, invited) = while_request_waits(invite, comes).await;
    let invited = uuids(&invited.expect(200));
    assert!(invited.len() == 4 && invited.is_superset(&uuids_of(&all[1..4])), "{invited:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_caller_who_left_the_party_cannot_invite_it() {
    let leaves = async |all: &[Client], party: &str| all[0].leaves(party).await;
    let (_, _, _, refused) = while_request_waits(invite, leaves).await;
    refused.refused(403, "not_active_in_session");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_player_who_left_the_party_is_not_kicked_with_it() {
    let leaves = async |all: &[Client], party: &str| all[4].leaves(party).await;
    let (_, all, game, kicked) = while_request_waits(kick, leaves).await;
    kicked.expect(204);
    let seen = all[4].session(&game).await.expect(200).body;
    assert_eq!(
        player_count(&seen),
        2,
        "the caller and the player who left the party are still there: {seen}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sessions_that_invite_and_kick_each_other_do_not_deadlock() {
    on_each_store(large_teams, async |server| {
        let leaders = players(server, 6);
        let mut sessions = Vec::new();
        for leader in &leaders {
            sessions.push(leader.creates("party").await);
            leader.opens(sessions.last().unwrap()).await;
        }
        let pairs =
            leaders.iter().zip(&sessions).flat_map(|one| sessions.iter().map(move |other| (one, other)));
        let requests = pairs.flat_map(|((leader, own), other)| {
            [invite(leader, other, own), invite(leader, own, other), kick(leader, own, other)]
        });
        let requests: Vec<_> = requests.collect();
        let replies = tokio::time::timeout(Duration::from_secs(60), concurrently(requests)).await;
        let (done, _) = outcome(&replies.expect("there is no deadlock"));
        assert!(done > 0);
        check_consistency(server, &sessions, &leaders).await;
    })
    .await;
}
