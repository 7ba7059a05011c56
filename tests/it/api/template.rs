//! Reading session templates, and their effect on new sessions.

use rallypoint::config::Config;
use rallypoint::domain::instance::HostType;
use serde_json::{Value, json};

use crate::harness::{Client, Server};

#[tokio::test]
async fn templates_can_be_listed_and_read() {
    let server = Server::new();
    let alice = server.player();
    let all = alice.get("/v1/template").await.expect(200);
    let party = alice.get("/v1/template/party").await.expect(200);
    assert_eq!(all.body["templates"]["party"], party.body);
    assert_eq!(all.body["templates"].as_object().unwrap().len(), 2);
    let xbox = &party.body["platform_templates"]["XboxLive"];
    let expected = json!({
        "platform_id": 10, "platform": "XboxLive", "platform_session_type": "party", "max_players": 4, "custom_data": {},
    });
    assert_eq!(*xbox, expected);
    alice.get_if_none_match("/v1/template", &all.etag()).await.expect(304);
    alice.get_if_none_match("/v1/template/party", &party.etag()).await.expect(304);
    alice.get("/v1/template/raid").await.refused(404, "template_not_found");
    server.service(&["session:read:config"]).get("/v1/template").await.expect(200);
    server.service(&["session:create"]).get("/v1/template").await.refused(403, "permission_denied");
}

/// A configuration with a session template that sets every field.
const RAID: &str = r#"
[instance_templates.6f1b5f0e-35a4-4b9f-8b63-5a1a6f1c2d3e]
default_host_type = "player"
map_selection_list_id = "all"
maps = [{ map_id = "1", map_name = "Hills", map_weight = 1.0 }]

[templates.raid]
session_type = "raid"
engine_session_type = "Game"
can_join_matchmaking = true
can_be_created_by_players_directly = true
joinable = true
attempt_auto_join = true
default_public = true
auto_add_to_browser = true
auto_browser_params = { sky = "red" }
can_be_added_to_server_browser = true
keep_alive_on_empty = true
auto_startup_params = { map = "Dunes", mode = "arena", misc_params = "-log", custom_data = { sky = "red" } }
min_session_count = 2
custom_data = { tier = "gold" }
num_teams = 2
players_per_team = 3
can_change_own_team = false
notify_on_reservation = false
player_visibility = "TEAM"
admin_player_visibility = "SELF"
player_notification_frequency = "NONE"
admin_player_notification_frequency = "TEAM"
player_culling_timeout = 600

[templates.raid.platform_templates.XboxLive]
platform_id = 10
platform = "XboxLive"
platform_session_type = "raid"
max_players = 6
custom_data = { icon = "sun" }
"#;

fn with_raid(config: &mut Config) {
    *config = Config::parse(RAID, "raid.toml", &[]).unwrap();
}

#[tokio::test]
async fn a_template_shows_every_field_as_configured() {
    let server = Server::with(with_raid);
    let shown = server.player().get("/v1/template/raid").await.expect(200).body;
    let written: toml::Table = RAID.parse().unwrap();
    assert_eq!(shown, serde_json::to_value(&written["templates"]["raid"]).unwrap());
    // The deprecated field name alone is enough.
    let renamed = RAID.replace("attempt_auto_join = true\n", "");
    let server = Server::with(|config| *config = Config::parse(&renamed, "raid.toml", &[]).unwrap());
    let shown = server.player().get("/v1/template/raid").await.expect(200).body;
    assert_eq!((&shown["joinable"], &shown["attempt_auto_join"]), (&json!(true), &json!(true)));
    let (alice, bob) = (server.player(), server.player());
    assert_eq!(alice.creates("raid").await, bob.creates("raid").await);
}

/// The instance of a new session that alice creates.
async fn starts_with(alice: &Client) -> Value {
    let session = alice.creates("raid").await;
    let started = alice.session(&session).await.expect(200).body["instance"].clone();
    // It is a normal instance: a second one is refused, and it can be ended.
    let path = format!("/v1/session/{session}/instance");
    alice.post(&path, &json!({})).await.refused(403, "instance_exists");
    alice.delete(&path).await.expect(204);
    alice.leaves(&session).await.expect(204);
    started
}

#[tokio::test]
async fn a_session_starts_with_the_instance_of_its_template() {
    let server = Server::with(|config| {
        with_raid(config);
        config.templates.get_mut("raid").unwrap().keep_alive_on_empty = false;
    });
    let alice = server.player();
    let started = starts_with(&alice).await;
    let startup =
        json!({"map": "Dunes", "mode": "arena", "misc_params": "-log", "custom_data": {"sky": "red"}});
    assert_eq!(
        (&started["host_type"], &started["join_status"], &started["instance_startup_params"]),
        (&json!("dedicated"), &json!("requested"), &startup)
    );

    // An instance template overrides the startup parameters.
    let server = Server::with(|config| {
        with_raid(config);
        let id = *config.instance_templates.keys().next().unwrap();
        assert_eq!(config.instance_templates[&id].default_host_type, HostType::Player);
        let raid = config.templates.get_mut("raid").unwrap();
        (raid.keep_alive_on_empty, raid.auto_startup_instance_template_id) = (false, Some(id));
    });
    let alice = server.player();
    let started = starts_with(&alice).await;
    assert_eq!(
        (&started["host_player_uuid"], &started["instance_startup_params"]["map"]),
        (&json!(alice.player), &json!("Hills"))
    );
}
