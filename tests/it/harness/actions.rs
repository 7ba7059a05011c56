//! Actions of players on other players of a session, and helpers to read the results.

use http::Method;
use rallypoint::auth::{AccessGrant, LoginKey};
use rallypoint::domain::Platform;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Client, LOGIN_KEY, Reply, Server, grant, player_permissions};

impl Server {
    /// A service that logs in as this client, with these permissions.
    pub fn service_named(&self, client_id: &str, permissions: &[&str]) -> Client {
        let access = AccessGrant {
            grant: grant(None, None, permissions),
            client_id: client_id.to_owned(),
            name: None,
            token_id: Uuid::nil(),
        };
        self.bearer(LoginKey::from_pem(LOGIN_KEY).unwrap().sign(&access, self.clock.now()))
    }
}

impl Client {
    /// The same player with another token, on a platform and with these permissions.
    pub fn with_token(&self, platform: Platform, permissions: &[&str]) -> Self {
        let granted = grant(Some(self.player), Some(platform), permissions);
        Self { token: Some(self.server.token(&granted)), ..self.clone() }
    }

    /// The same player without the permissions to read, on an Xbox.
    pub fn without_reading(&self) -> Self {
        let permissions = player_permissions().into_iter().filter(|name| !name.contains("read"));
        self.with_token(Platform::XboxLive, &permissions.collect::<Vec<_>>())
    }

    /// Sends a PUT.
    pub async fn put(&self, path: &str, body: &Value) -> Reply {
        self.send(Method::PUT, path, &[], Some(body.to_string().into())).await
    }

    /// Invites another player to a session.
    pub async fn invites(&self, session_id: &str, other: &Self) -> Reply {
        self.invites_with(session_id, other, json!({})).await
    }

    /// Invites another player to a session, with this body.
    pub async fn invites_with(&self, session_id: &str, other: &Self, options: Value) -> Reply {
        self.post(&action_path(session_id, other.player, "invite"), &options).await
    }

    /// Makes another player the leader.
    pub async fn promotes(&self, session_id: &str, other: &Self) -> Reply {
        self.send(Method::POST, &action_path(session_id, other.player, "promote"), &[], None).await
    }

    /// Moves a player to a team.
    pub async fn moves(&self, session_id: &str, other: &Self, team_id: u64) -> Reply {
        self.post(&action_path(session_id, other.player, "move"), &json!({ "team_id": team_id })).await
    }

    /// Swaps the teams of two players.
    pub async fn swaps(&self, session_id: &str, one: &Self, other: &Self) -> Reply {
        let body = json!({"players": [one.player, other.player]});
        self.post(&format!("/v1/session/{session_id}/player:swap"), &body).await
    }

    /// Kicks another player from a session.
    pub async fn kicks(&self, session_id: &str, other: &Self) -> Reply {
        self.delete(&player_path(session_id, other.player)).await
    }

    /// Gives another player a right.
    pub async fn gives_right(&self, session_id: &str, other: &Self, right: &str) -> Reply {
        self.patch(&right_path(session_id, other.player, right), &Value::Null).await
    }

    /// Changes a player by the deprecated operation that published clients use.
    pub async fn updates(&self, session_id: &str, other: &Self, body: Value) -> Reply {
        self.post(&format!("/v1/session/{session_id}/player/uuid/{}", other.player), &body).await
    }

    /// Joins a session on a team.
    pub async fn joins_team(&self, session_id: &str, team_id: u64) -> Reply {
        let mut body = super::joining();
        body["team_id"] = json!(team_id);
        self.post(&format!("/v1/session/{session_id}/player/me"), &body).await
    }

    /// A player's entry in a session as this caller sees it, with its team id added; null if there is none.
    pub async fn sees(&self, session_id: &str, other: &Self) -> Value {
        let seen = self.session(session_id).await.expect(200).body;
        let teams = seen["teams"].as_array().unwrap().iter();
        let mut entries = teams.flat_map(|team| {
            let entries = team["players"].as_array().unwrap().clone().into_iter();
            entries.map(|mut entry| {
                entry["team_id"] = team["team_id"].clone();
                entry
            })
        });
        entries.find(|entry| entry["player_uuid"] == json!(other.player)).unwrap_or_default()
    }

    /// A player's status and team in a session, as this caller sees them.
    pub async fn sees_status_and_team(&self, session_id: &str, other: &Self) -> (Value, Value) {
        let entry = self.sees(session_id, other).await;
        (entry["status"].clone(), entry["team_id"].clone())
    }

    /// The part of the caller's session list for a session type; null if there is none.
    pub async fn own_list(&self, session_type: &str) -> Value {
        self.get("/v1/player/me/session").await.expect(200).body["sessions"][session_type].clone()
    }

    /// Asserts that the ETag in the reply to a change is the ETag that this caller now reads.
    pub async fn reads_etag_of(&self, session_id: &str, changed: &Reply) {
        let path = format!("/v1/session/{session_id}?refresh_ttl=false");
        let read = self.get(&path).await.expect(200);
        assert_eq!(changed.etag(), read.etag(), "the ETag of an older or another version");
        self.get_if_none_match(&path, &changed.etag()).await.expect(304);
    }
}

impl Reply {
    /// The status and team in a reply.
    pub fn status_and_team(&self) -> (Value, Value) {
        (self.body["status"].clone(), self.body["team_id"].clone())
    }
}

/// A status and a team, as [`Reply::status_and_team`] returns them.
pub fn status_and_team(status: &str, team_id: u64) -> (Value, Value) {
    (json!(status), json!(team_id))
}

/// The path of a player of a session.
pub fn player_path(session_id: &str, player: Uuid) -> String {
    format!("/v1/session/{session_id}/player/{player}")
}

/// The path of an action on a player of a session, such as `invite`.
pub fn action_path(session_id: &str, player: Uuid, action: &str) -> String {
    format!("/v2/session/{session_id}/player/{player}:{action}")
}

/// The path of a right of a player.
pub fn right_path(session_id: &str, player: Uuid, right: &str) -> String {
    format!("{}/permission/{right}", player_path(session_id, player))
}
