//! Valid bodies of all operations, which the fuzz tests change.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{creation, joining};

/// A body that the operation accepts.
pub fn valid(method: &Method, path: &str, prefix: &str) -> Value {
    if prefix == "/presence" {
        return json!({
            "status": "online", "message": "hi", "do_not_disturb": true, "custom_data": { "platform": "b" },
        });
    }
    if let Some(body) = of_matchmaking(method, path) {
        return body;
    }
    if *method == Method::PATCH {
        return json!({
            "region_id": "eu", "custom_data": { "a": "b" }, "joinable": true, "password": "x",
            "joinability": { "open": true, "friends": false, "platform": true },
            "teams": [{ "max_size": 3, "custom_data": { "a": "b" } }, {}],
        });
    }
    if path.ends_with("/login") {
        return json!({
            "grant_type": "anon", "portal_access_token": "ann", "portal_display_name": "Ann", "include_refresh": true,
        });
    }
    if path.ends_with("/logout") {
        return json!({ "refresh_token": "x" });
    }
    let player = "6f1c4d0e-93a5-4a1e-8d6c-2f0b7a9e5c31";
    if path.ends_with("/audit") {
        return json!({
            "event_name": "join", "session_id": "none", "player_uuid": player, "custom_data": { "a": "b" },
        });
    }
    if path.ends_with("/notification") {
        return json!({ "notifications": [
            { "message": "m", "rh_url": "/u", "etag": "\"e\"", "custom_data": { "a": "b" } },
            { "message": "" },
        ] });
    }
    if path.ends_with("/match-made-session") {
        return a_match(player);
    }
    if path.ends_with("player:swap") {
        return json!({ "players": [player, "6f1c4d0e-93a5-4a1e-8d6c-2f0b7a9e5c32"] });
    }
    if path.ends_with("/instance/health") {
        return json!({ "instance_id": "an-instance", "instance_health": "healthy" });
    }
    if path.ends_with("/instance") {
        return json!({
            "host_type": "player", "instance_id": "an-instance", "allocation_id": "an-allocation",
            "instance_startup_params": { "map": "m", "mode": "o" }, "custom_data": { "a": "b" },
        });
    }
    if path.ends_with(":invite") || path.ends_with(":move") || path.ends_with("/browser") {
        return json!({ "team_id": 0, "custom_data": { "a": "b" }, "reserve": true });
    }
    let mut join = joining();
    join["crossplay_preferences"] = json!({ "input": ["any"], "platform": ["any"] });
    join["custom_data"] = json!({ "a": "b" });
    if !path.ends_with("/session") {
        return join;
    }
    let mut create = creation("party");
    create["player"] = join;
    create
}

/// A body of an operation about deserters or queues.
fn of_matchmaking(method: &Method, path: &str) -> Option<Value> {
    if path.contains("/backfill/") {
        return Some(json!({
            "instance_id": "an-instance", "overflow_action": "fail", "styles": ["composition"], "extensions": { "a": "b" },
            "teams": [{ "team_id": 0, "players_required": 1 }], "additional_join_params": { "tags": ["t"] },
        }));
    }
    if *method == Method::PUT {
        return Some(json!({
            "deserter_expiration": "2026-12-01T00:00:00Z", "deserter_reset": 1_796_169_600, "deserter_count": 1,
            "custom_data": { "a": "b" },
        }));
    }
    if path.ends_with("/queue") {
        return Some(json!({
            "queue_id": "casual", "queue_ids": ["casual"], "map_preferences": ["m"], "passed_queue_time_seconds": 1,
            "additional_join_params": {
                "double_args": { "a": 1.5 }, "string_args": { "a": "b" }, "tags": ["t"], "extensions": { "a": "AAE=" },
            },
        }));
    }
    None
}

/// A match that the schema allows, with this player.
fn a_match(player: &str) -> Value {
    json!({
        "teams": [{ "players": [{ "player_uuid": player, "status": "invited" }], "max_size": 2, "team_id": 0 }],
        "session_tickets": { "none": player }, "sessions": ["none"], "region_id": "eu", "match_id": "m",
        "match_create_request_time": 1_795_521_600, "match_making_profile_id": "none", "custom_data": { "a": "b" },
        "ticket_added_unix_time": { "t": 1.5 },
    })
}
