//! A request for each operation that changes something, with what it needs before it. Tests of all changes use it, so a new
//! operation fails them until it has a request here.

use http::Method;
use rallypoint::notifications;
use rallypoint::store::{Memory, Store};
use serde_json::{Value, json};

use super::backfill::{hosts, start_backfill};
use super::queue::{DESERTER, open_queues};
use crate::harness::{
    Client, Server, XBOX_ID, action_path, creation, joining, link_path, platform_path, player_path,
    right_path,
};

/// A text in every field of these requests that holds a secret. Nobody else may ever find it.
pub const SECRET: &str = "a-secret-of-these-requests";

/// A request that changes something.
pub struct Scenario<'a> {
    pub caller: &'a Client,
    pub method: Method,
    pub path: String,
    pub body: Value,
}

/// Alice leads an open game. Bob and carol are members on different teams. Dave is outside.
pub struct World {
    pub server: Server,
    pub alice: Client,
    pub bob: Client,
    pub carol: Client,
    pub dave: Client,
    /// Alice, at the notification service.
    alice_there: Client,
    /// A game server.
    service: Client,
    pub game: String,
}

/// The numeric id of dave.
const DAVES_ID: i64 = 7;

impl World {
    /// The sessions and players, on a store of their own.
    pub async fn new() -> Self {
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
            "instance_health_check" => hosts(alice, game).await,
            "acknowledge_backfill_request" | "update_backfill_request" | "delete_backfill_request" => {
                hosts(alice, game).await;
                start_backfill(&self.server, game).await;
            }
            "leave_queue" | "create_matchmade_session" => {
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
    pub async fn scenario(&self, operation: &str) -> Scenario<'_> {
        self.prepare(operation).await;
        let of_session = self.of_session(operation).or_else(|| self.of_platform_session(operation));
        let found = of_session.or_else(|| self.of_player(operation)).or_else(|| self.of_inbox(operation));
        let found = match found.or_else(|| self.of_deserter(operation)) {
            Some(found) => Some(found),
            None => self.of_two_sessions(operation).await,
        };
        let Some((caller, method, path, body)) = found else {
            panic!("{operation} changes something: add a request for it")
        };
        Scenario { caller, method, path, body }
    }

    fn of_session(&self, operation: &str) -> Option<Request<'_>> {
        let Self { alice, bob, carol, dave, game, .. } = self;
        let session = format!("/v1/session/{game}");
        let [browser, instance, queue] =
            ["browser", "instance", "queue"].map(|part| format!("{session}/{part}"));
        let data = json!({"custom_data": {"a": "b"}});
        let locked = json!({"custom_data": {"a": SECRET}, "password": SECRET});
        let is_hosted = json!({"host_type": "player", "custom_data": {"a": SECRET}});
        let params =
            json!({"public_conn_str": SECRET, "private_conn_str": SECRET, "custom_data": {"a": SECRET}});
        let is_joinable = json!({"join_status": "joinable", "join_params": params});
        let event = json!({"event_name": "e", "session_id": game, "join_params": params});
        let swapped = json!({"players": [bob.player, carol.player]});
        Some(match operation {
            "create_or_join_session" => {
                let mut party = creation("party");
                party["password"] = json!(SECRET);
                (dave, Method::POST, "/v1/session".into(), party)
            }
            "create_matchmade_session" => {
                (&self.service, Method::POST, "/v1/match-made-session".into(), self.match_of_alice())
            }
            "update_session_by_id" => (alice, Method::PATCH, session, locked),
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
            "update_instance_info" => (alice, Method::PATCH, instance, is_joinable),
            "instance_health_check" => {
                let report = json!({"instance_id": "instance-1", "instance_health": "healthy"});
                (&self.service, Method::POST, format!("{instance}/health"), report)
            }
            "end_instance" => (alice, Method::DELETE, instance, Value::Null),
            "create_session_audit" => (alice, Method::POST, "/v1/audit".into(), event),
            _ => return None,
        })
    }

    /// A match of alice and dave, who is in no queue.
    fn match_of_alice(&self) -> Value {
        let team = |player: &Client| json!({"players": [{"player_uuid": player.player, "status": "invited"}], "max_size": 1});
        json!({
            "teams": [team(&self.alice), team(&self.dave)], "sessions": [self.game], "region_id": "default",
            "match_id": "m1", "match_create_request_time": "2026-11-23T12:00:30Z",
            "match_making_profile_id": "4v4", "backfill_id": "b1", "evaluation_score": 0.5, "rank_quality": 0.25,
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
            "leave_session_by_id_self" => (bob, Method::DELETE, me + "?reason=bored", Value::Null),
            "update_session_player_by_uuid_v2" => (alice, Method::POST, named, json!({"status": "leader"})),
            "kick_player_from_session_by_uuid_v2" => {
                (alice, Method::DELETE, named + "?reason=afk", Value::Null)
            }
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
