//! Quotas and rate limits under concurrent requests: the number of successes is exactly the limit.

use futures_util::FutureExt as _;
use rallypoint::app::rate_limit::WRONG_MAX;
use rallypoint::domain::PlayerUuid;

use super::*;

/// Number of concurrent requests.
const REQUESTS: usize = 64;

/// A small quota: 5 sessions and 3 invites per player.
fn small_quota(config: &mut Config) {
    large_teams(config);
    config.sessions.sessions_per_player_max = 5;
    config.sessions.invites_per_player_max = 3;
    config.templates.get_mut("game").unwrap().attempt_auto_join = false;
}

/// This many open games, each with its own leader.
async fn games(server: &Server, count: usize) -> Vec<(Client, String)> {
    let mut games = Vec::new();
    for leader in players(server, count) {
        let game = leader.creates("game").await;
        games.push((leader, game));
    }
    games
}

/// The number of sessions in which a player is active, and the number of their invites and reservations. Checks that
/// these sessions are consistent.
async fn membership_counts(server: &Server, player: &Client) -> (usize, usize) {
    let memberships = server.app.sessions.memberships(PlayerUuid(player.player)).await.unwrap().entries;
    let sessions: Vec<_> = memberships.iter().map(|(id, _)| id.to_string()).collect();
    check_consistency(server, &sessions, std::slice::from_ref(player)).await;
    let (active, waiting): (Vec<_>, Vec<_>) =
        memberships.iter().partition(|(_, membership)| membership.status.is_active());
    (active.len(), waiting.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_joins_of_many_sessions_stop_at_the_session_limit() {
    on_each_store(small_quota, async |server| {
        let games = games(server, REQUESTS).await;
        let player = server.player();
        let joins = games.iter().map(|(_, game)| post(&player, &me(game), joining()));
        assert_eq!(outcome(&concurrently(joins).await), (5, codes(["too_many_sessions"])));
        assert_eq!(membership_counts(server, &player).await, (5, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_join_path_counts_toward_the_session_limit() {
    on_each_store(small_quota, async |server| {
        let games = games(server, REQUESTS).await;
        let player = server.player();
        for (index, (leader, game)) in games.iter().enumerate() {
            leader.post(&link_path("PSN", &index.to_string(), game), &Value::Null).await.expect(200);
        }
        let service = server.service(&["session:update-player:any"]);
        let requests = games.iter().enumerate().map(|(index, (_, game))| match index % 5 {
            0 => post(&player, &me(game), joining()),
            1 => post(&player, &format!("{}/player/me", platform_path("PSN", &index.to_string())), joining()),
            2 => post(&player, "/v1/session", creation("game")),
            3 => post(
                &player,
                &format!("/v1/session/{game}/player/uuid/{}", player.player),
                json!({"status": "member"}),
            ),
            _ => post(&service, &format!("/v1/session/{game}/player/uuid/{}", player.player), joining_for()),
        });
        assert_eq!(outcome(&concurrently(requests).await), (5, codes(["too_many_sessions"])));
        assert_eq!(membership_counts(server, &player).await, (5, 0));
    })
    .await;
}

/// The body of a deprecated update that joins another player.
fn joining_for() -> Value {
    json!({"status": "member", "team_id": 0})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_invites_stop_at_the_invite_limit() {
    on_each_store(small_quota, async |server| {
        let games = games(server, REQUESTS).await;
        let player = server.player();
        let invites = games.iter().enumerate().map(|(index, (leader, game))| match index % 2 {
            0 => post(leader, &action_path(game, player.player, "invite"), json!({})),
            _ => post(
                leader,
                &format!("/v1/session/{game}/player/uuid/{}", player.player),
                json!({"status": "reserved"}),
            ),
        });
        assert_eq!(outcome(&concurrently(invites).await), (3, codes(["too_many_invites"])));
        assert_eq!(membership_counts(server, &player).await, (0, 3));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_invites_of_a_party_stop_at_the_invite_limit_of_each_player() {
    on_each_store(small_quota, async |server| {
        let games = games(server, REQUESTS).await;
        let party = players(server, 4);
        let session = party[0].creates("party").await;
        party[0].opens(&session).await;
        for member in &party[1..] {
            member.joins(&session).await.expect(200);
        }
        let invites = games.iter().enumerate().map(|(index, (_, game))| {
            post(
                &party[index % 4],
                &format!("/v1/session/{game}/invited-session/{session}:invite"),
                json!({}),
            )
        });
        assert_eq!(outcome(&concurrently(invites).await), (3, codes(["too_many_invites"])));
        for member in &party {
            assert_eq!(membership_counts(server, member).await, (1, 3));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn joins_of_disconnected_callers_count_toward_the_session_limit() {
    on_each_store(small_quota, async |server| {
        let games = games(server, REQUESTS).await;
        let player = server.player();
        let joins = games.iter().enumerate().map(|(index, (_, game))| {
            let mut join = post(&player, &me(game), joining());
            async move {
                // Polled a few times and then dropped, wherever the request is by then.
                for _ in 0..index % 8 {
                    if (&mut join).now_or_never().is_some() {
                        return false;
                    }
                    tokio::task::yield_now().await;
                }
                index % 8 > 0
            }
        });
        let is_any_broken_off = concurrently(joins).await.contains(&true);
        let answers_at_once = matches!(server.app.sessions.store(), Store::Memory(_));
        assert!(is_any_broken_off || answers_at_once, "no join was under way when its caller left");
        // Begun joins complete and hold their locks until then. So a join after them is accepted or refused.
        for (_, game) in &games {
            let refused = player.joins(game).await;
            assert!(refused.status == 200 || refused.body["error_code"] == json!("too_many_sessions"));
        }
        assert_eq!(membership_counts(server, &player).await, (5, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_wrong_codes_stop_at_the_limit_and_right_codes_are_free() {
    on_each_store(small_quota, async |server| {
        let (alice, caller) = (server.player(), server.player());
        let session = alice.creates("party").await;
        let path = format!("/v1/session/{session}:generate-short-code");
        let code = alice.post(&path, &Value::Null).await.expect(200).body["short_code"].clone();
        let reads = |codes: Vec<String>| {
            let requests = codes.into_iter().map(|code| {
                let caller = caller.clone();
                async move { caller.session(&code).await }
            });
            concurrently(requests)
        };
        let right = vec![code.as_str().unwrap().to_owned(); REQUESTS];
        assert_eq!(outcome(&reads(right.clone()).await), (REQUESTS, codes([])));
        let wrong = (0..REQUESTS).map(|_| "ZZZZZZ".to_owned()).collect();
        let replies = reads(wrong).await;
        let not_found = replies.iter().filter(|reply| reply.status == 404).count();
        assert_eq!(not_found, WRONG_MAX as usize);
        assert_eq!(outcome(&replies), (0, codes(["session_not_found", "too_many_guesses"])));
        assert_eq!(outcome(&reads(right).await), (0, codes(["too_many_guesses"])));
    })
    .await;
}
