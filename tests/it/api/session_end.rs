//! After the end of a session nothing of it is left, in the store or in memory, however it ended.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Client, Server, XBOX_ID, leftovers, platform_path};

/// A game led by alice that is in every index, and a party that alice is in too.
struct IndexedGame {
    server: Server,
    alice: Client,
    invited: Client,
    reserved: Client,
    game: String,
    party: String,
    code: String,
}

impl IndexedGame {
    async fn new() -> Self {
        let server = Server::with(|config| {
            config.templates.get_mut("game").unwrap().player_culling_timeout = Some(60);
            config.templates.get_mut("party").unwrap().keep_alive_on_empty = true;
        });
        let (alice, invited, reserved) = (server.lasting_player(), server.player(), server.player());
        let game = alice.creates("game").await;
        let party = alice.creates("party").await;
        alice.links(&game).await.expect(200);
        alice.invites(&game, &invited).await.expect(200);
        alice.updates(&game, &reserved, json!({"status": "reserved"})).await.expect(200);
        let path = format!("/v1/session/{game}");
        alice.post(&format!("{path}/browser"), &json!({})).await.expect(200);
        alice.post(&format!("{path}/instance"), &json!({"instance_id": "i"})).await.expect(200);
        alice.patch(&format!("{path}/instance"), &json!({"allocation_id": "a1"})).await.expect(200);
        let report = json!({"instance_health": "healthy", "instance_id": "i"});
        let host = server.service(&["session:instance:health"]);
        host.post(&format!("{path}/instance/health"), &report).await.expect(200);
        let code = alice.post(&format!("{path}:generate-short-code"), &Value::Null).await.expect(200);
        let code = code.body["short_code"].as_str().unwrap().to_owned();
        Self { server, alice, invited, reserved, game, party, code }
    }

    /// Asserts that the game is gone everywhere and for every caller.
    async fn is_gone_everywhere(&self) {
        let admin = self.server.service(&["session:*"]);
        for named in [&self.game, &self.code] {
            admin.session(named).await.refused(404, "session_not_found");
        }
        let platform = platform_path("XboxLive", XBOX_ID);
        admin.get(&platform).await.refused(404, "platform_session_not_found");
        admin.get("/v1/session/allocation/a1").await.refused(404, "session_not_found");
        let listed = admin.get("/v1/browser?session_type=game").await.expect(200).body;
        assert_eq!(listed["browser_sessions"], json!([]));
        for player in [&self.alice, &self.invited, &self.reserved] {
            let list = admin.get(&format!("/v1/player/{}/session", player.player)).await.expect(200).body;
            assert!(list["sessions"].get("game").is_none(), "{list}");
        }
        admin.delete(&format!("/v1/session/{}", self.party)).await.expect(204);
        // Only the last listing number stays in the store.
        assert_eq!(leftovers(&self.server).await.len(), 1);
        if self.server.nodes().count() > 1 {
            // Other nodes forget a session when they examine it the next time.
            self.server.advance(Duration::from_secs(3600)).await;
        }
        assert_eq!(self.server.nodes().map(|node| node.app.presence.watched_count()).sum::<usize>(), 0);
    }
}

#[tokio::test]
async fn a_deleted_session_leaves_nothing_behind() {
    let ended = IndexedGame::new().await;
    ended.alice.delete(&format!("/v1/session/{}", ended.game)).await.expect(204);
    ended.is_gone_everywhere().await;
    let ended = IndexedGame::new().await;
    let service = ended.server.service(&["session:delete:any"]);
    service.delete(&format!("/v1/session/{}", ended.code)).await.expect(204);
    ended.is_gone_everywhere().await;
}

#[tokio::test]
async fn a_session_leaves_nothing_behind_after_its_last_player_leaves() {
    let ended = IndexedGame::new().await;
    ended.alice.leaves(&ended.game).await.expect(204);
    ended.is_gone_everywhere().await;
    let ended = IndexedGame::new().await;
    ended.alice.delete(&format!("{}/player/me", platform_path("XboxLive", XBOX_ID))).await.expect(204);
    ended.is_gone_everywhere().await;
}

#[tokio::test]
async fn a_session_leaves_nothing_behind_after_its_last_player_is_kicked() {
    let ended = IndexedGame::new().await;
    ended.server.service(&["session:update-player:any"]).kicks(&ended.game, &ended.alice).await.expect(204);
    ended.is_gone_everywhere().await;
    let ended = IndexedGame::new().await;
    let path = format!("/v1/session/{}/kicked-session/{}", ended.game, ended.party);
    ended.server.service(&["session:update-player:any"]).delete(&path).await.expect(204);
    ended.is_gone_everywhere().await;
}

#[tokio::test]
async fn a_session_leaves_nothing_behind_after_its_last_player_is_inactive() {
    let ended = IndexedGame::new().await;
    ended.server.advance(Duration::from_secs(60)).await;
    ended.is_gone_everywhere().await;
}

#[tokio::test]
async fn an_idle_session_leaves_nothing_behind() {
    let ended = IndexedGame::new().await;
    let (deadline, path) = (Duration::from_secs(3600 * 9 / 8), format!("/v1/session/{}", ended.party));
    // The party is read, the game is not.
    ended.server.clock.advance(deadline - Duration::from_secs(1));
    ended.alice.get(&path).await.expect(200);
    ended.server.advance(Duration::from_secs(1)).await;
    ended.is_gone_everywhere().await;
}
