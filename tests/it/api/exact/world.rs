//! A session in which each write with `If-Match` can be made.

use http::Method;
use serde_json::{Value, json};

use crate::api::backfill::{hosts, start_backfill};
use crate::api::queue::open_queues;
use crate::harness::{
    Client, Server, action_path, creation, joining, link_path, platform_path, player_path, right_path,
};

/// A game that alice leads, with bob and dan as members on different teams, and carol outside. Bob leads a party.
pub struct World {
    pub alice: Client,
    pub bob: Client,
    pub carol: Client,
    pub dan: Client,
    /// The older id of bob.
    number: i64,
    pub session: String,
    party: String,
}

impl World {
    /// The world in which this operation can be called.
    pub async fn of(server: &Server, id: &str) -> Self {
        let number = i64::from(u32::from_le_bytes(server.app.entropy.bytes()));
        let [alice, carol, dan] = [(); 3].map(|()| server.player());
        let bob = server.player_numbered(number);
        // In a region of its own, so that the game of another world is not joined.
        let mut game = creation("game");
        game["region_id"] = json!(alice.player);
        let session = alice.post("/v1/session", &game).await.expect(200).body["session_id"].clone();
        let session = session.as_str().unwrap().to_owned();
        alice.opens(&session).await;
        bob.joins_team(&session, 1).await.expect(200);
        dan.joins_team(&session, 0).await.expect(200);
        let party = bob.creates("party").await;
        let world = Self { alice, bob, carol, dan, number, session, party };
        if id.ends_with("_queue") {
            open_queues(server);
        }
        world.prepare(id).await;
        world
    }

    async fn prepare(&self, id: &str) {
        let Self { alice, bob, carol, session, party, .. } = self;
        match id {
            "add_platform_session_to_rally_here_session" => {}
            _ if id.contains("platform") => drop(alice.post(&self.link(), &Value::Null).await.expect(200)),
            "update_browser_info" | "delete_browser_info" => {
                alice.post(&self.at("/browser"), &json!({})).await.expect(200);
            }
            "update_instance_info" | "end_instance" => {
                alice.post(&self.at("/instance"), &json!({"host_type": "player"})).await.expect(200);
            }
            "leave_queue" => {
                alice.post(&self.at("/queue"), &json!({"queue_id": "casual"})).await.expect(200);
            }
            "remove_player_permission_by_uuid" => {
                alice.gives_right(session, bob, "kick").await.expect(200);
            }
            _ if id.ends_with("_backfill_request") => {
                hosts(alice, session).await;
                start_backfill(&alice.server, session).await;
            }
            "invite_session_to_session" => {
                bob.invites(party, carol).await.expect(200);
                carol.joins(party).await.expect(200);
                alice.gives_right(session, bob, "invite").await.expect(200);
            }
            _ => {}
        }
    }

    fn at(&self, rest: &str) -> String {
        format!("/v1/session/{}{rest}", self.session)
    }

    /// The platform session, which has the id of the session: each is linked once.
    fn xbox(&self, rest: &str) -> String {
        platform_path("XboxLive", &self.session) + rest
    }

    fn backfill(&self) -> String {
        format!("/v1/backfill/session/{}", self.session)
    }

    fn link(&self) -> String {
        link_path("XboxLive", &self.session, &self.session)
    }

    /// The caller, the method, the path and the body of an operation.
    pub fn call(&self, id: &str) -> (&Client, Method, String, Value) {
        let Self { alice, bob, carol, dan, number, session, party } = self;
        let (post, patch, delete) = (Method::POST, Method::PATCH, Method::DELETE);
        let data = json!({"custom_data": {"map": "harbor"}});
        let of_bob = |action| action_path(session, bob.player, action);
        let (by_uuid, by_number) = (format!("/player/uuid/{}", bob.player), format!("/player/id/{number}"));
        let [bobs, carols] = [bob, carol].map(|player| format!("/player/{}", player.player));
        let (null, of_instance) = (Value::Null, json!({"instance_id": "instance-1"}));
        let confirmation = json!({"instance_id": "instance-1", "extensions": {"a": "b"}});
        match id {
            "update_session_by_id" => (alice, patch, self.at(""), data),
            "delete_session" => (alice, delete, self.at(""), null),
            "update_team_by_id" => (alice, patch, self.at("/team/1"), data),
            "generate_session_short_code" => (alice, post, self.at(":generate-short-code"), null),
            "add_platform_session_to_rally_here_session" => (alice, post, self.link(), null),
            "delete_platform_session_from_rally_here_session" => (alice, delete, self.link(), null),
            "join_session_by_platform_session_id_self" => (carol, post, self.xbox("/player/me"), joining()),
            "leave_session_by_platform_session_self" => (bob, delete, self.xbox("/player/me"), null),
            "join_session_by_platform_session_by_uuid" => (carol, post, self.xbox(&carols), joining()),
            "leave_session_by_platform_session_by_uuid" => (bob, delete, self.xbox(&bobs), null),
            "join_session_by_id_self" => (carol, post, self.at("/player/me"), joining()),
            "leave_session_by_id_self" => (bob, delete, self.at("/player/me"), null),
            "swap_players_in_session" => {
                (alice, post, self.at("/player:swap"), json!({"players": [bob.player, dan.player]}))
            }
            "update_session_player_by_uuid_v2" => (alice, post, self.at(&bobs), data),
            "kick_player_from_session_by_uuid_v2" => (alice, delete, self.at(&bobs), null),
            "update_session_player_by_uuid" => (alice, post, self.at(&by_uuid), data),
            "kick_player_from_session_by_uuid" => (alice, delete, self.at(&by_uuid), null),
            "update_session_player_by_id" => (alice, post, self.at(&by_number), data),
            "kick_player_from_session_by_id" => (alice, delete, self.at(&by_number), null),
            "update_player_by_uuid_v2" => (alice, post, format!("/v2/session/{session}{bobs}"), data),
            "invite_player_by_uuid_v2" => {
                (alice, post, action_path(session, carol.player, "invite"), json!({}))
            }
            "promote_player_by_uuid_v2" => (alice, post, of_bob("promote"), null),
            "move_player_by_uuid_v2" => (alice, post, of_bob("move"), json!({"team_id": 0})),
            "invite_session_to_session" => {
                (bob, post, self.at(&format!("/invited-session/{party}:invite")), json!({}))
            }
            "kick_session_from_session" => {
                (alice, delete, self.at(&format!("/kicked-session/{party}")), null)
            }
            "give_player_permission_by_uuid" => (alice, patch, right_path(session, bob.player, "kick"), null),
            "remove_player_permission_by_uuid" => {
                (alice, delete, right_path(session, bob.player, "kick"), null)
            }
            "post_browser_info" => (alice, post, self.at("/browser"), json!({})),
            "update_browser_info" => (alice, patch, self.at("/browser"), data),
            "delete_browser_info" => (alice, delete, self.at("/browser"), null),
            "acknowledge_backfill_request" => (alice, post, self.backfill(), confirmation),
            "update_backfill_request" => (alice, patch, self.backfill(), of_instance),
            "delete_backfill_request" => (alice, delete, self.backfill(), of_instance),
            "join_queue" => (alice, post, self.at("/queue"), json!({"queue_id": "casual"})),
            "leave_queue" => (alice, delete, self.at("/queue"), null),
            "create_instance_request" => (alice, post, self.at("/instance"), json!({})),
            "update_instance_info" => {
                (alice, patch, self.at("/instance"), json!({"join_status": "joinable"}))
            }
            "end_instance" => (alice, delete, self.at("/instance"), null),
            _ => panic!("add a case for {id}"),
        }
    }

    /// The resources of an operation.
    pub fn resources(&self, id: &str) -> Vec<String> {
        let (session, of_bob) = (self.at(""), player_path(&self.session, self.bob.player));
        if id.ends_with("_queue") || id.ends_with("_backfill_request") {
            vec![session]
        } else if id.contains("platform") {
            vec![self.xbox(""), session]
        } else if id.contains("permission") {
            vec![session, of_bob.clone(), of_bob + "/permission"]
        } else if id.starts_with("join") || id.starts_with("invite_player") {
            vec![session, player_path(&self.session, self.carol.player)]
        } else if (id.contains("player") || id.starts_with("leave")) && !id.starts_with("swap") {
            vec![session, of_bob]
        } else {
            vec![session]
        }
    }
}
