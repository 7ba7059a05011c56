//! Reading the matchmaking of the configuration: queues, template groups, profiles and deserter configurations.

use rallypoint::config::Config;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Client, Reply, Server, fits};
use crate::promises::published::published_contracts;

const GROUP: &str = "00000000-0000-4000-8000-0000000000a1";
const OTHER_GROUP: &str = "00000000-0000-4000-8000-0000000000a2";
const RANK: &str = "00000000-0000-4000-8000-0000000000f1";
const DESERTER: &str = "00000000-0000-4000-8000-0000000000d1";
const INSTANCE: &str = "00000000-0000-4000-8000-0000000000c1";

const FILE: &str = r#"
[backfill]
ack_every_s = 5
expire_after_s = 45

[ranks.00000000-0000-4000-8000-0000000000f1]
[deserters.00000000-0000-4000-8000-0000000000d1]
[instance_templates.00000000-0000-4000-8000-0000000000c1]
map_selection_list_id = "all"
maps = [{ map_id = "1", map_name = "Dunes", map_weight = 1.0 }]

[queues.casual]
max_queue_group_size = 5
match_making_template_group_id = "00000000-0000-4000-8000-0000000000a1"
ranking_type = 3
legacy_config = { icon = "sword" }
[queues.ranked]
match_making_template_group_id = "00000000-0000-4000-8000-0000000000a2"
[queues.closed]
active = false
match_making_template_group_id = "00000000-0000-4000-8000-0000000000a2"
[queues.arena]
match_making_template_group_id = "00000000-0000-4000-8000-0000000000a2"

[[match_making_template_groups.00000000-0000-4000-8000-0000000000a1.templates]]
match_making_template_id = "00000000-0000-4000-8000-0000000000b1"
mmr_grouping_method = "worst"
profiles = ["duel", "4v4"]
[match_making_template_groups.00000000-0000-4000-8000-0000000000a1.templates.ruleset]
determiner = "anyOf"
players_to_validate = "all_members"
rules = [
  { rule_type = "Inventory", comparison_operation = "ge", comparison_value = 1, item_id = 9 },
  { rule_type = "InventoryLevel", comparison_operation = "lt", comparison_value = 3, item_id = 7 },
  { rule_type = "RegionList", comparison_operation = "in_set", comparison_value_set = ["uk", "eu"] },
]
[[match_making_template_groups.00000000-0000-4000-8000-0000000000a1.templates]]
profiles = ["4v4"]
[[match_making_template_groups.00000000-0000-4000-8000-0000000000a2.templates]]
profiles = ["duel"]

[match_making_profiles.duel]
session_type = "party"
[match_making_profiles.4v4]
session_type = "game"
join_mode = "backfill"
instance_request_template_id = "00000000-0000-4000-8000-0000000000c1"
rank_id = "00000000-0000-4000-8000-0000000000f1"
deserter_id = "00000000-0000-4000-8000-0000000000d1"
min_players_per_side = 3
max_players_per_side = 4
custom_data = { mood = "casual" }
legacy_config = { speed = 2, name = "old", flags = ["a"] }
"#;

fn server() -> Server {
    Server::with(|config| {
        let file = Config::parse(FILE, "test", &[]).unwrap();
        *config = Config { templates: config.templates.clone(), ..file };
    })
}

/// The id that follows from the type of sessions. It must never change: clients store it.
fn template_id(session_type: &str) -> Uuid {
    let namespace = Uuid::new_v5(&Uuid::NAMESPACE_DNS, b"players.rallypoint.invalid");
    Uuid::new_v5(&namespace, format!("session-template:{session_type}").as_bytes())
}

/// Reads a path, and again with the ETag of the answer. Checks the answer against the published contract, if there is a
/// copy of it. `path` is that of the operation.
async fn read(caller: &Client, at: &str, path: &str) -> Value {
    let reply = caller.get(at).await.expect(200);
    caller.get_if_none_match(at, &reply.etag()).await.expect(304);
    caller.get_if_none_match(at, "\"another\"").await.expect(200);
    check(&reply, path);
    reply.body
}

fn check(reply: &Reply, path: &str) {
    let Some(contracts) = published_contracts() else { return };
    let contract = contracts.iter().find(|contract| contract["servers"][0]["url"] == "/session").unwrap();
    let response = &contract["paths"][path]["get"]["responses"]["200"];
    fits(contract, &response["content"]["application/json"]["schema"], &reply.body, path);
}

#[tokio::test]
async fn without_queues_there_is_no_matchmaking() {
    let server = Server::new();
    let alice = server.player();
    for path in ["/v1/queues", "/v2/queues"] {
        assert_eq!(read(&alice, path, path).await, json!({ "queues": [] }));
    }
    let configs = alice.get("/v1/deserter").await.expect(200);
    assert_eq!(configs.body, json!({ "deserter_configs": [] }));
    check(&configs, "/v1/deserter");
    for version in ["v1", "v2"] {
        let group = format!("/{version}/match-making-templates/{}", Uuid::nil());
        alice.get(&group).await.refused(404, "match_making_template_not_found");
        let profile = format!("/{version}/match-making-profile/none");
        alice.get(&profile).await.refused(404, "match_making_profile_not_found");
    }
    alice.get("/v1/deserter/none").await.refused(404, "deserter_not_found");
}

#[tokio::test]
async fn lists_show_the_active_queues_in_pages() {
    let server = server();
    let alice = server.player();
    let arena = json!({
        "queue_id": "arena", "active": true, "max_queue_group_size": 200,
        "match_making_template_group_id": OTHER_GROUP, "legacy_config": {},
    });
    let casual = json!({
        "queue_id": "casual", "active": true, "max_queue_group_size": 5, "match_making_template_group_id": GROUP,
        "legacy_config": { "icon": "sword" },
    });
    let all = read(&alice, "/v2/queues", "/v2/queues").await;
    assert_eq!(all["queues"].as_array().unwrap().len(), 3, "a closed queue is not shown: {all}");
    assert_eq!(all["queues"][0], arena);
    assert_eq!(all["queues"][1], casual);
    let page = |cursor: u64| format!("/v2/queues?page_size=2&cursor={cursor}");
    assert_eq!(read(&alice, &page(0), "/v2/queues").await, json!({ "queues": [arena, casual] }));
    let last = read(&alice, &page(2), "/v2/queues").await;
    assert_eq!(last["queues"].as_array().unwrap().len(), 1);
    for behind in [3, i64::MAX as u64] {
        assert_eq!(read(&alice, &page(behind), "/v2/queues").await, json!({ "queues": [] }));
    }
    let (first, last) = (alice.get(&page(0)).await.etag(), alice.get(&page(2)).await.etag());
    assert_ne!(first, last, "each page has its own ETag");
    for version in ["v1", "v2"] {
        alice.get(&format!("/{version}/queues?page_size=51&cursor=-1")).await.invalid(&[
            (json!(["query", "cursor"]), "value_error.number.not_ge"),
            (json!(["query", "page_size"]), "value_error.number.not_le"),
        ]);
    }
}

#[tokio::test]
async fn the_older_form_of_a_queue_has_the_sizes_of_its_default_profile() {
    let server = server();
    let alice = server.player();
    let all = read(&alice, "/v1/queues", "/v1/queues").await;
    let casual = json!({
        "queue_id": "casual", "active": true, "ranking_type": 3, "num_sides": 2, "max_players_per_side": 4,
        "min_players_per_side": 3, "max_queue_group_size": 5, "match_making_template_group_id": GROUP,
    });
    assert_eq!(all["queues"][1], casual);
    assert_eq!(all["queues"][2]["max_players_per_side"], 1);
    let second = read(&alice, "/v1/queues?cursor=1&page_size=1", "/v1/queues").await;
    assert_eq!(second, json!({ "queues": [casual] }));
}

fn duel() -> Value {
    json!({
        "match_making_profile_id": "duel", "join_mode": "normal", "num_sides": 2, "max_players_per_side": 1,
        "min_players_per_side": 1, "session_template_id": template_id("party"), "custom_data": {},
    })
}

fn four_against_four() -> Value {
    json!({
        "match_making_profile_id": "4v4", "join_mode": "backfill", "instance_request_template_id": INSTANCE,
        "rank_id": RANK, "num_sides": 2, "max_players_per_side": 4, "min_players_per_side": 3,
        "legacy_config": { "speed": 2, "name": "old", "flags": ["a"] }, "deserter_id": DESERTER,
        "session_template_id": template_id("game"), "custom_data": { "mood": "casual" },
    })
}

#[tokio::test]
async fn a_profile_shows_every_field() {
    let server = server();
    let alice = server.player();
    let path = "/v2/match-making-profile/{match_making_profile_id}";
    assert_eq!(read(&alice, "/v2/match-making-profile/duel", path).await, duel());
    assert_eq!(read(&alice, "/v2/match-making-profile/4v4", path).await, four_against_four());
    let older = "/v1/match-making-profile/{match_making_profile_id}";
    let expected = json!({
        "profile_id": "4v4", "join_mode": "backfill", "instance_launch_template_id": INSTANCE, "rank_id": RANK,
        "num_sides": 2, "max_players_per_side": 4, "min_players_per_side": 3, "deserter_id": DESERTER,
        "legacy_config": { "speed": "2", "name": "old", "flags": "[\"a\"]" },
    });
    assert_eq!(read(&alice, "/v1/match-making-profile/4v4", older).await, expected);
    let expected = json!({
        "profile_id": "duel", "join_mode": "normal", "instance_launch_template_id": Uuid::nil(), "num_sides": 2,
        "max_players_per_side": 1, "min_players_per_side": 1, "legacy_config": {},
    });
    assert_eq!(read(&alice, "/v1/match-making-profile/duel", older).await, expected);
    for version in ["v1", "v2"] {
        let too_long = format!("/{version}/match-making-profile/{}", "x".repeat(129));
        let at = json!(["path", "match_making_profile_id"]);
        alice.get(&too_long).await.invalid(&[(at, "value_error.any_str.max_length")]);
        let unknown = format!("/{version}/match-making-profile/{}", "x".repeat(128));
        alice.get(&unknown).await.refused(404, "match_making_profile_not_found");
    }
}

#[tokio::test]
async fn a_template_group_shows_its_rules_and_its_profiles() {
    let server = server();
    let alice = server.player();
    let ruleset = json!({
        "rules": [
            { "rule_type": "Inventory", "comparison_operation": "ge", "comparison_value": 1, "item_id": 9 },
            { "rule_type": "InventoryLevel", "comparison_operation": "lt", "comparison_value": 3, "item_id": 7 },
            { "rule_type": "RegionList", "comparison_operation": "in_set", "comparison_value_set": ["eu", "uk"] },
        ],
        "determiner": "anyOf", "players_to_validate": "all_members",
    });
    let no_rules = json!({ "rules": [], "determiner": "allOf", "players_to_validate": "leader" });
    let path = "/v2/match-making-templates/{template_group_id}";
    let group = read(&alice, &format!("/v2/match-making-templates/{GROUP}"), path).await;
    let expected = json!({
        "match_making_template_group_id": GROUP,
        "template_options": [
            {
                "match_making_template_id": "00000000-0000-4000-8000-0000000000b1", "mmr_grouping_method": "worst",
                "ruleset": ruleset, "profiles": [duel(), four_against_four()],
            },
            { "mmr_grouping_method": "avg", "ruleset": no_rules, "profiles": [four_against_four()] },
        ],
        "required_item_ids": [7, 9], "requires_all_players_items": true, "includes_session_rule": true,
    });
    assert_eq!(group, expected);
    let other = read(&alice, &format!("/v2/match-making-templates/{OTHER_GROUP}"), path).await;
    assert_eq!(other["required_item_ids"], json!([]));
    assert_eq!(other["requires_all_players_items"], json!(false));
    assert_eq!(other["includes_session_rule"], json!(false));

    let path = "/v1/match-making-templates/{template_group_id}";
    let older = read(&alice, &format!("/v1/match-making-templates/{GROUP}"), path).await;
    assert_eq!(older["template_group_id"], json!(GROUP));
    assert_eq!(older["required_item_ids"], json!([7, 9]));
    assert_eq!(older["template_options"][0]["ruleset"], ruleset);
    assert_eq!(older["template_options"][1]["profiles"][0]["profile_id"], json!("4v4"));
    for version in ["v1", "v2"] {
        let not_uuid = alice.get(&format!("/{version}/match-making-templates/none")).await;
        not_uuid.invalid(&[(json!(["path", "template_group_id"]), "type_error.uuid")]);
        let unknown = alice.get(&format!("/{version}/match-making-templates/{}", Uuid::nil())).await;
        unknown.refused(404, "match_making_template_not_found");
    }
}

#[tokio::test]
async fn deserter_configurations_and_the_interval_of_backfills_can_be_read() {
    let server = server();
    let alice = server.player();
    let all = alice.get("/v1/deserter").await.expect(200);
    assert_eq!(all.body, json!({ "deserter_configs": [{ "deserter_id": DESERTER }] }));
    assert!(!all.headers.contains_key("etag"), "the contract has no ETag here");
    check(&all, "/v1/deserter");
    for id in [DESERTER.to_owned(), DESERTER.to_uppercase()] {
        let one = alice.get(&format!("/v1/deserter/{id}")).await.expect(200);
        assert_eq!(one.body, json!({ "deserter_id": DESERTER }));
        check(&one, "/v1/deserter/{deserter_id}");
    }
    for unknown in ["x", "00000000-0000-4000-8000-0000000000d2"] {
        alice.get(&format!("/v1/deserter/{unknown}")).await.refused(404, "deserter_not_found");
    }
    let backfill = alice.get("/v1/backfill/config").await.expect(200);
    assert_eq!(backfill.body, json!({ "timeout": 5.0 }));
    check(&backfill, "/v1/backfill/config");
}

#[tokio::test]
async fn matchmaking_is_replaced_while_the_server_runs() {
    use rallypoint::runtime::settings::catalog;

    let server = server();
    let alice = server.player();
    let before = alice.get("/v2/queues").await.expect(200);
    let file = FILE.replace("[queues.arena]\n", "[queues.arena]\nmax_queue_group_size = 3\n");
    let reload = |text: &str| {
        for node in server.nodes() {
            node.app.replace_catalog(catalog(&Config::parse(text, "test", &[]).unwrap()));
        }
    };
    reload(&file);
    let after = alice.get_if_none_match("/v2/queues", &before.etag()).await.expect(200);
    assert_eq!(after.body["queues"][0]["max_queue_group_size"], json!(3));
    reload("");
    assert_eq!(alice.get("/v2/queues").await.expect(200).body, json!({ "queues": [] }));
    alice.get("/v2/match-making-profile/duel").await.refused(404, "match_making_profile_not_found");
}
