//! Every operation that takes a key stores its answer in the commit of its effect. A new operation fails these tests
//! until it has a request here.

use http::Method;
use rallypoint::api;
use rallypoint::http::surface::Surface;
use rallypoint::notifications;
use rallypoint::records::keys;
use rallypoint::store::{Key, Memory, Store};
use serde_json::{Value, json};

use super::{is_repeat_of, keyed, replayed};
use crate::api::backfill::{hosts, start_backfill};
use crate::api::queue::{DESERTER, open_queues};
use crate::harness::{
    Client, Server, XBOX_ID, action_path, contents, creation, joining, link_path, platform_path, player_path,
    right_path,
};

/// A request that changes something.
struct Scenario<'a> {
    caller: &'a Client,
    method: Method,
    path: String,
    body: Value,
}

/// Alice leads an open game. Bob and carol are members on different teams. Dave is outside.
struct World {
    server: Server,
    alice: Client,
    bob: Client,
    carol: Client,
    dave: Client,
    /// Alice, at the notification service.
    alice_there: Client,
    /// A game server.
    service: Client,
    game: String,
}

/// The numeric id of dave.
const DAVES_ID: i64 = 7;

impl World {
    async fn new() -> Self {
        let server = Server::over(Store::Memory(Memory::default()), |_| {});
        let [alice, bob, carol] = [(); 3].map(|()| server.player());
        let dave = server.player_numbered(DAVES_ID);
        let game = alice.creates("game").await;
        alice.opens(&game).await;
        bob.joins_team(&game, 0).await.expect(200);
        carol.joins_team(&game, 1).await.expect(200);
        open_queues(&server);
        let alice_there = alice.on(notifications::PREFIX);
        let service = server.service_named("game-server", &["session:*"]);
        Self { server, alice, bob, carol, dave, alice_there, service, game }
    }

    /// Does what the operation needs before it.
    async fn prepare(&self, operation: &str) {
        let Self { alice, bob, dave, game, .. } = self;
        let session = format!("/v1/session/{game}");
        match operation {
            "delete_platform_session_from_rally_here_session"
            | "join_session_by_platform_session_id_self"
            | "leave_session_by_platform_session_self"
            | "join_session_by_platform_session_by_uuid"
            | "leave_session_by_platform_session_by_uuid" => drop(alice.links(game).await.expect(200)),
            "update_browser_info" | "delete_browser_info" => {
                alice.post(&format!("{session}/browser"), &json!({})).await.expect(200);
            }
            "update_instance_info" | "end_instance" => {
                alice.post(&format!("{session}/instance"), &json!({"host_type": "player"})).await.expect(200);
            }
            "acknowledge_backfill_request" | "update_backfill_request" | "delete_backfill_request" => {
                hosts(alice, game).await;
                start_backfill(&self.server, game).await;
            }
            "leave_queue" => {
                alice.post(&format!("{session}/queue"), &json!({"queue_id": "casual"})).await.expect(200);
            }
            "update_session_player_by_id" | "kick_player_from_session_by_id" => {
                dave.joins(game).await.expect(200);
            }
            "remove_player_permission_by_uuid" => {
                alice.gives_right(game, bob, "kick").await.expect(200);
            }
            "delete_player_deserter" | "delete_all_player_deserter" => {
                let body = json!({"deserter_expiration": 0, "deserter_count": 0});
                let path = format!("/v1/player/{}/deserter/{DESERTER}", bob.player);
                self.service.put(&path, &body).await.expect(200);
            }
            _ => {}
        }
    }

    /// A request for the operation.
    async fn scenario(&self, operation: &str) -> Scenario<'_> {
        self.prepare(operation).await;
        let of_session = self.of_session(operation).or_else(|| self.of_platform_session(operation));
        let found = of_session.or_else(|| self.of_player(operation)).or_else(|| self.of_inbox(operation));
        let found = match found.or_else(|| self.of_deserter(operation)) {
            Some(found) => Some(found),
            None => self.of_two_sessions(operation).await,
        };
        let Some((caller, method, path, body)) = found else {
            panic!("{operation} takes Idempotency-Key: add a request for it")
        };
        Scenario { caller, method, path, body }
    }

    fn of_session(&self, operation: &str) -> Option<Request<'_>> {
        let Self { alice, bob, carol, dave, game, .. } = self;
        let session = format!("/v1/session/{game}");
        let [browser, instance, queue] =
            ["browser", "instance", "queue"].map(|part| format!("{session}/{part}"));
        let data = json!({"custom_data": {"a": "b"}});
        let is_hosted = json!({"host_type": "player"});
        let event = json!({"event_name": "e", "session_id": game});
        let swapped = json!({"players": [bob.player, carol.player]});
        Some(match operation {
            "create_or_join_session" => (dave, Method::POST, "/v1/session".into(), creation("party")),
            "update_session_by_id" => (alice, Method::PATCH, session, data),
            "delete_session" => (alice, Method::DELETE, session, Value::Null),
            "update_team_by_id" => (alice, Method::PATCH, format!("{session}/team/0"), data),
            "generate_session_short_code" => {
                (alice, Method::POST, format!("{session}:generate-short-code"), Value::Null)
            }
            "swap_players_in_session" => (alice, Method::POST, format!("{session}/player:swap"), swapped),
            "post_browser_info" => (alice, Method::POST, browser, json!({})),
            "update_browser_info" => (alice, Method::PATCH, browser, data),
            "delete_browser_info" => (alice, Method::DELETE, browser, Value::Null),
            "acknowledge_backfill_request" => {
                let said = json!({"instance_id": "instance-1", "extensions": {"a": "b"}});
                (alice, Method::POST, format!("/v1/backfill/session/{game}"), said)
            }
            "update_backfill_request" => (
                alice,
                Method::PATCH,
                format!("/v1/backfill/session/{game}"),
                json!({"instance_id": "instance-1"}),
            ),
            "delete_backfill_request" => (
                alice,
                Method::DELETE,
                format!("/v1/backfill/session/{game}"),
                json!({"instance_id": "instance-1"}),
            ),
            "join_queue" => (alice, Method::POST, queue, json!({"queue_id": "casual"})),
            "leave_queue" => (alice, Method::DELETE, queue, Value::Null),
            "create_instance_request" => (alice, Method::POST, instance, is_hosted),
            "update_instance_info" => (alice, Method::PATCH, instance, json!({"version": "1.2"})),
            "end_instance" => (alice, Method::DELETE, instance, Value::Null),
            "create_session_audit" => (alice, Method::POST, "/v1/audit".into(), event),
            _ => return None,
        })
    }

    fn of_platform_session(&self, operation: &str) -> Option<Request<'_>> {
        let Self { alice, bob, dave, game, .. } = self;
        let link = link_path("XboxLive", XBOX_ID, game);
        let through = |player: &str| format!("{}/player/{player}", platform_path("XboxLive", XBOX_ID));
        let by_uuid = |player: &Client| through(&player.player.to_string());
        Some(match operation {
            "add_platform_session_to_rally_here_session" => (alice, Method::POST, link, Value::Null),
            "delete_platform_session_from_rally_here_session" => (alice, Method::DELETE, link, Value::Null),
            "join_session_by_platform_session_id_self" => (dave, Method::POST, through("me"), joining()),
            "join_session_by_platform_session_by_uuid" => (dave, Method::POST, by_uuid(dave), joining()),
            "leave_session_by_platform_session_self" => (bob, Method::DELETE, through("me"), Value::Null),
            "leave_session_by_platform_session_by_uuid" => (bob, Method::DELETE, by_uuid(bob), Value::Null),
            _ => return None,
        })
    }

    fn of_player(&self, operation: &str) -> Option<Request<'_>> {
        let Self { alice, bob, dave, game, .. } = self;
        let players = format!("/v1/session/{game}/player");
        let (me, by_id) = (format!("{players}/me"), format!("{players}/id/{DAVES_ID}"));
        let (named, deprecated) = (player_path(game, bob.player), format!("{players}/uuid/{}", bob.player));
        let (data, right) = (json!({"custom_data": {"a": "b"}}), right_path(game, bob.player, "kick"));
        let action = |client: &Client, name: &str| action_path(game, client.player, name);
        Some(match operation {
            "join_session_by_id_self" => (dave, Method::POST, me, joining()),
            "leave_session_by_id_self" => (bob, Method::DELETE, me, Value::Null),
            "update_session_player_by_uuid_v2" => (alice, Method::POST, named, json!({"status": "leader"})),
            "kick_player_from_session_by_uuid_v2" => (alice, Method::DELETE, named, Value::Null),
            "update_session_player_by_uuid" => (bob, Method::POST, deprecated, data),
            "kick_player_from_session_by_uuid" => (alice, Method::DELETE, deprecated, Value::Null),
            "update_session_player_by_id" => (dave, Method::POST, by_id, data),
            "kick_player_from_session_by_id" => (alice, Method::DELETE, by_id, Value::Null),
            "update_player_by_uuid_v2" => (bob, Method::POST, named.replacen("v1", "v2", 1), data),
            "invite_player_by_uuid_v2" => (alice, Method::POST, action(dave, "invite"), json!({})),
            "promote_player_by_uuid_v2" => (alice, Method::POST, action(bob, "promote"), Value::Null),
            "move_player_by_uuid_v2" => (alice, Method::POST, action(bob, "move"), json!({"team_id": 1})),
            "give_player_permission_by_uuid" => (alice, Method::PATCH, right, Value::Null),
            "remove_player_permission_by_uuid" => (alice, Method::DELETE, right, Value::Null),
            _ => return None,
        })
    }

    fn of_inbox(&self, operation: &str) -> Option<Request<'_>> {
        let alice = &self.alice_there;
        let body = json!({"notifications": [{"message": "hello"}]});
        Some(match operation {
            "player_create_notification_self" => {
                (alice, Method::POST, "/v1/player/me/notification".into(), body)
            }
            "player_create_notification" => {
                (alice, Method::POST, format!("/v1/player/{}/notification", alice.player), body)
            }
            _ => return None,
        })
    }

    fn of_deserter(&self, operation: &str) -> Option<Request<'_>> {
        let (service, all) = (&self.service, format!("/v1/player/{}/deserter", self.bob.player));
        let (one, nothing) = (format!("{all}/{DESERTER}"), Value::Null);
        let status = json!({"deserter_expiration": "2026-12-01T00:00:00Z", "deserter_count": 1});
        Some(match operation {
            "put_player_deserter" => (service, Method::PUT, one, status),
            "delete_player_deserter" => (service, Method::DELETE, one, nothing),
            "delete_all_player_deserter" => (service, Method::DELETE, all, nothing),
            "clear_all_deserter" => (service, Method::POST, "/v1/deserter:clear".into(), nothing),
            "clear_specific_deserter" => {
                (service, Method::POST, format!("/v1/deserter/{DESERTER}:clear"), nothing)
            }
            _ => return None,
        })
    }

    async fn of_two_sessions(&self, operation: &str) -> Option<Request<'_>> {
        let Self { alice, bob, dave, game, .. } = self;
        let session = format!("/v1/session/{game}");
        match operation {
            "invite_session_to_session" => {
                let party = dave.creates("party").await;
                dave.opens(&party).await;
                alice.joins(&party).await.expect(200);
                Some((alice, Method::POST, format!("{session}/invited-session/{party}:invite"), json!({})))
            }
            "kick_session_from_session" => {
                let party = bob.creates("party").await;
                Some((alice, Method::DELETE, format!("{session}/kicked-session/{party}"), Value::Null))
            }
            _ => None,
        }
    }
}

/// A caller, a method, a path and a body.
type Request<'a> = (&'a Client, Method, String, Value);

fn is_effect(key: &Key) -> bool {
    let (start, end) = keys::all_sessions();
    let is_session = (start..end).contains(key);
    let is_of_deserters = keys::parse_deserter(key).is_some() || keys::parse_deserters_cleared(key).is_some();
    is_session || is_of_deserters || keys::parse_inbox(key).is_some() || keys::parse_events(key).is_some()
}

/// The surfaces whose changes take keys.
fn surfaces() -> [Surface; 2] {
    [api::surface(), notifications::surface(false)]
}

#[tokio::test]
async fn each_operation_stores_its_answer_in_the_commit_of_its_effect() {
    let operations: Vec<_> = surfaces().into_iter().flat_map(|surface| surface.operations).collect();
    for operation in operations.iter().filter(|operation| operation.takes_key) {
        let id = operation.id;
        let world = World::new().await;
        let Scenario { caller, method, path, body } = world.scenario(id).await;
        let body = (!body.is_null()).then_some(&body);
        let mut commits = world.server.app.sessions.store().watch();
        let first = keyed(caller, "k", (method.clone(), &path), body).await;
        assert_eq!(first.status, operation.success, "{id}: {}", first.body);
        let (mut answers, mut effects) = (0, 0);
        while let Ok(commit) = commits.try_recv() {
            let stores_answer = commit.keys.iter().any(|key| keys::is_answer(key));
            let is_effective = commit.keys.iter().any(is_effect);
            assert!(!is_effective || stores_answer, "{id} has a part of its effect in a commit of its own");
            answers += usize::from(stores_answer);
            effects += usize::from(is_effective);
        }
        assert_eq!((answers, effects), (1, 1), "{id}: commits with answer and effect");

        let before = contents(&world.server).await;
        let repeat = keyed(caller, "k", (method, &path), body).await;
        is_repeat_of(&first, &repeat);
        assert_eq!(contents(&world.server).await, before, "{id}");
    }
}

#[test]
fn every_change_takes_a_key_but_those_that_repeat_safely() {
    let without: Vec<_> = surfaces()
        .into_iter()
        .flat_map(|surface| surface.operations)
        .filter(|operation| operation.method != Method::GET && !operation.takes_key)
        .map(|operation| operation.id)
        .collect();
    assert_eq!(without, ["create_matchmade_session", "instance_health_check"]);
}

#[tokio::test]
async fn without_a_key_nothing_is_stored_for_repeats() {
    let world = World::new().await;
    let stored = contents(&world.server).await;
    assert!(!stored.keys().any(|key| keys::is_answer(key)));
    let reply = world.bob.leaves(&world.game).await.expect(204);
    assert_eq!(replayed(&reply), None);
}
